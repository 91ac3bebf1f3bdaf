"""Pictures made pixel by pixel: reconstructions below their originals, and one trial's loss curves for the dashboard. No torch."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ablation.machine.text import printable, shortened
from ablation.record.trial import Record
from ablation.report.study.curves import values_of
from blocks.errors import must_be

Images = NDArray[np.uint8]
GAP = 4
LABEL_CHARACTERS, LABEL_LINES = 26, 6
# pixels: whole picture; left, top, right, bottom of the axes
SIZE, BOX = (500, 320), (58, 34, 488, 278)
NAMES = {"training": "training", "validation": "validation"}
COLOURS = {"training": "#D55E00", "validation": "#0072B2"}


def write_gallery(originals: Images, rows: Sequence[tuple[str, Images]], path: Path, *, tile: int = 96) -> Path:
    """Draws the originals and, below them, each (label, pictures) row; all are uint8 N x 3 x S x S of the same N.

    Small pictures are enlarged by a whole factor without smoothing, so that each pixel stays what the network made.
    """
    _check(originals, rows)
    factor = max(1, round(tile / originals.shape[-1]))
    size = originals.shape[-1] * factor
    font = ImageFont.load_default(size=max(11, size // 7))
    lines = [(printable(label), pictures) for label, pictures in [("original", originals), *rows]]
    names = shortened((label for label, _ in lines), LABEL_LINES * LABEL_CHARACTERS)
    texts = ["\n".join(textwrap.wrap(names[label], LABEL_CHARACTERS)) for label, _ in lines]
    draw = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    boxes = [draw.multiline_textbbox((0, 0), text, font=font) for text in texts]
    left = int(max(box[2] for box in boxes)) + 2 * GAP
    heights = [max(size, int(box[3]) + GAP) for box in boxes]
    sheet = Image.new("RGB", (left + len(originals) * (size + GAP), sum(heights) + GAP * (len(lines) + 1)), "white")
    draw, top = ImageDraw.Draw(sheet), GAP
    for text, height, (_, pictures) in zip(texts, heights, lines, strict=True):
        draw.multiline_text((GAP, top + height // 2), text, fill="#222222", font=font, anchor="lm")
        for n, picture in enumerate(pictures):
            pixels = picture.transpose(1, 2, 0).repeat(factor, axis=0).repeat(factor, axis=1)  # 3 x S x S -> F x F x 3
            sheet.paste(Image.fromarray(np.ascontiguousarray(pixels)), (left + n * (size + GAP), top))
        top += height + GAP
    sheet.save(path)
    return path


def _check(originals: Images, rows: Sequence[tuple[str, Images]]) -> None:
    if originals.dtype != np.uint8 or originals.ndim != 4 or originals.shape[1] != 3 or 0 in originals.shape:
        raise must_be("originals", "uint8 of N x 3 x S x S", (str(originals.dtype), originals.shape))
    for label, pictures in rows:
        if pictures.dtype != np.uint8 or pictures.shape != originals.shape:
            rule = f"uint8 of the originals' shape {originals.shape}"
            raise must_be(f"pictures of {label!r}", rule, (str(pictures.dtype), pictures.shape))


def draw_curves(record: Record, path: Path, names: Mapping[str, str] = NAMES, scale: float = 1.0) -> Path:
    """One trial's training and validation loss by epoch, with the range of each axis written at its ends.

    `names`: which curves, and what they are called; of another metric than a loss the one that is "validation".
    Every trial draws one, so it is done with PIL: 20 times as quick as a plot.
    """
    curves = {which: {epoch: scale * value for epoch, value in values_of(record, which).items()} for which in names}
    image = Image.new("RGB", SIZE, "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=12)
    left, top, right, bottom = BOX
    draw.rectangle(BOX, outline="#B0B0B0")
    texts = [((left, 10), f"{record.label}, seed {record.seed}", "#222222")]
    if values := [value for curve in curves.values() for value in curve.values()]:
        epochs = sorted({epoch for curve in curves.values() for epoch in curve})
        low, high, ends_at = min(values), max(values), (epochs[0], epochs[-1])
        for n, (which, curve) in enumerate(curves.items()):
            points = [_place(epoch, loss, ends_at, low, high) for epoch, loss in curve.items()]
            draw.line(points, fill=COLOURS[which], width=2, joint="curve")
            for x, y in points:
                draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=COLOURS[which])
            texts.append(((right - 80, top + 8 + 16 * n), names[which], COLOURS[which]))
        ends = {(8, top): f"{high:.4f}", (8, bottom - 12): f"{low:.4f}"}
        ends |= {(left, bottom + 8): f"epoch {ends_at[0]}", (right - 14, bottom + 8): str(ends_at[1])}
        texts += [(place, text, "#555555") for place, text in ends.items()]
    for place, text, colour in texts:
        draw.text(place, text, fill=colour, font=font)
    image.save(path)
    return path


def _place(epoch: int, loss: float, ends: tuple[int, int], low: float, high: float) -> tuple[float, float]:
    left, top, right, bottom = BOX
    first, last = ends
    across = (epoch - first) / (last - first) if last > first else 0.5
    up = (loss - low) / (high - low) if high > low else 0.5
    return left + 8 + across * (right - left - 16), bottom - 8 - up * (bottom - top - 16)
