"""How reconstructions look, by the reporting protocol: similarity, colour, face against background, fine detail.

The same code scores a network and a reference (the mean face, PCA): anything that turns a batch of images in [0, 1] into another.
Everything is measured in float32 image by image on the device, then averaged over images.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ablation.data.base import Dataset
from ablation.machine.device import usable_device
from ablation.measure.quality.colour import delta_e, luma
from ablation.measure.quality.evaluate import PerImage, as_lists, by_side, joined, measured, with_rows
from ablation.measure.quality.losses import ms_ssim_setting
from ablation.measure.quality.lpips_metric import load_lpips

# x and y, in sides of the image, from the upper left corner: the ellipse that overlaps the masks of rendered faces best on average;
# in aligned CelebA crops it holds the face from forehead to chin, while hair, ears and neck lie outside
ELLIPSE_CENTRE, ELLIPSE_HALF_AXES = (0.5, 0.58), (0.24, 0.28)
NUM_BANDS = 8
NYQUIST = 0.5
HIGH = 0.25  # cycles per pixel
# of the original's luma, below which a ratio of powers says nothing; rounding to 8 bits alone makes 1.3e-6 over all frequencies
LEAST_POWER = 1e-9

# what is kept image by image, where it was computed
PER_IMAGE = (
    "ssim", "ms_ssim", "psnr", "l1", "mse", "delta_e", "l1_inside", "l1_outside", "high_frequency", "high_frequency_matched",
    "lpips",
)  # fmt: skip

SIDES = ("inside", "outside")

Reconstruct = Callable[[Tensor], Tensor]


def full_quality(
    reconstruct: Reconstruct,
    dataset: Dataset,
    indices: NDArray[np.int64],
    *,
    device: str | torch.device = "cpu",
    batch_size: int = 32,
) -> tuple[dict[str, Any], dict[str, list[float | None]]]:
    """Quality of reconstructions, averaged over the given images; and image by image, in their order, for intervals over images.

    `reconstruct` takes N x 3 x S x S in [0, 1] on the device and gives as much (clamped here): a network in evaluation mode with
    z = mean, or a reference. A number that could not be measured is absent, and named in the first answer's "not_computed" with
    its reason. In the lists None stands for an image that has no such value. InputError for images smaller than the SSIM window.
    """
    size, device = dataset.image_size, usable_device(device)
    lpips = load_lpips(size, device)
    batches: list[dict[str, Tensor]] = []
    with torch.no_grad():
        for x, rows in with_rows(dataset, indices, device, batch_size):
            y = reconstruct(x).float().clamp(0, 1)
            assert y.shape == x.shape, (y.shape, x.shape)
            batches.append(measured(x, y) | appearance(x, y, face_region(dataset, rows, x.device)))
            if lpips.metric is not None:
                batches[-1]["lpips"] = lpips.metric(x, y)
    values = joined(batches)
    values |= power_ratios(*(values.pop(f"power_{name}") for name in ("original", "reconstruction", "shared")))
    reporting = {**_means(values), **_settings(dataset, lpips.setting), "num_images": len(indices)}
    missing = _reasons(values, size, lpips.reason).items()
    reporting["not_computed"] = {name: reason for name, reason in missing if name not in reporting}
    return reporting, as_lists({name: values[name] for name in PER_IMAGE if name in values})


def appearance(x: Tensor, y: Tensor, inside: Tensor) -> dict[str, Tensor]:
    """What one batch looks like beside its originals x: N values, N x 3 by channel, or N x bands, for each name.

    delta_e: CIE76 averaged over pixels. colour_bias: mean signed error, y - x; colour_error: its size, image by image, which is the
    error of the image's mean colour. l1 and mse inside and outside of the face (`inside`: N or 1 x S x S, nonzero there; NaN for
    an image without a pixel on that side). power_...: `radial_power` of both images' luma, and what they share of it.
    """
    bias = (y - x).mean((2, 3))  # N x 3 x S x S -> N x 3
    sides = {"l1": by_side((x - y).abs().mean(1), inside), "mse": by_side((x - y).square().mean(1), inside)}
    power_original, power_reconstruction, shared = radial_power(luma(x), luma(y))
    return {
        "delta_e": delta_e(x, y).mean((1, 2)),
        "colour_bias": bias,
        "colour_error": bias.abs(),
        **{f"{name}_{side}": value for name, pair in sides.items() for side, value in zip(SIDES, pair, strict=True)},
        "power_original": power_original,
        "power_reconstruction": power_reconstruction,
        "power_shared": shared,
    }


def face_region(dataset: Dataset, rows: NDArray[np.int64], device: torch.device) -> Tensor:
    """Nonzero on the face: the masks of the images where there are any, n x S x S, else one central ellipse, 1 x S x S."""
    if dataset.masks is not None:
        return torch.from_numpy(dataset.masks[rows]).to(device)
    return torch.from_numpy(central_ellipse(dataset.image_size)).to(device)[None]


def central_ellipse(size: int) -> NDArray[np.bool_]:
    """Where an aligned CelebA crop, and a rendered face on average, has its face: S x S, by the centres of the pixels."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    (centre_x, centre_y), (half_x, half_y) = ELLIPSE_CENTRE, ELLIPSE_HALF_AXES
    inside: NDArray[np.bool_] = ((x - centre_x) / half_x) ** 2 + ((y - centre_y) / half_y) ** 2 <= 1
    return inside


