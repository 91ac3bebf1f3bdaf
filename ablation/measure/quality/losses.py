"""The loss: (1 - SSIM) + 0.5 L1 + 1e-3 KL, with the structural similarity under a uniform or a Gaussian window.

A protocol may add the mean squared error, and a face mask (Toledo & Antonelo 2021): the true mask pastes the input's background
into the reconstruction before it is compared, and a second decoder's prediction of it is compared by cross-entropy and Dice.

Images are N x C x H x W floats in [0, 1]. Every function returns tensors and never waits for the device. A window is applied as two
products with a banded matrix, one along each axis: on a CPU this is 6 times faster than the 11 x 11 average pooling that it equals,
backward pass included. Source: Wang et al. 2004 for SSIM; Milletari et al. 2016 for Dice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ablation.design.protocol import SSIM_WINDOWS, Protocol
from blocks.errors import choices, must_be

C1, C2 = 0.01**2, 0.03**2
WINDOW_SIZE, SIGMA = 11, 1.5
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang, Simoncelli and Bovik 2003, as in pytorch-msssim
DICE_SMOOTH = 1.0


@dataclass(frozen=True)
class LossParts:
    """Scalar tensors of one batch; `total` is the weighted sum, the others are unweighted. Iterates as `part_names` says."""

    total: Tensor
    ssim: Tensor
    l1: Tensor
    kl: Tensor
    l2: Tensor | None = None
    mask: Tensor | None = None

    def __iter__(self) -> Iterator[Tensor]:
        every = (self.total, self.ssim, self.l1, self.kl, self.l2, self.mask)
        return (part for part in every if part is not None)


def part_names(protocol: Protocol) -> tuple[str, ...]:
    """Names of the loss and of its parts under a protocol, in the order of `LossParts`."""
    return ("loss", "ssim", "l1", "kl", *(("l2",) if protocol.l2_weight else ()), *(("mask",) if protocol.mask_weight else ()))


def outputs(network: Callable[..., Any], x: Tensor, mask: Tensor | None) -> Any:
    """One forward pass: reconstruction, mean, log-variance, and the mask's log-odds where there is a true mask to compare with."""
    return network(x) if mask is None else network(x, with_mask=True)


def loss_parts(
    reconstruction: Tensor,
    x: Tensor,
    mean: Tensor,
    log_var: Tensor,
    protocol: Protocol,
    mask: Tensor | None = None,
    mask_logits: Tensor | None = None,
) -> LossParts:
    """The loss of one batch and its parts, in float32 whatever precision the network ran in.

    `mask` N x S x S, 1 on the face, and `mask_logits` N x 1 x S x S belong to a protocol with a mask weight, and to no other. All
    parts but KL and `mask` are then those of the pasted image: no gradient reaches the reconstruction outside of the face.
    """
    assert (mask is not None) == (mask_logits is not None) == (protocol.mask_weight > 0)
    with torch.autocast(x.device.type, enabled=False):
        # lerp is exact where the mask is 0 or 1
        image = reconstruction.float() if mask is None else torch.lerp(x, reconstruction.float(), mask[:, None])
        # without a weight it is only logged
        similarity = ssim(x, image if protocol.ssim_weight else image.detach(), protocol.ssim_window, protocol.ssim_size)
        l1 = (image - x).abs().mean()
        kl = kl_per_dim(mean, log_var).mean() if protocol.kl_mean else kl_per_dim(mean, log_var).sum()
        total = protocol.ssim_weight * (1 - similarity) + protocol.l1_weight * l1 + protocol.kl_weight * kl
        l2 = (image - x).square().mean() if protocol.l2_weight else None
        total = total if l2 is None else total + protocol.l2_weight * l2
        faces = None if mask is None or mask_logits is None else mask_loss(mask_logits, mask)
        total = total if faces is None else total + protocol.mask_weight * faces
    return LossParts(total, similarity, l1, kl, l2, faces)


def mask_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy in nats, and 1 - Dice averaged over images: log-odds N x 1 x S x S, masks N x S x S, one value."""
    logits = logits[:, 0].float()
    return F.binary_cross_entropy_with_logits(logits, mask) + 1 - dice(logits.sigmoid(), mask).mean()


def dice(predicted: Tensor, mask: Tensor) -> Tensor:
    """Overlap of each image's masks, both N x S x S in [0, 1]: (2 p m + 1) / (p^2 + m^2 + 1), each summed over pixels; N values."""
    both, squares = (predicted * mask).sum((1, 2)), (predicted.square() + mask.square()).sum((1, 2))
    return (2 * both + DICE_SMOOTH) / (squares + DICE_SMOOTH)


def kl_per_dim(mean: Tensor, log_var: Tensor) -> Tensor:
    """Divergence of N(mean, exp(log_var)) from N(0, 1) in nats for each latent dimension, averaged over the batch: D values."""
    mean, log_var = mean.float(), log_var.float()
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).mean(0)


