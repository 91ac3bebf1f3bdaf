"""`optimise(model)`: the same weights and the same outputs, faster, by a stack of remedies that is chosen by measuring it here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ablation.design.compose import VAE
from ablation.faster.optimised import Optimised, check_calibration
from ablation.faster.rewrite import checked_copy
from ablation.faster.runtimes import RUNTIMES
from ablation.faster.steps import PRECISIONS, REWRITES, check_steps, precision_of
from ablation.machine.device import checked_device, keeping_buffers, own_randomness
from ablation.machine.text import first_line
from ablation.measure.latency.compare import ModelLatency, compare_latency
from blocks.errors import InputError, check_whole, choices, must_be

# largest error of an output, as `errors` gives it. On the CPU float32 stays near 1e-6; convolutions on a GPU use TF32 by default
TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2, "int8": 2e-1}
ROUNDS = (7, 20)
EAGER = "eager"
AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One stack that was tried."""

    steps: tuple[str, ...]
    latency_ms: float | None = None
    # eager over this, paired by round
    gain: float | None = None
    max_error: float | None = None
    prepare_s: float | None = None
    # why it wasn't eligible
    reason: str = ""


def optimise(
    model: nn.Module,
    *,
    device: str | None = None,
    batch_size: int = 1,
    steps: Sequence[str] | None = None,
    precision: str = "float32",
    compile: bool = True,
    runtime: str | None = None,
    calibration: Tensor | None = None,
    tolerance: float | None = None,
    budget_s: float = 10.0,
    seed: int = 0,
) -> Optimised:
    """`model` as an `Optimised` network of the same weights; the model itself stays as it is.

    Without `steps` (names from `ablation.faster.steps.STEPS`), the likely stacks are prepared and timed side by side for
    `budget_s` seconds on `device` (the model's own unless given) at `batch_size`, and the fastest is kept whose outputs differ by
    at most `tolerance` from the eager ones; the result's `measured` lists all of them, with the reason where one couldn't be used.
    `tolerance` (see `errors`) is 0.001 unless given, 0.05 for a stack that computes in bfloat16, 0.2 in int8.
    `precision` "bfloat16" or "int8" lets stacks compute in it; int8 needs OpenVINO and `calibration`: images N x C x S x S like
    those that it will see. `compile` False leaves out stacks that compile, which takes a minute or so. `runtime` "auto" tries every
    other runtime that is installed too (`ablation.faster.runtimes.RUNTIMES`), a name that one alone.
    InputError for a module that is no `VAE` in float32, for wrong arguments, for a runtime that is not installed, and where no
    stack, or not the one that `steps` names, keeps to the tolerance.

    >>> from ablation import build, preset
    >>> faster = optimise(build(preset("small"), seed=0), steps=["fold", "in place"])
    >>> faster.steps, faster.max_error < 1e-5
    (('fold', 'in place'), True)
    """
    _check(model, batch_size, precision, tolerance, budget_s)
    assert isinstance(model, VAE)
    place = checked_device(device or str(next(model.parameters()).device))
    runtimes = _runtimes(runtime, place, precision)
    if precision == "int8":
        check_calibration(calibration, model)
    if steps is not None and runtime is not None:
        raise must_be("runtime", "None where steps are named, which may name one", runtime)
    eager = checked_copy(model).to(device=place)
    x = example(eager, batch_size, seed)
    if steps is not None:
        check_steps(steps, place)
        made = prepared(eager, steps, x, calibration)
        if beyond(made, tolerance):
            raise _refusal(eager, made, x, tolerance)
        return made
    stacks = likely_stacks(place, precision=precision, compile=compile) if runtime in (None, AUTO) else [()]
    stacks += [stack for name in runtimes for stack in runtime_stacks(name, precision)]
    tried = [_try(eager, stack, x, tolerance, calibration) for stack in stacks]
    return _fastest(eager, tried, batch_size=batch_size, budget_s=budget_s, seed=seed)


