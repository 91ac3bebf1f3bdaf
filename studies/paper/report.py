"""The page of a study of the paper, from its folder alone: judged again each time, without torch, training or a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from blocks.errors import must_be
from studies.engine.config import prepare_folder
from studies.paper.claims.judge import judge
from studies.paper.evidence.collect import STALE, Arrays, arrays_of, collect
from studies.paper.evidence.evidence import Evidence
from studies.paper.evidence.published import read_published, write_evidence
from studies.paper.folder import PaperFolder
from studies.paper.page.write import kept_pictures, write_paper
from studies.work.progress import print_line


def report_paper(folder: PaperFolder, console: Console, *, page: Path, shareable: bool = False) -> list[Path]:
    """Judge and write the page; where it is `shareable`, without pictures that show real faces, whose licence forbids that."""
    evidence = collect(folder)
    _refuse_stale(folder, evidence)
    allowed = not shareable or evidence.scale.get("data") == "faces"
    return _write(evidence, arrays_of(folder, evidence), console, page, images_allowed=allowed)


def report_published(folder: Path, console: Console, *, page: Path) -> list[Path]:
    """Judge again and write the page from a folder of an earlier page; pictures that need more than it holds are kept."""
    evidence, kept = read_published(folder), kept_pictures(folder)
    allowed = evidence.scale.get("data") == "faces"
    return _write(evidence, {}, console, page, images_allowed=allowed, kept=kept)


def _write(evidence: Evidence, arrays: Arrays, console: Console, page: Path, **how: Any) -> list[Path]:
    verdicts = judge(evidence)
    paths = [*write_paper(evidence, verdicts, arrays, prepare_folder(page, "--to"), **how), write_evidence(evidence, page)]
    for verdict in verdicts:
        print_line(console, f"{verdict.id:<4} {verdict.kind:<10} {verdict.sentence}")
    console.print(f"The page: {next(path for path in paths if path.suffix == '.html')}", markup=False, soft_wrap=True)
    return paths


def _refuse_stale(folder: PaperFolder, evidence: Evidence) -> None:
    """InputError where trials were measured by another version: a page that lacks them must not take a whole one's place."""
    stale = sum(t.analysis.get("not_computed", {}).get("analysis") == STALE for t in (*evidence.trials, *evidence.hypotheses))
    if stale:
        command = evidence.provenance.get("command")
        again = f"`{command}`" if command else "the command of `paper` that made it"
        remedy = f"Run {again}: it measures them again, without training."
        raise must_be("FOLDER", "a study whose trials were measured by this version", f"{folder.path}, {stale} of another", remedy)
