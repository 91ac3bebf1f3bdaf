"""Quality of reconstructions under two protocols that are never mixed.

*Replica* does as training does: z sampled, the loss of training, its own SSIM window. *Reporting* is what a table should show:
z = mean, SSIM with the Gaussian 11 / 1.5 window at data range 1, PSNR averaged per image. Both run in float32, whatever precision
trained the network. Images are in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ablation.data.base import Dataset
from ablation.data.batches import Images, derived_seed
from ablation.design.protocol import Protocol
from ablation.machine.device import evaluating, own_randomness, usable_device
from ablation.measure.quality.losses import (
    WINDOW_SIZE,
    check_masks,
    kl_per_dim,
    loss_parts,
    ms_ssim_per_image,
    ms_ssim_setting,
    outputs,
    part_names,
    ssim_per_image,
)
from blocks.errors import must_be

# of the posterior mean over the data, above which a latent dimension counts as active: Burda et al. 2016, section 5.2
ACTIVE_VARIANCE = 0.01
LEAST_MSE = 1e-10  # a perfect image has 100 dB rather than infinity

PerImage = dict[str, NDArray[np.float64]]


def evaluate(
    model: nn.Module,
    dataset: Dataset,
    indices: NDArray[np.int64],
    *,
    device: str | torch.device = "cpu",
    batch_size: int = 32,
    protocol: Protocol,
    seed: int = 0,
    images: PerImage | None = None,
) -> dict[str, dict[str, Any]]:
    """{"replica": ..., "reporting": ...} over the given images; `images` is what `evaluate_images` gave, if it was already run."""
    device = usable_device(device)
    split = Images(dataset, indices, device, masks=protocol.mask_weight > 0)
    replica = sampled_quality(model.to(device), split, batch_size=batch_size, protocol=protocol, seed=seed)
    if images is None:
        images = evaluate_images(model, dataset, indices, device=device, batch_size=batch_size)
    return {"replica": replica, "reporting": summarise(images, dataset.image_size)}


def sampled_quality(model: Callable[..., Any], images: Images, *, batch_size: int, protocol: Protocol, seed: int) -> dict[str, Any]:
    """Mean loss and parts with z sampled, KL per latent dimension and active units: of validation, and of the test split.

    Under a protocol with a mask weight, `images` must hold masks: the loss and all parts are then those of training with masks.
    The noise depends on the seed alone, so that the losses of two epochs differ by their weights; the caller's generators stay as
    they were. Waits for the device once, at the end.
    """
    check_masks(model, protocol)
    names = part_names(protocol)
    sums: Tensor | None = None
    with evaluating(model), torch.no_grad(), own_randomness(images.device, derived_seed(seed, "evaluation")):
        for x, mask in images.pairs(batch_size):
            reconstruction, mean, log_var, *logits = outputs(model, x, mask)
            mean = mean.double()
            parts = torch.stack([*loss_parts(reconstruction, x, mean, log_var, protocol, mask, *logits)])
            batch = len(x) * torch.cat([parts.double(), kl_per_dim(mean, log_var), mean.mean(0), mean.square().mean(0)])
            sums = batch if sums is None else sums + batch
    assert sums is not None, "Images holds at least one image"
    parts, latent = (sums / len(images)).cpu().split([len(names), len(sums) - len(names)])
    kl, first, second = latent.chunk(3)
    return {
        **dict(zip(names, parts.tolist(), strict=True)),
        "kl_per_dim": kl.tolist(),
        "active_units": int((second - first.square() > ACTIVE_VARIANCE).sum()),
        "ssim_window": protocol.ssim_window,
        "ssim_size": protocol.ssim_size,
        "num_images": len(images),
    }


def evaluate_images(
    model: nn.Module, dataset: Dataset, indices: NDArray[np.int64], *, device: str | torch.device = "cpu", batch_size: int = 32
) -> PerImage:
    """Metric -> one value for each image, in the order of `indices`, with z = mean: what intervals over images need.

    ssim, psnr (dB), l1, mse; ms_ssim where the images are large enough; l1_inside and l1_outside of the face where there are masks
    (NaN for an image without a pixel on that side).
    """
    model.to(usable_device(device))
    batches: list[dict[str, Tensor]] = []
    with evaluating(model), torch.no_grad():
        for x, rows in with_rows(dataset, indices, usable_device(device), batch_size):
            y = _reconstruction(model, x)
            batches.append(measured(x, y))
            if dataset.masks is not None:
                inside, outside = by_side((x - y).abs().mean(1), torch.from_numpy(dataset.masks[rows]).to(x.device))
                batches[-1] |= {"l1_inside": inside, "l1_outside": outside}
    return joined(batches)


def with_rows(
    dataset: Dataset, indices: NDArray[np.int64], device: torch.device, batch_size: int
) -> Iterator[tuple[Tensor, NDArray[np.int64]]]:
    """Batches of images with their rows in the data set; InputError for images smaller than the SSIM window."""
    if dataset.image_size < WINDOW_SIZE:
        raise must_be("image_size", f"at least {WINDOW_SIZE}, the SSIM window", dataset.image_size)
    images = Images(dataset, indices, device)
    for number, x in enumerate(images.batches(batch_size)):
        yield x, images.indices[number * batch_size :][: len(x)]


def joined(batches: list[dict[str, Tensor]]) -> PerImage:
    """The values of all batches by name."""
    return {name: torch.cat([batch[name] for batch in batches]).double().cpu().numpy() for name in batches[0]}


def summarise(images: PerImage, image_size: int) -> dict[str, Any]:
    """The reporting protocol's numbers: each metric averaged over images, and the MS-SSIM setting, or why there is none."""
    means = {name: float(np.nanmean(values)) if np.isfinite(values).any() else None for name, values in images.items()}
    _, _, setting = ms_ssim_setting(image_size)
    return {"ms_ssim": None, **means, "ms_ssim_setting": setting, "num_images": len(images["ssim"])}


