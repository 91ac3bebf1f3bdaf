"""`status` and `report`: what a study's storage says. No torch is imported, so both answer at once and anywhere."""

from __future__ import annotations

import argparse
from pathlib import Path

import optuna
from rich.console import Console

from ablation.report.explain.page import read_explanation, write_explanation
from blocks.errors import must_be
from studies.engine.config import StudyConfig, StudyFolder
from studies.engine.folder import holder, part_of
from studies.paper.evidence.published import is_published
from studies.paper.folder import PaperFolder
from studies.store.queue import trial_state
from studies.store.records import records
from studies.store.storage import open_storage, study_names


def run_status(options: argparse.Namespace) -> int:
    """One line of counts for each study, then each trial that is not complete, with its reason."""
    for study, _, config in _opened(options):
        state = trial_state(study, config.limits)
        counts = ", ".join(f"{getattr(state, name)} {name}" for name in ("complete", "failed", "waiting", "running", "stale"))
        print(f"{study.study_name}: {state.planned} planned: {counts}")
        for record in records(study, config.limits):
            if record.reason:
                print(f"  {record.state}: {record.label}, seed {record.seed}: {record.reason}")
    return 0


def run_report(options: argparse.Namespace) -> int:
    """Write the report of each study again; a study of the paper has a page for all its groups, an explanation one of its own."""
    if options.out is not None and PaperFolder(options.out).plan.is_file() and not options.study:
        return _paper_page(PaperFolder(options.out), options.to)
    if options.out is not None and (options.out / "explanation.json").is_file() and not options.study:
        return _explanation_page(options.out, options.to)
    if options.out is not None and is_published(options.out) and not options.study:
        return _published_page(options.out, options.to)
    from studies.engine.reporting import report_study  # here: the dashboard takes a second to import

    papers = _papers() if options.out is None and not options.storage else []
    for paper in papers:
        _paper_page(paper, None)
    if options.out is None and not options.storage:
        for path in sorted(Path("results").glob("*/explanation.json")):
            _explanation_page(path.parent, None)
    opened = [found for found in _opened(options) if options.out or not any(p.path in found[1].path.parents for p in papers)]
    if options.to is not None and len(opened) > 1:
        raise must_be("--to", "given with one study", f"{len(opened)} studies", "Name the FOLDER of one.")
    for study, folder, config in opened:
        report_study(study, folder, config, Console(), f"python -m studies.run report {folder.path}", to=options.to)
    return 0


def _papers() -> list[PaperFolder]:
    """Studies of the paper under results/."""
    return [PaperFolder(path.parent) for path in sorted(Path("results").glob("*/plan.json"))]


def _paper_page(folder: PaperFolder, to: Path | None) -> int:
    from studies.paper.report import report_paper

    report_paper(folder, Console(), page=to or folder.page, shareable=to is not None)
    return 0


def _published_page(folder: Path, to: Path | None) -> int:
    from studies.paper.report import report_published

    report_published(folder, Console(), page=to or folder)
    return 0


def _explanation_page(folder: Path, to: Path | None) -> int:
    try:
        explanation = read_explanation(folder)
    except (ValueError, TypeError, KeyError) as error:
        remedy = f"It cannot be read ({type(error).__name__}: {error})."
        raise must_be("explanation.json", "what `explain` writes", str(folder / "explanation.json"), remedy) from None
    paths = write_explanation(explanation, to or folder)
    print(f"The page: {next(path for path in paths if path.suffix == '.html')}")
    return 0


def _opened(options: argparse.Namespace) -> list[tuple[optuna.Study, StudyFolder, StudyConfig]]:
    """The studies that the flags name: one folder, one study of a storage, or all folders under results/."""
    if options.storage:
        opened = _of_storage(options, options.out)
    elif options.out is not None:
        if not StudyFolder(options.out).journal.is_file():
            remedy = "It holds no journal.log; `status` lists those under results/."
            raise must_be("FOLDER", "the folder of a study", str(options.out), remedy)
        opened = _of_folder(options.out)
    else:
        folders = sorted(path.parent for path in Path("results").rglob("journal.log"))
        if not folders:
            raise must_be("FOLDER", "the folder of a study", "no study under results/", "Start one: python -m studies.run grid.")
        opened = [found for folder in folders for found in _of_folder(folder)]
    names = [study.study_name for study, _ in opened]
    if options.study is not None and options.study not in names:
        raise must_be("--study", "one of " + ", ".join(names), options.study)
    return [
        (study, StudyFolder(where), StudyConfig.from_dict(study.user_attrs["config"]))
        for study, where in opened
        if options.study in (None, study.study_name) and "config" in study.user_attrs
    ]


def _of_storage(options: argparse.Namespace, folder: Path | None) -> list[tuple[optuna.Study, Path]]:
    """Studies of a storage that is named: of the folder's study, if one is given, or of all."""
    storage = open_storage(options.storage, must_exist=True)
    stored = study_names(storage)
    wanted = options.study or (holder(folder).get("study", folder.resolve().name) if folder else None)
    if wanted is not None and wanted not in stored:
        raise must_be("--study", "one of " + ", ".join(stored), wanted, "Each has a folder of its own.")
    names = [wanted] if wanted is not None else stored
    return [(optuna.load_study(study_name=n, storage=storage), folder or Path("results") / n) for n in names]


def _of_folder(folder: Path) -> list[tuple[optuna.Study, Path]]:
    """Studies of a folder's journal, each with the folder of its files: groups of the paper, or of an earlier version several."""
    storage = open_storage(StudyFolder(folder).journal, must_exist=True)
    stored = study_names(storage)
    where = PaperFolder(folder).group if PaperFolder(folder).plan.is_file() else lambda name: part_of(folder, name, stored)
    return [(optuna.load_study(study_name=name, storage=storage), where(name)) for name in stored]
