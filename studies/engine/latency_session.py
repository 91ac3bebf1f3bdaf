"""Latency of all networks of a study, timed side by side before any training, so that nothing else runs and ratios are paired."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import optuna
from filelock import FileLock
from rich.console import Console
from torch import nn

from ablation.design.compose import build
from ablation.design.network import AnySpec
from ablation.design.variant import Variant
from ablation.machine.hardware import describe_hardware
from ablation.machine.text import first_line
from ablation.measure.latency.compare import LatencyComparison, ModelLatency, compare_latency
from blocks.errors import InputError
from studies.engine.config import StudyConfig, StudyFolder
from studies.engine.reporting import LATENCY, NOISE, SESSIONS
from studies.engine.search.settings import reference_spec, search_of
from studies.store.storage import get_system_attrs, set_system_attr
from studies.work.progress import LatencyBar

# weights of the networks that are loaded and timed together
GROUP_BYTES = 1_000_000_000
LOCK = "latency.lock"  # in a study's folder, while a process of this machine times
TIMING = "timing:"  # prefix of hidden study attributes, one for each hardware and proposed network
# time for each network and batch size, and more where an interval needs it, unless a budget is given
SECONDS_PER_NETWORK = 6.0


def latency_entries(comparison: LatencyComparison) -> dict[str, dict[str, Any]]:
    """Network -> what a record keeps of it: the synchronised call, and on CUDA the medians of the three other kinds beside it."""
    entries = {key: model.to_dict() for key, model in comparison.models.items()}
    for kind, models in comparison.by_kind.items():
        if kind != "call":
            for key, model in models.items():
                entries[key][f"{kind}_ms"] = model.median_ms
    return entries


def floor_of(comparison: LatencyComparison) -> dict[str, Any]:
    """The A/A ratio with its 95 % interval and what that rests on, as plain values."""
    floor = comparison.noise_floor
    assert floor is not None
    return {"ratio": floor.value, "low": floor.low, "high": floor.high, "sittings": floor.num, "rounds": comparison.rounds}


def stored_latency(study: optuna.Study, key: str, device: str) -> dict[str, Any]:
    """'device/batch' -> numbers of one network: from the study's sessions, or of a proposed one from its own on this hardware.

    Empty where none timed it.
    """
    entries: dict[str, Any] | None = study.user_attrs.get(LATENCY, {}).get(key)
    return entries if entries is not None else stored_timing(study, key, hardware_digest(device)).get("latency", {})


@cache
def hardware_digest(device: str) -> str:
    """8 hex digits for the parts of this machine on which a latency depends."""
    return digest_of(describe_hardware(device))


def digest_of(hardware: Mapping[str, Any]) -> str:
    """The same for hardware as `describe_hardware` gives it and records keep it."""
    kept = {name: hardware.get(name) for name in ("device", "system", "cpu", "cpu_cores", "gpu", "gpu_capability", "driver")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:8]


def stored_timing(study: optuna.Study, key: str, digest: str) -> dict[str, Any]:
    """What was measured of a proposed network on one kind of hardware: `latency`, `noise` and `sessions`, by place."""
    timing: dict[str, Any] = get_system_attrs(study).get(f"{TIMING}{digest}:{key}", {})
    return timing


def missing_latency(
    study: optuna.Study,
    networks: Sequence[Variant],
    device: str,
    batch_size: int,
    *,
    retry_failed: bool = False,
    whole: bool = False,
) -> list[Variant]:
    """Networks that no session of several sittings has timed at this place; with `retry_failed` also those that failed.

    Sessions of earlier versions had one sitting, whose intervals say nothing of what loading the networks anew changes. `whole`:
    those too whose session a budget cut before there were sittings for an interval.
    """

    def is_missing(entry: Mapping[str, Any] | None) -> bool:
        if entry is None or entry.get("median_ms") is None:
            return entry is None or retry_failed
        return "sittings" not in entry or (whole and entry.get("low_ms") is None)

    known = study.user_attrs.get(LATENCY, {})
    return [n for n in networks if is_missing(known.get(n.network_key, {}).get(f"{device}/{batch_size}"))]


class Stopped(Exception):  # noqa: N818 -- a request, not an error
    """The user asked to stop while networks were being timed."""


@dataclass(frozen=True, kw_only=True)
class Timings:
    """What a session measured at one place."""

    entries: dict[str, Any]  # network -> what a record keeps of it
    floors: list[dict[str, Any]] = field(default_factory=list)  # noise floor of each group that has one
    sessions: list[dict[str, Any]] = field(default_factory=list)  # provenance and drift of each group

    def add(self, comparison: LatencyComparison) -> None:
        """Another group of networks; one that could not be built keeps its reason."""
        for key, entry in latency_entries(comparison).items():
            self.entries.setdefault(key, entry)
        if comparison.noise_floor is not None:
            self.floors.append(floor_of(comparison))
        self.sessions.append({"provenance": dict(comparison.provenance), "drift": comparison.drift.to_dict()})

    def widest_floor(self) -> dict[str, Any]:
        """Of several groups' floors the widest, as one without an interval says nothing; empty where there is none."""
        return max(self.floors, key=lambda floor: -1.0 if floor["low"] is None else floor["high"] - floor["low"], default={})


