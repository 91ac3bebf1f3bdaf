"""The tables of the paper's page: Table 1 beside the paper's own, quality, latent space, traversals, losses, trials. No torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ablation.record.attribution import Attribution
from ablation.record.explanation import Explanation
from ablation.report.explain import style as explain_style
from ablation.report.explain.answer import Headline, headline
from ablation.report.kit.page import Table
from ablation.report.study import tables
from ablation.report.study.curves import losses_of
from ablation.stats import Estimate, mean_estimate
from studies.paper.evidence.evidence import Evidence, Trial
from studies.paper.facts import REPORTED
from studies.paper.page import look
from studies.paper.page.pieces import MASKED, hypothesis_rows, inside
from studies.paper.rules.explained import interval_of

Measure = tuple[str, str, int]  # label with its unit, path, digits
RECONSTRUCTION = ("ssim", "ms_ssim", "psnr", "l1", "lpips")
WHERE = ("delta_e", "l1_inside", "l1_outside", "high_frequency", "high_frequency_matched")
_L, _T, _E = "analysis.latent", "analysis.traversal", "analysis.edits_mean"
LATENT: tuple[Measure, ...] = (
    ("Hopkins statistic", f"{_L}.hopkins.value", 3), ("Hopkins of its null", f"{_L}.hopkins.null_mean", 3),
    ("best silhouette", f"{_L}.silhouette.best", 3), ("silhouette of its null", f"{_L}.silhouette.null_best_mean", 3),
    ("clusters at the best", f"{_L}.silhouette.best_k", 1), ("neighbour purity", f"{_L}.purity_mean", 3),
    ("purity, shuffled", f"{_L}.purity_shuffled_mean", 3), ("linear probes, ROC AUC", f"{_L}.linear_auc_mean", 3),
    ("neighbour probes, ROC AUC", f"{_L}.knn_auc_mean", 3), ("probes on shuffled labels", f"{_L}.shuffled_auc_mean", 3),
    ("active units", f"{_L}.active_units", 1), ("KL [nats]", f"{_L}.kl_total", 2),
)  # fmt: skip
DISENTANGLEMENT: tuple[Measure, ...] = (
    ("MIG", "analysis.disentanglement.mig", 3), ("DCI disentanglement", "analysis.disentanglement.dci.disentanglement", 3),
    ("DCI completeness", "analysis.disentanglement.dci.completeness", 3),
    ("DCI informativeness", "analysis.disentanglement.dci.informativeness", 3), ("SAP", "analysis.disentanglement.sap", 3),
    ("FactorVAE score", "analysis.disentanglement.factor_vae", 3),
    ("best single dimension, ROC AUC", f"{_L}.dimension_probes.best_auc_mean", 3),
    ("its lead over the second", f"{_L}.dimension_probes.gap_mean", 3),
)  # fmt: skip
TRAVERSAL: tuple[Measure, ...] = (
    ("path length (1 − SSIM)", f"{_T}.path_length_mean", 3), ("smoothness (1: even steps)", f"{_T}.smoothness", 3),
    ("share of pixels changed", f"{_T}.share_changed_mean", 3), ("locality (1: few pixels)", f"{_T}.locality_mean", 3),
    ("L1 path length", f"{_T}.l1_path_length_mean", 3), ("L1 change between the ends", f"{_T}.l1_change_mean", 3),
    ("paper's dimension: path length", f"{_T}.paper.path_length", 3),
    ("paper's dimension: smoothness", f"{_T}.paper.smoothness", 3), ("paper's dimension: largest step", f"{_T}.paper.step_max", 3),
    ("paper's dimension: share of pixels changed", f"{_T}.paper.share_changed", 3),
    ("paper's dimension: locality", f"{_T}.paper.locality", 3), ("paper's dimension: KL [nats]", f"{_T}.paper.kl", 3),
)  # fmt: skip
EDITS: tuple[Measure, ...] = tuple(
    (f"{text}: {what}", f"{_E}.{method}.{what}", 3)
    for method, text in (("probe", "probe"), ("mean_difference", "difference of means"))
    for what in ("target", "leakage", "specificity")
)
LOSSES: tuple[Measure, ...] = (
    ("training split", "analysis.eval_losses.train", 4), ("validation split", "analysis.eval_losses.validation", 4),
)  # fmt: skip
PLUS_MINUS = "± is half of the 95 % interval over seeds; one seed has none."


def plus_minus(found: Estimate | None, digits: int, *, scale: float = 1.0) -> str:
    """'0.7012 ± 0.0062'; '-' where nothing was measured."""
    if found is None:
        return tables.NOTHING
    text = look.decimal(found.value * scale, digits)
    return text if found.high is None else f"{text} ±\u00a0{look.decimal((found.high - found.value) * scale, digits)}"


def table_1(evidence: Evidence) -> Table:
    """The paper's Table 1 and last losses beside ours: each with both models and what lies between them."""
    e, lines = evidence.explanation, []
    said = [REPORTED[arm] for arm in look.PAIR]
    counts = [None if e is None else e.costs.get(arm, {}) for arm in look.PAIR]
    lines.append(["parameters at 144 px", *_counts([s.params for s in said]), *_counts([(c or {}).get("params") for c in counts])])
    macs = [(c or {}).get("macs") for c in counts]
    lines.append(["multiply-accumulates at 144 px [G]", "-", "-", "-", *_pair(macs, 1e-9, 4)])
    trained = [evidence.arms.get(arm, {}).get("params") for arm in look.PAIR]
    lines.append([f"parameters as trained ({_size(evidence)})", "-", "-", "-", *_counts(trained)])
    for batch in (1, 32):
        paper = [s.latency_ms[batch] for s in said]
        texts = [f"{mean:.2f} ±\u00a0{sd:.2f}" for mean, sd in paper]
        ratio = explain_style.times(paper[1][0] / paper[0][0])
        lines.append([f"latency, batch of {batch} [ms]", *texts, ratio, *_latency(e, batch)])
    for which, last in (("training", [s.train[-1] for s in said]), ("validation", [s.validation[-1] for s in said])):
        texts = [look.decimal(v, 4) for v in last]
        lines.append([f"{which} loss, last epoch", *texts, _plus(last[1] - last[0]), *_last_losses(evidence, which)])
    headings = ("", "paper: original", "paper: modified", "between", "ours: original", "ours: modified", "between")
    return Table(headings, (False, *[True] * 6), lines)


