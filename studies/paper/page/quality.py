"""Plots of reconstruction quality: against parameters, by spatial frequency, and image by image. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ablation.record.trial import Metric
from ablation.report.explain.plots import DARK, Plot, below, heading
from ablation.stats import mean_estimate
from studies.paper.evidence.evidence import MODIFIED, ORIGINAL, Evidence, Trial
from studies.paper.page import look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AGAINST = ("ssim", "psnr", "l1", "delta_e")
BANDS = "analysis.quality.reporting.high_frequency_by_band"
REACH = 1.2  # heights of the arms' own range within which a reference is drawn at its place
NYQUIST = 0.5  # cycles per pixel


def quality_params(evidence: Evidence) -> Plot | None:
    """Quality against parameters: every arm, references as lines; None where no trial has a quality."""
    names = [name for name in AGAINST if look.arms_of(evidence, look.QUALITY[name].path)]
    arms = [arm for arm in look.arms_of(evidence, look.QUALITY["ssim"].path) if "params" in evidence.arms.get(arm, {})]
    if not names or not arms:
        return None
    lines: list[list[Any]] = []
    for name in names:
        for arm in arms:
            values = evidence.values(arm, look.QUALITY[name].path)
            lines += [[name, arm, evidence.arms[arm]["params"], seed, value] for seed, value in values.items()]
        lines += [[name, reference, None, "reference", value] for reference, value in _reference(evidence, name).items()]
    return Plot(
        stem="quality_params", alt=f"Quality against parameters of {len(arms)} arms, with references as lines",
        draw=lambda width: _quality_params(evidence, names, arms, width),
        headings=("metric", "arm", "params", "seed", "value"), lines=lines,
    )  # fmt: skip


def _reference(evidence: Evidence, name: str) -> dict[str, float]:
    """Reference -> its value of a metric, where it has one."""
    found = {reference: row.get(name) for reference, row in look.references(evidence).items()}
    return {reference: float(value) for reference, value in found.items() if value is not None}


def _quality_params(evidence: Evidence, names: Sequence[str], arms: Sequence[str], width: float) -> Figure:
    references = list(look.references(evidence))
    handles = look.arm_handles(arms) + _reference_handles(references)
    figure, panels, strip = look.grid(width, len(names), 2.15, legend_lines=look.legend_lines(len(handles), width, columns=3))
    for axes, name in zip(panels, names, strict=True):
        _against(axes, evidence, look.QUALITY[name], arms)
        _reference_lines(axes, _reference(evidence, name), references, look.QUALITY[name].digits)
    look.legend(strip, handles, width, columns=3)
    heading(figure, "Quality against parameters")
    count = look.counted(evidence, look.QUALITY["ssim"].path)
    note = "Small points: seeds; large: their mean, whiskers its 95 % interval. No axis starts at 0."
    below(figure, count.shown, count.possible, "trials", note, "References far off are named at the edge.")
    return figure


def _reference_lines(axes: Axes, values: dict[str, float], order: Sequence[str], digits: int) -> None:
    """References as lines; those far beyond the arms are named at the edge instead, so that the arms stay apart."""
    low, high = axes.get_ylim()
    near = {name: v for name, v in values.items() if low - REACH * (high - low) <= v <= high + REACH * (high - low)}
    for name, value in near.items():
        axes.axhline(value, color=DARK, linewidth=1.1, linestyle=_reference_line(order.index(name)), zorder=1)
    for edge, sign, beyond in ((0.03, "↓", lambda v: v < low), (0.97, "↑", lambda v: v > high)):
        far = [f"{name} {look.decimal(v, digits)} {sign}" for name, v in values.items() if name not in near and beyond(v)]
        if far:
            side = "bottom" if sign == "↓" else "top"
            axes.text(0.5, edge, "\n".join(far), transform=axes.transAxes, ha="center", va=side, fontsize=8, color="#555555")


def _reference_handles(names: Iterable[str]) -> list[Any]:
    """Legend entries of references."""
    from matplotlib.lines import Line2D

    return [Line2D([], [], color=DARK, linewidth=1.1, linestyle=_reference_line(n), label=name) for n, name in enumerate(names)]


def _reference_line(number: int) -> Any:
    return look.REFERENCE_LINES[number % len(look.REFERENCE_LINES)]


def _against(axes: Axes, evidence: Evidence, metric: Metric, arms: Sequence[str]) -> None:
    named = [arm for arm in arms if arm in look.LOOKS]
    for group in ([arm for arm in arms if arm not in named], *([arm] for arm in named)):
        _points(axes, evidence, metric, group)
    axes.margins(x=0.12, y=0.14)
    better = "lower is better" if metric.lower_is_better else "higher is better"
    axes.set_title(f"{metric.label}{f' [{metric.unit}]' if metric.unit else ''}, {better}", fontsize=9.5, loc="left")
    axes.set_xlabel("parameters [M]")


def _points(axes: Axes, evidence: Evidence, metric: Metric, group: Sequence[str]) -> None:
    """Arms that look alike: their seeds, their means and the intervals of these."""
    found = [(evidence.arms[a]["params"] * 1e-6, list(evidence.values(a, metric.path).values())) for a in group]
    held = [(x, values, mean_estimate(values)) for x, values in found if values]
    if not held:
        return
    colour, marker = look.look(group[0])
    spans = [(x, e.low, e.high) for x, _, e in held if e.low is not None]
    if spans:
        axes.vlines(*zip(*spans, strict=True), color=colour, linewidth=1.2, zorder=3)
    x, y = zip(*((x, value) for x, values, _ in held for value in values), strict=True)
    axes.scatter(x, y, s=9, color=colour, alpha=0.55, linewidths=0, zorder=2)
    x, y = zip(*((x, e.value) for x, _, e in held), strict=True)
    axes.scatter(x, y, s=46 if group[0] in look.LOOKS else 22, color=colour, marker=marker, zorder=4)


def frequency_bands(evidence: Evidence) -> Plot | None:
    """Power of the reconstruction over the original's in radial bands of spatial frequency; None where no trial has it."""
    arms = look.arms_of(evidence, BANDS)
    if not arms:
        return None
    lines: list[list[Any]] = []
    for arm in arms:
        for seed, trial in sorted(evidence.of(arm).items()):
            powers = trial.get(BANDS) or []
            lines += [[arm, seed, centre, power] for centre, power in zip(_centres(len(powers)), powers, strict=True)]
    for reference, powers in _reference_bands(evidence).items():
        lines += [[reference, "reference", centre, power] for centre, power in zip(_centres(len(powers)), powers, strict=True)]
    return Plot(
        stem="frequency_bands", alt="Power of reconstruction over original by spatial frequency",
        draw=lambda width: _frequency(evidence, arms, width),
        headings=("arm", "seed", "cycles_per_pixel", "power_ratio"), lines=lines,
    )  # fmt: skip


