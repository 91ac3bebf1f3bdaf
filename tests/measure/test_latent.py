"""Clustering, neighbourhoods, probes and maps of latent spaces against hand-derived numbers and data whose answer is known."""

from __future__ import annotations

import json
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import pdist
from sklearn.metrics import roc_auc_score, silhouette_score

from ablation.measure.latent import probes
from ablation.measure.latent.clusters import best_silhouette, mean_silhouette, num_distinct, silhouette_against_nulls, silhouettes
from ablation.measure.latent.hopkins import (
    NULLS,
    described,
    flat_like,
    gaussian_like,
    hopkins_against_nulls,
    hopkins_of,
    interval,
    principal,
    strictest,
)
from ablation.measure.latent.maps import describe_map, tsne, usable_perplexities
from ablation.measure.latent.probes import (
    LEAST_OF_A_CLASS,
    auc,
    auc_table,
    dimension_probes,
    gini,
    linear_probe,
    neighbour_probe,
    probe_attributes,
    split_attributes,
)
from ablation.measure.latent.purity import nearest_neighbours, neighbour_purity, purity
from ablation.measure.latent.summary import LatentAnalysis, analyse_latents
from ablation.stats import mean_estimate
from blocks.errors import InputError

Points = NDArray[np.float64]


def gaussian(kind: str, seed: int, n: int = 200) -> Points:
    """One Gaussian cloud."""
    rng = np.random.default_rng(seed)
    if kind == "64 equal dimensions":
        return rng.normal(size=(n, 64))
    if kind == "collapsing spectrum":
        return rng.normal(size=(n, 128)) * np.exp(-np.arange(128) / 8) + 3.0
    if kind == "correlated":
        return rng.normal(size=(n, 10)) @ rng.normal(size=(10, 30))
    return rng.normal(size=(60, 128))  # "fewer images than dimensions"


GAUSSIANS = ("64 equal dimensions", "collapsing spectrum", "correlated", "fewer images than dimensions")


def flat(seed: int, n: int = 200) -> Points:
    """One cloud, uniform along each of 16 axes of falling length, turned."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(16, 16)))[0]
    return (rng.uniform(-1, 1, size=(n, 16)) * np.exp(-np.arange(16) / 2)) @ turn


def flat_along_one(seed: int, n: int = 300) -> Points:
    """One cloud like the posterior means of rendered faces: uniform along an axis with 82 % of the variance, else Gaussian."""
    rng = np.random.default_rng(seed)
    spread = np.sqrt([0.82, 0.15, *np.full(30, 0.001)])
    points = rng.normal(size=(n, 32))
    points[:, 0] = rng.uniform(-np.sqrt(3), np.sqrt(3), n)
    return points * spread


def mixture(seed: int, *, groups: int = 4, distance: float = 9.0, dims: int = 32, n: int = 200) -> tuple[Points, NDArray[np.int64]]:
    """Gaussian balls of unit spread, centres at `distance` from the origin in random directions; and who belongs to which."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(groups, dims))
    centres *= distance / np.linalg.norm(centres, axis=1, keepdims=True)
    member = rng.integers(groups, size=n)
    return centres[member] + rng.normal(size=(n, dims)), member


# Hopkins


def test_hopkins_of_three_points_on_a_line_by_hand() -> None:
    # nearest other points at 1, 1, 2; the places 0.5 and 5 have their nearest points at 0.5 and 2
    expected = (2.5 / 2) / (2.5 / 2 + 4 / 3)
    assert hopkins_of(np.array([[0.0], [1.0], [3.0]]), np.array([[0.5], [5.0]])) == pytest.approx(expected)


def test_hopkins_is_1_for_twins_and_a_half_where_there_is_no_distance_at_all() -> None:
    assert hopkins_of(np.array([[0.0], [0.0], [4.0], [4.0]]), np.array([[1.0]])) == 1.0
    assert hopkins_of(np.zeros((3, 2)), np.zeros((2, 2))) == 0.5


