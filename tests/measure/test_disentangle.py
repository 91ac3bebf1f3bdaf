"""MIG, DCI, SAP and FactorVAE on representations whose score is known, and against hand-made and brute-force numbers."""

from __future__ import annotations

import json
import math
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import entropy
from sklearn.metrics import mutual_info_score

from ablation.data.faces.rendered import FACTOR_NAMES, FACTORS, render, render_faces, sample_factors
from ablation.measure.latent.disentangle import (
    active_dims,
    dci_scores,
    disentanglement,
    disentanglement_dict,
    importances,
    mig_by_factor,
    mutual_information,
    sap_by_factor,
)
from ablation.measure.latent.factor_batches import MEASURED, FactorBatches, design, factor_batches, measured
from ablation.measure.latent.factor_vae import factor_vae_score, majority_accuracy, quietest
from blocks.errors import InputError

Array = NDArray[np.float64]
NAMES = ("one", "two", "three", "four", "five", "six")
F = len(NAMES)
N = 800


def uniform_factors(n: int = N, seed: int = 0) -> Array:
    """Independent, uniform, of variance 1."""
    return (np.random.default_rng(seed).random((n, F)) - 0.5) * math.sqrt(12)


def noise(n: int, dims: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).normal(size=(n, dims))


def rotation(size: int, seed: int = 2) -> Array:
    return np.asarray(np.linalg.qr(noise(size, size, seed))[0])


def scores(codes: Array, factors: Array | None = None) -> dict[str, float]:
    true = uniform_factors(len(codes)) if factors is None else factors
    result = disentanglement(codes, true, NAMES)
    return {"mig": result["mig"], "sap": result["sap"], **result["dci"]}


# --- representations whose score is known


def test_factors_permuted_and_scaled_are_disentangled_and_complete() -> None:
    scales = np.array([0.5, -3.0, 40.0, 1.0, -0.2, 7.0])
    codes = np.c_[uniform_factors()[:, [3, 0, 5, 1, 4, 2]] * scales, noise(N, 10)]
    result = scores(codes)
    assert 0.96 < result["mig"] < 1.0
    assert result["sap"] > 0.97
    assert min(result["disentanglement"], result["completeness"], result["informativeness"]) > 0.99


def test_rotated_factors_are_entangled_though_they_hold_everything() -> None:
    entangled = uniform_factors() @ rotation(F)
    result = scores(entangled)
    assert result["mig"] < 0.2 and result["sap"] < 0.4
    assert result["disentanglement"] < 0.5 and result["completeness"] < 0.5
    assert result["informativeness"] > 0.7


def test_exact_duplicates_lose_gap_and_completeness_but_not_disentanglement() -> None:
    once, twice = uniform_factors(), np.tile(uniform_factors(), (1, 2))
    assert scores(once)["mig"] > 0.9
    result = scores(twice)
    assert result["mig"] == pytest.approx(0.0, abs=1e-12) and result["sap"] == pytest.approx(0.0, abs=1e-12)
    assert result["disentanglement"] > 0.99
    # two equal shares: 1 - log 2 / log 12
    assert result["completeness"] == pytest.approx(1 - math.log(2) / math.log(12), abs=0.03)


def test_one_code_that_holds_every_factor_is_complete_and_not_disentangled() -> None:
    codes = uniform_factors().sum(axis=1, keepdims=True)
    result = scores(codes)
    assert result["completeness"] == pytest.approx(1.0)
    assert result["disentanglement"] == pytest.approx(0.0, abs=0.02)
    assert result["sap"] == pytest.approx(1 / F, abs=0.05)  # each factor has a sixth of the variance; no second code


def test_random_codes_score_next_to_nothing() -> None:
    result = scores(noise(N, 64))
    assert result["mig"] < 0.01 and result["sap"] < 0.01 and result["informativeness"] < 0.01
    assert result["disentanglement"] < 0.05 and result["completeness"] < 0.03


