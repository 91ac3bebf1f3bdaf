"""The network of Toledo & Antonelo, "Face Reconstruction with Variational Autoencoder and Face Masks" (ENIAC 2021), part by part.

Every convolution is 3x3 with padding and a bias, followed by norm and activation. Encoder: stages of two convolutions (the first
four) or one (the others) and a 2x2 max-pool, which rounds down: 144, 72, 36, 18, 9, 4, 2, 1. Then a linear layer with activation,
and two linear layers for mean and log-variance. Decoder: z as a 1 x 1 map; pairs of a transposed convolution of stride 2 and a
convolution, back along the same sides. Where a side is odd (4 -> 9), the transposed convolution is unpadded: 2 n + 1. A second
decoder of the same form, narrower, predicts the face mask from the same z.

It follows their released code, with these differences: z is sampled with exp(log-variance / 2), where theirs takes the same output
for a standard deviation in one place and for its logarithm in another; norms have torch's settings (momentum 0.1, epsilon 1e-5)
and weights torch's initialisation; a padded transposed convolution leaves out the first row and column of 2 n + 1, where Keras
leaves out the last, which is the same up to mirroring.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from blocks.basic import Activation, Norm
from blocks.conv import convolution
from blocks.heads import GaussianHead

NUM_DOUBLE = 4  # stages of the encoder, from the first, that have two convolutions


def _layer(conv: nn.Module, width: int, norm: Norm, activation: Activation) -> list[nn.Module]:
    return [conv, norm(width), activation()]


def toledo_encoder(in_channels: int, widths: Sequence[int], norm: Norm, activation: Activation) -> nn.Sequential:
    """N x in x S x S -> N x last width x S' x S', where S' is S halved once for each width, rounded down each time."""
    stages: list[nn.Module] = []
    for number, width in enumerate(widths):
        layers = _layer(convolution(in_channels, width, 3), width, norm, activation)
        if number < NUM_DOUBLE:
            layers += _layer(convolution(width, width, 3), width, norm, activation)
        stages.append(nn.Sequential(*layers, nn.MaxPool2d(2)))
        in_channels = width
    return nn.Sequential(*stages)


def toledo_head(channels: int, side: int, latent_dim: int, activation: Activation) -> GaussianHead:
    """N x C x side x side -> mean and log-variance, behind one linear layer to C numbers, with activation and no norm."""
    reduce = nn.Sequential(nn.Flatten(), nn.Linear(channels * side * side, channels), activation())
    return GaussianHead(reduce, channels, latent_dim)


def toledo_decoder(latent_dim: int, widths: Sequence[int], image_size: int, norm: Norm, activation: Activation) -> nn.Sequential:
    """N x latent_dim x 1 x 1 -> N x last width x S x S; one doubling for each width."""
    sides = [image_size >> halvings for halvings in range(len(widths), -1, -1)]  # 1, 2, 4, 9, 18, ... S
    assert sides[0] == 1, "a spec has as many widths as its image size has halvings"
    channels, stages = latent_dim, list[nn.Module]()
    for width, odd in zip(widths, (side % 2 for side in sides[1:]), strict=True):
        padding = 0 if odd else 1
        up = nn.ConvTranspose2d(channels, width, 3, stride=2, padding=padding, output_padding=padding)
        layers = _layer(up, width, norm, activation) + _layer(convolution(width, width, 3), width, norm, activation)
        stages.append(nn.Sequential(*layers))
        channels = width
    return nn.Sequential(*stages)


def paste(image: Tensor, background: Tensor, mask: Tensor) -> Tensor:
    """mask * image + (1 - mask) * background, exact where the mask is 0 or 1. Images N x C x S x S, mask N x 1 x S x S."""
    return torch.lerp(background, image, mask)


def keras_params(module: nn.Module) -> int:
    """Number of parameters as Keras counts: the running means and variances of batch norms as well."""
    statistics = [b for name, b in module.named_buffers() if name.endswith(("running_mean", "running_var"))]
    return sum(tensor.numel() for tensor in (*module.parameters(), *statistics))
