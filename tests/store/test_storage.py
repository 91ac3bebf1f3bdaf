"""Storage, journal, planning, levels and records of a study, on real files and a real SQLite database."""

from __future__ import annotations

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState

from ablation.record.trial import COMPLETE, FAILED, RUNNING, STALE, WAITING, Record
from blocks.errors import InputError
from studies.store import lease
from studies.store.db.database import Clock
from studies.store.history import LOST, Limits, read_histories
from studies.store.journal import SafeJournal
from studies.store.queue import Job, StudyState, fail, plan, reconcile, trial_state
from studies.store.records import records, store_record
from studies.store.source import Enumerated
from studies.store.storage import batched, open_storage, public_url, set_attrs, set_system_attr
from studies.work.loop import TrialFailed, run_worker
from tests.storages import a_study, output, started, states, values, wait_until

claim = Enumerated().next_job


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "study.log"


def jobs(count: int, seeds: int = 1) -> list[Job]:
    numbered = [(i, seed) for seed in range(seeds) for i in range(count)]
    return [Job(f"net{i}", seed, {"conv": "ab"[i % 2], "width": 8 * i}, {"label": f"n{i}"}) for i, seed in numbered]


def on_another_machine(number: int, seconds_ago: float, study: optuna.Study) -> None:
    """Give a RUNNING trial a lease of a worker elsewhere that beat so long ago."""
    now = time.time() - seconds_ago
    far = lease.Lease(worker=f"far-{number}", host="far", machine="far/1", pid=1, started="1", time=now)
    lease.write_beat(study, far)
    optuna.Trial(study, study.trials[number]._trial_id).set_user_attr("lease", asdict(far))


# --- opening ---


def test_a_study_has_three_named_objectives_and_opens_again(where: str) -> None:
    a_study(where)
    study = a_study(where)
    assert study.metric_names == ["loss", "latency_ms", "params"]
    assert [d.name for d in study.directions] == ["MINIMIZE"] * 3


def test_many_may_open_a_new_storage_at_once(where: str) -> None:
    """The tables are made by one of them, and so is the study."""
    together = threading.Barrier(8)

    def opened(_: int) -> int:
        together.wait()
        return a_study(where)._study_id

    with ThreadPoolExecutor(8) as openers:
        assert len(set(openers.map(opened, range(8)))) == 1
    assert a_study(where).metric_names == ["loss", "latency_ms", "params"]


def test_sqlite_begins_immediately(tmp_path: Path) -> None:
    # The second transaction must wait at its start, not when it first writes.
    url = f"sqlite:///{tmp_path}/study.db"
    first, second = (open_storage(url).engine for _ in range(2))  # type: ignore[attr-defined]
    with first.connect() as one, one.begin(), second.connect() as two:
        two.connection.execute("PRAGMA busy_timeout=10")
        with pytest.raises(sa.exc.OperationalError, match="locked"):
            two.begin()


@pytest.mark.parametrize("tail", [b'{"op_code":8,"wor', b"{", b"\xff\xfe"])
def test_a_torn_last_line_is_cut(journal: Path, tail: bytes) -> None:
    a_study(journal, jobs(3))
    whole = journal.read_bytes()
    journal.write_bytes(whole + tail)
    study = a_study(journal)
    assert journal.read_bytes() == whole
    assert len(study.trials) == 3


def test_a_line_torn_while_open_is_cut_by_the_next_writer(journal: Path) -> None:
    # Another process dies in the middle of a write while this one keeps the journal open.
    study = a_study(journal, jobs(2))
    with journal.open("ab") as file:
        file.write(b'{"op_code":8,"worker_id":"x","trial_')
    plan(study, jobs(3))
    assert len(a_study(journal).trials) == 3
    assert all(json.loads(line) for line in journal.read_text().splitlines())


@pytest.mark.parametrize("garbage", [b"not a journal\n", b"[1]\n", b"{}\n", b"SQLite format 3\x00\xff\n", b"\n"])
def test_garbage_inside_is_told_and_left_alone(journal: Path, garbage: bytes) -> None:
    a_study(journal, jobs(2))
    lines = journal.read_bytes().splitlines(keepends=True)
    broken = b"".join([*lines[:2], garbage, *lines[2:]])
    journal.write_bytes(broken)
    message = r"study\.log must be an Optuna journal .* That is line 3; nothing was changed\. Restore"
    with pytest.raises(InputError, match=message) as caught:
        open_storage(journal)
    assert "\n" not in str(caught.value)
    assert journal.read_bytes() == broken


