"""Data sets from arrays, for tests that need one."""

from __future__ import annotations

from typing import Any

import numpy as np

from ablation.data.base import Dataset


def as_dataset(images: np.ndarray, **more: Any) -> Dataset:
    """N x 3 x S x S images as a folder's; `more`: other fields of a Dataset."""
    values = {"name": "folder", "names": tuple(map(str, range(len(images)))), "fingerprint": "0" * 16, **more}
    return Dataset(images=images, **values)


def random_dataset(num: int, side: int, low: int = 0, high: int = 256, **more: Any) -> Dataset:
    """Noise, the same each time."""
    return as_dataset(np.random.default_rng(0).integers(low, high, (num, 3, side, side), dtype=np.uint8), **more)
