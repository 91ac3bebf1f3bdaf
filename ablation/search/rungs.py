"""Rungs: epochs at which a training stops where another network of a search is better in everything. No torch.

Successive halving stops a share of the trainings at each rung (Jamieson and Talwalkar 2016, "Non-stochastic best arm identification
and hyperparameter optimization"). Here one is stopped only by a network that is no slower and no larger, and whose loss at the same
rung is lower by more than chance: where two networks of one seed each have the same expected loss, their difference has sqrt(2)
times the standard deviation between seeds. That deviation is pooled over the networks that were trained with several seeds, the
reference first of all; until it is known nothing is stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum, sqrt
from statistics import fmean, median

from scipy import stats

from ablation.record.trial import METRICS, Metric
from ablation.stats import t_quantile
from blocks.errors import must_be

FRACTIONS = (0.25, 0.5)
CONFIDENCE = 0.95  # one-sided, of each comparison: a training that was stopped wrongly can go on


@dataclass(frozen=True, kw_only=True)
class Runner:
    """One training of a network, as far as it has come."""

    network: str  # seeds of one network are averaged
    ratios: Mapping[str, float]  # place such as "cpu/1" -> latency, times the reference
    params: float
    losses: Mapping[int, float] = field(default_factory=dict)  # epoch of a rung -> lowest validation loss so far, or the like
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The standard deviation of a loss between seeds, pooled over networks."""

    sd: float
    freedom: int


@dataclass(frozen=True, kw_only=True)
class RankCorrelation:
    """How well the order at a rung foretells the order at the end, over the trainings that came to their end."""

    epoch: int
    rho: float | None  # Spearman's; None for fewer than three networks, or where all losses are the same
    num: int


def rung_epochs(epochs: int, fractions: Iterable[float] = FRACTIONS) -> tuple[int, ...]:
    """Epochs after which a training may be stopped: fractions of all, rounded (half up), at least 1, and before the end.

    InputError for a fraction that is not between 0 and 1.

    >>> rung_epochs(10), rung_epochs(2), rung_epochs(1)
    ((3, 5), (1,), ())
    """
    for fraction in fractions:
        if not isinstance(fraction, int | float) or not 0 < fraction < 1:
            raise must_be("A rung", "a fraction of the epochs between 0 and 1", fraction)
    rungs = {max(1, int(fraction * epochs + 0.5)) for fraction in fractions}
    return tuple(sorted(rung for rung in rungs if rung < epochs))


def rung_losses(losses: Mapping[int, float], rungs: Iterable[int]) -> dict[int, float]:
    """The lowest validation loss up to each rung that was reached, from the losses of epochs: what the end is judged by too.

    >>> rung_losses({1: 0.9, 2: 0.7, 3: 0.8}, (1, 3, 5))
    {1: 0.9, 3: 0.7}
    """
    last = max(losses, default=0)
    return {rung: min(loss for epoch, loss in losses.items() if epoch <= rung) for rung in rungs if last >= rung}


def pooled_spread(losses: Mapping[str, Sequence[float]]) -> Spread | None:
    """The spread between seeds from network -> losses of its seeds; None where no network has two.

    Variances are weighted by their degrees of freedom, which is right where all networks have the same true variance.

    >>> pooled_spread({"a": [1.0, 3.0], "b": [5.0]})
    Spread(sd=1.4142135623730951, freedom=1)
    """
    several = [list(values) for values in losses.values() if len(values) > 1]
    freedom = sum(len(values) - 1 for values in several)
    if not freedom:
        return None
    return Spread(sd=sqrt(fsum((x - fmean(values)) ** 2 for values in several for x in values) / freedom), freedom=freedom)


def spread_at(runners: Iterable[Runner], epoch: int) -> Spread | None:
    """The pooled spread between seeds at a rung."""
    return pooled_spread(_by_network(runners, epoch))


def margin(spread: Spread, num: int = 1, num_other: int = 1) -> float:
    """By how much a mean over seeds has to be lower than another to be better by more than chance: t s sqrt(1/n + 1/m)."""
    return t_quantile(CONFIDENCE, spread.freedom) * spread.sd * sqrt(1 / num + 1 / num_other)


def stop_reason(own: Runner, others: Iterable[Runner], epoch: int, spread: Spread | None, metric: Metric = METRICS["loss"]) -> str:
    """Why a training is stopped at a rung that it has just reached, in one line; empty where it goes on.

    Latencies are compared at the places at which `own` was timed: another that lacks one of them stops nothing. `metric`: what
    the losses are; of one of which higher is better, its negative.
    """
    if spread is None:
        return ""
    better = [r for r in others if r.network != own.network and r.params <= own.params and _no_slower(r, own)]
    means = {name: (fmean(losses), len(losses)) for name, losses in _by_network(better, epoch).items()}
    ahead = {name: own.losses[epoch] - mean - margin(spread, num) for name, (mean, num) in means.items()}
    name = max(ahead, key=ahead.__getitem__, default="")
    if not name or ahead[name] <= 0:
        return ""
    mean, num = means[name]
    label = next((runner.label for runner in better if runner.network == name and runner.label), name)
    here, there = (metric.text(metric.lowest_best(value)) for value in (own.losses[epoch], mean))
    return (
        f"stopped after epoch {epoch}: its {metric.noun} {here} is {'over' if metric.lower_is_better else 'under'} the {there} of "
        f"a network that is no slower and no larger ({label}) by more than the margin of chance between seeds, "
        f"{metric.text(margin(spread, num))}"
    )


def _no_slower(other: Runner, own: Runner) -> bool:
    return bool(own.ratios) and all(place in other.ratios and other.ratios[place] <= own.ratios[place] for place in own.ratios)


def _by_network(runners: Iterable[Runner], epoch: int) -> dict[str, list[float]]:
    losses: dict[str, list[float]] = {}
    for runner in runners:
        if epoch in runner.losses:
            losses.setdefault(runner.network, []).append(runner.losses[epoch])
    return losses


def rank_correlation(at_rung: Sequence[float], at_end: Sequence[float], epoch: int) -> RankCorrelation:
    """Spearman's rank correlation between losses at a rung and at the end, of the same trainings in the same order.

    Trainings that were stopped have no end and are not in it, so it rests on the better ones.

    >>> rank_correlation([0.9, 0.8, 0.7], [0.5, 0.4, 0.3], 1)
    RankCorrelation(epoch=1, rho=1.0, num=3)
    """
    num = len(at_rung)
    known = num >= 3 and len(set(at_rung)) > 1 and len(set(at_end)) > 1
    return RankCorrelation(epoch=epoch, rho=float(stats.spearmanr(at_rung, at_end).statistic) if known else None, num=num)


def projected_end(loss: float, epoch: int, ended: Iterable[tuple[Mapping[int, float], float]]) -> float:
    """A guess of where a training that stopped at a rung would have ended: its loss there, less the median gain of those that did.

    `ended`: losses at rungs and at the end of each. For samplers alone, which else could not learn from it; never for a page.

    >>> projected_end(0.9, 1, [({1: 0.8}, 0.7), ({1: 0.7}, 0.5), ({1: 0.6}, 0.3)])
    0.7...
    """
    gains = [losses[epoch] - end for losses, end in ended if epoch in losses]
    return loss - (median(gains) if gains else 0.0)
