"""Plots of how the machine spends the time: by class of operation, and the roofline. No torch."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ablation.record.explanation import Decomposition, Explanation, Share
from ablation.report.explain import style as look
from ablation.report.explain.mechanism import segments
from ablation.report.explain.plots import DARK, SIDE_BY_SIDE, Plot, below, heading, named_lines
from ablation.report.kit import plot_style as style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BOUNDS = ("num_ops", "macs", "bytes_moved", "bytes_bound_ms", "macs_bound_ms", "limited_by", "efficiency")
Pair = tuple[Decomposition, Decomposition]


def time_by_class(explanation: Explanation, pair: Pair) -> Plot:
    """One stacked bar per network: classes of operation, launches and host, gaps, and what is unexplained."""
    lines = []
    for d in pair:
        shares: Mapping[str, Share] = {share.name: share for share in d.by_class}
        for name, ms in segments(d).items():
            share = shares.get(name)
            lines.append([d.name, d.place, name, ms, ms / d.total_ms, *(getattr(share, b) if share else None for b in BOUNDS)])
        lines.append([d.name, d.place, "total", d.total_ms, 1.0, *([None] * len(BOUNDS))])
    return Plot(
        stem=f"time_by_class_{look.stem_of(pair[0].place)}",
        alt="Time by class of operation: " + "; ".join(f"{d.name} {look.number(d.total_ms)} ms" for d in pair),
        draw=lambda width: _stacked(explanation, pair, width),
        headings=("network", "place", "class", "ms", "share", *BOUNDS), lines=lines,
    )  # fmt: skip


def _stacked(explanation: Explanation, pair: Pair, width: float) -> Figure:
    from matplotlib.patches import Patch

    every = {name: max(segments(d).get(name, 0.0) for d in pair) for d in pair for name in segments(d)}
    columns = 3 if width >= SIDE_BY_SIDE else 2
    figure = style.new_figure(width, 2.75 + 0.2 * math.ceil(len(every) / columns))
    axes = figure.subplots()
    for line, d in enumerate(pair):
        _stack(axes, line, d, max(p.total_ms for p in pair) / width)
    named_lines(axes, [d.name for d in pair], 12)
    axes.set_xlim(right=max(sum(ms for ms in segments(d).values() if ms > 0) for d in pair) * 1.15)
    axes.set_xlabel(f"milliseconds, {look.place_text(pair[0].place)}")
    patches = [Patch(label=n, facecolor=look.class_colour(n), edgecolor="#555555", linewidth=0.5, hatch=_hatch(n)) for n in every]
    figure.legend(
        handles=patches, loc="outside lower left", ncols=columns, frameon=False, fontsize=8, handlelength=1.2, columnspacing=1.0
    )
    heading(figure, "Where the time goes")
    shown = sum(len(segments(d)) for d in pair)
    rest = "; ".join(f"{d.name}: {100 * d.explained:.1f} % explained, {look.number(d.residual_ms)} ms not" for d in pair)
    _note_above_legend(
        axes, figure, f"Shows {shown} of {shown} shares. {rest}. Totals are uninstrumented; the profiler gives shares only."
    )
    return figure


def _note_above_legend(axes: Axes, figure: Figure, text: str) -> None:
    """A figure's supxlabel would lie on an outside legend: the caption goes with the axis instead."""
    lines = textwrap.wrap(text, int((figure.get_figwidth() - 0.75) * 17))
    axes.set_xlabel(f"{axes.get_xlabel()}\n\n" + "\n".join(lines), fontsize=8, color="#555555", loc="left")


def _hatch(name: str) -> str:
    return "////" if name == look.RESIDUAL else ""


