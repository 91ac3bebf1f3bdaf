"""Plots of who made the difference: the waterfall of the ratio and Shapley bars; and what all plots of a page share. No torch.

Every plot has one shape, legible on a phone; a page places them beside each other where there is room. Every plot has its numbers
as lines of a CSV file, and says below itself how many of how many points it shows.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablation.record.attribution import Attribution, Effect
from ablation.record.explanation import Explanation
from ablation.report.explain import style
from ablation.report.kit import plot_style
from ablation.report.kit.numbers import times
from ablation.report.kit.page import Picture
from ablation.report.kit.tables import write_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# the folder of a page's plots
PLOTS = "plots"
DARK, PALE = "#222222", "#BBBBBB"
NAME_POINTS, WRAP = 8.5, 22
# of a name beside its line
LINE_INCHES = 1.2 * NAME_POINTS / 72


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One picture to be drawn, and its numbers."""

    # file name without its ending
    stem: str
    alt: str
    # from the width in inches
    draw: Callable[[float], Figure]
    headings: Sequence[str]
    # for the CSV file beside it; None is an empty cell
    lines: Sequence[Sequence[Any]]

    @property
    def block(self) -> Picture:
        """Its picture, as a block of a page."""
        return Picture(f"{PLOTS}/{self.stem}.svg", self.alt, f"{PLOTS}/{self.stem}.csv")


def draw_plots(plots: Iterable[Plot], folder: Path, *, rounded: bool = False) -> list[Path]:
    """STEM.svg and STEM.csv of each plot, into `folder` (made if need be), without those of an earlier page; the files written.

    `rounded`: to two decimals of a point, which is enough for lines; texts stay as they are.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    folder.mkdir(parents=True, exist_ok=True)
    for path in (*folder.glob("*.svg"), *folder.glob("*.csv")):
        path.unlink()
    files = []
    with plot_style.styled():
        for plot in plots:
            svg, path = io.StringIO(), folder / f"{plot.stem}.svg"
            FigureCanvasSVG(plot.draw(plot_style.WIDTH)).print_svg(svg, metadata={"Date": None, "Creator": None})
            text = svg.getvalue()
            if rounded:
                text = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), text)
            path.write_text(text, encoding="utf-8")
            files += [path, write_lines(folder / f"{plot.stem}.csv", plot.headings, plot.lines)]
    return files


def values(item: object, fields: Iterable[str]) -> list[Any]:
    """These fields of a dataclass, as cells of a line."""
    return [getattr(item, field) for field in fields]


def below(figure: Figure, shown: int, possible: int, of: str, *notes: str) -> None:
    """The caption: '8 of 8 factors.' and the notes, wrapped to the figure's width."""
    text = " ".join([f"Shows {shown} of {possible} {of}.", *(note for note in notes if note)])
    lines = textwrap.wrap(text, int(figure.get_figwidth() * 16))
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=8, color="#555555")


def heading(figure: Figure, text: str) -> None:
    """A title over the whole figure, at its left edge."""
    lines = textwrap.wrap(text, int(figure.get_figwidth() * 10.5))
    figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=11, fontweight="bold")


def panels(width: float, heights: Sequence[float]) -> tuple[Figure, list[Axes]]:
    """Panels below each other; heights in inches, each panel's own."""
    figure = plot_style.new_figure(width, sum(heights) + 0.35 * len(heights) + 0.9)
    return figure, list(figure.subplots(len(heights), 1, squeeze=False, gridspec_kw={"height_ratios": list(heights)}).flat)


def row_height(names: Sequence[str], least: float, wrap: int = WRAP) -> float:
    """Inches between lines that are named so, the least at least: enough that no name runs into the next."""
    return max([least, *(LINE_INCHES * (len(textwrap.wrap(name, wrap)) + 0.3) for name in names)])


def named_lines(axes: Axes, names: Sequence[str], wrap: int = WRAP) -> None:
    """Names down the y axis, the first at the top."""
    axes.set_yticks(range(len(names)), [textwrap.fill(name, wrap) for name in names], fontsize=NAME_POINTS)
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.grid(visible=False, axis="y")


