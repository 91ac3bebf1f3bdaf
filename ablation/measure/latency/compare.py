"""Latency of several models side by side: medians, ratios to a reference, intervals, and what the measurement itself can resolve.

In each of several sittings all models are loaded anew and then run in shuffled rounds (`interleave`), so that whatever slows the
machine slows all of them alike. A ratio is the geometric mean over sittings of the median over rounds of per-round ratios; its
95 % interval is Student's t over the sittings (`timing_stats`), none where there are fewer than three of six rounds. The reference
is loaded twice, apart; the ratio of the two is the noise floor: a difference inside its interval is no difference. Results say
"not converged" where an interval is wider than asked for. How a block is timed, and the four numbers of CUDA: `timers`.

Models are copied, put in evaluation mode, and run in inference mode; yours stay as they are. On the CPU, denormals are flushed
while timing, since they would make the time depend on the values.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ablation.machine.device import checked_device
from ablation.machine.hardware import describe_hardware
from ablation.machine.text import first_line
from ablation.measure.costs.static import image_shape
from ablation.measure.latency.interleave import ROUNDS, SITTINGS, Plan, interleave
from ablation.measure.latency.result import TARGET, LatencyComparison, ModelLatency, summarise
from ablation.measure.latency.timers import CALL, ENQUEUE, GPU, STEADY, Lane, make_lane
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
    rounds: tuple[int, int] = ROUNDS,
    sittings: int = SITTINGS,
    target_half_width: float = TARGET,
    budget_s: float | None = None,
    overrun: bool = False,
    num_threads: int | None = None,
    seed: int = 0,
    precision: str = "float32",
    channels_last: bool = False,
    only_calls: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> LatencyComparison:
    """Time all models against `reference` (the first one unless named) on random images N x C x S x S in [0, 1].

    `rounds`: of a sitting, at least and at most. `sittings`: fewer where `budget_s` seconds have no time for as many, but three or
    one; without a budget, all. `overrun`: the least that gives intervals is made even where it takes longer.
    `target_half_width`: of every ratio's interval, relative; whether it was reached is stated. `num_threads` on the CPU: torch's
    current number unless given; put back afterwards.
    `precision`: of weights and input (no autocast). `only_calls`: on CUDA, synchronised calls alone, a quarter of the time.
    `progress(rounds, at_most)` between blocks, also while warming up. A model that fails is recorded with
    its reason. InputError for wrong arguments, for models with hooks, and for a GPU that isn't there.
    """
    reference = _check(models, reference, batch_size, rounds, sittings, target_half_width, budget_s, num_threads, precision)
    place = checked_device(device)
    shape = input_shape or _common_shape(models, image_size)
    plan = Plan(rounds=rounds, sittings=sittings, budget_s=budget_s, overrun=overrun, seed=seed)
    columns = [*models, reference]
    loader = _Loader([models[name] for name in columns], place, (batch_size, *shape), precision, channels_last, only_calls, seed)
    with settled(place, num_threads), torch.inference_mode():
        run = interleave(loader, plan, primary=CALL, progress=progress, describe=lambda error: _told(error, place))
        provenance = _provenance(place, batch_size, shape, precision, channels_last, seed, plan, target_half_width)
    failures = {columns[i]: why for i, why in sorted(run.failures.items(), reverse=True)}
    missing = dict(zip(columns, loader.missing, strict=True))
    kinds = (CALL, STEADY, ENQUEUE, GPU) if place.type == "cuda" and not only_calls else (CALL,)
    return summarise(
        list(models),
        reference,
        run,
        target_half_width=target_half_width,
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
    sittings: int,
    target_half_width: float,
    budget_s: float | None,
    num_threads: int | None,
    precision: str,
) -> str:
    if not models:
        raise must_be("models", "one or more modules by name", dict(models))
    if reference is not None and reference not in models:
        raise must_be("reference", choices(models), reference)
    counts = {"batch_size": batch_size, "sittings": sittings, "num_threads": 1 if num_threads is None else num_threads}
    for name, value in counts.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise must_be(name, "a whole number of at least 1", value)
    if len(rounds) != 2 or not 1 <= rounds[0] <= rounds[1]:
        raise must_be("rounds", "(at least, at most) with 1 <= at least <= at most", rounds)
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


class _Loader:
    """Makes the lanes of a sitting: its own copies of the models and of the input, in a new order, so that they lie elsewhere."""

    def __init__(
        self,
        models: list[nn.Module],
        place: torch.device,
        shape: tuple[int, ...],
        precision: str,
        channels_last: bool,
        only_calls: bool,
        seed: int,
    ) -> None:
        self.models, self.place, self.shape, self.dtype = models, place, shape, DTYPES[precision]
        self.channels_last, self.only_calls, self.seed = channels_last, only_calls, seed
        # of each model: kind -> why it could not be measured
        self.missing: list[dict[str, str]] = [{} for _ in models]

    def __call__(self, sitting: int) -> list[Lane | _Broken]:
        x = torch.rand(self.shape, generator=torch.Generator().manual_seed(self.seed)).to(self.place, self.dtype)
        x = x.contiguous(memory_format=torch.channels_last) if self.channels_last else x
        lanes: dict[int, Lane | _Broken] = {}
        for index in np.random.default_rng((self.seed, sitting)).permutation(len(self.models)):
            lanes[int(index)] = self._load(int(index), x)
        return [lanes[index] for index in range(len(self.models))]

    def _load(self, index: int, x: Tensor) -> Lane | _Broken:
        try:
            loaded = copy.deepcopy(self.models[index]).to(device=x.device, dtype=x.dtype).eval()
            if self.channels_last:
                loaded = loaded.to(memory_format=torch.channels_last)
            loaded(x)  # a model that fails must not reach graph capture
            lane = make_lane(loaded, x, only_calls=self.only_calls)
        except Exception as error:
            return _Broken(error)
        self.missing[index] |= lane.missing
        return lane


def _told(error: Exception, place: torch.device) -> str:
    # one line; what a failed model had allocated is given back to the others
    if place.type == "cuda":
        torch.cuda.empty_cache()
    kind = "out of memory" if isinstance(error, (torch.OutOfMemoryError, MemoryError)) else type(error).__name__
    return f"{kind}: {first_line(error, '')}"


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
    place: torch.device,
    batch_size: int,
    shape: tuple[int, ...],
    precision: str,
    channels_last: bool,
    seed: int,
    plan: Plan,
    target: float,
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
        "sittings": plan.sittings,
        "target_half_width": target,
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