def test_a_full_disk_leaves_the_journal_whole(journal: Path) -> None:
    # A real partial write: the kernel lets the file grow to the limit and no further.
    code = """
import resource, signal
from pathlib import Path
from studies.store.queue import Job, plan
plan(study, [Job("a", 0)])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (Path(sys.argv[1]).stat().st_size + 100,) * 2)
try:
    plan(study, [Job("b", 0, {}, {"label": "x" * 9000})])
except Exception as error:
    print(type(error).__name__, error)
"""
    message = f"InputError storage {journal} must be a file that can be written. Got 'File too large' instead. Free"
    assert output(code, journal).startswith(message)
    assert journal.read_bytes().endswith(b"\n")
    assert plan(a_study(journal), [Job("a", 0), Job("b", 0)]).enqueued == 1


def test_a_process_killed_while_writing_harms_nobody(journal: Path) -> None:
    code = """
print("ready", flush=True)
while True:
    study.set_user_attr("big", "x" * 400_000)
"""
    for pause in (0.02, 0.05, 0.09):
        with started(code, journal) as writer:
            study = a_study(journal)
            for _ in range(5):
                study.set_user_attr("small", pause)
            time.sleep(pause)
            writer.kill()
        study.set_user_attr("after", pause)
        assert a_study(journal).user_attrs["after"] == pause


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("/dev/null/study.log", "must be in a folder that can be written"),
        ("/proc/none/study.log", "must be in a folder that can be written"),
        ("sqlite:////dev/null/study.db", "must be a database that can be reached"),
        ("nosuch://user:secret@host/db", "must be a path or the URL of SQLite, PostgreSQL or MySQL"),
        ("postgresql://user:secret@host/db", r"must be a URL that spells its driver.*Write postgresql\+psycopg://"),
        ("mysql+mysqldb://user:secret@host/db?password=secret", "whose driver is installed.*Install the driver mysqldb"),
        ("://secret", "must be a path or a database URL"),
    ],
)
def test_bad_storage_is_told_in_one_line(bad: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        open_storage(bad)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_an_unreachable_database_is_told_without_credentials(tmp_path: Path) -> None:
    # A driver that is always there stands for one whose server is not: a file that is no database.
    (tmp_path / "x.db").write_bytes(b"no database at all, but long enough to be looked at" * 99)
    with pytest.raises(InputError, match=r"must be a database that can be reached\. Got 'file is not a database'"):
        open_storage(f"sqlite:///{tmp_path}/x.db")


def test_what_optuna_wraps_while_it_opens_is_one_line_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(url: str, **more: object) -> None:
        raise StorageInternalError("Optuna's own words") from sa.exc.OperationalError("INSERT", {}, OSError("disk I/O error"))

    monkeypatch.setattr("studies.store.db.opening.RDBStorage", failing)
    with pytest.raises(InputError, match=r"must be a database that can be reached\. Got 'disk I/O error' instead"):
        open_storage(f"sqlite:///{tmp_path}/study.db")


def test_a_folder_is_not_a_journal(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a journal file or a database URL"):
        open_storage(tmp_path)


@pytest.mark.parametrize("absent", ["study.log", "sqlite:///{}/study.db"])
def test_reading_does_not_make_a_storage(tmp_path: Path, absent: str) -> None:
    name = absent.format(tmp_path) if "://" in absent else str(tmp_path / absent)
    with pytest.raises(InputError, match="must be an existing"):
        open_storage(name, must_exist=True)
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_fails_later_is_told(tmp_path: Path) -> None:
    study = a_study(f"sqlite:///{tmp_path}/study.db")
    (tmp_path / "study.db").write_bytes(b"x" * 5000)
    with pytest.raises(InputError, match=r"storage sqlite:///.*/study\.db must be a database that can be reached"):
        plan(study, jobs(1))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://ann:pw@host:5432/db?sslkey=pw", "postgresql+psycopg://host:5432/db"),
        ("sqlite:///a/b.db", "sqlite:///a/b.db"),
        ("postgresql+psycopg://ann:p w@host:x/db", "postgresql+psycopg://..."),
    ],
)
def test_public_url(url: str, shown: str) -> None:
    assert public_url(url) == shown


# --- batches ---


