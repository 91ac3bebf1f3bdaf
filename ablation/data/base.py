"""What every data source gives: decoded images with what is known about them, and the split."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablation.machine.text import printable

FORMER_NOTE = (
    "the study began when data were known by the names and sizes of their files: that its first trials saw the same content is "
    "not known; from now on it is"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Images of one source at one size. Arrays may be memory-mapped; all are read-only."""

    name: str  # "faces", "celeba" or "folder"
    images: NDArray[np.uint8]  # N x 3 x S x S
    names: tuple[str, ...]  # N file names, or numbers for rendered faces
    fingerprint: str  # identifies source, selection, size and what was decoded; 16 hex digits
    former: tuple[str, ...] = ()  # fingerprints that earlier versions gave to files of these names and sizes, whatever they held
    attributes: NDArray[np.uint8] | None = None  # N x A, 0 or 1
    attribute_names: tuple[str, ...] = ()
    factors: NDArray[np.float32] | None = None  # N x F true factors of variation (rendered faces only)
    factor_names: tuple[str, ...] = ()
    masks: NDArray[np.uint8] | None = None  # N x S x S, 1 on the face (rendered faces, or CelebA with a folder of masks beside it)
    notes: tuple[str, ...] = ()  # what a report must say about it, e.g. files that could not be decoded

    def __post_init__(self) -> None:
        object.__setattr__(self, "notes", tuple(map(printable, self.notes)))  # a file's name may hold bytes that are no UTF-8

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_size(self) -> int:
        """Side length in pixels."""
        return int(self.images.shape[-1])

    def with_note(self, note: str) -> Dataset:
        """The same with one thing more that a report must say."""
        return replace(self, notes=(*self.notes, note))

    def describe(self) -> dict[str, Any]:
        """Plain values for provenance."""
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "image_size": self.image_size,
            "num_images": len(self),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Indices into a Dataset; disjoint."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]
