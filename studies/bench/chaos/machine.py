"""A machine of `bench chaos`: its worker processes, started as every study starts them, and again as a person would."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from blocks.errors import InputError
from studies.bench.chaos.process import STUDY, Machine
from studies.store.history import Limits
from studies.store.queue import trial_state
from studies.store.storage import open_storage, open_study
from studies.work.processes import ProcessReport, run_workers
from studies.work.stopping import StopRequest

AGAIN_S = 0.5  # until a person starts the same command again


def run(machine: Machine) -> None:
    """Run workers until the study has nothing left to do; what ends before is started again, once there is room on the disk."""
    command, limits = machine.command("worker"), Limits(stale_after_s=machine.stale_after_s)
    with StopRequest() as stop:
        while not stop():
            try:
                study = open_study(open_storage(machine.storage, must_exist=True), STUDY)
                report = run_workers(
                    command, machine.num_workers, study=study, should_stop=stop, limits=limits, log_dir=Path(machine.folder)
                )
                _note(machine, report)
                now = trial_state(study, limits)
                if now.complete + now.failed == now.planned:
                    return
            except InputError as error:  # what a person would read
                print(f"error: {error}", file=sys.stderr, flush=True)
            time.sleep(AGAIN_S)
            while machine.full.exists() and not stop():
                time.sleep(AGAIN_S)


def _note(machine: Machine, report: ProcessReport) -> None:
    with machine.codes.open("a") as file:
        file.writelines(f"{code}\n" for code in report.exit_codes)
