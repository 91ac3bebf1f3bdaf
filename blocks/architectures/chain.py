"""A chain of convolutions down to a map of one pixel and back, with a second decoder for a mask (Toledo & Antonelo 2021).

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

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import nn

from blocks.architectures.base import ARCHITECTURES, Architecture, Parts
from blocks.conv import convolution
from blocks.errors import must_be
from blocks.heads import GaussianHead

NUM_DOUBLE = 4  # stages of the encoder, from the first, that have two convolutions
_DECODER = ("latent_dim", "image_size", "decoder_widths", "norm", "activation")


@ARCHITECTURES.register("toledo")
class Chain(Architecture):
    """Convolutions down to one pixel and back, of chosen widths, and a mask decoder (Toledo & Antonelo 2021)."""

    made_from: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "encoder_body": ("image_size", "in_channels", "encoder_widths", "norm", "activation"),
        "head": ("image_size", "encoder_widths", "latent_dim", "activation"),
        "stem": ("latent_dim",),
        "decoder_body": _DECODER,
        "output": ("image_size", "in_channels", "decoder_widths"),
        "other": ("mask_width", *_DECODER),
    }

    def check(self) -> None:
        """InputError unless the decoder comes from one pixel to the image's size, and the encoder has no more stages than that.

        Sides are halved and rounded down (144, 72, 36, 18, 9, 4, 2, 1); the decoder goes the same way back.
        """
        size = self.spec.image_size
        halvings = size.bit_length() - 1
        for name, verb in (("decoder_widths", "double a side of 1 (or double it and add 1)"), ("encoder_widths", "halve it")):
            stages = len(getattr(self.spec, name))
            if stages > halvings or (name == "decoder_widths" and stages < halvings):
                bounds = f"at least {2**stages}" if name == "encoder_widths" else f"from {2**stages} to {2 ** (stages + 1) - 1}"
                rule = f"{bounds}, since {name} has {stages} stages that {verb}"
                raise must_be("image_size", rule, size, f"Take {halvings} {name} for this size." if halvings else "")

    def parts(self) -> Parts:
        """The five parts of the network."""
        spec, widths = self.spec, self.spec.encoder_widths
        encoder_body = self._encoder()
        side = spec.image_size >> len(widths)
        # one linear layer to C numbers, with activation and no norm
        reduce = nn.Sequential(nn.Flatten(), nn.Linear(widths[-1] * side * side, widths[-1]), self.activation())
        head = GaussianHead(reduce, widths[-1], spec.latent_dim)
        decoder_body = self._decoder(spec.decoder_widths)
        last = convolution(spec.decoder_widths[-1], spec.in_channels, 3)
        return encoder_body, head, self._as_map(), decoder_body, nn.Sequential(last, nn.Sigmoid())

    def mask_decoder(self) -> nn.Module | None:
        """The whole way from z to the log-odds of the mask, all widths alike; None where the mask's width is 0."""
        spec = self.spec
        if not spec.mask_width:
            return None
        body = self._decoder((spec.mask_width,) * len(spec.decoder_widths))
        return nn.Sequential(self._as_map(), body, convolution(spec.mask_width, 1, 3))

    def _as_map(self) -> nn.Module:
        return nn.Unflatten(1, (self.spec.latent_dim, 1, 1))  # N x latent_dim -> N x latent_dim x 1 x 1

    def _layer(self, conv: nn.Module, width: int) -> list[nn.Module]:
        return [conv, self.norm(width), self.activation()]

    def _encoder(self) -> nn.Sequential:
        """N x in x S x S -> N x last width x S' x S', where S' is S halved once for each width, rounded down each time."""
        channels, stages = self.spec.in_channels, list[nn.Module]()
        for number, width in enumerate(self.spec.encoder_widths):
            layers = self._layer(convolution(channels, width, 3), width)
            if number < NUM_DOUBLE:
                layers += self._layer(convolution(width, width, 3), width)
            stages.append(nn.Sequential(*layers, nn.MaxPool2d(2)))
            channels = width
        return nn.Sequential(*stages)

    def _decoder(self, widths: Sequence[int]) -> nn.Sequential:
        """N x latent_dim x 1 x 1 -> N x last width x S x S; one doubling for each width."""
        sides = [self.spec.image_size >> halvings for halvings in range(len(widths), -1, -1)]  # 1, 2, 4, 9, 18, ... S
        channels, stages = self.spec.latent_dim, list[nn.Module]()
        for width, odd in zip(widths, (side % 2 for side in sides[1:]), strict=True):
            padding = 0 if odd else 1
            up = nn.ConvTranspose2d(channels, width, 3, stride=2, padding=padding, output_padding=padding)
            layers = self._layer(up, width) + self._layer(convolution(width, width, 3), width)
            stages.append(nn.Sequential(*layers))
            channels = width
        return nn.Sequential(*stages)
