"""Leases: which worker runs a trial, and whether that worker still lives.

A trial names its worker once, when it is claimed (user attribute `lease`). The worker, not the trial, then beats: every `beat_s` it
overwrites one time of its own. A journal only grows, so beside a journal the beat is a small file per worker; a database can
overwrite, so there it is one row per worker, which all machines see. Storage therefore does not grow with the time a study takes.

On its own machine a worker is judged by the process table (process id with start time), at once and whatever the clock says: a
laptop that slept, or a stopped process, is not lost. On another machine it is lost when it has not beaten for `stale_after_s`, by
the clock of the database, which all machines ask. Only where they share a journal must their own clocks agree to a few seconds.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from ablation.machine.files import write_atomic
from studies.store.db.database import LEASE, Clock
from studies.store.storage import (
    begin_trial,
    claim_waiting,
    drop_system_attr,
    get_system_attrs_of,
    journal_path,
    set_system_attr,
    shared_clock,
    state_of,
)  # fmt: skip

BEAT_S = 5.0
STALE_AFTER_S = 30.0
CLAIM_S = 5.0  # writing a lease takes milliseconds; a worker whose claim was failed meanwhile goes on to the next trial
BEAT = "beat:"  # prefix of the hidden study attributes in a database

TrialOrNone = TypeVar("TrialOrNone", bound=optuna.Trial | None)

_held: dict[str, Worker] = {}  # the workers of this very process
# of workers whose beats cannot be compared with a clock: the last beat, and when this process first saw it
_seen: dict[str, tuple[float, float]] = {}


@dataclass(frozen=True, kw_only=True)
class Lease:
    """Who runs a trial. Plain JSON values."""

    worker: str  # unique name of the worker
    host: str  # as a person calls the machine
    machine: str  # machine, boot and process namespace: process ids mean something only within one
    pid: int
    started: str  # start time of the process, so that a reused process id is not taken for it
    time: float  # seconds since 1970 by the shared clock: when the trial was claimed, or the worker beat
    shared_clock: bool = True  # else by that of its machine, as no other was at hand


@cache
def this_machine() -> str:
    """Identity of machine, boot and process namespace (two containers may share a host name)."""
    parts = [socket.gethostname()]
    try:
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:13], os.readlink("/proc/self/ns/pid")]
    except OSError:
        parts += [hex(uuid.getnode())]  # no /proc: macOS
    return "/".join(parts)


def process_started(pid: int) -> str:
    """When a process of this machine started, in the system's own notation; empty when there is no such live process."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state in "ZX" else fields[18]  # a killed child that its parent has not yet awaited is dead
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
    shown = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.strip()


class Worker:
    """This process as a worker of a study: beats while it is entered, and holds at most one trial.

    A worker that cannot beat for `stale_after_s`, or finds its trial finished by another, has lost the lease; the training
    should then stop, because someone else may have begun it anew.
    """

    def __init__(self, study: optuna.Study, *, beat_s: float = BEAT_S, stale_after_s: float = STALE_AFTER_S) -> None:
        self.study, self.beat_s, self.stale_after_s = study, beat_s, stale_after_s
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._trial: optuna.Trial | None = None
        self._begins = False  # a trial that is not yet known here
        self.lost = False  # the trial that it holds was taken from it
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beats, name=f"beats of {self.name}", daemon=True)

    def __enter__(self) -> Worker:
        write_beat(self.study, self._lease())  # before the first claim: a trial without a lease is then known to have a suspect
        _held[self.name] = self
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join(self.stale_after_s)  # which may wait for a database that is gone
        del _held[self.name]
        try:
            remove_beat(self.study, self.name)
        except Exception:
            if kind is None:
                raise  # otherwise the storage's own error is already on its way

    def claim(self) -> optuna.Trial | None:
        """Begin the first waiting trial of a database, with this worker's lease; None when none waits."""
        return self._beginning(lambda: claim_waiting(self.study, asdict(self._lease(0.0))))

    def begin(self, template: FrozenTrial) -> optuna.Trial:
        """Add a trial as this worker's own."""
        template.user_attrs = {**template.user_attrs, LEASE: asdict(self._lease())}
        return self._beginning(lambda: begin_trial(self.study, template))

    def _beginning(self, begin: Callable[[], TrialOrNone]) -> TrialOrNone:
        self._begins = True
        try:
            trial = begin()
            self._trial, self.lost = trial, False
        finally:
            self._begins = False
        return trial

    def take(self, trial: optuna.Trial) -> None:
        """Write the lease of a claimed trial. UpdateFinishedTrialError when it was failed meanwhile, and is not this worker's."""
        self._trial, self.lost = trial, False
        try:
            trial.set_user_attr(LEASE, asdict(self._lease()))
        except UpdateFinishedTrialError:
            self.release()
            raise

    def release(self) -> None:
        """Hold no trial."""
        self._trial = None

    def holds(self, number: int) -> bool:
        """Whether this worker is running the trial of this number, or may have begun it at this moment."""
        return self._begins if self._trial is None else self._trial.number == number

    def _lease(self, now: float | None = None) -> Lease:
        clock, pid = shared_clock(self.study) if now is None else Clock(now=now), os.getpid()
        return Lease(
            worker=self.name, host=socket.gethostname(), machine=this_machine(), pid=pid, started=process_started(pid),
            time=clock.now, shared_clock=clock.shared,
        )  # fmt: skip

    def _beats(self) -> None:
        last = time.monotonic()
        while not self._ended.wait(self.beat_s):
            try:
                write_beat(self.study, self._lease())
                last = time.monotonic()
                trial = self._trial
                if trial is not None and state_of(trial) != TrialState.RUNNING:
                    self.lost |= self._trial is trial  # not when it ended just now
            except Exception:  # a storage that does not answer: the worker's next own call reports it
                self.lost |= time.monotonic() - last > self.stale_after_s


