"""`status`, `report` and `list`: what is there. The first two import no torch, so that they answer at once and anywhere."""

from __future__ import annotations

from pathlib import Path

import optuna
from rich.console import Console

from ablation.design.spec import ALIASES, FAMILY_FIELDS, PRESET_SUMMARIES
from ablation.record.trial import INFEASIBLE
from ablation.report.explain.page import read_explanation, write_explanation
from blocks.errors import choices, must_be
from studies.engine.config import StudyConfig, StudyFolder
from studies.engine.folder import holder, part_of
from studies.options import ReportOptions, StatusOptions, WithPlugins
from studies.paper.evidence.published import is_published
from studies.paper.folder import PaperFolder
from studies.search.folder import SEARCH, SearchFolder, is_search, restore_facts
from studies.store.history import PRUNED
from studies.store.queue import STATES, trial_state
from studies.store.records import records
from studies.store.storage import open_storage, study_names

RESULTS = Path("results")
PAGES = ("plan.json", "explanation.json", "about.json")  # a folder with one of these has a page of its own


def run_status(options: StatusOptions) -> int:
    """One line of counts for each study, then each trial that is not complete, with its reason."""
    for study, _, config in opened_studies(options):
        state = trial_state(study, config.limits)
        shown = [name for name in STATES if getattr(state, name) or name not in PRUNED]
        print(f"{study.study_name}: {state.planned} planned: {', '.join(f'{getattr(state, name)} {name}' for name in shown)}")
        for record in records(study, config.limits):
            if record.reason and record.state != INFEASIBLE:  # of those a search proposes hundreds
                print(f"  {record.state}: {record.label}, seed {record.seed}: {record.reason}")
    return 0


def run_report(options: ReportOptions) -> int:
    """Write the report of each study again; a study of the paper has a page for all its groups, an explanation one of its own."""
    if options.folder is not None and not options.study and _write_page(options.folder, options.to, options.storage):
        return 0
    from studies.engine.reporting import report_study  # here: the dashboard takes a second to import

    pages: list[Path] = []
    if options.folder is None and not options.storage:
        pages = [path.parent for name in PAGES for path in sorted(RESULTS.glob(f"*/{name}"))]
    for folder in pages:
        _write_page(folder, None)
    opened = [(s, files, c) for s, files, c in opened_studies(options) if not {files.path, *files.path.parents} & set(pages)]
    if options.to is not None and len(opened) > 1:
        raise must_be("--to", "given with one study", f"{len(opened)} studies", "Name the FOLDER of one.")
    for study, files, config in opened:
        if options.storage and restore_facts(study, SearchFolder(files.path), options.storage):
            _write_page(files.path, options.to, options.storage)
            continue
        report_study(study, files, config, Console(), f"python -m studies.run report {files.path}", to=options.to)
    return 0


def _write_page(folder: Path, to: Path | None, storage: str | None = None) -> bool:
    """Write the page of the paper, of a published one or of an explanation; False where the folder holds none of these."""
    from studies.paper.report import report_paper, report_published
    from studies.search.page.write import report_kept, report_search

    paper = PaperFolder(folder)
    if paper.plan.is_file():
        report_paper(paper, Console(), page=to or paper.page, shareable=to is not None)
    elif is_search(folder, holder(folder)):
        report_search(SearchFolder(folder), Console(), storage=storage, to=to)
    elif (folder / "search.json").is_file():
        report_kept(folder, Console(), to=to)
    elif (folder / "explanation.json").is_file():
        _write_explanation(folder, to)
    elif is_published(folder):
        report_published(folder, Console(), page=to or folder)
    else:
        return False
    return True


def _write_explanation(folder: Path, to: Path | None) -> None:
    try:
        explanation = read_explanation(folder)
    except (ValueError, TypeError, KeyError) as error:
        remedy = f"It cannot be read ({type(error).__name__}: {error})."
        raise must_be("explanation.json", "what `explain` writes", str(folder / "explanation.json"), remedy) from None
    paths = write_explanation(explanation, to or folder)
    print(f"The page: {next(path for path in paths if path.suffix == '.html')}")


