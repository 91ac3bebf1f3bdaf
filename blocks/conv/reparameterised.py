"""Convolution with parallel branches in training that are exactly one convolution at inference (Ding et al. 2021, RepVGG)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from blocks.basic import Activation, Norm
from blocks.conv.base import CONVS, convolution

Kernel = tuple[Tensor, Tensor]  # weight and bias of a convolution, in float64


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
        wide, point = self.wide[0], self.point[0]
        transposed, kernel_size = isinstance(wide, nn.ConvTranspose2d), wide.kernel_size[0]
        kernels = [_kernel(wide, self.wide[1]), _kernel(point, self.point[1])]
        if self.identity is not None:
            eye = nn.Conv2d(wide.out_channels, wide.out_channels, 1, device=wide.weight.device, dtype=torch.float64)
            eye.weight.data.copy_(torch.eye(wide.out_channels)[..., None, None])
            eye.bias.data.zero_()  # type: ignore[union-attr]
            kernels.append(_kernel(eye, self.identity))
        margin = kernel_size // 2
        weights = [w if w.shape[-1] == kernel_size else nn.functional.pad(w, (margin,) * 4) for w, _ in kernels]
        out = convolution(wide.in_channels, wide.out_channels, kernel_size, transposed=transposed)
        out.weight = _frozen(torch.stack(weights).sum(0), wide.weight)
        out.bias = _frozen(torch.stack([b for _, b in kernels]).sum(0), wide.weight)
        return out.train(self.training)


def scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """What a batch norm does to each channel in evaluation mode, in float64: y = scale x + shift."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    return scale, shift if norm.bias is None else shift + norm.bias.double()


def _kernel(conv: nn.Module, norm: nn.Module) -> Kernel:
    """Weight and bias of a convolution without groups and the norm behind it; out is a transposed one's second dimension."""
    weight, bias = conv.weight.detach().double(), conv.bias.detach().double()  # type: ignore[union-attr,operator]
    if not isinstance(norm, nn.BatchNorm2d):
        return weight, bias
    scale, shift = (value.detach() for value in scale_and_shift(norm))
    shape = (1, -1, 1, 1) if isinstance(conv, nn.ConvTranspose2d) else (-1, 1, 1, 1)
    return weight * scale.view(shape), bias * scale + shift


def _frozen(value: Tensor, like: Tensor) -> nn.Parameter:
    return nn.Parameter(value.to(device=like.device, dtype=like.dtype).contiguous(), requires_grad=False)
