"""`vllm serve` for this job alone: a free port of loopback, a key of its own, a log, and an end with the job."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from typing import Callable, Mapping, Optional, Sequence

import httpx

from .client import KEY_FILE, WrongServer, refused

# Starts again after a crash, at most, with no page finished between them.
MOST_RESTARTS = 5
# The name by which requests ask for the model, whatever it is.
SERVED_AS = "model"


class NeverHealthy(Exception):
    """The server can't be had: exit 69."""


def vllm_command() -> list[str]:
    """The `vllm` of the interpreter that runs this, else of PATH. Throws NeverHealthy."""
    beside = os.path.join(os.path.dirname(sys.executable), "vllm")
    found = beside if os.access(beside, os.X_OK) else shutil.which("vllm")
    if found is None:
        raise NeverHealthy(
            f"There is no vllm beside {sys.executable} or on PATH. Give the conda environment that has it (`env`)."
        )
    return [found, "serve"]


def visible_gpus(env: Mapping[str, str]) -> list[str]:
    """GPUs that this job was given, by the names that CUDA knows: SLURM sets CUDA_VISIBLE_DEVICES to them."""
    given = (d.strip() for d in env.get("CUDA_VISIBLE_DEVICES", "").split(","))
    return [d for d in given if d not in ("", "-1", "NoDevFiles")]


def shares(gpus: Sequence[str], each: int) -> list[list[str]]:
    """Which GPUs each server gets, `each` of them; those that are left over stay idle. One server with whatever is there
    where the GPUs are not known by name."""
    return [list(gpus[i : i + each]) for i in range(0, len(gpus) - each + 1, each)] or [list(gpus)]


def gpus_for_one(needs: float, has: Sequence[float], most: int) -> int:
    """How many GPUs hold one copy of a model that needs so many GB, where each has so many: one if they are not known or it
    fits, as a copy on each GPU answers more pages than one that is spread over them; else a power of two, by which the
    heads of a model can be divided."""
    each = 1
    # A card sold as 24 GB has a little less of it free.
    while has and each * 2 <= most and min(has) * each < needs * 0.92:
        each *= 2
    return each


def _key_of_person() -> str:
    """The key of a foreign server, if it has one."""
    given = os.environ.get("YALE_JOBS_SERVER_KEY")
    if given:
        return given
    try:
        with open(os.path.expanduser(KEY_FILE), encoding="utf-8") as file:
            return file.read().strip()
    except (OSError, ValueError):
        return ""


