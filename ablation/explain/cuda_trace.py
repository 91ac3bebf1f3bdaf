"""GPU time of every operation, and holes in the GPU's time line, from the profiler's kernel events. Shares only.

What needs a GPU is thin: `profile_calls` makes plain `Event`s of torch's profiler (kernel times come from CUPTI), and everything
else works on those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from ablation.explain.trace import Op, run_instrumented

PREFIX = "operation "  # begins the name of the range around an operation
SEPARATOR = "|"


@dataclass(frozen=True)
class Event:
    """One event of a profile, in microseconds."""

    name: str
    start_us: float
    end_us: float
    on_gpu: bool
    kernels_us: float = 0.0  # of an event on the CPU: GPU time of all kernels launched within it


@dataclass(frozen=True)
class Kernels:
    """GPU time of one forward pass by operation."""

    ops: Sequence[tuple[Op, float]]  # microseconds
    unplaced_us: float  # kernels that no operation launched


@dataclass(frozen=True)
class TimeLine:
    """One replay of the graph as the GPU ran it, in microseconds."""

    span_us: float
    busy_us: float

    @property
    def gaps_us(self) -> float:
        """Time in which no kernel ran."""
        return self.span_us - self.busy_us


def label(op: Op) -> str:
    """The name of an operation's range."""
    return PREFIX + SEPARATOR.join((op.kind, op.part, op.block))


def read_label(name: str) -> Op:
    """The inverse of `label`."""
    kind, part, block = name.removeprefix(PREFIX).split(SEPARATOR)
    return Op(kind, part, block)


def place_kernels(events: Iterable[Event], runs: int) -> Kernels:
    """GPU time by operation (mean over runs, the runs' events being in one profile) and what no operation launched.

    Operations of one label (class, part, block) come as one entry.
    """
    by_op: dict[Op, float] = {}
    total = 0.0
    for event in events:
        if event.on_gpu:
            total += event.end_us - event.start_us
        elif event.name.startswith(PREFIX):
            op = read_label(event.name)
            by_op[op] = by_op.get(op, 0.0) + event.kernels_us
    return Kernels([(op, us / runs) for op, us in by_op.items()], (total - sum(by_op.values())) / runs)


def time_line(events: Iterable[Event], runs: int) -> TimeLine | None:
    """Span and busy time of one of `runs` equal replays, medians; None where the profile doesn't show equal replays."""
    kernels = sorted((e for e in events if e.on_gpu), key=lambda e: e.start_us)
    if not kernels or len(kernels) % runs:
        return None
    size = len(kernels) // runs
    lines = [_line(kernels[i : i + size]) for i in range(0, len(kernels), size)]
    return TimeLine(median(line.span_us for line in lines), median(line.busy_us for line in lines))


def _line(kernels: Sequence[Event]) -> TimeLine:
    # kernels by start; those that overlap count once
    busy, end = 0.0, kernels[0].start_us
    for kernel in kernels:
        busy += max(0.0, kernel.end_us - max(end, kernel.start_us))
        end = max(end, kernel.end_us)
    return TimeLine(end - kernels[0].start_us, busy)


def profile_calls(call: Callable[[], object], runs: int) -> list[Event]:
    """Events of `runs` calls, the GPU awaited after each. Raises RuntimeError where the profiler sees no kernels."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    call()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(runs):
            call()
            torch.cuda.synchronize()
    events = as_events(profile.events() or ())
    if not any(event.on_gpu for event in events):
        raise RuntimeError("the profiler recorded no GPU kernels (is CUPTI permitted here?)")
    return events


def as_events(profiled: Iterable[Any]) -> list[Event]:
    """Plain events of torch's: ranges of operations, and what ran on the GPU, kernels, copies and fills."""
    events = []
    for event in profiled:
        on_gpu = str(event.device_type).endswith("CUDA")  # "DeviceType.CUDA"
        ours = event.name.startswith(PREFIX)
        # the echo of a range, and waits ("Context Sync"), take no time of the GPU's own
        no_work = on_gpu and (ours or bool(getattr(event, "is_user_annotation", False)) or event.name.endswith(" Sync"))
        if no_work or not (on_gpu or ours):
            continue
        kernels = 0.0 if on_gpu else float(event.device_time_total)
        events.append(Event(event.name, event.time_range.start, event.time_range.end, on_gpu, kernels))
    return events


def profile_kernels(model: nn.Module, x: Tensor, runs: int = 5) -> Kernels:
    """GPU time by operation of an eager forward pass."""

    def call() -> object:
        return run_instrumented(model, x, lambda op: torch.profiler.record_function(label(op)))

    return place_kernels(profile_calls(call, runs), runs)


def profile_replay(graph: Any, runs: int = 5) -> TimeLine | None:
    """The GPU's time line of a graph's replay."""
    return time_line(profile_calls(graph.replay, runs), runs)
