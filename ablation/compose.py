"""From a spec to a module: the only place where names become classes."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from ablation.spec import ModelSpec
from blocks import ACTIVATIONS, CONNECTIVITIES, CONVS, DOWNS, HEADS, NORMS, UPS, Stage
from blocks.conv import convolution
from blocks.heads import ConvStem, LinearStem


class VAE(nn.Module):
    """A convolutional VAE with a Gaussian posterior, made of five parts in the order in which they run."""

    parts = ("encoder_body", "head", "stem", "decoder_body", "output")

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        norm, activation = NORMS.get(spec.norm), ACTIVATIONS.get(spec.activation)
        first = spec.encoder_stem or spec.in_channels
        stem = [ConvStem(spec.in_channels, spec.encoder_stem, norm, activation)] if spec.encoder_stem else []
        self.encoder_body = nn.Sequential(*stem, *_encoder_stages(spec, first))
        side = spec.image_size // 2 ** len(spec.encoder_widths)
        self.head = HEADS.get(spec.head)(spec.encoder_widths[-1], side, spec.latent_dim, head_channels=spec.head_channels)
        side = spec.image_size // 2 ** len(spec.decoder_widths)
        self.stem = LinearStem(spec.latent_dim, spec.decoder_stem, side, activation)
        self.decoder_body = nn.Sequential(*_decoder_stages(spec))
        self.output = nn.Sequential(
            convolution(spec.decoder_widths[-1], spec.in_channels, 3, transposed=spec.transposed), nn.Sigmoid()
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images N x C x S x S in [0, 1] -> mean and log-variance of the posterior, each N x latent_dim."""
        mean, log_var = self.head(self.encoder_body(x))
        return mean, log_var

    def decode(self, z: Tensor) -> Tensor:
        """Latent vectors N x latent_dim -> images N x C x S x S in [0, 1]."""
        image: Tensor = self.output(self.decoder_body(self.stem(z)))
        return image

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images -> (reconstruction, mean, log_var). Samples z in training and evaluation alike, as the paper's code does."""
        mean, log_var = self.encode(x)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        return self.decode(z), mean, log_var


def build(spec: ModelSpec, seed: int | None = None) -> VAE:
    """The network of a spec, with torch's default initialisation; from `seed`, leaving the global generator alone, if given."""
    if seed is None:
        return VAE(spec)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the CPU's alone, where weights are made
        return VAE(spec)


def _stage(spec: ModelSpec, conv: str, *, decoder: bool) -> Stage:
    norm, activation = NORMS.get(spec.norm), ACTIVATIONS.get(spec.activation)
    transposed = decoder and spec.transposed
    return Stage(
        conv=partial(CONVS.get(conv), transposed=transposed, norm=norm, activation=activation),
        project=partial(convolution, kernel_size=1, transposed=decoder),
        norm=norm,
        activation=activation,
        depth=spec.depth,
        growth_rate=spec.growth_rate,
        dense_layers=spec.dense_layers,
        dense_bottleneck=spec.dense_bottleneck,
    )


def _encoder_stages(spec: ModelSpec, channels: int) -> list[nn.Module]:
    stage = _stage(spec, spec.encoder_conv, decoder=False)
    stages: list[nn.Module] = []
    for width in spec.encoder_widths:
        body = CONNECTIVITIES.get(spec.encoder_connectivity)(channels, width, stage)
        stages.append(nn.Sequential(body, DOWNS.get(spec.down)(width)))
        channels = width
    return stages


def _decoder_stages(spec: ModelSpec) -> list[nn.Module]:
    stage, channels = _stage(spec, spec.decoder_conv, decoder=True), spec.decoder_stem
    stages: list[nn.Module] = []
    for width in spec.decoder_widths:
        body = CONNECTIVITIES.get(spec.decoder_connectivity)(channels, width, stage)
        stages.append(nn.Sequential(body, UPS.get(spec.up)(width)))
        channels = width
    return stages
