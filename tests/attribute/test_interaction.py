"""Pairwise interactions against hand-derived numbers, and the coverage of what the grid's report calls a 95 % interval."""

from __future__ import annotations

import math
from itertools import product

import pytest

from ablation.attribute.interaction import Measured, pairwise_interactions
from ablation.record.trial import METRICS, Record
from ablation.report.study.rows import ratio_of
from ablation.stats import contrast_estimate
from studies.bench.simulate.effects import SEPARATE, STAR, TWO_LEVEL, Case, effect_coverage, false_alarms, interaction_coverage
from tests.fakes import fake_record, fake_records, fake_study, inert_records

LEVELS = {"f": ("a", "b"), "g": ("x", "y")}
VALUES = {("a", "x"): (1.0, 1.1, 0.9), ("b", "x"): (2.0, 2.2, 1.8), ("a", "y"): (1.5, 1.5, 1.5), ("b", "y"): (1.2, 1.0, 1.4)}


def _trained() -> list[Record]:
    return [
        fake_record({"f": f, "g": g}, seed, training={"best_loss": loss})
        for (f, g), losses in VALUES.items()
        for seed, loss in enumerate(losses)
    ]


def test_the_interaction_is_the_difference_of_differences_with_welchs_interval() -> None:
    (result,) = pairwise_interactions(_trained(), LEVELS, METRICS["loss"])
    by_hand = contrast_estimate([VALUES[c] for c in (("a", "x"), ("b", "x"), ("a", "y"), ("b", "y"))], (1, -1, -1, 1))
    assert result.estimate.value == pytest.approx((1.2 - 1.5) - (2.0 - 1.0))
    assert (result.estimate.low, result.estimate.high) == (pytest.approx(by_hand.low), pytest.approx(by_hand.high))
    assert (result.over, result.num_contexts, result.steps) == ("seeds", 1, (("f", "a", "b"), ("g", "x", "y")))


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_fewer_than_three_seeds_give_no_interval(num_seeds: int) -> None:
    (result,) = pairwise_interactions([r for r in _trained() if r.seed < num_seeds], LEVELS, METRICS["loss"])
    assert (result.estimate.known, result.over) == (False, "")


def test_additive_networks_do_not_interact() -> None:
    levels = fake_study(fake_records()).factors
    result = pairwise_interactions(fake_records(seeds=(0, 1, 2)), levels, METRICS["loss"])
    # three swaps of connectivity with one of conv and of head each, and conv with head
    assert len(result) == 7
    assert all(interaction.estimate.value == pytest.approx(0, abs=1e-12) for interaction in result)
    assert [i.num_contexts for i in result if i.steps[0][0] == "conv"] == [3]


def test_the_interaction_of_latency_is_a_ratio_of_ratios_over_sittings() -> None:
    noise = {("a", "x"): (0, 0, 0), ("b", "x"): (0.1, 0, -0.1), ("a", "y"): (0, 0, 0), ("b", "y"): (0.1, 0.3, -0.1)}
    ratio = {("a", "x"): 1.0, ("b", "x"): 2.0, ("a", "y"): 1.5, ("b", "y"): 6.0}
    records = []
    for (f, g), logs in noise.items():
        values = [ratio[f, g] * math.exp(x) for x in logs]
        entry = {"ratio": ratio[f, g], "sittings": 3, "ratio_by_sitting": values}
        records.append(fake_record({"f": f, "g": g}, latency={"cpu/1": entry}))
    (result,) = pairwise_interactions(records, LEVELS, ratio_of("cpu/1"), as_ratio=True)
    # (6 / 1.5) / (2 / 1), with 0, 0.3 and 0 on top in the three sittings: their standard error is 0.1
    assert result.estimate.value == pytest.approx(math.log(2) + 0.1)
    assert result.estimate.error == pytest.approx(0.1)
    assert (result.over, result.estimate.num) == ("sittings", 3)
    old = [fake_record(r.factors, latency={"cpu/1": {"ratio": r.latency["cpu/1"]["ratio"], "rounds": 100}}) for r in records]
    (result,) = pairwise_interactions(old, LEVELS, ratio_of("cpu/1"), as_ratio=True)
    assert (result.estimate.value, result.estimate.known) == (pytest.approx(math.log(2)), False)


