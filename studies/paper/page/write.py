"""Writes the page of the paper's study: verdicts, figures, tables and strips from stored evidence alone. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ablation.report.explain.plots import PLOTS, Plot, draw_plots
from ablation.report.kit.page import Answer, Heading, Missing, Paragraph, Picture, to_html, to_markdown
from studies.paper.claims.judge import CORRECTION, GPU_POLICY, RULES_CHANGED
from studies.paper.claims.ledger import write_ledger
from studies.paper.evidence.evidence import Evidence
from studies.paper.page import sections, strips, style, tables, words
from studies.paper.page.study import TEMPLATES, Claims, Contents, Part, Section, Study
from studies.paper.rules.verdict import Verdict

TITLE = "The paper reproduced and judged"


def write_paper(
    evidence: Evidence,
    verdicts: Sequence[Verdict],
    arrays: style.Arrays,
    folder: Path,
    *,
    images_allowed: bool,
    kept: Mapping[str, bytes] | None = None,
) -> list[Path]:
    """Everything about the study, into `folder` (made if need be): returns the files written.

    paper.html (needs no other file and no network), paper.md, claims.csv, claims.md, ledger.json, trials.csv, plots/NAME.svg and
    NAME.csv, and strips/NAME.png. Without `images_allowed` no picture that shows a face is written or put into the page, which says
    so in its place. Earlier strips and plots in `folder` that are not of this page are removed. `kept`: files of an earlier page
    (`kept_pictures`), for what needs arrays that are not at hand.
    """
    folder, kept = Path(folder), kept or {}
    parts = page_parts(Study(evidence, verdicts, arrays, images_allowed, kept))
    _remove_strips(folder / strips.FOLDER)
    files = draw_plots([p for p in parts if isinstance(p, Plot)], folder / PLOTS, rounded=True)
    files += _pictures(parts, kept, folder)
    blocks = [p.block if isinstance(p, Plot) else p for p in parts]
    pages = {"paper.html": to_html(blocks, folder, TITLE, TEMPLATES), "paper.md": to_markdown(blocks, TEMPLATES)}
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")
    ledger = write_ledger(verdicts, folder, evidence)
    return [*(folder / name for name in pages), *ledger, tables.write_trials(evidence, folder / "trials.csv"), *files]


def page_parts(study: Study) -> list[Part]:
    """The page from top to bottom, plots and strips not yet drawn."""
    body = [part for section in sections.SECTIONS for part in section(study)]
    e, verdicts = study.evidence, study.verdicts
    listed = [Section("Claims", anchor="claims"), *(p for p in body if isinstance(p, Section) and p.level == 2)]
    return [
        Heading(TITLE, 1),
        Answer(words.answer(e, verdicts)),
        *map(Paragraph, (words.setup_text(e), words.paper_scale(e), words.budget(e))),
        Contents(listed),
        *study.section("The paper's claims, judged", "claims"),
        Claims(verdicts, study.places) if verdicts else Missing("No claim was judged."),
        Paragraph(f"**Judged together.** {words.correction(verdicts)} {CORRECTION}"),
        Paragraph(f"**Hardware.** {GPU_POLICY}"),
        Paragraph(f"**How the rules came about.** {RULES_CHANGED}"),
        *body,
    ]


def kept_pictures(folder: Path) -> dict[str, bytes]:
    """Strips and t-SNE maps of a page, by path below its folder; of plots that an earlier version drew twice the phones' shape."""
    paths = sorted([*folder.glob(f"{strips.FOLDER}/*.png"), *folder.glob(f"{PLOTS}/tsne_*")])
    return {path.relative_to(folder).as_posix().replace("_narrow.svg", ".svg"): path.read_bytes() for path in paths}


def _remove_strips(folder: Path) -> None:
    """Removes an earlier page's strips, so that a copy without faces holds none."""
    for path in folder.glob("*.png"):
        path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _pictures(parts: Sequence[Part], kept: Mapping[str, bytes], folder: Path) -> list[Path]:
    """The strips, and those of the kept files that the page shows."""
    made = {p.path: strips.png(strips.sheet(p.rows)) for p in parts if isinstance(p, strips.Strip)}
    shown = {path for p in parts if isinstance(p, Picture) for path in (p.path, p.numbers)}
    files = {folder / name: content for name, content in {**kept, **made}.items() if name in made or name in shown}
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return list(files)
