"""One forward pass counted: operations seen one by one over shapes alone, or while they run, summed by part and by class.

The conventions are those of `static`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from ablation.machine.device import evaluating, keeping_buffers, own_randomness
from ablation.machine.text import first_line
from ablation.measure.costs.form import Form
from ablation.measure.costs.opcount import CLASSES, Formula, UnknownOperationError
from ablation.measure.costs.operation import Operation, described, tensors_in
from ablation.measure.costs.operations import OTHER, Operations, following
from blocks.errors import InputError, must_be


@dataclass(frozen=True)
class Cost:
    """Static costs of a network or a share of it."""

    params: int = 0
    macs: int = 0
    elements_written: int = 0
    bytes_moved: int = 0
    num_ops: int = 0

    def __add__(self, more: Cost) -> Cost:
        return Cost(
            self.params + more.params,
            self.macs + more.macs,
            self.elements_written + more.elements_written,
            self.bytes_moved + more.bytes_moved,
            self.num_ops + more.num_ops,
        )


class DependsOnValuesError(InputError):
    """A model that looks at values, so that shapes alone do not tell what it costs."""


@dataclass(frozen=True)
class Counted:
    """Costs of one forward pass of any module, and the forms of the tensors that it returned."""

    by_part: Mapping[str, Cost]
    by_class: Mapping[str, Cost]
    # in the order of execution
    operations: tuple[Operation, ...]
    outputs: tuple[Form, ...]


def count_forward(model: nn.Module, inputs: Sequence[Form], parts: Sequence[str] = (), *, execute: bool = False) -> Counted:
    """Costs of one forward pass on inputs of these forms, of the model as it stands; without `parts`, all are those of OTHER.

    `execute` runs it on the CPU on random values. DependsOnValuesError for a model that needs that.
    """
    with ExitStack() as stack:
        if execute:
            stack.enter_context(own_randomness(torch.device("cpu"), 0))
            stack.enter_context(keeping_buffers(model))
            values = [torch.rand(form.shape).to(form.dtype) for form in inputs]
        else:
            mode = FakeTensorMode()
            stack.enter_context(_without_values(model, mode))
            stack.enter_context(mode)
            values = [form.empty() for form in inputs]
        stack.enter_context(evaluating(model))
        stack.enter_context(torch.no_grad())
        running = stack.enter_context(following(model, parts))
        counter = _Counter({_memory(p): p.numel() for p in parameters_of(model)}, running)
        try:
            out = _forward(model, values, counter)
        except UnknownOperationError as error:
            every = [name for name, _ in model.named_modules() if name]
            if [*parts] != every:
                count_forward(model, inputs, every, execute=execute)  # raises the same, with the place
            where = f" It runs in {running[-1]!r}." if len(running) > 1 else ""
            raise UnknownOperationError(f"{error}{where}") from None
        outputs = tuple(map(Form.of, tensors_in(out)))
    by_part: dict[str, Cost] = {name: Cost() for name in (*parts, OTHER)}
    for (part, _), cost in counter.sums.items():
        by_part[part] += cost
    for part, params in _params_by_part(model, parts).items():
        by_part[part] += Cost(params=params)
    return Counted(by_part, _by_class(counter), tuple(counter.operations), outputs)


@contextmanager
def _without_values(model: nn.Module, mode: FakeTensorMode) -> Iterator[None]:
    """Inside, every tensor that a module holds is a fake one, the same in all places; after, modules hold what they held before.

    That goes for attributes, and for what lists, sets and dictionaries among them hold: modules keep parameters and buffers in
    such, and may remember there what they computed.
    """
    attributes = [vars(module) for module in model.modules()]
    inner = [value for held in attributes for value in held.values() if isinstance(value, (dict, list, set))]
    before: list[tuple[Any, Any]] = [(held, held.copy()) for held in (*attributes, *inner)]
    fakes: dict[int, Tensor] = {}
    try:
        for held, items in before:
            for key, value in items.items() if isinstance(items, dict) else enumerate(items):
                if isinstance(value, Tensor) and not isinstance(held, set):
                    if id(value) not in fakes:
                        fakes[id(value)] = _fake(mode, value)
                    held[key] = fakes[id(value)]
        yield
    finally:
        for held, items in before:
            held.clear()
            held.extend(items) if isinstance(held, list) else held.update(items)


def parameters_of(model: nn.Module) -> Iterable[Tensor]:
    """As `model.parameters()`, each once, also where tensors of another type stand in their places."""
    held = [p for module in model.modules() for p in module._parameters.values() if p is not None]
    return {id(p): p for p in held}.values()


def _fake(mode: FakeTensorMode, tensor: Tensor) -> Tensor:
    # the constructor itself: a tenth of the time of making it through the dispatcher
    shape = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
    return FakeTensor(mode, shape, torch.device("cpu"))


def _forward(model: nn.Module, inputs: Sequence[Tensor], counter: _Counter) -> Any:
    try:
        with counter:
            return model(*inputs)
    except InputError:
        raise
    except (DataDependentOutputException, DynamicOutputShapeException, GuardOnDataDependentSymNode) as error:
        raise DependsOnValuesError(f"The model looks at values: {first_line(error, type(error).__name__)}") from error
    except Exception as error:
        rule = f"able to run on an input of shape {', '.join(str(tuple(x.shape)) for x in inputs)} without looking at values"
        remedy = "Check image_size, and register plain tensor attributes as buffers."
        raise must_be("The model", rule, f"{type(error).__name__}: {first_line(error, '')}", remedy) from error


class _Counter(Operations):
    """Sums costs by (part, class of operation) while a model runs under it."""

    def __init__(self, unread: dict[int, int], running: Sequence[str]) -> None:
        super().__init__()
        # memory of a parameter -> its elements, until an operation reads it
        self.unread, self.running = unread, running
        self.sums: dict[tuple[str, str], Cost] = {}
        # class of operation -> elements of the parameters that such an operation read first
        self.params: dict[str, int] = {}
        self.operations: list[Operation] = []

    def operation(self, func: Any, entry: Formula, args: Any, kwargs: Mapping[str, Any]) -> Any:
        """Counts the operation."""
        out = func(*args, **kwargs)
        name = entry.classify(args)
        inputs = [args[1:] if entry.overwrites else args, *(value for key, value in kwargs.items() if key != "out")]
        read = {id(t): t for t in tensors_in(inputs)}.values()
        # an operation that returns nothing writes what its signature says it changes
        written = list(tensors_in(out)) or [a for a, s in zip(args, func._schema.arguments, strict=False) if s.is_write]
        for tensor in read:
            self.params[name] = self.params.get(name, 0) + self.unread.pop(_memory(tensor), 0)
        cost = Cost(0, entry.macs(args, out), sum(t.numel() for t in written), _num_bytes(read) + _num_bytes(written), 1)
        key = (self.running[-1], name)
        self.sums[key] = self.sums.get(key, Cost()) + cost
        self.operations.append(described(func, name, args, out, cost.macs, cost.bytes_moved, cost.elements_written))
        return out


def _by_class(counter: _Counter) -> dict[str, Cost]:
    params = {**counter.params, "unused": sum(counter.unread.values())}
    by_class = {name: Cost(params=params.get(name, 0)) for name in CLASSES}
    for (_, name), cost in counter.sums.items():
        by_class[name] += cost
    return {name: cost for name, cost in by_class.items() if cost != Cost()}


def _params_by_part(model: nn.Module, parts: Sequence[str]) -> Counter[str]:
    owners: dict[int, str] = {}
    for name in parts:
        for p in model.get_submodule(name).parameters():
            owners.setdefault(id(p), name)
    sizes: Counter[str] = Counter()
    for p in model.parameters():
        sizes[owners.get(id(p), OTHER)] += p.numel()
    return sizes


def _num_bytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def _memory(tensor: Tensor) -> int:
    # views of a parameter (the transpose that a linear layer reads) share it
    return int(tensor.untyped_storage()._cdata)
