"""Markdown of models as plain text: what is written on the page, without the marks of Markdown, HTML and their own tags."""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any, Iterator

# What is taken out before the rest is read line by line: fences, whose inside is no Markdown, and tables of HTML.
_BLOCKS = re.compile(
    r"^[ ]{0,3}(?P<fence>```+|~~~+)[^`\n]*\n(?P<code>.*?)(?:\n[ ]{0,3}(?P=fence)[ \t]*$|\Z)|(?P<table><table\b.*?(?:</table>|\Z))",
    re.S | re.M | re.I,
)
# Delimiters of formulas; dollars as pandoc reads them, so that prices are none. Their lengths are bounded: without an end
# each beginning would be looked for to the end of the text.
_MATH = re.compile(
    r"(?<!\\)(?:\$\$(.{1,4000}?)\$\$|\\\[(.{1,4000}?)\\\]|\\\((.{1,1000}?)\\\)|\$(?=\S)([^$\n]*?[^\s\\$])\$(?!\d))",
    re.S,
)
_FORMULA = re.compile(r"[\\^_=+<>|]|\A\d+\Z|\A\s*[A-Za-z]['′]?\s*\Z")
# Tags that say how something looks, and Nanonets' for what it is; others may be text, such as "a <b" in a formula.
_TAGS = re.compile(
    r"</?(?:page_number|img|watermark|signature|header|footer|table|thead|tbody|tr|td|th|caption|h[1-6]|[uo]l|li|p|div|span|center|sup|sub|b|i|u|s|em|strong|del|ins|mark|small|big|font)"
    r"(?:\s[^<>]*)?/?>",
    re.I,
)
_IMAGE = re.compile(r"!\[[^\[\]]*\]\([^()]*\)")
# A place to go to has a dot, slash, colon or hash in it; "[sic](1871)" has none.
_LINK = re.compile(r'(?<!\\)\[([^\[\]]*)\]\(\s*<?[^()\s<>]*[./:#][^()\s<>]*>?(?:\s+"[^"]*")?\s*\)')
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_ESCAPE = re.compile(r"\\([\\`*_{}\[\]()#+\-.!|<>~$&])")
_CELLS = re.compile(r"(?<!\\)\|")
_RULE = re.compile(r"^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$")
# Around the number of what is not to be read a second time: two that Unicode will never make characters of, while those
# of its private area stand for letters in medieval texts.
_KEPT, _END = "\ufdd0", "\ufdd1"


def plain(markdown: str) -> str:
    """The text of `markdown`: headings, emphasis, links, and tables (rows as lines, cells with tabs between) without
    their marks, formulas as the LaTeX inside them. Images have no text; list marks stay, as they are on the page."""
    parts, at = [], 0
    for block in _BLOCKS.finditer(markdown):
        parts.append(_lines(markdown[at : block.start()]))
        table = block.group("table")
        parts.append(block.group("code") if table is None else table_text(table))
        at = block.end()
        if table is not None and markdown[at : at + 1] not in ("", "\n"):
            parts.append("\n")
    parts.append(_lines(markdown[at:]))
    joined = re.sub(r"[ \t]+$", "", "".join(parts), flags=re.M)
    return re.sub(r"\n{3,}", "\n\n", joined).strip()


def _lines(text: str) -> str:
    kept: list[str] = []

    def keep(found: str) -> str:
        kept.append(found)
        return f"{_KEPT}{len(kept) - 1}{_END}"

    text = re.sub(f"[{_KEPT}{_END}]", "\ufffd", text)
    text = re.sub(r"(?<![\\`])(`+)(?!`)(.{1,1000}?)(?<!`)\1(?!`)", lambda m: keep(m.group(2).strip()), text, flags=re.S)
    text = _MATH.sub(lambda m: keep(_formula(m)), text)
    text = _LINK.sub(r"\1", _IMAGE.sub("", "\n".join(_rows(text.split("\n")))))
    text = _ESCAPE.sub(lambda m: keep(m.group(1)), text)
    # Emphasis ends with its paragraph, or with the item of a list.
    text = "".join(map(_unstressed, re.split(r"(\n\s*\n|\n(?=[ \t]*(?:[-*+]|\d+[.)])[ \t]))", text)))
    text = _TAGS.sub("", re.sub(r"[ \t]*<br\s*/?>[ \t]*\n?", "\n", text, flags=re.I))
    text = re.sub(r"<((?:https?://|mailto:)[^<>\s]*)>", r"\1", text)
    text = _ENTITY.sub(lambda m: html.unescape(m.group(0)), text)
    return re.sub(f"{_KEPT}(\\d+){_END}", lambda m: kept[int(m.group(1))], text)


