"""Writes a search: one self-contained page, Markdown, plots with their numbers, the winner's spec, and all as JSON. No torch."""

from __future__ import annotations

import json
from pathlib import Path

from ablation.machine.files import write_atomic
from ablation.record.convert import from_plain, to_plain
from ablation.record.search import SearchResult
from ablation.record.trial import METRICS
from ablation.report.explain.plots import PLOTS, Plot, draw_plots
from ablation.report.kit.page import Answer, Heading, Missing, Picture, literal, to_html, to_markdown
from ablation.report.search.answer import answer
from ablation.report.search.networks import spec_toml, winner_of
from ablation.report.search.sections import SECTIONS, Part, undone
from ablation.report.search.tables import write_confirmation, write_proposals

GALLERY = "gallery.png"
GALLERY_HEADING = "Reconstructions"


def write_search(result: SearchResult, folder: Path, gallery: Path | None = None) -> list[Path]:
    """All of a search, into `folder` (made if need be): returns the files written.

    search.html (needs no other file and no network), search.md, search.json (`read_search` reads it again), proposals.csv,
    plots/NAME.svg and plots/NAME.csv; confirmation.csv where something was confirmed; winner.toml where there is a winner with a
    spec. `gallery`: a PNG of reconstructions, which is put beside the page; only of faces that may be passed on. Plots, spec and
    verdicts of an earlier page in `folder` are removed. OSError where the folder cannot be written.
    """
    folder = Path(folder)
    parts = page_parts(result, gallery is not None)
    files = draw_plots([part for part in parts if isinstance(part, Plot)], folder / PLOTS)
    if gallery is not None:
        content = gallery.read_bytes()
        write_atomic(folder / GALLERY, lambda part: part.write_bytes(content))
        files.append(folder / GALLERY)
    blocks = [part.block if isinstance(part, Plot) else part for part in parts]
    texts = {
        "search.html": to_html(blocks, folder, result.title),
        "search.md": to_markdown(blocks),
        "search.json": json.dumps(to_plain(result), indent=1) + "\n",
    }
    winner = winner_of(result)
    if winner is not None and winner.spec:
        texts["winner.toml"] = spec_toml(winner.spec)
    for name in ("winner.toml", "confirmation.csv"):
        (folder / name).unlink(missing_ok=True)
    for name, text in texts.items():
        write_atomic(folder / name, text.encode("utf-8", "backslashreplace").decode())
    files += [write_proposals(result, folder / "proposals.csv")]
    files += [write_confirmation(result.confirmation, folder / "confirmation.csv")] if result.confirmation else []
    return [*(folder / name for name in texts), *files]


def read_search(folder: Path) -> SearchResult:
    """What `write_search` wrote into this folder. ValueError where it is no search."""
    return from_plain(SearchResult, json.loads((Path(folder) / "search.json").read_text(encoding="utf-8")))


def page_parts(result: SearchResult, with_gallery: bool = False) -> list[Part]:
    """The page from top to bottom, plots not yet drawn."""
    parts: list[Part] = [Heading(literal(result.title), 1), Answer(answer(result))]
    for title, body, gone in SECTIONS:
        if title == "Next" and result.metric == METRICS["loss"]:  # other networks reconstruct nothing
            parts += _gallery(result, with_gallery)
        made = body(result)
        # without a network beside the reference there are no differences to miss
        if made or (gone and (body is not undone or winner_of(result))):
            parts += [Heading(title), *(made or [Missing(gone)])]
    return parts


def _gallery(result: SearchResult, shown: bool) -> list[Part]:
    if shown:
        return [Heading(GALLERY_HEADING), Picture(GALLERY, "Faces, and what each network makes of them")]
    why = literal(result.gallery_reason.rstrip(".")) or "none were made"
    return [Heading(GALLERY_HEADING), Missing(f"**No pictures**: {why}.")]
