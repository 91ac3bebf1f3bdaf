"""Neighbour purity: do images with the same attribute lie side by side in the latent space? numpy and scikit-learn only.

For each attribute the share of an image's nearest neighbours that have the image's own label, averaged over the images of each
class and then over both classes, so that a rare attribute is not pure by being rare: 0.5 by chance, 1 where the classes lie
apart. Distances are Euclidean on the posterior means as they are, since the prior gives every dimension the same scale:
standardising would make a collapsed dimension's noise as loud as the rest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

NUM_NEIGHBOURS = 10
NUM_SHUFFLES = 10  # of the labels over the images, all attributes together, so that what goes with what stays

Labels = NDArray[np.uint8]


def nearest_neighbours(points: NDArray[np.float64], num_neighbours: int = NUM_NEIGHBOURS) -> NDArray[np.int64]:
    """N x K indices of the nearest other points, nearest first; K is cut to N - 1."""
    search = NearestNeighbors(n_neighbors=min(num_neighbours, len(points) - 1), algorithm="brute").fit(points)
    return np.asarray(search.kneighbors(return_distance=False), dtype=np.int64)


def purity(neighbours: NDArray[np.int64], labels: Labels) -> NDArray[np.float64]:
    """Purity of each column of labels, N x A of 0 and 1 with both in every column: A values in 0..1."""
    same = (labels[neighbours] == labels[:, None]).mean(axis=1)  # N x K x A -> N x A
    return np.mean([np.average(same, axis=0, weights=labels == value) for value in (0, 1)], axis=0)


def neighbour_purity(
    points: NDArray[np.float64], labels: Labels, names: tuple[str, ...], *, seed: int = 0
) -> dict[str, dict[str, float]]:
    """{attribute: {"value", "shuffled"}}, the latter the mean over shuffles of the labels."""
    rng = np.random.default_rng(seed)
    neighbours = nearest_neighbours(points)
    values = purity(neighbours, labels)
    shuffled = np.mean([purity(neighbours, rng.permutation(labels)) for _ in range(NUM_SHUFFLES)], axis=0)
    return {name: {"value": float(v), "shuffled": float(s)} for name, v, s in zip(names, values, shuffled, strict=True)}