def _reference_bands(evidence: Evidence) -> dict[str, list[float]]:
    held = {name: row.get("high_frequency_by_band") for name, row in look.references(evidence).items()}
    return {name: list(powers) for name, powers in held.items() if powers}


def _centres(num: int) -> list[float]:
    return [NYQUIST * (n + 0.5) / num for n in range(num)]


def _frequency(evidence: Evidence, arms: Sequence[str], width: float) -> Figure:
    handles = look.arm_handles(arms, line=True) + _reference_handles(_reference_bands(evidence))
    figure, (axes,), strip = look.grid(width, 1, 2.7, legend_lines=look.legend_lines(len(handles), width, columns=3))
    for arm in sorted(arms, key=lambda arm: arm in look.LOOKS):
        rows = np.array([t.get(BANDS) for t in evidence.of(arm).values() if t.get(BANDS)], dtype=float)
        colour, marker = look.look(arm)
        centres = _centres(rows.shape[1])
        axes.fill_between(centres, rows.min(0), rows.max(0), color=colour, alpha=0.15, linewidth=0)
        axes.plot(centres, rows.mean(0), color=colour, marker=marker, markersize=4.5, linewidth=1.5)
    for n, powers in enumerate(_reference_bands(evidence).values()):
        axes.plot(_centres(len(powers)), powers, color=DARK, linewidth=1.1, linestyle=_reference_line(n))
    axes.axhline(1, color="#444444", linewidth=0.9)
    axes.set_xlim(0, NYQUIST)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("spatial frequency [cycles per pixel]")
    axes.set_ylabel("power / original's")
    look.legend(strip, handles, width, columns=3)
    heading(figure, "Power of reconstructions by spatial frequency")
    count = look.counted(evidence, BANDS)
    note = "1: the original's power, whether its own detail or an artefact's. Lines: mean over seeds; bands: lowest to highest"
    below(figure, count.shown, count.possible, "trials", f"{note} seed. 0.5 cycles per pixel is the finest.")
    return figure


