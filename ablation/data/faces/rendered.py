"""Rendered faces: the data set that this project draws itself, with true factors, attributes and an exact face mask.

A face is a function of its factors alone, and its factors of (seed, index) alone: the same face has the same bytes whatever
else is rendered, in whatever order, by however many processes, on every machine (see draw.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ablation.data.faces.beard import beard
from ablation.data.faces.draw import halved
from ablation.data.faces.factors import ATTRIBUTE_NAMES, FACTOR_NAMES, FACTORS, Factor, Traits, derive_attributes, sample_factors
from ablation.data.faces.features import features
from ablation.data.faces.hair import hair_behind, hair_in_front
from ablation.data.faces.head import ears, head
from ablation.data.faces.scene import background, body
from ablation.data.faces.view import View
from ablation.data.faces.wear import earrings, glasses, hat
from blocks.errors import must_be

__all__ = [
    "ATTRIBUTE_NAMES",
    "FACTORS",
    "FACTOR_NAMES",
    "FaceBatch",
    "Factor",
    "derive_attributes",
    "render",
    "render_faces",
    "sample_factors",
]

# from back to front
LAYERS: tuple[Callable[[View], None], ...] = (
    background, hair_behind, body, ears, head, features, beard, glasses, hair_in_front, earrings, hat,
)  # fmt: skip
MIN_SIZE = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class FaceBatch:
    """Rendered faces with everything that is known about them."""

    images: NDArray[np.uint8]  # N x 3 x S x S
    masks: NDArray[np.uint8]  # N x S x S, 1 where skin and features show
    factors: NDArray[np.float32]  # N x F, in the order of FACTORS
    attributes: NDArray[np.uint8]  # N x A, in the order of ATTRIBUTE_NAMES


def render(factors: NDArray[np.float32], size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One face as an image (3 x S x S) and its mask (S x S), S = size in pixels.

    The mask is 1 where at least half of a pixel shows the face: skin and features with facial hair and glasses, but not ears,
    neck, earrings, hat, or hair in front of the face. Drawn with 2 x 2 samples a pixel.
    """
    if size < MIN_SIZE:
        raise must_be("size", f"{MIN_SIZE} pixels or more", size)
    view = View.whole(Traits.of(factors), 2 * size)
    for layer in LAYERS:
        layer(view)
    image = halved(view.rgb).clip(0.0, 1.0)
    mask = halved(view.mask[None])[0] >= 0.5
    return (image * 255.0 + 0.5).astype(np.uint8), mask.astype(np.uint8)


def render_faces(num_images: int, size: int, seed: int, *, start: int = 0) -> FaceBatch:
    """Faces number start to start + num_images - 1 of the series `seed`, at size x size pixels."""
    if num_images < 1:
        raise must_be("num_images", "at least 1", num_images)
    factors = np.stack([sample_factors(index, seed) for index in range(start, start + num_images)])
    images = np.empty((num_images, 3, size, size), np.uint8)
    masks = np.empty((num_images, size, size), np.uint8)
    for number, row in enumerate(factors):
        images[number], masks[number] = render(row, size)
    return FaceBatch(images=images, masks=masks, factors=factors, attributes=derive_attributes(factors))
