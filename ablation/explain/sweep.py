"""Two networks at growing batch sizes: latency side by side at each, and the batch size from which time grows in proportion.

A point with time for LEAST_SITTINGS sittings of LEAST_ROUNDS rounds has an interval (`timing_stats`); with less it is a value with
its number of rounds. A batch that was named is measured beyond the budget: one call of each network tells first how long its
interval would take, and where that is more than MOST_S, two calls of each make a value.

The knee is where time = max(a, b x batch) bends: below it the cost of launching operations (a) is all that counts, above it every
image costs the same (b). The fit takes each split of the measured points into a flat part (a: their geometric mean) and a
proportional part (b: the geometric mean of time / batch; at least two points), and keeps the one with the least squared error of
logarithms. The knee is the smallest measured batch with b x batch >= 0.9 a, or None where no proportional part was reached.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import geometric_mean

import numpy as np
import torch
from torch import Tensor, nn

from ablation.explain.prepared import common_shape
from ablation.machine.device import checked_device
from ablation.measure.costs.memory import activation_bytes, available_bytes
from ablation.measure.latency.compare import compare_latency, settled
from ablation.measure.latency.interleave import LONG_ROUND_S, ROUNDS, SITTINGS, WARMUP_ROUNDS
from ablation.measure.latency.result import LatencyComparison, ModelLatency
from ablation.measure.latency.statistics import num_whole
from ablation.measure.latency.timers import ENQUEUE, time_calls
from ablation.record.explanation import SweepPoint
from ablation.stats import LEAST_ROUNDS, LEAST_SITTINGS
from blocks.errors import must_be

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# share of a that b x batch must have at the knee
REACHED = 0.9
# over the bytes that shapes need: copies in other layouts, the allocator
SAFETY = 1.5
# calls of a network that load it and choose how many fill a block, at most
CALLS_BEFORE = 6
# a named batch whose interval takes longer has none; one that is quick gets all sittings within so many seconds
MOST_S, ENOUGH_S = 420.0, 100.0
# over the time that one call foretells
MARGIN = 1.3
NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


def batch_sweep(
    first: nn.Module,
    second: nn.Module,
    *,
    device: str = "cpu",
    batches: Sequence[int] = BATCHES,
    budget_s: float = 60.0,
    image_size: int | None = None,
    input_shape: tuple[int, ...] | None = None,
    threads: int | None = None,
    names: tuple[str, str] = ("first", "second"),
    overrun: bool = False,
    known: Mapping[int, SweepPoint] | None = None,
    progress: Callable[[int], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[tuple[SweepPoint, ...], dict[str, int | None]]:
    """One point for every batch size, ascending, and the knee of each network by name.

    A network that runs out of memory is left out of larger batches, the other goes on; a point that would overrun what is left of
    `budget_s` isn't measured, unless it may `overrun` (batches that were named). Either is said in the point's `reason`.
    `image_size` (3 channels, square) or `input_shape` of one input: for modules without a spec. `known`: points that were measured
    before, under the same settings, by batch size. `progress(batch size)` before each point. InputError for batch sizes that are
    none.
    """
    if not batches or any(not isinstance(n, int) or isinstance(n, bool) or n < 1 for n in batches):
        raise must_be("batches", "one or more whole numbers of at least 1", tuple(batches))
    if names[0] == names[1]:
        raise must_be("names", "two different names", names)
    pair = dict(zip(names, (first, second), strict=True))
    shape = common_shape((first, second), input_shape, image_size)
    sweep = _Sweep(pair, device, shape, threads, overrun, clock, clock() + budget_s)
    sizes, known = sorted(set(batches)), known or {}
    points = []
    for i, n in enumerate(sizes):
        if progress is not None:
            progress(n)
        points.append(sweep.take(known[n]) if n in known else sweep.point(n, len(sizes) - i))
    first_ms, second_ms = ({p.batch_size: getattr(p, f) for p in points if getattr(p, f)} for f in ("first_ms", "second_ms"))
    return tuple(points), {names[0]: knee(first_ms), names[1]: knee(second_ms)}


@dataclass
class _Sweep:
    """What is known so far: who has run out of memory, and how long a call takes."""

    models: Mapping[str, nn.Module]
    device: str
    shape: tuple[int, ...]
    threads: int | None
    overrun: bool
    clock: Callable[[], float]
    end: float
    # name -> why it is left out from here on
    gone: dict[str, str] = field(default_factory=dict)
    # name -> its last batch size and ms
    last: dict[str, tuple[int, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # a GPU says itself when its memory is full; a CPU's process is killed
        on_cpu = checked_device(self.device).type == "cpu"
        self.bytes = {name: SAFETY * activation_bytes(m, self.shape) for name, m in self.models.items() if on_cpu}

    def take(self, point: SweepPoint) -> SweepPoint:
        """A point that was measured before."""
        timed = zip(self.models, (point.first_ms, point.second_ms), strict=True)
        self.last |= {name: (point.batch_size, ms) for name, ms in timed if ms is not None}
        return point

    def point(self, batch_size: int, points_left: int) -> SweepPoint:
        """A point within the budget, or the reason why there is none."""
        self._check_memory(batch_size)
        alive = {name: model for name, model in self.models.items() if name not in self.gone}
        if not alive:
            return SweepPoint(batch_size=batch_size, reason=self._reasons())
        if self.overrun:
            return self._named(alive, batch_size)
        # a call takes in proportion to the last batch
        calls = {name: ms * batch_size / size / 1e3 for name, (size, ms) in self.last.items() if name in alive}
        needs, left = _seconds(calls, 1, 2), self.end - self.clock()
        if needs > left:
            reason = f"not measured: it would take about {needs:.2g} s, and {max(0.0, left):.2g} s of the budget were left"
            return SweepPoint(batch_size=batch_size, reason=self._reasons(reason))
        enough = MARGIN * _seconds(calls, LEAST_SITTINGS, LEAST_ROUNDS)
        share = min(left, max(left / 3, left / points_left, enough), max(enough, ENOUGH_S))
        return self._timed(alive, batch_size, max(share, 1e-3))

    def _named(self, alive: Mapping[str, nn.Module], batch_size: int) -> SweepPoint:
        """With an interval, however long it takes, up to MOST_S; else a value."""
        calls = {name: _call_s(model, batch_size, self) for name, model in alive.items()}
        least, all_of_it = (_seconds(calls, sittings, LEAST_ROUNDS) for sittings in (LEAST_SITTINGS, SITTINGS))
        if least > MOST_S and all(math.isfinite(seconds) for seconds in calls.values()):
            return self._value(alive, batch_size, MARGIN * least)
        budget = max(MARGIN * least, min(MARGIN * all_of_it, ENOUGH_S)) if math.isfinite(least) else ENOUGH_S
        return self._timed(alive, batch_size, budget)

    def _value(self, alive: Mapping[str, nn.Module], batch_size: int, needs: float) -> SweepPoint:
        """From two interleaved calls of each network, after the first; no interval."""
        rounds = [{name: _call_s(model, batch_size, self) for name, model in alive.items()} for _ in range(2)]
        ms = {name: 1e3 * math.sqrt(rounds[0][name] * rounds[1][name]) for name in alive}
        self.last |= {name: (batch_size, value) for name, value in ms.items()}
        one, two = (ms.get(name) for name in self.models)
        reason = self._reasons(f"no interval: {LEAST_SITTINGS} sittings would take about {needs / 60:.0f} minutes")
        ratio = two / one if one is not None and two is not None else None
        return SweepPoint(
            batch_size=batch_size, first_ms=one, second_ms=two, ratio=ratio, rounds=2, sittings=0, reason=reason
        )  # fmt: skip

    def _check_memory(self, batch_size: int) -> None:
        free = available_bytes() if self.bytes else None
        if free is None:
            return
        for name, needs in self.bytes.items():
            if needs * batch_size > free and name not in self.gone:
                amount = f"about {needs * batch_size / 1e9:.2g} of {free / 1e9:.2g} GB"
                self.gone[name] = f"{name}: out of memory at batch {batch_size} ({amount})"

    def _timed(self, alive: Mapping[str, nn.Module], batch_size: int, budget_s: float) -> SweepPoint:
        times = compare_latency(
            alive, batch_size=batch_size, device=self.device, input_shape=self.shape, num_threads=self.threads, rounds=ROUNDS,
            budget_s=budget_s, overrun=self.overrun,
        )  # fmt: skip
        for name, model in times.models.items():
            if model.median_ms is not None:
                self.last[name] = (batch_size, model.median_ms)
            elif any(text in model.reason for text in NO_MEMORY):
                self.gone[name] = f"{name}: out of memory at batch {batch_size}"
        return self._point(times, batch_size)

    def _point(self, times: LatencyComparison, batch_size: int) -> SweepPoint:
        enqueue, none = times.by_kind.get(ENQUEUE, {}), ModelLatency()
        one, two = (times.models.get(name, none) for name in self.models)
        first_enqueue, second_enqueue = (enqueue.get(name, none).median_ms for name in self.models)
        paired = two if len(times.models) == len(self.models) else none
        failed = [f"{name}: {m.reason}" for name, m in times.models.items() if m.failed and name not in self.gone]
        return SweepPoint(
            batch_size=batch_size, first_ms=one.median_ms, second_ms=two.median_ms, ratio=paired.ratio, ratio_low=paired.ratio_low,
            ratio_high=paired.ratio_high, rounds=times.rounds, reason="; ".join([*failed, *self.gone.values()]),
            sittings=num_whole(np.array(times.sittings)) if paired.ratio_low is not None else 0,
            first_enqueue_ms=first_enqueue, second_enqueue_ms=second_enqueue,
        )  # fmt: skip

    def _reasons(self, *more: str) -> str:
        return "; ".join([*self.gone.values(), *more])


def _seconds(calls: Mapping[str, float], sittings: int, rounds: int) -> float:
    """What so many sittings of so many rounds take, where calls take so long; the first network runs twice a round."""
    a_round = sum(calls.values()) + next(iter(calls.values()), 0.0)
    warm_up = 1 if a_round > LONG_ROUND_S else WARMUP_ROUNDS[0]
    before = CALLS_BEFORE / 2 if a_round > LONG_ROUND_S else CALLS_BEFORE
    return sittings * (before + warm_up + rounds) * a_round


def _call_s(model: nn.Module, batch_size: int, sweep: _Sweep) -> float:
    """Seconds of one call, on random inputs; infinite where it fails: the comparison that follows records the reason."""
    place = checked_device(sweep.device)
    try:
        with settled(place, sweep.threads), torch.inference_mode():
            loaded, x = copy.deepcopy(model).to(place).eval(), torch.rand((batch_size, *sweep.shape), device=place)
            return time_calls(partial(_call, loaded, x), 1, attempts=1) / 1e3
    except Exception:
        return math.inf


def _call(model: nn.Module, x: Tensor) -> None:
    model(x)
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)


def knee(times: Mapping[int, float]) -> int | None:
    """The smallest batch size from which time grows in proportion to it, of times by batch size; None where it never does.

    >>> knee({1: 8.0, 2: 8.0, 4: 8.0, 8: 8.0, 16: 16.0, 32: 32.0})
    8
    """
    points = sorted(times.items())
    if len(points) < 3:
        return None
    error, a, b = min((_fit(points, flat) for flat in range(len(points) - 1)), key=lambda fit: fit[0])
    level = geometric_mean(times.values())
    if error >= sum(math.log(t / level) ** 2 for t in times.values()):  # a constant fits as well
        return None
    return next((n for n, _ in points if b * n >= REACHED * a), None)


def _fit(points: Sequence[tuple[int, float]], flat: int) -> tuple[float, float, float]:
    """Squared error, a and b of max(a, b n) with the first `flat` points on a."""
    a = geometric_mean(t for _, t in points[:flat]) if flat else 0.0
    b = geometric_mean(t / n for n, t in points[flat:])
    return sum(math.log(t / max(a, b * n)) ** 2 for n, t in points), a, b
