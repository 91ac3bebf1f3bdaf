"""The paper's claims about the latent space: C12, C13, C15. No torch."""

from __future__ import annotations

from collections import Counter

from ablation.stats import SETTLED
from ablation.stats import judge as holm
from studies.paper.evidence.evidence import MODIFIED, ORIGINAL, Evidence, Trial
from studies.paper.rules.rules import (
    BY_SEED,
    LEAST_SEEDS,
    WITH_IMAGES,
    Value,
    compare,
    concluded,
    has,
    listed,
    numbers_of,
    scope_of,
    seeds_text,
    settled,
)
from studies.paper.rules.verdict import FAILS, UNDECIDED, Claim, Finding, Number, agreed, from_side, joined

LATENT = "analysis.latent"
# values by image whose mean is the mean AUC
AUC_BY_IMAGE = "linear_auc"
SIGNIFICANCE = 0.05
# seeds for a single attribute: with fewer, Holm's correction over some thirty of them is out of reach
LEAST_SINGLE = 5
NULLS = {"gaussian": "Gaussians", "flat": "flat clouds", None: "Gaussians (flat clouds were not measured)"}
STRUCTURE = (
    ("excess of Hopkins over its null", f"{LATENT}.hopkins", "value", "null"),
    ("excess of the best silhouette over its null", f"{LATENT}.silhouette", "best", "null_best"),
)

C12_RULE = (
    "Hopkins statistic and best silhouette over the numbers of clusters, both of the posterior means, each less its null: what "
    "clouds without clusters but with the same covariance reach, the higher of Gaussians and flat clouds (uniform along each "
    f"principal component). Holds when both excesses are larger in `modified` ({BY_SEED} above zero) and both of "
    f"`modified` lie above the null's 95 % range with each of at least {LEAST_SEEDS} seeds. Fails when both excesses are smaller "
    "in the same sense; else undecided, and so where no cluster is seen at all: these two measures can miss clusters, so that "
    "seeing none is no proof that there are none. What the same rule gives against Gaussians alone stands beside it and does not "
    "decide, nor do t-SNE maps: the extent of an axis is no evidence."
)


def clustered(evidence: Evidence) -> Finding:
    """C12."""
    needs = ("hopkins", "silhouette", "latent")
    found = tuple(compare(evidence, label, _excess(*where), needs=needs) for label, *where in STRUCTURE)
    beyond = [_beyond_null(evidence, *where) for _, *where in STRUCTURE]
    above = [_above(*seen) for seen in zip(STRUCTURE, beyond, strict=True)]
    by_gaussians, gaussian = _by_gaussians(evidence)
    kind = _clusters(agreed(from_side(c.side()) for c in found), beyond)
    said = ("`modified` is more clustered.", "`modified` is not more clustered.", "Which is more clustered is not settled.")
    counts = " and ".join(f"{sum(seen)} of {len(seen)}" for seen in beyond)
    sentence = (
        f"{concluded(kind, said)} {listed(*found)} Hopkins and silhouette of `modified` lie above the null's range with {counts} "
        f"seeds. {_nulls(evidence)}{settled(*found) if kind == UNDECIDED else ''}{by_gaussians}"
    )
    numbers = (*numbers_of(found), *above, *gaussian, *_maps(evidence))
    return Finding(kind=kind, sentence=sentence, evidence=numbers, scope=scope_of(evidence))


def _above(measure: tuple[str, ...], seen: list[bool], null: str = "null") -> Number:
    label, path = measure[:2]
    name = f"seeds of modified above the range of the {null}, {label.removeprefix('excess of ').partition(' over ')[0]}"
    return Number(name=name, value=sum(seen), unit=f"of {len(seen)}", source=path)


def _by_gaussians(evidence: Evidence) -> tuple[str, tuple[Number, ...]]:
    """What the rule would give against Gaussians alone, and its numbers; nothing where they were not stored apart."""
    measures = [(label.replace("its null", "Gaussians"), *where, null.replace("null", "gaussian"))
                for label, *where, null in STRUCTURE]  # fmt: skip
    if not all(has(evidence, f"{path}.{null}_mean") for _, path, _, null in measures):
        return "", ()
    found = tuple(compare(evidence, label, _excess(*where)) for label, *where in measures)
    beyond = [_beyond_null(evidence, *where) for _, *where in measures]
    kind = _clusters(agreed(from_side(c.side()) for c in found), beyond)
    above = [_above(measure, seen, "Gaussians") for measure, seen in zip(measures, beyond, strict=True)]
    return f" Against Gaussians alone: {kind}.", (*numbers_of(found), *above)


