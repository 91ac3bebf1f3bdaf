"""Where a worker's next trial comes from: the queue that a plan filled, or a sampler that proposes it.

Both kinds go the same way once they are claimed: a lease names their worker, a lost or failed one is enqueued again by `reconcile`
within the same limits, and no job is complete twice.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.samplers import BaseSampler, PartialFixedSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from ablation.record.trial import INFEASIBLE
from studies.store.history import LIMITS, REFUSED, UNFINISHED, Histories, Limits, job_key, read_histories
from studies.store.lease import Worker, lost_because, read_beats
from studies.store.levels import Level
from studies.store.mirror import ask_on_mirror
from studies.store.queue import Job, fail, job_attrs
from studies.store.storage import exclusive, get_system_attrs, set_attrs, set_constraints, set_system_attr, set_trial_system_attrs

OnRefusal = Callable[[int, str, str], None]  # (number of a trial that is not to be run, kind of the reason, reason)
# attribute of a job that was planned beside those that a sampler proposes, and does not count as one of them
ROLE = "role"
MOST_REFUSED = 200  # duplicates one after another, after which nothing more is proposed
UNTIL = "propose_until"  # hidden study attribute


def ignore_refusal(number: int, kind: str, reason: str) -> None:
    """Do nothing."""


class TrialSource(Protocol):
    """Gives workers their trials, each to one worker alone. Every worker makes its own; what they share is the study."""

    def next_job(self, study: optuna.Study, worker: Worker, on_refusal: OnRefusal = ignore_refusal) -> optuna.Trial | None:
        """A claimed trial with this worker's lease and the attributes of its job; None when there is none at the moment."""

    def remaining(self, study: optuna.Study) -> int:
        """Trials that wait or run, and those that may still be proposed."""


