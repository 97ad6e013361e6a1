"""Folders as `datasets.save_to_disk` writes them, read batch by batch and written shard by shard, with pyarrow alone.

`datasets` itself is left out: it takes two seconds to import, and offers no bounded way to pass over pages that are done.
"""

from __future__ import annotations

import json
import os
import secrets
from typing import Any, Iterator, Optional, Sequence

import pyarrow as pa

# Columns of a result; the same as in output.ts.
RESULT_FEATURES = {
    "key": "string",
    "source": "string",
    "page": "int64",
    "label": "string",
    "text": "string",
    "markdown": "string",
    "layout": "string",
    "error": "string",
    "confidence": "float64",
    "seconds": "float64",
    "width": "int64",
    "height": "int64",
    "inference_info": "string",
}
_TYPES = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64()}
# Rows of a record batch when shards are put together.
_BATCH = 500


class Unreadable(Exception):
    """A dataset folder that can't be read: exit 66."""


def shard_files(folder: str) -> list[str]:
    """Shards of a dataset folder in order; a DatasetDict stands for its first split. Throws Unreadable."""
    try:
        splits = _json(os.path.join(folder, "dataset_dict.json")).get("splits") or []
        if splits:
            return shard_files(os.path.join(folder, os.path.basename(str(splits[0]))))
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise Unreadable(f"{folder}/dataset_dict.json can't be read: {error}") from error
    try:
        names = [str(f["filename"]) for f in _json(os.path.join(folder, "state.json"))["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"{folder} is no dataset folder: it has no readable state.json ({error}).") from error
    return [os.path.join(folder, _inside(name)) for name in names]


def _inside(name: str) -> str:
    """A foreign state.json can name anything: only files of this very folder and its shards are read."""
    first, _, rest = name.partition("/")
    if rest and "/" not in rest and first.startswith("shard-") and first[6:].isdigit():
        return os.path.join(first, rest)
    return os.path.basename(name)


def read_rows(
    folder: str, columns: Sequence[str], first: int = 0, last: Optional[int] = None
) -> Iterator[dict[str, Any]]:
    """Rows `first` up to before `last`, one at a time; only the batch at hand is in memory. Throws Unreadable."""
    before = 0
    for file in shard_files(folder):
        try:
            with pa.memory_map(file) as source, pa.ipc.open_stream(source) as reader:
                for batch in reader:
                    wanted = [batch.schema.get_field_index(c) for c in columns]
                    start = max(0, first - before)
                    end = batch.num_rows if last is None else min(batch.num_rows, last - before)
                    for i in range(start, max(start, end)):
                        yield {c: batch.column(at)[i].as_py() for c, at in zip(columns, wanted) if at >= 0}
                    before += batch.num_rows
                    if last is not None and before >= last:
                        return
        except (OSError, pa.ArrowInvalid) as error:
            raise Unreadable(f"{file} can't be read: {error}") from error


def input_fingerprint(folder: str) -> str:
    """What names an input: the hash of a dataset of ours, or the fingerprint of Python's."""
    # The pages of such a job are not all there when it starts, and have no hash yet; they are the same in all its attempts.
    if os.environ.get("YALE_JOBS_EARLY") == "1":
        return f"job {os.environ.get('YALE_JOBS_ID')}"
    for file, key in (("yale-dataset.json", "hash"), ("state.json", "_fingerprint")):
        try:
            value = _json(os.path.join(folder, file)).get(key)
        except (OSError, ValueError):
            continue
        if isinstance(value, str):
            return value
    return "unknown"


def write_results(path: str, rows: Sequence[dict[str, Any]]) -> None:
    """Writes rows as one Arrow stream that is visible under its name only when it is whole."""
    meta = json.dumps({"info": {"features": features_json()}})
    schema = pa.schema(
        [pa.field(name, _TYPES[kind], nullable=True) for name, kind in RESULT_FEATURES.items()],
        metadata={"huggingface": meta},
    )
    with open(f"{path}.part", "wb") as file:
        with pa.ipc.new_stream(file, schema) as writer:
            for i in range(0, len(rows), _BATCH):
                some = rows[i : i + _BATCH]
                arrays = [pa.array([r.get(n) for r in some], type=_TYPES[k]) for n, k in RESULT_FEATURES.items()]
                writer.write_batch(pa.record_batch(arrays, schema=schema))
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{path}.part", path)


def features_json() -> dict[str, Any]:
    """The features as `datasets` writes them."""
    return {name: {"dtype": kind, "_type": "Value"} for name, kind in RESULT_FEATURES.items()}


def write_dataset_files(folder: str, files: Sequence[str]) -> None:
    """Makes `files` the dataset of a folder: a reader at any moment finds the old list or the new one."""
    info = {"citation": "", "description": "", "features": features_json(), "homepage": "", "license": ""}
    write_whole(os.path.join(folder, "dataset_info.json"), json.dumps(info, indent=2) + "\n")
    # datasets indexes all seven keys; leaving one out is a KeyError.
    state: dict[str, Any] = {
        "_data_files": [{"filename": f} for f in files],
        "_fingerprint": secrets.token_hex(8),
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    write_whole(os.path.join(folder, "state.json"), json.dumps(state, indent=2) + "\n")


def compose_shards(folder: str) -> None:
    """Lists what the tasks of an array have written so far as one dataset, in the order of the shards."""
    files = _files_of_tasks(folder)
    # Whoever renames last may have looked first: it looks again afterwards.
    for _ in range(50):
        if not files:
            return
        write_dataset_files(folder, files)
        now = _files_of_tasks(folder)
        if now == files:
            return
        files = now


def _files_of_tasks(folder: str) -> list[str]:
    names = [n for n in os.listdir(folder) if n.startswith("shard-") and n[6:].isdigit()]
    found = []
    for name in sorted(names, key=lambda n: int(n[6:])):
        try:
            state = _json(os.path.join(folder, name, "state.json"))
        except (OSError, ValueError):
            continue
        found += [f"{name}/{os.path.basename(f['filename'])}" for f in state["_data_files"]]
    return found


def write_whole(path: str, text: str) -> None:
    """Writes a file that several processes may write: each has a name of its own until the rename."""
    part = f"{path}.{secrets.token_hex(4)}.part"
    with open(part, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(part, path)


def _json(path: str) -> dict[str, Any]:
    with open(path, encoding="utf-8") as file:
        value = json.load(file)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value
