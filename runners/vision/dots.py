"""DoTS.ocr and dots.mocr: their prompts, their layout JSON, and the Markdown that is made of it.

Prompts, limits and coordinates by the model's repository (rednote-hilab/dots.ocr, of March 2026): the prompts are part of
what the model was trained on, and are not to be changed.
"""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from typing import Any, Optional

from .faults import Fault, unfenced
from .images import PixelRules, Prepared
from .model import Mode, Model, Parsed

_CATEGORIES = (
    "['Caption', 'Footnote', 'Formula', 'List-item', 'Page-footer', 'Page-header', 'Picture', "
    "'Section-header', 'Table', 'Text', 'Title']"
)
_LAYOUT_ALL = f"""Please output the layout information from the PDF image, including each layout element's bbox, its category, and the corresponding text content within the bbox.

1. Bbox format: [x1, y1, x2, y2]

2. Layout Categories: The possible categories are {_CATEGORIES}.

3. Text Extraction & Formatting Rules:
    - Picture: For the 'Picture' category, the text field should be omitted.
    - Formula: Format its text as LaTeX.
    - Table: Format its text as HTML.
    - All Others (Text, Title, etc.): Format their text as Markdown.

4. Constraints:
    - The output text must be the original text from the image, with no translation.
    - All layout elements must be sorted according to human reading order.

5. Final Output: The entire output must be a single JSON object.
"""
_LAYOUT_ONLY = (
    "Please output the layout information from this PDF image, including each layout's bbox and its category. "
    "The bbox should be in the format [x1, y1, x2, y2]. The layout categories for the PDF document include "
    f"{_CATEGORIES}. Do not output the corresponding text. The layout result should be in JSON format."
)

Cell = dict[str, Any]


def read_cells(answer: str) -> tuple[list[Cell], bool]:
    """The cells of a layout answer, and whether it had to be mended. Only mending that loses nothing is done: a fence
    around the JSON, backslashes of LaTeX that were not doubled, line breaks inside strings, a bracket missing at the end,
    commas too many or too few between cells. Throws Fault (`unparsable`) for the rest."""
    text = unfenced(answer).strip()
    for mended, candidate in ((False, text), (True, _backslashes(text))):
        try:
            found = json.loads(candidate, strict=not mended, parse_int=_integer)
        except (ValueError, RecursionError):
            continue
        return _cells_of(found, answer), mended or text != answer.strip()
    cells: list[Cell] = []
    rest = _backslashes(text).lstrip("[ \t\r\n")
    decoder = json.JSONDecoder(strict=False, parse_int=_integer)
    while rest.startswith("{"):
        try:
            cell, end = decoder.raw_decode(rest)
        except (ValueError, RecursionError):
            break
        cells.append(cell)
        rest = rest[end:].lstrip(", \t\r\n")
    if rest.strip("] \t\r\n") != "" or not cells:
        raise Fault("unparsable", f"unparsable: the layout is no JSON after {len(cells)} cells", answer)
    return _cells_of(cells, answer), True


def _integer(digits: str) -> float:
    """Without Python's limit on the digits of an integer, past which the whole answer would be no JSON."""
    return int(digits) if len(digits) < 20 else float(digits)


def _backslashes(text: str) -> str:
    """Doubles the backslashes that begin no escape of JSON, such as that of `\\alpha`."""
    return re.sub(r'\\(?:(["\\/bfnrt]|u[0-9a-fA-F]{4})|)', lambda m: m.group(0) if m.group(1) else r"\\", text)


def _latex(text: str, formula: bool) -> str:
    """Words of LaTeX whose backslash made an escape of JSON with their first letter: `\\frac` came out as a form feed and
    `rac`. Form feed and backspace are on no page; the others are taken for LaTeX inside formulas only."""
    text = text.replace("\f", r"\f").replace("\b", r"\b")
    if not formula:
        return text
    text = re.sub(r"\t(?=[a-zA-Z])", r"\\t", text)
    text = re.sub(r"\r(?=[a-zA-Z])", r"\\r", text)
    return re.sub(r"\n(?=(?:u|eq?|abla|ot|otin|mid)(?![a-zA-Z]))", r"\\n", text)


def _cells_of(found: Any, answer: str) -> list[Cell]:
    if isinstance(found, dict):
        # "a single JSON object" is taken at its word now and then: the list under some name, or one cell by itself.
        lists = [v for v in found.values() if isinstance(v, list) and v and isinstance(v[0], dict)]
        found = lists[0] if "bbox" not in found and lists else [found]
    if not isinstance(found, list) or not all(isinstance(c, dict) for c in found):
        raise Fault("unparsable", "unparsable: the layout is no list of cells", answer)
    return found


