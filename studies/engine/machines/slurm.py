"""Tasks of a Slurm cluster that join a study, submitted through submitit. When and where they run is Slurm's affair.

No file and no command line holds the storage, which may have a password in it: sbatch hands its own environment on to the tasks.
Slurm warns a task by SIGUSR2 before its time is over; its trial is then handed back.
"""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from blocks.errors import InputError, must_be
from studies.engine.machines.joined import join_study, open_joined
from studies.engine.opened import RunOptions, StudyRun
from studies.engine.runner import PLAIN
from studies.store.queue import trial_state
from studies.store.storage import is_url, public_url
from studies.work.line import STORAGE, program
from studies.work.stopping import StopRequest

ELSE = "Else start `worker` on each machine: docs/machines has a unit of systemd and a loop over ssh."
LOCKS = (
    "Note: the tasks share {path}. Locks on its disk must hold between machines, as on NFS 4 or on Lustre mounted with flock; "
    "where they don't, a database is the --storage to take."
)


@dataclass(frozen=True, kw_only=True)
class Tasks:
    """What is asked of Slurm."""

    num: int
    settings: Mapping[str, str]  # of sbatch, by its own names; time in minutes among them

    @classmethod
    def read(cls, num: int, settings: Sequence[str], where: str) -> Tasks:
        """From the flags; InputError, before any work, where tasks could not be submitted or would share no storage."""
        pairs = [text.partition("=") for text in settings]
        for name, equals, value in pairs:
            if not (name and equals and value) or name.startswith("-"):
                raise must_be("--slurm-args", "settings of sbatch as NAME=VALUE", f"{name}{equals}{value}", "As in partition=gpu.")
        named = {name: value for name, _, value in pairs}
        if not named.get("time", "").isdigit():
            raise must_be("--slurm-args", "given with the minutes that a task may take, as time=120", " ".join(settings))
        if shutil.which("sbatch") is None or shutil.which("srun") is None:
            raise must_be("--slurm", "used where Slurm's sbatch and srun are installed", num, ELSE)
        if importlib.util.find_spec("submitit") is None:
            raise must_be("--slurm", "used with submitit", num, "It comes with pip install 'vae-ablation[slurm]'.")
        if where.startswith("sqlite"):
            rule = "a database server, as postgresql+psycopg://HOST/NAME, or a journal file on a shared disk"
            raise must_be("--storage", rule, public_url(where), "SQLite is for processes of one machine.")
        return cls(num=num, settings=named)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One of them: joins the study as `worker` does. Nothing in it is secret, for it is written to a file."""

    options: RunOptions

    def __call__(self) -> int:
        """The exit code of `worker`."""
        where = os.environ.get(STORAGE)
        if where is None:
            raise must_be(STORAGE, "set in the task's environment", None, "sbatch hands it on unless it is told --export=NONE.")
        return join_study(open_joined(replace(self.options, storage=where), Console(stderr=True)))


def submit(tasks: Tasks, run: StudyRun, total: int, complete: int, stop: StopRequest) -> int:
    """Submit tasks that train what waits, no more than can be busy. Exit code 0, or 1 where trials failed for good."""
    options, state = run.options, trial_state(run.study, run.config.limits)
    if not state.waiting:
        run.console.print(f"Nothing waits, {state.running} trials run: no task is submitted.", **PLAIN)
        return int(state.failed > 0)
    num = min(tasks.num, math.ceil(state.waiting / options.workers))
    if not is_url(options.where):
        run.console.print(LOCKS.format(path=options.where), **PLAIN)
    shared = replace(options, out=options.out.resolve(), storage=None)
    folder, where = shared.out / "slurm", options.where if is_url(options.where) else str(Path(options.where).resolve())
    with _environment(STORAGE, where):
        job = _submitted(folder, num, tasks.settings, Task(options=shared))
    run.console.print(f"Submitted {num} tasks as job {job}, for {state.waiting} trials; what they print is in {folder}.", **PLAIN)
    storage = public_url(options.where) if is_url(options.where) else options.where
    shown = f"--storage {storage} --study {options.study}" if options.storage else str(options.out)
    run.console.print(f"To follow them: {program()} status {shown} --watch", **PLAIN)
    run.console.print("The same command submits again while any wait, and writes the page once nothing is left.", **PLAIN)
    return int(state.failed > 0)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Inside, this process has a variable, and those that it starts."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _submitted(folder: Path, num: int, settings: Mapping[str, str], task: Task) -> str:
    """The number of the job; InputError with what sbatch says where it refuses."""
    import submitit
    from submitit.core.utils import FailedJobError

    executor = submitit.SlurmExecutor(folder)
    known, named = executor._valid_parameters(), {name.replace("-", "_"): value for name, value in settings.items()}
    others = {name: value for name, value in named.items() if name not in known}
    own: dict[str, Any] = {name: int(value) if value.isdigit() else value for name, value in named.items() if name in known}
    executor.update_parameters(**{"job_name": "ablation", **own, "additional_parameters": others})
    try:
        with executor.batch():
            jobs = [executor.submit(task) for _ in range(num)]
    except FailedJobError as error:
        reason = " ".join((str(error).strip() or str(error.__cause__)).split()).rstrip(".")
        raise InputError(f"sbatch refused the tasks: {reason}. The trials are planned; the same command submits again.") from None
    return str(jobs[0].job_id).partition("_")[0]
