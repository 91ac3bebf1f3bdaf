"""Worlds in which the paper's claims hold, fail or stay open: what the tests of the rules change of the invented evidence."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ablation.record.attribution import Effect
from ablation.record.explanation import Explanation, ModeResult
from ablation.record.trial import Record
from studies.paper.claims.judge import CLAIMS, judge
from studies.paper.evidence.evidence import MODIFIED, ORIGINAL, Evidence, Trial
from studies.paper.rules.verdict import Number, Verdict
from tests.fake_evidence import QUALITY, TRAIN, VALIDATION, timed_in_sittings
from tests.fake_explanation import fake_attribution, fake_explanation

LATENT, MOVES, LOSS = "analysis.latent", "analysis.traversal", "record.training.best_loss"
TRAINED = {"C7", "C8", "C9", "C10", "C11", "C12", "C13", "C14", "C15", "C16", "C17", "C18", "C19", "C20", "T1", "T2", "T3", "T4"}
NO_EXPLANATION = {"explanation": None}


def of(claim_id: str, evidence: Evidence) -> Verdict:
    """The verdict on one claim; evidence that could not be read is a mistake of the test."""
    verdict = judge(evidence, [next(c for c in CLAIMS if c.id == claim_id)])[0]
    assert "could not be read" not in verdict.sentence, verdict.sentence
    return verdict


def number_of(verdict: Verdict, begins: str) -> Number:
    """Its first number whose name begins so."""
    return next(n for n in verdict.evidence if n.name.startswith(begins))


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
# 438 steps in each epoch
PAPER_RUN = {"scale": {"num_train": 14_000, "batch_size": 32}}
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
    "C13": ({}, pairs(**{f"{LATENT}.linear_auc_mean": (0.85, 0.80)}), pairs(**{f"{LATENT}.linear_auc_mean": (0.85, 0.85)})),
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


def rule_of(claim_id: str) -> str:
    return next(c.rule for c in CLAIMS if c.id == claim_id)


def stated(claim_id: str, pattern: str) -> float:
    match = re.search(pattern, rule_of(claim_id).replace("\u00a0", " "))
    assert match is not None, f"{claim_id} does not state {pattern}"
    return float(match[1])
