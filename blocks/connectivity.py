"""How the convolutions of one stage are wired: plain, dense or residual.

Constructor of the family: `connectivity(in_channels, out_channels, stage)`. Shapes: N x in x H x W -> N x out x H x W.
The resampling that follows a stage is a family of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from blocks.basic import Activation, Norm
from blocks.registry import Registry

CONNECTIVITIES: Registry[Callable[..., nn.Module]] = Registry(
    "connectivity",
    "connectivity(in_channels, out_channels, stage): N x in x H x W -> N x out x H x W",
    governs=("depth", "growth_rate", "dense_layers", "dense_bottleneck"),
)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a stage is made of: the chosen pieces, ready to call, and the numbers of its wiring."""

    conv: Callable[[int, int], nn.Module]  # (in_channels, out_channels) -> the chosen convolution, 3x3
    # (in_channels, out_channels) -> 1x1 convolution; transposed in a decoder
    project: Callable[[int, int], nn.Module]
    norm: Norm
    activation: Activation
    depth: int = 1  # convolutions of a plain or residual stage
    growth_rate: int = 32  # channels that each dense layer adds
    dense_layers: int = 4
    dense_bottleneck: bool = False  # DenseNet-B: a 1x1 convolution to 4 x growth_rate before each dense layer's convolution

    def normed(self, in_channels: int, out_channels: int) -> list[nn.Module]:
        """The chosen convolution and the norm behind it, if it has none itself."""
        conv = self.conv(in_channels, out_channels)
        return [conv, *([] if getattr(conv, "ends_with_norm", False) else [self.norm(out_channels)])]


@CONNECTIVITIES.register("plain", uses=("depth",))
class Plain(nn.Sequential):
    """Convolution, norm, activation, `depth` times (in `original`; Toledo & Antonelo 2021)."""

    def __init__(self, in_channels: int, out_channels: int, stage: Stage) -> None:
        layers: list[nn.Module] = []
        for i in range(stage.depth):
            layers += [*stage.normed(out_channels if i else in_channels, out_channels), stage.activation()]
        super().__init__(*layers)


class DenseLayer(nn.Module):
    """Norm, activation, convolution to `growth_rate` new channels; optionally behind a 1x1 bottleneck (Huang et al. 2017)."""

    def __init__(self, in_channels: int, stage: Stage) -> None:
        super().__init__()
        growth, wide = stage.growth_rate, 4 * stage.growth_rate
        squeeze: list[nn.Module] = []
        if stage.dense_bottleneck:
            squeeze = [stage.norm(in_channels), stage.activation(), nn.Conv2d(in_channels, wide, 1)]
        width = wide if stage.dense_bottleneck else in_channels
        self.layers = nn.Sequential(*squeeze, stage.norm(width), stage.activation(), stage.conv(width, growth))

    def forward(self, x: Tensor) -> Tensor:
        """N x in x H x W -> N x growth_rate x H x W."""
        new: Tensor = self.layers(x)
        return new


class DenseBlock(nn.Module):
    """Layers that each read the concatenation of the input and all earlier outputs; returns all of it (Huang et al. 2017)."""

    def __init__(self, in_channels: int, stage: Stage) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DenseLayer(in_channels + i * stage.growth_rate, stage) for i in range(stage.dense_layers))
        self.out_channels = in_channels + stage.dense_layers * stage.growth_rate

    def forward(self, x: Tensor) -> Tensor:
        """N x in x H x W -> N x (in + layers * growth_rate) x H x W."""
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)
        return x


@CONNECTIVITIES.register("dense", uses=("growth_rate", "dense_layers", "dense_bottleneck"))
class Dense(nn.Sequential):
    """Dense block, then norm, activation and a 1x1 convolution: DenseNet's transition (in `modified`)."""

    def __init__(self, in_channels: int, out_channels: int, stage: Stage) -> None:
        block = DenseBlock(in_channels, stage)
        super().__init__(block, stage.norm(block.out_channels), stage.activation(), stage.project(block.out_channels, out_channels))


@CONNECTIVITIES.register("residual", uses=("depth",))
class Residual(nn.Module):
    """`depth` convolutions with norm around which a shortcut leads (He et al. 2016; depth 2 is its basic block)."""

    def __init__(self, in_channels: int, out_channels: int, stage: Stage) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(stage.depth):
            layers += [stage.activation()] if i else []
            layers += stage.normed(out_channels if i else in_channels, out_channels)
        self.layers = nn.Sequential(*layers)
        self.shortcut = nn.Identity() if in_channels == out_channels else stage.project(in_channels, out_channels)
        self.activation = stage.activation()

    def forward(self, x: Tensor) -> Tensor:
        """N x in x H x W -> N x out x H x W."""
        out: Tensor = self.activation(self.layers(x) + self.shortcut(x))
        return out
