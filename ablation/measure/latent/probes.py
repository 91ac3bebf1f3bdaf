"""Probes: how well each attribute can be read from the posterior means. numpy and scikit-learn only.

A linear probe (logistic regression on standardised dimensions, classes weighted to balance) and a nearest-neighbour probe (share of
positives among the nearest training images) are fitted on four fifths of the images and scored on the rest, in turns: a mean over
folds, as scores of different fits do not compare (Forman and Scholz, "Apples-to-apples in cross-validation studies", SIGKDD
Explorations 12, 2010). The same with shuffled labels says what reading nothing looks like. Attributes too rare, or too common, to
be scored are named with the reason. ROC AUC and balanced accuracy are 0.5 by chance and 1 at best.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, pairwise_distances
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from ablation.measure.latent.purity import NUM_NEIGHBOURS, Labels

Points = NDArray[np.float64]

LEAST_OF_A_CLASS = 10  # images with the attribute, and without it: two in each fold
NUM_FOLDS = 5
# on the standard error over images of a mean over folds: the root of 1 + k / (k - 1)
REFIT = (1 + NUM_FOLDS / (NUM_FOLDS - 1)) ** 0.5
NUM_SHUFFLES = 5
# scikit-learn's C: of .0003 to 1 the best for 800 images and 128 dimensions; mean held-out ROC AUC over CelebA's 40 attributes from
# 128 principal components of the images .749 (.741 at .0003, .729 at 1)
PENALTY = 0.01


def auc_table(scores: Points, labels: Labels) -> NDArray[np.float64]:
    """ROC AUC of each of N x D scores for each of N x A labels of 0 and 1, A x D: the chance that a positive outranks a negative.

    Ties count half (Mann and Whitney). Every column of labels has both classes.
    """
    positives = labels.sum(axis=0, dtype=np.float64)[:, None]  # A x 1
    ranks = labels.T.astype(np.float64) @ rankdata(scores, axis=0)  # A x N @ N x D
    return np.asarray((ranks - positives * (positives + 1) / 2) / (positives * (len(labels) - positives)))


def auc(scores: NDArray[np.float64], labels: NDArray[np.uint8]) -> float:
    """ROC AUC of N scores for N labels."""
    return float(auc_table(scores[:, None], labels[:, None])[0, 0])


def split_attributes(labels: Labels, names: Sequence[str]) -> tuple[list[int], dict[str, str]]:
    """Columns of N x A labels with enough of both classes to be scored, and the others' reasons by name."""
    usable, refused = [], {}
    for column, name in enumerate(names):
        positives = int(labels[:, column].sum())
        counts = {"with": positives, "without": len(labels) - positives}
        kind = min(counts, key=lambda k: counts[k])
        if counts[kind] >= LEAST_OF_A_CLASS:
            usable.append(column)
        else:
            refused[name] = f"{counts[kind]} of {len(labels)} images are {kind} it, at least {LEAST_OF_A_CLASS} are needed"
    return usable, refused