def _stack(axes: Axes, line: int, d: Decomposition, ms_per_inch: float) -> None:
    """The shares from the left; what is negative (a residual can be) goes to the left of 0."""
    right = left = 0.0
    for name, ms in segments(d).items():
        start = right if ms > 0 else left + ms
        looks: dict[str, Any] = {"facecolor": look.class_colour(name), "edgecolor": "#555555", "hatch": _hatch(name)}
        axes.barh(line, abs(ms), left=start, height=0.62, linewidth=0.5, zorder=2, **looks)
        if abs(ms) > 0.5 * ms_per_inch:
            light = sum(int(looks["facecolor"][n : n + 2], 16) for n in (1, 3, 5)) > 400
            axes.text(
                start + abs(ms) / 2, line, look.number(ms), ha="center", va="center", fontsize=8, color=DARK if light else "white"
            )
        right, left = (right + ms, left) if ms > 0 else (right, left + ms)
    axes.annotate(
        f"{look.number(d.total_ms)} ms", (right, line), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8.5
    )


def roofline(explanation: Explanation, pair: Pair) -> Plot:
    """Every class of both networks: intensity against attained rate under the machine's roof; without products: bandwidth."""
    shares = [(d.name, share) for d in pair for share in d.by_class]
    lines = [
        [
            name,
            s.name,
            s.ms,
            s.macs,
            s.bytes_moved,
            _intensity(s),
            _rate(s),
            _bandwidth(s),
            s.bandwidth_gb_s,
            s.limited_by,
            s.efficiency,
        ]
        for name, s in shares
    ]
    return Plot(
        stem=f"roofline_{look.stem_of(pair[0].place)}",
        alt="Roofline: attained rate of every class of operation under this machine's limits",
        draw=lambda width: _roofline(explanation, shares, width),
        headings=(
            "network", "class", "ms", "macs", "bytes_moved", "macs_per_byte", "macs_per_s", "gb_per_s",
            "bound_gb_per_s", "nearest_bound", "efficiency",
        ),
        lines=lines,
    )  # fmt: skip


def bandwidths(shares: Iterable[Share]) -> tuple[float, float]:
    """The least and the largest bandwidth that the bounds of these shares were made with, GB/s; (1, 1) without any."""
    used = [bandwidth for share in shares if (bandwidth := share.bandwidth_gb_s)] or [1.0]
    return min(used), max(used)


def _span(used: list[float]) -> str:
    return " to ".join(f"{bandwidth:.3g}" for bandwidth in dict.fromkeys((min(used), max(used)))) + " GB/s"


def _intensity(share: Share) -> float | None:
    return share.macs / share.bytes_moved if share.bytes_moved else None


def _rate(share: Share) -> float | None:
    return share.macs / share.ms * 1e3 if share.ms > 0 else None


def _bandwidth(share: Share) -> float | None:
    return share.bytes_moved / share.ms / 1e6 if share.ms > 0 else None


def _roofline(explanation: Explanation, shares: Sequence[tuple[str, Share]], width: float) -> Figure:
    working = [(n, s) for n, s in shares if s.macs > 0 and s.ms > 0 and s.bytes_moved > 0]
    moving = [(n, s) for n, s in shares if not s.macs and s.ms > 0 and s.bytes_moved > 0]
    classes = list(dict.fromkeys(s.name for _, s in sorted(moving, key=lambda item: -item[1].ms)))
    figure = style.new_figure(width, 5.0 + 0.27 * len(classes))
    upper, lower = figure.subplots(2, 1, gridspec_kw={"height_ratios": [3.0, 0.6 + 0.27 * len(classes)]})
    _roof(upper, explanation, working)
    _strip(lower, explanation, moving, classes)
    heading(figure, "How far each class is from this machine's limits")
    left_out = [f"{s.name} ({n})" for n, s in shares if (n, s) not in working and (n, s) not in moving]
    roof = "" if explanation.calibration else "The machine was not calibrated: no roof."
    note = f"Not drawn, having no time or no bytes: {', '.join(left_out)}." if left_out else ""
    means = f"Hollow: {explanation.first}; filled: {explanation.second}."
    above = "Beyond a limit: kept in caches, which a count of bytes does not see." if explanation.calibration else ""
    below(figure, len(working) + len(moving), len(shares), "classes of both networks", means, roof, above, note)
    return figure


