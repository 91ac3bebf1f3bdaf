"""Counterfactual modes: both networks under each way of running them, timed together, and whether the slowdown survives.

Every mode is a stack of steps (`ablation.faster.optimised`), which any module may take that does not need the parts of a VAE. Its
outputs are compared with the eager ones under the same noise ("inference only": with z = mean on both sides) before it is timed;
where those of either network differ by more than the tolerance of `optimise`, it is not used. All modes of both networks are then
timed by one interleaved comparison in sittings, so that the ratio of the two networks in a mode, and the gain of a mode over eager,
are paired by round and their intervals rest on sittings. For every sitting eager networks are copied; prepared ones, which would
have to be compiled again, keep their compiled code and have their weights moved to memory that is allocated anew
(`Optimised.relocate`). Compiling, autotuning and capturing are done before and reported apart. A mode that fails, isn't usable here
or didn't fit in the budget carries the reason. `keeps` says whether a mode computes the same function to rounding, the same in
fewer digits, or another one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ablation.design.compose import VAE
from ablation.explain.prepared import STEPS, common_shape, prepared
from ablation.faster.optimise import EAGER, beyond, reason_of
from ablation.faster.rewrite import checked_copy
from ablation.faster.runtimes import RUNTIMES
from ablation.faster.steps import REWRITES, precision_of, runtime_of
from ablation.machine.device import checked_device
from ablation.measure.latency.compare import compare_latency
from ablation.measure.latency.interleave import SITTINGS
from ablation.measure.latency.result import LatencyComparison
from ablation.measure.latency.statistics import num_whole
from ablation.record.explanation import OTHER, REDUCED, SAME, ModeResult
from ablation.stats import LEAST_ROUNDS, Estimate, judge
from blocks.errors import choices, must_be

FUSED = (*REWRITES, "fast ELU", "compile", "channels_last")
# share of the budget after which nothing that takes long to prepare is
PREPARING = 0.5
SIDES = ("first", "second")

Progress = Callable[[str], None]
Networks = tuple[nn.Module, ...]


class Mode:
    """One way of running a network: a stack of steps."""

    def __init__(self, text: str, *steps: str) -> None:
        self.text, self.steps = text, steps
        # whether preparing it takes a minute or so
        self.slow = bool({"compile", "max-autotune", "int8"} & set(steps))
        self.needs_cuda = "CUDA graph" in steps
        self.runtime = runtime_of(steps)
        # what it keeps of the network: one of KEEPS
        self.keeps = OTHER if "mean only" in steps else SAME if precision_of(steps) == "float32" else REDUCED


# those that take long to prepare last, the most promising of them first
MODES: Mapping[str, Mode] = {
    EAGER: Mode("as built, one operation after the other, in inference mode"),
    "inference only": Mode("z = mean: no sampling, the log-variance isn't computed", "mean only"),
    "channels_last": Mode("memory in the order N, H, W, C", "channels_last"),
    "bf16": Mode("weights and arithmetic in bfloat16", "bf16"),
    "folded": Mode("batch norm folded into the convolution before it, where there is one", "fold"),
    "reordered": Mode("pooling before, upsampling after 1x1 convolutions; no transposed kernels of stride 1", *REWRITES[1:]),
    "no concatenation": Mode("dense blocks write into one buffer", "no concatenation"),
    "folded + reordered": Mode("both, and activations in place", *REWRITES, "in place"),
    "folded + reordered + no concatenation": Mode("all three, and activations in place", *REWRITES, "in place", "no concatenation"),
    "folded + reordered + channels_last": Mode("all three, and activations in place", *REWRITES, "in place", "channels_last"),
    "folded + reordered + channels_last + bf16": Mode(
        "all four, and activations in place", *REWRITES, "in place", "channels_last", "bf16"
    ),
    "folded + reordered + OpenVINO": Mode("the rewritten network in OpenVINO", *REWRITES, "openvino"),
    "OpenVINO": Mode("the network in OpenVINO", "openvino"),
    "ONNX Runtime": Mode("the network in ONNX Runtime", "onnxruntime"),
    "folded + reordered + ONNX Runtime": Mode("the rewritten network in ONNX Runtime", *REWRITES, "onnxruntime"),
    "TensorRT": Mode("the network in TensorRT, through ONNX Runtime", "tensorrt"),
    "OpenVINO + bf16": Mode("OpenVINO, arithmetic in bfloat16", "openvino", "bf16"),
    "CUDA graph": Mode("one launch replays the whole pass", "CUDA graph"),
    "folded + reordered + CUDA graph": Mode("fewer operations, and one launch", *REWRITES, "in place", "CUDA graph"),
    "compiled + folded + reordered + channels_last": Mode("torch.compile of the rewritten network, ELU by exp", *FUSED),
    "compiled + folded + reordered + channels_last + CUDA graph": Mode(
        "the rewritten network compiled, ELU by exp, and one launch", *FUSED, "CUDA graph"
    ),
    "OpenVINO + int8": Mode("OpenVINO, weights and arithmetic in 8-bit integers, calibrated on rendered faces", "openvino", "int8"),
    "compiled": Mode("torch.compile of the network as it is", "compile"),
    "compiled + channels_last": Mode("torch.compile and memory in the order N, H, W, C", "compile", "channels_last"),
    "compiled + CUDA graph": Mode("torch.compile, then one launch", "compile", "CUDA graph"),
    "compiled + folded + reordered + channels_last + bf16": Mode("the same in bfloat16", *FUSED, "bf16"),
    "compiled + folded + reordered + channels_last + bf16 + CUDA graph": Mode(
        "the same in bfloat16 and one launch", *FUSED, "bf16", "CUDA graph"
    ),
    "autotuned + CUDA graph": Mode(
        "the rewritten network compiled with kernels chosen by trying them, and one launch",
        *(*REWRITES, "fast ELU", "channels_last", "max-autotune", "CUDA graph"),
    ),
}


def run_modes(
    first: nn.Module,
    second: nn.Module,
    *,
    device: str = "cpu",
    batch_size: int = 1,
    budget_s: float = 300.0,
    names: Sequence[str] | None = None,
    quick: bool = False,
    input_shape: tuple[int, ...] | None = None,
    rounds: tuple[int, int] = (LEAST_ROUNDS, 20),
    sittings: int = SITTINGS,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[ModeResult, ...]:
    """Both networks in the modes `names` (all of `MODES` unless given; eager is always among them), in the order of `MODES`.

    `budget_s`: seconds for all of it; modes that compile are left out, and say so, once the budget runs short, or with `quick`.
    With too little time for three sittings of six rounds, modes have ratios and gains without intervals. `input_shape`: of one
    input, C x H x W for images; of networks that `ablation.build` made it is known. `progress(mode)` before each is prepared, and
    while all are timed. InputError for an unknown mode, inputs of different shapes, or a GPU that isn't there.
    """
    start, report = time.perf_counter(), progress or _silent
    wanted, place, shape = _checked(names, budget_s), checked_device(device), common_shape((first, second), input_shape)
    if names is None and not all(isinstance(model, VAE) for model in (first, second)):
        wanted = [mode for mode in wanted if set(MODES[mode].steps) <= set(STEPS)]  # the others need to know the parts of a VAE
    networks = tuple(checked_copy(model).to(place) for model in (first, second))
    x = torch.rand((batch_size, *shape), generator=torch.Generator().manual_seed(seed)).to(place)
    usable, reasons = _all_prepared(
        networks, wanted, x, lambda mode: _unusable(mode, place.type, quick, time.perf_counter() - start, budget_s), report
    )  # fmt: skip
    left = max(budget_s - (time.perf_counter() - start), (1 - PREPARING) * budget_s)
    columns = {_column(name, i): model for name, both in usable.items() for i, model in enumerate(both)}
    times = compare_latency(
        columns, batch_size=batch_size, device=str(place), reference=_column(EAGER, 0), rounds=rounds, sittings=sittings,
        budget_s=left, seed=seed, only_calls=True, progress=_by_sitting(report), input_shape=shape,
    )  # fmt: skip
    return tuple(_judged([_result(name, usable.get(name), reasons[name], times) for name in wanted], times))


def _all_prepared(
    networks: Networks, wanted: Sequence[str], x: Tensor, unusable: Callable[[Mode], str], report: Progress
) -> tuple[dict[str, Networks], dict[str, str]]:
    """Both networks in every mode that can be used, and why the others can't; eager, the first one, always can."""
    usable, reasons = {EAGER: networks}, {EAGER: ""}
    for name in wanted[1:]:
        reasons[name] = unusable(MODES[name])
        if not reasons[name]:
            report(name)
            both, reasons[name] = _prepared(networks, MODES[name], x)
            usable |= {} if reasons[name] else {name: both}
    return usable, reasons


