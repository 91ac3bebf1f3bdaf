"""Rules that rewrite layers exactly: batch norm folded into convolutions, transposed kernels flipped, activations in place.

What folds and what doesn't, in evaluation mode, where a batch norm is a scale and a shift of each channel:

    convolution, norm      folds into the convolution's weights and bias (plain stages, residual branches, the norm within
                           `pointwise_first`)
    norm, activation, ...  stays: a scale can't pass through an activation, and every layer of a dense block has a norm of its own
                           for all earlier channels, so that their producers can't take it either

Weights are computed in float64 and rounded once. The outputs then agree with the original's to rounding: about 1e-6 in float32.
"""

from __future__ import annotations

import copy
from typing import TypeGuard

import torch
from torch import Tensor, nn

from ablation.faster.rewrite import Layers, is_plain
from blocks.conv.base import Conv
from blocks.conv.reparameterised import scale_and_shift

CONVS: tuple[type[Conv], ...] = (nn.Conv2d, nn.ConvTranspose2d)
# layers whose output is a new tensor that nobody else reads
FRESH = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.BatchNorm2d, nn.GroupNorm)
IN_PLACE = (nn.ELU, nn.ReLU, nn.LeakyReLU, nn.SiLU)


def fold_batch_norm(layers: Layers) -> Layers:
    """Rule: every batch norm behind a convolution becomes part of it."""
    kept: Layers = []
    for layer in layers:
        if kept and is_plain(kept[-1], CONVS) and is_scale(layer):
            kept[-1] = folded(kept[-1], layer)
        else:
            kept.append(layer)
    return kept


def is_scale(layer: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """Whether it is a batch norm with fixed statistics, which scales and shifts each channel."""
    return is_plain(layer, [nn.BatchNorm2d]) and layer.running_mean is not None and not layer.training


def folded(conv: Conv, norm: nn.BatchNorm2d) -> nn.Module:
    """The convolution that computes what both do one after the other."""
    scale, shift = scale_and_shift(norm)
    out = copy.deepcopy(conv)
    # weight of a convolution: out x in/groups x k x k; of a transposed one: in x out/groups x k x k
    if isinstance(conv, nn.ConvTranspose2d):
        groups = conv.weight.double().unflatten(0, (conv.groups, -1))  # groups x in/groups x out/groups x k x k
        weight = (groups * scale.view(conv.groups, 1, -1, 1, 1)).flatten(0, 1)
    else:
        weight = conv.weight.double() * scale.view(-1, 1, 1, 1)
    bias = torch.zeros_like(shift) if conv.bias is None else conv.bias.double()
    out.weight = _frozen(weight, conv.weight)
    out.bias = _frozen(bias * scale + shift, conv.weight)
    return out


def flip_transposed(layers: Layers) -> Layers:
    """Rule: a transposed convolution of stride 1 becomes the convolution with the flipped kernel, which is the same function."""
    return [_flipped(layer) if _flips(layer) else layer for layer in layers]


def _flips(layer: nn.Module) -> TypeGuard[nn.ConvTranspose2d]:
    return is_plain(layer, [nn.ConvTranspose2d]) and _keeps_size(layer)


def _flipped(conv: nn.ConvTranspose2d) -> nn.Module:
    kernel = (conv.kernel_size[0], conv.kernel_size[1])
    out = nn.Conv2d(conv.in_channels, conv.out_channels, kernel, padding=kernel[0] // 2, groups=conv.groups)
    # in x out/groups x k x k -> groups x in/groups x out/groups x k x k -> out x in/groups x k x k
    weight = conv.weight.unflatten(0, (conv.groups, -1)).transpose(1, 2).flatten(0, 1).flip(-1, -2)
    out.weight = _frozen(weight, conv.weight)
    out.bias = None if conv.bias is None else _frozen(conv.bias, conv.weight)
    return out.eval()


def _keeps_size(conv: Conv) -> bool:
    kernel = conv.kernel_size
    padding = (kernel[0] // 2, kernel[1] // 2)
    plain = conv.stride == (1, 1) and conv.dilation == (1, 1) and conv.padding_mode == "zeros"
    added = tuple(conv.output_padding) if isinstance(conv, nn.ConvTranspose2d) else (0, 0)
    return plain and kernel[0] == kernel[1] and kernel[0] % 2 == 1 and tuple(conv.padding) == padding and added == (0, 0)


def is_conv(layer: nn.Module, kernel_size: int) -> TypeGuard[nn.Conv2d]:
    """Whether it is a convolution of this kernel size that keeps height and width."""
    return is_plain(layer, [nn.Conv2d]) and layer.kernel_size == (kernel_size, kernel_size) and _keeps_size(layer)


def act_in_place(layers: Layers) -> Layers:
    """Rule: an activation overwrites its input where that is a new tensor that nobody else reads. Bit for bit the same."""
    changed: Layers = []
    for layer in layers:
        overwrites = bool(changed) and is_plain(changed[-1], FRESH) and is_plain(layer, IN_PLACE)
        changed.append(with_inplace(layer, True) if overwrites else layer)
    return changed


def with_inplace(layer: nn.Module, inplace: bool) -> nn.Module:
    """The activation in place or not; a copy where that differs, since it may stand in other places too."""
    if getattr(layer, "inplace", inplace) is inplace:
        return layer
    copied = copy.copy(layer)
    copied.inplace = inplace  # type: ignore[assignment]
    return copied


class FastELU(nn.Module):
    """ELU by exp(x) - 1 in place of expm1(x): up to 1e-7 off near 0, and much cheaper in a compiled kernel."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, same shape out."""
        return torch.where(x > 0, x, self.alpha * (torch.exp(x.clamp(max=0)) - 1))


def fast_elu(layers: Layers) -> Layers:
    """Rule: ELU as `FastELU`; one that overwrites its input stays, since others may read that."""
    return [FastELU(layer.alpha) if is_plain(layer, [nn.ELU]) and not layer.inplace else layer for layer in layers]


def _frozen(value: Tensor, like: Tensor) -> nn.Parameter:
    return nn.Parameter(value.detach().to(like.dtype).contiguous(), requires_grad=False)
