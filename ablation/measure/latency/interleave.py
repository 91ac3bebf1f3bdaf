"""The interleaved protocol: in each of several sittings networks are loaded anew, then run once a round, in a new order each round.

Works on anything that can be timed: a lane has `calibrate()` and `block()`, which gives ms by kind. `load(sitting)` makes the lanes
of a sitting: one for each model, last the reference's second, loaded apart from the first (the A/A control). How many sittings
there are is decided by what one costs, before any ratio is seen.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ablation.measure.latency.statistics import Samples
from ablation.stats import LEAST_ROUNDS, LEAST_SITTINGS
from blocks.errors import check_whole, must_be

# at least, at most, in each sitting; rounds so long that memory and clocks are warm after one need no more
WARMUP_ROUNDS = (4, 20)
LONG_ROUND_S = 4.0
# warm-up ends when no model's last two rounds differ by more from the two before
SETTLED = 0.05
# of a sitting's share of the budget at most, once there were the least
WARMUP_SHARE = 0.4
SITTINGS = 5
ROUNDS = (LEAST_ROUNDS, 20)


class Timed(Protocol):
    """What can be timed."""

    def calibrate(self) -> None:
        """Prepare for `block`."""

    def block(self) -> Mapping[str, float]:
        """ms per call by kind."""


Load = Callable[[int], Sequence[Timed]]
# lane -> ms by kind
Row = dict[int, Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much to time. Without a budget, all sittings with most rounds."""

    # of a sitting: at least, at most
    rounds: tuple[int, int] = ROUNDS
    # fewer where the budget has no time for as many, but LEAST_SITTINGS or one
    sittings: int = SITTINGS
    # seconds after which no round begins, once there are two
    budget_s: float | None = None
    # whether the least sittings and rounds for an interval are made even where that takes longer
    overrun: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_whole("sittings", self.sittings)
        if len(self.rounds) != 2 or not 1 <= self.rounds[0] <= self.rounds[1]:
            raise must_be("rounds", "(at least, at most) with 1 <= at least <= at most", self.rounds)
        if self.budget_s is not None and not self.budget_s > 0:
            raise must_be("budget_s", "a positive number of seconds", self.budget_s)

    def describe(self) -> dict[str, Any]:
        """Plain values for provenance."""
        return {"rounds": list(self.rounds), "sittings": self.sittings, "budget_s": self.budget_s}


@dataclass(kw_only=True)
class Run:
    """What was measured. Columns of `samples` are the lanes; a lane that failed is all NaN."""

    samples: dict[str, Samples] = field(default_factory=dict)
    # number of the lane -> reason
    failures: dict[int, str] = field(default_factory=dict)
    # of each round, the number of its sitting
    sittings: list[int] = field(default_factory=list)
    warmup_rounds: int = 0
    # whether each warm-up ended with steady rounds
    settled: bool = True
    seconds: float = 0.0

    @property
    def rounds(self) -> int:
        """Of all sittings together."""
        return len(self.sittings)


def interleave(
    load: Load,
    plan: Plan,
    *,
    primary: str,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[int, int], None] | None = None,
    describe: Callable[[Exception], str] = repr,
) -> Run:
    """Sittings of a warm-up and rounds, until all have most of their rounds or the budget ends."""
    return _Timing(load, plan, primary, clock, progress, describe).run_all()


