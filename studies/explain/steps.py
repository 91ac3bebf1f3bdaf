"""The steps of `explain`: each measures one thing about a pair of networks and gives fields of an Explanation."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from optuna import load_study
from torch import nn

from ablation.attribute.factorial import Factorial
from ablation.attribute.latency import attribute_latency, noise_floor
from ablation.attribute.static import attribute_static
from ablation.attribute.timed_design import latency_design, time_design
from ablation.attribute.trained import attribute_all
from ablation.attribute.values import attribute
from ablation.design.callable_spec import CallableSpec
from ablation.design.compose import build, build_without_weights
from ablation.design.network import AnySpec
from ablation.design.spec import ModelSpec
from ablation.explain.calibrate import calibrate
from ablation.explain.controls import find_controls
from ablation.explain.decompose import decompose, plain_latency
from ablation.explain.guidelines import guidelines
from ablation.explain.inside import inside_runtimes
from ablation.explain.modes import EAGER, run_modes
from ablation.explain.remedies import SpecGain, rank_remedies
from ablation.explain.sweep import batch_sweep
from ablation.faster.runtimes import RUNTIMES
from ablation.machine.hardware import git_commit, hardware_name
from ablation.machine.text import first_line
from ablation.measure.costs.memory import activation_bytes
from ablation.measure.costs.operations import align, part_names
from ablation.measure.costs.static import output_shapes, static_cost
from ablation.measure.latency.compare import LatencyComparison, compare_latency
from ablation.record.attribution import Attribution
from ablation.record.explanation import SweepPoint
from ablation.record.trial import COMPLETE, METRICS
from ablation.stats import SETTLED
from studies.engine.config import StudyConfig, StudyFolder
from studies.store.records import records
from studies.store.storage import open_storage, study_names

# networks whose peak memory is estimated; more take the coarse factorial
MAX_PEAK_NETWORKS = 512
# what is kept of a control's timing
TIMED = ("median_ms", "ratio", "ratio_low", "ratio_high", "rounds", "sittings")
# of the budget; calibration, decomposition and guidelines take what they need, about two minutes
SHARES = {"latency": 0.55, "modes": 0.3, "sweep": 0.1}
QUICK_BATCHES, BATCHES = (1, 4, 16), (1, 2, 4, 8, 16, 32, 64, 128, 256)

# step -> the fields that it gave
Results = Mapping[str, Mapping[str, Any]]
Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What is explained, and how."""

    names: tuple[str, str]
    specs: tuple[AnySpec, AnySpec]
    device: str
    batch_size: int
    threads: int
    budget_s: float
    quick: bool
    # of the sweep, each measured however long it takes; without any, as many of the usual ones as the budget has time for
    trained: Path | None = None
    batches: tuple[int, ...] = ()

    @property
    def place(self) -> str:
        """Device and batch size, as records write them."""
        return f"{self.device}/{self.batch_size}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input, without the batch."""
        return self.specs[0].input_shape

    @property
    def cpu_threads(self) -> int | None:
        """Threads; None on a GPU."""
        return self.threads if self.device == "cpu" else None

    @property
    def timing(self) -> dict[str, Any]:
        """Where and on what everything is timed, but for the number of threads."""
        return {"device": self.device, "batch_size": self.batch_size, "input_shape": self.shape}

    def models(self) -> dict[str, nn.Module]:
        """Both networks with the weights of seed 0, by name, their parts aligned."""
        first, second = (build(spec, seed=0) for spec in self.specs)
        align(first, second)
        return dict(zip(self.names, (first, second), strict=True))

    def key(self) -> str:
        """What a stored step must have been made for."""
        facts = {**vars(self), "trained": str(self.trained), "specs": [spec.to_dict() for spec in self.specs]}
        facts |= {"sources": [spec.source for spec in self.specs if isinstance(spec, CallableSpec)]}
        facts |= {"runtimes": [kind.missing(self.device, "int8") for kind in RUNTIMES.values()]}
        facts |= {"torch": torch.__version__, "hardware": hardware_name(self.device), "commit": git_commit()}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _static(pair: Pair, factorial: Factorial, earlier: Results, report: Report) -> Mapping[str, Any]:
    """Exact attributions of everything that can be counted."""
    costs = {name: _cost(spec, model) for spec, (name, model) in zip(pair.specs, pair.models().items(), strict=True)}
    counted = factorial if len(factorial.networks) <= MAX_PEAK_NETWORKS and not pair.quick else factorial.coarse()
    limits = [] if counted.names == factorial.names else ["Peak memory: encoder body and decoder body are one factor each."]
    try:
        peaks = {key: peak_bytes(spec, pair.batch_size) for key, spec in counted.networks.items()}
        peak = [attribute(counted.names, counted.values(peaks), metric="peak_bytes", place=pair.place, unit="bytes")]
    except Exception as error:  # a callable's network that looks at values
        peak, limits = [], [f"Peak memory was not estimated: {first_line(error)}."]
    return {"costs": costs, "attributions": [*attribute_static(factorial), *peak], "limits": [*limits, *_about(pair, costs)]}


