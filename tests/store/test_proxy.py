"""Workers that reach the database through Optuna's gRPC proxy, in a real server process."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace

import optuna
import pytest
from optuna.trial import TrialState

from blocks.errors import InputError
from studies.bench.chaos.proxy import SERVER
from studies.store import lease
from studies.store.history import Limits, job_key
from studies.store.lease import Worker, read_beats
from studies.store.queue import Job, plan, reconcile, trial_state
from studies.store.records import records
from studies.store.source import Enumerated
from studies.store.storage import batched, exclusive, open_storage, public_url, set_attrs, study_names
from studies.work.loop import TrialFailed, run_worker
from tests.storages import REPOSITORY, a_study, networks, states, values
from tests.store.test_source import sampled


@pytest.fixture
def server(postgres: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The URL and the process of a proxy of a fresh database."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-c", SERVER, postgres, str(port)], cwd=REPOSITORY)
    yield f"grpc://localhost:{port}", server
    server.kill()
    server.wait()


@pytest.fixture
def proxy(server: tuple[str, subprocess.Popen[bytes]]) -> str:
    return server[0]


def test_a_study_is_run_through_it_and_handed_on_by_those_that_reach_the_database(postgres: str, proxy: str) -> None:
    direct = a_study(postgres, networks(3))
    study, failed = a_study(proxy), list[int]()

    def objective(trial: optuna.Trial) -> tuple[float, float, float]:
        set_attrs(trial, {"a": 1, "b": 2})
        if not failed:
            failed.append(trial.number)
            raise TrialFailed("out of memory")
        return values(trial)

    report = run_worker(study, objective)
    assert (report.failed, report.complete) == ([0], [1, 2])
    assert reconcile(study) == 0 and reconcile(direct) == 1
    assert run_worker(study, objective).complete == [3]
    assert states(direct) == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    assert direct.trials[3].user_attrs["b"] == 2
    assert study_names(open_storage(proxy, must_exist=True)) == ["study"]
    assert trial_state(study).complete == 3
    assert [record.state for record in records(study)] == ["complete"] * 3
    assert read_beats(direct) == {}
    with batched(study):
        study.set_user_attr("note", "by a dashboard")


def test_what_plans_or_proposes_asks_for_the_database(proxy: str) -> None:
    study = a_study(proxy)
    for act in (
        lambda: plan(study, [Job("a", 0)]),
        lambda: exclusive(study).__enter__(),
        lambda: run_worker(study, values, source=sampled("random")),
    ):
        with pytest.raises(InputError, match=r"storage must be the database itself, .*Got 'grpc://localhost:\d+' instead"):
            act()
    assert study.trials == []


def test_two_workers_through_it_and_one_beside_it_share_the_jobs(postgres: str, proxy: str) -> None:
    direct = a_study(postgres, networks(9))
    with Worker(a_study(proxy)) as one, Worker(a_study(proxy)) as two, Worker(direct) as three:
        claimed = [Enumerated().next_job(worker.study, worker) for worker in (one, two, three) for _ in range(3)]
    assert len({job_key(trial) for trial in claimed if trial}) == 9


def test_its_workers_are_judged_by_whether_their_beats_change(postgres: str, proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    direct, study = a_study(postgres, networks(1)), a_study(proxy)
    with Worker(study) as worker:
        far = replace(worker._lease(), worker="far-1", machine="far/1", time=5.0)  # a clock of 1970
        assert not far.shared_clock
    study._storage.set_trial_state_values(study.trials[0]._trial_id, TrialState.RUNNING)
    study._storage.set_trial_user_attr(study.trials[0]._trial_id, "lease", asdict(far))
    lease.write_beat(study, far)
    passed, now = [0.0], lease.time.monotonic()
    monkeypatch.setattr(lease.time, "monotonic", lambda: now + passed[0])
    assert trial_state(direct).running == 1
    passed[0] = 20.0
    lease.write_beat(study, replace(far, time=10.0))
    assert trial_state(direct).running == 1
    passed[0] = 49.0
    assert trial_state(direct).running == 1 and trial_state(study).running == 1
    passed[0] = 51.0
    assert trial_state(direct, Limits(stale_after_s=30)).stale == 1
    assert reconcile(direct) == 1


def test_a_proxy_that_is_gone_is_told(server: tuple[str, subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    url, process = server
    assert public_url(url).startswith("grpc://localhost:")
    study = a_study(url)
    process.kill()
    process.wait()
    with pytest.raises(InputError, match=r"storage grpc://localhost:\d+ must be a database that can be reached"):
        run_worker(study, values)
    monkeypatch.setattr("studies.store.db.opening.PROXY_S", 0.2)
    with pytest.raises(InputError, match="must be a proxy that can be reached"):
        open_storage("grpc://localhost:1")
    with pytest.raises(InputError, match=r"must be grpc://host:port"):
        open_storage("grpc://localhost:port")
