"""What is sure to fail in training, found before anything is trained: images below the SSIM window, a batch norm over one value."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import nn

from ablation.data.splits import split_sizes
from ablation.design.compose import build
from ablation.design.protocol import Protocol
from ablation.design.spec import ModelSpec
from ablation.measure.quality.losses import WINDOW_SIZE
from blocks.errors import must_be

ONE_VALUE = "more than 1 value per channel"  # of torch's error, which norms raise in training where there is no variance


def check_trainable(specs: Mapping[str, ModelSpec], protocol: Protocol, num_images: int | None = None) -> None:
    """InputError where networks (name -> spec) can't be trained on `num_images` images, or on any number where it is not known."""
    for spec in specs.values():
        least = max(WINDOW_SIZE, protocol.ssim_size)
        if spec.image_size < least:
            raise must_be("image_size (--image-size)", f"at least {least}, the SSIM window", spec.image_size)
    num_train = None if num_images is None else split_sizes(num_images)[0]
    if _has_single(protocol.batch_size, num_train):
        for name, spec in specs.items():
            with torch.device("meta"):
                model = build(spec)
            check_batches(model, protocol, num_train, (spec.in_channels, spec.image_size, spec.image_size), name=name)


def check_batches(
    model: nn.Module, protocol: Protocol, num_train: int | None, shape: tuple[int, ...], *, name: str = "the network"
) -> None:
    """InputError where a batch holds one image alone, and a norm of the network then sees one value per channel: torch refuses it.

    Where maps are larger than 1 x 1, one image (`shape`: C x H x W) is batch enough. Nothing is computed: shapes alone decide. The
    model stays as it is.
    """
    if not _has_single(protocol.batch_size, num_train) or _takes_one(model, shape, protocol):
        return
    size, other = protocol.batch_size, protocol.batch_size + 1
    while _has_single(other, num_train):
        other += 1
    rule = f"such that no training batch holds one image alone, of which a norm of {name} sees one value per channel"
    got = f"{size}" + (f", with {num_train} training images" if num_train is not None else "")
    raise must_be("batch_size (--batch-size)", rule, got, f"Take {other}, or another number of images.")


def _has_single(batch_size: int, num_train: int | None) -> bool:
    """Whether some batch holds one image: each does, or the last one."""
    return batch_size == 1 or (num_train is not None and num_train % batch_size == 1)


def _takes_one(model: nn.Module, shape: tuple[int, ...], protocol: Protocol) -> bool:
    """Whether the network can be trained on a batch of one image, by a forward pass of shapes without values."""
    try:
        shadow = copy.deepcopy(model).to("meta").train()
        x = torch.empty(1, *shape, device="meta")
        shadow(x, with_mask=True) if protocol.mask_weight else shadow(x)
    except ValueError as error:
        return ONE_VALUE not in str(error)
    except Exception:  # a piece that can't do without values: what it raises in training, if anything, is not known
        return True
    return True
