"""A runner's output folder, in the format of output.ts: a dataset that can be read at any time, and a journal in front.

A page that is done is one appended line; now and then the journal is folded into an Arrow shard; at the end all shards
become one, in the order of the input. Whatever is killed when, every page is there once or not at all.
"""

from __future__ import annotations

import json
import os
import re
import time
from typing import Any, Optional, Sequence

from .dataset import (
    RESULT_FEATURES,
    compose_shards,
    input_fingerprint,
    read_rows,
    shard_files,
    write_dataset_files,
    write_results,
    write_whole,
)

# Seconds between two folds, so that results can be looked at while the job runs.
_FOLD_INTERVAL = 20.0
_LAST = "data-00000-of-00001.arrow"


class Refused(Exception):
    """The runner can't do what it is asked: exit 64."""


def shard_of(env: Optional[dict[str, str]] = None) -> Optional[tuple[int, int]]:
    """Which task of how many this is, by `YALE_JOBS_SHARD` and `YALE_JOBS_SHARDS`; None for a job without shards."""
    values = os.environ if env is None else env
    index, count = values.get("YALE_JOBS_SHARD", ""), values.get("YALE_JOBS_SHARDS", "")
    if count in ("", "1"):
        return None
    if not (index.isdigit() and count.isdigit() and int(index) < int(count)):
        raise Refused(f"Task {index} of {count} makes no sense.")
    return int(index), int(count)


def shard_range(pages: int, shard: Optional[tuple[int, int]]) -> tuple[int, int]:
    """The pages of a task, from the first to before the second: neighbours stay together, as in shard.ts."""
    if shard is None:
        return 0, pages
    index, count = shard
    return pages * index // count, pages * (index + 1) // count


