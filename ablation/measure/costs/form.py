"""The form of a tensor: all that decides what an operation on it costs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Form:
    """Shape, strides and dtype of a tensor.

    >>> Form.contiguous((2, 3)).empty().shape
    torch.Size([2, 3])
    """

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: Tensor) -> Form:
        """The form of a tensor."""
        return cls(tuple(tensor.shape), tensor.stride(), tensor.dtype)

    @classmethod
    def contiguous(cls, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Form:
        """The form of a tensor whose elements lie in order."""
        return cls.of(torch.empty(shape, dtype=dtype, device="meta"))

    def empty(self) -> Tensor:
        """A tensor of this form, with values that nobody set."""
        return torch.empty_strided(self.shape, self.stride, dtype=self.dtype)
