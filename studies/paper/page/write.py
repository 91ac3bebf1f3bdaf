"""Writes the page of the paper's study: verdicts, figures, tables and strips from stored evidence alone. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ablation.report.explain.page import PLOTS
from ablation.report.explain.plots import NARROW, WIDE, Plot
from ablation.report.explain.tables import write_lines
from ablation.report.kit.page import Answer, Block, Drawn, Heading, Missing, Paragraph, Picture, to_html, to_markdown
from studies.paper.claims.judge import CORRECTION, GPU_POLICY, RULES_CHANGED
from studies.paper.claims.ledger import write_ledger
from studies.paper.evidence.evidence import Evidence
from studies.paper.page import look, sections, tables, words
from studies.paper.page.blocks import TEMPLATES, Claims, Contents, Section, Strip
from studies.paper.page.strips import Strips, write_strips
from studies.paper.page.study import STRIPS, Part, Study
from studies.paper.rules.verdict import Verdict

TITLE = "The paper reproduced and judged"
SECTIONS = (
    sections.table_1, sections.figures, sections.quality_section, sections.pieces_section, sections.latent_section,
    sections.traversal_section, sections.hypotheses_section, sections.cost_section, sections.limits_section,
)  # fmt: skip
# letters of the same widths, one of which every system has: SVG files hold text, not outlines
FONTS = ["DejaVu Sans", "Verdana", "Bitstream Vera Sans"]


def write_paper(
    evidence: Evidence,
    verdicts: Sequence[Verdict],
    arrays: look.Arrays,
    folder: Path,
    *,
    images_allowed: bool,
    kept: Mapping[str, bytes] | None = None,
) -> list[Path]:
    """Everything that the study found, into `folder` (made if need be): returns the files written.

    paper.html (needs no other file and no network), paper.md, claims.csv, claims.md, ledger.json, trials.csv, plots/NAME.svg,
    NAME_narrow.svg (for phones) and NAME.csv, and strips/NAME.png. Without `images_allowed` no picture that shows a face is written
    or put into the page, which says so in its place. Earlier strips and plots in `folder` that are not of this page are removed.
    `kept`: files of an earlier page (`kept_pictures`), for what needs arrays that are not at hand.
    """
    folder, pictures = Path(folder), kept or {}
    parts = page_parts(Study(evidence, verdicts, arrays, images_allowed, pictures))
    files = _draw([p for p in parts if isinstance(p, Plot)], folder / PLOTS)
    files += _pictures([p for p in parts if isinstance(p, Strips)], folder / STRIPS)
    files += _put_back(pictures, parts, folder)
    blocks = [_placed(part) for part in parts]
    pages = {"paper.html": to_html(blocks, folder, TITLE, TEMPLATES), "paper.md": to_markdown(blocks, TEMPLATES)}
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")
    ledger = write_ledger(verdicts, folder, evidence)
    return [*(folder / name for name in pages), *ledger, tables.write_trials(evidence, folder / "trials.csv"), *files]


def page_parts(study: Study) -> list[Part]:
    """The page from top to bottom, plots and strips not yet drawn."""
    body = [part for section in SECTIONS for part in section(study)]
    e, verdicts = study.evidence, study.verdicts
    listed = [Section("Claims", "claims"), *(p for p in body if isinstance(p, Section) and p.level == 2)]
    head: list[Part] = [Heading(TITLE, 1), Answer(words.answer(e, verdicts)), Paragraph(words.what_was_run(e))]
    head += [Paragraph(words.paper_scale(e)), Paragraph(words.budget(e)), Contents(listed)]
    claims: list[Part] = [Section("The paper's claims, judged", "claims")]
    claims += [Claims(verdicts, study.places)] if verdicts else [Missing("No claim was judged.")]
    claims += [
        Paragraph(f"**Judged together.** {words.correction(verdicts)} {CORRECTION}"),
        Paragraph(f"**Hardware.** {GPU_POLICY}"),
    ]
    claims += [Paragraph(f"**How the rules came about.** {RULES_CHANGED}")]
    return [*head, *claims, *body]


def _placed(part: Part) -> Block:
    """A block of the page: plots and strips as links to their files."""
    if isinstance(part, Plot):
        stem = f"{PLOTS}/{part.stem}"
        return Drawn(f"{stem}.svg", f"{stem}_narrow.svg", f"{stem}.csv", part.alt)
    return (
        Strip(f"{STRIPS}/{part.stem}.png", part.alt, f"**{part.title}.** {part.note}", part.rows)
        if isinstance(part, Strips)
        else part
    )


def _draw(plots: Sequence[Plot], folder: Path) -> list[Path]:
    """Each plot in both shapes, and its numbers; whatever an earlier page left is removed."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    from ablation.report.kit.plot_style import styled

    _emptied(folder, (".svg", ".csv"))
    files: list[Path] = []
    with styled(), mpl.rc_context({"svg.fonttype": "none", "font.sans-serif": FONTS}):
        for plot in plots:
            for stem, width in ((plot.stem, WIDE), (f"{plot.stem}_narrow", NARROW)):
                figure = plot.draw(width)
                FigureCanvasSVG(figure).print_svg(folder / f"{stem}.svg", metadata={"Date": None, "Creator": None})
                files.append(folder / f"{stem}.svg")
            files.append(write_lines(folder / f"{plot.stem}.csv", plot.headings, plot.lines))
    return files


def _pictures(found: Sequence[Strips], folder: Path) -> list[Path]:
    """The strips as PNG; whatever an earlier page left is removed, so that a copy without faces holds none."""
    _emptied(folder, (".png",))
    files = [write_strips(strips, folder / f"{strips.stem}.png") for strips in found]
    if not any(folder.iterdir()):
        folder.rmdir()
    return files


def kept_pictures(folder: Path) -> dict[str, bytes]:
    """Strips and t-SNE maps of a page, by path below its folder."""
    paths = [*folder.glob(f"{STRIPS}/*.png"), *folder.glob(f"{PLOTS}/tsne_*")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(paths)}


def _put_back(kept: Mapping[str, bytes], parts: Sequence[Part], folder: Path) -> list[Path]:
    """Writes those of the kept files that the page shows."""
    shown = {p.path for p in parts if isinstance(p, Picture)}
    shown |= {path for p in parts if isinstance(p, Drawn) for path in (p.path, p.narrow, p.numbers)}
    for name in sorted(shown & set(kept)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(kept[name])
    return [folder / name for name in sorted(shown & set(kept))]


def _emptied(folder: Path, suffixes: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.suffix in suffixes:
            path.unlink()
