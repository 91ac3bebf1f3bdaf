"""Verdicts of a confirmation: by hand, against SciPy, and on simulated networks of which none is better."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log

import numpy as np
import pytest
from scipy import stats

from ablation.record.search_confirmed import (
    BETTER,
    LATENCY,
    LOSS,
    PARAMS,
    TEST_LOSS,
    UNSETTLED,
    WORSE,
    Confirmation,
    Confirmed,
    SeedLoss,
    Timing,
    Verdict,
)  # fmt: skip
from ablation.search.confirm import beats_everywhere, verdicts, winner
from ablation.stats import mean_estimate

PLACE = "cpu/1"


def network(
    number: int | None, losses: Sequence[float | None], ratios: Sequence[float] = (), *, params: int = 100, test: float = 0.0
) -> Confirmed:
    """Of these losses, one for each seed, on the test split larger by `test`; and these ratios, one for each sitting."""
    timing = Timing(ms=10.0, ratio=1.0)
    if ratios:
        over = mean_estimate([log(ratio) for ratio in ratios]).exp()
        timing = Timing(ms=10 * over.value, ratio=over.value, low=over.low, high=over.high, sittings=len(ratios))
    seeds = [SeedLoss(seed=n + 1, validation=x, test=None if x is None else x + test) for n, x in enumerate(losses)]
    return Confirmed(number=number, label=str(number), params=params, latency={PLACE: timing}, seeds=tuple(seeds))


def kinds(found: Sequence[Verdict]) -> dict[str, str]:
    return {verdict.metric: verdict.verdict for verdict in found}


BASE = network(None, [0.50, 0.51, 0.49, 0.50, 0.50])


def test_each_axis_is_compared_with_its_own_measure() -> None:
    better = network(3, [0.45, 0.46, 0.44, 0.45, 0.46], [0.30, 0.31, 0.29], params=50, test=0.01)
    found = {verdict.metric: verdict for verdict in verdicts(BASE, [better])}
    assert kinds(list(found.values())) == {PARAMS: BETTER, LATENCY: BETTER, LOSS: BETTER, TEST_LOSS: BETTER}
    welch = stats.ttest_ind([s.validation for s in better.seeds], [s.validation for s in BASE.seeds], equal_var=False)
    interval = welch.confidence_interval()
    loss, latency = found[LOSS], found[LATENCY]
    assert (loss.p, loss.low, loss.high) == pytest.approx((welch.pvalue, interval.low, interval.high))
    assert (loss.effect, loss.num, loss.of) == (pytest.approx(-0.048), 5, "seeds")
    assert latency.p == pytest.approx(stats.ttest_1samp(np.log([0.30, 0.31, 0.29]), 0.0).pvalue)
    # Holm by hand: the smallest of three chances thrice, the next twice, and none below the one before
    small, middle, large = sorted((v.p, v.corrected_p) for v in found.values() if v.p is not None)
    assert [small[1], middle[1], large[1]] == pytest.approx(np.maximum.accumulate([3 * small[0], 2 * middle[0], large[0]]))
    assert (found[PARAMS].effect, found[PARAMS].p, found[PARAMS].of) == (-50, None, "")


def test_a_ratio_within_the_floor_is_not_settled_and_equal_counts_are_neither() -> None:
    slower = network(1, [0.5] * 5, [1.02, 1.0201, 1.0199])
    assert kinds(verdicts(BASE, [slower]))[LATENCY] == WORSE
    assert kinds(verdicts(BASE, [slower], {PLACE: 0.03}))[LATENCY] == UNSETTLED
    assert kinds(verdicts(BASE, [slower]))[PARAMS] == UNSETTLED


@pytest.mark.parametrize(
    ("losses", "num"),
    [([0.1, 0.1001], 2), ([0.1, 0.1001, 0.1002, 0.1, None], 4)],
    ids=["too few seeds", "a training that failed"],
)
def test_nothing_is_settled_on_too_little(losses: list[float | None], num: int) -> None:
    found = {verdict.metric: verdict for verdict in verdicts(BASE, [network(1, losses, [0.5, 0.5001])])}
    for metric, least in ((LOSS, num), (LATENCY, 2)):
        verdict = found[metric]
        assert (verdict.verdict, verdict.low, verdict.p, verdict.num) == (UNSETTLED, None, None, least)
        assert verdict.effect is not None


def test_what_was_not_trained_is_not_settled_and_no_winner() -> None:
    bare = Confirmed(number=1, label="bare", params=50)
    assert kinds(verdicts(BASE, [bare])) == {PARAMS: BETTER, LOSS: UNSETTLED, TEST_LOSS: UNSETTLED}
    trained = network(2, [0.6, 0.601, 0.599], [2.0, 2.01, 1.99], params=200)  # worse on every axis, but there
    confirmation = Confirmation(reference=BASE, networks=(bare, trained), verdicts=verdicts(BASE, [bare, trained]))
    assert not beats_everywhere(confirmation, 1) and winner(confirmation) == 2


def test_the_winner_is_better_on_most_axes_then_lowest_in_loss() -> None:
    seeds = [0.0, 0.001, -0.001, 0.0005, -0.0005]
    quick, lowest, fair, worse = networks = [
        network(number, [loss + x for x in seeds], [ratio, ratio * 1.001, ratio * 0.999], params=params)
        for number, loss, ratio, params in ((1, 0.45, 0.3, 50), (2, 0.40, 0.3, 120), (3, 0.44, 0.5, 60), (4, 0.60, 2.0, 200))
    ]
    confirmation = Confirmation(reference=BASE, networks=tuple(networks), verdicts=verdicts(BASE, networks))
    assert winner(confirmation) == fair.number  # as quick better on every axis, and lower in loss
    assert [beats_everywhere(confirmation, n.number or 0) for n in (quick, lowest, fair, worse)] == [True, False, True, False]
    assert kinds(confirmation.of(4)) == dict.fromkeys((PARAMS, LATENCY, LOSS, TEST_LOSS), WORSE)
    assert winner(Confirmation(reference=BASE)) is None


def simulated(rng: np.random.Generator, number: int | None, loss: float, spread: float, ratio: float = 1.0) -> Confirmed:
    """Five seeds and five sittings of a network whose true loss and ratio these are."""
    return network(number, rng.normal(loss, spread, 5).tolist(), (ratio * np.exp(rng.normal(0, 0.015, 5))).tolist())


def test_of_networks_that_are_no_better_one_confirmation_in_twenty_at_most_has_a_wrong_verdict() -> None:
    """Seeds of one network may spread three times as far as another's; Monte Carlo error of 600: 0.9 %."""
    rng, wrong = np.random.default_rng(1), 0
    for _ in range(600):
        reference = simulated(rng, None, 0.5, 0.004)
        networks = [simulated(rng, n, 0.5, spread) for n, spread in enumerate((0.004, 0.012, 0.004))]
        tested = [v for v in verdicts(reference, networks) if v.metric != PARAMS]
        assert len(tested) == 9
        wrong += any(v.verdict != UNSETTLED for v in tested)
    assert 0.005 < wrong / 600 < 0.05 + 2 * 0.009


def test_a_true_gain_is_seen() -> None:
    rng, seen = np.random.default_rng(2), 0
    for _ in range(100):
        reference = simulated(rng, None, 0.5, 0.005)
        found = verdicts(reference, [simulated(rng, n, 0.48, 0.005, ratio=0.35) for n in range(3)], {PLACE: 0.02})
        seen += all(v.verdict == BETTER for v in found if v.metric in (LATENCY, LOSS))
    assert seen > 85


def test_intervals_of_ratios_are_those_that_were_measured() -> None:
    over = mean_estimate(np.log([0.4, 0.5, 0.6]))
    latency = next(v for v in verdicts(BASE, [network(1, [0.5] * 5, [0.4, 0.5, 0.6])]) if v.metric == LATENCY)
    assert over.low is not None
    assert (latency.effect, latency.low) == pytest.approx((exp(over.value), exp(over.low)))