def ssim(x: Tensor, y: Tensor, window: str = "uniform", size: int = WINDOW_SIZE) -> Tensor:
    """Structural similarity averaged over pixels, channels and images: one value."""
    return ssim_maps(x, y, window, size)[0].mean()


def ssim_per_image(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity of each image, averaged over its pixels and channels: N values."""
    return ssim_maps(x, y, "gaussian")[0].mean((1, 2, 3))


def ms_ssim_setting(image_size: int) -> tuple[int, int, str]:
    """Window size, number of scales (0 where the images are too small) and both in words.

    The coarsest scale must hold the window: 11 with 5 scales needs more than 160 px, 9 with 5 scales more than 128 px; smaller
    images take window 11 with as many scales as fit, the weights of those scales rescaled to add up to 1.
    """
    for window, scales in ((11, 5), (9, 5), (11, 4), (11, 3), (11, 2)):
        if image_size > (window - 1) * 2 ** (scales - 1):
            weights = "" if scales == len(MS_SSIM_WEIGHTS) else ", their weights rescaled to add up to 1"
            return window, scales, f"window {window}, sigma 1.5, {scales} scales{weights}"
    return 0, 0, f"not computed: two scales need images of at least 21 px, these have {image_size}"


def ms_ssim_per_image(x: Tensor, y: Tensor) -> Tensor:
    """Multi-scale SSIM of each image under `ms_ssim_setting`: N values."""
    window, scales, _ = ms_ssim_setting(x.shape[-1])
    if not scales:
        raise must_be("image_size", "at least 21 for two scales of MS-SSIM", x.shape[-1])
    weights = torch.tensor(MS_SSIM_WEIGHTS[:scales]) / sum(MS_SSIM_WEIGHTS[:scales])
    result = torch.ones(x.shape[:2], device=x.device)
    for scale, weight in enumerate(weights.tolist()):
        if scale:
            padding = [side % 2 for side in x.shape[2:]]
            x, y = (torch.nn.functional.avg_pool2d(image, 2, padding=padding) for image in (x, y))
        similarity, structure = ssim_maps(x, y, "gaussian", window)
        factor = similarity if scale == scales - 1 else structure
        result = result * factor.mean((2, 3)).relu() ** weight
    return result.mean(1)  # N x C -> N


def ssim_maps(x: Tensor, y: Tensor, window: str, size: int = WINDOW_SIZE) -> tuple[Tensor, Tensor]:
    """The similarity at each pixel, and its contrast-structure factor, which MS-SSIM needs by itself.

    "uniform" pads as avg_pool2d(padding=size // 2, count_include_pad=False) does and keeps H x W; "gaussian" (sigma 1.5) keeps only
    where the whole window fits: (H - size + 1) x (W - size + 1). Both need products in full float32 (torch's default): TF32 is too
    coarse for the variances.
    """
    if window not in SSIM_WINDOWS:
        raise must_be("window", choices(SSIM_WINDOWS), window)
    x, y = x.contiguous(), y.contiguous()
    rows, columns = (window_matrix(side, window, size, x.dtype, x.device) for side in x.shape[-2:])
    mean_x, mean_y, square_x, square_y, product = (rows @ (image @ columns.T) for image in (x, y, x * x, y * y, x * y))
    mean_xy, mean_xx, mean_yy = mean_x * mean_y, mean_x * mean_x, mean_y * mean_y
    structure = (2 * (product - mean_xy) + C2) / (square_x - mean_xx + square_y - mean_yy + C2)
    return (2 * mean_xy + C1) / (mean_xx + mean_yy + C1) * structure, structure


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # a matrix first made during inference must serve training as well
@torch.no_grad()
def window_matrix(side: int, window: str, size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The matrix whose product with a column of `side` pixels averages it under the window; each row adds up to 1."""
    offset = torch.arange(side, dtype=torch.float64)[None] - torch.arange(side)[:, None]
    weights = (offset.abs() <= size // 2).double()
    if window == "gaussian":
        if side < size:
            raise must_be("image_size", f"at least {size} for a Gaussian window of {size}", side)
        weights = (weights * torch.exp(-offset.square() / (2 * SIGMA**2)))[size // 2 : side - size // 2]
    return (weights / weights.sum(1, keepdim=True)).to(device, dtype)


def check_masks(model: object, protocol: Protocol) -> None:
    """InputError where the protocol needs a mask decoder that the network lacks."""
    if protocol.mask_weight and getattr(model, "mask_decoder", None) is None:
        remedy = "Take a network with a mask decoder, such as `toledo_mask`, or set mask_weight to 0."
        raise must_be("mask_weight", "0 for a network without a mask decoder", protocol.mask_weight, remedy)
