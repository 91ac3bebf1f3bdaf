"""Pictures of the paper's study, one PNG for each set of strips: samples, reconstructions, traversals, edits. No torch.

Labels stand above their row; the page sets them as text and holds a picture for each row. Pictures are uint8, 3 x S x S; small ones
are enlarged by a whole factor without smoothing, so that each pixel stays what the network made.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from studies.paper.evidence.evidence import Evidence
from studies.paper.page import look

Pictures = NDArray[np.uint8]
GAP, TILE = 4, 96  # pixels
LETTERS = 32  # of a label's size fit into the width of the file's picture
PAGE_BYTES, PAGE_WIDTH, JPEG_QUALITY = 24_000, 768, 80  # a row that takes more goes into the page as JPEG of at most this width
SAMPLES = 8
ROWS = 8


@dataclass(frozen=True, kw_only=True)
class Strips:
    """One picture: labelled rows."""

    stem: str
    title: str
    note: str  # seeds, how many of how many
    rows: tuple[tuple[str, Pictures], ...]  # label, K x 3 x S x S

    @property
    def alt(self) -> str:
        """What the picture shows, in words."""
        return f"{self.title}: {'; '.join(label for label, _ in self.rows)}"


def sheet(rows: Sequence[tuple[str, Pictures]]) -> Image.Image:
    """All rows below each other, each below its label."""
    sizes = {pictures.shape[-1] for _, pictures in rows}
    factor = max(1, round(TILE / max(sizes)))
    across = max(len(pictures) for _, pictures in rows)
    side = max(sizes) * factor
    width = across * (side + GAP) + GAP
    font = ImageFont.load_default(size=max(12, width // LETTERS))
    label = math.ceil(1.45 * max(12, width // LETTERS))
    image = Image.new("RGB", (width, len(rows) * (label + side + 2 * GAP)), "white")
    draw, top = ImageDraw.Draw(image), 0
    for text, pictures in rows:
        # the font that comes with Pillow has no minus sign
        draw.text((GAP, top + label // 2 + GAP), text.replace(look.MINUS, "-"), fill="#222222", font=font, anchor="lm")
        image.paste(row(pictures, factor), (GAP, top + label + GAP))
        top += label + side + 2 * GAP
    return image


def row(pictures: Pictures, factor: int) -> Image.Image:
    """Pictures K x 3 x S x S beside each other, each pixel `factor` wide."""
    side = pictures.shape[-1] * factor
    image = Image.new("RGB", (len(pictures) * (side + GAP) - GAP, side), "white")
    for n, picture in enumerate(pictures):
        image.paste(_enlarged(picture, factor), (n * (side + GAP), 0))
    return image


def _enlarged(picture: Pictures, factor: int) -> Image.Image:
    pixels = picture.transpose(1, 2, 0)  # 3 x S x S -> S x S x 3
    return Image.fromarray(np.ascontiguousarray(pixels.repeat(factor, axis=0).repeat(factor, axis=1)))


def write_strips(strips: Strips, path: Path) -> Path:
    """The picture as a PNG."""
    sheet(strips.rows).save(path)
    return path


def page_uri(pictures: Pictures) -> str:
    """A row for the page: a PNG, or a smaller JPEG of it where that is large."""
    image = row(pictures, max(1, round(TILE / pictures.shape[-1])))
    held = io.BytesIO()
    image.save(held, "PNG")
    if held.tell() <= PAGE_BYTES:
        return f"data:image/png;base64,{base64.b64encode(held.getvalue()).decode()}"
    if image.width > PAGE_WIDTH:
        image = image.resize((PAGE_WIDTH, round(image.height * PAGE_WIDTH / image.width)), Image.Resampling.LANCZOS)
    held = io.BytesIO()
    image.save(held, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(held.getvalue()).decode()}"


def samples(evidence: Evidence, arrays: look.Arrays) -> Strips | None:
    """Figure 1: test images."""
    held = _first(evidence, arrays, "samples")
    if held is None:
        return None
    values = held[2]
    shown = values["samples"][:SAMPLES]
    note = f"Shows {len(shown)} images of the test split ({_data(evidence)})."
    half = math.ceil(len(shown) / 2)
    rows = (("test images", shown[:half]), ("", shown[half:])) if len(shown) > 4 else (("test images", shown),)
    return Strips(stem="figure_1_samples", title="Samples of the data", note=note, rows=rows)


def reconstructions(evidence: Evidence, arrays: look.Arrays) -> Strips | None:
    """Figure 2: originals beside the reconstructions of every main arm that has them, of the same images."""
    held = _first(evidence, arrays, "reconstructions", needs="samples")
    if held is None:
        return None
    originals = held[2]["samples"][:SAMPLES]
    rows, seeds = [("original images", originals)], []
    for name in look.arms_of(evidence):
        got = look.first_arrays(evidence, arrays, name, "reconstructions") if name in look.LOOKS else None
        if got is not None and got[1]["reconstructions"][:SAMPLES].shape == originals.shape:
            rows.append((f"reconstructed by {name}", got[1]["reconstructions"][:SAMPLES]))
            seeds.append(f"{name} seed {got[0]}")
    possible = sum(t.arm in look.LOOKS for t in evidence.trials)
    note = f"Shows {len(originals)} test images, from the posterior mean, of {len(seeds)} of {possible} trials: {', '.join(seeds)}."
    return Strips(stem="figure_2_reconstructions", title="Originals beside reconstructions", note=note, rows=tuple(rows))


def paper_traversal(evidence: Evidence, arrays: look.Arrays) -> Strips | None:
    """Figures 4 and 5: latent dimension 20 from -3 to 3 in 5 steps, both models."""
    rows, seeds = [], []
    for arm in look.PAIR:
        held = look.first_arrays(evidence, arrays, arm, "traversal_paper")
        if held is not None:
            said = evidence.of(arm)[held[0]].get("analysis.traversal.paper") or {}
            rows.append((f"{arm}: {_span(said)}", held[1]["traversal_paper"][0]))
            seeds.append(f"{arm} seed {held[0]}")
    if not rows:
        return None
    possible = sum(t.arm in look.PAIR for t in evidence.trials)
    note = f"Shows {len(rows)} of {possible} trials of both models: {', '.join(seeds)}."
    return Strips(stem="figure_4_5_traversal", title="The paper's traversal", note=note, rows=tuple(rows))


def traversals(evidence: Evidence, arrays: look.Arrays, arm: str) -> Strips | None:
    """The most informative dimensions of one arm, each over the range of the aggregate posterior."""
    held = look.first_arrays(evidence, arrays, arm, "traversal")
    if held is None:
        return None
    seed, values = held
    said = list(evidence.of(arm)[seed].get("analysis.traversal.dims") or [])
    strips = values["traversal"]
    rows = tuple((_span(said[n] if n < len(said) else {}), pictures) for n, pictures in enumerate(strips[:ROWS]))
    note = f"Shows {len(rows)} of {len(strips)} dimensions, those of the largest KL; {_of_trials(evidence, arm, seed)}."
    return Strips(stem=f"traversal_{arm}", title=f"Single dimensions, {arm}", note=note, rows=rows)


def edit_strips(evidence: Evidence, arrays: look.Arrays, arm: str) -> Strips | None:
    """Attribute edits of one arm, along the direction of a probe and along the difference of means."""
    held = look.first_arrays(evidence, arrays, arm, "edits_probe")
    if held is None:
        return None
    seed, values = held
    names = [str(n) for n in values.get("edits_names", ())] or [f"edit {n}" for n in range(len(values["edits_probe"]))]
    rows = []
    for n, name in enumerate(names[: ROWS // 2]):
        for key, text in (("edits_probe", "probe"), ("edits_mean_difference", "difference of means")):
            if key in values and n < len(values[key]):
                rows.append((f"{name.replace('_', ' ')}, {text}", values[key][n]))
    note = f"Shows {min(len(names), ROWS // 2)} of {len(names)} attributes; {_of_trials(evidence, arm, seed)}."
    return Strips(stem=f"edits_{arm}", title=f"Attribute edits, {arm}", note=note, rows=tuple(rows))


def _of_trials(evidence: Evidence, arm: str, seed: int) -> str:
    return f"1 of {sum(t.arm == arm for t in evidence.trials)} trials of {arm}, seed {seed}"


def _first(evidence: Evidence, arrays: look.Arrays, name: str, needs: str = "") -> tuple[str, int, Mapping[str, Any]] | None:
    """Arm, seed and arrays of the first arm that has this array (and the one that it needs)."""
    for arm in look.arms_of(evidence):
        held = look.first_arrays(evidence, arrays, arm, name)
        if held is not None and (not needs or needs in held[1]):
            return arm, *held
    return None


def _data(evidence: Evidence) -> str:
    name = str(evidence.scale.get("data", "data"))
    return {"faces": "rendered faces", "celeba": "CelebA"}.get(name, name)


def _span(said: Mapping[str, Any]) -> str:
    """'dimension 20, −3.0 to 3.0, KL 0.31 nats' of what is known of a traversal."""
    texts = [f"dimension {said['dim']}"] if "dim" in said else ["dimension unknown"]
    if said.get("low") is not None and said.get("high") is not None:
        texts.append(f"{look.decimal(said['low'], 1)} to {look.decimal(said['high'], 1)}")
    if said.get("kl") is not None:
        texts.append(f"KL {look.decimal(said['kl'], 2)}")
    return ", ".join(texts)
