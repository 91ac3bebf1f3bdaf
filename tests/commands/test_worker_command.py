"""`worker`: a study on several machines, each with a folder of its own; what is refused before any work."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from rich.console import Console

import ablation
from studies.engine.opened import VERSION, StudyRun, open_run
from studies.grid.command import prepare
from studies.run import main, parse
from studies.store.storage import open_storage, open_study
from studies.work.line import STORAGE
from tests.commands.conftest import enter
from tests.commands.test_own_study import forget, write
from tests.commands.test_own_study import grid as own_grid
from tests.storages import wait_until
from tests.tiny_grid import begin, grid

LONG = ["--seeds", "2", "--images", "100", "--epochs", "8"]  # for others to join meanwhile
REPO = Path(__file__).parents[2]


Machine = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A command in a folder of its own, as on another machine; what still runs is killed."""
    with ExitStack() as stack:

        def begin(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
            folder.mkdir(exist_ok=True)
            variables = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1", **environment}
            command = [sys.executable, "-m", "studies.run", *arguments]
            pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            process = stack.enter_context(subprocess.Popen(command, cwd=folder, env=variables, **pipes))
            stack.callback(process.kill)
            return process

        yield begin


def trials(where: str, state: str) -> list[tuple[str, int]]:
    """Network and seed of each trial in this state."""
    study = open_study(open_storage(where), "tiny")
    return [(t.user_attrs["network_key"], t.user_attrs["seed"]) for t in study.get_trials() if t.state.name == state]


def wait_for(where: str, running: int, *processes: subprocess.Popen[str]) -> None:
    """Return once so many trials run. Asked beside Optuna, whose questions would keep SQLite from those who work."""

    def is_so() -> bool:
        time.sleep(0.2)
        assert [process.poll() for process in processes] == [None] * len(processes), "ended before"
        try:
            with closing(sqlite3.connect(f"file:{where.removeprefix('sqlite:///')}?mode=ro", uri=True)) as database:
                return bool(database.execute("SELECT count(*) FROM trials WHERE state = 'RUNNING'").fetchone()[0] >= running)
        except sqlite3.OperationalError:  # not there by now
            return False

    wait_until(is_so, 300)


def unplanned(*more: str) -> StudyRun:
    """A tiny grid that has begun, of which nothing is planned yet."""
    options = parse(grid(*more))
    return open_run(*prepare(options), Console(quiet=True))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def planned_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a tiny grid is timed and planned; none of its trials has run."""
    with pytest.MonkeyPatch.context() as patch:
        folder = begin(enter(tmp_path_factory.mktemp("planned"), patch))
        patch.setattr("studies.engine.runner.train_all", lambda *_: None)
        assert main(grid("--storage", "sqlite:///shared.db", *LONG)) == 0
    return folder


@pytest.fixture
def planned(planned_once: Path, place: Path) -> str:
    """The storage of such a grid, to work on."""
    shutil.copy(planned_once / "shared.db", place)
    shutil.copytree(planned_once / "cache", place / "cache")
    return f"sqlite:///{place}/shared.db"


# --- machines


def test_a_second_machine_trains_what_the_first_leaves(machine: Machine, place: Path) -> None:
    """The one that planned is killed in the middle of a trial: each trial is complete once, wherever it ran."""
    where = f"sqlite:///{place}/shared.db"
    (place / "A").mkdir()
    shutil.copy(place / "space.toml", place / "A")
    first = machine(place / "A", *grid("--storage", where, *LONG))
    wait_for(where, 1, first)
    time.sleep(0.3)  # the claim is written
    first.send_signal(signal.SIGSTOP)  # until the other has joined: a process that is stopped is not lost
    second = machine(place / "B", "worker", "--study", "tiny", **{STORAGE: where})
    wait_for(where, 2, first, second)
    first.kill()
    first.communicate(timeout=300)
    _, message = second.communicate(timeout=600)
    assert second.returncode == 0, message
    assert sorted(trials(where, "COMPLETE")) == sorted(set(trials(where, "COMPLETE"))) and len(trials(where, "COMPLETE")) == 6
    assert "6 of 6 trials are complete, 0 failed. The page comes by:\n  python -m studies.run grid --space space.toml" in message
    assert json.loads((place / "B/results/tiny/study.json").read_text())["command"] == "grid"
    assert list((place / "B/results/tiny/checkpoints").glob("*/*")) and not (place / "B/results/tiny/report").exists()
    # who planned has only the page left to write
    last = machine(place / "A", *grid("--storage", where, *LONG))
    assert "6 of 6 trials are complete. Report" in last.communicate(timeout=300)[1]
    assert len(trials(where, "COMPLETE")) == 6


def test_ctrl_c_hands_the_trial_back_and_the_same_command_joins_again(machine: Machine, planned: str, place: Path) -> None:
    running = machine(place / "B", "worker", "--storage", planned)
    wait_for(planned, 1, running)
    running.send_signal(signal.SIGINT)
    _, message = running.communicate(timeout=300)
    assert running.returncode == 130 and "Traceback" not in message
    assert "Stopped. What was trained here is handed back; the same command joins again:\n  python -m studies.run worker" in message
    assert not trials(planned, "RUNNING")
    assert main(["worker", "--storage", planned, "--out", "C"]) == 0
    assert sorted(trials(planned, "COMPLETE")) == sorted(set(trials(planned, "COMPLETE"))) and len(trials(planned, "COMPLETE")) == 6


def test_a_cluster_s_warning_hands_the_trials_of_all_processes_back(machine: Machine, planned: str, place: Path) -> None:
    """SIGUSR2 comes to every process of a task at once; the parent then sends its workers SIGTERM as well."""
    running = machine(place / "B", "worker", "--storage", planned, "--workers", "2")
    wait_for(planned, 2, running)
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    for process in (*map(int, children), running.pid):
        os.kill(process, signal.SIGUSR2)
    _, message = running.communicate(timeout=300)
    assert running.returncode == 130, message
    study = open_study(open_storage(planned), "tiny")
    ended = [trial for trial in study.get_trials() if trial.state.name == "FAIL"]
    assert {trial.user_attrs["reason_kind"] for trial in ended} == {"interrupted"}
    assert {trial.user_attrs["reason"] for trial in ended} == {"interrupted; the checkpoint is kept"}


def test_it_waits_for_the_plan(machine: Machine, place: Path) -> None:
    where = f"sqlite:///{place}/shared.db"
    unplanned("--storage", where)
    waiting = machine(place / "B", "worker", "--storage", where)
    assert waiting.stderr is not None
    lines = []
    while "Nothing is planned yet" not in (line := waiting.stderr.readline()):
        lines.append(line)
        assert line, lines
    assert main(grid("--storage", where)) == 0
    _, message = waiting.communicate(timeout=300)
    assert waiting.returncode == 0 and "3 of 3 trials are complete" in message
    assert len(trials(where, "COMPLETE")) == 3


def test_a_journal_on_a_shared_disk_is_joined_in_its_own_folder(
    study: Path, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path.name for path in study.iterdir())
    assert main(["worker", "--storage", "results/tiny/journal.log"]) == 0
    message = capfd.readouterr().err
    assert "Folder    results/tiny\n" in message and "3 of 3 trials are complete" in message
    assert sorted(path.name for path in study.iterdir()) == before


# --- what is refused, in one line and before any work

Change = Callable[[optuna.Study], None]


def changed(**values: Any) -> Change:
    """The study began with other settings."""

    def change(study: optuna.Study) -> None:
        study.set_user_attr("config", {**study.user_attrs["config"], **values})

    return change


def with_piece(study: optuna.Study) -> None:
    factors = {"down": {"max": {"down": "max"}, "blur": {"down": "blur"}}}
    config = study.user_attrs["config"]
    study.set_user_attr("config", {**config, "space": {**config["space"], "factors": factors}})


def of_version(version: str) -> Change:
    return lambda study: study.set_user_attr(VERSION, version)


REFUSED = {
    "no study of that name": (None, ["--study", "other"], "--study must be one of tiny. Got 'other'"),
    "no storage": (None, ["--storage", "none/journal.log"], "storage must be an existing journal file. Got 'none/journal.log'"),
    "no server": (
        None,
        ["--storage", "postgresql+psycopg://me:secret@127.0.0.1:1/db"],
        "storage postgresql+psycopg://127.0.0.1:1/db must be a database that can be reached",
    ),
    "a study that is not ours": (lambda study: study.set_user_attr("config", None), [], "--study must be a study that `grid`"),
    "other data": (changed(fingerprint="0" * 16), [], "fingerprint 0000000000000000. Got "),
    "images that are elsewhere": (changed(data={"name": "celeba", "limit": None, "seed": 0, "image_size": 16}), [], "--data-root"),
    "another version": (of_version("0.1.7"), [], f"must be 0.1, by which the study is planned. Got {ablation.__version__!r}"),
    "a piece of the user's own": (with_piece, [], "Pieces of the study must be registered here. Got \"no down 'blur'\" instead."),
    "another device": (changed(device="cuda"), [], "The machine must be one with the study's device, cuda. Got 'one without'"),
    "a folder of another study": (None, ["--out", "results/other"], "--out must be a folder of one study alone"),
    "no worker": (None, ["--workers", "0"], "--workers must be a whole number of at least 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_one_line(
    name: str, study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    change, arguments, words = REFUSED[name]
    shutil.copytree(study, "results/other")
    stored = open_study(open_storage(study / "journal.log"), "tiny")
    if change is not None:
        change(stored)
    num = len(stored.trials)
    capsys.readouterr()
    assert main(["worker", "--storage", "results/tiny/journal.log", *arguments]) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: ") and words in message and "secret" not in message
    if "piece" in name:
        assert "--plugin" in message and "The study began by: python -m studies.run grid" in message
    assert len(open_study(open_storage(study / "journal.log"), "tiny").trials) == num


def test_a_storage_must_be_named_and_hold_a_study(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["worker"]) == 2
    assert f"--storage must be given, here or in the environment as {STORAGE}." in capsys.readouterr().err
    open_storage("sqlite:///empty.db")
    assert main(["worker", "--storage", "sqlite:///empty.db"]) == 2
    assert "--storage must be one that holds a study. Got 'sqlite:///empty.db'" in capsys.readouterr().err


@pytest.mark.parametrize("version", [None, f"{'.'.join(ablation.__version__.split('.')[:2])}.99"])
def test_a_study_of_this_or_of_no_known_version_goes_on(version: str | None, study: Path) -> None:
    of_version(version or "")(open_study(open_storage(study / "journal.log"), "tiny"))
    assert main(["worker", "--storage", "results/tiny/journal.log"]) == 0


# --- a study of one's own


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A storage with a study of one's own that is planned; its modules lie in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    forget()
    write(tmp_path, nets="joined_nets", training="joined_training")
    with monkeypatch.context() as patch:
        patch.setattr("studies.engine.runner.train_all", lambda *_: None)
        assert own_grid("--storage", f"sqlite:///{tmp_path}/shared.db") == 0
    return f"sqlite:///{tmp_path}/shared.db"


def test_networks_and_training_of_ones_own(machine: Machine, own: str, tmp_path: Path) -> None:
    for name in ("joined_nets.py", "joined_training.py"):
        (tmp_path / "B").mkdir(exist_ok=True)
        shutil.copy(name, "B")
    other = machine(tmp_path / "B", "worker", "--storage", own)
    _, message = other.communicate(timeout=300)
    assert other.returncode == 0, message
    assert "9 of 9 trials are complete" in message


@pytest.mark.parametrize("name", ["joined_nets", "joined_training"])
def test_another_source_of_ones_own_is_refused(machine: Machine, own: str, tmp_path: Path, name: str) -> None:
    for each in ("joined_nets", "joined_training"):
        (tmp_path / "B").mkdir(exist_ok=True)
        shutil.copy(f"{each}.py", "B")
    with (tmp_path / "B" / f"{name}.py").open("a") as file:
        file.write("\n# changed\n")
    other = machine(tmp_path / "B", "worker", "--storage", own)
    _, message = other.communicate(timeout=300)
    assert other.returncode == 2
    assert message.startswith(f"error: The source of {name}:") and "must be the one that the study began with" in message


def test_modules_that_are_not_here_are_refused(machine: Machine, own: str, tmp_path: Path) -> None:
    other = machine(tmp_path / "B", "worker", "--storage", own)
    _, message = other.communicate(timeout=300)
    assert other.returncode == 2 and message.count("\n") == 1
    assert message.startswith("error: A network must be importable")
