"""Two networks at growing batch sizes: latency side by side at each, and the batch size from which time grows in proportion.

The knee is where time = max(a, b x batch) bends: below it the cost of launching operations (a) is all that counts, above it every
image costs the same (b). The fit takes each split of the measured points into a flat part (a: their geometric mean) and a
proportional part (b: the geometric mean of time / batch; at least two points), and keeps the one with the least squared error of
logarithms. The knee is the smallest measured batch with b x batch >= 0.9 a, or None where no proportional part was reached.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from torch import nn

from ablation.costs.memory_estimate import activation_bytes, available_bytes
from ablation.costs.static import image_shape
from ablation.device import checked_device
from ablation.explain.explanation import INTERVAL_ROUNDS, SweepPoint
from ablation.timing.interleave import WARMUP_ROUNDS
from ablation.timing.latency import compare_latency
from ablation.timing.latency_result import LatencyComparison, ModelLatency
from ablation.timing.timers import ENQUEUE
from blocks.errors import must_be

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
ROUNDS = (10, 40)
LEAST_ROUNDS = INTERVAL_ROUNDS
# that a point must have time for, after warming up
REACHED = 0.9
# share of a that b x batch must have at the knee
SAFETY = 1.5
# over the bytes that shapes need: copies in other layouts, the allocator
NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


def batch_sweep(
    first: nn.Module,
    second: nn.Module,
    *,
    device: str = "cpu",
    batches: Sequence[int] = BATCHES,
    budget_s: float = 60.0,
    image_size: int | None = None,
    threads: int | None = None,
    names: tuple[str, str] = ("first", "second"),
    overrun: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[tuple[SweepPoint, ...], dict[str, int | None]]:
    """One point for every batch size, ascending, and the knee of each network by name.

    A network that runs out of memory is left out of larger batches, the other goes on; a point that would overrun what is left of
    `budget_s` isn't measured, unless it may `overrun`: then with the fewest rounds that give an interval. Either is said in the
    point's `reason`. InputError for batch sizes that are none.
    """
    if not batches or any(not isinstance(n, int) or isinstance(n, bool) or n < 1 for n in batches):
        raise must_be("batches", "one or more whole numbers of at least 1", tuple(batches))
    if names[0] == names[1]:
        raise must_be("names", "two different names", names)
    pair = dict(zip(names, (first, second), strict=True))
    sweep = _Sweep(pair, device, image_size, threads, overrun, clock, clock() + budget_s)
    sizes = sorted(set(batches))
    points = tuple(sweep.point(n, len(sizes) - i) for i, n in enumerate(sizes))
    times = {name: {p.batch_size: ms for p in points if (ms := (p.first_ms, p.second_ms)[i])} for i, name in enumerate(names)}
    return points, {name: knee(found) for name, found in times.items()}


class _Sweep:
    # what is known so far: who has run out of memory, and how long a call takes

    def __init__(
        self,
        models: Mapping[str, nn.Module],
        device: str,
        image_size: int | None,
        threads: int | None,
        overrun: bool,
        clock: Callable[[], float],
        end: float,
    ) -> None:
        self.models, self.device, self.image_size, self.threads = models, device, image_size, threads
        self.overrun, self.clock, self.end = overrun, clock, end
        self.gone: dict[str, str] = {}
        # name -> why it is left out from here on
        self.last: dict[str, tuple[int, float]] = {}
        # name -> its last batch size and ms
        on_cpu = checked_device(device).type == "cpu"  # a GPU says itself when its memory is full; a CPU's process is killed
        self.bytes = {
            name: SAFETY * activation_bytes(model, image_shape(model, image_size)) for name, model in models.items() if on_cpu
        }

    def point(self, batch_size: int, points_left: int) -> SweepPoint:
        self._check_memory(batch_size)
        alive = {name: model for name, model in self.models.items() if name not in self.gone}
        if not alive:
            return SweepPoint(batch_size=batch_size, reason=self._reasons())
        needs, left = self._seconds(alive, batch_size), self.end - self.clock()
        if needs > left and not self.overrun:
            why = f"not measured: it would take about {needs:.2g} s, and {max(0.0, left):.2g} s of the budget were left"
            return SweepPoint(batch_size=batch_size, reason="; ".join(filter(None, (self._reasons(), why))))
        found = self._compare(alive, batch_size, max(needs, min(left, max(left / 3, left / points_left)), 1e-3))
        whole = all(model.median_ms is not None for model in found.models.values())
        if self.overrun and whole and found.rounds < LEAST_ROUNDS:
            # calls take more than in proportion to the batch, so that what it needs was estimated too low: now it is known
            each = found.seconds / (found.warmup_rounds + found.rounds)  # loading included, which is a margin
            found = self._compare(alive, batch_size, each * (1 + WARMUP_ROUNDS[0] + LEAST_ROUNDS))
        return self._point(found, batch_size)

    def _compare(self, alive: Mapping[str, nn.Module], batch_size: int, budget_s: float) -> LatencyComparison:
        found = compare_latency(
            alive,
            batch_size=batch_size,
            device=self.device,
            image_size=self.image_size,
            num_threads=self.threads,
            rounds=ROUNDS,
            budget_s=budget_s,
        )
        for name, model in found.models.items():
            if model.median_ms is not None:
                self.last[name] = (batch_size, model.median_ms)
        return found

    def _check_memory(self, batch_size: int) -> None:
        free = available_bytes() if self.bytes else None
        for name in [name for name in self.bytes if name not in self.gone and free is not None]:
            needs = self.bytes[name] * batch_size
            if free is not None and needs > free:
                self.gone[name] = f"{name}: out of memory at batch {batch_size} (about {needs / 1e9:.2g} of {free / 1e9:.2g} GB)"

    def _seconds(self, alive: Mapping[str, nn.Module], batch_size: int) -> float:
        # loading and calibrating a lane takes 5 calls; a round one of each, and the reference's once more
        calls = {name: ms * batch_size / size / 1e3 for name, (size, ms) in self.last.items() if name in alive}
        again = next((calls[name] for name in alive if name in calls), 0.0)
        return 5 * sum(calls.values()) + (WARMUP_ROUNDS[0] + LEAST_ROUNDS) * (sum(calls.values()) + again)

    def _point(self, found: LatencyComparison, batch_size: int) -> SweepPoint:
        for name, model in found.models.items():
            if model.median_ms is None and any(said in model.reason for said in NO_MEMORY):
                self.gone[name] = f"{name}: out of memory at batch {batch_size}"
        one, two = self.models
        enqueue = found.by_kind.get(ENQUEUE, {})
        ms = {name: model.median_ms for name, model in found.models.items()}
        paired = found.models[two] if one in ms and two in ms else ModelLatency()
        failed = [f"{name}: {m.reason}" for name, m in found.models.items() if m.failed and name not in self.gone]
        return SweepPoint(
            batch_size=batch_size,
            first_ms=ms.get(one),
            second_ms=ms.get(two),
            ratio=paired.ratio,
            ratio_low=paired.ratio_low,
            ratio_high=paired.ratio_high,
            first_enqueue_ms=enqueue[one].median_ms if one in enqueue else None,
            second_enqueue_ms=enqueue[two].median_ms if two in enqueue else None,
            rounds=found.rounds,
            reason="; ".join([*failed, *self.gone.values()]),
        )

    def _reasons(self) -> str:
        return "; ".join(self.gone.values())


def knee(times: Mapping[int, float]) -> int | None:
    """The smallest batch size from which time grows in proportion to it, of times by batch size; None where it never does."""
    sizes = sorted(times)
    fits = [_fit([(n, times[n]) for n in sizes], flat) for flat in range(len(sizes) - 1)]
    if not fits or len(sizes) < 3:
        return None
    error, a, b = min(fits, key=lambda fit: fit[0])
    level = _geometric_mean(times.values())
    if error >= sum(math.log(t / level) ** 2 for t in times.values()):  # a constant fits as well
        return None
    return next((n for n in sizes if b * n >= REACHED * a), None)


def _fit(points: Sequence[tuple[int, float]], flat: int) -> tuple[float, float, float]:
    # squared error, a and b of max(a, b n) with the first `flat` points on a
    a = _geometric_mean([t for _, t in points[:flat]]) if flat else 0.0
    b = _geometric_mean([t / n for n, t in points[flat:]])
    return sum(math.log(t / max(a, b * n)) ** 2 for n, t in points), a, b


def _geometric_mean(values: Iterable[float]) -> float:
    numbers = [math.log(value) for value in values]
    return math.exp(sum(numbers) / len(numbers))
