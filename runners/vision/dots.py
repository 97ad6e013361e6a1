"""DoTS.ocr and dots.mocr: their prompts, their layout JSON, and the Markdown that is made of it.

Prompts, limits and coordinates by the model's repository (rednote-hilab/dots.ocr, of March 2026): the prompts are part of
what the model was trained on, and are not to be changed.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any, Optional

from .faults import Fault, no_loop, unfenced
from .images import PixelRules, Prepared
from .model import Mode, Model, Parsed
from .plain import plain, table_text

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

_BY_NAME = {name.lower(): name for name in re.findall(r"'([^']+)'", _CATEGORIES)}
# The same cell, in the same place, so many times is a loop; fewer are dropped.
_MOST_SAME = 5

Cell = dict[str, Any]


def read_cells(answer: str) -> tuple[list[Cell], bool]:
    """The cells of a layout answer, and whether it had to be mended. Only mending that loses nothing is done: a fence or
    words around the JSON, backslashes of LaTeX that were not doubled, line breaks inside strings, a bracket missing at the
    end, commas too many or too few between cells. Throws Fault (`unparsable`) for the rest."""
    text = unfenced(answer).strip()
    doubled = _backslashes(text)
    begin = re.search(r"\[\s*\{|\{", doubled)
    inner = "" if begin is None else doubled[begin.start() : max(doubled.rfind("]"), doubled.rfind("}")) + 1]
    for mended, candidate in ((False, text), (True, doubled), (True, inner)):
        try:
            found = json.loads(candidate, strict=not mended, parse_int=_integer)
        except (ValueError, RecursionError):
            continue
        return _cells_of(found, answer), mended or text != answer.strip()
    cells: list[Cell] = []
    begin = re.search(r"\[\s*\{", doubled) or begin
    rest = "" if begin is None else doubled[begin.start() :].lstrip("[ \t\r\n")
    between = ""
    decoder = json.JSONDecoder(strict=False, parse_int=_integer)
    while rest.startswith("{"):
        try:
            cell, end = decoder.raw_decode(rest)
        except (ValueError, RecursionError):
            break
        cells.append(cell)
        between = rest[end:]
        rest = between.lstrip(", \t\r\n[]")
    # After the bracket at the end there may be words, and nothing that looks like one more cell.
    ends = rest == "" or (between.lstrip(", \t\r\n").startswith("]") and "{" not in rest)
    if not ends or not cells:
        raise Fault("unparsable", f"unparsable: the layout is no JSON after {len(cells)} cells", answer)
    return _cells_of(cells, answer), True


def _integer(digits: str) -> float:
    """Python refuses integers of very many digits, and with them the whole answer."""
    return int(digits) if len(digits) < 300 else float(digits)


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
    if isinstance(found, dict) and not found.keys() & {"bbox", "category", "text"}:
        # "a single JSON object" is taken at its word now and then: the list under some name, or nothing at all.
        lists = [v for v in found.values() if isinstance(v, list)]
        found = lists[0] if lists else [] if not found else None
    elif isinstance(found, dict):
        found = [found]
    if not isinstance(found, list) or not all(isinstance(c, dict) for c in found):
        raise Fault("unparsable", "unparsable: the layout is no list of cells", answer)
    return found


def to_layout(cells: list[Cell], page: Prepared) -> list[Cell]:
    """Cells with boxes in the page's own pixels; a box that makes no sense becomes null, its text stays."""
    x, y = page.width / page.sent_width, page.height / page.sent_height
    layout = []
    for cell in cells:
        named = str(cell.get("category") or "Text")
        category = _BY_NAME.get(re.sub(r"[\s_]+", "-", named.strip().lower()), named)
        entry: Cell = {"category": category, "bbox": _box(cell.get("bbox"), x, y, page)}
        text = _text(cell.get("text"))
        if text is not None:
            entry["text"] = _latex(text, category == "Formula")
        layout.append(entry)
    return layout


