"""How often the intervals of latency cover, and how often an effect that is none is called settled: simulated, with known truth.

Simulated rounds go through the code that measured ones go through (`summarise`, `attribute_latency`). The machine's pace wanders by
half from round to round; every round of every network has 2 % of noise of its own; every load of a network in a sitting biases all
its rounds there by 1 %. Networks: `INTERACTING` has random effects of triples of factors as large as those of single ones, and one
that needs four factors at once; `NULL` has no effect at all, the hardest case for the family-wise error. In both the last factor
does nothing, alone or with others.
"""

from __future__ import annotations

from collections import defaultdict
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
from ablation.stats import SETTLED
from studies.bench.simulate import Simulated

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


@dataclass
class _Tally:
    """Of one construction: how often each kind of interval covers, and in how many runs something untrue is called settled."""

    # kind of effect -> whether each of its intervals covers
    covers: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))
    wrong: int = 0

    def rows(self, construction: str, case: str, runs: int) -> list[Simulated]:
        """One row for each kind."""
        names = {kind: f"{construction}: {kind.replace('_', ' ')}" for kind in self.covers}
        return [Simulated(names[kind], case, runs, len(covers), sum(covers)) for kind, covers in self.covers.items()]


def coverage_of_ratio(runs: int, sittings: int, rounds: int, *, seed: int = 0) -> list[Simulated]:
    """Of `compare_latency`: the ratio of two networks, and of the reference to its second copy."""
    tally, rng = _Tally(), np.random.default_rng(seed)
    for _ in range(runs):
        timed = comparison(["a", "b"], {"a": 0.0, "b": log(3.0)}, sittings, rounds, rng)
        for kind, ratio, true in (("ratio", timed.paired("b", "a"), 3.0), ("A/A", timed.noise_floor, 1.0)):
            assert ratio is not None
            tally.covers[kind].append(ratio.contains(true))
    return tally.rows("ratio of two networks", f"ratio, {sittings} sittings of {rounds} rounds", runs)


def coverage_of_exact(runs: int, *, sittings: int = 3, rounds: int = 6, truth: str = INTERACTING, seed: int = 0) -> list[Simulated]:
    """Of the exact design of latency, over four factors."""
    design = exact_design(few_factors(), 0.0, Pace(1.0, "cpu"), 26, False)
    case = f"exact design, {sittings} sittings of {rounds} rounds, {truth}"
    return _coverage("latency by the exact design", case, runs, lambda run: design, sittings, rounds, truth, seed)


def coverage_of_sampled(
    runs: int, *, blocks: int = MIN_BLOCKS, sittings: int = 3, truth: str = INTERACTING, seed: int = 0
) -> list[Simulated]:
    """Of the sampled design of latency, over seven factors, by default with the fewest blocks; new orderings each run."""

    def design(run: int) -> LatencyDesign:
        return sampled_design(many_factors(), 0.0, Pace(1.0, "cpu"), False, run, blocks)

    plan = design(0)
    case = f"sampled design, {len(plan.orderings)} blocks, {sittings} sittings, {truth}"
    return _coverage("latency by the sampled design", case, runs, design, sittings, plan.rounds, truth, seed)


def _coverage(
    name: str, case: str, runs: int, design: Callable[[int], LatencyDesign], sittings: int, rounds: int, truth: str, seed: int
) -> list[Simulated]:
    tally, rng = _Tally(), np.random.default_rng(seed)
    for run in range(runs):
        plan = design(run)
        logs = game(plan.factorial, rng) if truth == INTERACTING else dict.fromkeys(plan.factorial.cells, 0.0)
        attribution = attributed(plan, logs, sittings, rounds, rng)
        tally.wrong += _compare(tally, attribution, Lattice(plan.factorial.names, logs), logs)
    return [*tally.rows(name, case, runs), Simulated(name, case, runs, wrong=tally.wrong)]


def attributed(plan: LatencyDesign, logs: Truth, sittings: int, rounds: int, rng: np.random.Generator) -> Attribution:
    """The attribution of the logarithm of latency from one simulated measurement."""
    by_key = {key: logs[cell] for cell, key in plan.factorial.keys.items()}
    timed = [
        comparison(group, by_key, 1 if plan.is_block(number) else sittings, rounds, rng) for number, group in enumerate(plan.groups)
    ]
    return attribute_latency(plan, timed, "cpu/1")[1]


def _compare(tally: _Tally, attribution: Attribution, lattice: Lattice, logs: Truth) -> bool:
    """Count the intervals that cover; whether an effect is called settled that is none, or the other way round."""
    wrong = False
    for group, contrasts in contrasts_of(lattice).items():
        effects = getattr(attribution, group)
        for name, effect in effects.items():
            true = float(contrasts[name].of(logs))
            if effect.low is not None and effect.high is not None:
                tally.covers[group].append(effect.low <= true <= effect.high)
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
