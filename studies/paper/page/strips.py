"""Pictures of the paper's study, one PNG for each set of strips: samples, reconstructions, traversals, edits. No torch.

Labels stand above their row; the page sets them as text and holds a picture for each row. Pictures are uint8, 3 x S x S; small ones
are enlarged by a whole factor without smoothing, so that each pixel stays what the network made.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ablation.report.explain.style import plain
from ablation.report.kit.numbers import MINUS, decimal
from ablation.report.kit.page import Block, Picture
from studies.paper.evidence.evidence import Evidence
from studies.paper.page import style

Pictures = NDArray[np.uint8]
FOLDER = "strips"
# pixels
GAP, TILE = 4, 96
# of a label's size fit into the width of the file's picture
LETTERS = 32
# a picture that takes more bytes goes into the page as JPEG of at most this width
PAGE_BYTES, PAGE_WIDTH, JPEG_QUALITY = 24_000, 768, 80
# on the page, of one picture; rows of at most so many pictures stand in pairs where there is room
REM, HALF = 5.9, 5
SAMPLES = ROWS = 8


@dataclass(frozen=True, kw_only=True)
class Strip(Block):
    """Labelled rows of pictures, one file below the page's folder."""

    stem: str
    title: str
    # seeds, how many of how many
    note: str
    # label, K x 3 x S x S
    rows: Sequence[tuple[str, Pictures]]

    @property
    def path(self) -> str:
        """The file."""
        return f"{FOLDER}/{self.stem}.png"

    @property
    def alt(self) -> str:
        """Its content in words."""
        return f"{self.title}: {'; '.join(label for label, _ in self.rows)}"

    @property
    def caption(self) -> str:
        """Title and note."""
        return f"**{self.title}.** {self.note}"

    @property
    def shown(self) -> Iterator[Mapping[str, str]]:
        """Label, width in rem and data URI of each row."""
        for label, pictures in self.rows:
            rem = len(pictures) * REM if len(pictures) > HALF else min(len(pictures) * REM, (HALF - 1) * REM - 0.2)
            yield {"label": label, "rem": f"{rem:.1f}", "uri": page_uri(row(pictures, _factor(pictures)))}


@dataclass(frozen=True)
class KeptStrip(Picture):
    """A file of an earlier page."""

    content: bytes = b""

    @property
    def uri(self) -> str:
        """The picture for the page."""
        return page_uri(Image.open(io.BytesIO(self.content)).convert("RGB"))


def _factor(pictures: Pictures) -> int:
    return max(1, round(TILE / pictures.shape[-1]))


