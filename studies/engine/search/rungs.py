"""Rungs of a study: what each training has come to is kept with its trial, where the workers of every machine see it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from ablation.design.protocol import LOSS, Protocol
from ablation.record.trial import METRICS, STOPPED, Metric
from ablation.search.rungs import (
    RankCorrelation,
    Runner,
    projected_end,
    rank_correlation,
    rung_epochs,
    rung_losses,
    spread_at,
    stop_reason,
)  # fmt: skip
from studies.engine.config import StudyConfig
from studies.engine.search.settings import REFERENCE, search_of
from studies.store.history import ERROR, JobKey, job_key, read_histories
from studies.store.mirror import with_values
from studies.store.queue import GO_ON
from studies.store.source import ROLE

RUNGS = "rungs"  # user attribute of a trial: ratios by place, params, losses by rung


def rungs_of(config: StudyConfig, study: optuna.Study) -> tuple[int, ...]:
    """The epochs after which a training of this study may be stopped.

    A training function of the user's own has the epochs that it reports of the reference: none before the reference has ended.
    """
    if not config.search:
        return ()
    if not config.own:
        return rung_epochs(config.training_protocol().epochs, search_of(config).rungs)
    ended = (t for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) if t.user_attrs.get(ROLE) == REFERENCE)
    reported = next((sorted(own.losses) for trial in ended if (own := runner(trial.user_attrs))), [])
    return tuple(reported[number - 1] for number in rung_epochs(len(reported), search_of(config).rungs)) if reported else ()


class RungWatch:
    """What is asked between two epochs of one training: it keeps the losses at rungs with the trial, and says whether to stop.

    A variant that is trained by another loss, or for another number of epochs, has losses at rungs that compare with nobody's: it
    takes no part. What was planned with a role, as the reference, and what goes on after a stop are never stopped.
    """

    def __init__(
        self, trial: optuna.Trial, config: StudyConfig, latency: Mapping[str, Any], params: float, protocol: Protocol | None = None
    ) -> None:
        study, places = config.training_protocol(), [f"{config.device}/{batch}" for batch in config.latency_batches]
        self.trial, self.rungs, self.reason, self.metric = trial, rungs_of(config, trial.study), "", config.leading
        self.compares = protocol is None or all(getattr(protocol, name) == getattr(study, name) for name in (*LOSS, "epochs"))
        self.own = bool(config.own)
        self.exempt = ROLE in trial.user_attrs or GO_ON in trial.user_attrs
        ratios = {place: latency[place]["ratio"] for place in places if latency.get(place, {}).get("ratio") is not None}
        self.about = {"ratios": ratios if len(ratios) == len(places) else {}, "params": params}
        self.about["latency_ms"] = latency.get(places[0], {}).get("median_ms")
        self.losses: dict[int, float] = {}

    def __call__(self, epochs: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the training is stopped after these epochs."""
        self.note(epochs)
        epoch = max(self._values(epochs), default=0)
        if self.exempt or not self.compares or epoch not in self.rungs:
            return False
        known = runners(self.trial.study.get_trials(deepcopy=False))
        own = known.pop(job_key(self.trial))  # type: ignore[arg-type]
        self.reason = stop_reason(own, known.values(), epoch, spread_at(known.values(), epoch), self.metric)
        return bool(self.reason)

    def _values(self, epochs: Sequence[Mapping[str, Any]]) -> dict[int, float]:
        """Epoch -> value, the lower the better; of one that is not finite infinity."""
        if not self.own:
            return {number: float(epoch["val_loss"]) for number, epoch in enumerate(epochs, 1)}
        return {e["epoch"]: math.inf if e["value"] is None else self.metric.lowest_best(e["value"]) for e in epochs}

    def note(self, epochs: Sequence[Mapping[str, Any]]) -> None:
        """Keep the losses at the rungs that were reached."""
        values = self._values(epochs) if self.compares else {}
        rungs = (self.rungs or tuple(values)) if self.own else self.rungs  # all that the reference reports, of which some are rungs
        losses = rung_losses(values, rungs)
        if losses != self.losses:
            self.losses = losses
            self.trial.set_user_attr(RUNGS, {**self.about, "losses": {str(rung): loss for rung, loss in losses.items()}})


def runner(attrs: Mapping[str, Any]) -> Runner | None:
    """What a trial's user attributes say of its rungs; None before the first."""
    stored = attrs.get(RUNGS)
    if stored is None:
        return None
    losses = {int(epoch): float(loss) for epoch, loss in stored["losses"].items()}
    return Runner(
        network=attrs["network_key"], ratios=stored["ratios"], params=stored["params"], losses=losses, label=attrs.get("label", "")
    )


def runners(trials: Iterable[FrozenTrial]) -> dict[JobKey, Runner]:
    """Every training that has reached a rung, whatever became of it later but an error; of several attempts the farthest."""
    best: dict[JobKey, Runner] = {}
    for trial in trials:
        key, own = job_key(trial), runner(trial.user_attrs)
        if key is None or own is None or trial.user_attrs.get("reason_kind") == ERROR:
            continue
        if key not in best or len(own.losses) >= len(best[key].losses):
            best[key] = own
    return best


def no_longer_stopped(study: optuna.Study) -> list[JobKey]:
    """Stopped trainings that would not be stopped by what is known now, e.g. as the spread between seeds is known better.

    `studies.store.queue.go_on` lets them go on.
    """
    known, trials = runners(study.get_trials(deepcopy=False)), read_histories(study).jobs
    jobs = []
    for key, own in known.items():
        if key not in trials or trials[key].pruned != STOPPED or trials[key].states:
            continue
        others, rung = [other for name, other in known.items() if name != key], max(own.losses)
        if not stop_reason(own, others, rung, spread_at(others, rung)):
            jobs.append(key)
    return jobs


def rank_correlations(study: optuna.Study, config: StudyConfig) -> list[RankCorrelation]:
    """For each rung, how well the order of the networks there foretells their order at the end; complete ones, means over seeds."""
    ended = [(own, config.leading.lowest_best(trial.values[0])) for trial, own in _ended(study.get_trials(deepcopy=False))]
    result = []
    for rung in rungs_of(config, study):
        pairs: dict[str, list[tuple[float, float]]] = {}
        for own, end in ended:
            if rung in own.losses:
                pairs.setdefault(own.network, []).append((own.losses[rung], end))
        means = [(fmean(a for a, _ in each), fmean(b for _, b in each)) for each in pairs.values()]
        result.append(rank_correlation([a for a, _ in means], [b for _, b in means], rung))
    return result


def _ended(trials: Iterable[FrozenTrial]) -> list[tuple[FrozenTrial, Runner]]:
    complete = (trial for trial in trials if trial.state == TrialState.COMPLETE)
    return [(trial, own) for trial in complete if (own := runner(trial.user_attrs)) is not None]


def with_projections(trials: Sequence[FrozenTrial], metric: Metric = METRICS["loss"]) -> list[FrozenTrial]:
    """The trials, those that a rung stopped as if they had ended, by the median gain of the others; for samplers alone."""
    ends = [(own.losses, metric.lowest_best(trial.values[0])) for trial, own in _ended(trials)]
    shown = []
    for trial in trials:
        own = runner(trial.user_attrs) if trial.user_attrs.get("reason_kind") == STOPPED else None
        if own is not None and own.losses:
            rung = max(own.losses)
            end = metric.lowest_best(projected_end(own.losses[rung], rung, ends))
            trial = with_values(trial, (end, trial.user_attrs[RUNGS]["latency_ms"], own.params))
        shown.append(trial)
    return shown
