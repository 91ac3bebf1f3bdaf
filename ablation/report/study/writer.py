"""Writes a study's report folder from its records: tables, plots, a page of sentences, provenance. No torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ablation.record.sittings import without_doubtful_ends
from ablation.record.trial import METRICS, Record
from ablation.report.kit.page import Block, Bullets, Heading, Paragraph, Picture, Table, literal, to_html, to_markdown
from ablation.report.study import accounts, effect_sentences, effect_tables, sentences
from ablation.report.study.rows import Row, StudyInfo, as_shown, latency_keys, latency_of, rows_of, state_counts
from ablation.report.study.swaps import Judged, judge_all
from ablation.report.study.tables import footnotes, main_columns, write_tables
from ablation.report.study.ties import RULE, Ties

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLOTS = "plots"


def write_report(records: Iterable[Record], folder: Path, *, study: StudyInfo, images_allowed: bool = True) -> list[Path]:
    """Everything that a study tells, into `folder` (made if need be): returns the files written.

    table.csv, table.md, table.tex, trials.csv, plots/*.png and *.svg, report.md, report.html, provenance.json. Works for a
    study that is empty, unfinished or has failures, and says so. Where `images_allowed`, pictures already in the folder
    that start with 'gallery' or 'reconstructions' are shown on the page; where not (data that must not be shown), the page says so.
    """
    records, study = as_shown(records, study)
    folder = Path(folder)
    (folder / PLOTS).mkdir(parents=True, exist_ok=True)
    rows = rows_of(records, study)
    judged = judge_all(records, study, rows)
    ties = Ties(rows, latency_keys(records), judged.floors)
    paths = write_tables(rows, records, folder, study)
    plots = write_plots(rows, records, judged, ties, folder / PLOTS, study)
    blocks = _blocks(records, rows, judged, ties, study, plots, _galleries(folder), images_allowed)
    pages = {"report.md": to_markdown(blocks), "report.html": to_html(blocks, folder)}
    pages["provenance.json"] = _provenance(records, study)
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
    return [*paths, *plots, *(folder / name for name in pages)]


def write_plots(
    rows: Sequence[Row], records: Sequence[Record], judged: Judged, ties: Ties, folder: Path, study: StudyInfo
) -> list[Path]:
    """Loss against every latency, parameters and multiply-accumulates; paired effects; loss curves: PNG and SVG of each."""
    from ablation.report.kit.plot_style import save, styled
    from ablation.report.study.curves import loss_curves
    from ablation.report.study.effects import effects_plot
    from ablation.report.study.scatter import scatter

    costs = {f"latency_{key.replace('/', '_b').replace(':', '')}": latency_of(key) for key in latency_keys(records)}
    costs |= {"parameters": METRICS["params"], "macs": METRICS["macs"]}
    with styled():
        figures: dict[str, Figure] = {}
        figures |= {f"loss_against_{name}": scatter(rows, study, m, METRICS["loss"], ties) for name, m in costs.items()}
        figures["effects"] = effects_plot(judged, rows, study)
        figures["loss_curves"] = loss_curves(rows, study)
        return [path for name, figure in figures.items() for path in save(figure, folder / name)]


def _galleries(folder: Path) -> list[Path]:
    return sorted(p for pattern in ("gallery*.png", "reconstructions*.png") for p in folder.glob(pattern))


def _provenance(records: Sequence[Record], study: StudyInfo) -> str:
    """What is needed to make the numbers again: the study's own account, and each distinct one that trials stored."""
    seen = {json.dumps(dict(r.provenance), sort_keys=True, default=str) for r in records if r.provenance}
    facts = {
        "title": study.title, "command": study.command, "device": study.device,
        "data": dict(study.data), "protocol": dict(study.protocol),
        "factors": {f: list(levels) for f, levels in study.factors.items()}, "reference": study.reference,
        "num_planned": study.num_planned, "counts": state_counts(records, study),
        "latency_noise": {k: without_doubtful_ends(v) for k, v in study.latency_noise.items()},
        **study.provenance, "trials": [json.loads(text) for text in sorted(seen)],
    }  # fmt: skip
    return json.dumps(facts, indent=2, default=str) + "\n"


def _blocks(
    records: Sequence[Record], rows: Sequence[Row], judged: Judged, ties: Ties, study: StudyInfo,
    plots: Sequence[Path], galleries: Sequence[Path], images_allowed: bool,
) -> list[Block]:  # fmt: skip
    keys = latency_keys(records)
    pictures = [Picture(f"{PLOTS}/{p.name}", p.stem.replace("_", " ")) for p in plots if p.suffix == ".svg"]
    blocks: list[Block] = [Heading(literal(study.title), 1)]
    about = [Paragraph(accounts.completeness(rows, records, study)), Paragraph(_setting(study))]
    if not ties.axes:
        empty = Paragraph("No variant has any number yet, so there is nothing to compare.")
        return [*blocks, *about, empty, *_section("What is missing", accounts.missing_sentences(rows, records, study))]
    blocks += [Paragraph(" ".join(effect_sentences.answer(judged, sentences.lead_sentence(rows, ties)))), *about]
    blocks += [*_effects(judged), *pictures[-2:-1], *_interactions(judged)]
    blocks += _section("How effects are judged", effect_sentences.judging_sentences(judged, rows, study, keys))
    blocks += _section("The best of each", sentences.best_sentences(rows, ties))
    blocks += [*_section("Against the reference", sentences.reference_sentences(rows, ties)), *pictures[:1]]
    blocks += [*_section("On the Pareto front", sentences.front_sentences(rows, ties)), Paragraph(RULE), *pictures[1:-2]]
    blocks += _section("What is missing", accounts.missing_sentences(rows, records, study) or ["Nothing."])
    blocks += _section("Factors that do nothing somewhere", accounts.inert_sentences(rows, study))
    blocks += _section("Two ways to count", accounts.counting_sentences(rows))
    blocks += [Heading("Loss curves"), *pictures[-1:], *_gallery(galleries, images_allowed), *_table(rows, keys), *_origin(study)]
    return blocks


def _section(heading: str, items: Sequence[str]) -> list[Block]:
    return [Heading(heading), Bullets(items)] if items else []


def _effects(judged: Judged) -> list[Block]:
    heading = Heading("What each swap changes")
    if not judged.swaps:
        return [heading, Paragraph("No factor has two levels with trials, so there is no swap to compare.")]
    return [heading, Bullets(effect_sentences.swap_sentences(judged)), effect_tables.effects_table(judged)]


def _interactions(judged: Judged) -> list[Block]:
    table, left_out = effect_tables.interactions_table(judged)
    if table is None and not left_out:
        return []
    about = (
        "By how much two swaps together change a measure beyond the sum of both alone (of latency, by which factor beyond their "
        "product), averaged over the levels of all other factors. Pairs of swaps of which one does nothing beside the other are "
        "left out."
    )
    more = [Paragraph(f"{left_out} more are not settled.")] if left_out else []
    return [Heading("Where one swap changes the effect of another"), Paragraph(about), *([table] if table else []), *more]


def _setting(study: StudyInfo) -> str:
    """Data, protocol and device in one sentence each."""
    data = [f"{study.data['num_images']:,} images" if "num_images" in study.data else ""]
    data += [f"{study.data['image_size']} px" if "image_size" in study.data else ""]
    size = ", ".join(d for d in data if d)
    texts = [f"Data: {study.data.get('name', 'not stated')} ({size})."]
    if study.protocol:
        texts.append(f"Training: {', '.join(f'{k} {v}' for k, v in study.protocol.items())}.")
    texts.append(f"Device: {study.device or 'not stated'}.")
    return " ".join(texts).replace(" ()", "")


def _gallery(galleries: Sequence[Path], images_allowed: bool) -> list[Block]:
    if not images_allowed:
        return [Heading("Reconstructions"), Paragraph("Not shown here: the licence of these images forbids passing them on.")]
    return [Heading("Reconstructions"), *(Picture(p.name, p.stem.replace("_", " ")) for p in galleries)] if galleries else []


def _table(rows: Sequence[Row], keys: Sequence[str]) -> list[Block]:
    chosen = main_columns(keys)
    lines = [[c.cell(row) for c in chosen] for row in rows]
    more = "All columns are in `table.csv`, `table.md` and `table.tex`, every trial in `trials.csv`. "
    return [
        Heading("All variants"), Table([c.heading for c in chosen], [c.is_number for c in chosen], lines),
        Paragraph(more + " ".join(note for note in footnotes(keys) if not note.startswith("* "))),
    ]  # fmt: skip


def _origin(study: StudyInfo) -> list[Block]:
    items = [f"Command: `{study.command}`"] if study.command else []
    for name, value in study.provenance.items():
        if isinstance(value, Mapping):  # what is nested deeper, or long, is for the file
            value = ", ".join(f"{k} {v}" for k, v in value.items() if not isinstance(v, Mapping | list | tuple))
        if value and len(str(value)) <= 400:
            items.append(f"{name.replace('_', ' ').capitalize()}: {value}")
    return [Heading("Where the numbers come from"), Bullets([*items, "All of it: `provenance.json`"])]
