"""Plots of the latent space: clustering against its null, attribute probes, information by dimension. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ablation.report.explain.plots import SIDE_BY_SIDE, Plot, below, heading, named_lines
from studies.paper.evidence.evidence import Evidence
from studies.paper.page import look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LATENT = "analysis.latent"
# statistic -> title, its path, and where its null's lowest and highest stand
NULL = "#C9C9C9"
STATISTICS = {
    "Hopkins": ("Hopkins statistic", "hopkins.value", "hopkins.null_low", "hopkins.null_high"),
    "silhouette": ("best silhouette", "silhouette.best", "silhouette.null_best_low", "silhouette.null_best_high"),
}
KL_FLOOR = 1e-4  # nats; less is drawn there


def clusters(evidence: Evidence) -> Plot | None:
    """Hopkins and best silhouette of every arm against single clouds of its covariance; silhouettes by number of clusters."""
    arms = look.arms_of(evidence, f"{LATENT}.hopkins.value") or look.arms_of(evidence, f"{LATENT}.silhouette.best")
    if not arms:
        return None
    lines = [
        [name, arm, seed, None, *(trial.get(f"{LATENT}.{path}") for path in paths)]
        for name, (_, *paths) in STATISTICS.items() for arm in arms for seed, trial in sorted(evidence.of(arm).items())
    ]  # fmt: skip
    lines += [
        ["silhouette by number of clusters", arm, seed, int(k), value, None, None]
        for arm in arms for seed, trial in sorted(evidence.of(arm).items()) for k, value in _by_k(trial.get).items()
    ]  # fmt: skip
    return Plot(
        stem="clusters", alt=f"Clustering of the posterior means of {len(arms)} arms against single clouds of the same covariance",
        draw=lambda width: _clusters(evidence, arms, width),
        headings=("statistic", "arm", "seed", "num_clusters", "value", "null_low", "null_high"), lines=lines,
    )  # fmt: skip


def _by_k(get: Any) -> dict[str, float]:
    found = get(f"{LATENT}.silhouette.by_k") or {}
    return {k: v for k, v in sorted(found.items(), key=lambda item: int(item[0])) if v is not None}


def _clusters(evidence: Evidence, arms: Sequence[str], width: float) -> Figure:
    figure, panels, strip = look.grid(width, 3, 2.1 + 0.12 * len(arms), columns=3, legend_lines=look.legend_lines(len(arms), width))
    wide = width >= SIDE_BY_SIDE
    for n, (axes, (title, *paths)) in enumerate(zip(panels, STATISTICS.values(), strict=False)):
        for line, arm in enumerate(arms):
            _against_null(axes, evidence, arm, line, paths)
        named_lines(axes, ["" if n and wide else arm for arm in arms], 14)
        axes.set_title(title, fontsize=9.5, loc="left")
        axes.use_sticky_edges = False
        axes.margins(x=0.1)
        axes.locator_params(axis="x", nbins=4)
    for arm in arms:
        rows = [_by_k(t.get) for t in evidence.of(arm).values()]
        rows = [row for row in rows if row]
        colour, marker = look.look(arm)
        if rows:
            shared = [k for k in rows[0] if all(k in row for row in rows)]
            mean = [float(np.mean([row[k] for row in rows])) for k in shared]
            panels[2].plot([int(k) for k in shared], mean, color=colour, marker=marker, markersize=4, linewidth=1.3)
    panels[2].set_title("silhouette by clusters", fontsize=9.5, loc="left")
    panels[2].set_xlabel("number of clusters")
    panels[2].locator_params(axis="x", integer=True, nbins=6)
    look.legend(strip, look.arm_handles(arms), width)
    heading(figure, "Is the latent space clustered?")
    count = look.counted(evidence, f"{LATENT}.hopkins.value")
    note = "Points: seeds. Grey: what single clouds with the same covariance reach, Gaussian or flat, the higher of the two."
    below(figure, count.shown, count.possible, "trials", note, "Clusters are seen only where points lie right of the grey.")
    return figure


def _against_null(axes: Axes, evidence: Evidence, arm: str, line: int, paths: Sequence[str]) -> None:
    """The null's range as a bar (its mean ends over seeds), the seeds' values as points on it."""
    values, low, high = (list(evidence.values(arm, f"{LATENT}.{path}").values()) for path in paths)
    if low and high:
        axes.barh(line, np.mean(high) - np.mean(low), left=np.mean(low), height=0.56, color=NULL, zorder=1)
    colour, marker = look.look(arm)
    axes.scatter(values, [line] * len(values), color=colour, marker=marker, s=26, alpha=0.75, linewidths=0.6, zorder=3)


def probe_names(evidence: Evidence, arms: Sequence[str] = look.PAIR) -> list[str]:
    """Attributes that a probe of any of these arms read, the best read first by the mean of their linear ROC AUC."""
    found: dict[str, list[float]] = {}
    for arm in arms:
        for trial in evidence.of(arm).values():
            for name, probe in (trial.get(f"{LATENT}.probes") or {}).items():
                if probe.get("linear_auc") is not None:
                    found.setdefault(name, []).append(float(probe["linear_auc"]))
    return sorted(found, key=lambda name: -float(np.mean(found[name])))


def probes(evidence: Evidence) -> Plot | None:
    """ROC AUC of linear and nearest-neighbour probes for each attribute, both models, with the band of shuffled labels."""
    names = probe_names(evidence)
    if not names:
        return None
    keys = (
        "positives",
        "linear_auc",
        "linear_balanced_accuracy",
        "knn_auc",
        "knn_balanced_accuracy",
        "shuffled_auc",
        "shuffled_auc_sd",
    )
    lines = [
        [arm, seed, name, *((trial.get(f"{LATENT}.probes") or {}).get(name, {}).get(key) for key in keys)]
        for arm in look.PAIR for seed, trial in sorted(evidence.of(arm).items()) for name in names
    ]  # fmt: skip
    return Plot(
        stem="probes", alt=f"ROC AUC of probes for {len(names)} attributes, original and modified",
        draw=lambda width: _probes(evidence, names, width), headings=("arm", "seed", "attribute", *keys), lines=lines,
    )  # fmt: skip


def _probes(evidence: Evidence, names: Sequence[str], width: float) -> Figure:
    handles = _probe_handles(evidence)
    figure, (axes,), strip = look.grid(
        width, 1, 0.6 + 0.2 * len(names), legend_lines=look.legend_lines(len(handles), width, columns=3)
    )
    held = [{arm: _probes_of(evidence, arm, name) for arm in look.PAIR} for name in names]
    for line, by_arm in enumerate(held):
        found = [p for row in by_arm.values() for p in row]
        shuffled = [(p["shuffled_auc"], p.get("shuffled_auc_sd") or 0.0) for p in found if "shuffled_auc" in p]
        if shuffled:
            mean, sd = np.mean(shuffled, axis=0)
            axes.barh(line, 4 * sd, left=mean - 2 * sd, height=1.0, color="#E3E3E3", zorder=1)
    for arm, offset in zip(look.PAIR, (-0.14, 0.14), strict=True):
        _probe_points(axes, {line + offset: by_arm[arm] for line, by_arm in enumerate(held)}, arm)
    named_lines(axes, [name.replace("_", " ") for name in names], 40)
    axes.set_xlabel("ROC AUC on held-out images")
    look.legend(strip, handles, width, columns=3)
    heading(figure, "What a probe reads from the posterior means")
    count = look.counted(evidence, f"{LATENT}.probes", look.PAIR)
    note = f"{len(names)} attributes. Points: mean over seeds; bars: lowest to highest."
    note += " Grey: shuffled labels, mean ± 2 standard deviations."
    below(figure, count.shown, count.possible, "trials of both models", note)
    return figure


def _probes_of(evidence: Evidence, arm: str, name: str) -> list[Mapping[str, Any]]:
    return [(t.get(f"{LATENT}.probes") or {}).get(name, {}) for t in evidence.of(arm).values()]


def _probe_points(axes: Axes, held: Mapping[float, Sequence[Mapping[str, Any]]], arm: str) -> None:
    """Means over seeds of one arm's probes and the seeds' range, at the heights that are the keys."""
    colour, marker = look.look(arm)
    for key, filled in (("linear_auc", True), ("knn_auc", False)):
        found = [(line, [float(p[key]) for p in row if p.get(key) is not None]) for line, row in held.items()]
        ranges = [(line, min(values), max(values), np.mean(values)) for line, values in found if values]
        if ranges:
            lines, low, high, mean = zip(*ranges, strict=True)
            face = colour if filled else "white"
            axes.hlines(lines, low, high, color=colour, linewidth=1.2, zorder=2)
            axes.scatter(mean, lines, marker=marker, s=26, facecolor=face, edgecolor=colour, linewidths=1.1, zorder=3)


def _probe_handles(evidence: Evidence) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    for arm in look.PAIR:
        colour, marker = look.look(arm)
        same: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 5.5, "linestyle": ""}
        handles += [Line2D([], [], label=f"{arm}, linear", **same)]
        handles += [Line2D([], [], label=f"{arm}, neighbours", markerfacecolor="white", **same)]
    return [*handles, Patch(color="#E3E3E3", label="shuffled labels")]


def kl_by_dimension(evidence: Evidence) -> Plot | None:
    """KL of each latent dimension, sorted, for every arm: how many dimensions carry information; None where no trial has it."""
    arms = look.arms_of(evidence, f"{LATENT}.kl_per_dim")
    if not arms:
        return None
    tables = {
        arm: {seed: sorted(t.get(f"{LATENT}.kl_per_dim"), reverse=True) for seed, t in sorted(evidence.of(arm).items())
              if t.get(f"{LATENT}.kl_per_dim")}
        for arm in arms
    }  # fmt: skip
    lines = [
        [arm, seed, rank, value]
        for arm, rows in tables.items() for seed, row in rows.items() for rank, value in enumerate(row, start=1)
    ]  # fmt: skip
    return Plot(
        stem="kl_by_dimension", alt="KL by latent dimension, sorted: " + "; ".join(_active_text(evidence, arm) for arm in arms),
        draw=lambda width: _kl(evidence, tables, width), headings=("arm", "seed", "rank", "kl_nats"), lines=lines,
    )  # fmt: skip


def _active_text(evidence: Evidence, arm: str) -> str:
    found, dims = evidence.estimate(arm, f"{LATENT}.active_units"), evidence.estimate(arm, f"{LATENT}.num_dims")
    if found is None:
        return f"{arm}: active units not measured"
    return f"{arm}: {found.value:.4g} active" + (f" of {dims.value:.0f}" if dims is not None else "")


def _kl(evidence: Evidence, tables: dict[str, dict[int, list[float]]], width: float) -> Figure:
    handles = look.arm_handles(list(tables), line=True)
    figure, (axes,), strip = look.grid(width, 1, 2.6, legend_lines=look.legend_lines(len(handles), width))
    for arm in sorted(tables, key=lambda arm: arm in look.LOOKS):
        rows = np.array(list(tables[arm].values())).clip(min=KL_FLOOR)
        ranks, colour = range(1, rows.shape[1] + 1), look.look(arm)[0]
        axes.fill_between(ranks, rows.min(0), rows.max(0), color=colour, alpha=0.18, linewidth=0)
        axes.plot(
            ranks,
            rows.mean(0),
            color=colour,
            linewidth=1.6,
            marker=look.look(arm)[1],
            markersize=4,
            markevery=max(1, len(ranks) // 8),
        )
    axes.set_yscale("log")
    axes.set_xlabel("latent dimension, the most informative first")
    axes.set_ylabel("KL [nats]")
    look.legend(strip, handles, width)
    heading(figure, "Information by latent dimension")
    count = look.counted(evidence, f"{LATENT}.kl_per_dim")
    active = "; ".join(_active_text(evidence, arm) for arm in tables if arm in look.LOOKS)
    note = f"Lines: mean over seeds of the sorted dimensions; bands: lowest to highest. Less than {KL_FLOOR:g} is drawn there."
    below(figure, count.shown, count.possible, "trials", note, f"Active units (variance of the mean above 0.01): {active}.")
    return figure
