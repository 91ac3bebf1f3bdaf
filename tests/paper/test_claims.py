"""Claims: each rule with evidence where it holds, fails and is undecided; thresholds, missing data, seeds, scope, the ledger."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ablation.record.attribution import Attribution, Effect
from ablation.record.explanation import Explanation, ModeResult
from ablation.record.trial import Record
from ablation.stats import mean_estimate
from studies.paper.claims import judge as claims
from studies.paper.claims import masks as claims_masks
from studies.paper.claims.judge import CLAIMS, PAPER_CLAIMS, judge, judge_one
from studies.paper.claims.ledger import (
    COLUMNS,
    counts,
    counts_text,
    from_json,
    ledger_rows,
    to_csv,
    to_json,
    to_markdown,
    write_ledger,
)
from studies.paper.evidence.evidence import MAIN_ARMS, MODIFIED, ORIGINAL, SAME_PARAMETERS, Evidence, Trial
from studies.paper.rules import compared, rules_cost
from studies.paper.rules.compared import Compared, quotient
from studies.paper.rules.verdict import FAILS, HOLDS, UNDECIDED, Claim, Finding, Verdict, agreed, all_of, from_side, plain, spanned
from tests.fake_evidence import QUALITY, TRAIN, VALIDATION, fake_evidence, fake_loss_by_seed, fake_references, timed_in_sittings
from tests.fake_explanation import fake_attribution, fake_explanation

LATENT, MOVES, LOSS = "analysis.latent", "analysis.traversal", "record.training.best_loss"
TRAINED = {"C7", "C8", "C9", "C10", "C11", "C12", "C13", "C14", "C15", "C16", "C17", "C18", "C19", "C20", "T1", "T2", "T3", "T4"}
NO_EXPLANATION = {"explanation": None}


def of(claim_id: str, evidence: Evidence) -> Verdict:
    """The verdict on one claim; evidence that could not be read is a mistake of the test."""
    found = judge_one(next(c for c in CLAIMS if c.id == claim_id), evidence)
    assert "could not be read" not in found.sentence, found.sentence
    return found


def pair(path: str, original: float, modified: float) -> dict[str, Any]:
    return {"truths": {path: {ORIGINAL: original, MODIFIED: modified}}}


def pairs(**ends: tuple[float, float]) -> dict[str, Any]:
    return {"truths": {path: {ORIGINAL: a, MODIFIED: b} for path, (a, b) in ends.items()}}


def quality(**ends: tuple[float, float]) -> dict[str, Any]:
    return pairs(**{f"{QUALITY}.{name}": values for name, values in ends.items()})


def timed(ratio: float, *, gain: float | None = 1.16, half: float = 0.015) -> dict[str, Any]:
    """An explanation with this eager ratio, and this gain without concatenation."""

    def mode(name: str, value: float, gained: float) -> ModeResult:
        return ModeResult(
            mode=name, text=name, first_ms=17.7, second_ms=17.7 * value,
            ratio=value, ratio_low=value - half, ratio_high=value + half,
            second_gain=gained, second_gain_low=gained - half, second_gain_high=gained + half,
        )  # fmt: skip

    modes = [mode("eager", ratio, 1.0)] + ([] if gain is None else [mode("no concatenation", ratio / gain, gain)])
    return {"explanation": on_gpu(fake_explanation(modes=tuple(modes)))}


def on_gpu(explanation: Explanation, sittings: int = 5) -> Explanation:
    """The same as measured on a GPU, over so many sittings."""
    return timed_in_sittings(explanation, sittings, "cuda")


def attributed(metric: str, half: float | None = None, device: str = "cpu", **values: float) -> dict[str, Any]:
    """An explanation in which one metric is given to these pieces, in this order: connectivity, convolution, head."""
    effects = {
        name: Effect(value=v, low=None if half is None else v - half, high=None if half is None else v + half)
        for name, v in values.items()
    }
    place = f"{device}/1" if metric == "log_latency" else ""
    base = fake_attribution(metric, place)
    changed = replace(base, shapley=effects, from_start=effects, from_end=effects)
    others = tuple(a for a in fake_explanation().attributions if a.metric != metric)
    explanation = fake_explanation(attributions=(changed, *others))
    return {"explanation": on_gpu(explanation) if device == "cuda" else explanation}


def curves(train: Callable[[int], float], validation: Callable[[int], float] | None = None, epochs: int = 10) -> dict[str, Any]:
    first, second = ([f(n) for n in range(epochs)] for f in (train, validation or train))
    return {"train": (first, [v + 0.1 for v in first]), "validation": (second, [v + 0.1 for v in second])}


def hypotheses(metric: str, **by_arm: float) -> dict[str, Any]:
    """Another mean of one metric for some of the ten hypotheses; in their names '__' stands for ', ' and '_' for ' + '."""
    names = {name: name.replace("__", ", ").replace("_", " + ") for name in by_arm}
    return {"hypothesis_truths": {names[name]: {f"{QUALITY}.{metric}": value} for name, value in by_arm.items()}}


def steps(ratio: float, device: str = "cuda", sittings: int | None = 5) -> dict[str, Any]:
    """Training steps timed on a device."""
    return {"speed": {"ratio": ratio, "low": ratio - 0.02, "high": ratio + 0.02, "device": device, "sittings": sittings}}


FALLING = curves(lambda n: 0.5 + 0.3 * 0.5**n)
STRAIGHT = curves(lambda n: 0.9 - 0.05 * n)
PAPER_RUN = {"scale": {"num_train": 14_000, "batch_size": 32}}
# 438 steps in each epoch
ONE_COST = fake_explanation().costs
NO_MODE = timed(5.8, gain=None)
SAME = quality(ssim=(0.7, 0.699), ms_ssim=(0.9, 0.899), psnr=(21.0, 20.99), l1=(0.06, 0.0601))
FACTORS = "analysis.disentanglement"
CASES: dict[str, tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]] = {
    # id: evidence where it holds, where it fails, where it is undecided
    "C1": ({}, {"explanation": fake_explanation(costs={**ONE_COST, "modified": {"params": 6_283_268}})}, NO_EXPLANATION),
    "C2a": (timed(3.0), timed(0.5), timed(1.0)),
    "C2b": (timed(5.8), timed(3.0), timed(5.11, half=0.1)),
    "C3": (
        attributed("params", connectivity=-2e6, conv=-1e6, head=-5e5, width=5e5), {},
        {"explanation": fake_explanation(attributions=())},
    ),
    "C4": (
        {}, attributed("macs", connectivity=1e8, conv=1e6),
        {"explanation": replace(fake_explanation(), attributions=(
            replace(fake_attribution("macs"), from_start={"connectivity": Effect(value=1.0), "conv": Effect(value=1.0)}),
        ))},
    ),
    "C5": (timed(5.8, gain=1.5), {"explanation": on_gpu(fake_explanation())}, NO_MODE),
    "C6": (
        attributed("log_latency", 0.01, "cuda", connectivity=0.9, conv=0.1),
        attributed("log_latency", 0.01, "cuda", connectivity=0.9, conv=-0.1),
        attributed("log_latency", 0.2, "cuda", connectivity=0.9, conv=-0.1),
    ),
    "C7": (SAME, {}, {"references": {}}),
    "C8": ({"truths": {LOSS: (0.55, 0.67, 0.6, 0.60)}}, {"spread": 0.002}, {
        "loss_by_seed": {}, "truths": {LOSS: (0.55, 0.67, 0.6, 0.60)},
    }),
    "C9": (
        {}, quality(delta_e=(8.0, 7.0), colour_error_mean=(0.03, 0.02)),
        quality(delta_e=(8.0, 7.0), colour_error_mean=(0.02, 0.03)),
    ),
    "C10": ({}, quality(l1_outside=(0.066, 0.070), l1_inside=(0.05, 0.06)), {"without": (f"{QUALITY}.l1_outside",)}),
    "C11": (
        {}, quality(high_frequency=(0.2, 0.3), high_frequency_matched=(0.2, 0.3)),
        quality(high_frequency=(0.2, 0.3), high_frequency_matched=(0.3, 0.2)),
    ),
    "C12": ({}, pairs(**{f"{LATENT}.hopkins.value": (0.6, 0.57), f"{LATENT}.silhouette.best": (0.06, 0.05)}),
            pairs(**{f"{LATENT}.hopkins.value": (0.6, 0.68), f"{LATENT}.silhouette.best": (0.08, 0.07)})),
    "C13": ({}, pair(f"{LATENT}.linear_auc_mean", 0.85, 0.80), pair(f"{LATENT}.linear_auc_mean", 0.85, 0.85)),
    "C14": (
        {}, pairs(**{f"{MOVES}.path_length_mean": (0.3, 0.2), f"{MOVES}.smoothness": (0.6, 0.8),
                     f"{MOVES}.l1_path_length_mean": (0.077, 0.051)}),
        pairs(**{f"{MOVES}.path_length_mean": (0.2, 0.3), f"{MOVES}.smoothness": (0.6, 0.8)}),
    ),
    "C15": (
        {}, pairs(**{f"{FACTORS}.mig": (0.1, 0.06), f"{FACTORS}.dci.disentanglement": (0.2, 0.1)}),
        pairs(**{f"{FACTORS}.mig": (0.1, 0.06), f"{FACTORS}.dci.disentanglement": (0.1, 0.2)}),
    ),
    "C16": (
        {}, pairs(**{f"{MOVES}.share_changed_mean": (0.3, 0.2), f"{MOVES}.locality_mean": (0.35, 0.45)}), {"without": (MOVES,)},
    ),
    "C17": (
        {**FALLING, **PAPER_RUN}, {**STRAIGHT, **PAPER_RUN}, {**curves(lambda n: 0.5 + 0.3 * 0.5**n, epochs=6), **PAPER_RUN},
    ),
    "C18": ({}, {"train": TRAIN[::-1], "validation": VALIDATION[::-1]}, {"train": TRAIN[::-1]}),
    "C19": (
        PAPER_RUN, {
            **pairs(**{"analysis.eval_losses.train": (0.55, 0.60), "analysis.eval_losses.validation": (0.56, 0.67)}), **PAPER_RUN,
        }, {},
    ),
    "C20": (
        {**FALLING, **PAPER_RUN}, curves(lambda n: 0.5 + 0.3 * 0.5**n, lambda n: 0.6 + 0.02 * n),
        {"without": ("record.training.epochs",)},
    ),
    "C21": (
        steps(0.9), steps(1.9), steps(1.0),
    ),
    "T1": ({}, hypotheses("l1_inside", L2__mask=0.08), hypotheses("l1_inside", L2__mask=0.059)),
    "T2": ({}, hypotheses("mse_inside", L1_SSIM__mask=0.001), {"hypotheses": ()}),
    "T3": ({}, hypotheses("colour_error_mean", SSIM=0.01), hypotheses("colour_error_mean", SSIM=0.021)),
    "T4": ({}, hypotheses("ms_ssim", L1=0.97), hypotheses("ms_ssim", L1=0.92)),
}  # fmt: skip


@pytest.mark.parametrize("claim_id", [c.id for c in CLAIMS])
@pytest.mark.parametrize("kind", [HOLDS, FAILS, UNDECIDED])
def test_rule(claim_id: str, kind: str) -> None:
    changes = CASES[claim_id][(HOLDS, FAILS, UNDECIDED).index(kind)]
    found = of(claim_id, fake_evidence(**changes))
    assert found.kind == kind, found.sentence
    if kind != UNDECIDED:
        assert found.evidence and all(math.isfinite(n.value) for n in found.evidence)


def test_all_21_claims_in_order_then_four_findings() -> None:
    ids = ["C1", "C2a", "C2b", *(f"C{n}" for n in range(3, 22))]
    assert [c.id for c in PAPER_CLAIMS] == ids
    assert [v.id for v in judge(fake_evidence())] == [*ids, "T1", "T2", "T3", "T4"]
    assert set(CASES) == {c.id for c in CLAIMS}


def test_the_claims_are_those_of_the_paper_s_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "paper.md").read_text(encoding="utf-8")
    said = dict(re.findall(r"^\| (C\d+[ab]?) \| (.*?) \|", page, flags=re.MULTILINE))
    assert {c.id: c.says.replace("→", "->") for c in PAPER_CLAIMS} == said


@pytest.mark.parametrize("seeds", [0, 1, 2])
def test_below_three_seeds_nothing_trained_is_decided(seeds: int) -> None:
    verdicts = {v.id: v for v in judge(fake_evidence(seeds))}
    assert {name for name in TRAINED if verdicts[name].kind != UNDECIDED} == set()
    assert verdicts["C1"].kind == HOLDS and verdicts["C21"].kind == UNDECIDED
    if seeds:
        assert f"{seeds} seed" in verdicts["C9"].sentence and "needs 3" in verdicts["C9"].sentence


def test_noise_between_seeds_decides_nothing_about_quality() -> None:
    verdicts = {v.id: v for v in judge(fake_evidence(spread=0.6, **PAPER_RUN))}
    for name in ("C9", "C11", "C13", "C18", "C19"):
        assert verdicts[name].kind == UNDECIDED and "Not settled" in verdicts[name].sentence


# numbers behind the rules, against independent computations


def test_interval_is_student_s_t() -> None:
    values = (0.31, 0.36, 0.29, 0.33)
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    found = mean_estimate(values)
    assert found.low == pytest.approx(low, rel=1e-5) and found.high == pytest.approx(high, rel=1e-5)


def test_sides_by_hand() -> None:
    wide = Compared(label="x", values=(1.0, 2.0, 3.0))  # 2 ± 4.303 / √3: includes 0
    narrow = Compared(label="x", values=(1.9, 2.0, 2.1))  # 2 ± 0.248
    assert (wide.side(), narrow.side(), narrow.side(1.7), narrow.side(1.8), narrow.side(2.3)) == (0, 1, 1, 0, -1)
    assert "includes zero" in wide.doubt() and narrow.doubt() == ""
    two = Compared(label="x", values=(2.0, 2.0001))
    assert two.side() == 0 and "2 seeds" in two.doubt()


def test_images_must_agree() -> None:
    seeds = (1.9, 2.0, 2.1)  # standard error 0.058
    few, many = (2.0 + np.array([-3.0, 3.0] * half) for half in (10, 100))  # 0.69 and 0.21
    assert Compared(label="x", values=seeds, images=many).side() == 1
    against = Compared(label="x", values=seeds, images=few)
    assert against.side() == 0 and "with the spread over images" in against.doubt()


def test_pairing_is_by_seed() -> None:
    # arms whose seeds differ far more than they do: unpaired nothing could be told
    evidence = fake_evidence(seeds=4, spread=0.0)
    for name in ("high_frequency", "high_frequency_matched"):
        evidence = planted(evidence, f"{QUALITY}.{name}", {ORIGINAL: (1, 2, 3, 4), MODIFIED: (0.9, 1.91, 2.9, 3.89)})
    found = of("C11", replace(evidence, trials=tuple(without_images(t) for t in evidence.trials)))
    assert found.kind == HOLDS
    number = next(n for n in found.evidence if "over 4 seeds" in n.name)
    assert number.value == pytest.approx(-0.1, abs=1e-9)


def test_the_spread_over_images_counts() -> None:
    evidence = fake_evidence()
    assert of("C11", evidence).kind == HOLDS
    for trial in evidence.trials:  # the same means, and a difference between the networks that changes from image to image
        noise = np.random.default_rng(3).normal(size=60) * (0.3 if trial.arm == MODIFIED else 0.0)
        for name in ("high_frequency", "high_frequency_matched"):
            trial.analysis["per_image"][name] = (np.array(trial.analysis["per_image"][name]) + noise - noise.mean()).tolist()
    found = of("C11", evidence)
    assert found.kind == UNDECIDED and "with the spread over images" in found.sentence


def planted(evidence: Evidence, path: str, values: Mapping[str, Any]) -> Evidence:
    """Exact values by arm, in the order of the seeds."""
    trials = []
    for trial in evidence.trials:
        tree = {"analysis": json.loads(json.dumps(trial.analysis)), "record": trial.record.to_dict()}
        if trial.arm in values:
            *way, last = path.split(".")
            level: Any = tree
            for key in way:
                level = level[key]
            level[last] = values[trial.arm][trial.seed]
        trials.append(Trial(arm=trial.arm, record=Record.from_dict(tree["record"]), analysis=tree["analysis"]))
    return replace(evidence, trials=tuple(trials))


def without_images(trial: Trial) -> Trial:
    return replace(trial, analysis={k: v for k, v in trial.analysis.items() if k != "per_image"})


def test_fall_as_a_share_of_the_way_to_the_mean_face_by_hand() -> None:
    evidence = fake_evidence(spread=0.0, truths={f"{QUALITY}.ssim": (0.8, 0.75, 0.8, 0.8)})
    found = of("C7", evidence)  # the mean face has 0.30: (0.8 - 0.75) / (0.8 - 0.3)
    number = next(n for n in found.evidence if n.name.startswith("fall of SSIM, over 3"))
    assert number.value == pytest.approx(0.1)


def test_lower_is_better_falls_the_right_way() -> None:
    # L1 0.06 to 0.071, mean face 0.17: (0.06 - 0.071) / (0.06 - 0.17) = 0.1
    number = next(
        n
        for n in of("C7", fake_evidence(spread=0.0, **quality(l1=(0.06, 0.071)))).evidence
        if n.name.startswith("fall of L1, over 3")
    )
    assert number.value == pytest.approx(0.1)


def test_difference_in_differences_by_hand() -> None:
    evidence = fake_evidence(spread=0.0, **quality(l1_outside=(0.10, 0.15), l1_inside=(0.05, 0.06)))
    number = next(n for n in of("C10", evidence).evidence if n.name.startswith("relative rise outside") and "3 seeds" in n.name)
    assert number.value == pytest.approx(0.5 - 0.2)  # +50 % outside, +20 % inside


def test_a_background_that_is_merely_harder_is_not_worse() -> None:
    # twice the absolute rise outside, the same in proportion
    found = of("C10", fake_evidence(**quality(l1_outside=(0.10, 0.12), l1_inside=(0.05, 0.06))))
    assert found.kind == UNDECIDED


def test_share_of_the_fall_by_hand() -> None:
    curve = [1.0, 0.8, 0.6, 0.55, 0.54, 0.53, 0.52, 0.51, 0.505, 0.5]
    found = of("C17", fake_evidence(spread=0.0, train=(curve, curve)))
    assert found.evidence[0].value == pytest.approx(0.8)  # (1 - 0.6) / (1 - 0.5)


def test_clusters_that_are_not_seen_are_not_refuted() -> None:
    below = pairs(**{f"{LATENT}.hopkins.value": (0.50, 0.55), f"{LATENT}.silhouette.best": (0.02, 0.05)})
    found = of("C12", fake_evidence(**below))
    assert found.kind == UNDECIDED and "above the null's range with 0 of 3 and 0 of 3 seeds" in found.sentence


def test_the_null_that_was_higher_is_named() -> None:
    assert "The null of Hopkins: flat clouds; of silhouette: Gaussians." in of("C12", fake_evidence()).sentence
    evidence = fake_evidence()
    kinds = {ORIGINAL: ["flat"] * 3, MODIFIED: ["flat", "gaussian", "flat"]}
    mixed = of("C12", planted(evidence, f"{LATENT}.silhouette.null_kind", kinds))
    assert "of silhouette: flat clouds in 5 of 6 trials and Gaussians in 1 of 6 trials" in mixed.sentence
    old = of("C12", fake_evidence(without=(f"{LATENT}.hopkins.null_kind", f"{LATENT}.silhouette.null_kind")))
    assert "The null of Hopkins and silhouette: Gaussians (flat clouds were not measured)." in old.sentence


def test_what_gaussians_alone_would_give_is_told_and_does_not_decide() -> None:
    """Between Gaussians and flat clouds: the rule settles nothing, the issue's plain null says more clustered."""
    trials = fake_evidence(**pairs(**{f"{LATENT}.hopkins.value": (0.50, 0.55), f"{LATENT}.silhouette.best": (0.02, 0.05)}))
    assert "Gaussians alone" not in of("C12", trials).sentence, "not stored apart"
    for path, values in {"hopkins.gaussian": (0.50, 0.48, 0.52), "silhouette.gaussian_best": (0.02, 0.01, 0.03)}.items():
        for end, value in zip(("mean", "low", "high"), values, strict=True):
            trials = planted(trials, f"{LATENT}.{path}_{end}", {ORIGINAL: [value] * 3, MODIFIED: [value] * 3})
    found = of("C12", trials)
    assert found.kind == UNDECIDED
    assert found.sentence.endswith("Against Gaussians alone: holds.")
    seeds = {
        n.name.partition("above the range of the ")[2]: n.text for n in found.evidence if n.name.startswith("seeds of modified")
    }
    assert seeds == {"null, Hopkins": "0 of 3", "null, the best silhouette": "0 of 3",
                     "Gaussians, Hopkins": "3 of 3", "Gaussians, the best silhouette": "3 of 3"}  # fmt: skip


