"""What Toledo and Antonelo found about losses and face masks: T1 to T4, judged on their ten hypotheses. No torch.

Source: "Face Reconstruction with Variational Autoencoder and Face Masks" (2021). A finding about several comparisons holds when
all of them do, which needs no correction; it fails when one is refuted, by an interval corrected for their number (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ablation.record.trial import COMPLETE
from studies.paper.evidence.evidence import Evidence
from studies.paper.rules.rules import (
    LEAST_SEEDS,
    Compared,
    Q,
    compare,
    concluded,
    hypotheses_of,
    numbers_of,
    scope_of,
    seeds_text,
)
from studies.paper.rules.verdict import UNDECIDED, Claim, Finding, Lacking, all_of, joined, spanned

LOSSES = ("L1", "L1 + SSIM", "L2", "L2 + SSIM", "SSIM")
BEST = "L2 + SSIM, mask"
FEW = 2  # open comparisons that are named again; more are counted
ALL = (
    f"Holds when for all of them the whole interval over at least {LEAST_SEEDS} seeds (t, paired by seed) lies on that side, with "
    "the spread over test images in its error where there are values by image; fails when one lies on the other side after "
    "Bonferroni's correction; else undecided."
)


def name_of(loss: str, masked: bool) -> str:
    """The name of a hypothesis: 'L1 + SSIM, mask'."""
    return f"{loss}, mask" if masked else loss


def plain_name(arm: str) -> str:
    """The same name however it is written: 'SSIM + L1 (no mask)' is 'L1 + SSIM'."""
    low = arm.lower()
    masked = "mask" in low and not any(word in low for word in ("no mask", "without", "unmasked"))
    loss = [part for part in ("L1", "L2", "SSIM") if part.lower() in low.replace("mse", "l2")]
    return name_of(" + ".join(loss), masked)


def _hypotheses(evidence: Evidence) -> Evidence:
    if not evidence.hypotheses:
        raise Lacking("The ten losses and masks were not trained.")
    trials = tuple(replace(t, arm=plain_name(t.arm)) for t in evidence.hypotheses)
    return hypotheses_of(replace(evidence, hypotheses=trials))


def _pairs(
    evidence: Evidence, metric: str, label: str, pairs: Sequence[tuple[str, str]], by_image: str | None = None
) -> list[Compared]:
    """Second minus first for each pair of hypotheses."""
    needs = ("masks", metric)
    return [
        compare(evidence, f"{label}, {b} less {a}", f"{Q}.{metric}", arms=(a, b), by_image=by_image, needs=needs) for a, b in pairs
    ]


def _judged(evidence: Evidence, found: Sequence[Compared], wanted: int, said: tuple[str, str, str], note: str = "") -> Finding:
    kinds = [c.kind(wanted, comparisons=len(found)) for c in found]
    open_ = [c for c, kind in zip(found, kinds, strict=True) if kind == UNDECIDED]
    fewest = min(c.num_seeds for c in found)
    which = joined(_pair(c) for c in open_) if len(open_) <= FEW else f"{len(open_)} of {len(found)}"
    doubts = f" Not settled: {which}." if open_ else ""
    doubts += f" A verdict needs {LEAST_SEEDS} seeds." if fewest < LEAST_SEEDS else ""
    kind = all_of(kinds)
    what = found[0].label.partition(",")[0]
    sentence = f"{concluded(kind, said)} {what[0].upper()}{what[1:]}, {seeds_text(fewest)}: {'; '.join(map(_told, found))}.{doubts}"
    return Finding(kind=kind, sentence=sentence, evidence=numbers_of(found), scope=scope_of(evidence, note))


def _pair(compared: Compared) -> str:
    first, second = compared.arms
    return f"`{second}` less `{first}`"


def _told(compared: Compared) -> str:
    e = compared.estimate
    return f"{_pair(compared)} {spanned(e.value, e.low, e.high, signed=True)}"


T1_RULE = (
    "L1 inside the face with the mask less that without it, for each of the four losses with L1 or L2: below zero. Under SSIM "
    f"alone, where they saw no gain, it stands beside them and does not decide. {ALL}"
)


def masks_help(evidence: Evidence) -> Finding:
    """T1."""
    own = _hypotheses(evidence)
    pairs = [(name_of(loss, False), name_of(loss, True)) for loss in LOSSES]
    *found, alone = _pairs(own, "l1_inside", "L1 inside the face", pairs, by_image="l1_inside")
    said = ("The mask helps with all four.", "The mask does not help with all four.", "Not all four are settled.")
    judged = _judged(own, found, -1, said)
    return replace(judged, sentence=f"{judged.sentence} Beside them: {_told(alone)}.", evidence=numbers_of((*found, alone)))


T2_RULE = (
    "Squared error inside the face of SSIM + L2 with mask less that of each other hypothesis: below zero. Inside, for outside of "
    f"the face a mask pastes the input itself. {ALL}"
)


def best(evidence: Evidence) -> Finding:
    """T2."""
    own = _hypotheses(evidence)
    others = [name_of(loss, masked) for loss in LOSSES for masked in (False, True)]
    found = _pairs(own, "mse_inside", "squared error inside", [(other, BEST) for other in others if other != BEST])
    said = ("SSIM + L2 with mask is best.", "SSIM + L2 with mask is not best.", "Which is best is not settled.")
    return _judged(own, found, -1, said)


T3_RULE = (
    "Error of each image's mean colour under SSIM alone less that under L1 + SSIM and under L2 + SSIM, all without mask, for with "
    f"one the background is never trained and its colour says nothing about the loss: above zero. {ALL}"
)


def colour_shift(evidence: Evidence) -> Finding:
    """T3."""
    own = _hypotheses(evidence)
    pairs = [(name_of(f"{loss} + SSIM", False), name_of("SSIM", False)) for loss in ("L1", "L2")]
    found = _pairs(own, "colour_error_mean", "error of the mean colour", pairs)
    said = ("SSIM alone shifts the colour.", "SSIM alone does not shift the colour.", "Not both are settled.")
    return _judged(own, found, 1, said)


T4_RULE = (
    "Perceptual similarity under SSIM alone against each of the four other losses, all without mask, by LPIPS (lower is better) "
    f"where every trial has it, else by MS-SSIM (higher is better), which favours a loss that is made of SSIM. {ALL}"
)


def perceptual(evidence: Evidence) -> Finding:
    """T4."""
    own = _hypotheses(evidence)
    arms = [name_of(loss, False) for loss in LOSSES]
    lpips = all(t.get(f"{Q}.lpips") is not None for t in own.trials if t.arm in arms and t.record.state == COMPLETE)
    metric, label, wanted = ("lpips", "LPIPS", -1) if lpips else ("ms_ssim", "MS-SSIM", 1)
    found = _pairs(own, metric, label, [(arm, "SSIM") for arm in arms if arm != "SSIM"], by_image=metric)
    said = ("SSIM is perceptually best.", "SSIM is not perceptually best.", "Which is perceptually best is not settled.")
    note = "" if lpips else "by MS-SSIM, which favours a loss that is made of SSIM, for LPIPS was not computed"
    return _judged(own, found, wanted, said, note)


def _claim(number: int, says: str, measured: str, rule: str, find: Callable[[Evidence], Finding]) -> Claim:
    says = f"{says} (Toledo and Antonelo)"
    return Claim(id=f"T{number}", says=says, measurement=measured, rule=rule, find=find, link="hypotheses")


CLAIMS = (
    _claim(
        1, "the face mask helps under every loss but SSIM alone", "L1 inside the face with and without mask", T1_RULE, masks_help
    ),
    _claim(2, "SSIM + L2 with mask is best", "squared error inside the face of all ten hypotheses", T2_RULE, best),
    _claim(3, "SSIM alone shifts the colour", "error of the mean colour without mask, with L1 or L2 added", T3_RULE, colour_shift),
    _claim(4, "without mask SSIM is perceptually best", "LPIPS, else MS-SSIM, of the five losses", T4_RULE, perceptual),
)
