"""The paper's 21 claims, one in two parts, and Toledo and Antonelo's four findings, judged by rules from stored evidence. No torch.

All verdicts of a study that rest on intervals are judged together, by Holm's step-down (1979): with m of them open, each rule takes
intervals that miss with a chance of `evidence.error` / m; whatever that decides leaves the rest with a smaller m. So the chance of
any wrong verdict by luck is at most `evidence.error`, holds and fails together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from studies.paper.claims import causes, cost, latent, masks, moves, quality, slowdown, speed, training
from studies.paper.evidence.evidence import MISSES, Evidence
from studies.paper.rules.kinds import UNDECIDED
from studies.paper.rules.verdict import NOT_COMPUTED, Claim, Finding, Lacking, Verdict

_PARTS = (causes, cost, latent, moves, quality, slowdown, speed, training)
PAPER_CLAIMS: tuple[Claim, ...] = tuple(
    sorted((claim for part in _PARTS for claim in part.CLAIMS), key=lambda claim: (int(claim.id[1:].rstrip("ab")), claim.id))
)
CLAIMS: tuple[Claim, ...] = (*PAPER_CLAIMS, *masks.CLAIMS)

# the history of the rules, for a reader to weigh
RULES_CHANGED = (
    "Rules and verdicts come from the same authors: every rule was written before its claim was first judged, and these were "
    "changed afterwards, knowing verdicts. After three seeds on rendered faces, before any run on CelebA: C7, C8, C14, C16 and "
    "C17 ask for more than before; C12 asks that flat clouds are passed too, not Gaussians alone (what it would be by Gaussians "
    "stands with it); T3 is asked without mask only, which is less. After the first runs on both: C20 holds only after as many "
    "training steps as C17 asks for. After the second: C12 no longer fails where clusters are merely not seen; C11 asks for "
    "matched detail beside power; C6 is settled by CUDA devices alone; C5's bounds allow for the doubt about both networks; C8 "
    "asks for a settled rise; C20's overfitting must be more than jitter; C7, C10 and C17 fail only beyond Bonferroni's "
    "correction. After the third, and before CelebA was trained again (November 2026): all verdicts of a study are corrected "
    "together (Holm); an interval over images no longer agrees or not, but adds its error to that over seeds; C13 has it too; C2 "
    "is judged in two parts, slower and by that factor; no claim about time is settled on a CPU, where C2, C5 and C21 were "
    "before; intervals of latency count only over several sittings; C19 asks for as many training steps as C17 and C20; C7, C8 "
    "and C17 take the interval of the ratio itself in place of one that divides by a fixed mean, as C10's over images does, and C8 "
    "corrects for the number of pieces."
)
# how the sentence of a claim about time begins where no GPU was timed
ON_CPU = "Not settled by a CPU, for the paper's times are of a GPU. What the CPU shows:"
GPU_POLICY = (
    "The paper measured its times on a GPU, and how long something takes depends on the hardware. So every claim about time "
    f"({', '.join(c.id for c in PAPER_CLAIMS if c.of_gpu)}) is settled by a CUDA device alone; on a CPU its figures are shown and "
    "it is undecided. Claims about counts hold for any hardware; claims about trained networks are judged on whatever trained them."
)
CORRECTION = (
    "Verdicts that rest on intervals are judged together: Holm's correction keeps the chance of any wrong one by luck, in a study, "
    f"at {100 * MISSES:g} % or less. The intervals shown are single 95 % intervals. Counts (C1, C3, C4), signs of divergence (C20) "
    "and what is undecided whatever was measured are not among them."
)


def judge(evidence: Evidence, claims: Sequence[Claim] | None = None) -> tuple[Verdict, ...]:
    """A verdict on each of these claims, by themselves; unless given on C1 to C21, then T1 to T4.

    What the evidence lacks, or a rule cannot read of it, makes a claim undecided, with the reason, and never stops the page.
    """
    claims = CLAIMS if claims is None else claims
    findings = {claim.id: _find(claim, evidence) for claim in claims}
    together = [claim for claim in claims if claim.by_chance and not findings[claim.id].refused]
    open_, before = together, len(together) + 1
    while len(open_) < before and open_:
        corrected = replace(evidence, error=evidence.error / len(open_))
        findings |= {claim.id: _find(claim, corrected) for claim in open_}
        open_, before = [claim for claim in open_ if findings[claim.id].kind == UNDECIDED], len(open_)
    return tuple(_verdict(claim, findings[claim.id], len(together) if claim in together else 0) for claim in claims)


def _find(claim: Claim, evidence: Evidence) -> Finding:
    try:
        finding = claim.find(evidence)
    except Lacking as reason:
        return Finding(kind=UNDECIDED, sentence=f"{NOT_COMPUTED} {reason}", refused=True)
    except Exception as error:  # stored by another version, or cut short: named, and the other claims are judged all the same
        unread = f"The evidence could not be read: {type(error).__name__}: {error}"
        return Finding(kind=UNDECIDED, sentence=f"{NOT_COMPUTED} {unread}", refused=True)
    if not claim.of_gpu or finding.device.startswith("cuda"):
        return finding
    return replace(finding, kind=UNDECIDED, sentence=f"{ON_CPU} {finding.sentence}", refused=True)


def _verdict(claim: Claim, finding: Finding, together: int) -> Verdict:
    return Verdict(
        id=claim.id, says=claim.says, measurement=claim.measurement, rule=claim.rule, kind=finding.kind, sentence=finding.sentence,
        evidence=finding.evidence, scope=finding.scope or "not computed in this study", link=claim.link, together=together,
    )  # fmt: skip
