"""Bootstrap intervals, spreads and Pareto fronts against textbook numbers and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablation.stats import bootstrap_mean, mean_and_sd, pareto_front, pooled_sd, t_quantile
from blocks.errors import InputError


@pytest.mark.parametrize(("freedom", "table"), [(1, 12.7062), (2, 4.3027), (5, 2.5706), (10, 2.2281), (30, 2.0423), (1000, 1.9623)])
def test_t_quantiles_are_those_of_the_printed_tables(freedom: int, table: float) -> None:
    assert t_quantile(0.975, freedom) == pytest.approx(table, rel=3e-4)
    assert t_quantile(0.025, freedom) == pytest.approx(-table, rel=3e-4)


def test_one_value_has_a_mean_and_no_interval() -> None:
    interval = bootstrap_mean([3.5])
    assert (interval.mean, interval.low, interval.high) == (3.5, None, None)
    assert not interval.contains(3.5)


def test_equal_values_have_an_interval_of_no_width() -> None:
    interval = bootstrap_mean([0.1] * 7)
    assert interval.low == interval.high == interval.mean == pytest.approx(0.1)


def test_an_interval_of_two_values_is_their_whole_range() -> None:
    interval = bootstrap_mean([1.0, 3.0])
    assert (interval.mean, interval.low, interval.high) == (2.0, 1.0, 3.0)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = list(np.random.default_rng(3).normal(size=12))
    assert bootstrap_mean(values, seed=1) == bootstrap_mean(values, seed=1)
    assert bootstrap_mean(values, seed=1) != bootstrap_mean(values, seed=2)


@pytest.mark.parametrize("num_values", [6, 20])
def test_intervals_cover_the_truth_in_90_to_99_percent_of_300_simulations(num_values: int) -> None:
    rng = np.random.default_rng(num_values)
    hits = sum(bootstrap_mean(rng.normal(0.7, 2.0, num_values), rounds=600, seed=n).contains(0.7) for n in range(300))
    assert 0.90 <= hits / 300 <= 0.99


def test_a_wide_sample_agrees_with_the_normal_interval() -> None:
    values = np.random.default_rng(0).normal(5.0, 1.0, 400)
    interval = bootstrap_mean(values, rounds=20_000)
    half_width = 1.966 * values.std(ddof=1) / math.sqrt(400)
    assert interval.low == pytest.approx(values.mean() - half_width, abs=0.01)
    assert interval.high == pytest.approx(values.mean() + half_width, abs=0.01)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_values_that_have_no_mean_are_refused(values: list[float]) -> None:
    with pytest.raises(InputError, match="finite"):
        bootstrap_mean(values)


def test_a_level_outside_0_to_1_is_refused() -> None:
    with pytest.raises(InputError, match="level"):
        bootstrap_mean([1.0, 2.0], level=95)


def test_mean_and_sd_by_hand() -> None:
    assert mean_and_sd([2.0, 4.0, 9.0]) == (5.0, pytest.approx(math.sqrt((9 + 1 + 16) / 2)))
    assert mean_and_sd([2.0]) == (2.0, None)
    assert mean_and_sd([]) == (None, None)
    assert mean_and_sd([0.1, 0.1, 0.1]) == (0.1, 0.0)


def test_pooled_sd_leaves_out_what_has_one_value() -> None:
    # squares 2 and 8 about the groups' own means, 1 + 1 degrees of freedom
    assert pooled_sd([[1.0, 3.0], [10.0, 14.0], [100.0]]) == pytest.approx(math.sqrt((2 + 8) / 2))
    assert pooled_sd([[1.0], [2.0]]) is None


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
