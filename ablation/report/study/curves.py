"""Curves by epoch: training and validation loss, or a metric of one's own, a line per network (mean over seeds). No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ablation.machine.text import shortened
from ablation.record.trial import Record
from ablation.report.kit import plot_style as style
from ablation.report.kit.numbers import capital
from ablation.report.study.captions import caption, empty_plot
from ablation.report.study.rows import INERT, Row, StudyInfo, axis_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 2
TITLE_CHARACTERS = 22  # of the level above a panel
NAMED_PER_PANEL = 14  # beyond this many lines in a panel only the best and the worst carry their number
# what the dictionary of an epoch calls them; "value" is what a training function of the user's own reports
KEYS = {"validation": ("val_loss", "value"), "training": ("train_loss",)}


def curve(row: Row, which: str) -> dict[int, float]:
    """Epoch -> mean over seeds, for the epochs that every seed reached; empty where nothing was stored."""
    per_seed = [losses for trial in row.complete if (losses := values_of(trial, which))]
    common = set[int]().union(*per_seed[:1]).intersection(*per_seed[1:])
    return {epoch: sum(losses[epoch] for losses in per_seed) / len(per_seed) for epoch in sorted(common)}


def has_curve(row: Row) -> bool:
    """Whether there is anything to draw."""
    return bool(curve(row, "validation"))


def losses_of(trial: Record, which: str) -> list[float]:
    """One trial's finite "validation" or "training" losses in the order of epochs."""
    return list(values_of(trial, which).values())


def values_of(trial: Record, which: str) -> dict[int, float]:
    """Epoch -> one trial's finite "validation" or "training" loss; of another metric the value that was reported."""
    epochs: Sequence[Mapping[str, Any]] = trial.training.get("epochs") or ()
    values = {e.get("epoch", n): e[key] for n, e in enumerate(epochs, 1) for key in KEYS[which] if key in e}
    return {int(epoch): float(v) for epoch, v in values.items() if v is not None and math.isfinite(v)}


def epoch_curves(rows: Sequence[Row], study: StudyInfo) -> Figure:
    """A panel per level of the first factor; the other panels' lines stand behind in grey, for comparison."""
    drawn, scale = [row for row in rows if has_curve(row)], study.leading.scale
    heading, missing = f"{capital(study.by_epoch)} by epoch", f"a stored {study.by_epoch} curve"
    if not drawn:
        return empty_plot(rows, study, heading, missing)
    factor = next((f for f, levels in study.factors.items() if len(levels) > 1), "")
    levels = [lv for lv in (*study.factors[factor], INERT, "-") if any(r.level(factor) == lv for r in drawn)] if factor else [""]
    num_columns = min(COLUMNS, len(levels))
    num_lines = math.ceil(len(levels) / num_columns)
    figure = style.new_figure(style.WIDTH, 2.3 * num_lines + 1.1)
    grid = figure.subplots(num_lines, num_columns, sharex=True, sharey=True, squeeze=False)
    names, colours = shortened(levels, TITLE_CHARACTERS), style.palette(len(levels))
    for axes, level, colour in zip(grid.flat, levels, colours, strict=False):
        _panel(axes, drawn, [row for row in drawn if not factor or row.level(factor) == level], colour, scale)
        axes.set_title(names[level], loc="left", fontsize=9)
    for n, axes in enumerate(grid.flat):
        if n >= len(levels):
            axes.set_axis_off()
        elif n + num_columns >= len(levels):
            axes.set_xlabel("epoch")
            axes.xaxis.set_tick_params(labelbottom=True)
    figure.suptitle(
        f"{heading}{f', by {shortened([factor], 24)[factor]}' if factor else ''}", x=0.01, ha="left", fontsize=11, weight="bold"
    )
    own = study.is_own
    figure.supylabel(axis_label(study.leading) if own else "loss", fontsize=10)
    lines = "As reported in training." if own else "Solid: validation. Dashed: training."
    others = "Grey: the other variants." if own else "Grey: the other variants' validation loss."
    caption(figure, drawn, rows, study, missing, f"{lines} {others} Numbers as in the table; means over seeds.")
    return figure


def _panel(axes: Axes, drawn: Sequence[Row], mine: Sequence[Row], colour: str, scale: float) -> None:
    from matplotlib.ticker import MaxNLocator

    for row in drawn:
        if row not in mine:
            _line(axes, _scaled(row, "validation", scale), color=style.PALE, linewidth=0.8, zorder=1)
    for row in mine:
        _line(axes, _scaled(row, "training", scale), color=colour, linewidth=0.9, linestyle=(0, (4, 2)), alpha=0.55, zorder=2)
        _line(axes, _scaled(row, "validation", scale), color=colour, linewidth=1.4, alpha=0.9, zorder=3)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    epochs = [epoch for row in drawn for epoch in curve(row, "validation")]
    first, last = min(epochs), max(epochs)
    axes.set_xlim(first - 0.06 * (last - first + 1), last + 0.3 * (last - first + 1))
    _end_numbers(axes, mine, colour, scale)


def _scaled(row: Row, which: str, scale: float) -> dict[int, float]:
    return {epoch: scale * value for epoch, value in curve(row, which).items()}


def _line(axes: Axes, losses: Mapping[int, float], **drawing: Any) -> None:
    axes.plot(list(losses), list(losses.values()), marker="." if len(losses) == 1 else "", **drawing)


def _end_numbers(axes: Axes, mine: Sequence[Row], colour: str, scale: float) -> None:
    """Numbers at the right edge, pushed apart where lines end together, each tied to its line by a hair."""
    curves = {row.number: _scaled(row, "validation", scale) for row in mine}
    ends = sorted((losses[max(losses)], number) for number, losses in curves.items())
    ends = [ends[0], ends[-1]] if len(ends) > NAMED_PER_PANEL else ends
    low, high = axes.get_ylim()
    heights: list[float] = []
    for value, _ in ends:
        heights.append(max(value, heights[-1] + (high - low) * 0.075) if heights else value)
    overflow = max(0.0, heights[-1] - high)
    last, span = max(map(max, curves.values())), max(map(len, curves.values()))
    for (value, number), height in zip(ends, heights, strict=True):
        hair = {"arrowstyle": "-", "color": colour, "linewidth": 0.5, "alpha": 0.5, "shrinkA": 0}
        axes.annotate(
            str(number), (max(curves[number]), value), xytext=(last + 0.1 * span, height - overflow), textcoords="data",
            fontsize=8, va="center", color=colour, annotation_clip=False, arrowprops=hair,
        )  # fmt: skip
