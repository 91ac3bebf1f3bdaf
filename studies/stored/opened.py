"""The studies that `status` and `report` are asked about, each with the folder of its files. No torch."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.storages import BaseStorage

from blocks.errors import choices, must_be
from studies.engine.config import StudyConfig, StudyFolder
from studies.engine.folder import holder, part_of
from studies.paper.folder import PaperFolder
from studies.search.folder import SEARCH, SearchFolder
from studies.store.storage import open_storage, study_names
from studies.stored.options import StudyOptions
from studies.work.line import STORAGE

RESULTS = Path("results")


def open_stored(where: str) -> BaseStorage:
    """A storage that must be there."""
    return open_storage(where, must_exist=True)


def opened_studies(
    options: StudyOptions, opener: Callable[[str], BaseStorage] = open_stored
) -> list[tuple[optuna.Study, StudyFolder, StudyConfig]]:
    """The studies that the flags name: one folder, one study of a storage, or all folders under results/."""
    own = options.folder is not None and StudyFolder(options.folder).journal.is_file()
    if options.storage and not (own and options.storage == os.environ.get(STORAGE)):  # a variable is no word about this folder
        opened = _of_storage(options, opener(options.storage))
    elif options.folder is not None:
        if not own:
            remedy = "It holds no journal.log; `status` lists those under results/."
            raise must_be("FOLDER", "the folder of a study", str(options.folder), remedy)
        opened = of_folder(options.folder, opener)
    else:
        folders = sorted(path.parent for path in RESULTS.rglob("journal.log"))
        if not folders:
            raise must_be("FOLDER", "the folder of a study", "no study under results/", "Start one: python -m studies.run grid.")
        opened = [each for folder in folders for each in of_folder(folder, opener)]
    names = [study.study_name for study, _ in opened]
    if options.study is not None and options.study not in names:
        raise must_be("--study", choices(names), options.study)
    return [
        (study, StudyFolder(files), StudyConfig.from_dict(study.user_attrs["config"]))
        for study, files in opened
        if options.study in (None, study.study_name) and "config" in study.user_attrs
    ]


def _of_storage(options: StudyOptions, storage: BaseStorage) -> list[tuple[optuna.Study, Path]]:
    """Studies of a storage that is named: of the folder's study, if one is given, or of all."""
    folder, stored = options.folder, study_names(storage)
    wanted = options.study or (holder(folder).get("study", folder.resolve().name) if folder else None)
    if wanted is not None and wanted not in stored:
        raise must_be("--study", choices(stored), wanted, "Each has a folder of its own.")
    names = stored if wanted is None else [wanted]
    return [(optuna.load_study(study_name=n, storage=storage), folder or RESULTS / n) for n in names]


def of_folder(folder: Path, opener: Callable[[str], BaseStorage] = open_stored) -> list[tuple[optuna.Study, Path]]:
    """Studies of a folder's journal, each with the folder of its files: groups of the paper, or of an earlier version several."""
    storage = opener(str(StudyFolder(folder).journal))
    stored, paper = study_names(storage), PaperFolder(folder)
    marker = holder(folder)

    def files_of(name: str) -> Path:
        if marker.get("command") == SEARCH:
            return SearchFolder(folder).files_of(name, marker.get("study", stored[0]))
        return paper.group(name) if paper.plan.is_file() else part_of(folder, name, stored)

    return [(optuna.load_study(study_name=name, storage=storage), files_of(name)) for name in stored]
