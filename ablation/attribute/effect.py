"""What a paired effect is: pairs of networks, their clusters, the estimate and what it rests on. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ablation.record.trial import Metric
from ablation.stats import Estimate

# what the replicates of an interval are
PAIRS, CLUSTERS, SEEDS, SITTINGS = "pairs", "clusters", "seeds", "sittings"

# the levels of all other factors
Context = frozenset[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two networks that differ in one factor alone, with what they differ by in one metric."""

    # network keys before and after the swap
    networks: tuple[str, str]
    # the levels of the other factors: more than one context where another factor does nothing
    contexts: tuple[Context, ...]
    # seed -> values before and after, as shown; of ratios their logarithms
    values: Mapping[int, tuple[float, float]]
    # the same by sitting; of latency alone
    sittings: tuple[tuple[float, float], ...] = ()

    @property
    def difference(self) -> float:
        """Mean over seeds; of ratios the logarithm."""
        return mean([y - x for x, y in self.values.values()])

    def level(self, factor: str) -> str | None:
        """The level of another factor; None where several make these very networks."""
        levels = {level for context in self.contexts for name, level in context if name == factor}
        return next(iter(levels)) if len(levels) == 1 else None


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What one swap changes in one metric: signed, in the unit in which the metric is shown."""

    factor: str
    level_from: str
    level_to: str
    metric: Metric
    # True: mean, low and high are factors (1.3 = 1.3 times as much, from the geometric mean); False: differences
    as_ratio: bool = False
    # difference, of ratios the logarithm; None where no pair has values
    estimate: Estimate | None = None
    # what the interval's replicates are: PAIRS, CLUSTERS, SEEDS or SITTINGS; empty where there is no interval
    over: str = ""
    # the effect as a share of the mean before the swap: -0.33 is 33 % less
    relative: float | None = None
    pairs: tuple[Pair, ...] = field(default=(), repr=False)
    # pairs left out because the swap changes nothing there (the factor is inert)
    num_same_network: int = 0
    # pairs of trials left out because a side has no value (yet)
    num_incomplete: int = 0
    # variants whose other side was never planned (a combination that cannot exist, or is not in the space)
    num_unpaired: int = 0

    @property
    def mean(self) -> float | None:
        """The effect; a factor where `as_ratio`."""
        return None if self.estimate is None else self.shown(self.estimate.value)

    @property
    def low(self) -> float | None:
        """Lower end of the 95 % interval, None where there is none."""
        return None if self.estimate is None or self.estimate.low is None else self.shown(self.estimate.low)

    @property
    def high(self) -> float | None:
        """Upper end of the 95 % interval, None where there is none."""
        return None if self.estimate is None or self.estimate.high is None else self.shown(self.estimate.high)

    @property
    def differences(self) -> tuple[float, ...]:
        """One per pair of networks, mean over seeds; factors where `as_ratio`."""
        return tuple(self.shown(pair.difference) for pair in self.pairs)

    @property
    def num_networks(self) -> int:
        """Pairs of different networks, otherwise equal."""
        return len(self.pairs)

    @property
    def num_pairs(self) -> int:
        """Pairs of trials compared: pairs of networks times seeds."""
        return sum(len(pair.values) for pair in self.pairs)

    @property
    def num_clusters(self) -> int:
        """Clusters of pairs that share no network with one another."""
        return len(clusters_of(self.pairs))

    def shown(self, value: float) -> float:
        """A difference as the effect is shown: of ratios the factor."""
        return math.exp(value) if self.as_ratio else value


def clusters_of(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """Pairs that share a network, directly or through other pairs, together."""
    clusters: list[tuple[set[str], list[Pair]]] = []
    for pair in pairs:
        touched = [c for c in clusters if c[0] & set(pair.networks)]
        merged = (set(pair.networks).union(*(c[0] for c in touched)), [*(p for c in touched for p in c[1]), pair])
        clusters = [*(c for c in clusters if c not in touched), merged]
    return [members for _, members in clusters]


def mean(values: Sequence[float]) -> float:
    """The plain mean of at least one value."""
    return sum(values) / len(values)
