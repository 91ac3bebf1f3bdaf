"""A PostgreSQL server that is restarted under its workers, and answers that get lost with the connection."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from optuna.trial import TrialState, create_trial

from blocks.errors import InputError
from studies.store import retry
from studies.store.db.database import Database
from studies.store.lease import Lease, Worker, is_alive
from studies.store.queue import fail, trial_state
from studies.store.storage import database_of, finish, open_storage, set_attrs, shared_clock
from studies.work.loop import run_worker
from tests.storages import REPOSITORY, VALUES, PostgresServer, a_server, a_study, networks, states, values, wait_until

NUM_JOBS = 12

# A worker process; arguments: storage, folder with a file for each training that was begun and one for each that came to its end.
WORKER = """
import os, sys, time
from pathlib import Path
from studies.store.storage import open_storage, open_study, set_attrs
from studies.work.loop import run_worker
where, folder = sys.argv[1], Path(sys.argv[2])

def objective(trial):
    key = trial.user_attrs["network_key"]
    (folder / f"{key}.begun").touch()
    for step in range(10):
        time.sleep(0.05)
        set_attrs(trial, {"step": step})
    os.close(os.open(folder / key, os.O_CREAT | os.O_EXCL))
    return 0.5, 2.0, 100.0

(folder / "started").touch()
run_worker(open_study(open_storage(where, patient=True), "study"), objective, beat_s=0.1)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PostgresServer]:
    started = a_server(tmp_path)
    yield started
    started.cleanup()


def pg_ctl(server: PostgresServer, *arguments: str) -> None:
    command = [str(server.bin_path / "pg_ctl"), "-w", "-D", str(server.pgdata), "-l", str(server.log), *arguments]
    subprocess.run(command, user=server.system_user, check=True, stdout=subprocess.DEVNULL, cwd="/")


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_workers_outlast_restarts_of_the_server(server: PostgresServer, tmp_path: Path, mode: str) -> None:
    where, done = server.get_uri(driver="psycopg"), tmp_path / "done"
    done.mkdir()
    study = a_study(where, networks(NUM_JOBS))
    command = [sys.executable, "-c", WORKER, where, str(done)]
    workers = [subprocess.Popen(command, cwd=REPOSITORY) for _ in range(2)]
    wait_until(lambda: len(list(done.glob("*.begun"))) == 2, 120)  # both are at work
    pg_ctl(server, "-m", mode, "restart")
    time.sleep(0.4)
    pg_ctl(server, "-m", mode, "stop")
    time.sleep(3)
    assert [worker.poll() for worker in workers] == [None, None]
    pg_ctl(server, "-o", f'-h "" -k {server.pgdata}', "start")
    assert [worker.wait(120) for worker in workers] == [0, 0]
    assert states(study) == ["COMPLETE"] * NUM_JOBS  # none lost, none failed, none twice
    assert len(list(done.glob("net*"))) == 2 * NUM_JOBS


def test_a_worker_that_starts_while_the_server_is_restarted_waits_for_it(server: PostgresServer, tmp_path: Path) -> None:
    where, done = server.get_uri(driver="psycopg"), tmp_path / "done"
    done.mkdir()
    study = a_study(where, networks(1))
    pg_ctl(server, "-m", "fast", "stop")
    with pytest.raises(InputError, match="a database that can be reached"):  # a person is told at once
        open_storage(where)
    worker = subprocess.Popen([sys.executable, "-c", WORKER, where, str(done)], cwd=REPOSITORY)
    wait_until((done / "started").exists, 120)
    time.sleep(2)
    assert worker.poll() is None
    pg_ctl(server, "-o", f'-h "" -k {server.pgdata}', "start")
    assert worker.wait(120) == 0
    assert states(study) == ["COMPLETE"]


