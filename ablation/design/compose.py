"""From a spec to a module."""

from __future__ import annotations

import copy
from typing import TypeVar, overload

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

from ablation.design.callable_spec import CallableSpec
from ablation.design.network import AnySpec
from ablation.design.spec import ModelSpec
from blocks import ARCHITECTURES
from blocks.errors import must_be

M = TypeVar("M", bound=nn.Module)


def sampled(mean: Tensor, log_var: Tensor) -> Tensor:
    """A draw from the posterior N(mean, exp(log_var)), of the same shape: what a network does outside of its five parts."""
    return mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)


class VAE(nn.Module):
    """A convolutional VAE with a Gaussian posterior, made of five parts in the order in which they run.

    A network with a mask decoder (`mask_width` of its spec) has a sixth child, which only runs where a mask is asked for: costs and
    latency are those of reconstructing without it, and its parameters count as outside of the five parts.
    """

    parts = ("encoder_body", "head", "stem", "decoder_body", "output")

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        architecture = ARCHITECTURES.get(spec.architecture)(spec)
        self.encoder_body, self.head, self.stem, self.decoder_body, self.output = architecture.parts()
        # the last to be made, so that the five parts have the same weights from a seed with and without it
        self.mask_decoder: nn.Module | None = architecture.mask_decoder()

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

    def forward(self, x: Tensor, *, with_mask: bool = False) -> tuple[Tensor, ...]:
        """Images -> (reconstruction, mean, log_var), and the mask's log-odds from the same z where asked for.

        Samples z in training and evaluation alike.
        """
        mean, log_var = self.encode(x)
        z = sampled(mean, log_var)
        return (self.decode(z), mean, log_var, *((self.mask_logits(z),) if with_mask else ()))


@overload
def build(spec: ModelSpec, seed: int | None = None) -> VAE: ...
@overload
def build(spec: AnySpec, seed: int | None = None) -> nn.Module: ...
def build(spec: AnySpec, seed: int | None = None) -> nn.Module:
    """The network of a spec, with torch's default initialisation; from `seed`, leaving the global generator alone, if given.

    >>> import torch
    >>> from ablation import preset
    >>> reconstruction, mean, log_var = build(preset("small"), seed=0)(torch.rand(2, 3, 48, 48))
    >>> reconstruction.shape, mean.shape
    (torch.Size([2, 3, 48, 48]), torch.Size([2, 32]))
    """
    if isinstance(spec, CallableSpec):
        return spec.build(seed)
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


def build_without_weights(spec: AnySpec) -> nn.Module:
    """The network of a spec on the meta device, to be counted; with weights where a piece looks at values while it is made."""
    if isinstance(spec, CallableSpec):
        return spec.build_without_weights()
    try:
        with torch.device("meta"):
            return build(spec)
    except Exception:
        return build(spec, seed=0)  # raises again what has nothing to do with values


def deployed(model: M) -> M:
    """The network as it is run after training, in evaluation mode: modules with a method `folded` are what that returns.

    The same function to rounding. A model without such modules is returned as it is; any other is copied and stays as it is.

    >>> from ablation import preset
    >>> model = build(preset("small").replace(conv="reparameterised"), seed=0)
    >>> sum(p.numel() for p in deployed(model).parameters()) < sum(p.numel() for p in model.parameters())
    True
    """
    if not any(_folds(module) for module in model.modules()):
        return model
    copied = copy.deepcopy(model).eval()
    done: dict[nn.Module, nn.Module] = {}  # a module that stands in two places stays one
    for parent in list(copied.modules()):
        for name, child in parent._modules.items():
            if child is not None and _folds(child):
                parent._modules[name] = done.setdefault(child, child.folded())  # type: ignore[operator]
    return copied


def _folds(module: nn.Module) -> bool:
    return callable(getattr(type(module), "folded", None))
