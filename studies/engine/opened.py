"""A study opened on this machine: its settings, storage, folder, data and space."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState
from rich.console import Console

import ablation
from ablation.data import Dataset, Split, split_indices
from ablation.data.base import FORMER_NOTE
from ablation.design.space import Space
from ablation.design.variant import Variant
from studies.engine.config import StudyConfig, StudyFolder, prepare_folder, reconcile_config
from studies.engine.search.settings import check_search
from studies.store.place import PLACE, check_place, place_of
from studies.store.storage import exclusive, open_storage, open_study, storage_errors, study_names

VERSION = "version"  # user attribute of a study: of this package, by which it was planned last


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a study is run here; none of it changes a number."""

    out: Path
    storage: str | None = None
    study: str
    workers: int = 1
    data_root: str | None = None
    cache_dir: str | None = None
    plugins: tuple[str, ...] = ()
    latency_budget_s: float | None = None
    retry_failed: bool = False
    command: str = ""
    artifacts: str | None = None  # where files are kept that other machines read; stored with the study, unlike the rest

    @property
    def where(self) -> str:
        """The storage: a URL, or the journal file in the study's folder."""
        return self.storage or str(StudyFolder(self.out).journal)


@dataclass(kw_only=True)
class StudyRun:
    """One opened study on this machine."""

    config: StudyConfig
    options: RunOptions
    console: Console
    study: optuna.Study
    images: Dataset | None  # none where networks and training are the user's own
    space: Space

    @property
    def folder(self) -> StudyFolder:
        """Its files."""
        return StudyFolder(self.options.out)

    @property
    def variants(self) -> list[Variant]:
        """Those of the full grid; two of them may be one network, trained differently."""
        return self.space.enumerate()[0]

    @property
    def dataset(self) -> Dataset:
        """Its images."""
        assert self.images is not None
        return self.images

    @cached_property
    def split(self) -> Split:
        """Its images to train, to validate and to test."""
        return split_indices(len(self.dataset), seed=self.config.training_protocol().split_seed)


def _begins(study: optuna.Study, wanted: StudyConfig) -> bool:
    """Whether nothing has come of a study yet, nor is about to, and it asks for the best of what is wanted."""
    busy = any(trial.state in (TrialState.COMPLETE, TrialState.RUNNING) for trial in study.get_trials(deepcopy=False))
    lowest = study.directions[0] == StudyDirection.MINIMIZE
    return not busy and lowest == wanted.leading.lower_is_better and (study.metric_names or [""])[0] == next(iter(wanted.metrics))


def reach(options: RunOptions) -> RunOptions:
    """The options with the place of the study's artifacts. InputError for a place that can't be written or reached.

    It comes before anything that takes long, such as decoding images.
    """
    prepare_folder(options.out)
    storage = open_storage(options.where)
    known = options.study in study_names(storage)
    study = optuna.load_study(study_name=options.study, storage=storage) if known else None
    place = place_of(study, options.artifacts, StudyFolder(options.out).artifacts)
    check_place(place, is_new=study is None or PLACE not in study.user_attrs)
    return replace(options, artifacts=place)


def open_run(wanted: StudyConfig, options: RunOptions, dataset: Dataset | None, console: Console) -> StudyRun:
    """Open or make the study's folder and storage, refusing a study made by another space, data set or protocol."""
    space = Space.from_dict(wanted.space, None if wanted.own else wanted.training_protocol())
    if wanted.search:
        check_search(wanted)
    else:
        space.enumerate()  # an InputError comes before anything is written
    StudyFolder(options.out).create()
    study = open_study(open_storage(options.where), options.study, (next(iter(wanted.metrics)), wanted.leading.lower_is_better))
    with (
        storage_errors(study),
        exclusive(study),
    ):  # of two machines that begin it at the same time, the second finds the place of the first
        place = place_of(study, options.artifacts, StudyFolder(options.out).artifacts)
        if place != study.user_attrs.get(PLACE):
            study.set_user_attr(PLACE, place)
    options = replace(options, artifacts=place)
    stored = study.user_attrs.get("config")
    config = wanted
    if wanted.own and _begins(study, wanted):
        options = replace(options, retry_failed=True)  # nothing came of it yet: what was wrong with it may be mended
    elif stored:
        config = reconcile_config(StudyConfig.from_dict(stored), wanted, str(options.out), former=dataset.former if dataset else ())
    if study.user_attrs.get(VERSION) != ablation.__version__:
        study.set_user_attr(VERSION, ablation.__version__)  # before the settings: a machine that joins reads them after it
    if config.to_dict() != stored:
        study.set_user_attr("config", config.to_dict())
    dataset = dataset.with_note(FORMER_NOTE) if dataset and config.former_fingerprint else dataset
    return StudyRun(config=config, options=options, console=console, study=study, images=dataset, space=space)
