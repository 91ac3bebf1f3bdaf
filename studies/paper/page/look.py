"""Colours, number formats and the layout of panels that all of the paper page's plots and tables share. No torch.

One colour and one marker per arm, the same wherever it is drawn; references are grey lines. Colour is never alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ablation.record.trial import COMPLETE, Metric
from ablation.report.explain.plots import SIDE_BY_SIDE
from ablation.report.kit import plot_style as style
from ablation.report.kit.numbers import MINUS, decimal, joined
from studies.paper.evidence.evidence import MAIN_ARMS, MODIFIED, ORIGINAL, Evidence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["MINUS", "decimal", "joined"]
Arrays = Mapping[str, Mapping[int, Mapping[str, NDArray[Any]]]]  # arm -> seed -> what stands beside an analysis
PAIR = (ORIGINAL, MODIFIED)
NOT_MEASURED = "not measured"
LOOKS = dict(zip(MAIN_ARMS, (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D")), strict=True))
OTHER = (style.NEUTRAL, "x")  # every other arm
REFERENCE_LINES = ((0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)), (0, (8, 3)))

_Q = "analysis.quality.reporting"
QUALITY: dict[str, Metric] = {
    "ssim": Metric(path=f"{_Q}.ssim", label="SSIM", digits=4, lower_is_better=False),
    "ms_ssim": Metric(path=f"{_Q}.ms_ssim", label="MS-SSIM", digits=4, lower_is_better=False),
    "psnr": Metric(path=f"{_Q}.psnr", label="PSNR", unit="dB", digits=2, lower_is_better=False),
    "l1": Metric(path=f"{_Q}.l1", label="L1", digits=4),
    "delta_e": Metric(path=f"{_Q}.delta_e", label="colour error ΔE", digits=2),
    "l1_inside": Metric(path=f"{_Q}.l1_inside", label="L1 inside the face", digits=4),
    "l1_outside": Metric(path=f"{_Q}.l1_outside", label="L1 outside", digits=4),
    "high_frequency": Metric(path=f"{_Q}.high_frequency", label="high-frequency power", digits=3, lower_is_better=False),
    "high_frequency_matched": Metric(path=f"{_Q}.high_frequency_matched", label="matched detail", digits=3, lower_is_better=False),
    "lpips": Metric(path=f"{_Q}.lpips", label="LPIPS", digits=4),
}


@dataclass(frozen=True, kw_only=True)
class Counted:
    """How many trials a drawing shows, and of how many."""

    shown: int
    possible: int


def counted(evidence: Evidence, path: str, arms: Iterable[str] | None = None) -> Counted:
    """Complete trials that hold a value at this path, out of all trials of these arms (of all arms where none are given)."""
    wanted = None if arms is None else set(arms)
    trials = [t for t in evidence.trials if wanted is None or t.arm in wanted]
    return Counted(shown=sum(t.record.state == COMPLETE and t.get(path) is not None for t in trials), possible=len(trials))


def arms_of(evidence: Evidence, path: str = "record.seed") -> list[str]:
    """The arms with a complete trial that holds this path: the main ones first, the others as they come."""
    found = dict.fromkeys(t.arm for t in evidence.trials if t.record.state == COMPLETE and t.get(path) is not None)
    return sorted(found, key=lambda arm: MAIN_ARMS.index(arm) if arm in MAIN_ARMS else len(MAIN_ARMS))


def look(arm: str) -> tuple[str, str]:
    """Colour and marker of an arm."""
    return LOOKS.get(arm, OTHER)


def first_arrays(evidence: Evidence, arrays: Arrays, arm: str, name: str) -> tuple[int, Mapping[str, NDArray[Any]]] | None:
    """Seed and arrays of an arm's first complete trial that has the array `name`; None where none has."""
    for seed in sorted(evidence.of(arm)):
        held = arrays.get(arm, {}).get(seed, {})
        if name in held:
            return seed, held
    return None


def references(evidence: Evidence) -> dict[str, Mapping[str, Any]]:
    """Reference -> its metrics by the reporting protocol; entries that are no reference are passed over."""
    held = {name: row.get("quality") for name, row in evidence.references.items() if isinstance(row, Mapping)}
    return {name: row.get("reporting", row) for name, row in held.items() if isinstance(row, Mapping)}


def seeds_text(numbers: Sequence[int]) -> str:
    """'no seed', '1 seed' or '3 seeds'; 'n to m seeds' where arms differ."""
    if not numbers or max(numbers) == 0:
        return "no seed"
    low, high = min(numbers), max(numbers)
    return f"{low} to {high} seeds" if low != high else f"{high} seed{'' if high == 1 else 's'}"


def grid(
    width: float, num: int, height: float, *, columns: int = 2, narrow_columns: int = 1, legend_lines: int = 0, **how: Any
) -> tuple[Figure, list[Axes], Axes | None]:
    """Panels in columns on a wide figure and below each other on a narrow one, and a strip above them for a legend.

    `height` of a panel in inches. Keywords go to `subplots` (sharex, sharey).
    """
    num_columns = min(num, columns if width >= SIDE_BY_SIDE else narrow_columns)
    lines = math.ceil(num / num_columns)
    top = 0.21 * legend_lines
    figure = style.new_figure(width, lines * height + top + 0.95)
    whole = figure.add_gridspec(2 if legend_lines else 1, 1, height_ratios=[top, lines * height] if legend_lines else [1])
    inner = whole[-1].subgridspec(lines, num_columns)
    axes = list(inner.subplots(squeeze=False, **how).flat)
    for extra in axes[num:]:
        extra.set_axis_off()
    strip = figure.add_subplot(whole[0]) if legend_lines else None
    if strip is not None:
        strip.set_axis_off()
    return figure, axes[:num], strip


def legend(strip: Axes | None, handles: Sequence[Any], width: float, *, columns: int = 4) -> None:
    """The handles in the strip above the panels."""
    if strip is not None and handles:
        num = columns if width >= SIDE_BY_SIDE else 2
        strip.legend(
            handles=list(handles), loc="upper left", bbox_to_anchor=(0, 1), ncols=num, frameon=False, borderaxespad=0,
            fontsize=8.5, handlelength=1.9, columnspacing=1.2, labelspacing=0.35,
        )  # fmt: skip


def legend_lines(num: int, width: float, *, columns: int = 4) -> int:
    """Lines that a legend of this many entries needs."""
    return math.ceil(num / (columns if width >= SIDE_BY_SIDE else 2))


def arm_handles(arms: Sequence[str], *, line: bool = False) -> list[Any]:
    """Legend entries of arms: marker, or line with marker."""
    from matplotlib.lines import Line2D

    named = [arm for arm in arms if arm in LOOKS]
    rest = len(arms) - len(named)
    texts = [(arm, look(arm)) for arm in named] + ([(f"{rest} other arm{'s' * (rest > 1)}", OTHER)] if rest else [])
    return [
        Line2D([], [], color=colour, marker=marker, markersize=5.5, linestyle="-" if line else "", linewidth=1.5, label=text)
        for text, (colour, marker) in texts
    ]
