"""`worker`: join a study that `grid`, `search` or a study of one's own began, from this or another machine."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from blocks.errors import must_be
from studies.engine.config import StudyFolder
from studies.engine.folder import GRID, check_grid_folder, take_grid_folder
from studies.engine.machines.joined import join_study, open_joined, stored_study
from studies.engine.machines.needs import begun_config
from studies.engine.opened import RunOptions
from studies.search.folder import SEARCH
from studies.store.storage import is_url
from studies.stored.opened import RESULTS, of_folder
from studies.stored.options import WorkerOptions
from studies.work.line import STORAGE


def run_worker(options: WorkerOptions) -> int:
    """Check what the study needs, then train until nothing is left; plans nothing and writes no report."""
    where = options.storage
    if where is None:
        raise must_be("--storage", f"given, here or in the environment as {STORAGE}", None, "It is where the study is kept.")
    study = stored_study(where, options.study)
    began = _begun_in(where, study.study_name) if options.out is None else None
    folder = began or options.out or RESULTS / study.study_name
    command = SEARCH if begun_config(study).search else GRID
    if began is None:
        check_grid_folder(folder, study.study_name, where, command)
    run_options = RunOptions(
        out=folder,
        storage=where,
        study=study.study_name,
        workers=options.workers,
        data_root=options.data_root,
        cache_dir=options.cache_dir,
        plugins=options.plugin,
        command=options.line,
    )
    run = open_joined(run_options, Console(stderr=True))
    if began is None:
        take_grid_folder(folder, run.study, where, command)
    return join_study(run)


def _begun_in(where: str, name: str) -> Path | None:
    """The folder that a study began in, where its storage is the journal of that folder, perhaps on a disk of several machines."""
    folder = Path(where).parent
    if is_url(where) or StudyFolder(folder).journal != Path(where):
        return None
    return next(files for study, files in of_folder(folder) if study.study_name == name)