def sheet(rows: Sequence[tuple[str, Pictures]]) -> Image.Image:
    """All rows below each other, each below its label."""
    largest = max((pictures for _, pictures in rows), key=lambda pictures: pictures.shape[-1])
    factor = _factor(largest)
    side = largest.shape[-1] * factor
    width = max(len(pictures) for _, pictures in rows) * (side + GAP) + GAP
    size = max(12, width // LETTERS)
    font, label = ImageFont.load_default(size=size), math.ceil(1.45 * size)
    image = Image.new("RGB", (width, len(rows) * (label + side + 2 * GAP)), "white")
    draw = ImageDraw.Draw(image)
    for n, (text, pictures) in enumerate(rows):
        top = n * (label + side + 2 * GAP)
        # the font that comes with Pillow has no minus sign
        draw.text((GAP, top + label // 2 + GAP), text.replace(MINUS, "-"), fill="#222222", font=font, anchor="lm")
        image.paste(row(pictures, factor), (GAP, top + label + GAP))
    return image


def row(pictures: Pictures, factor: int) -> Image.Image:
    """Pictures K x 3 x S x S beside each other, each pixel `factor` wide."""
    tiles = np.pad(pictures.repeat(factor, 2).repeat(factor, 3), ((0, 0), (0, 0), (0, 0), (0, GAP)), constant_values=255)
    pixels = np.concatenate(tiles, axis=2)[:, :, :-GAP].transpose(1, 2, 0)  # 3 x H x W -> H x W x 3
    return Image.fromarray(np.ascontiguousarray(pixels))


def png(image: Image.Image) -> bytes:
    """The picture as a file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def page_uri(image: Image.Image) -> str:
    """A picture for the page: a PNG, or a smaller JPEG of it where that is large."""
    kind, content = "png", png(image)
    if len(content) > PAGE_BYTES:
        file, width = io.BytesIO(), min(image.width, PAGE_WIDTH)
        resized = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
        resized.save(file, "JPEG", quality=JPEG_QUALITY)
        kind, content = "jpeg", file.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def samples(evidence: Evidence, arrays: style.Arrays) -> Strip | None:
    """Figure 1: test images."""
    values = _of_any_arm(evidence, arrays, "samples")
    if values is None:
        return None
    shown = values["samples"][:SAMPLES]
    half = math.ceil(len(shown) / 2)
    rows = [("test images", shown[:half]), ("", shown[half:])] if len(shown) > 4 else [("test images", shown)]
    note = f"Shows {len(shown)} images of the test split ({style.data_text(evidence.scale.get('data', 'data'))})."
    return Strip(stem="figure_1_samples", title="Samples of the data", note=note, rows=rows)


def reconstructions(evidence: Evidence, arrays: style.Arrays) -> Strip | None:
    """Figure 2: originals beside the reconstructions of every main arm that has them, of the same images."""
    values = _of_any_arm(evidence, arrays, "reconstructions", "samples")
    if values is None:
        return None
    originals = values["samples"][:SAMPLES]
    rows, seeds = [("original images", originals)], []
    for arm in filter(style.MARKS.get, style.arms_of(evidence)):
        first = style.first_arrays(evidence, arrays, arm, "reconstructions")
        if first is not None and first[1]["reconstructions"][:SAMPLES].shape == originals.shape:
            rows.append((f"reconstructed by {arm}", first[1]["reconstructions"][:SAMPLES]))
            seeds.append(f"{arm} seed {first[0]}")
    possible = sum(t.arm in style.MARKS for t in evidence.trials)
    note = f"Shows {len(originals)} test images, from the posterior mean, of {len(seeds)} of {possible} trials: {', '.join(seeds)}."
    return Strip(stem="figure_2_reconstructions", title="Originals beside reconstructions", note=note, rows=rows)


def paper_traversal(evidence: Evidence, arrays: style.Arrays) -> Strip | None:
    """Figures 4 and 5: latent dimension 20 from -3 to 3 in 5 steps, both models."""
    first = {arm: style.first_arrays(evidence, arrays, arm, "traversal_paper") for arm in style.PAIR}
    held = [(arm, *values) for arm, values in first.items() if values is not None]
    if not held:
        return None
    rows = [
        (f"{arm}: {_span(evidence.of(arm)[seed].get('analysis.traversal.paper') or {})}", values["traversal_paper"][0])
        for arm, seed, values in held
    ]
    possible = sum(t.arm in style.PAIR for t in evidence.trials)
    seeds = ", ".join(f"{arm} seed {seed}" for arm, seed, _ in held)
    note = f"Shows {len(rows)} of {possible} trials of both models: {seeds}."
    return Strip(stem="figure_4_5_traversal", title="The paper's traversal", note=note, rows=rows)


def traversals(evidence: Evidence, arrays: style.Arrays, arm: str) -> Strip | None:
    """The most informative dimensions of one arm, each over the range of the aggregate posterior."""
    first = style.first_arrays(evidence, arrays, arm, "traversal")
    if first is None:
        return None
    seed, values = first
    strips, dims = values["traversal"], list(evidence.of(arm)[seed].get("analysis.traversal.dims") or [])
    rows = [(_span(dims[n] if n < len(dims) else {}), pictures) for n, pictures in enumerate(strips[:ROWS])]
    note = f"Shows {len(rows)} of {len(strips)} dimensions, those of the largest KL; {_of_trials(evidence, arm, seed)}."
    return Strip(stem=f"traversal_{arm}", title=f"Single dimensions, {arm}", note=note, rows=rows)


def edit_strips(evidence: Evidence, arrays: style.Arrays, arm: str) -> Strip | None:
    """Attribute edits of one arm, along the direction of a probe and along the difference of means."""
    first = style.first_arrays(evidence, arrays, arm, "edits_probe")
    if first is None:
        return None
    seed, values = first
    names = [str(n) for n in values.get("edits_names", ())] or [f"edit {n}" for n in range(len(values["edits_probe"]))]
    keys = {"edits_probe": "probe", "edits_mean_difference": "difference of means"}
    rows = [
        (f"{plain(name)}, {text}", values[key][n])
        for n, name in enumerate(names[: ROWS // 2]) for key, text in keys.items() if key in values and n < len(values[key])
    ]  # fmt: skip
    note = f"Shows {min(len(names), ROWS // 2)} of {len(names)} attributes; {_of_trials(evidence, arm, seed)}."
    return Strip(stem=f"edits_{arm}", title=f"Attribute edits, {arm}", note=note, rows=rows)


def _of_trials(evidence: Evidence, arm: str, seed: int) -> str:
    return f"1 of {sum(t.arm == arm for t in evidence.trials)} trials of {arm}, seed {seed}"


def _of_any_arm(evidence: Evidence, arrays: style.Arrays, *names: str) -> Mapping[str, Any] | None:
    """Arrays of the first arm that has these."""
    every = (style.first_arrays(evidence, arrays, arm, *names) for arm in style.arms_of(evidence))
    return next((first[1] for first in every if first is not None), None)


def _span(dim: Mapping[str, Any]) -> str:
    """'dimension 20, −3.0 to 3.0, KL 0.31' of what is known of a traversal."""
    texts = [f"dimension {dim.get('dim', 'unknown')}"]
    if dim.get("low") is not None and dim.get("high") is not None:
        texts.append(f"{decimal(dim['low'], 1)} to {decimal(dim['high'], 1)}")
    if dim.get("kl") is not None:
        texts.append(f"KL {decimal(dim['kl'], 2)}")
    return ", ".join(texts)