def _prepared(networks: Networks, mode: Mode, x: Tensor) -> tuple[Networks, str]:
    """Both networks in a mode, and why it can't be used; empty where it can."""
    try:
        made = [prepared(model, mode.steps, x) for model in networks]
    except Exception as error:  # a mode that doesn't work here is a recorded failure; the others go on
        return (), reason_of(error)
    reasons = {side: beyond(model) for side, model in zip(SIDES, made, strict=True)}  # type: ignore[arg-type]
    return tuple(made), "; ".join(f"{side} network: {reason}" for side, reason in reasons.items() if reason)


def _judged(results: list[ModeResult], times: LatencyComparison) -> list[ModeResult]:
    """With verdicts on ratios and on gains, each corrected over all modes."""
    floor = times.noise_floor
    ends = () if floor is None else (floor.low, floor.high)
    largest = max((abs(math.log(end)) for end in ends if end is not None), default=0.0)

    def verdicts(over: Callable[[str], str], under: Callable[[str], str]) -> Mapping[str, str]:
        logs = {m.mode: log for m in results if (log := _logarithm(times, over(m.mode), under(m.mode)))}
        return judge(logs, dict.fromkeys(logs, largest))

    ratios = verdicts(lambda mode: _column(mode, 1), lambda mode: _column(mode, 0))
    gains = verdicts(lambda mode: _column(EAGER, 1), lambda mode: _column(mode, 1))
    return [replace(m, ratio_verdict=ratios.get(m.mode, ""), gain_verdict=gains.get(m.mode, "")) for m in results]


