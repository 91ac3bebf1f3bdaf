"""Plots of experiments on the machine: the batch sweep and ShuffleNet V2's guidelines. No torch."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ablation.record.explanation import Explanation, Guideline, SweepPoint
from ablation.report.explain import style as look
from ablation.report.explain.plots import DARK, SIDE_BY_SIDE, Plot, below, heading, panels
from ablation.report.kit import plot_style as style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def sweep(explanation: Explanation) -> Plot:
    """Time of both networks and their ratio at every batch size; knees marked, missing points named."""
    fields = (
        "batch_size",
        "first_ms",
        "second_ms",
        "ratio",
        "ratio_low",
        "ratio_high",
        "rounds",
        "sittings",
        "first_enqueue_ms",
        "second_enqueue_ms",
        "reason",
        "source",
    )
    points = sorted(explanation.sweep, key=lambda p: p.batch_size)
    return Plot(
        stem="batch_sweep", alt="Time and ratio against batch size", draw=lambda width: _sweep(explanation, points, width),
        headings=fields, lines=[[getattr(p, f) for f in fields] for p in points],
    )  # fmt: skip


def _sweep(explanation: Explanation, points: Sequence[SweepPoint], width: float) -> Figure:
    figure, (left, right) = panels(width, 2, [2.7, 2.4])
    sides = ((explanation.first, "first_ms", look.FIRST, "o"), (explanation.second, "second_ms", look.SECOND, "s"))
    for name, field, colour, marker in sides:
        having = [(p.batch_size, getattr(p, field)) for p in points if getattr(p, field)]
        left.plot(*zip(*having, strict=True), marker=marker, color=colour, markersize=5, label=name) if having else None
        queued = [(p.batch_size, v) for p in points if (v := getattr(p, field.replace("_ms", "_enqueue_ms")))]
        left.plot(*zip(*queued, strict=True), ":", color=colour, label=f"{name}, time to enqueue") if queued else None
        _knee(left, name, explanation.knee.get(name), dict(having), colour)
    ratios = [p for p in points if p.ratio]
    _ratios(right, ratios)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks([p.batch_size for p in points], [str(p.batch_size) for p in points], fontsize=8)
        axes.minorticks_off()
        axes.set_xlabel("batch size", fontsize=9)
    left.set_yscale("log")
    style.scale_axis(left, "y", [v for p in points for v in (p.first_ms, p.second_ms) if v])
    for axes, fields in ((left, ("first_ms", "second_ms")), (right, ("ratio",))):  # a cross at the foot of what is missing
        lacking = [p.batch_size for p in points if any(getattr(p, field) is None for field in fields)]
        if lacking:  # an empty line without clipping would take away the layout's room
            foot = axes.get_xaxis_transform()
            axes.plot(lacking, [0.04] * len(lacking), "x", color=style.WORSE, transform=foot, clip_on=False)
    left.set_title("milliseconds", fontsize=9.5, loc="left")
    if any(p.first_ms or p.second_ms for p in points):
        left.legend(frameon=False, fontsize=8)
    right.set_title(f"{explanation.second} over {explanation.first}", fontsize=9.5, loc="left")
    heading(figure, "Batch sweep")
    values = sum(v is not None for p in points for v in (p.first_ms, p.second_ms))
    gone = [
        f"batch {p.batch_size}: {p.reason or 'not measured'}"
        for p in points
        if p.reason or p.first_ms is None or p.second_ms is None
    ]
    knees = ", ".join(f"{n} {'none found' if k is None else k}" for n, k in explanation.knee.items())
    notes = [f"Knee, from which time grows with the batch: {knees}." if knees else "No knee was looked for."]
    notes += [f"Missing (cross): {'; '.join(gone)}."] if gone else []
    spanned = sum(p.interval != (None, None) for p in ratios)
    with_ = f", {spanned} with a 95 % interval (thick)" if spanned else ", too few sittings for intervals"
    below(figure, values, 2 * len(points), "times", f"{len(ratios)} of {len(points)} ratios{with_}.", *notes)
    return figure


def _ratios(axes: Axes, points: Sequence[SweepPoint]) -> None:
    axes.plot([p.batch_size for p in points], [p.ratio for p in points], "D-", color=look.SECOND, markersize=4.5)  # type: ignore[arg-type]
    spanned = [(p.batch_size, *ends) for p in points if (ends := p.interval) != (None, None)]
    if spanned:  # whiskers, for a band would span batches that have no interval
        axes.vlines(*zip(*spanned, strict=True), color=look.FIRST, linewidth=5, alpha=0.6)
    every = [v for p in points for v in (p.ratio, *p.interval) if v is not None] or [1.0]
    axes.axhline(1, color="#444444", linewidth=0.9, zorder=1)
    axes.set_ylim(min(0.9, *every) * 0.95, max(1.1, *every) * 1.05)


def _knee(axes: Axes, name: str, batch: int | None, times: Mapping[int, float], colour: str) -> None:
    """A ring around the point from which time grows in proportion."""
    if batch is not None and batch in times:
        axes.plot(batch, times[batch], "o", markersize=13, markerfacecolor="none", markeredgecolor=colour, markeredgewidth=1.4)
        axes.annotate(
            "knee", (batch, times[batch]), xytext=(0, 11), textcoords="offset points", ha="center", fontsize=8, color=DARK
        )


def guidelines(explanation: Explanation) -> Plot:
    """Small multiples: relative time at each setting of each guideline's experiment."""
    lines = [
        [g.name, g.claim, g.held_fixed, g.verdict, p.setting, p.ms, p.relative, p.low, p.high]
        for g in explanation.guidelines for p in g.points
    ]  # fmt: skip
    return Plot(
        stem="guidelines", alt="ShuffleNet V2's guidelines: " + "; ".join(f"{g.name} {g.verdict}" for g in explanation.guidelines),
        draw=lambda width: _guidelines(explanation.guidelines, width),
        headings=("guideline", "claim", "held_fixed", "verdict", "setting", "ms", "relative", "low", "high"), lines=lines,
    )  # fmt: skip


