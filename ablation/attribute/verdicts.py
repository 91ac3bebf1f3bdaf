"""From estimates to effects with shares, verdicts and the repetitions that would settle them. No torch.

Verdicts are those of `ablation.stats.judge`, by whole intervals and corrected over the family of all effects that are passed
together: all that is said of one quantity (Shapley values, alone, undone, interactions). Intervals that are shown are those of one
effect by itself.

Needed repetitions. Standard error and floor shrink with the square root of the number n of repetitions, so an effect of size e is
settled when e > (q s + floor) sqrt(n / needed), q being the quantile at which the step-down stopped, and needed is
n ((q s + floor) / e)^2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from statistics import NormalDist

from ablation.record.attribution import Effect
from ablation.stats import CONFIDENCE, SETTLED, Estimate, judge

CORRECTED = "Holm over all effects of this quantity, so that with 95 % certainty none is called settled wrongly"
# repetitions that nobody will make
MANY = 1_000_000_000

Groups = Mapping[str, Mapping[str, Estimate]]


def without_interval(estimate: Estimate) -> Estimate:
    """The value alone."""
    return replace(estimate, error=None, freedom=0.0, low=None, high=None)


def judged(groups: Groups, whole: float, noise: float, of: Mapping[str, str]) -> dict[str, dict[str, Effect]]:
    """Effects of each group with shares of `whole`; verdicts corrected over all groups together.

    `noise`: the floor (A/A), in the unit of the effects. `of`: group -> what its repetitions are.
    """
    every = {(group, name): estimate for group, members in groups.items() for name, estimate in members.items()}
    verdicts = judge(every, dict.fromkeys(every, noise))
    left = sum(verdict != SETTLED for verdict in verdicts.values())
    probability = 1 - (1 - CONFIDENCE) / (2 * max(1, left))
    effects: dict[str, dict[str, Effect]] = {group: {} for group in groups}
    for (group, name), estimate in every.items():
        verdict = verdicts[group, name]
        effects[group][name] = Effect(
            value=estimate.value,
            low=estimate.low,
            high=estimate.high,
            share=estimate.value / whole if whole else None,
            verdict=verdict,
            needed=None if verdict == SETTLED else _needed(estimate, noise, probability),
            num=estimate.num,
            of=of[group],
        )
    return effects


def _needed(estimate: Estimate, noise: float, probability: float) -> int | None:
    # with more repetitions the quantile falls too: start from the normal one and let it settle
    if estimate.error is None or not estimate.value:
        return None
    z = NormalDist().inv_cdf(probability)
    needed, quantile = estimate.num, z
    for _ in range(4):
        needed = ceil(min(MANY, estimate.num * ((quantile * estimate.error + noise) / abs(estimate.value)) ** 2))
        freedom = max(needed - 1, 1)  # t by the first terms of its series (Cornish & Fisher), close enough for a forecast
        quantile = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    return max(needed, estimate.num + 1)