def _look(explanation: Explanation, network: str, share: Share) -> dict[str, Any]:
    colour = look.class_colour(share.name)
    face = "white" if network == explanation.first else colour
    edge = {
        "markeredgecolor": colour if network == explanation.first else "#444444",
        "markeredgewidth": 1.8 if face == "white" else 0.6,
    }
    return {"marker": look.class_marker(share.name), "markerfacecolor": face, "linestyle": "", "markersize": 9, **edge}


def _roof(axes: Axes, explanation: Explanation, working: Sequence[tuple[str, Share]]) -> None:
    """Classes that multiply, under min(bandwidth x intensity, rate)."""
    from matplotlib.lines import Line2D

    for network, share in working:
        axes.plot(_intensity(share), (_rate(share) or 0.0) / 1e9, zorder=3, **_look(explanation, network, share))  # type: ignore[arg-type]
    xs = [_intensity(s) or 1.0 for _, s in working] or [1.0]
    ys = [(_rate(s) or 0.0) / 1e9 for _, s in working]
    roof = explanation.calibration
    if roof is not None:
        rate, used = roof.macs_per_s / 1e9, dict.fromkeys(bandwidths(share for _, share in working))
        ridges = [rate / bandwidth for bandwidth in used]
        low, high = min([*xs, *ridges]) / 3, max([*xs, *ridges]) * 3
        axes.annotate(f"{rate:.3g} G/s", (high, rate), xytext=(-2, 4), textcoords="offset points", ha="right", fontsize=8)
        for bandwidth, ridge in zip(used, ridges, strict=True):
            axes.plot([low, ridge, high], [low * bandwidth, rate, rate], color=DARK, linewidth=1.4, zorder=2)
        bandwidth, middle = max(used), math.sqrt(low * min(ridges))
        at = {"xytext": (-4, 5), "textcoords": "offset points", "ha": "right", "fontsize": 8}
        axes.annotate(_span(list(used)), (middle, middle * bandwidth), **at)  # type: ignore[arg-type]
        ys.append(rate)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(min(ys or [1.0]) / 4, max(ys or [1.0]) * 3)
    axes.set_xlabel("multiply-accumulates per byte moved", fontsize=9)
    axes.set_ylabel("10⁹ multiply-accumulates a second", fontsize=9)
    names = list(dict.fromkeys(s.name for _, s in working))
    handles = [
        Line2D([], [], color=look.class_colour(n), marker=look.class_marker(n), linestyle="", markersize=7, label=n) for n in names
    ]
    if handles:
        axes.legend(handles=handles, fontsize=8, loc="lower right", frameon=True, framealpha=0.9, borderpad=0.3, labelspacing=0.3)


def _strip(axes: Axes, explanation: Explanation, moving: Sequence[tuple[str, Share]], classes: Sequence[str]) -> None:
    """Classes that multiply nothing: bytes a second against the machine's bandwidth."""
    for network, share in moving:
        side = -0.12 if network == explanation.first else 0.12
        axes.plot(_bandwidth(share), classes.index(share.name) + side, zorder=3, **_look(explanation, network, share))  # type: ignore[arg-type]
    named_lines(axes, classes or ["none"])
    axes.set_xscale("log")
    roof = explanation.calibration
    used = bandwidths(share for _, share in moving) if roof is not None and moving else ()
    for bandwidth in dict.fromkeys(used):
        axes.axvline(bandwidth, color=DARK, linewidth=1.2, linestyle="--", zorder=1)
    every = [v for _, s in moving if (v := _bandwidth(s))] + list(used)
    if every:
        axes.set_xlim(min(every) / 2, max(every) * 2)
        style.scale_axis(axes, "x", every)
    axes.set_xlabel("gigabytes a second, classes that multiply nothing", fontsize=9)
