"""ShuffleNet V2's four guidelines as small measured experiments on this machine (Ma et al. 2018, section 2, tables 1 to 4).

Each experiment stacks blocks of 1x1 convolutions (G4: bottleneck units) on a feature map of 56 x 56, as the paper does, and varies
one thing with the multiply-accumulates held fixed. The paper's widths hold them fixed to a few per cent; those here hold them
exactly, with whole numbers (96 x 96 = 64 x 144 = 48 x 192 = 32 x 288), so there are fewer steps between the extremes. The first
setting is the one that the guideline recommends; all settings of an experiment are timed side by side (`compare_latency`).

The verdict's rule. A setting is slower, or faster, where its time relative to the first is settled beyond the noise floor (the
first setting against a second copy of itself): by whole intervals over sittings, corrected over the settings of the experiment.
- "holds here": the setting that departs most from the guideline, the last, is slower, and none is faster.
- "does not hold here": some setting is faster, or all 95 % intervals end below 1.05.
- "undecided": anything else; more sittings may settle it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ablation.machine.device import checked_device
from ablation.measure.latency.compare import compare_latency
from ablation.measure.latency.result import LatencyComparison
from ablation.measure.latency.statistics import num_whole
from ablation.record.explanation import Guideline, GuidelinePoint
from ablation.stats import SETTLED, Estimate, judge

# height and width of the feature map, as in the paper
SIDE = 56
# a departure that costs less than this, for certain, is none
SMALL = 1.05
HOLDS, FAILS, UNDECIDED = "holds here", "does not hold here", "undecided"
# C x H x W of an input that is not read
ANY_INPUT = (1, 1, 1)
# G1: widths of equal product
PAIRS = {"1:1": (96, 96), "1:2.25": (64, 144), "1:4": (48, 192), "1:9": (32, 288)}
# G4: what a bottleneck has beside its convolutions
UNITS = {"neither": (), "shortcut only": ("shortcut",), "ReLU only": ("relu",), "ReLU and shortcut": ("relu", "shortcut")}


@dataclass(frozen=True)
class Experiment:
    """A guideline, and the networks that test it by setting, the recommended one first."""

    name: str
    claim: str
    held_fixed: str
    networks: Mapping[str, nn.Module]


class Fed(nn.Module):
    """A body that runs on a feature map of its own, so that bodies of different widths take one and the same input, unread."""

    start: Tensor

    def __init__(self, channels: int, batch_size: int, body: nn.Module) -> None:
        super().__init__()
        self.register_buffer("start", torch.rand(batch_size, channels, SIDE, SIDE, generator=torch.Generator().manual_seed(0)))
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """Anything -> batch_size x channels x 56 x 56."""
        out: Tensor = self.body(self.start)
        return out


class Fragments(nn.Module):
    """1x1 convolutions side by side on one input, their results added (the paper's appendix, figure 1 d and e)."""

    def __init__(self, channels: int, num_fragments: int) -> None:
        super().__init__()
        self.fragments = nn.ModuleList(_pointwise(channels, channels) for _ in range(num_fragments))

    def forward(self, x: Tensor) -> Tensor:
        """N x channels x H x W -> the same."""
        return reduce(add, (fragment(x) for fragment in self.fragments))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution, with or without ReLU after each and a shortcut around all (the paper's section on G4)."""

    def __init__(self, channels: int, has: Collection[str] = ("relu", "shortcut")) -> None:
        super().__init__()
        narrow, relu = channels // 4, "relu" in has
        convs = (_pointwise(channels, narrow), nn.Conv2d(narrow, narrow, 3, padding=1, bias=False), _pointwise(narrow, channels))
        self.layers = nn.Sequential(*(layer for conv in convs for layer in ([conv, nn.ReLU()] if relu else [conv])))
        self.shortcut = "shortcut" in has

    def forward(self, x: Tensor) -> Tensor:
        """N x channels x H x W -> the same."""
        out: Tensor = self.layers(x)
        return out + x if self.shortcut else out


def _pointwise(before: int, after: int, groups: int = 1) -> nn.Module:
    return nn.Conv2d(before, after, 1, groups=groups, bias=False)


def _there_and_back(before: int, after: int) -> nn.Module:
    return nn.Sequential(_pointwise(before, after), _pointwise(after, before))


def experiments(device: str = "cpu", blocks: int = 4) -> tuple[Experiment, ...]:
    """The four experiments. As in the paper, a GPU gets wider layers and batches of 8, a CPU batches of 1."""
    wide, batch = (2, 8) if torch.device(device).type == "cuda" else (1, 1)
    base, twice = 64 * wide, 2 * blocks
    half = base // 2

    def stack(channels: int, num: int, block: Callable[..., nn.Module], *args: Any, **kwargs: Any) -> Fed:
        return Fed(channels, batch, nn.Sequential(*(block(*args, **kwargs) for _ in range(num))))

    pairs = {ratio: (a * wide, b * wide) for ratio, (a, b) in PAIRS.items()}
    # groups -> channels: channels^2 / groups is the same
    groups = {1: base, 4: 2 * base, 16: 4 * base}
    return (
        Experiment(
            "G1", "Equal channel widths minimise memory access cost.",
            f"Multiply-accumulates of {twice} 1x1 convolutions, batch {batch}",
            {f"{ratio} ({a} and {b})": stack(a, blocks, _there_and_back, a, b) for ratio, (a, b) in pairs.items()},
        ),
        Experiment(
            "G2", "Many groups in group convolutions raise memory access cost.",
            f"Multiply-accumulates of {twice} 1x1 convolutions, batch {batch}; widths grow with the root of the groups",
            {f"{n} group{'s' if n > 1 else ''} ({c} channels)": stack(c, twice, _pointwise, c, c, n) for n, c in groups.items()},
        ),
        Experiment(
            "G3", "Fragmentation reduces the degree of parallelism.",
            f"Multiply-accumulates of {twice} blocks of 1x1 convolutions, batch {batch}; 4 fragments have half the width",
            {
                f"1 fragment ({base} channels)": stack(base, twice, _pointwise, base, base),
                f"4 in series ({half} channels)": stack(half, 4 * twice, _pointwise, half, half),
                f"4 side by side ({half} channels)": stack(half, twice, Fragments, half, 4),
            },
        ),
        Experiment(
            "G4", "Element-wise operations are not negligible.",
            f"Multiply-accumulates of {twice} bottleneck units of {2 * base} channels, batch {batch}",
            {name: stack(2 * base, twice, Bottleneck, 2 * base, has) for name, has in UNITS.items()},
        ),
    )  # fmt: skip


def guidelines(device: str = "cpu", *, threads: int | None = None, quick: bool = False) -> tuple[Guideline, ...]:
    """All four, measured: under a minute (20 s with `quick`, which takes fewer sittings of the same networks)."""
    checked_device(device)
    return tuple(_measure(experiment, device, threads, quick) for experiment in experiments(device))


def _measure(experiment: Experiment, device: str, threads: int | None, quick: bool) -> Guideline:
    times = compare_latency(
        experiment.networks, device=device, input_shape=ANY_INPUT, num_threads=threads, budget_s=5.0 if quick else 12.0
    )  # fmt: skip
    failed = ", ".join(f"{name} ({model.reason})" for name, model in times.models.items() if model.ratio is None)
    return Guideline(
        name=experiment.name, claim=experiment.claim, points=points(times), verdict=verdict(times), rounds=times.rounds,
        held_fixed=experiment.held_fixed + (f". Not measured: {failed}" if failed else ""),
        sittings=num_whole(np.array(times.sittings)),
    )  # fmt: skip


def points(times: LatencyComparison) -> tuple[GuidelinePoint, ...]:
    """One point for every setting that could be timed next to the first."""
    return tuple(
        GuidelinePoint(setting=name, ms=model.median_ms, relative=model.ratio, low=model.ratio_low, high=model.ratio_high)
        for name, model in times.models.items()
        if model.median_ms is not None and model.ratio is not None
    )


def verdict(times: LatencyComparison) -> str:
    """The rule of this module's first lines."""
    others = {name: times.paired(name, times.reference) for name in times.models if name != times.reference}
    known = {name: estimate for name, estimate in others.items() if estimate is not None and estimate.known}
    floor = times.noise_floor
    if len(known) < len(others) or not known or floor is None or floor.low is None or floor.high is None:
        return UNDECIDED
    return decide(known, max(abs(math.log(floor.low)), abs(math.log(floor.high))))


def decide(ratios: Mapping[str, Estimate], floor: float) -> str:
    """Verdict from the ratios of all settings but the first, by departure; `floor`: of the first against itself, as a logarithm."""
    logs = {n: replace(e, value=math.log(e.value), low=math.log(e.low or 1), high=math.log(e.high or 1)) for n, e in ratios.items()}
    verdicts = judge(logs, dict.fromkeys(logs, floor))
    settled = {name: logs[name].value for name, kind in verdicts.items() if kind == SETTLED}
    if any(value < 0 for value in settled.values()):
        return FAILS
    if settled.get(list(ratios)[-1], 0.0) > 0:
        return HOLDS
    return FAILS if all(e.high is not None and e.high < SMALL for e in ratios.values()) else UNDECIDED
