"""Which networks of a pool a latency model should learn from: spread over what networks are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ablation.measure.costs.forward import Cost
from ablation.measure.costs.opcount import CLASSES
from ablation.measure.costs.static import StaticCost
from blocks.errors import must_be

Floats = NDArray[np.float64]


def features_of(cost: StaticCost) -> Floats:
    """What a network is made of: log(1 + n) of multiply-accumulates, bytes moved and operations of each class, in fixed order."""
    costs = [cost.by_class.get(name, Cost()) for name in CLASSES]
    return np.log1p([amount for one in costs for amount in (one.macs, one.bytes_moved, one.num_ops)])


def sample_for_timing(features: Sequence[Floats] | Floats, num: int, *, seed: int = 0, first: Sequence[int] = ()) -> list[int]:
    """Positions of `num` networks, each the farthest from those before it (Gonzalez 1985), features scaled to the same spread.

    `first` are taken as they are, e.g. the reference; without, one is drawn from `seed`. All where the pool has no more than `num`.

    >>> sample_for_timing([[0.0], [1.0], [10.0], [9.0]], 3, first=[0])
    [0, 2, 3]
    """
    points: Floats = np.array(features, dtype=np.float64)
    if points.ndim != 2 or not len(points) or not np.isfinite(points).all():
        raise must_be("features", "finite numbers, networks x features", points.shape)
    if num < 1 or not all(0 <= position < len(points) for position in first):
        raise must_be("num and first", f"at least 1, and positions among {len(points)} networks", (num, list(first)))
    spread = points.std(axis=0)
    points = points[:, spread > 0] / spread[spread > 0]
    chosen = list(first) or [int(np.random.default_rng(seed).integers(len(points)))]
    distance = np.min([((points - points[position]) ** 2).sum(axis=1) for position in chosen], axis=0)
    while len(chosen) < min(num, len(points)):
        distance[chosen] = -1.0  # equal networks are taken too, each once
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    return chosen