def test_principal_coordinates_keep_distances_and_put_the_longest_first() -> None:
    points = gaussian("correlated", 0)
    coordinates = principal(points)
    assert coordinates.shape == (200, 10)
    np.testing.assert_allclose(pdist(coordinates), pdist(points), rtol=1e-9)
    np.testing.assert_allclose(np.square(coordinates).sum(0), 199 * np.linalg.eigvalsh(np.cov(points.T))[::-1][:10], rtol=1e-9)


@pytest.mark.parametrize("null_kind", sorted(NULLS))
@pytest.mark.parametrize("kind", GAUSSIANS)
def test_the_null_has_exactly_the_mean_and_covariance_of_the_data(kind: str, null_kind: str) -> None:
    coordinates = principal(gaussian(kind, 1))
    null = NULLS[null_kind](coordinates, np.random.default_rng(5))
    np.testing.assert_allclose(null.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(null.T @ null, coordinates.T @ coordinates, atol=1e-8 * np.square(coordinates).sum())
    assert np.abs(null - coordinates).max() > 0.1


def test_the_nulls_have_the_marginals_of_their_kind() -> None:
    coordinates, rng = principal(gaussian("correlated", 1, 4000)), np.random.default_rng(5)
    for like, kurtosis, longest in ((gaussian_like, 3.0, np.inf), (flat_like, 9 / 5, np.sqrt(3))):
        marginals = like(coordinates, rng) / (np.linalg.norm(coordinates, axis=0) / np.sqrt(4000))
        np.testing.assert_allclose((marginals**4).mean(axis=0), kurtosis, atol=0.4)
        assert np.abs(marginals[:, 0]).max() < longest * 1.05
    assert list(NULLS) == ["gaussian", "flat"]


@pytest.mark.parametrize(("flat_high", "kind"), [(0.59, "gaussian"), (0.61, "flat")])
def test_the_null_that_counts_is_the_one_with_the_higher_upper_limit_whatever_its_mean(flat_high: float, kind: str) -> None:
    nulls = {"gaussian": {"mean": 0.5, "low": 0.4, "high": 0.6}, "flat": {"mean": 0.55, "low": 0.45, "high": flat_high}}
    assert strictest(nulls) == kind
    result = described(nulls, "_best")
    assert result.pop("null_kind") == kind
    assert {key: result.pop(f"null_best_{key}") for key in ("mean", "low", "high")} == nulls[kind]
    assert result == {f"{name}_best_{key}": value for name, null in nulls.items() for key, value in null.items()}


def test_the_interval_of_40_values_ends_at_the_lowest_and_highest_but_for_a_little() -> None:
    result = interval([float(v) for v in range(1, 41)])
    assert result == {"mean": 20.5, "low": pytest.approx(0.025 * 41), "high": pytest.approx(0.975 * 41)}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("kind", GAUSSIANS)
def test_a_gaussian_is_not_clustered_whatever_its_covariance(kind: str, seed: int) -> None:
    points = gaussian(kind, seed)
    result = hopkins_against_nulls(points, seed=seed)
    assert result["value"] <= result["null_high"]
    assert result["gaussian_mean"] == pytest.approx(0.5, abs=0.02)


def test_silhouettes_of_8_gaussians_exceed_the_highest_of_10_others_as_seldom_as_chance() -> None:
    result = [silhouette_against_nulls(gaussian(kind, s), seed=s, num_nulls=10) for kind in GAUSSIANS for s in (0, 1)]
    above = [cut["best"] > cut["gaussian_best_high"] for cut, _ in result]
    assert sum(above) <= 3  # one in 11 each: 4 or more come once in 280
    assert not any(cut["best"] > cut["null_best_high"] and not seen for (cut, _), seen in zip(result, above, strict=True))
    assert np.mean([share["fraction_above_null"] for _, share in result]) < 0.2


def draws(kind: str, seed: int) -> tuple[Points, str]:
    """A cloud, and the null that is of its kind."""
    return (flat(seed, 100), "flat") if kind == "flat" else (gaussian(kind, seed, 100), "gaussian")


@pytest.mark.parametrize("kind", [*GAUSSIANS, "flat"])
def test_hopkins_exceeds_the_interval_of_its_own_kind_for_about_one_cloud_in_40(kind: str) -> None:
    result, own = [hopkins_against_nulls(draws(kind, seed)[0], seed=seed) for seed in range(40)], draws(kind, 0)[1]
    above = sum(f["value"] > f[f"{own}_high"] for f in result)
    below = sum(f["value"] < f[f"{own}_low"] for f in result)
    assert above <= 5 and below <= 5  # 1 is expected; 6 or more come once in 2,200
    assert sum(f["value"] > f[f"{own}_mean"] for f in result) in range(10, 31)  # once in 1,500 for a fair coin
    assert sum(f["value"] > f["null_high"] for f in result) <= above


def test_silhouettes_of_5_flat_clouds_exceed_the_highest_of_10_others_as_seldom_as_chance() -> None:
    result = [silhouette_against_nulls(flat(seed), seed=seed, num_nulls=10) for seed in range(5)]
    assert sum(cut["best"] > cut["flat_best_high"] for cut, _ in result) <= 2  # one in 11 each: 3 or more come once in 150
    assert sum(cut["best"] > cut["gaussian_best_high"] for cut, _ in result) >= 4  # what Gaussians alone would have called clusters
    assert np.mean([share["fraction_above_null"] for _, share in result]) < 0.2


@pytest.mark.parametrize("seed", [0, 1])
def test_one_cloud_flat_along_its_longest_axis_is_clustered_for_gaussians_alone_but_not_for_both_nulls(seed: int) -> None:
    points = flat_along_one(seed)
    result, (cut, share) = hopkins_against_nulls(points, seed=seed), silhouette_against_nulls(points, seed=seed, num_nulls=10)
    assert result["gaussian_high"] < result["value"] <= result["null_high"]
    assert cut["gaussian_best_high"] < cut["best"] <= cut["null_best_high"]
    assert result["null_kind"] == cut["null_kind"] == "flat"
    assert share["fraction_above_null"] < 0.5


def test_a_box_of_uniform_places_would_call_a_gaussian_clustered() -> None:
    # why places come from a Gaussian: the same points against the textbook's null
    points, rng = gaussian("64 equal dimensions", 0), np.random.default_rng(0)
    low, high = points.min(axis=0), points.max(axis=0)
    null = [hopkins_of(rng.uniform(low, high, points.shape), rng.uniform(low, high, points.shape)) for _ in range(10)]
    assert hopkins_of(points, rng.uniform(low, high, points.shape)) > max(null) + 0.05


@pytest.mark.parametrize("groups", [2, 4, 8])
def test_separated_groups_are_clustered(groups: int) -> None:
    points, _ = mixture(groups, groups=groups)
    result = hopkins_against_nulls(points)
    assert result["value"] > result["null_high"]
    cut, share = silhouette_against_nulls(points, num_nulls=10)
    assert cut["best"] > cut["null_best_high"] and cut["best_k"] == groups
    assert share["fraction_above_null"] >= 1 / 9


def test_farther_groups_are_more_clustered() -> None:
    values = [hopkins_against_nulls(mixture(0, distance=d)[0])["value"] for d in (0.0, 6.0, 12.0)]
    assert values == sorted(values) and values[2] - values[0] > 0.1


# silhouettes


def test_the_silhouette_of_two_pairs_by_hand() -> None:
    # for 0: own 1, other (10 + 11) / 2; for 1: own 1, other (9 + 10) / 2; the right pair mirrors them
    result = silhouettes(np.array([[0.0], [1.0], [10.0], [11.0]]))
    assert result[2] == pytest.approx((9.5 / 10.5 + 8.5 / 9.5) / 2)
    assert list(result) == [2, 3]


def test_the_mean_silhouette_agrees_with_scikit_learn_points_alone_and_twins_included() -> None:
    rng = np.random.default_rng(0)
    points = np.repeat(rng.normal(size=(20, 3)), 2, axis=0)
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    for clusters in (rng.integers(0, 5, 40), np.array([0, 1] + [2] * 38), np.arange(40) % 2):
        expected = silhouette_score(distances, clusters, metric="precomputed")
        assert mean_silhouette(distances, clusters) == pytest.approx(expected, abs=1e-12)


def test_points_that_coincide_count_once_and_limit_the_clusters() -> None:
    points = np.repeat(np.random.default_rng(0).normal(size=(4, 6)), 10, axis=0)
    points[::2] += 1e-12
    assert num_distinct(points) == 4
    assert list(silhouettes(principal(points))) == [2, 3, 4]
    assert silhouettes(points)[4] == pytest.approx(1.0)


def test_the_best_silhouette_is_that_of_the_true_number_of_groups() -> None:
    points, _ = mixture(3, groups=3, n=700)
    assert best_silhouette(points) == pytest.approx(silhouettes(points)[3], abs=0.02)


# purity


def test_purity_of_points_on_a_line_by_hand() -> None:
    # nearest two of each, among 0 1 2 10 11 12 with labels 1 1 0 0 0 0
    points, labels = np.array([[0.0], [1.1], [2.0], [10.0], [11.1], [12.0]]), np.array([[1, 1, 0, 0, 0, 0]], dtype=np.uint8).T
    neighbours = nearest_neighbours(points, 2)
    assert [set(row) for row in neighbours.tolist()] == [{1, 2}, {0, 2}, {0, 1}, {4, 5}, {3, 5}, {3, 4}]
    # positives see 1/2 and 1/2, negatives 0, 1, 1, 1
    assert purity(neighbours, labels)[0] == pytest.approx((1 / 2 + 3 / 4) / 2)


def test_neighbours_leave_out_the_point_itself_and_are_at_most_all_others() -> None:
    neighbours = nearest_neighbours(np.zeros((5, 2)))
    assert neighbours.shape == (5, 4)
    assert nearest_neighbours(gaussian("correlated", 0)).shape == (200, 10)
    assert all(n not in row for n, row in enumerate(nearest_neighbours(gaussian("correlated", 0)).tolist()))


def test_groups_are_pure_and_shuffled_labels_are_not_however_rare() -> None:
    points, member = mixture(0, n=300)
    rare = np.arange(300) < 15
    labels = np.stack([member == 0, rare], axis=1).astype(np.uint8)
    result = neighbour_purity(points, labels, ("group", "rare"))
    assert result["group"]["value"] > 0.99
    assert result["rare"]["value"] == pytest.approx(0.5, abs=0.05)
    assert all(f["shuffled"] == pytest.approx(0.5, abs=0.03) for f in result.values())


# probes


def test_auc_agrees_with_scikit_learn_ties_included() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 6, size=(80, 4)).astype(float), rng.integers(0, 2, size=(80, 3)).astype(np.uint8)
    expected = [[roc_auc_score(labels[:, a], scores[:, d]) for d in range(4)] for a in range(3)]
    np.testing.assert_allclose(auc_table(scores, labels), expected, rtol=1e-12)
    assert auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1], dtype=np.uint8)) == 0.75


