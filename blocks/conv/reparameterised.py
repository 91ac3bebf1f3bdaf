"""Convolution with parallel branches in training that are exactly one convolution at inference (Ding et al. 2021, RepVGG)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from blocks.basic import Activation, Norm
from blocks.conv.base import CONVS, convolution


@CONVS.register("reparameterised")
class Reparameterised(nn.Module):
    """k x k + 1x1 + identity, each with its norm; one k x k convolution at inference (Ding et al. 2021, RepVGG, section 3.3).

    (k^2 + 1) in out + 2 out parameters and the norms' in training, k^2 in out + out folded. The identity exists where in = out.
    """

    ends_with_norm: ClassVar[bool] = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        transposed: bool = False,
        norm: Norm,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.shape, self.transposed = (in_channels, out_channels, kernel_size), transposed
        self.wide = nn.Sequential(convolution(in_channels, out_channels, kernel_size, transposed=transposed), norm(out_channels))
        self.point = nn.Sequential(convolution(in_channels, out_channels, 1, transposed=transposed), norm(out_channels))
        self.identity = norm(out_channels) if in_channels == out_channels else None

    def forward(self, x: Tensor) -> Tensor:
        """N x in x H x W -> N x out x H x W."""
        out: Tensor = self.wide(x) + self.point(x)
        return out if self.identity is None else out + self.identity(x)

    def folded(self) -> nn.Module:
        """The same function in evaluation mode as one convolution; itself where a norm depends on its input (group norm)."""
        norms = [self.wide[1], self.point[1], *([] if self.identity is None else [self.identity])]
        if not all(type(norm) in (nn.BatchNorm2d, nn.Identity) for norm in norms):
            return self
        kernels = [self._kernel(*branch[0].parameters(), norm=branch[1]) for branch in (self.wide, self.point)]
        like = kernels[0][0]
        if self.identity is not None:
            channels = self.shape[1]
            eye = torch.eye(channels, dtype=like.dtype, device=like.device)[..., None, None]
            kernels.append(self._kernel(eye, torch.zeros_like(kernels[0][1]), norm=self.identity))
        margin = self.shape[2] // 2
        weights = [w if w.shape[-1] == self.shape[2] else nn.functional.pad(w, [margin] * 4) for w, _ in kernels]
        with torch.device("meta"):  # its own weights are not drawn
            out = convolution(*self.shape, transposed=self.transposed)
        dtype = next(self.parameters()).dtype
        out.weight = nn.Parameter(torch.stack(weights).sum(0).to(dtype), requires_grad=False)
        out.bias = nn.Parameter(torch.stack([bias for _, bias in kernels]).sum(0).to(dtype), requires_grad=False)
        return out.train(self.training)

    def _kernel(self, weight: Tensor, bias: Tensor, *, norm: nn.Module) -> tuple[Tensor, Tensor]:
        """Weight and bias of a convolution and the norm behind it, in float64; out is a transposed weight's second dimension."""
        weight, bias = weight.detach().double(), bias.detach().double()
        if not isinstance(norm, nn.BatchNorm2d):
            return weight, bias
        scale, shift = (value.detach() for value in scale_and_shift(norm))
        return weight * scale.view((1, -1, 1, 1) if self.transposed else (-1, 1, 1, 1)), bias * scale + shift


def scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """What a batch norm does to each channel in evaluation mode, in float64: y = scale x + shift."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    return scale, shift if norm.bias is None else shift + norm.bias.double()