@dataclass(frozen=True, kw_only=True)
class LatencySession:
    """One run of the interleaved protocol over networks of a study."""

    config: StudyConfig
    networks: Sequence[Variant]  # each network once
    reference: str
    folder: StudyFolder
    budget_s: float | None = None
    console: Console
    should_stop: Callable[[], bool] = lambda: False

    def measure(self, study: optuna.Study, batch_size: int) -> None:
        """Time every network and store medians, ratios, intervals, noise floor and raw samples; nothing where it was stopped."""
        place = f"{self.config.device}/{batch_size}"
        timings = self.time(batch_size)
        if timings is None:
            return
        known = study.user_attrs.get(LATENCY, {})
        entries = {key: {**known.get(key, {}), place: entry} for key, entry in timings.entries.items()}
        study.set_user_attr(LATENCY, {**known, **entries})
        if timings.floors:
            study.set_user_attr(NOISE, {**study.user_attrs.get(NOISE, {}), place: timings.widest_floor()})
        study.set_user_attr(SESSIONS, {**study.user_attrs.get(SESSIONS, {}), place: timings.sessions})

    def time(self, batch_size: int, name: str = "") -> Timings | None:
        """Time every network against the reference; None where it was stopped. Raw samples are files with `name` in theirs.

        Networks that do not fit into memory together are timed in groups, each with the reference in it.
        """
        place = f"{self.config.device}/{batch_size}"
        models, failures = self._models()
        groups = self._groups(models)
        timings = Timings(entries={key: ModelLatency(reason=reason).to_dict() for key, reason in failures.items()})
        with LatencyBar(f"latency {place}", self.console) as bar:
            for number, group in enumerate(groups):
                bar.begin(number, len(groups))
                try:
                    comparison = self._compare({key: models[key] for key in group}, batch_size, bar)
                except Stopped:
                    return None
                timings.add(comparison)
                comparison.save(self.folder.latency / f"{place.replace('/', '-')}-{number}{name}.npz")
        return timings

    def _compare(self, models: Mapping[str, nn.Module], batch_size: int, bar: LatencyBar) -> LatencyComparison:
        """One group, of which the first is the reference."""

        def on_progress(done: int, total: int) -> None:
            bar.update(done, total)
            if self.should_stop():
                raise Stopped

        budget = self.budget_s or SECONDS_PER_NETWORK * len(self.networks)
        return compare_latency(
            models,
            batch_size=batch_size,
            device=self.config.device,
            reference=next(iter(models)),
            input_shape=self.networks[0].spec.input_shape,
            precision=self.config.protocol.get("precision", "float32"),
            channels_last=self.config.protocol.get("memory_format") == "channels_last",
            num_threads=self.config.latency_threads if self.config.device == "cpu" else None,
            budget_s=budget * len(models) / len(self.networks),
            overrun=self.budget_s is None,
            progress=on_progress,
        )

    def _models(self) -> tuple[dict[str, nn.Module], dict[str, str]]:
        """Every network that can be built, by key, and why the others can't: those fail alone, in their own trials."""
        models: dict[str, nn.Module] = {}
        failures: dict[str, str] = {}
        for network in self.networks:
            try:
                model = build(network.spec, seed=0)
                if any(m._forward_hooks or m._forward_pre_hooks for m in model.modules()):
                    raise InputError("it has forward hooks, which would be timed too")  # refused by the timing, for all at once
                models[network.network_key] = model
            except Exception as error:
                failures[network.network_key] = f"{type(error).__name__}: {first_line(error, '')}"
        return models, failures

    def _groups(self, models: Mapping[str, nn.Module]) -> list[list[str]]:
        """All networks in as few groups as memory allows; the reference leads each, where it can be built."""
        lead = [self.reference] if self.reference in models else []
        groups, size = [[*lead]], 0
        for key, model in models.items():
            if key in lead:
                continue
            needs = sum(p.numel() * p.element_size() for p in model.parameters())
            if size and size + needs > GROUP_BYTES:
                groups, size = [*groups, [*lead]], 0
            groups[-1].append(key)
            size += needs
        return [group for group in groups if group]


def time_proposed(
    study: optuna.Study, spec: AnySpec, config: StudyConfig, folder: StudyFolder, should_stop: Callable[[], bool]
) -> None:
    """Time one proposed network beside the reference of the search, where this hardware has not; stored under that hardware.

    Each network has an attribute of its own, so that workers overwrite nothing of each other. One at a time on this machine.
    """
    reference, key, digest = reference_spec(config), spec.network_key, hardware_digest(config.device)
    networks = {variant.network_key: variant for variant in (Variant(spec=reference), Variant(spec=spec))}
    session = LatencySession(
        config=config,
        networks=list(networks.values()),
        reference=reference.network_key,
        folder=folder,
        budget_s=(search_of(config).timing_s if config.search else 0) or None,
        console=Console(quiet=True),
        should_stop=should_stop,
    )
    with FileLock(folder.path / LOCK):
        for batch_size in config.latency_batches:
            place, known = f"{config.device}/{batch_size}", stored_timing(study, key, digest)
            timings = None if place in known.get("latency", {}) else session.time(batch_size, f"-{key}")
            if timings is not None:
                new = {"latency": timings.entries[key], "noise": timings.widest_floor(), "sessions": timings.sessions}
                values = {kind: {**known.get(kind, {}), place: value} for kind, value in new.items()}
                set_system_attr(study, f"{TIMING}{digest}:{key}", values)
