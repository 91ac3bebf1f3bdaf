"""Attribution of functions whose effects and interactions are known, exactly and under noise of known size."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import combinations, permutations
from math import exp, factorial, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablation.attribute.factorial import Factorial
from ablation.attribute.latency import attribute_latency, noise_floor
from ablation.attribute.lattice import Lattice, along, cells_of
from ablation.attribute.timed_design import MIN_BLOCKS, LatencyDesign, Pace, latency_design, sampled_design, time_design
from ablation.attribute.trained import attribute_trained
from ablation.attribute.values import attribute
from ablation.attribute.verdicts import judged
from ablation.design.spec import preset
from ablation.measure.latency.interleave import LEAST_ROUNDS, Run
from ablation.measure.latency.result import LatencyComparison, summarise
from ablation.record.trial import Record
from ablation.stats import Estimate
from blocks.errors import InputError
from studies.bench.simulate.designs import INTERACTING, NULL, coverage_of_exact, coverage_of_ratio, coverage_of_sampled

ABC = ("a", "b", "c")


def cell(*names: str) -> frozenset[str]:
    return frozenset(names)


def subsets(names) -> list[frozenset[str]]:
    return [frozenset(some) for size in range(len(names) + 1) for some in combinations(names, size)]


def shapley_values(names, values) -> dict[str, Fraction | float]:
    shares = Lattice(names, values).shapley()
    whole = all(isinstance(value, int | Fraction) for value in values.values())
    return {name: contrast.exact(values) if whole else contrast.of(values) for name, contrast in shares.items()}


def by_orderings(names, values) -> dict[str, Fraction]:
    """The definition, by enumeration: the mean over all orderings whose cells all exist."""
    whole = [order for order in permutations(names) if all(c in values for c in cells_of(order))]
    return {name: Fraction(sum(along(order, values)[name] for order in whole)) / len(whole) for name in names}


# ---- exact ----


def test_additive_effects_are_found_whole_from_everywhere() -> None:
    effects = {"a": 5, "b": -3, "c": 11}
    values = {s: 100 + sum(effects[name] for name in s) for s in subsets(ABC)}
    result = attribute(ABC, values, metric="params", unit="parameters")
    for group in (result.shapley, result.from_start, result.from_end):
        assert {name: effect.value for name, effect in group.items()} == effects
    assert {pair: effect.value for pair, effect in result.interactions.items()} == {"a + b": 0, "a + c": 0, "b + c": 0}
    assert [effect.share for effect in result.shapley.values()] == [5 / 13, -3 / 13, 11 / 13]
    assert (result.start, result.end, result.residual) == (100, 113, 0)
    assert result.path == (("c", 111), ("a", 116), ("b", 113))
    assert (result.num_variants, result.num_possible, result.corrected) == (8, 8, "")


def test_interactions_are_shared_and_named() -> None:
    # a + b: 6 together; a + b + c: -9 all three; of which each member gets an equal part
    def value(s: frozenset[str]) -> int:
        return 4 * ("a" in s) + 6 * (s >= {"a", "b"}) - 9 * (len(s) == 3)

    result = attribute(ABC, {s: value(s) for s in subsets(ABC)}, metric="macs")
    assert {n: e.value for n, e in result.shapley.items()} == {"a": 4 + 3 - 3, "b": 3 - 3, "c": -3}
    assert {n: e.value for n, e in result.from_start.items()} == {"a": 4, "b": 0, "c": 0}
    assert {n: e.value for n, e in result.from_end.items()} == {"a": 1, "b": -3, "c": -9}
    # the index of a pair halves an interaction of three between both levels of the third
    assert {n: e.value for n, e in result.interactions.items()} == {"a + b": 6 - 4.5, "a + c": -4.5, "b + c": -4.5}


def test_an_impossible_cell_leaves_the_average_over_the_paths_that_exist() -> None:
    values = {s: v for s, v in zip(subsets(ABC), (0, 7, 2, 3, 20, 9, 40, 100), strict=True) if s != cell("b")}
    # by hand, orderings that do not begin with b: abc 7 13 80; acb 7 91 2; cab 6 91 3; cba 60 37 3
    result = attribute(ABC, values, metric="macs")
    assert {n: e.value for n, e in result.shapley.items()} == {"a": 80 / 4, "b": (13 + 91 + 91 + 37) / 4, "c": (80 + 2 + 3 + 3) / 4}
    assert (result.residual, result.num_variants, result.num_possible) == (0, 7, 8)
    assert list(result.from_start) == ["a", "c"]
    # a + b from nothing needs the cell b; with c it exists
    assert result.interactions["a + b"].value == 100 - 9 - 40 + 3


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.randoms(use_true_random=False))
def test_counting_paths_equals_enumerating_them(num_factors: int, rng: random.Random) -> None:
    names = tuple("abcde"[:num_factors])
    kept = [s for s in subsets(names) if len(s) in (0, num_factors) or rng.random() < 0.8]
    values = {s: rng.randrange(-(10**12), 10**12) for s in kept}
    lattice = Lattice(names, values)
    valid = [order for order in permutations(names) if all(c in values for c in cells_of(order))]
    assert lattice.num_paths == len(valid)
    if valid:
        result = shapley_values(names, values)
        assert result == by_orderings(names, values)
        assert sum(result.values()) == values[frozenset(names)] - values[frozenset()]


def test_weights_are_shapleys_where_every_cell_exists() -> None:
    names = tuple("abcdefgh")
    contrast = Lattice(names, subsets(names)).shapley()["c"]
    for swapped, weight in contrast.weights.items():
        size = len(swapped - {"c"})
        sign = 1 if "c" in swapped else -1
        assert Fraction(weight, contrast.denominator) == sign * Fraction(factorial(size) * factorial(7 - size), factorial(8))
    pair = Lattice(names, subsets(names)).interactions()["b + g"]
    assert pair.weights[cell("a", "c")] * factorial(7) == pair.denominator * factorial(2) * factorial(4)


def test_twelve_factors_are_exact() -> None:
    names = tuple("abcdefghijkl")
    values = {s: len(s) ** 2 * 10**9 + 7 for s in subsets(names)}
    assert set(shapley_values(names, values).values()) == {12 * 10**9}


def test_greedy_path_takes_the_largest_step_towards_the_second() -> None:
    values = dict(zip(subsets(ABC), (10, 8, 9, 6, 8, 1, 5, 2), strict=True))
    assert Lattice(ABC, values).greedy(values) == (("c", 6), ("a", 1), ("b", 2))
    rising = {s: -v for s, v in values.items()}
    assert Lattice(ABC, rising).greedy(rising)[0] == ("c", -6)
    # a dead end is not entered, however large its step
    del values[cell("a", "c")], values[cell("b", "c")]
    assert Lattice(ABC, values).greedy(values) == (("a", 8), ("b", 8), ("c", 2))


def test_random_paths_are_uniform_over_those_that_exist() -> None:
    values = [s for s in subsets(ABC) if s not in (cell("b"), cell("a", "c"))]
    lattice, rng = Lattice(ABC, values), random.Random(0)
    counts: dict[tuple[str, ...], int] = {}
    for _ in range(3000):
        order = lattice.draw(rng)
        counts[order] = counts.get(order, 0) + 1
    assert counts.keys() == {("a", "b", "c"), ("c", "b", "a")}
    assert abs(counts["a", "b", "c"] - 1500) < 150


def test_missing_ends_and_missing_paths_are_errors() -> None:
    values = dict.fromkeys(subsets(ABC), 1)
    with pytest.raises(InputError, match="second network must have a value"):
        attribute(ABC, {s: 1 for s in values if len(s) < 3}, metric="macs")
    with pytest.raises(InputError, match="joined by a path"):
        attribute(ABC, {s: 1 for s in values if len(s) != 2}, metric="macs")
    with pytest.raises(InputError, match="as many in every cell"):
        attribute(ABC, {s: np.ones(2 + len(s)) for s in values}, metric="latency_ms")
    with pytest.raises(InputError, match="finite"):
        attribute(ABC, {s: np.array([1, np.nan]) for s in values}, metric="latency_ms")


# ---- under noise of known size ----

EFFECTS = {"a": 2.0, "b": -0.7, "c": 0.0, "d": 0.02}


def truth(s: frozenset[str]) -> float:
    return 10 + sum(EFFECTS[name] for name in s) + 1.2 * (s >= {"a", "b"}) - 0.4 * (s >= {"b", "c", "d"})


EXACT = by_orderings("abcd", {s: Fraction(truth(s)).limit_denominator(10**6) for s in subsets("abcd")})


@pytest.mark.parametrize("repetitions", [3, 8])
def test_intervals_cover_the_truth(repetitions: int) -> None:
    rng, covered, settled_zero = np.random.default_rng(repetitions), dict.fromkeys(EFFECTS, 0), 0
    for _ in range(300):
        shift = rng.normal(0, 3, repetitions)  # what slows a whole round, or how hard a seed is: common to all cells
        values = {s: truth(s) + rng.normal(0, 0.3, repetitions) + shift for s in subsets("abcd")}
        result = attribute("abcd", values, metric="loss")
        for name, effect in result.shapley.items():
            assert effect.low is not None
            assert effect.high is not None
            covered[name] += effect.low <= float(EXACT[name]) <= effect.high
        assert result.residual == pytest.approx(0, abs=1e-9)
        assert sum(e.value for e in result.shapley.values()) == pytest.approx(result.end - result.start)
        settled_zero += result.interactions["a + c"].verdict == "settled"
    for name, count in covered.items():
        assert 0.90 <= count / 300 <= 0.99, (name, count)
    # a and c have no interaction, but in that of three: corrected, it is hardly ever called settled
    assert settled_zero <= 15


def judge_alone(estimates: dict[str, Estimate], whole: float, noise: float):
    return judged({"shapley": estimates}, whole, noise, {"shapley": "sittings"})["shapley"]


def test_verdicts_follow_interval_floor_and_correction() -> None:
    def estimate(value: float, error: float = 1.0) -> Estimate:
        return Estimate(value=value, error=error, low=value - 2 * error, high=value + 2 * error, freedom=1000, num=100)

    # normal quantiles at 1 - 0.025 / m: 2.24 for two effects, 1.96 for the last
    result = judge_alone({"x": estimate(2.3), "y": estimate(-2.0)}, 10, 0)
    assert [effect.verdict for effect in result.values()] == ["settled", "settled"]
    # alone above 1.96, but the step-down has stopped at the larger one
    result = judge_alone({"x": estimate(2.2), "y": estimate(-2.1)}, 10, 0)
    assert [effect.verdict for effect in result.values()] == ["not settled", "not settled"]
    # needs (q / 2.2)^2 and (q / 2.1)^2 times 100 rounds, q being the t quantile with a little more than 100 degrees of freedom
    assert [effect.needed for effect in result.values()] == [107, 117]
    # the floor moves the threshold: 5 - 3 = 2 errors beyond it; an interval that reaches beyond the floor is no noise
    result = judge_alone({"x": estimate(5.0), "y": estimate(2.5), "z": estimate(0.5)}, 10, 3)
    assert [effect.verdict for effect in result.values()] == ["not settled", "not settled", "within noise"]
    # normal quantile at 1 - 0.025 / 3
    assert result["x"].needed == pytest.approx(100 * ((2.42 + 3) / 5) ** 2, abs=1)
    assert [effect.share for effect in result.values()] == [0.5, 0.25, 0.05]
    assert [(effect.num, effect.of) for effect in result.values()] == [(100, "sittings")] * 3


def test_all_effects_of_a_quantity_are_one_family() -> None:
    """2.1 errors settle one effect by itself, not one of five in two groups."""
    one = Estimate(value=2.1, error=1.0, low=0.1, high=4.1, freedom=1000, num=9)
    assert judge_alone({"x": one}, 10, 0)["x"].verdict == "settled"
    none = replace(one, value=0.1, low=-1.9, high=2.1)
    several = {"shapley": {"x": one, "y": none}, "interactions": {"a + b": none, "a + c": none, "b + c": none}}
    result = judged(several, 10, 0, dict.fromkeys(several, "sittings"))
    assert result["shapley"]["x"].verdict == "not settled"


def test_needed_repetitions_settle_the_effect() -> None:
    def run(repetitions: int, seed: int):
        rng = np.random.default_rng(seed)
        values = {s: truth(s) + rng.normal(0, 0.3, repetitions) for s in subsets("abcd")}
        return attribute("abcd", values, metric="loss").shapley["d"]

    assert EXACT["d"] == Fraction(2, 100) - Fraction(4, 30)
    first = next(effect for effect in (run(4, seed) for seed in range(20)) if effect.verdict == "not settled" and effect.needed)
    assert first.needed > 4
    # four times the rounds that the truth needs: (2.5 x 0.3 / 0.113)^2 or so at the most
    assert all(run(200, seed).verdict == "settled" for seed in range(5))


def test_a_single_repetition_has_no_interval() -> None:
    result = attribute("abcd", {s: np.array([truth(s)]) for s in subsets("abcd")}, metric="loss")
    effect = result.shapley["a"]
    assert (effect.low, effect.high, effect.verdict, effect.needed) == (None, None, "not settled", None)
    assert effect.value == pytest.approx(float(EXACT["a"]))


# ---- latency ----

PAIR = Factorial.between(
    preset("small"), preset("small").replace(connectivity="dense", conv="separable", head="pooled", decoder_stem=32, down="avg")
)
SPEED = {
    "encoder connectivity": 1.5, "decoder connectivity": 1.4, "encoder convolution": 0.8, "decoder convolution": 0.9, "head": 1.0,
    "stem width": 0.95, "downsampling": 1.0,
}  # fmt: skip


def true_ms(s: frozenset[str]) -> float:
    # a product, but for dense wiring, which the convolution makes dearer still
    both = 1.3 if s >= {"encoder connectivity", "encoder convolution"} else 1.0
    return 2.0 * both * float(np.prod([SPEED[name] for name in s]))


def timed(factorial: Factorial, keys, rounds: int, rng: np.random.Generator, *, broken=(), sittings: int = 1) -> LatencyComparison:
    """A comparison as compare_latency gives it, with a machine whose pace wanders by half from round to round.

    `rounds`: of each sitting; every load of a network biases it by 1 %.
    """
    ms = {key: true_ms(s) for s, key in factorial.keys.items()}
    columns, num = [*keys, keys[0]], rounds * sittings
    pace = rng.uniform(1, 1.5, size=(num, 1))
    loads = np.repeat(np.exp(rng.normal(0, 0.01, (sittings, len(columns)))), rounds, axis=0)
    samples = pace * loads * np.array([ms[key] for key in columns]) * np.exp(rng.normal(0, 0.02, (num, len(columns))))
    failures = {i: "out of memory" for i, key in enumerate(columns) if key in broken}
    samples[:, list(failures)] = np.nan
    run = Run(samples={"call": samples}, sittings=np.repeat(np.arange(sittings), rounds).tolist(), failures=failures)
    return summarise(keys, keys[0], run, target_half_width=0.01, provenance={})


def cut(comparison: LatencyComparison, rounds: int) -> LatencyComparison:
    samples = {"call": comparison.samples["call"][:rounds]}
    return replace(comparison, samples=samples, sittings=comparison.sittings[:rounds], rounds=rounds)


def exact_logs(factorial: Factorial) -> dict[str, float]:
    return shapley_values(factorial.names, {s: log(true_ms(s)) for s in factorial.cells})


def test_latency_multiplies_up_to_the_ratio() -> None:
    keys = list(PAIR.networks)
    comparison = timed(PAIR, keys, 20, np.random.default_rng(0), sittings=5)
    ms, logs = attribute_latency(PAIR, comparison, "cpu/1")
    assert (ms.metric, ms.unit, logs.metric, logs.place) == ("latency_ms", "ms", "log_latency", "cpu/1")
    second = comparison.models[PAIR.second.network_key]
    assert second.ratio is not None
    assert exp(sum(effect.value for effect in logs.shapley.values())) == pytest.approx(second.ratio)
    assert (ms.start, ms.end) == pytest.approx((comparison.models[keys[0]].median_ms, second.median_ms), rel=0.03)
    assert sum(effect.value for effect in ms.shapley.values()) == pytest.approx(ms.end - ms.start)
    assert abs(ms.residual) < 1e-9
    assert abs(logs.residual) < 1e-9
    for name, value in exact_logs(PAIR).items():
        assert logs.shapley[name].value == pytest.approx(value, abs=0.01)
    # where nothing is true nothing is settled; a pace that wanders by half does not blur the ratios
    assert logs.shapley["head"].verdict != "settled"
    assert logs.shapley["encoder connectivity"].verdict == "settled"
    assert {(e.num, e.of) for e in logs.shapley.values()} == {(5, "sittings")}
    assert (logs.kind, ms.kind) == ("measured", "measured")
    assert (logs.num_variants, logs.num_possible) == (128, 128)
    assert logs.interactions["encoder connectivity + encoder convolution"].value == pytest.approx(log(1.3), abs=0.02)


@pytest.mark.parametrize(("sittings", "rounds"), [(1, 60), (2, 30), (5, LEAST_ROUNDS - 1)])
def test_too_few_sittings_or_rounds_give_values_without_intervals(sittings: int, rounds: int) -> None:
    comparison = timed(PAIR, list(PAIR.networks), rounds, np.random.default_rng(0), sittings=sittings)
    for result in attribute_latency(PAIR, comparison, "cpu/1"):
        for effect in (*result.shapley.values(), *result.from_start.values(), *result.interactions.values()):
            assert (effect.low, effect.high, effect.verdict, effect.needed) == (None, None, "not settled", None)
        assert result.residual == pytest.approx(0, abs=1e-9)
    _, logs = attribute_latency(PAIR, comparison, "cpu/1")
    for name, value in exact_logs(PAIR).items():
        assert logs.shapley[name].value == pytest.approx(value, abs=0.02)


def test_the_noise_floor_is_of_all_sittings_and_none_of_too_few() -> None:
    keys, rng = list(PAIR.networks)[:3], np.random.default_rng(0)
    apart = [timed(PAIR, keys, 8, rng) for _ in range(12)]
    floor = noise_floor(apart)
    assert floor is not None
    # 1 % of bias on each of two loads: 1.4 % over the root of twelve, times the t quantile, and a little of the mean
    assert 0.004 < floor < 0.02
    assert noise_floor(apart[:2]) is None


def test_a_network_that_failed_is_an_impossible_cell() -> None:
    broken = PAIR.keys[cell("head", "downsampling")]
    comparison = timed(PAIR, list(PAIR.networks), 7, np.random.default_rng(0), broken=(broken,), sittings=3)
    _, logs = attribute_latency(PAIR, comparison, "cpu/1")
    assert (logs.num_variants, logs.num_possible) == (127, 128)
    assert sum(effect.value for effect in logs.shapley.values()) == pytest.approx(logs.end)
    broken = timed(PAIR, list(PAIR.networks), 20, np.random.default_rng(0), broken=(PAIR.second.network_key,))
    with pytest.raises(InputError, match="out of memory"):
        attribute_latency(PAIR, broken, "cpu/1")
    with pytest.raises(InputError, match="kind must be one that was measured: call"):
        attribute_latency(PAIR, comparison, "cuda/1", kind="gpu")


def test_comparisons_at_different_paces_are_brought_together() -> None:
    design = latency_design(PAIR, 600, call_ms=2, max_together=20)
    assert design.exact
    assert len(design.groups) == 7
    rng = np.random.default_rng(1)
    comparisons = [timed(PAIR, group, 10, rng, sittings=3) for group in design.groups]
    slowed = [replace(c, samples={"call": c.samples["call"] * (1 + i)}) for i, c in enumerate(comparisons)]
    ms, logs = attribute_latency(design, slowed, "cpu/1")
    for name, value in exact_logs(PAIR).items():
        assert logs.shapley[name].value == pytest.approx(value, abs=0.01)
    assert ms.end / ms.start == pytest.approx(exp(logs.end), rel=0.02)


def a_sampled_design() -> LatencyDesign:
    return sampled_design(PAIR, 0.0, Pace(20.0, "cpu"), False, 0)


def time_all(design: LatencyDesign, rng: np.random.Generator, **how) -> list[LatencyComparison]:
    return [
        timed(
            PAIR, group, design.rounds if design.is_block(n) else LEAST_ROUNDS, rng, sittings=1 if design.is_block(n) else 3, **how
        )
        for n, group in enumerate(design.groups)
    ]


def test_sampled_designs_say_what_they_timed() -> None:
    design = a_sampled_design()
    ms, logs = attribute_latency(design, time_all(design, np.random.default_rng(0)), "cpu/1")
    assert ms.num_variants == logs.num_variants == design.num_networks < 128
    assert logs.num_possible == 128
    assert logs.interactions == {}
    assert set(logs.from_start) == set(logs.from_end) == set(PAIR.names)
    assert logs.from_end["encoder connectivity"].value == pytest.approx(log(1.5 * 1.3), abs=0.03)
    # the greedy path needs cells that a sample does not have
    assert (logs.path, logs.kind) == ((), "estimated")
    assert {(e.num, e.of) for e in logs.shapley.values()} == {(MIN_BLOCKS, "blocks")}
    assert {(e.num, e.of) for e in (*logs.from_start.values(), *logs.from_end.values())} == {(3, "sittings")}
    assert all(effect.needed is None or effect.needed > MIN_BLOCKS for effect in logs.shapley.values())


def test_few_blocks_and_few_sittings_give_values_without_intervals() -> None:
    design, rng = a_sampled_design(), np.random.default_rng(0)
    result = time_all(design, rng)
    _, logs = attribute_latency(design, result[:MIN_BLOCKS], "cpu/1")  # one block fewer
    assert {(e.low, e.high, e.verdict) for e in logs.shapley.values()} == {(None, None, "not settled")}
    assert all(e.low is not None for e in logs.from_start.values())
    _, logs = attribute_latency(design, [cut(result[0], 2 * LEAST_ROUNDS), *result[1:]], "cpu/1")
    assert all(e.low is not None for e in logs.shapley.values())
    assert {(e.low, e.verdict) for e in (*logs.from_start.values(), *logs.from_end.values())} == {(None, "not settled")}


# ---- coverage: short runs; `bench coverage` makes the long ones


def test_the_ratio_covers_with_a_bias_of_every_load() -> None:
    result = coverage_of_ratio(300, 3, LEAST_ROUNDS)
    assert all(0.92 <= row.coverage <= 0.98 for row in result), result


@pytest.mark.parametrize("truth", [INTERACTING, NULL])
@pytest.mark.parametrize(
    ("simulate", "runs", "kinds"),
    [
        (coverage_of_exact, 60, {"shapley", "from start", "from end", "interactions"}),
        (coverage_of_sampled, 25, {"shapley", "from start", "from end"}),
    ],
)
def test_designs_cover_and_hardly_ever_settle_what_is_not_there(simulate, runs: int, kinds: set[str], truth: str) -> None:
    *result, family = simulate(runs, truth=truth)
    assert {row.construction.rpartition(": ")[2] for row in result} == kinds
    assert all(0.88 <= row.coverage <= 1.0 for row in result), result
    assert family.false_share <= 0.08


def test_a_path_through_a_network_that_failed_is_dropped() -> None:
    design, rng = a_sampled_design(), np.random.default_rng(0)
    bad = PAIR.keys[frozenset(design.orderings[0][0][:3])]
    _, logs = attribute_latency(design, time_all(design, rng, broken=(bad,)), "cpu/1")
    assert sum(effect.value for effect in logs.shapley.values()) == pytest.approx(logs.end)


PAPER = Factorial.between(preset("original"), preset("modified"))


@pytest.mark.parametrize(
    ("budget_s", "call_ms", "factors", "exact"),
    [(3000, 50, 9, True), (480, 45, 9, False), (80, 50, 4, True), (25, 50, 4, True), (1, 50, 4, True), (150, 2, 9, False)],
)
def test_designs_keep_their_budget(budget_s: float, call_ms: float, factors: int, exact: bool) -> None:
    design = latency_design(PAPER, budget_s, call_ms=call_ms)
    assert design.sittings >= (3 if budget_s > 25 else 1)
    assert ("Too few sittings for intervals" in design.text) == (budget_s <= 25)
    assert (len(design.factorial.names), design.exact, design.coarse) == (factors, exact, factors < 9)
    assert design.expected_s <= budget_s or budget_s == 1
    first, second = PAPER.first.network_key, PAPER.second.network_key
    assert all(group[0] == first and len(set(group)) == len(group) <= 26 for group in design.groups)
    if exact:
        assert {key for group in design.groups for key in group} == set(design.factorial.networks)
    else:
        assert len(design.orderings) == len(design.groups) - 1 >= MIN_BLOCKS
        assert all(second in group for group in design.groups)
        for pair, group in zip(design.orderings, design.groups[1:], strict=True):
            assert pair[1] == pair[0][::-1]
            assert {design.factorial.keys[c] for order in pair for c in cells_of(order)} == set(group)
    assert f"{design.num_networks} of {2**factors} networks" in design.text


def test_groups_are_built_and_timed_and_a_late_design_stops_after_enough_blocks() -> None:
    design, seen = sampled_design(PAIR, 0.0, Pace(20.0, "cpu"), False, 0, MIN_BLOCKS + 2), []
    rng, now = np.random.default_rng(0), iter(range(0, 10_000, 100))

    def compare(models, **settings) -> LatencyComparison:
        seen.append(settings)
        assert all(model.spec.network_key == key for key, model in models.items())
        return timed(PAIR, list(models), settings["rounds"][0], rng, sittings=settings["sittings"])

    clock: Callable[[], float] = lambda: float(next(now))  # noqa: E731
    result = time_design(design, compare=compare, clock=clock, num_threads=1)
    assert len(result) == MIN_BLOCKS + 1 < len(design.groups)
    assert design.shortfall(result) == f"Latency: 2 of {MIN_BLOCKS + 3} groups of networks were not timed, because time ran out."
    short = [cut(result[0], 2 * LEAST_ROUNDS), *(cut(c, 3) for c in result[1:])]
    assert "a block had 3 of 8 rounds" in design.shortfall(short)
    assert "a group of networks had 2 of 3 sittings of 6 rounds at least" in design.shortfall(short)
    common = {"reference": PAIR.first.network_key, "batch_size": 1, "device": "cpu", "num_threads": 1, "only_calls": True}
    # effects alone and undone in sittings; each block once, loaded by itself, in another order
    assert seen[0] == {**common, "rounds": (LEAST_ROUNDS, 8), "sittings": 3, "budget_s": 3 * design.group_s(0), "seed": 0}
    assert seen[1] == {**common, "rounds": (8, 8), "sittings": 1, "budget_s": 3 * design.group_s(1), "seed": 1}
    _, logs = attribute_latency(design, result, "cpu/1")
    assert sum(effect.value for effect in logs.shapley.values()) == pytest.approx(logs.end)


# ---- trained ----


def records(factorial: Factorial, cells, seeds, missing=()) -> list[Record]:
    result = []
    for swapped in cells:
        for seed in seeds:
            loss = 0.5 + 0.1 * len(swapped & {"head"}) - 0.02 * len(swapped & {"downsampling"}) + 0.3 * seed
            key = factorial.keys[swapped]
            quality = {"reporting": {"ssim": 1 - loss, "psnr": 30 - loss}}
            if (swapped, seed) not in missing:
                result.append(
                    Record(network_key=key, label=key, seed=seed, state="complete", training={"best_loss": loss}, quality=quality)
                )
    return result


def test_trained_metrics_are_attributed_by_seed_and_never_mixed_up() -> None:
    pair = Factorial.between(preset("small"), preset("small").replace(head="pooled", down="avg"))
    stored = records(pair, pair.cells, (0, 1, 2))
    for metric, sign, end in (("loss", 1, 0.88), ("ssim", -1, 0.12), ("psnr", -1, 29.12)):
        result = attribute_trained(pair, stored, metric)
        assert (result.metric, result.place) == (metric, "3 seeds")
        assert result.end == pytest.approx(end)
        # the seeds differ by three times the largest effect; within a seed the effects are alike
        assert result.shapley["head"].value == pytest.approx(sign * 0.1)
        assert result.shapley["downsampling"].value == pytest.approx(sign * -0.02)
        assert result.shapley["head"].verdict == "settled"


def test_factors_trained_only_together_are_one_factor() -> None:
    pair = Factorial.between(preset("small"), preset("small").replace(head="pooled", down="avg", decoder_stem=32))
    together = {"downsampling", "stem width"}
    cells = [frozenset(), cell("head"), frozenset(together), frozenset({"head", *together})]
    result = attribute_trained(pair, records(pair, cells, (0,)), "loss")
    assert list(result.shapley) == ["downsampling and stem width", "head"]
    assert (result.num_variants, result.num_possible, result.place) == (4, 4, "1 seed")


def test_only_seeds_that_all_variants_have_are_used() -> None:
    pair = Factorial.between(preset("small"), preset("small").replace(head="pooled", down="avg"))
    stored = records(pair, pair.cells, (0, 1, 2), missing={(cell("head"), 1)})
    assert attribute_trained(pair, stored, "loss").place == "2 seeds"
    with pytest.raises(InputError, match="at least one seed in common"):
        attribute_trained(pair, records(pair, [cell()], (0,)) + records(pair, [cell("head", "downsampling")], (1,)), "loss")
    with pytest.raises(InputError, match="second network must have been trained"):
        attribute_trained(pair, records(pair, [cell()], (0,)), "loss")
