"""The loss against hand-derived values, average pooling, pytorch-msssim, torchmetrics and scikit-image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pytorch_msssim
import torch
import torch.nn.functional as F
from pytorch_msssim.ssim import _fspecial_gauss_1d, _ssim
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure as torchmetrics_ssim

from ablation.design.protocol import Protocol
from ablation.measure.quality.losses import (
    C1,
    C2,
    MS_SSIM_WEIGHTS,
    kl_per_dim,
    loss_parts,
    ms_ssim_per_image,
    ms_ssim_setting,
    ssim,
    ssim_per_image,
    window_matrix,
)
from blocks.errors import InputError


def smooth_pair(side: int, num: int = 3, noise: float = 0.1) -> tuple[Tensor, Tensor]:
    """Images with structure, and noisy copies of them."""
    generator = torch.Generator().manual_seed(side)
    x = F.interpolate(torch.rand(num, 3, 6, 6, generator=generator), size=(side, side), mode="bicubic").clamp(0, 1)
    return x, (x + noise * torch.randn(x.shape, generator=generator)).clamp(0, 1)


def pooled_ssim(x: Tensor, y: Tensor, size: int = 11) -> Tensor:
    """The paper's SSIM as its code writes it."""

    def mean(image: Tensor) -> Tensor:
        return F.avg_pool2d(image, size, stride=1, padding=size // 2, count_include_pad=False)

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    return ((2 * mx * my + C1) * (2 * cov + C2) / ((mx**2 + my**2 + C1) * (vx + vy + C2))).mean()


@pytest.mark.parametrize("shape", [(2, 3, 48, 48), (1, 3, 33, 20), (2, 1, 7, 7)])
def test_uniform_window_equals_average_pooling_with_its_gradient(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    ours, theirs = y.clone().requires_grad_(), y.clone().requires_grad_()
    value, expected = ssim(x, ours), pooled_ssim(x, theirs)
    assert value.item() == pytest.approx(expected.item(), abs=1e-13)
    value.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-15)


def test_uniform_window_in_float32_equals_average_pooling_to_rounding() -> None:
    x, y = smooth_pair(48)
    assert ssim(x, y).item() == pytest.approx(pooled_ssim(x, y).item(), abs=2e-5)


@pytest.mark.parametrize("window", ["uniform", "gaussian"])
def test_constant_images_leave_only_the_luminance_term(window: str) -> None:
    x, y = torch.full((2, 3, 16, 16), 0.5, dtype=torch.float64), torch.full((2, 3, 16, 16), 0.25, dtype=torch.float64)
    # both variances and the covariance are 0, so SSIM = (2 * 0.5 * 0.25 + 0.0001) / (0.25 + 0.0625 + 0.0001)
    assert ssim(x, y, window).item() == pytest.approx(0.2501 / 0.3126, abs=1e-12)
    assert ssim(x, x, window).item() == pytest.approx(1.0, abs=1e-12)


def test_window_matrix_rows() -> None:
    uniform = window_matrix(12, "uniform", 11, torch.float64, torch.device("cpu"))
    assert uniform[0].tolist() == pytest.approx([1 / 6] * 6 + [0] * 6)  # pixels 0 .. 5 are within 5 of pixel 0
    assert uniform[5].tolist() == pytest.approx([1 / 11] * 11 + [0])
    gaussian = window_matrix(12, "gaussian", 11, torch.float64, torch.device("cpu"))
    assert gaussian.shape == (2, 12)  # two places where a window of 11 fits into 12
    assert (gaussian[0, 5] / gaussian[0, 6]).item() == pytest.approx(math.exp(1 / 4.5))
    assert gaussian[1, 0].item() == 0


@pytest.mark.parametrize("side", [32, 45])
def test_gaussian_window_agrees_with_three_libraries(side: int) -> None:
    x, y = smooth_pair(side)
    ours = ssim_per_image(x, y)
    msssim = pytorch_msssim.ssim(x, y, data_range=1, size_average=False)
    torch.testing.assert_close(ours, msssim, atol=1e-5, rtol=0)
    # torchmetrics counts the reflected border too: its map without the 5 pixels that the window overhangs is the same
    _, full = torchmetrics_ssim(y, x, data_range=1.0, reduction="none", return_full_image=True)
    torch.testing.assert_close(ours, full[..., 5:-5, 5:-5].mean((1, 2, 3)), atol=1e-4, rtol=0)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0, "channel_axis": 0}
    skimage = [structural_similarity(a.double().numpy(), b.double().numpy(), **settings) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(ours.numpy(), skimage, atol=1e-4, rtol=0)
    assert ssim(x, y, "gaussian").item() == pytest.approx(ours.mean().item(), abs=1e-6)


@pytest.mark.parametrize("side", [24, 33])
def test_a_window_of_nine_agrees_with_pytorch_msssim_and_with_filters_of_scipy(side: int) -> None:
    x, y = smooth_pair(side)
    ours = ssim(x, y, "gaussian", 9).item()
    assert ours == pytest.approx(pytorch_msssim.ssim(x, y, data_range=1, win_size=9).item(), abs=1e-5)

    def mean(image: np.ndarray) -> np.ndarray:
        return gaussian_filter(image, 1.5, radius=4, axes=(2, 3))[..., 4:-4, 4:-4]  # where the whole window fits

    a, b = x.double().numpy(), y.double().numpy()
    ma, mb = mean(a), mean(b)
    va, vb, cov = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    expected = ((2 * ma * mb + C1) * (2 * cov + C2) / ((ma**2 + mb**2 + C1) * (va + vb + C2))).mean()
    assert ours == pytest.approx(expected, abs=1e-5)
    assert abs(ours - ssim(x, y, "gaussian").item()) > 1e-4
    assert ssim(x, y, size=9).item() == pytest.approx(pooled_ssim(x, y, 9).item(), abs=2e-5)


@pytest.mark.parametrize(("side", "window"), [(176, 11), (177, 11), (144, 9), (129, 9)])
def test_ms_ssim_agrees_with_pytorch_msssim_at_five_scales(side: int, window: int) -> None:
    x, y = smooth_pair(side, num=2)
    assert ms_ssim_setting(side)[:2] == (window, 5)
    expected = pytorch_msssim.ms_ssim(x, y, data_range=1, size_average=False, win_size=window)
    torch.testing.assert_close(ms_ssim_per_image(x, y), expected, atol=3e-5, rtol=0)


@pytest.mark.parametrize(("side", "scales"), [(48, 3), (96, 4), (30, 2)])
def test_ms_ssim_at_fewer_scales_is_the_same_product_with_rescaled_weights(side: int, scales: int) -> None:
    x, y = smooth_pair(side, num=2)
    assert ms_ssim_setting(side)[:2] == (11, scales)
    window = _fspecial_gauss_1d(11, 1.5).repeat(3, 1, 1, 1)
    expected, total = torch.ones(2, 3), sum(MS_SSIM_WEIGHTS[:scales])
    for scale, weight in enumerate(MS_SSIM_WEIGHTS[:scales]):
        similarity, structure = _ssim(F.avg_pool2d(x, 2**scale), F.avg_pool2d(y, 2**scale), 1.0, window)
        expected *= (similarity if scale == scales - 1 else structure) ** (weight / total)
    torch.testing.assert_close(ms_ssim_per_image(x, y), expected.mean(1), atol=3e-5, rtol=0)


def test_ms_ssim_setting_by_image_size() -> None:
    assert [ms_ssim_setting(side)[:2] for side in (161, 160, 128, 81, 80, 41, 40, 21)] == [
        (11, 5),
        (9, 5),
        (11, 4),
        (11, 4),
        (11, 3),
        (11, 3),
        (11, 2),
        (11, 2),
    ]
    assert ms_ssim_setting(20) == (0, 0, "not computed: two scales need images of at least 21 px, these have 20")


def test_kl_by_hand() -> None:
    mean, log_var = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, math.log(4)], [0.0, 0.0]])
    # the first image: 1/2 and (4 - 1 - ln 4) / 2; the second: 0 and 0; halved by the mean over the batch
    expected = [0.25, (3 - math.log(4)) / 4]
    assert kl_per_dim(mean, log_var).tolist() == pytest.approx(expected, rel=1e-6)
    x = torch.rand(2, 3, 12, 12)
    assert loss_parts(x, x, mean, log_var, Protocol()).kl.item() == pytest.approx(sum(expected), rel=1e-6)


