"""Norms and activations by name. A norm is made from a number of channels, an activation from nothing; both keep the shape."""

from __future__ import annotations

from collections.abc import Callable
from math import gcd

from torch import nn

from blocks.registry import Registry

Norm = Callable[[int], nn.Module]
Activation = Callable[[], nn.Module]

NORMS: Registry[Norm] = Registry("norm", "norm(channels): N x C x H x W, same shape out")
ACTIVATIONS: Registry[Activation] = Registry("activation", "activation(): any shape, same shape out")


@NORMS.register("batch")
def batch(channels: int) -> nn.Module:
    """Batch normalisation over each channel; 2 C parameters (Ioffe & Szegedy 2015)."""
    return nn.BatchNorm2d(channels)


@NORMS.register("group")
def group(channels: int) -> nn.Module:
    """Group normalisation, in 8 groups where the channels allow it; 2 C parameters (Wu & He 2018)."""
    return nn.GroupNorm(gcd(8, channels), channels)


@NORMS.register("none")
def none(channels: int) -> nn.Module:
    """No normalisation."""
    return nn.Identity()


@ACTIVATIONS.register("elu")
def elu() -> nn.Module:
    """Exponential linear unit (Clevert et al. 2016), of all presets."""
    return nn.ELU()


@ACTIVATIONS.register("relu")
def relu() -> nn.Module:
    """Rectified linear unit."""
    return nn.ReLU()


@ACTIVATIONS.register("leaky_relu")
def leaky_relu() -> nn.Module:
    """Rectified linear unit with slope 0.01 below zero."""
    return nn.LeakyReLU()


@ACTIVATIONS.register("silu")
def silu() -> nn.Module:
    """x times its sigmoid, also called swish."""
    return nn.SiLU()


@ACTIVATIONS.register("gelu")
def gelu() -> nn.Module:
    """Gaussian error linear unit, exact form."""
    return nn.GELU()
