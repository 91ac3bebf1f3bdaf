"""The plot of paired effects: for each metric a panel, for each swap its pairs, their mean and its interval or range. No torch.

Where a settled interaction says that the effect differs by another factor, the pairs stand apart by its level, each with its mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ablation.attribute.effect import Effect
from ablation.attribute.pairing import is_counted
from ablation.machine.text import shortened
from ablation.report.kit import plot_style as style
from ablation.report.kit.numbers import signed, times
from ablation.report.study.captions import caption, empty_plot
from ablation.report.study.effect_words import value_text
from ablation.report.study.rows import Row, StudyInfo
from ablation.report.study.swaps import BETTER, MISSING, NONE, WORSE, Judged, Swap, Within, within

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
NAME_CHARACTERS = 24  # of a factor and of a level beside the panels
COLOUR_OF = {BETTER: style.BETTER, WORSE: style.WORSE}
# inches of one swap, and of one level of another factor below it
LINE, LANE = 0.5, 0.19


def effects_plot(judged: Judged, rows: Sequence[Row], study: StudyInfo) -> Figure:
    """Panels of swaps by metric; ratios on a logarithmic scale. Blue is better, orange worse, grey neither."""
    keys = _drawn_keys(judged.swaps)
    if not keys:
        return empty_plot(rows, study, "What each swap changes", "a partner, with numbers, that differs in one factor alone")
    num_lines = math.ceil(len(keys) / COLUMNS)
    num_columns = min(COLUMNS, len(keys))
    lines = _lines(judged, keys)
    figure = style.new_figure(3.1 * num_columns + 1.6, num_lines * (1.1 + lines[-1]) + 1.0)
    grid = figure.subplots(num_lines, num_columns, sharey=True, squeeze=False)
    for n, axes in enumerate(grid.flat):
        if n < len(keys):
            _panel(axes, keys[n], judged, lines)
        else:
            axes.set_axis_off()
    figure.suptitle("What each swap changes, all else equal", x=0.01, ha="left", fontsize=12, fontweight="bold")
    drawn = [row for row in rows if any(row.values(judged.swaps[0].effects[key].metric) for key in keys)]
    caption(figure, drawn, rows, study, "any of these numbers", *_notes(judged, keys))
    return figure


def _drawn_keys(swaps: Sequence[Swap]) -> list[str]:
    """Metrics for which at least one swap has an effect; SSIM and elements written are in the table only."""
    keys = dict.fromkeys(key for swap in swaps for key in swap.effects if key not in ("ssim", "elements_written"))
    return [key for key in keys if any(swap.effects[key].mean is not None for swap in swaps)]


def _lanes(judged: Judged, swap: Swap, key: str) -> list[Within]:
    """The pairs by level of the factor that this effect depends on most; nothing where it depends on none."""
    return within(swap, key, factors[0]) if (factors := judged.depends_on(swap, key)) else []


def _lines(judged: Judged, keys: Sequence[str]) -> list[float]:
    """Where each swap's bar stands, in inches from the top, and the height of all."""
    places, top = [], 0.0
    for swap in judged.swaps:
        places.append(top + 0.26)
        top += LINE + LANE * max(0, max(len(_lanes(judged, swap, key)) for key in keys) - 1)
    return [*places, top]


def _notes(judged: Judged, keys: Sequence[str]) -> list[str]:
    swaps = judged.swaps
    same = sum(max(e.num_same_network for e in swap.effects.values()) for swap in swaps)
    notes = [
        "Dots: pairs that differ in this factor alone (means over seeds). Diamond: their mean. Bar: 95 % t interval over clusters "
        "of pairs that share no network (over seeds or sittings where there is one cluster). Thin line: range of a count.",
        "Blue: better. Orange: worse, each beyond chance and corrected for all effects. Grey: within noise, or not settled.",
    ]
    if any(_lanes(judged, swap, key) for swap in swaps for key in keys):
        notes.append(
            "Rows of dots with a name: pairs by the level of another factor on which the effect depends for certain; tick: mean."
        )
    if any(key in judged.floors for key in keys):
        notes.append("Grey band: one network timed against a second copy of itself.")
    if same:
        notes.append(f"Left out: {same} pairs that are one and the same network (the factor does nothing there).")
    empty = sum(swap.effects[key].mean is None for key in keys for swap in swaps)
    if empty:
        notes.append(f"No complete pair for {empty} of {len(keys) * len(swaps)} effects.")
    return notes


