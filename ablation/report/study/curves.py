"""Loss curves: training and validation loss by epoch, one line per network (mean over seeds), a panel per level. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ablation.machine.text import shortened
from ablation.record.trial import Record
from ablation.report.kit import plot_style as style
from ablation.report.study.captions import caption, empty_plot
from ablation.report.study.rows import INERT, Row, StudyInfo

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
TITLE_CHARACTERS, LEAST_CHARACTERS = 38, 16  # of factor and level above a panel, and at least of the level
NAMED_PER_PANEL = 14  # beyond this many lines in a panel only the best and the worst carry their number
KEYS = {"validation": "val_loss", "training": "train_loss"}  # what the dictionary of an epoch calls them


def curve(row: Row, which: str) -> list[float]:
    """Mean over seeds by epoch, for the epochs that every seed reached; empty where nothing was stored."""
    per_seed = [losses_of(trial, which) for trial in row.complete]
    per_seed = [losses for losses in per_seed if losses]
    return [sum(values) / len(values) for values in zip(*per_seed, strict=False)]


def losses_of(trial: Record, which: str) -> list[float]:
    """One trial's finite "validation" or "training" losses by epoch."""
    epochs: Sequence[Mapping[str, float]] = trial.training.get("epochs") or ()
    values = [epoch.get(KEYS[which]) for epoch in epochs]
    return [float(v) for v in values if v is not None and math.isfinite(v)]


def loss_curves(rows: Sequence[Row], study: StudyInfo) -> Figure:
    """A panel per level of the first factor; the other panels' lines stand behind in grey, for comparison."""
    drawn = [row for row in rows if curve(row, "validation")]
    if not drawn:
        return empty_plot(rows, study, "Loss by epoch", "a stored loss curve")
    factor = next((f for f, levels in study.factors.items() if len(levels) > 1), None)
    levels = [lv for lv in (*study.factors[factor], INERT, "-") if any(r.level(factor) == lv for r in drawn)] if factor else [""]
    num_columns = min(COLUMNS, len(levels))
    num_lines = math.ceil(len(levels) / num_columns)
    figure = style.new_figure(max(3.3 * num_columns, 6.4), 3.5 * num_lines + 0.9)
    grid = figure.subplots(num_lines, num_columns, sharex=True, sharey=True, squeeze=False)
    colours = style.palette(len(levels))
    heading = shortened([factor], TITLE_CHARACTERS - LEAST_CHARACTERS)[factor] if factor else ""
    names = shortened(levels, max(LEAST_CHARACTERS, TITLE_CHARACTERS - len(heading)))
    for n, axes in enumerate(grid.flat):
        if n >= len(levels):
            axes.set_axis_off()
            continue
        mine = [row for row in drawn if not factor or row.level(factor) == levels[n]]
        _panel(axes, drawn, mine, colours[n])
        style.title(axes, f"{heading}: {names[levels[n]]}" if factor else "Loss by epoch")
        if n + num_columns >= len(levels):
            axes.set_xlabel("epoch")
            axes.xaxis.set_tick_params(labelbottom=True)
    figure.supylabel("loss", fontsize=10)
    note = (
        "Solid: validation. Dashed: training. Grey: the other variants' validation loss. Numbers as in the table; means over seeds."
    )
    caption(figure, drawn, rows, study, "a stored loss curve", note)
    return figure


def _panel(axes: Axes, drawn: Sequence[Row], mine: Sequence[Row], colour: str) -> None:
    from matplotlib.ticker import MaxNLocator

    inside = {row.number for row in mine}
    for row in drawn:
        if row.number not in inside:
            _line(axes, curve(row, "validation"), color=style.PALE, linewidth=0.8, zorder=1)
    for row in mine:
        _line(axes, curve(row, "training"), color=colour, linewidth=0.9, linestyle=(0, (4, 2)), alpha=0.55, zorder=2)
        _line(axes, curve(row, "validation"), color=colour, linewidth=1.5, alpha=0.9, zorder=3)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    longest = max(len(curve(row, "validation")) for row in drawn)
    axes.set_xlim(1 - 0.06 * longest, longest + 0.17 * longest)
    _end_numbers(axes, mine, colour)


def _line(axes: Axes, losses: Sequence[float], **look: object) -> None:
    marker = "." if len(losses) == 1 else ""
    axes.plot(range(1, len(losses) + 1), losses, marker=marker, **look)  # type: ignore[arg-type]


def _end_numbers(axes: Axes, mine: Sequence[Row], colour: str) -> None:
    """Numbers at the right edge, pushed apart where lines end together, each tied to its line by a hair."""
    ends = sorted((curve(row, "validation")[-1], row.number) for row in mine)
    if len(ends) > NAMED_PER_PANEL:
        ends = [ends[0], ends[-1]]
    low, high = axes.get_ylim()
    gap = (high - low) * 0.055
    heights: list[float] = []
    for value, _ in ends:
        heights.append(max(value, heights[-1] + gap) if heights else value)
    overflow = max(0.0, heights[-1] - high) if heights else 0.0
    longest = max(len(curve(row, "validation")) for row in mine)
    for (value, number), height in zip(ends, heights, strict=True):
        last = next(len(curve(row, "validation")) for row in mine if row.number == number)
        hair = {"arrowstyle": "-", "color": colour, "linewidth": 0.5, "alpha": 0.5, "shrinkA": 0}
        axes.annotate(
            str(number), (last, value), xytext=(longest + 0.06 * longest, height - overflow), textcoords="data",
            fontsize=8, va="center", color=colour, annotation_clip=False, arrowprops=hair,
        )  # fmt: skip