def _clusters(compared: str, beyond: list[list[bool]]) -> str:
    """The verdict on the excesses, given for each seed whether `modified` leaves the null's range."""
    enough = min(len(seen) for seen in beyond) >= LEAST_SEEDS
    return compared if compared == FAILS or (enough and all(all(seen) for seen in beyond)) else UNDECIDED


def _excess(path: str, value: str, null: str) -> Value:
    def excess(trial: Trial) -> float | None:
        found, expected = trial.get(f"{path}.{value}"), trial.get(f"{path}.{null}_mean")
        return None if found is None or expected is None else float(found - expected)

    return excess


def _beyond_null(evidence: Evidence, path: str, value: str, null: str) -> list[bool]:
    """For each seed of `modified`, whether it lies above the null's range."""
    values, highs = (evidence.values(MODIFIED, f"{path}.{name}") for name in (value, f"{null}_high"))
    return [values[seed] > highs[seed] for seed in values if seed in highs]


def _nulls(evidence: Evidence) -> str:
    """Which null was the higher of the two, for each measure over all trials of both networks."""
    trials = [t for arm in (ORIGINAL, MODIFIED) for t in evidence.of(arm).values()]
    told: dict[str, list[str]] = {}
    for measure in ("hopkins", "silhouette"):
        kinds = Counter(t.get(f"{LATENT}.{measure}.null_kind") for t in trials if t.get(f"{LATENT}.{measure}"))
        counts = [f" in {n} of {kinds.total()} trials" if len(kinds) > 1 else "" for _, n in kinds.most_common()]
        each = joined(NULLS.get(kind, str(kind)) + count for (kind, _), count in zip(kinds.most_common(), counts, strict=True))
        told.setdefault(each, []).append("Hopkins" if measure == "hopkins" else measure)
    return f"The null of {'; of '.join(f'{joined(names)}: {each}' for each, names in told.items())}."


def _maps(evidence: Evidence) -> list[Number]:
    """Silhouettes of the t-SNE maps, which do not decide."""
    found = []
    for arm in (ORIGINAL, MODIFIED):
        perplexities = dict.fromkeys(p for trial in evidence.of(arm).values() for p in trial.get(f"{LATENT}.tsne") or {})
        for perplexity in perplexities:
            path = f"{LATENT}.tsne.{perplexity}.silhouette"
            e = evidence.estimate(arm, path)
            if e is not None:
                name = f"silhouette of the t-SNE map, perplexity {perplexity}, {arm}"
                found.append(Number(name=name, value=e.value, low=e.low, high=e.high, source=path))
    return found


C13_RULE = (
    "ROC AUC of linear probes on the posterior means, averaged over the attributes that have enough positives. Holds when the "
    f"mean is higher in `modified`: {BY_SEED} lies above zero, {WITH_IMAGES} (DeLong's, corrected for fitting); fails when it lies "
    "below; else undecided, and so where scores by image are not stored. How many single attributes differ is counted with Holm's "
    f"correction over all of them (paired t tests, {SIGNIFICANCE:g}) from {LEAST_SINGLE} seeds on, and does not decide."
)


def attributes(evidence: Evidence) -> Finding:
    """C13."""
    found = compare(
        evidence, "mean AUC of linear probes", f"{LATENT}.linear_auc_mean", by_image=AUC_BY_IMAGE, needs=("attributes", "probes")
    )
    kind = UNDECIDED if found.images is None else from_side(found.side())
    counts, numbers = _single(evidence, found.num_seeds)
    said = ("`modified` serves attributes better.", "`modified` serves attributes worse.", "For attributes nothing is settled.")
    why = settled(found) if found.images is not None else " Not settled: its interval needs scores by image, which are not stored."
    sentence = f"{concluded(kind, said)} {listed(found)} {counts}{why}"
    knn = f"{LATENT}.knn_auc_mean"
    extra = [compare(evidence, "mean AUC of neighbours", knn)] if has(evidence, knn) else []
    # the correction is cautious: right to decide by, too wide to be shown as 95 %
    shown = [number for number in numbers_of((found, *extra)) if not number.name.endswith("over images")]
    probed = sorted({int(n) for arm in (ORIGINAL, MODIFIED) for n in evidence.values(arm, f"{LATENT}.num_probed").values()})
    extra_scope = [f"{' or '.join(map(str, probed))} attributes"] if probed else []
    extra_scope += [] if found.images is not None else ["without the spread over images, for scores by image are not stored"]
    scope = scope_of(evidence, "; ".join(extra_scope))
    return Finding(kind=kind, sentence=sentence, evidence=(*shown, *numbers), scope=scope, refused=found.images is None)


