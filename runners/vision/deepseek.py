"""DeepSeek-OCR's grounded answers: each block is a name and its boxes in thousandths of the page, then its Markdown."""

from __future__ import annotations

import re

from .faults import Fault
from .images import Prepared
from .model import Parsed
from .plain import plain as without_marks

_BLOCK = re.compile(r"<\|ref\|>(.*?)<\|/ref\|><\|det\|>(.*?)<\|/det\|>", re.S)
_BOX = re.compile(r"\[\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*\]")
_END = re.compile(r"<[|｜][^|｜<>]*[|｜]>")
# Its names for what DoTS.ocr and the exports call otherwise.
_CATEGORIES = {
    "title": "Title",
    "sub_title": "Section-header",
    "text": "Text",
    "table": "Table",
    "image": "Picture",
    "figure": "Picture",
    "equation": "Formula",
    "header": "Page-header",
    "footer": "Page-footer",
    "page_number": "Page-footer",
}


def as_grounded(answer: str, page: Prepared) -> Parsed:
    """Throws Fault (`unparsable`) for an answer without blocks."""
    blocks = list(_BLOCK.finditer(answer))
    if not blocks:
        raise Fault("unparsable", "unparsable: the answer has no boxes", answer)
    layout, body, plain = [], [], []
    starts = [b.start() for b in blocks[1:]] + [len(answer)]
    for block, end in zip(blocks, starts):
        name = block.group(1).strip()
        category = _CATEGORIES.get(name, "Caption" if name.endswith("caption") else "Text")
        boxes = [tuple(map(int, b)) for b in _BOX.findall(block.group(2))]
        box = _around(boxes, page)
        text = _END.sub("", answer[block.end() : end]).strip()
        layout.append({"category": category, "bbox": box, **({} if category == "Picture" else {"text": text})})
        if category == "Picture":
            place = "" if box is None else f"#xywh={box[0]},{box[1]},{box[2] - box[0]},{box[3] - box[1]}"
            body.append(f"![Picture]({place})")
        if text:
            plain.append(without_marks(text))
            if category not in ("Page-header", "Page-footer"):
                body.append(text)
    return Parsed("\n\n".join(plain), "\n\n".join(body), layout)


def _around(boxes: list[tuple[int, ...]], page: Prepared) -> list[int] | None:
    """The box around all of a block's boxes, in the page's own pixels; null if that is no box."""
    if not boxes:
        return None
    sides = [min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes)]
    scale = (page.width, page.height, page.width, page.height)
    left, top, right, bottom = (min(s, round(v * s / 999)) for v, s in zip(sides, scale))
    return [left, top, right, bottom] if right > left and bottom > top else None
