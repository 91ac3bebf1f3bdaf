"""Static costs: parameters, multiply-accumulates, elements and bytes moved, operations, without running the model.

One pass over fake tensors (shapes without values). The conventions, which every number follows:

- The form in which a network is deployed (`ablation.design.compose.deployed`), in evaluation mode, as for latency; the model is
  left as it was, with whatever its modules remember. Nothing is drawn from the random generator. Counts are those of the CPU's
  operations, whatever device the model is on.
- Operations are what torch's dispatcher executes after composite functions are taken apart (see `opcount`). Views and
  uninitialised memory write nothing and are no operations.
- `macs`: convolutions (grouped and transposed too) and matrix products; a position of padding counts as input.
- `elements_written`: every element of every result, once: indices of max-pooling too, an in-place result too. This is the
  memory that a network without fusion writes; the same as "activations" only for convolutions and linear layers.
- `bytes_moved`: each distinct tensor argument read once in full and each result written once, at its own dtype (float32 unless
  the parameters say otherwise). No cache is assumed, and weights count as read. What is overwritten unread counts as written only.
- `by_part`: VAE.parts and "other", i.e. what happens outside of them (sampling z); for any other module its direct children.
  Parameters belong to the first part that owns them; shared ones count once.
- `by_class`: `opcount.CLASSES`. Parameters belong to the class of the first operation that reads them, or to "unused".

Parts add up to the total, and so do classes. Errors: InputError for an operation without a formula and for a model that does
not accept the input.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn.parameter import is_lazy

from ablation.design.compose import build_without_weights, deployed
from ablation.design.spec import ModelSpec
from ablation.machine.device import evaluating
from ablation.machine.text import first_line
from ablation.measure.costs.form import Form
from ablation.measure.costs.opcount import CLASSES, Formula, register_op
from ablation.measure.costs.operation import Operation, described, tensors_in
from ablation.measure.costs.operations import OTHER, Operations, following, part_names
from blocks.errors import InputError, check_whole, must_be

__all__ = ["Cost", "StaticCost", "register_op", "static_cost"]


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


@dataclass(frozen=True)
class StaticCost(Cost):
    """Costs of one forward pass at one batch size, in all, by part of the network and by class of operation."""

    batch_size: int = 1
    # C x H x W
    input_shape: tuple[int, ...] = ()
    training_params: int = 0  # before modules are folded for deployment; all other numbers are of the deployed form
    by_part: Mapping[str, Cost] = field(default_factory=dict)
    by_class: Mapping[str, Cost] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = {**asdict(self), "input_shape": list(self.input_shape)}
        if self.training_params == self.params:
            del values["training_params"]  # only where both have to be stated
        return values


def static_cost(
    spec_or_model: ModelSpec | nn.Module,
    batch_size: int = 1,
    *,
    image_size: int | None = None,
    input_shape: tuple[int, ...] | None = None,
    parts: Sequence[str] | None = None,
) -> StaticCost:
    """Cost of one forward pass on `batch_size` images; a spec is built without allocating its weights.

    `image_size` (square, pixels) is the spec's own unless given; a module that is no VAE needs it or `input_shape`, the shape of
    one input (C, H, W for images). `parts`: names of submodules to sum by, in place of the usual ones (`part_names`).

    >>> cost = static_cost(torch.nn.Conv2d(3, 8, 3, padding=1), input_shape=(3, 10, 10))
    >>> cost.params, cost.macs, cost.elements_written
    (224, 21600, 800)
    """
    check_whole("batch_size", batch_size)
    if isinstance(spec_or_model, ModelSpec):
        spec = spec_or_model if image_size is None else spec_or_model.replace(image_size=image_size)
        model: nn.Module = build_without_weights(spec)
        shape = image_shape(model)
    else:
        model = getattr(spec_or_model, "_orig_mod", spec_or_model)  # compiled modules wrap the plain one
        shape = input_shape or image_shape(model, image_size)
    if any(is_lazy(t) for t in (*model.parameters(), *model.buffers())):
        raise must_be("The model", "initialised", "lazy layers, whose shapes nobody knows yet", "Run it once on an input.")
    num_params = sum(p.numel() for p in _parameters(model))
    model = deployed(model)
    return _count(model, batch_size, shape, part_names(model) if parts is None else parts, num_params)


def image_shape(model: nn.Module, image_size: int | None = None) -> tuple[int, ...]:
    """C, H, W of a model's input: from its spec, or 3 channels and `image_size`; InputError where neither is known."""
    spec = getattr(model, "spec", None)
    side = image_size or getattr(spec, "image_size", None)
    if side is None:
        raise must_be("image_size", "given for a module that has no spec", None, "Pass image_size or input_shape.")
    return (getattr(spec, "in_channels", 3), side, side)


def _count(model: nn.Module, batch_size: int, shape: tuple[int, ...], parts: Sequence[str], num_params: int) -> StaticCost:
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    counted = count_forward(model, [Form.contiguous((batch_size, *shape), dtype)], parts)
    about = {"batch_size": batch_size, "input_shape": tuple(shape), "training_params": num_params}
    return summed(counted.by_part, counted.by_class, **about)


def summed(by_part: Mapping[str, Cost], by_class: Mapping[str, Cost], **about: Any) -> StaticCost:
    """The costs of a network of such parts; `about`: the other fields of `StaticCost`."""
    total = reduce(add, by_part.values())
    assert total == reduce(add, by_class.values(), Cost()), (total, by_class)
    return StaticCost(**asdict(total), **about, by_part=by_part, by_class=by_class)


@dataclass(frozen=True)
class Counted:
    """Costs of one forward pass of any module, and the forms of the tensors that it returned."""

    by_part: Mapping[str, Cost]
    by_class: Mapping[str, Cost]
    # in the order of execution
    operations: tuple[Operation, ...]
    outputs: tuple[Form, ...]


def count_forward(model: nn.Module, inputs: Sequence[Form], parts: Sequence[str] = ()) -> Counted:
    """Costs of one forward pass on inputs of these forms, of the model as it stands; without `parts`, all are those of OTHER."""
    mode = FakeTensorMode()
    with _without_values(model, mode), mode, evaluating(model), torch.no_grad(), following(model, parts) as running:
        counter = _Counter({_memory(p): p.numel() for p in _parameters(model)}, running)
        out = _forward(model, [form.empty() for form in inputs], counter)
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


def _parameters(model: nn.Module) -> Iterable[Tensor]:
    # as `model.parameters()`, each once, also where tensors of another type stand in their places
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
