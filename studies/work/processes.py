"""The worker processes of one machine: start several, replace those that die while there is work, stop them gently."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import optuna

from ablation.machine.cores import num_cores
from blocks.errors import must_be
from studies.store.history import LIMITS, Limits
from studies.store.queue import StudyState, reconcile, trial_state
from studies.store.source import Enumerated, TrialSource
from studies.work.loop import never
from studies.work.stopping import PARENT

TICK_S = 0.2
BAD_INPUT = 2  # a worker's exit code for an InputError: starting it again would not help
RESTARTS = 3  # of dead processes, for each worker
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(kw_only=True)
class ProcessReport:
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
    """The environment of one of `count` workers: an equal share of the cores, who started it, and where it finds modules."""
    share = str(max(1, num_cores() // count))
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return {**os.environ, **dict.fromkeys(THREADS, share), PARENT: str(os.getpid()), "PYTHONPATH": path}


def run_workers(
    command: list[str],
    count: int,
    *,
    study: optuna.Study,
    source: TrialSource | None = None,
    should_stop: Callable[[], bool] = never,
    on_tick: Callable[[StudyState], None] = lambda state: None,
    reconcile_s: float = 2.0,
    limits: Limits = LIMITS,
    log_dir: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> ProcessReport:
    """Run `command` in up to `count` processes until the study has nothing left to do, or until asked to stop.

    When `should_stop` says so, every worker gets SIGTERM once and is awaited: it finishes its step and saves its checkpoint. When
    this function is left by an exception (a second Ctrl-C), they are killed. A worker that dies is replaced while there is work,
    at most RESTARTS times for each worker. `source`: where the workers' trials come from, the queue unless given. With `log_dir`
    their output goes to worker-N.log there. `environment`: variables that the processes have beside ours.
    """
    if count < 1:
        raise must_be("workers", "a whole number of at least 1", count)
    source = source or Enumerated(limits=limits)
    with _Processes(command, count, log_dir, environment or {}) as processes:
        due = 0.0
        while not should_stop():
            processes.sweep()
            if time.monotonic() >= due:
                reconcile(study, limits)
                state, remaining = trial_state(study, limits), source.remaining(study)
                on_tick(state)
                if remaining > state.running:
                    processes.fill(remaining)
                if not processes.running and (remaining > state.running or not remaining):
                    return processes.report  # else all that is left runs elsewhere, and may come back
                due = time.monotonic() + reconcile_s
            time.sleep(TICK_S)
            due = 0.0 if processes.sweep() else due  # one ended: ask at once
        processes.report.stopped = True
        processes.stop()
    return processes.report


class _Processes:
    """The processes of one `run_workers`."""

    def __init__(self, command: list[str], count: int, log_dir: Path | None, environment: Mapping[str, str]) -> None:
        self.command, self.count, self.log_dir, self.environment = command, count, log_dir, environment
        self.running: list[subprocess.Popen[bytes]] = []
        self.report = ProcessReport()
        self._died = 0
        self._started = 0
        self._logs = ExitStack()

    def __enter__(self) -> _Processes:
        return self

    def __exit__(self, *trouble: object) -> None:
        for process in self.running:
            process.kill()
        self.report.exit_codes += [process.wait() for process in self.running]
        self.running.clear()
        self._logs.close()

    def fill(self, work: int) -> None:
        """Start processes up to the count, none without work; replacing one that died uses up a restart."""
        while len(self.running) < min(self.count, work) and not self.report.bad_input:
            if self._died > 0:
                if self.report.restarts >= RESTARTS * self.count:
                    return
                self._died -= 1
                self.report.restarts += 1
            self._start()

    def sweep(self) -> bool:
        """Take note of the processes that ended; whether there were any."""
        ended = [process for process in self.running if process.poll() is not None]
        for process in ended:
            self.running.remove(process)
            self.report.exit_codes.append(process.returncode)
            self._died += process.returncode != 0
        return bool(ended)

    def stop(self) -> None:
        """Ask every process to stop, and wait."""
        for process in self.running:
            process.send_signal(signal.SIGTERM)
        while self.running:
            time.sleep(TICK_S)
            self.sweep()

    def _start(self) -> None:
        output = None
        if self.log_dir is not None:
            self.log_dir.mkdir(parents=True, exist_ok=True)
            output = self._logs.enter_context((self.log_dir / f"worker-{self._started}.log").open("ab"))
        self._started += 1
        environment = {**worker_environment(self.count), **self.environment}
        # Its own session: Ctrl-C in a terminal then reaches this process only, which passes it on once.
        self.running.append(subprocess.Popen(self.command, env=environment, stdout=output, stderr=output, start_new_session=True))
