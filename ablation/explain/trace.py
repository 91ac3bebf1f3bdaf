"""A network's operations one by one, each with its class, part and block: the instrumented run, which gives shares only.

The operations are those that `static_cost` counts (`costs.operations`). `around` says what is done around an operation: on CUDA a
named range for the profiler.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ablation.measure.costs.opcount import Formula
from ablation.measure.costs.operations import Operations, block_names, following, part_names
from ablation.measure.latency.timers import time_calls

Around = Callable[["Op"], AbstractContextManager[object]]
Clock = Callable[[], int]  # nanoseconds


@dataclass(frozen=True)
class Op:
    """One operation of a forward pass, in the order of execution."""

    # one of opcount.CLASSES
    kind: str
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


class Instrument(Operations):
    """Lists the operations that run under it, with the nanoseconds that each took on the CPU."""

    def __init__(self, parts: Sequence[str], blocks: Sequence[str], around: Around | None, clock: Clock) -> None:
        super().__init__()
        # names of what is running, innermost last
        self.parts, self.blocks = parts, blocks
        self.around, self.clock = around or (lambda op: nullcontext()), clock
        self.ops: list[Op] = []
        self.ns: list[int] = []

    def operation(self, func: Any, entry: Formula, args: Any, kwargs: Mapping[str, Any]) -> Any:
        """Times the operation."""
        op = Op(entry.classify(args), self.parts[-1], self.blocks[-1])
        with self.around(op):
            start = self.clock()
            out = func(*args, **kwargs)
            self.ns.append(self.clock() - start)
        self.ops.append(op)
        return out


def run_instrumented(
    model: nn.Module, x: Tensor, around: Around | None = None, clock: Clock = time.perf_counter_ns
) -> tuple[list[Op], list[int]]:
    """Operations of one forward pass and their nanoseconds.

    Without gradients, but not in inference mode: that would hide parts of composite operations from the instrument.
    """
    with (
        following(model, part_names(model)) as parts,
        following(model, block_names(model)) as blocks,
        torch.no_grad(),
        Instrument(parts, blocks, around, clock) as instrument,
    ):
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