def _logarithm(times: LatencyComparison, over: str, under: str) -> Estimate | None:
    if over == under or over not in times.columns or under not in times.columns:
        return None
    ratio = times.paired(over, under)
    if ratio is None:
        return None
    low, high = (None if end is None else math.log(end) for end in (ratio.low, ratio.high))
    return replace(ratio, value=math.log(ratio.value), low=low, high=high)


def _silent(line: str) -> None:
    """Reports nothing."""


def _by_sitting(report: Progress) -> Callable[[int, int], None]:
    # compare_latency reports every block; one line in ten rounds is enough
    last = -1

    def tick(rounds: int, most: int) -> None:
        nonlocal last
        if rounds % 10 == 0 and rounds != last:
            last = rounds
            report(f"timing all of them, round {rounds + 1} of at most {most}")

    return tick


def _checked(names: Sequence[str] | None, budget_s: float) -> list[str]:
    """The modes wanted, eager first; InputError for what is no mode and no budget."""
    if not budget_s > 0:
        raise must_be("budget_s", "a positive number of seconds", budget_s)
    for name in names or ():
        if name not in MODES:
            raise must_be("A mode", choices(MODES), name)
    return [name for name in MODES if names is None or name in names or name == EAGER]


def _unusable(mode: Mode, kind: str, quick: bool, elapsed: float, budget_s: float) -> str:
    if mode.needs_cuda and kind != "cuda":
        return "needs a CUDA device"
    missing = RUNTIMES[mode.runtime].missing(kind, precision_of(mode.steps)) if mode.runtime else ""
    if missing:
        return missing
    if mode.slow and quick:
        return "left out: preparing it takes a minute or so, and this was a quick run"
    if (mode.slow or mode.runtime) and elapsed > PREPARING * budget_s:
        return f"left out: {PREPARING:.0%} of the {budget_s:g} s were spent before it could be prepared"
    return ""


def _column(mode: str, side: int) -> str:
    return f"{mode}: {SIDES[side]}"


def _result(name: str, both: Networks | None, reason: str, times: LatencyComparison) -> ModeResult:
    base = ModeResult(mode=name, text=MODES[name].text, reason=reason, keeps=MODES[name].keeps)
    if both is None:
        return base
    first_gain = _ratio(times, (EAGER, 0), (name, 0))
    failures = dict.fromkeys(reason for side in range(2) if (reason := times[_column(name, side)].reason))
    return replace(
        base,
        first_ms=times[_column(name, 0)].median_ms,
        second_ms=times[_column(name, 1)].median_ms,
        **_spread("ratio", _ratio(times, (name, 1), (name, 0))),
        first_gain=None if first_gain is None else first_gain.value,
        **_spread("second_gain", _ratio(times, (EAGER, 1), (name, 1))),
        first_max_error=getattr(both[0], "max_error", 0.0),
        max_error=getattr(both[1], "max_error", 0.0),
        prepare_s=sum(getattr(model, "prepare_s", 0.0) for model in both),
        num_threads=getattr(getattr(both[0], "elsewhere", None), "num_threads", None),
        reason=reason or "; ".join(failures),
        rounds=times.rounds,
        sittings=num_whole(np.array(times.sittings)),
    )


def _spread(name: str, estimate: Estimate | None) -> dict[str, Any]:
    """Value and ends under the names of a result's fields."""
    return {} if estimate is None else {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _ratio(times: LatencyComparison, over: tuple[str, int], under: tuple[str, int]) -> Estimate | None:
    """Ratio within rounds, its interval over sittings; None where either failed. Of eager over itself, 1 without an interval."""
    if over == under:
        return None if times[_column(*over)].failed else Estimate(value=1.0)
    return times.paired(_column(*over), _column(*under))