def paired_images(evidence: Evidence) -> dict[str, NDArray[np.float64]]:
    """Metric -> modified minus original for each test image, averaged over the seeds that both have; only metrics with any."""
    found = {}
    for name in AGAINST:
        pairs = [
            _values(b, name) - _values(a, name)
            for seed, a in sorted(evidence.of(ORIGINAL).items()) if (b := evidence.of(MODIFIED).get(seed)) is not None
            and len(_values(a, name)) == len(_values(b, name)) > 0
        ]  # fmt: skip
        if pairs and len({len(p) for p in pairs}) == 1:
            found[name] = np.mean(pairs, axis=0)
    return found


def _values(trial: Trial, name: str) -> NDArray[np.float64]:
    return np.array(trial.get(f"analysis.per_image.{name}") or [], dtype=np.float64)


def paired_differences(evidence: Evidence) -> Plot | None:
    """Histograms of modified minus original over test images; None where no seed has both models' values by image."""
    found = {name: values[np.isfinite(values)] for name, values in paired_images(evidence).items()}
    found = {name: values for name, values in found.items() if len(values)}
    if not found:
        return None
    lines = [[name, image, value] for name, values in paired_images(evidence).items() for image, value in enumerate(values)]
    return Plot(
        stem="paired_differences",
        alt="Modified minus original, image by image: " + ", ".join(_worse_text(name, values) for name, values in found.items()),
        draw=lambda width: _paired(evidence, found, width),
        headings=("metric", "test_image", "modified_minus_original"), lines=lines,
    )  # fmt: skip


def share_worse(name: str, values: NDArray[np.float64]) -> float:
    """Share of images whose reconstruction by modified is the worse one."""
    return float(np.mean(values > 0 if look.QUALITY[name].lower_is_better else values < 0))


def _worse_text(name: str, values: NDArray[np.float64]) -> str:
    return f"{look.QUALITY[name].label} worse in {100 * share_worse(name, values):.0f} % of {len(values)} images"


def _paired(evidence: Evidence, found: dict[str, NDArray[np.float64]], width: float) -> Figure:
    figure, panels, _ = look.grid(width, len(found), 1.95, columns=2)
    for axes, (name, values) in zip(panels, found.items(), strict=True):
        metric = look.QUALITY[name]
        axes.hist(values, bins=min(40, max(8, len(values) // 6)), color="#9DB7CF", edgecolor="white", linewidth=0.4)
        axes.axvline(0, color="#444444", linewidth=1.0)
        axes.axvline(float(values.mean()), color=look.LOOKS[MODIFIED][0], linewidth=1.8)
        worse = f"worse in {100 * share_worse(name, values):.0f} %"
        axes.set_title(f"{metric.label}{f' [{metric.unit}]' if metric.unit else ''}: {worse}", fontsize=9.5, loc="left")
        axes.set_ylabel("images")
        axes.locator_params(axis="both", nbins=5)
    heading(figure, "Modified minus original, image by image")
    path = "analysis.per_image"
    count = look.counted(evidence, path, look.PAIR)
    notes = f"{max(map(len, found.values()))} test images, each averaged over seeds. Black: no difference; red: the mean. " + (
        "'Worse' is a higher value of L1 and colour error, a lower one of SSIM and PSNR."
    )
    below(figure, count.shown, count.possible, "trials", notes)
    return figure
