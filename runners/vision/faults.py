"""What goes wrong in the text of a vision model, and how it is told from text that only looks odd."""

from __future__ import annotations

import re
from typing import Optional

# Longest unit of a loop that is looked for, in characters.
_UNIT = 600
# How much of the end has to be the loop.
_LEAST = 400
# Rows of empty table cells, dotted lines and rules repeat on real pages, within limits.
_FILLING = re.compile(r"(?:<[^>]*>|&nbsp;|[\s.\-_=·…|*~:])*", re.S)
_MOST_FILLING = 3000


class Fault(Exception):
    """An answer that is no result. `code` is one of cut, repetition, empty, unparsable, rotated; `raw` is what the model
    said; `turn` are the degrees by which it wants the image turned, against the clock."""

    def __init__(self, code: str, message: str, raw: str = "", turn: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.raw = raw
        self.turn = turn


# What a page that ends may repeat and be whole: a ledger of noughts or a column of "do.", of so few different words, and so
# many letters and figures of it.
_FEW_WORDS, _MOST_SAID = 8, 2000


def loop(text: str, ended: bool = False) -> Optional[str]:
    """The unit that the end of `text` repeats again and again, if it does. If the model `ended` by itself, much more is taken
    for what is on the page: loops seldom find their end."""
    tail = text.rstrip()[-12_000:]
    n = len(tail)
    if n < _LEAST:
        return None
    for unit in range(1, min(_UNIT, n // 8) + 1):
        same = 0
        at = n - 1
        while at >= unit and tail[at] == tail[at - unit]:
            same += 1
            at -= 1
        if same + unit < _LEAST or (same + unit) // unit < 8:
            continue
        repeated = tail[n - unit :]
        if _FILLING.fullmatch(repeated) and same + unit < _MOST_FILLING:
            return None
        said = re.findall(r"\w+", re.sub(r"<[^>]*>", " ", repeated))
        often = (same + unit) // unit
        if ended and len(set(said)) <= _FEW_WORDS and sum(map(len, said)) * often < _MOST_SAID:
            return None
        return repeated
    return None


def no_loop(text: str, ended: bool, raw: Optional[str] = None) -> None:
    """Throws Fault if the text ends in a loop."""
    unit = loop(text, ended)
    if unit is not None:
        shown = re.sub(r"\s+", " ", unit)[:60]
        words = f'repetition: the model repeated "{shown}" to no end'
        raise Fault("repetition", words, text if raw is None else raw)


def check(text: str, finish: Optional[str], most_tokens: int) -> str:
    """Returns the text without what is around it. Throws Fault if it is cut, loops or is empty."""
    no_loop(text, finish != "length")
    if finish == "length":
        raise Fault("cut", f"cut: the answer did not end within {most_tokens} tokens (maxTokens, maxModelLen)", text)
    if text.strip() == "":
        raise Fault("empty", "empty: the model gave no text for a page that is not blank", text)
    return text.strip()


_FENCE = re.compile(r"\A\s*```[a-zA-Z]*[ \t]*\n(.*?)\n?```\s*\Z", re.S)


def unfenced(text: str) -> str:
    """Without the code fence that models put around a whole answer."""
    found = _FENCE.match(text)
    return found.group(1) if found and "```" not in found.group(1) else text
