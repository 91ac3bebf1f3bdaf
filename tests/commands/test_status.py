"""`status` of a study on several machines: who works, how fast, how long, what on; once, or again and again."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from ablation.design.protocol import Protocol
from ablation.design.space import Space
from ablation.design.spec import preset
from studies.engine.config import StudyConfig, StudyFolder
from studies.run import main
from studies.store.lease import Lease, Worker, write_beat
from studies.store.queue import Job, job_attrs, plan, trial_state
from studies.store.source import Enumerated, propose_until
from studies.store.storage import open_storage, open_study
from studies.stored import machines
from studies.stored.machines import left_s, read_overview
from studies.work.line import STORAGE
from studies.work.progress import ProgressFile
from tests.storages import VALUES

REPO = Path(__file__).parents[2]
HOUR_S = 3600.0


def config(**more: object) -> StudyConfig:
    space = Space(name="s", base=preset("small"), factors={"head": {"flat": {"head": "flatten"}}})
    data = {"name": "faces", "limit": 40, "seed": 0, "image_size": 48}
    return StudyConfig(
        name="s", space=space.to_dict(), data=data, fingerprint="", protocol=Protocol().to_dict(), **more,  # type: ignore[arg-type]
    )  # fmt: skip


def lease(host: str, pid: int, ago_s: float) -> Lease:
    return Lease(worker=f"{host}-{pid}", host=host, machine=f"{host}/boot", pid=pid, started="1", time=time.time() - ago_s)


def elsewhere(study: optuna.Study, number: int, host: str, pid: int, ago_s: float, took_s: float | None = None) -> None:
    """A trial that another machine claimed so long ago; complete where it took so long."""
    job = job_attrs(Job(f"net{number}", 0, attrs={"label": f"network {number}"}))
    done = took_s is not None
    state, values = (TrialState.COMPLETE, VALUES) if done else (TrialState.RUNNING, None)
    trial = create_trial(state=state, values=values, user_attrs={**job, "lease": asdict(lease(host, pid, ago_s))})
    trial.datetime_start = datetime.now()
    trial.datetime_complete = trial.datetime_start + timedelta(seconds=took_s) if took_s is not None else None
    study.add_trial(trial)


@pytest.fixture
def busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> optuna.Study:
    """Ten trials: three complete within two hours, on alpha and beta; alpha runs one, gamma is lost over one."""
    monkeypatch.chdir(tmp_path)
    study = open_study(open_storage("sqlite:///s.db"), "tiny")
    study.set_user_attr("config", config().to_dict())
    plan(study, [Job(f"net{i}", 0, attrs={"label": f"network {i}"}) for i in range(5, 10)])
    elsewhere(study, 0, "alpha", 11, 2 * HOUR_S, 900)
    elsewhere(study, 1, "beta", 21, 3000, 600)
    elsewhere(study, 2, "alpha", 11, 1500, 900)
    elsewhere(study, 3, "alpha", 11, 300)
    elsewhere(study, 4, "gamma", 31, 900)
    write_beat(study, lease("alpha", 11, 3))
    write_beat(study, lease("alpha", 12, 2))
    write_beat(study, lease("gamma", 31, 600))
    return study


def status(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    capsys.readouterr()
    assert main(["status", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_machines_workers_speed_and_time_left(busy: optuna.Study, capsys: pytest.CaptureFixture[str]) -> None:
    lines = status(capsys, "--storage", "sqlite:///s.db", "--study", "tiny")
    assert lines[0] == "tiny: 10 planned: 3 complete, 0 failed, 5 waiting, 1 running, 1 stale"
    # 800 s a trial: what is left of one, and six, by two, which is 44:10; or four rounds
    speed = r"  1\.5 trials an hour so far, 2 in the last hour; about (44:10|44:0\d) to 53:20 left with 2 at a time"
    assert re.fullmatch(speed, lines[1])
    assert lines[2] == "  alpha: 2 workers, 2 trials complete"
    assert re.fullmatch(r"    process 11, beat [345] s ago: network 3, seed 0, for 5:0\d", lines[3])
    assert re.fullmatch(r"    process 12, beat [234] s ago: between two trials", lines[4])
    assert lines[5] == "  beta: 0 workers, 1 trials complete"
    assert lines[6] == "  gamma: 0 workers, 0 trials complete"
    assert re.fullmatch(r"    lost: 1, the last beat 10:0\d ago", lines[7])
    assert lines[8].startswith("  stale: network 4, seed 0: worker lost: host gamma, process 31")


def test_a_worker_of_this_machine_says_its_epoch(busy: optuna.Study, capsys: pytest.CaptureFixture[str]) -> None:
    with Worker(busy) as worker:
        trial = Enumerated().next_job(busy, worker)
        assert trial is not None
        progress = ProgressFile(StudyFolder(Path("results/tiny")).progress, os.getpid())
        progress.write("network 5", 3, 10, "epoch 2/6, loss 0.7")
        lines = status(capsys, "--storage", "sqlite:///s.db")
    mine = lines[lines.index(f"  {socket.gethostname()}: 1 worker, 0 trials complete") + 1]
    assert re.fullmatch(rf"    process {os.getpid()}, beat \d s ago: network 5, seed 0, epoch 2/6, loss 0.7, for \d s", mine)


def test_without_a_live_worker_nothing_goes_on(busy: optuna.Study, capsys: pytest.CaptureFixture[str]) -> None:
    for pid in (11, 12):
        write_beat(busy, lease("alpha", pid, 60))
    assert "; no worker lives: nothing goes on" in status(capsys, "--storage", "sqlite:///s.db")[1]


def test_a_search_says_how_long_it_proposes(busy: optuna.Study, capsys: pytest.CaptureFixture[str]) -> None:
    search = {"sampler": "random", "num_trials": 14, "limits": {}}
    busy.set_user_attr("config", config(search=search).to_dict())
    assert "left with 2 at a time" in status(capsys, "--storage", "sqlite:///s.db")[1]
    assert machines._to_be_proposed(busy, config(search=search), trial_state(busy)) == 4
    propose_until(busy, time.time() + 600)
    assert re.search(r"; proposes for another (10:00|9:5\d)$", status(capsys, "--storage", "sqlite:///s.db")[1])


def test_a_complete_study_keeps_its_speed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    study = open_study(open_storage("sqlite:///s.db"), "tiny")
    study.set_user_attr("config", config().to_dict())
    assert status(capsys, "--storage", "sqlite:///s.db") == ["tiny: 0 planned: 0 complete, 0 failed, 0 waiting, 0 running, 0 stale"]
    elsewhere(study, 0, "alpha", 11, 24 * HOUR_S, HOUR_S)
    lines = status(capsys, "--storage", "sqlite:///s.db")
    assert lines[1:] == [
        "  1.0 trials an hour so far, 0 in the last hour; nothing is left",
        "  alpha: 0 workers, 1 trials complete",
    ]
    assert read_overview(study, StudyFolder(tmp_path), config()).alive == []


def test_the_least_and_the_most_that_is_left() -> None:
    assert left_s(10.0, [], 4, 4) == (10.0, 10.0)
    assert left_s(10.0, [25.0], 0, 1) == (0.0, 10.0)  # longer than the mean already


def test_the_variable_says_where_unless_a_folder_has_its_own(
    busy: optuna.Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STORAGE, "sqlite:///s.db")
    assert status(capsys)[0].startswith("tiny: 10 planned")
    own = open_study(open_storage("results/other/journal.log"), "other")
    own.set_user_attr("config", config().to_dict())
    assert status(capsys, "results/other")[0].startswith("other: 0 planned")


@pytest.mark.parametrize("terminal", [False, True])
def test_watch_repeats_until_ctrl_c(busy: optuna.Study, terminal: bool) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPO), "COLUMNS": "120", "TERM": "xterm"}
    reading, writing = pty.openpty() if terminal else os.pipe()
    command = [sys.executable, "-m", "studies.run", "status", "--storage", "sqlite:///s.db", "--watch", "0.2"]
    watching = subprocess.Popen(command, env=environment, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    text = ""
    while text.count("tiny: 10 planned: 3 complete") < 2:
        text += os.read(reading, 10_000).decode()
    with Worker(busy) as worker:  # what comes meanwhile is shown
        assert Enumerated().next_job(busy, worker) is not None
        while "2 running" not in text:
            text += os.read(reading, 10_000).decode()
    watching.send_signal(signal.SIGINT)
    assert watching.wait(60) == 0
    assert watching.communicate()[1] == ""
    os.close(reading)
    assert ("\x1b[" in text) == terminal


@pytest.mark.parametrize(
    ("arguments", "words"), [(["--watch", "0"], "--watch must be a positive number"), (["--watch", "x"], "'x'")]
)
def test_how_often_must_be_seconds(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", *arguments]) == 2
    assert words in capsys.readouterr().err