@dataclass(frozen=True, kw_only=True)
class Enumerated:
    """The trials that plans have enqueued.

    A trial without a key (the queue ran dry between looking and asking, or someone enqueued by hand) and a second trial of a job
    that is complete or running are refused: failed with a reason that counts as no attempt.
    """

    limits: Limits = LIMITS

    def next_job(self, study: optuna.Study, worker: Worker, on_refusal: OnRefusal = ignore_refusal) -> optuna.Trial | None:
        """The next waiting trial; None when none waits."""
        while study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            trial = study.ask()
            reason = _refusal(study, trial, self.limits)
            if reason:
                fail(study, trial, REFUSED, reason)
                on_refusal(trial.number, REFUSED, reason)
            elif _taken(worker, trial):
                return trial
        return None

    def remaining(self, study: optuna.Study) -> int:
        """Trials that wait or run."""
        return len(study.get_trials(deepcopy=False, states=UNFINISHED))


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What a sampler's parameters come to, known before anything is timed or trained."""

    job: Job | None  # None where no network can be made of them
    constraints: Mapping[str, float] = field(default_factory=dict)  # positive where a limit is broken, and by how much
    reason: str = ""  # why it is never trained; empty where it is


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """Trials that an Optuna sampler proposes until the study holds `num_jobs` different jobs that may be trained.

    `describe` turns parameters into a job. One that breaks a limit is recorded as pruned with its reason and its constraints, from
    which samplers learn; a job that the study holds already is refused. `sampler` gets the number of trials so far, to seed with,
    and is asked on a copy of the study (`studies.store.mirror`), which holds what `seen` makes of the study's trials. Jobs that
    were planned with a ROLE come first and are not among the `num_jobs`.
    """

    distributions: Mapping[str, BaseDistribution]
    describe: Callable[[Mapping[str, Level]], Proposal]
    sampler: Callable[[int], BaseSampler]
    num_jobs: int
    max_proposals: int  # trials of all kinds after which nothing more is proposed
    limits: Limits = LIMITS
    seen: Callable[[Sequence[FrozenTrial]], Sequence[FrozenTrial]] = tuple
    prepare: Callable[[], object] = tuple  # what takes long the first time, so that no other worker has to wait for it

    def next_job(self, study: optuna.Study, worker: Worker, on_refusal: OnRefusal = ignore_refusal) -> optuna.Trial | None:
        """A waiting trial, which was planned or is to be tried again, else a new proposal; None when enough were proposed."""
        while True:
            waiting = Enumerated(limits=self.limits).next_job(study, worker, on_refusal)
            if waiting is not None:
                return waiting
            self.prepare()
            with exclusive(study):  # no two workers propose the same job, or the last one twice
                histories = read_histories(study, self.limits)
                if not self._num_left(study, histories):
                    return None
                if any(trial.state == TrialState.WAITING for trial in histories.trials):
                    continue
                trial, kind, reason = self._propose(study, worker, histories)
            if kind:
                on_refusal(trial.number, kind, reason)
            elif worker.holds(trial.number):
                return trial

    def remaining(self, study: optuna.Study) -> int:
        """Trials that wait or run, and those that may still be proposed."""
        return Enumerated().remaining(study) + self._num_left(study, read_histories(study, self.limits))

    def _num_left(self, study: optuna.Study, histories: Histories) -> int:
        until = proposes_until(study)
        if until is not None and time.time() >= until:
            return 0
        last = histories.trials[-MOST_REFUSED:]
        if len(last) == MOST_REFUSED and all(trial.user_attrs.get("reason_kind") == REFUSED for trial in last):
            return 0  # whatever is proposed is there already: the space is used up, or the sampler at its end
        own = [h for h in histories.jobs.values() if h.last is None or ROLE not in h.last.user_attrs]
        trained = [h for h in own if h.pruned != INFEASIBLE]
        planned = sum(ROLE in trial.user_attrs for trial in histories.trials)
        return max(0, min(self.num_jobs - len(trained), self.max_proposals - len(histories.trials) + planned))

    def _propose(self, study: optuna.Study, worker: Worker, histories: Histories) -> tuple[optuna.Trial, str, str]:
        """A new trial of this worker; with the kind and reason of its refusal where it is not to be run."""
        trial = self._ask(study, histories)
        if not _taken(worker, trial):
            return trial, "", ""
        proposal = self.describe(trial.params)
        set_constraints(trial, proposal.constraints)
        kind, reason = INFEASIBLE if proposal.reason else "", proposal.reason
        known = histories.jobs.get(proposal.job.key) if proposal.job else None
        if known is not None and known.last is not None and not kind and not known.is_due(self.limits):
            kind, reason = REFUSED, f"duplicate of trial {known.last.number}"
        if proposal.job is not None:
            set_attrs(trial, job_attrs(proposal.job))
        if kind:
            fail(study, trial, kind, reason, certain=kind == INFEASIBLE)
            worker.release()
        return trial, kind, reason

    def _ask(self, study: optuna.Study, histories: Histories) -> optuna.Trial:
        """A new trial with the levels that the sampler proposes from what it is shown."""
        asked = ask_on_mirror(
            self.sampler(len(histories.trials)), self.seen(histories.trials), study.directions, self.distributions
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # else with each proposal
            study.sampler = PartialFixedSampler(dict(asked.params), RandomSampler(seed=0))
        trial = study.ask(dict(self.distributions))
        set_trial_system_attrs(trial, asked.system_attrs)
        return trial


def propose_until(study: optuna.Study, time_s: float | None) -> None:
    """Propose nothing more after a time, in seconds since 1970, on any machine; None takes that back. What runs goes on."""
    set_system_attr(study, UNTIL, time_s)


def proposes_until(study: optuna.Study) -> float | None:
    """The time after which nothing more is proposed; None where the number of trials alone decides."""
    until: float | None = get_system_attrs(study).get(UNTIL)
    return until


def _taken(worker: Worker, trial: optuna.Trial) -> bool:
    """Whether the worker got its lease on the trial, before another failed it."""
    try:
        worker.take(trial)
    except UpdateFinishedTrialError:
        return False
    return True


def _refusal(study: optuna.Study, trial: optuna.Trial, limits: Limits) -> str:
    """Why a waiting trial is not to be run; empty when it is."""
    key = job_key(trial)
    if key is None:
        return "without a key: no plan enqueued it"
    beats = read_beats(study)
    for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.RUNNING)):
        if other.number == trial.number or job_key(other) != key:
            continue
        if other.state == TrialState.COMPLETE:
            return f"duplicate of trial {other.number}, which is complete"
        if other.number < trial.number and not lost_because(other, beats, limits.stale_after_s):
            return f"duplicate of trial {other.number}, which is running"
    return ""
