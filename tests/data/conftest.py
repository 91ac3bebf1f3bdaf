"""Folders of small images, and `load_dataset` with a cache of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ablation.data import Dataset, load_dataset

Load = Callable[..., Dataset]


def noise(path: Path, seed: int) -> Image.Image:
    """An image of noise, stored in the format of its suffix; files of one shape have one size as .bmp."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8))
    image.save(path)
    return image


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """load_dataset with a cache of its own and a small size."""

    def call(name: str, root: Path | str | None = None, **options: object) -> Dataset:
        return load_dataset(name, root=root, **{"image_size": 16, "cache_dir": tmp_path / "cache", **options})

    return call
