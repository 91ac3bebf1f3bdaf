"""Plots of the loss given to the pieces, of edits, and of Toledo and Antonelo's ten hypotheses. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ablation.record.explanation import Explanation
from ablation.record.trial import COMPLETE
from ablation.report.explain import plots as explain_plots
from ablation.report.explain.plots import SIDE_BY_SIDE, Plot, below, heading, named_lines
from ablation.stats import mean_estimate
from studies.paper.evidence.evidence import MODIFIED, ORIGINAL, Evidence, Trial
from studies.paper.page import look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INSIDE = "analysis.quality.reporting.l1_inside"
MASKED = ", mask"
METHODS = {"probe": "probe's direction", "mean_difference": "difference of means"}
PLAIN, WITH_MASK = ("#4D4D4D", "o"), ("#009E73", "D")
Edit = tuple[str, int, str, str, float, float]  # arm, seed, attribute, method, target, leakage


def loss_pieces(evidence: Evidence) -> Plot | None:
    """Shapley values of the pieces in loss, SSIM and PSNR; None where the factorial was not trained."""
    if not evidence.loss_attribution:
        return None
    names = list(dict.fromkeys(name for a in evidence.loss_attribution for name in a.shapley))
    pieces = Explanation(first=ORIGINAL, second=MODIFIED, specs={}, costs={}, factors=dict.fromkeys(names, ("", "")))
    return explain_plots.shapley(pieces, evidence.loss_attribution, "loss_pieces", "Which piece made the difference in quality")


def edits_of(evidence: Evidence) -> list[Edit]:
    """(arm, seed, attribute, method, target, leakage) of every edit of both models that was scored."""
    return [
        (arm, seed, name, method, float(scores["target"]), float(scores["leakage"]))
        for arm in look.PAIR for seed, trial in sorted(evidence.of(arm).items())
        for name, by_method in (trial.get("analysis.edits") or {}).items()
        for method, scores in by_method.items()
        if method in METHODS and scores.get("target") is not None and scores.get("leakage") is not None
    ]  # fmt: skip


def edits(evidence: Evidence) -> Plot | None:
    """Target change against leakage of each attribute's edit, both models, a panel for each way of finding the direction."""
    rows = edits_of(evidence)
    if not rows:
        return None
    return Plot(
        stem="edits", alt=f"Target change against leakage of {len({r[2] for r in rows})} attribute edits",
        draw=lambda width: _edits(evidence, rows, width),
        headings=("arm", "seed", "attribute", "method", "target", "leakage"), lines=rows,
    )  # fmt: skip


def _edits(evidence: Evidence, rows: Sequence[Edit], width: float) -> Figure:
    methods = [m for m in METHODS if any(row[3] == m for row in rows)]
    changes = {name: np.mean([row[4] for row in rows if row[2] == name]) for name in dict.fromkeys(row[2] for row in rows)}
    names = sorted(changes, key=lambda name: -changes[name])
    handles = _edit_handles()
    how = {"sharex": True, "sharey": True} if width >= SIDE_BY_SIDE else {"sharex": True}
    lines = look.legend_lines(len(handles), width)
    figure, panels, strip = look.grid(width, len(methods), 0.8 + 0.27 * len(names), legend_lines=lines, **how)
    for axes, method in zip(panels, methods, strict=True):
        for arm, offset in zip(look.PAIR, (-0.15, 0.15), strict=True):
            mine = [row for row in rows if row[0] == arm and row[3] == method]
            _edit_points(axes, mine, names, arm, offset)
        axes.axvline(0, color="#444444", linewidth=0.9, zorder=1)
        named_lines(axes, [name.replace("_", " ") for name in names], 24)
        axes.set_title(METHODS[method], fontsize=9.5, loc="left")
        axes.set_xlabel("change of the attribute")
        axes.xaxis.set_tick_params(labelbottom=True)
    look.legend(strip, handles, width)
    heading(figure, "Attribute edits: what changes, and what changes with it")
    count = look.counted(evidence, "analysis.edits", look.PAIR)
    note = f"{len(names)} attributes, means over seeds, scored by a held-out probe. Target: the attribute that is edited;"
    note += " leakage: the others. A full mark far right of its hollow one is good."
    below(figure, count.shown, count.possible, "trials of both models", note)
    return figure