def test_a_factor_that_no_code_holds_counts_as_nothing_and_is_named() -> None:
    codes = np.c_[uniform_factors()[:, 1:], noise(N, 1)]
    result = disentanglement(codes, uniform_factors(), NAMES)
    assert result["by_factor"]["one"]["mig"] < 0.02 and result["by_factor"]["one"]["informativeness"] < 0.02
    assert result["by_factor"]["two"]["mig"] > 0.95 and result["by_factor"]["two"]["informativeness"] > 0.98
    assert result["mig"] == pytest.approx(np.mean([part["mig"] for part in result["by_factor"].values()]))
    assert result["mig"] == pytest.approx(5 / 6, abs=0.03)
    assert result["dci"]["informativeness"] == pytest.approx(5 / 6, abs=0.02)


def test_a_curved_code_keeps_its_mutual_information_and_loses_its_line() -> None:
    factors = uniform_factors()
    straight, curved = factors, np.exp(3 * factors)
    assert mig_by_factor(curved, factors) == pytest.approx(mig_by_factor(straight, factors))
    assert sap_by_factor(curved, factors).max() < 0.6 < sap_by_factor(straight, factors).min()


def test_the_order_of_dimensions_does_not_matter() -> None:
    codes, order = uniform_factors() @ rotation(F), [4, 2, 0, 5, 1, 3]
    there, back = scores(codes), scores(codes[:, order])
    assert back["mig"] == pytest.approx(there["mig"]) and back["sap"] == pytest.approx(there["sap"])
    assert back["disentanglement"] == pytest.approx(there["disentanglement"], abs=0.05)  # other draws of the trees


# --- against hand-made numbers and brute force


def test_mutual_information_of_a_table_of_four_cells() -> None:
    # counts 3, 1 / 1, 3 of eight: both entropies log 2, joint entropy 3/4 log 8/3 + 1/4 log 8
    code, factor = np.array([0, 0, 0, 0, 5, 5, 5, 5.0]), np.array([1, 1, 1, 2, 1, 2, 2, 2.0])
    information, entropies = mutual_information(code[:, None], factor[:, None])
    assert entropies[0] == pytest.approx(math.log(2))
    assert information[0, 0] == pytest.approx(2 * math.log(2) - 0.75 * math.log(8 / 3) - 0.25 * math.log(8))
    assert information[0, 0] == pytest.approx(0.130812, abs=1e-6)


def naive_cells(values: Array, num_bins: int) -> list[int]:
    """Cell of each number: how many of the edges, which lie between equal shares of the sorted numbers, it reaches."""
    ordered = sorted(values)
    edges = []
    for number in range(1, num_bins):
        place = number / num_bins * (len(values) - 1)
        low, part = ordered[int(place)], place - int(place)
        edges.append(low + part * (ordered[min(int(place) + 1, len(values) - 1)] - low))
    return [sum(value >= edge for edge in edges) for value in values]


def naive_gap(column: list[float]) -> float:
    first, second = sorted([*column, 0.0, 0.0], reverse=True)[:2]
    return first - second


def test_mig_agrees_with_scikit_learn_factor_by_factor() -> None:
    factors = uniform_factors(301)  # edges fall on numbers
    codes = np.c_[factors @ rotation(F) + 0.3 * noise(301, F), np.round(factors[:, :1])]  # the last has few levels
    factors[:, 1] = np.round(factors[:, 1])
    cells = [naive_cells(column, 10) for column in codes.T[:-1]] + [codes[:, -1].tolist()]
    for number, factor in enumerate(factors.T):
        known = factor.tolist() if number == 1 else naive_cells(factor, 10)
        shared = [mutual_info_score(column, known) for column in cells]
        expected = naive_gap(shared) / entropy(list(Counter(known).values()))
        assert mig_by_factor(codes, factors)[number] == pytest.approx(expected)


