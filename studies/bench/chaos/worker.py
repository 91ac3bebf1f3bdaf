"""A worker of a machine of `bench chaos`: the loop of every study, around an objective that sleeps."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.storages._rdb import storage as optunas

from blocks.errors import must_be
from studies.bench.chaos.process import STUDY, Machine
from studies.store.history import Limits
from studies.store.lease import lease_lost, process_started
from studies.store.storage import database_of, open_storage, open_study, set_attrs, shared_clock
from studies.work.loop import TrialInterrupted, run_worker
from studies.work.stopping import StopRequest

STEP_S = 0.05  # of an objective, after which it asks whether to go on
VALUES = (0.5, 2.0, 100.0)
# about as large as the record of a network trained for ten epochs
RECORD = {"epochs": [{"epoch": i, "train_loss": 1 / i, "val_loss": 1 / i, "kl_per_dim": [0.123] * 16} for i in range(1, 11)]}


def run(machine: Machine) -> None:
    """Run trials until nothing is left. InputError when the machine's disk is full, as in every study."""
    with StopRequest() as stop:
        study = open_study(open_storage(machine.storage, must_exist=True, patient=True), STUDY)
        _note_clock(machine, study)
        mark = Path(machine.folder) / f"{os.getpid()}.worker"
        mark.write_text(process_started(os.getpid()))
        while not machine.go.exists() and not stop():
            time.sleep(0.02)
        objective = Sleep(machine, stop)
        run_worker(study, objective, should_stop=stop, beat_s=machine.beat_s, limits=Limits(stale_after_s=machine.stale_after_s))
        mark.unlink()
    if objective.full:
        remedy = "Make room; the same command then goes on. What is stored is intact."
        raise must_be("The study's folder", "a folder that can be written, with room left", objective.full, remedy)


class Sleep:
    """An objective: sleeps, notes in the machine's folder that it came to its end, stores a record."""

    def __init__(self, machine: Machine, should_stop: Callable[[], bool]) -> None:
        self.machine, self.should_stop = machine, should_stop
        self.full = ""  # why the folder could not be written

    def __call__(self, trial: optuna.Trial) -> tuple[float, float, float]:
        begin = time.monotonic()  # one for all processes
        while (left := begin + self.machine.trial_s - time.monotonic()) > 0:
            if self.should_stop() or lease_lost(trial):
                raise TrialInterrupted("asked to stop")
            time.sleep(min(left, STEP_S))
        ran = f"{trial.user_attrs['network_key']} {os.getpid()} {begin} {time.monotonic()}"
        try:
            _append(self.machine, self.machine.runs, ran)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            self.full = error.strerror or str(error)
            self.machine.met.touch()
            raise TrialInterrupted(f"the study's folder could not be written: {self.full}") from error
        set_attrs(trial, {"record": RECORD})
        return VALUES


def _append(machine: Machine, path: Path, line: str) -> None:
    """One write, whole even beside other processes of the machine."""
    time.sleep(machine.write_s)
    descriptor = os.open("/dev/full" if machine.full.exists() else path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


def _note_clock(machine: Machine, study: optuna.Study) -> None:
    """How far this process's clocks, as Optuna and the store read them, are ahead of the database's."""
    if database_of(study) is not None:
        now = shared_clock(study).now
        ahead = time.time() - now, optunas.datetime.now().timestamp() - now
        with machine.clock.open("a") as file:
            file.write(f"{ahead[0]} {ahead[1]}\n")
