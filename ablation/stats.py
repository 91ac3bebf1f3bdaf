"""Means with bootstrap intervals, spreads over seeds, and exact Pareto fronts. numpy only, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from blocks.errors import must_be


@dataclass(frozen=True)
class Interval:
    """A mean and its interval; low and high are None where one value alone gives no interval."""

    mean: float
    low: float | None
    high: float | None

    def contains(self, value: float) -> bool:
        """Whether the interval is known and holds `value`."""
        return self.low is not None and self.high is not None and self.low <= value <= self.high


@lru_cache(maxsize=256)
def t_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t: with t = sqrt(freedom) tan(a), the density of the angle a is cos(a)^(freedom - 1)."""
    angles = np.linspace(-np.pi / 2, np.pi / 2, 40_001)
    density = np.cos(angles).clip(0) ** (freedom - 1)
    cumulative = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    angle = np.interp(probability, cumulative / cumulative[-1], angles)
    return float(np.sqrt(freedom) * np.tan(angle))


def _tail(num_values: int, level: float) -> float:
    """Tail probability of the expanded percentile interval, which mends the narrowness of a bootstrap of few values.

    Hesterberg, "What Teachers Should Know About the Bootstrap" (2015), section 5.1.
    """
    stretched = np.sqrt(num_values / (num_values - 1)) * t_quantile((1 - level) / 2, num_values - 1)
    return NormalDist().cdf(float(stretched))


def bootstrap_mean(values: Sequence[float], *, level: float = 0.95, rounds: int = 4000, seed: int = 0) -> Interval:
    """Mean of `values` with its expanded percentile bootstrap interval; the same seed gives the same interval.

    One value has no interval. No interval reaches beyond the smallest and the largest value, so of two or three values it
    is still too narrow; whoever reports it states the number of values.
    """
    if not 0 < level < 1:
        raise must_be("level", "between 0 and 1", level)
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or data.size == 0 or not np.isfinite(data).all():
        raise must_be("values", "a non-empty list of finite numbers", list(values))
    mean = float(data.mean())
    if data.size == 1:
        return Interval(mean, None, None)
    if np.ptp(data) == 0:
        return Interval(mean, mean, mean)
    picks = np.random.default_rng(seed).integers(0, data.size, size=(rounds, data.size))
    tail = _tail(data.size, level)
    low, high = np.quantile(data[picks].mean(axis=1), [tail, 1 - tail])
    return Interval(mean, float(low), float(high))


def mean_and_sd(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and sample standard deviation (n - 1); None where there are too few values for it."""
    if not values:
        return None, None
    if min(values) == max(values):  # exactly equal values have exactly no spread, whatever rounding makes of their mean
        return values[0], 0.0 if len(values) > 1 else None
    return float(np.mean(values)), float(np.std(values, ddof=1))


def pooled_sd(groups: Sequence[Sequence[float]]) -> float | None:
    """Standard deviation within groups, pooled over groups of at least two values; None where there is no such group."""
    usable = [np.asarray(g, dtype=np.float64) for g in groups if len(g) > 1]
    if not usable:
        return None
    squares = sum(float(((g - g.mean()) ** 2).sum()) for g in usable)
    return float(np.sqrt(squares / sum(g.size - 1 for g in usable)))


def pareto_front(
    points: Sequence[Sequence[float]] | NDArray[np.float64], minimise: bool | Sequence[bool] = True
) -> NDArray[np.bool_]:
    """Which of N x M points no other point dominates: N booleans, exact.

    A point dominates another when it is at least as good in every column and better in one, so equal points are both kept.
    `minimise` says, once or per column, whether lower is better.
    """
    data = np.asarray(points, dtype=np.float64)
    if data.size == 0:
        return np.zeros(len(data), dtype=bool)
    if data.ndim != 2 or np.isnan(data).any():
        raise must_be("points", "an N x M table without missing values", data.shape, "Leave incomplete points out and count them.")
    signed = np.where(np.broadcast_to(np.asarray(minimise, dtype=bool), data.shape[1:]), data, -data)
    front = [not ((signed <= p).all(axis=1) & (signed < p).any(axis=1)).any() for p in signed]
    return np.array(front, dtype=bool)
