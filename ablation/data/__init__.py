"""Images to train on: rendered faces, CelebA, any folder of images; decoded once, split by one seed."""

from __future__ import annotations

from ablation.data.base import Dataset, Split
from ablation.data.sources import SOURCES, load_dataset
from ablation.data.splits import split_indices

__all__ = ["SOURCES", "Dataset", "Split", "load_dataset", "split_indices"]
