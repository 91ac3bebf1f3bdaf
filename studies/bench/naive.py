"""The plain training loop that `bench` compares with: as commonly written, and with the same losses as `train` to rounding.

It decodes and resizes each image with PIL on every epoch, computes SSIM image by image with average pooling (or, for a Gaussian
window, with pytorch-msssim), and reads the loss with `.item()` on every step. It knows no face masks. Order and noise are those of
`train` for the same seed, so that losses can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytorch_msssim
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from ablation.data.batches import epoch_order, seed_noise
from ablation.design.protocol import Protocol
from blocks.errors import must_be


def naive_train_epoch(
    model: nn.Module,
    paths: Sequence[str | Path],
    indices: NDArray[np.int64],
    protocol: Protocol,
    seed: int,
    device: str | torch.device,
    *,
    image_size: int,
) -> list[float]:
    """The first epoch of training on the images `paths[i] for i in indices`; the loss of each step."""
    if protocol.mask_weight:
        raise must_be("mask_weight", "0 for the plain loop, which reads no masks", protocol.mask_weight)
    model.to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=protocol.learning_rate)
    seed_noise(seed, epoch=1)
    order = indices[epoch_order(len(indices), seed, epoch=1).numpy()]
    losses: list[float] = []
    for start in range(0, len(order), protocol.batch_size):
        batch = [_load(paths[index], image_size) for index in order[start : start + protocol.batch_size]]
        x = torch.stack(batch).to(device)
        optimizer.zero_grad()
        reconstruction, mean, log_var = model(x)
        loss = _loss(reconstruction, x, mean, log_var, protocol)
        loss.backward()
        if protocol.clip_norm:
            for parameter in model.parameters():
                nn.utils.clip_grad_norm_(parameter, protocol.clip_norm)
        optimizer.step()
        losses.append(loss.item())
    return losses


def _load(path: str | Path, image_size: int) -> Tensor:
    with Image.open(path) as file:
        image = file.convert("RGB").resize((image_size, image_size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255  # S x S x 3 -> 3 x S x S


def _loss(reconstruction: Tensor, x: Tensor, mean: Tensor, log_var: Tensor, protocol: Protocol) -> Tensor:
    similarities = [_ssim(image[None], target[None], protocol) for image, target in zip(reconstruction, x, strict=True)]
    l1, l2 = F.l1_loss(reconstruction, x), F.mse_loss(reconstruction, x)
    divergence = -0.5 * (1 + log_var - mean**2 - log_var.exp())
    kl = (divergence.mean(dim=1) if protocol.kl_mean else divergence.sum(dim=1)).mean()
    similarity = torch.stack(similarities).mean()
    return protocol.ssim_weight * (1 - similarity) + protocol.l1_weight * l1 + protocol.l2_weight * l2 + protocol.kl_weight * kl


def _ssim(x: Tensor, y: Tensor, protocol: Protocol) -> Tensor:
    if protocol.ssim_window == "gaussian":
        similarity: Tensor = pytorch_msssim.ssim(x, y, data_range=1, win_size=protocol.ssim_size)
        return similarity
    c1, c2 = 0.01**2, 0.03**2
    size = protocol.ssim_size
    mu_x, mu_y = _mean(x, size), _mean(y, size)
    sigma_x, sigma_y = _mean(x * x, size) - mu_x**2, _mean(y * y, size) - mu_y**2
    sigma_xy = _mean(x * y, size) - mu_x * mu_y
    return ((2 * mu_x * mu_y + c1) * (2 * sigma_xy + c2) / ((mu_x**2 + mu_y**2 + c1) * (sigma_x + sigma_y + c2))).mean()


def _mean(x: Tensor, size: int) -> Tensor:
    return F.avg_pool2d(x, size, stride=1, padding=size // 2, count_include_pad=False)
