"""Plots of the latent space: clustering against its null, and what probes read of the attributes. No torch."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ablation.report.explain.plots import Plot, named_lines
from ablation.report.explain.style import plain
from studies.paper.evidence.evidence import Evidence
from studies.paper.page import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LATENT = "analysis.latent"
NULL, SHUFFLED = "#C9C9C9", "#E3E3E3"
# statistic -> title, its path, and where its null's lowest and highest stand
STATISTICS = {
    "Hopkins": ("Hopkins statistic", "hopkins.value", "hopkins.null_low", "hopkins.null_high"),
    "silhouette": ("best silhouette", "silhouette.best", "silhouette.null_best_low", "silhouette.null_best_high"),
}
BY_NUMBER = "silhouette by number of clusters"
PROBE = (
    "positives", "linear_auc", "linear_balanced_accuracy", "knn_auc", "knn_balanced_accuracy", "shuffled_auc", "shuffled_auc_sd",
)  # fmt: skip


def clusters(evidence: Evidence) -> Plot | None:
    """Hopkins and best silhouette of every arm against single clouds of its covariance; silhouettes by number of clusters."""
    arms = style.arms_of(evidence, f"{LATENT}.hopkins.value") or style.arms_of(evidence, f"{LATENT}.silhouette.best")
    if not arms:
        return None
    lines = [
        [name, arm, seed, None, *(trial.get(f"{LATENT}.{path}") for path in paths)]
        for name, (_, *paths) in STATISTICS.items() for arm in arms for seed, trial in sorted(evidence.of(arm).items())
    ]  # fmt: skip
    lines += [
        [BY_NUMBER, arm, seed, int(k), row[k], None, None]
        for arm in arms for seed, row in style.stored(evidence, arm, f"{LATENT}.silhouette.by_k").items()
        for k in sorted(row, key=int) if row[k] is not None
    ]  # fmt: skip
    alt = f"Clustering of the posterior means of {len(arms)} arms against single clouds of the same covariance"
    return style.plot(
        "clusters", alt, "statistic arm seed num_clusters value null_low null_high", lines, partial(_clusters, evidence)
    )


def _clusters(evidence: Evidence, frame: pd.DataFrame) -> Figure:
    arms = style.names_in(frame.arm)
    note = "Points: seeds. Grey: what single clouds with the same covariance reach, Gaussian or flat, the higher of the two."
    notes = (note, "Clusters are seen only where points lie right of the grey.")
    figure, panels = style.panels(
        "Is the latent space clustered?", 3, 1.5 + 0.12 * len(arms),
        style.caption(evidence, f"{LATENT}.hopkins.value", *notes), handles=style.arm_handles(arms),
    )  # fmt: skip
    for axes, (name, (title, *_)) in zip(panels, STATISTICS.items(), strict=False):
        for line, arm in enumerate(arms):
            _against_null(axes, frame[(frame.statistic == name) & (frame.arm == arm)], arm, line)
        named_lines(axes, arms, 14)
        style.panel_title(axes, title)
        axes.use_sticky_edges = False
        axes.margins(x=0.1)
        axes.locator_params(axis="x", nbins=4)
    for arm in arms:
        mean = style.by_seed(frame[frame.statistic == BY_NUMBER], arm, "num_clusters", "value").mean(axis=1)
        colour, marker, _ = style.mark_of(arm)
        panels[2].plot(mean.index, mean, color=colour, marker=marker, markersize=4, linewidth=1.3)
    style.panel_title(panels[2], "silhouette by clusters")
    panels[2].set_xlabel("number of clusters")
    panels[2].locator_params(axis="x", integer=True, nbins=6)
    return figure


def _against_null(axes: Axes, rows: pd.DataFrame, arm: str, line: int) -> None:
    """The null's range as a bar (its mean ends over seeds), the seeds' values as points on it."""
    values, low, high = rows.value.dropna(), rows.null_low.mean(), rows.null_high.mean()
    axes.barh(line, high - low, left=low, height=0.56, color=NULL, zorder=1)
    colour, marker, _ = style.mark_of(arm)
    axes.scatter(values, [line] * len(values), color=colour, marker=marker, s=26, alpha=0.75, linewidths=0.6, zorder=3)


def probe_rows(evidence: Evidence) -> pd.DataFrame:
    """A line for each attribute and trial of both models; first the attribute whose linear probes have the largest mean ROC AUC."""
    keys = ["arm", "seed", "attribute"]
    by_trial = {
        (arm, seed): trial.get(f"{LATENT}.probes") or {}
        for arm in style.PAIR for seed, trial in sorted(evidence.of(arm).items())
    }  # fmt: skip
    lines = [(*trial, name, *map(probe.get, PROBE)) for trial, read in by_trial.items() for name, probe in read.items()]
    frame = pd.DataFrame(lines, columns=[*keys, *PROBE])
    names = style.ranked(frame.dropna(subset=["linear_auc"]), "attribute", "linear_auc")
    every = pd.MultiIndex.from_tuples([(*trial, name) for trial in by_trial for name in names], names=keys)
    return frame.set_index(keys).astype(object).reindex(every).reset_index().astype(object)


def probes(evidence: Evidence) -> Plot | None:
    """ROC AUC of linear and nearest-neighbour probes for each attribute, both models, with the band of shuffled labels."""
    frame = probe_rows(evidence)
    lines = frame.where(frame.notna(), None).to_numpy().tolist()
    alt = f"ROC AUC of probes for {frame.attribute.nunique()} attributes, original and modified"
    return style.plot("probes", alt, " ".join(("arm seed attribute", *PROBE)), lines, partial(_probes, evidence))


def _probes(evidence: Evidence, frame: pd.DataFrame) -> Figure:
    from matplotlib.patches import Patch

    names = style.names_in(frame.attribute)
    note = f"{len(names)} attributes. Points: mean over seeds; bars: lowest to highest."
    note += " Grey: shuffled labels, mean ± 2 standard deviations."
    figure, (axes,) = style.panels(
        "What a probe reads from the posterior means", 1, 0.6 + 0.2 * len(names),
        style.caption(evidence, f"{LATENT}.probes", note, arms=style.PAIR, of="trials of both models"),
        handles=[*style.pair_handles("linear", "neighbours"), Patch(color=SHUFFLED, label="shuffled labels")],
    )  # fmt: skip
    shuffled = frame.groupby("attribute")[["shuffled_auc", "shuffled_auc_sd"]].mean().reindex(names)
    mean, sd = shuffled.shuffled_auc, shuffled.shuffled_auc_sd.fillna(0)
    axes.barh(range(len(names)), 4 * sd, left=mean - 2 * sd, height=1.0, color=SHUFFLED, zorder=1)
    for arm, offset in zip(style.PAIR, (-0.14, 0.14), strict=True):
        for key in ("linear_auc", "knn_auc"):
            spread = frame[frame.arm == arm].groupby("attribute")[key].agg(["min", "max", "mean"]).reindex(names)
            lines = np.arange(len(names)) + offset
            axes.hlines(lines, spread["min"], spread["max"], color=style.mark_of(arm).colour, linewidth=1.2, zorder=2)
            style.marks(axes, spread["mean"], lines, arm, filled=key == "linear_auc")
    named_lines(axes, [plain(name) for name in names], 40)
    axes.set_xlabel("ROC AUC on held-out images")
    return figure
