"""The page of a search, from what is stored alone. No torch here."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from ablation.record.search import SearchResult
from ablation.record.search_confirmed import FASTEST, LATENCY, LOSS, PARAMS, RATIOS, TEST_LOSS, Verdict
from ablation.record.trial import METRICS, Metric
from ablation.report.kit.numbers import significant
from ablation.report.search.axes import Axis
from ablation.report.search.writer import GALLERY, write_search
from ablation.report.search.writer import read_search as read_result
from ablation.search.confirm import beats_everywhere
from blocks.errors import must_be
from studies.engine.config import StudyFolder, prepare_folder
from studies.engine.reporting import draw_gallery
from studies.search.folder import CONFIRM, NETWORK, SearchFolder
from studies.search.page.result import SearchState, read_search, result_of, write_files
from studies.store.artifacts import Artifacts
from studies.work.progress import print_line

LABELS = {PARAMS: "parameters", LATENCY: "latency", FASTEST: "latency in the fastest mode", TEST_LOSS: "test loss"}


def report_search(folder: SearchFolder, console: Console, *, storage: str | None = None, to: Path | None = None) -> SearchResult:
    """Write page, confirmation and specs, and print the verdicts; elsewhere (`to`) without pictures that show real faces."""
    state = read_search(folder, storage)
    if state is None:
        raise must_be("FOLDER", "a search that has begun", str(folder.path), "Repeat its command.")
    result = result_of(state)
    target = prepare_folder(to or folder.page, "--to")
    paths = write_search(result, target, gallery=_gallery(state, target) if state.shows_faces else None)
    write_files(state, result, folder.path if to is None else target)
    for line in verdict_lines(result):
        print_line(console, line)
    print_line(console, f"The page: {next(path for path in paths if path.suffix == '.html')}")
    return result


def report_kept(folder: Path, console: Console, *, to: Path | None = None) -> None:
    """The page again from one that is kept without its study, for it holds all values; pictures and specs that are there stay."""
    try:
        result = read_result(folder)
    except (OSError, ValueError, TypeError) as error:
        rule = "what `search` writes"
        raise must_be("search.json", rule, str(folder / "search.json"), f"It cannot be read ({type(error).__name__}).") from None
    gallery = folder / GALLERY
    paths = write_search(result, prepare_folder(to or folder, "--to"), gallery=gallery if gallery.is_file() else None)
    for line in verdict_lines(result):
        print_line(console, line)
    print_line(console, f"The page: {next(path for path in paths if path.suffix == '.html')}")


def _gallery(state: SearchState, target: Path) -> Path | None:
    """Reconstructions of the reference and the confirmed networks side by side."""
    confirm = state.parts.get(CONFIRM)
    if confirm is None:
        return None
    shown = [record for record in confirm.records() if record.factors.get(NETWORK) in state.arms()]
    files = StudyFolder(state.folder.part(CONFIRM))
    return draw_gallery(shown, Artifacts(confirm.study, files.artifacts), files, target)


def verdict_lines(result: SearchResult) -> list[str]:
    """For a terminal: each confirmed network with its verdicts, the winner first."""
    confirmation = result.confirmation
    if confirmation is None:
        return [*result.missing]
    networks = sorted(confirmation.networks, key=lambda network: network.number != result.winner)
    lines = []
    for network in networks:
        beats = beats_everywhere(confirmation, network.number or 0)
        winner = ", better on every axis" if beats else ", the closest" if network.number == result.winner else ""
        lines.append(f"proposal {network.number}{winner}: {network.label}")
        lines += [f"  {_line(verdict, result.metric)}" for verdict in confirmation.of(network.number or 0)]
    return [*lines, *result.missing]


def _line(verdict: Verdict, metric: Metric) -> str:
    label = metric.label if verdict.metric == LOSS else LABELS.get(verdict.metric, verdict.metric)
    name, is_ratio, ends = f"{label} {verdict.place}".rstrip(), verdict.metric in RATIOS, ""
    axis = Axis(verdict.metric, verdict.place, metric if verdict.metric == LOSS else METRICS["loss"])
    if verdict.low is not None and verdict.high is not None:
        ends = f" ({verdict.low:.3f} to {verdict.high:.3f})"
    if verdict.value is None or verdict.reference is None or verdict.effect is None:
        return f"{name}: {verdict.verdict}"
    if verdict.metric in (LOSS, TEST_LOSS):
        change = axis.change(verdict.effect, verdict.low, verdict.high)
        line = f"{name}: {axis.text(verdict.value)} against {axis.text(verdict.reference)}, {change}: {verdict.verdict}"
        return line.replace("\u00a0", " ")
    if is_ratio:
        pair = f"{significant(verdict.value)} against {significant(verdict.reference)} ms"
        return f"{name}: {pair}, {verdict.effect:.3f} x{ends}: {verdict.verdict}"
    return f"{name}: {verdict.value:,.0f} against {verdict.reference:,.0f}: {verdict.verdict}"
