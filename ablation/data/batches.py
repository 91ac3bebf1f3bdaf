"""Batches of one split: 8-bit images kept on the device where they fit, their order, and the seeds of every epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ablation.data.base import Dataset
from blocks.errors import InputError, must_be

DEVICE_SHARE = 0.4  # of the free device memory that the images of one split may take
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


class Images:
    """The images of one split as float batches in [0, 1] on a device, with their face masks where asked for.

    On CUDA the 8-bit images and masks are uploaded once where they fit; else, and on a CPU, each batch is gathered from the
    (memory-mapped) arrays. Positions count within the split. InputError where the split is empty, or masks are missing.
    """

    def __init__(
        self,
        dataset: Dataset,
        indices: NDArray[np.int64],
        device: torch.device,
        *,
        channels_last: bool = False,
        masks: bool = False,
    ) -> None:
        if len(indices) == 0:
            raise InputError(f"split must have at least one image in each part. Got 0 of {len(dataset)} instead. Use more images.")
        if masks and dataset.masks is None:
            remedy = "Use rendered faces or a folder of masks beside the images, or set mask_weight to 0."
            raise must_be("The data set", "one with face masks, since mask_weight is not 0", dataset.name, remedy)
        self.indices, self.device = np.asarray(indices), device
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        sources = [dataset.images, *([dataset.masks] if masks and dataset.masks is not None else [])]
        self.resident = device.type == "cuda" and self._fits(sources)
        self.rows = [_Rows(source, self.indices, device, resident=self.resident) for source in sources]

    def __len__(self) -> int:
        return len(self.indices)

    def batches(self, batch_size: int, order: Tensor | None = None, start: int = 0) -> Iterator[Tensor]:
        """Batches N x 3 x S x S in the given order of positions, from batch number `start`; the last one may be smaller."""
        return (x for x, _ in self.pairs(batch_size, order, start))

    def pairs(self, batch_size: int, order: Tensor | None = None, start: int = 0) -> Iterator[tuple[Tensor, Tensor | None]]:
        """The same batches, each with its masks N x S x S, 1 on the face; None without masks."""
        order = torch.arange(len(self)) if order is None else order
        if self.resident:
            order = order.to(self.device)
        for positions in order.split(batch_size)[start:]:
            x, *masks = (rows.gather(positions) for rows in self.rows)
            x = x.to(torch.float32, memory_format=self.format).div_(255)
            yield x, masks[0].to(torch.float32) if masks else None

    def _fits(self, sources: Sequence[NDArray[np.uint8]]) -> bool:
        num_bytes = len(self) * sum(int(np.prod(source.shape[1:])) for source in sources)
        return num_bytes <= DEVICE_SHARE * torch.cuda.mem_get_info(self.device)[0]


class _Rows:
    """Rows of one 8-bit array on a device: uploaded once, or gathered batch by batch."""

    def __init__(self, source: NDArray[np.uint8], indices: NDArray[np.int64], device: torch.device, *, resident: bool) -> None:
        self.source, self.indices, self.device = source, indices, device
        self.resident = self._upload() if resident else None

    def gather(self, positions: Tensor) -> Tensor:
        if self.resident is not None:
            return self.resident.index_select(0, positions)
        batch = torch.from_numpy(self.source[self.indices[positions.numpy()]])
        return batch.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else batch

    def _upload(self) -> Tensor:
        resident = torch.empty(len(self.indices), *self.source.shape[1:], dtype=torch.uint8, device=self.device)
        for start in range(0, len(self.indices), UPLOAD_ROWS):
            rows = self.source[self.indices[start : start + UPLOAD_ROWS]]
            resident[start : start + len(rows)] = torch.from_numpy(rows).to(self.device)
        return resident
