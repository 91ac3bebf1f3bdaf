"""A process of one "machine" of `bench chaos`: `python -m studies.bench.chaos.process ROLE SETTINGS`, ROLE machine or worker.

The machines are groups of processes, each with a host name (and so an identity), a folder and a clock of its own.
"""

from __future__ import annotations

import datetime
import json
import sys
import time
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

from blocks.errors import InputError
from studies.work.processes import BAD_INPUT

STUDY = "chaos"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the processes of a machine are given. Plain JSON values."""

    name: str  # its host name
    folder: str
    storage: str
    num_workers: int
    trial_s: float
    beat_s: float
    stale_after_s: float
    ahead_s: float = 0.0  # its clock
    write_s: float = 0.0  # every write to its folder takes so long

    @property
    def settings(self) -> Path:
        """The file that a process reads."""
        return Path(self.folder) / "machine.json"

    @property
    def runs(self) -> Path:
        """A line for each run of an objective that came to its end: key, process, begin and end."""
        return Path(self.folder) / "runs.txt"

    @property
    def full(self) -> Path:
        """While this file is there, the disk is full."""
        return Path(self.folder) / "full"

    @property
    def met(self) -> Path:
        """This file is there once a worker has met the full disk."""
        return Path(self.folder) / "met"

    @property
    def codes(self) -> Path:
        """Exit codes of its workers."""
        return Path(self.folder) / "codes.txt"

    @property
    def clock(self) -> Path:
        """By how much its processes' clocks are ahead of the database's."""
        return Path(self.folder) / "clock.txt"

    @property
    def go(self) -> Path:
        """When this file is there, the workers of all machines begin."""
        return Path(self.folder).parent / "go"

    def command(self, role: str) -> list[str]:
        """The command of such a process; writes its settings."""
        self.settings.parent.mkdir(parents=True, exist_ok=True)
        self.settings.write_text(json.dumps(asdict(self)))
        return [sys.executable, "-m", "studies.bench.chaos.process", role, str(self.settings)]


def disguise(name: str, ahead_s: float) -> None:
    """Give this process a host name; and clocks that are ahead, as Optuna and the store read them."""
    patch("socket.gethostname", lambda: name).start()
    if not ahead_s:
        return
    right, real = time.time, datetime.datetime

    class AnyDatetime(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, real)

    class Ahead(datetime.datetime, metaclass=AnyDatetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:  # type: ignore[override]
            return real.now(tz) + datetime.timedelta(seconds=ahead_s)

    module = ModuleType("datetime")
    vars(module).update(vars(datetime), datetime=Ahead)
    patch("time.time", lambda: right() + ahead_s).start()
    for user_name, user in [*sys.modules.items()]:  # C extensions rely on the real one
        if user_name.startswith(("optuna.", "studies.")) and getattr(user, "datetime", None) in (real, datetime):
            patch.object(user, "datetime", Ahead if user.datetime is real else module).start()


def main(role: str, settings: str) -> int:
    """Exit code 0 when nothing is left to do or on a gentle stop, 2 for bad input."""
    machine = Machine(**json.loads(Path(settings).read_text()))
    run = import_module(f"studies.bench.chaos.{role}").run
    disguise(machine.name, machine.ahead_s)
    try:
        run(machine)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