def to_layout(cells: list[Cell], page: Prepared) -> list[Cell]:
    """Cells with boxes in the page's own pixels; a box that makes no sense becomes null, its text stays."""
    x, y = page.width / page.sent_width, page.height / page.sent_height
    layout = []
    for cell in cells:
        entry: Cell = {"category": str(cell.get("category") or "Text"), "bbox": _box(cell.get("bbox"), x, y, page)}
        if isinstance(cell.get("text"), str):
            entry["text"] = _latex(cell["text"], entry["category"] == "Formula")
        layout.append(entry)
    return layout


def _box(given: Any, x: float, y: float, page: Prepared) -> Optional[list[int]]:
    numbers = isinstance(given, list) and len(given) == 4
    if not numbers or not all(_is_place(v) for v in given):
        return None
    left, right = sorted((min(max(round(v * x), 0), page.width) for v in given[0::2]))
    top, bottom = sorted((min(max(round(v * y), 0), page.height) for v in given[1::2]))
    return [left, top, right, bottom] if right > left and bottom > top else None


def _is_place(value: Any) -> bool:
    """JSON of models knows NaN and Infinity, and numbers that are infinite."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def to_markdown(layout: list[Cell]) -> str:
    """Cells in reading order as Markdown. Running heads and page numbers stay out, as they would stand in the middle of
    sentences that go on over the page; they are in `text` and in the layout."""
    parts = []
    for cell in layout:
        category, text = cell["category"], cell.get("text", "").strip()
        if category in ("Page-header", "Page-footer"):
            continue
        if category == "Picture":
            # A media fragment (W3C Media Fragments URI 1.0): the place of the picture on the page.
            box = cell["bbox"]
            place = "" if box is None else f"#xywh={box[0]},{box[1]},{box[2] - box[0]},{box[3] - box[1]}"
            parts.append(f"![Picture]({place})")
        elif text == "":
            continue
        elif category == "Formula":
            parts.append(_formula(text))
        elif category in ("Title", "Section-header") and not text.startswith("#"):
            parts.append(f"{'#' if category == 'Title' else '##'} {text}")
        elif category == "List-item" and parts and _is_item(parts[-1]) and _is_item(text):
            parts[-1] += f"\n{text}"
        else:
            parts.append(text)
    return "\n\n".join(parts)


def _is_item(text: str) -> bool:
    return re.match(r"\s*(?:[-*+•]|\d+[.)])\s", text.rsplit("\n", 1)[-1]) is not None


def _formula(text: str) -> str:
    if text.startswith("$$") or "$" in text.strip("$"):
        return text
    bare = text.strip("$").strip()
    if bare.startswith(r"\[") and bare.endswith(r"\]"):
        bare = bare[2:-2].strip()
    return f"$$\n{bare}\n$$"


def to_text(layout: list[Cell]) -> str:
    """All that is written on the page, heads and feet too, without Markdown's and HTML's marks."""
    return "\n\n".join(t for t in (_plain(c["category"], c.get("text", "")) for c in layout) if t)


def _plain(category: str, text: str) -> str:
    if category == "Formula":
        return text.strip().strip("$").strip()
    if category == "Table" or re.match(r"\s*<table", text):
        return table_text(text)
    text = re.sub(r"^#{1,6}\s+", "", text.strip(), flags=re.M)
    return re.sub(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1", r"\2", text, flags=re.S)


class _Table(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            if not self.rows:
                self.rows.append([])
            self.rows[-1].append("")
        elif tag == "br":
            self.handle_data(" ")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data
        elif data.strip():
            self.rows.append([data])


def table_text(html: str) -> str:
    """An HTML table as text: a line for each row, tabs between the cells."""
    parser = _Table()
    parser.feed(html)
    parser.close()
    return "\n".join("\t".join(" ".join(cell.split()) for cell in row) for row in parser.rows).strip()


def _layout_all(answer: str, page: Prepared) -> Parsed:
    cells, mended = read_cells(answer)
    layout = to_layout(cells, page)
    return Parsed(to_text(layout), to_markdown(layout), layout, {"mended": True} if mended else {})


def _layout_only(answer: str, page: Prepared) -> Parsed:
    cells, mended = read_cells(answer)
    layout = [{k: v for k, v in c.items() if k != "text"} for c in to_layout(cells, page)]
    return Parsed("", "", layout, {"mended": True} if mended else {})


def dots() -> Model:
    """The model of both cards: they differ in their weights alone."""
    return Model(
        modes={
            "ocr": Mode("Extract the text content from this image."),
            # Loops of layout-all usually end with the plainer prompt (README of the repository).
            "layout-all": Mode(_LAYOUT_ALL, _layout_all, fallback="ocr"),
            "layout-only": Mode(_LAYOUT_ONLY, _layout_only),
        },
        pixels=PixelRules(min_pixels=3136, max_pixels=11_289_600, factor=28),
        # The template drops the roles where the content is a list: 61 bad pages of 300 instead of 7 (intel/llm-scaler
        # PR 682, vLLM 0.26).
        serve=["--chat-template-content-format", "string", "--trust-remote-code"],
        # As in the repository's own client; without it vLLM puts a line break between image and text.
        image_mark="<|img|><|imgpad|><|endofimg|>",
    )
