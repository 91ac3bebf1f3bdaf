"""What a study's trials say about each job (network and seed): done, waiting, running, lost, failed how often."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import optuna
from optuna.trial import FrozenTrial, TrialState

from ablation.record.trial import COMPLETE, FAILED, RUNNING, STALE, WAITING
from studies.store.lease import Lease, lost_because, read_beats

JobKey = tuple[str, int]  # network key, seed
ERROR, LOST, INTERRUPTED, REFUSED = "error", "lost", "interrupted", "refused"  # user attribute `reason_kind` of a failed trial
MAX_ATTEMPTS, MAX_LOST = 3, 5


@dataclass(kw_only=True)
class History:
    """All trials of one job, oldest first. Attempts are counted since the last time that the user asked to try again."""

    complete: FrozenTrial | None = None
    waiting: list[FrozenTrial] = field(default_factory=list)
    live: list[FrozenTrial] = field(default_factory=list)
    stale: list[FrozenTrial] = field(default_factory=list)
    errors: int = 0
    lost: int = 0
    certain: bool = False  # failed in a way that is sure to come back
    last: FrozenTrial | None = None  # the latest that is not a refused duplicate

    def add(self, trial: FrozenTrial, stale: bool) -> None:
        """Count one trial."""
        kind = trial.user_attrs.get("reason_kind")
        if trial.user_attrs.get("retry_failed"):
            self.errors, self.lost, self.certain = 0, 0, False
        if trial.state == TrialState.COMPLETE:
            self.complete = self.complete or trial
        elif trial.state == TrialState.WAITING:
            self.waiting.append(trial)
        elif trial.state == TrialState.RUNNING:
            (self.stale if stale else self.live).append(trial)
        self.errors += trial.state == TrialState.FAIL and kind in (ERROR, None)
        self.lost += trial.state == TrialState.FAIL and kind == LOST
        self.certain |= trial.state == TrialState.FAIL and bool(trial.user_attrs.get("certain"))
        self.last = self.last if kind == REFUSED and self.last is not None else trial

    def exhausted(self, max_attempts: int, max_lost: int) -> bool:
        """Whether it failed too often to try again, or for certain."""
        return self.certain or self.errors >= max_attempts or self.lost >= max_lost

    def state(self, max_attempts: int, max_lost: int) -> str:
        """One of the states of ablation.record.trial; a job that the next plan will enqueue again is waiting."""
        if self.complete:
            return COMPLETE
        if self.live:
            return RUNNING
        if self.stale:
            return STALE
        if self.waiting:
            return WAITING
        return FAILED if self.exhausted(max_attempts, max_lost) else WAITING


@dataclass(frozen=True, kw_only=True)
class Histories:
    """A study at one moment."""

    jobs: Mapping[JobKey, History]
    stale: Mapping[int, str]  # number of a RUNNING trial without a live worker -> why it counts as lost
    trials: tuple[FrozenTrial, ...]
    beats: Mapping[str, Lease]


def job_key(trial: FrozenTrial | optuna.Trial) -> JobKey | None:
    """Which job a trial belongs to; None for one that no plan enqueued."""
    attrs = trial.user_attrs
    return (str(attrs["network_key"]), int(attrs["seed"])) if "network_key" in attrs and "seed" in attrs else None


def read_histories(study: optuna.Study, stale_after_s: float) -> Histories:
    """Every job that was ever enqueued in a study."""
    beats = read_beats(study)  # before the trials: a worker seen RUNNING has then had its chance to be seen alive
    trials = tuple(study.get_trials(deepcopy=False))
    running = (trial for trial in trials if trial.state == TrialState.RUNNING)
    stale = {trial.number: why for trial in running if (why := lost_because(trial, beats, stale_after_s))}
    return Histories(jobs=_by_job(trials, stale), stale=stale, trials=trials, beats=beats)


def _by_job(trials: Iterable[FrozenTrial], stale: Mapping[int, str]) -> dict[JobKey, History]:
    jobs: dict[JobKey, History] = {}
    for trial in trials:
        key = job_key(trial)
        if key is not None:
            jobs.setdefault(key, History()).add(trial, trial.number in stale)
    return jobs
