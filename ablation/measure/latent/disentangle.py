"""Disentanglement of codes whose true factors are known: MIG, DCI and SAP, and the dictionary that adds the FactorVAE score.

Codes are N x D posterior means, factors N x F numbers. All scores lie in [0, 1], higher is better, and none changes when codes
change places or are scaled one by one. Factors are taken as ordered numbers: one of few levels is as well measured as a
continuous one, one of unordered kinds is not.

Dimensions that the prior has swallowed are left out first (`active_dims`): their means vary by a hundredth of what sampling adds,
and measures that ignore scale would read them all the same. This alone depends on the scale of the codes, which a VAE's prior
sets; standardise those of other models first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr
from sklearn.ensemble import ExtraTreesRegressor

from ablation.measure.latent.factor_batches import FactorBatches, measured
from ablation.measure.latent.factor_vae import MIN_VARIANCE, factor_vae_score
from blocks.errors import must_be

# cells of equal mass for codes and factors; the bias of mutual information grows with its square, the ceiling of MIG hardly falls
NUM_BINS = 10
NUM_TREES = 30
MIN_LEAF = 5  # images in a leaf: fewer fit noise, which spreads importance over codes that know nothing
HELD_OUT = 0.3  # share of the images that informativeness is measured on

Array = NDArray[np.float64]


def disentanglement_dict(
    codes: ArrayLike,
    factors: ArrayLike,
    factor_names: Sequence[str],
    face_codes: ArrayLike,
    batches: FactorBatches,
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """All four measures: the "disentanglement" part of an analysis.

    codes: N x D means of the test images, with their factors (N x F, named), of which those in MEASURED are taken. face_codes: n
    x D means of `batches.images` by the same model.
    """
    held = batches.of_votes(face_codes)  # votes x batch x D
    variance = np.asarray(face_codes, np.float64).var(axis=0, ddof=1)
    columns, names = measured(factors, factor_names)
    scores = disentanglement(codes, columns, names, seed=seed)
    return {**scores, "factor_vae": factor_vae_score(held, batches.fixed_factor, variance, seed=seed)}


def disentanglement(
    codes: ArrayLike, factors: ArrayLike, factor_names: Sequence[str], *, seed: int = 0, min_variance: float = MIN_VARIANCE
) -> dict[str, Any]:
    """MIG, DCI and SAP of N x D codes for N x F factors, as plain values, with the parts of each factor under "by_factor".

    Needs two images or more, finite numbers, and factors that vary. Codes that all stand still score 0 everywhere.
    """
    known, true = _checked(codes, factors, factor_names)
    known = active_dims(known, min_variance)
    gaps, separations = mig_by_factor(known, true), sap_by_factor(known, true)
    importance, informed = importances(known, true, seed)
    return {
        "mig": float(gaps.mean()),
        "dci": dci_scores(importance, informed),
        "sap": float(separations.mean()),
        "factors": list(factor_names),
        "num_images": len(known),
        "active_dims": known.shape[1],
        "by_factor": {
            name: {"mig": float(gap), "sap": float(apart), "informativeness": float(share)}
            for name, gap, apart, share in zip(factor_names, gaps, separations, informed, strict=True)
        },
    }


def _checked(codes: ArrayLike, factors: ArrayLike, names: Sequence[str]) -> tuple[Array, Array]:
    known, true = np.asarray(codes, np.float64), np.asarray(factors, np.float64)
    if known.ndim != 2 or not known.shape[1] or len(known) < 2 or not np.isfinite(known).all():
        raise must_be("codes", "a table of finite numbers, two images or more x one dimension or more", known.shape)
    if true.shape != (len(known), len(names)) or not np.isfinite(true).all():
        raise must_be("factors", f"a table of finite numbers, {len(known)} x {len(names)}", true.shape)
    still = [name for name, spread in zip(names, np.ptp(true, axis=0), strict=True) if not spread]
    if still or not names:
        raise must_be("factors", "one or more that vary", still, "Leave constant ones out.")
    return known, true


def active_dims(codes: Array, min_variance: float = MIN_VARIANCE) -> Array:
    """The columns of N x D codes whose variance exceeds `min_variance`, if any. Burda et al. 2016, section 5.2."""
    return codes[:, codes.var(axis=0, ddof=1) > min_variance]


def mig_by_factor(codes: Array, factors: Array, num_bins: int = NUM_BINS) -> Array:
    """Mutual information gap of each factor (F): (largest - second largest I(code; factor)) / H(factor). MIG is their mean.

    Chen et al. 2018, "Isolating Sources of Disentanglement in VAEs", section 4.1. There the code is sampled; here, as in most
    later work, it is the mean. Biases: chance adds about (bins - 1)^2 / 2N nats to every I, so codes that hold one factor each
    score 0.99, not 1 (2000 images); a factor that two dimensions know equally well scores 0, however clean they are. Random
    codes: 0.001 (128 dimensions, 2000 images, 15 factors).
    """
    information, entropies = mutual_information(codes, factors, num_bins)
    return _gap(information) / entropies


def mutual_information(codes: Array, factors: Array, num_bins: int = NUM_BINS) -> tuple[Array, Array]:
    """I(code; factor) in nats (D x F), and H(factor) in nats (F), of cells of equal mass: plain counts, no correction."""
    rows, columns = _cells(codes, num_bins), _cells(factors, num_bins)  # N x D x B, N x F x B
    n, dims, num_factors = len(codes), codes.shape[1], factors.shape[1]
    joint = rows.reshape(n, -1).T @ columns.reshape(n, -1) / n  # D.B x F.B
    joint = joint.reshape(dims, num_bins, num_factors, num_bins)
    code_entropy, entropies = entr(rows.mean(axis=0)).sum(-1), entr(columns.mean(axis=0)).sum(-1)  # D, F
    both = entr(joint).sum((1, 3))  # D x F
    return np.maximum(code_entropy[:, None] + entropies - both, 0.0), entropies


def _cells(values: Array, num_bins: int) -> Array:
    """One-hot membership, N x columns x num_bins: levels where few enough, else equal mass with ties kept together."""
    labels = np.empty(values.shape, np.int64)
    for number, column in enumerate(values.T):
        levels, place = np.unique(column, return_inverse=True)
        edges = np.quantile(column, np.arange(1, num_bins) / num_bins)
        labels[:, number] = place if len(levels) <= num_bins else np.searchsorted(edges, column, side="right")
    return np.asarray(labels[..., None] == np.arange(num_bins), np.float64)


def _gap(scores: Array) -> Array:
    """Largest minus second largest of each column; missing rows count as 0."""
    padded = np.concatenate([scores, np.zeros((2, scores.shape[1]))])
    second, first = np.partition(padded, -2, axis=0)[-2:]
    return np.asarray(first - second)


def sap_by_factor(codes: Array, factors: Array) -> Array:
    """Separated attribute predictability of each factor (F): gap between the two codes that predict it best. SAP is their mean.

    Kumar et al. 2018, "Variational Inference of Disentangled Latent Concepts", section 3, for continuous factors: a code's score is
    R^2 of the line through it, the squared correlation. Biases: sees straight lines only; counts an entangled code in full if no
    second one knows the factor. Random codes: 0.001 (as above).
    """
    x, y = (table - table.mean(axis=0) for table in (codes, factors))
    scale = np.sqrt((x * x).sum(axis=0))[:, None] * np.sqrt((y * y).sum(axis=0))  # D x F
    return _gap(np.divide(x.T @ y, scale, out=np.zeros_like(scale), where=scale > 0) ** 2)


def importances(codes: Array, factors: Array, seed: int = 0) -> tuple[Array, Array]:
    """How much each code serves to predict each factor (D x F, columns sum to 1, or to 0 where nothing helps), and how well (F).

    Extremely randomised trees (Geurts et al. 2006). Of codes that know the same they credit all, so that completeness falls,
    where the lasso of Eastwood & Williams names one of them; and they follow curves. With 128 dimensions and 15 factors one core
    takes 3 s for 1000 images and 10 s for 3000 when all is noise, which is slowest. How well: 1 - squared error / variance on the
    images held out, not below 0.
    """
    order = np.random.default_rng(seed).permutation(len(codes))
    held = order[: max(1, round(HELD_OUT * len(codes)))]
    rest = order[len(held) :]
    weights, informed = np.zeros((codes.shape[1], factors.shape[1])), np.zeros(factors.shape[1])
    if codes.shape[1]:
        for number, factor in enumerate(factors.T):
            trees = ExtraTreesRegressor(NUM_TREES, min_samples_leaf=MIN_LEAF, random_state=seed, n_jobs=1)
            trees.fit(codes[rest], factor[rest])
            weights[:, number] = trees.feature_importances_
            error = np.mean((trees.predict(codes[held]) - factor[held]) ** 2)
            informed[number] = max(0.0, 1.0 - error / factor.var())
    return weights, informed


def dci_scores(importance: Array, informed: Array) -> dict[str, float]:
    """Disentanglement, completeness and informativeness from importances (D x F) and informativeness by factor (F).

    Eastwood & Williams 2018, "A Framework for the Quantitative Evaluation of Disentangled Representations", section 2:
    disentanglement of a code is 1 - entropy of its importances over factors (base F), averaged by its share of all importance;
    completeness of a factor is 1 - entropy of its importances over codes (base D), averaged. A single code (or factor) leaves no
    choice: 1. Biases: importance sums to 1 even for a factor that the codes hardly know, so noise lowers disentanglement; trees
    give noise some importance. Random codes: disentanglement 0.01, completeness 0.01, informativeness 0.003 (as above).
    """
    total = importance.sum()
    by_code, by_factor = _concentration(importance), _concentration(importance.T)
    return {
        "disentanglement": float((by_code * importance.sum(axis=1)).sum() / total) if total else 0.0,
        "completeness": float(by_factor.mean()),
        "informativeness": float(informed.mean()),
    }


def _concentration(weights: Array) -> Array:
    """Of each row: 1 - entropy / log(number of columns); 0 for a row without weight."""
    totals = weights.sum(axis=1, keepdims=True)
    shares = np.divide(weights, totals, out=np.zeros_like(weights), where=totals > 0)
    largest = np.log(weights.shape[1]) if weights.shape[1] > 1 else 1.0
    return np.asarray(np.where(totals[:, 0] > 0, 1.0 - entr(shares).sum(1) / largest, 0.0))
