"""The plot of paired effects: for each metric a panel, for each swap its pairs, their mean and its interval. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ablation.attribute import Effect
from ablation.report import style
from ablation.report.study import Row, StudyInfo
from ablation.report.swaps import BETTER, MISSING, WORSE, Noise, Swap, verdict
from ablation.text import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
NAME_CHARACTERS = 24
# of a factor and of a level beside the panels
COLOUR_OF = {BETTER: style.BETTER, WORSE: style.WORSE}


def effects_plot(swaps: Sequence[Swap], noise: Noise, rows: Sequence[Row], study: StudyInfo) -> Figure:
    """Panels of swaps by metric; ratios on a logarithmic scale. Blue is better, orange worse, grey noise or both signs."""
    keys = _drawn_keys(swaps)
    if not keys:
        return style.empty_plot(rows, study, "What each swap changes", "a partner, with numbers, that differs in one factor alone")
    num_lines = math.ceil(len(keys) / COLUMNS)
    num_columns = min(COLUMNS, len(keys))
    figure = style.new_figure(3.1 * num_columns + 1.6, num_lines * (1.15 + 0.42 * len(swaps)) + 0.9)
    grid = figure.subplots(num_lines, num_columns, sharey=True, squeeze=False)
    for n, axes in enumerate(grid.flat):
        if n < len(keys):
            _panel(axes, keys[n], swaps, noise)
        else:
            axes.set_axis_off()
    figure.suptitle("What each swap changes, all else equal", x=0.01, ha="left", fontsize=12, fontweight="bold")
    drawn = [row for row in rows if any(row.values(swaps[0].effects[key].metric) for key in keys)]
    style.caption(figure, drawn, rows, study, "any of these numbers", *_notes(swaps, noise, keys))
    return figure


def _drawn_keys(swaps: Sequence[Swap]) -> list[str]:
    """Metrics for which at least one swap has an effect; SSIM and elements written are told in the text only."""
    keys = dict.fromkeys(key for swap in swaps for key in swap.effects if key not in ("ssim", "elements_written"))
    return [key for key in keys if any(swap.effects[key].mean is not None for swap in swaps)]


def _notes(swaps: Sequence[Swap], noise: Noise, keys: Sequence[str]) -> list[str]:
    same = sum(max(e.num_same_network for e in swap.effects.values()) for swap in swaps)
    notes = [
        "Dots: pairs that differ in this factor alone (means over seeds). Diamond and bar: mean, 95 % bootstrap interval.",
        "Blue: better. Orange: worse. Grey: within noise, or the sign depends on the rest of the network.",
    ]
    if any(key in noise.floor for key in keys):
        notes[1] += " Grey band: one network timed against itself."
    if same:
        notes.append(f"Left out: {same} pairs that are one and the same network (the factor does nothing there).")
    empty = [f"{swap.name} ({key})" for key in keys for swap in swaps if swap.effects[key].mean is None]
    if empty:
        notes.append(f"No complete pair for {len(empty)} of {len(keys) * len(swaps)} effects.")
    return notes


def _panel(axes: Axes, key: str, swaps: Sequence[Swap], noise: Noise) -> None:
    """One metric: swaps from top to bottom."""
    from matplotlib.ticker import MaxNLocator

    effects = [swap.effects[key] for swap in swaps]
    first = effects[0]
    for line, effect in enumerate(effects):
        _draw(axes, line, effect, COLOUR_OF.get(verdict(key, effect, noise), style.NEUTRAL))
    if key in noise.floor:
        axes.axvspan(-noise.floor[key], noise.floor[key], color=style.PALE, alpha=0.7, zorder=0, linewidth=0)
    axes.axvline(0, color="#444444", linewidth=0.9, zorder=1)
    axes.set_yticks(range(len(swaps)), _labels(swaps), fontsize=8.5)
    axes.set_ylim(len(swaps) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    _widen(axes, effects)
    unit = f" [{first.metric.unit}]" if first.metric.unit and not first.as_ratio else ""
    axes.set_title(f"{first.metric.label}{', times' if first.as_ratio else unit}", fontsize=9.5, loc="left")
    if first.as_ratio:
        _ratio_ticks(axes)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))


def _labels(swaps: Sequence[Swap]) -> list[str]:
    names = shortened([name for s in swaps for name in (s.factor, s.level_from, s.level_to)], NAME_CHARACTERS)
    return [_label(swap, names) for swap in swaps]


def _label(swap: Swap, names: Mapping[str, str]) -> str:
    """The swap and how many pairs of networks it rests on (the text tells where a metric has fewer)."""
    num_pairs = max(effect.num_networks for effect in swap.effects.values())
    factor = names[swap.factor]
    return f"{factor} ({num_pairs} pair{'' if num_pairs == 1 else 's'})\n{names[swap.level_from]} → {names[swap.level_to]}"


def _place(effect: Effect, value: float) -> float:
    return math.log(value) if effect.as_ratio else value


def _draw(axes: Axes, line: int, effect: Effect, colour: str) -> None:
    if effect.mean is None:
        axes.text(0, line, "no pair ", ha="right", va="center", fontsize=8, color=style.NEUTRAL, style="italic")
        return
    from matplotlib.patheffects import withStroke

    places = [_place(effect, d) for d in effect.differences]
    # spread evenly below the bar, the same way every time
    shifts = 0.24 + 0.06 * (np.arange(len(places)) % 3 - 1)
    axes.plot(places, line + shifts, "o", markersize=3.5, color=colour, alpha=0.45, markeredgewidth=0, zorder=2)
    mean = _place(effect, effect.mean)
    if effect.low is not None and effect.high is not None:
        axes.plot([_place(effect, effect.low), _place(effect, effect.high)], [line, line], color=colour, linewidth=2.2, zorder=3)
    axes.plot(mean, line, "D", markersize=6, color=colour, markeredgecolor="white", markeredgewidth=0.8, zorder=4)
    axes.annotate(
        short(effect), (mean, line), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=8, color="#222222", zorder=5,
        path_effects=[withStroke(linewidth=2, foreground="white")],
    )  # fmt: skip


def short(effect: Effect) -> str:
    """The mean as the plot prints it: '×2.31' or '−3.07'."""
    if effect.mean is None:
        return MISSING
    if effect.as_ratio:
        return f"×{effect.mean:.2f}" if abs(effect.mean - 1) > 0.05 else f"×{effect.mean:.3f}"
    return f"{effect.mean:+.{effect.metric.digits}f}".replace("-", "−")


def _widen(axes: Axes, effects: Sequence[Effect]) -> None:
    """Room for the printed means at both sides."""
    ends = [0.0] + [_place(e, v) for e in effects for v in (e.mean, e.low, e.high, *e.differences) if v is not None]
    span = (max(ends) - min(ends)) or 1.0
    axes.set_xlim(min(ends) - 0.16 * span, max(ends) + 0.16 * span)


def _ratio_ticks(axes: Axes) -> None:
    """Ticks at plain factors on an axis that holds logarithms."""
    from matplotlib.ticker import MaxNLocator

    low, high = (math.exp(end) for end in axes.get_xlim())
    if high / low < 4:
        factors = [float(f) for f in MaxNLocator(4).tick_values(low, high) if f > 0]
    else:
        factors = [d * 10.0**p for p in range(-4, 5) for d in (1, 2, 5)]
        factors = factors if high / low < 100 else [f for f in factors if f"{f:e}".startswith("1")]
    factors = sorted({1.0, *(f for f in factors if low <= f <= high and abs(math.log(f)) > 0.09 * math.log(high / low))})
    axes.set_xticks([math.log(f) for f in factors], [f"×{f:g}" for f in factors])
