"""Workers: claiming, outcomes of the objective, stopping gently, several processes at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from ablation.machine.cores import num_cores
from blocks.errors import InputError
from studies.store import lease
from studies.store.history import Limits
from studies.store.lease import Worker, lease_lost
from studies.store.queue import Job, StudyState, plan, reconcile, trial_state
from studies.store.source import Enumerated
from studies.work.loop import Event, TrialFailed, TrialInterrupted, run_worker
from studies.work.processes import ProcessReport, run_workers, worker_environment
from studies.work.stopping import StopRequest, interrupt_everywhere
from tests.storages import REPOSITORY, VALUES, a_study, networks, started, states, values, wait_until

claim = Enumerated().next_job

# A worker process; argument: storage, what to do. It finishes its trial and stops on SIGTERM.
WORKER = """
import os, signal, sys, time
from studies.work.stopping import StopRequest
from studies.store.storage import open_storage, open_study
from studies.work.loop import TrialInterrupted, run_worker
where, act = sys.argv[1:]

def objective(trial):
    if act == "die" and trial.user_attrs["network_key"] == "net0":
        os.kill(os.getpid(), signal.SIGKILL)
    if act == "die once" and trial.number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    if act == "deaf":
        time.sleep(600)
    for _ in range(600 if act == "slow" else 2):
        time.sleep(0.05)
        if stop():
            raise TrialInterrupted
    print(trial.number, os.environ["OMP_NUM_THREADS"], flush=True)
    return 0.5, 2.0, 100.0

with StopRequest() as stop:
    if act == "bad input":
        sys.exit(2)
    run_worker(open_study(open_storage(where), "study"), objective, should_stop=stop)
