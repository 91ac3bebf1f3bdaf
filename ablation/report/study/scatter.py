"""Loss against a cost: one point per network, the Pareto front drawn and its members named. No torch."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ablation.machine.text import shortened
from ablation.record.trial import Metric
from ablation.report.kit import plot_style as style
from ablation.report.kit.numbers import capital
from ablation.report.study.captions import caption, empty_plot
from ablation.report.study.rows import INERT, Row, StudyInfo, axis_label
from ablation.report.study.ties import Front, Ties, front_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NUMBER_ALL_UP_TO = 24  # beyond this many variants only the front and the reference carry their number
LABEL_CHARACTERS, LEGEND_CHARACTERS = 60, 54  # of a network in the caption; of a line of the legend
LISTED_FRONT = 10  # beyond this many members the caption refers to the table
AXES = 3.2  # inches
DARK = "#222222"
# 'colour', 'marker', 'fill' -> the factor that it shows, and its value for each level
Encoding = dict[str, tuple[str, dict[str, Any]]]


def scatter(rows: Sequence[Row], study: StudyInfo, x: Metric, y: Metric, ties: Ties | None = None) -> Figure:
    """Colour is the first factor, marker the second, filled or hollow a third of two levels; numbers are those of the table.

    With `ties` the caption marks members of the front that only lead by a tie, and names networks tied with it.
    """
    heading = textwrap.fill(f"{capital(y.label)} against {x.label}", 38)
    drawn, front = front_of(rows, (x, y))
    needed = f"{x.label} and {y.label}"
    if not drawn:
        return empty_plot(rows, study, heading, needed)
    encoding = _encoding(rows, study)
    columns = _legend(rows, encoding)
    strip = 0.17 * max(map(len, columns))
    figure = style.new_figure(style.WIDTH, AXES + strip + 0.6 + 0.15 * min(len(front), LISTED_FRONT))
    axes, below = figure.subplots(2, 1, height_ratios=[AXES, strip])
    _points(axes, drawn, x, y, encoding)
    _front_line(axes, front, x, y)
    for which, metric in (("x", x), ("y", y)):
        style.scale_axis(axes, which, [value for row in drawn if (value := row.mean(metric)) is not None])
    axes.margins(0.07, 0.08)
    axes.set_xlabel(axis_label(x))
    axes.set_ylabel(axis_label(y))
    style.title(axes, heading)
    style.legend_strip(below, columns)
    shown = [factor for factor, _ in encoding.values()]
    hidden = [factor for factor, levels in study.factors.items() if len(levels) > 1 and factor not in shown]
    caption(figure, drawn, rows, study, needed, *_notes(rows, front, x, y, hidden, ties))
    style.settle(figure)
    _numbers(axes, drawn, front, x, y)
    return figure


def _encoding(rows: Sequence[Row], study: StudyInfo) -> Encoding:
    """Colour shows the first factor that varies, the marker the next that has few levels, filling the next that has two."""
    varied = [f for f, levels in study.factors.items() if len(levels) > 1]
    names = {f: [level for level in (*study.factors[f], INERT, "-") if any(r.level(f) == level for r in rows)] for f in varied}
    kinds: tuple[tuple[str, Callable[[int], bool], Callable[[int], Sequence[Any]]], ...] = (
        ("colour", lambda num: True, style.palette),
        ("marker", lambda num: num <= len(style.MARKERS), lambda num: style.MARKERS[:num]),
        ("fill", lambda num: num == 2, lambda num: (True, False)),
    )
    encoding: Encoding = {}
    for how, fits, values in kinds:
        factor = next((f for f, levels in names.items() if fits(len(levels))), None)
        if factor is not None:
            levels = names.pop(factor)
            encoding[how] = (factor, dict(zip(levels, values(len(levels)), strict=True)))
    return encoding


def _drawn_as(colour: Any = "#555555", marker: str = "o", fill: bool = True) -> dict[str, Any]:
    edge = {"markeredgecolor": colour, "markeredgewidth": 1.4, "linestyle": ""}
    return {"color": colour, "marker": marker, "markerfacecolor": colour if fill else "white", **edge}


def _legend(rows: Sequence[Row], encoding: Encoding) -> list[list[tuple[Any, str]]]:
    """A column for each factor that is shown: its name, then its levels; what the ring and the line are in the shortest."""
    from matplotlib.lines import Line2D

    width = LEGEND_CHARACTERS // max(1, len(encoding)) - 2
    columns = []
    for how, (factor, table) in encoding.items():
        names = shortened(table, width)
        levels = [(Line2D([], [], markersize=6, **_drawn_as(**{how: value})), names[level]) for level, value in table.items()]
        columns.append([(Line2D([], [], linestyle=""), shortened([factor], width)[factor]), *levels])
    columns = columns or [[(Line2D([], [], linestyle=""), "")]]
    last = min(columns, key=len)
    last.append((Line2D([], [], color=DARK, linewidth=1.1), "Pareto front"))
    if any(row.is_reference for row in rows):
        last.append((Line2D([], [], marker="o", markersize=9, mfc="none", mec=DARK, linestyle=""), "reference"))
    return columns


def _notes(rows: Sequence[Row], front: Sequence[Row], x: Metric, y: Metric, hidden: Sequence[str], ties: Ties | None) -> list[str]:
    tied = _tied(rows, x, y, ties)
    label = {row.number: shortened([row.label], LABEL_CHARACTERS)[row.label] for row in front}  # its number tells it apart
    names = [f"#{row.number} {label[row.number]}{' (tied)' if tied and row in tied.weak else ''}" for row in front[:LISTED_FRONT]]
    names += [f"and {len(front) - LISTED_FRONT} more (see the table)"] if len(front) > LISTED_FRONT else []
    notes = [f"On the front: {'; '.join(names)}."]
    if tied and tied.off:
        numbers = ", ".join(f"#{row.number}" for row in sorted(tied.off, key=lambda row: row.number))
        notes.append(f"Off the line by a tie alone: {numbers}.")
    notes += [f"Also varied, not shown by colour or marker: {', '.join(hidden)}."] if hidden else []
    return [*notes, "Vertical bars: standard deviation over seeds."] if any(row.sd(y) is not None for row in rows) else notes


def _tied(rows: Sequence[Row], x: Metric, y: Metric, ties: Ties | None) -> Front | None:
    keys = [key for metric in (y, x) for key, axis in (ties.axes if ties else {}).items() if axis == metric]
    return ties.front(rows, keys) if ties and len(keys) == 2 else None


def _at(row: Row, x: Metric, y: Metric) -> tuple[float, float]:
    """Where a row that has both metrics stands."""
    here, there = row.mean(x), row.mean(y)
    assert here is not None
    assert there is not None
    return here, there


def _points(axes: Axes, drawn: Sequence[Row], x: Metric, y: Metric, encoding: Encoding) -> None:
    size = 6.5 if len(drawn) <= NUMBER_ALL_UP_TO else 5
    for row in drawn:
        marker = _drawn_as(**{"colour": style.COLOURS[0], **{how: table[row.level(f)] for how, (f, table) in encoding.items()}})
        (here, there), sd = _at(row, x, y), row.sd(y)
        if sd:
            axes.errorbar(here, there, yerr=sd, fmt="none", ecolor=marker["color"], elinewidth=1, alpha=0.6, zorder=2)
        axes.plot(here, there, markersize=size, zorder=3, **marker)
        if row.is_reference:
            axes.plot(here, there, "o", markersize=size + 7, markerfacecolor="none", markeredgecolor=DARK, zorder=2.5)


def _front_line(axes: Axes, front: Sequence[Row], x: Metric, y: Metric) -> None:
    """A staircase: between two members nothing better than the nearer step is known."""
    places = sorted(_at(row, x, y) for row in front)
    where: Any = "post" if x.lower_is_better == y.lower_is_better or x.lower_is_better else "pre"
    axes.step([p[0] for p in places], [p[1] for p in places], where=where, color=DARK, linewidth=1.1, alpha=0.75, zorder=1.5)


def _numbers(axes: Axes, drawn: Sequence[Row], front: Sequence[Row], x: Metric, y: Metric) -> None:
    """Each number beside its point, at the nearest place that covers no point and no other number."""
    on_front = {row.number for row in front}
    named = [r for r in drawn if len(drawn) <= NUMBER_ALL_UP_TO or r.number in on_front or r.is_reference]
    pixel = axes.get_figure(root=True).dpi / 72  # type: ignore[union-attr]
    points = axes.transData.transform([_at(row, x, y) for row in drawn])
    reach = [(8 if row.is_reference else 4) * pixel for row in drawn]
    taken: list[np.ndarray] = [np.array([px - r, py - r, px + r, py + r]) for (px, py), r in zip(points, reach, strict=True)]
    place = {row.number: point for row, point in zip(drawn, points, strict=True)}
    bounds = axes.get_window_extent()
    # nothing lies beyond a member of the front: its number goes there first
    right, up = (-1.0 if m.lower_is_better else 1.0 for m in (x, y))
    beyond = float(np.rad2deg(np.arctan2(up, right)))
    for row in sorted(named, key=lambda r: r.number not in on_front):
        bold = row.number in on_front
        box, offset = _free_place(place[row.number], len(str(row.number)), pixel, taken, bounds, beyond if bold else 45.0)
        taken.append(box)
        weight, colour = ("bold", "#111111") if bold else ("normal", "#666666")
        style.label(
            axes, str(row.number), _at(row, x, y), offset, ha="center", va="center", fontsize=8.5, fontweight=weight, color=colour
        )  # fmt: skip


def _free_place(
    point: np.ndarray, num_digits: int, pixel: float, taken: Sequence[np.ndarray], bounds: Any, first: float
) -> tuple[np.ndarray, tuple[float, float]]:
    """(box in pixels, offset in points) of the candidate with the least overlap; the nearest of equals."""
    half = np.array([3.2 * num_digits + 1, 5.0])
    angles = np.deg2rad([first, 45, 90, 0, 225, 135, 270, 180, 315])
    wider = np.sign(np.cos(angles).round(6)) * half[0] / 2  # wide numbers stand further to the side
    candidates = []
    for radius in (10.0, 16.0, 23.0):
        for angle, shift in zip(angles, wider, strict=True):
            offset = (float(radius * np.cos(angle) + shift), float(radius * np.sin(angle)))
            centre = point + np.array(offset) * pixel
            box = np.concatenate([centre - half * pixel, centre + half * pixel])
            outside = box[0] < bounds.x0 or box[1] < bounds.y0 or box[2] > bounds.x1 or box[3] > bounds.y1
            candidates.append((round(sum(_overlap(box, other) for other in taken) + 1e6 * outside, 6), box, offset))
    _, box, offset = min(candidates, key=lambda candidate: candidate[0])
    return box, offset


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    width, height = (min(a[n + 2], b[n + 2]) - max(a[n], b[n]) for n in (0, 1))
    return float(width * height) if width > 0 and height > 0 else 0.0
