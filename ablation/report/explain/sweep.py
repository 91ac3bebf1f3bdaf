"""Plots of experiments on the machine: the batch sweep and ShuffleNet V2's guidelines. No torch."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ablation.record.explanation import Explanation, Guideline, SweepPoint
from ablation.report.explain import style
from ablation.report.explain.plots import DARK, Plot, below, heading, panels, values
from ablation.report.kit import plot_style
from ablation.report.kit.numbers import times

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def sweep(explanation: Explanation) -> Plot:
    """Time of both networks and their ratio at every batch size; knees marked, missing points named."""
    fields = (
        "batch_size", "first_ms", "second_ms", "ratio", "ratio_low", "ratio_high", "rounds", "sittings", "first_enqueue_ms",
        "second_enqueue_ms", "reason", "source",
    )  # fmt: skip
    points = sorted(explanation.sweep, key=lambda p: p.batch_size)
    return Plot(
        stem="batch_sweep", alt="Time and ratio against batch size", draw=lambda width: _sweep(explanation, points, width),
        headings=fields, lines=[values(point, fields) for point in points],
    )  # fmt: skip


def _sweep(explanation: Explanation, points: Sequence[SweepPoint], width: float) -> Figure:
    figure, (upper, lower) = panels(width, [2.7, 2.4])
    _times(upper, explanation, points)
    ratios = [p for p in points if p.ratio]
    _ratios(lower, ratios)
    lower.set_title(f"{explanation.second} over {explanation.first}", fontsize=9.5, loc="left")
    for axes, fields in ((upper, ("first_ms", "second_ms")), (lower, ("ratio",))):
        axes.set_xscale("log", base=2)
        axes.set_xticks([p.batch_size for p in points], [str(p.batch_size) for p in points], fontsize=8)
        axes.minorticks_off()
        axes.set_xlabel("batch size", fontsize=9)
        # a cross at the foot for what is missing; an empty line without clipping would take away the layout's room
        if lacking := [p.batch_size for p in points if None in values(p, fields)]:
            foot = axes.get_xaxis_transform()
            axes.plot(lacking, [0.04] * len(lacking), "x", color=plot_style.WORSE, transform=foot, clip_on=False)
    heading(figure, "Batch sweep")
    _sweep_caption(figure, explanation, points, ratios)
    return figure


def _sweep_caption(figure: Figure, explanation: Explanation, points: Sequence[SweepPoint], ratios: Sequence[SweepPoint]) -> None:
    shown = sum(v is not None for p in points for v in (p.first_ms, p.second_ms))
    gone = "; ".join(
        f"batch {p.batch_size}: {p.reason or 'not measured'}" for p in points if p.reason or None in (p.first_ms, p.second_ms)
    )
    knees = ", ".join(f"{n} {'none found' if k is None else k}" for n, k in explanation.knee.items())
    spanned = sum(p.interval != (None, None) for p in ratios)
    intervals = f"{spanned} with a 95 % interval (thick)" if spanned else "too few sittings for intervals"
    below(
        figure, shown, 2 * len(points), "times", f"{len(ratios)} of {len(points)} ratios, {intervals}.",
        f"Knee, from which time grows with the batch: {knees}." if knees else "No knee was looked for.",
        f"Missing (cross): {gone}." if gone else "",
    )  # fmt: skip


def _times(axes: Axes, explanation: Explanation, points: Sequence[SweepPoint]) -> None:
    """Milliseconds of both networks; on a GPU also the time to enqueue; a ring where time begins to grow in proportion."""
    sides = ((explanation.first, "first", style.FIRST, "o"), (explanation.second, "second", style.SECOND, "s"))
    for name, side, colour, marker in sides:
        ms = {p.batch_size: v for p in points if (v := getattr(p, f"{side}_ms"))}
        queued = {p.batch_size: v for p in points if (v := getattr(p, f"{side}_enqueue_ms"))}
        if ms:
            axes.plot(list(ms), list(ms.values()), marker=marker, color=colour, markersize=5, label=name)
        if queued:
            axes.plot(list(queued), list(queued.values()), ":", color=colour, label=f"{name}, time to enqueue")
        knee = explanation.knee.get(name)
        if knee in ms:
            ring: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": colour, "markeredgewidth": 1.4}
            axes.plot(knee, ms[knee], "o", markersize=13, **ring)
            axes.annotate("knee", (knee, ms[knee]), xytext=(0, 11), textcoords="offset points", ha="center", fontsize=8, color=DARK)
    axes.set_yscale("log")
    plot_style.scale_axis(axes, "y", [v for p in points for v in (p.first_ms, p.second_ms) if v])
    axes.set_title("milliseconds", fontsize=9.5, loc="left")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)


def _ratios(axes: Axes, points: Sequence[SweepPoint]) -> None:
    axes.plot([p.batch_size for p in points], [p.ratio for p in points], "D-", color=style.SECOND, markersize=4.5)  # type: ignore[arg-type]
    # whiskers, for a band would span batches that have no interval
    if spanned := [(p.batch_size, *p.interval) for p in points if p.interval != (None, None)]:
        axes.vlines(*zip(*spanned, strict=True), color=style.FIRST, linewidth=5, alpha=0.6)
    every = [v for p in points for v in (p.ratio, *p.interval) if v is not None] or [1.0]
    axes.axhline(1, color="#444444", linewidth=0.9, zorder=1)
    axes.set_ylim(min(0.9, *every) * 0.95, max(1.1, *every) * 1.05)


def guidelines(explanation: Explanation) -> Plot:
    """Small multiples: relative time at each setting of each guideline's experiment."""
    about, each = ("name", "claim", "held_fixed", "verdict"), ("setting", "ms", "relative", "low", "high")
    return Plot(
        stem="guidelines", alt="ShuffleNet V2's guidelines: " + "; ".join(f"{g.name} {g.verdict}" for g in explanation.guidelines),
        draw=lambda width: _guidelines(explanation.guidelines, width), headings=("guideline", *about[1:], *each),
        lines=[[*values(g, about), *values(p, each)] for g in explanation.guidelines for p in g.points],
    )  # fmt: skip