class Output:
    """The output of one runner; of one task, in a folder of its own inside `whole`, if `shard` is given."""

    def __init__(
        self, whole: str, source: str, settings: dict[str, Any], shard: Optional[tuple[int, int]] = None
    ) -> None:
        """Opens a folder, new or of an earlier attempt. Throws Refused if that read another input or had other settings."""
        self._whole = None if shard is None else whole
        # How often a person asked for the job to be run again, and how often that was heeded here.
        self._asked = int(os.environ.get("YALE_JOBS_ASKED") or 0)
        self._heeded = 0
        self.folder = whole if shard is None else os.path.join(whole, f"shard-{shard[0]}")
        if shard is not None:
            settings = {**settings, "shards": shard[1]}
        os.makedirs(self.folder, exist_ok=True)
        self.attempt = self._open_run({"input": input_fingerprint(source), "settings": settings})
        self._journal_path = os.path.join(self.folder, "journal.jsonl")
        self._keys: set[str] = set()
        self._pending: list[dict[str, Any]] = []
        self._last_fold = 0.0
        self.failed = 0
        state = os.path.join(self.folder, "state.json")
        self._shards = [os.path.basename(f) for f in shard_files(self.folder)] if os.path.exists(state) else []
        # What a killed attempt wrote and did not enter into state.json does not count.
        for name in os.listdir(self.folder):
            if re.search(r"\.(arrow|part)$", name) and name not in self._shards:
                os.remove(os.path.join(self.folder, name))
        self._load()
        if self._asked > self._heeded:
            self._forget_errors()
            # Only now: killed before, it begins anew. An attempt that begins by itself does not try them again, or a page
            # that ends its server would do so for ever.
            self._heeded = self._asked
            self._note_run()
        self._journal = open(self._journal_path, "a", encoding="utf-8")

    def _open_run(self, now: dict[str, Any]) -> int:
        path = os.path.join(self.folder, "run.json")
        attempt = 1
        try:
            with open(path, encoding="utf-8") as file:
                before = json.load(file)
        except FileNotFoundError:
            before = None
        if before is not None:
            if before["input"] != now["input"]:
                raise Refused("The output holds pages of another input; use a new folder.")
            if before["settings"] != now["settings"]:
                different = [
                    f"{k} was {before['settings'].get(k)!r} and is {now['settings'].get(k)!r}"
                    for k in {**before["settings"], **now["settings"]}
                    if before["settings"].get(k) != now["settings"].get(k)
                ]
                raise Refused(f"The output was made with other settings ({'; '.join(different)}); use a new folder.")
            attempt = int(before["attempt"]) + 1
            self._heeded = int(before.get("asked", 0))
        self._run = {**now, "attempt": attempt}
        self._note_run()
        return attempt

    def _note_run(self) -> None:
        write_whole(os.path.join(self.folder, "run.json"), json.dumps({**self._run, "asked": self._heeded}) + "\n")

    def _load(self) -> None:
        if self._shards:
            for row in read_rows(self.folder, ["key", "error"]):
                self._keys.add(row["key"])
                self.failed += row["error"] is not None
        try:
            with open(self._journal_path, "rb+") as file:
                data = file.read()
                whole = data.rfind(b"\n") + 1
                # A line that a killed attempt tore.
                file.truncate(whole)
        except FileNotFoundError:
            return
        for line in data[:whole].splitlines():
            row = json.loads(line)
            # Killed between writing the shard and emptying the journal: the shard has it already.
            if row["key"] not in self._keys:
                self._remember(row)

    def _remember(self, row: dict[str, Any]) -> None:
        self._keys.add(row["key"])
        self._pending.append(row)
        self.failed += row["error"] is not None

    def _forget_errors(self) -> None:
        """Leaves what went well, so that the pages in error are missing and done once more."""
        if self.failed == 0:
            return
        old = self._shards
        rows = [*(read_rows(self.folder, list(RESULT_FEATURES)) if old else ()), *self._pending]
        good = [row for row in rows if row["error"] is None]
        name = f"part-{self.attempt}-{0:05d}.arrow"
        write_results(os.path.join(self.folder, name), good)
        self._shards, self._pending, self.failed = [name], [], 0
        self._keys = {row["key"] for row in good}
        self._publish()
        if os.path.exists(self._journal_path):
            os.truncate(self._journal_path, 0)
        for shard in old:
            os.remove(os.path.join(self.folder, shard))

    def check(self, keys: Sequence[str]) -> None:
        """Of an input that has only its job's id for a name: throws Refused if a page is there that is none of `keys`."""
        if os.environ.get("YALE_JOBS_EARLY") == "1" and not self._keys.issubset(keys):
            raise Refused("The output holds pages of another input; submit the job anew.")

    @property
    def done(self) -> int:
        """Pages that are there."""
        return len(self._keys)

    def has(self, key: str) -> bool:
        """True if a page needs no work any more."""
        return key in self._keys

    def add(self, row: dict[str, Any]) -> None:
        """Takes a result in: from this line on it survives whatever happens to the process."""
        if row["key"] in self._keys:
            return
        row = {name: row.get(name) for name in RESULT_FEATURES}
        self._journal.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._journal.flush()
        self._remember(row)
        due = 0.0 if not self._shards and len(self._pending) >= 3 else _FOLD_INTERVAL
        if time.monotonic() - self._last_fold >= due:
            self._fold()

    def _fold(self) -> None:
        if not self._pending:
            return
        name = f"part-{self.attempt}-{len(self._shards):05d}.arrow"
        write_results(os.path.join(self.folder, name), self._pending)
        self._shards.append(name)
        self._publish()
        self._pending = []
        self._journal.truncate(0)
        self._last_fold = time.monotonic()

    def _publish(self) -> None:
        write_dataset_files(self.folder, self._shards)
        if self._whole is not None:
            compose_shards(self._whole)

    def close(self, order: Optional[Sequence[str]] = None) -> None:
        """Closes the shard; with the `order` of the input, a finished output becomes one file in that order."""
        self._fold()
        self._journal.close()
        old = [s for s in self._shards if s != _LAST]
        if order is None or not self._keys or not old:
            return
        place = {key: i for i, key in enumerate(order)}
        rows = sorted(read_rows(self.folder, list(RESULT_FEATURES)), key=lambda r: place.get(r["key"], len(place)))
        write_results(os.path.join(self.folder, _LAST), rows)
        self._shards = [_LAST]
        self._publish()
        for name in old:
            os.remove(os.path.join(self.folder, name))
        os.remove(self._journal_path)
