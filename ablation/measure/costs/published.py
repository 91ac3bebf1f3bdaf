"""The published convention: fvcore's parameter count and its flop count, which counts a multiply-accumulate as one flop.

fvcore's total mixes multiply-accumulates with norms and upsampling, so quote it by operator. What it leaves out in silence
(concatenation, ReLU, copies) or reports as unsupported (ELU, add, pooling) gets a handle here, so that nothing stays uncounted;
an operation that has none is an InputError, and in a record a missing value with that reason. Those handles count elements
written and stand apart from fvcore's total, which stays what anyone else gets from fvcore; `register_handle` adds to that total.

fvcore traces a real forward pass, in evaluation mode and on the CPU here; modes, weights, norm statistics and the random
generator are left as they were. A part that does not reach the output is missing from its count.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import torch
from torch import nn

from ablation.design.compose import deployed
from ablation.machine.text import first_line
from blocks.errors import InputError, must_be

with warnings.catch_warnings():
    # fvcore compiles a loss that nothing here uses, in a way that torch has deprecated
    warnings.simplefilter("ignore", FutureWarning)
    warnings.simplefilter("ignore", DeprecationWarning)
    from fvcore.nn import FlopCountAnalysis, parameter_count

# fvcore's names of what is counted in multiply-accumulates and nothing else
CONV_LINEAR = ("conv", "linear", "addmm", "mm", "bmm", "matmul", "einsum")

# operations that fvcore's table lacks, as torch's tracer names them: they write elements and have no flops in its convention
ELEMENTS = (
    "elu elu_ relu relu_ gelu silu silu_ leaky_relu leaky_relu_ sigmoid tanh softplus hardtanh hardswish hardsigmoid mish prelu "
    "hardswish_ celu selu softmax log_softmax log_sigmoid relu6 glu add add_ sub sub_ rsub mul mul_ div div_ exp expm1 log "
    "log1p sqrt rsqrt pow neg abs square reciprocal clamp clamp_ clamp_min clamp_max maximum minimum where addcmul addcdiv lerp "
    "erf mean sum amax amin var std linalg_vector_norm max_pool2d avg_pool2d adaptive_max_pool2d max_pool2d_with_indices "
    "upsample_bicubic2d pixel_shuffle pixel_unshuffle channel_shuffle cat stack randn randn_like rand_like bernoulli clone "
    "constant_pad_nd pad reflection_pad2d replication_pad2d flip roll repeat index index_select gather copy_ zeros ones full "
    "zeros_like ones_like full_like"
)
# views that fvcore does not know to be views
VIEWS = (
    "mT unflatten view_as reshape_as expand_as alias movedim swapaxes swapdims unfold diagonal feature_dropout dropout_ "
    "_unsafe_view"
)

_OUTSIDE = "elements:"
Handle = Callable[[list[Any], list[Any]], Mapping[str, int]]
_registered: dict[str, Handle] = {}


@dataclass(frozen=True)
class PublishedCost:
    """fvcore's count of one forward pass on one image."""

    params: int
    # fvcore's total: operators of its own table
    flops: int
    # convolutions and matrix products only: multiply-accumulates
    conv_linear_flops: int
    # adds up to flops
    by_operator: Mapping[str, int]
    # operators that fvcore's table lacks -> elements they write
    elements_outside: Mapping[str, int]


def register_handle(name: str, handle: Handle) -> None:
    """Give fvcore a handle for an operation that it and this module lack, under the tracer's name, e.g. "mylib::swirl".

    `handle(inputs, outputs)` gives the flops by operator, e.g. `{"swirl": 1000}`, which enter fvcore's total. Shapes come from
    `outputs[0].type().sizes()`. A name that has a handle is an InputError.
    """
    if name.count("::") != 1:
        raise must_be("The name of an operation", "namespace::operation, e.g. 'aten::relu'", name)
    if name in _registered or name.removeprefix("aten::") in (*ELEMENTS.split(), *VIEWS.split()) or name in _fvcores():
        raise InputError(f"fvcore has a handle of {name!r} already. Only operations that have none can be registered.")
    _registered[name] = handle


def _fvcores() -> Collection[str]:
    # what an analysis counts or passes over; fvcore keeps both tables to itself
    analysis = FlopCountAnalysis(nn.Identity(), torch.zeros(1))
    return {*analysis._op_handles, *analysis._ignored_ops}


def published_counts(
    model: nn.Module, image_size: int | None = None, in_channels: int = 3, *, input_shape: tuple[int, ...] | None = None
) -> dict[str, Any]:
    """fvcore's counts as a record holds them: fvcore_params, fvcore_flops, ...; where it fails, fvcore_params and fvcore_reason.

    Never raises: what fvcore can't count is missing from a record, with the reason, and costs no trial.
    """
    try:
        cost = published_cost(model, image_size, in_channels, input_shape=input_shape)
        return {f"fvcore_{name}": value for name, value in asdict(cost).items()}
    except Exception as error:
        line = first_line(error, "no reason given")
        reason = line if isinstance(error, InputError) else f"{type(error).__name__}: {line}"
        return {"fvcore_params": int(parameter_count(model)[""]), "fvcore_reason": reason}


def published_cost(
    model: nn.Module, image_size: int | None = None, in_channels: int = 3, *, input_shape: tuple[int, ...] | None = None
) -> PublishedCost:
    """fvcore's counts at batch 1, in the form in which the network is deployed. `input_shape`: without the batch."""
    side = image_size or getattr(getattr(model, "spec", None), "image_size", None)
    if side is None and input_shape is None:
        raise must_be("image_size", "given for a module that has no spec", None, "Pass image_size or input_shape.")
    shape = input_shape or (in_channels, side, side)
    # a copy: tracing touches modes, and its input must be where the weights are
    traced = deployed(copy.deepcopy(model)).to("cpu", torch.float32).eval()
    params = int(parameter_count(traced)[""])
    analysis = FlopCountAnalysis(traced, torch.zeros(1, *shape)).uncalled_modules_warnings(False)
    analysis.unsupported_ops_warnings(False).tracer_warnings("none")
    analysis.set_op_handle(**{f"aten::{name}": _elements(name) for name in ELEMENTS.split()})
    analysis.set_op_handle(**{f"aten::{name}": None for name in VIEWS.split()}, **_registered)
    with _quiet(), torch.no_grad():
        counts = analysis.by_operator()
    _refuse(analysis.unsupported_ops())
    own = {name: int(n) for name, n in counts.items() if not name.startswith(_OUTSIDE)}
    outside = {name.removeprefix(_OUTSIDE): int(n) for name, n in counts.items() if name.startswith(_OUTSIDE)}
    products = sum(own.get(name, 0) for name in CONV_LINEAR)
    return PublishedCost(params, sum(own.values()), products, own, outside)


def _elements(name: str) -> Handle:
    def handle(inputs: list[Any], outputs: list[Any]) -> Mapping[str, int]:
        return Counter({_OUTSIDE + name: prod(outputs[0].type().sizes() or [])})

    return handle


def _refuse(unsupported: Mapping[str, int]) -> None:
    if unsupported:
        names = ", ".join(sorted(unsupported))
        raise InputError(
            f"Every operation must have an fvcore handle. Got {names}, which has none. "
            f"Add it with ablation.measure.costs.published.register_handle({sorted(unsupported)[0]!r}, handle)."
        )


@contextmanager
def _quiet() -> Iterator[None]:
    # fvcore logs and torch's tracer warns about what is handled or refused above; the random generator is put back
    logger = logging.getLogger("fvcore.nn.jit_analysis")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
