"""What a card says of its model: prompts, limits of pixels, flags of the server, and how an answer becomes a result."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Callable, Mapping, Optional, Sequence

from .faults import unfenced
from .images import PixelRules, Prepared
from .plain import plain


@dataclass(frozen=True)
class Parsed:
    """A result: plain text, Markdown, and the layout with boxes in the page's own pixels where the model gives one."""

    text: str
    markdown: str
    layout: Optional[list[dict[str, Any]]] = None
    # More for `inference_info`, such as that an answer had to be mended.
    info: Mapping[str, Any] = field(default_factory=dict)


def as_markdown(answer: str, page: Prepared) -> Parsed:
    """For models that answer in Markdown: as it comes, without a fence around all of it, and as plain text. JSON that a
    prompt of one's own asked for stays what it is."""
    text = unfenced(answer).strip()
    return Parsed(text if _is_json(text) else plain(text), text)


def _is_json(text: str) -> bool:
    if text[:1] not in ("{", "["):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


@dataclass(frozen=True)
class Mode:
    """One way to ask. `parse` throws Fault for an answer that it can't read; `fallback` is the mode that is asked after
    two answers that were no result."""

    prompt: str
    parse: Callable[[str, Prepared], Parsed] = as_markdown
    fallback: Optional[str] = None


@dataclass(frozen=True)
class Model:
    """A model that vLLM serves. Everything that a person may choose is in the card's options instead."""

    modes: Mapping[str, Mode]
    pixels: PixelRules = PixelRules()
    # Flags of `vllm serve` beyond those that every model gets.
    serve: Sequence[str] = ()
    # Environment of the server.
    env: Mapping[str, str] = field(default_factory=dict)
    # Put before the prompt in the text part, for templates that need the image's place marked.
    image_mark: str = ""
    # False for models whose prompt has the text before the image.
    image_first: bool = True
    top_p: float = 1.0
    # More fields of the request, such as `skip_special_tokens`.
    request: Mapping[str, Any] = field(default_factory=dict)
