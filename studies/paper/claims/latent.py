"""What the paper says about the latent space: C12, C13, C15. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ablation.report.kit.numbers import count, joined
from ablation.stats import SETTLED
from ablation.stats import judge as holm
from studies.paper.evidence.evidence import MODIFIED, Evidence
from studies.paper.rules.compared import BY_SEED, LEAST_SEEDS, WITH_IMAGES, Compared, numbers_of, settled
from studies.paper.rules.conclude import both_ways, conclude
from studies.paper.rules.kinds import FAILS, UNDECIDED, from_side
from studies.paper.rules.pairs import PAIR, Value, compare, has, number_at
from studies.paper.rules.verdict import Finding, Number, claim

LATENT, FACTORS = "analysis.latent", "analysis.disentanglement"
# values by image whose mean is the mean AUC
AUC_BY_IMAGE = "linear_auc"
SIGNIFICANCE = 0.05
# seeds for a single attribute: with fewer, Holm's correction over some thirty of them is out of reach
LEAST_SINGLE = 5
NULLS = {"gaussian": "Gaussians", "flat": "flat clouds", None: "Gaussians (flat clouds were not measured)"}
# measure of clustering -> its words, the names of its value, of its null, and of Gaussians where they were stored apart
CLUSTERING = {
    "hopkins": ("Hopkins", "value", "null", "gaussian"),
    "silhouette": ("the best silhouette", "best", "null_best", "gaussian_best"),
}


@claim(
    id="C12", says="`modified` has a more clustered latent space", link="clusters",
    measurement="Hopkins statistic and best silhouette on the posterior means, over seeds and t-SNE perplexities",
    rule="Hopkins statistic and best silhouette over the numbers of clusters, both of the posterior means, each less its null: "
    "what clouds without clusters but with the same covariance reach, the higher of Gaussians and flat clouds (uniform along each "
    f"principal component). Holds when both excesses are larger in `modified` ({BY_SEED} above zero) and both of "
    f"`modified` lie above the null's 95 % range with each of at least {LEAST_SEEDS} seeds. Fails when both excesses are smaller "
    "in the same sense; else undecided, and so where no cluster is seen at all: these two measures can miss clusters, so that "
    "seeing none is no proof that there are none. What the same rule gives against Gaussians alone stands beside it and does not "
    "decide, nor do t-SNE maps: the extent of an axis is no evidence.",
)  # fmt: skip
def clustered(evidence: Evidence) -> Finding:
    """Both measures' excess over the null on the same side, and above the null's range with every seed."""
    kind, excesses, above = _against(evidence, "its null", "null", needs=("hopkins", "silhouette", "latent"))
    counts = " and ".join(f"{n.value} {n.unit}" for n in above)
    gaussian: tuple[Number, ...] = ()
    extra = f" Hopkins and silhouette of `modified` lie above the null's range with {counts} seeds. {_nulls(evidence)}"
    extra += settled(*excesses) if kind == UNDECIDED else ""
    if all(has(evidence, f"{LATENT}.{measure}.{names[-1]}_mean") for measure, names in CLUSTERING.items()):
        by_gaussians, compared, beyond = _against(evidence, "Gaussians", "Gaussians")
        extra += f" Against Gaussians alone: {by_gaussians}."
        gaussian = (*numbers_of(compared), *beyond)
    words = ("`modified` is more clustered.", "`modified` is not more clustered.", "Which is more clustered is not settled.")
    return conclude(evidence, kind, words, *excesses, extra=extra, doubt="", more=(*above, *gaussian, *_maps(evidence)))


def _against(evidence: Evidence, over: str, name: str, needs: Sequence[str] = ()) -> tuple[str, list[Compared], list[Number]]:
    """The verdict against one of the nulls, both excesses over it, and how many seeds of `modified` lie above its range."""
    excesses, above, every = [], [], []
    for measure, (words, value, highest, gaussian) in CLUSTERING.items():
        path, null = f"{LATENT}.{measure}.{value}", f"{LATENT}.{measure}.{highest if name == 'null' else gaussian}"
        excesses.append(compare(evidence, f"excess of {words} over {over}", _excess(path, f"{null}_mean"), needs=needs))
        values, highs = evidence.values(MODIFIED, path), evidence.values(MODIFIED, f"{null}_high")
        beyond = [values[seed] > highs[seed] for seed in values if seed in highs]
        label = f"seeds of modified above the range of the {name}, {words}"
        above.append(Number(name=label, value=sum(beyond), unit=f"of {len(beyond)}", source=f"{LATENT}.{measure}"))
        every.append(len(beyond) >= LEAST_SEEDS and all(beyond))
    compared = both_ways(excesses)
    return (compared if compared == FAILS or all(every) else UNDECIDED), excesses, above


def _excess(path: str, expected: str) -> Value:
    """A measure less what its null reaches on average, at these paths of a trial."""
    value, null = number_at(path), number_at(expected)
    return lambda trial: None if (v := value(trial)) is None or (n := null(trial)) is None else v - n


def _nulls(evidence: Evidence) -> str:
    """Which null was the higher of the two, for each measure over all trials of both networks."""
    trials = [t for arm in PAIR for t in evidence.of(arm).values()]
    by_null: dict[str, list[str]] = {}
    for measure in CLUSTERING:
        kinds = Counter(t.get(f"{LATENT}.{measure}.null_kind") for t in trials if t.get(f"{LATENT}.{measure}")).most_common()
        num = sum(n for _, n in kinds)
        counts = (NULLS.get(kind, str(kind)) + (f" in {n} of {num} trials" if len(kinds) > 1 else "") for kind, n in kinds)
        by_null.setdefault(joined(counts), []).append("Hopkins" if measure == "hopkins" else measure)
    return f"The null of {'; of '.join(f'{joined(names)}: {each}' for each, names in by_null.items())}."


def _maps(evidence: Evidence) -> list[Number]:
    """Silhouettes of the t-SNE maps, which do not decide."""
    numbers = []
    for arm in PAIR:
        for perplexity in dict.fromkeys(p for trial in evidence.of(arm).values() for p in trial.get(f"{LATENT}.tsne") or {}):
            path = f"{LATENT}.tsne.{perplexity}.silhouette"
            if (mean := evidence.estimate(arm, path)) is not None:
                numbers.append(Number.of(f"silhouette of the t-SNE map, perplexity {perplexity}, {arm}", mean, path))
    return numbers


@claim(
    id="C13", says="the clustered space may serve attribute classification better", link="probes",
    measurement="linear-probe ROC AUC for each of the attributes on the posterior means",
    rule="ROC AUC of linear probes on the posterior means, averaged over the attributes that have enough positives. Holds when the "
    f"mean is higher in `modified`: {BY_SEED} lies above zero, {WITH_IMAGES} (DeLong's, corrected for fitting); fails when it lies "
    "below; else undecided, and so where scores by image are not stored. How many single attributes differ is counted with Holm's "
    f"correction over all of them (paired t tests, {SIGNIFICANCE:g}) from {LEAST_SINGLE} seeds on, and does not decide.",
)  # fmt: skip
def attributes(evidence: Evidence) -> Finding:
    """The mean AUC over attributes on one side of zero, where scores by image are stored."""
    path, needs = f"{LATENT}.linear_auc_mean", ("attributes", "probes")
    auc = compare(evidence, "mean AUC of linear probes", path, by_image=AUC_BY_IMAGE, needs=needs)
    stored = auc.images is not None
    counts, single = _single(evidence, auc.num_seeds)
    words = ("`modified` serves attributes better.", "`modified` serves attributes worse.", "For attributes nothing is settled.")
    doubt = settled(auc) if stored else " Not settled: its interval needs scores by image, which are not stored."
    probed = sorted({int(n) for arm in PAIR for n in evidence.values(arm, f"{LATENT}.num_probed").values()})
    scope = [f"{' or '.join(map(str, probed))} attributes"] if probed else []
    scope += [] if stored else ["without the spread over images, for scores by image are not stored"]
    kind = from_side(auc.side()) if stored else UNDECIDED
    made = conclude(evidence, kind, words, auc, extra=f" {counts}", doubt=doubt, scope="; ".join(scope), refused=not stored)
    knn = f"{LATENT}.knn_auc_mean"
    neighbours = compare(evidence, "mean AUC of neighbours", knn).numbers if has(evidence, knn) else ()
    # the correction is cautious: right to decide by, too wide to be shown as 95 %
    shown = [number for number in (*made.evidence, *neighbours) if not number.name.endswith("over images")]
    return replace(made, evidence=(*shown, *single))


def _single(evidence: Evidence, num_seeds: int) -> tuple[str, tuple[Number, ...]]:
    """How many single attributes differ between the two networks after Holm's correction."""
    if num_seeds < LEAST_SINGLE:
        return f"{count(num_seeds, 'seed')} cannot settle single attributes; that takes {LEAST_SINGLE}.", ()
    names = dict.fromkeys(n for arm in PAIR for t in evidence.of(arm).values() for n in t.get(f"{LATENT}.probes") or {})
    changes = {name: evidence.difference(f"{LATENT}.probes.{name}.linear_auc") for name in names}
    tested = {name: e for name, e in changes.items() if e is not None and e.num >= LEAST_SINGLE}
    rises = [tested[name].value > 0 for name, verdict in holm(tested, confidence=1 - SIGNIFICANCE).items() if verdict == SETTLED]
    better, worse = sum(rises), len(rises) - sum(rises)
    numbers = tuple(Number(name=f"attributes {name}, Holm", value=value) for name, value in (("better", better), ("worse", worse)))
    return f"Of {len(tested)} attributes {better} are better and {worse} worse by themselves (Holm).", numbers


