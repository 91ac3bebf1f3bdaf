"""How often the intervals of a grid's effects and interactions cover, and how often a verdict settles what is not there. No torch.

Records are invented with a known truth and go through the very code that a report uses. Trained metrics: every seed adds noise;
the true effect differs between pairs of networks. Latency: every load of a network in a sitting adds a bias of 1 %, every median
noise of 0.3 %. What an interval is to cover: over clusters of pairs the mean of the population that they are drawn from; of a
single cluster, over seeds or sittings, the mean of these very networks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ablation.attribute.effect import CLUSTERS, PAIRS
from ablation.attribute.interaction import pairwise_interactions
from ablation.attribute.pairing import paired_effects
from ablation.record.trial import COMPLETE, METRICS, Metric, Record
from ablation.stats import SETTLED, Estimate, judge
from studies.bench.simulate import Simulated

# how the networks before the swap are shared: not at all, by all pairs, by two pairs each
SEPARATE, STAR, TWO_LEVEL = "separate", "star", "two-level"
EFFECT, NOISE, VARIED = 0.03, 0.01, 0.01
BIAS, JITTER = 0.01, 0.003
RATIO = Metric(path="latency.cpu/1.ratio", label="latency")
Samples = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Pairs of networks, how they share networks, and how often each network is measured: by seeds, or by sittings if timed."""

    pairs: int
    repeats: int
    shape: str = SEPARATE
    timed: bool = False

    @property
    def name(self) -> str:
        """'4 pairs, star, 3 seeds'."""
        return f"{self.pairs} pairs, {self.shape}, {self.repeats} {'sittings' if self.timed else 'seeds'}"

    def shared(self, pair: int) -> int:
        """Number of the network before the swap, of one pair."""
        return {SEPARATE: pair, STAR: 0, TWO_LEVEL: pair // 2}[self.shape]


def cases() -> list[Case]:
    """1 to 8 pairs, each way to share networks, 1 to 5 seeds or 3 to 6 sittings."""
    shapes = [(pairs, shape) for pairs in range(1, 9) for shape in (SEPARATE, STAR, TWO_LEVEL) if pairs > 1 or shape == SEPARATE]
    trained = [Case(pairs=pairs, shape=shape, repeats=seeds) for pairs, shape in shapes for seeds in range(1, 6)]
    timed = [Case(pairs=p, shape=shape, repeats=n, timed=True) for p, shape in shapes for n in range(3, 7)]
    return [*trained, *timed]


def effect_coverage(case: Case, runs: int = 2000, seed: int = 0) -> list[Simulated]:
    """Coverage of the effect of one swap."""
    rng = np.random.default_rng(seed)
    hits = intervals = 0
    for _ in range(runs):
        true = EFFECT + rng.normal(0, VARIED, case.pairs)
        levels = [0.0] * (case.shared(case.pairs - 1) + 1) + list(true)
        records = _pair_records(case, _measured(levels, case, rng))
        (effect,) = paired_effects(records, "f", _metric(case.timed), levels=("a", "b"), as_ratio=case.timed)
        assert effect.estimate is not None
        intervals += effect.estimate.known
        hits += effect.estimate.contains(EFFECT if effect.over in (PAIRS, CLUSTERS) else float(true.mean()))
    name = "effect of a swap on latency" if case.timed else "effect of a swap on a trained metric"
    return [Simulated(name, case.name, runs, intervals, hits)]


def interaction_coverage(
    num_contexts: int, repeats: int, *, timed: bool = False, runs: int = 2000, seed: int = 0
) -> list[Simulated]:
    """Coverage of the interaction of two factors, averaged over the levels of a third, of networks that differ in their spread."""
    rng = np.random.default_rng(seed)
    cells = list(product("ab", "ab", map(str, range(num_contexts))))
    true = np.array([EFFECT * (cell[0] == cell[1] == "b") for cell in cells])
    uneven = 1 if timed else np.linspace(0.5, 1.5, len(cells))[:, None]
    hits = intervals = 0
    for _ in range(runs):
        values = _noise(len(cells), repeats, timed, rng) * uneven + true[:, None]
        records = list(_grid_records([dict(zip("fgh", cell, strict=True)) for cell in cells], values, timed))
        (interaction,) = pairwise_interactions(records, {"f": "ab", "g": "ab"}, _metric(timed), as_ratio=timed)
        intervals += interaction.estimate.known
        hits += interaction.estimate.contains(EFFECT)
    name = f"interaction in {'latency' if timed else 'a trained metric'}"
    case = f"interaction, {num_contexts} contexts, {repeats} {'sittings' if timed else 'seeds'}"
    return [Simulated(name, case, runs, intervals, hits)]


def false_alarms(num_factors: int, num_seeds: int, num_sittings: int, runs: int = 2000, seed: int = 0) -> list[Simulated]:
    """Reports, of a grid in which nothing does anything, that settle an effect or an interaction."""
    rng = np.random.default_rng(seed)
    names = "fghijk"[:num_factors]
    cells = [dict(zip(names, levels, strict=True)) for levels in product("ab", repeat=num_factors)]
    levels = dict.fromkeys(names, "ab")
    alarms = 0
    for _ in range(runs):
        trained = list(_grid_records(cells, _noise(len(cells), num_seeds, False, rng), False))
        timed = list(_grid_records(cells, _noise(len(cells), num_sittings, True, rng), True))
        family: dict[object, Estimate] = {}
        for records, metric, ratio in ((trained, METRICS["loss"], False), (timed, RATIO, True)):
            effects = [e for f in names for e in paired_effects(records, f, metric, levels=("a", "b"), as_ratio=ratio)]
            family |= {(metric.path, e.factor): e.estimate for e in effects if e.estimate is not None}
            family |= {(metric.path, i.steps): i.estimate for i in pairwise_interactions(records, levels, metric, as_ratio=ratio)}
        alarms += SETTLED in judge(family).values()
    case = f"{num_factors} factors, {num_seeds} seeds, {num_sittings} sittings"
    return [Simulated("effects and interactions of a grid", case, runs, wrong=alarms)]


def _metric(timed: bool) -> Metric:
    return RATIO if timed else METRICS["loss"]


def _noise(networks: int, repeats: int, timed: bool, rng: np.random.Generator) -> Samples:
    """Networks x repeats: noise of seeds; or of logarithms of ratios to the first network, which shares its bias with all."""
    if not timed:
        return rng.normal(0, NOISE, (networks, repeats))
    logs = rng.normal(0, math.hypot(BIAS, JITTER), (networks, repeats))
    return logs - logs[0]


def _measured(levels: Sequence[float], case: Case, rng: np.random.Generator) -> Samples:
    return np.array(levels)[:, None] + _noise(len(levels), case.repeats, case.timed, rng)


def _pair_records(case: Case, values: Samples) -> list[Record]:
    """The networks before the swap, then those after it, one for each pair."""
    shared = [case.shared(pair) for pair in range(case.pairs)]
    intents = [[{"f": "a", "g": str(p)} for p in range(case.pairs) if shared[p] == n] for n in range(max(shared) + 1)]
    intents += [[{"f": "b", "g": str(p)}] for p in range(case.pairs)]
    return [r for n, (own, row) in enumerate(zip(intents, values, strict=True)) for r in _of_network(n, own, row, case.timed)]


def _grid_records(cells: Sequence[dict[str, str]], values: Samples, timed: bool) -> Iterator[Record]:
    for number, (cell, row) in enumerate(zip(cells, values, strict=True)):
        yield from _of_network(number, [cell], row, timed)


def _of_network(number: int, intents: list[dict[str, str]], values: Samples, timed: bool) -> list[Record]:
    """One record with all sittings, or one for each seed."""
    key = f"network {number}"
    if not timed:
        return [
            Record(network_key=key, label=key, seed=s, state=COMPLETE, intents=tuple(intents), training={"best_loss": float(x)})
            for s, x in enumerate(values)
        ]
    entry = {
        "ratio": math.exp(values.mean()), "sittings": len(values), "rounds": 6 * len(values),
        "ratio_by_sitting": np.exp(values).tolist(),
    }  # fmt: skip
    return [Record(network_key=key, label=key, seed=0, state=COMPLETE, intents=tuple(intents), latency={"cpu/1": entry})]
