"""What all plots and tables of the paper's page share: arms and their marks, number formats, panels. No torch.

One colour and one marker per arm, the same wherever it is drawn; references are grey lines. Colour is never alone. Every plot is
drawn once, for the width of a phone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from numpy.typing import NDArray

from ablation.record.trial import COMPLETE, Metric
from ablation.report.explain.plots import DARK, Plot, below, heading
from ablation.report.kit.numbers import count, decimal
from ablation.report.kit.plot_style import NEUTRAL, WIDTH, new_figure
from ablation.stats import mean_estimate
from studies.paper.evidence.evidence import MAIN_ARMS, PAIR, Evidence, Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame, Series

# arm -> seed -> what stands beside an analysis
Arrays = Mapping[str, Mapping[int, Mapping[str, NDArray[Any]]]]
# of a plot: how many are shown, of how many, of what, and notes
Caption = tuple[int, int, str, *tuple[str, ...]]


class Mark(NamedTuple):
    """How an arm is drawn."""

    colour: str
    marker: str
    word: str


MARKS = {
    arm: Mark(*mark)
    for arm, *mark in zip(
        MAIN_ARMS, ("#0072B2", "#D55E00", "#009E73", "#CC79A7"), "os^D", ("blue", "red", "green", "pink"), strict=True
    )
}
OTHER = Mark(NEUTRAL, "x", "grey")
REFERENCE_LINES = ((0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)), (0, (8, 3)))
SMALL = 8.5

QUALITY = {
    name: Metric(path=f"analysis.quality.reporting.{name}", label=label, unit=unit, digits=digits, lower_is_better=lower)
    for name, label, unit, digits, lower in (
        ("ssim", "SSIM", "", 4, False),
        ("ms_ssim", "MS-SSIM", "", 4, False),
        ("psnr", "PSNR", "dB", 2, False),
        ("l1", "L1", "", 4, True),
        ("delta_e", "colour error ΔE", "", 2, True),
        ("l1_inside", "L1 inside the face", "", 4, True),
        ("l1_outside", "L1 outside", "", 4, True),
        ("high_frequency", "high-frequency power", "", 3, False),
        ("high_frequency_matched", "matched detail", "", 3, False),
        ("lpips", "LPIPS", "", 4, True),
    )
}


def signed(value: float, digits: int) -> str:
    """'+0.1127', with fixed decimals."""
    return f"{'+' if value > 0 else ''}{decimal(value, digits)}"


def seeds_text(numbers: Sequence[int]) -> str:
    """'no seed', '1 seed' or '3 seeds'; 'n to m seeds' where arms differ."""
    if not numbers or max(numbers) == 0:
        return "no seed"
    low, high = min(numbers), max(numbers)
    return f"{low} to {high} seeds" if low != high else count(high, "seed")


def data_text(name: object) -> str:
    """A data set's name."""
    return {"faces": "rendered faces", "celeba": "CelebA"}.get(str(name), str(name))


def complete(trials: Iterable[Trial], path: str = "record.seed") -> list[Trial]:
    """The complete ones that hold a value at this path."""
    return [t for t in trials if t.record.state == COMPLETE and t.get(path) is not None]


def arms_of(evidence: Evidence, path: str = "record.seed") -> list[str]:
    """The arms with a complete trial that holds this path: the main ones first, the others as they come."""
    arms = dict.fromkeys(t.arm for t in complete(evidence.trials, path))
    return sorted(arms, key=lambda arm: MAIN_ARMS.index(arm) if arm in MAIN_ARMS else len(MAIN_ARMS))


def stored(evidence: Evidence, arm: str, path: str) -> dict[int, Any]:
    """What each complete trial of an arm holds at this path, by seed; empty values are left out."""
    return {seed: value for seed, trial in sorted(evidence.of(arm).items()) if (value := trial.get(path))}