def _cost(spec: AnySpec, model: nn.Module) -> dict[str, Any]:
    return static_cost(spec, parts=None if isinstance(spec, ModelSpec) else part_names(model)).to_dict()


def peak_bytes(spec: AnySpec, batch_size: int) -> int:
    """Bytes of results alive at once in a forward pass, from shapes alone."""
    return activation_bytes(build_without_weights(spec), spec.input_shape, batch_size)


def _about(pair: Pair, costs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What has to be known of networks that are not made of this project's pieces."""
    if all(isinstance(spec, ModelSpec) for spec in pair.specs):
        return []
    notes = [
        f"{name}: what it does depends on values, so that its counts are those of one run on one input." for name in pair.names
        if costs[name].get("executed")
    ]  # fmt: skip
    shapes = [output_shapes(model, pair.shape) for model in pair.models().values()]
    if shapes[0] != shapes[1]:
        words = [" and ".join("x".join(map(str, shape)) for shape in each) for each in shapes]
        outputs = f"{pair.names[0]} gives {words[0]}, {pair.names[1]} {words[1]} (one input)"
        notes.append(f"The networks' outputs differ in shape, so that they do not do the same: {outputs}.")
    return notes


def _latency(pair: Pair, factorial: Factorial, earlier: Results, report: Report) -> Mapping[str, Any]:
    """Attribution of the latency, per interleaved round, and the controls beside both networks."""
    settings, start = {**pair.timing, "num_threads": pair.cpu_threads}, time.monotonic()
    first, second = pair.specs
    plain = isinstance(first, ModelSpec) and isinstance(second, ModelSpec)
    controls = find_controls(first, second) if plain else ()  # type: ignore[arg-type]
    models = pair.models() | {c.name: build(ModelSpec.from_dict(c.spec), seed=0) for c in controls}
    budget = SHARES["latency"] * pair.budget_s
    beside = compare_latency(models, reference=pair.names[0], budget_s=0.2 * budget, only_calls=True, **settings)
    call_ms = sum(beside.models[name].median_ms or 0.0 for name in pair.names) / 2
    left = max(budget - (time.monotonic() - start), budget / 2)
    design = latency_design(factorial, left, call_ms=call_ms, device=pair.device)

    def tick(done: int, total: int) -> None:
        report(f"latency: group {done + 1} of {total}")

    comparisons = time_design(design, progress=tick if len(design.groups) > 1 else None, **settings)
    short = design.shortfall(comparisons)
    return {
        "attributions": attribute_latency(design, comparisons, pair.place),
        "controls": [replace(c, **{f: getattr(beside[c.name], f) for f in TIMED}) for c in controls],
        "noise": _noise(pair.place, beside),
        "factors": {name: levels for name, levels in design.factorial.levels.items() if name not in factorial.levels},
        "limits": [design.text, *([short] if short else []), *_floor(beside, comparisons)],
    }


def _noise(place: str, beside: LatencyComparison) -> dict[str, dict[str, float]]:
    """The A/A ratio with its interval; nothing where there were too few sittings for one."""
    floor = beside.noise_floor
    if floor is None or floor.low is None or floor.high is None:
        return {}
    return {place: {"ratio": floor.value, "low": floor.low, "high": floor.high}}


def _floor(beside: LatencyComparison, comparisons: Sequence[LatencyComparison]) -> list[str]:
    """A/A in the attribution's own sittings; and where the controls' sittings are too few, that."""
    floor, few = noise_floor(comparisons), beside.noise_floor is not None and not beside.noise_floor.known
    texts = [] if floor is None else [f"Latency: one network against a second copy of itself, {100 * floor:.2f} % either way."]
    return texts + (["Latency: too few sittings for an A/A noise floor and for intervals of the controls."] if few else [])


def _modes(pair: Pair, factorial: Factorial, earlier: Results, report: Report) -> Mapping[str, Any]:
    """Ways of running both networks, and what helps the second."""
    made = all(isinstance(spec, ModelSpec) for spec in pair.specs)
    modes = run_modes(
        *pair.models().values(), **pair.timing, budget_s=SHARES["modes"] * pair.budget_s, quick=pair.quick,
        progress=lambda mode: report(f"modes: {mode}"),
    )  # fmt: skip
    return {
        "modes": modes,
        "remedies": rank_remedies(
            modes, device=pair.device, batch_size=pair.batch_size, made=made, specs=_undone(factorial, earlier.get("latency", {}))
        ),
    }


def _undone(factorial: Factorial, latency: Mapping[str, Any]) -> list[SpecGain]:
    """The second network with one swap undone, where that was timed and is settled to make it faster."""
    log: Mapping[str, Any] = next((a for a in latency.get("attributions", ()) if a["metric"] == "log_latency"), {"from_end": {}})
    gains: list[SpecGain] = []
    for factor, effect in log["from_end"].items():
        spec = factorial.cells.get(frozenset(factorial.names) - {factor})
        if spec is not None and effect["verdict"] == SETTLED and effect["value"] > 0:
            gain, low, high = (None if effect[end] is None else math.exp(effect[end]) for end in ("value", "low", "high"))
            interval = (low, high) if low is not None and high is not None else ()
            gains.append((f"undo {factor}", spec, gain, *interval))
    return gains


def _sweep(pair: Pair, factorial: Factorial, earlier: Results, report: Report) -> Mapping[str, Any]:
    """Latency from batch 1 up, and where it begins to grow with the batch."""
    modes = earlier.get("modes", {}).get("modes", ())
    eager = next((m for m in modes if m["mode"] == EAGER and m["ratio"] is not None and pair.device == "cpu"), None)
    if eager is not None and eager["ratio_low"] is None and pair.batch_size in pair.batches:
        eager = None  # a batch that is named gets its interval, whatever it takes
    # the point that was measured already, with the other ways of running: one number of one thing
    fields = ("first_ms", "second_ms", "ratio", "ratio_low", "ratio_high", "rounds", "sittings")
    point: dict[str, Any] = {"batch_size": pair.batch_size, "source": "as under other ways of running"}
    points, knee = batch_sweep(
        *pair.models().values(),
        device=pair.device,
        input_shape=pair.shape,
        batches=pair.batches or (QUICK_BATCHES if pair.quick else BATCHES),
        budget_s=SHARES["sweep"] * pair.budget_s,
        threads=pair.cpu_threads,
        names=pair.names,
        overrun=bool(pair.batches),
        known={pair.batch_size: SweepPoint(**point, **{f: eager[f] for f in fields})} if eager else None,
        progress=lambda batch: report(f"sweep: batch {batch}"),
    )
    return {"sweep": points, "knee": knee}


def _machine(pair: Pair, factorial: Factorial, earlier: Results, report: Report) -> Mapping[str, Any]:
    """What this machine can do, and where each network's time goes."""
    calibration = calibrate(pair.device, threads=pair.cpu_threads, quick=pair.quick)
    settings: dict[str, Any] = {**pair.timing, "threads": pair.cpu_threads, "quick": pair.quick}
    models = pair.models()
    # on a GPU both are timed before either is profiled; on a CPU each next to its own instrumented rounds
    timed = {n: plain_latency(m, n, **settings) for n, m in models.items()} if pair.device == "cuda" else {}
    parts = [decompose(m, n, calibration=calibration, latency=timed.get(n), **settings) for n, m in models.items()]
    return {"calibration": calibration, "decompositions": parts}


def _guidelines(pair: Pair, factorial: Factorial, earlier: Results, report: Report) -> Mapping[str, Any]:
    return {"guidelines": guidelines(pair.device, threads=pair.cpu_threads, quick=pair.quick)}


def _trained(pair: Pair, factorial: Factorial, earlier: Results, report: Report) -> Mapping[str, Any]:
    """Loss and quality, where variants between the two were trained."""
    if pair.trained is None:
        own = isinstance(pair.specs[0], CallableSpec)
        what = "What training gives was" if own else "Loss and quality were"
        return {"limits": [f"{what} not attributed: no trained study was named with --trained."]}
    storage = open_storage(StudyFolder(pair.trained).journal, must_exist=True)
    attributions: list[Attribution] = []
    limits: list[str] = []
    for name in study_names(storage):
        study = load_study(study_name=name, storage=storage)
        if "config" not in study.user_attrs:
            continue
        config = StudyConfig.from_dict(study.user_attrs["config"])
        complete = [r for r in records(study, config.limits) if r.state == COMPLETE]
        of_study, missing = attribute_all(factorial, complete, config.metrics if config.own else METRICS)
        attributions += of_study
        limits += missing
    return {"attributions": attributions, "limits": limits}


def _runtimes(pair: Pair, factorial: Factorial, earlier: Results, report: Report) -> Mapping[str, Any]:
    """Where the time goes inside the runtimes that are installed."""
    if pair.quick:
        return {"limits": ["Operations inside the runtimes were not measured: this was a quick run."]}
    shares, limits = inside_runtimes(*pair.models().values(), **pair.timing, progress=report)
    return {"runtime_shares": shares, "limits": limits}


STEPS: dict[str, Callable[[Pair, Factorial, Results, Report], Mapping[str, Any]]] = {
    "static": _static,
    "latency": _latency,
    "modes": _modes,
    "sweep": _sweep,
    "guidelines": _guidelines,
    "machine": _machine,
    # after everything that is timed: once a profiler has run, CUPTI stays attached and slows every launch of the process
    "runtimes": _runtimes,
    "trained": _trained,
}
