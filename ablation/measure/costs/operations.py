"""The operations of a forward pass one by one, and the part of the network that each belongs to.

Counting (`static`), timing (`explain.trace`) and replaying (`explain.replay`) see the same operations through `Operations`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ablation.measure.costs.opcount import Formula, formula
from blocks.errors import InputError

# what happens outside of all parts, e.g. sampling z
OTHER = "other"
# attribute of a network: the parts that `align` gave it
ALIGNED = "_ablation_parts"
MOST_PARTS = 24


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
    """The parts of a network: VAE.parts, those that it was aligned by, or the children of any other module.

    A list or a dictionary of modules, which never runs itself, is its entries.
    """
    for stated in (getattr(model, ALIGNED, None), getattr(model, "parts", None)):
        if isinstance(stated, tuple) and stated and all(isinstance(name, str) for name in stated):
            return stated
    return tuple(_running(model, ""))


def _running(module: nn.Module, path: str) -> Iterator[str]:
    """Paths of the children that run, those of lists in their places."""
    for name, child in module.named_children():
        whole = f"{path}.{name}" if path else name
        if isinstance(child, (nn.ModuleList, nn.ModuleDict)):
            yield from _running(child, whole)
        else:
            yield whole


def align(first: nn.Module, second: nn.Module) -> None:
    """Give two networks parts that can be compared: what has the same path in both is taken apart, from the root on.

    A part of both becomes its children where some of those have the same name and kind in both; those nearest to the root first,
    and of these the largest, up to MOST_PARTS in all. What has no counterpart stays whole. Networks that state their parts keep
    them.
    """
    if any(isinstance(getattr(model, "parts", None), tuple) for model in (first, second)):
        return
    sides = [list(part_names(model)) for model in (first, second)]
    while (path := _divisible(first, second, sides)) is not None:
        for model, names in zip((first, second), sides, strict=True):
            at = names.index(path)
            names[at : at + 1] = _running(model.get_submodule(path), path)
    for model, names in zip((first, second), sides, strict=True):
        setattr(model, ALIGNED, tuple(names))


def _divisible(first: nn.Module, second: nn.Module, sides: Sequence[Sequence[str]]) -> str | None:
    """The part of both that can be taken apart, of those nearest to the root the largest."""

    def size(path: str) -> int:
        return sum(p.numel() for model in (first, second) for p in model.get_submodule(path).parameters())

    for path in sorted(set(sides[0]) & set(sides[1]), key=lambda path: (path.count("."), -size(path))):
        inner = [
            {n: type(model.get_submodule(n)).__name__ for n in _running(model.get_submodule(path), path)}
            for model in (first, second)
        ]
        enough = len({*sides[0], *sides[1]} - {path}) + len({**inner[0], **inner[1]}) <= MOST_PARTS
        if enough and inner[0].items() & inner[1].items():
            return path
    return None


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
