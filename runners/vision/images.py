"""A page image as a model wants it: turned upright, within its limits of pixels, encoded; and whether anything is on it."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from typing import Optional

from PIL import Image, ImageChops, ImageFilter, ImageOps

# Pages are the user's own; a map at 600 dpi is no bomb.
Image.MAX_IMAGE_PIXELS = 600_000_000

# How the test for blank pages looks at a page: reduced to at most so many pixels on its longest side, where the thinnest
# strokes of small print still are a pixel wide at 300 dpi and on a broadsheet.
_LOOK_AT = 2400
# Differences from the close surroundings that are ink: this many times the page's own noise, within these bounds of gray
# levels. The other side shining through is out of focus and stays below; a page full of halftone is all "noise", and ink.
_TIMES_NOISE, _LEAST, _MOST = 4.5, 8.0, 40.0
# So many pixels of ink within a square of twice so many pixels are a mark that somebody made; fewer are dust.
_HALF, _MARK = 12, 32
# Half squares at each side in which the edge of the page may show.
_EDGE = 4


class BadImage(Exception):
    """Bytes that are no image, or one that no model can take; the words are for the `error` column."""


@dataclass(frozen=True)
class PixelRules:
    """What sizes a model takes. vLLM refuses limits given with a request (0.32), so pages are resized before."""

    min_pixels: int = 3136
    max_pixels: int = 11_289_600
    # Sides are multiples of it; 1 leaves them as they are.
    factor: int = 28
    # Longest side in pixels, for models that were trained on one.
    longest: Optional[int] = None


@dataclass(frozen=True)
class Prepared:
    """A page ready to be sent, with its own size and the one that the model sees."""

    url: str
    width: int
    height: int
    sent_width: int
    sent_height: int
    blank: bool


def fit(width: int, height: int, rules: PixelRules) -> tuple[int, int]:
    """The size that the model sees, by the rule of Qwen2-VL's image processor. Throws BadImage for a sliver."""
    if min(width, height) < 1 or max(width, height) / min(width, height) > 200:
        raise BadImage(f"The page is {width} × {height} pixels: too narrow for the model.")
    scale = 1.0
    if rules.longest is not None:
        scale = min(1.0, rules.longest / max(width, height))
    area = width * height * scale * scale
    if area > rules.max_pixels:
        scale *= math.sqrt(rules.max_pixels / area)
    elif area < rules.min_pixels:
        scale *= math.sqrt(rules.min_pixels / area)
    f = rules.factor
    exact = (width * scale, height * scale)
    w, h = (max(f, round(side / f) * f) for side in exact)
    # Rounding may have crossed a limit: towards the inside then.
    if w * h > rules.max_pixels or (rules.longest is not None and max(w, h) > rules.longest):
        w, h = (max(f, math.floor(side / f) * f) for side in exact)
    elif w * h < rules.min_pixels:
        w, h = (math.ceil(side / f) * f for side in exact)
    return w, h


def is_blank(image: Image.Image) -> bool:
    """Whether nothing is written on a page. Paper, shadows, and the other side shining through change slowly or weakly, and
    dust is small; letters are neither, however faint. In doubt a page is not blank: it is then asked for, and not lost."""
    gray = image.convert("L")
    gray = gray.reduce(max(1, math.ceil(max(gray.size) / _LOOK_AT)))
    ink = ImageChops.difference(gray.filter(ImageFilter.GaussianBlur(0.6)), gray.filter(ImageFilter.GaussianBlur(5)))
    level = min(_MOST, max(_LEAST, _TIMES_NOISE * _noise(ink)))
    dark = ink.point([255 if v >= level else 0 for v in range(256)])
    if min(dark.size) < 2 * _EDGE * _HALF:
        # A snippet: there is no room for dust on it.
        return dark.getbbox() is None
    # The share of ink in halves, and then in squares that overlap: a small figure lies whole in one of them.
    halves = dark.reduce(_HALF)
    wide, high = halves.size[0] - 1, halves.size[1] - 1
    rows = ImageChops.add(halves.crop((0, 0, wide + 1, high)), halves.crop((0, 1, wide + 1, high + 1)))
    squares = ImageChops.add(rows.crop((0, 0, wide, high)), rows.crop((1, 0, wide + 1, high)))
    marks = squares.point([255 if v >= 255 * _MARK / _HALF**2 else 0 for v in range(256)])
    # The edge of a scan that shows what lies behind the page is a line along most of a side; a folio is not.
    for box in ((0, 0, wide, _EDGE), (0, high - _EDGE, wide, high), (0, 0, _EDGE, high), (wide - _EDGE, 0, wide, high)):
        along = marks.crop(box).reduce((1, _EDGE) if box[2] - box[0] == wide else (_EDGE, 1))
        if sum(along.histogram()[1:]) > max(along.size) / 3:
            marks.paste(0, box)
    return marks.getbbox() is None


