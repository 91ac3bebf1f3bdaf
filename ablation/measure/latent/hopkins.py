"""The Hopkins statistic of clustering against single clouds of the same mean and covariance. numpy and scipy only.

Two kinds of distances: u from random places to the nearest point, w from points to the nearest other point;
H = sum u^p / (sum u^p + sum w^p), nearer to 1 the more the points huddle together (Hopkins and Skellam, Annals of Botany 18, 1954).

In its textbook form the places are uniform in a box around the points and p is the number of dimensions (Wright, "Will the Real
Hopkins Statistic Please Stand Up?", R Journal 14, 2022). In 128 dimensions that is degenerate: the box is nearly empty, so that
any cloud with a middle counts as clustered, and the 128th power leaves the longest distance alone in the sum (H = 1.000 for a
Gaussian). Three changes:

- The places are drawn from the Gaussian of the points' own mean and covariance. Then 0.5 means "spread like a Gaussian", whichever.
- p = 1. Nothing is lost, as no formula for the null distribution is used: single clouds go through the same computation.
- Only the leading principal components count: in many dimensions all distances are alike, and noise hides the groups.

Tried on simulated posterior means, 400 x 128: five distant groups lay 47 to 57 null standard deviations above the Gaussians in this
way, 10 at most with a box; Student's t with 5 degrees of freedom, a single cloud, at 0.5 to 2.4, with a box at 11 to 16.

Two nulls, because one shape of a single cloud is not enough: Gaussians, and flat clouds, uniform along each principal component.
The posterior means of rendered faces are nearly flat along their longest component, and a flat cloud without any groups lies above
the Gaussians. The null that counts is the one with the higher upper limit, so that "above the null" means above both; the chance
to be so is then at most about 1 in 40 for either kind of cloud. Which one it was is `null_kind`, and both are given.

What it cannot tell: a single cloud that is bent, or denser at its ends, or much denser in its middle may also lie above both nulls,
and groups outside the leading components are not seen. It is therefore read together with the silhouettes. They in turn lie a
little too high for a cloud flat along its longest component and Gaussian along the others, which a flat null does not quite match
(simulated, 300 x 32, 82 % of the variance in one component: higher by 0.004, and above the limit in 8 of 60 samples, not in 1.5).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

Points = NDArray[np.float64]

# of the longest principal component, below which another is rounding: posterior means come in single precision
RANK_TOLERANCE = 1e-6
NUM_COMPONENTS = 5
NUM_NULLS = 40  # of each kind to compare with


def principal(points: Points) -> Points:
    """Principal coordinates of N x D points, centred, the longest component first: N x R, R the rank. Distances stay."""
    left, sizes, _ = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    kept = sizes > RANK_TOLERANCE * sizes.max(initial=1e-300)
    return np.asarray(left[:, kept] * sizes[kept], dtype=np.float64)


def gaussian_like(coordinates: Points, rng: np.random.Generator) -> Points:
    """A Gaussian sample with exactly the mean (0) and the sample covariance of N x R principal coordinates.

    Given its sample mean and covariance, a Gaussian sample is a random orthonormal frame, stretched; so samples drawn in this way
    are exchangeable with any Gaussian data, however few the images and many the dimensions (Langsrud, "Rotation tests",
    Statistics and Computing 15, 2005). Samples of a Gaussian with an *estimated* covariance are not: theirs spreads wider than
    the data's.
    """
    return _stretched(rng.standard_normal(coordinates.shape), coordinates)


def flat_like(coordinates: Points, rng: np.random.Generator) -> Points:
    """A cloud uniform along each of R principal coordinates, independently; mean (0) and sample covariance exactly those given.

    Correlations of the sample are removed in order of length: the longest component stays exactly uniform, the later ones have
    lost what they shared with those before them, and are the less uniform the more components there are for the images.
    """
    return _stretched(rng.uniform(-1, 1, coordinates.shape), coordinates)


NULLS: dict[str, Callable[[Points, np.random.Generator], Points]] = {"gaussian": gaussian_like, "flat": flat_like}


def _stretched(noise: Points, coordinates: Points) -> Points:
    """Noise, N x R, centred and made orthogonal column after column, with the lengths of the coordinates' columns."""
    frame, upper = np.linalg.qr(noise - noise.mean(axis=0))
    return np.asarray(frame * np.sign(np.diag(upper)) * np.linalg.norm(coordinates, axis=0))


def hopkins_of(points: Points, places: Points) -> float:
    """H of N x D points with M x D places, p = 1, sums replaced by means; 0.5 where every distance is 0."""
    tree = KDTree(points)
    from_places = float(tree.query(places)[0].mean())
    between = float(tree.query(points, k=2)[0][:, 1].mean())  # the first is the point itself, or its twin
    return from_places / (from_places + between) if from_places + between > 0 else 0.5


def hopkins(coordinates: Points, rng: np.random.Generator) -> float:
    """H of N x R centred principal coordinates, with N places from the Gaussian of their covariance."""
    spread = np.linalg.norm(coordinates, axis=0) / np.sqrt(len(coordinates) - 1)
    return hopkins_of(coordinates, rng.standard_normal(coordinates.shape) * spread)


def interval(values: Sequence[float]) -> dict[str, float]:
    """Mean and 2.5 to 97.5 % of values of the null, so that one new value in 40 lies above it by chance (needs 39 values or more).

    Hence quantiles at i / (n + 1): the usual ones at (i - 1) / (n - 1) are exceeded twice as often when n is 40.
    """
    low, high = np.quantile(values, [0.025, 0.975], method="weibull")
    return {"mean": float(np.mean(values)), "low": float(low), "high": float(high)}


def strictest(intervals: Mapping[str, Mapping[str, float]]) -> str:
    """The kind of null with the highest upper limit: what exceeds that exceeds all."""
    return max(intervals, key=lambda kind: intervals[kind]["high"])


def described(intervals: Mapping[str, Mapping[str, float]], suffix: str = "") -> dict[str, Any]:
    """{"null_kind", "null_mean", "null_low", "null_high"} of the strictest null, and the last three of every kind by its name."""
    kind = strictest(intervals)
    named = {"null": intervals[kind], **intervals}
    return {"null_kind": kind, **{f"{name}{suffix}_{k}": v for name, limits in named.items() for k, v in limits.items()}}


def hopkins_against_nulls(points: Points, *, seed: int = 0, num_nulls: int = NUM_NULLS) -> dict[str, Any]:
    """H of N x D points that are not all equal, {"value", "null_mean", ...}; clustered when above `null_high`.

    Also which null that is, both nulls, how many principal components it looked at and their share of the variance.
    """
    rng = np.random.default_rng(seed)
    coordinates = principal(points)
    variances = np.square(coordinates).sum(axis=0)
    leading = coordinates[:, :NUM_COMPONENTS]
    nulls = {kind: interval([hopkins(like(leading, rng), rng) for _ in range(num_nulls)]) for kind, like in NULLS.items()}
    return {
        "value": hopkins(leading, rng),
        **described(nulls),
        "num_components": leading.shape[1],
        "variance_share": float(variances[:NUM_COMPONENTS].sum() / variances.sum()),
    }
