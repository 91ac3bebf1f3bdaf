"""Convolutions of one kernel size that keep height and width, each also in the transposed form that decoders use.

Constructor of the family: `conv(in_channels, out_channels, *, kernel_size, transposed, norm, activation)`.
Shapes: N x in x H x W -> N x out x H x W. Every convolution has a bias.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from blocks.basic import Activation, Norm
from blocks.errors import must_be
from blocks.registry import Registry

CONVS: Registry[Callable[..., nn.Module]] = Registry(
    "conv", "conv(in_channels, out_channels, *, kernel_size, transposed, norm, activation): N x in x H x W -> N x out x H x W"
)


def convolution(in_channels: int, out_channels: int, kernel_size: int, *, transposed: bool = False, groups: int = 1) -> nn.Module:
    """One convolution with stride 1, a bias and the padding that keeps height and width."""
    if kernel_size % 2 == 0:
        raise must_be("kernel_size", "odd, so that height and width stay", kernel_size)
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    return kind(in_channels, out_channels, kernel_size, padding=kernel_size // 2, groups=groups)


@CONVS.register("standard")
def standard(
    in_channels: int, out_channels: int, *, kernel_size: int = 3, transposed: bool = False, norm: Norm, activation: Activation
) -> nn.Module:
    """One full convolution; in x out x k x k + out parameters."""
    return convolution(in_channels, out_channels, kernel_size, transposed=transposed)


@CONVS.register("separable")
def separable(
    in_channels: int, out_channels: int, *, kernel_size: int = 3, transposed: bool = False, norm: Norm, activation: Activation
) -> nn.Module:
    """Depthwise, then pointwise convolution (Chollet 2017, Xception)."""
    return nn.Sequential(
        convolution(in_channels, in_channels, kernel_size, transposed=transposed, groups=in_channels),
        convolution(in_channels, out_channels, 1, transposed=transposed),
    )


@CONVS.register("pointwise_first")
def pointwise_first(
    in_channels: int, out_channels: int, *, kernel_size: int = 3, transposed: bool = False, norm: Norm, activation: Activation
) -> nn.Module:
    """Pointwise convolution, norm, activation, then depthwise convolution on the narrow channels (in `modified`)."""
    return nn.Sequential(
        convolution(in_channels, out_channels, 1, transposed=transposed),
        norm(out_channels),
        activation(),
        convolution(out_channels, out_channels, kernel_size, transposed=transposed, groups=out_channels),
    )
