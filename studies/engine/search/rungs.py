"""Rungs of a study: what each training has come to is kept with its trial, where the workers of every machine see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from ablation.design.protocol import LOSS, Protocol
from ablation.record.trial import STOPPED
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
from studies.engine.search.settings import search_of
from studies.store.history import ERROR, JobKey, job_key, read_histories
from studies.store.mirror import with_values
from studies.store.queue import GO_ON
from studies.store.source import ROLE

RUNGS = "rungs"  # user attribute of a trial: ratios by place, params, losses by rung


def rungs_of(config: StudyConfig) -> tuple[int, ...]:
    """The epochs after which a training of this study may be stopped."""
    return rung_epochs(config.training_protocol().epochs, search_of(config).rungs) if config.search else ()


class RungWatch:
    """What is asked between two epochs of one training: it keeps the losses at rungs with the trial, and says whether to stop.

    A variant that is trained by another loss, or for another number of epochs, has losses at rungs that compare with nobody's: it
    takes no part. What was planned with a role, as the reference, and what goes on after a stop are never stopped.
    """

    def __init__(self, trial: optuna.Trial, config: StudyConfig, protocol: Protocol, latency: Mapping[str, Any], params: float):
        study, places = config.training_protocol(), [f"{config.device}/{batch}" for batch in config.latency_batches]
        self.trial, self.rungs, self.reason = trial, rungs_of(config), ""
        self.compares = all(getattr(protocol, name) == getattr(study, name) for name in (*LOSS, "epochs"))
        self.exempt = ROLE in trial.user_attrs or GO_ON in trial.user_attrs
        ratios = {place: latency[place]["ratio"] for place in places if latency.get(place, {}).get("ratio") is not None}
        self.about = {"ratios": ratios if len(ratios) == len(places) else {}, "params": params}
        self.about["latency_ms"] = latency.get(places[0], {}).get("median_ms")
        self.losses: dict[int, float] = {}

    def __call__(self, epochs: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the training is stopped after these epochs."""
        self.note(epochs)
        if self.exempt or not self.compares or len(epochs) not in self.rungs:
            return False
        known = runners(self.trial.study.get_trials(deepcopy=False))
        own = known.pop(job_key(self.trial))  # type: ignore[arg-type]
        self.reason = stop_reason(own, known.values(), len(epochs), spread_at(known.values(), len(epochs)))
        return bool(self.reason)

    def note(self, epochs: Sequence[Mapping[str, Any]]) -> None:
        """Keep the losses at the rungs that were reached."""
        losses = rung_losses([float(epoch["val_loss"]) for epoch in epochs], self.rungs) if self.compares else {}
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
    ended = [(own, trial.values[0]) for trial, own in _ended(study.get_trials(deepcopy=False))]
    result = []
    for rung in rungs_of(config):
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


def with_projections(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials, those that a rung stopped as if they had ended, by the median gain of the others; for samplers alone."""
    ends = [(own.losses, trial.values[0]) for trial, own in _ended(trials)]
    shown = []
    for trial in trials:
        own = runner(trial.user_attrs) if trial.user_attrs.get("reason_kind") == STOPPED else None
        if own is not None and own.losses:
            rung = max(own.losses)
            end = projected_end(own.losses[rung], rung, ends)
            trial = with_values(trial, (end, trial.user_attrs[RUNGS]["latency_ms"], own.params))
        shown.append(trial)
    return shown