def _size(evidence: Evidence) -> str:
    size = evidence.scale.get("image_size")
    return f"{size} px" if size else "size unknown"


def _counts(values: Sequence[int | None]) -> list[str]:
    first, second = values
    texts = [tables.NOTHING if v is None else f"{v:,}" for v in values]
    return [*texts, _percent(second / first - 1) if first and second else tables.NOTHING]


def _percent(share: float) -> str:
    return f"{'+' if share > 0 else ''}{look.decimal(100 * share, 1)}\u00a0%"


def _pair(values: Sequence[float | None], scale: float, digits: int) -> list[str]:
    first, second = values
    texts = [look.decimal(None if v is None else v * scale, digits) for v in values]
    return [*texts, explain_style.times(second / first) if first and second else tables.NOTHING]


def _plus(value: float) -> str:
    return f"{'+' if value > 0 else ''}{look.decimal(value, 4)}"


def timed(explanation: Explanation | None, batch: int) -> Headline | None:
    """Both models at one batch size: what the answer quotes, or else the sweep's."""
    if explanation is None:
        return None
    said = headline(explanation)
    if said is not None and said.place.endswith(f"/{batch}"):
        return said
    for p in explanation.sweep:
        if p.batch_size == batch and p.first_ms and p.second_ms:
            ratio, (low, high) = p.ratio or p.second_ms / p.first_ms, p.interval
            place = f"{explanation.device}/{batch}"
            return Headline(place=place, first_ms=p.first_ms, second_ms=p.second_ms, ratio=ratio, low=low, high=high)
    return None


def _latency(e: Explanation | None, batch: int) -> list[str]:
    point = timed(e, batch)
    if e is None or point is None:
        return [tables.NOTHING] * 3
    ratio = explain_style.times_span(point.ratio, *interval_of(e, point.place))
    return [explain_style.number(point.first_ms), explain_style.number(point.second_ms), ratio]


def last_loss(evidence: Evidence, arm: str, which: str) -> dict[int, float]:
    """Loss of the last epoch by seed."""
    found = {seed: losses_of(trial.record, which) for seed, trial in sorted(evidence.of(arm).items())}
    return {seed: losses[-1] for seed, losses in found.items() if losses}


def _last_losses(evidence: Evidence, which: str) -> list[str]:
    a, b = (last_loss(evidence, arm, which) for arm in look.PAIR)
    both = [b[seed] - a[seed] for seed in a if seed in b]
    texts = [plus_minus(mean_estimate(list(v.values())) if v else None, 4) for v in (a, b)]
    difference = mean_estimate(both) if both else None
    return [*texts, ("+" if difference is not None and difference.value > 0 else "") + plus_minus(difference, 4)]


def quality(evidence: Evidence, names: Sequence[str]) -> Table:
    """One line for each main arm and each reference; columns nobody has are left out."""
    kept = [
        n for n in names if look.arms_of(evidence, look.QUALITY[n].path) or any(n in r for r in look.references(evidence).values())
    ]
    metrics = [look.QUALITY[n] for n in kept]
    lines = []
    for arm in look.LOOKS:
        if any(t.arm == arm for t in evidence.trials):
            cells = [plus_minus(evidence.estimate(arm, m.path), m.digits) for m in metrics]
            lines.append([arm, _millions(evidence.arms.get(arm, {}).get("params")), str(len(evidence.of(arm))), *cells])
    for name, row in look.references(evidence).items():
        params = evidence.references[name].get("num_parameters")
        lines.append([name, _millions(params), "-", *(look.decimal(row.get(n), look.QUALITY[n].digits) for n in kept)])
    headings = ["", "parameters [M]", "seeds", *(f"{m.label}{f' [{m.unit}]' if m.unit else ''}" for m in metrics)]
    return Table(headings, (False, *[True] * (len(headings) - 1)), lines)


