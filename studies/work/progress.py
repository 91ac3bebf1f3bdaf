"""Progress of a study: one bar for the study and one for each running trial; plain lines where there is no terminal."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)  # fmt: skip

from ablation.machine.files import write_atomic
from blocks.errors import must_be
from studies.store.lease import this_machine

UNITS = {"s": 1, "m": 60, "h": 3600}


def duration(seconds: float) -> str:
    """Seconds as '12 s', '3:05' or '1:02:03'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def parse_budget(text: str) -> float:
    """Seconds from '90', '90s', '20m' or '1.5h'; InputError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if match is None or not float(match[1]) > 0:
        raise must_be("--budget", "a positive time such as 90s, 20m or 1.5h", text)
    return float(match[1]) * UNITS[match[2] or "s"]


def print_line(console: Console, text: str) -> None:
    """Text as it is: without markup, colours or breaks of rich's own."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _columns(*more: ProgressColumn) -> list[ProgressColumn]:
    bar = [TextColumn("{task.description}", markup=False), BarColumn(bar_width=28)]
    return [*bar, *more, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()]


class Board:
    """What a person sees while a study runs. Finished trials are lines; running ones are bars on a terminal.

    `until`: of a study that a time ends, in seconds since 1970; it has no total.
    """

    def __init__(self, title: str, total: int, done: int, console: Console | None = None, until: float | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.total, self.until = total if until is None else None, until
        self.done, self.first, self.started = done, done, time.monotonic()
        detail = TextColumn("{task.fields[detail]}", markup=False)
        self._bars = Progress(*_columns(MofNCompleteColumn()), detail, console=self.console, disable=not self.console.is_terminal)
        self._study = self._bars.add_task(title, total=self.total, completed=done, detail="")
        self._trials: dict[int | str, TaskID] = {}

    def __enter__(self) -> Board:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def trial(self, worker: int | str, label: str, step: int, steps: int, detail: str = "") -> None:
        """Show where one worker's trial stands; `label` empty removes its bar."""
        if not label:
            if worker in self._trials:
                self._bars.remove_task(self._trials.pop(worker))
            return
        if worker not in self._trials:
            self._trials[worker] = self._bars.add_task(label, total=steps, detail=detail)
        self._bars.update(self._trials[worker], description=f"  {label}", total=steps, completed=step, detail=detail)

    def show_workers(self, folder: Path) -> None:
        """Show the trials of the worker processes that keep progress files in a folder."""
        present = {file.name: state for file in ProgressFile.all(folder) if (state := file.read())}
        for worker in set(self._trials) - set(present):
            self.trial(worker, "", 0, 1)
        for worker, state in present.items():
            self.trial(worker, **state)

    def finished(self, label: str, outcome: str) -> None:
        """A line for a trial that ended, and the study's bar one further."""
        self.done += self.total is None or self.done < self.total
        self._bars.update(self._study, completed=self.done)
        print_line(self.console, f"[{self._number()}] {label}: {outcome}{self._left()}")

    def failed(self, label: str, reason: str) -> None:
        """A line for an attempt that failed; the study's bar stays."""
        print_line(self.console, f"[{self._number()}] {label}: {reason}")

    def _number(self) -> str:
        return str(self.done) if self.total is None else f"{self.done}/{self.total}"

    def _left(self) -> str:
        if self.total is None:
            left_s = (self.until or 0.0) - time.time()
            return f" ({duration(left_s)} left to propose)" if left_s > 0 and not self.console.is_terminal else ""
        fresh, left = self.done - self.first, self.total - self.done
        if not left or not fresh or self.console.is_terminal:
            return ""
        return f" ({duration((time.monotonic() - self.started) / fresh * left)} left)"


class ProgressFile:
    """Where a worker process stands, for its parent: one small file, replaced at once.

    Machines that share the folder may have processes of one number: the file says whose it is, an earlier version's does not.
    """

    def __init__(self, folder: Path, worker: int, machine: str | None = None) -> None:
        self.worker = worker  # process id
        self.machine = own_machine() if machine is None else machine
        self.path = folder / f"worker-{self.machine}{'-' if self.machine else ''}{worker}.json"

    @classmethod
    def all(cls, folder: Path, machine: str | None = None) -> list[ProgressFile]:
        """Those of every worker, or of every worker of one machine, by process id."""
        names = [path.stem.removeprefix("worker-").rpartition("-") for path in folder.glob("worker-*.json")]
        files = [cls(folder, int(number), name) for name, _, number in names if number.isdigit()]
        return sorted((file for file in files if machine in (None, file.machine)), key=lambda file: (file.worker, file.machine))

    @property
    def name(self) -> str:
        """Unique among the workers of all machines."""
        return self.path.stem

    def write(self, label: str, step: int, steps: int, detail: str = "") -> None:
        """Replace the state before. A full disk costs the bar, not the trial."""
        with suppress(OSError):
            write_atomic(self.path, json.dumps({"label": label, "step": step, "steps": steps, "detail": detail}))

    def read(self) -> dict[str, Any] | None:
        """The last state that the worker wrote, or None."""
        with suppress(OSError, json.JSONDecodeError):
            return dict(json.loads(self.path.read_text()))
        return None

    def clear(self) -> None:
        """Forget a worker that has ended."""
        self.path.unlink(missing_ok=True)


def own_machine() -> str:
    """This machine in the name of a file: as a person calls it, and apart from others of that name (two containers)."""
    return f"{socket.gethostname()}.{hashlib.sha256(this_machine().encode()).hexdigest()[:8]}"


class LatencyBar:
    """A bar for timing, which stays a single line where there is no terminal."""

    def __init__(self, title: str, console: Console) -> None:
        self.title, self.console = title, console
        self._bar = Progress(*_columns(), console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task(title, total=None)

    def __enter__(self) -> LatencyBar:
        self._bar.start()
        if not self.console.is_terminal:
            self.console.print(f"{self.title} ...", markup=False, highlight=False)
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def begin(self, number: int, total: int) -> None:
        """Another group of networks."""
        self._bar.update(self._task, description=f"{self.title}, group {number + 1} of {total}" if total > 1 else self.title)

    def update(self, done: float, total: float) -> None:
        """How far this group is."""
        self._bar.update(self._task, completed=done, total=total)
