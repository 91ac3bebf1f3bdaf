"""Plots of what would change it: other ways of running, and plain networks of the same cost. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ablation.record.explanation import Explanation, ModeResult
from ablation.report.explain import style
from ablation.report.explain.answer import headline
from ablation.report.explain.plots import (
    Plot,
    bar,
    below,
    beside,
    heading,
    log_axis,
    named_lines,
    panels,
    row_height,
    values,
    whisker,
)
from ablation.report.explain.words import survival
from ablation.report.kit import plot_style
from ablation.report.kit.numbers import significant, times

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RIM: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.7}
# characters of a mode's name on a line
MODE_WRAP = 16
# a network beside others: name, label, params, macs, ms, ratio to the first, its interval
ControlRow = tuple[str, str, int | None, int | None, float | None, float | None, float | None, float | None]


def modes(explanation: Explanation) -> Plot:
    """What each way of running saves of the second network's time, and the ratio that is left."""
    fields = (
        "mode", "text", "first_ms", "second_ms", "ratio", "ratio_low", "ratio_high", "first_gain", "second_gain", "second_gain_low",
        "second_gain_high", "max_error", "prepare_s", "reason", "rounds", "sittings", "keeps", "ratio_verdict", "gain_verdict",
        "num_threads",
    )  # fmt: skip
    return Plot(
        stem="modes", alt="Latency of both networks and their ratio in each way of running them",
        draw=lambda width: _modes(explanation, width), headings=(*fields, "difference"),
        lines=[[*values(mode, fields), survival(explanation, mode)] for mode in explanation.modes],
    )  # fmt: skip


def _modes(explanation: Explanation, width: float) -> Figure:
    drawn = [m for m in explanation.modes if m.second_ms and m.first_ms]
    names, first, second = [m.mode for m in drawn], explanation.first, explanation.second
    figure = plot_style.new_figure(width, 2.4 + row_height(names, 0.3, MODE_WRAP) * len(drawn))
    left, right = figure.subplots(1, 2, sharey=True, gridspec_kw={"width_ratios": [5, 4]})
    named_lines(left, names, MODE_WRAP)
    right.grid(visible=False, axis="y")
    eager = next((m.second_ms for m in drawn if m.mode == "eager"), None)
    for line, mode in enumerate(drawn):
        _mode_line(left, line, mode, eager or 0.0)
        if mode.ratio is not None:
            whisker(right, line, *mode.interval)
            right.plot(mode.ratio, line, "D", color=style.SECOND, markersize=5, zorder=4, **RIM)
            beside(right, line, max(mode.ratio, mode.ratio_high or 0.0), times(mode.ratio))
    left.set_xlim(0, max([m.second_ms or 0.0 for m in drawn] or [1.0]) * 1.5)
    left.set_title(f"latency [ms]:\nbar {second},\nline {first}", fontsize=8.5, loc="left")
    right.axvline(1, color="#444444", linewidth=0.9, zorder=1)
    right.set_title(f"{second} over\n{first}, both\nrun this way", fontsize=8.5, loc="left")
    ratios = [1.0, *(v for m in drawn for v in (m.ratio, *m.interval) if v)]
    span = math.log(max(ratios) / min(ratios)) or 0.1
    right.tick_params(axis="x", labelsize=8)
    log_axis(right, "x", min(ratios) * math.exp(-0.1 * span), max(ratios) * math.exp(0.5 * span), "×")
    heading(figure, "Does the difference survive?")
    unusable = "; ".join(f"{m.mode} ({m.reason or 'not timed'})" for m in explanation.modes if m not in drawn)
    below(
        figure, len(drawn), len(explanation.modes), "modes", f"Hatched, with a number: what {second} gains over eager.",
        f"Not drawn: {unusable}." if unusable else "",
    )  # fmt: skip
    return figure


def _mode_line(axes: Axes, line: int, mode: ModeResult, eager: float) -> None:
    """The second network's bar, what it saves of eager, and the first network's mark."""
    second_ms = mode.second_ms or 0.0
    if second_ms < eager:
        bar(axes, line, second_ms, eager, "#C8C8C8", weak=True, height=0.5)
    bar(axes, line, 0, second_ms, style.SECOND, height=0.5)
    for colour, linewidth in (("white", 4.2), (style.FIRST, 2.6)):
        axes.plot([mode.first_ms or 0.0] * 2, [line - 0.36, line + 0.36], color=colour, linewidth=linewidth, zorder=4)
    if mode.second_gain is not None and mode.mode != "eager":
        beside(axes, line, max(second_ms, eager), times(mode.second_gain))


def controls(explanation: Explanation) -> Plot:
    """Both networks, and plain ones cut to the second's parameters or multiply-accumulates, side by side."""
    rows = control_rows(explanation)
    return Plot(
        stem="controls", alt="Parameters, multiply-accumulates and latency of both networks and of the controls",
        draw=lambda width: _controls(rows, width), lines=rows,
        headings=("network", "label", "params", "macs", "median_ms", "ratio", "ratio_low", "ratio_high"),
    )  # fmt: skip


def control_rows(explanation: Explanation) -> list[ControlRow]:
    """The first network, the second, then each control."""
    line = headline(explanation)
    timings: list[Any] = [[None] * 4] * 2
    if line is not None:
        timings = [[line.first_ms, 1.0, None, None], [line.second_ms, line.ratio, line.low, line.high]]
    costs = [explanation.costs.get(name, {}) for name in (explanation.first, explanation.second)]
    rows: list[Any] = [
        (name, "", cost.get("params"), cost.get("macs"), *timed)
        for name, cost, timed in zip((explanation.first, explanation.second), costs, timings, strict=True)
    ]
    fields = ("name", "label", "params", "macs", "median_ms", "ratio", "ratio_low", "ratio_high")
    return rows + [tuple(values(control, fields)) for control in explanation.controls]


def _controls(rows: Sequence[ControlRow], width: float) -> Figure:
    figure, axes = panels(width, [0.5 + 0.3 * len(rows)] * 3)
    shown = 0
    for panel, column, name in zip(axes, (2, 3, 4), ("params", "macs", "latency_ms"), strict=True):
        metric = style.metric_of(name)
        lengths = {line: value * metric.scale for line, row in enumerate(rows) if (value := row[column]) is not None}  # type: ignore[operator]
        for line, length in lengths.items():
            bar(panel, line, 0, length, (style.FIRST, style.SECOND, plot_style.COLOURS[0])[min(line, 2)])
            beside(panel, line, length, significant(length))
        shown += len(lengths)
        panel.set_xlim(0, max(lengths.values(), default=1.0) * 1.4)
        panel.set_title(f"{metric.label} [{metric.unit}]", fontsize=9.5, loc="left")
        panel.locator_params(axis="x", nbins=3)
        named_lines(panel, [row[0] for row in rows], 16)
    heading(figure, "Plain networks cut to the same cost")
    below(figure, shown, 3 * len(rows), "values", "Latency as timed, in milliseconds.")
    return figure
