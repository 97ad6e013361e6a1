"""Answers with a head between `---` lines, as olmOCR gives them."""

from __future__ import annotations

import re

from .faults import Fault, unfenced
from .images import Prepared
from .model import Parsed
from .plain import plain

_HEAD = re.compile(r"\A---[ \t]*\n(.*?)\n---[ \t]*(?:\n|\Z)(.*)\Z", re.S)


def as_front_matter(answer: str, page: Prepared) -> Parsed:
    """The text below the head; language and rotation of the head go to `inference_info`. Throws Fault (`unparsable`) for an
    answer without one, and (`rotated`) where the model says that the page stands on its side: its text is then not to be
    trusted."""
    found = _HEAD.match(unfenced(answer).strip())
    if found is None:
        raise Fault("unparsable", "unparsable: the answer has no head between --- lines", answer)
    head = dict(re.findall(r"^(\w+):[ \t]*(.*?)[ \t]*$", found.group(1), re.M))
    if head.get("is_rotation_valid", "true").lower() == "false":
        turn = head.get("rotation_correction", "?")
        words = f"rotated: the model sees the page turned; turn it by {turn} degrees"
        raise Fault("rotated", words, answer, int(turn) if turn in ("90", "180", "270") else 0)
    text = found.group(2).strip()
    language = head.get("primary_language", "null")
    return Parsed(plain(text), text, None, {} if language in ("null", "None", "") else {"language": language})
