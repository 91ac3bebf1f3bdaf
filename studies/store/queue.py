"""Planning a study: enqueue each missing (network, seed) once; fail those whose worker is gone, try again within bounds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState, create_trial

from ablation.record.trial import COMPLETE, FAILED, INFEASIBLE, RUNNING, STALE, STOPPED, WAITING
from studies.store.db.locks import LockLost
from studies.store.history import ERROR, LIMITS, LOST, PRUNED, Histories, History, JobKey, Limits, read_histories
from studies.store.lease import is_alive, remove_beat, this_machine
from studies.store.levels import Level, declarable, extend, known_distributions
from studies.store.storage import (
    attached,
    batched,
    exclusive,
    finish,
    get_system_attrs_of,
    proxy_of,
    set_system_attr,
    storage_errors,
    whole,
)

# user attribute of a trial that a rung has stopped before and that goes on from there: no rung stops it again
GO_ON = "go_on"
_RESERVED = "network_key seed levels planned lease reason reason_kind traceback record retry_failed certain"
RESERVED = frozenset([*_RESERVED.split(), GO_ON])
STATES = (COMPLETE, FAILED, WAITING, RUNNING, STALE, STOPPED, INFEASIBLE)
T = TypeVar("T")
NEWER = "job:"  # hidden study attribute: what a later plan says about a job whose trial can no longer be changed


@dataclass(frozen=True)
class Job:
    """One network to be trained with one seed."""

    network_key: str
    seed: int
    params: Mapping[str, Level] = field(default_factory=dict)  # factor -> level, shown in the dashboard
    attrs: Mapping[str, Any] = field(default_factory=dict)  # more user attributes, plain JSON, e.g. label, spec, factors, intents

    @property
    def key(self) -> JobKey:
        """What makes two jobs the same."""
        return self.network_key, self.seed


@dataclass(frozen=True, kw_only=True)
class StudyState:
    """Jobs of a study by state: complete + failed + waiting + running + stale + stopped + infeasible == planned."""

    planned: int
    complete: int
    failed: int  # out of attempts
    waiting: int  # in the queue, or to be put there by the next plan
    running: int
    stale: int  # running according to the storage, but without a live worker
    stopped: int = 0  # at a rung
    infeasible: int = 0  # outside of a limit, never trained
    failed_trials: int  # attempts that failed, whatever became of the job


@dataclass(frozen=True, kw_only=True)
class PlanReport(StudyState):
    """The planned jobs by state after planning, and what planning did."""

    enqueued: int  # of them now, including those enqueued again
    recovered: int  # trials found without a live worker and failed now
    others: int  # jobs of the study that this plan does not name


def plan(
    study: optuna.Study,
    jobs: Iterable[Job],
    *,
    choices: Mapping[str, Sequence[Level]] | None = None,
    limits: Limits = LIMITS,
    retry_failed: bool = False,
    hopeless: Mapping[str, str] | None = None,
) -> PlanReport:
    """Make the study hold every job; what is complete, waiting or running stays as it is. The same call again does nothing.

    `choices` names all levels that a factor may ever have (every registered piece), for the dashboard. `retry_failed` gives the
    jobs that are out of attempts new ones. `hopeless`: network -> why it can't be trained; its jobs are recorded as
    failed, untried. Two planners at once do not enqueue twice.
    """
    wanted = _by_key(jobs)

    def enqueue() -> PlanReport:
        recovered = _fail_lost(study, read_histories(study, limits))
        before = read_histories(study, limits)
        distributions = extend(known_distributions(before.trials), (job.params for job in wanted.values()), choices or {})
        enqueued = 0
        for key, job in wanted.items():
            history = before.jobs.get(key, History())
            exhausted = history.exhausted(limits)
            if history.states or (exhausted and not retry_failed):
                continue
            reason = (hopeless or {}).get(job.network_key, "")
            marks = {"retry_failed": True} if exhausted else {}
            _enqueue(study, job, distributions, {**marks, **(failure(ERROR, reason, certain=True) if reason else {})})
            enqueued += not reason
        _note_changes(study, wanted, before)
        # Other jobs of the study whose worker was lost come back too.
        _enqueue_again(study, {key: history for key, history in before.jobs.items() if key not in wanted}, limits)
        after = read_histories(study, limits).jobs
        planned = {key: history for key, history in after.items() if key in wanted}
        return PlanReport(**_counts(planned, limits), enqueued=enqueued, recovered=recovered, others=len(after) - len(planned))

    return _planning(study, enqueue)


def reconcile(study: optuna.Study, limits: Limits = LIMITS) -> int:
    """Fail trials without a live worker; enqueue again what is neither complete nor on its way nor out of attempts. How many.

    Through a proxy it does nothing: that is left to processes that reach the database.
    """
    if proxy_of(study):
        return 0
    with storage_errors(study):
        now = read_histories(study, limits, brief=True)
        if not now.stale and not any(history.is_due(limits) for history in now.jobs.values()):
            return 0  # the usual case needs no lock

    def enqueue() -> int:
        _fail_lost(study, read_histories(study, limits, brief=True))
        return _enqueue_again(study, read_histories(study, limits, brief=True).jobs, limits)

    return _planning(study, enqueue)


def go_on(study: optuna.Study, jobs: Iterable[JobKey] | None = None, limits: Limits = LIMITS) -> int:
    """Enqueue jobs again that a rung has stopped (all unless named): they go on from their checkpoints to the end. How many."""

    def enqueue() -> int:
        stopped = {key: h for key, h in read_histories(study, limits).jobs.items() if h.state(limits) == STOPPED}
        wanted = list(stopped) if jobs is None else [key for key in jobs if key in stopped]
        for key in wanted:
            last = stopped[key].last
            assert last is not None
            planned = sorted({*last.user_attrs["planned"], GO_ON})
            attrs = {**{name: last.user_attrs.get(name, True) for name in planned}, "planned": planned, "retry_failed": True}
            _add_trial(study, last.params, last.distributions, attrs, last.constraints)
        return len(wanted)

    return _planning(study, enqueue)


def trial_state(study: optuna.Study, limits: Limits = LIMITS) -> StudyState:
    """How far a study is. Changes nothing."""
    with storage_errors(study):
        return StudyState(**_counts(read_histories(study, limits, brief=True).jobs, limits))


def fail(study: optuna.Study, trial: optuna.Trial, kind: str, reason: str, traceback: str = "", *, certain: bool = False) -> bool:
    """Record a trial as failed, with its reason in one line. False when another had already finished it.

    `certain`: it would fail again, so its job is not tried again. To Optuna a trial that a rung stopped or that breaks a limit is
    pruned, not failed.
    """
    attrs = failure(kind, reason, certain=certain) | ({"traceback": traceback} if traceback else {})
    return finish(trial, failed_state(kind), None, attrs)


def failed_state(kind: str) -> TrialState:
    """Optuna's state of a trial that ended without values."""
    return TrialState.PRUNED if kind in PRUNED else TrialState.FAIL


