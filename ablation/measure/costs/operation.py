"""One operation of a forward pass as data: what it is, how much it computes and moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Operation:
    """What an operation costs, in the conventions of `static_cost`. Equal ones take the same time on a machine."""

    # torch's name; of a convolution with kernel and, where they are not 1, stride and groups
    name: str
    # one of opcount.CLASSES
    kind: str
    macs: int
    bytes_moved: int
    elements_written: int
    # size of the second dimension of the first tensor that it reads, and of the first that it writes; 1 where there is none
    in_channels: int
    out_channels: int


def described(func: Any, kind: str, args: Any, out: Any, macs: int, bytes_moved: int, elements_written: int) -> Operation:
    """An overload of torch, its class, arguments and result, with what was counted of it."""
    name = _convolution(args) if "convolution" in kind else func.overloadpacket.__name__
    return Operation(name, kind, macs, bytes_moved, elements_written, _channels(args), _channels(out))


def _convolution(args: Any) -> str:
    x, weight, stride, transposed, groups = args[0], args[1], args[3], args[6], args[8]
    parts = ["transposed convolution" if transposed else "convolution", "x".join(str(int(side)) for side in weight.shape[2:])]
    parts += [f"stride {stride[0]}"] if prod(stride) > 1 else []
    parts += ["depthwise"] if 1 < groups == x.shape[1] else [f"groups {groups}"] if groups > 1 else []
    return " ".join(parts)


def _channels(value: Any) -> int:
    tensor = next(tensors_in(value), None)
    return int(tensor.shape[1]) if tensor is not None and tensor.dim() > 1 else 1


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in nested lists and tuples, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)
