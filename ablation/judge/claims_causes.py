"""The paper's claim about what the fall in quality is due to: C8. No torch."""

from __future__ import annotations

from ablation.explain.explanation import Attribution
from ablation.judge import rules_cost as costs
from ablation.judge.evidence import MAIN_ARMS, MODIFIED, ORIGINAL, POOLED, SAME_PARAMETERS, Evidence, Trial
from ablation.judge.rules import (
    BY_SEED,
    LEAST_SEEDS,
    compare,
    concluded,
    counted,
    listed,
    pairwise,
    scope_of,
    seeds_text,
    settled,
    side_of,
)
from ablation.judge.verdict import (
    FAILS,
    HOLDS,
    UNDECIDED,
    Claim,
    Finding,
    Lacking,
    Number,
    Part,
    all_of,
    attempt,
    from_side,
    joined,
    percent,
    percent_span,
)

LEAST_CAUSE, MAJORITY = 0.1, 0.5
LOSS = "record.training.best_loss"

C8_RULE = (
    "The difference in validation loss given to the pieces (Shapley values of the trained networks between the two, intervals "
    f"over at least {LEAST_SEEDS} seeds), and a plain network cut to the parameters of `modified`. A cause makes at least "
    f"{percent(LEAST_CAUSE)} of the mean rise, which must itself be settled ({BY_SEED} above zero). Dense connectivity is swapped "
    "together with down- and upsampling where the study trains them so; the numbers say it. Holds when dense connectivity, "
    "separable convolutions, and fewer parameters alone (the plain network) each are a cause by their whole interval, and no "
    f"piece that the paper does not name makes more than {percent(MAJORITY)}; fails when one of the three is below "
    f"{percent(LEAST_CAUSE)} by its whole interval, or a piece that is not named above {percent(MAJORITY)}; else undecided. The "
    "pooled head is itself most of the fewer parameters, which the paper does name: above that bound it refutes only where "
    "`original` with that head also reaches a higher loss than the plain network (the whole interval over seeds); else it decides "
    "nothing."
)


def causes(evidence: Evidence) -> Finding:
    """C8."""
    attribution = next((a for a in evidence.loss_attribution if a.metric == "loss"), None)
    parts = [attempt(lambda: _pieces(evidence, attribution)), attempt(lambda: _fewer_parameters(evidence))]
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


def _pieces(evidence: Evidence, attribution: Attribution | None) -> Part:
    if attribution is None:
        raise Lacking(_why_not_attributed(evidence))
    costs.unmixed(attribution)
    whole = attribution.end - attribution.start
    if whole <= 0:
        raise Lacking("`modified` reached no higher loss, so there is no fall to be explained.")
    found = costs.pieces(attribution.shapley, whole)
    named = costs.named(found)
    shares = {
        p: Number(
            name=f"share of the loss, {p.name}", value=p.value / whole, low=None if p.low is None else p.low / whole,
            high=None if p.high is None else p.high / whole, source=f"attribution of loss: {attribution.place}",
        )
        for p in sorted(found.values(), key=lambda p: -p.value)
    }  # fmt: skip
    enough = _seeds_of(attribution.place) >= LEAST_SEEDS
    kinds = [from_side(side_of(shares[p].low, shares[p].high, LEAST_CAUSE)) for p in named]
    beside = {p.name: from_side(side_of(s.low, s.high, MAJORITY), -1) for p, s in shares.items() if p not in named}
    told = joined(f"{p.label} {percent_span(n.value, n.low, n.high)}" for p, n in shares.items())
    text = f"Shares of the rise in validation loss, {attribution.place}: {told}."
    head = Part(kind=UNDECIDED, text="")
    if beside.get(costs.HEAD) == FAILS:
        head = attempt(lambda: _head_itself(evidence))
        beside[costs.HEAD] = head.kind
    kinds += beside.values()
    few = "" if enough else f"A verdict needs {LEAST_SEEDS} seeds."
    return Part(
        kind=all_of(kinds) if enough else UNDECIDED, text=" ".join(filter(None, (text, head.text, few))),
        numbers=(*shares.values(), *head.numbers),
    )  # fmt: skip


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


def _seeds_of(place: str) -> int:
    first = place.partition(" ")[0]
    return int(first) if first.isdigit() else 0


def _fewer_parameters(evidence: Evidence) -> Part:
    """How much of the fall a plain network of equally few parameters shows."""
    fall = compare(evidence, "validation loss", LOSS)
    if min(fall.estimate.values) <= 0:
        raise Lacking("`modified` did not reach a higher loss with every seed, so no share of its fall can be given to anything.")

    # the mean fall below every share: the mean of ratios of noisy differences would be far noisier
    def share(first: Trial, second: Trial) -> float | None:
        a, b = first.get(LOSS), second.get(LOSS)
        return None if a is None or b is None else (b - a) / fall.estimate.mean

    found = pairwise(evidence, "share of the rise by fewer parameters alone", share, arms=(ORIGINAL, SAME_PARAMETERS))
    e = found.estimate
    text = (
        f"A plain network cut to the same parameters shows {percent_span(e.mean, e.low, e.high)} of it ({seeds_text(e.num_seeds)})."
        f"{_reduction(evidence)}"
    )
    kind = from_side(found.side(LEAST_CAUSE))
    return Part(kind=kind, text=text + settled(found, bound=LEAST_CAUSE), numbers=found.numbers)


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
