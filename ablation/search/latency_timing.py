"""The networks that a latency model learns from: timed side by side as they are, and operation by operation.

In each of several rounds every network runs once or a few times as it is, then once with a stop-watch at each of its operations,
in a new order each round (`measure.latency.interleave`). What slowed all networks of a round is taken out of its times. On the CPU
with one thread, times are that thread's own, so that other load on the machine hardly enters.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ablation.design.compose import deployed
from ablation.explain.trace import Clock, run_instrumented, stop_watch
from ablation.machine.device import checked_device, evaluating, own_randomness
from ablation.machine.text import first_line
from ablation.measure.costs.form import Form
from ablation.measure.costs.forward import count_forward
from ablation.measure.costs.operation import Operation
from ablation.measure.costs.static import image_shape
from ablation.measure.latency.compare import settled
from ablation.measure.latency.interleave import Plan, interleave
from ablation.measure.latency.timers import CALL, calls_per_block, time_calls
from ablation.search.latency_model import TimedNetwork
from blocks.errors import check_whole, must_be

ROUNDS = (3, 7)
# in a round, of a network as it is: enough for a median
MOST_CALLS = 5

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Networks that were timed, and why others could not be."""

    networks: Mapping[str, TimedNetwork]
    # name -> reason
    failures: Mapping[str, str]
    rounds: int
    seconds: float


def time_networks(
    models: Mapping[str, nn.Module],
    *,
    batch_size: int = 1,
    device: str = "cpu",
    input_shape: tuple[int, ...] | None = None,
    rounds: tuple[int, int] = ROUNDS,
    budget_s: float | None = None,
    num_threads: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Timed:
    """Time networks of one input shape, in their deployed form, on random images; `rounds`: at least and at most.

    Networks that don't fold are not copied: they are moved to the device, and put in evaluation mode meanwhile. `num_threads` on
    the CPU: torch's current number unless given. After `budget_s` seconds no round begins, once there were two. InputError for
    wrong arguments.

    >>> timed = time_networks({"one": nn.Linear(64, 64), "two": nn.Linear(64, 8)}, input_shape=(64,), rounds=(3, 3))
    >>> [operation.name for operation in timed.networks["two"].operations], timed.failures
    (['addmm'], {})
    """
    check_whole("batch_size", batch_size)
    if not models:
        raise must_be("models", "one or more modules by name", dict(models))
    place, plan = checked_device(device), Plan(rounds=rounds, sittings=1, budget_s=budget_s, seed=seed)
    shape = (batch_size, *(input_shape or image_shape(next(iter(models.values())))))
    run_as = [deployed(model).to(place) for model in models.values()]
    with settled(place, num_threads), own_randomness(place, seed), evaluating(nn.ModuleList(run_as)):
        x = torch.rand(shape).to(place)
        lanes = [_Lane(model, x, _clock(place)) for model in run_as]
        run = interleave(lambda _: lanes, plan, primary=CALL, progress=progress, describe=_reason)
    plain, slowed = _without_rounds(run.samples.get(CALL, np.full((1, len(lanes)), np.nan)))
    networks = {
        name: TimedNetwork(ms=float(ms), operations=lane.operations, operation_ms=lane.medians(slowed))
        for number, (name, lane, ms) in enumerate(zip(models, lanes, plain, strict=True))
        if number not in run.failures
    }
    failures = {name: run.failures[number] for number, name in enumerate(models) if number in run.failures}
    return Timed(networks=networks, failures=failures, rounds=run.rounds, seconds=run.seconds)


class _Lane:
    """One network: as it is, and with a stop-watch at each of its operations."""

    def __init__(self, model: nn.Module, x: Tensor, clock: Clock) -> None:
        self.model, self.x, self.clock = model, x, clock
        self.operations: tuple[Operation, ...] = ()
        self.num_calls = 1
        # of each block, in nanoseconds
        self.watched: list[Sequence[int]] = []

    def calibrate(self) -> None:
        """Counts the operations and chooses the number of calls."""
        self.operations = count_forward(self.model, [Form.of(self.x)]).operations
        self.num_calls = min(MOST_CALLS, calls_per_block(self._call_ms(1)))

    def block(self) -> Mapping[str, float]:
        """ms of an undisturbed call; what operations took in another is kept. RuntimeError where others run than are counted."""
        plain = self._call_ms(self.num_calls)
        ran, nanoseconds = run_instrumented(self.model, self.x, clock=self.clock)
        if [one.kind for one in ran] != [one.kind for one in self.operations]:
            raise RuntimeError(f"{len(ran)} operations ran where {len(self.operations)} are counted, or others")
        self.watched.append(nanoseconds)
        return {CALL: plain}

    def medians(self, slowed: Floats) -> tuple[float, ...]:
        """ms of each operation over the rounds, each of which was slowed by so much. Blocks before them warmed up."""
        watched: Floats = np.array(self.watched[-len(slowed) :], dtype=np.float64) / 1e6
        return tuple(np.median(watched / slowed[:, None], axis=0).tolist())

    def _call_ms(self, num_calls: int) -> float:
        with torch.inference_mode():
            # one attempt each: the median is over calls and rounds
            return time_calls(lambda: self.model(self.x), num_calls, lambda: self.clock() / 1e9, attempts=1)


def _clock(place: torch.device) -> Clock:
    if place.type != "cuda":
        return stop_watch()

    def synchronised() -> int:
        torch.cuda.synchronize(place)
        return time.perf_counter_ns()

    return synchronised


def _without_rounds(ms: Floats) -> tuple[Floats, Floats]:
    """Of rounds x networks the median ms of each network, and the factor by which each round was slowed, which is out of them."""
    measured = ~np.isnan(ms).any(axis=0)
    slowed: Floats = np.ones(len(ms))
    if measured.any():
        slowed = np.median(ms[:, measured] / np.median(ms[:, measured], axis=0), axis=1)
    return np.median(ms / slowed[:, None], axis=0), slowed


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error, '')}"
