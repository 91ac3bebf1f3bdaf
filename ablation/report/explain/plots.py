"""Plots of who made the difference: the waterfall of the ratio and Shapley bars. No torch.

Every drawing takes the width in inches and lays itself out for it, so that a page can carry one for paper and one for a phone.
Every plot has its numbers as lines of a CSV file, and says below itself how many of how many points it shows.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ablation.record.attribution import Attribution, Effect
from ablation.record.explanation import Explanation
from ablation.report.explain import style as look
from ablation.report.kit import plot_style as style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# inches
WIDE, NARROW = 7.6, 4.1
# from this width on panels stand beside each other
SIDE_BY_SIDE = 6.0
DARK = "#222222"
NAME_POINTS, WRAP = 8.5, 22
# of a name beside its line
LINE_INCHES = 1.2 * NAME_POINTS / 72


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One picture to be drawn at any width, and its numbers."""

    # file name without its ending
    stem: str
    alt: str
    draw: Callable[[float], Figure]
    headings: Sequence[str]
    # for the CSV file beside it; None is an empty cell
    lines: Sequence[Sequence[Any]]


def below(figure: Figure, shown: int, possible: int, what: str, *notes: str) -> None:
    """The caption: '8 of 8 factors.' and the notes, wrapped to the figure's width."""
    text = " ".join([f"Shows {shown} of {possible} {what}.", *(note for note in notes if note)])
    lines = textwrap.wrap(text, int(figure.get_figwidth() * 16))
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=8, color="#555555")


def heading(figure: Figure, text: str) -> None:
    """A title over the whole figure, at its left edge."""
    lines = textwrap.wrap(text, int(figure.get_figwidth() * 10.5))
    figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=11, fontweight="bold")


def panels(width: float, num: int, heights: Sequence[float], *, share_y: bool = False) -> tuple[Figure, list[Axes]]:
    """Panels beside each other on a wide figure, below each other on a narrow one; heights in inches, each panel's own."""
    if width >= SIDE_BY_SIDE:
        figure = style.new_figure(width, max(heights) + 0.9)
        grid = figure.subplots(1, num, sharey=share_y, squeeze=False)
    else:
        figure = style.new_figure(width, sum(heights) + 0.35 * num + 0.9)
        grid = figure.subplots(num, 1, squeeze=False, gridspec_kw={"height_ratios": list(heights)})
    return figure, list(grid.flat)


def row_height(names: Sequence[str], least: float, wrap: int = WRAP) -> float:
    """Inches between lines that are named so, the least at least: enough that no name runs into the next."""
    return max([least, *(LINE_INCHES * (len(textwrap.wrap(name, wrap)) + 0.3) for name in names)])


def named_lines(axes: Axes, names: Sequence[str], wrap: int = WRAP) -> None:
    """Names down the y axis, the first at the top."""
    axes.set_yticks(range(len(names)), [textwrap.fill(name, wrap) for name in names], fontsize=NAME_POINTS)
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.grid(visible=False, axis="y")


def factor_ticks(axes: Axes, which: str = "x") -> None:
    """Plain factors on a logarithmic axis: ×0.5, ×1, ×2, ..."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    span = high / low
    digits = (1, 2, 5) if span > 5 else (1, 1.5, 2, 3, 4, 5, 7) if span > 1.8 else tuple(d / 10 for d in range(8, 16))
    ticks = [d * 10.0**p for p in range(-3, 4) for d in digits] if span <= 200 else [10.0**p for p in range(-4, 6)]
    axis.set_major_locator(FixedLocator([t for t in sorted(set(ticks)) if low <= t <= high]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"×{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def waterfall(explanation: Explanation, attribution: Attribution) -> Plot:
    """The ratio as a product: from the first network at ×1, each factor's multiplication, to the second."""
    order = look.ranked(attribution.shapley)
    lines = [
        [n, *explanation.factors.get(n, ("", "")), *_ratios(e), look.share_of(attribution, e), e.verdict, e.needed]
        for n, e in order
    ]
    whole = math.exp(attribution.end - attribution.start)
    lines += [
        ["residual", "", "", math.exp(attribution.residual), None, None, None, "", None],
        ["whole", "", "", whole, None, None, 1, "", None],
    ]
    told = ", ".join(f"{look.plain(n)} {look.times(math.exp(e.value))}" for n, e in order)
    return Plot(
        stem=f"waterfall_{look.stem_of(attribution.place)}",
        alt=f"Waterfall of the latency ratio on {look.place_text(attribution.place)}: {told}",
        draw=lambda width: _waterfall(explanation, attribution, order, width),
        headings=("factor", "from", "to", "times", "low", "high", "share_of_logarithm", "verdict", "needed"), lines=lines,
    )  # fmt: skip


