"""Stages of interchangeable pieces. Every stage of the encoder halves height and width, every one of the decoder doubles them.

Without `innermost_resampling`, the last stage of the encoder and the first of the decoder keep them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from torch import nn

from blocks.architectures.base import ARCHITECTURES, Architecture, Layout, Parts, Plan, Recipe, built
from blocks.attention import ATTENTIONS
from blocks.basic import Activation, Norm
from blocks.connectivity import CONNECTIVITIES, Stage
from blocks.conv import CONVS, convolution
from blocks.ends import ENDS, LATENT_STEMS, STEMS, ConvStem
from blocks.errors import must_be
from blocks.heads import HEADS
from blocks.resampling import DOWNS, UPS

_WIRING = ("norm", "activation", "depth", "kernel_size", "growth_rate", "dense_layers", "dense_bottleneck", "attention")
_ENCODER_SIDE = ("image_size", "stem", "stem_factor", "encoder_widths", "innermost_resampling")
_DECODER_SIDE = ("image_size", "end", "end_factor", "decoder_widths", "innermost_resampling")


@ARCHITECTURES.register("stages")
class Stages(Architecture):
    """Stages of pieces that are each chosen by itself, for all stages or for each one."""

    made_from: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "encoder_body": (*_ENCODER_SIDE, "in_channels", "encoder_stem", "encoder_connectivity", "encoder_conv", "down", *_WIRING),
        "head": (*_ENCODER_SIDE, "latent_dim", "head", "head_channels"),
        "stem": (*_DECODER_SIDE, "latent_dim", "decoder_stem", "latent_stem", "stem_channels", "activation"),
        "decoder_body": (*_DECODER_SIDE, "decoder_stem", "decoder_connectivity", "decoder_conv", "up", "transposed", *_WIRING),
        "output": (*_DECODER_SIDE, "in_channels", "transposed"),
        "other": ("latent_dim",),
    }

    def check(self) -> None:
        """InputError where the image size can't be divided by the factor of its end and halved as often as there are stages."""
        for name, end, verb in (("encoder_widths", "stem", "halve"), ("decoder_widths", "end", "double")):
            size, (factor, num) = self.spec.image_size, self._scale(name, end)
            step = factor * 2**num
            if size % step:
                below, above = size // step * step, (size // step + 1) * step
                reason = f"{name} has {num} stages that {verb} it" + (f" and {end}_factor is {factor}" if factor > 1 else "")
                remedy = f"Take {f'{below} or {above}' if below else above}."
                raise must_be("image_size", f"a multiple of {step}, since {reason}", size, remedy)

    def parts(self) -> Parts:
        """The five parts of the network."""
        encoder_body, head, decoder_stem, decoder_body, output = map(built, self.layout())
        return encoder_body, head, decoder_stem, decoder_body, output

    def layout(self) -> Layout:
        """The plans of the five parts."""
        spec = self.spec
        (stem_factor, _), (end_factor, _) = self._scale("encoder_widths", "stem"), self._scale("decoder_widths", "end")
        channels = spec.in_channels * stem_factor**2
        first = spec.encoder_stem or channels
        entry = [Recipe.of(STEMS.get(spec.stem), spec.in_channels, stem_factor=stem_factor)] if stem_factor > 1 else []
        stem = [Recipe.of(ConvStem, channels, spec.encoder_stem, self.norm, self.activation)] if spec.encoder_stem else []
        encoder = (*entry, *stem, *self._stages("encoder", first, DOWNS.get(spec.down)))
        head = Recipe.of(
            HEADS.get(spec.head), spec.encoder_widths[-1], self._side("encoder_widths", "stem"), spec.latent_dim,
            head_channels=spec.head_channels,
        )  # fmt: skip
        decoder_stem = Recipe.of(
            LATENT_STEMS.get(spec.latent_stem), spec.latent_dim, spec.decoder_stem, self._side("decoder_widths", "end"),
            stem_channels=spec.stem_channels, activation=self.activation,
        )  # fmt: skip
        decoder = self._stages("decoder", spec.decoder_stem, UPS.get(spec.up))
        last = Recipe.of(
            ENDS.get(spec.end), spec.decoder_widths[-1], spec.in_channels, end_factor=end_factor, transposed=spec.transposed
        )
        return encoder, head, decoder_stem, decoder, (last, Recipe.of(nn.Sigmoid))

    def _scale(self, widths: str, end: str) -> tuple[int, int]:
        """The factor by which an end changes height and width, and the number of stages that halve or double them."""
        registry = STEMS if end == "stem" else ENDS
        reads = f"{end}_factor" in registry.uses(getattr(self.spec, end))
        num = len(getattr(self.spec, widths)) - (not self.spec.innermost_resampling)
        return getattr(self.spec, f"{end}_factor") if reads else 1, num

    def _side(self, widths: str, end: str) -> int:
        """Height and width of the innermost map."""
        factor, num = self._scale(widths, end)
        return int(self.spec.image_size) // factor // 2**num

    def _stages(self, side: str, channels: int, resampling: Callable[..., nn.Module]) -> tuple[Plan, ...]:
        """The stages of the encoder or decoder, each a wiring of convolutions and what halves or doubles height and width."""
        spec, stages = self.spec, list[Plan]()
        widths: Sequence[int] = getattr(spec, f"{side}_widths")
        fields = (f"{side}_connectivity", f"{side}_conv", "depth", "kernel_size")
        choices = zip(*(_for_each(getattr(spec, name), len(widths)) for name in fields), strict=True)
        innermost = len(widths) - 1 if side == "encoder" else 0
        for number, (width, (connectivity, conv, depth, kernel_size)) in enumerate(zip(widths, choices, strict=True)):
            layers = [self._wiring(side, connectivity, channels, width, conv=conv, depth=depth, kernel_size=kernel_size)]
            if spec.attention != "none":
                layers.append(Recipe.of(ATTENTIONS.get(spec.attention), width, activation=self.activation))
            if spec.innermost_resampling or number != innermost:
                layers.append(Recipe.of(resampling, width))
            stages.append(tuple(layers))
            channels = width
        return tuple(stages)

    def _wiring(self, side: str, connectivity: str, in_channels: int, out_channels: int, *, conv: str, **numbers: int) -> Recipe:
        spec, decoder = self.spec, side == "decoder"
        return Recipe.of(
            wired,
            CONNECTIVITIES.get(connectivity),
            in_channels,
            out_channels,
            conv=CONVS.get(conv),
            norm=self.norm,
            activation=self.activation,
            transposed=decoder and spec.transposed,
            transposed_project=decoder,
            growth_rate=spec.growth_rate,
            dense_layers=spec.dense_layers,
            dense_bottleneck=spec.dense_bottleneck,
            **numbers,
        )


def wired(
    connectivity: Callable[..., nn.Module],
    in_channels: int,
    out_channels: int,
    *,
    conv: Callable[..., nn.Module],
    norm: Norm,
    activation: Activation,
    kernel_size: int,
    transposed: bool,
    transposed_project: bool,
    **numbers: Any,
) -> nn.Module:
    """The wiring of one stage, N x in x H x W -> N x out x H x W; `numbers` are those of `Stage`."""
    options = {"kernel_size": kernel_size, "transposed": transposed, "norm": norm, "activation": activation}
    project = partial(convolution, kernel_size=1, transposed=transposed_project)
    stage = Stage(conv=partial(conv, **options), project=project, norm=norm, activation=activation, **numbers)
    return connectivity(in_channels, out_channels, stage)


def _for_each(value: Any, num_stages: int) -> tuple[Any, ...]:
    """One value for each stage, from one for all or one for each."""
    return value if isinstance(value, tuple) else (value,) * num_stages
