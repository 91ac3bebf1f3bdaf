"""One way to make each interval, and what may be called noise, settled or not settled; spreads, and exact Pareto fronts. No torch.

Every interval is Student's t over replicates that are independent of one another: seeds, sittings, images, blocks of networks, or
pairs of networks, pairs that share a network being one replicate (`mean_estimate`); or, where groups of replicates are compared
that may differ in their spread, Welch's (`contrast_estimate`). One replicate gives a value without an interval. `bench coverage`
simulates each of them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, inf, sqrt
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from blocks.errors import must_be

CONFIDENCE = 0.95
# what an interval of interleaved timings takes: rounds of a sitting, and sittings
LEAST_ROUNDS, LEAST_SITTINGS = 6, 3
SETTLED, NOISE, OPEN = "settled", "within noise", "not settled"
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A quantity as estimated from replicates; without error and interval where there is one alone."""

    value: float
    # standard error; of the logarithm where `exp` made the estimate
    error: float | None = None
    # degrees of freedom of the error
    freedom: float = 0.0
    low: float | None = None
    high: float | None = None
    # replicates that it rests on
    num: int = 1

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return self.low is not None and self.high is not None

    def contains(self, value: float) -> bool:
        """Whether the interval is known and holds `value`."""
        return self.low is not None and self.high is not None and self.low <= value <= self.high

    def exp(self) -> Estimate:
        """The ratio of which this is the logarithm."""
        low, high = (None if end is None else exp(end) for end in (self.low, self.high))
        return replace(self, value=exp(self.value), low=low, high=high)


def t_quantile(probability: float, freedom: float) -> float:
    """Quantile of Student's t; infinite without a degree of freedom."""
    return float(stdtrit(freedom, probability)) if freedom > 0 else inf


def mean_estimate(values: Sequence[float] | NDArray[np.float64], confidence: float = CONFIDENCE) -> Estimate:
    """Mean of independent replicates with Student's t interval; of one value without.

    >>> mean_estimate([1.0, 2.0, 3.0]).low
    -0.48...
    """
    _check_confidence(confidence)
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or data.size == 0 or not np.isfinite(data).all():
        raise must_be("values", "a non-empty list of finite numbers", list(values))
    mean, spread = mean_and_sd(data.tolist())
    assert mean is not None
    if spread is None:
        return Estimate(value=mean)
    return _estimate(mean, spread / sqrt(data.size), data.size - 1, data.size, confidence)