def first_arrays(evidence: Evidence, arrays: Arrays, arm: str, *names: str) -> tuple[int, Mapping[str, NDArray[Any]]] | None:
    """Seed and arrays of an arm's first complete trial that has these arrays; None where none has."""
    by_seed = arrays.get(arm, {})
    return next(((seed, by_seed[seed]) for seed in sorted(evidence.of(arm)) if {*names} <= by_seed.get(seed, {}).keys()), None)


def references(evidence: Evidence) -> dict[str, Mapping[str, Any]]:
    """Reference -> its metrics by the reporting protocol; entries that are no reference are passed over."""
    qualities = {name: row.get("quality") for name, row in evidence.references.items() if isinstance(row, Mapping)}
    return {name: row.get("reporting", row) for name, row in qualities.items() if isinstance(row, Mapping)}


def mark_of(arm: str) -> Mark:
    """How an arm is drawn."""
    return MARKS.get(arm, OTHER)


def plot(stem: str, alt: str, headings: str, lines: Sequence[Sequence[Any]], draw: Callable[[DataFrame], Figure]) -> Plot | None:
    """A plot that is drawn from the lines of its own file, as a frame; None without any."""
    names = headings.split()

    def drawn(_: float) -> Figure:
        import pandas as pd

        return draw(pd.DataFrame(lines, columns=names))

    return Plot(stem=stem, alt=alt, draw=drawn, headings=names, lines=lines) if lines else None


def caption(evidence: Evidence, path: str, *notes: str, arms: Iterable[str] | None = None, of: str = "trials") -> Caption:
    """Counts the complete trials that hold a value at this path, out of all trials of these arms (of all arms unless given)."""
    trials = [t for t in evidence.trials if arms is None or t.arm in arms]
    return len(complete(trials, path)), len(trials), of, *notes


def panels(
    heading_text: str, num: int, height: float, caption: Caption, *, columns: int = 1, handles: Sequence[Any] = (), **share: Any
) -> tuple[Figure, list[Axes]]:
    """Panels of this height in inches below a heading and a legend and above a caption; `share` goes to `subplots`."""
    lines, top = math.ceil(num / columns), 0.21 * math.ceil(len(handles) / 2)
    figure = new_figure(WIDTH, lines * height + top + 0.95)
    parts = figure.add_gridspec(2 if handles else 1, 1, height_ratios=[top, lines * height] if handles else [1])
    axes = list(parts[-1].subgridspec(lines, columns).subplots(squeeze=False, **share).flat)
    if handles:
        strip = figure.add_subplot(parts[0])
        strip.set_axis_off()
        strip.legend(
            handles=list(handles), loc="upper left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, borderaxespad=0,
            fontsize=SMALL, handlelength=1.9, columnspacing=1.2, labelspacing=0.35,
        )  # fmt: skip
    for unused in axes[num:]:
        unused.set_axis_off()
    heading(figure, heading_text)
    below(figure, *caption)
    return figure, axes[:num]


def panel_title(axes: Axes, text: str) -> None:
    """What a panel shows, at its left edge."""
    axes.set_title(text, fontsize=SMALL + 0.5, loc="left")


def handle(label: str, mark: Mark, *, filled: bool = True, line: Any = "") -> Any:
    """A legend's entry: a marker, or a line with it."""
    from matplotlib.lines import Line2D

    face = mark.colour if filled else "white"
    return Line2D(
        [], [], color=mark.colour, marker=mark.marker, markersize=5.5, markerfacecolor=face, linestyle=line, linewidth=1.5,
        label=label,
    )  # fmt: skip


def arm_handles(arms: Sequence[str], *, line: Any = "") -> list[Any]:
    """A legend's entries of arms; one for all that have no colour of their own."""
    rest = sum(arm not in MARKS for arm in arms)
    others = [handle(f"{rest} other arm{'s' * (rest > 1)}", OTHER, line=line)] if rest else []
    return [*(handle(arm, MARKS[arm], line=line) for arm in arms if arm in MARKS), *others]


