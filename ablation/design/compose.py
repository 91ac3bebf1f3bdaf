"""From a spec to a module: the only place where names become classes."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

from ablation.design.spec import ModelSpec
from blocks import ACTIVATIONS, CONNECTIVITIES, CONVS, DOWNS, HEADS, NORMS, UPS, Stage
from blocks.conv import convolution
from blocks.errors import must_be
from blocks.heads import ConvStem, LinearStem
from blocks.toledo import paste, toledo_decoder, toledo_encoder, toledo_head

Parts = tuple[nn.Module, nn.Module, nn.Module, nn.Module, nn.Module]


class VAE(nn.Module):
    """A convolutional VAE with a Gaussian posterior, made of five parts in the order in which they run.

    A network with a mask decoder (`mask_width` of its spec) has a sixth child, which only runs where a mask is asked for: costs and
    latency are those of reconstructing without it, and its parameters count as outside of the five parts.
    """

    parts = ("encoder_body", "head", "stem", "decoder_body", "output")

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        make = {"stages": _staged, "toledo": _toledo}[spec.architecture]
        self.encoder_body, self.head, self.stem, self.decoder_body, self.output = make(spec)
        # the last to be made, so that the five parts have the same weights from a seed with and without it
        masks = spec.mask_width and "mask_width" not in spec.inert
        self.mask_decoder: nn.Module | None = _mask_decoder(spec) if masks else None

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images N x C x S x S in [0, 1] -> mean and log-variance of the posterior, each N x latent_dim."""
        mean, log_var = self.head(self.encoder_body(x))
        return mean, log_var

    def decode(self, z: Tensor) -> Tensor:
        """Latent vectors N x latent_dim -> images N x C x S x S in [0, 1]."""
        image: Tensor = self.output(self.decoder_body(self.stem(z)))
        return image

    def mask_logits(self, z: Tensor) -> Tensor:
        """Latent vectors -> log-odds of the face, N x 1 x S x S; InputError where there is no mask decoder."""
        if self.mask_decoder is None:
            raise must_be("mask_width", "at least 1 for a mask to be predicted", self.spec.mask_width, "Take `toledo_mask`.")
        logits: Tensor = self.mask_decoder(z)
        return logits

    def decode_mask(self, z: Tensor) -> Tensor:
        """Latent vectors -> predicted face masks N x 1 x S x S in [0, 1]."""
        return torch.sigmoid(self.mask_logits(z))

    def reconstruct_with_mask(self, x: Tensor) -> Tensor:
        """Images -> reconstructions from z = mean, the input's background pasted in by the predicted mask (Toledo & Antonelo)."""
        mean, _ = self.encode(x)
        return paste(self.decode(mean), x, self.decode_mask(mean))

    def forward(self, x: Tensor, *, with_mask: bool = False) -> tuple[Tensor, ...]:
        """Images -> (reconstruction, mean, log_var), and the mask's log-odds from the same z where asked for.

        Samples z in training and evaluation alike, as the paper's code does.
        """
        mean, log_var = self.encode(x)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        return (self.decode(z), mean, log_var, *((self.mask_logits(z),) if with_mask else ()))


def build(spec: ModelSpec, seed: int | None = None) -> VAE:
    """The network of a spec, with torch's default initialisation; from `seed`, leaving the global generator alone, if given."""
    if seed is None:
        return _materialised(VAE(spec))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the CPU's alone, where weights are made
        return _materialised(VAE(spec))


def _materialised(model: VAE) -> VAE:
    """A network whose lazy layers know their sizes, by running it once; InputError for one that never runs."""
    if not _lazy(model):
        return model
    spec, training = model.spec, model.training
    with torch.no_grad():
        x = torch.zeros(1, spec.in_channels, spec.image_size, spec.image_size, device=next(model.parameters()).device)
        model.eval()(x, with_mask=model.mask_decoder is not None)
    if _lazy(model):
        remedy = "Remove it, or give its size."
        raise must_be("A lazy layer", "run in a forward pass, which tells its size", _lazy(model)[0], remedy)
    return model.train(training)


def _lazy(model: nn.Module) -> list[str]:
    """Names of the layers that don't know their sizes yet."""
    return [n for n, m in model.named_modules() if isinstance(m, LazyModuleMixin) and m.has_uninitialized_params()]  # type: ignore[misc]


def build_without_weights(spec: ModelSpec) -> VAE:
    """The network of a spec on the meta device, to be counted; with weights where a piece looks at values while it is made."""
    try:
        with torch.device("meta"):
            return build(spec)
    except Exception:
        return build(spec, seed=0)  # raises again what has nothing to do with values


def _staged(spec: ModelSpec) -> Parts:
    norm, activation = NORMS.get(spec.norm), ACTIVATIONS.get(spec.activation)
    first = spec.encoder_stem or spec.in_channels
    stem = [ConvStem(spec.in_channels, spec.encoder_stem, norm, activation)] if spec.encoder_stem else []
    encoder_body = nn.Sequential(*stem, *_encoder_stages(spec, first))
    side = spec.image_size // 2 ** len(spec.encoder_widths)
    head = HEADS.get(spec.head)(spec.encoder_widths[-1], side, spec.latent_dim, head_channels=spec.head_channels)
    side = spec.image_size // 2 ** len(spec.decoder_widths)
    decoder_stem = LinearStem(spec.latent_dim, spec.decoder_stem, side, activation)
    decoder_body = nn.Sequential(*_decoder_stages(spec))
    last = convolution(spec.decoder_widths[-1], spec.in_channels, 3, transposed=spec.transposed)
    return encoder_body, head, decoder_stem, decoder_body, nn.Sequential(last, nn.Sigmoid())


def _toledo(spec: ModelSpec) -> Parts:
    norm, activation = NORMS.get(spec.norm), ACTIVATIONS.get(spec.activation)
    encoder_body = toledo_encoder(spec.in_channels, spec.encoder_widths, norm, activation)
    side = spec.image_size >> len(spec.encoder_widths)
    head = toledo_head(spec.encoder_widths[-1], side, spec.latent_dim, activation)
    stem = _as_map(spec)
    decoder_body = toledo_decoder(spec.latent_dim, spec.decoder_widths, spec.image_size, norm, activation)
    last = convolution(spec.decoder_widths[-1], spec.in_channels, 3)
    return encoder_body, head, stem, decoder_body, nn.Sequential(last, nn.Sigmoid())


def _mask_decoder(spec: ModelSpec) -> nn.Module:
    # the whole way from z to log-odds; all widths alike
    widths = (spec.mask_width,) * len(spec.decoder_widths)
    norm, activation = NORMS.get(spec.norm), ACTIVATIONS.get(spec.activation)
    body = toledo_decoder(spec.latent_dim, widths, spec.image_size, norm, activation)
    return nn.Sequential(_as_map(spec), body, convolution(spec.mask_width, 1, 3))


def _as_map(spec: ModelSpec) -> nn.Module:
    return nn.Unflatten(1, (spec.latent_dim, 1, 1))  # N x latent_dim -> N x latent_dim x 1 x 1


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
