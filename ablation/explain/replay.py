"""Each class's operations replayed alone: an independent route to time by class, without a profiler or a stop-watch in the network.

The operations of one forward pass are recorded with their arguments, and those of one class are then run in a row, again and
again. What differs from the network: nothing else runs in between, so inputs and weights are warmer in cache than they would be.
On CUDA the row is captured as a graph, so that the time is the GPU's alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ablation.explain.calibrate import gpu_time
from ablation.explain.trace import own_time
from ablation.measure.costs.opcount import Formula
from ablation.measure.costs.operations import Operations
from ablation.measure.latency.timers import capture

# of arguments kept; beyond that the replay is refused
MOST_BYTES = 2**31
# operation, arguments, keyword arguments
Recorded = tuple[Any, Any, Any]


class Recorder(Operations):
    """Keeps every operation that runs under it, with its arguments, by class. MemoryError beyond MOST_BYTES."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        super().__init__()
        self.by_class: dict[str, list[Recorded]] = {}
        self.left = most_bytes

    def operation(self, func: Any, entry: Formula, args: Any, kwargs: Mapping[str, Any]) -> Any:
        """Keeps the operation."""
        out = func(*args, **kwargs)
        self.by_class.setdefault(entry.classify(args), []).append((func, args, kwargs))
        self.left -= out.numel() * out.element_size() if isinstance(out, Tensor) else 0
        if self.left < 0:
            raise MemoryError("the operations' arguments take more memory than a replay may use")
        return out


def record(model: nn.Module, x: Tensor) -> dict[str, list[Recorded]]:
    """The operations of one forward pass by class."""
    with torch.no_grad(), Recorder() as recorder:
        model(x)
    return recorder.by_class


def class_times(model: nn.Module, x: Tensor, calls: int = 7) -> dict[str, float]:
    """ms of each class's operations alone; on the CPU less what calling an operation costs."""
    with torch.no_grad():
        time_ms, floor = (_graph_ms, 0.0) if x.is_cuda else (own_time, _floor_ms(calls))
        return {kind: max(0.0, time_ms(_replayed(ops), calls) - floor * len(ops)) for kind, ops in record(model, x).items()}


def _replayed(ops: Sequence[Recorded]) -> Callable[[], None]:
    def run() -> None:
        for func, args, kwargs in ops:
            func(*args, **kwargs)

    run()
    return run


def _graph_ms(call: Callable[[], object], calls: int) -> float:
    return gpu_time(capture(call).replay, calls)


def _floor_ms(calls: int, chain: int = 64) -> float:
    x = torch.rand(1, 16, 1, 1)
    return own_time(_replayed([(torch.ops.aten.relu.default, (x,), {})] * chain), 3 * calls) / chain