class _Timing:
    """One run of the protocol: what is planned, what is known of its pace, and what was measured so far."""

    def __init__(
        self,
        load: Load,
        plan: Plan,
        primary: str,
        clock: Callable[[], float],
        progress: Callable[[int, int], None] | None,
        describe: Callable[[Exception], str],
    ) -> None:
        self.load, self.plan, self.primary, self.clock, self.describe = load, plan, primary, clock, describe
        self.progress = progress or (lambda done, total: None)
        self.rng = np.random.default_rng(plan.seed)
        self.run = Run()
        self.rows: list[Row] = []
        self.lanes: Sequence[Timed] = ()
        self.num_lanes = 0
        self.sittings = plan.sittings
        self.round_s = 0.0
        self.start = clock()
        self.end = math.inf if plan.budget_s is None else self.start + plan.budget_s

    def run_all(self) -> Run:
        """Every sitting, and what was measured in them."""
        with _no_collection():
            number = 0
            while number < self.sittings and (not number or (self.active and (self.plan.overrun or self.clock() < self.end))):
                self._sit(number)
                number += 1
        self.lanes = ()
        self._fill_tables()
        self.run.seconds = self.clock() - self.start
        return self.run

    def _fill_tables(self) -> None:
        kinds = dict.fromkeys(kind for row in self.rows for measured in row.values() for kind in measured)
        self.run.samples = {kind: _table(self.rows, kind, self.num_lanes) for kind in kinds}
        failed = [column for column in range(self.num_lanes) if column not in self.active]
        for table in self.run.samples.values():
            table[:, failed] = np.nan

    @property
    def active(self) -> list[int]:
        """The lanes that have not failed."""
        return [column for column in range(self.num_lanes) if column not in self.run.failures]

    def _sit(self, number: int) -> None:
        begin = self.clock()
        self.lanes = ()  # what the sitting before had loaded is given back before the next is loaded
        gc.collect()
        self.lanes = self.load(number)
        self.num_lanes = len(self.lanes)
        for column in self.active:
            self._tick()
            self._attempt(column, self.lanes[column].calibrate)
        self._warm_up(begin + WARMUP_SHARE * (self.end - begin) / (self.sittings - number))
        if number == 0:
            self.sittings = self._affordable(self.clock() - begin)
        least_end = math.inf if self.plan.overrun else self.end
        end, rounds = begin + (self.end - begin) / (self.sittings - number), 0
        while self.active and rounds < self.plan.rounds[1]:
            if self.clock() > (least_end if rounds < self.plan.rounds[0] else end) and self.run.rounds >= 2:
                break
            self.rows.append(self._row())
            self.run.sittings.append(number)
            rounds += 1
            self._tick()

    def _warm_up(self, end: float) -> None:
        rows: list[Row] = []
        settled = False
        while self.active and len(rows) < WARMUP_ROUNDS[1] and not settled and (self.plan.overrun or self.clock() < self.end):
            before = self.clock()
            rows.append(self._row())
            self.round_s = self.clock() - before
            self.run.warmup_rounds += 1
            settled = self.round_s > LONG_ROUND_S or self._steady(rows)
            if len(rows) >= WARMUP_ROUNDS[0] and self.clock() > end:
                break
        self.run.settled = self.run.settled and settled

    def _steady(self, rows: list[Row]) -> bool:
        if len(rows) < WARMUP_ROUNDS[0]:
            return False
        table = _table(rows, self.primary, self.num_lanes)[:, self.active]
        change = np.median(table[-2:], axis=0) / np.median(table[-4:-2], axis=0) - 1
        return bool(np.all(np.abs(change) < SETTLED))

    def _affordable(self, before_s: float) -> int:
        """Sittings for which the budget has time, each as long to prepare as the first; where not even the least fit, one."""
        if self.plan.budget_s is None or not self.active:
            return self.plan.sittings
        each = before_s + self.plan.rounds[0] * self.round_s
        fitting = int(self.plan.budget_s / each) if each else self.plan.sittings
        least = min(self.plan.sittings, LEAST_SITTINGS)
        return min(self.plan.sittings, fitting) if fitting >= least else least if self.plan.overrun else 1

    def _row(self) -> Row:
        measured = {}
        for column in self.rng.permutation(self.active):
            self._tick()  # between blocks, so that a caller can stop a long round
            measured[int(column)] = self._attempt(int(column), self.lanes[column].block)
        return {column: value for column, value in measured.items() if value is not None}

    def _attempt(self, column: int, action: Callable[[], Mapping[str, float] | None]) -> Mapping[str, float] | None:
        try:
            return action()
        except Exception as error:  # whatever a model raises is its recorded failure; the others go on
            self.run.failures.setdefault(column, self.describe(error))
            return None

    def _tick(self) -> None:
        self.progress(self.run.rounds, self.sittings * self.plan.rounds[1])


def _table(rows: list[Row], kind: str, columns: int) -> Samples:
    return np.array([[row.get(column, {}).get(kind, np.nan) for column in range(columns)] for row in rows], dtype=np.float64)


@contextmanager
def _no_collection() -> Iterator[None]:
    # the garbage collector would run inside whichever model allocates next; what is there before is left out of the collections
    # between sittings, each of which would take as long as half a second where much is loaded
    was, is_ours = gc.isenabled(), not gc.get_freeze_count()
    gc.collect()
    gc.disable()
    if is_ours:
        gc.freeze()
    try:
        yield
    finally:
        if is_ours:
            gc.unfreeze()
        if was:
            gc.enable()
