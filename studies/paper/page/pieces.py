"""Plots of the loss given to the pieces, of edits, and of Toledo and Antonelo's ten hypotheses. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ablation.record.explanation import Explanation
from ablation.record.trial import COMPLETE
from ablation.report.explain import plots as explain_plots
from ablation.report.explain.plots import Plot, named_lines
from ablation.report.explain.style import plain
from studies.paper.evidence.evidence import MODIFIED, ORIGINAL, Evidence, Trial
from studies.paper.hypotheses import MASKED
from studies.paper.page import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INSIDE = style.QUALITY["l1_inside"].path
METHODS = {"probe": "probe's direction", "mean_difference": "difference of means"}
# whether masked -> label and mark
MASKS = {False: ("without mask", style.Mark("#4D4D4D", "o", "")), True: ("with mask", style.Mark("#009E73", "D", ""))}
# loss -> whether masked -> trials
Hypotheses = dict[str, dict[bool, list[Trial]]]


def loss_pieces(evidence: Evidence) -> Plot | None:
    """Shapley values of the pieces in loss, SSIM and PSNR; None where the factorial was not trained."""
    if not evidence.loss_attribution:
        return None
    names = dict.fromkeys((name for a in evidence.loss_attribution for name in a.shapley), ("", ""))
    pieces = Explanation(first=ORIGINAL, second=MODIFIED, specs={}, costs={}, factors=names)
    return explain_plots.shapley(pieces, evidence.loss_attribution, "loss_pieces", "Which piece made the difference in quality")


def edit_rows(evidence: Evidence) -> list[tuple[str, int, str, str, float, float]]:
    """(arm, seed, attribute, method, target, leakage) of every edit of both models that was scored."""
    return [
        (arm, seed, name, method, float(scores["target"]), float(scores["leakage"]))
        for arm in style.PAIR for seed, by_name in style.stored(evidence, arm, "analysis.edits").items()
        for name, by_method in by_name.items() for method, scores in by_method.items()
        if method in METHODS and scores.get("target") is not None and scores.get("leakage") is not None
    ]  # fmt: skip


def edits(evidence: Evidence) -> Plot | None:
    """Target change against leakage of each attribute's edit, both models, a panel for each way of finding the direction."""
    lines = edit_rows(evidence)
    alt = f"Target change against leakage of {len({line[2] for line in lines})} attribute edits"
    return style.plot("edits", alt, "arm seed attribute method target leakage", lines, partial(_edits, evidence))


def _edits(evidence: Evidence, frame: pd.DataFrame) -> Figure:
    names = style.ranked(frame, "attribute", "target")
    methods = [m for m in METHODS if m in set(frame.method)]
    note = f"{len(names)} attributes, means over seeds, scored by a held-out probe. Target: the attribute that is edited;"
    note += " leakage: the others. A full mark far right of its hollow one is good."
    figure, panels = style.panels(
        "Attribute edits: what changes, and what changes with it", len(methods), 0.8 + 0.27 * len(names),
        style.caption(evidence, "analysis.edits", note, arms=style.PAIR, of="trials of both models"),
        handles=style.pair_handles("target", "leakage"), sharex=True,
    )  # fmt: skip
    for axes, method in zip(panels, methods, strict=True):
        for arm, offset in zip(style.PAIR, (-0.15, 0.15), strict=True):
            rows = frame[(frame.arm == arm) & (frame.method == method)]
            mean = rows.groupby("attribute")[["target", "leakage"]].mean().reindex(names)
            lines = np.arange(len(names)) + offset
            axes.hlines(lines, mean.leakage, mean.target, color=style.mark_of(arm).colour, linewidth=1.0, alpha=0.5, zorder=2)
            style.marks(axes, mean.target, lines, arm)
            style.marks(axes, mean.leakage, lines, arm, filled=False)
        axes.axvline(0, color="#444444", linewidth=0.9, zorder=1)
        named_lines(axes, [plain(name) for name in names], 24)
        style.panel_title(axes, METHODS[method])
        axes.set_xlabel("change of the attribute")
        axes.xaxis.set_tick_params(labelbottom=True)
    return figure


def hypothesis_rows(evidence: Evidence) -> Hypotheses:
    """Loss -> whether masked -> its complete trials, in the order of the study."""
    rows: Hypotheses = {}
    for trial in evidence.hypotheses:
        by_mask = rows.setdefault(trial.arm.removesuffix(MASKED), {})
        trials = by_mask.setdefault(trial.arm.endswith(MASKED), [])
        if trial.record.state == COMPLETE:
            trials.append(trial)
    return rows


def values_at(trials: Sequence[Trial], path: str) -> list[float]:
    """A number of these trials, for those that have it."""
    return [float(value) for t in trials if (value := t.get(path)) is not None]


def hypotheses(evidence: Evidence) -> Plot | None:
    """Error inside the face under each loss, with and without the mask; None where no trial has it."""
    rows = hypothesis_rows(evidence)
    lines = [
        [loss, MASKS[masked][0], t.seed, t.get(INSIDE)]
        for loss, by_mask in rows.items() for masked, trials in by_mask.items() for t in trials
    ]  # fmt: skip
    alt = f"L1 error inside the face under {len(rows)} losses, with and without the face mask"
    plot = style.plot("hypotheses", alt, "loss mask seed l1_inside", lines, partial(_hypotheses, evidence))
    return plot if any(line[-1] is not None for line in lines) else None


def _hypotheses(evidence: Evidence, frame: pd.DataFrame) -> Figure:
    losses, values = list(hypothesis_rows(evidence)), frame.dropna()
    note = "Small points: seeds; large: their mean, whiskers its 95 % interval. The axis starts not at 0. Lower is better."
    figure, (axes,) = style.panels(
        "Toledo and Antonelo's ten losses", 1, 0.7 + 0.42 * len(losses), (len(values), len(evidence.hypotheses), "trials", note),
        handles=[style.handle(*looks) for looks in MASKS.values()],
    )  # fmt: skip
    for (label, mark), offset in zip(MASKS.values(), (-0.13, 0.13), strict=True):
        rows = values[values["mask"] == label].groupby("loss").l1_inside
        places = [(losses.index(str(loss)) + offset, list(row)) for loss, row in rows]
        style.replicates(axes, sorted(places), mark, across=True)
    named_lines(axes, losses, 18)
    axes.set_xlabel("mean absolute error inside the face")
    return figure