def test_linear_probe_of_two_gaussians_has_the_auc_of_theory() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(3000) < 0.2).astype(np.uint8)
    points = rng.normal(size=(3000, 4)) * [1, 1, 1, 0.001]
    points[:, 0] += 1.5 * labels
    area, accuracy = linear_probe(points, labels)
    assert area == pytest.approx(NormalDist().cdf(1.5 / np.sqrt(2)), abs=0.015)
    assert accuracy == pytest.approx(NormalDist().cdf(0.75), abs=0.02)


def test_linearly_separable_labels_are_read_without_error() -> None:
    rng = np.random.default_rng(1)
    points = rng.normal(size=(400, 20))
    direction = rng.normal(size=20)
    kept = np.abs(points @ direction) > 1.5
    assert linear_probe(points[kept], (points[kept] @ direction > 0).astype(np.uint8))[0] > 0.99


def test_random_labels_are_not_read_even_with_more_dimensions_than_images() -> None:
    rng = np.random.default_rng(2)
    points, labels = rng.normal(size=(100, 128)), rng.integers(0, 2, size=(100, 8)).astype(np.uint8)
    result = probe_attributes(points, labels, [f"a{n}" for n in range(8)])
    for key in ("linear_auc", "linear_balanced_accuracy", "knn_auc", "knn_balanced_accuracy", "shuffled_auc"):
        assert np.mean([f[key] for f in result.values()]) == pytest.approx(0.5, abs=0.07)  # three standard deviations
    assert 0.02 < np.mean([f["shuffled_auc_sd"] for f in result.values()]) < 0.12