CHANGES, PATH, DETOUR = f"{MOVES}.l1_change_mean", f"{MOVES}.path_length_mean", f"{MOVES}.l1_path_length_mean"


@pytest.mark.parametrize(
    ("detour", "even", "kind", "words"),
    [
        (0.0505, 0.90, FAILS, "`modified` has smoother traversals."),  # detour 1.10 to 1.01
        (0.0575, 0.90, UNDECIDED, "The detour says the opposite of the length."),  # 1.10 to 1.15
        (0.0550, 0.90, UNDECIDED, "the interval of detour includes zero"),  # 1.10 to 1.10
        (0.0505, 0.60, UNDECIDED, "The evenness of steps says the opposite of the length."),
        (0.0575, 0.60, UNDECIDED, "The detour and evenness of steps say the opposite of the length."),
    ],
)
def test_a_path_along_which_less_changes_is_not_smoother_by_that(detour: float, even: float, kind: str, words: str) -> None:
    found = of(
        "C14",
        fake_evidence(
            **pairs(**{PATH: (0.3, 0.15), DETOUR: (0.11, detour), CHANGES: (0.10, 0.05), f"{MOVES}.smoothness": (0.8, even)})
        ),
    )
    assert found.kind == kind and words in found.sentence, found.sentence
    assert "`modified` changes less." in found.sentence and "L1 change between the ends 0.1" in found.sentence


