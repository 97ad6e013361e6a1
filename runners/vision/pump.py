"""Keeps a server full: pages are read and made ready ahead, so many requests are in flight at any moment, and each page is
written when it is done. Nothing waits for the slowest of a batch; there are no batches.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any, Callable, Iterator, Mapping, Optional, Sequence

from common.output import Output
from common.progress import Progress

from . import faults, gpu
from .client import Busy, Client, Permanent, Temporary, Timeout
from .images import BadImage, Prepared, prepare, turned
from .lane import Lane, Page, SetAside, Stopped
from .model import Mode, Model, Parsed
from .server import Server

# Sampling of the tries of one page: a loop or a cut seldom comes again a little warmer (olmOCR's pipeline does the same).
_WARMER = (0.0, 0.1, 0.3, 0.6, 0.8, 1.0)
# Characters of a bad answer that are kept for whoever wants to look.
_RAW = 20_000
# Seconds between two rates, and of an idle GPU before it is spoken of: clusters end such jobs.
_RATE_EVERY = 10.0
_IDLE_AFTER = 180.0
# Seconds until it is said once more.
_IDLE_AGAIN = 300.0
# Seconds that a page waits in all for a server that says that it is busy.
_PATIENCE = 900.0


# What is made ready ahead of the requests, and a None for each worker at the end.
Ready = asyncio.Queue[Optional[tuple[Page, asyncio.Future[Prepared]]]]


class Pump:
    """One run over the pages that are not there yet."""

    def __init__(
        self,
        model: Model,
        options: Mapping[str, Any],
        servers: Sequence[Server],
        output: Output,
        progress: Progress,
        about: Mapping[str, Any],
        total: Callable[[], int],
    ) -> None:
        self._model = model
        self._options = options
        self._output = output
        self._progress = progress
        self._about = about
        self._total = total
        # Of each server: that many keep one full.
        self._at_once: int = options["batchSize"] * len(servers)
        self._client = Client(self._at_once, options["pageTimeout"])
        self._lanes = [
            Lane(server, self._client, options["tries"], options["pageTimeout"], lambda: self.stopping) for server in servers
        ]
        cores = int(os.environ.get("SLURM_CPUS_PER_TASK") or os.cpu_count() or 2)
        # Pillow lets go of Python's lock while it decodes; more threads than cores only hold more pages in memory.
        self._threads = max(1, min(8, cores))
        self._pool = ThreadPoolExecutor(self._threads, "page")
        self._stopping = asyncio.Event()
        self._halt = asyncio.ensure_future(self._stopping.wait())
        # Pages of this attempt that were taken for blank.
        self.blank = 0
        self._waiting_for_pages = 0
        self._tokens = 0
        self._workers: list[asyncio.Task[None]] = []

    def stop(self, grace: float) -> None:
        """No more pages are taken; those in flight get so many seconds. Called again, it cuts their time short."""
        self._stopping.set()
        loop = asyncio.get_running_loop()
        loop.call_later(grace, lambda: [w.cancel() for w in self._workers])

    @property
    def stopping(self) -> bool:
        """True once `stop` was called."""
        return self._stopping.is_set()

    async def run(self, rows: Iterator[tuple[str, Mapping[str, Any]]]) -> None:
        """Works until every page is done or `stop`. Throws NeverHealthy, WrongServer, Unreadable."""
        for lane in self._lanes:
            await lane.open()
        ready: Ready = asyncio.Queue(self._threads + 1)
        reader = asyncio.create_task(self._read(rows, ready))
        pace = asyncio.create_task(self._pace())
        self._workers = [
            asyncio.create_task(self._work(ready, self._lanes[i % len(self._lanes)])) for i in range(self._at_once)
        ]
        self._halt.add_done_callback(lambda _: reader.cancel())
        try:
            pending: set[asyncio.Task[Any]] = {reader, *self._workers}
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_EXCEPTION)
                for task in done:
                    if not task.cancelled():
                        task.result()
        finally:
            tasks = (reader, pace, self._halt, *self._workers)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            while not ready.empty():
                left = ready.get_nowait()
                if left is not None:
                    left[1].cancel()
            await self._client.close()
            self._pool.shutdown(wait=False)

    async def _read(
        self,
        rows: Iterator[tuple[str, Mapping[str, Any]]],
        ready: Ready,
    ) -> None:
        loop = asyncio.get_running_loop()
        rules = self._model.pixels
        blank: bool = self._options["skipBlank"]
        while not self.stopping:
            # In a thread: a shard on a busy file system may take its time.
            item = await loop.run_in_executor(None, next, rows, None)
            if item is None:
                break
            key, row = item
            image = row.get("image")
            if isinstance(image, dict):
                image = image.get("bytes")
            light = {k: v for k, v in row.items() if k != "image"}
            await ready.put((Page(key, light), loop.run_in_executor(self._pool, prepare, image, rules, blank)))
        for _ in range(self._at_once):
            await ready.put(None)

    async def _work(self, ready: Ready, lane: Lane) -> None:
        while not self.stopping:
            item = await self._next(ready)
            if item is None:
                return
            page, prepared = item
            try:
                row = await self._one(page, prepared, lane)
            except Stopped:
                return
            finally:
                lane.done(page)
            self._output.add(row)
            lane.gained()
            if row["error"] is None:
                self._progress.page(page.key, row["seconds"])
            else:
                self._progress.error(page.key, row["error"])
                print(f"{page.key}: {row['error']}", flush=True)

    async def _next(self, ready: Ready) -> Optional[tuple[Page, asyncio.Future[Prepared]]]:
        get = asyncio.ensure_future(ready.get())
        self._waiting_for_pages += 1
        try:
            await asyncio.wait({get, self._halt}, return_when=asyncio.FIRST_COMPLETED)
            return get.result() if get.done() and not self.stopping else None
        finally:
            self._waiting_for_pages -= 1
            get.cancel()

    async def _one(self, page: Page, prepared: asyncio.Future[Prepared], lane: Lane) -> dict[str, Any]:
        """The result of one page, whatever becomes of it. Throws Stopped, NeverHealthy, WrongServer."""
        began = time.monotonic()
        width, height = (int(page.row.get(k) or 0) for k in ("width", "height"))
        info: dict[str, Any] = dict(self._about)
        parsed: Optional[Parsed] = None
        error: Optional[str] = None
        try:
            ready = await prepared
            width, height = ready.width, ready.height
            if ready.blank:
                parsed = Parsed("", "", [], {"blank": True})
                self.blank += 1
                print(f"{page.key}: taken for blank, and not asked for (skipBlank)", flush=True)
            else:
                info["size"] = [ready.sent_width, ready.sent_height]
                parsed = await self._tries(page, ready, info, lane)
        except (BadImage, Permanent, SetAside, Temporary) as fault:
            error = str(fault)
        except faults.Fault as fault:
            error = str(fault)
            info["raw"] = fault.raw[:_RAW]
        if parsed is not None:
            info.update(parsed.info)
        if page.tokens_out:
            info.update(tokensIn=page.tokens_in, tokensOut=page.tokens_out)
        info["time"] = datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
        layout = None if parsed is None or parsed.layout is None else json.dumps(parsed.layout, ensure_ascii=False)
        row = {
            "key": page.key,
            "source": page.row.get("source") or "",
            "page": int(page.row.get("page") or 0),
            "label": page.row.get("label"),
            "text": None if parsed is None else parsed.text,
            "markdown": None if parsed is None else parsed.markdown,
            "layout": layout,
            "error": error,
            "confidence": None,
            "seconds": time.monotonic() - began,
            "width": width,
            "height": height,
            "inference_info": json.dumps(info, ensure_ascii=False),
        }
        return {name: _encodable(value) if isinstance(value, str) else value for name, value in row.items()}

    async def _tries(self, page: Page, ready: Prepared, info: dict[str, Any], lane: Lane) -> Parsed:
        """Asks until there is a result. Throws the last fault when the tries are used up, and Permanent at once."""
        most: int = self._options["tries"]
        asked: str = self._options["promptMode"]
        last: Exception = Temporary("not asked")
        sent = ready
        bad = turn = tried = waits = 0
        waited = 0.0
        while tried < most:
            if self.stopping and tried + waits > 0:
                raise Stopped
            mode = self._model.modes[asked]
            # Two answers were no result: the plainer prompt, if there is one.
            name = mode.fallback if mode.fallback is not None and bad >= 2 else asked
            mode = self._model.modes[name]
            temperature = max(self._options["temperature"], _WARMER[min(bad, len(_WARMER) - 1)])
            tried += 1
            info.update(attempts=tried, promptMode=name, temperature=temperature)
            try:
                answer = await lane.send(page, self._body(sent, mode, temperature))
                page.tokens_in += answer.tokens_in
                page.tokens_out += answer.tokens_out
                self._tokens += answer.tokens_out
                text = faults.check(answer.text, answer.finish, self._room(sent))
                return _parse(mode, text, sent)
            except faults.Fault as fault:
                last = fault
                if fault.turn:
                    # As olmOCR's own pipeline does; the answer was not bad, the page lay on its side.
                    turn = (turn + fault.turn) % 360
                    sent = await self._turned(ready, turn)
                    info.update(turned=turn)
                    continue
                bad += 1
                if fault.code == "unparsable" and self._options.get("customPrompt"):
                    if mode.fallback is None:
                        raise
                    # Every mode asks the same then: what was answered is text, and asking again would bring no more.
                    info.update(promptMode=mode.fallback)
                    return _parse(self._model.modes[mode.fallback], fault.raw, ready)
            except Busy as fault:
                last = fault
                # Being told to wait is no try.
                tried -= 1
                pause = min(60.0, 2.0**waits) if fault.seconds is None else max(0.5, fault.seconds)
                waits += 1
                if waited + pause > _PATIENCE:
                    raise
                waited += pause
                # Not all at the same moment again.
                await self._pause(pause * random.uniform(1.0, 1.25))
            except Temporary as fault:
                last = fault
                if tried < most and not isinstance(fault, Timeout):
                    await self._pause(min(30.0, 0.5 * 2.0**tried))
        raise last

    async def _turned(self, ready: Prepared, degrees: int) -> Prepared:
        if degrees == 0:
            return ready
        return await asyncio.get_running_loop().run_in_executor(self._pool, turned, ready, degrees)

    def _body(self, ready: Prepared, mode: Mode, temperature: float) -> dict[str, Any]:
        prompt = self._options.get("customPrompt") or mode.prompt
        image = {"type": "image_url", "image_url": {"url": ready.url}}
        text = {"type": "text", "text": self._model.image_mark + prompt}
        parts: list[dict[str, Any]] = [image] if self._model.image_mark + prompt == "" else [image, text]
        return {
            "messages": [{"role": "user", "content": parts if self._model.image_first else parts[::-1]}],
            "temperature": temperature,
            "top_p": self._model.top_p,
            "max_tokens": self._room(ready),
            **self._model.request,
        }

    def _room(self, ready: Prepared) -> int:
        """Tokens for the answer: vLLM refuses a request that could grow past the model's length. A patch of `factor`
        pixels squared is a token; the prompt and the template stay below a thousand."""
        most: int = self._options["maxTokens"]
        if self._model.pixels.factor == 1:
            return most
        image = ready.sent_width * ready.sent_height // self._model.pixels.factor**2
        room: int = self._options["maxModelLen"] - image - 1000
        return max(256, min(most, room))

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except asyncio.TimeoutError:
            pass

    async def _pace(self) -> None:
        """Tells the rate, what the GPUs do, and why they do nothing."""
        first, began = self._output.done, time.monotonic()
        tokens, then = 0, began
        idle_since: Optional[float] = None
        told: Optional[float] = None
        while True:
            await asyncio.sleep(_RATE_EVERY)
            now, done = time.monotonic(), self._output.done
            use = await gpu.use()
            words = [f"{sum(lane.in_flight for lane in self._lanes)} in flight", f"{(self._tokens - tokens) / (now - then):.0f} tokens/s"]
            if use is not None:
                words.insert(0, f"GPU {use[0]:.0f} %, {use[1]:.0f} GiB")
            # Over the whole run: pages take as long as they are full, and a short window would jump.
            rate = (done - first) / (now - began)
            left = {"etaSeconds": round((self._total() - done) / rate)} if rate > 0 else {}
            self._progress.write(
                "rate",
                done=done,
                failed=self._output.failed,
                total=self._total(),
                rate=round(rate, 4),
                **left,
                message=" · ".join(words),
            )
            idle = use is not None and use[0] < 5
            idle_since = (idle_since or now) if idle else None
            if idle_since is None:
                told = None
            elif now - idle_since >= _IDLE_AFTER and (told is None or now - told >= _IDLE_AGAIN):
                told = now
                reason = f"The GPU has been idle for {(now - idle_since) / 60:.0f} minutes: {self._why_idle()}."
                print(reason, flush=True)
                self._progress.write("phase", message=reason)
            tokens, then = self._tokens, now

    def _why_idle(self) -> str:
        if any(lane.suspects > 0 for lane in self._lanes):
            return "the server is being started again after a page ended it"
        if self._waiting_for_pages >= self._at_once:
            return "pages are read or decoded too slowly; the file system or the CPUs (cpus) are the limit"
        in_flight = sum(lane.in_flight for lane in self._lanes)
        if in_flight > 0:
            return f"{in_flight} requests are in flight and the server does not work on them (log/server*.log)"
        return "results are being written, or pages wait to be tried again"


def _parse(mode: Mode, text: str, ready: Prepared) -> Parsed:
    """What the mode makes of an answer. Throws Fault, and nothing else: a model may say anything, and one odd answer must
    not end the job."""
    try:
        return mode.parse(text, ready)
    except faults.Fault:
        raise
    except Exception as error:
        words = f"unparsable: the answer can't be read ({type(error).__name__}: {error})"
        raise faults.Fault("unparsable", words, text) from error


def _encodable(text: str) -> str:
    """Without halves of surrogate pairs, which JSON can escape and UTF-8 can't hold."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)
