"""Plots of single networks: what each swap does, latency as predicted and as measured, the drawing of a network. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ablation.record.attribution import Effect
from ablation.record.search import SearchResult
from ablation.record.search_confirmed import LATENCY, LOSS, PARAMS, Stage, Undone
from ablation.report.explain.plots import (
    DARK,
    Plot,
    bar,
    below,
    beside,
    heading,
    log_axis,
    named_lines,
    panels,
    row_height,
    whisker,
)
from ablation.report.explain.style import plain
from ablation.report.kit import plot_style
from ablation.report.kit.numbers import count, signed
from ablation.report.search.axes import Axis, finite, place_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# a prediction this near is as near as the latency model aims at
NEAR = 0.1


def undone_plot(swaps: Sequence[Undone], trained: Axis) -> Plot | None:
    """What undoing each swap alone changes: loss, latency at each place, parameters; None where nothing is known."""
    measured = {axis: effects for axis in _undone_axes(swaps, trained) if (effects := _effects(axis, swaps))}
    if not measured:
        return None
    lines = [
        [swap.factor, swap.winner, swap.reference, axis.metric, axis.place, e.value, e.low, e.high, e.num, e.of, e.verdict]
        for axis, effects in measured.items() for swap, e in effects
    ]  # fmt: skip
    return Plot(
        stem="undone", alt="What undoing each choice alone changes: " + ", ".join(axis.label for axis in measured),
        draw=lambda width: _undone(swaps, measured, width), lines=lines,
        headings=("factor", "in_winner", "undone_to", "metric", "place", "change", "low", "high", "num", "of", "verdict"),
    )  # fmt: skip


def _undone_axes(swaps: Sequence[Undone], trained: Axis) -> list[Axis]:
    places = dict.fromkeys(place for swap in swaps for place in swap.latency)
    return [trained, *(Axis(LATENCY, place) for place in places), Axis(PARAMS)]


def _effects(axis: Axis, swaps: Sequence[Undone]) -> list[tuple[Undone, Effect]]:
    """The swaps of which the change on this axis is known."""
    effects = ((swap, effect_of(axis, swap)) for swap in swaps)
    return [(swap, effect) for swap, effect in effects if effect is not None and finite(effect.value) is not None]


def effect_of(axis: Axis, swap: Undone) -> Effect | None:
    """What undoing a swap changes on an axis; parameters are counted."""
    if axis.metric == LOSS:
        return swap.loss
    if axis.metric == LATENCY:
        return swap.latency.get(axis.place)
    return None if swap.params is None else Effect(value=swap.params)


def _undone(swaps: Sequence[Undone], measured: dict[Axis, list[tuple[Undone, Effect]]], width: float) -> Figure:
    names = [plain(swap.factor) for swap in swaps]
    figure, axes = panels(width, [0.5 + row_height(names, 0.26) * len(names)] * len(measured))
    for panel, (axis, effects) in zip(axes, measured.items(), strict=True):
        named_lines(panel, names)
        _undone_panel(panel, axis, [(swaps.index(swap), effect) for swap, effect in effects])
    heading(figure, "What undoing each choice alone changes")
    shown = sum(map(len, measured.values()))
    note = "Orange: undoing it is worse, so the choice pays there. Hatched: not settled. Whiskers: 95 % intervals."
    below(figure, shown, len(swaps) * len(measured), "changes", note)
    return figure


def _undone_panel(axes: Axes, axis: Axis, effects: Sequence[tuple[int, Effect]]) -> None:
    ratio = axis.metric == LATENCY
    base, scale = (1.0, 1.0) if ratio else (0.0, 1e-6 if axis.metric == PARAMS else axis.trained.scale)
    drawn = [base]
    for line, effect in effects:
        value, *ends = (end * scale for end in (effect.value, effect.low, effect.high) if end is not None)
        bar(axes, line, base, value, plot_style.WORSE if axis.is_ahead(base, value) else plot_style.BETTER, not effect.sure)
        if len(ends) == 2:
            whisker(axes, line, *ends)
        right = value >= base
        text = signed(value, 3) if axis.metric == PARAMS else axis.change(effect.value)
        beside(axes, line, (max if right else min)(base, value, *ends), text, left=not right, size=8)
        drawn += [value, *ends]
    axes.axvline(base, color="#444444", linewidth=0.9, zorder=1)
    low, high = ((math.log(end) if ratio else end) for end in (min(drawn), max(drawn)))
    span = high - low or 1.0
    low, high = low - (0.36 if min(drawn) < base else 0.06) * span, high + (0.36 if max(drawn) > base else 0.06) * span
    if ratio:
        log_axis(axes, "x", math.exp(low), math.exp(high), "×")
    else:
        axes.set_xlim(low, high)
        axes.locator_params(axis="x", nbins=4)
    change = f" [{axis.trained.unit_of_change}]" if axis.metric == LOSS and axis.trained.unit_of_change else ""
    unit = " [M]" if axis.metric == PARAMS else ", ratio" if ratio else change
    axes.set_title(f"{axis.label}{unit}", fontsize=9.5, loc="left")


def prediction_plot(result: SearchResult) -> Plot | None:
    """Latency as predicted against as measured, of every network that has both; None without one."""
    points = [
        (place, c, timing.predicted_ms, timing.ms)
        for c in result.proposals for place, timing in c.latency.items()
        if finite(timing.predicted_ms) and finite(timing.ms)
    ]  # fmt: skip
    pairs = [(place, x, y) for place, _, x, y in points if x and y]
    if not pairs:
        return None
    return Plot(
        stem="prediction", alt=f"Latency as predicted against as measured of {count(len(pairs), 'timing')}",
        draw=lambda width: _prediction(pairs, width), headings=("number", "network", "place", "predicted_ms", "measured_ms"),
        lines=[[c.number, c.label, place, x, y] for place, c, x, y in points],
    )  # fmt: skip


def _prediction(pairs: Sequence[tuple[str, float, float]], width: float) -> Figure:
    figure = plot_style.new_figure(width, 3.6)
    axes = figure.subplots()
    axes.axhspan(1 - NEAR, 1 + NEAR, color=plot_style.PALE, alpha=0.6, linewidth=0)
    axes.axhline(1, color=DARK, linewidth=0.8)
    places = list(dict.fromkeys(place for place, _, _ in pairs))
    for place, colour, marker in zip(places, plot_style.palette(len(places)), plot_style.MARKERS * len(places), strict=False):
        own = [(x, y / x) for p, x, y in pairs if p == place]
        looks = {"linestyle": "", "marker": marker, "markersize": 4, "alpha": 0.7, "color": colour}
        axes.plot([x for x, _ in own], [ratio for _, ratio in own], label=place_name(place), **looks)
    predicted, ratios = [x for _, x, _ in pairs], [y / x for _, x, y in pairs]
    log_axis(axes, "x", min(predicted) * 0.8, max(predicted) * 1.25)
    axes.set_ylim(min(0.8, *ratios) - 0.03, max(1.25, *ratios) + 0.03)
    axes.set_xlabel("predicted latency [ms]")
    axes.set_ylabel("measured over predicted")
    axes.legend(loc="best", fontsize=8)
    heading(figure, "Latency, measured against predicted")
    near = sum(1 for ratio in ratios if abs(1 / ratio - 1) <= NEAR)
    below(figure, len(pairs), len(pairs), "timings of proposed networks", f"{near} were predicted within 10 %; grey: ±10 %.")
    return figure


def drawing_plot(stages: Sequence[Stage], title: str, stem: str, widest: float) -> Plot:
    """A network from image to image: a bar as wide as the side of what leaves each stage, `widest` px filling the width."""
    return Plot(
        stem=stem, alt=f"{title}: " + ", ".join(f"{s.name} {shape_text(s.shape)}" for s in stages),
        draw=lambda width: _drawing(stages, title, widest, width), headings=("stage", "what_it_is", "shape", "params"),
        lines=[[s.name, s.text, shape_text(s.shape), s.params] for s in stages],
    )  # fmt: skip


def side(stage: Stage) -> float:
    """Pixels of a side of what leaves a stage; of a vector 1."""
    return float(stage.shape[-1]) if len(stage.shape) == 3 else 1.0


def shape_text(shape: Sequence[int]) -> str:
    """'64 x 36 x 36', or '128'."""
    return " × ".join(f"{n:,}" for n in shape) or "-"


def _drawing(stages: Sequence[Stage], title: str, widest: float, width: float) -> Figure:
    names = [stage.name for stage in stages]
    figure = plot_style.new_figure(width, 1.3 + row_height(names, 0.3) * len(names))
    axes = figure.subplots()
    named_lines(axes, names)
    most = max([stage.params for stage in stages] or [0]) or 1
    for line, stage in enumerate(stages):
        shade = 0.25 + 0.75 * stage.params / most if stage.params else 0.08
        axes.barh(line, side(stage), left=-side(stage) / 2, height=0.72, color=plot_style.BETTER, alpha=shade, zorder=2)
        axes.annotate(shape_text(stage.shape), (0.6 * widest, line), va="center", ha="left", fontsize=8, color=DARK)
    axes.set_xlim(-0.55 * widest, 1.25 * widest)
    axes.set_xticks([])
    axes.grid(visible=False)
    for edge in axes.spines.values():
        edge.set_visible(False)
    heading(figure, title)
    note = "Width: side in pixels. Darker: more parameters. Text: channels × height × width."
    below(figure, len(stages), len(stages), "stages", note)
    return figure