@claim(
    id="C15", says="`modified` is better disentangled", link="disentanglement",
    measurement="MIG and DCI on rendered faces, whose factors are known; attribute probes by dimension on CelebA",
    rule="On rendered faces, whose factors are known: MIG and DCI disentanglement of the posterior means; SAP and the FactorVAE "
    f"score stand beside them. Holds when both are higher in `modified` ({BY_SEED} above zero), fails when both are lower, else "
    "undecided. Where the factors are not known: the gap between the best and the second single dimension in predicting an "
    "attribute, by the same rule.",
)  # fmt: skip
def disentangled(evidence: Evidence) -> Finding:
    """MIG and DCI on the same side of zero; without known factors the gap of single dimensions."""
    gap = f"{LATENT}.dimension_probes.gap_mean"
    paths = {"MIG": f"{FACTORS}.mig", "DCI disentanglement": f"{FACTORS}.dci.disentanglement"}
    beside = {"SAP": f"{FACTORS}.sap", "FactorVAE score": f"{FACTORS}.factor_vae"}
    known = has(evidence, paths["MIG"]) or not has(evidence, gap)
    if not known:
        paths, beside = {"gap of single dimensions": gap}, {}
    judged = [compare(evidence, label, path, needs=("factors", "disentanglement")) for label, path in paths.items()]
    more = [compare(evidence, label, path) for label, path in beside.items() if has(evidence, path)]
    words = ("`modified` is better disentangled.", "`modified` is worse disentangled.", "Which is better is not settled.")
    scope = "" if known else "by attributes and single dimensions, for the factors are not known"
    return conclude(evidence, both_ways(judged), words, *judged, *more, doubt=settled(*judged), scope=scope)


CLAIMS = (clustered, attributes, disentangled)
