"""One request to an OpenAI-compatible server, and what its refusals mean."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, Mapping, Optional

import httpx


# Where the key of a foreign server lies: variables of a job are no place for secrets, as they stand in its script.
KEY_FILE = "~/.config/yale-jobs/server-key"


class Permanent(Exception):
    """The server will never take this page: a bad image, more tokens than the model's length."""


class Temporary(Exception):
    """The server is there and could not answer this time."""


class Broken(Temporary):
    """An answer of 5xx: of this page, or of an engine that has just died with all that was in flight."""


class Busy(Broken):
    """The server has too much to do (429, 503). `seconds` is how long it asks to be left alone, if it says so."""

    def __init__(self, message: str, seconds: Optional[float]) -> None:
        super().__init__(message)
        self.seconds = seconds


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
            if status in (401, 403):
                raise WrongServer(refused(url, status))
            if status == 404:
                raise WrongServer(f"{words}. Check serverUrl and the model that it has.")
            if status in (429, 503):
                raise Busy(words, _seconds(response.headers.get("Retry-After")))
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

    async def lives(self, url: str, headers: Mapping[str, str], model: str, seconds: float) -> bool:
        """Whether the engine gives as much as one token within that time, whatever `/health` says. False only if nothing
        comes: a server that knows no plain completions is not to be taken for a dead one."""
        body = {"model": model, "prompt": "a", "max_tokens": 1}
        try:
            await self._http.post(f"{url}/v1/completions", headers=dict(headers), json=body, timeout=seconds)
        except httpx.HTTPError:
            return False
        return True

    async def close(self) -> None:
        """Closes all connections."""
        await self._http.aclose()


def refused(url: str, status: int) -> str:
    """What to tell a person whose key a server does not take."""
    return (
        f"The server at {url} refuses the key that it is given, or wants one ({status}). "
        f"Put the right one into {KEY_FILE} where the job runs, for you alone to read, or into YALE_JOBS_SERVER_KEY."
    )


def _seconds(after: Optional[str]) -> Optional[float]:
    """What a `Retry-After` says, which is seconds or a date."""
    if after is None:
        return None
    try:
        return max(0.0, float(after))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(after)
    except (TypeError, ValueError):
        return None
    return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=timezone.utc)) - datetime.now(timezone.utc)).total_seconds())


def _message(response: httpx.Response) -> str:
    try:
        found = response.json()
        inner = found.get("error", found)
        text = inner.get("message") if isinstance(inner, dict) else inner
        return str(text)[:500]
    except (ValueError, AttributeError):
        return response.text[:200]