def test_neighbours_read_a_ring_that_no_line_does() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, size=300).astype(np.uint8)
    angles, radii = rng.uniform(0, 2 * np.pi, 300), 1.0 + 2.0 * labels + 0.1 * rng.normal(size=300)
    points = radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    assert neighbour_probe(distances, labels) == (1.0, 1.0)
    assert linear_probe(points, labels)[0] < 0.65


def test_attributes_with_too_few_of_a_class_are_named_with_the_number() -> None:
    labels = np.zeros((30, 4), dtype=np.uint8)
    labels[:10, 0], labels[:9, 1], labels[:21, 2] = 1, 1, 1
    usable, refused = split_attributes(labels, ("enough", "rare", "common", "never"))
    assert LEAST_OF_A_CLASS == 10 and usable == [0]
    assert refused == {
        "rare": "9 of 30 images are with it, at least 10 are needed",
        "common": "9 of 30 images are without it, at least 10 are needed",
        "never": "0 of 30 images are with it, at least 10 are needed",
    }


# single dimensions


def test_gini_by_hand_and_of_noise() -> None:
    assert gini(np.array([0.0, 0.0, 0.0, 1.0])) == pytest.approx(0.75)
    assert gini(np.array([0.3, 0.3, 0.3])) == pytest.approx(0.0)
    assert gini(np.array([3.0, 1.0])) == pytest.approx(0.25)
    assert gini(np.zeros(5)) == 0.0
    assert gini(np.abs(np.random.default_rng(0).normal(size=20_000))) == pytest.approx(np.sqrt(2) - 1, abs=0.01)