def _guidelines(experiments: Sequence[Guideline], width: float) -> Figure:
    figure, axes = panels(width, [1.65] * len(experiments))
    points = [p for g in experiments for p in g.points]
    low, high = min(p.low or p.relative for p in points), max(p.high or p.relative for p in points)
    for panel, guideline in zip(axes, experiments, strict=True):
        _guideline(panel, guideline)
        panel.set_ylim(min(0.9, low * 0.95), max(1.1, high * 1.12))
    heading(figure, "ShuffleNet V2's guidelines on this machine")
    note = "Time relative to each experiment's first setting, whiskers: 95 % intervals; one scale for all."
    below(figure, len(points), len(points), "settings", note)
    return figure


def _guideline(axes: Axes, guideline: Guideline) -> None:
    for at, point in enumerate(guideline.points):
        if point.low is not None and point.high is not None:
            axes.plot([at, at], [point.low, point.high], color=DARK, linewidth=1.4)
        axes.plot(at, point.relative, "o", color=plot_style.COLOURS[0], markersize=6)
        above = {"xytext": (0, 4), "textcoords": "offset points", "ha": "center", "fontsize": 8}
        axes.annotate(times(point.relative), (at, point.high or point.relative), **above)  # type: ignore[arg-type]
    axes.axhline(1, color="#444444", linewidth=0.9, zorder=1)
    axes.set_xticks(range(len(guideline.points)), [textwrap.fill(p.setting, 12) for p in guideline.points], fontsize=8)
    axes.set_xlim(-0.5, len(guideline.points) - 0.5)
    axes.grid(visible=False, axis="x")
    title = textwrap.fill(f"{guideline.name} {guideline.verdict}: {guideline.claim}", 46)
    axes.set_title(f"{title}\n{textwrap.fill(f'held fixed: {guideline.held_fixed}', 50)}", fontsize=8.5, loc="left")
