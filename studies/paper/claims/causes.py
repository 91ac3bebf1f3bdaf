"""What the paper gives the fall in quality to: C8. No torch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ablation.report.kit.numbers import count, joined
from studies.paper.evidence.evidence import MAIN_ARMS, MODIFIED, ORIGINAL, POOLED, SAME_PARAMETERS, Evidence
from studies.paper.rules.compared import BONFERRONI, BY_SEED, LEAST_SEEDS, Array, Compared, listed, settled
from studies.paper.rules.conclude import scope_of
from studies.paper.rules.kinds import FAILS, HOLDS, UNDECIDED, all_of, worded
from studies.paper.rules.numbers import percent
from studies.paper.rules.pairs import LOSS, compare, number_at, of_two, pairwise
from studies.paper.rules.pieces import CONVOLUTION, HEAD, labels_of, named, piece_of, unmixed
from studies.paper.rules.verdict import Finding, Lacking, Part, attempt, claim, together

LEAST_CAUSE, MAJORITY = 0.1, 0.5
SHARE = "share of the loss, "


@claim(
    id="C8", says="the fall is due to fewer parameters, dense connectivity, separable convolutions", link="pieces",
    measurement="attribution of the loss to the same pieces; a plain model cut to the same parameters as control",
    rule="The difference in validation loss given to the pieces (Shapley values of the trained networks between the two), and a "
    "plain network cut to the parameters of `modified`. A cause makes at least "
    f"{percent(LEAST_CAUSE)} of the mean rise, which must itself be settled ({BY_SEED} above zero); a share is the ratio of both "
    f"means, with Fieller's interval over at least {LEAST_SEEDS} seeds. Dense connectivity is swapped together with down- and "
    "upsampling where the study trains them so; the numbers say it. Holds when dense connectivity, separable convolutions, and "
    "fewer parameters alone (the plain network) each are a cause by their whole interval, and no piece that the paper does not "
    f"name makes more than {percent(MAJORITY)}; fails when one of the three is below {percent(LEAST_CAUSE)} by its whole interval, "
    f"or a piece that is not named above {percent(MAJORITY)}, each {BONFERRONI} for all of these; else undecided. The pooled head "
    "is itself most of the fewer parameters, which the paper does name: above that bound it refutes only where `original` with "
    "that head also reaches a higher loss than the plain network (the whole interval over seeds); else it decides nothing.",
)  # fmt: skip
def causes(evidence: Evidence) -> Finding:
    """Shares of the rise in loss by piece and by fewer parameters alone; undecided where no rise is settled."""
    parts = [attempt(_pieces, evidence), attempt(_fewer_parameters, evidence)]
    _, numbers = together(*parts)
    rise = attempt(_rise, evidence)
    kind = all_of(part.kind for part in parts) if rise.kind == HOLDS else UNDECIDED
    words = ("These three explain the fall.", "These three do not explain the fall.", "What causes the fall is not settled.")
    sentence = " ".join(filter(None, (worded(kind, words), *(part.text for part in (*parts, rise)))))
    return Finding(kind=kind, sentence=sentence, evidence=numbers, scope=scope_of(evidence))


def _rise(evidence: Evidence) -> Part:
    """Whether there is a rise at all that could be given to causes."""
    rise = compare(evidence, "validation loss", LOSS)
    if rise.side() == 1:
        return Part(kind=HOLDS)
    return Part(text=f"No rise of the validation loss is settled: {listed(rise)}")


def _pieces(evidence: Evidence) -> Part:
    if not evidence.loss_by_seed:
        raise Lacking(_why_not_attributed(evidence))
    unmixed(evidence.loss_by_seed, "loss")
    shares = _shares(evidence)
    both, comparisons = named(shares), len(shares) + 1
    kinds = {
        name: share.kind(1, LEAST_CAUSE, comparisons) if share in both else share.kind(-1, MAJORITY, comparisons)
        for name, share in shares.items()
    }
    labels = {name: share.label.removeprefix(SHARE) for name, share in shares.items()}
    each = joined(f"{labels[name]} {share.share_text}" for name, share in shares.items())
    lowering = [labels[name] for name, share in shares.items() if share.estimate.value < 0]
    why = f" The others add up to more than 100\u00a0%, for {joined(lowering)} lower{'s' * (len(lowering) == 1)} the loss."
    head = Part()
    if kinds.get(HEAD) == FAILS:
        head = attempt(_head_itself, evidence)
        kinds[HEAD] = head.kind
    text = (
        f"Shares of the rise in validation loss, {count(shares[CONVOLUTION].num_seeds, 'seed')}: {each}.{why if lowering else ''}"
        f"{settled(*both, bound=LEAST_CAUSE, comparisons=comparisons)}"
    )
    numbers = tuple(replace(share.numbers[0], name=f"{SHARE}{piece}") for piece, share in shares.items())
    return Part(kind=all_of(kinds.values()), text=" ".join(filter(None, (text, head.text))), numbers=(*numbers, *head.numbers))


def _shares(evidence: Evidence) -> dict[str, Compared]:
    """Piece -> its share of the rise, the largest first."""
    by_factor = {factor: np.array(values) for factor, values in evidence.loss_by_seed.items()}
    whole = tuple(sum(by_factor.values()).tolist())  # type: ignore[union-attr]
    groups: dict[str, Array] = {}
    for factor, values in by_factor.items():
        piece = piece_of(factor)
        groups[piece] = groups.get(piece, 0.0) + values
    shares = {
        piece: Compared(
            label=f"{SHARE}{label}", values=tuple(groups[piece].tolist()), over=whole,
            source="Shapley values of the loss by seed", error=evidence.error,
        )
        for piece, label in labels_of(by_factor).items()
    }  # fmt: skip
    return dict(sorted(shares.items(), key=lambda item: -item[1].estimate.value))


def _why_not_attributed(evidence: Evidence) -> str:
    begin = "loss was not given to the pieces"
    reason = next((limit for limit in evidence.limits if limit.startswith(begin)), "")
    if reason:
        return f"The {reason.rstrip('.')}."
    between = sum(t.arm not in MAIN_ARMS for t in evidence.trials)
    if between:
        return f"The {begin}: {count(between, 'trial')} of the networks between the two are stored, and not attributed yet."
    return f"The {begin}: the networks between the two were not trained."


def _head_itself(evidence: Evidence) -> Part:
    """Whether the pooled head, which is most of the fewer parameters, costs more than having fewer parameters does."""
    more = compare(evidence, "validation loss", LOSS, arms=(SAME_PARAMETERS, POOLED))
    kind, costs = (FAILS, "costs more") if more.side() == 1 else (UNDECIDED, "may cost no more")
    text = f"The head {costs} than fewer parameters do: {listed(more)}{settled(more)}"
    return Part(kind=kind, text=text, numbers=more.numbers)


def _fewer_parameters(evidence: Evidence) -> Part:
    """How much of the fall a plain network of equally few parameters shows."""
    if min(compare(evidence, "validation loss", LOSS).values) <= 0:
        raise Lacking("`modified` did not reach a higher loss with every seed, so no share of its fall can be given to anything.")
    losses, loss = evidence.values(MODIFIED, LOSS), number_at(LOSS)
    rise = of_two(loss, lambda a, b: b - a)
    share = pairwise(
        evidence, "share of the rise by fewer parameters alone",
        lambda first, second: rise(first, second) if first.seed in losses else None,
        over=lambda first, _: losses[first.seed] - (loss(first) or 0.0), arms=(ORIGINAL, SAME_PARAMETERS),
    )  # fmt: skip
    comparisons = len(_shares(evidence)) + 1 if evidence.loss_by_seed else 1
    text = (
        f"A plain network cut to the same parameters shows {share.share_text} of it ({count(share.num_seeds, 'seed')})."
        f"{_reduction(evidence)}{settled(share, bound=LEAST_CAUSE, comparisons=comparisons)}"
    )
    return Part(kind=share.kind(1, LEAST_CAUSE, comparisons), text=text, numbers=share.numbers)


def _reduction(evidence: Evidence) -> str:
    """How many parameters fewer there are at the width that was trained, and the head's part in that."""
    first, second, pooled = (evidence.arms.get(arm, {}).get("params") for arm in (ORIGINAL, MODIFIED, POOLED))
    if not first or not second or first <= second:
        return ""
    head = f", of which the pooled head alone makes {percent((first - pooled) / (first - second))}" if pooled else ""
    return f" At this width `modified` has {100 * (1 - second / first):.1f}\u00a0% fewer parameters{head}."


CLAIMS = (causes,)