def test_cells_hold_equal_shares_and_ties_stay_together() -> None:
    _, entropies = mutual_information(noise(100, 1), np.arange(100.0)[:, None], 10)
    assert entropies[0] == pytest.approx(math.log(10))
    tied = np.r_[np.zeros(60), np.arange(1.0, 41.0)][:, None]  # sixty zeros take the place of six cells
    assert mutual_information(tied, tied, 10)[1][0] == pytest.approx(entropy([60, 10, 10, 10, 10]), abs=0.02)


def test_sap_agrees_with_correlations_one_by_one() -> None:
    factors = uniform_factors(120)
    codes = factors @ rotation(F) + noise(120, F)
    for number, factor in enumerate(factors.T):
        expected = naive_gap([float(np.corrcoef(code, factor)[0, 1] ** 2) for code in codes.T])
        assert sap_by_factor(codes, factors)[number] == pytest.approx(expected)


def test_dci_of_an_importance_table_worked_by_hand() -> None:
    table = np.array([[1.0, 0.0], [0.0, 0.5], [0.0, 0.5], [0.0, 0.0]])  # one code for a factor, two for the other, one idle
    result = dci_scores(table, np.array([0.9, 0.5]))
    assert result["disentanglement"] == pytest.approx(1.0)
    assert result["completeness"] == pytest.approx((1 + (1 - math.log(2) / math.log(4))) / 2)  # 0.75
    assert result["informativeness"] == pytest.approx(0.7)


def test_dci_agrees_with_scipy_entropies() -> None:
    table = np.random.default_rng(3).random((7, 4))
    table /= table.sum(axis=0)
    by_code = [1 - entropy(row, base=4) for row in table]
    result = dci_scores(table, np.zeros(4))
    assert result["disentanglement"] == pytest.approx(np.average(by_code, weights=table.sum(axis=1)))
    assert result["completeness"] == pytest.approx(np.mean([1 - entropy(column, base=7) for column in table.T]))


def test_importances_are_shares_and_name_the_code_that_holds_the_factor() -> None:
    weights, informed = importances(np.c_[noise(N, 3), uniform_factors()], uniform_factors())
    assert weights.sum(axis=0) == pytest.approx(np.ones(F))
    assert weights.argmax(axis=0).tolist() == [3, 4, 5, 6, 7, 8]
    assert informed.min() > 0.98


# --- edges


@pytest.mark.parametrize("level", [0.0, 2.5])
def test_collapsed_codes_score_zero(level: float) -> None:
    result = disentanglement(np.full((50, 4), level), uniform_factors(50), NAMES)
    assert result["active_dims"] == 0
    assert [result["mig"], result["sap"], *result["dci"].values()] == [0.0] * 5


def test_a_dead_dimension_is_left_out_before_scale_is_forgotten() -> None:
    factors = uniform_factors()
    codes = np.c_[factors @ rotation(F), 0.01 * factors]  # perfect, and smaller than what sampling adds
    result = disentanglement(codes, factors, NAMES)
    assert result["active_dims"] == F
    assert result["mig"] == pytest.approx(disentanglement(codes[:, :F], factors, NAMES)["mig"]) and result["mig"] < 0.2
    assert disentanglement(codes, factors, NAMES, min_variance=0.0)["mig"] > 0.5
    assert active_dims(np.array([[0.0, 0.0], [1.0, 0.1]]), 0.01).tolist() == [[0.0], [1.0]]  # variances 0.5 and 0.005


def test_one_active_dimension_has_a_gap_to_nothing() -> None:
    factors = uniform_factors()
    result = disentanglement(np.c_[factors[:, 0], np.zeros((N, 5))], factors, NAMES)
    assert result["active_dims"] == 1
    assert result["by_factor"]["one"]["mig"] == pytest.approx(1.0) and result["by_factor"]["one"]["sap"] == pytest.approx(1.0)
    assert result["sap"] == pytest.approx(1 / F, abs=0.01)


