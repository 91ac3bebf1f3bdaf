"""Walking a network's sequences, so that a rule may replace neighbouring layers by others that compute the same function.

A rule takes the flat list of layers that run one after the other and returns another such list. Rules are applied wherever the
order of running is known: in `nn.Sequential`, and inside the pieces of this project that hold sequences. Whatever else a plugin
registers stays as it is; so do subclasses and parametrised layers (weight norm, spectral norm), which may compute something else.
Everything here works on copies: the model that was given is never changed.

A module may stand in several places. Each place of a sequence counts, and rules put new layers into places instead of changing the
layers that stand there; a piece that is walked into is rewritten once and stays the same object in all its places.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import TypeGuard, TypeVar

from torch import nn

from ablation.design.compose import VAE
from blocks.attention import SqueezeExcitation
from blocks.connectivity import DenseBlock, DenseLayer, Residual
from blocks.conv.light import ConvNeXt, InvertedResidual, Partial, ShuffleUnit
from blocks.errors import must_be
from blocks.heads import GaussianHead
from blocks.resampling import ResidualShuffle, ResidualUnshuffle, Strided, Unshuffle

Layers = list[nn.Module]
Rule = Callable[[Layers], Layers]
M = TypeVar("M", bound=nn.Module)

# modules whose children may be replaced by modules of the same function
TRANSPARENT: list[type[nn.Module]] = [
    VAE, DenseBlock, DenseLayer, Residual, GaussianHead, Strided, Unshuffle, ResidualUnshuffle, ResidualShuffle,
    Partial, InvertedResidual, ShuffleUnit, ConvNeXt, SqueezeExcitation,
]  # fmt: skip


def checked_copy(model: M) -> M:
    """A copy in evaluation mode, to be rewritten; InputError where hooks would be lost."""
    if any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
        raise must_be("model", "free of forward hooks, which rewriting would lose", "hooks", "Remove them.")
    copied = copy.deepcopy(model).eval()
    for parameter in copied.parameters():
        parameter.requires_grad_(False)
    return copied


def rewrite(model: M, rules: Sequence[Rule]) -> M:
    """A copy of `model` in evaluation mode, rewritten by each rule in turn, everywhere."""
    copied = checked_copy(model)
    for rule in rules:
        copied = _walk(copied, rule, {})  # type: ignore[assignment]
    return copied


def flat(module: nn.Module) -> Layers:
    """The layers of nested sequences in the order in which they run; identities left out."""
    if not is_sequence(module):
        return [] if is_plain(module, [nn.Identity]) else [module]
    # not children(): that leaves out a module's second place
    return [layer for child in module for layer in flat(child)]


def is_sequence(module: nn.Module) -> TypeGuard[nn.Sequential]:
    """Whether the module runs its children one after the other and does nothing else."""
    kind = type(module)
    plain = isinstance(module, nn.Sequential) and kind.forward is nn.Sequential.forward and kind.train is nn.Module.train
    return plain and "forward" not in vars(module)


def is_plain(module: nn.Module, kinds: Iterable[type[M]]) -> TypeGuard[M]:
    """Whether the module is one of these kinds itself: subclasses and a `forward` of its own may compute something else."""
    return type(module) in tuple(kinds) and "forward" not in vars(module)


def sequence(layers: Layers) -> nn.Module:
    """One module that runs the layers."""
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


def _walk(module: nn.Module, rule: Rule, done: dict[nn.Module, nn.Module]) -> nn.Module:
    if module not in done:
        done[module] = _walked(module, rule, done)
    return done[module]


def _walked(module: nn.Module, rule: Rule, done: dict[nn.Module, nn.Module]) -> nn.Module:
    if is_sequence(module):
        return nn.Sequential(*rule([_walk(layer, rule, done) for layer in flat(module)]))
    if not is_plain(module, TRANSPARENT):
        return module
    for name, child in list(module._modules.items()):
        if child is None or is_plain(child, [nn.Identity]):
            continue
        if is_plain(child, [nn.ModuleList]):
            setattr(module, name, nn.ModuleList(_walk(entry, rule, done) for entry in child))
        elif is_sequence(child) or is_plain(child, TRANSPARENT):
            setattr(module, name, _walk(child, rule, done))
        else:
            setattr(module, name, sequence(rule([child])))
    return module
