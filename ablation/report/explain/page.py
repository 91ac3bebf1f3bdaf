"""Writes an explanation: a self-contained page, Markdown, plots with their numbers, and the JSON of it all. No torch."""

from __future__ import annotations

import json
from pathlib import Path

from ablation.record.convert import to_plain
from ablation.record.explanation import VERSION, Explanation
from ablation.record.stored import explanation_of
from ablation.report.explain import tables, words
from ablation.report.explain.answer import answer
from ablation.report.explain.names import with_shown_names
from ablation.report.explain.plots import PLOTS, Plot, draw_plots
from ablation.report.explain.sections import SECTIONS, Part
from ablation.report.kit.page import Answer, Heading, Missing, Paragraph, to_html, to_markdown


def write_explanation(explanation: Explanation, folder: Path) -> list[Path]:
    """All of an explanation, into `folder` (made if need be): returns the files written.

    explanation.html (needs no other file and no network), explanation.md, explanation.json (`read_explanation` reads it again; one
    that an earlier version wrote there stays as it is), attribution.csv, time_by_part.csv, plots/NAME.svg and plots/NAME.csv.
    Plots of an earlier page in `folder` are removed. The page names what was not measured, with the reason.
    """
    folder = Path(folder)
    shown = with_shown_names(explanation)
    parts = page_parts(shown)
    files = draw_plots([part for part in parts if isinstance(part, Plot)], folder / PLOTS)
    blocks = [part.block if isinstance(part, Plot) else part for part in parts]
    pages = {
        "explanation.html": to_html(blocks, folder, _title(shown)),
        "explanation.md": to_markdown(blocks),
        "explanation.json": json.dumps(to_plain(explanation), indent=1) + "\n",
    }
    if explanation.version < VERSION and (folder / "explanation.json").is_file():
        del pages["explanation.json"]
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
    more = [tables.write_attribution_csv(shown, folder / "attribution.csv")]
    more += [tables.write_blocks_csv(shown, folder / "time_by_part.csv")] if shown.decompositions else []
    return [*(folder / name for name in pages), *more, *files]


def read_explanation(folder: Path) -> Explanation:
    """What `write_explanation` wrote into this folder."""
    return explanation_of(json.loads((Path(folder) / "explanation.json").read_text(encoding="utf-8")))


def page_parts(explanation: Explanation) -> list[Part]:
    """The page from top to bottom, plots not yet drawn."""
    parts: list[Part] = [Heading(_title(explanation), 1), Answer(answer(explanation))]
    if note := words.earlier(explanation):
        parts.append(Paragraph(f"**Earlier version.** {note}"))
    for title, body, subject, reasons in SECTIONS:
        missing = Missing(words.missing(explanation, subject, reasons))
        parts += [Heading(title.format(second=explanation.second)), *(body(explanation) or [missing])]
    return parts


def _title(explanation: Explanation) -> str:
    return f"Why {explanation.second} differs from {explanation.first}"
