"""t-SNE maps of the posterior means, and how far each may be trusted. numpy and scikit-learn only.

A t-SNE is evidence of nothing by itself: it makes clumps of a single Gaussian, its distances and the extent of its axes mean
nothing, and another perplexity gives another picture. It illustrates what the statistics of the latent space itself say. With
each map go its trustworthiness (Venna and Kaski 2001: 1 where no neighbour on the map is a stranger in the latent space), and
Hopkins statistic and silhouette of the *map*, beside those of a map of a Gaussian with the same mean and covariance: what t-SNE
makes of no clusters at all. That one null is enough for an illustration; flat clouds (`hopkins.NULLS`) are not mapped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import TSNE, trustworthiness

from ablation.measure.latent.clusters import best_silhouette
from ablation.measure.latent.hopkins import Points, gaussian_like, hopkins, principal

IMAGES_PER_PERPLEXITY = 3  # a perplexity above a third of the images calls most of them neighbours
TRUST_NEIGHBOURS = 10


def tsne(points: Points, perplexity: float, *, seed: int = 0) -> NDArray[np.float32]:
    """N x 2 map of N x D points, started from their first two principal components."""
    coordinates = principal(points)
    padded = np.pad(coordinates, ((0, 0), (0, max(0, 2 - coordinates.shape[1]))))  # two columns even where the points lie on a line
    model = TSNE(perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed)
    return np.asarray(model.fit_transform(padded), dtype=np.float32)


def describe_map(points: Points, flat: NDArray[np.float32], *, seed: int = 0) -> dict[str, Any]:
    """Trustworthiness, Hopkins statistic, best silhouette and extent of both axes (in no unit) of an N x 2 map of N x D points."""
    near = min(TRUST_NEIGHBOURS, (len(points) - 1) // 2)
    shape = flat.astype(np.float64)
    return {
        "trustworthiness": float(trustworthiness(points, flat, n_neighbors=near)),
        "hopkins": hopkins(principal(shape), np.random.default_rng(seed)),
        "silhouette": best_silhouette(shape, seed=seed),
        "axis_range": [float(extent) for extent in np.ptp(shape, axis=0)],
    }


def usable_perplexities(num_images: int, perplexities: Sequence[int]) -> tuple[list[int], dict[str, str]]:
    """Perplexities that so many images allow, and the reasons against the others as {"tsne_50": reason}."""
    least = {p: IMAGES_PER_PERPLEXITY * p for p in perplexities}
    refused = {f"tsne_{p}": f"perplexity {p} needs {n} images, there are {num_images}" for p, n in least.items() if n > num_images}
    return [p for p in perplexities if least[p] <= num_images], refused


def maps(
    points: Points, perplexities: Sequence[int], *, seed: int = 0, nulls: bool = True
) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
    """{perplexity: description} and {"tsne_PERPLEXITY": N x 2}; `nulls` maps a Gaussian as well, which takes as long again."""
    arrays = {f"tsne_{p}": tsne(points, p, seed=seed) for p in perplexities}
    described = {str(p): describe_map(points, arrays[f"tsne_{p}"], seed=seed) for p in perplexities}
    gaussian = gaussian_like(principal(points), np.random.default_rng(seed))
    for p in perplexities if nulls else ():
        null = describe_map(gaussian, tsne(gaussian, p, seed=seed), seed=seed)
        described[str(p)] |= {"null_hopkins": null["hopkins"], "null_silhouette": null["silhouette"]}
    return described, arrays