def test_loss_is_the_weighted_sum_by_hand() -> None:
    x, y, zeros = torch.full((2, 3, 16, 16), 0.5), torch.full((2, 3, 16, 16), 0.25), torch.zeros(2, 4)
    parts = loss_parts(y, x, zeros + 1, zeros, Protocol(kl_weight=0.01))
    # SSIM as above; L1 0.25; KL 4 dimensions of 1/2
    assert [value.item() for value in parts] == pytest.approx(
        [1 - 0.2501 / 0.3126 + 0.125 + 0.02, 0.2501 / 0.3126, 0.25, 2.0], rel=1e-4
    )
    assert loss_parts(y, x, zeros, zeros, Protocol(ssim_weight=0, l1_weight=2)).total.item() == pytest.approx(0.5)


def test_loss_of_low_precision_outputs_is_float32_under_autocast() -> None:
    x, y = smooth_pair(24)
    expected = loss_parts(y.bfloat16().float(), x, torch.zeros(3, 4), torch.zeros(3, 4), Protocol())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        parts = loss_parts(y.bfloat16(), x, torch.zeros(3, 4, dtype=torch.bfloat16), torch.zeros(3, 4), Protocol())
    assert all(value.dtype == torch.float32 for value in parts)
    assert parts.total.item() == expected.total.item()


def test_window_made_during_inference_serves_training() -> None:
    window_matrix.cache_clear()
    y = torch.rand(1, 3, 19, 19, requires_grad=True)
    with torch.inference_mode():
        ssim(torch.rand(1, 3, 19, 19), torch.rand(1, 3, 19, 19))
    ssim(torch.rand(1, 3, 19, 19), y).backward()
    assert y.grad is not None
    assert y.grad.abs().sum() > 0


def test_wrong_input_is_told_in_one_line() -> None:
    x = torch.rand(1, 3, 10, 10)
    with pytest.raises(InputError, match=r"^window must be one of uniform, gaussian\. Got 'box' instead\.$"):
        ssim(x, x, "box")
    with pytest.raises(InputError, match=r"^image_size must be at least 11 for a Gaussian window of 11\. Got 10 instead\.$"):
        ssim(x, x, "gaussian")
    with pytest.raises(InputError, match="at least 21"):
        ms_ssim_per_image(x, x)