def _millions(params: float | None) -> str:
    return look.decimal(None if params is None else params * 1e-6, 3)


def measures(evidence: Evidence, rows: Sequence[Measure]) -> tuple[Table | None, list[str]]:
    """Original, modified and their difference, paired by seed, for each measure; and the measures that neither has."""
    lines, gone = [], []
    for label, path, digits in rows:
        pair = [evidence.estimate(arm, path) for arm in look.PAIR]
        if not any(pair):
            gone.append(label)
            continue
        difference = evidence.difference(path)
        plus = "+" if difference is not None and difference.value > 0 else ""
        lines.append([label, *(plus_minus(found, digits) for found in pair), plus + plus_minus(difference, digits)])
    headings = ("", *look.PAIR, "modified − original")
    return (Table(headings, (False, True, True, True), lines) if lines else None), gone


def trustworthiness(evidence: Evidence) -> list[Measure]:
    """A measure for each perplexity that any trial has a map of."""
    found = {p for t in evidence.trials for p in (t.get("analysis.latent.tsne") or {})}
    return [(f"trustworthiness, perplexity {p}", f"{_L}.tsne.{p}.trustworthiness", 3) for p in sorted(found, key=float)]


def hypotheses(evidence: Evidence) -> Table | None:
    """The ten losses and masks: error inside and outside the face, SSIM, colour error; None where none was trained."""
    rows = hypothesis_rows(evidence)
    if not rows:
        return None
    named = ("l1_inside", "l1_outside", "ssim", "delta_e")
    lines = []
    for loss, by_mask in rows.items():
        for masked, trials in sorted(by_mask.items()):
            cells = [_mean_of(trials, look.QUALITY[n].path, look.QUALITY[n].digits) for n in named]
            lines.append([f"{loss}{MASKED if masked else ''}", str(len(trials)), *cells])
    headings = ("loss", "seeds", *(look.QUALITY[n].label for n in named))
    return Table(headings, (False, *[True] * (len(headings) - 1)), lines)


def _mean_of(trials: Sequence[Trial], path: str, digits: int) -> str:
    values = inside(trials, path)
    return plus_minus(mean_estimate(values) if values else None, digits)


def pieces(found: Sequence[Attribution]) -> Table:
    """Shapley values of each piece in every quantity that was given to the pieces, the largest first by the first of them."""
    names = dict.fromkeys(name for a in found for name, _ in explain_style.ranked(a.shapley))
    lines = []
    for name in names:
        effects = [(a, a.shapley.get(name)) for a in found]
        lines.append(
            [explain_style.plain(name), *(explain_style.effect_text(a.metric, v) if v else tables.NOTHING for a, v in effects)]
        )
    headings = [explain_style.metric_of(a.metric).label for a in found]
    return Table(("piece", *headings), (False, *[True] * len(headings)), lines)


def training_speed(evidence: Evidence) -> Table | None:
    """Seconds per epoch and images per second of each main arm's trials as they ran."""
    lines = []
    for arm in look.LOOKS:
        trials = list(evidence.of(arm).values())
        seconds = [t.record.training["seconds"] / len(e) for t in trials if (e := t.record.training.get("epochs")) and _timed(t)]
        speed = evidence.estimate(arm, "record.training.images_per_second")
        if seconds or speed is not None:
            lines.append([arm, str(len(trials)), plus_minus(mean_estimate(seconds) if seconds else None, 1), plus_minus(speed, 0)])
    return Table(("", "seeds", "seconds an epoch", "images a second"), (False, True, True, True), lines) if lines else None


def _timed(trial: Trial) -> bool:
    return bool(trial.record.training.get("seconds"))


def write_trials(evidence: Evidence, path: Path) -> Path:
    """Everything that each trial stored and that was measured on it, one line each; values by image stay in the analyses."""
    groups = (("model", evidence.trials), ("hypothesis", evidence.hypotheses))
    lines = [
        {"group": group, "arm": t.arm, **tables.flat(t.record), **dict(_flatten("analysis", t.analysis))}
        for group, ts in groups
        for t in ts
    ]
    tables.write_csv(path, lines or [{"group": "", "arm": ""}])
    return path


def _flatten(prefix: str, value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key != "per_image":
                yield from _flatten(f"{prefix}.{key}", inner)
    else:
        yield prefix, json.dumps(value) if isinstance(value, list | tuple) else value