def contrast_estimate(groups: Sequence[Sequence[float]], weights: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Weighted sum of the means of independent groups with Welch's interval (Satterthwaite 1946); groups may differ in spread.

    Without an interval where a group that counts has one value alone. `num`: values in the smallest group.

    >>> contrast_estimate([[1.0, 1.2, 1.1], [2.0, 2.1, 2.2]], [-1, 1]).value
    1.0
    """
    _check_confidence(confidence)
    used = [(np.asarray(group, dtype=np.float64), weight) for group, weight in zip(groups, weights, strict=True) if weight]
    if not used or any(group.size == 0 or not np.isfinite(group).all() for group, _ in used):
        raise must_be("groups", "non-empty lists of finite numbers", [list(group) for group in groups])
    value = float(sum(weight * group.mean() for group, weight in used))
    least = min(group.size for group, _ in used)
    if least < 2:
        return Estimate(value=value, num=least)
    parts = np.array([weight**2 * group.var(ddof=1) / group.size for group, weight in used])
    freedoms = np.array([group.size - 1 for group, _ in used])
    whole = float(parts.sum())
    freedom = whole**2 / float((parts**2 / freedoms).sum()) if whole else float(freedoms.sum())
    return _estimate(value, sqrt(whole), freedom, least, confidence)


def _estimate(value: float, error: float, freedom: float, num: int, confidence: float) -> Estimate:
    reach = t_quantile((1 + confidence) / 2, freedom) * error
    return Estimate(value=value, error=error, freedom=freedom, low=value - reach, high=value + reach, num=num)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise must_be("confidence", "between 0 and 1", confidence)


def judge(
    estimates: Mapping[Name, Estimate], floors: Mapping[Name, float] | None = None, confidence: float = CONFIDENCE
) -> dict[Name, str]:
    """SETTLED, NOISE or OPEN for each of several effects that are judged together; by whole intervals.

    `floors`: the largest effect that is none (A/A), in the effect's own unit (of a ratio, its logarithm); 0 unless given.
    NOISE: the interval lies inside the floor. SETTLED: it lies outside of it, after Holm's correction (1979) for all of
    `estimates`, so that the chance to settle any effect that isn't there is at most 1 - confidence. OPEN: neither, or no interval.

    >>> effects = {"head": mean_estimate([0.9, 1.0, 1.1]), "norm": mean_estimate([-0.02, 0.01, 0.02])}
    >>> judge(effects, {"norm": 0.1})
    {'head': 'settled', 'norm': 'within noise'}
    """
    floor = {name: (floors or {}).get(name, 0.0) for name in estimates}
    adjusted = holm({name: chance(estimate, floor[name]) for name, estimate in estimates.items()})
    otherwise = {name: NOISE if _inside(estimate, floor[name]) else OPEN for name, estimate in estimates.items()}
    return {name: SETTLED if adjusted[name] <= 1 - confidence else otherwise[name] for name in estimates}


def holm(chances: Mapping[Name, float]) -> dict[Name, float]:
    """Chances of several effects that are judged together, corrected (Holm 1979): in their order, none below that of a smaller one.

    >>> holm({"a": 0.01, "b": 0.5, "c": 0.02})
    {'a': 0.03, 'b': 0.5, 'c': 0.04}
    """
    adjusted: dict[Name, float] = {}
    least = 0.0
    for rank, name in enumerate(sorted(chances, key=lambda name: chances[name])):
        least = adjusted[name] = max(least, min(1.0, chances[name] * (len(chances) - rank)))
    return {name: adjusted[name] for name in chances}


def chance(estimate: Estimate, floor: float = 0.0) -> float:
    """Two-sided chance of so large an effect where the true one is on the floor; 1 where that is unknown."""
    beyond = abs(estimate.value) - floor
    if estimate.error is None or beyond <= 0:
        return 1.0
    return 2 * float(stdtr(estimate.freedom, -beyond / estimate.error)) if estimate.error else 0.0


def _inside(estimate: Estimate, floor: float) -> bool:
    return estimate.low is not None and estimate.high is not None and -floor <= estimate.low and estimate.high <= floor


def mean_and_sd(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and sample standard deviation (n - 1); None where there are too few values for it."""
    if not values:
        return None, None
    if min(values) == max(values):  # exactly equal values have exactly no spread, whatever rounding makes of their mean
        return values[0], 0.0 if len(values) > 1 else None
    return float(np.mean(values)), float(np.std(values, ddof=1))


def pareto_front(
    points: Sequence[Sequence[float]] | NDArray[np.float64], minimise: bool | Sequence[bool] = True
) -> NDArray[np.bool_]:
    """Which of N x M points no other point dominates: N booleans, exact.

    A point dominates another when it is at least as good in every column and better in one, so equal points are both kept.
    `minimise` says, once or per column, whether lower is better.

    >>> pareto_front([[1, 2], [2, 1], [2, 2]]).tolist()
    [True, True, False]
    """
    data = np.asarray(points, dtype=np.float64)
    if data.size == 0:
        return np.zeros(len(data), dtype=bool)
    if data.ndim != 2 or np.isnan(data).any():
        raise must_be("points", "an N x M table without missing values", data.shape, "Leave incomplete points out and count them.")
    signed = np.where(np.broadcast_to(np.asarray(minimise, dtype=bool), data.shape[1:]), data, -data)
    front = [not ((signed <= p).all(axis=1) & (signed < p).any(axis=1)).any() for p in signed]
    return np.array(front, dtype=bool)
