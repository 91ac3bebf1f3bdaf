"""What a network takes: the shape and kind of each input, and values for it.

"3x224x224" are floats in [0, 1), "128:30522" 128 whole numbers below 30,522; the batch comes before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blocks.errors import must_be

if TYPE_CHECKING:
    from torch import Tensor, nn


_HOLDS = "_ablation_holds_inputs"


@dataclass(frozen=True)
class Input:
    """One input of a network: its shape without the batch; whole numbers below `below`, or floats in [0, 1) where that is 0.

    >>> Input.read("3x32x32"), str(Input.read("128:1000"))
    (Input(shape=(3, 32, 32), below=0), '128:1000')
    """

    shape: tuple[int, ...]
    below: int = 0

    @classmethod
    def read(cls, text: str) -> Input:
        """From "3x224x224" or "128:30522"; InputError for anything else."""
        sizes, colon, below = text.partition(":")
        try:
            shape = tuple(int(size) for size in sizes.lower().split("x"))
            made = cls(shape, int(below) if colon else 0)
        except ValueError:
            made = cls((0,))
        if min(made.shape) < 1 or (colon and made.below < 1):
            rule = "sizes without the batch, such as 3x224x224, or 128:30522 for 128 whole numbers below 30522"
            raise must_be("--input", rule, text)
        return made

    def __str__(self) -> str:
        return "x".join(map(str, self.shape)) + (f":{self.below}" if self.below else "")

    def values(self, batch_size: int, device: Any = "cpu", seed: int = 0) -> Tensor:
        """Values of a fixed seed, batch_size x shape."""
        import torch

        draw, shape = torch.Generator().manual_seed(seed), (batch_size, *self.shape)
        made = torch.randint(self.below, shape, generator=draw) if self.below else torch.rand(shape, generator=draw)
        return made.to(device)


def with_own_inputs(module: nn.Module, inputs: Sequence[Input]) -> nn.Module:
    """The module, taking one tensor whose length says the batch, and running on inputs that it holds.

    So what is measured of networks of one image can be measured of any. All else about it stays: children, parameters, names. What
    takes inputs for constants (a graph for another runtime, a compiler that folds them) must leave it alone: `holds_inputs`.
    """
    from torch._subclasses.fake_tensor import FakeTensor

    kind = type(module)
    held: dict[tuple[int, str], list[Tensor]] = {}

    def values(x: Tensor) -> list[Tensor]:
        import torch

        if isinstance(x, FakeTensor) or x.device.type == "meta":  # shapes are all that is wanted, and no operation
            kinds = [torch.int64 if each.below else torch.float32 for each in inputs]
            return [x.new_empty((len(x), *each.shape), dtype=dtype) for each, dtype in zip(inputs, kinds, strict=True)]
        key = len(x), str(x.device)
        if key not in held:
            held[key] = [each.values(len(x), x.device) for each in inputs]
        return held[key]

    def forward(self: nn.Module, x: Tensor) -> Any:
        return kind.forward(self, *values(x))

    module.__class__ = type(kind.__name__, (kind,), {"forward": forward, _HOLDS: True})
    return module


def holds_inputs(module: nn.Module) -> bool:
    """Whether the module runs on inputs of its own."""
    return getattr(type(module), _HOLDS, False) is True
