"""Rungs: who is stopped by whom, and how often by chance."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from scipy import stats

from ablation.search.rungs import (
    Runner,
    Spread,
    margin,
    pooled_spread,
    projected_end,
    rank_correlation,
    rung_epochs,
    rung_losses,
    spread_at,
    stop_reason,
)
from blocks.errors import InputError

SPREAD = Spread(sd=0.01, freedom=10**6)  # margin for one seed each: 1.645 x 0.01 x sqrt(2) = 0.02326


def runner(network: str = "own", loss: float = 0.7, ratio: float = 1.0, params: float = 100, **more: float) -> Runner:
    return Runner(network=network, ratios={"cpu/1": ratio, "cpu/32": more.get("ratio32", ratio)}, params=params, losses={2: loss})


@pytest.mark.parametrize(
    ("epochs", "rungs"),
    [(1, ()), (2, (1,)), (3, (1, 2)), (4, (1, 2)), (6, (2, 3)), (8, (2, 4)), (10, (3, 5)), (50, (13, 25))],
)
def test_rungs_stand_at_a_quarter_and_a_half(epochs: int, rungs: tuple[int, ...]) -> None:
    assert rung_epochs(epochs) == rungs
    assert rung_epochs(epochs, ()) == ()


@pytest.mark.parametrize("fraction", [0, 1, 1.5, -0.1, "half"])
def test_a_rung_is_a_fraction(fraction: float) -> None:
    with pytest.raises(InputError, match="A rung must be a fraction of the epochs between 0 and 1"):
        rung_epochs(10, [0.5, fraction])


def test_the_loss_at_a_rung_is_the_lowest_so_far() -> None:
    assert rung_losses({1: 0.9, 2: 0.8, 3: 0.85, 4: 0.7}, (1, 3, 5)) == {1: 0.9, 3: 0.8}


def test_the_spread_is_pooled_over_networks_with_several_seeds() -> None:
    """By hand: deviations 0.1, -0.1 and 0.2, 0, -0.2, so (0.02 + 0.08) / 3."""
    spread = pooled_spread({"a": [0.6, 0.8], "b": [0.2, 0.4, 0.6], "c": [0.5]})
    assert spread is not None
    assert (spread.sd, spread.freedom) == (pytest.approx(sqrt(0.1 / 3)), 3)
    assert pooled_spread({"a": [0.6], "b": []}) is None
    assert spread_at([runner("a", 0.6), runner("a", 0.8), runner("b", 0.1)], 2) == Spread(sd=pytest.approx(sqrt(0.02)), freedom=1)
    assert spread_at([runner("a", 0.6), runner("a", 0.8)], 1) is None


@pytest.mark.parametrize(
    ("other", "stopped"),
    [
        (runner("a", 0.67), True),  # better by 0.03
        (runner("a", 0.68), False),  # within the margin
        (runner("a", 0.5, ratio=0.5, params=50), True),
        (runner("a", 0.5, ratio=1.01), False),  # slower
        (runner("a", 0.5, ratio32=1.01), False),  # slower at one batch size
        (runner("a", 0.5, params=101), False),  # larger
        (runner("own", 0.5), False),  # another seed of itself
        (Runner(network="a", ratios={"cpu/1": 0.1}, params=1, losses={2: 0.5}), False),  # not timed at both
        (Runner(network="a", ratios={"cpu/1": 1, "cpu/32": 1}, params=1, losses={1: 0.5}), False),  # has not come so far
    ],
)
def test_only_a_network_that_is_better_in_everything_stops_another(other: Runner, stopped: bool) -> None:
    reason = stop_reason(runner(), [runner("b", 0.9), other], 2, SPREAD)
    assert bool(reason) == stopped
    if stopped:
        assert reason.startswith("stopped after epoch 2: its loss 0.7000 is over the ")
        assert reason.endswith("0.0233") and "(a)" in reason


def test_nothing_is_stopped_without_a_spread_or_a_latency() -> None:
    assert stop_reason(runner(), [runner("a", 0.1)], 2, None) == ""
    untimed = Runner(network="own", ratios={}, params=100, losses={2: 0.7})
    assert stop_reason(untimed, [runner("a", 0.1)], 2, SPREAD) == ""


def test_seeds_of_one_network_are_averaged() -> None:
    """The mean of two seeds, 0.68, is better by 0.02, and needs 1.645 x 0.01 x sqrt(1 + 1/2) = 0.0201."""
    assert stop_reason(runner(loss=0.70), [runner("a", 0.67), runner("a", 0.69)], 2, SPREAD) == ""
    assert stop_reason(runner(loss=0.701), [runner("a", 0.67), runner("a", 0.69)], 2, SPREAD)


@pytest.mark.parametrize("num_seeds", [2, 3, 6])
def test_networks_of_one_expected_loss_stop_each_other_in_one_of_twenty_cases(num_seeds: int) -> None:
    """Simulated: own, another and a reference with several seeds, all from the same normal distribution."""
    rng, num = np.random.default_rng(num_seeds), 4000
    stopped = 0
    for own, other, *seeds in rng.normal(0.7, 0.003, (num, 2 + num_seeds)).tolist():
        spread = pooled_spread({"reference": seeds})
        stopped += bool(stop_reason(runner(loss=own), [runner("a", other)], 2, spread))
    low, high = stats.binom.interval(0.999, num, 0.05)
    assert low <= stopped <= high


def test_the_margin_by_hand() -> None:
    """Of one degree of freedom t(0.95) is 6.3138, of two 2.9200."""
    assert margin(Spread(sd=0.01, freedom=1)) == pytest.approx(6.3138 * 0.01 * sqrt(2), rel=1e-4)
    assert margin(Spread(sd=0.01, freedom=2), 1, 4) == pytest.approx(2.92 * 0.01 * sqrt(1.25), rel=1e-4)


def test_rank_correlation_of_rung_and_end() -> None:
    """By hand: ranks 1 2 3 4 and 2 1 3 4, so 1 - 6 x 2 / (4 x 15)."""
    assert rank_correlation([0.1, 0.2, 0.3, 0.4], [0.02, 0.01, 0.03, 0.04], 2).rho == pytest.approx(0.8)
    assert rank_correlation([0.1, 0.2], [0.1, 0.2], 2).rho is None
    assert rank_correlation([0.1, 0.1, 0.1], [0.1, 0.2, 0.3], 2).rho is None


def test_a_stopped_training_is_projected_by_the_median_gain() -> None:
    ended = [({1: 0.9, 2: 0.8}, 0.7), ({1: 0.9}, 0.6), ({1: 0.9}, 0.1)]
    assert projected_end(1.0, 1, ended) == pytest.approx(0.7)
    assert projected_end(1.0, 2, ended) == pytest.approx(0.9)
    assert projected_end(1.0, 3, ended) == 1.0