@pytest.mark.parametrize("n", [2, 3, 5, 9])
def test_fewer_images_than_cells_give_numbers_between_0_and_1(n: int) -> None:
    result = disentanglement(noise(n, 4), uniform_factors(n), NAMES)
    values = [result["mig"], result["sap"], *result["dci"].values()]
    assert result["mig"] == pytest.approx(0.0, abs=1e-12)  # each image a cell: every code seems to know all
    assert all(0 <= value <= 1 for value in values)


def test_the_same_seed_gives_the_same_numbers_and_another_one_others() -> None:
    codes, factors = noise(200, 5) + uniform_factors(200)[:, :5], uniform_factors(200)
    first, again, other = (disentanglement(codes, factors, NAMES, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first["dci"] != other["dci"] and first["mig"] == other["mig"]
    assert json.loads(json.dumps(first)) == first


@pytest.mark.parametrize(
    ("codes", "factors", "names", "message"),
    [
        (np.full((50, 2), np.nan), uniform_factors(50), NAMES, "codes must be a table of finite"),
        (np.zeros((1, 2)), uniform_factors(1), NAMES, "codes must be"),
        (np.zeros((50, 0)), uniform_factors(50), NAMES, "codes must be"),
        (np.zeros((50, 2)), uniform_factors(49), NAMES, "factors must be a table of finite numbers, 50 x 6"),
        (np.zeros((50, 2)), uniform_factors(50), NAMES[:5], "factors must be a table"),
        (np.zeros((50, 2)), np.c_[np.ones(50), np.arange(50)], ("still", "moving"), r"that vary. Got \['still'\]"),
        (np.zeros((50, 2)), np.zeros((50, 0)), (), "one or more that vary"),
    ],
)
def test_bad_tables_are_refused(codes: Array, factors: Array, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        disentanglement(codes, factors, names)


# --- the FactorVAE score


def held_batches(p: int, seed: int = 0) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
    """Measured factors of the faces of a design (n x 15, variance about 1), its batches, and the fixed factor of each."""
    rows, members = design(p, seed, MEASURED)
    return (measured(rows, FACTOR_NAMES)[0] - 0.5) * math.sqrt(12), members, np.repeat(np.arange(len(MEASURED)), p)


def vote(codes: Array, members: NDArray[np.int64], fixed: NDArray[np.int64], seed: int = 0) -> float:
    return factor_vae_score(codes[members], fixed, codes.var(axis=0, ddof=1), seed)


def test_factor_vae_of_factors_is_one_and_noise_and_duplicates_cost_nothing() -> None:
    factors, members, fixed = held_batches(17)
    order = np.random.default_rng(5).permutation(15)
    codes = np.c_[factors[:, order] * np.linspace(-2, 3, 15), noise(len(factors), 9)]
    assert vote(codes, members, fixed) == 1.0
    # of two that stand still rounding picks one, at times one that no teaching vote had picked
    assert vote(np.c_[codes, factors[:, :4]], members, fixed) > 0.97


def test_factor_vae_of_rotated_factors_and_of_noise() -> None:
    factors, members, fixed = held_batches(31)
    chance = 1 / 15
    assert vote(noise(len(factors), 60), members, fixed) == pytest.approx(chance, abs=0.04)
    rotated = vote(factors @ rotation(15), members, fixed)
    assert chance + 0.05 < rotated < 0.9
    unused = vote(np.c_[factors[:, 1:], noise(len(factors), 1)], members, fixed)
    assert 14 / 15 - 0.03 < unused < 1.0  # one factor of fifteen is guessed


def test_factor_vae_with_dead_dimensions() -> None:
    factors, members, fixed = held_batches(17)
    assert vote(np.zeros((len(factors), 5)), members, fixed) == 0.0
    near, dead = factors + 0.05 * noise(len(factors), 15), 1e-3 * (noise(len(factors), 1) > 2)
    assert vote(near, members, fixed) == 1.0
    # rarely different from 0, it would be the quietest in most batches
    assert vote(np.c_[near, dead], members, fixed) == 1.0 > vote(np.c_[near, 1e3 * dead], members, fixed) + 0.3
    only = vote(np.c_[factors[:, :1], dead], members, fixed)
    assert only < 2 / 15  # one live dimension names one factor


def test_factor_vae_agrees_with_a_plain_count() -> None:
    factors, members, fixed = held_batches(17)
    codes = factors @ rotation(15) + 0.2 * noise(len(factors), 15)
    chosen = []
    for batch in members:
        ratios = [np.var(codes[batch, dim], ddof=1) / np.var(codes[:, dim], ddof=1) for dim in range(15)]
        chosen.append(ratios.index(min(ratios)))
    assert quietest(codes[members], codes.var(axis=0, ddof=1)).tolist() == chosen
    rng, shares = np.random.default_rng(7), []
    for _ in range(50):
        order = rng.permutation(len(fixed))
        taught: dict[int, Counter[int]] = {}
        for number in sorted(order[:170], key=lambda number: fixed[number]):  # ties go to the first factor
            taught.setdefault(chosen[number], Counter())[int(fixed[number])] += 1
        right = [n for n in order[170:] if chosen[n] in taught and taught[chosen[n]].most_common(1)[0][0] == fixed[n]]
        shares.append(len(right) / 85)
    assert vote(codes, members, fixed, seed=7) == pytest.approx(np.mean(shares))


def test_a_majority_vote_worked_by_hand() -> None:
    votes, fixed = np.array([0] * 60 + [1] * 60), np.array([0] * 60 + [1] * 45 + [0] * 15)
    assert majority_accuracy(votes, fixed, 0) == pytest.approx(105 / 120, abs=0.01)
    assert majority_accuracy(votes, fixed, 0) == majority_accuracy(votes, fixed, 0) != majority_accuracy(votes, fixed, 1)
    assert majority_accuracy(np.arange(6), np.arange(6), 0) == 0.0  # no dimension votes twice: none was taught


@pytest.mark.parametrize(
    ("shape", "fixed", "spread", "message"),
    [
        ((4, 3), [0, 1, 0, 1], [1.0] * 3, "codes_of_batches must be"),
        ((4, 1, 3), [0, 1, 0, 1], [1.0] * 3, "codes_of_batches must be"),
        ((4, 2, 3), [0, 1, 0], [1.0] * 3, "fixed_factor must be 4 whole numbers"),
        ((4, 2, 3), [0.5, 1, 0, 1], [1.0] * 3, "fixed_factor must be"),
        ((4, 2, 3), [0, 1, 0, 1], [1.0, float("nan"), 1.0], "global_variance must be 3"),
    ],
)
def test_bad_batches_are_refused(shape: tuple[int, ...], fixed: list[float], spread: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        factor_vae_score(np.ones(shape), fixed, spread)


# --- the faces


@pytest.fixture(scope="module")
def batches() -> FactorBatches:
    return factor_batches(17, 16, seed=3)


def test_each_pair_of_levels_of_two_factors_occurs_once() -> None:
    rows, _ = design(17, 0, MEASURED)
    levels = np.rint(measured(rows, FACTOR_NAMES)[0] * 17 - 0.5).astype(int)
    for one in range(15):
        for other in range(one):
            assert len(set(zip(levels[:, one], levels[:, other], strict=True))) == 289
    assert not (levels[:, 0] == np.sort(levels[:, 0])).all()  # shuffled


def test_a_batch_holds_its_factor_and_nothing_else(batches: FactorBatches) -> None:
    columns, names = measured(batches.factors, FACTOR_NAMES)
    assert names == batches.factor_names == MEASURED
    assert batches.members.shape == (255, 17) and batches.images.shape == (289, 3, 16, 16)
    for members, fixed in zip(batches.members, batches.fixed_factor, strict=True):
        counts = [len(set(column)) for column in columns[members].T]
        assert counts == [1 if number == fixed else 17 for number in range(15)]
    assert np.bincount(batches.members.ravel()).tolist() == [15] * 289  # every face serves each factor once


def test_batches_are_drawn_from_their_factors_and_repeat_byte_by_byte(batches: FactorBatches) -> None:
    again, other = factor_batches(17, 16, seed=3), design(17, 4, MEASURED)[0]
    assert again.images.tobytes() == batches.images.tobytes()
    assert (render(batches.factors[100], 16)[0] == batches.images[100]).all()
    assert (other != batches.factors).mean() > 0.5
    nuisance = FACTOR_NAMES.index("background_hue")
    assert batches.factors[:, nuisance].std() == pytest.approx(1 / math.sqrt(12), abs=0.02)
    assert batches.factors[0, nuisance] != sample_factors(0, 3)[nuisance]  # not the data set's own


def test_every_measured_factor_shows_on_every_face_over_all_of_its_range() -> None:
    for row in (sample_factors(index, 11) for index in range(4)):
        for name in MEASURED:
            thirds = []
            for value in (0.0, 1 / 3, 2 / 3, 1.0):
                changed = row.copy()
                changed[FACTOR_NAMES.index(name)] = value
                thirds.append(render(changed, 48)[0].astype(float))
            assert min(np.abs(a - b).mean() for a, b in zip(thirds, thirds[1:], strict=False)) > 0.02, name
    assert all(factor.levels == 0 for factor in FACTORS if factor.name in MEASURED)


def test_the_whole_dictionary_from_one_encoder(batches: FactorBatches) -> None:
    faces = render_faces(120, 16, 0)

    def encode(images: NDArray[np.uint8]) -> Array:  # mean colours of four by four tiles
        tiles = images.reshape(len(images), 3, 4, 4, 4, 4).mean(axis=(3, 5))  # n x 3 x 4 x 4
        return np.asarray(tiles.reshape(len(images), -1) / 64.0)

    def joined() -> dict[str, object]:
        return disentanglement_dict(encode(faces.images), faces.factors, FACTOR_NAMES, encode(batches.images), batches)

    result = joined()
    assert {"mig", "dci", "sap", "factor_vae", "factors", "num_images"} <= set(result)
    assert result["factors"] == list(MEASURED) and result["num_images"] == 120
    codes = encode(batches.images)
    assert result["factor_vae"] == vote(codes, batches.members, batches.fixed_factor)
    assert 0.07 < float(result["factor_vae"]) < 1.0  # better than chance: tiles see tone and place
    assert result == joined() == json.loads(json.dumps(result))


@pytest.mark.parametrize("size", [0, 1, 13, 16, 21, 25])
def test_a_batch_must_be_a_prime_no_smaller_than_the_number_of_factors(size: int) -> None:
    with pytest.raises(InputError, match=f"batch_size must be a prime of 15 or more.* Got {size}"):
        design(size, 0, MEASURED)


def test_wrong_names_and_rows_are_refused(batches: FactorBatches) -> None:
    with pytest.raises(InputError, match=r"factor_names must be one of masculinity, .* Got 'hat'"):
        design(17, 0, ("smile", "hat"))
    with pytest.raises(InputError, match="seed must be zero"):
        design(17, -1, MEASURED)
    with pytest.raises(InputError, match="different names"):
        design(17, 0, ("smile", "smile"))
    with pytest.raises(InputError, match="such as masculinity"):
        measured(np.zeros((3, 1)), ["Smiling"])
    with pytest.raises(InputError, match="a table of 2 columns"):
        measured(np.zeros((3, 1)), ["smile", "yaw"])
    with pytest.raises(InputError, match="codes must be 289 rows"):
        batches.of_votes(np.zeros((255, 4)))
