"""From any image that PIL opens to 8-bit RGB, with what was not plain about it: every such thing becomes a counted note.

- 16 bits a channel: the high byte is taken, so that 65535 is white and 0 is black; PIL does so itself for RGB. 32-bit integers
  (mode I) are read as such 16-bit values. Floating point (mode F) is 0 to 1, rounded. Values outside of that have no known scale:
  the file is left out.
- An EXIF orientation is applied; CelebA has none.
- Transparency is dropped: colours are taken as stored, composited on nothing.
- CMYK is converted by PIL's formula, without a colour profile. Of several frames the first is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ablation.data.names import few

ORIENTATION = 0x0112  # the tag of EXIF data
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
DEEP, FLOATING, TURNED, ALPHA, CMYK, FRAMES, NO_SCALE = "deep", "floating", "turned", "alpha", "cmyk", "frames", "no scale"
TEXTS = {
    DEEP: "have 16 bits a channel and were scaled to 8, so that 65535 is white",
    FLOATING: "have floating point values and were scaled to 8 bits, so that 1 is white",
    TURNED: "carry an EXIF orientation and were turned upright by it",
    ALPHA: "have transparent pixels: alpha is dropped, colours are taken as stored, composited on nothing",
    CMYK: "are CMYK and were converted to RGB without a colour profile",
    FRAMES: "hold several frames (animated or multi-page), of which the first is read",
    NO_SCALE: "have 32-bit values outside of 0 to 65535 (integers) or 0 to 1 (floating point) and were left out",
}
READ_OTHERWISE = frozenset({DEEP, FLOATING, TURNED})  # remarks on files of which earlier versions made other pixels


class Decoded(NamedTuple):
    """What came of one file."""

    pixels: NDArray[np.uint8] | None  # 3 x S x S; None where it can't be read
    remarks: frozenset[str] = frozenset()


def to_rgb(image: Image.Image) -> tuple[Image.Image | None, frozenset[str]]:
    """8-bit RGB, upright, and the remarks; None where the scale of its values is not known."""
    image.load()  # here: whoever asks for EXIF data of a broken file swallows the error, and it is not raised again
    remarks = {FRAMES} if getattr(image, "n_frames", 1) > 1 else set()
    remarks |= {ALPHA} if _transparent(image) else set()
    remarks |= {CMYK} if image.mode == "CMYK" else set()
    turn = TURNS.get(_orientation(image))
    flat, scaled = _eight_bits(image)
    if flat is None:
        return None, frozenset({NO_SCALE})
    rgb = flat.convert("RGB")
    return (rgb, frozenset(remarks | scaled)) if turn is None else (rgb.transpose(turn), frozenset(remarks | scaled | {TURNED}))


def _eight_bits(image: Image.Image) -> tuple[Image.Image | None, set[str]]:
    """The image itself, or a grey one of 8 bits where it has more."""
    if image.mode != "F" and not image.mode.startswith("I"):
        return image, set()
    values, most, remark = np.asarray(image), *((1, FLOATING) if image.mode == "F" else (65535, DEEP))
    if not (values.min() >= 0 and values.max() <= most):  # NaN fails too
        return None, set()
    flat = np.rint(values * 255) if image.mode == "F" else values >> 8
    return Image.fromarray(flat.astype(np.uint8)), {remark}


def _transparent(image: Image.Image) -> bool:
    """Whether any pixel is not opaque; an alpha channel that is opaque everywhere changes nothing."""
    if not image.has_transparency_data:
        return False
    if image.mode.startswith("I"):  # grey of 16 bits has at most one transparent value
        return bool((np.asarray(image) == image.info["transparency"]).any())
    alpha: Any = image.convert("RGBA").getchannel("A").getextrema()
    return bool(alpha[0] < 255)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # broken EXIF data make no broken image
        return 1


def remark_notes(files: Mapping[str, Sequence[str]], total: int) -> list[str]:
    """One counted sentence for each remark, from remark -> names of the files."""
    return [f"{len(files[r])} of {total} files {text}: {few(files[r])}" for r, text in TEXTS.items() if files.get(r)]
