"""Counterfactual modes: both networks under each way of running them, timed together, and whether the slowdown survives.

Every mode is a stack of steps (`ablation.faster.optimised`). Its outputs are compared with the eager ones under the same noise
("inference only": with z = mean on both sides) before it is timed; where those of either network differ by more than the tolerance
of `optimise`, it is not used. All modes of both networks are then timed by one interleaved comparison in sittings, so that the
ratio of the two networks in a mode, and the gain of a mode over eager, are paired by round and their intervals rest on sittings.
For every sitting eager networks are copied; prepared ones, which would have to be compiled again, keep their compiled code and have
their weights moved to memory that is allocated anew (`Optimised.relocate`). Compiling, autotuning and capturing are done before and
reported apart. A mode that fails, isn't usable here or didn't fit in the budget carries the reason. `keeps` says whether a mode
computes the same function to rounding, the same in fewer digits, or another one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from ablation.design.compose import VAE
from ablation.faster.optimise import beyond, example, prepared, told
from ablation.faster.optimised import REWRITES, Optimised
from ablation.faster.rewrite import checked_copy
from ablation.machine.device import checked_device
from ablation.measure.latency.compare import compare_latency
from ablation.measure.latency.interleave import SITTINGS
from ablation.measure.latency.result import LatencyComparison
from ablation.measure.latency.statistics import LEAST_ROUNDS, num_whole
from ablation.record.explanation import OTHER, REDUCED, SAME, ModeResult
from ablation.stats import Estimate, judge
from blocks.errors import choices, must_be

EAGER = "eager"
FUSED = (*REWRITES, "fast ELU", "compile", "channels_last")
# share of the budget after which no further mode is compiled
PREPARING = 0.5


@dataclass(frozen=True, kw_only=True)
class Mode:
    """One way of running a network."""

    steps: tuple[str, ...]
    text: str

    @property
    def compiles(self) -> bool:
        """Whether preparing it takes long."""
        return bool({"compile", "max-autotune"} & set(self.steps))

    @property
    def needs_cuda(self) -> bool:
        """Whether it runs on a CUDA device only."""
        return "CUDA graph" in self.steps

    @property
    def keeps(self) -> str:
        """What it keeps of the network: one of KEEPS."""
        return OTHER if "mean only" in self.steps else REDUCED if "bf16" in self.steps else SAME


def _mode(text: str, *steps: str) -> Mode:
    return Mode(steps=steps, text=text)


# those that take long to prepare last, the most promising of them first
MODES: Mapping[str, Mode] = {
    EAGER: _mode("as built, one operation after the other, in inference mode"),
    "inference only": _mode("z = mean: no sampling, the log-variance isn't computed", "mean only"),
    "channels_last": _mode("memory in the order N, H, W, C", "channels_last"),
    "bf16": _mode("weights and arithmetic in bfloat16", "bf16"),
    "folded": _mode("batch norm folded into the convolution before it, where there is one", "fold"),
    "reordered": _mode("pooling before, upsampling after 1x1 convolutions; no transposed kernels of stride 1", *REWRITES[1:]),
    "no concatenation": _mode("dense blocks write into one buffer", "no concatenation"),
    "folded + reordered": _mode("both, and activations in place", *REWRITES, "in place"),
    "folded + reordered + no concatenation": _mode(
        "all three, and activations in place", *REWRITES, "in place", "no concatenation"
    ),
    "folded + reordered + channels_last": _mode("all three, and activations in place", *REWRITES, "in place", "channels_last"),
    "folded + reordered + channels_last + bf16": _mode(
        "all four, and activations in place", *REWRITES, "in place", "channels_last", "bf16"
    ),
    "CUDA graph": _mode("one launch replays the whole pass", "CUDA graph"),
    "folded + reordered + CUDA graph": _mode("fewer operations, and one launch", *REWRITES, "in place", "CUDA graph"),
    "compiled + folded + reordered + channels_last": _mode("torch.compile of the rewritten network, ELU by exp", *FUSED),
    "compiled + folded + reordered + channels_last + CUDA graph": _mode(
        "the rewritten network compiled, ELU by exp, and one launch", *FUSED, "CUDA graph"
    ),
    "compiled": _mode("torch.compile of the network as it is", "compile"),
    "compiled + channels_last": _mode("torch.compile and memory in the order N, H, W, C", "compile", "channels_last"),
    "compiled + CUDA graph": _mode("torch.compile, then one launch", "compile", "CUDA graph"),
    "compiled + folded + reordered + channels_last + bf16": _mode("the same in bfloat16", *FUSED, "bf16"),
    "compiled + folded + reordered + channels_last + bf16 + CUDA graph": _mode(
        "the same in bfloat16 and one launch", *FUSED, "bf16", "CUDA graph"
    ),
    "autotuned + CUDA graph": _mode(
        "the rewritten network compiled with kernels chosen by trying them, and one launch",
        *(*REWRITES, "fast ELU", "channels_last", "max-autotune", "CUDA graph"),
    ),
}


def run_modes(
    first: VAE,
    second: VAE,
    *,
    device: str = "cpu",
    batch_size: int = 1,
    budget_s: float = 300.0,
    names: Sequence[str] | None = None,
    quick: bool = False,
    rounds: tuple[int, int] = (LEAST_ROUNDS, 20),
    sittings: int = SITTINGS,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> tuple[ModeResult, ...]:
    """Both networks in the modes `names` (all of `MODES` unless given; eager is always among them), in the order of `MODES`.

    `budget_s`: seconds for all of it; modes that compile are left out, and say so, once the budget runs short, or with `quick`.
    With too little time for three sittings of six rounds, modes have ratios and gains without intervals.
    `progress(mode)` before each is prepared, and while all are timed. InputError for an unknown mode, another image size, or a GPU
    that isn't there.
    """
    wanted = _check(first, second, names, budget_s)
    place = checked_device(device)
    start = time.perf_counter()
    pair = {"first": checked_copy(first).to(place), "second": checked_copy(second).to(place)}
    ready: dict[str, tuple[nn.Module, nn.Module]] = {EAGER: (pair["first"], pair["second"])}
    reasons: dict[str, str] = {}
    x = example(pair["first"], batch_size, seed)
    for name in wanted:
        mode = MODES[name]
        reasons[name] = _unusable(mode, place.type, quick, time.perf_counter() - start, budget_s)
        if reasons[name] or name == EAGER:
            continue
        if progress is not None:
            progress(name)
        try:
            both = {which: prepared(model, mode.steps, x) for which, model in pair.items()}
        except Exception as error:  # a mode that doesn't work here is a recorded failure; the others go on
            reasons[name] = told(error)
            continue
        reasons[name] = "; ".join(f"{which} network: {why}" for which, made in both.items() if (why := beyond(made)))
        if not reasons[name]:
            ready[name] = (both["first"], both["second"])
    left = max(budget_s - (time.perf_counter() - start), (1 - PREPARING) * budget_s)
    times = compare_latency(
        {_column(name, i): model for name, both in ready.items() for i, model in enumerate(both)},
        batch_size=batch_size,
        device=str(place),
        reference=_column(EAGER, 0),
        rounds=rounds,
        sittings=sittings,
        budget_s=left,
        seed=seed,
        only_calls=True,
        progress=_by_sitting(progress),
    )
    results = [_result(name, ready.get(name), reasons.get(name, ""), times) for name in wanted]
    return tuple(_judged(results, times))


def _judged(results: list[ModeResult], times: LatencyComparison) -> list[ModeResult]:
    """With verdicts on ratios and on gains, each corrected over all modes."""
    floor = times.noise_floor
    ends = () if floor is None else (floor.low, floor.high)
    largest = max((abs(math.log(end)) for end in ends if end is not None), default=0.0)
    ratios, gains = ({m.mode: e for m in results if (e := _logarithm(times, pairs(m.mode)))} for pairs in (_both, _gain))
    verdicts = [judge(found, dict.fromkeys(found, largest)) for found in (ratios, gains)]
    return [replace(m, ratio_verdict=verdicts[0].get(m.mode, ""), gain_verdict=verdicts[1].get(m.mode, "")) for m in results]


def _both(mode: str) -> tuple[str, str]:
    return _column(mode, 1), _column(mode, 0)


def _gain(mode: str) -> tuple[str, str]:
    return _column(EAGER, 1), _column(mode, 1)


def _logarithm(times: LatencyComparison, pair: tuple[str, str]) -> Estimate | None:
    if pair[0] == pair[1] or pair[0] not in times.columns or pair[1] not in times.columns:
        return None
    found = times.paired(*pair)
    if found is None:
        return None
    low, high = (None if end is None else math.log(end) for end in (found.low, found.high))
    return replace(found, value=math.log(found.value), low=low, high=high)


def _by_sitting(progress: Callable[[str], None] | None) -> Callable[[int, int], None] | None:
    # compare_latency tells of every block; one line in ten rounds is enough
    last = -1

    def tick(rounds: int, most: int) -> None:
        nonlocal last
        if progress is not None and rounds % 10 == 0 and rounds != last:
            last = rounds
            progress(f"timing all of them, round {rounds + 1} of at most {most}")

    return tick


def _check(first: nn.Module, second: nn.Module, names: Sequence[str] | None, budget_s: float) -> list[str]:
    for which, model in (("first", first), ("second", second)):
        if not isinstance(model, VAE):
            raise must_be(which, "a VAE that `ablation.build` made", type(model).__name__)
    shapes = [(model.spec.in_channels, model.spec.image_size) for model in (first, second)]  # type: ignore[union-attr]
    if shapes[0] != shapes[1]:
        raise must_be("Channels and size of the images", "the same for both networks", shapes)
    if not budget_s > 0:
        raise must_be("budget_s", "a positive number of seconds", budget_s)
    for name in names or ():
        if name not in MODES:
            raise must_be("A mode", choices(MODES), name)
    return [name for name in MODES if names is None or name in names or name == EAGER]


def _unusable(mode: Mode, kind: str, quick: bool, elapsed: float, budget_s: float) -> str:
    if mode.needs_cuda and kind != "cuda":
        return "needs a CUDA device"
    if mode.compiles and quick:
        return "left out: compiling takes a minute or so, and this was a quick run"
    if mode.compiles and elapsed > PREPARING * budget_s:
        return f"left out: {PREPARING:.0%} of the {budget_s:g} s were spent before it could be compiled"
    return ""


def _column(mode: str, which: int) -> str:
    return f"{mode}: {('first', 'second')[which]}"


def _result(name: str, both: tuple[nn.Module, nn.Module] | None, reason: str, times: LatencyComparison) -> ModeResult:
    text, keeps = MODES[name].text, MODES[name].keeps
    if both is None:
        return ModeResult(mode=name, text=text, reason=reason, keeps=keeps)
    errors = [model.max_error if isinstance(model, Optimised) else 0.0 for model in both]
    prepare_s = sum(model.prepare_s for model in both if isinstance(model, Optimised))
    why = [times[_column(name, i)].reason for i in range(2)]
    ratio, first_gain, second_gain = (
        _paired(times, (name, 1), (name, 0)),
        _paired(times, (EAGER, 0), (name, 0)),
        _paired(times, (EAGER, 1), (name, 1)),
    )
    return ModeResult(
        mode=name,
        text=text,
        first_ms=times[_column(name, 0)].median_ms,
        second_ms=times[_column(name, 1)].median_ms,
        **_spread("ratio", ratio),
        first_gain=None if first_gain is None else first_gain.value,
        **_spread("second_gain", second_gain),
        max_error=errors[1],
        first_max_error=errors[0],
        prepare_s=prepare_s,
        reason=reason or "; ".join(dict.fromkeys(w for w in why if w)),
        rounds=times.rounds,
        sittings=num_whole(np.array(times.sittings)),
        keeps=keeps,
    )


def _spread(name: str, estimate: Estimate | None) -> dict[str, Any]:
    """Value and ends under the names of a result's fields."""
    if estimate is None:
        return {}
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _paired(times: LatencyComparison, over: tuple[str, int], under: tuple[str, int]) -> Estimate | None:
    """Ratio within rounds, its interval over sittings; None where either failed. Of eager over itself, 1 without an interval."""
    if over == under:
        return None if times[_column(*over)].failed else Estimate(value=1.0)
    return times.paired(_column(*over), _column(*under))