def log_axis(axes: Axes, which: str, low: float, high: float, mark: str = "") -> None:
    """A logarithmic axis between two values with plain numbers on it, after a mark such as '×'."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)
    span = high / low
    digits = (1, 2, 5) if span > 5 else (1, 1.5, 2, 3, 4, 5, 7) if span > 1.8 else tuple(d / 10 for d in range(8, 16))
    ticks = sorted({d * 10.0**p for p in range(-6, 7) for d in (digits if span <= 200 else (1,))})
    axis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{mark}{value:g}"))


def bar(axes: Axes, line: float, start: float, end: float, colour: Any, weak: bool = False, height: float = 0.62) -> None:
    """A horizontal bar between two values; pale and hatched where it is not settled."""
    looks: dict[str, Any] = {"facecolor": "white", "hatch": "/////"} if weak else {"facecolor": colour}
    axes.barh(line, end - start, left=start, height=height, edgecolor=colour, linewidth=1.0, zorder=2, **looks)


def whisker(axes: Axes, line: float, low: float | None, high: float | None) -> None:
    """A horizontal interval with ends, readable on any bar; nothing where there is none."""
    from matplotlib.patheffects import withStroke

    if low is None or high is None:
        return
    effects = [withStroke(linewidth=3, foreground="white")]
    axes.errorbar((low + high) / 2, line, xerr=(high - low) / 2, fmt="none", ecolor=DARK, elinewidth=1.2, capsize=2.5, zorder=3)
    axes.plot([low, high], [line, line], color=DARK, linewidth=1.2, zorder=3, path_effects=effects)


def beside(axes: Axes, line: float, at: float, text: str, *, left: bool = False, size: float = 8.5, gap: int = 5) -> None:
    """Text next to a bar's or a point's end."""
    side, offset = ("right", -gap) if left else ("left", gap)
    axes.annotate(
        text, (at, line), xytext=(offset, 0), textcoords="offset points", va="center", ha=side, fontsize=size, color=DARK,
        zorder=5, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.3},
    )  # fmt: skip


def waterfall(explanation: Explanation, attribution: Attribution) -> Plot:
    """The ratio as a product: from the first network at ×1, each factor's multiplication, to the second."""
    order = style.ranked(attribution.shapley)
    lines = [
        [
            name, *explanation.factors.get(name, ("", "")), *_ratios(e.value, e.low, e.high), style.share_of(attribution, e),
            e.verdict, e.needed,
        ]
        for name, e in order
    ]  # fmt: skip
    residual, whole = _ratios(attribution.residual, attribution.end - attribution.start)
    lines += [["residual", "", "", residual, None, None, None, "", None], ["whole", "", "", whole, None, None, 1, "", None]]
    steps = ", ".join(f"{style.plain(n)} {times(math.exp(e.value))}" for n, e in order)
    return Plot(
        stem=f"waterfall_{style.stem_of(attribution.place)}",
        alt=f"Waterfall of the latency ratio on {style.place_text(attribution.place)}: {steps}",
        draw=lambda width: _waterfall(explanation, attribution, order, width),
        headings=("factor", "from", "to", "times", "low", "high", "share_of_logarithm", "verdict", "needed"), lines=lines,
    )  # fmt: skip


def _ratios(*logs: float | None) -> list[float | None]:
    return [None if log is None else math.exp(log) for log in logs]


def _waterfall(explanation: Explanation, attribution: Attribution, order: Sequence[tuple[str, Effect]], width: float) -> Figure:
    figure = plot_style.new_figure(width, 1.7 + 0.36 * (len(order) + 2))
    axes = figure.subplots()
    named_lines(axes, [explanation.first, *(style.plain(name) for name, _ in order), explanation.second])
    now, ends = _steps(axes, explanation, order)
    last, whole = len(order) + 1, attribution.end - attribution.start
    axes.plot([math.exp(now)] * 2, [last - 1, last], color=PALE, linewidth=0.8, zorder=1)
    for line, log, colour, text in ((0, 0.0, style.FIRST, "×1"), (last, whole, style.SECOND, times(math.exp(whole)))):
        axes.plot(math.exp(log), line, "o", color=colour, markersize=8)
        beside(axes, line, math.exp(log), text, gap=8)
    low, high = min(ends), max([*ends, whole])
    log_axis(axes, "x", math.exp(low - 0.1 * (high - low)), math.exp(high + 0.5 * (high - low)), "×")
    axes.set_xlabel(f"latency relative to {explanation.first}")
    heading(figure, f"What made the ratio, {style.place_text(attribution.place)}")
    whiskers = "whiskers: 95 % intervals" if any(e.low is not None for _, e in order) else "no intervals"
    residual = times(math.exp(attribution.residual)) if abs(attribution.residual) > 1e-9 else "0"
    below(
        figure, len(order), len(explanation.factors), "factors",
        f"{attribution.num_variants} of {attribution.num_possible} combinations measured.",
        f"Bars: Shapley values of the logarithm, {attribution.kind}, which multiply; {whiskers}. Hatched: not settled.",
        f"Residual {residual}.",
    )  # fmt: skip
    return figure