def lease_lost(trial: optuna.Trial) -> bool:
    """Whether a trial that this process runs was taken from it: stop training, another worker may have begun it anew."""
    return any(worker.lost for worker in _held.values() if worker.holds(trial.number))


def write_beat(study: optuna.Study, lease: Lease) -> None:
    """Say that a worker lives."""
    path = journal_path(study)
    if path is None:
        set_system_attr(study, BEAT + lease.worker, asdict(lease))
    else:
        write_atomic(_beat_file(path, lease.worker), json.dumps(asdict(lease)))


def remove_beat(study: optuna.Study, worker: str) -> None:
    """Forget a worker that has ended."""
    path = journal_path(study)
    if path is None:
        drop_system_attr(study, BEAT + worker)
    else:
        _beat_file(path, worker).unlink(missing_ok=True)


def read_beats(study: optuna.Study) -> dict[str, Lease]:
    """The last beat of every worker that has not ended properly, by worker."""
    path = journal_path(study)
    if path is None:
        stored = get_system_attrs_of(study, BEAT)
        return {k.removeprefix(BEAT): Lease(**v) for k, v in stored.items() if v is not None}
    beats = {}
    for file in _beat_file(path, "x").parent.glob("*.beat"):
        with suppress(FileNotFoundError, ValueError):  # ended just now, or cut by a full disk: that worker then counts as silent
            beats[file.stem] = Lease(**json.loads(file.read_text()))
    return beats


def _beat_file(journal: Path, worker: str) -> Path:
    return journal.with_name(journal.name + ".workers") / f"{worker}.beat"


def is_alive(lease: Lease, beats: Mapping[str, Lease], stale_after_s: float, clock: Clock) -> bool:
    """Whether a worker lives: by the process table on its own machine, by its beats on another.

    Beats that no shared clock has timed must change: a worker counts as living until they have not for `stale_after_s`.
    """
    if lease.machine == this_machine():
        if lease.pid == os.getpid():
            return lease.worker in _held
        return process_started(lease.pid) == lease.started
    last = beats.get(lease.worker)
    if last is not None and not (last.shared_clock and clock.shared):
        seen, since = _seen.get(last.worker, (None, 0.0))
        _seen[last.worker] = (last.time, since if seen == last.time else time.monotonic())
        return time.monotonic() - _seen[last.worker][1] <= stale_after_s
    # while the database was down nobody could beat
    return last is not None and clock.now - max(last.time, clock.up_since) <= stale_after_s


def lost_because(trial: FrozenTrial, beats: Mapping[str, Lease], stale_after_s: float, clock: Clock) -> str:
    """Why a RUNNING trial has no live worker, in one line; empty when it has one. `clock` was read before the beats."""
    stored: dict[str, Any] | None = trial.user_attrs.get(LEASE)
    if stored is not None:
        lease = Lease(**stored)
        own = _held.get(lease.worker)
        if is_alive(lease, beats, stale_after_s, clock) if own is None else own.holds(trial.number):
            return ""
        last = max(lease.time, beats[lease.worker].time if lease.worker in beats else 0)
        return f"worker lost: host {lease.host}, process {lease.pid}, last beat {datetime.fromtimestamp(last):%Y-%m-%d %H:%M:%S}"
    # Killed between claiming and writing the lease, or claiming at this moment: one of the live workers may be it.
    claimed = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
    suspects = any(is_alive(beat, beats, stale_after_s, clock) for beat in beats.values())
    if suspects and clock.now - claimed <= min(CLAIM_S, stale_after_s):
        return ""
    return f"worker lost before it wrote its lease, claimed {datetime.fromtimestamp(claimed):%Y-%m-%d %H:%M:%S}"
