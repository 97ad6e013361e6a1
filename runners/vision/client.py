"""One request to an OpenAI-compatible server, and what its refusals mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Optional

import httpx


class Permanent(Exception):
    """The server will never take this page: a bad image, more tokens than the model's length."""


class Temporary(Exception):
    """The server is there and could not answer this time."""


class Broken(Temporary):
    """An answer of 5xx: of this page, or of an engine that has just died with all that was in flight."""


class Timeout(Temporary):
    """No answer within the time for a page."""


class Lost(Exception):
    """The line to the server broke. `sent` is false where the request never got there."""

    def __init__(self, message: str, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class WrongServer(Exception):
    """The server does not have the model, or does not know us: no page can go through."""


@dataclass(frozen=True)
class Answer:
    """What the model said."""

    text: str
    finish: Optional[str]
    tokens_in: int
    tokens_out: int


class Client:
    """Requests to one server, any number at once. Cancelling one closes its connection, which frees its place in vLLM."""

    def __init__(self, at_once: int, page_seconds: float) -> None:
        limits = httpx.Limits(max_connections=at_once + 4, max_keepalive_connections=at_once)
        # Nothing comes before the whole answer is there, so the time for reading is the time for the page. Proxies of the
        # environment are for the world outside.
        timeout = httpx.Timeout(30, read=page_seconds, pool=None)
        self._http = httpx.AsyncClient(limits=limits, timeout=timeout, trust_env=False)

    async def ask(self, url: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> Answer:
        """Throws Permanent, Temporary, Lost and WrongServer."""
        try:
            response = await self._http.post(f"{url}/v1/chat/completions", headers=dict(headers), json=body)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Lost(f"no connection: {error}", sent=False) from error
        except httpx.ReadTimeout as error:
            raise Timeout("timeout: no answer within the time for a page (pageTimeout)") from error
        except httpx.HTTPError as error:
            raise Lost(f"connection lost: {type(error).__name__} {error}", sent=True) from error
        status = response.status_code
        if status != 200:
            words = f"the server answered {status}: {_message(response)}"
            if status in (401, 403, 404):
                raise WrongServer(words)
            if 400 <= status < 500 and status not in (408, 409, 425, 429):
                raise Permanent(f"refused: {words}")
            raise Broken(words) if status >= 500 else Temporary(words)
        try:
            found = response.json()
            choice = found["choices"][0]
            usage = found.get("usage") or {}
            return Answer(
                str(choice["message"]["content"] or ""),
                choice.get("finish_reason"),
                int(usage.get("prompt_tokens") or 0),
                int(usage.get("completion_tokens") or 0),
            )
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise Temporary(f"the server's answer makes no sense: {response.text[:200]!r}") from error

    async def close(self) -> None:
        """Closes all connections."""
        await self._http.aclose()


def _message(response: httpx.Response) -> str:
    try:
        found = response.json()
        inner = found.get("error", found)
        text = inner.get("message") if isinstance(inner, dict) else inner
        return str(text)[:500]
    except (ValueError, AttributeError):
        return response.text[:200]
