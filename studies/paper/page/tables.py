"""The tables of the paper's page: Table 1 beside the paper's own, quality, latent space, traversals, losses, trials. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ablation.record.attribution import Attribution
from ablation.record.explanation import Explanation
from ablation.report.explain import style as explain_style
from ablation.report.explain.answer import headline
from ablation.report.explain.style import plain
from ablation.report.kit.numbers import NOTHING, decimal, significant, times, times_span
from ablation.report.kit.page import Table
from ablation.report.kit.tables import flatten, write_csv
from ablation.report.study import tables
from ablation.report.study.curves import losses_of
from ablation.report.study.rows import axis_label
from ablation.stats import Estimate, mean_estimate
from studies.paper.evidence.evidence import Evidence
from studies.paper.facts import REPORTED
from studies.paper.hypotheses import MASKED
from studies.paper.page import style
from studies.paper.page.pieces import hypothesis_rows, values_at
from studies.paper.rules.explained import interval_of

# label with its unit, path, digits
Measure = tuple[str, str, int]
RECONSTRUCTION = ("ssim", "ms_ssim", "psnr", "l1", "lpips")
WHERE = ("delta_e", "l1_inside", "l1_outside", "high_frequency", "high_frequency_matched")
OF_HYPOTHESES = ("l1_inside", "l1_outside", "ssim", "delta_e")


def _below(root: str, *rows: tuple[str, str] | Measure) -> tuple[Measure, ...]:
    """Measures below a path, of three digits unless they say otherwise."""
    return tuple((row[0], f"{root}.{row[1]}", row[2] if len(row) == 3 else 3) for row in rows)


LATENT = _below(
    "analysis.latent",
    ("Hopkins statistic", "hopkins.value"), ("Hopkins of its null", "hopkins.null_mean"),
    ("best silhouette", "silhouette.best"), ("silhouette of its null", "silhouette.null_best_mean"),
    ("clusters at the best", "silhouette.best_k", 1), ("neighbour purity", "purity_mean"),
    ("purity, shuffled", "purity_shuffled_mean"), ("linear probes, ROC AUC", "linear_auc_mean"),
    ("neighbour probes, ROC AUC", "knn_auc_mean"), ("probes on shuffled labels", "shuffled_auc_mean"),
    ("active units", "active_units", 1), ("KL [nats]", "kl_total", 2),
)  # fmt: skip
DISENTANGLEMENT = _below(
    "analysis",
    ("MIG", "disentanglement.mig"), ("DCI disentanglement", "disentanglement.dci.disentanglement"),
    ("DCI completeness", "disentanglement.dci.completeness"), ("DCI informativeness", "disentanglement.dci.informativeness"),
    ("SAP", "disentanglement.sap"), ("FactorVAE score", "disentanglement.factor_vae"),
    ("best single dimension, ROC AUC", "latent.dimension_probes.best_auc_mean"),
    ("its lead over the second", "latent.dimension_probes.gap_mean"),
)  # fmt: skip
TRAVERSAL = _below(
    "analysis.traversal",
    ("path length (1 − SSIM)", "path_length_mean"), ("smoothness (1: even steps)", "smoothness"),
    ("share of pixels changed", "share_changed_mean"), ("locality (1: few pixels)", "locality_mean"),
    ("L1 path length", "l1_path_length_mean"), ("L1 change between the ends", "l1_change_mean"),
    ("paper's dimension: path length", "paper.path_length"), ("paper's dimension: smoothness", "paper.smoothness"),
    ("paper's dimension: largest step", "paper.step_max"), ("paper's dimension: share of pixels changed", "paper.share_changed"),
    ("paper's dimension: locality", "paper.locality"), ("paper's dimension: KL [nats]", "paper.kl"),
)  # fmt: skip
EDITS = _below(
    "analysis.edits_mean",
    *((f"{text}: {score}", f"{method}.{score}")
      for method, text in (("probe", "probe"), ("mean_difference", "difference of means"))
      for score in ("target", "leakage", "specificity")),
)  # fmt: skip
LOSSES = _below("analysis.eval_losses", ("training split", "train", 4), ("validation split", "validation", 4))
PLUS_MINUS = "± is half of the 95 % interval over seeds; one seed has none."


def plus_minus(estimate: Estimate | None, digits: int, *, plus: bool = False) -> str:
    """'0.7012 ± 0.0062'; '-' where nothing was measured."""
    if estimate is None:
        return NOTHING
    text = (style.signed if plus else decimal)(estimate.value, digits)
    return text if estimate.high is None else f"{text} ±\u00a0{decimal(estimate.high - estimate.value, digits)}"


def _mean(values: Sequence[float]) -> Estimate | None:
    return mean_estimate(values) if values else None


def numbers_table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    """A table whose first column alone is text."""
    return Table(headings, (False, *[True] * (len(headings) - 1)), lines)


def table_1(evidence: Evidence) -> Table:
    """The paper's Table 1 and last losses beside ours: each with both models and their ratio or difference."""
    e = evidence.explanation
    reported = [REPORTED[arm] for arm in style.PAIR]
    costs = [{} if e is None else e.costs.get(arm, {}) for arm in style.PAIR]
    trained = [evidence.arms.get(arm, {}).get("params") for arm in style.PAIR]
    size = evidence.scale.get("image_size")
    macs = [None if (num := cost.get("macs")) is None else num * 1e-9 for cost in costs]
    nothing = [NOTHING] * 3
    lines = [
        ["parameters at 144 px", *_counts([r.params for r in reported]), *_counts([cost.get("params") for cost in costs])],
        ["multiply-accumulates at 144 px [G]", *nothing, *(decimal(v, 4) for v in macs), _ratio(macs)],
        [f"parameters as trained ({f'{size} px' if size else 'size unknown'})", *nothing, *_counts(trained)],
    ]
    for batch in (1, 32):
        times = [r.latency_ms[batch] for r in reported]
        texts = [f"{mean:.2f} ±\u00a0{sd:.2f}" for mean, sd in times]
        lines.append([f"latency, batch of {batch} [ms]", *texts, _ratio([mean for mean, _ in times]), *_latency(e, batch)])
    for which, last in (("training", [r.train[-1] for r in reported]), ("validation", [r.validation[-1] for r in reported])):
        texts = [*(decimal(v, 4) for v in last), style.signed(last[1] - last[0], 4)]
        lines.append([f"{which} loss, last epoch", *texts, *_last_losses(evidence, which)])
    ours = ("ours: original", "ours: modified", "between")
    return numbers_table(("", "paper: original", "paper: modified", "between", *ours), lines)


