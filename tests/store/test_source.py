"""The contract of a source of trials, for the queue and for samplers: each job to one worker, once, whatever dies meanwhile."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages._rdb.models import TrialModel
from optuna.trial import TrialState

from ablation.record.trial import FAILED, INFEASIBLE
from studies.store.history import REFUSED, job_key
from studies.store.lease import Lease, Worker, read_beats
from studies.store.levels import Level
from studies.store.queue import Job, StudyState, reconcile, trial_state
from studies.store.records import records
from studies.store.retry import TrialFailed, TrialInfeasible
from studies.store.source import Enumerated, Proposal, Sampled, TrialSource
from studies.store.storage import database_of, finish
from studies.work.loop import Event, run_worker
from studies.work.processes import run_workers
from tests.storages import REPOSITORY, VALUES, a_study, values

NUM_JOBS = 6
TOO_WIDE = 13
DISTRIBUTIONS = {"conv": CategoricalDistribution(["a", "b", "nowhere"]), "width": IntDistribution(1, 15)}
SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "random": lambda seed: RandomSampler(seed),
    "tpe": lambda seed: TPESampler(seed=seed, n_startup_trials=4, multivariate=True),
}


def describe(params: Mapping[str, Level]) -> Proposal:
    """A network for each pair of levels: one level makes none, and wide ones break a limit."""
    if params["conv"] == "nowhere":
        return Proposal(job=None, constraints={"exists": 1.0}, reason="conv nowhere cannot exist")
    width = int(params["width"])
    reason = f"width {width} is over {TOO_WIDE}" if width > TOO_WIDE else ""
    name = f"{params['conv']}{width}"
    return Proposal(job=Job(name, 0, params, {"label": name}), constraints={"width": width - TOO_WIDE}, reason=reason)


def sampled(name: str, **changes: int) -> Sampled:
    source = Sampled(distributions=DISTRIBUTIONS, describe=describe, sampler=SAMPLERS[name], num_jobs=NUM_JOBS, max_proposals=300)
    return replace(source, **changes)  # type: ignore[arg-type]


def opened(where: str | Path, kind: str) -> tuple[optuna.Study, TrialSource]:
    """A study, and a source that has NUM_JOBS jobs for it."""
    if kind != "enumerated":
        return a_study(where), sampled(kind)
    jobs = [Job(f"a{width}", 0, {"width": width}, {"label": f"a{width}"}) for width in range(NUM_JOBS)]
    return a_study(where, jobs), Enumerated()


def assert_each_complete_once(study: optuna.Study, num_jobs: int = NUM_JOBS) -> None:
    complete = Counter(job_key(trial) for trial in study.trials if trial.state == TrialState.COMPLETE)
    assert len(complete) == num_jobs
    assert set(complete.values()) == {1}
    assert not study.get_trials(states=(TrialState.WAITING, TrialState.RUNNING))


@pytest.fixture(params=["enumerated", *SAMPLERS])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_job_is_trained_once_and_then_there_is_none(where: str, kind: str) -> None:
    study, source = opened(where, kind)
    assert source.remaining(study) == NUM_JOBS
    assert len(run_worker(study, values, source=source).complete) == NUM_JOBS
    assert_each_complete_once(study)
    assert source.remaining(study) == 0
    study, source = opened(where, kind)  # as another process, or the same command again
    assert run_worker(study, values, source=source).complete == []
    with Worker(study) as worker:
        assert source.next_job(study, worker) is None


def test_a_claimed_job_is_leased_described_and_nobody_elses(where: str, kind: str) -> None:
    study, source = opened(where, kind)
    with Worker(study) as one, Worker(study) as two:
        trials = [source.next_job(study, worker) for worker in (one, two)]
        assert None not in trials
        stored = [study.trials[trial.number] for trial in trials if trial]
        assert [trial.user_attrs["lease"]["worker"] for trial in stored] == [one.name, two.name]
        assert len({job_key(trial) for trial in stored}) == 2
        assert all(trial.state == TrialState.RUNNING and trial.user_attrs["label"] and trial.params for trial in stored)
        assert source.remaining(study) == NUM_JOBS
    assert trial_state(study).stale == 2  # the workers ended without a word
    assert reconcile(study) == 2
    assert len(run_worker(study, values, source=source).complete) == NUM_JOBS
    assert_each_complete_once(study)


def test_lost_and_failed_jobs_are_tried_again_within_bounds_with_the_same_parameters(where: str, kind: str) -> None:
    study, source = opened(where, kind)

    def objective(trial: optuna.Trial) -> tuple[float, float, float]:
        if job_key(trial) == first and not passing:
            passing.append(trial.number)
            raise TrialFailed("out of memory")
        if job_key(trial) == second:
            raise TrialFailed("loss is not a number", certain=True)
        return values(trial)

    passing: list[int] = []
    first, second = [job_key(trial) for trial in tried(study, source, 2)]
    run_worker(study, objective, source=source)
    again = [trial for trial in study.trials if job_key(trial) == first and trial.user_attrs.get("reason_kind") != REFUSED]
    assert [trial.state for trial in again] == [TrialState.FAIL, TrialState.FAIL, TrialState.COMPLETE]
    assert len({(str(trial.params), str(trial.constraints)) for trial in again}) == 1
    assert_each_complete_once(study, NUM_JOBS - 1)
    failed = [record for record in records(study) if record.state == FAILED and record.reason == "loss is not a number"]
    assert len(failed) == 1


def tried(study: optuna.Study, source: TrialSource, count: int) -> list[optuna.Trial]:
    """Jobs that a worker claims and leaves."""
    with Worker(study) as worker:
        trials = [source.next_job(study, worker) for _ in range(count)]
    return [trial for trial in trials if trial is not None]


# A worker process; arguments: storage, kind of source, folder with a file for each training that came to its end.
WORKER = """
import os, sys, time
from pathlib import Path
from studies.store.lease import lease_lost
from studies.work.loop import TrialInterrupted, run_worker
from studies.work.stopping import StopRequest
from tests.store.test_source import opened_again
where, kind, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])

