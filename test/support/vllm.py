"""A server that answers as `vllm serve` 0.32 was measured to, and misbehaves as it is told; run as `vllm serve` or by hand.

FAKE_VLLM_PLAN is a JSON file: for each page (by the width of its image: 28 * (10 + page)) what to do at the first request,
the second …; the last is for all that follow. `start` is what to do at the start. FAKE_VLLM_LOG gets a line a request.

A page with `dies` ends the engine as it was read in vLLM: all that is in flight gets a 500, `/health` turns to 503, and the
process ends a moment later. With `hangs` nothing is answered any more, and `/health` stays good.
"""

import base64
import io
import json
import os
import sys
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image, ImageOps

PLAN = json.load(open(os.environ["FAKE_VLLM_PLAN"]))
LOG = os.environ["FAKE_VLLM_LOG"]
LOCK = threading.Lock()
DEAD = threading.Event()
HUNG = threading.Event()


def flag(name, default):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


SERVED = flag("--served-model-name", "served-by-hand")


def note(**fields):
    with LOCK, open(LOG, "a") as file:
        file.write(json.dumps(fields) + "\n")


def dark(image):
    """The side of the image on which its ink is: left, right, top or bottom."""
    ink = ImageOps.invert(image.convert("L")).point(lambda v: 255 if v > 128 else 0).getbbox()
    if ink is None:
        return None
    near = {"left": ink[0], "top": ink[1], "right": image.width - ink[2], "bottom": image.height - ink[3]}
    return min(near, key=near.get)


def cells(page):
    return json.dumps(
        [
            {"bbox": [0, 0, 28, 14], "category": "Page-header", "text": "Running head"},
            {"bbox": [14, 28, 140, 56], "category": "Title", "text": f"Page {page}"},
            {"bbox": [14, 60, 140, 120], "category": "Text", "text": "Größe, d'œuvre."},
        ],
        ensure_ascii=False,
    )


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def say(self, status, value, **headers):
        data = json.dumps(value).encode()
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, status, message, **headers):
        self.say(status, {"error": {"message": message, "type": "BadRequestError", "code": status}}, **headers)

    def do_GET(self):
        if self.path == "/health" and PLAN.get("health") != "none":
            return self.say(503 if DEAD.is_set() else 200, {})
        if self.path != "/v1/models":
            return self.refuse(404, "Not Found")
        key = os.environ.get("VLLM_API_KEY")
        if key and self.headers.get("Authorization") != f"Bearer {key}":
            return self.refuse(401, "Unauthorized")
        self.say(200, {"object": "list", "data": [{"id": SERVED}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = os.environ.get("VLLM_API_KEY")
        if key and self.headers.get("Authorization") != f"Bearer {key}":
            return self.refuse(401, "Unauthorized")
        if body["model"] != SERVED or PLAN.get("model") == "gone":
            return self.refuse(404, f"The model `{body['model']}` does not exist.")
        if self.path == "/v1/completions":
            note(probe=True)
            while HUNG.is_set():
                time.sleep(0.1)
            return self.say(200, {"choices": [{"text": "a"}]})
        parts = body["messages"][0]["content"]
        prompt = next((p["text"] for p in parts if p["type"] == "text"), "")
        try:
            url = next(p["image_url"]["url"] for p in parts if p["type"] == "image_url")
            image = Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1])))
            width, height = image.size
        except Exception:
            return self.refuse(400, "cannot identify image file")
        # Pages are 280 pixels high, and wider, also where they are turned.
        page = max(width, height) // 28 - 10
        with LOCK:
            before = [json.loads(line) for line in open(LOG)] if os.path.exists(LOG) else []
        times = sum(1 for line in before if line.get("page") == page)
        steps = PLAN.get(str(page), PLAN.get("all", [{}]))
        step = steps[min(times, len(steps) - 1)]
        note(
            page=page,
            height=height,
            prompt=prompt,
            order=[p["type"] for p in parts],
            pid=os.getpid(),
            time=time.time(),
            dark=dark(image),
            temperature=body["temperature"],
            max_tokens=body["max_tokens"],
        )
        while step.get("until") and not os.path.exists(step["until"]):
            time.sleep(0.02)
        if "crash" in step:
            os._exit(1)
        if "dies" in step and not DEAD.is_set():
            time.sleep(step["dies"])
            DEAD.set()
            threading.Timer(0.5, os._exit, [0]).start()
        if "hangs" in step:
            HUNG.set()
        while HUNG.is_set():
            time.sleep(0.1)
        if "after" in step:
            date = formatdate(time.time() + step["after"], usegmt=True) if step.get("date") else str(step["after"])
            return self.refuse(429, "Too many requests", Retry_After=date)
        if "status" in step:
            return self.refuse(step["status"], step.get("message", "It was told to."))
        text = step.get("text", cells(page) if "bbox" in prompt else f"Text of page {page}.")
        answer = {
            "choices": [
                {"message": {"role": "assistant", "content": text}, "finish_reason": step.get("finish", "stop")}
            ],
            "usage": {"prompt_tokens": 100, "completion_tokens": len(text) // 4},
        }
        if DEAD.wait(step.get("seconds", 0)):
            return self.refuse(500, "EngineCore encountered an issue. See stack trace (above) for the root cause.")
        try:
            self.say(200, answer)
        except OSError:
            note(gone=page)


def main():
    print("Loading weights \x1b[31mred\x1b[0m", flush=True)
    note(
        start=os.getpid(),
        argv=sys.argv[1:],
        key=bool(os.environ.get("VLLM_API_KEY")),
        tmp=os.environ.get("TMPDIR"),
        gpus=os.environ.get("CUDA_VISIBLE_DEVICES"),
    )
    if PLAN.get("start") == "fail":
        print("torch.OutOfMemoryError: CUDA out of memory.", flush=True)
        sys.exit(1)
    if PLAN.get("start") == "child" and os.fork() == 0:
        # As vLLM's engine: a process of its own that waits for work.
        note(child=os.getpid())
        while True:
            time.sleep(1)
    while PLAN.get("start") == "hang":
        time.sleep(1)
    server = ThreadingHTTPServer(("127.0.0.1", int(flag("--port", "0"))), Handler)
    note(port=server.server_address[1])
    server.serve_forever()


main()