def _text(given: Any) -> Optional[str]:
    """Text is kept in whatever form it comes: as lines, or a page number as a number."""
    if isinstance(given, list):
        return "\n".join(t for t in map(_text, given) if t is not None)
    if isinstance(given, dict):
        return json.dumps(given, ensure_ascii=False)
    return None if given is None else str(given)


def _box(given: Any, x: float, y: float, page: Prepared) -> Optional[list[int]]:
    if isinstance(given, str):
        given = re.findall(r"[^\s,;\[\]()]+", given)
    if not isinstance(given, list) or len(given) != 4:
        return None
    sides = [_place(v) for v in given]
    if not all(math.isfinite(v) for v in sides):
        return None
    left, right = sorted((min(max(round(v * x), 0), page.width) for v in sides[0::2]))
    top, bottom = sorted((min(max(round(v * y), 0), page.height) for v in sides[1::2]))
    return [left, top, right, bottom] if right > left and bottom > top else None


def _place(value: Any) -> float:
    """A number, also one in a string. JSON of models knows NaN and Infinity; all that is none is NaN here."""
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


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
    bare = _bare(text)
    return text if bare is None else f"$$\n{bare}\n$$"


def _bare(text: str) -> Optional[str]:
    """A formula without the delimiters around all of it; None where text and formulas are mixed."""
    text = text.strip()
    found = re.fullmatch(r"\$\$(.*)\$\$|\$(.*)\$|\\\[(.*)\\\]|\\\((.*)\\\)", text, re.S)
    bare = text if found is None else next(g for g in found.groups() if g is not None)
    # A dollar sign may be part of the formula, and so may a line break with a distance after it, which is `\\[2pt]`.
    return None if re.search(r"(?<!\\)(?:\\\\)*(?:\$|\\[\[\]()])", bare) else bare.strip()


def to_text(layout: list[Cell]) -> str:
    """All that is written on the page, heads and feet too, without Markdown's and HTML's marks."""
    return "\n\n".join(t for t in (_plain(c["category"], c.get("text", "")) for c in layout) if t)


def _plain(category: str, text: str) -> str:
    if category == "Formula":
        return _bare(text) or text.strip()
    if category == "Table" and re.search(r"<t[rdh]\b", text, re.I):
        return table_text(text)
    return plain(text)


def _checked(layout: list[Cell], answer: str) -> list[Cell]:
    """The layout without cells that are there twice. Throws Fault for one that loops, and for one without anything."""
    times: Counter[str] = Counter()
    kept = []
    for cell in layout:
        no_loop(re.sub(r"(?:\s*</\w+>)+\s*\Z", "", cell.get("text", "")), True, answer)
        same = json.dumps(cell)
        times[same] += cell["bbox"] is not None
        if times[same] >= _MOST_SAME:
            words = f"repetition: the model gave one and the same cell {_MOST_SAME} times and more"
            raise Fault("repetition", words, answer)
        if times[same] <= 1:
            kept.append(cell)
    if not kept:
        raise Fault("empty", "empty: the model found nothing on a page that is not blank", answer)
    return kept


def _layout_all(answer: str, page: Prepared) -> Parsed:
    cells, mended = read_cells(answer)
    layout = _checked(to_layout(cells, page), answer)
    if not any(c.get("text", "").strip() or c["category"] == "Picture" for c in layout):
        raise Fault("empty", "empty: the model gave no text for a page that is not blank", answer)
    text = to_text(layout)
    no_loop(text, True, answer)
    return Parsed(text, to_markdown(layout), layout, {"mended": True} if mended or len(layout) < len(cells) else {})


def _layout_only(answer: str, page: Prepared) -> Parsed:
    cells, mended = read_cells(answer)
    layout = _checked([{k: v for k, v in c.items() if k != "text"} for c in to_layout(cells, page)], answer)
    return Parsed("", "", layout, {"mended": True} if mended or len(layout) < len(cells) else {})


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
