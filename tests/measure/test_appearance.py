"""Appearance of reconstructions against hand-derived values, scikit-image, torchmetrics and numpy's Fourier transform."""

from __future__ import annotations

import hashlib
import json
import math
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_msssim
import torch
from skimage.color import deltaE_cie76, rgb2lab
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn
from torchmetrics.functional.image import peak_signal_noise_ratio as torchmetrics_psnr
from torchmetrics.functional.image import structural_similarity_index_measure as torchmetrics_ssim
from torchmetrics.functional.regression import mean_absolute_error

from ablation.data import load_dataset
from ablation.data.base import Dataset
from ablation.measure.quality import lpips_metric
from ablation.measure.quality.appearance import appearance, central_ellipse, full_quality, radial_power
from ablation.measure.quality.colour import delta_e, luma, to_lab
from ablation.measure.quality.evaluate import evaluate_images
from ablation.measure.quality.losses import MS_SSIM_WEIGHTS, ssim_maps
from ablation.measure.quality.lpips_metric import Network, load_lpips
from blocks.errors import InputError
from tests.small_data import as_dataset

NUM, SIDE = 5, 48
CONTRACT = {
    "ssim", "ms_ssim", "ms_ssim_setting", "psnr", "l1", "mse", "delta_e", "colour_bias", "colour_error", "colour_error_mean",
    "l1_inside", "l1_outside", "mse_inside", "mse_outside", "region", "region_setting", "high_frequency", "high_frequency_by_band",
    "high_frequency_matched", "num_images", "not_computed",
}  # fmt: skip


def smooth(num: int = NUM, side: int = SIDE, channels: int = 3, seed: int = 0) -> Tensor:
    """Images with structure at several scales, every value in 0.05 .. 0.95."""
    torch.manual_seed(seed)
    layers = [nn.functional.interpolate(torch.rand(num, channels, s, s), (side, side), mode="bilinear") for s in (3, 8, 20)]
    image = sum(layers) + 0.1 * torch.rand(num, channels, side, side)
    return 0.05 + 0.9 * image / image.max()


def dataset(num: int = NUM, side: int = SIDE, masks: np.ndarray | None = None) -> Dataset:
    return as_bytes(smooth(num, side), masks=masks)


def as_bytes(images: Tensor, **more: Any) -> Dataset:
    return as_dataset((images * 255).round().to(torch.uint8).numpy(), **more)


def floats(data: Dataset) -> Tensor:
    return torch.from_numpy(data.images).float() / 255


def distorted(x: Tensor) -> Tensor:
    """Blurred, darker, more red, with a little of another image."""
    blurred = nn.functional.avg_pool2d(x, 5, stride=1, padding=2, count_include_pad=False)
    return (0.9 * blurred + 0.05 * x.flip(-1) + torch.tensor([0.06, 0.0, -0.02])[:, None, None]).clamp(0, 1)


def channels_last(x: Tensor) -> np.ndarray:
    return x.double().numpy().transpose(1, 2, 0)


def test_every_number_of_the_contract_and_plain_values() -> None:
    reporting, per_image = full_quality(distorted, dataset(), np.arange(NUM), batch_size=2)
    assert set(reporting) == CONTRACT
    assert reporting["num_images"] == NUM
    assert set(per_image) == {
        "ssim", "ms_ssim", "psnr", "l1", "mse", "delta_e", "l1_inside", "l1_outside", "high_frequency", "high_frequency_matched"
    }  # fmt: skip
    assert json.loads(json.dumps([reporting, per_image], allow_nan=False)) == [reporting, per_image]
    for name, values in per_image.items():
        assert len(values) == NUM
        assert reporting[name] == pytest.approx(np.mean(values), rel=1e-5), name
    assert len(reporting["high_frequency_by_band"]) == 8
    assert reporting["colour_error_mean"] == pytest.approx(np.mean(reporting["colour_error"]))


