"""Lines over seeds with their bands: losses by epoch (Figure 6 again), power by frequency, KL by dimension. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from ablation.report.explain.plots import Plot
from ablation.report.kit import plot_style
from ablation.report.kit.numbers import decimal
from ablation.report.study.curves import losses_of
from studies.paper.evidence.evidence import Evidence
from studies.paper.facts import REPORTED
from studies.paper.page import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOSSES = {"validation": "validation_loss", "training": "training_loss"}
HEADINGS = "arm seed epoch validation_loss training_loss"
LINES: Mapping[str, Any] = {"validation": "-", "training": (0, (4, 2))}
PAPER_LINES: Mapping[str, Any] = {"validation": (0, (6, 2)), "training": (0, (1, 1.3))}
PAPER, PAPER_GREY = "the paper's", "#8A8A8A"
REST = "all arms, validation"
BANDS = "analysis.quality.reporting.high_frequency_by_band"
# cycles per pixel
NYQUIST = 0.5
KL, ACTIVE = "analysis.latent.kl_per_dim", "analysis.latent.active_units"
# nats; less is drawn there
KL_FLOOR = 1e-4


def loss_curves(evidence: Evidence) -> Plot | None:
    """A panel for each of the paper's models with the paper's curves, and one with all arms' validation loss; None without any."""
    losses = {
        (arm, seed): tuple(losses_of(trial.record, which) for which in LOSSES)
        for arm in style.arms_of(evidence) for seed, trial in sorted(evidence.of(arm).items())
    } | {(arm, PAPER): (list(model.validation), list(model.train)) for arm, model in REPORTED.items()}  # fmt: skip
    lines: list[list[Any]] = [
        [arm, seed, epoch, loss, training[epoch - 1] if epoch <= len(training) else None]
        for (arm, seed), (validation, training) in losses.items() for epoch, loss in enumerate(validation, start=1)
    ]  # fmt: skip
    frame = pd.DataFrame(lines, columns=HEADINGS.split())
    ours = frame[frame.seed != PAPER]
    means = {arm: style.by_seed(ours, arm, "epoch", "validation_loss").mean(axis=1) for arm in style.names_in(ours.arm)}
    ends = ", ".join(f"{arm} {decimal(mean.iloc[-1], 4)}" for arm, mean in means.items())
    alt = f"Losses by epoch; validation loss of the last epoch, mean over seeds: {ends}"
    return style.plot("loss_curves", alt, HEADINGS, lines, partial(_loss_curves, evidence)) if means else None


def _loss_curves(evidence: Evidence, frame: pd.DataFrame) -> Figure:
    ours, paper = frame[frame.seed != PAPER], frame[frame.seed == PAPER]
    arms = style.names_in(ours.arm)
    rest = [arm for arm in arms if arm not in style.PAIR]
    named = [f"{style.MARKS[arm].word}: {arm}" for arm in rest if arm in style.MARKS]
    others = "; ".join([*named, *(["grey: the other arms"] if len(named) < len(rest) else [])]).capitalize()
    seeds = list(ours.groupby("arm").seed.nunique())
    notes = (
        f"Lines: mean over {style.seeds_text(seeds)} an arm; bands: lowest to highest seed.",
        "The paper's curves are of its own scale.", f"{others}." if rest else "",
    )  # fmt: skip
    figure, panels = style.panels(
        "Figure 6 again: loss by epoch", len(arms) - len(rest) + bool(rest), 2.2,
        (sum(seeds), len(evidence.trials), "trials", *notes), handles=_loss_handles(), sharex=True, sharey=True,
    )  # fmt: skip
    for axes, name in zip(panels, [*(arm for arm in arms if arm in style.PAIR), REST], strict=False):
        plot_style.title(axes, name)
        for which, column in LOSSES.items():
            if name != REST:
                grey = paper[paper.arm == name]
                axes.plot(grey.epoch, grey[column], color=PAPER_GREY, linestyle=PAPER_LINES[which], linewidth=1.3, zorder=2)
                style.bands(axes, ours[ours.arm == name], "epoch", column, linestyle=LINES[which])
            elif which == "validation":
                style.bands(axes, ours, "epoch", column)
        axes.xaxis.set_tick_params(labelbottom=True)
        axes.set(xlabel="epoch", ylabel="loss")
        axes.locator_params(axis="x", integer=True, nbins=6)
    return figure


