"""One server and the pages that are asked of it.

A server that ends with pages in flight may have been killed by one of them. Those pages are suspects: they are asked alone,
one after another, before the others go on, so that the one that kills it is found and set aside, and no other. A job with
several servers has a lane for each: what happens in one holds up no page of the others.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Callable, Mapping, Optional

from .client import Answer, Broken, Client, Lost, Temporary, Timeout
from .server import Server

# Seconds, at least, for the one token that tells a slow engine from one that hangs.
_PROBE = 5.0


class Stopped(Exception):
    """The page was given up because the job is to stop; it is done when it runs again."""


class SetAside(Exception):
    """A page that ended the server twice."""


@dataclass
class Page:
    """One page on its way."""

    key: str
    row: Mapping[str, Any]
    # Times that the server ended while this page was in flight.
    crashes: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


class Lane:
    """The way to one server."""

    def __init__(
        self, server: Server, client: Client, tries: int, page_seconds: float, stopping: Callable[[], bool]
    ) -> None:
        """`tries` bounds how often a page is asked whose connection breaks while the server stays; `stopping` says that no
        server is to be started any more."""
        self.in_flight = 0
        # The name that the server has for the model.
        self.model = ""
        # Pages of which one may have ended the server.
        self.suspects = 0
        self._server = server
        self._client = client
        self._tries = tries
        self._page_seconds = page_seconds
        self._stopping = stopping
        # Set while no suspect is about.
        self._calm = asyncio.Event()
        self._calm.set()
        self._alone = asyncio.Lock()
        # When the last answer came, and who asks whether any comes.
        self._answered = 0.0
        self._probing = asyncio.Lock()

    async def open(self) -> None:
        """Before the first page. Throws WrongServer."""
        self.model = await self._server.model_name()

    def done(self, page: Page) -> None:
        """The page has its result, or was given up; a suspect that it was is none any more."""
        if page.crashes > 0:
            self._cleared()

    def gained(self) -> None:
        """A page has its result: what the server did before is forgiven."""
        self._server.restarts = 0

    async def send(self, page: Page, body: Mapping[str, Any]) -> Answer:
        """One answer, however often the server has to be waited for. Throws Permanent, Temporary, SetAside, Stopped, and what
        ends the run: NeverHealthy, WrongServer."""
        losses = 0
        while True:
            if page.crashes == 0:
                await self._calm.wait()
                answer = await self._once(page, body, losses)
            else:
                # Held until the server is up again: the next suspect must not meet one that is just going down, and be
                # taken for what ended it.
                async with self._alone:
                    answer = await self._once(page, body, losses)
            if answer is not None:
                return answer
            losses += 1

    async def _once(self, page: Page, body: Mapping[str, Any], losses: int) -> Optional[Answer]:
        """One answer, or None after the server was lost and is there again; `losses` times it had been before."""
        generation = self._server.generation
        hung: Optional[int] = None
        try:
            return await self._post(body)
        except Lost as error:
            lost = error
        except Timeout as error:
            if await self._server.healthy():
                if not self._server.ours or await self._lives():
                    raise
                hung = generation
            lost = Lost(str(error), sent=True)
        except Broken as error:
            if not self._server.ours or (await self._server.stays_healthy() and self._server.generation == generation):
                raise
            lost = Lost(str(error), sent=True)
        if self._stopping():
            # The signal that this job got may have ended the server as well; no new one is started for what is left.
            raise Stopped
        if lost.sent:
            # At once, so that no other page is sent before it is known whether the server ended.
            self._suspect(page)
        await self._server.recover(hung)
        if lost.sent and self._server.generation == generation:
            self._trust(page)
            if losses + 1 >= self._tries:
                raise Temporary(str(lost))
        elif page.crashes >= 2:
            raise SetAside(f"poison: the server ended or hung twice while it worked on this page ({self._server.log})")
        if self._stopping():
            raise Stopped
        return None

    async def _post(self, body: Mapping[str, Any]) -> Answer:
        self.in_flight += 1
        try:
            answer = await self._client.ask(self._server.url, self._server.headers(), {**body, "model": self.model})
            self._answered = time.monotonic()
            return answer
        finally:
            self.in_flight -= 1

    async def _lives(self) -> bool:
        """Whether the server has answered a page just now, or at least gives one token: if not, its engine hangs, and every
        page would wait for the whole of its time in vain."""
        async with self._probing:
            if time.monotonic() - self._answered > min(30.0, self._page_seconds / 2):
                seconds = max(_PROBE, min(60.0, self._page_seconds))
                if not await self._client.lives(self._server.url, self._server.headers(), self.model, seconds):
                    return False
                self._answered = time.monotonic()
            return True

    def _suspect(self, page: Page) -> None:
        page.crashes += 1
        if page.crashes == 1:
            self.suspects += 1
            self._calm.clear()

    def _trust(self, page: Page) -> None:
        page.crashes -= 1
        if page.crashes == 0:
            self._cleared()

    def _cleared(self) -> None:
        self.suspects -= 1
        if self.suspects == 0:
            self._calm.set()