def test_where_a_factor_does_nothing_there_is_no_interaction() -> None:
    result = pairwise_interactions(inert_records(), fake_study(inert_records()).factors, METRICS["loss"])
    pairs = {(i.steps[0][0], i.steps[1][0]): i.num_contexts for i in result}
    # growth does nothing under plain connectivity; heads meet connectivity at both growths, growth under dense alone
    assert pairs == {("connectivity", "head"): 2, ("growth", "head"): 1}


def test_a_missing_network_takes_its_set_of_four_with_it() -> None:
    records = [r for r in fake_records() if r.label != "dense, separable, pooled"]
    result = pairwise_interactions(records, fake_study(records).factors, METRICS["loss"])
    assert {i.num_contexts for i in result if i.steps[0][0] == "connectivity"} == {1, 2}
    assert [i.num_contexts for i in result if i.steps[0][0] == "conv"] == [2]


def test_networks_are_measured_over_complete_trials_alone() -> None:
    records = [*_trained(), fake_record({"f": "a", "g": "x"}, 3, state="failed", training={"best_loss": 9.0})]
    assert Measured(records, METRICS["loss"], False).values["a-x"] == [1.0, 1.1, 0.9]


# coverage: the long simulation is a command; these run the same code, on fewer runs


@pytest.mark.parametrize(
    ("case", "known"),
    [
        (Case(pairs=1, repeats=1), False),
        (Case(pairs=1, repeats=3), True),
        (Case(pairs=2, repeats=1), True),
        (Case(pairs=4, repeats=3), True),
        (Case(pairs=8, repeats=3, shape=TWO_LEVEL), True),
        (Case(pairs=3, repeats=3, shape=TWO_LEVEL), True),
        (Case(pairs=8, repeats=1, shape=STAR), False),
        (Case(pairs=8, repeats=3, shape=STAR), True),
        (Case(pairs=1, repeats=3, timed=True), True),
        (Case(pairs=4, repeats=5, shape=SEPARATE, timed=True), True),
        (Case(pairs=4, repeats=3, shape=STAR, timed=True), True),
    ],
    ids=lambda value: value.name if isinstance(value, Case) else "",
)
def test_an_effects_interval_covers_or_is_not_there(case: Case, known: bool) -> None:
    (result,) = effect_coverage(case, runs=500)
    assert result.intervals == (result.runs if known else 0)
    # 0.93 to 0.98, and three standard deviations of 500 runs
    assert result.coverage is None or 0.90 <= result.coverage <= 0.99


@pytest.mark.parametrize(("contexts", "repeats", "timed"), [(1, 3, False), (2, 5, False), (2, 3, True), (1, 5, True)])
def test_an_interactions_interval_covers(contexts: int, repeats: int, timed: bool) -> None:
    (result,) = interaction_coverage(contexts, repeats, timed=timed, runs=500)
    assert result.intervals == 500
    assert 0.90 <= (result.coverage or 0) <= 0.99


@pytest.mark.parametrize(("factors", "seeds", "sittings"), [(2, 3, 3), (3, 1, 5)])
def test_a_report_of_nothing_settles_something_in_at_most_5_percent(factors: int, seeds: int, sittings: int) -> None:
    # three standard deviations of 300 runs above 5 %
    (result,) = false_alarms(factors, seeds, sittings, runs=300)
    assert result.false_share is not None and result.false_share <= 0.088


def test_the_simulation_would_notice_a_narrow_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    from ablation.attribute import pairing as attribute
    from ablation.stats import Estimate, mean_estimate

    def narrow(values: list[float]) -> Estimate:
        return mean_estimate(values, 0.8)

    monkeypatch.setattr(attribute, "mean_estimate", narrow)
    (result,) = effect_coverage(Case(pairs=4, repeats=3), runs=500)
    assert result.coverage is not None and result.coverage < 0.88


def test_every_case_has_its_pairs_and_repeats() -> None:
    from studies.bench.simulate.effects import cases

    result = cases()
    assert {(c.pairs, c.repeats) for c in result if not c.timed} == set(product(range(1, 9), range(1, 6)))
    assert {c.repeats for c in result if c.timed} == {3, 4, 5, 6}
    assert len({(c.name, c.timed) for c in result}) == len(result)