def test_agrees_with_scikit_image_and_torchmetrics_on_the_same_images() -> None:
    data, order = dataset(), np.array([4, 0, 3])
    reporting, per_image = full_quality(distorted, data, order, batch_size=2)
    x = floats(data)[order]
    y = distorted(x)
    pairs = [(channels_last(a), channels_last(b)) for a, b in zip(x, y, strict=True)]
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0, "channel_axis": -1}
    skimage = {
        "psnr": [peak_signal_noise_ratio(a, b, data_range=1) for a, b in pairs],
        "mse": [mean_squared_error(a, b) for a, b in pairs],
        "ssim": [structural_similarity(a, b, **gaussian) for a, b in pairs],
        "delta_e": [deltaE_cie76(rgb2lab(a), rgb2lab(b)).mean() for a, b in pairs],
    }
    for name, expected in skimage.items():
        np.testing.assert_allclose(per_image[name], expected, atol=1e-4, rtol=0, err_msg=name)
        assert reporting[name] == pytest.approx(np.mean(expected), abs=1e-4), name
    assert reporting["l1"] == pytest.approx(mean_absolute_error(y, x).item(), abs=1e-6)
    mean_psnr = torchmetrics_psnr(y, x, data_range=1.0, reduction="elementwise_mean", dim=(1, 2, 3))
    assert reporting["psnr"] == pytest.approx(mean_psnr.item(), abs=1e-4)
    # torchmetrics counts the reflected border too: its map without the 5 pixels that the window overhangs is the same
    _, full = torchmetrics_ssim(y, x, data_range=1.0, reduction="none", return_full_image=True)
    assert reporting["ssim"] == pytest.approx(full[..., 5:-5, 5:-5].mean().item(), abs=1e-4)


def test_uniform_window_of_the_replica_agrees_with_both_libraries() -> None:
    x = smooth()
    y = distorted(x)
    ours = ssim_maps(x, y, "uniform")[0]
    settings = {"win_size": 11, "use_sample_covariance": False, "data_range": 1.0, "channel_axis": -1, "full": True}
    for a, b, result in zip(x, y, ours, strict=True):
        _, full = structural_similarity(channels_last(a), channels_last(b), **settings)
        # they reflect the border, the paper's code leaves it out: the same wherever the window fits
        inner = full.transpose(2, 0, 1)[:, 5:-5, 5:-5]
        np.testing.assert_allclose(result[:, 5:-5, 5:-5].numpy(), inner, atol=1e-4, rtol=0)
    settings = {"gaussian_kernel": False, "kernel_size": 11, "data_range": 1.0, "reduction": "none", "return_full_image": True}
    _, full = torchmetrics_ssim(y.double(), x.double(), **settings)
    torch.testing.assert_close(ours[..., 5:-5, 5:-5].double(), full[..., 5:-5, 5:-5], atol=1e-4, rtol=0)


def torchmetrics_ms_ssim(x: Tensor, y: Tensor, scales: int) -> Tensor:
    """MS-SSIM composed of torchmetrics' factors of each scale and channel, without the border that it reflects."""
    x, y = x.double().flatten(0, 1)[:, None], y.double().flatten(0, 1)[:, None]  # N x 3 x S x S -> 3N x 1 x S x S
    product = torch.ones(len(x), dtype=torch.float64)
    for scale in range(scales):
        options = {"data_range": 1.0, "reduction": "none"}
        _, factor = torchmetrics_ssim(y, x, return_contrast_sensitivity=True, **options)
        if scale == scales - 1:
            _, full = torchmetrics_ssim(y, x, return_full_image=True, **options)
            factor = full[..., 5:-5, 5:-5].mean((1, 2, 3))
        product *= factor ** (MS_SSIM_WEIGHTS[scale] / sum(MS_SSIM_WEIGHTS[:scales]))
        x, y = (nn.functional.avg_pool2d(image, 2) for image in (x, y))
    return product.view(-1, 3).mean(1)  # 3N -> N


@pytest.mark.parametrize(("side", "scales"), [(176, 5), (96, 4), (48, 3)])
def test_ms_ssim_agrees_with_torchmetrics_and_pytorch_msssim(side: int, scales: int) -> None:
    data = dataset(num=2, side=side)
    reporting, per_image = full_quality(distorted, data, np.arange(2))
    x = floats(data)
    y = distorted(x)
    np.testing.assert_allclose(per_image["ms_ssim"], torchmetrics_ms_ssim(x, y, scales).numpy(), atol=1e-4, rtol=0)
    assert reporting["ms_ssim_setting"].startswith(f"window 11, sigma 1.5, {scales} scales")
    if scales == 5:  # the only number of scales that pytorch-msssim checks its images against
        expected = pytorch_msssim.ms_ssim(x, y, data_range=1, size_average=False)
        np.testing.assert_allclose(per_image["ms_ssim"], expected.numpy(), atol=1e-4, rtol=0)