def _ratios(effect: Effect) -> list[float | None]:
    return [None if v is None else math.exp(v) for v in (effect.value, effect.low, effect.high)]


def _waterfall(explanation: Explanation, attribution: Attribution, order: Sequence[tuple[str, Effect]], width: float) -> Figure:
    figure = style.new_figure(width, 1.7 + 0.36 * (len(order) + 2))
    axes = figure.subplots()
    colours = look.factor_colours(explanation)
    now, ends = 0.0, [0.0]
    axes.plot(1, 0, "o", color=look.FIRST, markersize=8)
    for line, (name, effect) in enumerate(order, start=1):
        then = now + effect.value
        _step(axes, line, now, effect, colours.get(name, style.NEUTRAL))
        axes.plot([math.exp(now)] * 2, [line - 1, line], color="#BBBBBB", linewidth=0.8, zorder=1)
        ends += [then, *((now + v) for v in (effect.low, effect.high) if v is not None)]
        now = then
    last, whole = len(order) + 1, attribution.end - attribution.start
    axes.plot([math.exp(now)] * 2, [last - 1, last], color="#BBBBBB", linewidth=0.8, zorder=1)
    axes.plot(math.exp(whole), last, "o", color=look.SECOND, markersize=8)
    named_lines(axes, [explanation.first, *(look.plain(name) for name, _ in order), explanation.second])
    axes.set_xscale("log")
    low, high = min(ends), max([*ends, whole])
    axes.set_xlim(math.exp(low - 0.1 * (high - low)), math.exp(high + (0.28 if width >= SIDE_BY_SIDE else 0.5) * (high - low)))
    beside(axes, 0, 1.0, "×1")
    beside(axes, last, math.exp(whole), look.times(math.exp(whole)))
    factor_ticks(axes)
    axes.set_xlabel(f"latency relative to {explanation.first}")
    heading(figure, f"What made the ratio, {look.place_text(attribution.place)}")
    whiskers = "whiskers: 95 % intervals" if any(e.low is not None for _, e in order) else "no intervals"
    sure = f"Bars: Shapley values of the logarithm, {attribution.kind}, which multiply; {whiskers}. Hatched: not settled."
    rest = f"Residual {look.times(math.exp(attribution.residual))}." if abs(attribution.residual) > 1e-9 else "Residual 0."
    below(
        figure,
        len(order),
        len(explanation.factors),
        "factors",
        f"{attribution.num_variants} of {attribution.num_possible} combinations measured.",
        sure,
        rest,
    )
    return figure


def _step(axes: Axes, line: int, now: float, effect: Effect, colour: Any) -> None:
    """One factor's bar from the product so far, its whisker and its text."""
    start, end = math.exp(now), math.exp(now + effect.value)
    weak = not effect.sure
    bar(axes, line, start, end, colour, weak)
    reach = max(start, end)
    if effect.low is not None and effect.high is not None:
        low, high = math.exp(now + effect.low), math.exp(now + effect.high)
        whisker(axes, line, low, high)
        reach = max(reach, high)
    beside(axes, line, reach, look.times(math.exp(effect.value)))


def bar(axes: Axes, line: float, start: float, end: float, colour: Any, weak: bool = False, height: float = 0.62) -> None:
    """A horizontal bar between two values; pale and hatched where it is not settled."""
    looks: dict[str, Any] = {"facecolor": "white", "hatch": "/////"} if weak else {"facecolor": colour}
    axes.barh(line, end - start, left=start, height=height, edgecolor=colour, linewidth=1.0, zorder=2, **looks)


def whisker(axes: Axes, line: float, low: float, high: float) -> None:
    """A horizontal interval with ends, readable on any bar."""
    from matplotlib.patheffects import withStroke

    effects = [withStroke(linewidth=3, foreground="white")]
    axes.errorbar((low + high) / 2, line, xerr=(high - low) / 2, fmt="none", ecolor=DARK, elinewidth=1.2, capsize=2.5, zorder=3)
    axes.plot([low, high], [line, line], color=DARK, linewidth=1.2, zorder=3, path_effects=effects)