def _fastest(eager: VAE, tried: Sequence[tuple[Candidate, Optimised | None]], **timing: Any) -> Optimised:
    """The fastest of the stacks that can be used, all timed side by side; InputError where there is none."""
    usable = {_name(candidate): made for candidate, made in tried if made is not None}
    if not usable:
        reasons = "; ".join(dict.fromkeys(candidate.reason for candidate, _ in tried))
        raise must_be("model", "a network whose outputs repeat under one seed of the noise", reasons, "Use it as it is.")
    place = str(next(eager.parameters()).device)
    times = compare_latency({EAGER: eager, **usable}, device=place, rounds=ROUNDS, **timing)
    measured = [_timed(candidate, times[_name(candidate)]) for candidate, made in tried if made is not None]
    best = usable[_name(max(measured, key=lambda candidate: candidate.gain or 0.0))]
    best.measured = (*measured, *(candidate for candidate, made in tried if made is None))
    return best


def example(model: VAE, batch_size: int, seed: int = 0) -> Tensor:
    """Random images N x C x S x S on the model's device."""
    shape = (batch_size, model.spec.in_channels, model.spec.image_size, model.spec.image_size)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)).to(next(model.parameters()).device)


def prepared(eager: VAE, steps: Sequence[str], x: Tensor, calibration: Tensor | None = None) -> Optimised:
    """The stack of steps on a network in evaluation mode, prepared for inputs like `x`, with its errors. Raises whatever fails."""
    made = Optimised(eager, steps, x.device, calibration)
    made.prepare(x)
    made.errors = errors(eager, made, x)
    made.max_error = max(made.errors.values())
    return made


def errors(eager: VAE, made: Optimised, x: Tensor, seed: int = 0) -> dict[str, float]:
    """Largest difference of each output from the eager network's, both with the same noise (or both with z = mean).

    Absolute, or as a share of the output's largest value where that is above 1, as of a mean or log-variance it may be.
    """
    with (
        keeping_buffers(eager, made),
        torch.inference_mode(),
        own_randomness(x.device, seed),
    ):
        if "mean only" in made.steps:
            mean, _ = eager.encode(x)
            expected: tuple[Tensor, ...] = (eager.decode(mean), mean)
        else:
            expected = eager(x)
        torch.manual_seed(seed)
        got = made(x)
    names = ("reconstruction", "mean", "log_var")
    return {name: difference(a, b) for name, a, b in zip(names, got, expected, strict=False) if a is not None}


def difference(a: Tensor, b: Tensor) -> float:
    """Largest difference of `a` from `b`, as a share of b's largest value where that is above 1; infinite where shapes differ or
    either has a value that is not finite."""
    if a.shape != b.shape:
        return float("inf")
    gap = ((a.double() - b.double()).abs().max() / b.double().abs().max().clamp(min=1)).item()
    return gap if gap == gap else float("inf")


def tolerance_of(steps: Sequence[str]) -> float:
    """The error that a stack of steps may have unless said otherwise."""
    return TOLERANCE[precision_of(steps)]


def beyond(made: Optimised, tolerance: float | None = None) -> str:
    """Why the outputs of a prepared network are too far from the eager ones; empty where they aren't."""
    allowed = tolerance_of(made.steps) if tolerance is None else tolerance
    if made.max_error <= allowed:
        return ""
    worst = max(made.errors, key=lambda name: made.errors[name])
    return f"largest error {made.max_error:.1e} ({worst}) over the tolerance {allowed:g}"


def _refusal(eager: VAE, made: Optimised, x: Tensor, tolerance: float | None) -> InputError:
    # names the steps that err by themselves, as far as they are quick to prepare
    quick = [step for step in made.steps if step not in ("compile", "max-autotune", "CUDA graph", *RUNTIMES, "int8")]
    guilty = [step for step in quick if beyond(prepared(eager, [step], x), tolerance)]
    allowed = tolerance_of(made.steps) if tolerance is None else tolerance
    remedy = f"Leave out {', '.join(guilty) or 'a step'}."
    return must_be("The largest error", f"at most {allowed:g} (tolerance)", made.max_error, remedy)


