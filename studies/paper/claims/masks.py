"""What Toledo and Antonelo found about losses and face masks: T1 to T4, judged on their ten hypotheses. No torch.

Source: "Face Reconstruction with Variational Autoencoder and Face Masks" (2021). A finding about several comparisons holds when
all of them do, which needs no correction; it fails when one is refuted, by an interval corrected for their number (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ablation.record.trial import COMPLETE
from ablation.report.kit.numbers import capital, count, joined
from studies.paper.evidence.evidence import Evidence
from studies.paper.hypotheses import MASKED
from studies.paper.rules.compared import LEAST_SEEDS, Compared, numbers_of
from studies.paper.rules.conclude import scope_of
from studies.paper.rules.kinds import UNDECIDED, all_of, worded
from studies.paper.rules.pairs import Q, compare
from studies.paper.rules.verdict import Claim, Finding, Lacking, Rule, claim

LOSSES = ("L1", "L1 + SSIM", "L2", "L2 + SSIM", "SSIM")
BEST = f"L2 + SSIM{MASKED}"
# open comparisons that are named again; more are counted
FEW = 2
ALL = (
    f"Holds when for all of them the whole interval over at least {LEAST_SEEDS} seeds (t, paired by seed) lies on that side, with "
    "the spread over test images in its error where there are values by image; fails when one lies on the other side after "
    "Bonferroni's correction; else undecided."
)


def plain_name(arm: str) -> str:
    """A hypothesis by its own name however it is written: 'SSIM + L1 (no mask)' is 'L1 + SSIM'."""
    low = arm.lower()
    masked = "mask" in low and not any(word in low for word in ("no mask", "without", "unmasked"))
    loss = [part for part in ("L1", "L2", "SSIM") if part.lower() in low.replace("mse", "l2")]
    return " + ".join(loss) + MASKED * masked


def _claim(id: str, says: str, measurement: str, rule: str) -> Callable[[Rule], Claim]:
    says = f"{says} (Toledo and Antonelo)"
    return claim(id=id, says=says, measurement=measurement, rule=f"{rule} {ALL}", link="hypotheses")


def _hypotheses(evidence: Evidence) -> Evidence:
    """The same evidence with the trials of the ten losses and masks in place of the models'."""
    if not evidence.hypotheses:
        raise Lacking("The ten losses and masks were not trained.")
    return replace(evidence, trials=tuple(replace(t, arm=plain_name(t.arm)) for t in evidence.hypotheses))


def _pairs(own: Evidence, metric: str, label: str, pairs: Sequence[tuple[str, str]], by_image: bool = False) -> list[Compared]:
    """Second minus first for each pair of hypotheses."""
    about = {"needs": ("masks", metric), "by_image": metric if by_image else None}
    return [compare(own, f"{label}, {b} less {a}", f"{Q}.{metric}", arms=(a, b), **about) for a, b in pairs]  # type: ignore[arg-type]


def _judged(evidence: Evidence, compared: Sequence[Compared], wanted: int, words: tuple[str, str, str], note: str = "") -> Finding:
    """All of them on the wanted side of zero."""
    kinds = [c.kind(wanted, comparisons=len(compared)) for c in compared]
    open_ = [c for c, kind in zip(compared, kinds, strict=True) if kind == UNDECIDED]
    fewest = min(c.num_seeds for c in compared)
    which = joined(map(_pair, open_)) if len(open_) <= FEW else f"{len(open_)} of {len(compared)}"
    doubts = f" Not settled: {which}." if open_ else ""
    doubts += f" A verdict needs {LEAST_SEEDS} seeds." if fewest < LEAST_SEEDS else ""
    kind, quantity = all_of(kinds), compared[0].label.partition(",")[0]
    begin = f"{worded(kind, words)} {capital(quantity)}, {count(fewest, 'seed')}"
    sentence = f"{begin}: {'; '.join(map(_change, compared))}.{doubts}"
    return Finding(kind=kind, sentence=sentence, evidence=numbers_of(compared), scope=scope_of(evidence, note))


