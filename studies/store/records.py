"""Records in and out of a study's trials: what the objective stores, what tables and plots read. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from ablation.record.trial import FAILED, METRICS, STALE, WAITING, Metric, Record
from studies.store.history import INTERRUPTED, MAX_ATTEMPTS, MAX_LOST, History, JobKey, read_histories
from studies.store.lease import STALE_AFTER_S
from studies.store.queue import newer_attrs
from studies.store.storage import set_attrs, storage_errors

DESCRIBING = ("label", "spec", "factors", "intents", "protocol", "data", "costs")  # fields that a job's attributes may already say


def store_record(trial: optuna.Trial, record: Record, *, feasible: bool | None = None) -> None:
    """Keep a record in its trial, whole and as the numbers that the dashboard can sort by. Call it before the trial is told.

    The numbers are user attributes named as in METRICS, and `latency_ms cpu/1` and so on. `feasible` becomes a user attribute too.
    """
    attrs: dict[str, Any] = {name: value for name, metric in METRICS.items() if (value := _number(record, metric)) is not None}
    for place, entry in record.latency.items():
        if entry.get("median_ms") is not None:
            attrs[f"latency_ms {place}"] = float(entry["median_ms"])
    if feasible is not None:
        attrs["feasible"] = feasible
    set_attrs(trial, {"record": record.to_dict(), **attrs})


def records(
    study: optuna.Study, *, max_attempts: int = MAX_ATTEMPTS, max_lost: int = MAX_LOST, stale_after_s: float = STALE_AFTER_S
) -> list[Record]:
    """One record for each job of the study, in the order of planning: the complete trial's, else the latest trial's."""
    with storage_errors(study):
        found = read_histories(study, stale_after_s)
        newer = newer_attrs(study)
    return [_record(key, h, newer.get(key, {}), found.stale, max_attempts, max_lost) for key, h in found.jobs.items()]


def _record(
    key: JobKey, history: History, newer: Mapping[str, Any], stale: Mapping[int, str], max_attempts: int, max_lost: int
) -> Record:
    trial = history.complete or history.last
    assert trial is not None, key
    stored = trial.user_attrs.get("record")
    base = Record.from_dict(stored) if stored is not None else Record(network_key=key[0], seed=key[1], label=key[0])
    described = {name: trial.user_attrs[name] for name in DESCRIBING if stored is None and name in trial.user_attrs} | {
        name: newer[name] for name in ("label", "spec", "factors", "intents") if name in newer
    }
    if stored is None and "factors" not in described:
        described["factors"] = {name: str(level) for name, level in trial.user_attrs.get("levels", {}).items()}
    if "intents" in described:
        described["intents"] = tuple(described["intents"])
    state = history.state(max_attempts, max_lost)
    return replace(base, **described, state=state, reason=_reason(trial, state, stale), number=trial.number)


def _reason(trial: FrozenTrial, state: str, stale: Mapping[int, str]) -> str:
    """Why a job is not complete; a job that waits for another try says why the last one ended."""
    if state == STALE:
        return stale[trial.number]
    said = str(trial.user_attrs.get("reason", ""))
    if state == WAITING and trial.user_attrs.get("reason_kind") == INTERRUPTED:
        return said or "interrupted"
    return said if state in (FAILED, WAITING) else ""


def _number(record: Record, metric: Metric) -> float | None:
    """A metric in its stored unit."""
    value = record.get(metric.path)
    return None if value is None else float(value)
