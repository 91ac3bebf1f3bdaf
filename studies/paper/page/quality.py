"""Plots of reconstruction quality: against parameters, and image by image. No torch."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablation.report.explain.plots import Plot
from ablation.report.kit.numbers import decimal
from ablation.report.study.rows import axis_label
from studies.paper.evidence.evidence import MODIFIED, Evidence, Trial
from studies.paper.page import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AGAINST = ("ssim", "psnr", "l1", "delta_e")
# heights of the arms' own range within which a reference is drawn at its place
REACH = 1.2
# characters of a title above one of two panels
TITLE = 21
REFERENCE = "reference"
Images = dict[str, NDArray[np.float64]]


def quality_params(evidence: Evidence) -> Plot | None:
    """Quality against parameters: every arm, references as lines; None where no trial has a quality."""
    metrics = {name: style.QUALITY[name] for name in AGAINST if style.arms_of(evidence, style.QUALITY[name].path)}
    params = {arm: row["params"] for arm, row in evidence.arms.items() if "params" in row}
    arms = [arm for arm in style.arms_of(evidence, style.QUALITY["ssim"].path) if arm in params]
    lines: list[list[Any]] = []
    for name, metric in metrics.items():
        values = {arm: evidence.values(arm, metric.path) for arm in arms}
        lines += [[name, arm, params[arm], seed, value] for arm, row in values.items() for seed, value in row.items()]
        references = {n: row[name] for n, row in style.references(evidence).items() if row.get(name) is not None}
        lines += [[name, reference, None, REFERENCE, float(value)] for reference, value in references.items()]
    alt = f"Quality against parameters of {len(arms)} arms, with references as lines"
    plot = style.plot("quality_params", alt, "metric arm params seed value", lines, partial(_quality_params, evidence))
    return plot if arms else None


def _quality_params(evidence: Evidence, frame: pd.DataFrame) -> Figure:
    ours, references = frame[frame.seed != REFERENCE], frame[frame.seed == REFERENCE]
    arms, names = style.names_in(ours.arm), style.names_in(references.arm)
    note = "Small points: seeds; large: their mean, whiskers its 95 % interval. No axis starts at 0."
    metrics = style.names_in(frame.metric)
    figure, panels = style.panels(
        "Quality against parameters", len(metrics), 1.85,
        style.caption(evidence, style.QUALITY["ssim"].path, note, "References far off are named at the edge."),
        handles=style.arm_handles(arms) + style.reference_handles(names),
    )  # fmt: skip
    # the arms that look alike are drawn together
    groups = [[arm for arm in arms if arm not in style.MARKS], *([arm] for arm in arms if arm in style.MARKS)]
    for axes, name in zip(panels, metrics, strict=True):
        metric, values = style.QUALITY[name], ours[ours.metric == name]
        for group in filter(None, groups):
            rows = [(row.params.iloc[0] * 1e-6, list(row.value)) for _, row in values[values.arm.isin(group)].groupby("arm")]
            style.replicates(axes, rows, style.mark_of(group[0]), 46 if group[0] in style.MARKS else 22)
        axes.margins(x=0.12, y=0.14)
        better = "lower is better" if metric.lower_is_better else "higher is better"
        style.panel_title(axes, f"{axis_label(metric)}, {better}")
        axes.set_xlabel("parameters [M]")
        lines = references[references.metric == name].set_index("arm").value
        _reference_lines(axes, {str(n): float(v) for n, v in lines.items()}, names, metric.digits)
    return figure


def _reference_lines(axes: Axes, values: Mapping[str, float], order: Sequence[str], digits: int) -> None:
    """References as lines; those far beyond the arms are named at the edge instead, so that the arms stay apart."""
    low, high = axes.get_ylim()
    near = {name: v for name, v in values.items() if low - REACH * (high - low) <= v <= high + REACH * (high - low)}
    for name, value in near.items():
        axes.axhline(value, zorder=1, **style.reference_style(order.index(name)))
    for edge, side, sign, beyond in ((0.03, "bottom", "↓", lambda v: v < low), (0.97, "top", "↑", lambda v: v > high)):
        far = [f"{name} {decimal(v, digits)} {sign}" for name, v in values.items() if name not in near and beyond(v)]
        if far:
            axes.text(0.5, edge, "\n".join(far), transform=axes.transAxes, ha="center", va=side, fontsize=8, color="#555555")


def paired_images(evidence: Evidence) -> Images:
    """Metric -> modified minus original for each test image, averaged over the seeds that both have; only metrics with any."""
    first, second = (evidence.of(arm) for arm in style.PAIR)
    differences = {}
    for name in AGAINST:
        pairs = [(_by_image(first[seed], name), _by_image(second[seed], name)) for seed in sorted(first) if seed in second]
        rows = [b - a for a, b in pairs if len(a) == len(b) > 0]
        if rows and len({len(row) for row in rows}) == 1:
            differences[name] = np.mean(rows, axis=0)
    return differences


def _by_image(trial: Trial, name: str) -> NDArray[np.float64]:
    return np.array(trial.get(f"analysis.per_image.{name}") or [], dtype=np.float64)


def paired_differences(evidence: Evidence) -> Plot | None:
    """Histograms of modified minus original over test images; None where no seed has both models' values by image."""
    every = paired_images(evidence)
    shown = {name: finite for name, values in every.items() if len(finite := values[np.isfinite(values)])}
    texts = [
        f"{style.QUALITY[name].label} worse in {100 * share_worse(name, values):.0f} % of {len(values)} images"
        for name, values in shown.items()
    ]
    lines = [[name, image, value] for name, values in every.items() for image, value in enumerate(values)]
    alt = f"Modified minus original, image by image: {', '.join(texts)}"
    plot = style.plot("paired_differences", alt, "metric test_image modified_minus_original", lines, partial(_paired, evidence))
    return plot if shown else None


def share_worse(name: str, values: NDArray[np.float64]) -> float:
    """Share of images whose reconstruction by modified is the worse one."""
    return float(np.mean(values > 0 if style.QUALITY[name].lower_is_better else values < 0))


def _paired(evidence: Evidence, frame: pd.DataFrame) -> Figure:
    finite = frame[np.isfinite(frame.modified_minus_original)]
    shown = finite.groupby("metric", sort=False).modified_minus_original
    notes = (
        f"{shown.size().max()} test images, each averaged over seeds. Black: no difference; red: the mean.",
        "'Worse' is a higher value of L1 and colour error, a lower one of SSIM and PSNR.",
    )
    figure, panels = style.panels(
        "Modified minus original, image by image", len(shown), 1.95,
        style.caption(evidence, "analysis.per_image", *notes, arms=style.PAIR), columns=2,
    )  # fmt: skip
    for axes, (name, column) in zip(panels, shown, strict=True):
        metric, values = style.QUALITY[str(name)], column.to_numpy()
        axes.hist(values, bins=min(40, max(8, len(values) // 6)), color="#9DB7CF", edgecolor="white", linewidth=0.4)
        axes.axvline(0, color="#444444", linewidth=1.0)
        axes.axvline(float(values.mean()), color=style.MARKS[MODIFIED].colour, linewidth=1.8)
        worse = 100 * share_worse(str(name), values)
        style.panel_title(axes, textwrap.fill(f"{axis_label(metric)}: worse in {worse:.0f} %", TITLE))
        axes.set_ylabel("images")
        axes.locator_params(axis="both", nbins=4)
    return figure