def pair_handles(filled: str, hollow: str) -> list[Any]:
    """A legend's entries where both models have filled and hollow markers."""
    return [handle(f"{arm}, {text}", MARKS[arm], filled=text == filled) for arm in PAIR for text in (filled, hollow)]


def reference_style(number: int) -> dict[str, Any]:
    """How the line of a reference is drawn."""
    return {"color": DARK, "linewidth": 1.1, "linestyle": REFERENCE_LINES[number % len(REFERENCE_LINES)]}


def reference_handles(names: Iterable[str]) -> list[Any]:
    """A legend's entries of references."""
    from matplotlib.lines import Line2D

    return [Line2D([], [], label=name, **reference_style(n)) for n, name in enumerate(names)]


def names_in(column: Series) -> list[str]:
    """Each once, as they come."""
    return [str(name) for name in column.unique()]


def ranked(frame: DataFrame, names: str, values: str) -> list[str]:
    """The names in this column, the largest mean of the values first."""
    return list(frame.groupby(names, sort=False)[values].mean().sort_values(ascending=False, kind="stable").index)


def by_seed(frame: DataFrame, arm: str, x: str, y: str) -> DataFrame:
    """An arm's values: a row for each x that all of its seeds have, a column for each seed that has any."""
    return frame[frame.arm == arm].pivot(index=x, columns="seed", values=y).dropna(axis=1, how="all").dropna()


def bands(axes: Axes, frame: DataFrame, x: str, y: str, *, markers: bool = False, **line: Any) -> None:
    """Mean over seeds of each arm as a line, lowest to highest seed as a band; other arms thin and below."""
    for arm in sorted(frame.arm.unique(), key=lambda arm: arm in MARKS):
        table, mark = by_seed(frame, arm, x, y), mark_of(arm)
        if table.empty:
            continue
        marker = {"marker": mark.marker, "markersize": 4.2, "markevery": max(1, len(table) // 8)} if markers else {}
        looks: dict[str, Any] = {"linewidth": 1.7, "zorder": 4} if arm in MARKS else {"linewidth": 0.7, "zorder": 2, "alpha": 0.6}
        looks |= {"marker": "."} if len(table) == 1 else marker
        axes.fill_between(table.index, table.min(axis=1), table.max(axis=1), color=mark.colour, alpha=0.18, linewidth=0, zorder=1)
        axes.plot(table.index, table.mean(axis=1), color=mark.colour, **looks, **line)


def marks(axes: Axes, x: Series[float], y: NDArray[Any], arm: str, *, filled: bool = True) -> None:
    """Markers of an arm."""
    colour, marker, _ = mark_of(arm)
    face = colour if filled else "white"
    axes.scatter(x, y, marker=marker, s=26, facecolor=face, edgecolor=colour, linewidths=1.1, zorder=3)


def replicates(
    axes: Axes, rows: Iterable[tuple[float, Sequence[float]]], mark: Mark, size: float = 44, *, across: bool = False
) -> None:
    """Small points: seeds; large: their mean, with its 95 % interval. Of a row the place on x, or on y where it goes `across`."""
    means = [(place, values, mean_estimate(values)) for place, values in rows if values]
    small = [(place, value) for place, values, _ in means for value in values]
    large = [(place, mean.value) for place, _, mean in means]
    for points, looks in ((small, {"s": 9, "alpha": 0.55, "linewidths": 0}), (large, {"s": size, "marker": mark.marker})):
        places, values = zip(*points, strict=True) if points else ((), ())
        axes.scatter(*((values, places) if across else (places, values)), color=mark.colour, zorder=4, **looks)
    spans = [(place, mean.low, mean.high) for place, _, mean in means if mean.known]
    if spans:
        (axes.hlines if across else axes.vlines)(*zip(*spans, strict=True), color=mark.colour, linewidth=1.2, zorder=3)