def test_detour_by_hand() -> None:
    found = of("C14", fake_evidence(spread=0.0, **pairs(**{DETOUR: (0.06, 0.08), CHANGES: (0.05, 0.05)})))
    numbers = {n.name: n.value for n in found.evidence}
    assert (numbers["detour, original"], numbers["detour, modified"]) == pytest.approx((1.2, 1.6))
    assert "changes less" not in found.sentence and "changes more" not in found.sentence


@pytest.mark.parametrize(
    ("share", "locality", "kind", "words"),
    [
        ((0.6, 0.3), (0.4, 0.4), UNDECIDED, "Fewer pixels change in `modified`; that the changes are more local is not settled."),
        ((0.3, 0.6), (0.4, 0.4), UNDECIDED, "More pixels change in `modified`; that the changes are more global is not settled."),
        ((0.6, 0.3), (0.4, 0.3), UNDECIDED, "Share and locality disagree."),
        ((0.6, 0.3), (0.4, 0.5), FAILS, "Changes are more local in `modified`."),
        ((0.4, 0.4), (0.4, 0.4), UNDECIDED, "Not settled."),
    ],
)
def test_a_smaller_change_is_not_more_local(
    share: tuple[float, float], locality: tuple[float, float], kind: str, words: str
) -> None:
    found = of("C16", fake_evidence(**pairs(**{f"{MOVES}.share_changed_mean": share, f"{MOVES}.locality_mean": locality})))
    assert found.kind == kind and words in found.sentence, found.sentence
    assert "more than 0.05. The paper" in found.scope


def test_t_sne_does_not_decide() -> None:
    evidence = fake_evidence(**pairs(**{f"{LATENT}.hopkins.value": (0.6, 0.57), f"{LATENT}.silhouette.best": (0.06, 0.05)}))
    maps = {ORIGINAL: [{"30": {"silhouette": 0.1}}] * 3, MODIFIED: [{"30": {"silhouette": 0.9}}] * 3}
    found = of("C12", planted(evidence, f"{LATENT}.tsne", maps))
    assert found.kind == FAILS
    assert any("perplexity 30, modified" in n.name and n.value == pytest.approx(0.9) for n in found.evidence)


def test_single_attributes_are_counted_both_ways() -> None:
    evidence = fake_evidence(seeds=8)
    names = list(evidence.trials[0].analysis["latent"]["probes"])
    shifts = {names[0]: 0.1, names[1]: -0.1}
    for trial in evidence.trials:
        side = 1 if trial.arm == MODIFIED else 0
        for name in names:
            auc = 0.7 + side * (shifts.get(name, 0.0) + 1e-3 * (-1) ** trial.seed)  # noise that averages to nothing
            trial.analysis["latent"]["probes"][name]["linear_auc"] = auc
    assert f"Of {len(names)} attributes 1 are better and 1 worse" in of("C13", evidence).sentence


def test_few_seeds_cannot_settle_single_attributes() -> None:
    least = int(stated("C13", r"from (\d+) seeds on"))
    few, enough = (of("C13", fake_evidence(seeds=seeds)) for seeds in (least - 1, least))
    assert f"{least - 1} seeds cannot settle single attributes" in few.sentence and "Holm" not in few.sentence
    assert not any("Holm" in n.name for n in few.evidence)
    assert "(Holm)" in enough.sentence and sum("Holm" in n.name for n in enough.evidence) == 2


def test_attributes_are_counted_where_they_were_probed() -> None:
    evidence = fake_evidence()
    probed = {ORIGINAL: [29, 29, 29], MODIFIED: [29, 28, 29]}
    assert "; 8 attributes. The paper" in of("C13", evidence).scope
    assert "; 28 or 29 attributes. The paper" in of("C13", planted(evidence, f"{LATENT}.num_probed", probed)).scope


def test_open_comparisons_are_counted_not_listed_again() -> None:
    found = of("T2", fake_evidence(seeds=2))
    assert found.kind == UNDECIDED and "Not settled: 9 of 9. A verdict needs 3 seeds." in found.sentence
    one = of("T1", fake_evidence(**hypotheses("l1_inside", L2__mask=0.059)))
    assert "Not all four are settled." in one.sentence and one.sentence.count("`L2, mask` less `L2`") == 2