def test_lab_agrees_with_scikit_image_for_every_colour_of_a_grid() -> None:
    grid = torch.linspace(0, 1, 18)
    x = torch.stack(torch.meshgrid(grid, grid, grid, indexing="ij")).reshape(1, 3, 18, 324)
    expected = rgb2lab(channels_last(x[0])).transpose(2, 0, 1)
    np.testing.assert_allclose(to_lab(x)[0].numpy(), expected, atol=2e-4, rtol=0)
    y = x.flip(1)
    there = deltaE_cie76(rgb2lab(channels_last(x[0])), rgb2lab(channels_last(y[0])))
    np.testing.assert_allclose(delta_e(x, y)[0].numpy(), there, atol=2e-4, rtol=0)


def test_known_colours() -> None:
    colours = torch.tensor([[1.0, 1, 1], [0, 0, 0], [1, 0, 0]])[..., None, None]
    white, black, red = to_lab(colours).squeeze().tolist()
    assert white == pytest.approx([100, 0, 0], abs=0.02)
    assert black == pytest.approx([0, 0, 0], abs=1e-4)
    assert red == pytest.approx([53.24, 80.09, 67.20], abs=0.02)
    assert delta_e(colours[:1], colours[1:2]).item() == pytest.approx(100, abs=0.01)
    assert luma(colours).flatten().tolist() == pytest.approx([1, 0, 0.2126])


def test_colour_shift_by_hand() -> None:
    shift = torch.tensor([0.04, -0.02, 0.0])[:, None, None]
    signs = iter([1, -1, 1, -1])  # one image a batch: the bias cancels over images, the error does not
    reporting, per_image = full_quality(lambda x: x + next(signs) * shift, dataset(), np.arange(4), batch_size=1)
    assert reporting["colour_bias"] == pytest.approx([0, 0, 0], abs=1e-6)
    assert reporting["colour_error"] == pytest.approx([0.04, 0.02, 0], abs=1e-6)
    assert reporting["colour_error_mean"] == pytest.approx(0.02, abs=1e-6)
    assert reporting["l1"] == pytest.approx(0.02, abs=1e-6)
    assert reporting["mse"] == pytest.approx(0.002 / 3, abs=1e-7)
    assert per_image["psnr"] == pytest.approx([-10 * math.log10(0.002 / 3)] * 4, abs=1e-3)
    biased, _ = full_quality(lambda x: x + shift, dataset(), np.arange(4))
    assert biased["colour_bias"] == pytest.approx([0.04, -0.02, 0], abs=1e-6)


