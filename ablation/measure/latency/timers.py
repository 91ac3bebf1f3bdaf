"""How one block of one model is timed: on the CPU one number, on CUDA four that are never mixed.

    call      wall clock of a call, synchronised before and after: what a person waits for
    steady    CUDA events around back-to-back calls: time per call when the queue never runs dry, or the CPU's pace where it does
    enqueue   wall clock until a call returns, the GPU not awaited: the CPU's share
    gpu       CUDA events around replays of a captured graph: the GPU alone

A block is as many calls as fill 5 to 20 ms (one call where it is longer), and its number is the *median* over its calls, so that
an interruption costs one call and not the block. A minimum would be steadier still, but a fast model has more calls a block
than a slow one and would be flattered by its deeper minimum. For the same reason a call during which the scheduler took a core
away from this process (an involuntary context switch: other load, not the model) is made again, at most three times in all, and
the least is taken; on a quiet machine no call is repeated, and nowhere one of a model whose calls take more than half a second.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median

import torch
from torch import Tensor, nn

from ablation.machine.text import first_line

CALL, STEADY, ENQUEUE, GPU = "call", "steady", "enqueue", "gpu"
BLOCK_MS = 12.0  # aim of a block; whole calls put it between 6 and 18 ms
ATTEMPTS = 3  # at an undisturbed call
LONG_MS = 500.0  # a call so long is never left alone, and an interruption, some milliseconds, is a small part of it: one attempt

Clock = Callable[[], float]  # seconds, never going back
Call = Callable[[], object]


def calls_per_block(call_ms: float) -> int:
    """How many calls fill a block."""
    return max(1, min(10_000, round(BLOCK_MS / max(call_ms, 1e-6))))


def involuntary_switches() -> int:
    """How often the scheduler has taken a core away from a thread of this process; 0 where the system doesn't count it."""
    if sys.platform == "win32":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def time_calls(
    call: Call,
    num_calls: int,
    clock: Clock = time.perf_counter,
    switches: Callable[[], int] = involuntary_switches,
    attempts: int = ATTEMPTS,
) -> float:
    """Median wall-clock time of a call, in ms."""
    return 1e3 * median(_time_call(call, clock, switches, attempts) for _ in range(num_calls))


def _time_call(call: Call, clock: Clock, switches: Callable[[], int], attempts: int) -> float:
    least = float("inf")
    for _ in range(attempts):
        before, start = switches(), clock()
        call()
        least = min(least, clock() - start)
        if switches() == before:
            break
    return least


@dataclass
class Lane:
    """One model, ready to be timed: `block()` gives ms per call by kind."""

    call: Call
    num_calls: int = 1
    attempts: int = ATTEMPTS
    missing: dict[str, str] = field(default_factory=dict)  # kind -> why it could not be measured

    def calibrate(self) -> None:
        """Choose the number of calls of a block."""
        self._calibrate(self.call)

    def _calibrate(self, call: Call) -> None:
        # the first call also allocates and selects algorithms: where it is long, the second tells whether the model is
        if all(time_calls(call, 1, attempts=1) > LONG_MS for _ in range(2)):
            self.num_calls = self.attempts = 1
        else:
            self.num_calls, self.attempts = calls_per_block(time_calls(call, 3)), ATTEMPTS

    def block(self) -> Mapping[str, float]:
        """One block of each kind."""
        return {CALL: time_calls(self.call, self.num_calls, attempts=self.attempts)}


@dataclass
class CudaLane(Lane):
    """A model on a CUDA device. `call` enqueues; the graph, if there is one, replays the same call."""

    graph: torch.cuda.CUDAGraph | None = None
    only_calls: bool = False

    def calibrate(self) -> None:
        """Choose the number of calls of a block from synchronised calls."""
        self._calibrate(self.synchronised)

    def synchronised(self) -> None:
        """One call and the wait for its end."""
        self.call()
        torch.cuda.synchronize()

    def block(self) -> Mapping[str, float]:
        """One block of each kind, one kind after the other; of synchronised calls alone where nothing else is asked for."""
        torch.cuda.synchronize()
        times = {CALL: time_calls(self.synchronised, self.num_calls, attempts=self.attempts)}
        if self.only_calls:
            return times
        times |= {ENQUEUE: self.enqueue(), STEADY: self.events(self.call)}
        if self.graph is not None:
            times[GPU] = self.events(self.graph.replay)
        return times

    def enqueue(self) -> float:
        """Median time until a call returns, starting from an empty queue."""
        times = []
        for _ in range(self.num_calls):
            torch.cuda.synchronize()
            times.append(time_calls(self.call, 1))
        torch.cuda.synchronize()
        return median(times)

    def events(self, call: Call) -> float:
        """Mean time of back-to-back calls between two events."""
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(self.num_calls):
            call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / self.num_calls


def make_lane(model: nn.Module, x: Tensor, *, only_calls: bool = False) -> Lane:
    """The lane of a model on the device of its input; on CUDA `only_calls` leaves out the other three kinds and the graph."""
    if x.device.type != "cuda":
        return Lane(lambda: model(x))
    lane = CudaLane(lambda: model(x), only_calls=only_calls)
    if only_calls:
        return lane
    try:
        lane.graph = capture(lane.call)
    except RuntimeError as error:
        lane.missing[GPU] = f"CUDA graph capture failed: {first_line(error, 'no reason given')}"
        torch.cuda.synchronize()
    return lane


def capture(call: Call) -> torch.cuda.CUDAGraph:
    """A CUDA graph of one call, after three calls on a side stream, as capturing needs."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    graph.replay()
    torch.cuda.synchronize()
    return graph
