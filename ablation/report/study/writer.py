"""Writes a study's report folder from its records: tables, plots, a page of sentences, provenance. No torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ablation.machine.hardware import slug
from ablation.record.sittings import without_doubtful_ends
from ablation.record.trial import Record
from ablation.report.kit.numbers import capital
from ablation.report.kit.page import Answer, Block, Bullets, Heading, Paragraph, Picture, literal, to_html, to_markdown
from ablation.report.kit.plot_style import save, styled
from ablation.report.kit.tables import UTF8
from ablation.report.study import accounts, effect_sentences, effect_tables, sentences
from ablation.report.study.curves import epoch_curves, has_curve
from ablation.report.study.effects_plot import PAGE_NOTE, drawn_keys, effects_plot
from ablation.report.study.rows import Row, StudyInfo, as_shown, latency_keys, name_of, rows_of, state_counts
from ablation.report.study.scatter import scatter
from ablation.report.study.swaps import Judged, judge_all
from ablation.report.study.tables import footnotes, main_columns, table_of, write_tables
from ablation.report.study.ties import RULE, Ties

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLOTS = "plots"
EFFECTS, CURVES = "effects", "_curves"
INTERACTIONS = (
    "By how much two swaps together change a measure beyond the sum of both alone (of latency, by which factor beyond their "
    "product), averaged over the levels of all other factors. Pairs of swaps of which one does nothing beside the other are "
    "left out."
)


@dataclass(frozen=True)
class Report:
    """What a report is made of: the study's facts, its networks, and the verdicts on them."""

    study: StudyInfo
    records: Sequence[Record]
    rows: Sequence[Row]
    keys: Sequence[str]
    judged: Judged
    ties: Ties


def write_report(records: Iterable[Record], folder: Path, *, study: StudyInfo, images_allowed: bool = True) -> list[Path]:
    """Everything that a study shows, into `folder` (made if need be): returns the files written.

    table.csv, table.md, table.tex, trials.csv, plots/*.png and *.svg, report.md, report.html, provenance.json. Works for a
    study that is empty, unfinished or has failures, and says so. Where `images_allowed`, pictures already in the folder
    that start with 'gallery' or 'reconstructions' are shown on the page; where not (data that must not be shown), the page says so.
    """
    records, study = as_shown(records, study)
    folder = Path(folder)
    (folder / PLOTS).mkdir(parents=True, exist_ok=True)
    rows, keys = rows_of(records, study), latency_keys(records)
    judged = judge_all(records, study, rows)
    report = Report(study, records, rows, keys, judged, Ties(rows, keys, judged.floors, study))
    paths = write_tables(rows, records, folder, study)
    plots = write_plots(report, folder / PLOTS)
    galleries = sorted(p for pattern in ("gallery*.png", "reconstructions*.png") for p in folder.glob(pattern))
    blocks = _blocks(report, plots, galleries if images_allowed else None)
    pages = {"report.md": to_markdown(blocks), "report.html": to_html(blocks, folder), "provenance.json": _provenance(report)}
    for name, text in pages.items():
        (folder / name).write_text(text, **UTF8)
    return [*paths, *plots, *(folder / name for name in pages)]


def against(study: StudyInfo) -> str:
    """How names of plots of the first metric begin."""
    return f"{slug(study.lead)}_against_"


def write_plots(report: Report, folder: Path) -> list[Path]:
    """The first metric against each latency and cost; paired effects; curves by epoch: PNG and SVG of each."""
    rows, study, lead = report.rows, report.study, report.study.leading
    names = {key: name_of(key).replace(":", "") for key in report.keys} | {"params": "parameters"}
    costs = {key: study.metric(key) for key in (*report.keys, "params", "macs")}
    with styled():
        figures: dict[str, Figure] = {}
        figures |= {
            f"{against(study)}{names.get(key, key)}": scatter(rows, study, m, lead, report.ties) for key, m in costs.items()
        }
        for key in drawn_keys(report.judged) or [""]:
            figures["_".join([EFFECTS, names.get(key, key)]).rstrip("_")] = effects_plot(report.judged, key, rows, study)
        if not study.is_own or any(map(has_curve, rows)):
            figures[f"{slug(study.lead)}{CURVES}"] = epoch_curves(rows, study)
        return [path for name, figure in figures.items() for path in save(figure, folder / name)]


def _provenance(report: Report) -> str:
    """What is needed to make the numbers again: the study's own account, and each distinct one that trials stored."""
    study = report.study
    distinct = {json.dumps(dict(r.provenance), sort_keys=True, default=str) for r in report.records if r.provenance}
    facts = {
        "title": study.title, "command": study.command, "device": study.device,
        "data": dict(study.data), "protocol": dict(study.protocol),
        "factors": {f: list(levels) for f, levels in study.factors.items()}, "reference": study.reference,
        "num_planned": study.num_planned, "counts": state_counts(report.records, study),
        "latency_noise": {k: without_doubtful_ends(v) for k, v in study.latency_noise.items()},
        **study.provenance, "trials": [json.loads(text) for text in sorted(distinct)],
    }  # fmt: skip
    return json.dumps(facts, indent=2, default=str) + "\n"