def objective(trial):
    final = folder / trial.user_attrs["network_key"]
    if not final.exists():  # else it was killed between its last checkpoint and storing its end
        for _ in range(5):
            time.sleep(0.02)
            if stop() or lease_lost(trial):
                raise TrialInterrupted("stopped")
        os.close(os.open(final, os.O_CREAT | os.O_EXCL))
    return 0.5, 2.0, 100.0

with StopRequest() as stop:
    study, source = opened_again(where, kind)
    run_worker(study, objective, source=source, should_stop=stop)
"""


def opened_again(where: str, kind: str) -> tuple[optuna.Study, TrialSource]:
    """As a worker process opens a study: it plans nothing."""
    return a_study(where), sampled(kind) if kind in SAMPLERS else Enumerated()


def test_two_processes_one_killed(where: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They share the jobs, none is trained twice, and the parent replaces the one that was killed."""
    monkeypatch.chdir(REPOSITORY)
    (tmp_path / "done").mkdir()
    study, source = opened(where, kind)
    killed: list[int] = []

    def on_tick(state: StudyState) -> None:
        if state.complete and not killed:
            killed.extend(beat.pid for beat in list(read_beats(study).values())[:1])
            os.kill(killed[0], signal.SIGKILL)

    command = [sys.executable, "-c", WORKER, where, kind, str(tmp_path / "done")]
    report = run_workers(command, 2, study=study, source=source, on_tick=on_tick, reconcile_s=0.1)
    assert report.exit_codes.count(-signal.SIGKILL) == len(killed) == 1
    assert_each_complete_once(study)
    assert {job_key(trial) for trial in study.trials if trial.state == TrialState.COMPLETE} == {
        (path.name, 0) for path in (tmp_path / "done").iterdir()
    }


# --- samplers


@pytest.mark.parametrize("name", SAMPLERS)
def test_what_breaks_a_limit_is_recorded_and_never_trained(tmp_path: Path, name: str) -> None:
    study, trained = opened(tmp_path / "study.log", name)[0], list[str]()
    events: list[Event] = []

    def objective(trial: optuna.Trial) -> tuple[float, float, float]:
        trained.append(trial.user_attrs["network_key"])
        return values(trial)

    report = run_worker(study, objective, source=sampled(name, num_jobs=12), on_event=events.append)
    wide = [trial for trial in study.trials if trial.params["width"] > TOO_WIDE and trial.params["conv"] != "nowhere"]
    nowhere = [trial for trial in study.trials if trial.params["conv"] == "nowhere"]
    assert wide and nowhere
    assert {trial.state for trial in [*wide, *nowhere]} == {TrialState.PRUNED}
    assert report.infeasible == sorted(trial.number for trial in [*wide, *nowhere])
    assert all(trial.constraints["width"] > 0 for trial in wide)
    assert all(trial.constraints == {"exists": 1.0} for trial in nowhere)
    assert all(trial.constraints["width"] <= 0 for trial in study.trials if trial.state == TrialState.COMPLETE)
    assert not set(trained) & {str(trial.user_attrs["network_key"]) for trial in wide}
    reasons = {record.label: record.reason for record in records(study) if record.state == INFEASIBLE}
    assert reasons == {trial.user_attrs["label"]: f"width {trial.params['width']} is over 13" for trial in wide}
    assert {event.reason for event in events if event.number == nowhere[0].number} == {"conv nowhere cannot exist"}
    assert len(trained) == len(set(trained)) == 12


@pytest.mark.parametrize("make", [NSGAIISampler, GPSampler])
def test_other_samplers_of_optuna_propose_too(tmp_path: Path, make: Callable[..., BaseSampler]) -> None:
    study, source = a_study(tmp_path / "study.log"), replace(sampled("random"), sampler=lambda seed: make(seed=seed))
    assert len(run_worker(study, values, source=source).complete) == NUM_JOBS
    assert_each_complete_once(study)