def _panel(axes: Axes, key: str, judged: Judged, lines: Sequence[float]) -> None:
    """One metric: swaps from top to bottom."""
    from matplotlib.ticker import MaxNLocator

    effects = [swap.effects[key] for swap in judged.swaps]
    first = effects[0]
    _widen(axes, effects)
    for line, swap, effect in zip(lines, judged.swaps, effects, strict=False):
        _draw(axes, line, effect, judged.verdict(swap, key), _lanes(judged, swap, key))
    if key in judged.floors:
        axes.axvspan(-judged.floors[key], judged.floors[key], color=style.PALE, alpha=0.7, zorder=0, linewidth=0)
    axes.axvline(0, color="#444444", linewidth=0.9, zorder=1)
    axes.set_yticks(lines[:-1], _labels(judged.swaps), fontsize=8.5)
    axes.set_ylim(lines[-1] + 0.04, -0.04)
    axes.grid(visible=False, axis="y")
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
    """The swap and how many pairs of networks it rests on (the table says where a metric has fewer)."""
    num_pairs = max(effect.num_networks for effect in swap.effects.values())
    factor = names[swap.factor]
    return f"{factor} ({num_pairs} pair{'' if num_pairs == 1 else 's'})\n{names[swap.level_from]} → {names[swap.level_to]}"


def _place(effect: Effect, value: float) -> float:
    return math.log(value) if effect.as_ratio else value


def _draw(axes: Axes, line: float, effect: Effect, verdict: str, lanes: Sequence[Within]) -> None:
    if effect.mean is None:
        axes.text(0, line, "no pair ", ha="right", va="center", fontsize=8, color=style.NEUTRAL, style="italic")
        return
    from matplotlib.patheffects import withStroke

    colour = COLOUR_OF.get(verdict, style.NEUTRAL)
    if lanes:
        for n, part in enumerate(lanes):
            _lane(axes, line + 0.14 + LANE * n, part, colour)
    else:
        places = [_place(effect, d) for d in effect.differences]
        # spread evenly below the bar, the same way every time
        shifts = 0.12 + 0.03 * (np.arange(len(places)) % 3 - 1)
        axes.plot(places, line + shifts, "o", markersize=3.5, color=colour, alpha=0.45, markeredgewidth=0, zorder=2)
    mean = _place(effect, effect.mean)
    ends = [_place(effect, e) for e in (effect.low, effect.high) if e is not None]
    if is_counted(effect.metric):
        ends = [_place(effect, end) for end in (min(effect.differences), max(effect.differences))]
    axes.plot(ends, [line] * len(ends), color=colour, linewidth=0.9 if is_counted(effect.metric) else 2.2, zorder=3)
    axes.plot(mean, line, "D", markersize=6, color=colour, markeredgecolor="white", markeredgewidth=0.8, zorder=4)
    axes.annotate(
        short(effect, verdict), (mean, line), xytext=(0, 6), textcoords="offset points", ha="center", fontsize=8, color="#222222",
        zorder=5, path_effects=[withStroke(linewidth=2, foreground="white")],
    )  # fmt: skip


def _lane(axes: Axes, line: float, part: Within, colour: str) -> None:
    """The pairs of one level of another factor, their mean as a tick, and the level's name where there is more room."""
    from matplotlib.patheffects import withStroke

    effect = part.effect
    places = [pair.difference for pair in part.pairs]
    mean = sum(places) / len(places)
    axes.plot(places, [line] * len(places), "o", markersize=3.5, color=colour, alpha=0.6, markeredgewidth=0, zorder=2)
    axes.plot([mean, mean], [line - 0.055, line + 0.055], color="#222222", linewidth=1.3, zorder=3)
    low, high = axes.get_xlim()
    right = high - max(places) >= min(places) - low
    axes.annotate(
        f"{part.level} {value_text(part.mean, effect.metric, effect.as_ratio)}", (max(places) if right else min(places), line),
        xytext=(5 if right else -5, 0), textcoords="offset points", ha="left" if right else "right", va="center", fontsize=7,
        color="#333333", zorder=5, path_effects=[withStroke(linewidth=2, foreground="white")],
    )  # fmt: skip


def short(effect: Effect, verdict: str = "") -> str:
    """The mean as the plot prints it: '×2.31' or '−3.07'."""
    if effect.mean is None or verdict == NONE:
        return verdict or MISSING
    return times(effect.mean) if effect.as_ratio else signed(effect.mean, effect.metric.digits)


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