"""


# --- claiming ---


def test_nothing_is_asked_of_an_empty_queue(where: str) -> None:
    study = a_study(where)
    with Worker(study) as worker:
        assert claim(study, worker) is None
    assert study.trials == []


def test_a_claimed_trial_has_a_lease_and_the_worker_beats(where: str) -> None:
    study = a_study(where, networks(1))
    with Worker(study) as worker:
        trial = claim(study, worker)
        assert trial is not None
        stored = study.trials[0].user_attrs["lease"]
        assert (stored["worker"], stored["pid"], stored["machine"]) == (worker.name, os.getpid(), lease.this_machine())
        assert list(lease.read_beats(study)) == [worker.name]
    assert lease.read_beats(study) == {}


def test_a_trial_without_a_key_is_refused(where: str) -> None:
    study = a_study(where)
    study.enqueue_trial({"x": 1})  # as the dashboard can
    plan(study, [Job("net0", 0)])
    events: list[Event] = []
    report = run_worker(study, values, on_event=events.append)
    assert (report.refused, report.complete) == ([0], [1])
    assert events[0] == Event(kind="refused", number=0, reason="without a key: no plan enqueued it")
    assert study.trials[0].user_attrs["reason_kind"] == "refused"


def test_a_queue_that_runs_dry_while_asking_leaves_no_trial_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, thief = (a_study(tmp_path / "study.log", jobs) for jobs in (networks(1), ()))
    ask = study.ask

    def late() -> optuna.Trial:
        if not thief.get_trials(states=(TrialState.RUNNING,)):
            thief.ask()
        return ask()

    monkeypatch.setattr(study, "ask", late)
    with Worker(study) as worker:
        assert claim(study, worker) is None
    assert states(study) == ["RUNNING", "FAIL"]


def test_a_claim_that_was_failed_before_its_lease_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # So slow between asking and writing the lease that another worker held it for killed. In a database they are one step.
    study, other = (a_study(tmp_path / "study.log", jobs) for jobs in (networks(2), ()))
    ask = study.ask

    def slow() -> optuna.Trial:
        trial = ask()
        if trial.number == 0:
            assert reconcile(other, Limits(stale_after_s=0)) == 1
        return trial

    monkeypatch.setattr(study, "ask", slow)
    with Worker(study) as worker:
        trial = claim(study, worker)
        assert trial is not None
        assert trial.number == 1
        assert not worker.holds(0)
    assert states(study) == ["FAIL", "RUNNING", "WAITING"]


@pytest.mark.parametrize("first", ["complete", "running"])
def test_a_second_trial_of_a_job_is_refused(where: str, first: str) -> None:
    study = a_study(where, networks(1))
    copy = study.trials[0]
    if first == "complete":
        run_worker(study, values)
        study.add_trial(copy)
        assert run_worker(study, values).refused == [1]
    else:
        study.add_trial(copy)
        with Worker(study) as one, Worker(study) as two:
            assert claim(study, one) is not None
            assert claim(study, two) is None
    assert study.trials[1].user_attrs["reason"] == f"duplicate of trial 0, which is {first}"
    assert trial_state(study).failed_trials == 0  # no attempt of the job


def test_two_workers_never_get_the_same_trial(where: str) -> None:
    a_study(where, networks(24))
    seen: list[str] = []

    def objective(trial: optuna.Trial) -> tuple[float, float, float]:
        seen.append(trial.user_attrs["network_key"])
        time.sleep(0.005)
        return VALUES

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(lambda: run_worker(a_study(where), objective, linger=False)) for _ in range(2)]:
            future.result()
    assert sorted(seen) == sorted(f"net{i}" for i in range(24))
    trials = a_study(where).trials
    assert [t.state.name for t in trials if "network_key" in t.user_attrs] == ["COMPLETE"] * 24
    # the queue may run dry between looking and asking: what is asked then has no key, and is refused
    assert {t.state.name for t in trials if "network_key" not in t.user_attrs} <= {"FAIL"}


# --- outcomes ---


def test_an_exception_is_recorded_and_the_study_goes_on(where: str) -> None:
    study = a_study(where, networks(3))
    calls: dict[str, int] = {}

    def objective(trial: optuna.Trial) -> tuple[float, float, float]:
        key = trial.user_attrs["network_key"]
        calls[key] = calls.get(key, 0) + 1
        if key == "net1" and calls[key] == 1:
            raise TrialFailed("out of memory")
        if key == "net2":
            raise KeyError("spec")
        return VALUES

    report = run_worker(study, objective, limits=Limits(max_attempts=2))
    assert calls == {"net0": 1, "net1": 2, "net2": 2}
    assert (len(report.complete), len(report.failed)) == (2, 3)
    assert study.trials[1].user_attrs["reason"] == "out of memory"
    assert study.trials[2].user_attrs["reason"] == "KeyError: 'spec'"
    assert "Traceback" in study.trials[2].user_attrs["traceback"]
    assert trial_state(study, Limits(max_attempts=2)) == StudyState(
        planned=3, complete=2, failed=1, waiting=0, running=0, stale=0, failed_trials=3
    )


@pytest.mark.parametrize("returned", [(float("nan"), 1.0, 1.0), (1.0, float("inf"), 1.0), (1.0, 2.0)])
def test_values_that_are_no_numbers_are_a_failure(tmp_path: Path, returned: tuple[float, ...]) -> None:
    study = a_study(tmp_path / "study.log", networks(1))
    assert run_worker(study, lambda trial: returned, limits=Limits(max_attempts=1)).failed == [0]
    assert "must return finite quality, latency_ms, params" in study.trials[0].user_attrs["reason"]


def test_an_interruption_uses_up_no_attempt(where: str) -> None:
    study = a_study(where, networks(1))

    def stopped(trial: optuna.Trial) -> tuple[float, float, float]:
        raise TrialInterrupted("checkpoint of epoch 3 kept")

    for number in range(4):
        report = run_worker(study, stopped, limits=Limits(max_attempts=1))
        assert (report.interrupted, report.stopped) == ([number], True)
        assert plan(study, [Job("net0", 0)], limits=Limits(max_attempts=1)).enqueued == 1
    assert study.trials[0].user_attrs["reason"] == "checkpoint of epoch 3 kept"
    assert run_worker(study, values, limits=Limits(max_attempts=1)).complete == [4]


def test_ctrl_c_at_once_is_recorded_and_goes_on_up(where: str) -> None:
    study = a_study(where, networks(1))

    def interrupted(trial: optuna.Trial) -> tuple[float, float, float]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_worker(study, interrupted)
    assert study.trials[0].user_attrs["reason_kind"] == "interrupted"
    assert lease.read_beats(study) == {}
    assert plan(study, [Job("net0", 0)]).waiting == 1


def test_a_trial_taken_away_is_noticed_and_not_told_twice(where: str) -> None:
    # Another machine held this worker for dead and finished the trial; the worker learns it by its next beat.
    study, other = a_study(where, networks(1)), a_study(where)

    def objective(trial: optuna.Trial) -> tuple[float, float, float]:
        assert not lease_lost(trial)
        other.tell(0, state=TrialState.FAIL)
        wait_until(lambda: lease_lost(trial))
        return VALUES

    report = run_worker(study, objective, beat_s=0.05, linger=False, limits=Limits(max_attempts=1))
    assert (report.lost, report.complete) == ([0], [])
    assert states(study) == ["FAIL"]


def test_a_stop_between_trials(where: str) -> None:
    study = a_study(where, networks(3))
    done: list[int] = []

    def objective(trial: optuna.Trial) -> tuple[float, float, float]:
        done.append(trial.number)
        return VALUES

    report = run_worker(study, objective, should_stop=lambda: len(done) == 2)
    assert (report.complete, report.stopped) == ([0, 1], True)
    assert states(study) == ["COMPLETE", "COMPLETE", "WAITING"]


def test_a_worker_waits_for_trials_elsewhere_and_takes_over(tmp_path: Path) -> None:
    study = a_study(tmp_path / "study.log", networks(2))
    other = a_study(tmp_path / "study.log")
    events: list[Event] = []
    with Worker(other) as absent:
        held = claim(other, absent)
        assert held is not None

        def on_event(event: Event) -> None:
            events.append(event)
            if event.kind == "waiting":
                absent.release()  # as if its thread had died

        assert run_worker(study, values, on_event=on_event).complete == [1, 2]
    assert [event.kind for event in events].count("waiting") == 1
    assert study.trials[0].user_attrs["reason_kind"] == "lost"


def test_a_storage_that_fails_stops_the_worker(tmp_path: Path) -> None:
    study = a_study(f"sqlite:///{tmp_path}/study.db", networks(2))

    def objective(trial: optuna.Trial) -> tuple[float, float, float]:
        (tmp_path / "study.db").write_bytes(b"x" * 9000)
        return VALUES

    with pytest.raises(InputError, match="must be a database that can be reached"):
        run_worker(study, objective)


# --- signals ---


def test_the_first_signal_asks_the_second_interrupts() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        assert not stop()
        signal.raise_signal(signal.SIGTERM)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_cluster_s_warning_asks_and_never_interrupts() -> None:
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGUSR2)
        assert stop()
        signal.raise_signal(signal.SIGUSR2)
        signal.raise_signal(signal.SIGTERM)  # as the parent of a worker passes it on
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_a_worker_whose_parent_is_gone_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_PARENT_PID", str(os.getppid()))
    assert not StopRequest()()
    monkeypatch.setenv("STUDY_PARENT_PID", "1" if os.getppid() != 1 else "2")
    assert StopRequest()()


# --- several processes ---


def start(folder: Path, num_jobs: int, act: str, count: int = 1, **options: Any) -> tuple[optuna.Study, ProcessReport]:
    """A study of so many jobs, run by processes that do as they are asked."""
    study = a_study(folder / "study.log", networks(num_jobs))
    options = {"reconcile_s": 0.2, **options}
    if "should_stop" in options:
        options["should_stop"] = partial(options["should_stop"], study)
    return study, run_workers([sys.executable, "-c", WORKER, str(folder / "study.log"), act], count, study=study, **options)


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)


def test_processes_share_the_work_and_the_cores(tmp_path: Path) -> None:
    seen: list[StudyState] = []
    study, report = start(tmp_path, 6, "", 2, on_tick=seen.append, log_dir=tmp_path / "logs")
    assert (report.exit_codes, report.restarts, report.stopped) == ([0, 0], 0, False)
    assert trial_state(study).complete == 6
    printed = [line.split() for log in sorted((tmp_path / "logs").glob("worker-*.log")) for line in log.read_text().splitlines()]
    assert sorted(int(number) for number, _ in printed) == [0, 1, 2, 3, 4, 5]
    assert {threads for _, threads in printed} == {str(max(1, num_cores() // 2))}
    assert seen[0].waiting == 6
    assert worker_environment(1000)["MKL_NUM_THREADS"] == "1"


def test_a_process_that_dies_is_replaced(tmp_path: Path) -> None:
    study, report = start(tmp_path, 2, "die once")
    assert (report.exit_codes, report.restarts) == ([-signal.SIGKILL, 0], 1)
    assert states(study) == ["FAIL", "COMPLETE", "COMPLETE"]


def test_a_job_that_kills_its_worker_is_given_up(tmp_path: Path) -> None:
    limits = Limits(max_lost=2)
    study, report = start(tmp_path, 2, "die", limits=limits)
    state = trial_state(study, limits)
    assert (state.planned, state.complete, state.failed, state.failed_trials) == (2, 1, 1, 2)
    assert report.exit_codes.count(-signal.SIGKILL) == 2


def test_processes_stop_gently(tmp_path: Path) -> None:
    study, report = start(tmp_path, 3, "slow", should_stop=lambda study: trial_state(study).running == 1)
    assert (report.exit_codes, report.stopped) == ([0], True)
    assert study.trials[0].user_attrs["reason_kind"] == "interrupted"
    assert states(study)[:3] == ["FAIL", "WAITING", "WAITING"]
    assert reconcile(study) == 1


def test_leaving_by_an_exception_kills_the_processes(tmp_path: Path) -> None:
    def on_tick(state: StudyState) -> None:
        if state.running:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start(tmp_path, 1, "slow", on_tick=on_tick)
    assert trial_state(a_study(tmp_path / "study.log")).stale == 1  # killed and awaited: known at once


def test_processes_wait_for_trials_that_run_elsewhere_and_take_over(tmp_path: Path) -> None:
    other = a_study(tmp_path / "study.log", networks(1))
    with Worker(other) as absent:
        assert claim(other, absent) is not None

        def on_tick(state: StudyState) -> None:
            if state.running:
                absent.release()  # as if it had died

        study, report = start(tmp_path, 0, "", 2, on_tick=on_tick)
    assert (report.exit_codes, report.stopped) == ([0], False)
    assert states(study) == ["FAIL", "COMPLETE"]


def test_bad_input_in_a_process_is_not_tried_again(tmp_path: Path) -> None:
    report = start(tmp_path, 3, "bad input")[1]
    assert (report.exit_codes, report.bad_input) == ([2], True)


@pytest.mark.parametrize("act", ["slow", "deaf"])
def test_workers_whose_parent_was_killed_end_and_hand_their_trials_back(where: str, act: str) -> None:
    study = a_study(where, networks(3))
    code = """
