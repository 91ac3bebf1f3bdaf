"""References that tell whether a quality is good: what the mean face and PCA reach, fitted to the same training images.

A reference is a callable that takes N x 3 x S x S images in [0, 1] and gives its reconstructions, clamped to [0, 1]. No gradient
trains it. PCA is the best linear autoencoder with as many latent dimensions as components.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ablation.data.base import Dataset
from ablation.data.batches import Images
from ablation.design.protocol import Protocol
from ablation.machine.device import usable_device
from ablation.measure.quality.appearance import Reconstruct, full_quality
from ablation.measure.quality.losses import loss_parts, part_names
from blocks.errors import InputError, must_be

CHUNK = 512  # images read at a time
FIT_BYTES = 1 << 30  # of the float32 training images that PCA is fitted to; it needs about twice as much memory
OVERSAMPLES, POWER_ITERATIONS = 20, 3  # of the randomised singular value decomposition: Halko, Martinsson and Tropp 2011


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """An affine projection: the mean, and the part of the difference from it that lies along the components."""

    name: str  # "mean face" or "PCA, K components"
    mean: Tensor  # D = 3SS values
    components: Tensor | None = None  # K x D, orthonormal rows
    num_fitted: int  # images that it was fitted to
    notes: tuple[str, ...] = ()  # what a report must say about it
    _by_device: dict[torch.device, tuple[Tensor, Tensor | None]] = field(default_factory=dict, repr=False)

    def __call__(self, x: Tensor) -> Tensor:
        """N x 3 x S x S in [0, 1] on any device -> its reconstruction, clamped."""
        if x[0].numel() != len(self.mean):
            raise must_be("x", f"images of 3SS = {len(self.mean)} values, as {self.name} was fitted to", tuple(x.shape))
        if x.device not in self._by_device:
            moved = None if self.components is None else self.components.to(x.device)
            self._by_device[x.device] = self.mean.to(x.device), moved
        mean, components = self._by_device[x.device]
        flat = mean.expand(len(x), -1)
        if components is not None:
            flat = flat + ((x.flatten(1).float() - mean) @ components.T) @ components  # N x D @ D x K @ K x D
        return flat.reshape(x.shape).clamp(0, 1)

    @property
    def num_parameters(self) -> int:
        """Numbers that it stores: D for the mean, and D for each component."""
        return len(self.mean) + (0 if self.components is None else self.components.numel())

    def describe(self) -> dict[str, Any]:
        """Plain values for provenance."""
        return {"num_parameters": self.num_parameters, "num_fitted": self.num_fitted, "notes": list(self.notes)}


def mean_face(dataset: Dataset, train_indices: NDArray[np.int64]) -> Reference:
    """The mean of the training images, whatever it is given: what a network reaches that ignores its input."""
    _check(dataset, train_indices)
    total = np.zeros(dataset.images.shape[1:], np.int64)
    for rows in _chunks(train_indices):
        total += dataset.images[rows].sum(0, dtype=np.int64)
    mean = torch.from_numpy(total / (255 * len(train_indices))).float().flatten()
    return Reference(name="mean face", mean=mean, num_fitted=len(train_indices))


def pca(
    dataset: Dataset, train_indices: NDArray[np.int64], *, num_components: int = 128, seed: int = 0, max_images: int | None = None
) -> Reference:
    """Principal components of the training images, by scikit-learn's randomised singular value decomposition.

    Fitted to at most `max_images` of them, drawn by `seed`; the default is what 1 GiB holds as float32 (4,315 images of 144 px). A
    note says so. More components than images less one do not exist: then there are as many as exist, and a note says so.
    """
    from sklearn.decomposition import PCA  # takes a second to import

    _check(dataset, train_indices)
    if num_components < 1:
        raise must_be("num_components", "at least 1", num_components)
    num_values = int(np.prod(dataset.images.shape[1:]))
    rows = _subset(train_indices, max_images or max(2, FIT_BYTES // (4 * num_values)), seed)
    exist = min(num_components, len(rows) - 1, num_values)
    if exist < 1:
        raise must_be("train_indices", "at least two images for PCA", len(rows))
    notes = []
    if len(rows) < len(train_indices):
        notes.append(f"PCA was fitted to {len(rows)} of {len(train_indices)} training images, drawn at random with seed {seed}")
    if exist < num_components:
        notes.append(f"PCA has {exist} components instead of {num_components}: {len(rows)} images have no more")
    solver = {"svd_solver": "randomized", "n_oversamples": OVERSAMPLES, "iterated_power": POWER_ITERATIONS, "random_state": seed}
    fitted = PCA(exist, copy=False, **solver).fit(_rows(dataset, rows))
    return Reference(
        name=f"PCA, {exist} components",
        mean=torch.from_numpy(fitted.mean_.astype(np.float32)),
        components=torch.from_numpy(np.ascontiguousarray(fitted.components_, np.float32)),
        num_fitted=len(rows),
        notes=tuple(notes),
    )


def score(
    reference: Reference,
    dataset: Dataset,
    indices: NDArray[np.int64],
    *,
    protocol: Protocol,
    device: str | torch.device = "cpu",
    batch_size: int = 32,
) -> dict[str, Any]:
    """What stands beside the networks' quality: {"quality": {"reporting", "replica"}, "per_image", "num_parameters", ...}."""
    options: dict[str, Any] = {"device": device, "batch_size": batch_size}
    reporting, per_image = full_quality(reference, dataset, indices, **options)
    replica = loss_without_kl(reference, dataset, indices, protocol=protocol, **options)
    return {"quality": {"reporting": reporting, "replica": replica}, "per_image": per_image, **reference.describe()}


