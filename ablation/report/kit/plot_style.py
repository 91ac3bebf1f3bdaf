"""One look for every plot: seaborn style, colour-blind safe palette, captions that count, files as PNG and SVG. No torch.

matplotlib and seaborn are imported when the first plot is drawn. Figures are made without pyplot, so that nothing stays open.
"""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito, told apart with every common colour vision; its yellow is too pale for lines on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#4D4D4D")
BETTER, WORSE, NEUTRAL, PALE = "#0072B2", "#D55E00", "#8C8C8C", "#D9D9D9"
MARKERS = ("o", "s", "^", "D", "P", "X", "v", "*")
# inches of a plot that is legible on a phone 390 pixels wide; pages place two side by side where there is room
WIDTH = 4.1
DPI = 250
# letters of the same widths, one of which every system has: SVG files hold text, not outlines
FONTS = ["DejaVu Sans", "Verdana", "Bitstream Vera Sans"]


@contextmanager
def styled() -> Iterator[None]:
    """Seaborn's style for the figures made inside, and nothing changed outside."""
    if "MPLCONFIGDIR" not in os.environ and not os.access(Path.home(), os.W_OK):  # else matplotlib warns about its cache
        os.environ["MPLCONFIGDIR"] = tempfile.mkdtemp(prefix="matplotlib-")
    import matplotlib as mpl
    import seaborn as sns

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    rc = {
        **sns.axes_style("whitegrid"), **sns.plotting_context("notebook", font_scale=0.9),
        "grid.color": "#E8E8E8", "axes.edgecolor": "#B0B0B0", "axes.linewidth": 0.8,
        "svg.hashsalt": "ablation", "svg.fonttype": "none",
        "text.parse_math": False, "text.usetex": False,  # a name may hold $
        "font.family": ["sans-serif"], "font.sans-serif": FONTS, "axes.formatter.useoffset": False,
        "axes.titlesize": 11, "axes.labelsize": 10, "xtick.labelsize": 9, "ytick.labelsize": 9, "legend.fontsize": 8.5,
    }  # fmt: skip
    with mpl.rc_context(rc), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # it is drawn as a box, as in every program
        yield


def new_figure(width: float, height: float) -> Figure:
    """A figure of this size in inches that belongs to no window and no global list."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, stem: Path) -> list[Path]:
    """The figure as stem.png and stem.svg, byte for byte the same for the same numbers."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    settle(figure)
    png, svg = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")
    # straight to the canvas: `savefig` draws everything once more for each file
    FigureCanvasAgg(figure).print_png(png, metadata={"Software": None})
    FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None, "Creator": None})
    return [png, svg]


def settle(figure: Figure) -> None:
    """Works the layout out once and for all, so that places on the figure can be computed and both files look the same."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


def palette(num_levels: int) -> list[Any]:
    """One colour per level: the safe seven, or evenly spaced hues where there are more levels."""
    if num_levels <= len(COLOURS):
        return list(COLOURS[:num_levels])
    import seaborn as sns

    return list(sns.color_palette("husl", num_levels))


def title(axes: Axes, text: str) -> None:
    """A heading at the left edge."""
    axes.set_title(text, loc="left", fontweight="bold")


def scale_axis(axes: Axes, which: str, values: Sequence[float]) -> None:
    """A logarithmic axis with plain numbers where positive values span more than a factor of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if not values or min(values) <= 0 or max(values) <= 10 * min(values):
        return
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def factor_ticks(axes: Axes) -> None:
    """Plain factors on a logarithmic x-axis: ×0.5, ×1, ×2, ..."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

    axis, (low, high) = axes.xaxis, axes.get_xlim()
    span = high / low
    if span > 1.8:
        digits = (1, 2, 5) if span > 5 else (1, 1.5, 2, 3, 4, 5, 7)
        ticks = [d * 10.0**p for p in range(-4, 6) for d in (digits if span <= 200 else (1,))]
    else:
        ticks = list(MaxNLocator(5).tick_values(low, high))
    axis.set_major_locator(FixedLocator([t for t in sorted(set(ticks)) if low <= t <= high]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"×{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def label(axes: Axes, text: str, place: tuple[float, float], offset: tuple[float, float], **style: Any) -> None:
    """Text `offset` points from a place of the data, on a pale ground that keeps it legible over lines."""
    ground = {"boxstyle": "square,pad=0.05", "facecolor": "white", "edgecolor": "none", "alpha": 0.7}
    axes.annotate(text, place, xytext=offset, textcoords="offset points", bbox=ground, **{"zorder": 5, **style})


def legend_strip(axes: Axes, columns: Sequence[Sequence[tuple[Any, str]]]) -> None:
    """Nothing but a legend: columns of (handle, label), the first label of each its heading."""
    from matplotlib.lines import Line2D

    axes.set_axis_off()
    height = max(map(len, columns))
    blank = (Line2D([], [], linestyle=""), "")
    entries = [entry for column in columns for entry in (*column, *[blank] * (height - len(column)))]
    legend = axes.legend(
        [handle for handle, _ in entries], [" "] * len(entries), loc="upper left", bbox_to_anchor=(0, 1), frameon=False, fontsize=8,
        ncols=len(columns), handlelength=1.2, columnspacing=1.0, labelspacing=0.35, borderaxespad=0,
    )  # fmt: skip
    for n, (text, (_, label)) in enumerate(zip(legend.get_texts(), entries, strict=True)):
        text.set_text(label)  # by hand: a label that begins with an underscore would be left out
        text.set_fontweight("normal" if n % height else "bold")
