"""Hypervolume of three minimised objectives, and by how much one more network should raise it where only its loss is uncertain.

A point is (loss, a, b), where a and b are known before anything is trained: latency and parameters, or their logarithms. The
front cuts the axis of losses into slabs, between the sorted losses of its points. Within a slab the area of (a, b) that is
dominated does not change, so volumes are sums over slabs, and so are expectations over a Gaussian loss, in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from ablation.stats import pareto_front
from blocks.errors import must_be

Values: TypeAlias = NDArray[np.float64]


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
    """Volume that N points (N x 3, minimised) dominate below a reference point; exact.

    Points that are not below the reference on every axis add nothing. InputError for other shapes and values that are not numbers.

    >>> hypervolume([[0, 0, 0], [1, 1, 1]], [2, 2, 2])
    8.0
    """
    slabs = _slabs(points, reference)
    return float((slabs.dominated() * np.diff(slabs.edges)[1:]).sum())


def expected_gain(mean: ArrayLike, sd: ArrayLike, costs: ArrayLike, front: ArrayLike, reference: ArrayLike) -> Values:
    """Expected rise of the hypervolume by each of C candidates whose loss is Gaussian and whose costs are known.

    `mean`, `sd`: C losses and their standard deviations (0: known). `costs`: C x 2. `front`: N x 3, N may be 0.
    The gain of a loss y is the integral of A(t) from y to the reference's loss, where A(t) is the area that the candidate's costs
    dominate and no point with a loss of at most t does. A is constant within a slab, so the expectation is a sum over slabs of A
    times E[max(0, t - y)] at its end less that at its beginning; the latter is the expected improvement of Mockus (1978). This is
    the expected hypervolume improvement of Emmerich et al. (2006) where two of three objectives are certain.

    >>> expected_gain([0.5], [0.0], [[1.0, 1.0]], [[1.0, 1.0, 1.0]], [2.0, 2.0, 2.0]).tolist()
    [0.5]
    """
    slabs, costs = _slabs(front, reference), np.asarray(costs, dtype=np.float64).reshape(-1, 2)
    mean, sd = (np.broadcast_to(np.asarray(x, dtype=np.float64), len(costs)) for x in (mean, sd))
    if not (np.isfinite(mean).all() and np.isfinite(costs).all() and (sd >= 0).all()):
        raise must_be("candidates", "finite losses and costs, with standard deviations of at least 0", len(costs))
    below, gain = np.zeros(len(costs)), np.zeros(len(costs))
    for index, edge in enumerate(slabs.edges[1:]):
        improvement = _expected_improvement(edge, mean, sd)
        gain += slabs.free_area(index, costs) * (improvement - below)
        below = improvement
    return np.maximum(gain, 0.0)  # rounding, where there is no gain


def _expected_improvement(threshold: float, mean: Values, sd: Values) -> Values:
    """E[max(0, threshold - y)] of Gaussian y."""
    room, spread = threshold - mean, np.maximum(sd, 1e-300)
    z = np.clip(room / spread, -1e100, 1e100)
    return room * ndtr(z) + sd * np.exp(-0.5 * np.minimum(z**2, 1400.0)) / np.sqrt(2 * np.pi)


@dataclass(frozen=True, kw_only=True)
class _Slabs:
    """Slabs of loss, and in each the staircase of the points below: a step begins at `starts`, and is `lowest` high in b."""

    edges: Values  # K + 2: minus infinity, the losses of the points, the reference's
    starts: Values  # K + 1: sorted a, then the reference's
    lowest: Values  # (K + 1) x K: [slab, step] -> smallest b of points in slabs below and steps up to this; else the reference's
    reference: Values

    def dominated(self) -> Values:
        """Dominated area in each slab but the first, in which nothing is."""
        return ((self.reference[2] - self.lowest) * np.diff(self.starts)).sum(axis=1)[1:]

    def free_area(self, slab: int, costs: Values) -> Values:
        """Area that the costs of each candidate dominate and no point below the slab does."""
        a, b = costs[:, :1], costs[:, 1:]
        room = np.maximum(self.reference[2] - b, 0.0)
        own = np.maximum(self.reference[1] - a, 0.0) * room
        steps = np.diff(np.maximum(self.starts, np.minimum(a, self.reference[1])), axis=1)
        taken = steps * np.minimum(self.reference[2] - self.lowest[slab], room)
        return own[:, 0] - taken.sum(axis=1)


def _slabs(points: ArrayLike, reference: ArrayLike) -> _Slabs:
    table, limit = np.asarray(points, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    table = table.reshape(0, 3) if table.size == 0 else table
    if limit.shape != (3,) or not np.isfinite(limit).all():
        raise must_be("reference", "three finite numbers", reference)
    if table.ndim != 2 or table.shape[1] != 3 or np.isnan(table).any():
        raise must_be("points", "an N x 3 table without missing values", table.shape)
    table = table[(table < limit).all(axis=1)]
    table = table[pareto_front(table)]
    table = table[np.argsort(table[:, 0], kind="stable")]
    by_a = np.argsort(table[:, 1], kind="stable")
    below = np.tri(len(table) + 1, len(table), -1, dtype=bool)[:, by_a]  # [slab, step] -> whether that point lies below the slab
    heights = np.where(below, table[by_a, 2], limit[2])
    return _Slabs(
        edges=np.concatenate([[-np.inf], table[:, 0], limit[:1]]),
        starts=np.concatenate([table[by_a, 1], limit[1:2]]),
        lowest=np.minimum.accumulate(heights, axis=1),
        reference=limit,
    )