def test_a_limit_that_only_a_measurement_shows(tmp_path: Path) -> None:
    study, source = opened(tmp_path / "study.log", "random")

    def objective(trial: optuna.Trial) -> tuple[float, float, float]:
        if trial.params["width"] > 9:
            trial.set_constraint("latency", 1.0)
            raise TrialInfeasible("latency 12 ms is over 9 ms")
        return values(trial)

    report = run_worker(study, objective, source=source)
    assert len(report.complete) == NUM_JOBS
    slow = [study.trials[number] for number in report.infeasible if study.trials[number].params["width"] in range(10, 14)]
    assert {trial.user_attrs["reason"] for trial in slow if trial.params["conv"] != "nowhere"} == {"latency 12 ms is over 9 ms"}
    assert {trial.state for trial in slow} == {TrialState.PRUNED}


def test_a_space_that_is_used_up_ends(tmp_path: Path) -> None:
    """There are 26 networks; proposals are bounded, and repeated ones are refused with their reason."""
    study = opened(tmp_path / "study.log", "random")[0]
    source = sampled("random", num_jobs=100, max_proposals=120)
    report = run_worker(study, values, source=source)
    assert len(study.trials) == 120
    assert len(report.complete) <= 26
    assert_each_complete_once(study, len(report.complete))
    first = study.trials[report.refused[0]]
    assert first.user_attrs["reason"].startswith("duplicate of trial ")
    assert source.remaining(study) == 0


def test_a_sampler_learns_from_what_was_refused(tmp_path: Path) -> None:
    """TPE proposes less and less of a level that breaks a limit; a random sampler goes on with it."""

    def describe_odd(params: Mapping[str, Level]) -> Proposal:
        over = int(params["width"]) - 3
        job = Job(f"{params['width']}-{params['x']}", 0, params)
        return Proposal(job=job, constraints={"width": over}, reason="too wide" if over > 0 else "")

    distributions = {"width": IntDistribution(1, 15), "x": IntDistribution(0, 10**6)}
    shares = {}
    for name, make in SAMPLERS.items():
        study = a_study(tmp_path / f"{name}.log")
        source = Sampled(distributions=distributions, describe=describe_odd, sampler=make, num_jobs=25, max_proposals=80)
        report = run_worker(study, lambda trial: (trial.params["x"] / 1e6, 2.0, 100.0), source=source)
        shares[name] = len(report.infeasible) / len(study.trials)
    assert shares["tpe"] < 0.6 < 0.7 < shares["random"]


def test_proposals_are_the_same_again(tmp_path: Path) -> None:
    """Seeded by the number of trials so far, whoever asks: one process, or two one after the other."""
    params = []
    for name, parts in (("one", [NUM_JOBS]), ("two", [3, NUM_JOBS])):
        for num_jobs in parts:
            study = a_study(tmp_path / name)
            run_worker(study, values, source=sampled("tpe", num_jobs=num_jobs))
        params.append([trial.params for trial in study.trials])
    assert params[0] == params[1]


def test_of_two_trials_of_one_job_that_wait_the_first_alone_is_run(where: str) -> None:
    # as two plans leave them, of which one lost its lock with its connection
    study = a_study(where, [Job("a", 0), Job("b", 0)])
    study.add_trial(study.trials[0])
    report = run_worker(study, values)
    assert (report.complete, report.refused) == ([0, 1], [2])


def test_two_trials_of_one_job_that_are_begun_at_one_moment_are_not_both_run(postgres: str) -> None:
    study = a_study(postgres, [Job("a", 0)])
    study.add_trial(study.trials[0])
    database = database_of(study)
    assert database is not None
    with database.engine.connect() as elsewhere, Worker(study) as worker:
        elsewhere.execute(sa.update(TrialModel).where(TrialModel.number == 0).values(state=TrialState.RUNNING))  # not yet committed
        refused = list[tuple[int, str]]()
        assert Enumerated().next_job(study, worker, lambda number, kind, reason: refused.append((number, reason))) is None
        assert refused == [(1, "duplicate of trial 0, which waits")]


def test_an_earlier_trial_of_the_job_whose_worker_is_silent_can_no_longer_end_once_a_later_one_is_run(where: str) -> None:
    study = a_study(where, [Job("a", 0)])
    study.add_trial(study.trials[0])
    first = study.ask()
    far = Lease(worker="w", host="far", machine="far/1", pid=1, started="1", time=1.0)
    first.set_user_attr("lease", asdict(far))
    with Worker(study) as worker:
        second = Enumerated().next_job(study, worker)
        assert second is not None and second.number == 1
        assert not finish(first, TrialState.COMPLETE, VALUES, {})  # it was only slow
        assert finish(second, TrialState.COMPLETE, VALUES, {})
    assert study.trials[0].user_attrs["reason_kind"] == "lost"
    assert_each_complete_once(study, 1)
