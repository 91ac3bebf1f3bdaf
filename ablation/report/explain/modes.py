"""Plots of what would change it: other ways of running, and plain networks of the same cost. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ablation.record.explanation import Explanation
from ablation.report.explain import style as look
from ablation.report.explain.plots import Plot, bar, below, beside, factor_ticks, heading, named_lines, panels, row_height, whisker
from ablation.report.explain.words import headline, survival
from ablation.report.kit import plot_style as style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# characters of a mode's name on a line
MODE_WRAP = 18


def modes(explanation: Explanation) -> Plot:
    """What each way of running saves of the second network's time, and the ratio that is left."""
    fields = (
        "mode", "text", "first_ms", "second_ms", "ratio", "ratio_low", "ratio_high", "first_gain", "second_gain", "second_gain_low",
        "second_gain_high", "max_error", "prepare_s", "reason", "rounds", "sittings", "keeps", "ratio_verdict", "gain_verdict",
    )  # fmt: skip
    lines = [[*(getattr(m, f) for f in fields), survival(explanation, m)] for m in explanation.modes]
    return Plot(
        stem="modes", alt="Latency of both networks and their ratio in each way of running them",
        draw=lambda width: _modes(explanation, width), headings=(*fields, "difference"), lines=lines,
    )  # fmt: skip


def _modes(explanation: Explanation, width: float) -> Figure:
    drawn = [m for m in explanation.modes if m.second_ms and m.first_ms]
    names = [m.mode for m in drawn]
    figure, (left, right) = panels(width, 2, [1.0 + row_height(names, 0.38, MODE_WRAP) * len(drawn)] * 2, share_y=True)
    eager = next((m.second_ms for m in drawn if m.mode == "eager"), None)
    for line, mode in enumerate(drawn):
        assert mode.second_ms is not None
        assert mode.first_ms is not None
        if eager is not None and mode.second_ms < eager:
            bar(left, line, mode.second_ms, eager, "#C8C8C8", weak=True, height=0.5)
        bar(left, line, 0, mode.second_ms, look.SECOND, height=0.5)
        left.plot([mode.first_ms] * 2, [line - 0.36, line + 0.36], color="white", linewidth=4.2, zorder=4)
        left.plot([mode.first_ms] * 2, [line - 0.36, line + 0.36], color=look.FIRST, linewidth=2.6, zorder=4)
        _ratio_line(right, line, mode.ratio, mode.ratio_low, mode.ratio_high)
        if mode.second_gain is not None and mode.mode != "eager":
            beside(left, line, max(mode.second_ms, eager or 0.0), f"{look.times(mode.second_gain)} as fast")
    most = max([m.second_ms or 0.0 for m in drawn] or [1.0])
    left.set_xlim(0, most * 1.55)
    left.set_title(f"latency [ms]: bar {explanation.second},\nline {explanation.first}, hatched: saved", fontsize=9, loc="left")
    right.axvline(1, color="#444444", linewidth=0.9, zorder=1)
    right.set_title(f"{explanation.second} over {explanation.first},\nboth run this way", fontsize=9, loc="left")
    _room(right, [v for m in drawn for v in (m.ratio, m.ratio_low, m.ratio_high) if v])
    for axes in (left, right):
        named_lines(axes, names, MODE_WRAP)
    heading(figure, "Does the difference survive?")
    unusable = "; ".join(f"{m.mode} ({m.reason or 'not timed'})" for m in explanation.modes if m not in drawn)
    below(figure, len(drawn), len(explanation.modes), "modes", f"Not drawn: {unusable}." if unusable else "")
    return figure


def _ratio_line(axes: Axes, line: float, ratio: float | None, low: float | None, high: float | None) -> None:
    if ratio is None:
        return
    if low is not None and high is not None:
        whisker(axes, line, low, high)
    axes.plot(ratio, line, "D", color=look.SECOND, markersize=5, markeredgecolor="white", markeredgewidth=0.7, zorder=4)
    beside(axes, line, max(ratio, high or 0.0), look.times(ratio))


def _room(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis of ratios with ×1 on it and room for text at the right."""
    low, high = min([*values, 1.0]), max([*values, 1.0])
    axes.set_xscale("log")
    span = math.log(high / low) or 0.1
    axes.set_xlim(low * math.exp(-0.1 * span), high * math.exp(0.32 * span))
    factor_ticks(axes)


def controls(explanation: Explanation) -> Plot:
    """Both networks, and plain ones cut to the second's parameters or multiply-accumulates, side by side."""
    rows = control_rows(explanation)
    return Plot(
        stem="controls", alt="Parameters, multiply-accumulates and latency of both networks and of the controls",
        draw=lambda width: _controls(explanation, rows, width),
        headings=("network", "label", "params", "macs", "median_ms", "ratio", "ratio_low", "ratio_high"),
        lines=[list(row.values()) for row in rows],
    )  # fmt: skip


def control_rows(explanation: Explanation) -> list[dict[str, Any]]:
    """The first network, the second, then each control: name, label, params, macs, ms and ratio to the first."""
    found = headline(explanation)
    rows: list[dict[str, Any]] = []
    for name in (explanation.first, explanation.second):
        cost: Mapping[str, Any] = explanation.costs.get(name, {})
        first = name == explanation.first
        ms = None if found is None else found.first_ms if first else found.second_ms
        ratios = (None,) * 3 if found is None else (1.0, None, None) if first else (found.ratio, found.low, found.high)
        rows.append(_control_row(name, "", cost.get("params"), cost.get("macs"), ms, ratios))
    for c in explanation.controls:
        rows.append(_control_row(c.name, c.label, c.params, c.macs, c.median_ms, (c.ratio, c.ratio_low, c.ratio_high)))
    return rows


def _control_row(name: str, label: str, params: Any, macs: Any, ms: float | None, ratios: Sequence[float | None]) -> dict[str, Any]:
    low_high = {"ratio": ratios[0], "ratio_low": ratios[1], "ratio_high": ratios[2]}
    return {"name": name, "label": label, "params": params, "macs": macs, "ms": ms, **low_high}


def _controls(explanation: Explanation, rows: Sequence[Mapping[str, Any]], width: float) -> Figure:
    figure, axes = panels(width, 3, [0.9 + 0.36 * len(rows)] * 3, share_y=True)
    shown = 0
    for panel, key, name in zip(axes, ("params", "macs", "ms"), ("params", "macs", "latency_ms"), strict=True):
        metric = look.metric_of(name)
        values = [(line, row[key] * metric.scale) for line, row in enumerate(rows) if row[key] is not None]
        for line, value in values:
            colour = look.FIRST if line == 0 else look.SECOND if line == 1 else style.COLOURS[0]
            bar(panel, line, 0, value, colour)
            beside(panel, line, value, look.number(value))
        shown += len(values)
        panel.set_xlim(0, max([v for _, v in values] or [1.0]) * 1.4)
        panel.set_title(f"{metric.label} [{metric.unit}]", fontsize=9.5, loc="left")
        panel.locator_params(axis="x", nbins=3)
        named_lines(panel, [row["name"] for row in rows], 16)
    heading(figure, "Plain networks cut to the same cost")
    below(figure, shown, 3 * len(rows), "values", "Latency as timed, in milliseconds.")
    return figure
