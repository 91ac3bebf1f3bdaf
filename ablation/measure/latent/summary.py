"""All measures of one latent space, from the posterior means of test images. numpy and scikit-learn only, no torch.

`analyse_latents` gives plain values for a trial's analysis, arrays to be drawn, and the reason for each measure that is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablation.measure.latent.clusters import num_distinct, silhouette_against_nulls
from ablation.measure.latent.hopkins import NUM_NULLS, Points, hopkins_against_nulls
from ablation.measure.latent.maps import maps, usable_perplexities
from ablation.measure.latent.probes import LEAST_OF_A_CLASS, auc_by_image, dimension_probes, probe_attributes, split_attributes
from ablation.measure.latent.purity import Labels, neighbour_purity
from blocks.errors import must_be

ACTIVE_VARIANCE = 0.01  # of the posterior mean over the images, above which a dimension is active: Burda et al. 2016, section 5.2
# standard deviation of the widest dimension, in units of the prior's, below which the means do not vary but for rounding
STILL = 1e-6
MIN_IMAGES = 20  # with different posterior means
STRUCTURE = ("hopkins", "silhouette", "tsne")
PROBED = ("purity", "probes", "dimension_probes")
NO_ATTRIBUTES = {"attributes": "the data has no attributes"}


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentAnalysis:
    """What was found in one latent space."""

    values: dict[str, Any]  # plain JSON values: the "latent" part of a trial's analysis
    # "tsne_30" and the like, N x 2, in the order of the images
    arrays: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    not_computed: dict[str, str] = field(default_factory=dict)  # measure -> why it is not among the values
    # "linear_auc": values by image whose mean is that of the values
    per_image: dict[str, list[float]] = field(default_factory=dict)


def analyse_latents(
    mean: NDArray[np.floating[Any]],
    kl_per_dim: Sequence[float],
    attributes: Labels | None,
    attribute_names: Sequence[str],
    *,
    seed: int = 0,
    perplexities: Sequence[int] = (10, 30, 50),
    max_images: int = 1000,
    null_maps: bool = True,
    num_nulls: int = NUM_NULLS,
) -> LatentAnalysis:
    """Every measure of the first `max_images` posterior means (N x D) of held-out images and attributes (N x A of 0 and 1, or
    None).

    They are in random order, so that the first are a fair sample; a figure's rows are then the first rows of the data. KL
    is that of all of them, in nats, and is passed through. `null_maps` maps a Gaussian beside each t-SNE, for as much time
    again; `num_nulls` clouds of each kind (Gaussian, flat) give the intervals. The same seed gives the same result. InputError for
    shapes that do not fit, means that are not finite, and attributes other than 0 and 1.
    """
    _check(mean, kl_per_dim, attributes, attribute_names)
    points = np.asarray(mean[:max_images], dtype=np.float64)
    labels = None if attributes is None else np.asarray(attributes[:max_images])
    values = _basics(points, kl_per_dim)
    if reason := _no_structure(points):
        return LatentAnalysis(values=values, not_computed=_all_missing(reason, labels))
    values["hopkins"] = hopkins_against_nulls(points, seed=seed, num_nulls=num_nulls)
    values["silhouette"], values["clusters"] = silhouette_against_nulls(points, seed=seed, num_nulls=num_nulls)
    usable, not_computed = usable_perplexities(len(points), perplexities)
    values["tsne"], arrays = maps(points, usable, seed=seed, nulls=null_maps)
    read, unread = _attributes(points, labels, attribute_names, seed)
    per_image = {}
    if labels is not None and "probes" in read:
        per_image["linear_auc"] = auc_by_image(points, labels[:, split_attributes(labels, attribute_names)[0]], seed=seed).tolist()
    return LatentAnalysis(values=values | read, arrays=arrays, not_computed=not_computed | unread, per_image=per_image)


def _all_missing(reason: str, labels: Labels | None) -> dict[str, str]:
    """One reason for every measure, beside that against attributes."""
    return dict.fromkeys(STRUCTURE, reason) | (NO_ATTRIBUTES if labels is None else dict.fromkeys(PROBED, reason))


def _basics(points: Points, kl_per_dim: Sequence[float]) -> dict[str, Any]:
    """Counts, active units and KL, which exist for any latent space."""
    kl = [float(value) for value in kl_per_dim]
    return {
        "num_images": len(points),
        "num_dims": points.shape[1],
        "active_units": int((points.var(axis=0) > ACTIVE_VARIANCE).sum()),
        "kl_per_dim": kl,
        "kl_total": sum(kl),
    }


def _no_structure(points: Points) -> str:
    """Why there is nothing to look at, or nothing."""
    if len(points) < MIN_IMAGES:
        return f"{MIN_IMAGES} images are needed, there are {len(points)}"
    if points.std(axis=0).max() < STILL:
        return "the posterior means of all images are the same (posterior collapse)"
    if (distinct := num_distinct(points)) < MIN_IMAGES:
        return f"{MIN_IMAGES} different posterior means are needed, the {len(points)} images have {distinct}"
    return ""


def _attributes(points: Points, labels: Labels | None, names: Sequence[str], seed: int) -> tuple[dict[str, Any], dict[str, str]]:
    """All that needs attributes, and the reason where there are none or none has enough images of both classes."""
    if labels is None:
        return {}, dict(NO_ATTRIBUTES)
    columns, not_probed = split_attributes(labels, names)
    counts = {"num_probed": len(columns), "not_probed": not_probed}
    if not columns:
        reason = f"no attribute has {LEAST_OF_A_CLASS} images with it and {LEAST_OF_A_CLASS} without it"
        return counts, dict.fromkeys(PROBED, reason)
    chosen, held = tuple(names[c] for c in columns), labels[:, columns]
    purity = neighbour_purity(points, held, chosen, seed=seed)
    probes = probe_attributes(points, held, chosen, seed=seed)
    return {
        **counts,
        "purity": purity,
        "purity_mean": _mean(purity, "value"),
        "purity_shuffled_mean": _mean(purity, "shuffled"),
        "probes": probes,
        **{f"{key}_mean": _mean(probes, key) for key in ("linear_auc", "knn_auc", "shuffled_auc")},
        "dimension_probes": dimension_probes(points, held, chosen, seed=seed),
    }, {}


def _mean(by_attribute: dict[str, dict[str, float]], key: str) -> float:
    return float(np.mean([values[key] for values in by_attribute.values()]))


def _check(mean: NDArray[Any], kl_per_dim: Sequence[float], attributes: NDArray[Any] | None, names: Sequence[str]) -> None:
    """InputError unless everything fits together."""
    if mean.ndim != 2 or 0 in mean.shape or not np.isfinite(mean).all():
        raise must_be(
            "mean", "an N x D table of finite numbers", mean.shape, "A network that diverged has no latent space to judge."
        )
    if len(kl_per_dim) != mean.shape[1]:
        raise must_be("kl_per_dim", f"one value for each of the {mean.shape[1]} dimensions", len(kl_per_dim))
    if attributes is None:
        return
    if attributes.shape != (len(mean), len(names)):
        raise must_be("attributes", f"a table of {len(mean)} images x {len(names)} names", attributes.shape)
    if not np.isin(attributes, (0, 1)).all():
        raise must_be("attributes", "0 or 1", sorted(set(np.unique(attributes).tolist()) - {0, 1}))
