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

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from ablation.design.callable_spec import CallableSpec
from ablation.design.compose import build_without_weights, deployed
from ablation.design.network import AnySpec
from ablation.design.spec import ModelSpec
from ablation.measure.costs.form import Form
from ablation.measure.costs.forward import Cost, DependsOnValuesError, count_forward, parameters_of
from ablation.measure.costs.opcount import register_op
from ablation.measure.costs.operations import part_names
from blocks.errors import check_whole, must_be

__all__ = ["Cost", "StaticCost", "register_op", "static_cost"]


@dataclass(frozen=True)
class StaticCost(Cost):
    """Costs of one forward pass at one batch size, in all, by part of the network and by class of operation."""

    batch_size: int = 1
    # C x H x W
    input_shape: tuple[int, ...] = ()
    training_params: int = 0  # before modules are folded for deployment; all other numbers are of the deployed form
    executed: bool = False  # counted while it ran on one input, for what it does depends on values
    by_part: Mapping[str, Cost] = field(default_factory=dict)
    by_class: Mapping[str, Cost] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = {**asdict(self), "input_shape": list(self.input_shape)}
        if self.training_params == self.params:
            del values["training_params"]  # only where both have to be stated
        if not self.executed:
            del values["executed"]
        return values


def static_cost(
    spec_or_model: AnySpec | nn.Module,
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
    if isinstance(spec_or_model, CallableSpec):
        model: nn.Module = build_without_weights(spec_or_model)
        shape = spec_or_model.input_shape
    elif isinstance(spec_or_model, ModelSpec):
        spec = spec_or_model if image_size is None else spec_or_model.replace(image_size=image_size)
        model = build_without_weights(spec)
        shape = spec.input_shape
    else:
        model = getattr(spec_or_model, "_orig_mod", spec_or_model)  # compiled modules wrap the plain one
        shape = input_shape or image_shape(model, image_size)
    if any(is_lazy(t) for t in (*model.parameters(), *model.buffers())):
        raise must_be("The model", "initialised", "lazy layers, whose shapes nobody knows yet", "Run it once on an input.")
    num_params = sum(p.numel() for p in parameters_of(model))
    model = deployed(model)
    try:
        return _count(model, batch_size, shape, part_names(model) if parts is None else parts, num_params)
    except DependsOnValuesError:
        if not isinstance(spec_or_model, CallableSpec):
            raise
        return static_cost(spec_or_model.build(seed=0), batch_size, input_shape=shape, parts=parts)


def image_shape(model: nn.Module, image_size: int | None = None) -> tuple[int, ...]:
    """C, H, W of a model's input: from its spec, or 3 channels and `image_size`; InputError where neither is known."""
    spec = getattr(model, "spec", None)
    side = image_size or getattr(spec, "image_size", None)
    if side is None:
        raise must_be("image_size", "given for a module that has no spec", None, "Pass image_size or input_shape.")
    return (getattr(spec, "in_channels", 3), side, side)


def _count(model: nn.Module, batch_size: int, shape: tuple[int, ...], parts: Sequence[str], num_params: int) -> StaticCost:
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    about = {"batch_size": batch_size, "input_shape": tuple(shape), "training_params": num_params}
    forms, executed = [Form.contiguous((batch_size, *shape), dtype)], False
    try:
        counted = count_forward(model, forms, parts)
    except DependsOnValuesError:
        if any(p.is_meta for p in parameters_of(model)):
            raise  # there are no values
        counted, executed = count_forward(model, forms, parts, execute=True), True
    return summed(counted.by_part, counted.by_class, **about, executed=executed)


def summed(by_part: Mapping[str, Cost], by_class: Mapping[str, Cost], **about: Any) -> StaticCost:
    """The costs of a network of such parts; `about`: the other fields of `StaticCost`."""
    total = reduce(add, by_part.values())
    assert total == reduce(add, by_class.values(), Cost()), (total, by_class)
    return StaticCost(**asdict(total), **about, by_part=by_part, by_class=by_class)


def output_shapes(model: nn.Module, shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Shapes of what a model returns for one input of a shape, without the batch."""
    forms = [Form.contiguous((1, *shape))]
    try:
        counted = count_forward(model, forms)
    except DependsOnValuesError:
        counted = count_forward(model, forms, execute=True)
    return tuple(form.shape[1:] for form in counted.outputs)
