"""Statistics of interleaved timings: medians by sitting, paired ratios and their intervals over sittings, drift. No torch.

Samples are rounds x models, in ms; one row is one round, in which every model ran once, close together in time. Whatever slows
the machine for a while slows a whole row, so ratios are taken within rows. The median over the rows of a sitting forgets rows in
which only one model was disturbed. What rows can't show is what loading a network anew changes (where its memory lies: a percent
or so): so networks are built and loaded again for every sitting, and an interval is Student's t over the sittings' medians. It
takes at least LEAST_SITTINGS of at least LEAST_ROUNDS rounds; of fewer there is a value and no interval.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ablation.stats import LEAST_ROUNDS, LEAST_SITTINGS, Estimate, mean_estimate

Samples = NDArray[np.float64]


def paired_ratios(samples: Samples, reference: int) -> Samples:
    """Each column divided by the reference's column, row by row."""
    return samples / samples[:, [reference]]


def by_sitting(samples: Samples, sittings: NDArray[np.int_]) -> Samples:
    """Medians over the rounds of each sitting: sittings x columns, in the order of the sittings.

    `sittings`: for each row the number of its sitting. Sittings of fewer than LEAST_ROUNDS rounds are left out where others have
    as many; where none has, they stand for themselves.
    """
    numbers, rounds = np.unique(sittings, return_counts=True)
    whole = numbers[rounds >= LEAST_ROUNDS] if (rounds >= LEAST_ROUNDS).any() else numbers
    return np.array([np.median(samples[sittings == number], axis=0) for number in whole]).reshape(len(whole), -1)


def over_sittings(samples: Samples, sittings: NDArray[np.int_]) -> list[Estimate]:
    """For each column of positive numbers the geometric mean of the sittings' medians, with its interval where there is one.

    `num` is the number of sittings. A column with a NaN gives NaN.
    """
    enough = num_whole(sittings) >= LEAST_SITTINGS
    return [_geometric(column, enough) for column in by_sitting(samples, sittings).T]


def num_whole(sittings: NDArray[np.int_]) -> int:
    """Sittings of at least LEAST_ROUNDS rounds."""
    return int((np.unique(sittings, return_counts=True)[1] >= LEAST_ROUNDS).sum())


def _geometric(medians: NDArray[np.float64], enough: bool) -> Estimate:
    if not np.isfinite(medians).all():
        return Estimate(value=float("nan"), num=0)
    estimate = mean_estimate(np.log(medians)).exp()
    return estimate if enough else replace(estimate, error=None, freedom=0.0, low=None, high=None)


class Trend(NamedTuple):
    """How much a quantity changed from the first to the last round, relative, and whether that is more than chance."""

    change: float
    significant: bool


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Trends over the rounds."""

    # of the geometric mean of all models: clocks, heat, other load. Pairing removes it
    machine: Trend
    # of the paired ratio that changed most. Pairing doesn't remove it: doubt that model's interval
    ratio: Trend
    ratio_name: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"machine": self.machine._asdict(), "ratio": self.ratio._asdict(), "ratio_name": self.ratio_name}


def trend(values: Samples) -> Trend:
    """Theil-Sen slope of the logarithm over all rounds; significant if Spearman's rank correlation is 3 standard errors off 0."""
    rounds = len(values)
    if rounds < 5 or np.ptp(values) == 0:
        return Trend(0.0, False)
    logs = np.log(values)
    slope, correlation = stats.theilslopes(logs).slope, stats.spearmanr(np.arange(rounds), logs).statistic
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
