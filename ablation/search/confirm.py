"""Verdicts of a confirmation: each network against the reference on every axis, corrected for all of them together. No torch.

Counted axes (parameters, multiply-accumulates) are compared exactly. Latency: the ratio in the same sittings, Student's t over
sittings on its logarithm, which has to lie outside the A/A floor. Losses: the difference of means over fresh seeds with Welch's
interval; equal seeds give both networks the same order of images but not the same weights, so they are not paired. One correction
(Holm) for every axis of every network that is tested: of all that is settled, any is wrong with a chance of at most 5 %.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, log

from ablation.attribute.interaction import LEAST_SEEDS
from ablation.record.search_confirmed import (
    BETTER,
    FASTEST,
    LATENCY,
    LOSS,
    MACS,
    PARAMS,
    RATIOS,
    TEST_LOSS,
    UNSETTLED,
    WORSE,
    Confirmation,
    Confirmed,
    FastestMode,
    Timing,
    Verdict,
)  # fmt: skip
from ablation.record.trial import METRICS, Metric
from ablation.stats import CONFIDENCE, LEAST_SITTINGS, Estimate, chance, contrast_estimate, holm, t_quantile

CORRECTED = "Holm over every axis of every network that was measured, so that with 95 % certainty no verdict is wrong"

Splits = Sequence[tuple[str, bool]]  # metric, and whether it is of the test split
SPLITS: Splits = ((LOSS, False), (TEST_LOSS, True))


@dataclass(frozen=True, kw_only=True)
class _Tested:
    """A verdict that is not judged yet, with the estimate that it rests on and the largest effect that is none."""

    verdict: Verdict
    estimate: Estimate
    floor: float = 0.0


def verdicts(
    reference: Confirmed,
    networks: Sequence[Confirmed],
    floors: Mapping[str, float] | None = None,
    metric: Metric = METRICS["loss"],
) -> tuple[Verdict, ...]:
    """All verdicts, network by network; a latency for which either network has no value has none, a loss is then not settled.

    `floors`: place -> half-width of the A/A interval of the logarithm of a ratio, 0 unless given. `metric`: what stands for the
    validation loss; others than the loss have no second one on a test split.
    """
    splits = SPLITS if metric == METRICS["loss"] else SPLITS[:1]
    tested = [each for network in networks for each in _tested(reference, network, floors or {}, splits)]
    chances = {n: chance(each.estimate, each.floor) for n, each in enumerate(tested) if each.estimate.known}
    corrected = holm(chances)
    judged = [
        replace(each.verdict, p=chances.get(n), corrected_p=corrected.get(n), verdict=_side(each, corrected.get(n), metric))
        for n, each in enumerate(tested)
    ]
    counted = [v for n in networks for v in (*_counted(reference, n), *_untrained(reference, n, splits))]
    numbers = [network.number for network in networks]
    return tuple(sorted([*counted, *judged], key=lambda verdict: numbers.index(verdict.number)))


def winner(confirmation: Confirmation, metric: Metric = METRICS["loss"]) -> int | None:
    """The number of the network that is better on most axes, of those the one that is worse on fewest, then the one of best loss.

    A network that is better on every axis so comes first. None where none was confirmed.
    """

    def rank(network: Confirmed) -> tuple[bool, int, int, float]:
        kinds, losses = axes_of(confirmation, number_of(network)), losses_of(network)
        average = mean(losses)
        return not losses, -kinds.count(BETTER), kinds.count(WORSE), inf if average is None else metric.lowest_best(average)

    best = min(confirmation.networks, key=rank, default=None)
    return best.number if best is not None else None


def beats_everywhere(confirmation: Confirmation, number: int) -> bool:
    """Whether a network is better than the reference on every axis, with nothing unsettled."""
    return set(axes_of(confirmation, number)) == {BETTER}


def axes_of(confirmation: Confirmation, number: int) -> list[str]:
    """The verdicts on a network but the one on multiply-accumulates, which explain latency and are nothing that anyone pays for."""
    return [verdict.verdict for verdict in confirmation.of(number) if verdict.metric != MACS]


def losses_of(network: Confirmed, test: bool = False) -> list[float]:
    """Its losses over seeds, on the validation or the test split, without those of trainings that failed."""
    values = [seed.test if test else seed.validation for seed in network.seeds]
    return [value for value in values if value is not None]


def mean(values: Sequence[float]) -> float | None:
    """None of no values."""
    return sum(values) / len(values) if values else None


def number_of(network: Confirmed) -> int:
    """The number of a proposal; the reference has none."""
    assert network.number is not None, network.label
    return network.number


def _counted(reference: Confirmed, network: Confirmed) -> Iterator[Verdict]:
    for metric in (PARAMS, MACS):
        before, after = getattr(reference, metric), getattr(network, metric)
        if before is not None and after is not None:
            kind = UNSETTLED if after == before else BETTER if after < before else WORSE
            yield Verdict(
                number=number_of(network), metric=metric, reference=before, value=after, effect=after - before, verdict=kind
            )


def _untrained(reference: Confirmed, network: Confirmed, splits: Splits) -> Iterator[Verdict]:
    """Losses that one of both does not have: nothing that was not trained is better on every axis."""
    for metric, test in splits:
        ours, theirs = losses_of(network, test), losses_of(reference, test)
        if not (ours and theirs):
            number, before, after = number_of(network), mean(theirs), mean(ours)
            yield Verdict(number=number, metric=metric, reference=before, value=after, of="seeds", verdict=UNSETTLED)


def _tested(reference: Confirmed, network: Confirmed, floors: Mapping[str, float], splits: Splits) -> Iterator[_Tested]:
    for metric in (LATENCY, FASTEST):
        ours, theirs = (getattr(each, "latency" if metric == LATENCY else "fastest") for each in (network, reference))
        for place in ours:
            if ours[place].ratio is not None and place in theirs:
                yield _timed(number_of(network), metric, place, theirs[place], ours[place], floors.get(place, 0.0))
    for metric, test in splits:
        groups = [losses_of(each, test) for each in (network, reference)]
        if all(groups):
            whole = all(len(group) == len(each.seeds) for group, each in zip(groups, (network, reference), strict=True))
            yield _trained(number_of(network), metric, groups, whole)


def _timed(
    number: int, metric: str, place: str, before: Timing | FastestMode, after: Timing | FastestMode, floor: float
) -> _Tested:
    sittings = getattr(after, "sittings", None) or LEAST_SITTINGS  # where nobody counted, the least that give an interval
    verdict = Verdict(
        number=number, metric=metric, place=place, reference=before.ms, value=after.ms, effect=after.ratio,
        low=after.low, high=after.high, num=sittings, of="sittings",
    )  # fmt: skip
    assert after.ratio is not None
    if after.low is None or after.high is None or sittings < LEAST_SITTINGS:
        return _Tested(verdict=replace(verdict, low=None, high=None), estimate=Estimate(value=log(after.ratio), num=sittings))
    freedom = sittings - 1
    reach = (log(after.high) - log(after.low)) / 2
    estimate = Estimate(
        value=log(after.ratio), error=reach / t_quantile((1 + CONFIDENCE) / 2, freedom), freedom=freedom,
        low=log(after.low), high=log(after.high), num=sittings,
    )  # fmt: skip
    return _Tested(verdict=verdict, estimate=estimate, floor=floor)


def _trained(number: int, metric: str, groups: list[list[float]], whole: bool) -> _Tested:
    """A loss; without an interval where there are too few seeds, or where a training failed: what is left is then a choice."""
    estimate = contrast_estimate(groups, [1.0, -1.0])
    if estimate.num < LEAST_SEEDS or not whole:
        estimate = replace(estimate, error=None, freedom=0.0, low=None, high=None)
    verdict = Verdict(
        number=number, metric=metric, reference=mean(groups[1]), value=mean(groups[0]), effect=estimate.value,
        low=estimate.low, high=estimate.high, num=estimate.num, of="seeds",
    )  # fmt: skip
    return _Tested(verdict=verdict, estimate=estimate)


def _side(each: _Tested, corrected: float | None, metric: Metric) -> str:
    if corrected is None or corrected > 1 - CONFIDENCE:
        return UNSETTLED
    value = each.estimate.value if each.verdict.metric in RATIOS else metric.lowest_best(each.estimate.value)
    return BETTER if value < 0 else WORSE