def _counts(values: Sequence[int | None]) -> list[str]:
    first, second = values
    texts = [NOTHING if v is None else f"{v:,}" for v in values]
    return [*texts, f"{style.signed(100 * (second / first - 1), 1)}\u00a0%" if first and second else NOTHING]


def _ratio(values: Sequence[float | None]) -> str:
    first, second = values
    return times(second / first) if first and second else NOTHING


def _latency(e: Explanation | None, batch: int) -> list[str]:
    """Both models and their ratio at one batch size: what the answer quotes, or else the sweep's."""
    quoted = headline(e) if e is not None else None
    if e is None or quoted is None:
        return [NOTHING] * 3
    sweep = (p for p in e.sweep if p.batch_size == batch and p.first_ms and p.second_ms)
    point = quoted if quoted.place.endswith(f"/{batch}") else next(sweep, None)
    if point is None:
        return [NOTHING] * 3
    first, second = point.first_ms or 0.0, point.second_ms or 0.0
    place = quoted.place if point is quoted else f"{e.device}/{batch}"
    return [significant(first), significant(second), times_span(point.ratio or second / first, *interval_of(e, place))]


def _last_losses(evidence: Evidence, which: str) -> list[str]:
    """Both models' losses of the last epoch and their difference, paired by seed."""
    every = [{seed: losses_of(t.record, which) for seed, t in sorted(evidence.of(arm).items())} for arm in style.PAIR]
    a, b = ({seed: losses[-1] for seed, losses in by_seed.items() if losses} for by_seed in every)
    texts = [plus_minus(_mean(list(losses.values())), 4) for losses in (a, b)]
    return [*texts, plus_minus(_mean([b[seed] - a[seed] for seed in a if seed in b]), 4, plus=True)]


