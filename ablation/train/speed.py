"""Interleaved training steps of several networks, so that a ratio of their speeds is free of whatever slows the machine.

In each of several sittings all networks are built anew, then take a step each a round. A ratio is the geometric mean over sittings
of the median over rounds; its interval is Student's t over the sittings (`measure.latency.statistics`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ablation.design.compose import build
from ablation.design.protocol import Protocol
from ablation.design.spec import ModelSpec
from ablation.machine.device import own_randomness, usable_device
from ablation.measure.latency.statistics import by_sitting, num_whole, over_sittings, paired_ratios
from ablation.train.learner import Learner

# of a sitting: at least, at most
ROUNDS = (6, 40)
SITTINGS = 5
# steps of each network before the first round
WARMUP = 2

Step = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class StepSpeed:
    """One network's training step: forward and backward pass, loss, and update of the weights, on a batch that is on the device."""

    step_ms: float
    # to the first network, geometric mean over sittings of the median over rounds of the ratios within them
    ratio: float
    # 95 % interval over sittings; None where there are too few of them
    low: float | None
    high: float | None
    # of all sittings together
    rounds: int
    # with rounds enough to count
    sittings: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def compare_training(
    specs: Mapping[str, ModelSpec],
    protocol: Protocol,
    *,
    device: str = "cpu",
    budget_s: float = 20.0,
    rounds: tuple[int, int] = ROUNDS,
    sittings: int = SITTINGS,
    seed: int = 0,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, StepSpeed]:
    """Times one step of each network a round, in shuffled order, on random images; `protocol.batch_size` of them.

    The first network is the reference. Each sitting takes its share of `budget_s` seconds, after which no round begins, but the
    least number of rounds is always made, unless `should_stop` says so. The caller's random generators stay as they were.
    """
    place = usable_device(device)
    with own_randomness(place, seed):
        tables: list[NDArray[np.float64]] = []
        while len(tables) < sittings and not (tables and should_stop()):
            number = seed + len(tables)
            pairs = [training_step(spec, protocol, device, number) for spec in specs.values()]
            tables.append(_sitting(pairs, rounds, budget_s / sittings, number, should_stop))
            del pairs
            if place.type == "cuda":
                torch.cuda.empty_cache()  # other processes need it next
    table, numbers = np.concatenate(tables), np.repeat(np.arange(len(tables)), [len(t) for t in tables])
    medians, ratios = by_sitting(table, numbers).mean(axis=0), over_sittings(paired_ratios(table, 0), numbers)
    counts = {"rounds": len(table), "sittings": num_whole(numbers)}
    return {
        name: StepSpeed(step_ms=1e3 * float(seconds), ratio=ratio.value, low=ratio.low, high=ratio.high, **counts)
        for name, seconds, ratio in zip(specs, medians, ratios, strict=True)
    }


def training_step(spec: ModelSpec, protocol: Protocol, device: str = "cpu", seed: int = 0) -> tuple[Step, Callable[[], None]]:
    """One training step of a new network on a batch of random images, and what waits for the device."""
    place = usable_device(device)
    learner = Learner(build(spec, seed=seed), protocol, place)
    learner.model.train()
    shape = (protocol.batch_size, spec.in_channels, spec.image_size, spec.image_size)
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(place)
    if protocol.uses_channels_last(place.type):
        x = x.contiguous(memory_format=torch.channels_last)
    mask = (x[:, 0] > 0.5).float() if protocol.mask_weight > 0 else None
    wait = partial(torch.cuda.synchronize, place) if place.type == "cuda" else lambda: None
    return lambda: learner.step(x, mask), wait


def _sitting(
    pairs: list[tuple[Step, Callable[[], None]]],
    rounds: tuple[int, int],
    budget_s: float,
    seed: int,
    should_stop: Callable[[], bool],
) -> NDArray[np.float64]:
    """Seconds, rounds x networks."""
    for step, _ in pairs:
        for _ in range(WARMUP):
            step()
    table: list[NDArray[np.float64]] = []
    order, begin = np.random.default_rng(seed), time.perf_counter()
    while len(table) < rounds[1] and (len(table) < rounds[0] or time.perf_counter() - begin < budget_s):
        if should_stop() and table:
            break
        row = np.zeros(len(pairs))
        for index in order.permutation(len(pairs)):
            row[index] = _seconds(*pairs[index])
        table.append(row)
    return np.array(table)


def _seconds(step: Step, wait: Callable[[], None]) -> float:
    wait()
    begin = time.perf_counter()
    step()
    wait()
    return time.perf_counter() - begin
