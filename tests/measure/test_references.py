"""The mean face and PCA against hand-derived values and numpy's exact decomposition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ablation.measure.quality.baselines as module
from ablation.data.base import Dataset
from ablation.design.protocol import Protocol
from ablation.measure.quality.baselines import loss_without_kl, mean_face, pca, score
from ablation.measure.quality.losses import ssim
from blocks.errors import InputError
from tests.small_data import as_dataset

SIDE, RANK = 16, 4


def dataset(num: int = 40, side: int = SIDE, noise: float = 2.0, seed: int = 0) -> Dataset:
    """Images near a space of RANK dimensions, far from black and white."""
    rng = np.random.default_rng(seed)
    basis = rng.normal(size=(RANK, 3 * side * side)) * np.array([16, 12, 9, 6])[:, None]
    pixels = 128 + rng.normal(size=(num, RANK)) @ basis + noise * rng.normal(size=(num, basis.shape[1]))
    images = pixels.clip(0, 255).round().astype(np.uint8).reshape(num, 3, side, side)
    return as_dataset(images)


def floats(data: Dataset, rows: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(data.images[rows]).float() / 255


TRAIN, TEST = np.random.default_rng(1).permutation(40)[:30], np.arange(30, 40)


def test_mean_face_is_the_mean_of_the_training_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 7)
    data = dataset()
    reference = mean_face(data, TRAIN)
    expected = data.images[TRAIN].astype(np.float64).mean(0) / 255
    shown = reference(floats(data, TEST))
    np.testing.assert_allclose(shown.numpy(), np.broadcast_to(expected, shown.shape), atol=1e-6)
    assert (reference.name, reference.num_parameters, reference.num_fitted) == ("mean face", 3 * SIDE * SIDE, 30)
    assert reference.notes == ()


def test_pca_is_the_projection_that_an_exact_decomposition_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 7)
    data = dataset()
    reference = pca(data, TRAIN, num_components=RANK)
    rows = data.images[TRAIN].reshape(30, -1) / 255.0
    _, _, axes = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    x = data.images[TEST].reshape(10, -1) / 255.0
    expected = rows.mean(0) + (x - rows.mean(0)) @ axes[:RANK].T @ axes[:RANK]
    assert expected.min() > 0 and expected.max() < 1  # else clamping would hide a difference
    np.testing.assert_allclose(reference(floats(data, TEST)).flatten(1).numpy(), expected, atol=2e-4)
    assert reference.components is not None
    torch.testing.assert_close(reference.components @ reference.components.T, torch.eye(RANK), atol=1e-5, rtol=0)
    assert reference.num_parameters == (RANK + 1) * 3 * SIDE * SIDE
    assert (reference.name, reference.notes, reference.num_fitted) == ("PCA, 4 components", (), 30)


def test_more_components_come_closer_and_the_mean_face_is_none() -> None:
    data = dataset()
    x = floats(data, TEST)
    references = [mean_face(data, TRAIN), *(pca(data, TRAIN, num_components=k) for k in (1, 2, RANK))]
    errors = [(reference(x) - x).square().mean().item() for reference in references]
    assert all(a > 1.2 * b for a, b in zip(errors, errors[1:], strict=False))
    assert errors[-1] < (3 / 255) ** 2  # what is left is the noise, of 2 steps of 255, and rounding


def test_images_of_the_fit_are_told_from_others_only_by_the_indices() -> None:
    data = dataset()
    changed = as_dataset(data.images.copy(), fingerprint="1" * 16)
    outside = np.setdiff1d(np.arange(40), TRAIN)
    changed.images[outside] = 0
    for make in (mean_face, pca):
        x = floats(data, TEST)
        torch.testing.assert_close(make(data, TRAIN)(x), make(changed, TRAIN)(x), atol=0, rtol=0)
    assert not torch.equal(mean_face(data, np.arange(40)).mean, mean_face(changed, np.arange(40)).mean)


def test_subset_is_seeded_and_told() -> None:
    data = dataset()
    first, again, other = (pca(data, TRAIN, num_components=RANK, seed=seed, max_images=20) for seed in (0, 0, 1))
    assert torch.equal(first.mean, again.mean)
    assert not torch.equal(first.mean, other.mean)
    assert first.notes == ("PCA was fitted to 20 of 30 training images, drawn at random with seed 0",)
    assert first.num_fitted == 20
    x = floats(data, TEST)
    assert (first(x) - other(x)).abs().mean().item() < 0.01  # of nearly the same space


def test_default_subset_is_what_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module.FIT_BYTES // (4 * 3 * 144 * 144) == 4315  # as the docstring says
    monkeypatch.setattr(module, "FIT_BYTES", 12 * 4 * 3 * SIDE * SIDE)
    assert pca(dataset(), TRAIN, num_components=RANK).num_fitted == 12


def test_fewer_images_than_components() -> None:
    reference = pca(dataset(), TRAIN[:6], num_components=128)
    assert reference.name == "PCA, 5 components"
    assert reference.notes == ("PCA has 5 components instead of 128: 6 images have no more",)
    x = floats(dataset(), np.sort(TRAIN[:6]))
    torch.testing.assert_close(reference(x), x, atol=1e-3, rtol=0)  # five components and the mean hold six images


def test_reconstructions_are_clamped() -> None:
    data = dataset()
    shown = pca(data, TRAIN, num_components=RANK)(floats(data, TEST) * 9 - 4)
    assert (shown.min().item(), shown.max().item()) == (0, 1)


def test_score_is_quality_and_the_loss_without_kl() -> None:
    data = dataset(side=24)
    reference, protocol = mean_face(data, TRAIN), Protocol(ssim_weight=2.0, l1_weight=3.0, kl_weight=100.0)
    result = score(reference, data, TEST, protocol=protocol, batch_size=4)
    x = floats(data, TEST)
    y = reference(x)
    similarity, l1 = ssim(x, y).item(), (x - y).abs().mean().item()
    replica = result["quality"]["replica"]
    assert replica["ssim"] == pytest.approx(similarity, abs=1e-5)
    assert replica["l1"] == pytest.approx(l1, abs=1e-6)
    assert replica["loss_without_kl"] == pytest.approx(2 * (1 - similarity) + 3 * l1, abs=1e-5)
    assert replica["num_images"] == 10
    assert result["quality"]["reporting"]["l1"] == pytest.approx(l1, abs=1e-6)
    assert result["quality"]["reporting"]["region"] == "ellipse"
    assert len(result["per_image"]["ssim"]) == 10
    assert (result["num_parameters"], result["num_fitted"], result["notes"]) == (3 * 24 * 24, 30, [])


def test_a_perfect_reconstruction_has_no_loss() -> None:
    result = loss_without_kl(lambda x: x, dataset(), TEST, protocol=Protocol())
    assert result["loss_without_kl"] == pytest.approx(0, abs=1e-6)
    assert result["ssim"] == pytest.approx(1, abs=1e-6)


def test_wrong_input_gets_one_line() -> None:
    data = dataset()
    for make in (mean_face, pca):
        with pytest.raises(InputError, match=r"^train_indices must hold at least one image\. Got 0 of 40 instead\."):
            make(data, np.arange(0))
    with pytest.raises(InputError, match=r"num_components must be at least 1\. Got 0"):
        pca(data, TRAIN, num_components=0)
    with pytest.raises(InputError, match=r"at least two images for PCA\. Got 1"):
        pca(data, TRAIN[:1])
    with pytest.raises(InputError, match=r"mask_weight must be 0 for a reference, which predicts no mask\. Got 1\.0"):
        loss_without_kl(lambda x: x, data, TEST, protocol=Protocol(mask_weight=1.0))
    with pytest.raises(InputError, match=r"images of 3SS = 768 values, as mean face was fitted to\. Got \(2, 3, 24, 24\)"):
        mean_face(data, TRAIN)(torch.zeros(2, 3, 24, 24))