def quality(evidence: Evidence, names: Sequence[str]) -> Table:
    """One line for each main arm and each reference; columns nobody has are left out."""
    references = style.references(evidence)
    metrics = {
        name: metric for name in names
        if style.arms_of(evidence, (metric := style.QUALITY[name]).path) or any(name in row for row in references.values())
    }  # fmt: skip
    lines = [
        [arm, _millions(evidence.arms.get(arm, {}).get("params")), str(len(evidence.of(arm))),
         *(plus_minus(evidence.estimate(arm, m.path), m.digits) for m in metrics.values())]
        for arm in style.MARKS if any(t.arm == arm for t in evidence.trials)
    ]  # fmt: skip
    lines += [
        [name, _millions(evidence.references[name].get("num_parameters")), NOTHING,
         *(decimal(row.get(n), m.digits) for n, m in metrics.items())]
        for name, row in references.items()
    ]  # fmt: skip
    return numbers_table(["", "parameters [M]", "seeds", *map(axis_label, metrics.values())], lines)


def _millions(params: float | None) -> str:
    return decimal(None if params is None else params * 1e-6, 3)


def measures(evidence: Evidence, rows: Sequence[Measure]) -> tuple[Table | None, list[str]]:
    """Original, modified and their difference, paired by seed, for each measure; and the measures that neither has."""
    lines, gone = [], []
    for label, path, digits in rows:
        pair = [evidence.estimate(arm, path) for arm in style.PAIR]
        if any(pair):
            texts = [plus_minus(estimate, digits) for estimate in pair]
            lines.append([label, *texts, plus_minus(evidence.difference(path), digits, plus=True)])
        else:
            gone.append(label)
    return (numbers_table(("", *style.PAIR, "modified − original"), lines) if lines else None), gone


def trustworthiness(evidence: Evidence) -> tuple[Measure, ...]:
    """A measure for each perplexity that any trial has a map of."""
    every = sorted({p for t in evidence.trials for p in (t.get("analysis.latent.tsne") or {})}, key=float)
    return _below("analysis.latent.tsne", *((f"trustworthiness, perplexity {p}", f"{p}.trustworthiness") for p in every))


def hypotheses(evidence: Evidence) -> Table | None:
    """The ten losses and masks: error inside and outside the face, SSIM, colour error; None where none was trained."""
    metrics = [style.QUALITY[name] for name in OF_HYPOTHESES]
    lines = [
        [f"{loss}{MASKED if masked else ''}", str(len(trials)),
         *(plus_minus(_mean(values_at(trials, m.path)), m.digits) for m in metrics)]
        for loss, by_mask in hypothesis_rows(evidence).items() for masked, trials in sorted(by_mask.items())
    ]  # fmt: skip
    return numbers_table(("loss", "seeds", *(m.label for m in metrics)), lines) if lines else None


def pieces(attributions: Sequence[Attribution]) -> Table:
    """Shapley values of each piece in every quantity that was given to the pieces, the largest first by the first of them."""
    names = dict.fromkeys(name for a in attributions for name, _ in explain_style.ranked(a.shapley))
    lines = [
        [plain(name), *(explain_style.effect_text(a, a.shapley[name]) if name in a.shapley else NOTHING
                              for a in attributions)]
        for name in names
    ]  # fmt: skip
    return numbers_table(("piece", *(explain_style.metric_of(a).label for a in attributions)), lines)


def training_speed(evidence: Evidence) -> Table | None:
    """Seconds per epoch and images per second of each main arm's trials as they ran."""
    lines = []
    for arm in style.MARKS:
        runs = [t.record.training for t in evidence.of(arm).values()]
        seconds = _mean([run["seconds"] / len(run["epochs"]) for run in runs if run.get("epochs") and run.get("seconds")])
        speed = evidence.estimate(arm, "record.training.images_per_second")
        if seconds is not None or speed is not None:
            lines.append([arm, str(len(runs)), plus_minus(seconds, 1), plus_minus(speed, 0)])
    return numbers_table(("", "seeds", "seconds an epoch", "images a second"), lines) if lines else None


def write_trials(evidence: Evidence, path: Path) -> Path:
    """Everything that each trial stored and that was measured on it, one line each; values by image stay in the analyses."""
    groups = (("model", evidence.trials), ("hypothesis", evidence.hypotheses))
    lines: list[dict[str, Any]] = [
        {"group": group, "arm": t.arm, **tables.flat(t.record), **dict(flatten(t.analysis, "analysis", skip="per_image"))}
        for group, trials in groups for t in trials
    ]  # fmt: skip
    write_csv(path, lines or [{"group": "", "arm": ""}])
    return path