def _noise(differences: Image.Image) -> float:
    """Standard deviation of what most of a page is, by the median, which ink on the rest of it does not move."""
    counts = differences.histogram()
    left = sum(counts) / 2
    for value, count in enumerate(counts):
        if count >= left:
            # The median lies within this step of the histogram; 0.6745 is that of the normal distribution.
            return (value + left / count - 0.5 if value > 0 else left / count / 2) / 0.6745
        left -= count
    return 0.0


def prepare(data: Optional[bytes], rules: PixelRules, look_for_ink: bool) -> Prepared:
    """Decodes, resizes and encodes a page; runs in a thread. Throws BadImage."""
    if not data:
        raise BadImage("The page has no image.")
    try:
        image = Image.open(io.BytesIO(data))
        kind = image.format
        turned = image.getexif().get(0x0112, 1) != 1
        if turned:
            image = ImageOps.exif_transpose(image)
        width, height = image.size
        w, h = fit(width, height, rules)
        as_it_is = kind == "JPEG" and not turned and (w, h) == (width, height) and image.mode in ("RGB", "L")
        if kind == "JPEG" and max(w, h) * 2 <= max(width, height):
            # The decoder halves a JPEG for next to nothing.
            image.draft("RGB", (w, h))
        image = _flat(image)
        blank = look_for_ink and is_blank(image)
        if blank:
            return Prepared("", width, height, w, h, True)
        if not as_it_is:
            if image.size != (w, h):
                image = image.resize((w, h), Image.Resampling.BICUBIC)
            out = io.BytesIO()
            image.save(out, "JPEG", quality=95, subsampling=0)
            data = out.getvalue()
    except BadImage:
        raise
    except Exception as error:
        # Pillow's decoders throw whatever they like: OSError, SyntaxError, struct.error, DecompressionBombError.
        raise BadImage(f"The image can't be read: {error}") from error
    return Prepared(f"data:image/jpeg;base64,{base64.b64encode(data).decode()}", width, height, w, h, False)


def turned(page: Prepared, degrees: int) -> Prepared:
    """A page turned by 90, 180 or 270 degrees against the clock."""
    image = Image.open(io.BytesIO(base64.b64decode(page.url.partition(",")[2])))
    image = image.transpose(getattr(Image.Transpose, f"ROTATE_{degrees}"))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=95, subsampling=0)
    sides = (page.width, page.height) if degrees == 180 else (page.height, page.width)
    url = f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
    return Prepared(url, *sides, image.width, image.height, False)


def _flat(image: Image.Image) -> Image.Image:
    """In RGB, on white where it is transparent; sixteen bits a pixel are brought to eight, which Pillow would cut off."""
    if image.mode in ("I", "I;16", "I;16B", "F"):
        low, high = image.getextrema()
        top = 255.0 if high <= 255 else 65535.0
        image = image.convert("F").point(lambda v: v * (255.0 / top)).convert("L")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        ground = Image.new("RGBA", rgba.size, "white")
        image = Image.alpha_composite(ground, rgba)
    return image.convert("RGB")
