"""Locks of a study: who waits for whom, and what becomes of a lock whose holder or connection is gone."""

from __future__ import annotations

import threading

import optuna
import pytest
import sqlalchemy as sa

from blocks.errors import InputError
from studies.store.db.locks import LockLost
from studies.store.queue import Job, plan
from studies.store.storage import exclusive, open_storage, open_study, storage_errors
from tests.storages import a_study, started

HOLD = """
from studies.store.storage import exclusive
with exclusive(study):
    print("ready", flush=True)
    sys.stdin.readline()
"""


def taker(study: optuna.Study, purpose: str = "plan") -> threading.Thread:
    """A thread that takes a lock and gives it back."""

    def take() -> None:
        with exclusive(study, purpose):
            pass

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    return thread


def ended(thread: threading.Thread, within_s: float = 20.0) -> bool:
    """Whether a thread ends within this time."""
    thread.join(within_s)
    return not thread.is_alive()


def test_one_of_a_study_and_purpose_at_a_time(where: str) -> None:
    one, two, order = a_study(where), a_study(where), list[str]()

    def second() -> None:
        with exclusive(two):
            order.append("second")

    with exclusive(one) as is_held:
        thread = threading.Thread(target=second)
        thread.start()
        assert ended(taker(two, "latency/cpu-2core"))  # another purpose
        assert ended(taker(two, "latency/cpu-2core"))  # and given back
        order.append("first")
        assert is_held()
    thread.join()
    assert order == ["first", "second"]


def test_two_studies_of_a_database_do_not_wait_for_each_other(postgres: str) -> None:
    one, two = (open_study(open_storage(postgres), name) for name in ("one", "two"))
    with exclusive(one):
        assert plan(two, [Job("a", 0)]).enqueued == 1
        assert ended(taker(two))


def test_a_lock_is_free_when_its_holder_was_killed(where: str) -> None:
    study = a_study(where)
    with started(HOLD, where) as holder:
        waiting = taker(study)
        assert not ended(waiting, 0.3)
        holder.kill()
        holder.wait()
        assert ended(waiting)


def connections(url: str, what: str) -> list[tuple[int, str]]:
    """Of the others to a database that hold an advisory lock or wait for one, process and state; they are ended where asked."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    query = f"SELECT {what}, state FROM pg_stat_activity JOIN pg_locks USING (pid) WHERE locktype = 'advisory'"
    with engine.connect() as connection:
        rows = [tuple(row) for row in connection.exec_driver_sql(query)]
    engine.dispose()
    return rows


def test_a_lock_that_is_held_is_no_open_transaction(postgres: str) -> None:
    with exclusive(a_study(postgres), "latency/cpu"):
        assert [state for _, state in connections(postgres, "pid")] == ["idle"]


def test_a_lock_whose_connection_was_lost_is_not_passed_over(postgres: str) -> None:
    study = a_study(postgres)

    def lose() -> None:
        with exclusive(study, "latency/cpu") as is_held:
            assert is_held()
            connections(postgres, "pg_terminate_backend(pid)")
            assert not is_held()
            assert ended(taker(study, "latency/cpu"))

    with pytest.raises(LockLost):
        lose()
    with pytest.raises(InputError, match="a lock was lost"), storage_errors(study):
        lose()


def test_a_plan_whose_lock_was_lost_is_made_again(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    study, lost = a_study(postgres), list[int]()
    add = study.add_trial

    def add_trial(trial: optuna.trial.FrozenTrial) -> None:
        add(trial)
        if len(study.trials) == 2 and not lost:
            lost.extend(pid for pid, _ in connections(postgres, "pg_terminate_backend(pid)"))

    monkeypatch.setattr(study, "add_trial", add_trial)
    jobs = [Job(f"net{i}", 0) for i in range(3)]
    assert plan(study, jobs).waiting == 3
    assert lost
    assert len(study.trials) == 3
