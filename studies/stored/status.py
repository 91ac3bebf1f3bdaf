"""`status`: how far studies are, who works on them, how much time is left. No torch, so that it answers at once and anywhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import cache, partial

import optuna
from optuna.storages import BaseStorage
from rich.console import Console
from rich.live import Live
from rich.text import Text

from ablation.record.trial import INFEASIBLE
from blocks.errors import InputError
from studies.engine.config import StudyConfig, StudyFolder
from studies.store.history import PRUNED
from studies.store.queue import STATES, trial_state
from studies.store.records import records
from studies.store.storage import storage_errors
from studies.stored.machines import machine_lines, read_overview, speed_line
from studies.stored.opened import open_stored, opened_studies
from studies.stored.options import WATCH_S, StatusOptions


def run_status(options: StatusOptions) -> int:
    """Of each study one line of counts, its speed, its machines, and each trial that is not complete, with its reason."""
    read = partial(status_lines, options, cache(open_stored))  # each storage opened once, however often it is read
    lines = read()
    if options.watch is None:
        print("\n".join(lines))
        return 0
    return _watch(lines, read, next(iter(options.watch), WATCH_S))


def status_lines(options: StatusOptions, opener: Callable[[str], BaseStorage]) -> list[str]:
    """What is there at this moment."""
    return [line for each in opened_studies(options, opener) for line in _study_lines(*each)]


def _study_lines(study: optuna.Study, files: StudyFolder, config: StudyConfig) -> list[str]:
    with storage_errors(study):
        state, overview = trial_state(study, config.limits), read_overview(study, files, config)
        shown = [name for name in STATES if getattr(state, name) or name not in PRUNED]
        counts = f"{study.study_name}: {state.planned} planned: {', '.join(f'{getattr(state, name)} {name}' for name in shown)}"
        speed = speed_line(study, config, state, overview)
        lines = [counts, *([f"  {speed}"] if speed else []), *(f"  {line}" for line in machine_lines(overview))]
        for record in records(study, config.limits):
            if record.reason and record.state != INFEASIBLE:  # of those a search proposes hundreds
                lines.append(f"  {record.state}: {record.label}, seed {record.seed}: {record.reason}")
    return lines


def _watch(lines: list[str], read: Callable[[], list[str]], seconds: float) -> int:
    """Show the lines again and again until Ctrl-C; a storage that does not answer for a while is told, and asked again."""
    console = Console()
    try:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while True:
                if console.is_terminal:
                    live.update(Text("\n".join(lines), no_wrap=True), refresh=True)
                else:
                    print("\n".join([*lines, ""]), flush=True)
                time.sleep(seconds)
                try:
                    lines = read()
                except InputError as error:
                    lines = [f"error: {error}"]
    except KeyboardInterrupt:
        return 0
    finally:
        sys.stdout.flush()
