"""Dense blocks without concatenation: one buffer for all channels, into whose slices the layers write.

Concatenating after every layer copies all earlier channels again: a block of L layers that each add g channels to c writes
L c + g L (L + 1) / 2 channels where c + L g would do. Here a buffer N x (c + L g) x H x W is made once a call, the input is
copied into its first channels, each layer reads a growing slice and its output is copied behind it. The slice is contiguous for
N = 1 in the usual memory format, and the outputs then are the same bits; otherwise it is strided, operations may take other
kernels, and outputs are the same to rounding. For inference: slices are overwritten.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ablation.faster.reorder import UpsampledDense
from ablation.faster.rewrite import TRANSPARENT, Layers, flat, is_plain
from blocks.connectivity import DenseBlock, DenseLayer


class BufferedDenseBlock(nn.Module):
    """The same function as a `DenseBlock`, with its layers."""

    def __init__(self, block: DenseBlock) -> None:
        super().__init__()
        self.layers = block.layers
        self.out_channels = block.out_channels

    def forward(self, x: Tensor) -> Tensor:
        """N x in x H x W -> N x (in + layers * growth_rate) x H x W."""
        num, filled, height, width = x.shape
        buffer = torch.empty(
            (num, self.out_channels, height, width), dtype=x.dtype, device=x.device, memory_format=_memory_format(x)
        )
        buffer[:, :filled] = x
        for layer in self.layers:
            new = layer(buffer[:, :filled])
            buffer[:, filled : filled + new.shape[1]] = new
            filled += new.shape[1]
        return buffer


class BufferedUpsampledDense(nn.Module):
    """The same function as an `UpsampledDense`; the buffer holds the new channels only."""

    def __init__(self, block: UpsampledDense) -> None:
        super().__init__()
        self.squeeze, self.layers, self.transition = block.squeeze, block.layers, block.transition

    def forward(self, x: Tensor) -> Tensor:
        """N x in x H x W -> N x out x 2H x 2W."""
        num, _, height, width = x.shape
        shape = (num, self.transition.num_new, 2 * height, 2 * width)
        buffer = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=_memory_format(x))
        filled = 0
        for squeeze, layer in zip(self.squeeze, self.layers, strict=True):
            made = layer(squeeze(x, buffer[:, :filled] if filled else None))
            buffer[:, filled : filled + made.shape[1]] = made
            filled += made.shape[1]
        out: Tensor = self.transition(x, buffer)
        return out


def without_concatenation(layers: Layers) -> Layers:
    """Rule: dense blocks write into a buffer."""
    return [_buffered(layer) for layer in layers]


def _buffered(layer: nn.Module) -> nn.Module:
    if isinstance(layer, UpsampledDense):
        return BufferedUpsampledDense(layer)
    if not is_plain(layer, [DenseBlock]) or any(map(_overwrites, layer.layers)):
        return layer
    return BufferedDenseBlock(layer)


def _overwrites(layer: nn.Module) -> bool:
    # such a layer would write into the buffer in place of the block's own input
    first = flat(layer.layers if isinstance(layer, DenseLayer) else layer)[:1]
    return any(getattr(module, "inplace", False) for module in first)


def _memory_format(x: Tensor) -> torch.memory_format:
    # a tensor of one channel or one position is both; contiguous then
    return torch.contiguous_format if x.is_contiguous() else torch.channels_last


TRANSPARENT += [BufferedDenseBlock, BufferedUpsampledDense]
