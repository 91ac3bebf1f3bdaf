"""Hypervolume by slabs against counted cells, Optuna's own, and sampling."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from optuna._hypervolume import compute_hypervolume

from ablation.search.hypervolume import expected_gain, hypervolume
from blocks.errors import InputError

REFERENCE = np.array([1.0, 1.0, 1.0])
Values = NDArray[np.float64]


def counted(points: Values, reference: Values) -> float:
    """Inclusion and exclusion over all subsets of points."""
    total = 0.0
    for size in range(1, len(points) + 1):
        for subset in itertools.combinations(points, size):
            total -= (-1) ** size * float(np.prod(np.maximum(reference - np.max(subset, axis=0), 0)))
    return total


@pytest.mark.parametrize("seed", range(5))
def test_hypervolume_is_that_of_inclusion_and_exclusion(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(-0.2, 1.2, (9, 3))
    assert hypervolume(points, REFERENCE) == pytest.approx(counted(points, REFERENCE))


def test_hypervolume_of_many_points_is_optunas() -> None:
    rng = np.random.default_rng(0)
    points = np.round(rng.uniform(0, 1, (200, 3)), 1)  # with many ties
    inside = points[(points < 1).all(axis=1)]
    assert hypervolume(points, REFERENCE) == pytest.approx(compute_hypervolume(inside, REFERENCE))


def test_by_hand() -> None:
    assert hypervolume([], REFERENCE) == 0
    assert hypervolume([[0.5, 0.5, 0.5]], REFERENCE) == pytest.approx(0.125)
    assert hypervolume([[0.5, 0.5, 0.5]] * 3, REFERENCE) == pytest.approx(0.125)
    assert hypervolume([[0.5, 0.5, 0.5], [0.25, 0.5, 0.75]], REFERENCE) == pytest.approx(0.125 + 0.25 * 0.5 * 0.25)
    assert hypervolume([[0.5, 0.5, 1.0], [2.0, 0.0, 0.0]], REFERENCE) == 0


@pytest.mark.parametrize("num_points", [0, 1, 12])
def test_gain_of_a_known_loss_is_the_difference_of_volumes(num_points: int) -> None:
    rng = np.random.default_rng(num_points)
    front, candidates = np.round(rng.uniform(0, 1, (num_points, 3)), 2), np.round(rng.uniform(-0.1, 1.1, (40, 3)), 2)
    before = hypervolume(front, REFERENCE)
    differences = [hypervolume(np.vstack([front, c]), REFERENCE) - before for c in candidates]
    gains = expected_gain(candidates[:, 0], np.zeros(40), candidates[:, 1:], front, REFERENCE)
    assert gains == pytest.approx(np.array(differences), abs=1e-12)


@pytest.mark.parametrize("num_points", [0, 1, 10])
def test_expected_gain_is_the_mean_of_sampled_gains(num_points: int) -> None:
    rng = np.random.default_rng(num_points)
    front, costs = rng.uniform(0, 1, (num_points, 3)), rng.uniform(0, 1, (8, 2))
    mean, sd = rng.uniform(0, 1.2, 8), rng.uniform(0.05, 0.5, 8)
    expected = expected_gain(mean, sd, costs, front, REFERENCE)
    for i in range(8):
        losses = rng.normal(mean[i], sd[i], 20_000)
        gains = expected_gain(losses, np.zeros(20_000), np.tile(costs[i], (20_000, 1)), front, REFERENCE)
        error = 4.5 * gains.std() / np.sqrt(len(gains))
        assert abs(gains.mean() - expected[i]) <= error + 1e-12


def test_extreme_candidates_have_finite_gains() -> None:
    front = [[0.5, 0.5, 0.5]]
    gains = expected_gain([-1e6, 1e6, 0.4, 0.4], [1e-9, 1e-9, 1e9, 0.0], [[0.1, 0.1]] * 4, front, REFERENCE)
    assert np.isfinite(gains).all()
    assert gains[1] < 1e-300
    assert gains[3] == pytest.approx(0.6 * 0.81 - 0.125)


def test_wrong_input() -> None:
    with pytest.raises(InputError, match="reference"):
        hypervolume([[0, 0, 0]], [1, 1])
    with pytest.raises(InputError, match="points"):
        hypervolume([[0, 0]], REFERENCE)
    with pytest.raises(InputError, match="points"):
        hypervolume([[0, np.nan, 0]], REFERENCE)
    with pytest.raises(InputError, match="candidates"):
        expected_gain([np.nan], [1], [[0, 0]], [], REFERENCE)
