"""Encoder heads, from the last feature map to the parameters of the posterior.

Constructor of the family: `head(channels, side, latent_dim, *, head_channels)`.
Shapes: N x channels x side x side -> (mean, log_var), each N x latent_dim.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from blocks.registry import Registry

HEADS: Registry[Callable[..., nn.Module]] = Registry(
    "head",
    "head(channels, side, latent_dim, *, head_channels): N x C x side x side -> (mean, log_var), each N x latent_dim",
    governs=("head_channels",),
)


class GaussianHead(nn.Module):
    """Two linear layers, for mean and log-variance, behind a reduction of the feature map to `features` numbers."""

    def __init__(self, reduce: nn.Module, features: int, latent_dim: int) -> None:
        super().__init__()
        self.reduce = reduce
        self.mean = nn.Linear(features, latent_dim)
        self.log_var = nn.Linear(features, latent_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """N x C x side x side -> mean and log-variance, each N x latent_dim."""
        features = self.reduce(x)  # N x features
        return self.mean(features), self.log_var(features)


@HEADS.register("flatten", uses=())
def flatten(channels: int, side: int, latent_dim: int, *, head_channels: int) -> nn.Module:
    """All positions to two linear layers; 2 (C side^2 L + L) parameters (in `original`)."""
    return GaussianHead(nn.Flatten(), channels * side * side, latent_dim)


@HEADS.register("pooled", uses=())
def pooled(channels: int, side: int, latent_dim: int, *, head_channels: int) -> nn.Module:
    """Global average pool to C, then two linear layers; 2 (C L + L) parameters (in `modified`)."""
    return GaussianHead(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), channels, latent_dim)


@HEADS.register("bottleneck", uses=("head_channels",))
def bottleneck(channels: int, side: int, latent_dim: int, *, head_channels: int) -> nn.Module:
    """1x1 convolution to `head_channels`, then flatten: keeps positions at a fraction of flatten's parameters."""
    reduce = nn.Sequential(nn.Conv2d(channels, head_channels, 1), nn.Flatten())
    return GaussianHead(reduce, head_channels * side * side, latent_dim)