def test_a_batch_is_one_write(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = a_study(journal, jobs(1))
    trial = study.ask()
    writes: list[int] = []
    append = SafeJournal.append_logs

    def counted(self: SafeJournal, logs: list[dict[str, object]]) -> None:
        append(self, logs)
        writes.append(self._batch is None)

    monkeypatch.setattr(SafeJournal, "append_logs", counted)
    with batched(study), batched(study):
        for i in range(5):
            trial.set_user_attr(f"n{i}", i)
    assert sum(writes) == 1
    assert [a_study(journal).trials[0].user_attrs[f"n{i}"] for i in range(5)] == [0, 1, 2, 3, 4]


def test_a_batch_for_a_finished_trial_is_refused_once(where: str) -> None:
    study = a_study(where, jobs(1))
    trial = study.ask()
    a_study(where).tell(0, [1.0, 1.0, 1.0])
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        set_attrs(trial, {"a": 1, "b": 2})
    assert study.trials[0].state == TrialState.COMPLETE  # and the study goes on
    assert not fail(study, trial, LOST, "too late")


# --- planning ---


def test_planning_is_idempotent(where: str) -> None:
    study = a_study(where)
    first = plan(study, jobs(3, seeds=2))
    assert (first.planned, first.enqueued, first.waiting, first.others) == (6, 6, 6, 0)
    again = plan(a_study(where), jobs(3, seeds=2))
    assert (again.planned, again.enqueued, again.waiting) == (6, 0, 6)
    attrs = study.trials[0].user_attrs
    assert (attrs["network_key"], attrs["seed"], attrs["label"], attrs["levels"]) == ("net0", 0, "n0", {"conv": "a", "width": 0})
    assert study.trials[0].params == {"conv": "a", "width": 0}


def test_only_what_is_missing_is_enqueued(where: str) -> None:
    study = a_study(where, jobs(2))
    run_worker(study, values)
    report = plan(study, jobs(3))
    assert (report.planned, report.complete, report.enqueued, report.waiting) == (3, 2, 1, 1)
    smaller = plan(study, jobs(1))
    assert (smaller.planned, smaller.complete, smaller.others, smaller.enqueued) == (1, 1, 2, 0)


def test_a_job_planned_twice_is_a_mistake(journal: Path) -> None:
    with pytest.raises(AssertionError, match="planned twice: network a with seed 0"):
        plan(a_study(journal), [Job("a", 0), Job("a", 0)])
    with pytest.raises(AssertionError, match="reserved"):
        plan(a_study(journal), [Job("a", 0, {}, {"lease": 1})])


def test_two_planners_at_once_do_not_enqueue_twice(where: str) -> None:
    a_study(where)
    code = """
from studies.store.queue import Job, plan
print("ready", flush=True)
sys.stdin.readline()
print(plan(study, [Job(f"n{i}", 0, {"a": i}) for i in range(25)]).enqueued)
"""
    planners = [started(code, where) for _ in range(3)]
    for planner in planners:  # all at once
        assert planner.stdin is not None
        planner.stdin.write("\n")
        planner.stdin.flush()
    assert sum(int(planner.communicate()[0]) for planner in planners) == 25
    assert len(a_study(where).trials) == 25


# --- levels ---


def test_an_axis_that_grows(where: str) -> None:
    study = a_study(where)
    choices = {"conv": ["standard", "separable", "pointwise_first"]}
    plan(study, [Job("a", 0, {"conv": "standard", "depth": 2, "rate": 0.5, "flag": True, "width": "8,16"})], choices=choices)
    grown = [
        Job("b", 0, {"conv": "separable", "depth": 9, "rate": 7.0, "flag": False, "width": "32,64"}),  # known piece, wider ranges
        Job("c", 0, {"conv": "mine", "depth": 2.5, "rate": 1, "extra": "new"}),  # unknown piece, other kind, new factor
        Job("d", 0, {"conv": 3, "depth": "two", "rate": "x"}),  # all of another kind
    ]
    assert plan(a_study(where), grown, choices=choices).enqueued == 3
    b, c, d = study.trials[1:]
    assert b.params == {"conv": "separable", "depth": 9, "rate": 7.0}
    # A categorical parameter without announced choices cannot grow: the level stays, as an attribute.
    assert (b.user_attrs["level: flag"], b.user_attrs["level: width"]) == (False, "32,64")
    assert c.params == {"rate": 1.0, "extra": "new"}
    assert (c.user_attrs["level: conv"], c.user_attrs["level: depth"]) == ("mine", 2.5)
    assert d.params == {}
    assert d.user_attrs["levels"] == {"conv": 3, "depth": "two", "rate": "x"}
    assert run_worker(study, values).complete == [0, 1, 2, 3]


def test_true_is_not_one(journal: Path) -> None:
    # Optuna cannot tell True from 1 among choices, so the second of them is kept as an attribute.
    study = a_study(journal)
    plan(study, [Job("a", 0, {"x": True}), Job("b", 0, {"x": 1}), Job("c", 0, {"x": "1"})])
    assert [trial.params.get("x") for trial in study.trials] == [True, None, "1"]
    assert study.trials[1].user_attrs["level: x"] == 1
    assert [type(trial.user_attrs["levels"]["x"]) for trial in study.trials] == [bool, int, str]


# --- leases and reconciling ---


def test_a_trial_of_a_live_worker_elsewhere_is_left_alone(where: str) -> None:
    study = a_study(where, jobs(2))
    study.ask()
    on_another_machine(0, 5.0, study)
    assert trial_state(study).running == 1
    assert reconcile(study) == 0
    assert study.trials[0].state == TrialState.RUNNING


def test_a_trial_of_a_silent_worker_elsewhere_is_tried_again(where: str) -> None:
    study = a_study(where, jobs(1))
    study.ask()
    on_another_machine(0, 31.0, study)
    assert trial_state(study).stale == 1
    assert records(study)[0].state == STALE
    assert reconcile(study) == 1
    lost, again = study.trials
    assert lost.state == TrialState.FAIL
    assert lost.user_attrs["reason"].startswith("worker lost: host far, process 1, last beat 20")
    assert (again.state, again.user_attrs["network_key"], again.params) == (TrialState.WAITING, "net0", lost.params)
    assert reconcile(study) == 0


def test_a_dead_process_of_this_machine_is_known_at_once(where: str) -> None:
    study = a_study(where, jobs(1))
    code = """
from studies.store.lease import Worker
from studies.store.source import Enumerated
with Worker(study) as worker:
    Enumerated().next_job(study, worker)
    print("ready", flush=True)
    sys.stdin.readline()
"""
    with started(code, where) as worker:
        assert trial_state(study).running == 1
        assert reconcile(study) == 0
        worker.kill()
        while lease.process_started(worker.pid):  # a zombie counts as dead: it is not awaited before the question
            pass
        assert trial_state(study).stale == 1
        assert plan(study, jobs(1)).recovered == 1
    assert states(study) == ["FAIL", "WAITING"]
    assert read_histories(study).beats == {}  # forgotten


def test_a_reused_process_id_is_not_the_worker(journal: Path) -> None:
    mine = lease.Lease(worker="w", host="h", machine=lease.this_machine(), pid=os.getppid(), started="12345", time=0)
    assert lease.process_started(os.getppid()) not in ("", "12345")
    assert not lease.is_alive(mine, {}, 30, Clock(now=0))


def test_a_trial_claimed_without_a_lease(journal: Path) -> None:
    # Killed between asking and writing the lease: at once when no worker lives, else after the time of staleness.
    study = a_study(journal, jobs(1))
    study.ask()
    with lease.Worker(study):
        assert trial_state(study).running == 1
        assert trial_state(study, Limits(stale_after_s=0)).stale == 1
    assert trial_state(study).stale == 1
    assert reconcile(study) == 1
    assert "before it wrote its lease" in study.trials[0].user_attrs["reason"]


def test_lost_workers_are_tried_again_within_their_own_bound(journal: Path) -> None:
    study = a_study(journal, jobs(1))
    for number in range(3):
        study.ask()
        on_another_machine(number, 99, study)
        assert reconcile(study, Limits(max_attempts=1, max_lost=3)) == (1 if number < 2 else 0)
    assert trial_state(study, Limits(max_attempts=1, max_lost=3)).failed == 1
    assert plan(study, jobs(1), limits=Limits(max_lost=3)).enqueued == 0
    assert plan(study, jobs(1), limits=Limits(max_lost=3), retry_failed=True).enqueued == 1
    assert run_worker(study, values).complete == [3]


def test_attempts_are_bounded_until_asked_again(where: str) -> None:
    study = a_study(where, jobs(1))

    def failing(trial: optuna.Trial) -> tuple[float, float, float]:
        raise TrialFailed("loss is not a number")

    assert run_worker(study, failing).failed == [0, 1, 2]
    assert trial_state(study) == StudyState(planned=1, complete=0, failed=1, waiting=0, running=0, stale=0, failed_trials=3)
    assert plan(study, jobs(1)).failed == 1
    assert plan(study, jobs(1), retry_failed=True).waiting == 1
    assert run_worker(study, failing).failed == [3, 4, 5]
    record = records(study)[0]
    assert (record.state, record.reason, record.number) == (FAILED, "loss is not a number", 5)


# --- records ---


def a_record(**fields: object) -> Record:
    known = {
        "costs": {"params": 7, "macs": 9},
        "training": {"best_loss": 0.25, "epochs": [{"loss": 0.25}]},
        "latency": {"cpu/1": {"median_ms": 1.5}, "cpu/32": {"median_ms": None}},
        "quality": {"reporting": {"ssim": 0.5}},
        "intents": ({"conv": "a"},),
    }
    return Record(**{"network_key": "net0", "label": "n0", "seed": 0, **known, **fields})  # type: ignore[arg-type]


def test_records_come_back_with_numbers_to_sort_by(where: str) -> None:
    study = a_study(where, jobs(2))

    def objective(trial: optuna.Trial) -> tuple[float, float, float]:
        if trial.number == 1:
            raise ValueError("two\nlines")
        store_record(trial, a_record(), feasible=True)
        return values(trial)

    run_worker(study, objective, limits=Limits(max_attempts=1))
    done, failed = records(study, Limits(max_attempts=1))
    assert done == a_record(state=COMPLETE, number=0)
    assert (failed.state, failed.reason, failed.label, failed.seed) == (FAILED, "ValueError: two lines", "n1", 0)
    assert failed.factors == {"conv": "b", "width": "8"}
    assert 'raise ValueError("two\\nlines")' in study.trials[1].user_attrs["traceback"]
    numbers = {k: v for k, v in study.trials[0].user_attrs.items() if isinstance(v, float)}
    assert numbers == {"params": 7.0, "macs": 9.0, "loss": 0.25, "ssim": 0.5, "latency_ms cpu/1": 1.5}
    assert study.trials[0].user_attrs["feasible"] is True


def test_one_record_per_job_in_planned_order(where: str) -> None:
    study = a_study(where, jobs(3))
    with lease.Worker(study) as worker:
        trial = claim(study, worker)
        assert trial is not None
        assert [record.state for record in records(study)] == [RUNNING, WAITING, WAITING]
        fail(study, trial, "error", "first try")
        worker.release()
    reconcile(study)
    again = records(study)
    assert [record.network_key for record in again] == ["net0", "net1", "net2"]
    assert [record.number for record in again] == [3, 1, 2]
    run_worker(study, values)
    assert [(record.state, record.number) for record in records(study)] == [(COMPLETE, 3), (COMPLETE, 1), (COMPLETE, 2)]


def test_a_grown_space_adds_intents_to_networks_already_trained(where: str, tmp_path: Path) -> None:
    study = a_study(where)
    old, new = [{"conv": "a"}], [{"conv": "a"}, {"conv": "b"}]
    plan(study, [Job("net0", 0, {"conv": "a"}, {"label": "n0", "intents": old})])

    def objective(trial: optuna.Trial) -> tuple[float, float, float]:
        store_record(trial, a_record(intents=tuple(trial.user_attrs["intents"])))
        return values(trial)

    run_worker(study, objective)
    assert records(study)[0].intents == tuple(old)
    grown = [Job("net0", 0, {"conv": "a"}, {"label": "n0", "intents": tuple(new)})]  # a tuple comes back as a list: no change
    plan(study, grown)
    assert records(study)[0].intents == tuple(new)
    sizes = {file: file.stat().st_size for file in tmp_path.glob("study.*")}
    plan(study, grown)
    assert {file: file.stat().st_size for file in tmp_path.glob("study.*")} == sizes


def test_records_need_no_torch(journal: Path) -> None:
    run_worker(a_study(journal, jobs(2)), values)
    code = """
from studies.store.queue import trial_state
from studies.store.records import records
print(trial_state(study).complete, len(records(study)), "torch" in sys.modules)
"""
    assert output(code, journal).split() == ["2", "2", "False"]


def test_the_journal_does_not_grow_with_time(journal: Path) -> None:
    study = a_study(journal, jobs(1))
    with lease.Worker(study, beat_s=0.02) as worker:
        claim(study, worker)
        before, beat = journal.stat().st_size, lease.read_beats(study)[worker.name].time
        wait_until(lambda: lease.read_beats(study)[worker.name].time > beat)
        assert journal.stat().st_size == before


def test_beats_in_a_database_take_one_row(tmp_path: Path) -> None:
    study = a_study(f"sqlite:///{tmp_path}/study.db")
    for when in (1.0, 2.0, 3.0):
        lease.write_beat(study, lease.Lease(worker="w", host="h", machine="m", pid=1, started="1", time=when))
    assert lease.read_beats(study)["w"].time == 3.0
    set_system_attr(study, "beat:w", None)
    assert lease.read_beats(study) == {}


def test_frozen_trials_keep_their_type(journal: Path) -> None:
    study = a_study(journal, jobs(1))
    assert isinstance(read_histories(study).jobs["net0", 0].last, FrozenTrial)
