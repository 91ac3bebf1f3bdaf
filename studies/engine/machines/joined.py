"""Joining a study that another process or machine began: what it needs is checked, then what is left is trained here.

A machine that joined plans nothing and writes no report: that is for the command that began the study.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import optuna
import torch
from rich.console import Console

from ablation.design.space import Space
from ablation.machine.cores import num_threads
from ablation.machine.plugins import load_plugins
from blocks.errors import choices, must_be
from studies.engine.config import StudyFolder
from studies.engine.latency_session import ensure_latency
from studies.engine.machines.needs import begun_config, check_machine
from studies.engine.opened import RunOptions, StudyRun, reach
from studies.engine.reporting import FACTS
from studies.engine.runner import INTERRUPTED, PLAIN, keep_shared, train_planned
from studies.engine.search.settings import search_of
from studies.engine.worker import open_dataset
from studies.store.history import read_histories
from studies.store.queue import trial_state
from studies.store.source import ROLE
from studies.store.storage import open_storage, proxy_of, public_url, storage_errors, study_names
from studies.work.stopping import StopRequest

PLANNED_S = 2.0  # between two questions whether anything is planned by now


def stored_study(where: str, name: str | None) -> optuna.Study:
    """The study of this name in a storage, or its only one; InputError where there is none."""
    storage = open_storage(where, must_exist=True)
    names = study_names(storage)
    if not names:
        remedy = "Begin a study first: grid or search with this --storage."
        raise must_be("--storage", "one that holds a study", public_url(where) if "://" in where else where, remedy)
    if (name or names[0]) not in names or (name is None and len(names) > 1):
        raise must_be("--study", choices(names), name)
    with storage_errors(storage):
        return optuna.load_study(study_name=name or names[0], storage=storage)


def join_study(run: StudyRun) -> int:
    """Train what a study has left until nothing is. Exit code 0: all complete; 1: trials failed for good; 130: after Ctrl-C."""
    console = run.console
    _announce(run)
    with StopRequest() as stop:
        ready = _planned(run, stop) and _timed(run, stop)  # before anything trains here
        if ready:
            keep_shared(run)
        code = train_planned(run, *_progress(run), stop) if ready else INTERRUPTED
    state = trial_state(run.study, run.config.limits)
    if code == INTERRUPTED:
        console.print("Stopped. What was trained here is handed back; the same command joins again:", markup=False)
        console.print(f"  {run.options.command}", **PLAIN)
        return code
    began = run.study.user_attrs.get(FACTS, {}).get("command", "the command that began it")
    console.print(f"{state.complete} of {state.planned} trials are complete, {state.failed} failed. The page comes by:", **PLAIN)
    console.print(f"  {began}", **PLAIN)
    return code


def open_joined(options: RunOptions, console: Console) -> StudyRun:
    """The study with its data on this machine; InputError, in one line and before any work, for whatever is missing."""
    load_plugins(options.plugins)
    study = stored_study(options.where, options.study)
    config = begun_config(study)
    check_machine(study, config)
    options = reach(options)
    StudyFolder(options.out).create()
    if options.workers == 1:
        torch.set_num_threads(num_threads())
    dataset = None if config.own else open_dataset(config, options.data_root, options.cache_dir, progress=True)
    space = Space.from_dict(config.space, None if config.own else config.training_protocol())
    return StudyRun(config=config, options=options, console=console, study=study, images=dataset, space=space)


def _announce(run: StudyRun) -> None:
    state = trial_state(run.study, run.config.limits)
    for name, text in (
        (
            "Study",
            f"{run.study.study_name}: {state.planned} trials planned, {state.complete} complete, {state.running} running",
        ),
        ("Training", f"{run.config.device}, {run.options.workers} at a time"),
        ("Folder", str(run.options.out)),
    ):
        run.console.print(f"{name:<9} {text}", **PLAIN)


def _timed(run: StudyRun, stop: Callable[[], bool]) -> bool:
    """Time the networks where no machine of this kind has; False when stopped before the end."""
    if proxy_of(run.study):
        run.console.print("Nothing is timed here, for a proxy lets nobody lock the study: other machines time it.")
        return not stop()
    return ensure_latency(run, stop)


def _planned(run: StudyRun, stop: Callable[[], bool]) -> bool:
    """Wait until the command that began the study has planned its trials, which it times first; False when stopped before."""
    said = False
    while not run.study.get_trials(deepcopy=False):
        if not said:
            run.console.print("Nothing is planned yet: the machine that began the study times its networks first. Waiting.")
        said, end = True, time.monotonic() + PLANNED_S
        while time.monotonic() < end:
            if stop():
                return False
            time.sleep(0.1)
    return not stop()


def _progress(run: StudyRun) -> tuple[int, int]:
    """Trials that the study is to have, and those that have come to their end."""
    state = trial_state(run.study, run.config.limits)
    if not run.config.search:
        return state.planned, state.complete
    jobs = read_histories(run.study, run.config.limits).jobs.values()
    planned = sum(job.last is not None and ROLE in job.last.user_attrs for job in jobs)
    return search_of(run.config).num_trials + planned, state.complete + state.stopped
