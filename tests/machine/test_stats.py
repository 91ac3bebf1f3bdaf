"""Intervals, verdicts, spreads and Pareto fronts against textbook numbers, SciPy, simulation and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablation.stats import (
    NOISE,
    OPEN,
    SETTLED,
    Estimate,
    contrast_estimate,
    judge,
    mean_and_sd,
    mean_estimate,
    pareto_front,
    t_quantile,
)
from blocks.errors import InputError


@pytest.mark.parametrize(("freedom", "table"), [(1, 12.7062), (2, 4.3027), (5, 2.5706), (10, 2.2281), (30, 2.0423), (1000, 1.9623)])
def test_t_quantiles_are_those_of_the_printed_tables(freedom: int, table: float) -> None:
    assert t_quantile(0.975, freedom) == pytest.approx(table, rel=3e-4)
    assert t_quantile(0.025, freedom) == pytest.approx(-table, rel=3e-4)


def test_one_value_has_a_mean_and_no_interval() -> None:
    estimate = mean_estimate([3.5])
    assert (estimate.value, estimate.error, estimate.low, estimate.high, estimate.num) == (3.5, None, None, None, 1)
    assert not estimate.known
    assert not estimate.contains(3.5)


def test_equal_values_have_an_interval_of_no_width() -> None:
    estimate = mean_estimate([0.1] * 7)
    assert estimate.low == estimate.high == estimate.value == pytest.approx(0.1)


def test_the_interval_of_a_mean_by_hand() -> None:
    # mean 2, standard error 1 / sqrt(3), 2 degrees of freedom
    estimate = mean_estimate([1.0, 2.0, 3.0])
    assert (estimate.value, estimate.freedom, estimate.num) == (2.0, 2, 3)
    assert (estimate.low, estimate.high) == (pytest.approx(2 - 4.302653 / math.sqrt(3)), pytest.approx(2 + 4.302653 / math.sqrt(3)))


def test_the_interval_of_a_mean_is_scipys() -> None:
    values = np.random.default_rng(0).normal(5.0, 1.0, 40)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    estimate = mean_estimate(values, 0.9)
    assert (estimate.low, estimate.high) == (pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize("sizes", [(3, 3), (2, 5), (4, 9)])
def test_a_contrast_of_two_groups_is_scipys_welch_interval(sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(0, 1, sizes[0]), rng.normal(1, 5, sizes[1])
    low, high = stats.ttest_ind(second, first, equal_var=False).confidence_interval()
    estimate = contrast_estimate([first, second], [-1, 1])
    assert (estimate.value, estimate.num) == (pytest.approx(second.mean() - first.mean()), min(sizes))
    assert (estimate.low, estimate.high) == (pytest.approx(low), pytest.approx(high))


def test_a_contrast_with_a_group_of_one_has_no_interval_and_weight_zero_does_not_count() -> None:
    assert not contrast_estimate([[1.0], [2.0, 3.0]], [-1, 1]).known
    assert contrast_estimate([[1.0], [2.0, 3.0], [1.0, 1.5]], [0, 1, -1]).known


def test_a_ratio_has_the_ends_of_its_logarithm() -> None:
    logarithm = mean_estimate([math.log(2), math.log(4), math.log(8)])
    ratio = logarithm.exp()
    assert ratio.value == pytest.approx(4)
    assert (ratio.low, ratio.high) == (pytest.approx(math.exp(logarithm.low)), pytest.approx(math.exp(logarithm.high)))
    assert mean_estimate([0.0]).exp() == Estimate(value=1.0)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_values_that_have_no_mean_are_refused(values: list[float]) -> None:
    with pytest.raises(InputError, match="finite"):
        mean_estimate(values)
    with pytest.raises(InputError, match="finite"):
        contrast_estimate([values, [1.0, 2.0]], [1, -1])


@pytest.mark.parametrize("confidence", [95, 0, 1, -0.5])
def test_a_confidence_outside_0_to_1_is_refused(confidence: float) -> None:
    with pytest.raises(InputError, match="confidence"):
        mean_estimate([1.0, 2.0], confidence)
    with pytest.raises(InputError, match="confidence"):
        contrast_estimate([[1.0, 2.0], [1.0, 2.0]], [1, -1], confidence)


# ---- verdicts


def spread(value: float, error: float, freedom: float = 1000) -> Estimate:
    reach = t_quantile(0.975, freedom) * error
    return Estimate(value=value, error=error, freedom=freedom, low=value - reach, high=value + reach, num=9)


def test_verdicts_are_by_whole_intervals() -> None:
    cases = {
        "inside the floor": (spread(0.005, 0.002), 0.02, NOISE),
        "value inside, interval not": (spread(-0.05, 0.12), 0.06, OPEN),
        "beyond the floor": (spread(0.5, 0.01), 0.02, SETTLED),
        "beyond zero, not beyond the floor": (spread(0.03, 0.01), 0.02, OPEN),
        "no interval": (Estimate(value=5.0), 0.0, OPEN),
        "no interval, inside": (Estimate(value=0.0), 0.1, OPEN),
    }
    for name, (estimate, floor, verdict) in cases.items():
        assert judge({name: estimate}, {name: floor}) == {name: verdict}


def test_verdicts_are_corrected_by_holms_step_down() -> None:
    # chances 0.001, 0.02, 0.03: 0.001 * 3 and 0.02 * 2 pass, 0.03 passes; with 0.03 and 0.04 beside 0.001 the second stops all
    def with_chance(chance: float) -> Estimate:
        return spread(stats.norm.isf(chance / 2), 1.0, 1e9)

    assert set(judge({n: with_chance(p) for n, p in enumerate((0.03, 0.001, 0.02))}).values()) == {SETTLED}
    assert judge({"a": with_chance(0.03), "b": with_chance(0.001), "c": with_chance(0.04)}) == {"a": OPEN, "b": SETTLED, "c": OPEN}


def test_holm_keeps_the_chance_of_any_false_verdict() -> None:
    rng = np.random.default_rng(4)
    false = [SETTLED in judge({n: mean_estimate(rng.normal(0, 1, 4)) for n in range(12)}).values() for _ in range(600)]
    assert np.mean(false) < 0.075


def test_mean_and_sd_by_hand() -> None:
    assert mean_and_sd([2.0, 4.0, 9.0]) == (5.0, pytest.approx(math.sqrt((9 + 1 + 16) / 2)))
    assert mean_and_sd([2.0]) == (2.0, None)
    assert mean_and_sd([]) == (None, None)
    assert mean_and_sd([0.1, 0.1, 0.1]) == (0.1, 0.0)


def _dominates(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))


@given(st.integers(1, 4).flatmap(lambda m: st.lists(st.tuples(*[st.integers(0, 4)] * m), min_size=1, max_size=25)))
def test_the_front_is_that_of_brute_force(points: list[tuple[int, ...]]) -> None:
    expected = [not any(_dominates(other, p) for other in points) for p in points]
    assert pareto_front(points).tolist() == expected


def test_equal_points_are_both_on_the_front() -> None:
    assert pareto_front([[1, 2], [1, 2], [2, 3]]).tolist() == [True, True, False]


def test_each_column_has_its_own_direction() -> None:
    points = [[1.0, 10.0], [2.0, 20.0], [3.0, 15.0]]
    assert pareto_front(points, [True, False]).tolist() == [True, True, False]
    assert pareto_front(points, [True, True]).tolist() == [True, False, False]
    assert pareto_front(points, False).tolist() == [False, True, True]


def test_no_points_have_an_empty_front_and_a_missing_value_is_refused() -> None:
    assert pareto_front([]).tolist() == []
    with pytest.raises(InputError, match="missing"):
        pareto_front([[1.0, math.nan]])
