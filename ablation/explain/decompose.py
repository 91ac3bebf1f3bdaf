"""Where the eager latency of one network goes: by class of operation, by part and by block, with host time, gaps and a residual.

The total is a plain call's (`compare_latency`); nothing is instrumented while it is taken. An instrumented run, alternating with
plain calls, then says what share of a call each operation has:

- CPU: time within each operation by a stop-watch (with one thread that thread's own time, so that other load makes no share), less
  what the stop-watch shows for an operation on 16 numbers. The host's time is
  the calibrated cost of a small operation for each operation, and of an empty module for each further module. The residual is
  what is left of the total: what a call costs beyond that, and how far operations run otherwise when each is watched.
- CUDA: the host's time is the synchronised call less the replay of a CUDA graph of it. The profiler's kernel times are scaled so
  that the replay's own time line is as long as the replay without a profiler; its holes are the gaps. The residual is what
  kernels take longer, or less long, in the replay than in the eager call, and kernels that no operation launched. Where the
  profiler is not usable, each class is replayed alone instead (`replay`), and a note says so.

Shares come with bounds: bytes moved over the bandwidth of a copy as large, and multiply-accumulates over the rate of the machine
(`calibrate`). "bytes" is the traffic of `static_cost`, which counts no cache and no fusion.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ablation.design.compose import deployed
from ablation.explain.bounds import MILLI, shares
from ablation.explain.cuda_trace import Kernels, TimeLine, profile_kernels, profile_replay
from ablation.explain.replay import class_times
from ablation.explain.trace import Op, instrument_floor_ns, measure_rounds, num_module_calls, stop_watch
from ablation.machine.device import checked_device
from ablation.measure.costs.opcount import CLASSES
from ablation.measure.costs.operations import OTHER, block_names, part_names
from ablation.measure.costs.static import image_shape, static_cost
from ablation.measure.latency.compare import compare_latency, settled
from ablation.measure.latency.result import LatencyComparison
from ablation.measure.latency.timers import GPU, capture
from ablation.record.explanation import Calibration, Decomposition
from ablation.stats import LEAST_SITTINGS

# share of the latency that must be explained for no note to say otherwise
ENOUGH = 0.95
# total over the mean of the plain calls by which other load is suspected
SLOWED = 1.25


@dataclass(frozen=True)
class Allocated:
    """What was measured of one network, before it is summed by class, part and block."""

    total_ms: float
    ops: Sequence[tuple[Op, float]]  # ms
    host_ms: float
    gaps_ms: float = 0.0
    notes: tuple[str, ...] = ()


def decompose(
    model: nn.Module,
    name: str,
    *,
    device: str = "cpu",
    batch_size: int = 1,
    threads: int | None = None,
    calibration: Calibration,
    total_ms: float | None = None,
    latency: LatencyComparison | None = None,
    quick: bool = False,
    input_shape: tuple[int, ...] | None = None,
) -> Decomposition:
    """Where the latency of one forward pass of `model` goes; classes + host + gaps + residual = total, and so for parts and blocks.

    `total_ms` is measured here unless given: the median of plain, synchronised calls on the same machine at the same `batch_size`
    and `threads`, as `plain_latency` takes it. Pass that in as `latency` where several networks are decomposed on CUDA, all timed
    before the first is: a profiler that has run slows what is timed after it. `input_shape` (C, H, W) is needed for a module
    without a spec. The model is copied and stays as it is.
    """
    place, shape, model = checked_device(device), input_shape or image_shape(model), deployed(model)
    if latency is None and (total_ms is None or place.type == "cuda"):
        latency = plain_latency(model, name, device=device, batch_size=batch_size, threads=threads, quick=quick, input_shape=shape)
    if total_ms is None:
        assert latency is not None
        total_ms = _needed(latency, name)
    with settled(place, threads):
        loaded = copy.deepcopy(model).to(place).eval()
        x = torch.rand((batch_size, *shape), generator=torch.Generator().manual_seed(0)).to(place)
        if latency is not None and place.type == "cuda":
            allocated = _on_gpu(loaded, x, total_ms, latency.by_kind[GPU][name].median_ms, latency.by_kind[GPU][name].reason)
        else:
            allocated = _on_cpu(loaded, x, total_ms, calibration, quick)
    return assemble(model, name, allocated, calibration, batch_size=batch_size, shape=shape, place=place.type)


def plain_latency(
    model: nn.Module,
    name: str,
    *,
    device: str = "cpu",
    batch_size: int = 1,
    threads: int | None = None,
    quick: bool = False,
    input_shape: tuple[int, ...] | None = None,
) -> LatencyComparison:
    """The latency that a decomposition accounts for: of the network alone, uninstrumented."""
    return compare_latency(
        {name: model},
        device=device,
        batch_size=batch_size,
        num_threads=threads,
        input_shape=input_shape or image_shape(model),
        sittings=1 if quick else LEAST_SITTINGS,
        budget_s=2.5 if quick else 10,
    )


def _needed(latency: LatencyComparison, name: str) -> float:
    timed = latency[name]
    if timed.median_ms is None:
        raise RuntimeError(f"{name} cannot be timed here: {timed.reason}")
    return timed.median_ms


def _on_cpu(model: nn.Module, x: Tensor, total_ms: float, calibration: Calibration, quick: bool) -> Allocated:
    floor = instrument_floor_ns()
    rounds = measure_rounds(model, x, floor, rounds=(8, 16) if quick else (20, 60), budget_s=2.0 if quick else 8.0)
    plain, means = rounds.means()
    scale = total_ms / plain
    num_ops, num_modules = len(rounds.ops), num_module_calls(model, x)
    watch = "the thread's own time" if stop_watch() is not time.perf_counter_ns else "wall time"
    notes = [f"{len(rounds.plain_ms)} instrumented rounds, alternating with plain calls, whose mean was {plain:.3g} ms of {watch}."]
    host = scale * host_time(calibration, num_ops, num_modules)  # calibrated in the same time as `plain`
    if scale > SLOWED:
        notes.append(f"The total is {scale:.2f} times that: other load slowed it, and every efficiency is too low by this factor.")
    try:
        alone = sum(class_times(model, x, 3 if quick else 7).values())
        notes.append(
            f"Cross-check: each class's operations replayed alone take {alone:.3g} ms in all; in the network {means.sum():.3g} ms."
        )
    except MemoryError as error:
        notes.append(f"No cross-check by replay: {error}.")
    return Allocated(total_ms, [(op, float(ms) * scale) for op, ms in zip(rounds.ops, means, strict=True)], host, 0.0, tuple(notes))


def host_time(calibration: Calibration, num_ops: int, num_modules: int) -> float:
    """ms that calling so many operations costs, each from a module; further modules cost an empty module's call."""
    module_us = float(calibration.details.get("module_us", 0.0))
    return MILLI * (num_ops * calibration.call_us + max(0, num_modules - num_ops) * module_us)


