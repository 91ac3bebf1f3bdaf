"""Claims: each rule with evidence where it holds, fails and is undecided; its thresholds as it states them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from studies.paper.claims import masks as claims_masks
from studies.paper.claims.judge import CLAIMS
from studies.paper.evidence.evidence import MODIFIED, ORIGINAL, SAME_PARAMETERS
from studies.paper.rules.kinds import FAILS, HOLDS, UNDECIDED
from tests.fake_evidence import QUALITY, VALIDATION, fake_evidence, fake_loss_by_seed, fake_references
from tests.paper.worlds import (
    CASES,
    FALLING,
    LATENT,
    LOSS,
    MOVES,
    PAPER_RUN,
    SAME,
    curves,
    hypotheses,
    number_of,
    of,
    pairs,
    planted,
    quality,
    rule_of,
    stated,
    timed,
    without_images,
)


@pytest.mark.parametrize("claim_id", [c.id for c in CLAIMS])
@pytest.mark.parametrize("kind", [HOLDS, FAILS, UNDECIDED])
def test_rule(claim_id: str, kind: str) -> None:
    changes = CASES[claim_id][(HOLDS, FAILS, UNDECIDED).index(kind)]
    verdict = of(claim_id, fake_evidence(**changes))
    assert verdict.kind == kind, verdict.sentence
    if kind != UNDECIDED:
        assert verdict.evidence and all(math.isfinite(n.value) for n in verdict.evidence)


def test_pairing_is_by_seed() -> None:
    # arms whose seeds differ far more than they do: unpaired nothing could be told
    evidence = fake_evidence(seeds=4, spread=0.0)
    for name in ("high_frequency", "high_frequency_matched"):
        evidence = planted(evidence, f"{QUALITY}.{name}", {ORIGINAL: (1, 2, 3, 4), MODIFIED: (0.9, 1.91, 2.9, 3.89)})
    verdict = of("C11", replace(evidence, trials=tuple(without_images(t) for t in evidence.trials)))
    assert verdict.kind == HOLDS
    number = next(n for n in verdict.evidence if "over 4 seeds" in n.name)
    assert number.value == pytest.approx(-0.1, abs=1e-9)


def test_the_spread_over_images_counts() -> None:
    evidence = fake_evidence()
    assert of("C11", evidence).kind == HOLDS
    for trial in evidence.trials:  # the same means, and a difference between the networks that changes from image to image
        noise = np.random.default_rng(3).normal(size=60) * (0.3 if trial.arm == MODIFIED else 0.0)
        for name in ("high_frequency", "high_frequency_matched"):
            trial.analysis["per_image"][name] = (np.array(trial.analysis["per_image"][name]) + noise - noise.mean()).tolist()
    verdict = of("C11", evidence)
    assert verdict.kind == UNDECIDED and "with the spread over images" in verdict.sentence


def test_fall_as_a_share_of_the_way_to_the_mean_face_by_hand() -> None:
    evidence = fake_evidence(spread=0.0, truths={f"{QUALITY}.ssim": (0.8, 0.75, 0.8, 0.8)})
    # the mean face has 0.30: (0.8 - 0.75) / (0.8 - 0.3)
    assert number_of(of("C7", evidence), "fall of SSIM, over 3").value == pytest.approx(0.1)


def test_lower_is_better_falls_the_right_way() -> None:
    # L1 0.06 to 0.071, mean face 0.17: (0.06 - 0.071) / (0.06 - 0.17) = 0.1
    verdict = of("C7", fake_evidence(spread=0.0, **quality(l1=(0.06, 0.071))))
    assert number_of(verdict, "fall of L1, over 3").value == pytest.approx(0.1)


def test_difference_in_differences_by_hand() -> None:
    evidence = fake_evidence(spread=0.0, **quality(l1_outside=(0.10, 0.15), l1_inside=(0.05, 0.06)))
    number = number_of(of("C10", evidence), "relative rise outside beyond the one inside, over 3 seeds")
    assert number.value == pytest.approx(0.5 - 0.2)  # +50 % outside, +20 % inside


def test_a_background_that_is_merely_harder_is_not_worse() -> None:
    # twice the absolute rise outside, the same in proportion
    verdict = of("C10", fake_evidence(**quality(l1_outside=(0.10, 0.12), l1_inside=(0.05, 0.06))))
    assert verdict.kind == UNDECIDED


def test_share_of_the_fall_by_hand() -> None:
    curve = [1.0, 0.8, 0.6, 0.55, 0.54, 0.53, 0.52, 0.51, 0.505, 0.5]
    verdict = of("C17", fake_evidence(spread=0.0, train=(curve, curve)))
    assert verdict.evidence[0].value == pytest.approx(0.8)  # (1 - 0.6) / (1 - 0.5)


def test_clusters_that_are_not_seen_are_not_refuted() -> None:
    below = pairs(**{f"{LATENT}.hopkins.value": (0.50, 0.55), f"{LATENT}.silhouette.best": (0.02, 0.05)})
    verdict = of("C12", fake_evidence(**below))
    assert verdict.kind == UNDECIDED and "above the null's range with 0 of 3 and 0 of 3 seeds" in verdict.sentence


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
    verdict = of("C12", trials)
    assert verdict.kind == UNDECIDED
    assert verdict.sentence.endswith("Against Gaussians alone: holds.")
    seeds = {n.name.partition("above the range of the ")[2]: n.text for n in verdict.evidence if n.name.startswith("seeds of")}
    assert seeds == {
        f"{null}, {measure}": text for null, text in (("null", "0 of 3"), ("Gaussians", "3 of 3"))
        for measure in ("Hopkins", "the best silhouette")
    }  # fmt: skip


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
    ends = {PATH: (0.3, 0.15), DETOUR: (0.11, detour), CHANGES: (0.10, 0.05), f"{MOVES}.smoothness": (0.8, even)}
    verdict = of("C14", fake_evidence(**pairs(**ends)))
    assert verdict.kind == kind and words in verdict.sentence, verdict.sentence
    assert "`modified` changes less." in verdict.sentence and "L1 change between the ends 0.1" in verdict.sentence


def test_detour_by_hand() -> None:
    verdict = of("C14", fake_evidence(spread=0.0, **pairs(**{DETOUR: (0.06, 0.08), CHANGES: (0.05, 0.05)})))
    numbers = {n.name: n.value for n in verdict.evidence}
    assert (numbers["detour, original"], numbers["detour, modified"]) == pytest.approx((1.2, 1.6))
    assert "changes less" not in verdict.sentence and "changes more" not in verdict.sentence


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
def test_a_smaller_change_is_not_more_local(share: Any, locality: Any, kind: str, words: str) -> None:
    verdict = of("C16", fake_evidence(**pairs(**{f"{MOVES}.share_changed_mean": share, f"{MOVES}.locality_mean": locality})))
    assert verdict.kind == kind and words in verdict.sentence, verdict.sentence
    assert "more than 0.05. The paper" in verdict.scope


def test_t_sne_does_not_decide() -> None:
    evidence = fake_evidence(**pairs(**{f"{LATENT}.hopkins.value": (0.6, 0.57), f"{LATENT}.silhouette.best": (0.06, 0.05)}))
    maps = {ORIGINAL: [{"30": {"silhouette": 0.1}}] * 3, MODIFIED: [{"30": {"silhouette": 0.9}}] * 3}
    verdict = of("C12", planted(evidence, f"{LATENT}.tsne", maps))
    assert verdict.kind == FAILS
    assert any("perplexity 30, modified" in n.name and n.value == pytest.approx(0.9) for n in verdict.evidence)


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
    verdict = of("T2", fake_evidence(seeds=2))
    assert verdict.kind == UNDECIDED and "Not settled: 9 of 9. A verdict needs 3 seeds." in verdict.sentence
    one = of("T1", fake_evidence(**hypotheses("l1_inside", L2__mask=0.059)))
    assert "Not all four are settled." in one.sentence and one.sentence.count("`L2, mask` less `L2`") == 2


def test_colour_is_judged_without_mask_alone() -> None:
    masked = hypotheses("colour_error_mean", SSIM__mask=0.001)  # SSIM alone is best with the mask
    verdict = of("T3", fake_evidence(**masked))
    assert verdict.kind == HOLDS and "mask" not in verdict.sentence


def falls(share: float) -> dict[str, Any]:
    """Every metric falls by this share of its way to the mean face."""
    floor = fake_references()["mean face"]["quality"]["reporting"]
    tops = {"ssim": 0.7, "ms_ssim": 0.9, "psnr": 21.0, "l1": 0.06}
    return {"spread": 0.001, **quality(**{name: (top, top - share * (top - floor[name])) for name, top in tops.items()})}


def causes(pooled: float = 0.60, plain: float = 0.60, **shares: float) -> dict[str, Any]:
    """Losses of the four arms, and the rise given to the pieces in these shares."""
    given = {"loss_by_seed": fake_loss_by_seed(3, shares)} if shares else {"spread": 0.001}
    return {"truths": {LOSS: (0.55, 0.67, pooled, plain)}, **given}


@pytest.mark.parametrize(
    ("claim_id", "pattern", "world", "below", "above"),
    [
        ("C7", r"under (\d+) % of that way", falls, (0.02, HOLDS), (0.02, FAILS)),
        (
            "C8", r"at least (\d+) % of the mean rise",
            lambda x: causes(connectivity=x, convolution=0.45, head=0.55 - x), (0.02, FAILS), (0.02, HOLDS),
        ),
        (
            "C8", r"makes more than (\d+) %",
            lambda x: causes(0.63, connectivity=0.2, convolution=0.8 - x, head=x), (0.05, HOLDS), (0.05, FAILS),
        ),
        ("C8", r"at least (\d+) % of the mean rise", lambda x: causes(plain=0.55 + 0.12 * x), (0.05, FAILS), (0.05, HOLDS)),
        ("C5", r"at least (\d+) % of the slowdown", lambda x: timed(5.8, gain=5.8**x, half=0.002), (0.02, FAILS), (0.02, HOLDS)),
    ],
)  # fmt: skip
def test_bounds_are_those_that_the_rules_state(
    claim_id: str, pattern: str, world: Callable[[float], dict[str, Any]], below: tuple[float, str], above: tuple[float, str]
) -> None:
    bound = stated(claim_id, pattern) / 100
    assert of(claim_id, fake_evidence(**world(bound - below[0]))).kind == below[1]
    assert of(claim_id, fake_evidence(**world(bound + above[0]))).kind == above[1]


@pytest.mark.parametrize(("metric", "ends"), [("ssim", (0.2, 0.1)), ("l1", (0.2, 0.3)), ("psnr", (13.0, 12.0))])
def test_no_share_where_original_is_no_better_than_the_mean_face(metric: str, ends: tuple[float, float]) -> None:
    # the mean face: SSIM 0.30, L1 0.17, PSNR 13.0; worse than that, a fall is a share below zero
    label = {"ssim": "SSIM", "l1": "L1", "psnr": "PSNR"}[metric]
    verdict = of("C7", fake_evidence(spread=0.0, truths={**SAME["truths"], **quality(**{metric: ends})["truths"]}))
    assert verdict.kind == UNDECIDED
    assert f"`original` is not better than the mean face in {label} with every seed" in verdict.sentence
    assert any(n.name.startswith(f"{label}, over") for n in verdict.evidence)
    assert not any(n.name.startswith(f"fall of {label},") for n in verdict.evidence)


def test_one_metric_beyond_the_bound_fails_and_one_within_does_not_hold() -> None:
    assert of("C7", fake_evidence(truths={**SAME["truths"], **quality(ssim=(0.7, 0.5))["truths"]})).kind == FAILS


@pytest.mark.parametrize(("pooled", "kind"), [(0.63, FAILS), (0.60, UNDECIDED), (0.57, UNDECIDED)])
def test_the_head_counts_against_the_claim_only_beyond_its_fewer_parameters(pooled: float, kind: str) -> None:
    verdict = of("C8", fake_evidence(**causes(pooled, connectivity=0.2, convolution=0.2, head=0.6)))
    assert verdict.kind == kind
    words = "The head costs more than fewer parameters do" if kind == FAILS else "The head may cost no more"
    assert words in verdict.sentence and "`plain, same parameters` against `original, pooled head`, 3 seeds" in verdict.sentence


def test_a_head_without_its_controls_decides_nothing() -> None:
    evidence = fake_evidence(**causes(0.63, connectivity=0.2, convolution=0.2, head=0.6))
    verdict = of("C8", replace(evidence, trials=tuple(t for t in evidence.trials if t.arm != "original, pooled head")))
    assert verdict.kind == UNDECIDED and "no trial of original, pooled head" in verdict.sentence


def test_another_piece_that_makes_most_needs_no_control() -> None:
    assert of("C8", fake_evidence(**causes(0.57, connectivity=0.2, convolution=0.2, widths=0.6))).kind == FAILS


def test_the_reduction_is_that_of_the_width_that_was_trained() -> None:
    sentence = of("C8", fake_evidence()).sentence.replace("\u00a0", " ")
    # 142,339, 104,131 and with the pooled head 109,571: 38,208 fewer, 32,768 of them by the head
    assert "26.8 % fewer parameters, of which the pooled head alone makes 86 %" in sentence and "32.8" not in sentence


def test_connectivity_that_was_swapped_with_the_sampling_says_so() -> None:
    merged = "encoder connectivity and downsampling and decoder connectivity and transposed"
    pieces = {merged: 0.3, "convolution": 0.3, "head": 0.4}
    verdict = of("C8", fake_evidence(loss_by_seed=fake_loss_by_seed(3, pieces)))
    assert "connectivity (with down- and upsampling) 30" in verdict.sentence and "and downsampling and" not in verdict.sentence
    assert any(n.name == "share of the loss, connectivity" for n in verdict.evidence)
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


def test_overfitting_is_more_than_the_spread_of_seeds_and_than_jitter() -> None:
    share = stated("C20", r"by more than ([\d.]+) % of all that it fell") / 100
    # a standard deviation of 0.02; however well seeds agree, of a fall from 0.7 to 0.5
    for minima, bound in (((0.50, 0.52, 0.54), 0.02), ((0.5000, 0.5001, 0.4999), share * 0.2)):
        for rise, seen in ((0.9 * bound, False), (1.1 * bound, True)):
            losses = [(0.7, minimum, minimum + rise) for minimum in minima]
            stored = [[{"epoch": n, "train_loss": 0.5, "val_loss": v} for n, v in enumerate(each, start=1)] for each in losses]
            verdict = of("C20", planted(fake_evidence(), "record.training.epochs", {ORIGINAL: stored, MODIFIED: stored}))
            assert (verdict.kind == FAILS) is seen


def test_one_bad_metric_of_four_is_corrected_for() -> None:
    for worst, kind in ((0.53, UNDECIDED), (1.0, FAILS)):  # PSNR of the three seeds falls by twice this and a little more
        evidence = fake_evidence(spread=0.0, truths=SAME["truths"])
        modified = tuple(21.0 - worst * x for x in (2.0, 2.1, 2.5))
        evidence = planted(evidence, f"{QUALITY}.psnr", {ORIGINAL: (21.0,) * 3, MODIFIED: modified})
        verdict = of("C7", replace(evidence, trials=tuple(without_images(t) for t in evidence.trials)))
        fall = number_of(verdict, "fall of PSNR, over 3 seeds")
        assert fall.low is not None and fall.low > stated("C7", r"under (\d+) % of that way") / 100, "the plain interval sees both"
        assert verdict.kind == kind
        assert ("not after Bonferroni's correction for 4 comparisons" in verdict.sentence) == (kind == UNDECIDED)


def test_a_rise_that_is_not_settled_is_given_to_nothing() -> None:
    # it rises with every seed, by less here and more there; fewer parameters alone make nothing of it, which would refute
    rises = {ORIGINAL: (0.60,) * 3, SAME_PARAMETERS: (0.60,) * 3, MODIFIED: (0.61, 0.62, 0.90)}
    verdict = of("C8", planted(fake_evidence(), LOSS, rises))
    assert "shows 0 % of it" in verdict.sentence.replace("\u00a0", " "), "no interval where what it is a share of is not settled"
    assert verdict.kind == UNDECIDED and "No rise of the validation loss is settled" in verdict.sentence


def test_a_loss_that_became_nan_is_divergence() -> None:
    verdict = of("C20", fake_evidence(failed=[(MODIFIED, 1)]))
    assert verdict.kind == FAILS and "NaN" in verdict.sentence


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
        verdict = of("C17", fake_evidence(**curves(lambda n: 0.5**n, epochs=least), scale={"num_train": images}))
        assert verdict.kind == kind, verdict.sentence
    assert "3,496 steps were trained, 437 in each epoch, and a verdict needs 3,504" in verdict.sentence
    assert "(3,504, of 438 each)" in rule_of("C17")
    unknown = of("C17", fake_evidence(**FALLING, scale={"batch_size": None}))
    assert unknown.kind == UNDECIDED and "is not stored" in unknown.sentence


def test_steps_are_told_where_neither_overfits() -> None:
    assert "90 training steps; the paper has 4,380" in of("C20", fake_evidence()).scope  # 9 steps of 32 in 280 images, 10 epochs


def test_a_short_training_cannot_show_that_nothing_overfits() -> None:
    least = stated("C20", r"below (\d+) of the paper's")
    assert f"({int(least) * 438:,}, of 438 each)" in rule_of("C20")
    for epochs, kind in ((int(least), HOLDS), (int(least) - 1, UNDECIDED)):
        verdict = of("C20", fake_evidence(**curves(lambda n: 0.5**n, epochs=epochs), **PAPER_RUN))
        assert verdict.kind == kind, verdict.sentence
    assert "Too short a training to tell. In 6 complete trials there is no sign of either" in verdict.sentence
    assert f"a verdict needs {int(least)}" in verdict.sentence


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


@pytest.mark.parametrize("name", ["SSIM + L2, mask", "L2 + SSIM (mask)", "l2+ssim, mask", "MSE + SSIM, mask"])
def test_hypotheses_by_any_spelling(name: str) -> None:
    assert claims_masks.plain_name(name) == "L2 + SSIM, mask"
    assert claims_masks.plain_name("L1, no mask") == "L1" and claims_masks.plain_name("SSIM") == "SSIM"


def test_lpips_decides_where_it_is_there() -> None:
    names = [*claims_masks.LOSSES, *(f"{loss}, mask" for loss in claims_masks.LOSSES)]
    worse = {name: {f"{QUALITY}.lpips": 0.5 if name.startswith("SSIM") else 0.2} for name in names}
    verdict = of("T4", fake_evidence(hypothesis_truths=worse))
    assert verdict.kind == FAILS and "LPIPS" in verdict.sentence and "favours" not in verdict.scope
    assert "favours" in of("T4", fake_evidence()).scope


def test_attributes_by_dimension_where_factors_are_not_known() -> None:
    verdict = of("C15", fake_evidence(without=("analysis.disentanglement",), scale={"data": "celeba"}))
    assert verdict.kind == HOLDS and "single dimensions" in verdict.scope


def test_one_guard_for_all_claims_about_the_course_of_training() -> None:
    for claim_id, holds in (("C17", {**FALLING}), ("C19", {}), ("C20", {**FALLING})):
        short, full = (of(claim_id, fake_evidence(**holds, **scale)) for scale in ({}, PAPER_RUN))
        assert (short.kind, full.kind) == (UNDECIDED, HOLDS), claim_id
        assert "90 steps were trained, 9 in each epoch, and a verdict needs 3,504" in short.sentence
        assert "or below the steps of 8 of them (3,504, of 438 each)" in rule_of(claim_id)


def test_shares_beyond_the_whole_give_their_reason() -> None:
    verdict = of("C8", fake_evidence(loss_by_seed=fake_loss_by_seed(3, {"connectivity": 0.6, "convolution": 0.7, "head": -0.3})))
    assert "The others add up to more than 100\u00a0%, for head lowers the loss." in verdict.sentence
    assert "100\u00a0%" not in of("C8", fake_evidence()).sentence