def test_an_attribute_on_one_dimension_leads_and_a_rotated_one_does_not() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, size=(500, 1)).astype(np.uint8)
    points = rng.normal(size=(500, 2))
    points[:, 1] -= 4.0 * labels[:, 0]
    turned = points @ np.array([[1.0, 1.0], [-1.0, 1.0]]) / np.sqrt(2)
    straight, rotated = dimension_probes(points, labels, ("a",)), dimension_probes(turned, labels, ("a",))
    assert straight["by_attribute"]["a"]["best_dim"] == 1
    assert straight["best_auc_mean"] == pytest.approx(1 - roc_auc_score(labels[:, 0], points[:, 1]))
    assert straight["gap_mean"] > 0.4 and rotated["gap_mean"] < 0.05
    assert straight["shuffled_best_auc_mean"] < 0.6


def test_one_dimension_leads_over_nothing() -> None:
    labels = np.array([[0], [1], [0], [1]], dtype=np.uint8)
    result = dimension_probes(np.array([[0.0], [1.0], [0.5], [2.0]]), labels, ("a",))["by_attribute"]["a"]
    assert result == {"best_dim": 0, "best_auc": 1.0, "gap": 0.5, "gini": 0.0}


# maps


def test_a_map_keeps_separated_groups_and_is_more_trustworthy_than_a_shuffled_one() -> None:
    points, member = mixture(0, groups=3, n=90)
    flat = tsne(points, 10)
    assert flat.shape == (90, 2) and flat.dtype == np.float32
    result = describe_map(points, flat)
    assert purity(nearest_neighbours(flat.astype(float)), (member == 0).astype(np.uint8)[:, None])[0] > 0.95
    assert result["axis_range"] == pytest.approx([float(np.ptp(flat[:, 0])), float(np.ptp(flat[:, 1]))])
    assert result["trustworthiness"] > describe_map(points, np.random.default_rng(0).permutation(flat))["trustworthiness"] + 0.2
    assert result["hopkins"] > 0.6 and result["silhouette"] > 0.6