def test_colour_is_judged_without_mask_alone() -> None:
    masked = hypotheses("colour_error_mean", SSIM__mask=0.001)  # SSIM alone is best with the mask
    found = of("T3", fake_evidence(**masked))
    assert found.kind == HOLDS and "mask" not in found.sentence


def test_a_training_step_s_ratio_is_of_sittings() -> None:
    found = of("C21", fake_evidence())
    assert "batch 32 on cpu, over 5 sittings" in found.sentence
    assert "2 threads only. The paper: 144 px" in found.scope
    for sittings in (None, 1, 2):
        old = of("C21", fake_evidence(**steps(1.9, sittings=sittings)))
        assert old.kind == UNDECIDED and "×1.90 the time" in old.sentence and "which takes 3 sittings" in old.sentence
        assert old.evidence[0].low is None


def test_one_epoch_is_no_epochs() -> None:
    assert "1 epoch," in of("C9", fake_evidence(scale={"epochs": 1})).scope


def test_bonferroni_interval_by_hand() -> None:
    values = (0.1, 0.2, 0.4)
    low, high = stats.t.interval(1 - 0.05 / 5, 2, loc=np.mean(values), scale=stats.sem(values))
    found = Compared(label="x", values=values)
    assert [found.side(low - 1e-6, 5), found.side(low + 1e-6, 5)] == [1, 0]
    assert [found.side(high + 1e-6, 5), found.side(high - 1e-6, 5)] == [-1, 0]


# thresholds: read from the rule's own text, and planted on either side of them


def rule_of(claim_id: str) -> str:
    return next(c.rule for c in CLAIMS if c.id == claim_id)


def stated(claim_id: str, pattern: str) -> float:
    found = re.search(pattern, rule_of(claim_id).replace("\u00a0", " "))
    assert found is not None, f"{claim_id} does not state {pattern}"
    return float(found[1])


def test_slight_is_what_the_rule_states() -> None:
    bound = stated("C7", r"under (\d+) % of that way") / 100
    for share, kind in ((bound - 0.02, HOLDS), (bound + 0.02, FAILS)):
        floor = fake_references()["mean face"]["quality"]["reporting"]
        tops = {"ssim": 0.7, "ms_ssim": 0.9, "psnr": 21.0, "l1": 0.06}
        ends = {name: (top, top - share * (top - floor[name])) for name, top in tops.items()}
        assert of("C7", fake_evidence(spread=0.001, **quality(**ends))).kind == kind


@pytest.mark.parametrize(("metric", "ends"), [("ssim", (0.2, 0.1)), ("l1", (0.2, 0.3)), ("psnr", (13.0, 12.0))])
def test_no_share_where_original_is_no_better_than_the_mean_face(metric: str, ends: tuple[float, float]) -> None:
    # the mean face: SSIM 0.30, L1 0.17, PSNR 13.0; worse than that, a fall is a share below zero
    label = {"ssim": "SSIM", "l1": "L1", "psnr": "PSNR"}[metric]
    found = of("C7", fake_evidence(spread=0.0, truths={**SAME["truths"], **quality(**{metric: ends})["truths"]}))
    assert found.kind == UNDECIDED
    assert f"`original` is not better than the mean face in {label} with every seed" in found.sentence
    assert any(n.name.startswith(f"{label}, over") for n in found.evidence)
    assert not any(n.name.startswith(f"fall of {label},") for n in found.evidence)


def test_one_metric_beyond_the_bound_fails_and_one_within_does_not_hold() -> None:
    assert of("C7", fake_evidence(truths={**SAME["truths"], **quality(ssim=(0.7, 0.5))["truths"]})).kind == FAILS


def test_a_cause_makes_at_least_what_the_rule_states() -> None:
    bound = stated("C8", r"at least (\d+) % of the mean rise") / 100
    for share, kind in ((bound - 0.02, FAILS), (bound + 0.02, HOLDS)):
        pieces = {"connectivity": share, "convolution": 0.45, "head": 0.55 - share}
        changes = {"truths": {LOSS: (0.55, 0.67, 0.6, 0.60)}, "loss_by_seed": fake_loss_by_seed(3, pieces)}
        assert of("C8", fake_evidence(**changes)).kind == kind


def test_a_piece_that_is_not_named_must_not_make_most() -> None:
    most = stated("C8", r"makes more than (\d+) %") / 100
    for share, kind in ((most - 0.05, HOLDS), (most + 0.05, FAILS)):
        pieces = {"connectivity": 0.2, "convolution": 0.8 - share, "head": share}
        changes = {"truths": {LOSS: (0.55, 0.67, 0.63, 0.60)}, "loss_by_seed": fake_loss_by_seed(3, pieces)}
        assert of("C8", fake_evidence(**changes)).kind == kind


@pytest.mark.parametrize(("pooled", "kind"), [(0.63, FAILS), (0.60, UNDECIDED), (0.57, UNDECIDED)])
def test_the_head_counts_against_the_claim_only_beyond_its_fewer_parameters(pooled: float, kind: str) -> None:
    pieces = {"connectivity": 0.2, "convolution": 0.2, "head": 0.6}
    changes = {"truths": {LOSS: (0.55, 0.67, pooled, 0.60)}, "loss_by_seed": fake_loss_by_seed(3, pieces)}
    found = of("C8", fake_evidence(**changes))
    assert found.kind == kind
    said = "The head costs more than fewer parameters do" if kind == FAILS else "The head may cost no more"
    assert said in found.sentence and "`plain, same parameters` against `original, pooled head`, 3 seeds" in found.sentence


def test_a_head_without_its_controls_decides_nothing() -> None:
    pieces = {"connectivity": 0.2, "convolution": 0.2, "head": 0.6}
    evidence = fake_evidence(truths={LOSS: (0.55, 0.67, 0.63, 0.60)}, loss_by_seed=fake_loss_by_seed(3, pieces))
    found = of("C8", replace(evidence, trials=tuple(t for t in evidence.trials if t.arm != "original, pooled head")))
    assert found.kind == UNDECIDED and "no trial of original, pooled head" in found.sentence


def test_another_piece_that_makes_most_needs_no_control() -> None:
    pieces = {"connectivity": 0.2, "convolution": 0.2, "widths": 0.6}
    changes = {"truths": {LOSS: (0.55, 0.67, 0.57, 0.60)}, "loss_by_seed": fake_loss_by_seed(3, pieces)}
    assert of("C8", fake_evidence(**changes)).kind == FAILS


def test_the_reduction_is_that_of_the_width_that_was_trained() -> None:
    sentence = of("C8", fake_evidence()).sentence.replace("\u00a0", " ")
    # 142,339, 104,131 and with the pooled head 109,571: 38,208 fewer, 32,768 of them by the head
    assert "26.8 % fewer parameters, of which the pooled head alone makes 86 %" in sentence and "32.8" not in sentence


def test_connectivity_that_was_swapped_with_the_sampling_says_so() -> None:
    merged = "encoder connectivity and downsampling and decoder connectivity and transposed"
    pieces = {merged: 0.3, "convolution": 0.3, "head": 0.4}
    told = of("C8", fake_evidence(loss_by_seed=fake_loss_by_seed(3, pieces)))
    assert "connectivity (with down- and upsampling) 30" in told.sentence and "and downsampling and" not in told.sentence
    assert any(n.name == "share of the loss, connectivity" for n in told.evidence)
    apart = of("C8", fake_evidence())
    assert "with down- and upsampling" not in apart.sentence


def test_why_the_loss_was_not_given_to_the_pieces() -> None:
    base = fake_evidence(loss_by_seed={})
    assert "the networks between the two were not trained" in of("C8", base).sentence
    between = tuple(replace(t, arm="original with modified's head") for t in base.trials[:2])
    stored = replace(base, trials=(*base.trials, *between))
    assert "2 trials of the networks between the two are stored, and not attributed yet" in of("C8", stored).sentence
    limits = ("LPIPS was not computed.", "loss was not given to the pieces: no path of variants leads from one to the other.")
    sentence = of("C8", replace(stored, limits=limits)).sentence
    assert "The loss was not given to the pieces: no path of variants" in sentence and "not attributed yet" not in sentence


def test_fewer_parameters_alone_as_the_rule_states() -> None:
    bound = stated("C8", r"at least (\d+) % of the mean rise") / 100
    for share, kind in ((bound - 0.05, FAILS), (bound + 0.05, HOLDS)):
        changes = {"truths": {LOSS: (0.55, 0.67, 0.6, 0.55 + 0.12 * share)}, "spread": 0.001}
        assert of("C8", fake_evidence(**changes)).kind == kind


def test_concatenation_must_remove_what_the_rule_states() -> None:
    bound = stated("C5", r"at least (\d+) % of the slowdown") / 100
    for share, kind in ((bound + 0.02, HOLDS), (bound - 0.02, FAILS)):
        assert of("C5", fake_evidence(**timed(5.8, gain=5.8**share, half=0.002))).kind == kind


