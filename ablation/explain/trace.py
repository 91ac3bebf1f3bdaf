"""A network's operations one by one, each with its class, part and block: the instrumented run, which gives shares only.

A `TorchDispatchMode` sees every operation after composite functions are taken apart, as `static_cost` does, so that both count
the same operations. Python hooks on the parts say where it is. An instrument says what is done around an operation: a stop-watch
on the CPU, a named range for the profiler on CUDA.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ablation.measure.costs.opcount import formula
from ablation.measure.costs.static import OTHER, StaticCost, static_cost
from ablation.measure.latency.timers import time_calls

Around = Callable[["Op"], AbstractContextManager[object]]
Clock = Callable[[], int]  # nanoseconds


@dataclass(frozen=True)
class Op:
    """One operation of a forward pass, in the order of execution."""

    kind: str  # one of opcount.CLASSES
    part: str
    block: str

    def key(self, group: str) -> str:
        """Its name in a group: "class", "part" or "block"."""
        return {"class": self.kind, "part": self.part, "block": self.block}[group]


def stop_watch() -> Clock:
    """The clock for shares on the CPU: with one thread that thread's own time, which other load doesn't enter, else wall time."""
    fine = time.get_clock_info("thread_time").resolution <= 1e-6
    return time.thread_time_ns if fine and torch.get_num_threads() == 1 else time.perf_counter_ns


def own_time(call: Callable[[], object], num_calls: int) -> float:
    """Median ms of a call on the CPU by `stop_watch`."""
    watch = stop_watch()
    return time_calls(call, num_calls, lambda: watch() / 1e9)


class Instrument(TorchDispatchMode):
    """Lists the operations that run under it, with the nanoseconds that each took on the CPU."""

    def __init__(self, around: Around | None = None, clock: Clock = time.perf_counter_ns) -> None:
        super().__init__()
        self.clock = clock
        self.around = around or (lambda op: nullcontext())
        self.part: list[str] = []
        self.block: list[str] = []
        # names of what is running, innermost last
        self.ops: list[Op] = []
        self.ns: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = formula(func)
        if found is None:
            return func(*args, **(kwargs or {}))
        op = Op(found.classify(args), (self.part or [OTHER])[-1], (self.block or [OTHER])[-1])
        with self.around(op):
            start = self.clock()
            out = func(*args, **(kwargs or {}))
            self.ns.append(self.clock() - start)
        self.ops.append(op)
        return out


def part_names(model: nn.Module) -> tuple[str, ...]:
    """The parts of a network: VAE.parts, or the direct children of any other module."""
    return tuple(getattr(model, "parts", ())) or tuple(name for name, _ in model.named_children())


def block_names(model: nn.Module) -> tuple[str, ...]:
    """The blocks: a part whose children all have children is its children ("encoder_body.0"), any other is one block."""
    names: list[str] = []
    for name in part_names(model):
        children = dict(model.get_submodule(name).named_children())
        deep = children and all(next(child.children(), None) is not None for child in children.values())
        names += [f"{name}.{child}" for child in children] if deep else [name]
    return tuple(names)


@contextmanager
def following(model: nn.Module, instrument: Instrument) -> Iterator[None]:
    """Keeps `instrument.part` and `.block` up to date by hooks on the model while the context is open."""

    def leave(stack: list[str]) -> Callable[..., None]:
        def pop(*_: Any) -> None:
            stack.pop()

        return pop

    handles = []
    for stack, names in ((instrument.part, part_names(model)), (instrument.block, block_names(model))):
        for name in names:
            module = model.get_submodule(name)
            handles.append(module.register_forward_pre_hook(lambda *_, stack=stack, name=name: stack.append(name)))
            handles.append(module.register_forward_hook(leave(stack)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def run_instrumented(
    model: nn.Module, x: Tensor, around: Around | None = None, clock: Clock = time.perf_counter_ns
) -> tuple[list[Op], list[int]]:
    """Operations of one forward pass and their nanoseconds. Without gradients, but not in inference mode: that would hide parts of
    composite operations from the instrument."""
    with torch.no_grad(), Instrument(around, clock) as instrument, following(model, instrument):
        model(x)
    return instrument.ops, instrument.ns


def num_module_calls(model: nn.Module, x: Tensor) -> int:
    """How many modules are called in one forward pass."""
    calls = [0]

    def count(*_: Any) -> None:
        calls[0] += 1

    handles = [module.register_forward_pre_hook(count) for module in model.modules()]
    try:
        with torch.inference_mode():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return calls[0]


def instrument_floor_ns(chain: int = 64, runs: int = 20) -> float:
    """What the stop-watch shows for an operation that does nothing worth mentioning."""
    clock = stop_watch()
    tiny, x = nn.Sequential(*(nn.ReLU() for _ in range(chain))), torch.rand(1, 16, 1, 1)
    return median(ns for _ in range(runs) for ns in run_instrumented(tiny, x, clock=clock)[1])


@dataclass(frozen=True)
class Rounds:
    """Plain and instrumented calls by turns: ms of each round's plain call, and of each operation (rounds x operations)."""

    ops: Sequence[Op]
    plain_ms: NDArray[np.float64]
    op_ms: NDArray[np.float64]

    def means(self) -> tuple[float, NDArray[np.float64]]:
        """Mean of the plain call, and of each operation, over the middle half of the rounds, ranked by their own totals.

        Means add up, as medians of operations would not; the middle half forgets rounds that something disturbed.
        """
        return float(_middle(self.plain_ms, self.plain_ms)), _middle(self.op_ms, self.op_ms.sum(axis=1))


def _middle(values: NDArray[np.float64], ranks: NDArray[np.float64]) -> Any:
    rounds = len(ranks)
    chosen = np.argsort(ranks, kind="stable")[rounds // 4 : rounds - rounds // 4]
    return values[chosen].mean(axis=0)


def measure_rounds(model: nn.Module, x: Tensor, floor_ns: float, *, rounds: tuple[int, int], budget_s: float) -> Rounds:
    """Alternate plain and instrumented calls, at least and at most so often, until the budget ends."""
    plain: list[float] = []
    rows: list[list[float]] = []
    ops: list[Op] = []
    end, clock = time.perf_counter() + budget_s, stop_watch()
    run_instrumented(model, x)
    while len(rows) < rounds[0] or (len(rows) < rounds[1] and time.perf_counter() < end):
        with torch.inference_mode():
            start = clock()
            model(x)
            plain.append((clock() - start) / 1e6)
        ops, ns = run_instrumented(model, x, clock=clock)
        rows.append([max(0.0, n - floor_ns) / 1e6 for n in ns])
    return Rounds(ops, np.array(plain), np.array(rows))


class _Named(nn.Module):
    # shows some submodules of a model as its parts, so that static_cost sums by them

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.parts = model, names

    def __getattr__(self, name: str) -> Any:
        if "parts" in self.__dict__ and name in self.__dict__["parts"]:
            return self.model.get_submodule(name)
        return super().__getattr__(name)

    def forward(self, x: Tensor) -> Any:
        return self.model(x)


def block_costs(model: nn.Module, batch_size: int, shape: tuple[int, ...]) -> Mapping[str, Any]:
    """Static costs by block, "other" included."""
    found: StaticCost = static_cost(_Named(model, block_names(model)), batch_size, input_shape=shape)
    return found.by_part
