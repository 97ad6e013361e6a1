"""Golden cases of the pure parts of the vision runner; prints JSON for test/unit/runners.test.ts to compare."""

import io
import json
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "runners"))
sys.dont_write_bytecode = True

from PIL import Image, ImageChops, ImageDraw, ImageFilter  # noqa: E402
from vision import deepseek, dots, faults, front_matter, images, run, server  # noqa: E402
from vision.images import PixelRules, Prepared  # noqa: E402
from vision.model import as_markdown  # noqa: E402
from vision.plain import plain  # noqa: E402

page = Prepared("", 2000, 3000, 1000, 1500, False)


def fault(call, *args):
    try:
        return call(*args)
    except (faults.Fault, images.BadImage, run.Refused) as error:
        return f"{type(error).__name__}: {error}"


def layout(cells, at=page):
    found = dots.to_layout(cells, at)
    return {"layout": found, "markdown": dots.to_markdown(found), "text": dots.to_text(found)}


def whole(answer):
    """Of a layout-all answer what becomes of it."""
    found = fault(dots._layout_all, answer, page)
    return found if isinstance(found, str) else [found.text, found.markdown, [c["bbox"] for c in found.layout]]


def cell(bbox="[1,1,20,30]", text='"a"', category="Text"):
    return f'{{"bbox":{bbox},"category":"{category}","text":{text}}}'


def ends(text, finish="stop"):
    found = fault(faults.check, text, finish, 100)
    return found if found.startswith("Fault") else "as it is"


def read(answer):
    return fault(lambda: dots.read_cells(answer))