def test_moving_bytes_must_make_what_the_rule_states() -> None:
    bound = stated("C5", r"at least (\d+) % of the added") / 100
    for share, kind in ((bound + 0.02, HOLDS), (bound - 0.12, FAILS), (bound - 0.02, UNDECIDED)):
        changes = timed(5.8, gain=2.0)
        changes["explanation"] = traffic(changes["explanation"], share)
        found = of("C5", fake_evidence(**changes))
        assert found.kind == kind, found.sentence
        number = next(n for n in found.evidence if n.name == "share of added time, moving bytes")
        assert number.value == pytest.approx(share)


def test_moving_bytes_is_refuted_by_its_upper_bound_alone() -> None:
    explanation = timed(5.8, gain=2.0)["explanation"]
    for limit, kind, high in (("macs", FAILS, 0.35), ("calls", FAILS, 0.35), ("bytes", UNDECIDED, 1.0)):
        found = of("C5", fake_evidence(explanation=traffic(explanation, 0.3, limited_by=limit)))
        assert found.kind == kind, found.sentence
        number = next(n for n in found.evidence if n.name == "share of added time, moving bytes")
        assert (number.value, number.low, number.high) == pytest.approx((0.3, 0.3, high))


def test_concatenation_counts_in_the_upper_bound_whatever_limits_it() -> None:
    first, second = traffic(timed(5.8, gain=2.0)["explanation"], 0.6).decompositions
    classes = tuple(replace(s, bytes_bound_ms=0.0, limited_by="calls") for s in second.by_class)
    explanation = replace(timed(5.8, gain=2.0)["explanation"], decompositions=(first, replace(second, by_class=classes)))
    assert of("C5", fake_evidence(explanation=explanation)).kind == UNDECIDED


@pytest.mark.parametrize(
    ("gain", "share", "kind", "words"),
    [
        (2.0, 0.6, HOLDS, "Concatenation itself is a cause; moving bytes is most of it. Without"),
        (1.01, 0.6, FAILS, "is not a cause; moving bytes is most of it. The claim names both, and fails by concatenation."),
        (1.01, 0.2, FAILS, "fails by concatenation and re-reading."),
        (2.0, 0.2, FAILS, "is a cause; moving bytes is not most of it. The claim names both, and fails by re-reading."),
        (
            1.01,
            0.48,
            FAILS,
            "not a cause; whether re-reading is, is not settled. The claim names both, and fails by concatenation.",
        ),
    ],
)
def test_the_sentence_says_which_half_fails(gain: float, share: float, kind: str, words: str) -> None:
    found = of("C5", fake_evidence(explanation=traffic(timed(5.8, gain=gain, half=0.002)["explanation"], share)))
    assert found.kind == kind and words in found.sentence, found.sentence


def test_connectivity_s_share_of_the_slowdown_by_hand() -> None:
    # 0.83 + 0.52 of weights that add up to 1.761
    weights = (0.83, 0.52, 0.12, 0.09, -0.018, 0.055, 0.004, 0.16)
    number = next(n for n in of("C5", fake_evidence()).evidence if n.name == "share of the slowdown, connectivity")
    assert number.value == pytest.approx(1.35 / sum(weights)) and number.low is None, (
        "its interval would divide by a fixed slowdown"
    )


def traffic(explanation: Explanation, share: float, unplaced: float = 0.05, limited_by: str = "macs") -> Explanation:
    """Two decompositions in which moving bytes makes this share of 100 added ms, and some could not be placed."""
    first, second = explanation.decompositions
    one, other = second.by_class[0], next(s for s in second.by_class if s.name == "concatenation")
    moving = replace(other, ms=100 * share, bytes_bound_ms=1000.0)
    working = replace(one, ms=100 * (1 - share - unplaced), bytes_bound_ms=0.0, limited_by=limited_by)
    return replace(
        explanation,
        decompositions=(
            replace(first, total_ms=0.0, by_class=(), residual_ms=0.0),
            replace(second, total_ms=100.0, by_class=(moving, working), residual_ms=100 * unplaced),
        ),
    )


@pytest.mark.parametrize(
    ("pattern", "epochs"),
    [
        (r"rises by more than (\d+) %", lambda x: {"train_loss": [0.5, 0.5 * (1 + x / 100)]}),
        (r"more than (\d+) times its epoch's mean", lambda x: {"grad_norm_mean": [1.0, 1.0], "grad_norm_max": [1.0, x]}),
    ],
)
def test_signs_of_divergence_as_the_rule_states(pattern: str, epochs: Callable[[float], dict[str, list[float]]]) -> None:
    bound = stated("C20", pattern)
    for value, seen in ((0.95 * bound, False), (1.05 * bound, True)):
        columns = {"train_loss": [0.5, 0.4], "val_loss": [0.6, 0.5], "epoch": [1, 2], **epochs(value)}
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        evidence = planted(fake_evidence(), "record.training.epochs", {ORIGINAL: [rows] * 3, MODIFIED: [rows] * 3})
        assert (of("C20", evidence).kind == FAILS) is seen


def test_overfitting_is_more_than_the_spread_of_seeds() -> None:
    def rows(minimum: float, rise: float) -> list[dict[str, float]]:
        return [{"epoch": n, "train_loss": 0.5, "val_loss": v} for n, v in enumerate((0.7, minimum, minimum + rise), start=1)]

    minima = (0.50, 0.52, 0.54)  # standard deviation 0.02
    for rise, seen in ((0.019, False), (0.021, True)):
        stored = [rows(m, rise) for m in minima]
        found = of("C20", planted(fake_evidence(), "record.training.epochs", {ORIGINAL: stored, MODIFIED: stored}))
        assert (found.kind == FAILS) is seen


def test_overfitting_is_more_than_jitter_however_well_seeds_agree() -> None:
    share = stated("C20", r"by more than ([\d.]+) % of all that it fell") / 100

    def rows(minimum: float, rise: float) -> list[dict[str, float]]:
        return [{"epoch": n, "train_loss": 0.5, "val_loss": v} for n, v in enumerate((0.7, minimum, minimum + rise), start=1)]

    for rise, seen in ((0.9 * share * 0.2, False), (1.1 * share * 0.2, True)):  # of a fall from 0.7 to 0.5
        stored = [rows(m, rise) for m in (0.5000, 0.5001, 0.4999)]
        found = of("C20", planted(fake_evidence(), "record.training.epochs", {ORIGINAL: stored, MODIFIED: stored}))
        assert (found.kind == FAILS) is seen


def test_one_of_several_fails_only_beyond_bonferroni() -> None:
    found = Compared(label="x", values=(0.9, 1.0, 1.2))
    assert found.estimate.low is not None
    bound = found.estimate.low - 0.01  # the plain interval lies above it, the one corrected for two does not
    assert found.side(bound) == 1
    assert [found.kind(-1, bound, comparisons) for comparisons in (1, 2)] == [FAILS, UNDECIDED]
    assert found.kind(-1, 0.0, 2) == FAILS
    assert found.kind(1, bound, 2) == HOLDS, "what all of them show needs no correction"


def test_one_bad_metric_of_four_is_corrected_for() -> None:
    for worst, kind in ((0.53, UNDECIDED), (1.0, FAILS)):  # PSNR of the three seeds falls by twice this and a little more
        evidence = fake_evidence(spread=0.0, truths=SAME["truths"])
        modified = tuple(21.0 - worst * x for x in (2.0, 2.1, 2.5))
        evidence = planted(evidence, f"{QUALITY}.psnr", {ORIGINAL: (21.0,) * 3, MODIFIED: modified})
        found = of("C7", replace(evidence, trials=tuple(without_images(t) for t in evidence.trials)))
        fall = next(n for n in found.evidence if n.name == "fall of PSNR, over 3 seeds")
        assert fall.low is not None and fall.low > stated("C7", r"under (\d+) % of that way") / 100, "the plain interval sees both"
        assert found.kind == kind
        assert ("not after Bonferroni's correction for 4 comparisons" in found.sentence) == (kind == UNDECIDED)


def test_a_cpu_neither_confirms_nor_refutes_what_is_said_of_accelerators() -> None:
    for effect in (0.1, -0.1):
        found = of("C6", fake_evidence(**attributed("log_latency", 0.01, "cpu", connectivity=0.9, conv=effect)))
        assert found.kind == UNDECIDED and "Not settled by a CPU" in found.sentence


def test_bounds_of_moving_bytes_allow_for_both_networks() -> None:
    explanation = timed(5.8, gain=2.0)["explanation"]
    first, second = explanation.decompositions
    one = next(s for s in second.by_class if s.name == "concatenation")

    def network(like: Any, total: float, bytes_ms: float, bound: float) -> Any:
        rest = replace(one, name="convolution", ms=total - bytes_ms, bytes_bound_ms=0.0, limited_by="macs")
        return replace(
            like,
            total_ms=total,
            residual_ms=0.0,
            by_class=(replace(one, ms=bytes_ms, bytes_bound_ms=bound, limited_by="bytes"), rest),
        )

    both = (network(first, 100.0, 30.0, 10.0), network(second, 200.0, 60.0, 20.0))
    number = next(
        n
        for n in of("C5", fake_evidence(explanation=replace(explanation, decompositions=both))).evidence
        if n.name == "share of added time, moving bytes"
    )
    # of 100 ms: from 20 - 30 to 60 - 10
    assert (number.value, number.low, number.high) == pytest.approx((0.1, -0.1, 0.5))