def _blocks(report: Report, plots: Sequence[Path], galleries: Sequence[Path] | None) -> list[Block]:
    """The page from top to bottom: the answer, what each swap changes, networks as wholes, what is missing, all numbers."""
    rows, records, study, ties = report.rows, report.records, report.study, report.ties
    blocks: list[Block] = [Heading(literal(study.title), 1)]
    about = [Paragraph(accounts.completeness(rows, records, study)), Paragraph(_setting(study))]
    missing = accounts.missing_sentences(rows, records, study)
    if not ties.axes:
        empty = Paragraph("No variant has any number yet, so there is nothing to compare.")
        return [*blocks, *about, empty, *_section("What is missing", missing)]
    blocks += [Answer(" ".join(effect_sentences.answer(report.judged, sentences.lead_sentence(rows, ties)))), *about]
    blocks += [*_effects(report.judged, _pictures(plots, EFFECTS)), *_interactions(report.judged)]
    blocks += _section("How effects are judged", effect_sentences.judging_sentences(report.judged, rows, study, report.keys))
    blocks += _section("The best of each", sentences.best_sentences(rows, ties))
    blocks += _section("Against the reference", sentences.reference_sentences(rows, ties))
    blocks += [*_section("On the Pareto front", sentences.front_sentences(rows, ties)), Paragraph(RULE)]
    blocks += _pictures(plots, against(study))
    blocks += _section("What is missing", missing or ["Nothing."])
    blocks += accounts.where_trials_ran(rows, study)
    blocks += _section("Factors that do nothing somewhere", accounts.inert_sentences(rows, study))
    blocks += _section("Two ways to count", accounts.counting_sentences(rows))
    curves = [p for p in plots if p.stem.endswith(CURVES)]
    blocks += [*([Heading(f"{capital(study.by_epoch)} by epoch"), *_pictures(curves)] if curves else []), *_gallery(galleries)]
    return [*blocks, *_table(rows, report.keys, study), *_origin(study)]


def _pictures(plots: Sequence[Path], start: str = "") -> list[Picture]:
    chosen = [p for p in plots if p.suffix == ".svg" and p.name.startswith(start)]
    return [Picture(f"{PLOTS}/{p.name}", p.stem.replace("_", " ")) for p in chosen]


def _section(heading: str, items: Sequence[str]) -> list[Block]:
    return [Heading(heading), Bullets(items)] if items else []


def _effects(judged: Judged, pictures: Sequence[Picture]) -> list[Block]:
    """One sentence for each swap with the table of its effects, then the plots of all."""
    blocks: list[Block] = [Heading("What each swap changes")]
    if not judged.swaps:
        return [*blocks, Paragraph("No factor has two levels with trials, so there is no swap to compare."), *pictures]
    for swap in judged.swaps:
        blocks += [Paragraph(effect_sentences.swap_sentence(judged, swap)), effect_tables.effects_table(judged, swap)]
    return [*blocks, Paragraph(PAGE_NOTE), *pictures]


def _interactions(judged: Judged) -> list[Block]:
    table, left_out = effect_tables.interactions_table(judged)
    if table is None and not left_out:
        return []
    more = [Paragraph(f"{left_out} more are not settled.")] if left_out else []
    return [Heading("Where one swap changes the effect of another"), Paragraph(INTERACTIONS), *([table] if table else []), *more]


def _setting(study: StudyInfo) -> str:
    """Data, protocol and device in one sentence each."""
    if study.network:
        return f"Network: {literal(study.network)}. Device: {study.device or 'not stated'}."
    size = [f"{study.data['num_images']:,} images" if "num_images" in study.data else ""]
    size += [f"{study.data['image_size']} px" if "image_size" in study.data else ""]
    texts = [f"Data: {study.data.get('name', 'not stated')} ({', '.join(s for s in size if s)})."]
    texts += [f"Training: {', '.join(f'{k} {v}' for k, v in study.protocol.items())}."] if study.protocol else []
    return " ".join([*texts, f"Device: {study.device or 'not stated'}."]).replace(" ()", "")


def _gallery(galleries: Sequence[Path] | None) -> list[Block]:
    heading = Heading("Reconstructions")
    if galleries is None:
        return [heading, Paragraph("Not shown here: the licence of these images forbids passing them on.")]
    return [heading, *(Picture(p.name, p.stem.replace("_", " ")) for p in galleries)] if galleries else []


def _table(rows: Sequence[Row], keys: Sequence[str], study: StudyInfo) -> list[Block]:
    more = "All columns are in `table.csv`, `table.md` and `table.tex`, every trial in `trials.csv`. "
    notes = " ".join(note for note in footnotes(keys) if not note.startswith("* "))
    return [Heading("All variants"), table_of(rows, main_columns(keys, study)), Paragraph(more + notes)]


def _origin(study: StudyInfo) -> list[Block]:
    items = [f"Command: `{study.command}`"] if study.command else []
    for name, value in study.provenance.items():
        if isinstance(value, Mapping):  # what is nested deeper, or long, is for the file
            value = ", ".join(f"{k} {v}" for k, v in value.items() if not isinstance(v, Mapping | list | tuple))
        if value and len(str(value)) <= 400:
            items.append(f"{name.replace('_', ' ').capitalize()}: {value}")
    return [Heading("Where the numbers come from"), Bullets([*items, "All of it: `provenance.json`"])]
