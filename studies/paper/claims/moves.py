"""What the paper says about moving in the latent space: C14, C16. No torch."""

from __future__ import annotations

from ablation.report.kit.numbers import joined
from studies.paper.evidence.evidence import MODIFIED, Evidence, Trial
from studies.paper.rules.compared import BY_SEED, Compared, settled
from studies.paper.rules.conclude import conclude
from studies.paper.rules.kinds import UNDECIDED, from_side
from studies.paper.rules.pairs import compare, has
from studies.paper.rules.verdict import Finding, Number, claim

MOVES = "analysis.traversal"


@claim(
    id="C14", says="`original` has smoother traversals", link="traversals",
    measurement="perceptual path length along single-dimension traversals",
    rule="Perceptual length of the path (sum of 1 − SSIM between neighbouring frames) while one latent dimension moves over the "
    "range of its posterior means, averaged over the dimensions with the largest divergence. A path along which less changes is "
    "shorter without being smoother, so its detour is compared too: the L1 length of the path over the L1 change between its ends, "
    f"1 where it is straight. Holds when length and detour are both larger in `modified` ({BY_SEED} above zero) and its steps are "
    "not more even there; fails when both are smaller and the steps not less even; else undecided.",
)  # fmt: skip
def smooth(evidence: Evidence) -> Finding:
    """Length and detour of the path on one side, evenness of its steps not on the other."""
    length, change = _moved(evidence, "path length", "path_length_mean"), _change(evidence)
    detour = compare(evidence, "detour", _detour, needs=("traversal",))
    even = _moved(evidence, "evenness of steps", "smoothness")
    side = length.side()
    against = [c.label for c, other in ((detour, -side), (even, side)) if c.side() == other]
    kind = from_side(side) if detour.side() == side and not against else UNDECIDED
    less = {1: " `modified` changes more.", -1: " `modified` changes less."}.get(change.side(), "")
    words = ("`original` has smoother traversals.", "`modified` has smoother traversals.", "Which is smoother is not settled.")
    says = "says" if len(against) == 1 else "say"
    doubt = f" The {joined(against)} {says} the opposite of the length." if side and against else settled(length, detour)
    shown = (length, detour, even, change)
    return conclude(evidence, kind, _each(words, less), *shown, doubt=doubt, more=_papers(evidence, "path_length"))


def _moved(evidence: Evidence, label: str, name: str) -> Compared:
    return compare(evidence, label, f"{MOVES}.{name}", needs=("traversal",))


def _change(evidence: Evidence) -> Compared:
    return _moved(evidence, "L1 change between the ends", "l1_change_mean")


def _each(words: tuple[str, str, str], end: str) -> tuple[str, str, str]:
    holds, fails, undecided = words
    return holds + end, fails + end, undecided + end


def _detour(trial: Trial) -> float | None:
    """How much longer the path is than straight, whatever its ends: no step is shorter than the change that it makes."""
    length, change = (trial.get(f"{MOVES}.{name}") for name in ("l1_path_length_mean", "l1_change_mean"))
    return None if length is None or not change else float(length / change)


def _papers(evidence: Evidence, name: str) -> tuple[Number, ...]:
    """The same on the paper's own traversal (dimension 20, −3 to 3), beside the measurement that decides."""
    path = f"{MOVES}.paper.{name}"
    return compare(evidence, f"{name.replace('_', ' ')} on the paper's own traversal", path).numbers if has(evidence, path) else ()


@claim(
    id="C16", says="changes are more global in `modified`", link="traversals",
    measurement="share of pixels that change beyond a threshold on traversal",
    rule="Share of pixels that change beyond a threshold between the ends of a traversal, averaged over the dimensions with the "
    "largest divergence. A change that is merely smaller passes the threshold at fewer pixels without being more local, so its "
    "locality is compared too: the share of the squared change on the most changed tenth of the pixels. Holds when in `modified` "
    f"the share of pixels is larger ({BY_SEED} above zero) and the locality smaller (below zero); fails when the share is smaller "
    "and the locality larger; else undecided.",
)  # fmt: skip
def global_changes(evidence: Evidence) -> Finding:
    """Share of pixels changed on one side, locality of the change on the other."""
    share = _moved(evidence, "share of pixels changed", "share_changed_mean")
    locality, change = _moved(evidence, "locality", "locality_mean"), _change(evidence)
    side = share.side()
    kind = from_side(side) if locality.side() == -side else UNDECIDED
    undecided = {
        1: "More pixels change in `modified`; that the changes are more global is not settled.",
        -1: "Fewer pixels change in `modified`; that the changes are more local is not settled.",
    }.get(side, "Not settled.")
    words = ("Changes are more global in `modified`.", "Changes are more local in `modified`.", undecided)
    doubt = " Share and locality disagree." if side and locality.side() == side else settled(share, locality)
    threshold = next((t.get(f"{MOVES}.threshold") for t in evidence.of(MODIFIED).values()), None)
    scope = "" if threshold is None else f"a pixel changes when a channel does by more than {float(threshold):g}"
    more = _papers(evidence, "share_changed")
    return conclude(evidence, kind, words, share, locality, change, doubt=doubt, scope=scope, more=more)


CLAIMS = (smooth, global_changes)