def test_a_rise_that_is_not_settled_is_given_to_nothing() -> None:
    # it rises with every seed, by less here and more there; fewer parameters alone make nothing of it, which would refute
    rises = {ORIGINAL: (0.60,) * 3, SAME_PARAMETERS: (0.60,) * 3, MODIFIED: (0.61, 0.62, 0.90)}
    found = of("C8", planted(fake_evidence(), LOSS, rises))
    assert "shows 0 % of it" in found.sentence.replace("\u00a0", " "), "no interval where what it is a share of is not settled"
    assert found.kind == UNDECIDED and "No rise of the validation loss is settled" in found.sentence


def test_a_loss_that_became_nan_is_divergence() -> None:
    found = of("C20", fake_evidence(failed=[(MODIFIED, 1)]))
    assert found.kind == FAILS and "NaN" in found.sentence


def test_most_and_the_least_epochs_as_the_rule_states() -> None:
    most, least = stated("C17", r"lies above (\d+) %") / 100, int(stated("C17", r"below (\d+) of the paper's"))
    for share, kind in ((most + 0.01, HOLDS), (most - 0.01, FAILS)):
        curve = [1.0, 0.9, 1 - share, *(0.0 + (1 - share) * (10 - n) / 7 * 0.99 for n in range(4, 10)), 0.0]
        assert of("C17", fake_evidence(spread=0.0, train=(curve, curve), validation=VALIDATION, **PAPER_RUN)).kind == kind
    for epochs, kind in ((least, HOLDS), (least - 1, UNDECIDED)):
        assert of("C17", fake_evidence(**curves(lambda n: 0.5**n, epochs=epochs), **PAPER_RUN)).kind == kind


def test_a_run_of_too_few_steps_settles_nothing_about_its_first_epochs() -> None:
    least, each = int(stated("C17", r"below (\d+) of the paper's")), int(stated("C17", r"of (\d+) each"))
    for images, kind in ((32 * (each - 1) + 1, HOLDS), (32 * (each - 1), UNDECIDED)):  # 438 steps with one image in the last, 437
        found = of("C17", fake_evidence(**curves(lambda n: 0.5**n, epochs=least), scale={"num_train": images}))
        assert found.kind == kind, found.sentence
    assert "3,496 steps were trained, 437 in each epoch, and a verdict needs 3,504" in found.sentence
    assert "(3,504, of 438 each)" in rule_of("C17")
    unknown = of("C17", fake_evidence(**FALLING, scale={"batch_size": None}))
    assert unknown.kind == UNDECIDED and "is not stored" in unknown.sentence


def test_steps_are_told_where_neither_overfits() -> None:
    assert "90 training steps; the paper has 4,380" in of("C20", fake_evidence()).scope  # 9 steps of 32 in 280 images, 10 epochs


def test_a_short_training_cannot_show_that_nothing_overfits() -> None:
    least = stated("C20", r"below (\d+) of the paper's")
    assert f"({int(least) * 438:,}, of 438 each)" in rule_of("C20")
    for epochs, kind in ((int(least), HOLDS), (int(least) - 1, UNDECIDED)):
        found = of("C20", fake_evidence(**curves(lambda n: 0.5**n, epochs=epochs), **PAPER_RUN))
        assert found.kind == kind, found.sentence
    assert "Too short a training to tell. In 6 complete trials there is no sign of either" in found.sentence
    assert f"a verdict needs {int(least)}" in found.sentence


def test_why_there_is_no_share_of_the_fall() -> None:
    assert "1 epoch were" not in (short := of("C17", fake_evidence(**curves(lambda n: 0.5, epochs=1))).sentence)
    assert "1 epoch was trained, 3 are needed" in short
    rising = of("C17", fake_evidence(**curves(lambda n: 0.5 + 0.1 * n), **PAPER_RUN))
    assert rising.kind == UNDECIDED and "training loss of `original` did not fall with every seed" in rising.sentence
    beside = of("C17", fake_evidence(**curves(lambda n: 0.5**n, lambda n: 0.6 + 0.01 * n), **PAPER_RUN))
    assert beside.kind == HOLDS and "validation loss of `original` did not fall with every seed" in beside.sentence


def test_a_training_loss_that_never_rises_says_so() -> None:
    assert "the training loss never rises" in of("C20", fake_evidence()).sentence
    rising = of("C20", fake_evidence(**curves(lambda n: 0.5 + 0.01 * (n == 3), lambda n: 0.6 - 0.01 * n)))
    assert "largest rise of the training loss 2.0 %" in rising.sentence.replace("\u00a0", " ")


def test_rules_state_the_least_number_of_seeds() -> None:
    for claim in CLAIMS:
        if claim.id in TRAINED:
            assert f"at least {compared.LEAST_SEEDS} seeds" in claim.rule.lower(), claim.id


def test_the_noise_of_one_network_against_itself_counts() -> None:
    noisy = {"cpu/1": {"ratio": 1.0, "low": 0.9, "high": 1.15}}
    explanation = replace(timed(1.1, half=0.01)["explanation"], noise=noisy)
    assert of("C2a", fake_evidence(explanation=explanation)).kind == UNDECIDED
    assert of("C2a", fake_evidence(**timed(1.1, half=0.01))).kind == HOLDS
    faster = attributed("log_latency", 0.01, "cuda", connectivity=0.9, conv=-0.1)["explanation"]
    assert of("C6", fake_evidence(explanation=faster)).kind == FAILS
    noisy = {"cuda/1": noisy["cpu/1"]}
    assert of("C6", fake_evidence(explanation=replace(faster, noise=noisy))).kind == HOLDS  # not faster beyond the noise


def test_slower_and_by_that_factor_are_two_verdicts() -> None:
    near, far = (fake_evidence(**timed(ratio, half=0.11)) for ratio in (5.75, 3.2))
    assert [of(name, near).kind for name in ("C2a", "C2b")] == [HOLDS, HOLDS]
    assert [of(name, far).kind for name in ("C2a", "C2b")] == [HOLDS, FAILS]
    assert of("C2a", far).sentence.startswith("Slower: at batch 1 `modified` takes ×3.20 (3.09 to 3.31)")
    assert of("C2b", far).sentence.startswith("Not by that factor: at batch 1 `modified` takes ×3.20 (3.09 to 3.31)")
    assert "batch 8" in of("C2a", far).sentence and "batch 128" in of("C2a", far).sentence
    assert of("C2b", fake_evidence(**timed(5.8, half=0.8))).kind == UNDECIDED, "the interval reaches beyond the paper's own spread"


def test_the_total_is_told_beside_the_convolution_s_own_effect() -> None:
    found = of("C4", fake_evidence())
    assert found.kind == HOLDS and "×1.66" in found.sentence
    values = {n.name: n.value for n in found.evidence}
    shapley, alone = (values[f"macs of connectivity, {name}"] for name in ("Shapley value", "alone in `original`"))
    assert alone == pytest.approx(0.8 * shapley, rel=1e-6)
    assert f"adds {plain(shapley * 1e-6)} M (Shapley value; {plain(alone * 1e-6)} M alone in `original`)" in found.sentence


def test_a_cpu_cannot_refute_what_is_said_of_accelerators() -> None:
    faster: dict[str, Any] = {"connectivity": 0.9, "conv": -0.1}
    found = of("C6", fake_evidence(**attributed("log_latency", 0.01, **faster)))
    assert found.kind == UNDECIDED and "Not settled by a CPU" in found.sentence and "On cpu at batch 1" in found.sentence
    both = attributed("log_latency", 0.01, "cuda", **faster)["explanation"]
    cpu = next(a for a in attributed("log_latency", 0.01, **faster)["explanation"].attributions if a.metric == "log_latency")
    two = fake_evidence(explanation=replace(both, attributions=(*both.attributions, cpu)))
    assert of("C6", two).kind == FAILS and "by a CPU" not in of("C6", two).sentence


def test_the_ways_to_fix_the_rest_have_their_names() -> None:
    base = fake_explanation(limits=("Latency: 9 of 256 networks timed, along 2 pairs of random orderings. More.", "Other."))
    found = of("C6", fake_evidence(explanation=base))
    names = ("Shapley value", "alone in `original`", "in `modified`")
    assert [n.name for n in found.evidence] == [f"latency by the convolution kind, {name}, cpu/1" for name in names]
    assert "by Shapley value" in found.sentence and "undone" not in found.sentence
    assert found.sentence.endswith("Latency: 9 of 256 networks timed, along 2 pairs of random orderings.")
    assert "orderings" not in of("C6", fake_evidence()).sentence


