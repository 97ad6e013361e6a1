"""What every Python runner shares: pages in, results and events out, by the runner contract (docs/runners.md)."""
