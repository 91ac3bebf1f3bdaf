"""The training of a study's trials, here or in worker processes, and what a person sees of it."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from pathlib import Path

from optuna.trial import FrozenTrial

from ablation.record.trial import METRICS, fitted_text, latency_metric
from blocks.errors import InputError
from studies.engine.config import StudyFolder
from studies.engine.opened import RunOptions, StudyRun
from studies.engine.proposals import source_of
from studies.engine.trial import TrialContext
from studies.engine.worker import file_reporter, work
from studies.store.history import ERROR
from studies.store.lease import process_started
from studies.store.queue import StudyState, trial_state
from studies.store.source import proposes_until
from studies.work.line import STORAGE
from studies.work.loop import Event
from studies.work.processes import run_workers
from studies.work.progress import Board, ProgressFile, duration, own_machine, print_line
from studies.work.stopping import StopRequest

LEAST_M = 1e4  # parameters, below which millions say little


def train_all(run: StudyRun, total: int, complete: int, stop: StopRequest) -> None:
    """Train what waits or may be proposed, here or in worker processes, with a bar for the study and one for each running trial."""
    for machine in (own_machine(), ""):  # of workers that were killed; "" has those of an earlier version
        for file in ProgressFile.all(run.folder.progress, machine):
            file.clear()
    until = proposes_until(run.study) if run.config.search else None
    with Board(run.config.name, total, complete, run.console, until) as board:
        (_train_here if run.options.workers == 1 else _train_in_workers)(run, board, stop)


def _train_here(run: StudyRun, board: Board, stop: StopRequest) -> None:
    progress, show_ended = ProgressFile(run.folder.progress, os.getpid()), _EndedTrials(run, board)
    keep = file_reporter(progress)  # for `status`, asked meanwhile

    def on_step(label: str, step: int, steps: int, detail: str) -> None:
        board.trial(0, label, step, steps, detail)
        keep(label, step, steps, detail)

    def on_event(event: Event) -> None:
        if event.kind == "waiting":
            print_line(board.console, "Nothing waits here. Trials that run elsewhere may come back: waiting for them.")
        if event.kind != "started":
            board.trial(0, "", 0, 1)
            progress.clear()
            show_ended()

    parts = run.split if run.images else None
    context = TrialContext(config=run.config, folder=run.folder, images=run.images, parts=parts, on_step=on_step)
    try:
        work(run.study, context, should_stop=stop, on_event=on_event)
    finally:
        progress.clear()
    show_ended()


def own_logs(folder: StudyFolder) -> Path:
    """Where the workers of this process print to: machines may share the folder. What ended on this machine is forgotten."""
    logs, host = folder.path / "logs", socket.gethostname()
    for old in logs.glob(f"{host}-*"):
        if (pid := old.name.removeprefix(f"{host}-")).isdigit() and not process_started(int(pid)):
            shutil.rmtree(old, ignore_errors=True)
    return logs / f"{host}-{os.getpid()}"


def _train_in_workers(run: StudyRun, board: Board, stop: StopRequest) -> None:
    logs, source, show_ended = own_logs(run.folder), source_of(run.config, run.study), _EndedTrials(run, board)

    def on_tick(state: StudyState) -> None:
        show_ended()
        board.show_workers(run.folder.progress)

    report = run_workers(
        _worker_command(run.options),
        run.options.workers,
        study=run.study,
        source=source,
        should_stop=stop,
        on_tick=on_tick,
        reconcile_s=1.0,
        limits=run.config.limits,
        log_dir=logs,
        environment={STORAGE: run.options.where},  # not on their command lines, which everyone on a machine can read
    )
    show_ended()
    state = trial_state(run.study, run.config.limits)
    num_left = state.waiting + state.stale or source.remaining(run.study) - state.running
    if not report.stopped and num_left > 0:
        raise InputError(_last_words(logs, num_left))


def _worker_command(options: RunOptions) -> list[str]:
    named = {"--data-root": options.data_root, "--cache-dir": options.cache_dir}
    flags = [part for flag, value in named.items() if value for part in (flag, value)]
    flags += [part for plugin in options.plugins for part in ("--plugin", plugin)]
    # the folder last: a name may begin with a dash
    return [sys.executable, "-m", "studies.engine.worker", *flags, "--", str(options.out), options.study]


def _last_words(logs: Path, num_left: int) -> str:
    """Why workers gave up with work left, from what the last of them printed."""
    texts = [path.read_text(errors="replace").strip() for path in sorted(logs.glob("worker-*.log"))]
    words = next((text.splitlines()[-1].removeprefix("error: ") for text in reversed(texts) if text), "they left no message")
    return f"The workers ended with {num_left} trials left, the last of them saying: {words} Their output is in {logs}."


def _params(number: float) -> str:
    """Parameters in millions, as all lines of a study, unless that says little."""
    return METRICS["params"].text(number) if number >= LEAST_M else fitted_text(METRICS["params"], number)


class _EndedTrials:
    """Called, it prints a line for each trial that ended since the call before."""

    def __init__(self, run: StudyRun, board: Board) -> None:
        self.study, self.board, self.is_search = run.study, board, bool(run.config.search)
        self.name, self.metric = next(iter(run.config.metrics.items()))
        self.known = {trial.number for trial in self._ended()}

    def __call__(self) -> None:
        for trial in self._ended():
            if trial.number in self.known:
                continue
            self.known.add(trial.number)
            attrs = trial.user_attrs
            label = f"{attrs.get('label', 'trial')}, seed {attrs.get('seed', '?')}"
            if trial.values:
                value, latency, params = trial.values
                costs = (fitted_text(latency_metric("cpu", 1), latency), f"{_params(params)} parameters")
                time = duration(trial.duration.total_seconds()) if trial.duration else "?"
                front = ", on the front" if self.is_search and trial.number in {t.number for t in self.study.best_trials} else ""
                self.board.finished(label, f"{self.name} {self.metric.text(value)}, {', '.join(costs)}, {time}{front}")
            else:
                kind = attrs.get("reason_kind", "failed").replace(ERROR, "failed")
                self.board.failed(label, f"{kind}: {attrs.get('reason', 'no reason stored')}")

    def _ended(self) -> list[FrozenTrial]:
        return [trial for trial in self.study.get_trials(deepcopy=False) if trial.state.is_finished()]
