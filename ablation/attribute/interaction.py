"""Pairwise interactions: by how much a swap's effect differs with the level of another factor. Records only, no torch.

The difference of differences, averaged over the levels of all other factors, is a contrast of networks' means. Its interval rests
on seeds (Welch, networks may differ in their spread), of latency on sittings: one contrast for each, which frees it of what a
sitting, or the reference in it, does to all networks alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from ablation.attribute.effect import SEEDS, SITTINGS
from ablation.attribute.pairing import intents_of, one_per_trial, sittings_of, value_of
from ablation.record.sittings import is_latency
from ablation.record.trial import Metric, Record
from ablation.stats import Estimate, contrast_estimate, mean_estimate

# of fewer seeds Welch's interval covers 91 to 98 %, by how networks differ in their spread
LEAST_SEEDS = 3
# factor, level before, level after
Step = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class Interaction:
    """How much more the first step changes a metric after the second step than before it."""

    steps: tuple[Step, Step]
    metric: Metric
    # True: the estimate is a logarithm of how many times as large the ratio becomes
    as_ratio: bool
    estimate: Estimate
    # SEEDS or SITTINGS; empty where there is no interval
    over: str
    # sets of four networks that it rests on
    num_contexts: int


class Measured:
    """The values of every network in one metric, by network key: over seeds, and of latency over sittings."""

    def __init__(self, records: Iterable[Record], metric: Metric, as_ratio: bool) -> None:
        self.metric = metric
        self.as_ratio = as_ratio
        self.values: dict[str, list[float]] = defaultdict(list)
        self.sittings: dict[str, list[float]] = {}
        for record in one_per_trial(records):
            value = value_of(record, metric, as_ratio)
            if value is not None:
                self.values[record.network_key].append(value)
            if is_latency(metric) and (values := sittings_of(record, metric, as_ratio)):
                self.sittings[record.network_key] = values

    @property
    def over(self) -> str:
        """What its replicates are."""
        return SITTINGS if is_latency(self.metric) else SEEDS

    @property
    def num_repeated(self) -> int:
        """Networks with enough replicates for an interval."""
        if is_latency(self.metric):
            return len(self.sittings)
        return sum(len(values) >= LEAST_SEEDS for values in self.values.values())

    def contrast(self, weights: Mapping[str, float]) -> Estimate:
        """The weighted sum of the networks' means; without an interval where a network lacks replicates."""
        used = {key: weight for key, weight in weights.items() if weight}
        if not is_latency(self.metric) and min(len(self.values[key]) for key in used) >= LEAST_SEEDS:
            return contrast_estimate([self.values[key] for key in used], list(used.values()))
        columns = [self.sittings.get(key, []) for key in used]
        if len({len(column) for column in columns}) == 1 and columns[0]:
            return mean_estimate(
                [sum(w * x for w, x in zip(used.values(), row, strict=True)) for row in zip(*columns, strict=True)]
            )
        return Estimate(value=sum(weight * sum(v) / len(v) for key, weight in used.items() if (v := self.values[key])))


def pairwise_interactions(
    records: Iterable[Record], levels: Mapping[str, Sequence[str]], metric: Metric, *, as_ratio: bool = False
) -> list[Interaction]:
    """The interaction of every swap of one factor with every swap of another, in the order of `levels`.

    Sets of four networks of which two are one (a factor does nothing there) are left out, and sets that lack a value.
    """
    records = list(records)
    measured = Measured(records, metric, as_ratio)
    cells = {frozenset(intent.items()): r.network_key for r in records for intent in intents_of(r)}
    interactions = []
    for one, other in combinations([factor for factor, names in levels.items() if len(names) > 1], 2):
        for a in combinations(levels[one], 2):
            for b in combinations(levels[other], 2):
                steps = ((one, *a), (other, *b))
                quadruples = _quadruples(cells, steps, measured)
                if quadruples:
                    interactions.append(_interaction(steps, quadruples, measured))
    return interactions


def _quadruples(
    cells: Mapping[frozenset[tuple[str, str]], str], steps: tuple[Step, Step], measured: Measured
) -> set[tuple[str, str, str, str]]:
    """Networks before both steps, after the first, after the second, after both; each set of four once."""
    (one, a, b), (other, c, d) = steps
    sets = set()
    for cell in cells:
        if (one, a) not in cell or (other, c) not in cell:
            continue
        rest = cell - {(one, a), (other, c)}
        four = tuple(cells.get(rest | {(one, x), (other, y)}, "") for x, y in ((a, c), (b, c), (a, d), (b, d)))
        if len(set(four)) == 4 and all(measured.values.get(key) for key in four):
            sets.add(four)
    return sets  # type: ignore[return-value]


def _interaction(steps: tuple[Step, Step], quadruples: set[tuple[str, str, str, str]], measured: Measured) -> Interaction:
    weights: dict[str, float] = defaultdict(float)
    # in an order of their own, so that sums round alike each time
    for four in sorted(quadruples):
        for key, sign in zip(four, (1, -1, -1, 1), strict=True):
            weights[key] += sign / len(quadruples)
    estimate = measured.contrast(weights)
    return Interaction(
        steps=steps, metric=measured.metric, as_ratio=measured.as_ratio, estimate=estimate,
        over=measured.over if estimate.known else "", num_contexts=len(quadruples),
    )  # fmt: skip