def test_coarse_attributions_are_not_taken_for_pieces() -> None:
    for metric, claim in (("log_latency", "C6"), ("params", "C3"), ("macs", "C4")):
        found = of(claim, fake_evidence(**attributed(metric, encoder=-1.0, decoder=-1.0, head=-0.1)))
        assert found.kind == UNDECIDED and "given to wholes, not to the pieces in them: encoder; decoder." in found.sentence


@pytest.mark.parametrize(
    ("factor", "piece"),
    [
        ("encoder connectivity", "connectivity"), ("decoder_conv", "convolution"), ("encoder convolution and decoder convolution",
         "convolution"), ("stem width", "widths"), ("encoder_stem", "widths"), ("head", "head"), ("downsampling", "the rest"),
        ("encoder", "mixed"), ("encoder connectivity and encoder convolution", "mixed"),
        ("encoder connectivity and downsampling and decoder connectivity and transposed", "connectivity"),
    ],
)  # fmt: skip
def test_pieces_by_name(factor: str, piece: str) -> None:
    assert rules_cost.piece_of(factor) == piece


def test_interval_of_a_sum_is_at_least_as_wide_as_either() -> None:
    effects = {"encoder conv": Effect(value=1.0, low=0.5, high=1.5), "decoder conv": Effect(value=2.0, low=1.8, high=2.2)}
    piece = rules_cost.pieces(effects, 6.0)["convolution"]
    assert (piece.value, piece.low, piece.high, piece.share) == (3.0, 2.3, 3.7, 0.5)


@pytest.mark.parametrize("name", ["SSIM + L2, mask", "L2 + SSIM (mask)", "l2+ssim, mask", "MSE + SSIM, mask"])
def test_hypotheses_by_any_spelling(name: str) -> None:
    assert claims_masks.plain_name(name) == "L2 + SSIM, mask"
    assert claims_masks.plain_name("L1, no mask") == "L1" and claims_masks.plain_name("SSIM") == "SSIM"


def test_lpips_decides_where_it_is_there() -> None:
    names = [*claims_masks.LOSSES, *(f"{loss}, mask" for loss in claims_masks.LOSSES)]
    worse = {name: {f"{QUALITY}.lpips": 0.5 if name.startswith("SSIM") else 0.2} for name in names}
    found = of("T4", fake_evidence(hypothesis_truths=worse))
    assert found.kind == FAILS and "LPIPS" in found.sentence and "favours" not in found.scope
    assert "favours" in of("T4", fake_evidence()).scope


# what is missing, and where it was judged

PATHS = (
    "analysis", QUALITY, f"{QUALITY}.ssim", "analysis.per_image", "analysis.eval_losses", LATENT, f"{LATENT}.hopkins",
    f"{LATENT}.silhouette", f"{LATENT}.hopkins.null_high", f"{LATENT}.probes", f"{LATENT}.linear_auc_mean", FACTORS,
    f"{FACTORS}.dci", MOVES, f"{MOVES}.smoothness", "record.training", "record.training.epochs", LOSS, "record.quality",
)  # fmt: skip
EMPTY = fake_explanation(modes=(), sweep=(), decompositions=(), attributions=(), noise={}, costs={})
FIELDS: tuple[dict[str, Any], ...] = (
    {"explanation": None}, {"explanation": EMPTY}, {"references": {}}, {"loss_attribution": ()}, {"speed": {}}, {"hypotheses": ()},
    {"trials": ()}, {"arms": {}}, {"references": {"_made_of": {"data": "x"}, "mean face": {}}}, {"provenance": {}},
    {"scale": {"data": None, "num_images": None}},
)  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_missing_measurements_never_raise(path: str) -> None:
    for verdict in judge(fake_evidence(without=(path,))):
        assert "could not be read" not in verdict.sentence, verdict.sentence
        assert verdict.sentence and verdict.scope and verdict.kind in (HOLDS, FAILS, UNDECIDED)


@pytest.mark.parametrize("fields", FIELDS)
def test_missing_parts_never_raise(fields: dict[str, Any]) -> None:
    for verdict in judge(fake_evidence(**fields)):
        assert "could not be read" not in verdict.sentence, verdict.sentence


def test_reason_for_what_is_missing() -> None:
    evidence = fake_evidence(without=("analysis.disentanglement", f"{LATENT}.dimension_probes"))
    trials = [replace(t, analysis={**t.analysis, "not_computed": {"factors": "real faces have none"}}) for t in evidence.trials]
    found = of("C15", replace(evidence, trials=tuple(trials)))
    assert found.kind == UNDECIDED and "real faces have none" in found.sentence
    failed = [(arm, seed) for arm in MAIN_ARMS for seed in range(3)]
    assert "loss became NaN" in of("C9", fake_evidence(failed=failed)).sentence


def test_attributes_by_dimension_where_factors_are_not_known() -> None:
    found = of("C15", fake_evidence(without=("analysis.disentanglement",), scale={"data": "celeba"}))
    assert found.kind == HOLDS and "single dimensions" in found.scope


def test_unreadable_evidence_is_undecided_and_told() -> None:
    broken = replace(fake_evidence(), speed={"ratio": "fast", "low": None, "high": None}, hypotheses=None)  # type: ignore[arg-type]
    verdicts = {v.id: v for v in judge(broken)}
    assert verdicts["C21"].kind == UNDECIDED and "could not be read: ValueError" in verdicts["C21"].sentence
    assert verdicts["C1"].kind == HOLDS


def test_a_ratio_without_an_interval_is_undecided() -> None:
    explanation = timed(3.0)["explanation"]
    modes = tuple(replace(m, ratio_low=None, ratio_high=None) for m in explanation.modes)
    assert of("C2a", fake_evidence(explanation=replace(explanation, modes=modes))).kind == UNDECIDED


def test_counts_at_another_size_are_not_the_paper_s() -> None:
    costs = {name: {**values, "input_shape": [3, 48, 48]} for name, values in fake_explanation().costs.items()}
    found = of("C1", fake_evidence(explanation=fake_explanation(costs=costs)))
    assert found.kind == UNDECIDED and "48 px" in found.sentence


def test_scope_says_what_was_not_the_paper_s_scale() -> None:
    for verdict in judge(fake_evidence()):
        if verdict.id in TRAINED:
            for words in ("rendered faces (400 images)", "48 px", "a quarter of the paper's width", "only", "The paper: CelebA"):
                assert words in verdict.scope, (verdict.id, verdict.scope)
    paper = {"data": "celeba", "image_size": 144, "num_images": 20_000, "epochs": 10, "width": "the paper's", "hardware": "H200"}
    scope = of("C9", fake_evidence(scale=paper)).scope
    assert "CelebA (20,000 images), 144 px" in scope and "H200" in scope and "The paper:" not in scope
    assert "a quick run" in of("C9", fake_evidence(scale={"quick": True})).scope
    assert "ellipse" not in of("C10", fake_evidence()).scope and "exact mask" in of("C10", fake_evidence()).scope
    assert "144 px" in of("C2a", fake_evidence()).scope and "144 px" in of("C1", fake_evidence()).scope


def test_sentences_are_made_of_the_numbers() -> None:
    found = of("C11", fake_evidence(spread=0.0, **quality(high_frequency=(0.31, 0.17), high_frequency_matched=(0.21, 0.13))))
    assert (
        "0.210 against 0.130" in found.sentence
        and "0.310 against 0.170" in found.sentence
        and "−0.140" in found.sentence
        and "3 seeds" in found.sentence
    )


# words and numbers


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (3.2249, 3.1276, 3.298, "3.225 (3.128 to 3.298)"), (0.0998, 0.0943, 0.1053, "0.0998 (0.0943 to 0.1053)"),
        (-0.0998, -0.2, 0.01, "−0.10 (−0.20 to 0.01)"), (64.8392, 64.8392, 64.8392, "64.84 (64.84 to 64.84)"),
        (5.0, None, None, "5.00"), (9_352_195, None, None, "9,352,195"),
    ],
)  # fmt: skip
def test_numbers_as_they_are_shown(value: float, low: float | None, high: float | None, text: str) -> None:
    assert spanned(value, low, high) == text


def test_plain_numbers() -> None:
    assert [plain(v) for v in (0.0, 12.345, 1234, -0.5, 1101.97)] == ["0", "12.3", "1,234", "−0.500", "1,102"]


def test_combining() -> None:
    assert [all_of(k) for k in ([HOLDS, HOLDS], [HOLDS, FAILS], [HOLDS, UNDECIDED], [])] == [HOLDS, FAILS, UNDECIDED, UNDECIDED]
    assert [agreed(k) for k in ([HOLDS, HOLDS], [FAILS, FAILS], [HOLDS, FAILS])] == [HOLDS, FAILS, UNDECIDED]
    assert [from_side(s, -1) for s in (-1, 1, 0)] == [HOLDS, FAILS, UNDECIDED]


# the ledger