from studies.work.processes import run_workers
print("ready", flush=True)
run_workers([sys.executable, "-c", sys.argv[2], sys.argv[1], sys.argv[3]], 2, study=study)
"""
    with started(code, where, WORKER, act) as parent:
        wait_until(lambda: trial_state(study).running == 2)
        workers = [beat.pid for beat in lease.read_beats(study).values()]
        parent.kill()
    wait_until(lambda: not any(lease.process_started(pid) for pid in workers), 30)
    assert [trial.user_attrs.get("reason_kind") for trial in study.trials] == ["interrupted", "interrupted", None]
    state = trial_state(study)
    assert (state.waiting, state.failed_trials) == (3, 0)


@pytest.mark.parametrize("count", [0, -1])
def test_workers_must_be_some(tmp_path: Path, count: int) -> None:
    with pytest.raises(InputError, match="workers must be a whole number of at least 1"):
        run_workers([], count, study=a_study(tmp_path / "study.log"))


def test_a_killed_child_counts_as_dead_before_it_is_awaited() -> None:
    child = subprocess.Popen(["sleep", "60"])
    assert lease.process_started(child.pid)
    child.kill()
    wait_until(lambda: not lease.process_started(child.pid))
    child.wait()


def test_ctrl_c_that_lands_in_a_finaliser_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    interrupt_everywhere()

    class Freed:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)

    def work() -> None:
        Freed()
        time.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        work()
