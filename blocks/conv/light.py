"""Convolutions that save multiply-accumulates or memory traffic, each a unit of the network that it was published with.

Where a unit of the source keeps its channels and is asked to change them, a 1x1 convolution, norm and activation do that first.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from blocks.basic import Activation, Norm
from blocks.conv.base import CONVS, convolution


@CONVS.register("partial")
class Partial(nn.Module):
    """k x k on a quarter of the channels, then 1x1 on all (Chen et al. 2023, FasterNet, section 3.2).

    k^2 (in / 4)^2 + in / 4 + in out + out parameters; at least one channel is convolved.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        transposed: bool = False,
        norm: Norm,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.width = max(1, in_channels // 4)
        self.conv = convolution(self.width, self.width, kernel_size, transposed=transposed)
        self.point = convolution(in_channels, out_channels, 1, transposed=transposed)

    def forward(self, x: Tensor) -> Tensor:
        """N x in x H x W -> N x out x H x W."""
        mixed = torch.cat([self.conv(x[:, : self.width]), x[:, self.width :]], dim=1)
        out: Tensor = self.point(mixed)
        return out


def _change(in_channels: int, out_channels: int, transposed: bool, norm: Norm, activation: Activation) -> nn.Module:
    """1x1 convolution, norm and activation where the number of channels has to change; else nothing."""
    point = [convolution(in_channels, out_channels, 1, transposed=transposed), norm(out_channels), activation()]
    return nn.Identity() if in_channels == out_channels else nn.Sequential(*point)


@CONVS.register("inverted_residual")
class InvertedResidual(nn.Module):
    """1x1 to six times the channels, depthwise k x k, 1x1 back, and a shortcut (Sandler et al. 2018, MobileNetV2, section 3.4).

    The shortcut exists where in = out. Norm and activation behind the first two convolutions, a norm alone behind the third.
    """

    ends_with_norm: ClassVar[bool] = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        transposed: bool = False,
        norm: Norm,
        activation: Activation,
    ) -> None:
        super().__init__()
        wide, conv = 6 * in_channels, partial(convolution, transposed=transposed)
        self.layers = nn.Sequential(
            *(conv(in_channels, wide, 1), norm(wide), activation()),
            *(conv(wide, wide, kernel_size, groups=wide), norm(wide), activation()),
            *(conv(wide, out_channels, 1), norm(out_channels)),
        )
        self.has_shortcut = in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """N x in x H x W -> N x out x H x W."""
        out: Tensor = self.layers(x)
        return x + out if self.has_shortcut else out


@CONVS.register("shuffle_unit")
class ShuffleUnit(nn.Module):
    """Half of the channels pass, half go through 1x1, depthwise and 1x1; then a shuffle (Ma et al. 2018, ShuffleNet V2, fig. 3c).

    The activation behind the last 1x1 is the one that the wiring adds. Of an odd number of channels the last is not shuffled.
    """

    ends_with_norm: ClassVar[bool] = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        transposed: bool = False,
        norm: Norm,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.project = _change(in_channels, out_channels, transposed, norm, activation)
        conv = partial(convolution, transposed=transposed)
        self.passing = out_channels // 2
        width = out_channels - self.passing
        self.layers = nn.Sequential(
            *(conv(width, width, 1), norm(width), activation()),
            *(conv(width, width, kernel_size, groups=width), norm(width)),
            *(conv(width, width, 1), norm(width)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """N x in x H x W -> N x out x H x W."""
        x = self.project(x)
        left, right = x[:, : self.passing], self.layers(x[:, self.passing :])
        pairs = torch.stack([left, right[:, : self.passing]], dim=2).flatten(1, 2)  # channels of both halves alternate
        return pairs if right.shape[1] == self.passing else torch.cat([pairs, right[:, self.passing :]], dim=1)


@CONVS.register("convnext")
class ConvNeXt(nn.Module):
    """Depthwise k x k, norm, 1x1 to four times the channels, activation, 1x1 back, shortcut (Liu et al. 2022, ConvNeXt, fig. 4).

    The source has k = 7, layer norm and GELU; here kernel size, norm and activation are the network's. No layer scale, as in
    ConvNeXt V2 (Woo et al. 2023).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        transposed: bool = False,
        norm: Norm,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.project = _change(in_channels, out_channels, transposed, norm, activation)
        conv, wide = partial(convolution, transposed=transposed), 4 * out_channels
        self.layers = nn.Sequential(
            *(conv(out_channels, out_channels, kernel_size, groups=out_channels), norm(out_channels)),
            *(conv(out_channels, wide, 1), activation(), conv(wide, out_channels, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """N x in x H x W -> N x out x H x W."""
        x = self.project(x)
        out: Tensor = x + self.layers(x)
        return out