def _loss_handles() -> list[Any]:
    from matplotlib.lines import Line2D

    looks = (("ours", "#222222", LINES, 1.7), ("the paper's", PAPER_GREY, PAPER_LINES, 1.3))
    return [
        Line2D([], [], color=colour, linestyle=lines[which], linewidth=width, label=f"{which}, {whose}")
        for whose, colour, lines, width in looks
        for which in LOSSES
    ]


def frequency_bands(evidence: Evidence) -> Plot | None:
    """Power of the reconstruction over the original's in radial bands of spatial frequency; None where no trial has it."""
    powers = {arm: style.stored(evidence, arm, BANDS) for arm in style.arms_of(evidence, BANDS)}
    references = {name: row.get("high_frequency_by_band") for name, row in style.references(evidence).items()}
    lines = [
        [name, seed, NYQUIST * (n + 0.5) / len(row), power]
        for name, rows in (powers | {name: {"reference": row} for name, row in references.items() if row}).items()
        for seed, row in rows.items() for n, power in enumerate(row)
    ]  # fmt: skip
    alt = "Power of reconstruction over original by spatial frequency"
    plot = style.plot("frequency_bands", alt, "arm seed cycles_per_pixel power_ratio", lines, partial(_frequency, evidence))
    return plot if powers else None


def _frequency(evidence: Evidence, frame: pd.DataFrame) -> Figure:
    ours, references = frame[frame.seed != "reference"], frame[frame.seed == "reference"]
    note = "1: the original's power, whether its own detail or an artefact's. Lines: mean over seeds; bands: lowest to highest"
    figure, (axes,) = style.panels(
        "Power of reconstructions by spatial frequency", 1, 2.7,
        style.caption(evidence, BANDS, f"{note} seed. 0.5 cycles per pixel is the finest."),
        handles=style.arm_handles(style.names_in(ours.arm), line="-") + style.reference_handles(style.names_in(references.arm)),
    )  # fmt: skip
    style.bands(axes, ours, "cycles_per_pixel", "power_ratio", markers=True)
    for n, (_, row) in enumerate(references.groupby("arm", sort=False)):
        axes.plot(row.cycles_per_pixel, row.power_ratio, **style.reference_style(n))
    axes.axhline(1, color="#444444", linewidth=0.9)
    axes.set(xlim=(0, NYQUIST), ylim=(0, None), xlabel="spatial frequency [cycles per pixel]", ylabel="power / original's")
    return figure


def kl_by_dimension(evidence: Evidence) -> Plot | None:
    """KL of each latent dimension, sorted, for every arm: how many dimensions carry information; None where no trial has it."""
    arms = style.arms_of(evidence, KL)
    lines = [
        [arm, seed, rank, value]
        for arm in arms for seed, row in style.stored(evidence, arm, KL).items()
        for rank, value in enumerate(sorted(row, reverse=True), start=1)
    ]  # fmt: skip
    alt = f"KL by latent dimension, sorted: {_active_text(evidence, arms)}"
    return style.plot("kl_by_dimension", alt, "arm seed rank kl_nats", lines, partial(_kl, evidence))


def _active_text(evidence: Evidence, arms: list[str]) -> str:
    texts = []
    for arm in arms:
        active, dims = evidence.estimate(arm, ACTIVE), evidence.estimate(arm, "analysis.latent.num_dims")
        of = f" of {dims.value:.0f}" if dims is not None else ""
        texts.append(f"{arm}: active units not measured" if active is None else f"{arm}: {active.value:.4g} active{of}")
    return "; ".join(texts)


def _kl(evidence: Evidence, frame: pd.DataFrame) -> Figure:
    arms = style.names_in(frame.arm)
    active = _active_text(evidence, [arm for arm in arms if arm in style.MARKS])
    note = f"Lines: mean over seeds of the sorted dimensions; bands: lowest to highest. Less than {KL_FLOOR:g} is drawn there."
    figure, (axes,) = style.panels(
        "Information by latent dimension", 1, 2.6,
        style.caption(evidence, KL, note, f"Active units (variance of the mean above 0.01): {active}."),
        handles=style.arm_handles(arms, line="-"),
    )  # fmt: skip
    style.bands(axes, frame.assign(kl_nats=frame.kl_nats.clip(lower=KL_FLOOR)), "rank", "kl_nats", markers=True)
    plot_style.scale_axis(axes, "y", list(frame.kl_nats.clip(lower=KL_FLOOR)))
    axes.set(xlabel="latent dimension, the most informative first", ylabel="KL [nats]")
    return figure