def _guidelines(found: Sequence[Guideline], width: float) -> Figure:
    columns = 2 if width >= SIDE_BY_SIDE else 1
    num_lines = math.ceil(len(found) / columns)
    figure = style.new_figure(width, 0.9 + 2.0 * num_lines)
    grid = figure.subplots(num_lines, columns, squeeze=False)
    highest = max([p.high or p.relative for g in found for p in g.points] or [1.0])
    lowest = min([p.low or p.relative for g in found for p in g.points] or [1.0])
    for axes, guideline in zip(grid.flat, found, strict=False):
        _guideline(axes, guideline)
        axes.set_ylim(min(0.9, lowest * 0.95), max(1.1, highest * 1.12))
    for axes in list(grid.flat)[len(found) :]:
        axes.set_axis_off()
    heading(figure, "ShuffleNet V2's guidelines on this machine")
    shown = sum(len(g.points) for g in found)
    below(
        figure,
        shown,
        shown,
        "settings",
        "Time relative to each experiment's first setting, whiskers: 95 % intervals; one scale for all.",
    )
    return figure


def _guideline(axes: Axes, guideline: Guideline) -> None:
    for at, point in enumerate(guideline.points):
        if point.low is not None and point.high is not None:
            axes.plot([at, at], [point.low, point.high], color=DARK, linewidth=1.4)
        axes.plot(at, point.relative, "o", color=style.COLOURS[0], markersize=6)
        axes.annotate(
            look.times(point.relative),
            (at, point.high or point.relative),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axes.axhline(1, color="#444444", linewidth=0.9, zorder=1)
    axes.set_xticks(range(len(guideline.points)), [textwrap.fill(p.setting, 12) for p in guideline.points], fontsize=8)
    axes.set_xlim(-0.5, len(guideline.points) - 0.5)
    axes.grid(visible=False, axis="x")
    title = textwrap.fill(f"{guideline.name} {guideline.verdict}: {guideline.claim}", 46)
    axes.set_title(f"{title}\n{textwrap.fill(f'held fixed: {guideline.held_fixed}', 50)}", fontsize=8.5, loc="left")
