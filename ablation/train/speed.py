"""Interleaved training steps of several networks, so that a ratio of their speeds is free of whatever slows the machine.

In each of several sittings all networks are built anew, then take a step each a round. A ratio is the geometric mean over sittings
of the median over rounds; its interval is Student's t over the sittings (`timing_stats`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ablation.design.compose import build
from ablation.design.protocol import Protocol
from ablation.design.spec import ModelSpec
from ablation.machine.device import usable_device
from ablation.measure.latency.statistics import by_sitting, num_whole, over_sittings, paired_ratios
from ablation.train.learner import Learner

# of a sitting: at least, at most
ROUNDS = (6, 40)
SITTINGS = 5
WARMUP = 2  # steps of each network before the first round


@dataclass(frozen=True, kw_only=True)
class StepSpeed:
    """One network's training step: forward and backward pass, loss, and update of the weights, on a batch that is on the device."""

    step_ms: float
    ratio: float  # to the first network, geometric mean over sittings of the median over rounds of the ratios within them
    low: float | None
    high: float | None  # 95 % interval over sittings; None where there are too few of them
    rounds: int  # of all sittings together
    sittings: int = 1  # with rounds enough to count

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
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        torch.manual_seed(seed)
        tables: list[NDArray[np.float64]] = []
        while len(tables) < sittings and not (tables and should_stop()):
            sitting_seed = seed + len(tables)
            steps = [training_step(spec, protocol, device, sitting_seed)[0] for spec in specs.values()]
            tables.append(_sitting(steps, place, rounds, budget_s / sittings, sitting_seed, should_stop))
            del steps
            if place.type == "cuda":
                torch.cuda.empty_cache()  # other processes need it next
    table, numbers = np.concatenate(tables), np.repeat(np.arange(len(tables)), [len(t) for t in tables])
    medians = by_sitting(table, numbers).mean(axis=0)
    return {
        name: StepSpeed(
            step_ms=1e3 * float(ms),
            ratio=ratio.value,
            low=ratio.low,
            high=ratio.high,
            rounds=len(table),
            sittings=num_whole(numbers),
        )
        for name, ms, ratio in zip(specs, medians, over_sittings(paired_ratios(table, 0), numbers), strict=True)
    }


def _sitting(
    steps: list[Callable[[], object]],
    device: torch.device,
    rounds: tuple[int, int],
    budget_s: float,
    seed: int,
    should_stop: Callable[[], bool],
) -> NDArray[np.float64]:
    for step in steps:
        for _ in range(WARMUP):
            step()
    return _rounds(steps, device, rounds, budget_s, seed, should_stop)


def training_step(
    spec: ModelSpec, protocol: Protocol, device: str = "cpu", seed: int = 0
) -> tuple[Callable[[], object], Callable[[], None]]:
    """One training step of a new network on a batch of random images, and what waits for the device."""
    place = usable_device(device)
    learner = Learner(build(spec, seed=seed), protocol, place)
    return _step(learner, _batch(spec, protocol, place)), lambda: _wait(place)


def _batch(spec: ModelSpec, protocol: Protocol, device: torch.device) -> tuple[Tensor, Tensor]:
    """Random images and masks N x S x S."""
    shape = (protocol.batch_size, spec.in_channels, spec.image_size, spec.image_size)
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device)
    if protocol.uses_channels_last(device.type):
        x = x.contiguous(memory_format=torch.channels_last)
    return x, (x[:, 0] > 0.5).float()


def _step(learner: Learner, batch: tuple[Tensor, Tensor]) -> Callable[[], object]:
    x, mask = batch
    learner.model.train()
    if learner.protocol.mask_weight > 0:
        return lambda: learner.step(x, mask)
    return lambda: learner.step(x)


def _rounds(
    steps: list[Callable[[], object]],
    device: torch.device,
    rounds: tuple[int, int],
    budget_s: float,
    seed: int,
    should_stop: Callable[[], bool],
) -> NDArray[np.float64]:
    """Seconds, rounds x networks."""
    table: list[NDArray[np.float64]] = []
    order, begin = np.random.default_rng(seed), time.perf_counter()
    while len(table) < rounds[1] and (len(table) < rounds[0] or time.perf_counter() - begin < budget_s):
        if should_stop() and table:
            break
        row = np.zeros(len(steps))
        for index in order.permutation(len(steps)):
            row[index] = _seconds(steps[index], device)
        table.append(row)
    return np.array(table)


def _seconds(step: Callable[[], object], device: torch.device) -> float:
    _wait(device)
    begin = time.perf_counter()
    step()
    _wait(device)
    return time.perf_counter() - begin


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