def measured(x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """ssim, psnr (dB), l1, mse and, where the images are large enough, ms_ssim of one batch in [0, 1]: N values each."""
    mse = (x - y).square().mean((1, 2, 3))
    values = {
        "ssim": ssim_per_image(x, y),
        "psnr": -10 * mse.clamp_min(LEAST_MSE).log10(),
        "l1": (x - y).abs().mean((1, 2, 3)),
        "mse": mse,
    }
    return values | ({"ms_ssim": ms_ssim_per_image(x, y)} if ms_ssim_setting(x.shape[-1])[1] else {})


def by_side(error: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """An error N x S x S averaged where the mask (N or 1 x S x S) is not zero, and where it is: N values each, NaN for no pixel."""
    inside = (mask != 0).to(error.dtype).expand_as(error)
    means = [(error * side).sum((1, 2)) / side.sum((1, 2)) for side in (inside, 1 - inside)]
    return means[0], means[1]


def as_lists(images: PerImage) -> dict[str, list[float | None]]:
    """Per-image values as plain lists for JSON: 6 significant digits, None for NaN."""
    return {name: [float(f"{v:.6g}") if np.isfinite(v) else None for v in values.tolist()] for name, values in images.items()}


def reconstruct(
    model: nn.Module, dataset: Dataset, indices: NDArray[np.int64], device: str | torch.device = "cpu", batch_size: int = 32
) -> NDArray[np.uint8]:
    """Reconstructions with z = mean: N x 3 x S x S, 8 bits, in the order of `indices`."""
    images = Images(dataset, indices, usable_device(device))
    model.to(images.device)
    with evaluating(model), torch.no_grad():
        shown = [(_reconstruction(model, x) * 255).round().to(torch.uint8).cpu() for x in images.batches(batch_size)]
    return torch.cat(shown).numpy()


def _reconstruction(model: Any, x: Tensor) -> Tensor:
    return model.decode(model.encode(x)[0]).float().clamp(0, 1)