def likely_stacks(place: torch.device, *, precision: str = "float32", compile: bool = True) -> list[tuple[str, ...]]:
    """Stacks worth timing on a device; the first is nothing at all, so that a remedy is never kept that doesn't help."""
    eager = (*REWRITES, "in place")
    stacks: list[tuple[str, ...]] = [eager, (*eager, "channels_last"), (*eager, "no concatenation")]
    if compile:
        fused = (*REWRITES, "fast ELU", "compile")
        # on the CPU, channels_last was faster on every network tried and compiles several times sooner
        stacks += [(*fused, "channels_last"), *([fused] if place.type == "cuda" else [])]
    if precision == "bfloat16":
        stacks += [(*stack, "bf16") for stack in stacks]
    if place.type == "cuda":
        stacks = [(*stack, "CUDA graph") for stack in stacks]
    return [(), *stacks]


def runtime_stacks(runtime: str, precision: str = "float32") -> list[tuple[str, ...]]:
    """Stacks worth timing in another runtime: the network as it is, whose layers it merges by itself, and rewritten."""
    exact: list[tuple[str, ...]] = [(runtime,), (*REWRITES, runtime)]
    reduced = next((step for step, name in PRECISIONS.items() if name == precision), None)
    if reduced is None or precision not in RUNTIMES[runtime].precisions:
        return exact
    return exact + [(*stack, reduced) for stack in exact]


def _runtimes(runtime: str | None, place: torch.device, precision: str) -> list[str]:
    """The runtimes to try beside PyTorch; InputError for one that is unknown, can't be used or does not have the precision."""
    if runtime not in (None, AUTO, *RUNTIMES):
        raise must_be("runtime", choices((AUTO, *RUNTIMES)), runtime)
    named = RUNTIMES.get(runtime or "")
    if named is not None and (reason := named.missing(place.type, precision)):
        raise must_be("runtime", "one that can be used here", runtime, f"{reason.capitalize()}.")
    usable = [name for name, kind in RUNTIMES.items() if runtime in (AUTO, name) and not kind.missing(place.type)]
    has = [name for name in usable if precision in RUNTIMES[name].precisions and not RUNTIMES[name].missing(place.type, precision)]
    if (precision == "int8" or (named is not None and precision != "float32")) and not has:
        remedy = f"Of the runtimes here these have {precision}: {', '.join(_having(precision, place)) or 'none'}."
        raise must_be("runtime", f"one that computes in {precision}", runtime, remedy)
    return usable


def _having(precision: str, place: torch.device) -> list[str]:
    return [n for n, kind in RUNTIMES.items() if precision in kind.precisions and not kind.missing(place.type, precision)]


def _check(model: nn.Module, batch_size: int, precision: str, tolerance: float | None, budget_s: float) -> None:
    if not isinstance(model, VAE):
        raise must_be("model", "a VAE that `ablation.build` made", type(model).__name__)
    others = {str(p.dtype) for p in model.parameters() if p.dtype != torch.float32}
    if others:
        raise must_be("model", "in float32", ", ".join(sorted(others)), "Call .float() on it; steps and precision choose bfloat16.")
    check_whole("batch_size", batch_size)
    if precision not in TOLERANCE:
        raise must_be("precision", choices(TOLERANCE), precision)
    for name, value in (("tolerance", tolerance), ("budget_s", budget_s)):
        if value is not None and not value > 0:
            raise must_be(name, "a positive number", value)


def _try(
    eager: VAE, steps: tuple[str, ...], x: Tensor, tolerance: float | None, calibration: Tensor | None
) -> tuple[Candidate, Optimised | None]:
    try:
        made = prepared(eager, steps, x, calibration if "int8" in steps else None)
    except Exception as error:  # a remedy that doesn't work here is a recorded failure; the others go on
        return Candidate(steps=steps, reason=reason_of(error)), None
    reason = beyond(made, tolerance)
    candidate = Candidate(steps=steps, max_error=made.max_error, prepare_s=made.prepare_s, reason=reason)
    return candidate, None if reason else made


def _timed(candidate: Candidate, time: ModelLatency) -> Candidate:
    gain = None if time.ratio is None else 1 / time.ratio
    return replace(candidate, latency_ms=time.median_ms, gain=gain, reason=time.reason)


def _name(candidate: Candidate) -> str:
    return " + ".join(candidate.steps) or "as it is"


def reason_of(error: Exception) -> str:
    """The reason of a failure in one line."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return "out of memory"
    return f"{type(error).__name__}: {first_line(error, 'no reason given')}"
