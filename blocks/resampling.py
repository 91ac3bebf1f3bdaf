"""Pieces that halve (down) or double (up) height and width and keep the channels.

Constructor of both families: `piece(channels)`. Down: N x C x H x W -> N x C x floor(H/2) x floor(W/2), the last row or
column of an odd size being dropped; up: N x C x H x W -> N x C x 2H x 2W.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from blocks.registry import Registry

DOWNS: Registry[Callable[..., nn.Module]] = Registry("down", "down(channels): N x C x H x W -> N x C x floor(H/2) x floor(W/2)")
UPS: Registry[Callable[..., nn.Module]] = Registry("up", "up(channels): N x C x H x W -> N x C x 2H x 2W")


def even(x: Tensor) -> Tensor:
    """N x C x H x W without the last row or column where H or W is odd, as pooling drops them."""
    height, width = x.shape[-2:]
    return x if height % 2 == 0 and width % 2 == 0 else x[..., : height - height % 2, : width - width % 2]


@DOWNS.register("max")
def max_pool(channels: int) -> nn.Module:
    """2x2 max-pooling; no parameters (in `original`)."""
    return nn.MaxPool2d(2)


@DOWNS.register("avg")
def avg_pool(channels: int) -> nn.Module:
    """2x2 average pooling; no parameters (in `modified`)."""
    return nn.AvgPool2d(2)


@DOWNS.register("strided")
class Strided(nn.Module):
    """3x3 convolution with stride 2; 9 C^2 + C parameters."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """N x C x H x W -> N x C x floor(H/2) x floor(W/2)."""
        out: Tensor = self.conv(even(x))
        return out


@DOWNS.register("unshuffle")
class Unshuffle(nn.Module):
    """Space to depth, then a 1x1 convolution back to C; 4 C^2 + C parameters (Shi et al. 2016, inverted)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.unshuffle = nn.PixelUnshuffle(2)
        self.conv = nn.Conv2d(4 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """N x C x H x W -> N x C x floor(H/2) x floor(W/2)."""
        out: Tensor = self.conv(self.unshuffle(even(x)))
        return out


@DOWNS.register("residual_unshuffle")
class ResidualUnshuffle(Unshuffle):
    """`unshuffle` and, without parameters, the means of each four channels of the space to depth (Chen et al. 2025, DC-AE, fig. 4).

    4 C^2 + C parameters. With as many channels behind as before, the shortcut is average pooling.
    """

    def forward(self, x: Tensor) -> Tensor:
        """N x C x H x W -> N x C x floor(H/2) x floor(W/2)."""
        deep = self.unshuffle(even(x))  # N x 4C x H/2 x W/2, the four pixels of a channel side by side
        out: Tensor = self.conv(deep) + deep.unflatten(1, (-1, 4)).mean(2)
        return out


@UPS.register("nearest")
def nearest(channels: int) -> nn.Module:
    """Nearest-neighbour upsampling; no parameters (in `original` and `modified`)."""
    return nn.Upsample(scale_factor=2, mode="nearest")


@UPS.register("bilinear")
def bilinear(channels: int) -> nn.Module:
    """Bilinear upsampling, corners not aligned; no parameters."""
    return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)


@UPS.register("transposed")
def transposed(channels: int) -> nn.Module:
    """2x2 transposed convolution with stride 2; 4 C^2 + C parameters."""
    return nn.ConvTranspose2d(channels, channels, 2, stride=2)


@UPS.register("shuffle")
def shuffle(channels: int) -> nn.Module:
    """1x1 convolution to 4 C, then depth to space; 4 C^2 + 4 C parameters (Shi et al. 2016)."""
    return nn.Sequential(nn.Conv2d(channels, 4 * channels, 1), nn.PixelShuffle(2))


@UPS.register("residual_shuffle")
class ResidualShuffle(nn.Module):
    """`shuffle` and, without parameters, each channel four times before depth to space (Chen et al. 2025, DC-AE, fig. 4).

    4 C^2 + 4 C parameters. With as many channels behind as before, the shortcut is nearest-neighbour upsampling.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4 * channels, 1)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """N x C x H x W -> N x C x 2H x 2W."""
        out: Tensor = self.shuffle(self.conv(x) + x.unsqueeze(2).expand(-1, -1, 4, -1, -1).flatten(1, 2))
        return out