def _on_gpu(model: nn.Module, x: Tensor, total_ms: float, graph_ms: float | None, why: str) -> Allocated:
    try:
        with torch.no_grad():
            kernels = profile_kernels(model, x)
            line = profile_replay(capture(lambda: model(x))) if graph_ms is not None else None
    except RuntimeError as error:
        return _replayed_on_gpu(model, x, total_ms, graph_ms, f"The profiler is not usable here: {error}.")
    return place_on_gpu(kernels, line, total_ms, graph_ms, why)


def place_on_gpu(kernels: Kernels, line: TimeLine | None, total_ms: float, graph_ms: float | None, why: str = "") -> Allocated:
    """From kernel times, the replay's time line and two uninstrumented times to ms of the total."""
    ops = kernels.ops
    if graph_ms is None or line is None:
        busy = MILLI * (sum(us for _, us in ops) + kernels.unplaced_us)
        reason = why or "the profile of the replays does not show equal replays"
        note = f"No time line of a graph replay ({reason}): host time is the total less all kernel time, gaps included."
        return Allocated(total_ms, [(op, us * MILLI) for op, us in ops], total_ms - busy, 0.0, (note,))
    scale = graph_ms / line.span_us
    note = (
        f"Kernel times scaled by {1e3 * scale:.3f}: a replay takes {graph_ms:.3g} ms, {line.span_us / 1e3:.3g} ms in the profile."
    )
    return Allocated(total_ms, [(op, us * scale) for op, us in ops], total_ms - graph_ms, line.gaps_us * scale, (note,))


def _replayed_on_gpu(model: nn.Module, x: Tensor, total_ms: float, graph_ms: float | None, why: str) -> Allocated:
    # classes only: part and block are not known
    times = class_times(model, x)
    note = f"{why} Each class was replayed alone; parts and blocks are not known."
    host = total_ms - (sum(times.values()) if graph_ms is None else graph_ms)
    return Allocated(total_ms, [(Op(kind, OTHER, OTHER), ms) for kind, ms in times.items()], host, 0.0, (note,))


def assemble(
    model: nn.Module,
    name: str,
    allocated: Allocated,
    calibration: Calibration,
    *,
    batch_size: int,
    shape: tuple[int, ...],
    place: str,
) -> Decomposition:
    """Sums by class, part and block, with bounds, and what is unexplained."""
    cost = static_cost(model, batch_size, input_shape=shape)
    classes = {kind: cost.by_class[kind] for kind in CLASSES if kind in cost.by_class and kind != "unused"}  # holds no operation
    blocks = block_names(model)
    groups = {
        "class": (tuple(classes), classes),
        "part": ((*part_names(model), OTHER), cost.by_part),
        "block": ((*blocks, OTHER), static_cost(model, batch_size, input_shape=shape, parts=blocks).by_part),
    }
    by_group = {group: shares(allocated.ops, group, names, costs, calibration) for group, (names, costs) in groups.items()}
    residual = allocated.total_ms - sum(ms for _, ms in allocated.ops) - allocated.host_ms - allocated.gaps_ms
    explained = 1 - abs(residual) / allocated.total_ms
    return Decomposition(
        name=name,
        place=f"{place}/{batch_size}",
        total_ms=allocated.total_ms,
        by_class=by_group["class"],
        by_part=by_group["part"],
        by_block=by_group["block"],
        host_ms=allocated.host_ms,
        gaps_ms=allocated.gaps_ms,
        residual_ms=residual,
        explained=explained,
        notes=(*allocated.notes, *_doubts(explained, residual, allocated.ops, cost.num_ops)),
    )


def _doubts(explained: float, residual: float, ops: Sequence[Any], num_ops: int) -> Iterable[str]:
    if explained < ENOUGH:
        cause = (
            "time outside of operations beyond the calibrated cost of a call (Python, giving memory back, waking threads)"
            if residual > 0
            else "operations took longer when watched one by one, or calls cost less than the calibrated ones"
        )
        yield f"{residual:+.3g} ms ({1 - explained:.1%} of the total) is unexplained: {cause}."
    if not ops:
        yield "No operation was seen."
    elif len(ops) > num_ops:
        yield f"{len(ops)} operations ran where {num_ops} are counted statically."
