"""Leases and deadlines go by the database's clock: a machine whose own is wrong neither loses its trials nor takes others'."""

from __future__ import annotations

import time
from dataclasses import asdict, replace

import optuna
import pytest

from studies.store import lease, source
from studies.store.lease import Lease, Worker, read_beats
from studies.store.queue import Job, plan, reconcile, trial_state
from studies.store.source import propose_until, proposes_until
from studies.store.storage import shared_clock
from studies.work.loop import run_worker
from tests.storages import a_study, networks, states, values

WRONG_S = 600.0


@pytest.fixture(params=[-WRONG_S, WRONG_S])
def wrong(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """This machine's clock is off by so much."""
    seconds, right = float(request.param), time.time
    monkeypatch.setattr(time, "time", lambda: right() + seconds)
    return seconds


def elsewhere(beat: Lease) -> Lease:
    """A lease as a worker of another machine would have it."""
    return replace(beat, machine="far/1", host="far")


def test_what_a_machine_writes_has_the_databases_time(postgres: str, wrong: float) -> None:
    study = a_study(postgres, networks(1))
    with Worker(study) as worker:
        assert worker.claim() is not None
        true = time.time() - wrong
        assert abs(read_beats(study)[worker.name].time - true) < 60
        begun = study.trials[0].datetime_start
        assert begun is not None and abs(begun.timestamp() - true) < 60
        assert abs(study.trials[0].user_attrs["lease"]["time"] - true) < 60
    run_worker(study, values)
    assert all(trial.duration.total_seconds() < 60 for trial in study.trials if trial.duration)


def test_a_machine_with_a_wrong_clock_judges_others_rightly(postgres: str, wrong: float) -> None:
    study = a_study(postgres, networks(2))
    with Worker(study) as near:
        trials = [study.ask(), study.ask()]
        for trial, silent_s in zip(trials, (5.0, 31.0), strict=True):
            far = elsewhere(replace(near._lease(), worker=f"far-{silent_s}", time=shared_clock(study).now - silent_s))
            lease.write_beat(study, far)
            trial.set_user_attr("lease", asdict(far))
        state = trial_state(study)
        assert (state.running, state.stale) == (1, 1)
        assert reconcile(study) == 1
        assert states(study) == ["RUNNING", "FAIL", "WAITING"]


def test_a_claim_without_a_lease_is_judged_by_the_database_too(postgres: str, wrong: float) -> None:
    study = a_study(postgres, networks(1))
    with Worker(study):
        study._storage.set_trial_state_values(study.trials[0]._trial_id, optuna.trial.TrialState.RUNNING)  # by an earlier version
        assert trial_state(study).running == 1


def test_proposals_end_at_one_time_for_all(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    study, right = a_study(postgres), time.time
    begin = right()
    propose_until(study, begin + 60)
    assert proposes_until(study) == pytest.approx(begin + 60, abs=10)
    monkeypatch.setattr(source.time, "time", lambda: right() + WRONG_S)
    assert proposes_until(study) == pytest.approx(begin + 60 + WRONG_S, abs=10)  # as this machine's clock will show it
    propose_until(study, None)
    assert proposes_until(study) is None


def test_beats_of_an_earlier_version_are_read(postgres: str) -> None:
    study = a_study(postgres)
    old = {"worker": "w", "host": "h", "machine": "m", "pid": 1, "started": "1", "time": 1.5}
    study._storage.set_study_system_attr(study._study_id, "beat:w", old)
    study._storage.set_study_system_attr(study._study_id, "beat:gone", None)
    assert read_beats(study) == {"w": Lease(**old)}
    assert plan(study, [Job("a", 0)]).enqueued == 1
