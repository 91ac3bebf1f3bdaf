"""The split: 70 / 15 / 15 % by one seeded permutation."""

from __future__ import annotations

import numpy as np

from ablation.data.base import Split
from blocks.errors import must_be

MIN_IMAGES = 10  # the smallest round number that leaves at least one image in each part


def split_sizes(n: int) -> tuple[int, int, int]:
    """How many of n images train, validate and test."""
    num_train, num_validation = int(0.7 * n), int(0.15 * n)
    return num_train, num_validation, n - num_train - num_validation


def split_indices(n: int, *, seed: int = 42) -> Split:
    """Train, validation and test indices of n images, exactly as `torch.utils.data.random_split` gives them.

    Lengths are int(0.7 n), int(0.15 n) and the rest; torch's generator is seeded with `seed`. InputError below `MIN_IMAGES`.

    >>> split = split_indices(20)
    >>> len(split.train), len(split.validation), len(split.test)
    (14, 3, 3)
    """
    if n < MIN_IMAGES:
        rule = f"at least {MIN_IMAGES}, so that each part of the split has one"
        raise must_be("the number of images", rule, n, "Raise --images or add images.")
    import torch  # here, so that reading data does not load torch

    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).numpy().astype(np.int64)
    num_train, num_validation, _ = split_sizes(n)
    train, validation, test = np.split(order, [num_train, num_train + num_validation])
    return Split(train=train, validation=validation, test=test)
