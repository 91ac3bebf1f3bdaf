"""Rules that reorder layers so that less is computed; algebraically the same function, the same outputs to rounding.

convolution 1x1, average pooling       pool first: both are linear and one acts on channels, the other on positions; a quarter of
                                       the multiply-accumulates. (Max-pooling doesn't commute and stays.)
nearest upsampling, f                  f first, for every f that acts on each position alone (norm, activation, 1x1): a quarter
nearest upsampling, convolution 3x3    one transposed convolution 4x4 with stride 2: 4 products an output in place of 9, and
                                       the upsampled tensor is never made. Upsampling repeats each value, so kernel entries that
                                       meet the same value add up
nearest upsampling, dense block        each layer's 1x1 convolution is a sum over channels: the part that reads the upsampled
                                       input is computed before upsampling (`UpsampledDense`)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ablation.design.compose import VAE
from ablation.faster.fold import FastELU, is_conv, is_scale, with_inplace
from ablation.faster.rewrite import TRANSPARENT, Layers, flat, is_plain
from blocks.connectivity import DenseBlock, DenseLayer

ACTIVATIONS = (nn.ELU, nn.ReLU, nn.LeakyReLU, nn.SiLU, nn.GELU, FastELU)


def pool_first(layers: Layers) -> Layers:
    """Rule: average pooling moves in front of 1x1 convolutions."""
    out = list(layers)
    for i in range(1, len(out)):
        j = i
        while j and _averages(out[j]) and is_conv(out[j - 1], 1):
            out[j - 1], out[j] = out[j], out[j - 1]
            j -= 1
    return out


def _averages(layer: nn.Module) -> bool:
    return is_plain(layer, [nn.AvgPool2d]) and layer.padding in (0, (0, 0)) and layer.divisor_override is None


def upsample_late(layers: Layers) -> Layers:
    """Rule: nearest upsampling moves behind what acts on each position alone, or merges with a 3x3 convolution or dense block."""
    out: Layers = []
    rest = list(layers)
    while rest:
        layer = rest.pop(0)
        if not _doubles(layer) or not rest:
            out.append(layer)
        elif is_plain(rest[0], [nn.BatchNorm2d, *ACTIVATIONS]) or is_conv(rest[0], 1):
            # what it would overwrite there may have other readers
            out.append(with_inplace(rest.pop(0), False))
            rest.insert(0, layer)
        elif is_conv(rest[0], 3):
            out.append(upsampling_convolution(rest.pop(0)))
        elif _splits(rest):
            block, norm, activation, conv = rest[:4]
            rest = rest[4:]
            out.append(UpsampledDense(block, norm, activation, conv))
        else:
            out.append(layer)
    return out


def _doubles(layer: nn.Module) -> bool:
    if not is_plain(layer, [nn.Upsample]) or layer.mode != "nearest" or layer.size is not None:
        return False
    factors = layer.scale_factor if isinstance(layer.scale_factor, tuple) else (layer.scale_factor,) * 2
    return all(factor == 2 for factor in factors)


def upsampling_convolution(conv: nn.Module) -> nn.Module:
    """Nearest upsampling by 2 and a 3x3 convolution as one transposed convolution 4x4, stride 2, padding 1."""
    assert isinstance(conv, nn.Conv2d)
    out = nn.ConvTranspose2d(
        conv.in_channels, conv.out_channels, 4, stride=2, padding=1, groups=conv.groups, bias=conv.bias is not None
    )
    weight = conv.weight.double()  # out x in/groups x 3 x 3
    # correlation with w of a signal whose values come in pairs: a value reaches outputs through w[i] + w[i - 1], flipped
    wide = F.conv_transpose2d(
        weight.flatten(0, 1)[:, None].flip(-1, -2), torch.ones(1, 1, 2, 2, dtype=torch.float64, device=weight.device)
    )
    wide = wide.view(conv.groups, -1, weight.shape[1], 4, 4)  # groups x out/groups x in/groups x 4 x 4
    out.weight = nn.Parameter(wide.transpose(1, 2).flatten(0, 1).to(conv.weight.dtype).contiguous(), requires_grad=False)
    out.bias = conv.bias
    return out.eval()


class _Pointwise(nn.Module):
    """Norm, activation and 1x1 convolution of a concatenation whose first `low` channels stand at half the resolution."""

    def __init__(self, norm: nn.Module, activation: nn.Module, conv: nn.Module, low: int) -> None:
        super().__init__()
        assert isinstance(norm, nn.BatchNorm2d)
        assert isinstance(conv, nn.Conv2d)
        self.low = nn.Sequential(
            _part_of_norm(norm, slice(None, low)), activation, _part_of_conv(conv, slice(None, low), bias=True)
        )
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.num_new = conv.in_channels - low
        if self.num_new:
            self.new = nn.Sequential(
                _part_of_norm(norm, slice(low, None)), activation, _part_of_conv(conv, slice(low, None), bias=False)
            )

    def forward(self, low: Tensor, new: Tensor | None) -> Tensor:
        """N x low x H x W, N x new x 2H x 2W -> N x out x 2H x 2W."""
        out: Tensor = self.up(self.low(low))
        return out if new is None else out.add_(self.new(new))


class UpsampledDense(nn.Module):
    """Nearest upsampling, dense block, norm, activation, 1x1 convolution, without upsampling the block's input."""

    def __init__(self, block: nn.Module, norm: nn.Module, activation: nn.Module, conv: nn.Module) -> None:
        super().__init__()
        assert isinstance(block, DenseBlock)
        layers = [flat(layer) if not isinstance(layer, DenseLayer) else flat(layer.layers) for layer in block.layers]
        first = layers[0][0]
        assert isinstance(first, nn.BatchNorm2d)
        low = first.num_features
        self.squeeze = nn.ModuleList(_Pointwise(steps[0], steps[1], steps[2], low) for steps in layers)
        self.layers = nn.ModuleList(nn.Sequential(*steps[3:]) for steps in layers)
        self.transition = _Pointwise(norm, activation, conv, low)

    def forward(self, x: Tensor) -> Tensor:
        """N x in x H x W -> N x out x 2H x 2W."""
        new: Tensor | None = None
        for squeeze, layer in zip(self.squeeze, self.layers, strict=True):
            made = layer(squeeze(x, new))
            new = made if new is None else torch.cat([new, made], dim=1)
        out: Tensor = self.transition(x, new)
        return out