def _edit_points(axes: Axes, rows: Sequence[Edit], names: Sequence[str], arm: str, offset: float) -> None:
    """Target and leakage of each attribute, tied by a line."""
    found = [(line, [row[4:] for row in rows if row[2] == name]) for line, name in enumerate(names)]
    held = [(line + offset, *np.mean(values, axis=0)) for line, values in found if values]
    if not held:
        return
    lines, target, leakage = zip(*held, strict=True)
    colour, marker = look.look(arm)
    axes.hlines(lines, leakage, target, color=colour, linewidth=1.0, alpha=0.5, zorder=2)
    for values, face in ((target, colour), (leakage, "white")):
        axes.scatter(values, lines, marker=marker, s=26, facecolor=face, edgecolor=colour, linewidths=1.1, zorder=3)


def _edit_handles() -> list[Any]:
    from matplotlib.lines import Line2D

    handles = []
    for arm in look.PAIR:
        colour, marker = look.look(arm)
        for text, face in (("target", colour), ("leakage", "white")):
            handles.append(Line2D([], [], color=colour, marker=marker, markerfacecolor=face, linestyle="", label=f"{arm}, {text}"))
    return handles


def hypothesis_rows(evidence: Evidence) -> dict[str, dict[bool, list[Trial]]]:
    """Loss -> whether masked -> its complete trials, in the order of the study."""
    found: dict[str, dict[bool, list[Trial]]] = {}
    for trial in evidence.hypotheses:
        by_mask = found.setdefault(trial.arm.removesuffix(MASKED), {})
        kept = by_mask.setdefault(trial.arm.endswith(MASKED), [])
        if trial.record.state == COMPLETE:
            kept.append(trial)
    return found


def inside(trials: Sequence[Trial], path: str = INSIDE) -> list[float]:
    """A number of these trials, for those that have it."""
    return [float(value) for t in trials if (value := t.get(path)) is not None]


def hypotheses(evidence: Evidence) -> Plot | None:
    """Error inside the face under each loss, with and without the mask; None where no trial has it."""
    rows = hypothesis_rows(evidence)
    lines = [
        [loss, "with mask" if masked else "without mask", t.seed, t.get(INSIDE)]
        for loss, by_mask in rows.items() for masked, trials in by_mask.items() for t in trials
    ]  # fmt: skip
    if not any(line[3] is not None for line in lines):
        return None
    return Plot(
        stem="hypotheses", alt=f"L1 error inside the face under {len(rows)} losses, with and without the face mask",
        draw=lambda width: _hypotheses(evidence, rows, width), headings=("loss", "mask", "seed", "l1_inside"), lines=lines,
    )  # fmt: skip


def _hypotheses(evidence: Evidence, rows: dict[str, dict[bool, list[Trial]]], width: float) -> Figure:
    from matplotlib.lines import Line2D

    figure, (axes,), strip = look.grid(width, 1, 0.7 + 0.42 * len(rows), legend_lines=1)
    shown = 0
    for line, by_mask in enumerate(rows.values()):
        for masked, (colour, marker) in ((False, PLAIN), (True, WITH_MASK)):
            values = inside(by_mask.get(masked, ()))
            shown += len(values)
            if not values:
                continue
            at, found = line + (0.13 if masked else -0.13), mean_estimate(values)
            if found.low is not None and found.high is not None:
                axes.plot([found.low, found.high], [at, at], color=colour, linewidth=1.2)
            axes.scatter(values, [at] * len(values), color=colour, s=9, alpha=0.5, linewidths=0)
            axes.scatter([found.value], [at], color=colour, marker=marker, s=42, zorder=3)
    named_lines(axes, list(rows), 18)
    axes.set_xlabel("mean absolute error inside the face")
    looks: tuple[tuple[str, tuple[str, str]], ...] = (("without mask", PLAIN), ("with mask", WITH_MASK))
    handles: list[Any] = [
        Line2D([], [], color=colour, marker=marker, linestyle="", markersize=6, label=text) for text, (colour, marker) in looks
    ]
    look.legend(strip, handles, width)
    heading(figure, "Toledo and Antonelo's ten losses")
    note = "Small points: seeds; large: their mean, whiskers its 95 % interval. The axis starts not at 0. Lower is better."
    below(figure, shown, len(evidence.hypotheses), "trials", note)
    return figure
