"""Pages through a server whose page times have a long tail: our runner, against batches that wait for their slowest page,
and against the least time that 16 places can take. Prints seconds; checks that every page came.

    python bench/serve/run.py [pages]      a Python as the tests have it; build first (npm run build)
"""

import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from datetime import datetime

from datasets import Dataset, Features, Image, Value, load_from_disk
from PIL import Image as Picture
from PIL import ImageDraw

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RUNNER = os.path.join(ROOT, "kernel-lib", "dist", "runners", "dots-ocr", "main.py")
PAGES = int(sys.argv[1]) if len(sys.argv) > 1 else 160
AT_ONCE = 16


def page(n: int) -> bytes:
    """The server knows a page by its width."""
    image = Picture.new("L", (28 * (10 + n), 140), "white")
    ImageDraw.Draw(image).rectangle((40, 60, 160, 90), fill=0)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def least(seconds: list[float]) -> float:
    """With every place taken as soon as it is free, in the order of the pages."""
    free = [0.0] * AT_ONCE
    for s in seconds:
        free[free.index(min(free))] += s
    return max(free)


def when(event: dict) -> float:
    return datetime.fromisoformat(event["time"].replace("Z", "+00:00")).timestamp()


def main() -> None:
    random.seed(1)
    # Half of the pages take 0.6 seconds or less, which is quick for a page; a few take twenty times as long.
    seconds = [min(15.0, 0.6 * random.lognormvariate(0, 1.0)) for _ in range(PAGES)]
    with tempfile.TemporaryDirectory(prefix="yale-bench-") as folder:
        os.chdir(folder)
        Dataset.from_dict(
            {
                "key": [f"page {i}" for i in range(PAGES)],
                "image": [{"bytes": page(i), "path": None} for i in range(PAGES)],
            },
            features=Features({"key": Value("string"), "image": Image()}),
        ).save_to_disk("input")
        with open("plan.json", "w") as file:
            json.dump({str(i): [{"seconds": s}] for i, s in enumerate(seconds)}, file)
        env = {
            **os.environ,
            "FAKE_VLLM_PLAN": "plan.json",
            "FAKE_VLLM_LOG": "requests.jsonl",
            "YALE_JOBS_PROGRESS": "progress.jsonl",
        }
        server = subprocess.Popen(
            [sys.executable, "-B", os.path.join(ROOT, "test", "support", "vllm.py")], env=env, stdout=subprocess.DEVNULL
        )
        try:
            port = None
            while port is None:
                time.sleep(0.1)
                if os.path.exists("requests.jsonl"):
                    port = next(
                        (line["port"] for line in map(json.loads, open("requests.jsonl")) if "port" in line), None
                    )
            with open("options.json", "w") as file:
                json.dump({"promptMode": "ocr", "serverUrl": f"http://127.0.0.1:{port}", "batchSize": AT_ONCE}, file)
            command = [
                sys.executable,
                "-B",
                RUNNER,
                "--input",
                "input",
                "--output",
                "output",
                "--options",
                "options.json",
            ]
            subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
        finally:
            server.kill()
            server.wait()
        assert load_from_disk("output")["key"][:] == [f"page {i}" for i in range(PAGES)]
        events = [json.loads(line) for line in open("progress.jsonl")]
        start = next(when(e) for e in events if e.get("message") == "Reading pages.")
        ours = max(when(e) for e in events if e["type"] == "page") - start
    barrier = sum(max(seconds[i : i + AT_ONCE]) for i in range(0, PAGES, AT_ONCE))
    print(f"{PAGES} pages, {AT_ONCE} at once: {ours:.2f} s; {PAGES / ours:.1f} pages/s")
    print(f"  the server's own limit:  {least(seconds):.2f} s; we take {ours / least(seconds) - 1:.0%} more")
    print(f"  batches with a barrier: {barrier:.2f} s; {barrier / ours:.2f} times as long")


main()