def test_a_database_that_stays_away_is_told(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "RECONNECT_S", 1.0)
    study = a_study(server.get_uri(driver="psycopg"), networks(1))
    pg_ctl(server, "-m", "fast", "stop")
    begin = time.monotonic()
    with pytest.raises(InputError, match=r"storage postgresql\+psycopg:.* must be a database that can be reached"):
        trial_state(study)
    assert time.monotonic() - begin < 20
    pg_ctl(server, "-o", f'-h "" -k {server.pgdata}', "start")
    assert trial_state(study).waiting == 1


def test_nobody_is_lost_for_not_beating_while_the_database_was_down(server: PostgresServer) -> None:
    clock = shared_clock(a_study(server.get_uri(driver="psycopg")))  # of a server that has just been started
    assert 0 < clock.up_since <= clock.now
    beat = Lease(worker="w", host="far", machine="far/1", pid=1, started="1", time=clock.now - 99)
    assert is_alive(beat, {"w": beat}, 30, clock)
    assert not is_alive(beat, {"w": beat}, 30, replace(clock, up_since=clock.now - 40))


@pytest.fixture
def lost(postgres: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[int]]:
    """A study with two jobs, and a list: with a number in it, the next answer to a commit gets lost with the connection."""
    study, due = a_study(postgres, networks(2)), list[int]()
    database = database_of(study)
    assert isinstance(database, Database)
    dialect = database.engine.dialect
    commit = dialect.do_commit

    def do_commit(connection: Any) -> None:
        commit(connection)
        if due:
            due.pop()
            connection.dbapi_connection.close()
            raise psycopg.OperationalError("the connection is lost")

    monkeypatch.setattr(dialect, "do_commit", do_commit)
    return study, due


def test_what_was_done_and_not_answered_is_not_done_twice(lost: tuple[Any, list[int]]) -> None:
    study, due = lost
    with Worker(study) as worker:
        lease = worker._lease()
        due.append(1)
        trial = worker.claim()
        assert trial is not None and not due
        assert (trial.number, states(study)) == (0, ["RUNNING", "WAITING"])
        assert study.trials[0].user_attrs["lease"]["worker"] == lease.worker
        due.append(1)
        set_attrs(trial, {"a": 1})
        due.append(1)
        assert finish(trial, TrialState.COMPLETE, VALUES, {"b": 2})
        assert not due
        ended = study.trials[0]
        assert (ended.values, ended.user_attrs["a"], ended.user_attrs["b"]) == (list(VALUES), 1, 2)
        assert not finish(trial, TrialState.COMPLETE, VALUES, {})  # without a lost answer it is another's
        assert not fail(study, trial, "error", "too late")
        worker.release()
        due.append(1)
        study.add_trial(create_trial(state=TrialState.WAITING, user_attrs={"network_key": "c", "seed": 0}))
        due.append(1)
        own = worker.begin(create_trial(state=TrialState.RUNNING))
        assert not due
        assert states(study) == ["COMPLETE", "WAITING", "WAITING", "RUNNING"]
        assert own.number == 3 and worker.holds(3)


def test_an_end_that_another_wrote_meanwhile_is_not_taken_for_ones_own(lost: tuple[Any, list[int]]) -> None:
    study, due = lost
    with Worker(study) as worker:
        trial = worker.claim()
        assert trial is not None
        fail(study, trial, "lost", "by another")
        due.append(1)
        assert not finish(trial, TrialState.COMPLETE, VALUES, {})
    assert states(study) == ["FAIL", "WAITING"]


def test_a_whole_run_with_every_second_answer_lost(lost: tuple[Any, list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    study, due = lost
    sleep = time.sleep
    monkeypatch.setattr(retry.time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))
    begun = list[int]()

    def objective(trial: Any) -> tuple[float, float, float]:
        begun.append(trial.number)
        due.append(1)
        return values(trial)

    report = run_worker(study, objective, on_event=lambda event: due.append(1) if event.kind == "complete" else None)
    assert (report.complete, report.lost, begun) == ([0, 1], [], [0, 1])
    assert states(study) == ["COMPLETE", "COMPLETE"]