def beside(axes: Axes, line: float, at: float, text: str) -> None:
    from matplotlib.patheffects import withStroke

    axes.annotate(
        text, (at, line), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8.5, color=DARK, zorder=5,
        path_effects=[withStroke(linewidth=2, foreground="white")],
    )  # fmt: skip


def shapley(explanation: Explanation, found: Sequence[Attribution], stem: str, title: str) -> Plot:
    """One panel per quantity, one bar per factor: Shapley values in native units."""
    lines = [
        [a.metric, a.place, a.unit, name, e.value, e.low, e.high, look.share_of(a, e), e.verdict, e.needed]
        for a in found for name, e in a.shapley.items()
    ]  # fmt: skip
    return Plot(
        stem=stem, alt=f"{title}: " + ", ".join(look.metric_of(a.metric).label for a in found),
        draw=lambda width: _shapley(explanation, found, title, width),
        headings=("metric", "place", "unit", "factor", "value", "low", "high", "share", "verdict", "needed"), lines=lines,
    )  # fmt: skip


def _shapley(explanation: Explanation, found: Sequence[Attribution], title: str, width: float) -> Figure:
    # a quantity may have been given to coarser factors than the others
    given = {name for a in found for name in a.shapley}
    names = [name for name in (*explanation.factors, *sorted(given - set(explanation.factors))) if name in given]
    labels = [look.plain(name) for name in names]
    figure, axes = panels(width, len(found), [0.9 + row_height(labels, 0.3) * len(names)] * len(found), share_y=True)
    shown = 0
    for panel, attribution in zip(axes, found, strict=True):
        shown += _shapley_panel(panel, explanation, attribution, names)
        named_lines(panel, labels)
    heading(figure, title)
    note = "Hatched: not settled. Whiskers: 95 % intervals where a quantity was measured or estimated; counts are exact."
    below(figure, shown, len(names) * len(found), "effects", note)
    return figure


def _shapley_panel(axes: Axes, explanation: Explanation, attribution: Attribution, names: Sequence[str]) -> int:
    """Draws the factors that have an effect here; returns how many those are."""
    metric, colours = look.metric_of(attribution.metric), look.factor_colours(explanation)
    effects = [
        (line, attribution.shapley[name], colours.get(name, "#777777"))
        for line, name in enumerate(names)
        if name in attribution.shapley
    ]
    for line, effect, colour in effects:
        bar(axes, line, 0, effect.value * metric.scale, colour, not effect.sure)
        if effect.low is not None and effect.high is not None:
            whisker(axes, line, effect.low * metric.scale, effect.high * metric.scale)
    ends = [v * metric.scale for _, e, _ in effects for v in (0.0, e.value, e.low, e.high) if v is not None] or [0.0]
    span = (max(ends) - min(ends)) or 1.0
    for line, effect, _ in effects:
        _signed_text(axes, line, effect, metric.scale, look.signed(effect.value, metric))
    axes.axvline(0, color="#444444", linewidth=0.9, zorder=1)
    room = 0.7 if axes.get_figure(root=True).get_figwidth() >= SIDE_BY_SIDE else 0.36  # type: ignore[union-attr]
    right = max(e.value for _, e, _ in effects) if effects else 0.0
    axes.set_xlim(min(ends) - (room if min(ends) < 0 else 0.04) * span, max(ends) + (room if right > 0 else 0.12) * span)
    axes.locator_params(axis="x", nbins=4)
    where = f"\n{look.place_text(attribution.place)}" if attribution.place else ""
    axes.set_title(f"{metric.label}{f' [{metric.unit}]' if metric.unit else ''}{where}", fontsize=9.5, loc="left")
    return len(effects)


def _signed_text(axes: Axes, line: int, effect: Effect, scale: float, text: str) -> None:
    """The value beyond the bar's end, whichever side that is."""
    ends = [v * scale for v in (effect.value, effect.low, effect.high) if v is not None]
    right = effect.value >= 0
    at = max(*ends, 0.0) if right else min(*ends, 0.0)
    axes.annotate(
        text,
        (at, line),
        xytext=(4 if right else -4, 0),
        textcoords="offset points",
        va="center",
        ha="left" if right else "right",
        fontsize=8,
    )
