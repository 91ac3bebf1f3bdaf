"""What a search knows of each network that it proposed, from its study alone, and which of them are confirmed. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from ablation.design.variant import network_of
from ablation.record.search import REFUSED, STOPPED, Candidate
from ablation.record.search_confirmed import Timing
from ablation.record.trial import COMPLETE, FAILED, Metric, Record
from ablation.stats import pareto_front
from studies.engine.config import StudyConfig
from studies.store.history import INFEASIBLE
from studies.store.history import LOST as LOST_WORKER
from studies.store.latency import comparable_latencies
from studies.store.records import records

STATES = {"stopped": STOPPED, "infeasible": REFUSED}  # of records, where a search has a name of its own


def candidates(study: optuna.Study, config: StudyConfig, facts: Mapping[str, Any]) -> tuple[Candidate, tuple[Candidate, ...]]:
    """The reference, and every proposal in the order of their numbers."""
    key, trials = facts["reference"]["key"], {trial.number: trial for trial in study.get_trials(deepcopy=False)}
    start = min((t.datetime_start.timestamp() for t in trials.values() if t.datetime_start), default=0.0)
    stored, metric, timed = records(study, config.limits), config.leading, comparable_latencies(study)
    stored = [replace(record, latency=timed.get(network_of(record.network_key), record.latency)) for record in stored]
    known = Candidate(label=facts["reference"]["label"], key=key, spec=facts["reference"]["spec"])
    ours = [record for record in stored if trials[record.number].user_attrs.get("role") == "reference"]
    first = _candidate(ours[0], trials[ours[0].number], start, metric) if ours else known
    reference = replace(first, number=None, label=known.label, key=key)
    predicted = facts.get("predicted", {})
    proposed = [_candidate(r, trials[r.number], start, metric, predicted.get(r.network_key, {})) for r in stored if r not in ours]
    return reference, _with_front(sorted(proposed, key=lambda candidate: candidate.number or 0), metric)


def _candidate(
    record: Record, trial: FrozenTrial, start: float, metric: Metric, predicted: Mapping[str, float] | None = None
) -> Candidate:
    refused = trial.user_attrs.get("reason_kind") == INFEASIBLE
    epochs = record.training.get("epochs", ())
    losses = tuple(_finite(epoch.get("val_loss", epoch.get("value"))) for epoch in epochs)
    state = REFUSED if refused else STATES.get(record.state, record.state)
    known = [loss for loss in losses if loss is not None]
    best = _finite(record.get(metric.path)) if record.state == COMPLETE else min(known, key=metric.lowest_best, default=None)
    return Candidate(
        number=record.number,
        label=record.label,
        key=record.network_key,
        spec=record.spec,
        factors=record.factors,
        state=state,
        reason=record.reason,
        rung=epochs[-1].get("epoch", len(losses)) if state == STOPPED else None,
        **sizes(record.costs),
        latency=_latency(record, predicted or {}),
        losses=losses,
        best_loss=best if state in (COMPLETE, STOPPED) else None,
        ended_s=trial.datetime_complete.timestamp() - start if trial.datetime_complete else None,
    )


def _latency(record: Record, predicted: Mapping[str, float]) -> dict[str, Timing]:
    """Measured, else predicted alone."""
    timed = {place: timing(entry, predicted.get(place)) for place, entry in record.latency.items()}
    return {**{place: Timing(predicted_ms=ms) for place, ms in predicted.items()}, **timed}


def sizes(costs: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as trained, as deployed where modules fold, and multiply-accumulates, from a record's costs.

    >>> sizes({"params": 9, "training_params": 10, "macs": 5})
    {'params': 10, 'deployed_params': 9, 'macs': 5}
    """
    deployed, trained = costs.get("params"), costs.get("training_params") or costs.get("params")
    return {"params": trained, "deployed_params": None if trained == deployed else deployed, "macs": costs.get("macs")}


def timing(entry: Mapping[str, Any], predicted_ms: float | None = None) -> Timing:
    """A stored latency as a search shows it."""
    sittings = entry.get("sittings")
    ends = {"low": entry.get("ratio_low"), "high": entry.get("ratio_high")} if sittings else {}
    return Timing(predicted_ms=predicted_ms, ms=entry.get("median_ms"), ratio=entry.get("ratio"), sittings=sittings, **ends)


def point(candidate: Candidate, metric: Metric) -> tuple[float, ...] | None:
    """Loss, or what else is trained for with its sign such that lower is better, latency ratio at each place, and parameters.

    None where one is missing.
    """
    ratios = [each.ratio for each in candidate.latency.values()]
    loss = None if candidate.best_loss is None else metric.lowest_best(candidate.best_loss)
    values = (loss, *ratios, candidate.params)
    return None if not ratios else tuple(map(float, values)) if None not in values else None  # type: ignore[arg-type]


def _with_front(proposals: Sequence[Candidate], metric: Metric) -> tuple[Candidate, ...]:
    """With whether each was on the front of loss, first latency and parameters when it ended."""
    seen: list[tuple[float, ...]] = []
    entered: set[int | None] = set()
    for each in sorted(proposals, key=lambda candidate: candidate.ended_s or math.inf):
        values = point(each, metric) if each.state == COMPLETE else None
        if values is not None:
            seen.append((values[0], values[1], values[-1]))
            if pareto_front(seen)[-1]:
                entered.add(each.number)
    return tuple(replace(each, entered_front=each.number in entered) for each in proposals)


def finalists(reference: Candidate, proposals: Sequence[Candidate], num: int, metric: Metric) -> list[Candidate]:
    """The best of the front of complete proposals: those that are better than the reference on most axes, then best in loss.

    Axes: the loss, the latency at each batch size, parameters. Until the reference has a loss the others count alone.
    """
    ended = [c for c in proposals if c.state == COMPLETE and c.key != reference.key]
    complete = {c.number: values for c in ended if (values := point(c, metric))}
    front = [number for number, keep in zip(complete, pareto_front(list(complete.values())), strict=True) if keep]
    loss = math.inf if reference.best_loss is None else metric.lowest_best(reference.best_loss)
    base = (loss, *(1.0 for _ in reference.latency), reference.params or math.inf)

    def rank(number: int | None) -> tuple[int, float]:
        values = complete[number]
        return -sum(value < limit for value, limit in zip(values, base, strict=False)), values[0]

    best = sorted(front, key=rank)[:num]
    return [next(c for c in proposals if c.number == number) for number in best]


def spent_s(study: optuna.Study) -> float:
    """Seconds in which at least one trial of the study ran, on any machine; those whose worker was lost are left out."""
    trials = [t for t in study.get_trials(deepcopy=False) if t.user_attrs.get("reason_kind") != LOST_WORKER]
    spans = sorted(
        (t.datetime_start.timestamp(), t.datetime_complete.timestamp())
        for t in trials if t.datetime_start and t.datetime_complete and t.state != TrialState.WAITING
    )  # fmt: skip
    total, end = 0.0, -math.inf
    for first, last in spans:
        total += max(0.0, last - max(first, end))
        end = max(end, last)
    return total


def num_failed(proposals: Sequence[Candidate]) -> int:
    """Proposals that could not be built or trained."""
    return sum(candidate.state == FAILED for candidate in proposals)


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
