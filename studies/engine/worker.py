"""One local worker process of a study: `python -m studies.engine.worker FOLDER STUDY ...`, started by the study's command."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import optuna
import torch
from cyclopts import App, CycloptsError, Parameter

from ablation.data import Dataset, load_dataset, split_indices
from ablation.data.base import FORMER_NOTE
from ablation.machine.cores import num_threads
from ablation.machine.plugins import load_plugins
from ablation.train.own import OwnError
from blocks.errors import InputError, WriteError, must_be
from studies.engine.config import StudyConfig, StudyFolder
from studies.engine.own.file import check_sources
from studies.engine.own.trial import run_own_trial
from studies.engine.proposals import source_of
from studies.engine.trial import OnStep, TrialContext, run_trial
from studies.store.lease import lease_lost
from studies.store.place import PLACE, check_place
from studies.store.storage import open_storage, open_study
from studies.work.line import STORAGE
from studies.work.loop import OnEvent, TrialInterrupted, WorkerReport, ignore, run_worker
from studies.work.processes import BAD_INPUT
from studies.work.progress import ProgressFile
from studies.work.stopping import StopRequest

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
WRITE_S = 0.3  # least seconds between two writes of the progress file


def open_dataset(config: StudyConfig, root: str | None, cache_dir: str | None, *, progress: bool = False) -> Dataset:
    """The study's data set; InputError where it is another one than the study began with."""
    data = config.data
    dataset = load_dataset(
        data["name"],
        root=root,
        image_size=data["image_size"],
        limit=data["limit"],
        seed=data["seed"],
        cache_dir=cache_dir,
        progress=progress,
    )
    if config.fingerprint and config.fingerprint not in (dataset.fingerprint, *dataset.former):
        raise InputError(
            f"The data must be those that the study began with, fingerprint {config.fingerprint}. "
            f"Got {dataset.fingerprint} instead. Restore the data, or name another folder with --out."
        )
    began_before = config.former_fingerprint or config.fingerprint in dataset.former
    return dataset.with_note(FORMER_NOTE) if began_before else dataset


def work(
    study: optuna.Study, context: TrialContext, *, should_stop: Callable[[], bool], on_event: OnEvent = ignore, linger: bool = True
) -> WorkerReport:
    """Run the study's trials in this process, one after another.

    A full disk, or a folder that can't be written any more, is no trial's fault: it costs no attempt, and ends as an InputError.
    """
    unwritable: list[str] = []
    run = run_own_trial if context.config.own else run_trial

    def objective(trial: optuna.Trial) -> tuple[float, float, float]:
        try:
            return run(trial, replace(context, should_stop=lambda: should_stop() or lease_lost(trial)))
        except Exception as error:
            unwritable[:] = [reason for cause in _chain(error) if (reason := _no_room(cause))]
            if unwritable:
                raise TrialInterrupted(f"the study's folder could not be written: {unwritable[0]}") from error
            raise

    report = run_worker(
        study, objective, source=source_of(context.config, study, context.folder.path), limits=context.config.limits,
        should_stop=should_stop, on_event=on_event, linger=linger,
    )  # fmt: skip
    if unwritable:
        remedy = "Make room; the same command then goes on. What is stored is intact."
        raise must_be("The study's folder", "a folder that can be written, with room left", unwritable[0], remedy)
    return report


def _no_room(error: BaseException) -> str:
    """Why a folder could not be written, if that is the error; else empty."""
    if isinstance(error, WriteError):
        return str(error)
    return error.strerror or str(error) if isinstance(error, OSError) and error.errno in NO_ROOM else ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what caused it."""
    while error is not None and not isinstance(error, OwnError):  # what a training of the user's own writes is its own affair
        yield error
        error = error.__cause__ or error.__context__


def file_reporter(file: ProgressFile) -> OnStep:
    """A callback that keeps a progress file, written a few times a second at most."""
    last = 0.0

    def on_step(label: str, step: int, steps: int, detail: str) -> None:
        nonlocal last
        if time.monotonic() - last >= WRITE_S:
            last = time.monotonic()
            file.write(label, step, steps, detail)

    return on_step


def serve(
    folder: Path,
    study: str,
    /,
    *,
    storage: Annotated[str, Parameter(env_var=STORAGE)],
    data_root: str | None = None,
    cache_dir: str | None = None,
    plugin: tuple[str, ...] = (),
) -> None:
    """Run a study's waiting trials in this process, with the pieces that its plug-ins register."""
    load_plugins(plugin)
    with StopRequest() as stop:
        opened = open_study(open_storage(storage, patient=True), study)
        config, files = StudyConfig.from_dict(opened.user_attrs["config"]), StudyFolder(folder)
        check_place(opened.user_attrs.get(PLACE), is_new=False)
        if config.own:
            check_sources(config)
        dataset = None if config.own else open_dataset(config, data_root, cache_dir)
        split = split_indices(len(dataset), seed=config.training_protocol().split_seed) if dataset else None
        progress = ProgressFile(files.progress, os.getpid())
        context = TrialContext(config=config, folder=files, images=dataset, parts=split, on_step=file_reporter(progress))
        try:
            work(opened, context, should_stop=stop)  # the parent reads outcomes from the storage
        finally:
            progress.clear()


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 when nothing is left to do or on a gentle stop, 2 for bad input."""
    torch.set_num_threads(num_threads())
    try:
        command, bound, _ = App(default_command=serve).parse_args(argv, exit_on_error=False, print_error=False)
        command(*bound.args, **bound.kwargs)
    except (InputError, CycloptsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main())