def _rows(lines: list[str]) -> Iterator[str]:
    """The lines without marks at their beginnings, and those of tables, which have a rule under their first, as rows."""
    inside = False
    for line, after in zip(lines, [*lines[1:], ""]):
        inside = "|" in line and (inside or ("|" in after and _RULE.match(after) is not None))
        if not inside:
            yield _line(line)
        elif not _RULE.match(line):
            yield "\t".join(cell.strip() for cell in _CELLS.split(line.strip().strip("|")))


def _line(line: str) -> str:
    heading = re.match(r"[ ]{0,3}#{1,6}[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*$", line)
    if heading:
        return heading.group(1)
    # Of underscores it is a blank to be filled in.
    if re.match(r"[ ]{0,3}(?:-[ \t]*){3,}$|[ ]{0,3}(?:\*[ \t]*){3,}$", line):
        return ""
    return re.sub(r"^(?:[ ]{0,3}>[ \t]?)+", "", line)


def _formula(found: re.Match[str]) -> str:
    """What is between the delimiters; between single dollars or escaped brackets only if it looks like mathematics."""
    inside = next(g for g in found.groups() if g is not None)
    if found.group(1) is not None or _FORMULA.search(inside):
        return inside.strip()
    whole = found.group(0)
    return whole.replace("\\", "") if whole.startswith("\\") else whole


@dataclass
class _Run:
    """Marks of emphasis that may begin some: what is left of them, how many they were, and whether they may end some too."""

    mark: str
    first: int
    last: int
    length: int
    both: bool


def _unstressed(text: str) -> str:
    """Without the marks of emphasis, by CommonMark's rules of delimiter runs; but a run of four or more is a blank of a
    form, and never emphasis."""
    gone: set[int] = set()
    open_runs: list[_Run] = []
    # Where runs of one kind need not be looked for any more, as none was found for the last of that kind.
    lowest: dict[tuple[str, bool, int], int] = {}
    for found in re.finditer(r"(?<!\*)\*{1,3}(?!\*)|(?<!_)_{1,3}(?!_)|(?<!~)~~(?!~)", text):
        run = _Run(found.group()[0], found.start(), found.end(), len(found.group()), False)
        before, after = text[: run.first][-1:] or " ", text[run.last :][:1] or " "
        left = not after.isspace() and (not _punctuation(after) or before.isspace() or _punctuation(before))
        right = not before.isspace() and (not _punctuation(before) or after.isspace() or _punctuation(after))
        opens = left and (run.mark != "_" or not right or _punctuation(before))
        closes = right and (run.mark != "_" or not left or _punctuation(after))
        run.both = opens and closes
        while closes and run.first < run.last:
            kind = (run.mark, run.both, run.length % 3)
            at = len(open_runs) - 1
            while at >= 0 and open_runs[at].first >= lowest.get(kind, 0) and not _pair(open_runs[at], run):
                at -= 1
            if at < 0 or open_runs[at].first < lowest.get(kind, 0):
                lowest[kind] = run.first
                break
            other = open_runs[at]
            marks = min(2, other.last - other.first, run.last - run.first)
            gone.update(range(other.last - marks, other.last), range(run.first, run.first + marks))
            other.last -= marks
            run.first += marks
            # What was opened between the two has no end.
            del open_runs[at + (other.first < other.last) :]
        if opens and run.first < run.last:
            open_runs.append(run)
    return "".join(c for i, c in enumerate(text) if i not in gone)


def _pair(opening: _Run, closing: _Run) -> bool:
    if opening.mark != closing.mark:
        return False
    three = (opening.length + closing.length) % 3 == 0 and (opening.length % 3 != 0 or closing.length % 3 != 0)
    return not (three and (opening.both or closing.both))


def _punctuation(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"


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


def table_text(markup: str) -> str:
    """An HTML table as text: a line for each row, tabs between the cells."""
    parser = _Table()
    parser.feed(markup)
    parser.close()
    return "\n".join("\t".join(" ".join(cell.split()) for cell in row) for row in parser.rows).strip()