def test_ledger_of_every_kind(tmp_path: Path) -> None:
    evidence = fake_evidence()
    verdicts = judge(evidence)
    paths = write_ledger(verdicts, tmp_path / "paper", evidence)
    assert [p.name for p in paths] == ["claims.csv", "claims.md", "ledger.json"]
    stored = json.loads(paths[2].read_text(encoding="utf-8"))
    assert from_json(paths[2].read_text(encoding="utf-8")) == verdicts
    assert stored["scale"]["data"] == "faces" and stored["provenance"]["commit"] == "0123abc"
    assert stored["verdicts"]["C1"]["evidence"]["parameters, original"]["value"] == 9_352_195
    assert sum(stored["counts"]["C"].values()) == 22 and sum(stored["counts"]["T"].values()) == 4
    rows = list(csv.DictReader(io.StringIO(paths[0].read_text(encoding="utf-8"))))
    assert tuple(rows[0]) == COLUMNS and {r["id"] for r in rows} == {v.id for v in verdicts}
    assert len(paths[1].read_text(encoding="utf-8").splitlines()) == 2 + 26


def test_numbers_of_a_verdict_have_names_of_their_own() -> None:
    for verdict in judge(fake_evidence()):
        names = [n.name for n in verdict.evidence]
        assert len(names) == len(set(names)), verdict.id


def test_rows_without_numbers_are_kept() -> None:
    verdicts = judge(fake_evidence(0, explanation=None, speed={}, loss_by_seed={}, hypotheses=()))
    assert len(ledger_rows(verdicts)) == 26
    assert to_csv(verdicts).count("undecided") >= 26 and "| C1 | **undecided** |" in to_markdown(verdicts)
    assert counts(verdicts)["C"] == {"holds": 0, "fails": 0, "undecided": 22}
    assert counts_text(verdicts) == "Of 22 verdicts on 21 claims 22 are undecided."


def test_same_evidence_same_ledger() -> None:
    first, second = (to_json(judge(fake_evidence()), fake_evidence()) for _ in range(2))
    assert first == second


def test_without_torch() -> None:
    code = "import sys, studies.paper.claims.judge, studies.paper.claims.ledger; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0


def test_fake_worlds_have_the_means_that_they_were_given() -> None:
    evidence = fake_evidence(seeds=20, truths={f"{LATENT}.hopkins.value": {MODIFIED: 0.9}})
    found = evidence.estimate(MODIFIED, f"{LATENT}.hopkins.value")
    assert found is not None and found.value == pytest.approx(0.9, rel=0.01)
    assert isinstance(evidence.loss_attribution[0], Attribution)
    trial = evidence.trials[0]
    assert float(np.mean(trial.analysis["per_image"]["ssim"])) == pytest.approx(trial.get(f"{QUALITY}.ssim"))


# what is judged together, and on which hardware


def test_by_luck_at_most_one_study_in_twenty_decides_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """21 claims about nothing, three seeds each, half of them with images; as often judged as needed to see 5 % from 50 %."""

    def nothing(number: int) -> Claim:
        def find(evidence: Evidence) -> Finding:
            # what seeds and images add, of equal size: the images are the same for all seeds
            draw = np.random.default_rng((int(evidence.scale["study"]), number))
            images = draw.normal(size=100) if number % 2 else np.zeros(100)
            values = tuple((draw.normal(size=3) / 10 + images.mean()).tolist())
            found = Compared(label="x", values=values, images=images if number % 2 else None, error=evidence.error)
            return Finding(kind=found.kind(), sentence="x")

        return Claim(id=f"C{number}", says="x", measurement="x", rule="x", link="x", find=find)

    monkeypatch.setattr(claims, "CLAIMS", tuple(nothing(number) for number in range(21)))
    empty = fake_evidence(0)
    wrong = sum(any(v.kind != UNDECIDED for v in judge(replace(empty, scale={"study": study}))) for study in range(400))
    assert wrong <= 400 * 0.05 + 3 * (400 * 0.05 * 0.95) ** 0.5


def test_holm_step_down_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chances 0.01, 0.02, 0.04 and 0.2 of four: 0.01 passes 0.05 / 4, 0.02 then fails 0.05 / 3; of three all pass in their turn."""

    def claim(number: int, chance: float, by_chance: bool = True) -> Claim:
        def find(evidence: Evidence) -> Finding:
            return Finding(kind=HOLDS if chance <= evidence.error else UNDECIDED, sentence=str(evidence.error))

        return Claim(id=f"C{number}", says="x", measurement="x", rule="x", link="x", find=find, by_chance=by_chance)

    for chances, kinds in (((0.01, 0.02, 0.04, 0.2), [HOLDS, *[UNDECIDED] * 3]), ((0.04, 0.016, 0.025), [HOLDS] * 3)):
        monkeypatch.setattr(claims, "CLAIMS", tuple(claim(n, chance) for n, chance in enumerate(chances)))
        verdicts = judge(fake_evidence(0))
        assert [v.kind for v in verdicts] == kinds and {v.together for v in verdicts} == {len(chances)}
    monkeypatch.setattr(claims, "CLAIMS", (claim(1, 0.04), claim(2, 0.03, by_chance=False)))
    verdicts = judge(fake_evidence(0))
    assert [(v.kind, v.together) for v in verdicts] == [(HOLDS, 1), (HOLDS, 0)], "what rests on no interval is not corrected"


@pytest.mark.parametrize("claim_id", [c.id for c in CLAIMS if c.of_gpu])
def test_time_is_decided_by_a_gpu_alone(claim_id: str) -> None:
    assert {c.id for c in CLAIMS if c.of_gpu} == {"C2a", "C2b", "C5", "C6", "C21"}
    for changes in CASES[claim_id][:2]:
        evidence = fake_evidence(**(changes or steps(1.9)))
        assert of(claim_id, evidence).kind in (HOLDS, FAILS)
        speed = {**evidence.speed, "device": "cpu"}
        assert evidence.explanation is not None
        places = tuple(replace(a, place=a.place.replace("cuda", "cpu")) for a in evidence.explanation.attributions)
        cpu = replace(evidence, speed=speed, explanation=replace(evidence.explanation, device="cpu", attributions=places))
        found = of(claim_id, cpu)
        assert found.kind == UNDECIDED and "Not settled by a CPU" in found.sentence
        assert [n.value for n in found.evidence] == [n.value for n in of(claim_id, evidence).evidence], "its figures are shown"
    assert claim_id in claims.GPU_POLICY and claim_id not in {v.id for v in judge(cpu) if v.together}


@pytest.mark.parametrize("claim_id", ["C2a", "C2b", "C5", "C6"])
def test_an_interval_from_one_sitting_is_none(claim_id: str) -> None:
    holds = CASES[claim_id][0]["explanation"]
    for sittings in (0, 1, 2):
        found = of(claim_id, fake_evidence(explanation=on_gpu(holds, sittings)))
        assert found.kind == UNDECIDED and "takes 3 sittings" in found.sentence
        assert all(n.low is None for n in found.evidence if n.name != "share of added time, moving bytes")


def test_one_guard_for_all_claims_about_the_course_of_training() -> None:
    for claim_id, holds in (("C17", {**FALLING}), ("C19", {}), ("C20", {**FALLING})):
        short, full = (of(claim_id, fake_evidence(**holds, **scale)) for scale in ({}, PAPER_RUN))
        assert (short.kind, full.kind) == (UNDECIDED, HOLDS), claim_id
        assert "90 steps were trained, 9 in each epoch, and a verdict needs 3,504" in short.sentence
        assert "or below the steps of 8 of them (3,504, of 438 each)" in rule_of(claim_id)


@pytest.mark.parametrize(("spread", "num"), [(0.05, 3), (0.05, 8), (0.2, 5)])
def test_fieller_s_interval_covers(spread: float, num: int) -> None:
    """Or there is none, where what is divided by is not settled."""
    rng = np.random.default_rng(5)
    hits, made = 0, 0
    for _ in range(2000):
        lower = 1 + spread * rng.normal(size=num)
        upper = 0.4 * lower + spread * rng.normal(size=num)
        found = quotient(upper, lower)
        made += found.known
        hits += found.contains(0.4)
    assert made > 1000 and 0.93 <= hits / made <= 0.98


def test_nothing_is_divided_by_what_may_be_zero() -> None:
    assert not quotient([1.0, 1.1, 0.9], [0.1, -0.2, 0.3]).known
    share = Compared(label="x", values=(1.0, 1.1, 0.9), over=(0.1, -0.2, 0.3))
    assert share.side(0.1) == 0 and "the whole of which x is a part is not settled above zero" in share.doubt(0.1)


def test_shares_beyond_the_whole_give_their_reason() -> None:
    found = of("C8", fake_evidence(loss_by_seed=fake_loss_by_seed(3, {"connectivity": 0.6, "convolution": 0.7, "head": -0.3})))
    assert "The others add up to more than 100\u00a0%, for head lowers the loss." in found.sentence
    assert "100\u00a0%" not in of("C8", fake_evidence()).sentence