def loss_without_kl(
    reconstruct: Reconstruct,
    dataset: Dataset,
    indices: NDArray[np.int64],
    *,
    protocol: Protocol,
    device: str | torch.device = "cpu",
    batch_size: int = 32,
) -> dict[str, Any]:
    """The training loss of reconstructions less its KL term, which a reference does not have; and its parts, unweighted.

    A network's number to compare with is its loss - kl_weight * KL. It samples z, so it pays for its noise here. InputError for a
    protocol with a mask weight: a reference predicts no mask.
    """
    if protocol.mask_weight:
        raise must_be("mask_weight", "0 for a reference, which predicts no mask", protocol.mask_weight)
    images, names = Images(dataset, indices, usable_device(device)), part_names(protocol)
    # mean and log-variance of the prior itself, so that KL is 0
    nothing = torch.zeros(1, 1, device=images.device)
    sums = torch.zeros(len(names), dtype=torch.float64, device=images.device)
    with torch.no_grad():
        for x in images.batches(batch_size):
            sums += len(x) * torch.stack([*loss_parts(reconstruct(x), x, nothing, nothing, protocol)]).double()
    means = dict(zip(names, (sums / len(images)).tolist(), strict=True))
    loss, _ = means.pop("loss"), means.pop("kl")
    return {"loss_without_kl": loss, **means, "ssim_window": protocol.ssim_window, "num_images": len(images)}


def _check(dataset: Dataset, indices: NDArray[np.int64]) -> None:
    if len(indices) == 0:
        raise InputError(f"train_indices must hold at least one image. Got 0 of {len(dataset)} instead. Use more images.")


def _subset(indices: NDArray[np.int64], limit: int, seed: int) -> NDArray[np.int64]:
    """At most `limit` of the indices, sorted, so that a mapped file is read from front to back."""
    chosen = indices if len(indices) <= limit else np.random.default_rng(seed).choice(indices, limit, replace=False)
    return np.sort(np.asarray(chosen))


def _chunks(indices: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    ordered = np.sort(np.asarray(indices))
    return [ordered[start : start + CHUNK] for start in range(0, len(ordered), CHUNK)]


def _rows(dataset: Dataset, indices: NDArray[np.int64]) -> NDArray[np.float32]:
    """Images in [0, 1] as rows: n x 3SS."""
    rows = np.empty((len(indices), int(np.prod(dataset.images.shape[1:]))), np.float32)
    for start in range(0, len(indices), CHUNK):
        part = dataset.images[indices[start : start + CHUNK]]
        np.multiply(part.reshape(len(part), -1), np.float32(1 / 255), out=rows[start : start + CHUNK], casting="unsafe")
    return rows
