"""A run from its command line to its exit code, by the runner contract: `--input DATASET --output FOLDER --options FILE`."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import platform
import signal
import sys
import traceback
from importlib import metadata
from typing import Any, Iterator, Mapping, Optional

from common.dataset import Unreadable, write_whole
from common.input import Input
from common.output import Output, Refused, shard_of
from common.progress import Progress

from . import gpu
from .client import WrongServer
from .images import PixelRules
from .model import Model
from .pump import Pump
from .server import SERVED_AS, NeverHealthy, Server, gpus_for_one, shares, visible_gpus, vllm_command

DONE, DONE_WITH_ERRORS, BAD_OPTIONS, BAD_INPUT, NO_SERVER, INTERNAL, AGAIN = 0, 3, 64, 66, 69, 70, 75
# Seconds that pages in flight get: USR1 comes minutes before the time limit, TERM half a minute before the kill.
_GRACE = {"SIGUSR1": 60.0, "SIGTERM": 8.0, "SIGINT": 8.0}
_COLUMNS = ["image", "key", "source", "page", "label", "width", "height"]
_TYPES = {"string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,)}


def main(model: Model) -> None:
    """Runs the card's model and ends the process."""
    try:
        code = asyncio.run(_run(model))
    except Refused as error:
        code = _say(BAD_OPTIONS, error)
    except Unreadable as error:
        code = _say(BAD_INPUT, error)
    except (NeverHealthy, WrongServer) as error:
        code = _say(NO_SERVER, error)
    except Exception:
        traceback.print_exc()
        code = INTERNAL
    sys.stdout.flush()
    sys.stderr.flush()
    # A decoder that is still busy with a page nobody waits for is no reason to stay.
    os._exit(code)


def _say(code: int, error: Exception) -> int:
    print(error, file=sys.stderr)
    return code


def read_options(card: Mapping[str, Any], path: Optional[str]) -> dict[str, Any]:
    """The options of a file over the card's defaults. Throws Refused for one that the card does not have or allow."""
    given: dict[str, Any] = {}
    if path is not None:
        try:
            with open(path, encoding="utf-8") as file:
                given = json.load(file)
        except (OSError, ValueError) as error:
            raise Refused(f"The options can't be read: {error}") from error
    known = card["options"]
    options = {name: about.get("default") for name, about in known.items()}
    for name, value in given.items():
        about = known.get(name)
        if about is None:
            raise Refused(f"There is no option {json.dumps(name)}; known: {', '.join(known)}.")
        fits = isinstance(value, _TYPES[about["type"]]) and isinstance(value, bool) == (about["type"] == "boolean")
        if not fits or ("allowed" in about and value not in about["allowed"]):
            raise Refused(f"{name}: {json.dumps(value)} is not allowed ({about.get('allowed') or about['type']}).")
        if "minimum" in about and value < about["minimum"]:
            raise Refused(f"{name}: {json.dumps(value)} is below {about['minimum']}.")
        options[name] = value
    if options.get("customPrompt") and "promptMode" not in given and "ocr" in known["promptMode"]["allowed"]:
        # A layout is what the model's own prompt asks for; of another nobody knows more than that it asks for text.
        options["promptMode"] = "ocr"
    return options


def with_pixels(model: Model, options: Mapping[str, Any]) -> Model:
    """The model with the limits of pixels that were asked for."""
    p = model.pixels
    low = min(options.get("minPixels") or p.min_pixels, p.max_pixels)
    high = options.get("maxPixels") or p.max_pixels
    if low > high:
        raise Refused(f"minPixels ({low}) is above maxPixels ({high}).")
    return Model(**{**vars(model), "pixels": PixelRules(low, high, p.factor, p.longest)})


async def gpus_of_servers(card: Mapping[str, Any], options: Mapping[str, Any]) -> list[list[str]]:
    """The GPUs of each server of this job. Throws Refused where one copy is to be spread over more than there are."""
    given = visible_gpus(os.environ)
    asked: Optional[int] = options.get("tensorParallel")
    if asked is not None and asked > max(1, len(given)):
        raise Refused(f"tensorParallel: one copy of the model is to have {asked} GPUs, and the job has {len(given)}.")
    each = asked or gpus_for_one(float(card.get("gpuMemory", 0)), await gpu.gigabytes(), len(given))
    return shares(given, each)


