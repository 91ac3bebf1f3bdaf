"""The paper's 21 claims and Toledo and Antonelo's four findings, each judged by its rule from stored evidence. No torch."""

from __future__ import annotations

from ablation.judge import (
    claims_causes,
    claims_cost,
    claims_latent,
    claims_masks,
    claims_moves,
    claims_quality,
    claims_slowdown,
    claims_speed,
    claims_training,
)
from ablation.judge.evidence import Evidence
from ablation.judge.verdict import NOT_COMPUTED, UNDECIDED, Claim, Finding, Lacking, Verdict

_PARTS = (claims_causes, claims_cost, claims_latent, claims_moves, claims_quality, claims_slowdown, claims_speed, claims_training)
PAPER_CLAIMS: tuple[Claim, ...] = tuple(sorted((c for part in _PARTS for c in part.CLAIMS), key=lambda c: int(c.id[1:])))
CLAIMS: tuple[Claim, ...] = (*PAPER_CLAIMS, *claims_masks.CLAIMS)


RULES_CHANGED = (
    "Rules and verdicts come from the same authors: every rule was written before its claim was first judged, and these were "
    "changed afterwards, knowing verdicts. After three seeds on rendered faces, before any run on CelebA: C7, C8, C14, C16 and "
    "C17 ask for more than before; C12 asks that flat clouds are passed too, not Gaussians alone (what it would be by Gaussians "
    "is told with it); T3 is asked without mask only, which is less. After the first runs on both: C20 holds only after as many "
    "training steps as C17 asks for. After the second: C12 no longer fails where clusters are merely not seen; C11 asks for "
    "matched detail beside power; C6 is settled by CUDA devices alone; C5's bounds allow for the doubt about both networks; C8 "
    "asks for a settled rise; C20's overfitting must be more than jitter; C7, C10 and C17 fail only beyond Bonferroni's "
    "correction."
)
# the history of the rules, for a reader to weigh


def judge(evidence: Evidence) -> tuple[Verdict, ...]:
    """A verdict on every claim, C1 to C21, then T1 to T4. What the evidence lacks makes a claim undecided, with the reason."""
    return tuple(judge_one(claim, evidence) for claim in CLAIMS)


def judge_one(claim: Claim, evidence: Evidence) -> Verdict:
    """The verdict on one claim; evidence that a rule cannot read is no verdict, and never stops the page."""
    try:
        found = claim.find(evidence)
    except Lacking as reason:
        found = Finding(kind=UNDECIDED, sentence=f"{NOT_COMPUTED} {reason}")
    except Exception as error:  # stored by another version, or cut short: told, and the other claims are judged all the same
        found = Finding(kind=UNDECIDED, sentence=f"{NOT_COMPUTED} The evidence could not be read: {type(error).__name__}: {error}")
    return Verdict(
        id=claim.id, says=claim.says, measurement=claim.measurement, rule=claim.rule, kind=found.kind, sentence=found.sentence,
        evidence=found.evidence, scope=found.scope or "not computed in this study", link=claim.link,
    )  # fmt: skip
