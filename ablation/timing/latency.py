"""Latency of several models side by side: medians, ratios to a reference, intervals, and what the measurement itself can resolve.

All models are loaded first and then run in shuffled rounds (`interleave`), so that whatever slows the machine slows all of them
alike. A ratio is the median over rounds of per-round ratios, with a 95 % bootstrap interval (`timing_stats`). The reference runs
twice a round under two names; the ratio of the two is the noise floor: a difference inside its interval is no difference. Results
say "not converged" where an interval is wider than asked for. How a block is timed, and the four numbers of CUDA: `timers`.

Models are copied, put in evaluation mode, and run in inference mode; yours stay as they are. On the CPU, denormals are flushed
while timing, since they would make the time depend on the values.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ablation.costs.static import image_shape
from ablation.device import checked_device
from ablation.timing.hardware import describe_hardware
from ablation.timing.interleave import Plan, interleave
from ablation.timing.latency_result import LatencyComparison, ModelLatency, summarise
from ablation.timing.timers import CALL, ENQUEUE, GPU, STEADY, Lane, make_lane
from blocks.errors import choices, must_be

__all__ = ["LatencyComparison", "ModelLatency", "compare_latency"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def compare_latency(
    models: Mapping[str, nn.Module],
    *,
    batch_size: int = 1,
    device: str = "cpu",
    reference: str | None = None,
    image_size: int | None = None,
    input_shape: tuple[int, ...] | None = None,
    rounds: tuple[int, int] = (30, 100),
    target_half_width: float = 0.01,
    budget_s: float | None = None,
    num_threads: int | None = None,
    seed: int = 0,
    precision: str = "float32",
    channels_last: bool = False,
    only_calls: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> LatencyComparison:
    """Time all models against `reference` (the first one unless named) on random images N x C x S x S in [0, 1].

    `rounds`: at least, at most. `target_half_width`: of every ratio's interval, relative; reaching it ends the rounds. `budget_s`:
    seconds after which they end in any case. `num_threads` on the CPU: torch's current number unless given; put back afterwards.
    `precision`: of weights and input (no autocast). `only_calls`: on CUDA, synchronised calls alone, a quarter of the time.
    `progress(rounds, at_most)` between blocks, also while warming up. A model that fails is recorded with
    its reason. InputError for wrong arguments, for models with hooks, and for a GPU that isn't there.
    """
    reference = _check(models, reference, batch_size, rounds, target_half_width, budget_s, num_threads, precision)
    place = checked_device(device)
    shape = input_shape or _common_shape(models, image_size)
    plan = Plan(rounds=rounds, target_half_width=target_half_width, budget_s=budget_s, seed=seed)
    names = list(models)
    with settled(place, num_threads), torch.inference_mode():
        x = torch.rand((batch_size, *shape), generator=torch.Generator().manual_seed(seed)).to(place, DTYPES[precision])
        x = x.contiguous(memory_format=torch.channels_last) if channels_last else x
        failures: dict[str, str] = {}
        lanes = [_load(name, models[name], x, channels_last, only_calls, failures) for name in names]
        run = interleave(
            lanes, names.index(reference), plan, primary=CALL, progress=progress, describe=lambda error: _told(error, place)
        )
        provenance = _provenance(place, batch_size, shape, precision, channels_last, seed, plan)
    failures = {**{names[i]: why for i, why in run.failures.items()}, **failures}
    missing = {name: lane.missing for name, lane in zip(names, lanes, strict=True) if isinstance(lane, Lane)}
    kinds = (CALL, STEADY, ENQUEUE, GPU) if place.type == "cuda" and not only_calls else (CALL,)
    return summarise(
        names,
        reference,
        run,
        target_half_width=target_half_width,
        seed=seed,
        failures=failures,
        missing=missing,
        provenance=provenance,
        kinds=kinds,
    )


def _check(
    models: Mapping[str, nn.Module],
    reference: str | None,
    batch_size: int,
    rounds: tuple[int, int],
    target_half_width: float,
    budget_s: float | None,
    num_threads: int | None,
    precision: str,
) -> str:
    if not models:
        raise must_be("models", "one or more modules by name", dict(models))
    if reference is not None and reference not in models:
        raise must_be("reference", choices(models), reference)
    for name, value in (("batch_size", batch_size), ("num_threads", 1 if num_threads is None else num_threads)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise must_be(name, "a whole number of at least 1", value)
    if len(rounds) != 2 or not 2 <= rounds[0] <= rounds[1]:
        raise must_be("rounds", "(at least, at most) with 2 <= at least <= at most", rounds)
    if not 0 < target_half_width < 1:
        raise must_be("target_half_width", "between 0 and 1", target_half_width)
    if budget_s is not None and not budget_s > 0:
        raise must_be("budget_s", "a positive number of seconds", budget_s)
    if precision not in DTYPES:
        raise must_be("precision", choices(DTYPES), precision)
    for name, model in models.items():
        if any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
            raise must_be(f"Model {name!r}", "free of forward hooks, which would be timed too", "hooks", "Remove them.")
    return reference or next(iter(models))


def _common_shape(models: Mapping[str, nn.Module], image_size: int | None) -> tuple[int, ...]:
    shapes = {name: image_shape(model, image_size) for name, model in models.items()}
    if len(set(shapes.values())) > 1:
        raise must_be("image_size", "the same for all models", shapes, "Pass input_shape, or compare models of one size.")
    return next(iter(shapes.values()))


class _Broken:
    # stands for a model that could not be loaded: fails when it is asked for a time

    def __init__(self, error: Exception) -> None:
        self.error = error

    def calibrate(self) -> None:
        raise self.error

    def block(self) -> Mapping[str, float]:
        raise self.error


def _load(
    name: str, model: nn.Module, x: Tensor, channels_last: bool, only_calls: bool, failures: dict[str, str]
) -> Lane | _Broken:
    try:
        loaded = copy.deepcopy(model).to(device=x.device, dtype=x.dtype).eval()
        if channels_last:
            loaded = loaded.to(memory_format=torch.channels_last)
        loaded(x)  # a model that fails must not reach graph capture
        return make_lane(loaded, x, only_calls=only_calls)
    except Exception as error:
        failures[name] = _told(error, x.device)
        return _Broken(error)


def _told(error: Exception, place: torch.device) -> str:
    # one line; what a failed model had allocated is given back to the others
    if place.type == "cuda":
        torch.cuda.empty_cache()
    line = (str(error).splitlines() or [""])[0]
    kind = "out of memory" if isinstance(error, (torch.OutOfMemoryError, MemoryError)) else type(error).__name__
    return f"{kind}: {line}"


@contextmanager
def settled(place: torch.device, num_threads: int | None) -> Iterator[None]:
    """Threads, treatment of denormals and current device while timing; put back afterwards."""
    threads = torch.get_num_threads()
    flushing = bool((torch.tensor([1e-40]) * 1.0 == 0).all())
    torch.set_num_threads(num_threads or threads)
    torch.set_flush_denormal(True)
    try:
        if place.type == "cuda":
            with torch.cuda.device(place):
                yield
        else:
            yield
    finally:
        torch.set_flush_denormal(flushing)
        torch.set_num_threads(threads)


def _provenance(
    place: torch.device, batch_size: int, shape: tuple[int, ...], precision: str, channels_last: bool, seed: int, plan: Plan
) -> dict[str, Any]:
    return {
        **describe_hardware(str(place)),
        "torch": torch.__version__,
        "precision": precision,
        **describe_precision(place),
        "memory_format": "channels_last" if channels_last else "contiguous",
        "mode": "eval, inference_mode, eager",
        "batch_size": batch_size,
        "input_shape": list(shape),
        "seed": seed,
        "rounds": list(plan.rounds),
        "target_half_width": plan.target_half_width,
        "budget_s": plan.budget_s,
    }


def describe_precision(place: torch.device) -> dict[str, str]:
    """Arithmetic that float32 convolutions and products may use; they default differently (TF32 for cuDNN's convolutions only)."""
    # by name, since not every build of torch has all of them
    names = ("cudnn.conv", "cuda.matmul") if place.type == "cuda" else ("mkldnn.conv", "mkldnn.matmul")
    switches = ("cudnn", "cuda.matmul") if place.type == "cuda" else names
    backends, defaults = ([_backend(name) for name in group] for group in (names, switches))
    found = [
        chosen if (chosen := getattr(backend, "fp32_precision", "none")) != "none" else _default_precision(default)
        for backend, default in zip(backends, defaults, strict=True)
    ]
    return {"float32_convolutions": found[0], "float32_products": found[1]}


def _backend(name: str) -> Any:
    found: Any = torch.backends
    for step in name.split("."):
        found = getattr(found, step, None)
    return found


def _default_precision(backend: Any) -> str:
    # torch says "none" where nothing was chosen; the older switch then tells what is done
    return "tf32" if getattr(backend, "allow_tf32", False) else "ieee"
