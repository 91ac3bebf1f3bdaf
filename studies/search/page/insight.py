"""What a search shows beside its networks: how its front grew, and what losses the whole space would have. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ablation.record.search import Candidate, Growth, LossDistribution
from ablation.record.trial import COMPLETE, Metric
from ablation.search.hypervolume import hypervolume
from ablation.search.surrogate import LEAST_FITTED, Surrogate, Values, encoded
from studies.search.candidates import point

ORDERS = 100  # in which networks drawn by chance might have come
DRAWN = 2000  # combinations whose loss is predicted
SHARES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A network of the space that was drawn by chance from those inside of all limits, by exact costs and predicted latency."""

    factors: Mapping[str, str]
    ratio: float  # predicted latency at the first batch size, to the reference
    params: float


def growth_of(
    proposals: Sequence[Candidate], factors: Mapping[str, Sequence[str]], metric: Metric, drawn: Sequence[Drawn] = (), seed: int = 0
) -> Growth | None:
    """Hypervolume of the front after each training, below the worst of all on each axis, as a share of the box to the best.

    Axes: the loss, and the logarithms of the first latency and of parameters. None of fewer than two complete networks. Beside it
    what networks that are drawn by chance would reach, with the losses that a Gaussian process predicts of them.
    """
    ended = sorted((c for c in proposals if c.state == COMPLETE and point(c, metric)), key=lambda c: c.ended_s or 0.0)
    values = np.array([(p[0], np.log(p[1]), np.log(p[-1])) for c in ended if (p := point(c, metric)) is not None])
    if len(values) < 2:
        return None
    low, span = values.min(axis=0), np.maximum(np.ptp(values, axis=0), 1e-12)
    reached = _shares((values - low) / span)
    losses = _predicted(ended, factors, [d.factors for d in drawn], metric)
    if losses is None:
        return Growth(reached=reached)
    others = (np.column_stack([losses, np.log([(d.ratio, d.params) for d in drawn])]) - low) / span
    rng, num = np.random.default_rng(seed), min(len(values), len(others))
    runs = np.array([_shares(others[rng.permutation(len(others))[:num]]) for _ in range(ORDERS)])
    ends = np.quantile(runs, (0.025, 0.975), axis=0)
    return Growth(reached=reached, random=tuple(np.median(runs, axis=0)), random_low=tuple(ends[0]), random_high=tuple(ends[1]))


def _shares(points: Values) -> tuple[float, ...]:
    return tuple(float(hypervolume(points[: n + 1], np.ones(3))) for n in range(len(points)))


def distribution_of(
    proposals: Sequence[Candidate], factors: Mapping[str, Sequence[str]], metric: Metric, seed: int = 0
) -> LossDistribution | None:
    """Losses of networks drawn from the whole space, as a Gaussian process predicts them from levels alone.

    None where fewer were trained than it takes to fit one.
    """
    rng = np.random.default_rng(seed)
    drawn = [{name: levels[int(rng.integers(len(levels)))] for name, levels in factors.items()} for _ in range(DRAWN)]
    predicted = _predicted(proposals, factors, drawn, metric)
    if predicted is None:
        return None
    quantiles = np.quantile(predicted, SHARES)
    pairs = ((share, metric.lowest_best(float(q))) for share, q in zip(SHARES, quantiles, strict=True))
    return LossDistribution(quantiles=tuple(pairs), num=DRAWN)


def _predicted(
    proposals: Sequence[Candidate], factors: Mapping[str, Sequence[str]], drawn: Sequence[Mapping[str, str]], metric: Metric
) -> Values | None:
    """Losses of networks from their levels, lower being better; None without networks, or with too few trained for a model."""
    trained = [c for c in proposals if c.state == COMPLETE and c.best_loss is not None and set(c.factors) == set(factors)]
    if not drawn or len(trained) < 2 * LEAST_FITTED:
        return None

    def codes(networks: Sequence[Mapping[str, str]]) -> Values:
        rows = [[list(levels).index(network[factor]) for factor, levels in factors.items()] for network in networks]
        return encoded(np.array(rows), [len(levels) for levels in factors.values()])

    losses = np.array([metric.lowest_best(c.best_loss or 0.0) for c in trained], dtype=np.float64)
    return Surrogate().posterior(codes([c.factors for c in trained]), losses, codes(drawn))[0]
