"""The two ends of a network in image space, and the decoder's first layers.

Constructors of the families: `stem(in_channels, *, stem_factor)`: N x C x H x W -> N x C f^2 x H / f x W / f;
`end(channels, image_channels, *, end_factor, transposed)`: N x C x H x W -> N x image channels x f H x f W, before the sigmoid;
`latent_stem(latent_dim, width, side, *, stem_channels, activation)`: N x latent_dim -> N x width x side x side.
f is the factor where the piece reads it, else 1.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from blocks.basic import Activation, Norm
from blocks.conv import convolution
from blocks.registry import Registry

STEMS: Registry[Callable[..., nn.Module]] = Registry(
    "stem", "stem(in_channels, *, stem_factor): N x C x H x W -> N x C f^2 x H / f x W / f", governs=("stem_factor",)
)
ENDS: Registry[Callable[..., nn.Module]] = Registry(
    "end",
    "end(channels, image_channels, *, end_factor, transposed): N x C x H x W -> N x image channels x f H x f W",
    governs=("end_factor",),
)
LATENT_STEMS: Registry[Callable[..., nn.Module]] = Registry(
    "latent_stem",
    "latent_stem(latent_dim, width, side, *, stem_channels, activation): N x latent_dim -> N x width x side x side",
    governs=("stem_channels",),
)


@STEMS.register("full", uses=())
def full(in_channels: int, *, stem_factor: int) -> nn.Module:
    """The encoder begins at the image's own resolution (in `original` and `modified`)."""
    return nn.Identity()


@STEMS.register("space_to_depth")
def space_to_depth(in_channels: int, *, stem_factor: int) -> nn.Module:
    """Squares of f x f pixels become f^2 times the channels: no work at full resolution (Shi et al. 2016, inverted)."""
    return nn.PixelUnshuffle(stem_factor)


@ENDS.register("conv", uses=())
def conv(channels: int, image_channels: int, *, end_factor: int, transposed: bool) -> nn.Module:
    """3x3 convolution to the image's channels (in `original` and `modified`)."""
    return convolution(channels, image_channels, 3, transposed=transposed)


@ENDS.register("depth_to_space")
def depth_to_space(channels: int, image_channels: int, *, end_factor: int, transposed: bool) -> nn.Module:
    """3x3 convolution to f^2 times the image's channels, then squares of f x f pixels (Shi et al. 2016, section 3.2)."""
    wide = image_channels * end_factor**2
    return nn.Sequential(convolution(channels, wide, 3, transposed=transposed), nn.PixelShuffle(end_factor))


@LATENT_STEMS.register("linear", uses=())
class LinearStem(nn.Sequential):
    """Linear layer from the latent vector to `width` x side x side, activation (in `original` and `modified`)."""

    def __init__(self, latent_dim: int, width: int, side: int, *, stem_channels: int = 1, activation: Activation) -> None:
        # N x latent_dim -> N x width * side * side -> N x width x side x side
        super().__init__(nn.Linear(latent_dim, width * side * side), activation(), nn.Unflatten(1, (width, side, side)))


@LATENT_STEMS.register("squeezed")
class SqueezedStem(nn.Sequential):
    """Linear layer to `stem_channels` x side x side, activation, 1x1 to `width`, activation: the bottleneck head's counterpart.

    L c side^2 + c side^2 + c width + width parameters (1x1 reduction as in Szegedy et al. 2015, section 4).
    """

    def __init__(self, latent_dim: int, width: int, side: int, *, stem_channels: int, activation: Activation) -> None:
        narrow = LinearStem(latent_dim, stem_channels, side, activation=activation)
        super().__init__(*narrow, convolution(stem_channels, width, 1), activation())


class ConvStem(nn.Sequential):
    """First layers of an encoder: 3x3 convolution to `width` channels, norm, activation (in `modified`)."""

    def __init__(self, in_channels: int, width: int, norm: Norm, activation: Activation) -> None:
        super().__init__(convolution(in_channels, width, 3), norm(width), activation())
