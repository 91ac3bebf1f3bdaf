"""What a study's trials say about each job (network and seed): done, waiting, running, lost, failed how often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import optuna
from optuna.trial import FrozenTrial, TrialState

from ablation.record.trial import COMPLETE, FAILED, INFEASIBLE, RUNNING, STALE, STOPPED, WAITING
from studies.store.db.database import Clock
from studies.store.lease import STALE_AFTER_S, Lease, lost_because, read_beats
from studies.store.storage import brief_trials, shared_clock

JobKey = tuple[str, int]  # network key, seed
# user attribute `reason_kind` of a trial that ended without values, beside STOPPED and INFEASIBLE
ERROR, LOST, INTERRUPTED, REFUSED = "error", "lost", "interrupted", "refused"
PRUNED = (STOPPED, INFEASIBLE)  # kinds that are no failures: Optuna's state of these trials is PRUNED
UNFINISHED = (TrialState.WAITING, TrialState.RUNNING)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How often a job is tried, and when a silent worker of another machine counts as lost."""

    max_attempts: int = 3  # failures of the job itself
    max_lost: int = 5  # workers lost over it
    stale_after_s: float = STALE_AFTER_S


LIMITS = Limits()


@dataclass(kw_only=True)
class History:
    """All trials of one job, oldest first. Attempts are counted since the last time that the user asked to try again."""

    states: set[str] = field(default_factory=set)  # of the trials that did not end in vain
    complete: FrozenTrial | None = None
    last: FrozenTrial | None = None  # the latest that is not a refused duplicate
    errors: int = 0
    lost: int = 0
    certain: bool = False  # failed in a way that is sure to come back
    pruned: str = ""  # STOPPED or INFEASIBLE where that is how the latest of them ended

    def add(self, trial: FrozenTrial, is_stale: bool) -> None:
        """Count one trial."""
        kind = trial.user_attrs.get("reason_kind")
        if trial.user_attrs.get("retry_failed"):
            self.errors, self.lost, self.certain = 0, 0, False
        if kind != REFUSED:
            self.pruned = str(kind) if kind in PRUNED else ""
        if trial.state == TrialState.COMPLETE:
            self.complete = self.complete or trial
        if trial.state.is_finished() and trial.state != TrialState.COMPLETE:
            self.errors += kind in (ERROR, None)
            self.lost += kind == LOST
            self.certain |= bool(trial.user_attrs.get("certain"))
        else:
            self.states.add(STALE if is_stale else trial.state.name.lower())  # a record's states are named after Optuna's
        if kind != REFUSED or self.last is None:
            self.last = trial

    def exhausted(self, limits: Limits) -> bool:
        """Whether it failed too often to try again, or for certain."""
        return self.certain or self.errors >= limits.max_attempts or self.lost >= limits.max_lost

    def is_due(self, limits: Limits) -> bool:
        """Whether it needs another trial: neither complete nor on its way nor out of attempts."""
        return not self.states and not self.exhausted(limits)

    def state(self, limits: Limits) -> str:
        """One of the states of ablation.record.trial; a job that is due counts as waiting."""
        rest = self.pruned or (FAILED if self.exhausted(limits) else WAITING)
        return next((state for state in (COMPLETE, RUNNING, STALE, WAITING) if state in self.states), rest)


@dataclass(frozen=True, kw_only=True)
class Histories:
    """A study at one moment."""

    jobs: Mapping[JobKey, History]
    stale: Mapping[int, str]  # number of a RUNNING trial without a live worker -> why it counts as lost
    trials: tuple[FrozenTrial, ...]
    beats: Mapping[str, Lease]
    clock: Clock


def job_key(trial: FrozenTrial | optuna.Trial) -> JobKey | None:
    """Which job a trial belongs to; None for one that no plan enqueued."""
    attrs = trial.user_attrs
    return (str(attrs["network_key"]), int(attrs["seed"])) if "network_key" in attrs and "seed" in attrs else None


def read_histories(study: optuna.Study, limits: Limits = LIMITS, *, brief: bool = False) -> Histories:
    """Every job that was ever enqueued in a study. `brief`: only states count, other attributes of trials may be missing."""
    clock = shared_clock(study)
    beats = read_beats(study)  # before the trials: a worker seen RUNNING has then had its chance to be seen alive
    trials = tuple(brief_trials(study) if brief else study.get_trials(deepcopy=False))
    running = (trial for trial in trials if trial.state == TrialState.RUNNING)
    stale = {trial.number: reason for trial in running if (reason := lost_because(trial, beats, limits.stale_after_s, clock))}
    jobs: dict[JobKey, History] = {}
    for trial in trials:
        key = job_key(trial)
        if key is not None:
            jobs.setdefault(key, History()).add(trial, trial.number in stale)
    return Histories(jobs=jobs, stale=stale, trials=trials, beats=beats, clock=clock)
