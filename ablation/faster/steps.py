"""The steps that a network can be prepared by, and which of them go together.

Steps, applied in this order whatever order they are named in. "exact" means to rounding, about 1e-6 in float32.

    fold            batch norm behind a convolution folded into it; exact
    flip            transposed convolutions of stride 1 as convolutions; exact
    pool first      average pooling in front of 1x1 convolutions; exact
    upsample late   nearest upsampling behind all that acts on positions alone, or merged with what follows; exact
    no concatenation  dense blocks write into one buffer; exact, at batch 1 the same bits
    fast ELU        exp(x) - 1 for expm1(x), which compiled kernels compute much faster; 1e-7 off near 0
    in place        activations overwrite their input; the same bits
    mean only       z = mean: no sampling, log-variance not computed. Another computation: compare it with z = mean
    bf16            weights and arithmetic in bfloat16, results in float32
    channels_last   the other memory format; exact
    compile         torch.compile for the input's shape, weights as constants; exact
    max-autotune    the same, choosing kernels by trying them
    CUDA graph      one launch for the whole pass, for the input shape that it was prepared with; the same bits
    onnxruntime     in ONNX Runtime instead of PyTorch, as far as it is installed; exact
    openvino        in OpenVINO; exact
    tensorrt        in TensorRT, through ONNX Runtime
    int8            weights and arithmetic in 8-bit integers, calibrated on images; with OpenVINO
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ablation.design.compose import VAE, deployed
from ablation.faster.dense_buffer import without_concatenation
from ablation.faster.fold import act_in_place, fast_elu, flip_transposed, fold_batch_norm
from ablation.faster.reorder import move_last_upsampling, pool_first, upsample_late
from ablation.faster.rewrite import Rule, checked_copy, rewrite
from ablation.faster.runtimes import RUNTIMES
from blocks.errors import choices, must_be

RULES: Mapping[str, Rule] = {
    "fold": fold_batch_norm,
    "flip": flip_transposed,
    "pool first": pool_first,
    "upsample late": upsample_late,
    "no concatenation": without_concatenation,
    "fast ELU": fast_elu,
    "in place": act_in_place,
}
STEPS = (*RULES, "mean only", "bf16", "channels_last", "compile", "max-autotune", "CUDA graph", *RUNTIMES, "int8")
# what a step of reduced precision is, beside float32
PRECISIONS: Mapping[str, str] = {"bf16": "bfloat16", "int8": "int8"}
# exact, and fewer multiply-accumulates or fewer operations on every machine
REWRITES = ("fold", "flip", "pool first", "upsample late")


def rewritten(model: VAE, steps: Sequence[str]) -> VAE:
    """A copy of `model` in evaluation mode with the rewriting steps among `steps` applied."""
    copied = deployed(checked_copy(model))
    if "upsample late" in steps:
        move_last_upsampling(copied)
    return rewrite(copied, [rule for name, rule in RULES.items() if name in steps])


def check_steps(steps: Sequence[str], place: torch.device) -> None:
    """InputError for a step that doesn't exist, contradicts another one or can't run on the device."""
    if isinstance(steps, str):
        raise must_be("steps", "a sequence of names", steps, f"For one step write [{steps!r}].")
    for name in steps:
        if name not in STEPS:
            raise must_be("A step", choices(STEPS), name)
    if "compile" in steps and "max-autotune" in steps:
        raise must_be("steps", "without 'compile' where they have 'max-autotune', which compiles too", list(steps))
    if "CUDA graph" in steps and place.type != "cuda":
        raise must_be("The step 'CUDA graph'", "used on a CUDA device", str(place), "Leave it out.")
    _check_runtime(steps, place)


def _check_runtime(steps: Sequence[str], place: torch.device) -> None:
    """InputError for a runtime that isn't there, and for what it can't be combined with."""
    runtime = runtime_of(steps)
    named = [name for name in steps if name in RUNTIMES]
    if len(named) > 1:
        raise must_be("steps", "with one runtime at most", named)
    if runtime is None:
        if "int8" in steps:
            raise must_be("The step 'int8'", "used with 'openvino'", list(steps))
        return
    clash = [name for name in ("channels_last", "compile", "max-autotune", "CUDA graph", "no concatenation") if name in steps]
    if clash:
        raise must_be(f"steps with {runtime!r}", "without what PyTorch alone does", clash, "Leave them out.")
    precision = precision_of(steps)
    reason = RUNTIMES[runtime].missing(place.type, precision)
    if reason:
        raise must_be(f"The step {runtime!r}", "a runtime that can be used here", reason)
    if precision not in ("float32", *RUNTIMES[runtime].precisions):
        raise must_be(f"The precision with {runtime!r}", choices(("float32", *RUNTIMES[runtime].precisions)), precision)


def runtime_of(steps: Sequence[str]) -> str | None:
    """The runtime among the steps; None is PyTorch."""
    return next((name for name in steps if name in RUNTIMES), None)


def precision_of(steps: Sequence[str]) -> str:
    """The precision that a stack of steps computes in."""
    return next((precision for step, precision in PRECISIONS.items() if step in steps), "float32")