def test_perplexities_above_a_third_of_the_images_are_refused_by_name() -> None:
    assert usable_perplexities(90, (10, 30, 31)) == ([10, 30], {"tsne_31": "perplexity 31 needs 93 images, there are 90"})


def test_points_on_a_line_have_a_map() -> None:
    assert np.isfinite(tsne(np.linspace(0, 1, 40)[:, None], 5)).all()


# the whole

# leaves out what takes long and a test does not look at
SHORT: dict[str, Any] = {"attributes": None, "attribute_names": (), "perplexities": ()}


def analysed(n: int = 60, dims: int = 12, **changes: Any) -> LatentAnalysis:
    """An analysis of a mixture with two attributes that it tells and one that is too rare."""
    points, member = mixture(0, n=n, dims=dims)
    labels = np.stack([member < 2, points[:, 0] > 0, np.arange(n) < 3], axis=1).astype(np.uint8)
    values: dict[str, Any] = {
        "mean": points.astype(np.float32),
        "kl_per_dim": [0.5] * dims,
        "attributes": labels,
        "attribute_names": ("group", "half", "rare"),
        "perplexities": (5, 50),
        "num_nulls": 5,
    }
    return analyse_latents(**{**values, **changes})


@cache
def default() -> LatentAnalysis:
    """The analysis with nothing changed, made once."""
    return analysed()


def test_the_analysis_has_every_key_of_its_kind_and_is_plain_json() -> None:
    result = default()
    values = json.loads(json.dumps(result.values, allow_nan=False))
    assert values == result.values
    assert set(values) == {
        *("num_images", "num_dims", "active_units", "kl_per_dim", "kl_total", "hopkins", "silhouette", "clusters", "tsne"),
        *("num_probed", "not_probed", "purity", "purity_mean", "purity_shuffled_mean", "probes", "linear_auc_mean", "knn_auc_mean"),
        *("shuffled_auc_mean", "dimension_probes"),
    }
    limits = ("mean", "low", "high")
    nulls = {f"{name}_{limit}" for name in ("null", "gaussian", "flat") for limit in limits}
    assert set(values["hopkins"]) == {"value", "null_kind", "num_components", "variance_share"} | nulls
    expected = {"by_k", "best_k", "best", "null_kind"} | {null.replace("_", "_best_") for null in nulls}
    assert set(values["silhouette"]) == expected and values["silhouette"]["best"] == values["silhouette"]["by_k"]["4"]
    assert set(values["tsne"]["5"]) == {
        *("trustworthiness", "hopkins", "silhouette", "axis_range", "null_hopkins", "null_silhouette")
    }
    assert result.arrays["tsne_5"].shape == (60, 2)
    assert result.not_computed == {"tsne_50": "perplexity 50 needs 150 images, there are 60"}


