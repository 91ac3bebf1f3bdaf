"""The paper's claims about moving in the latent space: C14, C16. No torch."""

from __future__ import annotations

from ablation.judge.evidence import MODIFIED, Evidence
from ablation.judge.rules import BY_SEED, compare, concluded, has, listed, numbers_of, scope_of, settled
from ablation.judge.verdict import UNDECIDED, Claim, Finding, Number, from_side, plain

MOVES = "analysis.traversal"

C14_RULE = (
    "Perceptual length of the path (sum of 1 − SSIM between neighbouring frames) while one latent dimension moves over the range "
    "of its posterior means, averaged over the dimensions with the largest divergence. Holds when it is longer in `modified` "
    f"({BY_SEED} above zero) and its steps are not more even there; fails when it is shorter and not less even; else undecided."
)


def smooth(evidence: Evidence) -> Finding:
    """C14."""
    length = compare(evidence, "path length", f"{MOVES}.path_length_mean", needs=("traversal",))
    even = compare(evidence, "evenness of steps", f"{MOVES}.smoothness", needs=("traversal",))
    side = length.side()
    kind = from_side(side) if even.side() != side else UNDECIDED
    said = ("`original` has smoother traversals.", "`modified` has smoother traversals.", "Which is smoother is not settled.")
    doubt = " Length and evenness disagree." if side and even.side() == side else settled(length)
    sentence = f"{concluded(kind, said)} {listed(length, even)}{doubt}"
    numbers = (*numbers_of((length, even)), *_papers(evidence, "path_length"))
    return Finding(kind=kind, sentence=sentence, evidence=numbers, scope=scope_of(evidence))


def _papers(evidence: Evidence, name: str) -> tuple[Number, ...]:
    """The same on the paper's own traversal (dimension 20, −3 to 3), beside the measurement that decides."""
    path = f"{MOVES}.paper.{name}"
    return compare(evidence, f"{name.replace('_', ' ')} on the paper's own traversal", path).numbers if has(evidence, path) else ()


C16_RULE = (
    "Share of pixels that change beyond a threshold between the ends of a traversal, averaged over the dimensions with the largest "
    f"divergence. Holds when it is larger in `modified`: {BY_SEED} lies above zero; fails when it lies below; else undecided."
)


def global_changes(evidence: Evidence) -> Finding:
    """C16."""
    found = compare(evidence, "share of pixels changed", f"{MOVES}.share_changed_mean", needs=("traversal",))
    kind = from_side(found.side())
    said = (
        "Changes are more global in `modified`.",
        "Changes are more local in `modified`.",
        "Not settled.",
    )
    threshold = next((t.get(f"{MOVES}.threshold") for t in evidence.of(MODIFIED).values()), None)
    scope = "" if threshold is None else f"a pixel changes when a channel does by more than {plain(float(threshold))}"
    numbers = (*found.numbers, *_papers(evidence, "share_changed"))
    sentence = f"{concluded(kind, said)} {listed(found)}{settled(found)}"
    return Finding(kind=kind, sentence=sentence, evidence=numbers, scope=scope_of(evidence, scope))


CLAIMS = (
    Claim(
        id="C14", says="`original` has smoother traversals", rule=C14_RULE, link="traversals", find=smooth,
        measurement="perceptual path length along single-dimension traversals",
    ),
    Claim(
        id="C16", says="changes are more global in `modified`", rule=C16_RULE, link="traversals", find=global_changes,
        measurement="share of pixels that change beyond a threshold on traversal",
    ),
)  # fmt: skip
