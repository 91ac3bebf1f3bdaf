"""How often the intervals of latency cover, and how often an effect that is none is called settled: simulated, with known truth.

Simulated rounds go through the code that measured ones go through (`summarise`, `attribute_latency`). The machine's pace wanders by
half from round to round; every round of every network has 2 % of noise of its own; every load of a network in a sitting biases all
its rounds there by 1 %. Networks: `INTERACTING` has random effects of triples of factors as large as those of single ones, and one
that needs four factors at once; `NULL` has no effect at all, the hardest case for the family-wise error. In both the last factor
does nothing, alone or with others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations
from math import exp, log

import numpy as np

from ablation.attribute.factorial import Factorial
from ablation.attribute.latency import attribute_latency
from ablation.attribute.lattice import Cell, Lattice
from ablation.attribute.timed_design import MIN_BLOCKS, LatencyDesign, Pace, exact_design, sampled_design
from ablation.attribute.values import contrasts_of
from ablation.design.spec import preset
from ablation.measure.latency.interleave import Run
from ablation.measure.latency.result import LatencyComparison, summarise
from ablation.record.attribution import Attribution
from ablation.stats import SETTLED, Estimate, judge, mean_estimate

INTERACTING, NULL = "interacting", "null"
LOAD_BIAS, ROUND_NOISE = 0.01, 0.02
Truth = Mapping[Cell, float]


@cache
def few_factors() -> Factorial:
    """Between two networks that differ in four factors: all 16 are timed."""
    return Factorial.between(preset("small"), preset("small").replace(head="pooled", decoder_stem=32, down="avg", up="bilinear"))


@cache
def many_factors() -> Factorial:
    """Between two networks that differ in seven: 128, of which paths are sampled."""
    second = preset("small").replace(connectivity="dense", conv="separable", head="pooled", decoder_stem=32, down="avg")
    return Factorial.between(preset("small"), second)


@dataclass(kw_only=True)
class Coverage:
    """Of one construction: how often each kind of interval covers, and in how many runs something untrue is called settled."""

    name: str
    runs: int = 0
    # kind of effect -> (intervals, of which cover)
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)
    wrong: int = 0

    def add(self, kind: str, covers: bool) -> None:
        """One interval."""
        num, covered = self.counts.get(kind, (0, 0))
        self.counts[kind] = (num + 1, covered + covers)

    @property
    def coverage(self) -> dict[str, float]:
        """Share of intervals that cover, by kind of effect."""
        return {kind: covered / num for kind, (num, covered) in self.counts.items()}

    @property
    def family_wise_error(self) -> float:
        """Share of runs with an effect that is called settled and has not that sign, or is none."""
        return self.wrong / self.runs


def coverage_of_ratio(runs: int, sittings: int, rounds: int, *, seed: int = 0) -> Coverage:
    """Of `compare_latency`: the ratio of two networks, and of the reference to its second copy."""
    tally, rng = Coverage(name=f"ratio, {sittings} sittings of {rounds} rounds"), np.random.default_rng(seed)
    for _ in range(runs):
        timed = comparison(["a", "b"], {"a": 0.0, "b": log(3.0)}, sittings, rounds, rng)
        b = timed["b"]
        assert b.ratio_low is not None
        assert b.ratio_high is not None
        assert timed.noise_floor is not None
        tally.add("ratio", b.ratio_low <= 3.0 <= b.ratio_high)
        tally.add("A/A", timed.noise_floor.contains(1.0))
        tally.runs += 1
        tally.wrong += judge({"A/A": _logarithm(timed)})["A/A"] == SETTLED
    return tally


def _logarithm(timed: LatencyComparison) -> Estimate:
    again = timed.sitting_medians(ratios=True)[:, -1]
    return mean_estimate(np.log(again))


def coverage_of_exact(runs: int, *, sittings: int = 3, rounds: int = 6, truth: str = INTERACTING, seed: int = 0) -> Coverage:
    """Of the exact design of latency, over four factors."""
    design = exact_design(few_factors(), 0.0, Pace(1.0, "cpu"), 26, False)
    return _coverage(
        f"exact design, {sittings} sittings of {rounds} rounds, {truth}", runs, lambda run: design, sittings, rounds, truth, seed
    )


def coverage_of_sampled(
    runs: int, *, blocks: int = MIN_BLOCKS, sittings: int = 3, truth: str = INTERACTING, seed: int = 0
) -> Coverage:
    """Of the sampled design of latency, over seven factors, by default with the fewest blocks; new orderings each run."""

    def design(run: int) -> LatencyDesign:
        return sampled_design(many_factors(), 0.0, Pace(1.0, "cpu"), False, run, blocks)

    plan = design(0)
    name = f"sampled design, {len(plan.orderings)} blocks, {sittings} sittings, {truth}"
    return _coverage(name, runs, design, sittings, plan.rounds, truth, seed)


def _coverage(
    name: str, runs: int, design: Callable[[int], LatencyDesign], sittings: int, rounds: int, truth: str, seed: int
) -> Coverage:
    tally, rng = Coverage(name=name), np.random.default_rng(seed)
    for run in range(runs):
        plan = design(run)
        logs = game(plan.factorial, rng) if truth == INTERACTING else dict.fromkeys(plan.factorial.cells, 0.0)
        attribution = attributed(plan, logs, sittings, rounds, rng)
        tally.runs += 1
        tally.wrong += _compare(tally, attribution, Lattice(plan.factorial.names, logs), logs)
    return tally


def attributed(plan: LatencyDesign, logs: Truth, sittings: int, rounds: int, rng: np.random.Generator) -> Attribution:
    """The attribution of the logarithm of latency from one simulated measurement."""
    by_key = {key: logs[cell] for cell, key in plan.factorial.keys.items()}
    timed = [
        comparison(group, by_key, 1 if plan.is_block(number) else sittings, rounds, rng) for number, group in enumerate(plan.groups)
    ]
    return attribute_latency(plan, timed, "cpu/1")[1]


def _compare(tally: Coverage, attribution: Attribution, lattice: Lattice, logs: Truth) -> bool:
    """Count the intervals that cover; whether an effect is called settled that is none, or the other way round."""
    wrong = False
    for group, contrasts in contrasts_of(lattice).items():
        effects = getattr(attribution, group)
        for name, effect in effects.items():
            true = float(contrasts[name].of(logs))
            if effect.low is not None and effect.high is not None:
                tally.add(group, effect.low <= true <= effect.high)
            wrong = wrong or (effect.verdict == SETTLED and (abs(true) < 1e-12 or true * effect.value < 0))
    return wrong


def game(factorial: Factorial, rng: np.random.Generator) -> dict[Cell, float]:
    """Logarithms of latency with effects of single factors, of triples, and one of the first four together; none of the last."""
    *active, _ = factorial.names
    parts: dict[Cell, float] = {frozenset((name,)): rng.normal(0, 0.3) for name in active}
    parts |= {frozenset(three): rng.normal(0, 0.3) for three in combinations(active, 3)}
    parts[frozenset(active[:4])] = rng.normal(0, 0.6)
    return {cell: sum(effect for members, effect in parts.items() if members <= cell) for cell in factorial.cells}


def comparison(
    names: Sequence[str], logs: Mapping[str, float], sittings: int, rounds: int, rng: np.random.Generator
) -> LatencyComparison:
    """What `compare_latency` would give of networks whose latencies have these logarithms, the first being the reference."""
    columns = [*names, names[0]]
    num = sittings * rounds
    true = np.array([exp(logs[name]) for name in columns])
    bias = np.repeat(rng.normal(0, LOAD_BIAS, (sittings, len(columns))), rounds, axis=0)
    noise = rng.normal(0, ROUND_NOISE, (num, len(columns)))
    samples = rng.uniform(1, 1.5, (num, 1)) * true * np.exp(bias + noise)
    run = Run(samples={"call": samples}, sittings=[number for number in range(sittings) for _ in range(rounds)])
    return summarise(list(names), names[0], run, target_half_width=0.01, provenance={})