class Server:
    """Either one of ours (`command`) or one that runs already (`url`)."""

    def __init__(
        self,
        *,
        url: Optional[str] = None,
        command: Sequence[str] = (),
        env: Mapping[str, str] = {},
        log: str = os.path.join("log", "server.log"),
        start_seconds: float = 1200,
        phase: Callable[[str], None] = print,
    ) -> None:
        # Addresses are passed on with and without the version of the protocol.
        self.url = re.sub(r"/+(v1/*)?$", "", url) if url else ""
        self.ours = url is None
        self.key = secrets.token_hex(16) if self.ours else _key_of_person()
        # Starts in a row with no page finished between them; who finishes one sets it back.
        self.restarts = 0
        # Counts the times that the server ended.
        self.generation = 0
        self._command = list(command)
        self._env = dict(env)
        self.log = log
        self._limit = start_seconds
        self._phase = phase
        self._guard: Optional[subprocess.Popen[bytes]] = None
        self._scratch: Optional[str] = None
        self._lock = asyncio.Lock()
        self._log_from = 0
        self._http = httpx.AsyncClient(timeout=5, trust_env=False)

    async def start(self) -> None:
        """Returns when the server answers. Throws NeverHealthy, and WrongServer at once for a foreign one that does not know
        us, since waiting would not help."""
        if self.ours:
            self._spawn()
        began = time.monotonic()
        told = began
        while not await self.healthy():
            now = time.monotonic()
            if self._gone():
                raise NeverHealthy(f"The server ended before it was ready.\n{self._tail()}")
            if now - began > self._limit:
                where = "" if self.ours else f" at {self.url}"
                raise NeverHealthy(f"The server{where} did not get ready within {self._limit:g} s.\n{self._tail()}")
            if now - told >= 10:
                told = now
                self._phase(f"Starting the server ({now - began:.0f} s): {self._tail(1)}")
            await asyncio.sleep(0.25)

    def _spawn(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        os.makedirs(os.path.dirname(self.log) or ".", exist_ok=True)
        self._log_from = os.path.getsize(self.log) if os.path.exists(self.log) else 0
        if self._scratch is None:
            # On the node's own disk: compiled kernels in a shared home folder are slow, and two jobs trip over each other.
            self._scratch = tempfile.mkdtemp(prefix="yale-vllm-", dir=os.environ.get("SLURM_TMPDIR"))
        env = {**os.environ, **self._env, "VLLM_API_KEY": self.key, "VLLM_NO_USAGE_STATS": "1", "TMPDIR": self._scratch}
        # It compiles a kernel with nvcc, which nodes seldom have, and is not needed for what is asked here.
        env.setdefault("VLLM_USE_FLASHINFER_SAMPLER", "0")
        for name in ("VLLM_CACHE_ROOT", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"):
            env.setdefault(name, os.path.join(self._scratch, name.lower()))
        guard = os.path.join(os.path.dirname(os.path.abspath(__file__)), "guard.py")
        self._guard = subprocess.Popen(
            [sys.executable, "-B", guard, self._scratch, self.log, *self._command, "--host", "127.0.0.1", "--port", str(port)],
            stdin=subprocess.PIPE,
            start_new_session=True,
            env=env,
        )

    async def healthy(self) -> bool:
        """True if it answers `/health`, or, where a foreign server has none, lists its models. Throws WrongServer."""
        for path in ("/health", "/v1/models"):
            try:
                answer = await self._http.get(f"{self.url}{path}", headers=self.headers())
            except httpx.HTTPError:
                return False
            if not self.ours and answer.status_code in (401, 403):
                raise WrongServer(refused(self.url, answer.status_code))
            if answer.status_code != 404:
                return answer.status_code == 200
        if not self.ours:
            raise WrongServer(
                f"There is no OpenAI-compatible server at {self.url}: neither /health nor /v1/models is there (404). "
                "Check serverUrl: it is the address before /v1."
            )
        return False

    async def stays_healthy(self) -> bool:
        """False if it is going down: an engine that died answers 500 first, then its `/health` turns, then it ends."""
        for wait in (0.0, 0.25, 0.5, 0.75):
            await asyncio.sleep(wait)
            if self._gone() or not await self.healthy():
                return False
        return True

    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    async def model_name(self) -> str:
        """The name to ask a foreign server for: the first it lists. Throws WrongServer."""
        if self.ours:
            return SERVED_AS
        try:
            answer = await self._http.get(f"{self.url}/v1/models", headers=self.headers())
            if answer.status_code in (401, 403):
                raise WrongServer(refused(self.url, answer.status_code))
            return str(answer.json()["data"][0]["id"])
        except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError):
            return SERVED_AS

    def _gone(self) -> bool:
        return self.ours and (self._guard is None or self._guard.poll() is not None)

    async def recover(self, hung: Optional[int] = None) -> None:
        """Called when a request was lost: waits until the server answers again, starting it anew if it is gone; then
        `generation` has grown. `hung` is the generation that answers nothing any more, though it seems well. Throws
        NeverHealthy when it can't be had any more."""
        async with self._lock:
            # A process that dies closes its connections before it is gone.
            for _ in range(0 if hung == self.generation else 40):
                if await self.healthy():
                    return
                if self._gone() or not self.ours:
                    break
                await asyncio.sleep(0.25)
            self.generation += 1
            if not self.ours:
                self._phase(f"The server at {self.url} does not answer; waiting for it.")
                return await self.start()
            self.restarts += 1
            if self.restarts > MOST_RESTARTS:
                raise NeverHealthy(
                    f"The server ended or hung {self.restarts} times with no page done between.\n{self._tail()}"
                )
            what = "ended" if hung is None else "answers nothing any more"
            self._phase(f"The server {what}; starting it again ({self.restarts} of {MOST_RESTARTS}).")
            await self.stop()
            await self.start()

    async def stop(self) -> None:
        """Ends the group: TERM, ten seconds, KILL. Returns when nothing of it is left."""
        guard, self._guard = self._guard, None
        if guard is not None:
            if guard.stdin is not None:
                try:
                    guard.stdin.write(b".")
                    guard.stdin.close()
                except BrokenPipeError:
                    # The server has ended by itself, and its guard with it.
                    pass
            await asyncio.get_running_loop().run_in_executor(None, guard.wait)

    async def close(self) -> None:
        """As `stop`, and nothing is left on the node's disk."""
        await self.stop()
        await self._http.aclose()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _tail(self, lines: int = 30) -> str:
        """The end of the server's log. It is another program's: control characters are left out."""
        try:
            with open(self.log, "rb") as file:
                file.seek(max(self._log_from, os.path.getsize(self.log) - 20_000))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return ""
        clean = [
            re.sub(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f]", "", line).rstrip()
            for line in text.split("\n")
        ]
        kept = [line for line in clean if line][-lines:]
        return "\n".join(kept) if lines > 1 else "".join(kept)[:200]
