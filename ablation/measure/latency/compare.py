"""Latency of several models side by side: medians, ratios to a reference, intervals, and what the measurement itself can resolve.

In each of several sittings all models are loaded anew and then run in shuffled rounds (`interleave`), so that whatever slows the
machine slows all of them alike. A ratio is the geometric mean over sittings of the median over rounds of per-round ratios; its
95 % interval is Student's t over the sittings (`statistics`), none where there are fewer than three of six rounds. The reference
is loaded twice, apart; the ratio of the two is the noise floor: a difference inside its interval is no difference. Results say
"not converged" where an interval is wider than asked for. How a block is timed, and the four numbers of CUDA: `timers`.

Models are copied, put in evaluation mode, in the form in which they are deployed (`ablation.design.compose.deployed`), and run in
inference mode; yours stay as they are. On the CPU, denormals are flushed
while timing, since they would make the time depend on the values. A model that fails is recorded with its reason. InputError for
wrong arguments, for models with hooks, and for a GPU that isn't there.

Options of `compare_latency`:

- `image_size` or `input_shape` (without the batch) for modules that have no spec.
- `rounds`: of a sitting, at least and at most. `sittings`: fewer where `budget_s` seconds have no time for as many, but three or
  one; without a budget, all. `overrun`: the least that gives intervals is made even where it takes longer.
- `target_half_width`: of every ratio's interval, relative; whether it was reached is stated.
- `num_threads` on the CPU: torch's current number unless given; put back afterwards.
- `precision`: of weights and input (no autocast). `only_calls`: on CUDA, synchronised calls alone, a quarter of the time.
- `progress(rounds, at_most)` between blocks, also while warming up.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ablation.design.compose import deployed
from ablation.machine.device import checked_device
from ablation.machine.hardware import describe_hardware
from ablation.machine.text import first_line
from ablation.measure.costs.static import image_shape
from ablation.measure.latency.interleave import ROUNDS, SITTINGS, Plan, interleave
from ablation.measure.latency.result import TARGET, LatencyComparison, ModelLatency, summarise
from ablation.measure.latency.timers import CALL, ENQUEUE, GPU, STEADY, Lane, make_lane
from blocks.errors import check_whole, choices, must_be

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

    Options and errors stand at the head of this module.

    >>> models = {"wide": torch.nn.Linear(64, 64), "narrow": torch.nn.Linear(64, 8)}
    >>> timed = compare_latency(models, input_shape=(64,), rounds=(2, 2), sittings=1)
    >>> timed["wide"].ratio, timed["narrow"].failed
    (1.0, False)
    """
    reference = _checked(models, reference, batch_size, num_threads, target_half_width)
    shape = (batch_size, *(input_shape or _common_shape(models, image_size)))
    plan = Plan(rounds=rounds, sittings=sittings, budget_s=budget_s, overrun=overrun, seed=seed)
    setup = _Setup(checked_device(device), shape, precision, channels_last, only_calls, seed)
    loader = _Loader([*models.values(), models[reference]], setup)
    with settled(setup.place, num_threads), torch.inference_mode():
        run = interleave(loader, plan, primary=CALL, progress=progress, describe=lambda error: _reason(error, setup.place))
        provenance = setup.describe() | plan.describe() | {"target_half_width": target_half_width}
    missing = dict(zip(models, loader.missing, strict=False))  # the last one is the reference again
    about: dict[str, Any] = {"target_half_width": target_half_width, "provenance": provenance, "kinds": setup.kinds}
    return summarise(list(models), reference, run, missing=missing, **about)


def _checked(
    models: Mapping[str, nn.Module], reference: str | None, batch_size: int, num_threads: int | None, target_half_width: float
) -> str:
    """The name of the reference; InputError for wrong arguments."""
    if not models:
        raise must_be("models", "one or more modules by name", dict(models))
    if reference is not None and reference not in models:
        raise must_be("reference", choices(models), reference)
    check_whole("batch_size", batch_size)
    check_whole("num_threads", 1 if num_threads is None else num_threads)
    if not 0 < target_half_width < 1:
        raise must_be("target_half_width", "between 0 and 1", target_half_width)
    for name, model in models.items():
        if any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
            raise must_be(f"Model {name!r}", "free of forward hooks, which would be timed too", "hooks", "Remove them.")
    return reference or next(iter(models))


