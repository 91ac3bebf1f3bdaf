"""Latency of a study's networks, timed side by side so that ratios are paired: of a grid all, before anything is trained.

On each kind of hardware that takes part, once, by the first process of that kind; what is stored where: `studies.store.latency`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
import torch
from filelock import FileLock
from rich.console import Console
from torch import nn

from ablation.design.compose import build
from ablation.design.network import AnySpec
from ablation.design.variant import Variant, network_of
from ablation.machine.hardware import digest_of as digest_of
from ablation.machine.text import first_line
from ablation.measure.latency.compare import LatencyComparison, ModelLatency, compare_latency
from ablation.record.trial import FAILED, place_of
from blocks.errors import InputError
from studies.engine.config import StudyConfig, StudyFolder
from studies.engine.opened import StudyRun
from studies.engine.search.settings import reference_spec, search_of
from studies.store.latency import Kind, join, kind_of, latencies, store_timing
from studies.store.latency import hardware_digest as hardware_digest
from studies.store.records import records
from studies.store.storage import exclusive
from studies.work.progress import LatencyBar

# weights of the networks that are loaded and timed together
GROUP_BYTES = 1_000_000_000
# time for each network and batch size, and more where an interval needs it, unless a budget is given
SECONDS_PER_NETWORK = 6.0
LOCK = "latency.lock"  # in a study's folder, while a process of this machine times a proposal


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


def missing_latency(
    study: optuna.Study,
    networks: Sequence[Variant],
    device: str,
    batch_size: int,
    *,
    retry_failed: bool = False,
    whole: bool = False,
) -> list[Variant]:
    """Networks that no session of several sittings has timed on this kind of hardware; with `retry_failed` also those that failed.

    Sessions of earlier versions had one sitting, whose intervals say nothing of what loading the networks anew changes. `whole`:
    those too whose session a budget cut before there were sittings for an interval.
    """

    def is_missing(entry: Mapping[str, Any] | None) -> bool:
        if entry is None or entry.get("median_ms") is None:
            return entry is None or retry_failed
        return "sittings" not in entry or (whole and entry.get("low_ms") is None)

    known = kind_of(study, hardware_digest(device)).latency
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
        """Time every network and store medians, ratios, intervals, noise floor and raw samples; nothing where it was stopped.

        For the holder of the lock of this kind of hardware.
        """
        kind, place = join(study, self.config.device), place_of(self.config.device, batch_size)
        timings = self.time(kind, batch_size)
        if timings is None:
            return
        noise = {"noise": {place: timings.widest_floor()}} if timings.floors else {}
        entries = {key: {"latency": {place: entry}} for key, entry in timings.entries.items()}
        store_timing(study, kind.digest, {**entries, "": {**noise, "sessions": {place: timings.sessions}}})

    def time(self, kind: Kind, batch_size: int, name: str = "") -> Timings | None:
        """Time every network against the reference; None where it was stopped. Raw samples are files with `name` in theirs.

        So is the digest of a kind of hardware that is not the study's first, for machines may share the folder.

        Networks that do not fit into memory together are timed in groups, each with the reference in it.
        """
        place, name = place_of(self.config.device, batch_size), name + ("" if kind.is_first else f"-{kind.digest}")
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


def ensure_latency(run: StudyRun, should_stop: Callable[[], bool], variants: Sequence[Variant] | None = None) -> bool:
    """Have this machine's kind of hardware in the study, and every network of a grid timed on it; False where it was stopped.

    The first process of a kind measures, others of that kind wait until it has, those of other kinds go on. What a search proposes
    is timed in its own trial. `variants`: those that can be studied; unless given, those that have not all failed untimed.
    """
    kind = join(run.study, run.config.device)
    if run.config.search:
        return not should_stop()
    # variants of one network share what is measured
    networks = list({v.network_key: v for v in (_promising(run) if variants is None else variants)}.values())
    session = LatencySession(
        config=run.config,
        networks=networks,
        reference=network_of(run.space.reference()),
        folder=run.folder,
        budget_s=run.options.latency_budget_s,
        console=run.console,
        should_stop=should_stop,
    )
    planned = variants is not None  # a machine that joins takes what its kind has, however short the time for that was
    asked = {"retry_failed": run.options.retry_failed, "whole": planned and run.options.latency_budget_s is None}
    for batch_size in run.config.latency_batches:
        if missing_latency(run.study, networks, run.config.device, batch_size, **asked):
            with exclusive(run.study, f"latency {kind.digest}"):  # whoever waited here finds the latency measured
                if missing_latency(run.study, networks, run.config.device, batch_size, **asked):
                    session.measure(run.study, batch_size)
        if should_stop():
            return False
    if run.config.device == "cuda":
        torch.cuda.empty_cache()  # the workers need what this process no longer holds
    return True


def _promising(run: StudyRun) -> list[Variant]:
    states: dict[str, set[str]] = {}
    for record in records(run.study, run.config.limits):
        states.setdefault(record.network_key, set()).add(record.state)
    timed = latencies(run.study)
    return [v for v in run.variants if v.network_key in timed or states.get(v.key) != {FAILED}]


def time_proposed(
    study: optuna.Study, spec: AnySpec, config: StudyConfig, folder: StudyFolder, should_stop: Callable[[], bool]
) -> None:
    """Time one proposed network beside the reference of the search, where this kind of hardware has not.

    One at a time on this machine: each proposal is one worker's, so others of this kind time others meanwhile.
    """
    reference, key, kind = reference_spec(config), spec.network_key, join(study, config.device)
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
        known = kind_of(study, kind.digest).latency.get(key, {})
        for batch_size in config.latency_batches:
            place = place_of(config.device, batch_size)
            timings = None if place in known else session.time(kind, batch_size, f"-{key}")
            if timings is not None:
                measured = {"latency": timings.entries[key], "noise": timings.widest_floor(), "sessions": timings.sessions}
                store_timing(study, kind.digest, {key: {name: {place: value} for name, value in measured.items()}})
