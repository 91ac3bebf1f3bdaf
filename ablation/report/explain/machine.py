"""Plots of how the machine spends the time: by class of operation, and the roofline. No torch."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ablation.record.explanation import Decomposition, Explanation, Share
from ablation.report.explain import style
from ablation.report.explain.mechanism import Pair, segments
from ablation.report.explain.plots import DARK, Plot, below, beside, heading, log_axis, named_lines, values
from ablation.report.kit import plot_style
from ablation.report.kit.numbers import significant

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BOUNDS = ("num_ops", "macs", "bytes_moved", "bytes_bound_ms", "macs_bound_ms", "limited_by", "efficiency")
# a class of operation of one network
Named = tuple[str, Share]


def time_by_class(pair: Pair) -> Plot:
    """One stacked bar per network: classes of operation, launches and host, gaps, and what is unexplained."""
    lines: list[list[Any]] = []
    for d in pair:
        shares, empty = {share.name: share for share in d.by_class}, [None] * len(BOUNDS)
        for name, ms in segments(d).items():
            lines.append([d.name, d.place, name, ms, ms / d.total_ms, *(values(shares[name], BOUNDS) if name in shares else empty)])
        lines.append([d.name, d.place, "total", d.total_ms, 1.0, *empty])
    return Plot(
        stem=f"time_by_class_{style.stem_of(pair[0].place)}",
        alt="Time by class of operation: " + "; ".join(f"{d.name} {significant(d.total_ms)} ms" for d in pair),
        draw=lambda width: _stacked(pair, width), headings=("network", "place", "class", "ms", "share", *BOUNDS), lines=lines,
    )  # fmt: skip


def _stacked(pair: Pair, width: float) -> Figure:
    from matplotlib.patches import Patch

    names = list(dict.fromkeys(name for d in pair for name in segments(d)))
    figure = plot_style.new_figure(width, 2.75 + 0.2 * math.ceil(len(names) / 2))
    axes = figure.subplots()
    for line, d in enumerate(pair):
        _stack(axes, line, d, max(p.total_ms for p in pair) / width)
    named_lines(axes, [d.name for d in pair], 12)
    axes.set_xlim(right=max(sum(ms for ms in segments(d).values() if ms > 0) for d in pair) * 1.25)
    handles = [Patch(label=name, **_fill(name)) for name in names]
    figure.legend(
        handles=handles, loc="outside lower left", ncols=2, frameon=False, fontsize=8, handlelength=1.2, columnspacing=1.0
    )
    heading(figure, "Where the time goes")
    shown = sum(len(segments(d)) for d in pair)
    rest = "; ".join(f"{d.name}: {100 * d.explained:.1f} % explained, {significant(d.residual_ms)} ms not" for d in pair)
    note = f"Shows {shown} of {shown} shares. {rest}. Totals are uninstrumented; the profiler gives shares only."
    # with the axis, for a figure's supxlabel would lie on an outside legend
    text = [f"milliseconds, {style.place_text(pair[0].place)}", "", *textwrap.wrap(note, int((width - 0.75) * 17))]
    axes.set_xlabel("\n".join(text), fontsize=8, color="#555555", loc="left")
    return figure


def _fill(name: str) -> dict[str, Any]:
    hatch = "////" if name == style.RESIDUAL else ""
    return {"facecolor": style.class_colour(name), "edgecolor": "#555555", "linewidth": 0.5, "hatch": hatch}


def _stack(axes: Axes, line: int, d: Decomposition, ms_per_inch: float) -> None:
    """The shares from the left; what is negative (a residual can be) goes to the left of 0."""
    right = left = 0.0
    for name, ms in segments(d).items():
        start = right if ms > 0 else left + ms
        fill = _fill(name)
        axes.barh(line, abs(ms), left=start, height=0.62, zorder=2, **fill)
        if abs(ms) > 0.5 * ms_per_inch:
            light = sum(int(fill["facecolor"][n : n + 2], 16) for n in (1, 3, 5)) > 400
            colour = DARK if light else "white"
            axes.text(start + abs(ms) / 2, line, significant(ms), ha="center", va="center", fontsize=8, color=colour)
        right, left = (right + ms, left) if ms > 0 else (right, left + ms)
    beside(axes, line, right, f"{significant(d.total_ms)} ms")


def roofline(explanation: Explanation, pair: Pair) -> Plot:
    """Every class of both networks: intensity against attained rate under the machine's roof; without products: bandwidth."""
    shares = [(d.name, share) for d in pair for share in d.by_class]
    before, after = ("name", "ms", "macs", "bytes_moved"), ("bandwidth_gb_s", "limited_by", "efficiency")
    lines = [
        [name, *values(share, before), _intensity(share), _rate(share), _bandwidth(share), *values(share, after)]
        for name, share in shares
    ]
    return Plot(
        stem=f"roofline_{style.stem_of(pair[0].place)}",
        alt="Roofline: attained rate of every class of operation under this machine's limits",
        draw=lambda width: _roofline(explanation, shares, width), lines=lines,
        headings=(
            "network", "class", "ms", "macs", "bytes_moved", "macs_per_byte", "macs_per_s", "gb_per_s",
            "bound_gb_per_s", "nearest_bound", "efficiency",
        ),
    )  # fmt: skip


def bandwidths(shares: Iterable[Share]) -> tuple[float, float]:
    """The least and the largest bandwidth that the bounds of these shares were made with, GB/s; (1, 1) without any."""
    used = [bandwidth for share in shares if (bandwidth := share.bandwidth_gb_s)] or [1.0]
    return min(used), max(used)