def _pair(compared: Compared) -> str:
    first, second = compared.arms
    return f"`{second}` less `{first}`"


def _change(compared: Compared) -> str:
    return f"{_pair(compared)} {compared.change_text}"


@_claim(
    "T1", "the face mask helps under every loss but SSIM alone", "L1 inside the face with and without mask",
    "L1 inside the face with the mask less that without it, for each of the four losses with L1 or L2: below zero. Under SSIM "
    "alone, where they saw no gain, it stands beside them and does not decide.",
)  # fmt: skip
def masks_help(evidence: Evidence) -> Finding:
    """L1 inside the face falls with the mask under each of four losses."""
    own = _hypotheses(evidence)
    *four, alone = _pairs(own, "l1_inside", "L1 inside the face", [(loss, loss + MASKED) for loss in LOSSES], by_image=True)
    words = ("The mask helps with all four.", "The mask does not help with all four.", "Not all four are settled.")
    judged = _judged(own, four, -1, words)
    return replace(judged, sentence=f"{judged.sentence} Beside them: {_change(alone)}.", evidence=numbers_of((*four, alone)))


@_claim(
    "T2", "SSIM + L2 with mask is best", "squared error inside the face of all ten hypotheses",
    "Squared error inside the face of SSIM + L2 with mask less that of each other hypothesis: below zero. Inside, for outside of "
    "the face a mask pastes the input itself.",
)  # fmt: skip
def best(evidence: Evidence) -> Finding:
    """The squared error of one hypothesis lies below each of the nine others'."""
    own = _hypotheses(evidence)
    others = [loss + mask for loss in LOSSES for mask in ("", MASKED) if loss + mask != BEST]
    compared = _pairs(own, "mse_inside", "squared error inside", [(other, BEST) for other in others])
    words = ("SSIM + L2 with mask is best.", "SSIM + L2 with mask is not best.", "Which is best is not settled.")
    return _judged(own, compared, -1, words)


@_claim(
    "T3", "SSIM alone shifts the colour", "error of the mean colour without mask, with L1 or L2 added",
    "Error of each image's mean colour under SSIM alone less that under L1 + SSIM and under L2 + SSIM, all without mask, for with "
    "one the background is never trained and its colour says nothing about the loss: above zero.",
)  # fmt: skip
def colour_shift(evidence: Evidence) -> Finding:
    """The error of the mean colour is higher under SSIM alone than with L1, and than with L2."""
    own = _hypotheses(evidence)
    pairs = [(f"{loss} + SSIM", "SSIM") for loss in ("L1", "L2")]
    words = ("SSIM alone shifts the colour.", "SSIM alone does not shift the colour.", "Not both are settled.")
    return _judged(own, _pairs(own, "colour_error_mean", "error of the mean colour", pairs), 1, words)


@_claim(
    "T4", "without mask SSIM is perceptually best", "LPIPS, else MS-SSIM, of the five losses",
    "Perceptual similarity under SSIM alone against each of the four other losses, all without mask, by LPIPS (lower is better) "
    "where every trial has it, else by MS-SSIM (higher is better), which favours a loss that is made of SSIM.",
)  # fmt: skip
def perceptual(evidence: Evidence) -> Finding:
    """Perceptual similarity under SSIM alone is better than under each of the four others."""
    own = _hypotheses(evidence)
    lpips = all(t.get(f"{Q}.lpips") is not None for t in own.trials if t.arm in LOSSES and t.record.state == COMPLETE)
    metric, label, wanted = ("lpips", "LPIPS", -1) if lpips else ("ms_ssim", "MS-SSIM", 1)
    compared = _pairs(own, metric, label, [(loss, "SSIM") for loss in LOSSES if loss != "SSIM"], by_image=True)
    words = ("SSIM is perceptually best.", "SSIM is not perceptually best.", "Which is perceptually best is not settled.")
    note = "" if lpips else "by MS-SSIM, which favours a loss that is made of SSIM, for LPIPS was not computed"
    return _judged(own, compared, wanted, words, note)


CLAIMS = (masks_help, best, colour_shift, perceptual)
