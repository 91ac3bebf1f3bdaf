"""Attribute directions in a latent space: the normal of a linear probe, and the difference between class means.

Everything is done in *standardised* means, the units of the aggregate posterior: each dimension divided by the standard deviation
of its posterior means, so that a collapsed dimension, whose means hardly vary, is not moved by more than it ever varies. A
direction is fitted on posterior means N x D with attributes N x A of 0 and 1. For classes that are Gaussian with a common
covariance, the probe's normal is the inverse covariance times the difference of means (Fisher 1936): it leaves out what merely
goes along with an attribute.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from ablation.data.batches import derived_seed

KINDS = ("probe", "mean_difference")


@dataclass(frozen=True, eq=False)
class Units:
    """Centre and spread of the aggregate posterior, D values each; a dimension that never varies counts for nothing."""

    centre: NDArray[np.float64]
    spread: NDArray[np.float64]

    @classmethod
    def of(cls, mean: NDArray[np.float64]) -> Units:
        """Those of posterior means N x D."""
        return cls(mean.mean(0), mean.std(0))

    def standard(self, mean: NDArray[np.float64]) -> NDArray[np.float64]:
        """Posterior means in units of the aggregate posterior, centred."""
        varies = self.spread > 1e-12
        return np.where(varies, (mean - self.centre) / np.where(varies, self.spread, 1), 0)


@dataclass(frozen=True, eq=False)
class Probes:
    """One logistic regression for each of P attributes, on standardised means."""

    columns: tuple[int, ...]  # of the attributes, in the order of the rows below
    weights: NDArray[np.float64]  # P x D
    biases: NDArray[np.float64]  # P

    def logits(self, standard: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standardised means N x D -> logits N x P."""
        return standard @ self.weights.T + self.biases

    def aucs(self, standard: NDArray[np.float64], attributes: NDArray[np.integer]) -> NDArray[np.float64]:
        """ROC AUC of each probe on images with both classes of each attribute: P values."""
        logits = self.logits(standard)
        return np.array([roc_auc_score(attributes[:, column], logits[:, p]) for p, column in enumerate(self.columns)])


def fit_probes(standard: NDArray[np.float64], attributes: NDArray[np.integer], columns: tuple[int, ...]) -> Probes:
    """Logistic regressions with scikit-learn's default ridge (C = 1), one for each given attribute; each must have both classes."""
    fits = [LogisticRegression(max_iter=1000).fit(standard, attributes[:, column]) for column in columns]
    weights = np.array([fit.coef_[0] for fit in fits]).reshape(len(columns), standard.shape[1])
    return Probes(columns, weights, np.array([fit.intercept_[0] for fit in fits]))


def class_difference(standard: NDArray[np.float64], attribute: NDArray[np.integer]) -> NDArray[np.float64]:
    """Mean of the images with an attribute minus the mean of those without: D values."""
    return standard[attribute == 1].mean(0) - standard[attribute == 0].mean(0)


def edit_steps(difference: NDArray[np.float64], normal: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """The step of one whole edit in either direction, both as long as the distance between the class means, standardised units."""
    length = np.linalg.norm(difference)
    return {"probe": normal * (length / np.linalg.norm(normal)), "mean_difference": difference}


def halves(num_images: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of two random halves of the images: one gives the directions, the other the probes that score them."""
    order = np.random.default_rng(derived_seed(seed, "edit halves")).permutation(num_images)
    return np.sort(order[: num_images // 2]), np.sort(order[num_images // 2 :])


def too_rare(attributes: tuple[NDArray[np.integer], ...], least: int) -> dict[int, str]:
    """Column -> why it gets no probe: fewer than `least` images with or without the attribute in one of the parts."""
    rare = {}
    for column in range(attributes[0].shape[1]):
        counts = [(int((part[:, column] == 1).sum()), int((part[:, column] == 0).sum())) for part in attributes]
        (ones, zeros), fewest = np.sum(counts, axis=0).tolist(), min(min(pair) for pair in counts)
        if fewest < least:
            rare[column] = f"{ones} images with it and {zeros} without, and one half has fewer than {least} of a kind"
    return rare
