"""Training steps of several networks timed in turns, so that a ratio of their speeds is free of whatever slows the machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ablation.compose import build
from ablation.device import usable_device
from ablation.protocol import Protocol
from ablation.spec import ModelSpec
from ablation.timing.timing_stats import median_intervals, paired_ratios
from ablation.training.learner import Learner

ROUNDS = (5, 40)
# at least, at most
WARMUP = 2
# steps of each network before the first round


@dataclass(frozen=True, kw_only=True)
class StepSpeed:
    """One network's training step: forward and backward pass, loss, and update of the weights, on a batch that is on the device."""

    step_ms: float
    ratio: float
    # to the first network, median over rounds of the ratios within them
    low: float
    high: float
    # 95 % interval
    rounds: int

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
    seed: int = 0,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, StepSpeed]:
    """Times one step of each network a round, in shuffled order, on random images; `protocol.batch_size` of them.

    The first network is the reference. After `budget_s` seconds no round begins, but the least number of rounds is always made,
    unless `should_stop` says so; a network is left out only by then. The caller's random generators stay as they were.
    """
    place = usable_device(device)
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        torch.manual_seed(seed)
        steps = [training_step(spec, protocol, device, seed)[0] for spec in specs.values()]
        for step in steps:
            for _ in range(WARMUP):
                step()
        table = _rounds(steps, place, rounds, budget_s, seed, should_stop)
    del steps
    if place.type == "cuda":
        torch.cuda.empty_cache()  # other processes need it next
    medians, ratios = median_intervals(table), median_intervals(paired_ratios(table, 0))
    return {
        name: StepSpeed(step_ms=1e3 * ms.value, ratio=ratio.value, low=ratio.low, high=ratio.high, rounds=len(table))
        for name, ms, ratio in zip(specs, medians, ratios, strict=True)
    }


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
