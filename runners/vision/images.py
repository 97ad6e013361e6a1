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

# A share of the pixels that differ from what is around them, below which a page is blank: a dozen specks of dust.
_BLANK = 2e-5


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


def ink(image: Image.Image) -> float:
    """The share of pixels that differ from what is around them, on the page without its edge. Paper, shadows, and the
    other side shining through change slowly or weakly; letters do neither."""
    gray = image.convert("L")
    gray.thumbnail((1000, 1000), Image.Resampling.BOX, reducing_gap=2.0)
    x, y = gray.width // 40, gray.height // 40
    gray = gray.crop((x, y, gray.width - x, gray.height - y))
    different = ImageChops.difference(gray, gray.filter(ImageFilter.GaussianBlur(20)))
    return float(sum(different.histogram()[28:])) / max(1, gray.width * gray.height)


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
        blank = look_for_ink and ink(image) < _BLANK
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