def _common_shape(models: Mapping[str, nn.Module], image_size: int | None) -> tuple[int, ...]:
    shapes = {name: image_shape(model, image_size) for name, model in models.items()}
    if len(set(shapes.values())) > 1:
        raise must_be("image_size", "the same for all models", shapes, "Pass input_shape, or compare models of one size.")
    return next(iter(shapes.values()))


@dataclass(frozen=True)
class _Setup:
    """Where and how the models are loaded, and what they are given."""

    place: torch.device
    shape: tuple[int, ...]
    precision: str
    channels_last: bool
    only_calls: bool
    seed: int

    def __post_init__(self) -> None:
        if self.precision not in DTYPES:
            raise must_be("precision", choices(DTYPES), self.precision)

    @property
    def kinds(self) -> tuple[str, ...]:
        return (CALL, STEADY, ENQUEUE, GPU) if self.place.type == "cuda" and not self.only_calls else (CALL,)

    def input(self) -> Tensor:
        x = torch.rand(self.shape, generator=torch.Generator().manual_seed(self.seed)).to(self.place, DTYPES[self.precision])
        return x.contiguous(memory_format=torch.channels_last) if self.channels_last else x

    def describe(self) -> dict[str, Any]:
        """Plain values for provenance."""
        return {
            **describe_hardware(str(self.place)),
            "torch": torch.__version__,
            "precision": self.precision,
            **describe_precision(self.place),
            "memory_format": "channels_last" if self.channels_last else "contiguous",
            "mode": "eval, inference_mode, eager",
            "batch_size": self.shape[0],
            "input_shape": list(self.shape[1:]),
            "seed": self.seed,
        }


class _Broken:
    """Stands for a model that could not be loaded: fails when it is asked for a time."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def calibrate(self) -> None:
        raise self.error

    def block(self) -> Mapping[str, float]:
        raise self.error


class _Loader:
    """Makes the lanes of a sitting: its own copies of the models and of the input, in a new order, so that they lie elsewhere."""

    def __init__(self, models: Sequence[nn.Module], setup: _Setup) -> None:
        self.models, self.setup = models, setup
        # of each model: kind -> why it could not be measured
        self.missing: list[dict[str, str]] = [{} for _ in models]

    def __call__(self, sitting: int) -> list[Lane | _Broken]:
        x, order = self.setup.input(), np.random.default_rng((self.setup.seed, sitting)).permutation(len(self.models)).tolist()
        lanes = {index: self._load(index, x) for index in order}
        return [lanes[index] for index in range(len(self.models))]

    def _load(self, index: int, x: Tensor) -> Lane | _Broken:
        try:
            loaded = deployed(copy.deepcopy(self.models[index])).to(device=x.device, dtype=x.dtype).eval()
            if self.setup.channels_last:
                loaded = loaded.to(memory_format=torch.channels_last)
            loaded(x)  # a model that fails must not reach graph capture
            lane = make_lane(loaded, x, only_calls=self.setup.only_calls)
        except Exception as error:
            return _Broken(error)
        self.missing[index] |= lane.missing
        return lane


def _reason(error: Exception, place: torch.device) -> str:
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
        with torch.cuda.device(place) if place.type == "cuda" else nullcontext():
            yield
    finally:
        torch.set_flush_denormal(flushing)
        torch.set_num_threads(threads)


def describe_precision(place: torch.device) -> dict[str, str]:
    """Arithmetic that float32 convolutions and products may use; they default differently (TF32 for cuDNN's convolutions only)."""
    # by name, since not every build of torch has all of them
    names = ("cudnn.conv", "cuda.matmul") if place.type == "cuda" else ("mkldnn.conv", "mkldnn.matmul")
    switches = ("cudnn", "cuda.matmul") if place.type == "cuda" else names
    chosen = [getattr(_backend(name), "fp32_precision", "none") for name in names]
    # torch says "none" where nothing was chosen; the older switch then tells what is done
    defaults = ["tf32" if getattr(_backend(name), "allow_tf32", False) else "ieee" for name in switches]
    convolutions, products = (default if choice == "none" else choice for choice, default in zip(chosen, defaults, strict=True))
    return {"float32_convolutions": convolutions, "float32_products": products}


def _backend(name: str) -> Any:
    first: Any = torch.backends
    return reduce(lambda backend, step: getattr(backend, step, None), name.split("."), first)