def test_mask_separates_the_face_and_says_so() -> None:
    masks = np.zeros((NUM, SIDE, SIDE), np.uint8)
    masks[:, :, : SIDE // 4] = 1
    masks[3] = 0  # no face
    shift = torch.zeros(3, SIDE, SIDE)
    shift[:, :, : SIDE // 4] = 0.03
    reporting, per_image = full_quality(lambda x: x + shift, dataset(masks=masks), np.array([3, 1, 0]), batch_size=2)
    assert per_image["l1_inside"] == [None, pytest.approx(0.03, abs=1e-6), pytest.approx(0.03, abs=1e-6)]
    assert per_image["l1_outside"] == [pytest.approx(0.0075, abs=1e-6), 0, 0]
    assert reporting["l1_inside"] == pytest.approx(0.03, abs=1e-6)
    assert (reporting["mse_inside"], reporting["mse_outside"]) == pytest.approx((0.0009, 0.000225 / 3), abs=1e-7)
    assert (reporting["region"], reporting["region_setting"]) == ("mask", "the mask of each image")
    nobody, _ = full_quality(lambda x: x + shift, dataset(masks=np.zeros_like(masks)), np.arange(NUM))
    assert "l1_inside" not in nobody
    assert nobody["not_computed"]["l1_inside"] == "no image has a pixel of its face"


def test_central_ellipse_where_there_are_no_masks() -> None:
    inside = torch.from_numpy(central_ellipse(SIDE))
    reporting, per_image = full_quality(lambda x: x + 0.02 * inside, dataset(), np.arange(NUM))
    assert (reporting["l1_inside"], reporting["l1_outside"]) == pytest.approx((0.02, 0), abs=1e-6)
    assert per_image["l1_inside"] == pytest.approx([0.02] * NUM, abs=1e-6)
    assert reporting["region"] == "ellipse"
    assert reporting["region_setting"].startswith("a central ellipse for all images, as there are no masks")
    assert inside.double().mean().item() == pytest.approx(math.pi * 0.24 * 0.28, abs=0.003)


def test_central_ellipse_is_where_rendered_faces_are(tmp_path: Path) -> None:
    faces = load_dataset("faces", image_size=32, limit=80, cache_dir=tmp_path)
    masks = faces.masks > 0

    def overlap(ellipse: np.ndarray) -> float:
        return ((masks & ellipse).sum((1, 2)) / (masks | ellipse).sum((1, 2))).mean()

    here = overlap(central_ellipse(32))
    assert here > 0.64
    for step in ((5, 0), (-5, 0), (0, 5), (0, -5)):
        assert overlap(np.roll(central_ellipse(32), step, (0, 1))) < here - 0.1


def wave(cycles: float, side: int = SIDE, amplitude: float = 0.1) -> Tensor:
    return 0.5 + amplitude * torch.sin(2 * math.pi * cycles * torch.arange(side) / side)[None, None, None].expand(1, 3, side, side)


def test_power_of_a_wave_lies_in_its_band() -> None:
    for cycles, band in ((5, 1), (10, 3), (13, 4), (22, 7)):  # of 48 px: bands are 3 cycles wide
        power = radial_power(*[luma(wave(cycles))] * 2)[0][0]
        share = power / power.sum()
        assert share[band].item() > 0.6  # the Hann window spreads a wave over 4 cycles
        assert share[[b for b in range(9) if abs(b - band) > 1]].sum().item() < 1e-4
    # without the leak of the mean: a constant has no power at all
    assert max(power.max().item() for power in radial_power(*[torch.full((1, SIDE, SIDE), 0.7)] * 2)) < 1e-12


def test_power_agrees_with_numpy() -> None:
    image = smooth(2)[:, 0]
    window = np.outer(np.hanning(SIDE), np.hanning(SIDE))
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE)))
    for picture, result in zip(image.double().numpy(), radial_power(image, image)[1].numpy(), strict=True):
        centred = (picture - np.average(picture, weights=window)) * window
        power = np.abs(np.fft.fft2(centred)) ** 2 / SIDE**2 / (window**2).sum()
        assert result.sum() == pytest.approx((centred**2).sum() / (window**2).sum(), rel=1e-4)  # Parseval: the variance
        sums = [power[(radius * 16 + 1e-9 >= b) & (radius * 16 + 1e-9 < b + 1)].sum() for b in range(8)]
        sums[7] += power[np.isclose(radius, 0.5)].sum()
        np.testing.assert_allclose(result[:8], sums, rtol=1e-3)
        assert result[8] == pytest.approx(power[radius > 0.5 + 1e-9].sum(), rel=1e-3)


def test_half_the_amplitude_is_a_quarter_of_the_power() -> None:
    data = as_bytes(wave(20) + wave(4) - 0.5)
    softer, _ = full_quality(lambda x: x - (wave(20) - 0.5) / 2, data, np.arange(1))
    assert softer["high_frequency"] == pytest.approx(0.25, abs=0.01)
    assert softer["high_frequency_matched"] == pytest.approx(0.5, abs=0.01)  # half of the wave that is there
    assert softer["high_frequency_by_band"][6] == pytest.approx(0.25, abs=0.01)
    assert softer["high_frequency_by_band"][1] == pytest.approx(1, abs=0.01)
    noisy, _ = full_quality(lambda x: x + (wave(20) - 0.5), data, np.arange(1))
    assert noisy["high_frequency"] == pytest.approx(4, abs=0.1)
    assert noisy["high_frequency_matched"] == pytest.approx(2, abs=0.05)
    turned, _ = full_quality(lambda x: x - 2 * (wave(20) - 0.5), data, np.arange(1))
    assert (turned["high_frequency"], turned["high_frequency_matched"]) == pytest.approx((1, -1), abs=0.02)


