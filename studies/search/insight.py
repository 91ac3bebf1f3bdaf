"""What a search shows beside its networks: how its front grew, and what losses the whole space would have. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ablation.record.search import Candidate, Growth, LossDistribution
from ablation.record.trial import COMPLETE
from ablation.search.hypervolume import hypervolume
from ablation.search.surrogate import LEAST_FITTED, Surrogate, encoded
from studies.search.candidates import point

DRAWN = 2000  # combinations whose loss is predicted
SHARES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


def growth_of(proposals: Sequence[Candidate]) -> Growth | None:
    """Hypervolume of the front after each training, below the worst of all on each axis, as a share of the box to the best.

    Axes: the loss, and the logarithms of the first latency and of parameters. None of fewer than two complete networks.
    """
    ended = sorted((c for c in proposals if c.state == COMPLETE and point(c) is not None), key=lambda c: c.ended_s or 0.0)
    values = np.array([(p[0], np.log(p[1]), np.log(p[-1])) for c in ended if (p := point(c)) is not None])
    if len(values) < 2:
        return None
    low, span = values.min(axis=0), np.maximum(np.ptp(values, axis=0), 1e-12)
    scaled = (values - low) / span
    return Growth(reached=tuple(hypervolume(scaled[: n + 1], np.ones(3)) for n in range(len(scaled))))


def distribution_of(proposals: Sequence[Candidate], factors: Mapping[str, Sequence[str]], seed: int = 0) -> LossDistribution | None:
    """Losses of networks drawn from the whole space, as a Gaussian process predicts them from levels alone.

    None where fewer were trained than it takes to fit one.
    """
    trained = [c for c in proposals if c.state == COMPLETE and c.best_loss is not None and set(c.factors) == set(factors)]
    if len(trained) < 2 * LEAST_FITTED:
        return None
    rng, sizes = np.random.default_rng(seed), [len(levels) for levels in factors.values()]
    drawn = np.column_stack([rng.integers(size, size=DRAWN) for size in sizes])
    known = np.array([[list(levels).index(c.factors[factor]) for factor, levels in factors.items()] for c in trained])
    losses = np.array([c.best_loss for c in trained], dtype=np.float64)
    predicted, _ = Surrogate().posterior(encoded(known, sizes), losses, encoded(drawn, sizes))
    quantiles = np.quantile(predicted, SHARES)
    return LossDistribution(quantiles=tuple((share, float(q)) for share, q in zip(SHARES, quantiles, strict=True)), num=DRAWN)
