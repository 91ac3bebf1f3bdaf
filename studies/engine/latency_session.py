"""Latency of all networks of a study, timed side by side before any training, so that nothing else runs and ratios are paired."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from rich.console import Console
from torch import nn

from ablation.design.compose import build
from ablation.design.variant import Variant
from ablation.machine.text import first_line
from ablation.measure.latency.compare import LatencyComparison, ModelLatency, compare_latency
from blocks.errors import InputError
from studies.engine.config import StudyConfig, StudyFolder
from studies.engine.reporting import LATENCY, NOISE, SESSIONS
from studies.work.progress import LatencyBar

# weights of the networks that are loaded and timed together
GROUP_BYTES = 1_000_000_000
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


def stored_latency(study: optuna.Study, key: str) -> dict[str, Any]:
    """'device/batch' -> numbers of one network; empty where no session timed it."""
    found: dict[str, Any] = study.user_attrs.get(LATENCY, {}).get(key, {})
    return found


def missing_latency(
    study: optuna.Study, networks: Sequence[Variant], device: str, batch_size: int, *, retry_failed: bool = False
) -> list[Variant]:
    """Networks that no session of several sittings has timed at this place; with `retry_failed` also those that failed.

    Sessions of earlier versions had one sitting, whose intervals say nothing of what loading the networks anew changes.
    """

    def is_missing(entry: Mapping[str, Any] | None) -> bool:
        if entry is None or entry.get("median_ms") is None:
            return entry is None or retry_failed
        return "sittings" not in entry

    return [n for n in networks if is_missing(stored_latency(study, n.network_key).get(f"{device}/{batch_size}"))]


class Stopped(Exception):  # noqa: N818 -- a request, not an error
    """The user asked to stop while networks were being timed."""


@dataclass(frozen=True, kw_only=True)
class LatencySession:
    """One run of the interleaved protocol over all networks of a study at one batch size."""

    config: StudyConfig
    networks: Sequence[Variant]  # each network once
    reference: str
    folder: StudyFolder

    def measure(
        self,
        study: optuna.Study,
        batch_size: int,
        *,
        budget_s: float | None,
        console: Console,
        should_stop: Callable[[], bool],
    ) -> None:
        """Time every network against the reference and store medians, ratios, intervals, noise floor and raw samples.

        Networks that do not fit into memory together are timed in groups, each with the reference in it.
        """
        place = f"{self.config.device}/{batch_size}"
        models, failures = self._models()
        groups = self._groups(models)
        entries: dict[str, Any] = {key: ModelLatency(reason=reason).to_dict() for key, reason in failures.items()}
        floors, sessions = [], []
        with LatencyBar(f"latency {place}", console) as bar:

            def on_progress(done: int, total: int) -> None:
                bar.update(done, total)
                if should_stop():
                    raise Stopped

            for number, group in enumerate(groups):
                bar.begin(number, len(groups))
                seconds = (budget_s or SECONDS_PER_NETWORK * len(self.networks)) * len(group) / len(self.networks)
                try:
                    comparison = compare_latency(
                        {key: models[key] for key in group},
                        batch_size=batch_size,
                        device=self.config.device,
                        reference=group[0],
                        image_size=self.config.data["image_size"],
                        precision=self.config.protocol["precision"],
                        channels_last=self.config.protocol["memory_format"] == "channels_last",
                        num_threads=self.config.latency_threads if self.config.device == "cpu" else None,
                        budget_s=seconds,
                        overrun=budget_s is None,
                        progress=on_progress,
                    )
                except Stopped:
                    return
                entries = {**latency_entries(comparison), **entries}
                if comparison.noise_floor is not None:
                    floors.append(floor_of(comparison))
                sessions.append({"provenance": dict(comparison.provenance), "drift": comparison.drift.to_dict()})
                comparison.save(self.folder.latency / f"{place.replace('/', '-')}-{number}.npz")
        self._store(study, place, entries, floors, sessions)

    def _store(self, study: optuna.Study, place: str, entries: dict[str, Any], floors: list[Any], sessions: list[Any]) -> None:
        known = study.user_attrs.get(LATENCY, {})
        study.set_user_attr(LATENCY, {**known, **{key: {**known.get(key, {}), place: value} for key, value in entries.items()}})
        if floors:
            # of several groups the widest; one without an interval says nothing
            widest = max(floors, key=lambda floor: -1.0 if floor["low"] is None else floor["high"] - floor["low"])
            study.set_user_attr(NOISE, {**study.user_attrs.get(NOISE, {}), place: widest})
        study.set_user_attr(SESSIONS, {**study.user_attrs.get(SESSIONS, {}), place: sessions})

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