def newer_attrs(study: optuna.Study) -> dict[JobKey, dict[str, Any]]:
    """What later plans said about jobs whose trials were already there: attributes by job."""
    stored = get_system_attrs_of(study, NEWER).values()
    return {(value["network_key"], value["seed"]): value["attrs"] for value in stored}


def job_attrs(job: Job) -> dict[str, Any]:
    """The user attributes of a job's trials, which a later trial of it gets too."""
    attrs = {**job.attrs, "levels": dict(job.params), "network_key": job.network_key, "seed": job.seed}
    return {**attrs, "planned": sorted(attrs)}


def _planning(study: optuna.Study, enqueue: Callable[[], T]) -> T:
    """Enqueue under the planner's lock; once more, what is then missing, where the lock was lost with its connection."""
    with storage_errors(study):
        while True:
            with suppress(LockLost), exclusive(study):
                return enqueue()


def failure(kind: str, reason: str, *, certain: bool) -> dict[str, Any]:
    """The user attributes of a trial that ended without values."""
    return {"reason_kind": kind, "reason": " ".join(reason.split()), **({"certain": True} if certain else {})}


def _by_key(jobs: Iterable[Job]) -> dict[JobKey, Job]:
    wanted: dict[JobKey, Job] = {}
    for job in jobs:
        assert job.key not in wanted, f"planned twice: network {job.network_key} with seed {job.seed}"
        assert not RESERVED & job.attrs.keys(), f"reserved user attributes: {sorted(RESERVED & job.attrs.keys())}"
        wanted[job.key] = job
    return wanted


