"""What is read of a database: everything that changed, by whomever, and little more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from studies.store.db.database import BRIEF
from studies.store.history import read_histories
from studies.store.queue import fail, plan, reconcile, trial_state
from studies.store.storage import brief_trials, open_storage, open_study, set_attrs
from studies.work.loop import run_worker
from tests.storages import a_study, networks, values


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{request.getfixturevalue('tmp_path')}/study.db"
    return str(request.getfixturevalue("postgres"))


@contextmanager
def statements() -> Iterator[list[str]]:
    """What is asked of databases meanwhile."""
    asked = list[str]()

    def note(connection: object, cursor: object, statement: str, *more: object) -> None:
        if statement != "BEGIN IMMEDIATE":
            asked.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


def assert_up_to_date(study: optuna.Study, url: str) -> None:
    fresh = open_study(open_storage(url), "study")
    assert study.get_trials() == fresh.get_trials()
    brief = [(trial.number, trial.state, trial.user_attrs) for trial in brief_trials(study)]
    assert brief == [
        (t.number, t.state, {name: value for name, value in t.user_attrs.items() if name in BRIEF}) for t in fresh.get_trials()
    ]
    assert trial_state(study) == trial_state(fresh)


def test_what_another_process_did_is_seen(database: str) -> None:
    study, other = a_study(database), a_study(database)
    assert_up_to_date(study, database)
    plan(other, networks(5))
    assert_up_to_date(study, database)
    trial = other.ask()
    assert_up_to_date(study, database)
    set_attrs(trial, {"lease": None, "x": 1})  # of one that is known to run
    assert_up_to_date(study, database)
    other.tell(other.ask(), [1.0, 2.0, 3.0])  # the second before the first
    assert_up_to_date(study, database)
    fail(other, trial, "error", "too hot")
    assert_up_to_date(study, database)
    assert reconcile(other) == 1
    run_worker(other, values)
    assert_up_to_date(study, database)
    assert [trial.state for trial in study.get_trials(states=(TrialState.FAIL,))] == [TrialState.FAIL]


def test_trials_that_wait_or_have_ended_are_read_once(database: str) -> None:
    a_study(database, networks(40))
    study = a_study(database)
    with statements() as first:
        read_histories(study)
    run_worker(a_study(database), values)
    read_histories(study)
    with statements() as again:
        read_histories(study)
    assert len(again) == 3 < len(first)  # clock, beats, states


def test_a_trial_costs_few_statements(postgres: str) -> None:
    study = a_study(postgres, networks(40))
    with statements() as asked:
        assert len(run_worker(study, values).complete) == 40
    assert len(asked) < 40 * 16
