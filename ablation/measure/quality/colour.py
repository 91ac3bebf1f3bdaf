"""Colour and luminance of images: CIELAB, the CIE76 colour difference, and luma. N x 3 x H x W floats in [0, 1], sRGB.

Constants of IEC 61966-2-1 (sRGB) and CIE 15 (CIELAB), white D65 for the 2 degree observer, with as many digits as scikit-image has,
so that both agree. Products are sums of single channels, which stay in full float32 where matrix products may not (TF32).
"""

from __future__ import annotations

import torch
from torch import Tensor

XYZ_FROM_RGB = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
WHITE = (0.95047, 1.0, 1.08883)
LUMA = (0.2126, 0.7152, 0.0722)  # ITU-R BT.709, whose primaries sRGB shares


def to_lab(x: Tensor) -> Tensor:
    """CIELAB of sRGB images: N x 3 x H x W with L in [0, 100], then a and b, about -110 to 110."""
    linear = torch.where(x > 0.04045, ((x.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4, x / 12.92)
    xyz = [mixed(linear, row) / white for row, white in zip(XYZ_FROM_RGB, WHITE, strict=True)]
    fx, fy, fz = (torch.where(t > 0.008856, t.clamp_min(0.008856) ** (1 / 3), 7.787 * t + 16 / 116) for t in xyz)
    return torch.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], 1)


def delta_e(x: Tensor, y: Tensor) -> Tensor:
    """Colour difference CIE76 at each pixel, the distance in CIELAB: N x H x W; about 2.3 is just noticeable (Mahy et al. 1994)."""
    return (to_lab(x) - to_lab(y)).square().sum(1).sqrt()


def luma(x: Tensor) -> Tensor:
    """Weighted sum of the gamma-encoded channels: N x H x W in [0, 1]."""
    return mixed(x, LUMA)


def mixed(x: Tensor, weights: tuple[float, float, float]) -> Tensor:
    """Weighted sum of the three channels: N x 3 x H x W -> N x H x W."""
    red, green, blue = x.unbind(1)
    return weights[0] * red + weights[1] * green + weights[2] * blue