def _fail_lost(study: optuna.Study, now: Histories) -> int:
    failed = sum(fail(study, attached(study, number), LOST, reason) for number, reason in now.stale.items())
    for name, lease in now.beats.items():
        if lease.machine == this_machine() and not is_alive(lease, now.beats, 0, now.clock):
            remove_beat(study, name)
    return failed


def _enqueue(study: optuna.Study, job: Job, distributions: Mapping[str, BaseDistribution], marks: Mapping[str, Any]) -> None:
    params = declarable(job.params, distributions)
    undeclared = {f"level: {name}": level for name, level in job.params.items() if name not in params}
    attrs = job_attrs(replace(job, attrs={**job.attrs, **undeclared}))
    _add_trial(study, params, {name: distributions[name] for name in params}, {**attrs, **marks})


def _enqueue_again(study: optuna.Study, jobs: Mapping[JobKey, History], limits: Limits) -> int:
    again = [history.last for history in jobs.values() if history.is_due(limits) and history.last is not None]
    for brief in again:
        trial = whole(study, brief)
        attrs = {name: trial.user_attrs[name] for name in (*trial.user_attrs["planned"], "planned")}
        _add_trial(study, trial.params, trial.distributions, attrs, trial.constraints)
    return len(again)


def _add_trial(
    study: optuna.Study,
    params: Mapping[str, Level],
    distributions: Mapping[str, BaseDistribution],
    attrs: Mapping[str, Any],
    constraints: Mapping[str, float] | None = None,
) -> None:
    """The same as `Study.enqueue_trial`, with the parameters already in it: shown while it waits, and one write instead of many."""
    study.add_trial(
        create_trial(
            state=TrialState.FAIL if "reason" in attrs else TrialState.WAITING,
            params=dict(params),
            distributions=dict(distributions),
            constraints=dict(constraints or {}),
            system_attrs={"fixed_params": dict(params)},
            user_attrs=dict(attrs),
        )
    )


def _note_changes(study: optuna.Study, wanted: Mapping[JobKey, Job], before: Histories) -> None:
    """A grown space may say more about a network that is already trained, e.g. a further assignment of factors that makes it."""
    known = newer_attrs(study)
    with batched(study):
        for key, history in before.jobs.items():
            if key not in wanted or history.last is None:
                continue
            attrs = json.loads(json.dumps(wanted[key].attrs))  # as it comes back from the storage
            stored = known.get(key) or {name: value for name, value in history.last.user_attrs.items() if name in attrs}
            if attrs != stored:
                value = {"network_key": key[0], "seed": key[1], "attrs": attrs}
                set_system_attr(study, f"{NEWER}{key[0]}:{key[1]}", value)


def _counts(jobs: Mapping[JobKey, History], limits: Limits) -> dict[str, int]:
    states = Counter(history.state(limits) for history in jobs.values())
    failed_trials = sum(history.errors + history.lost for history in jobs.values())
    return {"planned": len(jobs), "failed_trials": failed_trials} | {state: states[state] for state in STATES}
