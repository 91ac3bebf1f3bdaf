"""What a convolution of a stage is, the registry of all of them, and the one layer that they are made of.

Constructor of the family: `conv(in_channels, out_channels, *, kernel_size, transposed, norm, activation)`.
Shapes: N x in x H x W -> N x out x H x W. Every convolution has a bias; `transposed` gives the form that decoders use. A piece that
ends with a norm of its own has an attribute `ends_with_norm`; the wiring then adds none behind it.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from blocks.errors import must_be
from blocks.registry import Registry

Conv = nn.Conv2d | nn.ConvTranspose2d
CONVS: Registry[Callable[..., nn.Module]] = Registry(
    "conv", "conv(in_channels, out_channels, *, kernel_size, transposed, norm, activation): N x in x H x W -> N x out x H x W"
)


def convolution(in_channels: int, out_channels: int, kernel_size: int, *, transposed: bool = False, groups: int = 1) -> Conv:
    """One convolution with stride 1, a bias and the padding that keeps height and width."""
    if kernel_size % 2 == 0:
        raise must_be("kernel_size", "odd, so that height and width stay", kernel_size)
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    return kind(in_channels, out_channels, kernel_size, padding=kernel_size // 2, groups=groups)
