"""The interleaved protocol: every model once a round, in a new order each round, until the ratios are known well enough.

Works on anything that can be timed: a lane has `calibrate()` and `block()`, which gives ms by kind. The reference is entered twice
(the A/A control: the same module object under a second name), last in the columns, at its own place in every shuffle.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ablation.timing.timing_stats import Samples, median_intervals, paired_ratios

WARMUP_ROUNDS = (4, 20)
# at least, at most
SETTLED = 0.05
# warm-up ends when no model's last two rounds differ by more from the two before
WARMUP_SHARE = 0.4
# of the budget at most, once there were the least
CHECK_EVERY = 5
# rounds between looks at the intervals


class Timed(Protocol):
    """What can be timed."""

    def calibrate(self) -> None:
        """Prepare for `block`."""

    def block(self) -> Mapping[str, float]:
        """ms per call by kind."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """When to stop."""

    rounds: tuple[int, int] = (30, 100)
    target_half_width: float = 0.01
    budget_s: float | None = None
    seed: int = 0


@dataclass(kw_only=True)
class Run:
    """What was measured. Columns of `samples` are the lanes, then the reference again; a lane that failed is all NaN."""

    samples: dict[str, Samples] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    # number of the lane -> reason
    rounds: int = 0
    warmup_rounds: int = 0
    settled: bool = False
    converged: bool = False
    seconds: float = 0.0


def interleave(
    lanes: Sequence[Timed],
    reference: int,
    plan: Plan,
    *,
    primary: str,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[int, int], None] | None = None,
    describe: Callable[[Exception], str] = repr,
) -> Run:
    """Warm up, then run rounds until all ratios of the `primary` kind have their half-width, or rounds or budget end."""
    run, start = Run(), clock()
    tick = (lambda: progress(run.rounds, plan.rounds[1])) if progress is not None else lambda: None
    rounds = _Rounds([*lanes, lanes[reference]], run, np.random.default_rng(plan.seed), describe, tick)

    def over(share: float = 1.0) -> bool:
        return plan.budget_s is not None and clock() - start > share * plan.budget_s

    for column in range(len(lanes)):
        tick()
        rounds.attempt(column, lanes[column].calibrate)
    with _no_collection():
        _warm_up(rounds, run, primary, lambda: over() or (run.warmup_rounds >= WARMUP_ROUNDS[0] and over(WARMUP_SHARE)))
        rows: list[dict[int, Mapping[str, float]]] = []
        while rounds.active and run.rounds < plan.rounds[1] and not (over() and run.rounds >= 2):
            rows.append(rounds.row())
            run.rounds += 1
            tick()
            if run.rounds >= plan.rounds[0] and (run.rounds - plan.rounds[0]) % CHECK_EVERY == 0:
                run.converged = _converged(_table(rows, primary, len(lanes) + 1), rounds.active, reference, plan)
                if run.converged:
                    break
    kinds = dict.fromkeys(kind for row in rows for found in row.values() for kind in found)
    run.samples = {kind: _table(rows, kind, len(lanes) + 1) for kind in kinds}
    for table in run.samples.values():
        table[:, [column for column in range(len(lanes) + 1) if column not in rounds.active]] = np.nan
    run.converged = bool(rows) and _converged(run.samples.get(primary, np.empty((0, 0))), rounds.active, reference, plan)
    run.seconds = clock() - start
    return run


class _Rounds:
    # runs one block of every lane that has not failed, in a new order each time

    def __init__(
        self,
        lanes: Sequence[Timed],
        run: Run,
        rng: np.random.Generator,
        describe: Callable[[Exception], str],
        tick: Callable[[], None],
    ) -> None:
        self.lanes, self.run, self.rng, self.describe, self.tick = lanes, run, rng, describe, tick

    @property
    def active(self) -> list[int]:
        # a lane that is entered twice fails in both places
        failed = {id(self.lanes[column]) for column in self.run.failures}
        return [column for column, lane in enumerate(self.lanes) if id(lane) not in failed]

    def row(self) -> dict[int, Mapping[str, float]]:
        order = self.rng.permutation(self.active)
        found = {}
        for column in order:
            self.tick()  # between blocks, so that a caller can stop a long round
            found[int(column)] = self.attempt(int(column), self.lanes[column].block)
        return {column: value for column, value in found.items() if value is not None}

    def attempt(self, column: int, action: Callable[[], Mapping[str, float] | None]) -> Mapping[str, float] | None:
        try:
            return action()
        except Exception as error:  # whatever a model raises is its recorded failure; the others go on
            first = next(i for i, lane in enumerate(self.lanes) if lane is self.lanes[column])
            self.run.failures.setdefault(first, self.describe(error))
            return None


def _warm_up(rounds: _Rounds, run: Run, primary: str, over: Callable[[], bool]) -> None:
    rows: list[dict[int, Mapping[str, float]]] = []
    while rounds.active and run.warmup_rounds < WARMUP_ROUNDS[1] and not run.settled and not over():
        rows.append(rounds.row())
        run.warmup_rounds += 1
        if run.warmup_rounds >= WARMUP_ROUNDS[0]:
            table = _table(rows, primary, len(rounds.lanes))[:, rounds.active]
            change = np.median(table[-2:], axis=0) / np.median(table[-4:-2], axis=0) - 1
            run.settled = bool(np.all(np.abs(change) < SETTLED))


def _converged(samples: Samples, active: list[int], reference: int, plan: Plan) -> bool:
    if reference not in active or len(samples) < plan.rounds[0]:
        return False
    ratios = paired_ratios(samples, reference)[:, [column for column in active if column != reference]]
    return all(interval.half_width <= plan.target_half_width for interval in median_intervals(ratios, plan.seed))


def _table(rows: list[dict[int, Mapping[str, float]]], kind: str, columns: int) -> Samples:
    return np.array([[row.get(column, {}).get(kind, np.nan) for column in range(columns)] for row in rows], dtype=np.float64)


@contextmanager
def _no_collection() -> Iterator[None]:
    # the garbage collector would run inside whichever model allocates next
    was = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
