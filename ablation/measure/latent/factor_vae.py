"""The FactorVAE score of Kim & Mnih (2018): which factor stands still is told by the dimension that varies least. numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from blocks.errors import must_be

# a mean that varies less is lost in what sampling adds to it, whose variance is then about 1 (Burda et al. 2016, active units)
MIN_VARIANCE = 0.01
NUM_SPLITS = 50
TRAIN_SHARE = 2 / 3


def factor_vae_score(
    codes_of_batches: ArrayLike,
    fixed_factor: ArrayLike,
    global_variance: ArrayLike,
    seed: int = 0,
    *,
    min_variance: float = MIN_VARIANCE,
) -> float:
    """Accuracy of a majority vote. codes_of_batches: votes x batch x D; fixed_factor: votes, numbers from 0; global_variance: D.

    Kim & Mnih 2018, "Disentangling by Factorising", section 4: in each batch one factor is held; the dimension with the smallest
    variance, in units of its variance over all images, votes; each dimension stands for the factor that most often made it vote.
    Dead dimensions do not vote. Votes that teach and votes that are judged are kept apart (two thirds, one third; mean of 50
    splits), as in disentanglement_lib: judged on the votes that taught it, random codes of 128 dimensions score 0.26 (15 factors,
    915 votes).

    Biases: a factor spread over several dimensions costs nothing, nor does a dimension's second factor, as long as the first
    narrows it more. Small batches make variances noisy and lower the score, so scores compare at one batch size only. Random
    codes: 1 / factors or a little less, since what teaches is not there to be judged: 0.05 with 15 factors and 915 votes. No
    dimension alive: 0.
    """
    codes = np.asarray(codes_of_batches, np.float64)
    fixed, spread = np.asarray(fixed_factor), np.asarray(global_variance, np.float64)
    _check(codes, fixed, spread)
    alive = spread > min_variance
    if not alive.any():
        return 0.0
    return majority_accuracy(quietest(codes[..., alive], spread[alive]), fixed.astype(np.int64), seed)


def _check(codes: NDArray[np.float64], fixed: NDArray[np.int64], spread: NDArray[np.float64]) -> None:
    if codes.ndim != 3 or codes.shape[0] < 2 or codes.shape[1] < 2 or not np.isfinite(codes).all():
        raise must_be("codes_of_batches", "finite numbers, votes x batch x dimensions, two or more of the first two", codes.shape)
    if fixed.shape != codes.shape[:1] or not np.issubdtype(fixed.dtype, np.integer) or fixed.min() < 0:
        raise must_be("fixed_factor", f"{len(codes)} whole numbers from 0", fixed.shape)
    if spread.shape != codes.shape[2:] or not np.isfinite(spread).all():
        raise must_be("global_variance", f"{codes.shape[2]} finite numbers", spread.shape)


def quietest(codes: NDArray[np.float64], spread: NDArray[np.float64]) -> NDArray[np.int64]:
    """The dimension of each batch whose variance is the smallest share of `spread`: votes."""
    return np.asarray((codes.var(axis=1, ddof=1) / spread).argmin(axis=1), np.int64)


def majority_accuracy(votes: NDArray[np.int64], fixed: NDArray[np.int64], seed: int) -> float:
    """Share of held-out votes whose dimension names the right factor; a dimension that no teaching vote chose names none."""
    rng, num_train = np.random.default_rng(seed), max(1, min(len(votes) - 1, round(TRAIN_SHARE * len(votes))))
    shape = (int(votes.max()) + 1, int(fixed.max()) + 1)
    scores = []
    for _ in range(NUM_SPLITS):
        train, test = np.split(rng.permutation(len(votes)), [num_train])
        counts = np.zeros(shape, np.int64)  # dimensions x factors
        np.add.at(counts, (votes[train], fixed[train]), 1)
        named = np.where(counts.any(axis=1), counts.argmax(axis=1), -1)
        scores.append(np.mean(named[votes[test]] == fixed[test]))
    return float(np.mean(scores))
