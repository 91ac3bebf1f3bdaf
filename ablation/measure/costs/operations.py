"""The operations of a forward pass one by one, and the part of the network that each belongs to.

Counting (`static`), timing (`explain.trace`) and replaying (`explain.replay`) see the same operations through `Operations`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ablation.measure.costs.opcount import Formula, formula
from blocks.errors import InputError

# what happens outside of all parts, e.g. sampling z
OTHER = "other"


class Operations(TorchDispatchMode):
    """Calls `operation` for whatever runs under it and has a formula; views and uninitialised memory pass by."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        try:
            entry = formula(func)
        except InputError:
            func(*args, **(kwargs or {}))  # where it cannot run at all, its own error says more
            raise
        return func(*args, **(kwargs or {})) if entry is None else self.operation(func, entry, args, kwargs or {})

    def operation(self, func: Any, entry: Formula, args: Any, kwargs: Mapping[str, Any]) -> Any:
        """Runs the operation and returns its result."""
        raise NotImplementedError


def part_names(model: nn.Module) -> tuple[str, ...]:
    """The parts of a network: VAE.parts, or the direct children of any other module."""
    return tuple(getattr(model, "parts", ())) or tuple(name for name, _ in model.named_children())


def block_names(model: nn.Module) -> tuple[str, ...]:
    """The blocks: a part whose children all have children is its children ("encoder_body.0"), any other is one block."""
    names: list[str] = []
    for name in part_names(model):
        children = dict(model.get_submodule(name).named_children())
        deep = children and all(next(child.children(), None) is not None for child in children.values())
        names += [f"{name}.{child}" for child in children] if deep else [name]
    return tuple(names)


@contextmanager
def following(model: nn.Module, names: Iterable[str]) -> Iterator[list[str]]:
    """A list of those submodules by name that are running, innermost last: kept by hooks while the context is open.

    It begins with OTHER, which stands for the time outside of them all.
    """
    running, handles = [OTHER], []
    for name in names:
        module = model.get_submodule(name)
        handles.append(module.register_forward_pre_hook(lambda *_, name=name: running.append(name)))
        handles.append(module.register_forward_hook(lambda *_: running.pop() and None))
    try:
        yield running
    finally:
        for handle in handles:
            handle.remove()
