"""The plot of paired effects on one metric: for each swap its pairs, their mean and its interval or range. No torch.

Where a settled interaction says that the effect differs by another factor, the pairs stand apart by its level, each with its mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ablation.attribute.effect import Effect
from ablation.attribute.pairing import is_counted
from ablation.machine.text import shortened
from ablation.report.kit import plot_style as style
from ablation.report.kit.numbers import count, signed, times
from ablation.report.study.captions import caption, empty_plot
from ablation.report.study.effect_tables import value_text
from ablation.report.study.rows import Row, StudyInfo
from ablation.report.study.swaps import BETTER, NONE, WORSE, Judged, Swap, Within, within

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME_CHARACTERS = 18  # of a factor and of a level above its bar
COLOUR_OF = {BETTER: style.BETTER, WORSE: style.WORSE}
# inches of one swap, of its bar below the top of that, and of one level of another factor below the bar
LINE, BAR, LANE = 0.66, 0.38, 0.19
PAGE_NOTE = (
    "Dots: pairs that differ in this factor alone (means over seeds). Diamond: their mean. Bar: 95\u00a0% t interval over clusters "
    "of pairs that share no network (over seeds or sittings where there is one cluster). Thin line: range of a count. Rows of dots "
    "with a name: pairs by the level of another factor on which the effect depends for certain; tick: mean. Grey band: one network "
    "timed against a second copy of itself."
)


def drawn_keys(judged: Judged) -> list[str]:
    """Metrics for which at least one swap has an effect, but for those that are in the tables only."""
    return [key for key in judged.told if any(swap.effects[key].mean is not None for swap in judged.swaps)]


def effects_plot(judged: Judged, key: str, rows: Sequence[Row], study: StudyInfo) -> Figure:
    """A bar for each swap; ratios on a logarithmic scale. Blue is better, orange worse, grey neither."""
    if not key:
        return empty_plot(rows, study, "What each swap changes", "a partner, with numbers, that differs in one factor alone")
    effects = [swap.effects[key] for swap in judged.swaps]
    lanes = [_lanes(judged, swap, key) for swap in judged.swaps]
    heights = [LINE + LANE * max(0, len(parts) - 1) for parts in lanes]
    figure = style.new_figure(style.WIDTH, sum(heights) + 1.1)
    axes = figure.subplots()
    _axis(axes, effects, sum(heights))
    if key in judged.floors:
        floor = math.exp(judged.floors[key])
        axes.axvspan(1 / floor, floor, color=style.PALE, alpha=0.7, zorder=0, linewidth=0)
    top = 0.0
    for swap, effect, parts, height, name in zip(judged.swaps, effects, lanes, heights, _labels(judged.swaps), strict=True):
        axes.text(0, top + 0.1, name, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5, color="#222222", zorder=6)
        _bar(axes, top + BAR, effect, judged.verdict(swap, key), parts)
        top += height
    drawn = [row for row in rows if row.values(effects[0].metric)]
    caption(figure, drawn, rows, study, "a value", *_notes(judged, key, any(lanes)))
    return figure


def _axis(axes: Axes, effects: Sequence[Effect], height: float) -> None:
    """From no change to all that is drawn, with room for printed means at both sides."""
    from matplotlib.ticker import MaxNLocator

    metric, as_ratio = effects[0].metric, effects[0].as_ratio
    ends = [v for e in effects for v in (e.mean, e.low, e.high, *e.differences) if v is not None] + [1.0 if as_ratio else 0.0]
    ends = [math.log(end) for end in ends] if as_ratio else ends
    room = 0.16 * ((max(ends) - min(ends)) or 1.0)
    low, high = min(ends) - room, max(ends) + room
    axes.set(ylim=(height + 0.04, -0.06), yticks=[])
    if as_ratio:
        axes.set(xscale="log", xlim=(math.exp(low), math.exp(high)))
        style.factor_ticks(axes)
    else:
        axes.set_xlim(low, high)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.axvline(1 if as_ratio else 0, color="#444444", linewidth=0.9, zorder=1)
    unit = ", times" if as_ratio else f" [{metric.unit_of_change}]" if metric.unit else ""
    style.title(axes, f"Effect on {metric.label}{unit}")


def _lanes(judged: Judged, swap: Swap, key: str) -> list[Within]:
    """The pairs by level of the factor that this effect depends on most; nothing where it depends on none."""
    return within(swap, key, factors[0]) if (factors := judged.depends_on(swap, key)) else []


def _notes(judged: Judged, key: str, has_lanes: bool) -> list[str]:
    effects = [swap.effects[key] for swap in judged.swaps]
    texts = ["Blue: better, orange: worse, each beyond chance; grey: within noise, or not settled. Diamond: mean of the pairs."]
    texts[0] += " Thin line: range." if is_counted(effects[0].metric) else " Bar: 95 % t interval over clusters of pairs."
    texts[0] += " Named rows: pairs by the level of another factor." if has_lanes else ""
    texts[0] += " Grey band: one network against itself." if key in judged.floors else ""
    same = sum(effect.num_same_network for effect in effects)
    texts += [f"Left out: {same} pairs that are one and the same network (the factor does nothing there)."] if same else []
    empty = sum(effect.mean is None for effect in effects)
    return [*texts, f"No complete pair for {empty} of {len(effects)} swaps."] if empty else texts


def _labels(swaps: Sequence[Swap]) -> list[str]:
    """The swaps and how many pairs of networks each rests on (the table says where a metric has fewer)."""
    names = shortened([name for s in swaps for name in (s.factor, s.level_from, s.level_to)], NAME_CHARACTERS)
    pairs = [count(max(effect.num_networks for effect in swap.effects.values()), "pair") for swap in swaps]
    return [
        f"{names[s.factor]} ({num}): {names[s.level_from]} → {names[s.level_to]}" for s, num in zip(swaps, pairs, strict=True)
    ]  # fmt: skip


def _bar(axes: Axes, line: float, effect: Effect, verdict: str, lanes: Sequence[Within]) -> None:
    """One swap: its pairs, in lanes where they are given, their mean, and its interval or range."""
    if effect.mean is None:
        axes.text(1 if effect.as_ratio else 0, line, "no pair ", ha="right", va="center", fontsize=8, color=style.NEUTRAL)
        return
    colour, counted = COLOUR_OF.get(verdict, style.NEUTRAL), is_counted(effect.metric)
    for n, part in enumerate(lanes):
        _lane(axes, line + 0.14 + LANE * n, part, colour)
    if not lanes:
        # spread evenly below the bar, the same way every time
        shifts = 0.12 + 0.03 * (np.arange(len(effect.pairs)) % 3 - 1)
        axes.plot(effect.differences, line + shifts, "o", markersize=3.5, color=colour, alpha=0.45, markeredgewidth=0, zorder=2)
    ends = (min(effect.differences), max(effect.differences)) if counted else (effect.low, effect.high)
    if None not in ends:
        axes.plot(ends, [line, line], color=colour, linewidth=0.9 if counted else 2.2, zorder=3)  # type: ignore[arg-type]
    axes.plot(effect.mean, line, "D", markersize=6, color=colour, markeredgecolor="white", markeredgewidth=0.8, zorder=4)
    text = NONE if verdict == NONE else times(effect.mean) if effect.as_ratio else signed(effect.mean, effect.metric.digits)
    style.label(axes, text, (effect.mean, line), (0, 6), ha="center", fontsize=8, color="#222222")


def _lane(axes: Axes, line: float, part: Within, colour: str) -> None:
    """The pairs of one level of another factor, their mean as a tick, and the level's name where there is more room."""
    places, (low, high) = part.differences, axes.get_xlim()
    axes.plot(places, [line] * len(places), "o", markersize=3.5, color=colour, alpha=0.6, markeredgewidth=0, zorder=2)
    axes.plot([part.mean] * 2, [line - 0.055, line + 0.055], color="#222222", linewidth=1.3, zorder=3)
    to_axis = math.log if part.effect.as_ratio else float
    right = to_axis(high) - to_axis(max(places)) >= to_axis(min(places)) - to_axis(low)
    end, side, shift = (max(places), "left", 5) if right else (min(places), "right", -5)
    text = f"{part.level} {value_text(part.mean, part.effect.metric, part.effect.as_ratio)}"
    style.label(axes, text, (end, line), (shift, 0), ha=side, va="center", fontsize=8, color="#333333")
