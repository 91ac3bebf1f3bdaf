"""Quality against hand-derived values and independent libraries, and the two protocols kept apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn
from torchmetrics.functional.image import peak_signal_noise_ratio as torchmetrics_psnr

from ablation.data.base import Dataset
from ablation.data.batches import Images
from ablation.design.protocol import Protocol
from ablation.measure.quality.evaluate import as_lists, evaluate, evaluate_images, reconstruct, sampled_quality, summarise
from ablation.measure.quality.losses import ssim
from blocks.errors import InputError
from tests.small_data import as_dataset, random_dataset


class Shifted(nn.Module):
    """The latent vector is the image itself; decoding adds a fixed shift; z = mean + scale * noise."""

    def __init__(self, shift: float | Tensor = 0.0, scale: float = 0.0) -> None:
        super().__init__()
        self.shift, self.scale, self.norm, self.side = shift, scale, nn.BatchNorm2d(3), 0

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.side = x.shape[-1]
        mean = x.flatten(1)  # N x 3 x S x S -> N x 3SS
        return mean, torch.zeros_like(mean)

    def decode(self, z: Tensor) -> Tensor:
        return z.view(-1, 3, self.side, self.side) + self.shift

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_var = self.encode(x)
        return self.decode(mean + self.scale * torch.randn_like(mean)), mean, log_var


def dataset(num: int = 7, side: int = 24, high: int = 200, **more: Any) -> Dataset:
    return random_dataset(num, side, high=high, **more)


def test_constant_shift_by_hand() -> None:
    images = evaluate_images(Shifted(0.1), dataset(), np.arange(7), batch_size=3)
    np.testing.assert_allclose(images["l1"], 0.1, atol=1e-6)
    np.testing.assert_allclose(images["mse"], 0.01, atol=1e-6)
    np.testing.assert_allclose(images["psnr"], 20.0, atol=1e-3)  # -10 log10(0.01)
    assert all(values.shape == (7,) for values in images.values())


def test_agrees_with_scikit_image_and_torchmetrics_image_by_image() -> None:
    data, shift = dataset(), torch.rand(3, 24, 24, generator=torch.Generator().manual_seed(1)) * 0.2
    images = evaluate_images(Shifted(shift), data, np.array([5, 0, 3]), batch_size=2)
    x = torch.from_numpy(data.images[[5, 0, 3]]).float() / 255
    y = x + shift
    pairs = [(a.double().numpy(), b.double().numpy()) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(images["psnr"], [peak_signal_noise_ratio(a, b, data_range=1) for a, b in pairs], atol=1e-4)
    np.testing.assert_allclose(images["mse"], [mean_squared_error(a, b) for a, b in pairs], atol=1e-6)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0, "channel_axis": 0}
    np.testing.assert_allclose(images["ssim"], [structural_similarity(a, b, **settings) for a, b in pairs], atol=1e-4)
    mean_psnr = torchmetrics_psnr(y, x, data_range=1.0, reduction="elementwise_mean", dim=(1, 2, 3))
    assert summarise(images, 24)["psnr"] == pytest.approx(mean_psnr.item(), abs=1e-4)


def test_perfect_reconstruction() -> None:
    data = dataset(side=48)
    reporting = evaluate(Shifted(), data, np.arange(7), protocol=Protocol())["reporting"]
    assert reporting["ssim"] == pytest.approx(1, abs=1e-6)
    assert reporting["ms_ssim"] == pytest.approx(1, abs=1e-6)
    assert (reporting["l1"], reporting["psnr"], reporting["num_images"]) == (0, 100, 7)
    assert reporting["ms_ssim_setting"].startswith("window 11, sigma 1.5, 3 scales")
    np.testing.assert_array_equal(reconstruct(Shifted(), data, np.array([4, 1])), data.images[[4, 1]])


def test_reconstruct_is_clamped_and_rounded() -> None:
    shown = reconstruct(Shifted(0.5), dataset(high=256), np.arange(7), batch_size=4)
    expected = np.clip(np.round(dataset(high=256).images + 127.5 - 1e-3), 0, 255)
    assert shown.dtype == np.uint8
    assert np.abs(shown.astype(int) - expected).max() <= 1
    assert shown.max() == 255


def test_face_mask_separates_inside_from_outside() -> None:
    masks = np.zeros((4, 24, 24), np.uint8)
    masks[:3, :, :12] = 1  # image 3 has no face
    shift = torch.zeros(3, 24, 24)
    shift[:, :, :12] = 0.2
    images = evaluate_images(Shifted(shift), dataset(4, masks=masks), np.array([3, 1, 0]), batch_size=2)
    np.testing.assert_allclose(images["l1_inside"], [np.nan, 0.2, 0.2], atol=1e-6)
    np.testing.assert_allclose(images["l1_outside"], [0.1, 0, 0], atol=1e-6)
    summary = summarise(images, 24)
    assert summary["l1_inside"] == pytest.approx(0.2, abs=1e-6)
    assert as_lists(images)["l1_inside"] == [None, pytest.approx(0.2), pytest.approx(0.2)]


def test_replica_samples_and_reporting_does_not() -> None:
    quality = evaluate(Shifted(scale=0.1), dataset(), np.arange(7), protocol=Protocol())
    assert quality["reporting"]["l1"] == 0
    assert 0.06 < quality["replica"]["l1"] < 0.1  # E|0.1 noise| = 0.0798
    assert set(quality["replica"]) & {"psnr", "ms_ssim", "mse"} == set()
    assert quality["replica"]["ssim_window"] == "uniform"


def test_replica_weights_batches_by_images() -> None:
    data, protocol = dataset(), Protocol(kl_weight=0.01)
    quality = evaluate(Shifted(0.1), data, np.arange(7), batch_size=5, protocol=protocol)["replica"]
    x = torch.from_numpy(data.images).float() / 255
    similarity, kl = ssim(x, x + 0.1).item(), 0.5 * x.square().sum().item() / 7
    assert quality["ssim"] == pytest.approx(similarity, abs=1e-5)
    assert quality["kl"] == pytest.approx(kl, rel=1e-5)
    assert quality["loss"] == pytest.approx(1 - similarity + 0.05 + 0.01 * kl, rel=1e-5)
    assert sum(quality["kl_per_dim"]) == pytest.approx(kl, rel=1e-5)


def test_active_units_by_hand() -> None:
    images = np.full((4, 3, 24, 24), 100, np.uint8)
    images[::2, 0, 0, :5] = 160  # five latent dimensions have variance (30 / 255)^2 = 0.0138, above 0.01
    images[::2, 0, 1, :5] = 150  # five more (25 / 255)^2 = 0.0096, below it
    data = as_dataset(images)
    assert evaluate(Shifted(), data, np.arange(4), batch_size=3, protocol=Protocol())["replica"]["active_units"] == 5


def test_replica_noise_comes_from_its_seed_and_disturbs_nothing() -> None:
    model, images = Shifted(scale=0.1), Images(dataset(), np.arange(7), torch.device("cpu"))
    model.train()
    model.norm.eval()
    before = torch.get_rng_state()
    first, again, other = (
        sampled_quality(model, images, batch_size=3, protocol=Protocol(), seed=seed)["loss"] for seed in (1, 1, 2)
    )
    assert first == again != other
    assert torch.equal(before, torch.get_rng_state())
    assert (model.training, model.norm.training) == (True, False)


def test_small_images_say_why_there_is_no_ms_ssim() -> None:
    reporting = evaluate(Shifted(), dataset(side=16), np.arange(3), protocol=Protocol())["reporting"]
    assert reporting["ms_ssim"] is None
    assert reporting["ms_ssim_setting"] == "not computed: two scales need images of at least 21 px, these have 16"
    with pytest.raises(InputError, match=r"^image_size must be at least 11, the SSIM window\. Got 8 instead\.$"):
        evaluate(Shifted(), dataset(side=8), np.arange(3), protocol=Protocol())
    with pytest.raises(InputError, match="at least one image"):
        evaluate(Shifted(), dataset(), np.arange(0), protocol=Protocol())