def paper(size=(1240, 1754), noise=4, shade=True, marks=None):
    """A scan of paper: uneven light, grain, and the other side shining through weakly."""
    random.seed(7)
    image = Image.linear_gradient("L").resize(size).point(lambda v: 205 + v // 6 if shade else 235)
    through = Image.new("L", size, 0)
    draw = ImageDraw.Draw(through)
    for y in range(200, size[1] - 200, 40):
        draw.rectangle((150, y, size[0] - 150, y + 14), fill=9)
    image = Image.composite(
        Image.new("L", size, 215), image, through.filter(ImageFilter.GaussianBlur(3)).point(lambda v: v * 9)
    )
    grain = Image.effect_noise(size, noise * 2)
    image = Image.blend(image, grain, 0.05)
    if marks:
        marks(ImageDraw.Draw(image))
    return image


A4 = (2480, 3508)
LINE = "a faint note, 14 March 1871, see the letter book"


def written(image, ink, line=LINE, at=None, blur=1, mirror=False):
    """Ten points at 300 dpi: 25 lines of them, or one where it is put."""
    mask = Image.new("L", image.size, 0)
    draw = ImageDraw.Draw(mask)
    for i in range(25 if at is None else 1):
        draw.text(at or (image.width // 8, image.height // 8 + i * 64), line, fill=255, font_size=40)
    mask = mask.filter(ImageFilter.GaussianBlur(blur))
    if mirror:
        mask = mask.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return Image.composite(Image.new("L", image.size, ink), image, mask)


def grained(image, sigma):
    return ImageChops.add(image, Image.effect_noise(image.size, sigma), 1, -128)


def gutter(image):
    """Darker towards the left, where the book is bound."""
    shade = Image.linear_gradient("L").rotate(90).point(lambda v: 75 + v * 180 // 255)
    image.paste(ImageChops.multiply(image.crop((0, 0, 250, image.height)), shade.resize((250, image.height))), (0, 0))
    return image


def dusty(image):
    random.seed(3)
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = random.randrange(100, image.width - 100), random.randrange(100, image.height - 100)
        draw.ellipse((x, y, x + 4, y + 4), fill=60)
    return image


def edged(image):
    """With what lies behind the page to be seen at two sides."""
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 40, image.height), fill=10)
    draw.rectangle((0, 0, image.width, 20), fill=10)
    return image.filter(ImageFilter.GaussianBlur(1))


def prepared(image, rules=PixelRules(), ink=True, **save):
    out = io.BytesIO()
    image.save(out, **save)
    found = images.prepare(out.getvalue(), rules, ink)
    return [found.width, found.height, found.sent_width, found.sent_height, found.blank, found.url[:23]]


def front(answer):
    found = fault(front_matter.as_front_matter, answer, page)
    return found if isinstance(found, str) else {"text": found.text, "info": found.info}


def grounded(answer):
    found = fault(deepseek.as_grounded, answer, page)
    return found if isinstance(found, str) else {"layout": found.layout, "markdown": found.markdown, "text": found.text}


turned = Image.new("RGB", (560, 280), "white")
ImageDraw.Draw(turned).rectangle((100, 100, 200, 150), fill="black")
exif = Image.Exif()
exif[0x0112] = 6
glass = Image.new("RGBA", (280, 280), (0, 0, 0, 0))

cases = {
    "fit": {
        "within": images.fit(2480, 3508, PixelRules()),
        "large": images.fit(6000, 8000, PixelRules()),
        "small": images.fit(20, 30, PixelRules()),
        "longest": images.fit(2480, 3508, PixelRules(factor=1, longest=1540)),
        "sliver": fault(images.fit, 10, 4000, PixelRules()),
    },
    "prepare": {
        "upright": prepared(turned, format="JPEG", exif=exif),
        "clear": prepared(glass, format="PNG"),
        "gray16": prepared(Image.new("I;16", (280, 280), 40000), ink=False, format="PNG"),
        "palette": prepared(turned.convert("P"), format="PNG"),
        "bitonal": prepared(turned.convert("1"), format="TIFF"),
        "broken": fault(images.prepare, b"\xff\xd8\xff\xe0 no image", PixelRules(), True),
        "none": fault(images.prepare, None, PixelRules(), True),
    },
    "blank": {
        "white": images.is_blank(Image.new("L", (1240, 1754), 255)),
        "scan": images.is_blank(paper()),
        "noise": images.is_blank(grained(Image.new("L", A4, 225), 12)),
        "gutter": images.is_blank(grained(gutter(Image.new("L", A4, 225)), 5)),
        "other side": images.is_blank(grained(written(Image.new("L", A4, 225), 200, blur=5, mirror=True), 5)),
        "dust": images.is_blank(dusty(Image.new("L", A4, 225))),
        "edge": images.is_blank(grained(edged(Image.new("L", A4, 235)), 4)),
        "number": images.is_blank(paper(marks=lambda d: d.text((600, 1600), "7", fill=60, font_size=24))),
        "pencil": images.is_blank(paper(marks=lambda d: d.line((300, 300, 700, 320), fill=140, width=3))),
        "faint": images.is_blank(written(Image.new("L", A4, 225), 198)),
        "faint, noise": images.is_blank(grained(written(Image.new("L", A4, 225), 195), 6)),
        "broadsheet": images.is_blank(written(Image.new("L", (6000, 9000), 225), 180)),
        "folio": images.is_blank(written(Image.new("L", A4, 235), 60, "17", (2380, 3440))),
        "folio and edge": images.is_blank(written(edged(Image.new("L", A4, 235)), 60, "7", (1240, 3440))),
        "snippet": images.is_blank(written(Image.new("L", (60, 60), 235), 60, "7", (10, 5))),
        "halftone": images.is_blank(Image.effect_noise((1240, 1754), 100)),
    },
    "loop": {
        "words": faults.loop("It begins well. " + "again and " * 100),
        "cells": faults.loop("<table><tr>" + "<td></td>" * 120 + "</tr></table>" + "<td></td>" * 60),
        "many cells": faults.loop("<td></td>" * 900) is not None,
        "dots": faults.loop("Chapter I " + "." * 900),
        "endless dots": faults.loop("." * 5000),
        "refrain": faults.loop("\n".join(f"Verse {i} of the song\nand the refrain comes again" for i in range(40))),
        "prose": faults.loop(open(__file__).read()),
    },
    "check": {
        "good": fault(faults.check, "  text ", "stop", 100),
        "cut": fault(faults.check, "text", "length", 100),
        "empty": fault(faults.check, " \n", "stop", 100),
        "fence": faults.unfenced("```markdown\n# A\n\ntext\n```"),
        "inner fence": faults.unfenced("```\na\n```\n\n```\nb\n```"),
    },
    "repeats": {
        "noughts": ends("# Ledger\n" + "| 0 | 0 | 0 |\n" * 40),
        "wide noughts": ends("# Ledger\n" + "| 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 |\n" * 50),
        "do.": ends("Names\n" + "do.\n" * 110),
        "ditto": ends("Names\n" + "| ditto | ditto | ditto |\n" * 40),
        "do. without end": ends("Names\n" + "do.\n" * 110, "length"),
        "words": ends("It begins well. " + "the cat sat on the mat " * 300),
        "sentence": ends("One. " + "Here a whole sentence of very many different words is said once more. " * 9),
        "inside a cell": whole(f"[{cell(text=json.dumps('the cat sat on the mat ' * 300))}]"),
        "rows of a cell": whole(
            f"[{cell(text=json.dumps('<table>' + '<tr><td>one and the same</td></tr>' * 300 + '</table>'))}]"
        ),
        "ledger in a cell": whole(
            f"[{cell(text=json.dumps('<table>' + '<tr><td>0</td></tr>' * 40 + '</table>'))}]"
        )[0][:3],
        "cells": whole(f"[{','.join([cell(text=json.dumps('Same text here'))] * 200)}]"),
        "cells without boxes": whole(f"[{','.join([cell('null', json.dumps('Same text here'))] * 200)}]"),
        "twice": whole(f"[{cell()},{cell()},{cell(text='7')}]"),
    },
    "lost": {
        "no cells": whole("[]"),
        "fence": whole("```json\n[]\n```"),
        "no object": whole("{}"),
        "no layout": whole('{"layout":[]}'),
        "no text": whole(f'[{cell(text="null")}]'),
        "picture": whole(f'[{cell(text="null", category="Picture")}]'),
        "lines": whole(f"""[{cell(text='["a","b"]')}]"""),
        "number": whole(f"[{cell(text='12')}]"),
        "box in a string": whole(f"""[{cell('"[1,1,20,30]"')}]"""),
        "box of strings": whole(f"""[{cell('["1","1","20","30"]')}]"""),
        "words before": whole(f"Here is the [layout]:\n```json\n[{cell()}]\n```"),
        "fence without end": whole(f"```json\n[{cell()}]"),
        "fence inside": whole(f"```json\n[{cell(text=json.dumps('use ``` here'))}]\n```"),
        "words after": whole(f"[{cell()}]\nDone."),
        "two lists": whole(f"[{cell()}]\n[{cell(text='2')}]"),
        "small letters": whole(
            f"[{cell(text=json.dumps('On Bees'), category='section_header')},{cell(text='null', category='picture')}]"
        ),
    },
    "formula": {
        name: dots._formula(text)
        for name, text in {
            "bare": "x^2",
            "dollars": "$$x^2$$",
            "dollar": "$x^2$",
            "brackets": r"\[x^2\]",
            "round": r"\(x^2\)",
            "price": r"\text{cost \$5}",
            "line break": r"a \\[2pt] b",
            "mixed": "where $x$ is $y$",
            "two": r"\(x\) and \(y\)",
        }.items()
    },
    "plain": {
        text: plain(text)
        for text in [
            "# Of *Bees*\n\nThey **fly** ***far*** and ~~not~~ `as_is_`.",
            "Name ______ Date ____ (____) or (____)",
            "__init__ and foo__init__bar, snake_case_name",
            "5 * 3, 2 * 4\n*Note: a\n**Name:** ____",
            "* item *one*\n* item two*",
            r"\*not\* \_this\_, \[sic\]",
            r"where $\theta$ is \(x^2\), $5 and $6, US$5 (US$)",
            "$$\na + b\n$$",
            "| Year | Sum |\n|---|:-:|\n| 1801 | **2** |\n\na | b",
            "<table><tr><td>a<br>b</td><td>c &amp; d</td></tr></table>",
            "![A hive](page_1.png) [bees](http://bees.org/x) [sic](1871) <https://a.b>",
            "<page_number>9/22</page_number> <watermark>COPY</watermark> <img>A hive</img> <signature>J. S.</signature>",
            "a < b &amp; x<sup>2</sup><br>H<sub>2</sub>O <unclear>",
            "---\n> said\n> he\n\n______",
            "```\n**as it is**\n```",
        ]
    },
    "json": as_markdown('{"__a__": "*b*"}', page).text,
    "layout": layout(
        [
            {"bbox": [10, 10, 500, 30], "category": "Page-header", "text": "THE HISTORY"},
            {"bbox": [10, 40, 500, 80], "category": "Title", "text": "Of *Bees*"},
            {"bbox": [10, 90, 500, 110], "category": "Section-header", "text": "## I. The Queen"},
            {"bbox": [10, 120, 500, 300], "category": "Text", "text": "They **fly**\nfar."},
            {"bbox": [10, 310, 300, 330], "category": "List-item", "text": "- wax"},
            {"bbox": [10, 330, 300, 350], "category": "List-item", "text": "- honey"},
            {"bbox": [10, 360, 300, 380], "category": "Formula", "text": "x\frac{1}{2} + \nu"},
            {
                "bbox": [10, 400, 990, 700],
                "category": "Table",
                "text": "<table><tr><th>Year</th><td>A &amp; B</td></tr><tr><td>1801<br>bis</td><td></td></tr></table>",
            },
            {"bbox": [100, 800, 900, 1200], "category": "Picture"},
            {"bbox": [100, 1210, 900, 1230], "category": "Caption", "text": "Fig. 1"},
            {"bbox": [10, 1450, 1100, 1600], "category": "Footnote", "text": "beyond the edge"},
            {"bbox": "nonsense", "category": None, "text": "no box"},
            {"bbox": [5, 5, 5, 9], "category": "Page-footer", "text": "17"},
        ]
    ),
    "read": {
        "plain": read('[{"bbox":[1,2,3,4],"category":"Text","text":"a"}]'),
        "object": read('{"layout":[{"bbox":[1,2,3,4],"category":"Text"}]}'),
        "one": read('{"bbox":[1,2,3,4],"category":"Text","text":"a"}'),
        "fence": read('```json\n[{"category":"Text","text":"a"}]\n```'),
        "latex": read('[{"category":"Formula","text":"\\alpha \\{x\\}"}]'),
        "line break": read('[{"category":"Text","text":"two\nlines"}]'),
        "no end": read('[{"category":"Text","text":"a"},{"category":"Text","text":"b"}'),
        "no comma": read('[{"category":"Text","text":"a"} {"category":"Text","text":"b"},]'),
        "cut": read('[{"category":"Text","text":"a"},{"category":"Text","te'),
        "words": read("Here is the layout."),
        "number": read("42"),
    },
    "front": {
        "good": front(
            "---\nprimary_language: en\nis_rotation_valid: True\nrotation_correction: 0\n---\n# A letter\n\nDear Sir\n"
        ),
        "empty": front("---\nprimary_language: null\nis_rotation_valid: true\n---"),
        "turned": front("---\nprimary_language: en\nis_rotation_valid: False\nrotation_correction: 90\n---\nText"),
        "none": front("Just text"),
    },
    "grounded": {
        "good": grounded(
            "<|ref|>header<|/ref|><|det|>[[100, 10, 200, 20]]<|/det|>\n17\n\n"
            "<|ref|>title<|/ref|><|det|>[[100, 100, 500, 120], [100, 120, 899, 150]]<|/det|>\n# On Bees\n\n"
            "<|ref|>image<|/ref|><|det|>[[0, 500, 999, 999]]<|/det|>\n\n"
            "<|ref|>image_caption<|/ref|><|det|>[]<|/det|>\nA hive\n"
            "<|ref|>table<|/ref|><|det|>[[1, 1, 2, 2]]<|/det|>\n<table><tr><td>1</td><td>2</td></tr></table>"
            "<｜end▁of▁sentence｜>"
        ),
        "none": grounded("Just text"),
    },
    "gpus": {
        "named": server.visible_gpus({"CUDA_VISIBLE_DEVICES": "0, GPU-aa,"}),
        "none": server.visible_gpus({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}),
        "for one": [
            server.gpus_for_one(needs, has, len(has))
            for needs, has in ((24, [25.8] * 4), (24, [23.6] * 2), (32, [25.8] * 4), (64, [25.8] * 4), (99, [25.8] * 2), (32, []))
        ],
        "shares": [server.shares(["0", "1", "2"], each) for each in (1, 2, 3)] + [server.shares([], 1)],
    },
    "options": {
        "serve": run.serve_command(
            dots.dots(),
            {"model": "some/model"},
            {"maxModelLen": 32768, "gpuMemoryUtilization": 0.9, "batchSize": 32, "revision": None},
            2,
        ),
        "pixels": vars(run.with_pixels(dots.dots(), {"maxPixels": 1_000_000}).pixels),
        "limits": fault(run.with_pixels, dots.dots(), {"maxPixels": 10_000, "minPixels": 20_000}),
    },
}
json.dump(cases, sys.stdout, ensure_ascii=False)
