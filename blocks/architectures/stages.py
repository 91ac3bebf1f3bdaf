"""Stages of interchangeable pieces. Every stage of the encoder halves height and width, every one of the decoder doubles them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from torch import nn

from blocks.architectures.base import ARCHITECTURES, Architecture, Parts
from blocks.connectivity import CONNECTIVITIES, Stage
from blocks.conv import CONVS, convolution
from blocks.errors import must_be
from blocks.heads import HEADS, ConvStem, LinearStem
from blocks.resampling import DOWNS, UPS

_WIRING = ("norm", "activation", "depth", "kernel_size", "growth_rate", "dense_layers", "dense_bottleneck")


@ARCHITECTURES.register("stages")
class Stages(Architecture):
    """Stages of pieces that are each chosen by itself, for all stages or for each one."""

    made_from: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "encoder_body": (
            "image_size", "in_channels", "encoder_stem", "encoder_widths", "encoder_connectivity", "encoder_conv", "down", *_WIRING,
        ),
        "head": ("image_size", "encoder_widths", "latent_dim", "head", "head_channels"),
        "stem": ("image_size", "latent_dim", "decoder_stem", "decoder_widths", "activation"),
        "decoder_body": (
            "image_size", "decoder_stem", "decoder_widths", "decoder_connectivity", "decoder_conv", "up", "transposed", *_WIRING,
        ),
        "output": ("image_size", "in_channels", "decoder_widths", "transposed"),
        "other": ("latent_dim",),
    }  # fmt: skip

    def check(self) -> None:
        """InputError where the image size can't be halved and doubled as often as there are stages."""
        for name, verb in (("encoder_widths", "halve"), ("decoder_widths", "double")):
            size, stages = self.spec.image_size, len(getattr(self.spec, name))
            step = 2**stages
            if size % step:
                below, above = size // step * step, (size // step + 1) * step
                rule = f"a multiple of {step}, since {name} has {stages} stages that {verb} it"
                raise must_be("image_size", rule, size, f"Take {f'{below} or {above}' if below else above}.")

    def parts(self) -> Parts:
        """The five parts of the network."""
        spec = self.spec
        first = spec.encoder_stem or spec.in_channels
        stem = [ConvStem(spec.in_channels, spec.encoder_stem, self.norm, self.activation)] if spec.encoder_stem else []
        encoder = [*stem, *self._stages("encoder", first, DOWNS.get(spec.down))]
        side = spec.image_size // 2 ** len(spec.encoder_widths)
        head = HEADS.get(spec.head)(spec.encoder_widths[-1], side, spec.latent_dim, head_channels=spec.head_channels)
        side = spec.image_size // 2 ** len(spec.decoder_widths)
        decoder_stem = LinearStem(spec.latent_dim, spec.decoder_stem, side, self.activation)
        decoder = self._stages("decoder", spec.decoder_stem, UPS.get(spec.up))
        last = convolution(spec.decoder_widths[-1], spec.in_channels, 3, transposed=spec.transposed)
        return nn.Sequential(*encoder), head, decoder_stem, nn.Sequential(*decoder), nn.Sequential(last, nn.Sigmoid())

    def _stages(self, side: str, channels: int, resampling: Any) -> list[nn.Module]:
        """The stages of the encoder or decoder, each a wiring of convolutions and what halves or doubles height and width."""
        spec, stages = self.spec, list[nn.Module]()
        widths: Sequence[int] = getattr(spec, f"{side}_widths")
        fields = (f"{side}_connectivity", f"{side}_conv", "depth", "kernel_size")
        choices = zip(*(_for_each(getattr(spec, name), len(widths)) for name in fields), strict=True)
        for width, (connectivity, conv, depth, kernel_size) in zip(widths, choices, strict=True):
            stage = self._stage(conv, depth, kernel_size, decoder=side == "decoder")
            stages.append(nn.Sequential(CONNECTIVITIES.get(connectivity)(channels, width, stage), resampling(width)))
            channels = width
        return stages

    def _stage(self, conv: str, depth: int, kernel_size: int, *, decoder: bool) -> Stage:
        spec, norm, activation = self.spec, self.norm, self.activation
        options = {"kernel_size": kernel_size, "transposed": decoder and spec.transposed, "norm": norm, "activation": activation}
        return Stage(
            conv=partial(CONVS.get(conv), **options),
            project=partial(convolution, kernel_size=1, transposed=decoder),
            norm=norm,
            activation=activation,
            depth=depth,
            growth_rate=spec.growth_rate,
            dense_layers=spec.dense_layers,
            dense_bottleneck=spec.dense_bottleneck,
        )


def _for_each(value: Any, num_stages: int) -> tuple[Any, ...]:
    """One value for each stage, from one for all or one for each."""
    return value if isinstance(value, tuple) else (value,) * num_stages