def _splits(layers: Layers) -> bool:
    # a dense block whose layers begin with what acts on each position alone, and the transition behind it
    block = layers[0]
    if len(layers) < 4 or not is_plain(block, [DenseBlock]) or not _is_pointwise(layers[1:4]):
        return False
    plain = [layer for layer in block.layers if is_plain(layer, [DenseLayer])]
    return len(plain) == len(block.layers) and all(_is_pointwise(flat(layer.layers)[:3]) for layer in plain)


def _is_pointwise(layers: Layers) -> bool:
    if len(layers) < 3 or not is_scale(layers[0]) or not is_plain(layers[1], ACTIVATIONS):
        return False
    conv = layers[2]
    return is_conv(conv, 1) and conv.groups == 1


def _part_of_norm(norm: nn.BatchNorm2d, part: slice) -> nn.BatchNorm2d:
    assert norm.running_mean is not None
    out = nn.BatchNorm2d(len(norm.running_mean[part]), eps=norm.eps, affine=norm.affine).to(norm.running_mean)
    out.load_state_dict({name: value[part] if value.dim() else value for name, value in norm.state_dict().items()})
    return out.requires_grad_(False).eval()


def _part_of_conv(conv: nn.Conv2d, part: slice, *, bias: bool) -> nn.Conv2d:
    state = {"weight": conv.weight[:, part]} | ({"bias": conv.bias} if bias and conv.bias is not None else {})
    out = nn.Conv2d(state["weight"].shape[1], conv.out_channels, 1, bias="bias" in state).to(conv.weight)
    out.load_state_dict(state)
    return out.requires_grad_(False).eval()


def move_last_upsampling(model: nn.Module) -> None:
    """An upsampling that ends the decoder body becomes the first layer of the output part, to merge with its convolution."""
    if not isinstance(model, VAE):
        return
    body = flat(model.decoder_body)
    if body and _doubles(body[-1]):
        model.decoder_body, model.output = nn.Sequential(*body[:-1]), nn.Sequential(body[-1], *flat(model.output))


TRANSPARENT += [UpsampledDense, _Pointwise]
