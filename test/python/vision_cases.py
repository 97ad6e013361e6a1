"""Golden cases of the pure parts of the vision runner; prints JSON for test/unit/runners.test.ts to compare."""

import io
import json
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "runners"))
sys.dont_write_bytecode = True

from PIL import Image, ImageDraw, ImageFilter  # noqa: E402
from vision import deepseek, dots, faults, front_matter, images, run  # noqa: E402
from vision.images import PixelRules, Prepared  # noqa: E402

page = Prepared("", 2000, 3000, 1000, 1500, False)


def fault(call, *args):
    try:
        return call(*args)
    except (faults.Fault, images.BadImage, run.Refused) as error:
        return f"{type(error).__name__}: {error}"


def layout(cells, at=page):
    found = dots.to_layout(cells, at)
    return {"layout": found, "markdown": dots.to_markdown(found), "text": dots.to_text(found)}


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
        "white": images.ink(Image.new("L", (1240, 1754), 255)) < images._BLANK,
        "scan": images.ink(paper()) < images._BLANK,
        "number": images.ink(paper(marks=lambda d: d.text((600, 1600), "7", fill=60, font_size=24))) < images._BLANK,
        "pencil": images.ink(paper(marks=lambda d: d.line((300, 300, 700, 320), fill=140, width=3))) < images._BLANK,
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
