"""Runs a notebook in its kernel and saves it with its outputs.

    python run_notebook.py NOTEBOOK.ipynb [SECONDS_PER_CELL]

The notebook is run in its own folder and replaced by what it has become, also when a cell fails. Prints a line a
cell; exits 1 if a cell failed, saying which and why.
"""

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError


def stderr_of(cell):
    """What a cell wrote to its standard error: tslab reports errors there and nowhere else."""
    outputs = cell.get("outputs", [])
    return "".join(o["text"] for o in outputs if o["output_type"] == "stream" and o["name"] == "stderr")


def main():
    path = Path(sys.argv[1]).resolve()
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 600
    notebook = nbformat.read(path, as_version=4)
    cells = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    began = {}

    def on_start(cell, cell_index):
        began[cell_index] = time.monotonic()

    def on_end(cell, cell_index, **_):
        if cell_index in began:
            first = next((line for line in cell.source.splitlines() if line and not line.startswith("//")), "")
            took = time.monotonic() - began[cell_index]
            print(f"  cell {cells.index(cell_index) + 1} of {len(cells)} ({took:.1f} s)  {first[:70]}", flush=True)

    client = NotebookClient(
        notebook,
        timeout=seconds,
        # A busy machine may take long to start a kernel.
        startup_timeout=180,
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_start=on_start,
        on_cell_executed=on_end,
    )
    try:
        client.execute()
        return 0
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        failed = max(began, default=None)
        words = stderr_of(notebook.cells[failed]).strip() if failed is not None else ""
        print(f"\nThe notebook stopped: {words or error}", file=sys.stderr)
        return 1
    finally:
        nbformat.write(notebook, path)


if __name__ == "__main__":
    sys.exit(main())
