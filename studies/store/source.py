"""Where a worker's next trial comes from: the queue that a plan filled, or a sampler that proposes it.

Both kinds go the same way once they are claimed: a lease names their worker, a lost or failed one is enqueued again by `reconcile`
within the same limits, and no job is complete twice.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from ablation.record.trial import INFEASIBLE
from studies.store.db.locks import LockLost
from studies.store.history import LIMITS, LOST, REFUSED, UNFINISHED, Histories, Limits, job_key, read_histories
from studies.store.lease import Worker, lost_because, read_beats
from studies.store.levels import Level
from studies.store.queue import Job, fail, failed_state, failure, job_attrs
from studies.store.storage import (
    attached,
    begin_trial,
    check_lockable,
    database_of,
    exclusive,
    get_system_attrs_of,
    num_trials,
    other_trials,
    set_system_attr,
    shared_clock,
)  # fmt: skip

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
    that is complete, running or waiting are refused: failed with a reason that counts as no attempt.
    """

    limits: Limits = LIMITS

    def next_job(self, study: optuna.Study, worker: Worker, on_refusal: OnRefusal = ignore_refusal) -> optuna.Trial | None:
        """The next waiting trial; None when none waits."""
        while (trial := _claimed(study, worker)) is not None:
            if not worker.holds(trial.number):
                continue  # failed by another before its lease was written
            reason = _refusal(study, trial, self.limits)
            if not reason:
                return trial
            fail(study, trial, REFUSED, reason)
            worker.release()
            on_refusal(trial.number, REFUSED, reason)
        return None

    def remaining(self, study: optuna.Study) -> int:
        """Trials that wait or run."""
        return num_trials(study, UNFINISHED)


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
        check_lockable(study)
        while True:
            waiting = Enumerated(limits=self.limits).next_job(study, worker, on_refusal)
            if waiting is not None:
                return waiting
            self.prepare()
            trial, kind, reason = None, "", ""
            try:
                with exclusive(study):  # no two workers propose the same job, or the last one twice
                    histories = read_histories(study, self.limits)
                    if not self._num_left(study, histories):
                        return None
                    if any(known.state == TrialState.WAITING for known in histories.trials):
                        continue
                    trial, kind, reason = self._propose(study, worker, histories)
            except LockLost as error:
                if trial is None:
                    continue
                if not kind:  # another may have proposed the same
                    kind, reason = REFUSED, str(error)
                    fail(study, trial, kind, reason)
                    worker.release()
            if not kind:
                return trial
            on_refusal(trial.number, kind, reason)

    def remaining(self, study: optuna.Study) -> int:
        """Trials that wait or run, and those that may still be proposed."""
        return Enumerated().remaining(study) + self._num_left(study, read_histories(study, self.limits, brief=True))

    def _num_left(self, study: optuna.Study, histories: Histories) -> int:
        until = proposes_until(study)
        if until is not None and time.time() >= until:
            return 0
        last = histories.trials[-MOST_REFUSED:]
        if len(last) == MOST_REFUSED and all(trial.user_attrs.get("reason_kind") == REFUSED for trial in last):
            return 0  # the sampler is at its end
        if self._is_used_up(histories):
            return 0
        own = [h for h in histories.jobs.values() if h.last is None or ROLE not in h.last.user_attrs]
        trained = [h for h in own if h.pruned != INFEASIBLE]
        planned = sum(ROLE in trial.user_attrs for trial in histories.trials)
        return max(0, min(self.num_jobs - len(trained), self.max_proposals - len(histories.trials) + planned))

    def _is_used_up(self, histories: Histories) -> bool:
        """Whether every choice of the space was proposed, and none is to be tried again."""
        if not all(isinstance(of, CategoricalDistribution) for of in self.distributions.values()):
            return False
        size = math.prod(len(of.choices) for of in self.distributions.values() if isinstance(of, CategoricalDistribution))
        if len(histories.trials) < size:
            return False
        inside = [trial.params for trial in histories.trials if self.distributions.keys() <= trial.params.keys()]
        tried = {tuple(repr(params[name]) for name in self.distributions) for params in inside}
        return len(tried) >= size and not any(job.is_due(self.limits) for job in histories.jobs.values())

    def _propose(self, study: optuna.Study, worker: Worker, histories: Histories) -> tuple[optuna.Trial, str, str]:
        """A new trial of this worker; with the kind and reason of its refusal where it is not to be run."""
        from studies.store.mirror import ask_on_mirror  # half of what a worker loads, and few ask a sampler

        asked = ask_on_mirror(
            self.sampler(len(histories.trials)), self.seen(histories.trials), study.directions, self.distributions
        )
        proposal = self.describe(asked.params)
        kind, reason = INFEASIBLE if proposal.reason else "", proposal.reason
        known = histories.jobs.get(proposal.job.key) if proposal.job else None
        if known is not None and known.last is not None and not kind and not known.is_due(self.limits):
            kind, reason = REFUSED, f"duplicate of trial {known.last.number}"
        attrs = job_attrs(proposal.job) if proposal.job is not None else {}
        template = create_trial(
            state=failed_state(kind) if kind else TrialState.RUNNING,
            params=dict(asked.params),
            distributions=dict(self.distributions),
            constraints=dict(proposal.constraints),
            user_attrs=attrs | (failure(kind, reason, certain=kind == INFEASIBLE) if kind else {}),
            system_attrs=dict(asked.system_attrs),
        )
        return begin_trial(study, template) if kind else worker.begin(template), kind, reason


def propose_until(study: optuna.Study, time_s: float | None) -> None:
    """Propose nothing more after a time, in seconds since 1970 by this machine, on any machine; None takes that back.

    It is kept by the clock that the machines share. What runs goes on.
    """
    set_system_attr(study, UNTIL, time_s if time_s is None else time_s + _ahead_s(study))


def proposes_until(study: optuna.Study) -> float | None:
    """The time by this machine after which nothing more is proposed; None where the number of trials alone decides."""
    until: float | None = get_system_attrs_of(study, UNTIL).get(UNTIL)
    return until if until is None else until - _ahead_s(study)


def _ahead_s(study: optuna.Study) -> float:
    return shared_clock(study).now - time.time()


def _claimed(study: optuna.Study, worker: Worker) -> optuna.Trial | None:
    """The first waiting trial, held by the worker unless another failed it first; None when none waits."""
    if database_of(study) is not None:
        return worker.claim()
    if not num_trials(study, (TrialState.WAITING,)):
        return None
    trial = study.ask()
    with suppress(UpdateFinishedTrialError):
        worker.take(trial)
    return trial


def _refusal(study: optuna.Study, trial: optuna.Trial, limits: Limits) -> str:
    """Why a trial that has just been claimed is not to be run; empty when it is.

    A plan that lost its lock leaves a second trial of a job. The first that has not ended is the one to be run: it may yet become
    complete until it is failed, also where it only begins at this moment or its worker is silent.
    """
    key = job_key(trial)
    if key is None:
        return "without a key: no plan enqueued it"
    for other in other_trials(trial, {"network_key": key[0], "seed": key[1]}):
        if other.state == TrialState.COMPLETE:
            return f"duplicate of trial {other.number}, which is complete"
        if other.number > trial.number:
            continue
        if other.state == TrialState.WAITING:
            return f"duplicate of trial {other.number}, which waits"
        clock = shared_clock(study)
        reason = lost_because(other, read_beats(study), limits.stale_after_s, clock)
        if not reason or not fail(study, attached(study, other.number), LOST, reason):
            return f"duplicate of trial {other.number}, which is running"
    return ""
