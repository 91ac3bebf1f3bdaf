"""Figure 6 of the paper again: losses by epoch over seeds, with the paper's own curves drawn under ours. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ablation.report.explain.plots import Plot, below, heading
from ablation.report.kit import plot_style as style
from ablation.report.study.curves import losses_of
from studies.paper.evidence.evidence import Evidence
from studies.paper.facts import REPORTED
from studies.paper.page import look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WHICH = ("validation", "training")
LINES: Mapping[str, Any] = {"validation": "-", "training": (0, (4, 2))}
PAPER_LINES: Mapping[str, Any] = {"validation": (0, (6, 2)), "training": (0, (1, 1.3))}
PAPER_GREY = "#8A8A8A"
REST = "all arms"
Curves = dict[str, dict[int, dict[str, list[float]]]]  # arm -> seed -> "validation" or "training" -> loss by epoch


def curves_of(evidence: Evidence) -> Curves:
    """The curves of every complete trial that stored one."""
    found: Curves = {}
    for arm in look.arms_of(evidence):
        for seed, trial in sorted(evidence.of(arm).items()):
            losses = {which: losses_of(trial.record, which) for which in WHICH}
            if losses["validation"]:
                found.setdefault(arm, {})[seed] = losses
    return found


def spread(curves: Sequence[Sequence[float]]) -> tuple[list[float], list[float], list[float]]:
    """Mean, lowest and highest over seeds by epoch, for the epochs that every seed reached."""
    table = np.array(list(zip(*[c for c in curves if c], strict=False)))  # seeds x epochs -> epochs x seeds
    if table.size == 0:
        return [], [], []
    return table.mean(1).tolist(), table.min(1).tolist(), table.max(1).tolist()


def loss_curves(evidence: Evidence) -> Plot | None:
    """A panel for each of the paper's models with the paper's curves, and one with all arms' validation loss; None without any."""
    curves = curves_of(evidence)
    if not curves:
        return None
    lines: list[list[Any]] = [
        [arm, seed, epoch, *(losses[which][epoch - 1] if epoch <= len(losses[which]) else None for which in WHICH)]
        for arm, by_seed in curves.items() for seed, losses in by_seed.items() for epoch in range(1, len(losses["validation"]) + 1)
    ]  # fmt: skip
    lines += [
        [arm, "the paper's", n, v, t]
        for arm, said in REPORTED.items() for n, (v, t) in enumerate(zip(said.validation, said.train, strict=True), start=1)
    ]  # fmt: skip
    ends = [f"{arm} {look.decimal(spread([c['validation'] for c in by.values()])[0][-1], 4)}" for arm, by in curves.items()]
    return Plot(
        stem="loss_curves", alt=f"Losses by epoch; validation loss of the last epoch, mean over seeds: {', '.join(ends)}",
        draw=lambda width: _draw(evidence, curves, width),
        headings=("arm", "seed", "epoch", "validation_loss", "training_loss"), lines=lines,
    )  # fmt: skip


def _draw(evidence: Evidence, curves: Curves, width: float) -> Figure:
    pair = [arm for arm in look.PAIR if arm in curves]
    names = [*pair, *([REST] if set(curves) - set(pair) else [])]
    num_lines = look.legend_lines(4, width)
    figure, panels, strip = look.grid(width, len(names), 2.9, columns=3, legend_lines=num_lines, sharex=True, sharey=True)
    for axes, name in zip(panels, names, strict=True):
        (_every_arm if name == REST else _one_model)(axes, curves, name)
        style.title(axes, name if name != REST else "all arms, validation")
        axes.xaxis.set_tick_params(labelbottom=True)
        axes.yaxis.set_tick_params(labelleft=True)
        axes.set_xlabel("epoch")
        axes.locator_params(axis="x", integer=True, nbins=6)
    panels[0].set_ylabel("loss")
    look.legend(strip, _handles(), width)
    heading(figure, "Figure 6 again: loss by epoch")
    shown = sum(len(by_seed) for by_seed in curves.values())
    seeds = look.seeds_text([len(by_seed) for by_seed in curves.values()])
    note = f"Lines: mean over {seeds} an arm; bands: lowest to highest seed. The paper's curves are of its own scale."
    rest = [arm for arm in curves if arm not in pair]
    named = [f"{_colour_word(arm)}: {arm}" for arm in rest if arm in look.LOOKS]
    others = "; ".join([*named, *(["grey: the other arms"] if len(named) < len(rest) else [])]).capitalize()
    below(figure, shown, len(evidence.trials), "trials", note, f"{others}." if rest else "")
    return figure


def _colour_word(arm: str) -> str:
    return {"#0072B2": "blue", "#D55E00": "red", "#009E73": "green", "#CC79A7": "pink"}[look.look(arm)[0]]


def _one_model(axes: Axes, curves: Curves, arm: str) -> None:
    said, colour = REPORTED[arm], look.look(arm)[0]
    for which, losses in (("validation", said.validation), ("training", said.train)):
        axes.plot(range(1, len(losses) + 1), losses, color=PAPER_GREY, linestyle=PAPER_LINES[which], linewidth=1.3, zorder=2)
    for which in WHICH:
        _band(axes, [losses[which] for losses in curves[arm].values()], colour, which)


def _every_arm(axes: Axes, curves: Curves, _: str) -> None:
    for arm in sorted(curves, key=lambda arm: arm in look.LOOKS):
        _band(axes, [losses["validation"] for losses in curves[arm].values()], look.look(arm)[0], "validation", arm in look.LOOKS)


def _band(axes: Axes, curves: Sequence[Sequence[float]], colour: str, which: str, named: bool = True) -> None:
    mean, low, high = spread(curves)
    epochs = range(1, len(mean) + 1)
    looks: dict[str, Any] = {"linewidth": 1.7, "zorder": 4} if named else {"linewidth": 0.7, "zorder": 1, "alpha": 0.6}
    axes.fill_between(epochs, low, high, color=colour, alpha=0.18, linewidth=0, zorder=1)
    axes.plot(epochs, mean, color=colour, linestyle=LINES[which], marker="." if len(mean) == 1 else "", **looks)


def _handles() -> list[Any]:
    from matplotlib.lines import Line2D

    ours = [Line2D([], [], color="#222222", linestyle=LINES[w], linewidth=1.7, label=f"{w}, ours") for w in WHICH]
    paper = [Line2D([], [], color=PAPER_GREY, linestyle=PAPER_LINES[w], linewidth=1.3, label=f"{w}, the paper's") for w in WHICH]
    return [*ours, *paper]
