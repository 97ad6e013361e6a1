"""The pages that a runner is given, as input.ts has them.

Those of a job that starts early come while it runs: its input is a dataset that grows, with a file `coming.json` in it, and
is replaced by the whole one at the end.
"""

from __future__ import annotations

import os
import time
from typing import Any, Callable, Iterator, Optional, Sequence

from .dataset import Unreadable, read_rows
from .output import Refused, shard_range

# Seconds between two looks, and without a new page until the node is given back.
_LOOK = 1.0
_PATIENCE = 600.0


class Input:
    """An input, as far as it is known."""

    def __init__(
        self,
        folder: str,
        most: Optional[int],
        shard: Optional[tuple[int, int]],
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """`most` is the number of pages after which the rest is left alone; `stopping` says that no more are wanted."""
        # Keys in the dataset's order. Reading them first costs little and says how many pages there are.
        self.keys: list[str] = []
        # True when no more will come.
        self.whole = False
        self._unique: set[str] = set()
        self._folder = folder
        self._most = most
        self._shard = shard
        self._stopping = stopping
        self._grew = False

    @property
    def span(self) -> tuple[int, int]:
        """The pages of this task among those that are known: from the first to before the second."""
        return shard_range(len(self.keys), self._shard)

    @property
    def total(self) -> int:
        """How many those are."""
        first, last = self.span
        return last - first

    def more(self) -> bool:
        """Waits for pages that were not known before, or for the word that no more come; False if it is to stop, or none
        come for ten minutes. Throws Unreadable, and Refused for an input that is not what it was."""
        since = time.monotonic()
        while not self._stopping() and time.monotonic() - since < _PATIENCE:
            if self._look():
                return True
            time.sleep(_LOOK)
        return False

    def rows(self, first: int, last: int, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Known pages, from the one of that number to before the other; fewer if it is to stop, or some that were there
        are not for ten minutes."""
        at, since = first, time.monotonic()
        while at < last and not self._stopping() and time.monotonic() - since < _PATIENCE:
            try:
                for row in read_rows(self._folder, columns, at, last):
                    yield row
                    at += 1
                    since = time.monotonic()
                if at < last:
                    raise Unreadable(f"{self._folder} has fewer pages than it had.")
            except Unreadable:
                # Its shards go from what grew to the whole just now.
                if not self._grew:
                    raise
                time.sleep(_LOOK)

    def _look(self) -> bool:
        """Takes in what has come; True if that is anything."""
        # What is read of one look must be of one dataset.
        folder = os.path.realpath(self._folder)
        coming = os.path.exists(os.path.join(folder, "coming.json"))
        known = len(self.keys)
        try:
            if coming:
                for row in read_rows(folder, ["key"], known, self._most):
                    self._add(str(row["key"]))
                    self._grew = True
                self.whole = self._most is not None and len(self.keys) >= self._most
            else:
                self._take_whole(folder)
        except Unreadable:
            if not coming:
                raise
        return self.whole or len(self.keys) > known

    def _take_whole(self, folder: str) -> None:
        known, at = len(self.keys), 0
        for row in read_rows(folder, ["key"], 0, self._most):
            key = row.get("key")
            key = f"row={at + 1}" if key is None else str(key)
            if at >= known:
                self._add(key)
            elif key != self.keys[at]:
                raise Refused("The input is not the one that the job started on.")
            at += 1
        if at < known:
            raise Refused("The input has fewer pages than when the job started.")
        self.whole = True

    def _add(self, key: str) -> None:
        if key in self._unique:
            raise Refused("The dataset has a key twice; keys must be unique.")
        self._unique.add(key)
        self.keys.append(key)