def _steps(axes: Axes, explanation: Explanation, order: Sequence[tuple[str, Effect]]) -> tuple[float, list[float]]:
    """One bar for each factor, from the product so far; the whole product, and all that was drawn, as logarithms."""
    colours, now, ends = style.factor_colours(explanation), 0.0, [0.0]
    for line, (name, effect) in enumerate(order, start=1):
        then = now + effect.value
        axes.plot([math.exp(now)] * 2, [line - 1, line], color=PALE, linewidth=0.8, zorder=1)
        bar(axes, line, math.exp(now), math.exp(then), colours.get(name, plot_style.NEUTRAL), not effect.sure)
        spread = [now + end for end in (effect.low, effect.high) if end is not None]
        if len(spread) == 2:
            whisker(axes, line, math.exp(spread[0]), math.exp(spread[1]))
        beside(axes, line, math.exp(max(now, then, *spread[1:])), times(math.exp(effect.value)))
        ends += [then, *spread]
        now = then
    return now, ends


def shapley(explanation: Explanation, attributions: Sequence[Attribution], stem: str, title: str) -> Plot:
    """One panel per quantity, one bar per factor: Shapley values in native units."""
    lines = [
        [a.metric, a.place, a.unit, name, e.value, e.low, e.high, style.share_of(a, e), e.verdict, e.needed]
        for a in attributions for name, e in a.shapley.items()
    ]  # fmt: skip
    return Plot(
        stem=stem, alt=f"{title}: " + ", ".join(style.metric_of(a).label for a in attributions),
        draw=lambda width: _shapley(explanation, attributions, title, width),
        headings=("metric", "place", "unit", "factor", "value", "low", "high", "share", "verdict", "needed"), lines=lines,
    )  # fmt: skip


def _shapley(explanation: Explanation, attributions: Sequence[Attribution], title: str, width: float) -> Figure:
    # a quantity may have been given to coarser factors than the others
    given = {name for a in attributions for name in a.shapley}
    names = [name for name in (*explanation.factors, *sorted(given - set(explanation.factors))) if name in given]
    labels = [style.plain(name) for name in names]
    figure, axes = panels(width, [0.5 + row_height(labels, 0.26) * len(names)] * len(attributions))
    shown = 0
    for panel, attribution in zip(axes, attributions, strict=True):
        named_lines(panel, labels)
        shown += _shapley_panel(panel, explanation, attribution, names)
    heading(figure, title)
    note = "Hatched: not settled. Whiskers: 95 % intervals where a quantity was measured or estimated; counts are exact."
    below(figure, shown, len(names) * len(attributions), "effects", note)
    return figure


def _shapley_panel(axes: Axes, explanation: Explanation, attribution: Attribution, names: Sequence[str]) -> int:
    """Draws the factors that have an effect here; returns how many those are."""
    metric, colours = style.metric_of(attribution), style.factor_colours(explanation)
    effects = {line: (name, attribution.shapley[name]) for line, name in enumerate(names) if name in attribution.shapley}
    drawn = [0.0]
    for line, (name, effect) in effects.items():
        value, *ends = (v * metric.scale for v in (effect.value, effect.low, effect.high) if v is not None)
        bar(axes, line, 0, value, colours.get(name, "#777777"), not effect.sure)
        if len(ends) == 2:
            whisker(axes, line, *ends)
        right, text = effect.value >= 0, style.signed(effect.value, metric)
        beside(axes, line, (max if right else min)(0.0, value, *ends), text, left=not right, size=8)
        drawn += [value, *ends]
    axes.axvline(0, color="#444444", linewidth=0.9, zorder=1)
    low, high, span = min(drawn), max(drawn), (max(drawn) - min(drawn)) or 1.0
    rising = any(effect.value > 0 for _, effect in effects.values())
    axes.set_xlim(low - (0.36 if low < 0 else 0.04) * span, high + (0.36 if rising else 0.12) * span)
    axes.locator_params(axis="x", nbins=4)
    place = f"\n{style.place_text(attribution.place)}" if attribution.place else ""
    axes.set_title(f"{metric.label}{f' [{metric.unit}]' if metric.unit else ''}{place}", fontsize=9.5, loc="left")
    return len(effects)