def test_the_analysis_agrees_with_its_parts() -> None:
    values = default().values
    assert (values["num_images"], values["num_dims"], values["kl_total"]) == (60, 12, pytest.approx(6.0))
    assert values["num_probed"] == 2 and list(values["not_probed"]) == ["rare"]
    assert list(values["probes"]) == list(values["purity"]) == ["group", "half"]
    assert values["linear_auc_mean"] == pytest.approx(np.mean([p["linear_auc"] for p in values["probes"].values()]))
    assert values["purity_mean"] == pytest.approx(np.mean([p["value"] for p in values["purity"].values()]))
    assert values["probes"]["group"]["linear_auc"] > 0.95


def test_the_same_seed_gives_the_same_analysis_and_another_seed_another() -> None:
    first, again, other = default(), analysed(), analysed(seed=1, **SHORT)
    assert first.values == again.values
    assert all(np.array_equal(first.arrays[key], again.arrays[key]) for key in first.arrays)
    assert first.values["hopkins"] != other.values["hopkins"]


def test_only_the_first_images_are_looked_at() -> None:
    whole = default()
    points, member = mixture(0, n=60, dims=12)
    more = np.concatenate([points, points + 100]).astype(np.float32)
    labels = np.tile(np.stack([member < 2, points[:, 0] > 0, np.arange(60) < 3], axis=1).astype(np.uint8), (2, 1))
    assert analysed(mean=more, attributes=labels, max_images=60).values == whole.values


def test_active_units_are_dimensions_whose_mean_varies_by_more_than_a_hundredth() -> None:
    spread = np.array([1.0, 0.11, 0.09, 0.0])
    points = np.random.default_rng(0).choice([-1.0, 1.0], size=(60, 4)) + 1e-3 * np.random.default_rng(1).normal(size=(60, 4))
    points = (points - points.mean(axis=0)) / points.std(axis=0) * spread
    assert analysed(mean=points, kl_per_dim=[1.0, 0.1, 0.1, 0.0], **SHORT).values["active_units"] == 2


def test_without_attributes_the_rest_is_computed_and_the_reason_given() -> None:
    result = analysed(attributes=None, attribute_names=(), perplexities=(5,), null_maps=False)
    assert result.not_computed == {"attributes": "the data has no attributes"}
    assert "hopkins" in result.values and not {"probes", "purity", "num_probed", "linear_auc_mean"} & set(result.values)
    assert "null_hopkins" not in result.values["tsne"]["5"]


def test_attributes_that_are_all_equal_are_named_and_nothing_is_probed() -> None:
    result = analysed(attributes=np.ones((60, 3), dtype=np.uint8), perplexities=())
    assert result.values["num_probed"] == 0 and set(result.values["not_probed"]) == {"group", "half", "rare"}
    assert {"purity", "probes", "dimension_probes"} <= set(result.not_computed)
    assert "linear_auc_mean" not in result.values


@pytest.mark.parametrize("level", [0.0, 1.7])
def test_a_collapsed_posterior_is_said_and_does_not_crash(level: float) -> None:
    jitter = 1e-8 * np.random.default_rng(0).normal(size=(60, 12))
    result = analysed(mean=(level + jitter).astype(np.float32), kl_per_dim=[0.0] * 12)
    assert (result.values["active_units"], result.values["kl_total"]) == (0, 0.0)
    assert set(result.not_computed) == {"hopkins", "silhouette", "tsne", "purity", "probes", "dimension_probes"}
    assert "collapse" in result.not_computed["hopkins"] and not result.arrays


def test_constant_dimensions_change_nothing_that_rests_on_distances() -> None:
    points, _ = mixture(0, n=60, dims=12)
    wider = np.concatenate([points, np.full((60, 3), 0.25)], axis=1).astype(np.float32)
    result, narrow = analysed(mean=wider, kl_per_dim=[0.5] * 15, perplexities=()).values, default().values
    assert result["hopkins"].pop("null_kind") == narrow["hopkins"]["null_kind"]
    assert result["hopkins"] == pytest.approx({key: narrow["hopkins"][key] for key in result["hopkins"]}, rel=1e-5)
    assert result["purity"] == narrow["purity"]
    assert result["linear_auc_mean"] == pytest.approx(narrow["linear_auc_mean"], abs=1e-6)


