"""Statistics of interleaved timings: medians, paired ratios, their bootstrap intervals, drift. Needs numpy only.

Samples are rounds x models, in ms; one row is one round, in which every model ran once, close together in time. Whatever slows
the machine for a while slows a whole row, so ratios are taken within rows. The median over rows forgets rows in which only one
model was disturbed. Intervals are 95 % percentile bootstraps over rows; they assume that rows are independent, which `drift`
checks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]
CONFIDENCE = 0.95
RESAMPLES = 2000


class Interval(NamedTuple):
    """A median with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half the interval relative to the value."""
        return (self.high - self.low) / 2 / self.value


def paired_ratios(samples: Samples, reference: int) -> Samples:
    """Each column divided by the reference's column, row by row."""
    return samples / samples[:, [reference]]


def median_intervals(samples: Samples, seed: int = 0, resamples: int = RESAMPLES) -> list[Interval]:
    """Median and interval of each column; the same resampled rows for all columns. A column with a NaN gives NaN."""
    rows = len(samples)
    picks = np.random.default_rng(seed).integers(rows, size=(resamples, rows))
    tail = 50 * (1 - CONFIDENCE)
    found = []
    for column in samples.T:  # one at a time: resamples x rows numbers in memory
        low, high = np.percentile(np.median(column[picks], axis=1), (tail, 100 - tail))
        found.append(Interval(float(np.median(column)), float(low), float(high)))
    return found


class Trend(NamedTuple):
    """How much a quantity changed from the first to the last round, relative, and whether that is more than chance."""

    change: float
    significant: bool


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Trends over the rounds."""

    machine: Trend
    # of the geometric mean of all models: clocks, heat, other load. Pairing removes it
    ratio: Trend
    # of the paired ratio that changed most. Pairing doesn't remove it: doubt that model's interval
    ratio_name: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"machine": self.machine._asdict(), "ratio": self.ratio._asdict(), "ratio_name": self.ratio_name}


def trend(values: Samples) -> Trend:
    """Theil-Sen slope of the logarithm over all rounds; significant if Spearman's rank correlation is 3 standard errors off 0."""
    rounds = len(values)
    if rounds < 5 or np.ptp(values) == 0:
        return Trend(0.0, False)
    logs, time = np.log(values), np.arange(rounds)
    first, second = np.triu_indices(rounds, 1)
    slope = np.median((logs[second] - logs[first]) / (second - first))
    rank = np.argsort(np.argsort(logs))
    correlation = np.corrcoef(rank, time)[0, 1]
    return Trend(float(np.expm1(slope * (rounds - 1))), bool(abs(correlation) * np.sqrt(rounds - 1) > 3))


def find_drift(samples: Samples, names: list[str], reference: int | None) -> Drift:
    """Drift of all columns together, and of the paired ratio that drifts most, significant ones first."""
    machine = trend(np.exp(np.log(samples).mean(axis=1)))
    trends = {}
    if reference is not None:
        ratios = paired_ratios(samples, reference)
        trends = {name: trend(ratios[:, i]) for i, name in enumerate(names) if i != reference}
    worst = max(trends, key=lambda name: (trends[name].significant, abs(trends[name].change)), default="")
    return Drift(machine=machine, ratio=trends.get(worst, Trend(0.0, False)), ratio_name=worst)
