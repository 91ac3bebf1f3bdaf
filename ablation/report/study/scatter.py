"""Loss against a cost: one point per network, the Pareto front drawn and its members named beside it. No torch."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ablation.machine.text import shortened
from ablation.record.trial import Metric
from ablation.report.kit import plot_style as style
from ablation.report.study.captions import caption, empty_plot, required
from ablation.report.study.rows import INERT, Row, StudyInfo, axis_label
from ablation.stats import pareto_front

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ablation.report.study.ties import Front, Ties

NUMBER_ALL_UP_TO = 24  # beyond this many variants only the front and the reference carry their number
LABEL_CHARACTERS, LEVEL_CHARACTERS = 150, 36  # of a network and of a level in the legend
LISTED_FRONT = 10  # beyond this many members the legend refers to the table


def front_of(rows: Sequence[Row], metrics: Sequence[Metric]) -> tuple[list[Row], list[Row]]:
    """(rows that have every metric, those of them on the Pareto front) by means over seeds, in the order of the first metric."""
    found = [(row, [row.mean(m) for m in metrics]) for row in rows]
    drawn = [(row, values) for row, values in found if None not in values]
    if not drawn:
        return [], []
    drawn.sort(key=lambda item: item[1][0] or 0.0)
    points = np.array([values for _, values in drawn], dtype=np.float64)
    front = pareto_front(points, [m.lower_is_better for m in metrics])
    return [row for row, _ in drawn], [row for (row, _), keep in zip(drawn, front, strict=True) if keep]


def scatter(rows: Sequence[Row], study: StudyInfo, x: Metric, y: Metric, ties: Ties | None = None) -> Figure:
    """Colour is the first factor, marker the second, filled or hollow a third of two levels; numbers are those of the table.

    With `ties` the legend marks members of the front that only lead by a tie, and the caption names networks tied with it.
    """
    heading = f"{y.label.capitalize()} against {x.label}"
    drawn, front = front_of(rows, (x, y))
    if not drawn:
        return empty_plot(rows, study, heading, required((x, y)))
    figure = style.new_figure(9.2, min(7.0, max(4.9, 1.2 + 0.2 * (_num_levels(study) + _num_lines(front)))))
    axes = figure.subplots()
    looks = _looks(rows, study)
    _points(axes, drawn, x, y, looks)
    _front_line(axes, front, x, y)
    for which, metric in (("x", x), ("y", y)):
        style.scale_axis(axes, which, [value for row in drawn if (value := row.mean(metric)) is not None])
    axes.margins(0.07, 0.08)
    axes.set_xlabel(axis_label(x))
    axes.set_ylabel(axis_label(y))
    style.title(axes, heading)
    tied = _tied(rows, x, y, ties)
    _legend(figure, rows, study, front, looks, tied.weak if tied else [])
    notes = [f"Also varied, not shown by colour or marker: {', '.join(looks['hidden'])}."] if looks["hidden"] else []
    if any(row.sd(y) is not None for row in drawn):
        notes.append("Vertical bars: standard deviation over seeds.")
    if tied and tied.off:
        notes.append(
            f"Off the line by a tie alone: {', '.join(f'#{row.number}' for row in sorted(tied.off, key=lambda r: r.number))}."
        )
    caption(figure, drawn, rows, study, required((x, y)), *notes)
    style.settle(figure)
    _numbers(axes, drawn, front, x, y)
    return figure


def _tied(rows: Sequence[Row], x: Metric, y: Metric, ties: Ties | None) -> Front | None:
    keys = [key for metric in (y, x) for key, axis in (ties.axes if ties else {}).items() if axis == metric]
    return ties.front(rows, keys) if ties and len(keys) == 2 else None


def _num_levels(study: StudyInfo) -> int:
    return sum(len(levels) + 2 for levels in list(study.factors.values())[:3])


def _num_lines(front: Sequence[Row]) -> int:
    return sum(len(_wrapped(row).splitlines()) for row in front[:LISTED_FRONT])


def _looks(rows: Sequence[Row], study: StudyInfo) -> dict[str, Any]:
    """Which factor is shown by what: colours and markers by level, 'fill' a factor whose second level is hollow."""
    varied = [f for f, levels in study.factors.items() if len(levels) > 1]
    names = {f: [level for level in (*study.factors[f], INERT, "-") if any(r.level(f) == level for r in rows)] for f in varied}
    colour = varied[0] if varied else None
    marker = next((f for f in varied[1:] if len(names[f]) <= len(style.MARKERS)), None)
    fill = next((f for f in varied[1:] if f != marker and len(names[f]) == 2), None)
    return {
        "colour": (colour, dict(zip(names[colour], style.palette(len(names[colour])), strict=True)) if colour else {}),
        "marker": (marker, dict(zip(names[marker], style.MARKERS, strict=False)) if marker else {}),
        "fill": (fill, {level: n == 0 for n, level in enumerate(names[fill])} if fill else {}),
        "hidden": [f for f in varied if f not in (colour, marker, fill)],
    }


def _look(row: Row, looks: dict[str, Any]) -> dict[str, Any]:
    """The marker of one row."""
    values: dict[str, Any] = {}
    for name, default in (("colour", style.COLOURS[0]), ("marker", "o"), ("fill", True)):
        factor, table = looks[name]
        values[name] = table.get(row.level(factor), default) if factor else default
    return _drawn_as(values["colour"], values["marker"], values["fill"])


def _drawn_as(colour: Any, marker: str, filled: bool) -> dict[str, Any]:
    face = colour if filled else "white"
    edge = {"markeredgecolor": colour, "markeredgewidth": 1.6, "linestyle": ""}
    return {"color": colour, "marker": marker, "markerfacecolor": face, **edge}


def _at(row: Row, x: Metric, y: Metric) -> tuple[float, float]:
    """Where a row that has both metrics stands."""
    here, there = row.mean(x), row.mean(y)
    assert here is not None
    assert there is not None
    return here, there


def _points(axes: Axes, drawn: Sequence[Row], x: Metric, y: Metric, looks: dict[str, Any]) -> None:
    size = 8 if len(drawn) <= NUMBER_ALL_UP_TO else 6.5
    for row in drawn:
        look = _look(row, looks)
        here, there = _at(row, x, y)
        sd = row.sd(y)
        if sd:
            axes.errorbar(here, there, yerr=sd, fmt="none", ecolor=look["color"], elinewidth=1, alpha=0.6, zorder=2)
        axes.plot(here, there, markersize=size, zorder=3, **look)
        if row.is_reference:
            axes.plot(here, there, "o", markersize=size + 8, markerfacecolor="none", markeredgecolor="#222222", zorder=2.5)


def _front_line(axes: Axes, front: Sequence[Row], x: Metric, y: Metric) -> None:
    """A staircase: between two members nothing better than the nearer step is known."""
    places = sorted(_at(row, x, y) for row in front)
    where = "post" if x.lower_is_better == y.lower_is_better or x.lower_is_better else "pre"
    axes.step([p[0] for p in places], [p[1] for p in places], where=where, color="#222222", linewidth=1.1, alpha=0.75, zorder=1.5)  # type: ignore[arg-type]


def _numbers(axes: Axes, drawn: Sequence[Row], front: Sequence[Row], x: Metric, y: Metric) -> None:
    """Each number beside its point, at the nearest place that covers no point and no other number."""
    from matplotlib.patheffects import withStroke

    on_front = {row.number for row in front}
    named = [r for r in drawn if len(drawn) <= NUMBER_ALL_UP_TO or r.number in on_front or r.is_reference]
    pixel = axes.get_figure(root=True).dpi / 72  # type: ignore[union-attr]
    points = axes.transData.transform([_at(row, x, y) for row in drawn])
    reach = [(9 if row.is_reference else 5) * pixel for row in drawn]
    taken: list[np.ndarray] = [np.array([px - r, py - r, px + r, py + r]) for (px, py), r in zip(points, reach, strict=True)]
    place = {row.number: point for row, point in zip(drawn, points, strict=True)}
    bounds = axes.get_window_extent()
    # nothing lies beyond a member of the front: its number goes there first
    right, up = (-1.0 if m.lower_is_better else 1.0 for m in (x, y))
    beyond = float(np.rad2deg(np.arctan2(up, right)))
    for row in sorted(named, key=lambda r: r.number not in on_front):
        first = beyond if row.number in on_front else 45.0
        box, offset = _free_place(place[row.number], len(str(row.number)), pixel, taken, bounds, first)
        taken.append(box)
        bold = row.number in on_front
        axes.annotate(
            str(row.number), _at(row, x, y), xytext=offset, textcoords="offset points", ha="center", va="center",
            fontsize=9 if bold else 8, fontweight="bold" if bold else "normal", color="#111111" if bold else "#666666", zorder=4,
            path_effects=[withStroke(linewidth=2.2, foreground="white")],
        )  # fmt: skip


def _free_place(
    point: np.ndarray, num_digits: int, pixel: float, taken: Sequence[np.ndarray], bounds: Any, first: float
) -> tuple[np.ndarray, tuple[float, float]]:
    """(box in pixels, offset in points) of the candidate with the least overlap; the nearest of equals."""
    half = np.array([3.2 * num_digits + 1, 5.0])
    angles = np.deg2rad([first, 45, 90, 0, 225, 135, 270, 180, 315])
    wider = np.sign(np.cos(angles).round(6)) * half[0] / 2  # wide numbers stand further to the side
    offsets = [(r * np.cos(a) + w, r * np.sin(a)) for r in (11.0, 17.0, 24.0) for a, w in zip(angles, wider, strict=True)]
    best: tuple[float, np.ndarray, tuple[float, float]] | None = None
    for dx, dy in offsets:
        centre = point + np.array([dx, dy]) * pixel
        box = np.concatenate([centre - half * pixel, centre + half * pixel])
        outside = box[0] < bounds.x0 or box[1] < bounds.y0 or box[2] > bounds.x1 or box[3] > bounds.y1
        cost = sum(_overlap(box, other) for other in taken) + 1e6 * outside
        if best is None or cost < best[0] - 1e-9:
            best = (cost, box, (float(dx), float(dy)))
    assert best is not None
    return best[1], best[2]


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return float(width * height) if width > 0 and height > 0 else 0.0


def _wrapped(row: Row, mark: str = "") -> str:
    label = shortened([row.label], LABEL_CHARACTERS)[row.label]  # its number tells it apart
    return textwrap.fill(f"{row.number}  {label}{mark}", 40, subsequent_indent="    ")


def _heading(factor: str | None) -> str:
    return shortened([factor], LEVEL_CHARACTERS)[factor] if factor else ""


def _legend(
    figure: Figure, rows: Sequence[Row], study: StudyInfo, front: Sequence[Row], looks: dict[str, Any], weak: Sequence[Row]
) -> None:
    """Levels of the factors by their look, then the members of the front by number and name."""
    from matplotlib.lines import Line2D

    blank = Line2D([], [], linestyle="")
    entries: list[tuple[Any, str]] = []
    for name in ("colour", "marker", "fill"):
        factor, table = looks[name]
        if not factor:
            continue
        entries.append((blank, _heading(factor)))
        names = shortened(table, LEVEL_CHARACTERS)
        for level, value in table.items():
            shown = {"colour": "#555555", "marker": "o", "fill": True, name: value}
            entries.append(
                (Line2D([], [], markersize=7, **_drawn_as(shown["colour"], shown["marker"], shown["fill"])), names[level])
            )
    headings = [_heading(looks[name][0]) for name in ("colour", "marker", "fill")] + ["Pareto front"]
    if any(row.is_reference for row in rows):
        ring = Line2D([], [], marker="o", markersize=12, markerfacecolor="none", markeredgecolor="#222222", linestyle="")
        entries += [(ring, "reference")]
    entries += [(Line2D([], [], color="#222222", linewidth=1.1), "Pareto front")]
    listed = front[:LISTED_FRONT]
    entries += [(blank, _wrapped(row, " (tied)" if row in weak else "")) for row in listed]
    if len(front) > len(listed):
        entries.append((blank, f"and {len(front) - len(listed)} more (see the table)"))
    handles, labels = zip(*entries, strict=True)
    legend = figure.legend(
        handles, [" "] * len(labels), loc="outside right upper", frameon=False, handlelength=1.4, labelspacing=0.45
    )
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(label)  # by hand: a label that begins with an underscore would be left out
    style.bold_headings(legend, headings)
