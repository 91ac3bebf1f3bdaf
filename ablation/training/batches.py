"""Batches of one split: 8-bit images kept on the device where they fit, their order, and the seeds of every epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ablation.data.base import Dataset
from blocks.errors import InputError, must_be

DEVICE_SHARE = 0.4
# of the free device memory that the images of one split may take
UPLOAD_ROWS = 1024


def derived_seed(seed: int, *purpose: str | int) -> int:
    """A seed for one purpose of one run, e.g. derived_seed(0, "order", 3): streams never overlap by accident."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


def epoch_order(num_images: int, seed: int, epoch: int) -> Tensor:
    """The order in which training takes the images of its split in one epoch (from 1): a permutation of 0 .. num_images - 1."""
    return torch.randperm(num_images, generator=torch.Generator().manual_seed(derived_seed(seed, "order", epoch)))


def seed_noise(seed: int, epoch: int) -> None:
    """Seeds torch's global generators, from which a VAE draws z, for one epoch of training."""
    torch.manual_seed(derived_seed(seed, "noise", epoch))


def usable_device(device: str | torch.device) -> torch.device:
    """The device, with its index; InputError where torch cannot use it."""
    try:
        found = torch.device(device)
    except RuntimeError:
        raise must_be("device", "cpu, cuda or cuda:N", str(device)) from None
    if found.type not in ("cpu", "cuda"):
        raise must_be("device", "cpu, cuda or cuda:N", str(device))
    if found.type == "cuda" and not torch.cuda.is_available():
        raise InputError("device must be one that this machine has. Got 'cuda' instead, and torch sees no GPU. Use --device cpu.")
    if found.type == "cuda" and found.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    if found.type == "cuda" and found.index >= torch.cuda.device_count():
        raise must_be("device", f"cuda:0 to cuda:{torch.cuda.device_count() - 1}", str(device))
    return found


class Images:
    """The images of one split as float batches in [0, 1] on a device.

    On CUDA the 8-bit images are uploaded once where they fit; else, and on a CPU, each batch is gathered from the (memory-mapped)
    array. Positions count within the split.
    """

    def __init__(self, dataset: Dataset, indices: NDArray[np.int64], device: torch.device, *, channels_last: bool = False) -> None:
        if len(indices) == 0:
            raise InputError(f"split must have at least one image in each part. Got 0 of {len(dataset)} instead. Use more images.")
        self.source, self.indices, self.device = dataset.images, np.asarray(indices), device
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.resident = self._upload() if device.type == "cuda" and self._fits() else None

    def __len__(self) -> int:
        return len(self.indices)

    def batches(self, batch_size: int, order: Tensor | None = None, start: int = 0) -> Iterator[Tensor]:
        """Batches N x 3 x S x S in the given order of positions, from batch number `start`; the last one may be smaller."""
        order = torch.arange(len(self)) if order is None else order
        if self.resident is not None:
            order = order.to(self.device)
        for positions in order.split(batch_size)[start:]:
            yield self._gather(positions).to(torch.float32, memory_format=self.format).div_(255)

    def _gather(self, positions: Tensor) -> Tensor:
        if self.resident is not None:
            return self.resident.index_select(0, positions)
        batch = torch.from_numpy(self.source[self.indices[positions.numpy()]])
        return batch.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else batch

    def _fits(self) -> bool:
        num_bytes = len(self) * int(np.prod(self.source.shape[1:]))
        return num_bytes <= DEVICE_SHARE * torch.cuda.mem_get_info(self.device)[0]

    def _upload(self) -> Tensor:
        resident = torch.empty(len(self), *self.source.shape[1:], dtype=torch.uint8, device=self.device)
        for start in range(0, len(self), UPLOAD_ROWS):
            rows = self.source[self.indices[start : start + UPLOAD_ROWS]]
            resident[start : start + len(rows)] = torch.from_numpy(rows).to(self.device)
        return resident