def _single(evidence: Evidence, num_seeds: int) -> tuple[str, tuple[Number, ...]]:
    """What is known of single attributes."""
    if num_seeds < LEAST_SINGLE:
        return f"{seeds_text(num_seeds)} cannot settle single attributes; that takes {LEAST_SINGLE}.", ()
    better, worse, num = single_attributes(evidence)
    numbers = tuple(Number(name=f"attributes {name}, Holm", value=value) for name, value in (("better", better), ("worse", worse)))
    return f"Of {num} attributes {better} are better and {worse} worse by themselves (Holm).", numbers


def single_attributes(evidence: Evidence) -> tuple[int, int, int]:
    """(better, worse, tested): attributes whose AUC differs between the two networks after Holm's correction."""
    names = dict.fromkeys(
        n for arm in (ORIGINAL, MODIFIED) for t in evidence.of(arm).values() for n in t.get(f"{LATENT}.probes") or {}
    )
    found = {name: evidence.difference(f"{LATENT}.probes.{name}.linear_auc") for name in names}
    tested = {name: e for name, e in found.items() if e is not None and e.num >= LEAST_SINGLE}
    rises = [tested[name].value > 0 for name, verdict in holm(tested, confidence=1 - SIGNIFICANCE).items() if verdict == SETTLED]
    return sum(rises), len(rises) - sum(rises), len(tested)


C15_RULE = (
    "On rendered faces, whose factors are known: MIG and DCI disentanglement of the posterior means; SAP and the FactorVAE score "
    f"stand beside them. Holds when both are higher in `modified` ({BY_SEED} above zero), fails when both are lower, else "
    "undecided. Where the factors are not known: the gap between the best and the second single dimension in predicting an "
    "attribute, by the same rule."
)


def disentangled(evidence: Evidence) -> Finding:
    """C15."""
    base = "analysis.disentanglement"
    needs = ("factors", "disentanglement")
    if has(evidence, f"{base}.mig"):
        paths = {"MIG": f"{base}.mig", "DCI disentanglement": f"{base}.dci.disentanglement"}
        extra = {"SAP": f"{base}.sap", "FactorVAE score": f"{base}.factor_vae"}
    else:
        path = f"{LATENT}.dimension_probes.gap_mean"
        if not has(evidence, path):
            compare(evidence, "MIG", f"{base}.mig", needs=needs)  # raises with the reason
        paths, extra = {"gap of single dimensions": path}, {}
    found = tuple(compare(evidence, label, path, needs=needs) for label, path in paths.items())
    more = tuple(compare(evidence, label, path) for label, path in extra.items() if has(evidence, path))
    kind = agreed(from_side(c.side()) for c in found)
    said = (
        "`modified` is better disentangled.",
        "`modified` is worse disentangled.",
        "Which is better is not settled.",
    )
    scope = "" if extra else "by attributes and single dimensions, for the factors are not known"
    sentence = f"{concluded(kind, said)} {listed(*found, *more)}{settled(*found)}"
    return Finding(kind=kind, sentence=sentence, evidence=numbers_of((*found, *more)), scope=scope_of(evidence, scope))


CLAIMS = (
    Claim(
        id="C12", says="`modified` has a more clustered latent space", rule=C12_RULE, link="clusters", find=clustered,
        measurement="Hopkins statistic and best silhouette on the posterior means, over seeds and t-SNE perplexities",
    ),
    Claim(
        id="C13", says="the clustered space may serve attribute classification better", rule=C13_RULE,
        link="probes", find=attributes, measurement="linear-probe ROC AUC for each of the attributes on the posterior means",
    ),
    Claim(
        id="C15", says="`modified` is better disentangled", rule=C15_RULE, link="disentanglement", find=disentangled,
        measurement="MIG and DCI on rendered faces, whose factors are known; attribute probes by dimension on CelebA",
    ),
)  # fmt: skip
