"""Local worker processes: start several, restart those that die while there is work, stop them gently."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import optuna

from ablation.machine.cores import num_cores
from blocks.errors import must_be
from studies.store.history import MAX_ATTEMPTS, MAX_LOST
from studies.store.lease import STALE_AFTER_S
from studies.store.queue import StudyState, reconcile, trial_state
from studies.work.loop import never
from studies.work.stopping import PARENT

TICK_S = 0.2
BAD_INPUT = 2  # a worker's exit code for an InputError: starting it again would not help
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(kw_only=True)
class FleetReport:
    """How the worker processes ended."""

    # of every process, in the order in which they ended; negative: killed by that signal
    exit_codes: list[int] = field(default_factory=list)
    restarts: int = 0
    stopped: bool = False  # asked to stop before the work was done

    @property
    def bad_input(self) -> bool:
        """Whether a worker met an InputError, which it has printed."""
        return BAD_INPUT in self.exit_codes


def worker_environment(count: int) -> dict[str, str]:
    """The environment of one of `count` workers: an equal share of the cores, and who started it."""
    share = str(max(1, num_cores() // count))
    return {**os.environ, **dict.fromkeys(THREADS, share), PARENT: str(os.getpid())}


def run_workers(
    command: list[str],
    count: int,
    *,
    study: optuna.Study,
    should_stop: Callable[[], bool] = never,
    on_tick: Callable[[StudyState], None] | None = None,
    reconcile_s: float = 2.0,
    max_attempts: int = MAX_ATTEMPTS,
    max_lost: int = MAX_LOST,
    stale_after_s: float = STALE_AFTER_S,
    max_restarts: int | None = None,
    log_dir: Path | None = None,
) -> FleetReport:
    """Run `command` in up to `count` processes until the study has nothing left to do, or until asked to stop.

    When `should_stop` says so, every worker gets SIGTERM once and is awaited: it finishes its step and saves its checkpoint. When
    this function is left by an exception (a second Ctrl-C), they are killed. A worker that dies is replaced while there is work,
    at most `max_restarts` times (3 for each worker unless given). With `log_dir` their output goes to worker-N.log there.
    """
    if count < 1:
        raise must_be("workers", "a whole number of at least 1", count)
    limits = {"max_attempts": max_attempts, "max_lost": max_lost, "stale_after_s": stale_after_s}
    fleet = _Fleet(command, count, 3 * count if max_restarts is None else max_restarts, log_dir)
    with fleet:
        due = 0.0
        while not should_stop():
            fleet.sweep()
            if time.monotonic() >= due:
                reconcile(study, **limits)  # type: ignore[arg-type]
                state = trial_state(study, **limits)  # type: ignore[arg-type]
                if on_tick is not None:
                    on_tick(state)
                if state.waiting + state.stale:
                    fleet.fill(state.waiting + state.stale + state.running)
                if not fleet.processes:
                    return fleet.report
                due = time.monotonic() + reconcile_s
            time.sleep(TICK_S)
            due = 0.0 if fleet.sweep() else due  # someone ended: look at once
        fleet.report.stopped = True
        fleet.stop()
    return fleet.report


class _Fleet:
    """The processes of one `run_workers`."""

    def __init__(self, command: list[str], count: int, max_restarts: int, log_dir: Path | None) -> None:
        self.command, self.count, self.max_restarts, self.log_dir = command, count, max_restarts, log_dir
        self.processes: list[subprocess.Popen[bytes]] = []
        self.report = FleetReport()
        self._died = 0
        self._started = 0
        self._logs = ExitStack()

    def __enter__(self) -> _Fleet:
        return self

    def __exit__(self, *trouble: object) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            self.report.exit_codes.append(process.wait())
        self.processes.clear()
        self._logs.close()

    def fill(self, work: int) -> None:
        """Start processes up to the count, none without work; replacing one that died uses up a restart."""
        while len(self.processes) < min(self.count, work) and not self.report.bad_input:
            if self._died > 0:
                if self.report.restarts >= self.max_restarts:
                    return
                self._died -= 1
                self.report.restarts += 1
            self._start()

    def sweep(self) -> bool:
        """Take note of the processes that ended; whether there were any."""
        ended = [process for process in self.processes if process.poll() is not None]
        for process in ended:
            self.processes.remove(process)
            self.report.exit_codes.append(process.returncode)
            self._died += process.returncode != 0
        return bool(ended)

    def stop(self) -> None:
        """Ask every process to stop, and wait."""
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        while self.processes:
            time.sleep(TICK_S)
            self.sweep()

    def _start(self) -> None:
        output = None
        if self.log_dir is not None:
            self.log_dir.mkdir(parents=True, exist_ok=True)
            output = self._logs.enter_context((self.log_dir / f"worker-{self._started}.log").open("ab"))
        self._started += 1
        # Its own session: Ctrl-C in a terminal then reaches this process only, which passes it on once.
        self.processes.append(
            subprocess.Popen(self.command, env=worker_environment(self.count), stdout=output, stderr=output, start_new_session=True)
        )
