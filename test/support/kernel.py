"""Drives the real tslab kernel for a test, one request a line.

Reads JSON lines from stdin: {"run": code}, {"complete": code} (cursor at its end) or {"interrupt_after": s, "run": code}.
Answers each with one JSON line: {"seconds", "status", "messages": [[type, content], ...]} or {"matches": [...]}. Messages
are those of iopub that arrived since the last answer, updates for earlier cells included.
"""

import json
import queue
import sys
import threading
import time

from jupyter_client.manager import KernelManager


def main():
    manager = KernelManager(kernel_name="tslab")
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=120)
        print(json.dumps({"ready": True}), flush=True)
        for line in sys.stdin:
            result = answer(manager, client, json.loads(line))
            # tslab drops cells that reach it within 200 ms of an error, as those of "run all" should be.
            while result.get("status") == "abort":
                time.sleep(0.1)
                result = answer(manager, client, json.loads(line))
            print(json.dumps(result), flush=True)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def answer(manager, client, request):
    if "complete" in request:
        client.complete(request["complete"], len(request["complete"]))
        return {"matches": client.get_shell_msg(timeout=60)["content"]["matches"]}
    began = time.monotonic()
    asked = client.execute(request["run"])
    if "interrupt_after" in request:
        threading.Timer(request["interrupt_after"], manager.interrupt_kernel).start()
    messages = []
    idle = False
    while not idle:
        try:
            message = client.get_iopub_msg(timeout=110)
        except queue.Empty:
            return {"status": "timeout", "seconds": time.monotonic() - began, "messages": messages}
        kind, content = message["msg_type"], message["content"]
        if kind == "status":
            idle = content["execution_state"] == "idle" and message["parent_header"].get("msg_id") == asked
        else:
            messages.append([kind, content])
    while True:
        reply = client.get_shell_msg(timeout=60)
        if reply["parent_header"].get("msg_id") == asked:
            break
    return {"status": reply["content"]["status"], "seconds": time.monotonic() - began, "messages": messages}


if __name__ == "__main__":
    main()