def _intensity(share: Share) -> float | None:
    return share.macs / share.bytes_moved if share.bytes_moved else None


def _rate(share: Share) -> float | None:
    return share.macs / share.ms * 1e3 if share.ms > 0 else None


def _bandwidth(share: Share) -> float | None:
    return share.bytes_moved / share.ms / 1e6 if share.ms > 0 else None


def _roofline(explanation: Explanation, shares: Sequence[Named], width: float) -> Figure:
    drawn = [(n, s) for n, s in shares if s.ms > 0 and s.bytes_moved > 0]
    working, moving = [(n, s) for n, s in drawn if s.macs > 0], [(n, s) for n, s in drawn if not s.macs]
    classes = list(dict.fromkeys(s.name for _, s in sorted(moving, key=lambda item: -item[1].ms)))
    figure = plot_style.new_figure(width, 5.0 + 0.27 * len(classes))
    upper, lower = figure.subplots(2, 1, gridspec_kw={"height_ratios": [3.0, 0.6 + 0.27 * len(classes)]})
    _roof(upper, explanation, working)
    _strip(lower, explanation, moving, classes)
    heading(figure, "How far each class is from this machine's limits")
    left_out = ", ".join(f"{s.name} ({n})" for n, s in shares if (n, s) not in drawn)
    roof = "Beyond a limit: kept in caches, which a count of bytes does not see."
    below(
        figure, len(drawn), len(shares), "classes of both networks", f"Hollow: {explanation.first}; filled: {explanation.second}.",
        roof if explanation.calibration else "The machine was not calibrated: no roof.",
        f"Not drawn, having no time or no bytes: {left_out}." if left_out else "",
    )  # fmt: skip
    return figure


def _point(axes: Axes, explanation: Explanation, network: str, share: Share, x: float, y: float) -> None:
    """A class of the first network hollow, of the second filled."""
    colour, hollow = style.class_colour(share.name), network == explanation.first
    edge: dict[str, Any] = {"markeredgecolor": colour if hollow else "#444444", "markeredgewidth": 1.8 if hollow else 0.6}
    face, marker = "white" if hollow else colour, style.class_marker(share.name)
    axes.plot([x], [y], marker=marker, markerfacecolor=face, linestyle="", markersize=9, zorder=3, **edge)


def _roof(axes: Axes, explanation: Explanation, working: Sequence[Named]) -> None:
    """Classes that multiply, under min(bandwidth x intensity, rate)."""
    from matplotlib.lines import Line2D

    xs, ys = [_intensity(s) or 1.0 for _, s in working], [(_rate(s) or 0.0) / 1e9 for _, s in working]
    for (network, share), x, y in zip(working, xs, ys, strict=True):
        _point(axes, explanation, network, share, x, y)
    low, high = min(xs, default=1.0) / 3, max(xs, default=1.0) * 3
    if explanation.calibration is not None:
        rate, used = explanation.calibration.macs_per_s / 1e9, dict.fromkeys(bandwidths(share for _, share in working))
        ridges = [rate / bandwidth for bandwidth in used]
        low, high = min(low, min(ridges) / 3), max(high, max(ridges) * 3)
        for bandwidth, ridge in zip(used, ridges, strict=True):
            axes.plot([low, ridge, high], [low * bandwidth, rate, rate], color=DARK, linewidth=1.4, zorder=2)
        axes.annotate(f"{rate:.3g} G/s", (high, rate), xytext=(-2, 4), textcoords="offset points", ha="right", fontsize=8)
        span, middle = " to ".join(f"{b:.3g}" for b in sorted(used)), math.sqrt(low * min(ridges))
        at = (middle, middle * min(used))
        axes.annotate(f"{span} GB/s", at, xytext=(5, -3), textcoords="offset points", va="top", fontsize=8)
        ys.append(rate)
    log_axis(axes, "x", low, high)
    log_axis(axes, "y", min(ys, default=1.0) / 4, max(ys, default=1.0) * 3)
    axes.set_xlabel("multiply-accumulates per byte moved", fontsize=9)
    axes.set_ylabel("10⁹ multiply-accumulates a second", fontsize=9)
    names = dict.fromkeys(s.name for _, s in working)
    looks: list[dict[str, Any]] = [{"color": style.class_colour(n), "marker": style.class_marker(n), "label": n} for n in names]
    if looks:
        handles = [Line2D([], [], linestyle="", markersize=7, **each) for each in looks]
        axes.legend(handles=handles, fontsize=8, loc="lower right", framealpha=0.9, borderpad=0.3, labelspacing=0.3)


def _strip(axes: Axes, explanation: Explanation, moving: Sequence[Named], classes: Sequence[str]) -> None:
    """Classes that multiply nothing: bytes a second against the machine's bandwidth."""
    for network, share in moving:
        side = -0.12 if network == explanation.first else 0.12
        _point(axes, explanation, network, share, _bandwidth(share) or 0.0, classes.index(share.name) + side)
    named_lines(axes, classes or ["none"])
    used = bandwidths(share for _, share in moving) if explanation.calibration and moving else ()
    for bandwidth in dict.fromkeys(used):
        axes.axvline(bandwidth, color=DARK, linewidth=1.2, linestyle="--", zorder=1)
    every = [v for _, s in moving if (v := _bandwidth(s))] + list(used)
    if every:
        log_axis(axes, "x", min(every) / 2, max(every) * 2)
    axes.set_xlabel("GB/s, classes that multiply nothing", fontsize=9)
