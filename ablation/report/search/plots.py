"""Plots of how a search went: everything that was trained, the growth of the front, the losses of the space. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ablation.record.search import STOPPED, Candidate, Growth, LossDistribution, SearchResult
from ablation.record.search_confirmed import LATENCY, PARAMS
from ablation.record.trial import COMPLETE
from ablation.report.explain.plots import DARK, Plot, below, heading
from ablation.report.explain.style import stem_of
from ablation.report.kit import plot_style
from ablation.report.kit.numbers import capital, count
from ablation.report.search.axes import Axis, finite
from ablation.report.search.networks import front, of_state, winner_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FRONT, WINNER, GREY = plot_style.BETTER, plot_style.WORSE, plot_style.NEUTRAL
# of the spread of the better three quarters, above which a loss is not drawn
TOO_HIGH = 2.5
# share of the width beyond which there is no room for a name
RIGHT = 0.7
# role -> how it is drawn
LOOKS: dict[str, dict[str, Any]] = {
    "trained to the end": {"marker": "o", "color": GREY, "markersize": 4.5, "alpha": 0.75},
    "on the front": {"marker": "o", "color": FRONT, "markersize": 6},
    "stopped early": {"marker": "x", "color": GREY, "markersize": 4.5},
    "reference": {"marker": "D", "color": DARK, "markersize": 7},
    "chosen": {"marker": "*", "color": WINNER, "markersize": 13},
    "for comparison": {"marker": "s", "color": "white", "markeredgecolor": DARK, "markersize": 6.5},
}

# roles whose networks are named
NAMED = ("reference", "chosen", "for comparison")


def front_plot(result: SearchResult, axis: Axis) -> Plot | None:
    """Loss against one cost, everything that was trained; None where no proposal has both."""
    every = [(role, c, _cost(axis, c), _shown(result, c)) for role, c in _roles(result)]
    points = [(role, c, x, y) for role, c, x, y in every if x is not None and y is not None]
    if all(c.number is None for _, c, _, _ in points):
        return None
    stem = "front_" + (f"latency_{stem_of(axis.place)}" if axis.place else axis.metric)
    lines = [[role, c.number, c.label, c.state, c.rung, c.params, x, y] for role, c, x, y in points]
    about = ("role", "number", "network", "state", "stopped_after_epochs", "params")
    return Plot(
        stem=stem, alt=f"{capital(result.metric.label)} against {axis.label} of {count(len(points), 'network')}",
        draw=lambda width: _front(result, axis, points, width),
        headings=(*about, axis.metric, result.metric.noun), lines=lines,
    )  # fmt: skip


def _shown(result: SearchResult, candidate: Candidate) -> float | None:
    """What a network was trained to, in the unit in which it is shown."""
    value = finite(candidate.best_loss)
    return None if value is None else value * result.metric.scale


def _roles(result: SearchResult) -> list[tuple[str, Candidate]]:
    """Everything with a loss, in the order in which it is drawn."""
    ahead, winner = front(result), winner_of(result)
    roles = [("stopped early", c) for c in of_state(result, STOPPED) if c != winner]
    complete = [c for c in of_state(result, COMPLETE) if c != winner]
    roles += [("trained to the end", c) for c in complete if c not in ahead]
    roles += [("on the front", c) for c in complete if c in ahead]
    roles += [("for comparison", c) for c in result.others]
    return [*roles, ("reference", result.reference), *([("chosen", winner)] if winner else [])]


def _cost(axis: Axis, candidate: Candidate) -> float | None:
    """The measured cost, a latency that was not measured as predicted."""
    value = axis.searched(candidate)
    if value is None and axis.place in candidate.latency:
        value = finite(candidate.latency[axis.place].predicted_ms)
    return value / 1e6 if value is not None and axis.metric == PARAMS else value


def _front(result: SearchResult, axis: Axis, points: Sequence[tuple[str, Candidate, float, float]], width: float) -> Figure:
    figure = plot_style.new_figure(width, 4.6)
    axes = figure.subplots()
    metric = result.metric
    ceiling = _ceiling([(role, metric.lowest_best(y)) for role, _, _, y in points])
    drawn = [point for point in points if metric.lowest_best(point[3]) <= ceiling]
    for role in LOOKS:
        xs, ys = [x for r, _, x, _ in drawn if r == role], [y for r, _, _, y in drawn if r == role]
        if xs:
            axes.plot(xs, ys, linestyle="", label=role, zorder=4 if role in NAMED else 2, **LOOKS[role])
    plot_style.scale_axis(axes, "x", [x for _, _, x, _ in drawn])
    notes = _limit_line(result, axis, axes)
    axes.margins(0.09, 0.1)
    axes.autoscale_view()
    _names(axes, drawn)
    axes.set_xlabel("parameters [M]" if axis.metric == PARAMS else f"{axis.label} [ms]")
    axes.set_ylabel(_label(result))
    axes.legend(loc="best", framealpha=0.85, fontsize=7.5, handletextpad=0.3, borderpad=0.3)
    heading(figure, f"{capital(metric.noun)} against {axis.label}")
    high = len(points) - len(drawn)
    end = f"{'above' if metric.lower_is_better else 'below'} {metric.lowest_best(ceiling):.3g}"
    notes += [f"{high} with {metric.noun} {end} are not drawn."] if high else []
    notes += [f"On the front: no other network is better in {metric.noun}, latency and parameters at once."]
    known = sum(1 for _, c in _roles(result))
    below(figure, len(drawn), known, "networks that were trained", *notes)
    return figure


def _ceiling(losses: Sequence[tuple[str, float]]) -> float:
    """The highest loss that is drawn: a few that diverged must not hide the rest; reference and winner always are.

    Of what is better where it is higher, negatives.
    """
    values = np.array([y for _, y in losses])
    low, quarter = float(values.min()), float(np.quantile(values, 0.75))
    kept = [y for role, y in losses if role in ("reference", "chosen", "on the front")]
    return max([quarter + TOO_HIGH * (quarter - low), *kept]) if quarter > low else float(values.max())


def _label(result: SearchResult) -> str:
    """The metric with its unit, for an axis."""
    return result.metric.label + (f" [{result.metric.unit}]" if result.metric.unit else "")


def _limit_line(result: SearchResult, axis: Axis, axes: Axes) -> list[str]:
    """The limit on this cost as a dashed line; which limits cannot be drawn here."""
    for limit in result.limits:
        if limit.metric == axis.metric and limit.place in ("", axis.place):
            value = limit.value / (1e6 if axis.metric == PARAMS else 1)
            axes.axvline(value, color=DARK, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
            axes.annotate("limit", (value, 1), xycoords=("data", "axes fraction"), xytext=(-2, -3), textcoords="offset points",
                          rotation=90, ha="right", va="top", fontsize=7.5, color=DARK)  # fmt: skip
            return [f"Dashed: the limit ({limit.text}), beyond which nothing is trained."]
    return []


def _names(axes: Axes, drawn: Sequence[tuple[str, Candidate, float, float]]) -> None:
    """Names of the reference, of networks for comparison, and of the one beside the reference."""
    for role, candidate, x, y in drawn:
        if role in NAMED:
            text = candidate.label if candidate.number is None else f"#{candidate.number}"
            # those at the right edge are named at their left
            left = axes.transAxes.inverted().transform(axes.transData.transform((x, y)))[0] > RIGHT
            text, offset = text if len(text) <= 18 else f"{text[:17]}…", (-7 if left else 7, 5)
            plot_style.label(axes, text, (x, y), offset, fontsize=8.5, color=DARK, ha="right" if left else "left")


def growth_plot(growth: Growth) -> Plot | None:
    """Hypervolume of the front over trainings, beside random proposals; None where nothing was trained."""
    if not growth.reached:
        return None
    columns = (growth.reached, growth.random, growth.random_low, growth.random_high)
    length = max(map(len, columns))
    lines = [[n + 1, *(finite(c[n]) if n < len(c) else None for c in columns)] for n in range(length)]
    return Plot(
        stem="growth", alt=f"Hypervolume of the front after each of {count(len(growth.reached), 'training')}",
        draw=lambda width: _growth(growth, width), lines=lines,
        headings=("trainings", "reached", "random", "random_low", "random_high"),
    )  # fmt: skip


def _growth(growth: Growth, width: float) -> Figure:
    figure = plot_style.new_figure(width, 3.4)
    axes = figure.subplots()
    ends = [np.arange(1, len(c) + 1) for c in (growth.reached, growth.random, growth.random_low)]
    if growth.random_low and len(growth.random_low) == len(growth.random_high):
        axes.fill_between(ends[2], growth.random_low, growth.random_high, color=plot_style.PALE, linewidth=0, step="post", zorder=1)
    if growth.random:
        axes.step(ends[1], growth.random, where="post", color=GREY, linewidth=1.4, linestyle=(0, (4, 2)), label="random proposals")
    axes.step(ends[0], growth.reached, where="post", color=FRONT, linewidth=2, label="this search", marker="o", markersize=2.5)
    axes.set_xlabel("trainings")
    axes.set_ylabel("hypervolume")
    axes.locator_params(axis="x", integer=True, nbins=6)
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower right", fontsize=8)
    heading(figure, "How the front grew")
    note = f"Random proposals: {growth.source}{'; grey: 95 % of them' if growth.random_low else ''}." if growth.random else ""
    without = "" if growth.random else "What random proposals would have reached was not estimated."
    below(figure, len(growth.reached), len(growth.reached), "trainings", note, without)
    return figure


def distribution_plot(result: SearchResult) -> Plot | None:
    """Share of networks with at most a loss, of the space as predicted and of those trained; None where there is neither.

    Of a metric of which higher is better: with at least a value.
    """
    trained = trained_losses(result)
    space = result.distribution
    if not trained and (space is None or not space.quantiles):
        return None
    most = "at most" if result.metric.lower_is_better else "at least"
    lines = [["space", share, loss] for share, loss in space.quantiles] if space else []
    lines += [["trained", (n + 1) / len(trained), loss] for n, loss in enumerate(trained)]
    return Plot(
        stem="distribution", alt=f"Share of networks whose {result.metric.label} is {most} a value",
        draw=lambda width: _distribution(result, space, trained, width), headings=("of", "share", result.metric.noun), lines=lines,
    )  # fmt: skip


def trained_losses(result: SearchResult) -> list[float]:
    """Losses of the networks trained to the end, or what else they were trained for, the best first."""
    values = (loss for c in of_state(result, COMPLETE) if (loss := finite(c.best_loss)) is not None)
    return sorted(values, key=result.metric.lowest_best)


def _distribution(result: SearchResult, space: LossDistribution | None, trained: Sequence[float], width: float) -> Figure:
    figure, metric = plot_style.new_figure(width, 3.7), result.metric
    axes, scale = figure.subplots(), metric.scale
    if space and space.quantiles:
        shares, losses = zip(*space.quantiles, strict=True)
        axes.plot(scale * np.array(losses), shares, color=GREY, linewidth=2, label=f"whole space, {space.num:,} (estimated)")
    if trained:
        steps = np.arange(1, len(trained) + 1) / len(trained)
        values, label = scale * np.array([trained[0], *trained]), f"trained, {len(trained):,}"
        axes.step(values, [0, *steps], where="post", color=FRONT, linewidth=1.8, label=label)
    reference = [loss for loss in (finite(result.reference.best_loss),) if loss is not None]
    for loss in reference:
        axes.axvline(scale * loss, color=DARK, linewidth=1, linestyle=(0, (4, 3)), label="reference")
    # the worst twentieth would squeeze the rest
    near = [loss for share, loss in space.quantiles if share <= 0.95] if space else []
    near = [scale * loss for loss in (*near, *trained[: max(1, math.ceil(0.95 * len(trained)))], *reference)]
    margin = 0.04 * (max(near) - min(near))
    if margin:
        ends = (min(near) - margin, max(near) + margin)
        axes.set_xlim(*(ends if metric.lower_is_better else ends[::-1]))  # the best at the left
    axes.set_ylim(0, 1.02)
    axes.set_xlabel(f"{_label(result)} {'at most' if metric.lower_is_better else 'at least'}")
    axes.set_ylabel("share of networks")
    axes.legend(loc="best", fontsize=7.5)
    heading(figure, "How good the networks of the space are")
    notes = [f"Whole space: {space.source}." if space else "What the networks of the whole space would reach was not estimated."]
    notes += ["The trained networks were chosen by the search, so they are no sample of the space."] if trained else []
    below(figure, len(trained), len(of_state(result, COMPLETE)), "networks trained to the end", *notes)
    return figure


def cost_axes(result: SearchResult, timed: Sequence[str]) -> list[Axis]:
    """The costs over which the front is drawn: latency at each place, and parameters."""
    return [*(Axis(LATENCY, place) for place in timed), Axis(PARAMS)]
