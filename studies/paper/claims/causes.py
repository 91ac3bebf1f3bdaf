"""The paper's claim about what the fall in quality is due to: C8. No torch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from studies.paper.evidence.evidence import MAIN_ARMS, MODIFIED, ORIGINAL, POOLED, SAME_PARAMETERS, Evidence, Trial
from studies.paper.rules import rules_cost as costs
from studies.paper.rules.rules import (
    BONFERRONI,
    BY_SEED,
    LEAST_SEEDS,
    Array,
    Compared,
    compare,
    concluded,
    counted,
    listed,
    pairwise,
    scope_of,
    seeds_text,
    settled,
)
from studies.paper.rules.verdict import (
    FAILS,
    HOLDS,
    UNDECIDED,
    Claim,
    Finding,
    Lacking,
    Part,
    all_of,
    attempt,
    joined,
    percent,
    percent_span,
)

LEAST_CAUSE, MAJORITY = 0.1, 0.5
LOSS = "record.training.best_loss"
SHARE = "share of the loss, "

C8_RULE = (
    "The difference in validation loss given to the pieces (Shapley values of the trained networks between the two), and a plain "
    "network cut to the parameters of `modified`. A cause makes at least "
    f"{percent(LEAST_CAUSE)} of the mean rise, which must itself be settled ({BY_SEED} above zero); a share is the ratio of both "
    f"means, with Fieller's interval over at least {LEAST_SEEDS} seeds. Dense connectivity is swapped together with down- and "
    "upsampling where the study trains them so; the numbers say it. Holds when dense connectivity, separable convolutions, and "
    "fewer parameters alone (the plain network) each are a cause by their whole interval, and no piece that the paper does not "
    f"name makes more than {percent(MAJORITY)}; fails when one of the three is below {percent(LEAST_CAUSE)} by its whole interval, "
    f"or a piece that is not named above {percent(MAJORITY)}, each {BONFERRONI} for all of these; else undecided. The pooled head "
    "is itself most of the fewer parameters, which the paper does name: above that bound it refutes only where `original` with "
    "that head also reaches a higher loss than the plain network (the whole interval over seeds); else it decides nothing."
)


def causes(evidence: Evidence) -> Finding:
    """C8."""
    parts = [attempt(lambda: _pieces(evidence)), attempt(lambda: _fewer_parameters(evidence))]
    if not any(part.numbers for part in parts):
        raise Lacking(" ".join(part.text for part in parts))
    numbers = tuple(number for part in parts for number in part.numbers)
    rise = attempt(lambda: _rise(evidence))
    kind = all_of(part.kind for part in parts) if rise.kind == HOLDS else UNDECIDED
    said = ("These three explain the fall.", "These three do not explain the fall.", "What causes the fall is not settled.")
    sentence = " ".join(filter(None, (concluded(kind, said), *(part.text for part in (*parts, rise)))))
    return Finding(kind=kind, sentence=sentence, evidence=numbers, scope=scope_of(evidence))


def _rise(evidence: Evidence) -> Part:
    """Whether there is a rise at all that could be given to causes."""
    found = compare(evidence, "validation loss", LOSS)
    if found.side() == 1:
        return Part(kind=HOLDS, text="")
    return Part(kind=UNDECIDED, text=f"No rise of the validation loss is settled: {listed(found)}")


def _pieces(evidence: Evidence) -> Part:
    if not evidence.loss_by_seed:
        raise Lacking(_why_not_attributed(evidence))
    costs.unmixed(evidence.loss_by_seed, "loss")
    shares = _shares(evidence)
    named = costs.named(shares)
    comparisons = len(shares) + 1
    kinds = {name: _kind(name, share, share in named, comparisons) for name, share in shares.items()}
    told = joined(f"{share.label.removeprefix(SHARE)} {_percent(share)}" for share in shares.values())
    lowering = [share.label.removeprefix(SHARE) for share in shares.values() if share.estimate.value < 0]
    why = f" The others add up to more than 100\u00a0%, for {joined(lowering)} lower{'s' * (len(lowering) == 1)} the loss."
    why = why if lowering else ""
    text = f"Shares of the rise in validation loss, {seeds_text(shares[costs.CONVOLUTION].num_seeds)}: {told}.{why}"
    head = Part(kind=UNDECIDED, text="")
    if kinds.get(costs.HEAD) == FAILS:
        head = attempt(lambda: _head_itself(evidence))
        kinds[costs.HEAD] = head.kind
    doubt = settled(*named, bound=LEAST_CAUSE, comparisons=comparisons)
    numbers = tuple(replace(share.numbers[0], name=f"{SHARE}{piece}") for piece, share in shares.items())
    text = " ".join(filter(None, (f"{text}{doubt}", head.text)))
    return Part(kind=all_of(kinds.values()), text=text, numbers=(*numbers, *head.numbers))


def _kind(name: str, share: Compared, is_named: bool, comparisons: int) -> str:
    return share.kind(1, LEAST_CAUSE, comparisons) if is_named else share.kind(-1, MAJORITY, comparisons)


def _shares(evidence: Evidence) -> dict[str, Compared]:
    """Piece -> its share of the rise, the largest first."""
    by_factor = {factor: np.array(values) for factor, values in evidence.loss_by_seed.items()}
    whole = tuple(sum(by_factor.values()).tolist())  # type: ignore[union-attr]
    groups: dict[str, Array] = {}
    for factor, values in by_factor.items():
        piece = costs.piece_of(factor)
        groups[piece] = groups.get(piece, 0.0) + values
    with_sampling = costs.with_sampling(by_factor)
    found = {
        piece: Compared(
            label=f"{SHARE}{costs.label_of(piece, with_sampling)}", values=tuple(values.tolist()), over=whole,
            source="Shapley values of the loss by seed", error=evidence.error,
        )
        for piece, values in groups.items()
    }  # fmt: skip
    return dict(sorted(found.items(), key=lambda item: -item[1].estimate.value))


def _percent(share: Compared) -> str:
    e = share.estimate
    return percent_span(e.value, e.low, e.high)


def _why_not_attributed(evidence: Evidence) -> str:
    said = "loss was not given to the pieces"
    reason = next((limit for limit in evidence.limits if limit.startswith(said)), "")
    if reason:
        return f"The {reason.rstrip('.')}."
    between = sum(t.arm not in MAIN_ARMS for t in evidence.trials)
    if between:
        return f"The {said}: {counted(between, 'trial')} of the networks between the two are stored, and not attributed yet."
    return f"The {said}: the networks between the two were not trained."


def _head_itself(evidence: Evidence) -> Part:
    """Whether the pooled head, which is most of the fewer parameters, costs more than having fewer parameters does."""
    found = compare(evidence, "validation loss", LOSS, arms=(SAME_PARAMETERS, POOLED))
    kind = FAILS if found.side() == 1 else UNDECIDED
    said = "The head costs more than fewer parameters do" if kind == FAILS else "The head may cost no more than fewer parameters do"
    return Part(kind=kind, text=f"{said}: {listed(found)}{settled(found)}", numbers=found.numbers)


def _fewer_parameters(evidence: Evidence) -> Part:
    """How much of the fall a plain network of equally few parameters shows."""
    rise = compare(evidence, "validation loss", LOSS)
    if min(rise.values) <= 0:
        raise Lacking("`modified` did not reach a higher loss with every seed, so no share of its fall can be given to anything.")
    losses = evidence.values(MODIFIED, LOSS)

    def more(first: Trial, second: Trial) -> float | None:
        a, b = first.get(LOSS), second.get(LOSS)
        return None if a is None or b is None or first.seed not in losses else b - a

    found = pairwise(
        evidence, "share of the rise by fewer parameters alone", more, over=lambda first, _: losses[first.seed] - first.get(LOSS),
        arms=(ORIGINAL, SAME_PARAMETERS),
    )  # fmt: skip
    comparisons = len(_shares(evidence)) + 1 if evidence.loss_by_seed else 1
    text = (
        f"A plain network cut to the same parameters shows {_percent(found)} of it ({seeds_text(found.num_seeds)})."
        f"{_reduction(evidence)}"
    )
    doubt = settled(found, bound=LEAST_CAUSE, comparisons=comparisons)
    return Part(kind=found.kind(1, LEAST_CAUSE, comparisons), text=text + doubt, numbers=found.numbers)


def _reduction(evidence: Evidence) -> str:
    """How many parameters fewer there are at the width that was trained, and the head's part in that."""
    first, second, pooled = (evidence.arms.get(arm, {}).get("params") for arm in (ORIGINAL, MODIFIED, POOLED))
    if not first or not second or first <= second:
        return ""
    head = f", of which the pooled head alone makes {percent((first - pooled) / (first - second))}" if pooled else ""
    return f" At this width `modified` has {100 * (1 - second / first):.1f}\u00a0% fewer parameters{head}."


CLAIMS = (
    Claim(
        id="C8", says="the fall is due to fewer parameters, dense connectivity, separable convolutions", rule=C8_RULE,
        link="pieces", find=causes,
        measurement="attribution of the loss to the same pieces; a plain model cut to the same parameters as control",
    ),
)  # fmt: skip
