"""What every plot of a study says besides its lines: how many variants it shows, what it lacks, or that there is nothing yet."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ablation.report.kit.page import unmarked
from ablation.report.kit.plot_style import WIDTH, new_figure, title
from ablation.report.study.rows import Row, StudyInfo, seeds_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def caption(figure: Figure, drawn: Sequence[Row], rows: Sequence[Row], study: StudyInfo, missing: str, *notes: str) -> None:
    """Below the plot: how many of how many variants it shows, seeds, device, and what is not drawn for want of what."""
    left_out = len(rows) - len(drawn)
    text = f"{len(drawn)} of {len(rows)} variants, {seeds_text(drawn)}{', ' if study.device else ''}{study.device}"
    text += f". Not drawn: {left_out} without {missing}" if left_out else ""
    characters = int(16 * figure.get_figwidth())  # of this size that fit into the width
    lines = [part for line in (text, *notes) for part in textwrap.wrap(line, characters)]
    figure.supxlabel(unmarked("\n".join(lines)), x=0.01, ha="left", fontsize=8, color="#555555")


def empty_plot(rows: Sequence[Row], study: StudyInfo, heading: str, missing: str) -> Figure:
    """A figure that says that there is nothing to draw yet."""
    figure = new_figure(WIDTH, 2)
    axes = figure.subplots()
    axes.set_axis_off()
    title(axes, heading)
    text = textwrap.fill(f"Nothing to draw yet: no variant has {missing}.", 50)
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, fontsize=9)
    caption(figure, [], rows, study, missing)
    return figure
