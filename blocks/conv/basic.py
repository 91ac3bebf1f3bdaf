"""The convolutions of the two models: full, separable, and pointwise first."""

from __future__ import annotations

from torch import nn

from blocks.basic import Activation, Norm
from blocks.conv.base import CONVS, convolution


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