def _folds(labels: NDArray[np.uint8], seed: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Training and test indices, each class spread evenly over the folds."""
    return list(StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=seed).split(np.zeros(len(labels)), labels))


def linear_probe(points: Points, labels: NDArray[np.uint8], *, seed: int = 0) -> tuple[float, float]:
    """Held-out ROC AUC and balanced accuracy of logistic regression, means over folds."""
    scored = _held_out(points, labels, seed)
    return _means([(auc(logits, labels[test]), balanced_accuracy_score(labels[test], logits > 0)) for test, logits in scored])


def _held_out(points: Points, labels: NDArray[np.uint8], seed: int) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Of each fold the test indices and their scores by logistic regression on the rest."""
    folds = []
    for train, test in _folds(labels, seed):
        scaler = StandardScaler().fit(points[train])
        model = LogisticRegression(C=PENALTY, class_weight="balanced", max_iter=1000)
        model.fit(scaler.transform(points[train]), labels[train])
        folds.append((test, model.decision_function(scaler.transform(points[test]))))
    return folds


def auc_by_image(points: Points, labels: Labels, *, seed: int = 0) -> NDArray[np.float64]:
    """N values whose mean is the linear probe's mean AUC over N x A attributes, and whose spread is that of this mean over images.

    An image's placement is the share of the other class that it is scored right against; the AUC is the mean placement of either
    class, and their spread its variance (DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988). Pairing two networks' values
    image by image gives the variance of their difference. That probes are fitted to images too, of which folds share most, is in it
    by Nadeau and Bengio's correction (Machine Learning 52, 2003), which is cautious. Every column must be usable.
    """
    values = np.zeros(len(labels))
    for column in labels.T:
        for test, scores in _held_out(points, column, seed):
            values[test] += REFIT * len(labels) / NUM_FOLDS * _deviations(scores, column[test])
            values += auc(scores, column[test]) / NUM_FOLDS
    return values / labels.shape[1]


def _deviations(scores: NDArray[np.float64], labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Of each placement from the AUC, over the size of its class; its variance without bias in classes of two or more."""
    deviations = np.zeros(len(scores))
    for kind in (0, 1):
        mine, others = labels == kind, scores[labels != kind]
        above = (scores[mine, None] > others).mean(axis=1) + (scores[mine, None] == others).mean(axis=1) / 2
        placements, num = above if kind else 1 - above, int(mine.sum())
        deviations[mine] = (placements - placements.mean()) / num * (num / (num - 1)) ** 0.5 if num > 1 else 0.0
    return deviations


def neighbour_probe(distances: Points, labels: NDArray[np.uint8], *, seed: int = 0) -> tuple[float, float]:
    """Held-out ROC AUC and balanced accuracy of nearest neighbours, means over folds, from N x N distances.

    Predicted positive where neighbours are positive more often than the training images are: the vote of balanced classes.
    """
    scores = []
    for train, test in _folds(labels, seed):
        k = min(NUM_NEIGHBOURS, len(train))
        nearest = np.argpartition(distances[np.ix_(test, train)], k - 1, axis=1)[:, :k]
        share = labels[train][nearest].mean(axis=1)
        scores.append((auc(share, labels[test]), balanced_accuracy_score(labels[test], share > labels[train].mean())))
    return _means(scores)


def _means(scores: Sequence[tuple[float, float]]) -> tuple[float, float]:
    first, second = np.mean(scores, axis=0)
    return float(first), float(second)


def probe_attributes(points: Points, labels: Labels, names: Sequence[str], *, seed: int = 0) -> dict[str, dict[str, float]]:
    """Both probes of each column of N x A labels, and mean and sd of the linear one over shuffles. Every column must be usable."""
    rng = np.random.default_rng(seed)
    distances = pairwise_distances(points)
    orders = [rng.permutation(len(labels)) for _ in range(NUM_SHUFFLES)]
    scores = {}
    for column, name in zip(labels.T, names, strict=True):
        linear, nearest = linear_probe(points, column, seed=seed), neighbour_probe(distances, column, seed=seed)
        shuffled = [linear_probe(points, column[order], seed=seed)[0] for order in orders]
        scores[name] = {
            "positives": int(column.sum()),
            "linear_auc": linear[0],
            "linear_balanced_accuracy": linear[1],
            "knn_auc": nearest[0],
            "knn_balanced_accuracy": nearest[1],
            "shuffled_auc": float(np.mean(shuffled)),
            "shuffled_auc_sd": float(np.std(shuffled, ddof=1)),
        }
    return scores


def dimension_probes(points: Points, labels: Labels, names: Sequence[str], *, seed: int = 0) -> dict[str, Any]:
    """How well each attribute can be read from one latent dimension alone; no fit, the value itself is the score.

    By attribute the best dimension's ROC AUC (0.5..1, whichever way the dimension points) and its lead over the second, as the SAP
    score takes it (Kumar et al. 2018, section 3); and the Gini coefficient over dimensions of AUC - 1/2: 0 where all tell the same,
    near 1 where one tells everything, about 0.41 for noise. The best of many dimensions exceeds 0.5 by luck: compare the shuffled.
    """
    strongest, shuffled = _by_dimension(points, labels), np.random.default_rng(seed).permutation(labels)
    return {
        "by_attribute": dict(zip(names, strongest, strict=True)),
        **_dimension_means(strongest),
        **{f"shuffled_{key}": value for key, value in _dimension_means(_by_dimension(points, shuffled)).items()},
    }


def gini(values: NDArray[np.float64]) -> float:
    """Gini coefficient of values of at least 0: 0 where they are equal, 1 - 1 / D where one of D has all; 0 where all are 0."""
    if not values.any():
        return 0.0
    ranks = np.arange(1, len(values) + 1)
    return float((2 * ranks - len(values) - 1) @ np.sort(values) / (len(values) * values.sum()))


def _by_dimension(points: Points, labels: Labels) -> list[dict[str, float]]:
    """Of each attribute the best dimension, its AUC and lead, and the concentration."""
    rows = []
    for strength in np.abs(auc_table(points, labels) - 0.5):
        second, best = np.sort(np.append(strength, 0.0))[-2:].tolist()  # a single dimension leads over one that tells nothing
        rows.append({"best_dim": int(strength.argmax()), "best_auc": 0.5 + best, "gap": best - second, "gini": gini(strength)})
    return rows


def _dimension_means(strongest: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over attributes."""
    return {f"{key}_mean": float(np.mean([f[key] for f in strongest])) for key in ("best_auc", "gap", "gini")}
