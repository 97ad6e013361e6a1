"""Writes a dataset with a column of each type, and a row of nulls: every_type.py FOLDER. Mapped and saved, and as Parquet."""
import datetime
import io
import sys
from decimal import Decimal

import datasets
from datasets import Array2D, ClassLabel, Features, Image, LargeList, List, Value
from PIL import Image as Pillow


def png() -> bytes:
    buffer = io.BytesIO()
    Pillow.new("RGB", (4, 3), "red").save(buffer, "PNG")
    return buffer.getvalue()


moment = datetime.datetime(2020, 1, 2, 3, 4, 5, 678901)
COLUMNS = {
    "image": (Image(), {"bytes": png(), "path": "a.png"}),
    "key": (Value("string"), "a"),
    "uint8": (Value("uint8"), 200),
    "int8": (Value("int8"), -5),
    "uint64": (Value("uint64"), 2**62 + 5),
    "int64": (Value("int64"), -(2**60)),
    "float16": (Value("float16"), 1.5),
    "float32": (Value("float32"), 0.25),
    "float64": (Value("float64"), 1e300),
    "bool": (Value("bool"), True),
    "large_string": (Value("large_string"), "größe"),
    "large_binary": (Value("large_binary"), b"\x80"),
    "date32": (Value("date32"), datetime.date(1875, 3, 1)),
    "date64": (Value("date64"), datetime.datetime(1999, 12, 31)),
    "timestamp_s": (Value("timestamp[s]"), datetime.datetime(1875, 3, 1, 5, 6, 7)),
    "timestamp_us": (Value("timestamp[us]"), moment),
    "timestamp_ns": (Value("timestamp[ns, tz=America/New_York]"), moment.replace(tzinfo=datetime.timezone.utc)),
    "time64": (Value("time64[us]"), datetime.time(1, 2, 3, 456789)),
    "duration": (Value("duration[ms]"), datetime.timedelta(milliseconds=1500)),
    "decimal": (Value("decimal128(10, 2)"), Decimal("-12.34")),
    "class_label": (ClassLabel(names=["page", "cover"]), 1),
    "list": (List(Value("string")), ["x", "ü"]),
    "fixed_list": (List(Value("float32"), length=2), [1.0, 2.0]),
    "large_list": (LargeList(Value("int32")), [7, 8]),
    "dates": (List(Value("date32")), [datetime.date(1875, 3, 1)]),
    "structs": (List({"x": Value("int64"), "word": Value("string")}), [{"x": 1, "word": "w"}, {"x": 2, "word": None}]),
    "nested": ({"a": {"day": Value("date32")}, "b": List(List(Value("int32")))}, {"a": {"day": datetime.date(1875, 3, 1)}, "b": [[1], [], [2, 3]]}),
    "array": (Array2D(shape=(2, 2), dtype="int32"), [[1, 2], [3, 4]]),
    "null": (Value("null"), None),
    "thumbnails": (List(Image()), [{"bytes": png(), "path": None}]),
}

first = {name: value for name, (_, value) in COLUMNS.items()}
second = {**dict.fromkeys(first), "key": "b", "image": first["image"], "array": [[0, 0], [0, 0]]}
rows = {name: [first[name], second[name]] for name in first}
made = datasets.Dataset.from_dict(rows, features=Features({name: feature for name, (feature, _) in COLUMNS.items()}))
made = made.map(lambda row: {"added": len(row["key"])})
made.save_to_disk(f"{sys.argv[1]}/disk", num_shards=2)
made.to_parquet(f"{sys.argv[1]}/rows.parquet")
