"""Reconstructions side by side: one labelled row of pictures per variant below the originals, as one PNG. No torch."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ablation.machine.text import printable, shortened
from blocks.errors import must_be

Images = NDArray[np.uint8]
GAP = 4
LABEL_CHARACTERS, LABEL_LINES = 26, 6


def write_gallery(originals: Images, rows: Sequence[tuple[str, Images]], path: Path, *, tile: int = 96) -> Path:
    """Draws the originals and, below them, each (label, pictures) row; all are uint8 N x 3 x S x S of the same N.

    Small pictures are enlarged by a whole factor without smoothing, so that each pixel stays what the network made.
    """
    if originals.dtype != np.uint8 or originals.ndim != 4 or originals.shape[1] != 3 or 0 in originals.shape:
        raise must_be("originals", "uint8 of N x 3 x S x S", (str(originals.dtype), originals.shape))
    for label, pictures in rows:
        if pictures.dtype != np.uint8 or pictures.shape != originals.shape:
            rule = f"uint8 of the originals' shape {originals.shape}"
            raise must_be(f"pictures of {label!r}", rule, (str(pictures.dtype), pictures.shape))
    factor = max(1, round(tile / originals.shape[-1]))
    size = originals.shape[-1] * factor
    font = ImageFont.load_default(size=max(11, size // 7))
    lines = [("original", originals), *rows]
    shown = shortened((printable(label) for label, _ in lines), LABEL_LINES * LABEL_CHARACTERS)
    texts = ["\n".join(textwrap.wrap(shown[printable(label)], LABEL_CHARACTERS)) for label, _ in lines]
    draw = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    boxes = [draw.multiline_textbbox((0, 0), text, font=font) for text in texts]
    left = int(max(box[2] for box in boxes)) + 2 * GAP
    heights = [max(size, int(box[3]) + GAP) for box in boxes]
    width = left + len(originals) * (size + GAP)
    sheet = Image.new("RGB", (width, sum(heights) + GAP * (len(lines) + 1)), "white")
    draw = ImageDraw.Draw(sheet)
    top = GAP
    for text, height, (_, pictures) in zip(texts, heights, lines, strict=True):
        draw.multiline_text((GAP, top + height // 2), text, fill="#222222", font=font, anchor="lm")
        for n, picture in enumerate(pictures):
            sheet.paste(_enlarged(picture, factor), (left + n * (size + GAP), top))
        top += height + GAP
    sheet.save(path)
    return path


def _enlarged(picture: Images, factor: int) -> Image.Image:
    pixels = picture.transpose(1, 2, 0)  # 3 x S x S -> S x S x 3
    return Image.fromarray(np.ascontiguousarray(pixels.repeat(factor, axis=0).repeat(factor, axis=1)))