def test_a_single_dimension_can_be_analysed() -> None:
    result = analysed(mean=np.random.default_rng(0).normal(size=(60, 1)), kl_per_dim=[1.0], null_maps=False)
    assert result.values["hopkins"]["num_components"] == 1 and np.isfinite(result.arrays["tsne_5"]).all()


def test_more_dimensions_than_images_can_be_analysed() -> None:
    result = analysed(n=30, dims=128, **SHORT)
    assert result.values["hopkins"]["value"] > result.values["hopkins"]["null_high"]


def test_too_few_images_and_too_few_different_means_are_said() -> None:
    few = analysed(n=19, attributes=None, attribute_names=())
    assert few.not_computed["hopkins"] == "20 images are needed, there are 19" and "attributes" in few.not_computed
    repeated = np.tile(np.random.default_rng(0).normal(size=(3, 12)), (20, 1))
    assert analysed(mean=repeated).not_computed["tsne"] == "20 different posterior means are needed, the 60 images have 3"
    assert analysed(n=1).values["num_images"] == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mean": np.zeros(5)}, "mean"),
        ({"mean": np.zeros((0, 12))}, "mean"),
        ({"mean": np.full((60, 12), np.nan)}, "diverged"),
        ({"kl_per_dim": [0.5] * 3}, "each of the 12 dimensions"),
        ({"attributes": np.zeros((59, 3), dtype=np.uint8)}, "60 images x 3 names"),
        ({"attribute_names": ("group",)}, "60 images x 1 names"),
        ({"attributes": np.full((60, 3), -1)}, "0 or 1"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        analysed(**changes)


def _two_classes(rng: np.random.Generator, num: int = 60) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    labels = (rng.random((num, 3)) < 0.4).astype(np.uint8)
    labels[:10], labels[10:20] = 1, 0  # enough of both classes
    return rng.normal(size=(num, 4)) + labels[:, [0, 1, 2, 0]], labels


def test_auc_by_image_has_the_mean_of_the_probes() -> None:
    points, labels = _two_classes(np.random.default_rng(2))
    result = probes.auc_by_image(points, labels, seed=3)
    assert result.shape == (60,)
    expected = np.mean([probes.linear_probe(points, column, seed=3)[0] for column in labels.T])
    assert result.mean() == pytest.approx(expected)


def test_auc_by_image_has_delong_s_variance() -> None:
    """Of one fold by hand: the variance of placements in each class over its size (DeLong et al. 1988, equations 5 to 7)."""
    rng = np.random.default_rng(4)
    scores, labels = rng.normal(size=40), np.repeat([0, 1], [25, 15]).astype(np.uint8)
    scores[labels == 1] += 1
    positive, negative = scores[labels == 1], scores[labels == 0]
    shares = [(p > negative).mean() for p in positive], [(positive > n).mean() for n in negative]
    variance = sum(np.var(values, ddof=1) / len(values) for values in shares)
    deviations = probes._deviations(scores, labels)
    assert (deviations**2).sum() == pytest.approx(variance)
    assert deviations.sum() == pytest.approx(0)


def test_interval_of_two_spaces_over_images_is_not_too_narrow() -> None:
    """Fresh images each time, probes that read nothing, where what fitting adds is most: the difference is 0."""
    rng, hits = np.random.default_rng(6), 0
    labels = np.repeat([0, 1], 30).astype(np.uint8)[:, None]
    for _ in range(150):
        first, second = (probes.auc_by_image(rng.normal(size=(60, 2)), labels) for _ in range(2))
        hits += mean_estimate(second - first).contains(0)
    assert hits >= 150 * 0.95 - 3 * (150 * 0.95 * 0.05) ** 0.5