def opened_studies(options: StatusOptions) -> list[tuple[optuna.Study, StudyFolder, StudyConfig]]:
    """The studies that the flags name: one folder, one study of a storage, or all folders under results/."""
    if options.storage:
        opened = _of_storage(options.storage, options)
    elif options.folder is not None:
        if not StudyFolder(options.folder).journal.is_file():
            remedy = "It holds no journal.log; `status` lists those under results/."
            raise must_be("FOLDER", "the folder of a study", str(options.folder), remedy)
        opened = _of_folder(options.folder)
    else:
        folders = sorted(path.parent for path in RESULTS.rglob("journal.log"))
        if not folders:
            raise must_be("FOLDER", "the folder of a study", "no study under results/", "Start one: python -m studies.run grid.")
        opened = [each for folder in folders for each in _of_folder(folder)]
    names = [study.study_name for study, _ in opened]
    if options.study is not None and options.study not in names:
        raise must_be("--study", choices(names), options.study)
    return [
        (study, StudyFolder(files), StudyConfig.from_dict(study.user_attrs["config"]))
        for study, files in opened
        if options.study in (None, study.study_name) and "config" in study.user_attrs
    ]


def _of_storage(name: str, options: StatusOptions) -> list[tuple[optuna.Study, Path]]:
    """Studies of a storage that is named: of the folder's study, if one is given, or of all."""
    storage, folder = open_storage(name, must_exist=True), options.folder
    stored = study_names(storage)
    wanted = options.study or (holder(folder).get("study", folder.resolve().name) if folder else None)
    if wanted is not None and wanted not in stored:
        raise must_be("--study", choices(stored), wanted, "Each has a folder of its own.")
    names = stored if wanted is None else [wanted]
    return [(optuna.load_study(study_name=n, storage=storage), folder or RESULTS / n) for n in names]


def _of_folder(folder: Path) -> list[tuple[optuna.Study, Path]]:
    """Studies of a folder's journal, each with the folder of its files: groups of the paper, or of an earlier version several."""
    storage = open_storage(StudyFolder(folder).journal, must_exist=True)
    stored, paper = study_names(storage), PaperFolder(folder)
    marker = holder(folder)

    def files_of(name: str) -> Path:
        if marker.get("command") == SEARCH:
            return SearchFolder(folder).files_of(name, marker.get("study", stored[0]))
        return paper.group(name) if paper.plan.is_file() else part_of(folder, name, stored)

    return [(optuna.load_study(study_name=name, storage=storage), files_of(name)) for name in stored]


def run_list(options: WithPlugins) -> int:
    """Print pieces by family with the fields that name them, then presets and spaces."""
    from blocks import FAMILIES  # here: its pieces need torch

    for family, registry in FAMILIES.items():
        fields = [name for name, kind in FAMILY_FIELDS.items() if kind == family]
        aliases = [alias for alias, names in ALIASES.items() if names[0] in fields]
        print(f"{family} (field {', '.join([*aliases, *fields])})")
        for name in registry.names():
            print(f"  {name:<16} {registry.summary(name)}")
        print()
    print("presets")
    for name, text in PRESET_SUMMARIES.items():
        print(f"  {name:<16} {text}")
    print("\nspaces (--space)\n  small            12 networks from the paper's pieces at a quarter of the width, 48 px")
    print("  paper            every network between the paper's two models, 64, at 144 px")
    print("  loss             the KL weight and the compared loss of one small network, 8 variants, 48 px")
    print("  search           147,456 combinations around the paper's baseline at 144 px, for `search`")
    print("  replay           360 networks at 48 px, for `search --quick` and `bench search`")
    print("  FILE.toml        any factors and levels; see the README")
    print("  FILE.toml        or networks, training and metrics of your own: network, train, [factors], [metrics]")
    print("\nnetworks of your own, wherever one is named in `explain`, `cost` and `export`")
    print(
        "  MODULE:CALLABLE  whatever returns a torch.nn.Module, with its arguments: torchvision.models:resnet18 --input 3x224x224,"
    )
    print("                   'my_nets:make(width=32, dense=True)'; without --input, what the module's own example_input() gives")
    return 0