def radial_power(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Power by radial spatial frequency of images N x S x S, N x 9 in float64: of the first, of the second, and shared.

    Each image less its (weighted) mean under a Hann window, Fourier transformed, the squares added up within 8 bands of equal width
    up to Nyquist (0.5 cycles per pixel), and in a ninth one beyond it, in the corners. Scaled so that all add up to the variance
    under the window. Shared: the real part of each wave of the second times the conjugate of the first's, added up in the same way;
    it is the first's own power where the second is equal, 0 on average where it is noise, and below 0 for waves turned over.
    """
    size = first.shape[-1]
    line = torch.hann_window(size, periodic=False, device=first.device)
    window = line[:, None] * line  # S -> S x S

    def waves(image: Tensor) -> Tensor:
        return torch.fft.fft2((image - (image * window).sum((1, 2), keepdim=True) / window.sum()) * window)

    def by_band(power: Tensor) -> Tensor:
        return power.double().flatten(1) @ _bands(size, first.device) / (size**2 * window.square().sum())  # N x SS @ SS x 9

    a, b = waves(first), waves(second)
    return by_band(a.abs().square()), by_band(b.abs().square()), by_band((b * a.conj()).real)


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _bands(size: int, device: torch.device) -> Tensor:
    """SS x 9: a 1 in the band of each frequency. In float64, whose products no TF32 rounds."""
    line = torch.fft.fftfreq(size, dtype=torch.float64)
    radius = (line[:, None].square() + line.square()).sqrt().flatten()
    # the last band holds Nyquist itself; a frequency on the border between two belongs to the upper one, whatever rounding says
    number = (radius * (NUM_BANDS / NYQUIST) + 1e-9).long().clamp_max(NUM_BANDS - 1)
    number[radius > NYQUIST + 1e-9] = NUM_BANDS
    return torch.nn.functional.one_hot(number, NUM_BANDS + 1).double().to(device)


def power_ratios(original: NDArray[np.float64], reconstruction: NDArray[np.float64], shared: NDArray[np.float64]) -> PerImage:
    """Power of the reconstruction over the original's, image by image, from `radial_power`: N x 9 each.

    high_frequency: N, from 1/4 cycle per pixel up, the corners included. high_frequency_by_band: N x 8, up to Nyquist.
    high_frequency_matched: as the first, of the power that both share: how much of the original's own detail is shown, whatever
    else is. NaN where the original has no such power.
    """
    first = round(HIGH / NYQUIST * NUM_BANDS)
    return {
        "high_frequency": _ratio(original[:, first:].sum(1), reconstruction[:, first:].sum(1)),
        "high_frequency_matched": _ratio(original[:, first:].sum(1), shared[:, first:].sum(1)),
        "high_frequency_by_band": _ratio(original[:, :NUM_BANDS], reconstruction[:, :NUM_BANDS]),
    }


def _ratio(original: NDArray[np.float64], reconstruction: NDArray[np.float64]) -> NDArray[np.float64]:
    there = original > LEAST_POWER
    return np.where(there, reconstruction / np.where(there, original, 1), np.nan)


def _means(images: PerImage) -> dict[str, Any]:
    """Averages over the images that have a value; a metric that no image has is left out."""
    means: dict[str, Any] = {}
    for name, values in images.items():
        if np.isfinite(values).any(0).all():
            means[name] = np.nanmean(values, 0).tolist()
    return means | ({"colour_error_mean": float(np.mean(means["colour_error"]))} if "colour_error" in means else {})


def _settings(dataset: Dataset, lpips: str) -> dict[str, str]:
    """What a table must say beside the numbers."""
    (x, y), (a, b) = ELLIPSE_CENTRE, ELLIPSE_HALF_AXES
    ellipse = f"a central ellipse for all images, as there are no masks: centre {x:g}, {y:g}, half axes {a:g}, {b:g} of the side"
    masked = dataset.masks is not None
    settings = {
        "ms_ssim_setting": ms_ssim_setting(dataset.image_size)[2],
        "region": "mask" if masked else "ellipse",
        "region_setting": "the mask of each image" if masked else ellipse,
    }
    return settings | ({"lpips_setting": lpips} if lpips else {})


def _reasons(images: PerImage, size: int, lpips: str) -> dict[str, str]:
    """Why each metric would be missing."""
    reasons = {"lpips": lpips, "ms_ssim": ms_ssim_setting(size)[2].removeprefix("not computed: ")}
    if not np.isfinite(images["l1"]).any():
        return reasons | dict.fromkeys([*images, "colour_error_mean"], "no reconstruction is finite")
    sides = {"inside": "no image has a pixel of its face", "outside": "no image has a pixel outside of its face"}
    return reasons | {
        **{f"{name}_{side}": reason for name in ("l1", "mse") for side, reason in sides.items()},
        **dict.fromkeys(("high_frequency", "high_frequency_matched"), "no image has power above 1/4 cycle per pixel"),
        "high_frequency_by_band": f"one of {NUM_BANDS} bands holds no power of any image of {size} px",
    }
