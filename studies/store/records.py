"""Records in and out of a study's trials: what the objective stores, what tables and plots read. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from ablation.record.trial import COMPLETE, METRICS, RUNNING, STALE, WAITING, Record
from studies.store.history import INTERRUPTED, LIMITS, History, JobKey, Limits, read_histories
from studies.store.queue import RESERVED, newer_attrs
from studies.store.storage import set_attrs, storage_errors

DESCRIBING = ("label", "spec", "factors", "intents", "protocol", "data", "costs")  # fields that a job's attributes may already say


def store_record(trial: optuna.Trial, record: Record, *, feasible: bool | None = None) -> None:
    """Keep a record in its trial, whole and as the numbers that the dashboard can sort by. Call it before the trial is told.

    The numbers are user attributes named as in METRICS, and `latency_ms cpu/1` and so on. `feasible` becomes a user attribute too.
    """
    numbers = {name: record.get(metric.path) for name, metric in METRICS.items()}
    attrs: dict[str, Any] = {name: float(value) for name, value in numbers.items() if value is not None}
    own = record.quality.get("own", {})
    attrs |= {name: float(value) for name, value in own.items() if name not in attrs and name not in (*RESERVED, *DESCRIBING)}
    for place, entry in record.latency.items():
        if entry.get("median_ms") is not None:
            attrs[f"latency_ms {place}"] = float(entry["median_ms"])
    if feasible is not None:
        attrs["feasible"] = feasible
    set_attrs(trial, {"record": record.to_dict(), **attrs})


def records(study: optuna.Study, limits: Limits = LIMITS) -> list[Record]:
    """One record for each job of the study, in the order of planning: the complete trial's, else the latest trial's."""
    with storage_errors(study):
        now = read_histories(study, limits)
        newer = newer_attrs(study)
    return [_record(key, history, newer.get(key, {}), now.stale, limits) for key, history in now.jobs.items()]


def _record(key: JobKey, history: History, newer: Mapping[str, Any], stale: Mapping[int, str], limits: Limits) -> Record:
    trial = history.complete or history.last
    assert trial is not None, key
    attrs, stored = trial.user_attrs, trial.user_attrs.get("record")
    known: dict[str, Any] = {}
    if stored is None:
        known = {"factors": {name: str(level) for name, level in attrs.get("levels", {}).items()}}
        known |= {name: attrs[name] for name in DESCRIBING if name in attrs}
    known |= {name: newer[name] for name in ("label", "spec", "factors", "intents") if name in newer}
    if "intents" in known:
        known["intents"] = tuple(known["intents"])
    base = Record.from_dict(stored) if stored is not None else Record(network_key=key[0], seed=key[1], label=key[0])
    state = history.state(limits)
    return replace(base, **known, state=state, reason=_reason(trial, state, stale), number=trial.number)


def _reason(trial: FrozenTrial, state: str, stale: Mapping[int, str]) -> str:
    """Why a job is not complete; a job that waits for another try says why the last one ended."""
    if state == STALE:
        return stale[trial.number]
    reason = str(trial.user_attrs.get("reason", ""))
    if state == WAITING and trial.user_attrs.get("reason_kind") == INTERRUPTED:
        return reason or "interrupted"
    return "" if state in (COMPLETE, RUNNING) else reason