def test_noise_of_the_original_s_power_matches_nothing() -> None:
    """As much power as the original, and none of its detail: other waves of the same frequencies."""
    down = wave(20).transpose(2, 3)
    data = as_bytes(wave(20) + wave(4) - 0.5)
    result, _ = full_quality(lambda x: x - wave(20) + down, data, np.arange(1))
    assert result["high_frequency"] == pytest.approx(1, abs=0.02)
    assert result["high_frequency_matched"] == pytest.approx(0, abs=0.02)


def test_shared_power_agrees_with_numpy() -> None:
    first, second = smooth(2)[:, 0], distorted(smooth(2))[:, 0]
    window = np.outer(np.hanning(SIDE), np.hanning(SIDE))

    def waves(picture: np.ndarray) -> np.ndarray:
        return np.fft.fft2((picture - np.average(picture, weights=window)) * window)

    shared = radial_power(first, second)[2].numpy()
    for a, b, result in zip(first.double().numpy(), second.double().numpy(), shared, strict=True):
        expected = (waves(b) * waves(a).conj()).real.sum() / SIDE**2 / (window**2).sum()
        assert result.sum() == pytest.approx(expected, rel=1e-4)


def test_an_original_without_detail_has_no_ratio() -> None:
    flat = as_dataset(np.full((2, 3, SIDE, SIDE), 99, np.uint8))
    reporting, per_image = full_quality(distorted, flat, np.arange(2))
    assert per_image["high_frequency"] == [None, None]
    assert not {"high_frequency", "high_frequency_by_band"} & set(reporting)
    assert reporting["not_computed"]["high_frequency"] == "no image has power above 1/4 cycle per pixel"
    json.dumps(reporting, allow_nan=False)


def test_a_network_that_diverged_has_no_numbers_but_reasons() -> None:
    reporting, per_image = full_quality(lambda x: x * torch.nan, dataset(), np.arange(2))
    assert per_image["ssim"] == [None, None]
    assert {reporting["not_computed"][name] for name in CONTRACT & set(reporting["not_computed"])} == {
        "no reconstruction is finite"
    }
    assert set(reporting) | set(reporting["not_computed"]) == CONTRACT | {"lpips"}
    assert {"ssim", "ms_ssim", "l1_inside", "colour_error_mean", "high_frequency"} < set(reporting["not_computed"])
    json.dumps(reporting, allow_nan=False)


def test_agrees_with_what_training_stores_and_leaves_no_gradient() -> None:
    layer = nn.Conv2d(3, 3, 3, padding=1)

    class Model(nn.Module):
        def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return layer(x).sigmoid(), x

        def decode(self, z: Tensor) -> Tensor:
            assert not z.requires_grad
            return z

    model, data = Model(), dataset()
    _, per_image = full_quality(lambda x: model.decode(model.encode(x)[0]), data, np.arange(NUM), batch_size=2)
    for name, values in evaluate_images(model, data, np.arange(NUM), batch_size=3).items():
        np.testing.assert_allclose(per_image[name], values, rtol=2e-5, err_msg=name)


def test_small_images_say_what_they_lack() -> None:
    reporting, _ = full_quality(distorted, dataset(side=16), np.arange(2))
    assert set(reporting["not_computed"]) == {"lpips", "ms_ssim", "high_frequency_by_band"}
    assert reporting["not_computed"]["ms_ssim"] == "two scales need images of at least 21 px, these have 16"
    with pytest.raises(InputError, match=r"^image_size must be at least 11, the SSIM window\. Got 8 instead\.$"):
        full_quality(distorted, dataset(side=8), np.arange(2))
    with pytest.raises(InputError, match="at least one image"):
        full_quality(distorted, dataset(), np.arange(0))


def test_out_of_range_is_clamped_and_a_wrong_shape_is_refused() -> None:
    bright, _ = full_quality(lambda x: x + 5, dataset(), np.arange(2))
    assert bright["l1"] == pytest.approx((1 - floats(dataset())[:2]).mean().item(), abs=1e-6)
    with pytest.raises(AssertionError):
        full_quality(lambda x: x[:, :1], dataset(), np.arange(2))


