"""Appends a runner's events to `progress.jsonl`, one line and one write each; the same events as progress.ts."""

from __future__ import annotations

import json
import os
import threading
from datetime import datetime, timezone
from typing import Any, Optional


class Progress:
    """Writer of one attempt's events; numbers go on over attempts."""

    def __init__(self, path: Optional[str] = None) -> None:
        self._path = path or os.environ.get("YALE_JOBS_PROGRESS") or "progress.jsonl"
        self._n = 0
        self._lock = threading.Lock()
        try:
            with open(self._path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            data = b""
        self._n = data.count(b"\n")
        self._file = open(self._path, "a", encoding="utf-8")
        if data and not data.endswith(b"\n"):
            # A line that a killed attempt tore is ended, so that the next one stands by itself.
            self._file.write("\n")

    def write(self, type: str, **fields: Any) -> None:
        """Writes one event. May be called by any thread."""
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        with self._lock:
            self._n += 1
            line = {"n": self._n, "time": now, "type": type, **fields}
            # No spaces: the batch script counts `"type":"page"`.
            self._file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")
            self._file.flush()

    def page(self, key: str, seconds: float) -> None:
        """A page that went well."""
        self.write("page", key=key, seconds=round(seconds, 3))

    def error(self, key: str, reason: str) -> None:
        """A page that ended in an error."""
        self.write("error", key=key, reason=reason[:1000])
