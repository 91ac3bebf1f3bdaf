"""Latent vectors to images and back, in batches, in evaluation mode and float32; and which images are taken."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ablation.data.batches import derived_seed
from ablation.design.compose import VAE
from blocks.errors import must_be


def decoded(model: VAE, latent: NDArray[np.float64], device: torch.device, batch_size: int) -> Tensor:
    """Latent vectors N x D -> images N x 3 x S x S in [0, 1], float32, on the device."""
    batches = torch.from_numpy(latent).to(device, torch.float32).split(batch_size)
    return torch.cat([model.decode(z).float() for z in batches])


def encoded_again(model: VAE, latent: NDArray[np.float64], device: torch.device, batch_size: int) -> NDArray[np.float64]:
    """Latent vectors N x D -> posterior means of the images that they decode to: N x D."""
    batches = torch.from_numpy(latent).to(device, torch.float32).split(batch_size)
    means = torch.cat([model.encode(model.decode(z).float())[0].double() for z in batches])
    return means.cpu().numpy()


def as_bytes(images: Tensor) -> NDArray[np.uint8]:
    """Images in [0, 1] as 8 bits."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def chosen_images(num_images: int, num_chosen: int, seed: int, purpose: str) -> NDArray[np.int64]:
    """Ascending positions of images drawn without replacement: the same for all models with as many images and the seed."""
    order = np.random.default_rng(derived_seed(seed, purpose)).permutation(num_images)
    return np.sort(order[:num_chosen])


def checked_means(name: str, mean: NDArray[np.floating]) -> NDArray[np.float64]:
    """Posterior means as float64; InputError unless they are finite, N x D and at least one."""
    if mean.ndim != 2 or 0 in mean.shape:
        raise must_be(name, "posterior means, N x D with at least one image", mean.shape)
    if not np.isfinite(mean).all():
        raise must_be(name, "finite", f"{int((~np.isfinite(mean)).sum())} values that are not", "Leave a diverged model out.")
    return np.asarray(mean, dtype=np.float64)