def serve_command(model: Model, card: Mapping[str, Any], options: Mapping[str, Any], gpus: int) -> list[str]:
    """The arguments of a `vllm serve` with so many GPUs; the key is in its environment, where no list of processes shows
    it."""
    flags = [options.get("modelId") or card["model"], "--served-model-name", SERVED_AS]
    if options.get("revision"):
        # The code of a model is as much of it as the weights.
        flags += ["--revision", options["revision"]]
        if "--trust-remote-code" in model.serve:
            flags += ["--code-revision", options["revision"]]
    flags += ["--max-model-len", str(options["maxModelLen"])]
    flags += ["--gpu-memory-utilization", str(options["gpuMemoryUtilization"])]
    flags += ["--limit-mm-per-prompt", '{"image": 1}', "--max-num-seqs", str(max(options["batchSize"], 1))]
    # No page comes twice: caches of images and prompts only cost memory (DeepSeek's, LightOn's and Paddle's recipes).
    flags += ["--no-enable-prefix-caching", "--mm-processor-cache-gb", "0"]
    if gpus > 1:
        flags += ["--tensor-parallel-size", str(gpus)]
    return [*flags, *model.serve]


def _version(package: str) -> Optional[str]:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


async def _run(model: Model) -> int:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("input", "output"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--options")
    try:
        args = parser.parse_args()
    except SystemExit as end:
        return BAD_OPTIONS if end.code else DONE
    here = os.path.dirname(os.path.abspath(sys.argv[0]))
    with open(os.path.join(here, "card.json"), encoding="utf-8") as file:
        card = json.load(file)
    options = read_options(card, args.options)
    if options["promptMode"] not in model.modes:
        raise Refused(f"promptMode: {options['promptMode']!r} is none of {', '.join(model.modes)}.")
    model = with_pixels(model, options)
    prompt = options.get("customPrompt") or model.modes[options["promptMode"]].prompt
    identity = {
        "engine": card["engine"],
        "model": options.get("modelId") or card["model"],
        "revision": options.get("revision"),
        "promptMode": options["promptMode"],
        "promptSha256": hashlib.sha256(prompt.encode()).hexdigest(),
        "maxPixels": model.pixels.max_pixels,
    }
    shard = shard_of()
    progress = Progress()
    stop = _Stop(progress)
    pages = Input(args.input, options.get("maxSamples"), shard, lambda: stop.asked or stop.over)
    # The first look tells of an input that can't be read before an output is made for it.
    await asyncio.to_thread(pages.more)
    output = Output(args.output, args.input, identity, shard)
    if pages.whole:
        output.check(pages.keys)
    progress.write("start", total=pages.total, done=output.done, attempt=output.attempt)
    code = AGAIN
    try:
        if not stop.asked and (not pages.whole or output.done < pages.total):
            await _work(model, card, options, identity, prompt, pages, output, progress, stop)
        finished = pages.whole and output.done >= pages.total
        code = AGAIN if not finished else DONE_WITH_ERRORS if output.failed else DONE
        first, last = pages.span
        output.close(pages.keys[first:last] if finished else None)
    except (NeverHealthy, WrongServer) as error:
        output.close()
        code = _say(AGAIN if stop.asked else NO_SERVER, error)
    except Unreadable as error:
        output.close()
        code = _say(BAD_INPUT, error)
    progress.write("end", done=output.done, failed=output.failed, total=pages.total, exit=code)
    blank = stop.pump.blank if stop.pump is not None else 0
    words = f", {blank} of this attempt taken for blank" if blank else ""
    print(f"{output.done} of {pages.total} pages are done, {output.failed} in error{words}.", flush=True)
    return code


class _Stop:
    """Signals to stop: the first lets pages in flight end, the second gives them up, the third ends the process."""

    def __init__(self, progress: Progress) -> None:
        self.asked = False
        # The server is gone: nobody waits for pages any more.
        self.over = False
        self.pump: Optional[Pump] = None
        self.starting: Optional[asyncio.Future[Any]] = None
        self._times = 0
        self._progress = progress
        for name in _GRACE:
            asyncio.get_running_loop().add_signal_handler(getattr(signal, name), self._on, name)

    def _on(self, name: str) -> None:
        self.asked = True
        self._times += 1
        if self._times > 2:
            os._exit(AGAIN)
        self._progress.write("signal", name=name)
        print(f"{name}: no more pages are taken; those in flight are finished.", flush=True)
        if self.pump is not None:
            self.pump.stop(_GRACE[name] if self._times == 1 else 0)
        elif self.starting is not None:
            self.starting.cancel()


async def _work(
    model: Model,
    card: Mapping[str, Any],
    options: Mapping[str, Any],
    identity: Mapping[str, Any],
    prompt: str,
    pages: Input,
    output: Output,
    progress: Progress,
    stop: _Stop,
) -> None:
    """Starts the server and puts the pages through. Returns early when it is told to stop. The server is gone after it."""

    def phase(message: str) -> None:
        print(message, flush=True)
        progress.write("phase", message=message)

    url = options.get("serverUrl")
    if url and not url.startswith(("http://", "https://")):
        raise Refused(f"serverUrl: {url!r} is no address; it begins with http:// or https://.")
    groups: list[list[str]] = [[]]
    command: list[str] = []
    if not url:
        groups = await gpus_of_servers(card, options)
        command = [*vllm_command(), *serve_command(model, card, options, len(groups[0]))]
        many = "" if len(groups) == 1 else f" {len(groups)} times"
        phase(f"Starting the server{many} with {identity['model']}.")
        print(" ".join(command), flush=True)
        idle = len(visible_gpus(os.environ)) - sum(map(len, groups))
        if idle > 0:
            phase(f"GPUs that stay idle: {idle}; a copy of the model takes {len(groups[0])}. Ask for a multiple of that.")
    task = os.environ.get("YALE_JOBS_SHARD")

    def server(index: int) -> Server:
        name = "-".join(["server", *([task] if task else []), *([f"gpu{index}"] if len(groups) > 1 else [])])
        mine = {} if len(groups) == 1 else {"CUDA_VISIBLE_DEVICES": ",".join(groups[index])}
        return Server(
            url=url or None,
            command=command,
            env={**model.env, **mine},
            log=os.path.join("log", f"{name}.log"),
            start_seconds=options["startTimeout"],
            phase=phase if len(groups) == 1 else lambda message: phase(f"GPU {index}: {message}"),
        )

    servers = [server(i) for i in range(len(groups))]
    try:
        stop.starting = asyncio.gather(*(s.start() for s in servers))
        try:
            await stop.starting
        except asyncio.CancelledError:
            if stop.asked:
                return
            raise
        versions = {name: _version(name) for name in ("vllm", "transformers", "torch", "pillow", "pyarrow", "httpx")}
        await _record(output, model, card, options, identity, prompt, command, groups, versions)
        about = {k: v for k, v in {**identity, "vllm": versions["vllm"], "server": url}.items() if v is not None}
        pump = Pump(model, options, servers, output, progress, about, lambda: pages.total)
        stop.pump = pump
        if stop.asked:
            return
        phase("Reading pages.")
        await pump.run(_missing(pages, output, progress))
    finally:
        stop.over = True
        await asyncio.gather(*(s.close() for s in servers))


def _missing(pages: Input, output: Output, progress: Progress) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Pages that are not there yet, as they come. The images of the others are not even looked at."""
    at, last = pages.span
    while True:
        while at < last:
            if output.has(pages.keys[at]):
                at += 1
                continue
            end = at
            while end < last and not output.has(pages.keys[end]):
                end += 1
            for row in pages.rows(at, end, _COLUMNS):
                yield pages.keys[at], row
                at += 1
            if at < end:
                return
        if pages.whole:
            return
        if not pages.more():
            print("No more pages are waited for: the node is given back.", flush=True)
            return
        if pages.whole:
            output.check(pages.keys)
        last = pages.span[1]
        progress.write("total", total=pages.total)


async def _record(
    output: Output,
    model: Model,
    card: Mapping[str, Any],
    options: Mapping[str, Any],
    identity: Mapping[str, Any],
    prompt: str,
    command: list[str],
    groups: list[list[str]],
    versions: Mapping[str, Any],
) -> None:
    """What a repetition of this attempt needs to know, beside the results."""
    about = {
        **identity,
        "card": card["name"],
        "prompt": prompt,
        "options": dict(options),
        "pixels": vars(model.pixels),
        "serve": command,
        # The GPUs of each server, where they are known by name.
        "servers": groups,
        "python": platform.python_version(),
        "versions": versions,
        "gpus": await gpu.about(),
        "host": platform.node(),
        "slurm": {k: v for k, v in os.environ.items() if k in ("SLURM_JOB_ID", "SLURM_JOB_PARTITION")},
    }
    path = os.path.join(output.folder, f"environment-{output.attempt}.json")
    write_whole(path, json.dumps(about, indent=2, ensure_ascii=False) + "\n")
