"""The paper's claims about moving in the latent space: C14, C16. No torch."""

from __future__ import annotations

from studies.paper.evidence.evidence import MODIFIED, Evidence, Trial
from studies.paper.rules.rules import BY_SEED, Compared, compare, concluded, has, listed, numbers_of, scope_of, settled
from studies.paper.rules.verdict import UNDECIDED, Claim, Finding, Number, from_side, joined

MOVES = "analysis.traversal"

C14_RULE = (
    "Perceptual length of the path (sum of 1 − SSIM between neighbouring frames) while one latent dimension moves over the range "
    "of its posterior means, averaged over the dimensions with the largest divergence. A path along which less changes is shorter "
    "without being smoother, so its detour is compared too: the L1 length of the path over the L1 change between its ends, 1 where "
    f"it is straight. Holds when length and detour are both larger in `modified` ({BY_SEED} above zero) and its steps are not more "
    "even there; fails when both are smaller and the steps not less even; else undecided."
)


def smooth(evidence: Evidence) -> Finding:
    """C14."""
    needs = ("traversal",)
    length = compare(evidence, "path length", f"{MOVES}.path_length_mean", needs=needs)
    detour = compare(evidence, "detour", _detour, needs=needs)
    even = compare(evidence, "evenness of steps", f"{MOVES}.smoothness", needs=needs)
    change = _change(evidence)
    side = length.side()
    against = [c.label for c, other in ((detour, -side), (even, side)) if c.side() == other]
    kind = from_side(side) if detour.side() == side and not against else UNDECIDED
    said = ("`original` has smoother traversals.", "`modified` has smoother traversals.", "Which is smoother is not settled.")
    says = "says" if len(against) == 1 else "say"
    doubt = f" The {joined(against)} {says} the opposite of the length." if side and against else settled(length, detour)
    sentence = f"{concluded(kind, said)}{_less(change)} {listed(length, detour, even, change)}{doubt}"
    numbers = (*numbers_of((length, detour, even, change)), *_papers(evidence, "path_length"))
    return Finding(kind=kind, sentence=sentence, evidence=numbers, scope=scope_of(evidence))


def _detour(trial: Trial) -> float | None:
    """How much longer the path is than straight, whatever its ends: no step is shorter than the change that it makes."""
    length, change = (trial.get(f"{MOVES}.{name}") for name in ("l1_path_length_mean", "l1_change_mean"))
    return None if length is None or not change else float(length / change)


def _change(evidence: Evidence) -> Compared:
    return compare(evidence, "L1 change between the ends", f"{MOVES}.l1_change_mean", needs=("traversal",))


def _less(change: Compared) -> str:
    return {1: " `modified` changes more.", -1: " `modified` changes less."}.get(change.side(), "")


def _papers(evidence: Evidence, name: str) -> tuple[Number, ...]:
    """The same on the paper's own traversal (dimension 20, −3 to 3), beside the measurement that decides."""
    path = f"{MOVES}.paper.{name}"
    return compare(evidence, f"{name.replace('_', ' ')} on the paper's own traversal", path).numbers if has(evidence, path) else ()


C16_RULE = (
    "Share of pixels that change beyond a threshold between the ends of a traversal, averaged over the dimensions with the largest "
    "divergence. A change that is merely smaller passes the threshold at fewer pixels without being more local, so its locality is "
    "compared too: the share of the squared change on the most changed tenth of the pixels. Holds when in `modified` the share of "
    f"pixels is larger ({BY_SEED} above zero) and the locality smaller (below zero); fails when the share is smaller and the "
    "locality larger; else undecided."
)


def global_changes(evidence: Evidence) -> Finding:
    """C16."""
    needs = ("traversal",)
    share = compare(evidence, "share of pixels changed", f"{MOVES}.share_changed_mean", needs=needs)
    locality = compare(evidence, "locality", f"{MOVES}.locality_mean", needs=needs)
    change = _change(evidence)
    side = share.side()
    kind = from_side(side) if locality.side() == -side else UNDECIDED
    open_ = {
        1: "More pixels change in `modified`; that the changes are more global is not settled.",
        -1: "Fewer pixels change in `modified`; that the changes are more local is not settled.",
    }.get(side, "Not settled.")
    said = ("Changes are more global in `modified`.", "Changes are more local in `modified`.", open_)
    doubt = " Share and locality disagree." if side and locality.side() == side else settled(share, locality)
    threshold = next((t.get(f"{MOVES}.threshold") for t in evidence.of(MODIFIED).values()), None)
    scope = "" if threshold is None else f"a pixel changes when a channel does by more than {float(threshold):g}"
    numbers = (*numbers_of((share, locality, change)), *_papers(evidence, "share_changed"))
    sentence = f"{concluded(kind, said)} {listed(share, locality, change)}{doubt}"
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
