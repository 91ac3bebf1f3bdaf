"""Silhouettes of k-means over the number of clusters, against single clouds of the same covariance. numpy and scikit-learn only.

The silhouette of a point is (b - a) / max(a, b), a its mean distance to its own cluster, b that to the nearest other one; the mean
over points is 1 for tight and distant clusters and about 0 where k-means cut a single cloud (Rousseeuw 1987). k-means cuts a long
cloud quite well, and a flat one better than a Gaussian, so that a value alone says little: clouds of both kinds are cut in the
same way (`hopkins.NULLS`), and the kind with the higher upper limit is the one to exceed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances

from ablation.measure.latent.hopkins import NULLS, NUM_NULLS, RANK_TOLERANCE, Points, described, interval, principal, strictest

NUMBERS_OF_CLUSTERS = tuple(range(2, 11))
MAX_POINTS = 500  # for the distances between all of them; which ones is drawn
NUM_STARTS = 2  # of k-means, the better kept


def silhouettes(points: Points, *, seed: int = 0) -> dict[int, float]:
    """{k: mean silhouette of k-means with k clusters}, for each k of 2 to 10 for which there are distinct points enough."""
    possible = [k for k in NUMBERS_OF_CLUSTERS if k <= min(num_distinct(points), len(points) - 1)]
    distances = pairwise_distances(points)
    np.fill_diagonal(distances, 0.0)
    return {k: mean_silhouette(distances, _clusters(points, k, seed)) for k in possible}


def mean_silhouette(distances: Points, clusters: NDArray[np.integer[Any]]) -> float:
    """Mean silhouette of N points in clusters 0, 1, ... by their N x N distances; 0 for a point alone, as in scikit-learn.

    scikit-learn's own takes seven times as long or more: about a third of the time with 500 points.
    """
    members = np.eye(clusters.max() + 1)[clusters]  # N x k
    sums, sizes = distances @ members, members.sum(axis=0)
    own = sums[members > 0] / np.maximum(sizes[clusters] - 1, 1)
    other = np.where(members > 0, np.inf, sums / sizes).min(axis=1)
    longer = np.maximum(own, other)
    counted = (sizes[clusters] > 1) & (longer > 0)
    return float(np.divide(other - own, longer, out=np.zeros(len(own)), where=counted).mean())


def num_distinct(points: Points) -> int:
    """How many of N x D points differ by more than rounding."""
    return len(np.unique(np.round(points / (RANK_TOLERANCE * np.abs(points).max(initial=1e-300))), axis=0))


def _clusters(points: Points, k: int, seed: int) -> NDArray[np.int32]:
    return np.asarray(KMeans(k, n_init=NUM_STARTS, random_state=seed).fit_predict(points))


def some(points: Points, rng: np.random.Generator) -> Points:
    """At most `MAX_POINTS` of the points, drawn without replacement."""
    return points if len(points) <= MAX_POINTS else points[rng.choice(len(points), MAX_POINTS, replace=False)]


def best_silhouette(points: Points, *, seed: int = 0) -> float:
    """The largest over the numbers of clusters, on at most `MAX_POINTS` points."""
    return max(silhouettes(some(points, np.random.default_rng(seed)), seed=seed).values())


def silhouette_against_nulls(points: Points, *, seed: int = 0, num_nulls: int = NUM_NULLS) -> tuple[dict[str, Any], dict[str, Any]]:
    """Silhouettes by k, the best, and the best of the nulls; and the share of k at which both nulls are exceeded."""
    rng = np.random.default_rng(seed)
    coordinates = principal(some(points, rng))
    by_k = silhouettes(coordinates, seed=seed)
    nulls = {kind: [silhouettes(like(coordinates, rng), seed=seed) for _ in range(num_nulls)] for kind, like in NULLS.items()}
    best_k = max(by_k, key=lambda k: by_k[k])
    null = described({kind: interval([max(n.values()) for n in curves]) for kind, curves in nulls.items()}, "_best")
    above = [by_k[k] > _limit(nulls, k) for k in by_k]
    values = {"by_k": {str(k): v for k, v in by_k.items()}, "best_k": best_k, "best": by_k[best_k]}
    return {**values, **null}, {"fraction_above_null": float(np.mean(above))}


def _limit(nulls: dict[str, list[dict[int, float]]], k: int) -> float:
    """Upper limit of the strictest null at k clusters."""
    intervals = {kind: interval([n[k] for n in curves]) for kind, curves in nulls.items()}
    return intervals[strictest(intervals)]["high"]