# LPIPS


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever would download fails loudly."""

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a download was tried")

    for name in ("load_state_dict_from_url", "download_url_to_file"):
        monkeypatch.setattr(torch.hub, name, refuse)
    monkeypatch.setattr("urllib.request.urlopen", refuse)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """A cache of torch's hub of its own; a call puts a file there, whose digest the network's file name has."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)

    def put(content: bytes = b"weights", **fields: object) -> Path:
        name = f"alexnet-{hashlib.sha256(content).hexdigest()[:8]}.pth"
        monkeypatch.setattr(lpips_metric, "NETWORKS", (Network(name="alex", weights=name, least_size=31),))
        path = tmp_path / "hub" / "checkpoints" / name
        path.write_bytes(content)
        return path

    return put


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A package called lpips whose distance is the mean squared difference in [-1, 1]; it warns and draws as the true one does."""

    class Distance(nn.Module):
        def __init__(self, net: str, verbose: bool) -> None:
            super().__init__()
            warnings.warn("the parameter 'pretrained' is deprecated", UserWarning, stacklevel=1)
            assert (net, verbose) == ("alex", False)
            self.drawn = torch.rand(3)
            self.dropout = nn.Dropout()

        def forward(self, x: Tensor, y: Tensor, normalize: bool = False) -> Tensor:
            assert normalize and not self.dropout.training
            return (2 * x - 2 * y).square().mean((1, 2, 3), keepdim=True)

    module = types.ModuleType("lpips")
    module.LPIPS = Distance
    monkeypatch.setattr(lpips_metric, "_version", lambda: "0.1.4")
    monkeypatch.setitem(sys.modules, "lpips", module)
    return module


@pytest.mark.usefixtures("no_network", "hub")
def test_lpips_is_absent_with_a_reason_and_never_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)  # as if it was not installed, wherever this runs
    reporting, per_image = full_quality(distorted, dataset(), np.arange(2))
    assert "lpips" not in reporting
    assert "lpips" not in per_image
    assert "lpips_setting" not in reporting
    assert reporting["not_computed"] == {"lpips": load_lpips(SIDE).reason}
    assert load_lpips(SIDE).reason == "the package lpips is not installed; no part of it is needed for anything else"


@pytest.mark.usefixtures("no_network", "package")
def test_lpips_without_weights_with_damaged_ones_and_for_small_images(hub: Callable[..., Path]) -> None:
    files = "alexnet-owt-7be5be79.pth nor vgg16-397923af.pth"
    assert load_lpips(SIDE).reason == f"neither {files} is in torch's hub cache, and weights are never downloaded here"
    path = hub()
    assert load_lpips(SIDE).reason == ""
    assert load_lpips(30).reason == "LPIPS on alex needs images of at least 31 px, these have 30"
    path.write_bytes(b"weig")
    assert load_lpips(SIDE).reason == f"{path.name} in torch's hub cache is damaged: its SHA-256 is not the one in its name"


@pytest.mark.usefixtures("no_network")
def test_lpips_is_computed_where_all_is_there(hub: Callable[..., Path], package: types.ModuleType) -> None:
    hub()
    before = torch.get_rng_state()
    reporting, per_image = full_quality(distorted, dataset(), np.arange(NUM), batch_size=2)
    assert torch.equal(before, torch.get_rng_state())
    assert per_image["lpips"] == pytest.approx([4 * v for v in per_image["mse"]], rel=1e-4)
    assert reporting["lpips"] == pytest.approx(4 * reporting["mse"], rel=1e-4)
    assert (reporting["lpips_setting"], reporting["not_computed"]) == ("lpips 0.1.4, alex", {})


@pytest.mark.usefixtures("no_network")
def test_lpips_that_cannot_be_loaded_is_a_reason(hub: Callable[..., Path], package: types.ModuleType) -> None:
    hub()
    package.LPIPS = None
    assert load_lpips(SIDE).metric is None
    assert load_lpips(SIDE).reason == "lpips could not be loaded: TypeError: 'NoneType' object is not callable"


def test_batch_values_have_one_row_an_image() -> None:
    x = smooth(3)
    shapes = {name: tuple(v.shape) for name, v in appearance(x, distorted(x), torch.ones(1, SIDE, SIDE)).items()}
    assert {name for name, shape in shapes.items() if shape != (3,)} == {
        "colour_bias", "colour_error", "power_original", "power_reconstruction", "power_shared"
    }  # fmt: skip
    assert shapes["colour_bias"] == (3, 3)
    assert shapes["power_original"] == (3, 9)
