"""`report`: pages again from what is stored. No torch, so that it answers at once and anywhere."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from ablation.report.explain.page import read_explanation, write_explanation
from blocks.errors import must_be
from studies.engine.folder import holder
from studies.paper.evidence.published import is_published
from studies.paper.folder import PaperFolder
from studies.search.folder import SearchFolder, is_search, restore_facts
from studies.stored.opened import RESULTS, opened_studies
from studies.stored.options import ReportOptions

PAGES = ("plan.json", "explanation.json", "about.json")  # a folder with one of these has a page of its own


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
