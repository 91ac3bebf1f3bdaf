"""The paper's claims about parameters and arithmetic: C1, C3, C4. Counted exactly, no interval enters. No torch."""

from __future__ import annotations

from ablation.record.explanation import Explanation
from studies.paper.evidence.evidence import Evidence
from studies.paper.rules import rules_cost as costs
from studies.paper.rules.verdict import FAILS, HOLDS, UNDECIDED, Claim, Finding, Lacking, Number, from_side, joined, plain, spanned

PARAMS = (9_352_195, 6_283_267)
REDUCTION = 0.328
SIZE = 144  # pixels of the paper's networks

C1_RULE = (
    f"Exact counts at {SIZE} px. Holds when they are {PARAMS[0]:,} and {PARAMS[1]:,} and the reduction rounds to "
    f"{100 * REDUCTION:.1f} %; fails otherwise."
)


def parameters(evidence: Evidence) -> Finding:
    """C1."""
    explanation = _at_size(evidence)
    names = (explanation.first, explanation.second)
    counts = [int(explanation.costs.get(name, {}).get("params") or 0) for name in names]
    if not all(counts):
        raise Lacking("The parameters of the pair were not counted.")
    first, second = counts
    reduction = 1 - second / first
    right = (first, second) == PARAMS and round(reduction, 3) == REDUCTION
    sentence = f"Counted: {first:,} and {second:,} parameters, {100 * reduction:.1f}\u00a0% fewer" + (
        ", exactly as the paper says." if right else f"; the paper says {PARAMS[0]:,} and {PARAMS[1]:,}."
    )
    source = "explanation.costs"
    numbers = [Number(name=f"parameters, {n}", value=v, source=source) for n, v in zip(names, counts, strict=True)]
    numbers.append(Number(name="reduction", value=reduction, source=source))
    return Finding(kind=HOLDS if right else FAILS, sentence=sentence, evidence=tuple(numbers), scope=_scope(explanation))


C3_RULE = (
    "Exact Shapley values of the parameter difference over all combinations of the pieces, encoder and decoder added. Holds when "
    "dense connectivity and the convolution kind each save parameters, and together more than any other piece; fails otherwise."
)


def saving(evidence: Evidence) -> Finding:
    """C3."""
    explanation = _at_size(evidence)
    attribution = costs.attribution_of(explanation, "params")
    costs.unmixed(attribution.shapley, attribution.metric, attribution.place)
    whole = attribution.end - attribution.start
    found = costs.pieces(attribution.shapley, whole)
    connectivity, convolution = costs.named(found)
    together = connectivity.value + convolution.value
    most = min((p for p in found.values() if p not in (connectivity, convolution)), key=lambda p: p.value, default=None)
    beaten = most is not None and most.value <= together
    kind = FAILS if beaten or max(connectivity.value, convolution.value) >= 0 else HOLDS
    told = "; ".join(p.told(1e-6, "M") for p in sorted(found.values(), key=lambda p: p.value))
    adding = [p.label for p in found.values() if p.value * whole < 0]
    why = (
        f" The others make more than 100\u00a0%, for {joined(adding)} go{'es' * (len(adding) == 1)} the other way."
        if adding
        else ""
    )
    sentence = (
        f"Of {spanned(whole * 1e-6, None, None, signed=True)} M parameters, by exact Shapley values: {told}.{why} Connectivity and "
        f"convolution together make {spanned(together * 1e-6, None, None, signed=True)} M."
    )
    if beaten and most is not None:
        sentence += f" The piece that saves most is the {most.name}."
    numbers = (*costs.piece_numbers(found, "params"), Number(name="params, the two pieces named", value=together))
    return Finding(kind=kind, sentence=sentence, evidence=numbers, scope=_scope(explanation))


C4_RULE = (
    "Multiply-accumulates given to the convolution kind, encoder and decoder added: its exact Shapley value, its effect swapped "
    "alone in `original`, and what it still contributes in `modified`. Holds when all three are below zero; fails when all are "
    "above; undecided where they disagree. The total of `modified`, with all its pieces, stands beside it and does not decide: "
    "the claim is about the convolution."
)


def arithmetic(evidence: Evidence) -> Finding:
    """C4."""
    explanation = _at_size(evidence)
    a = costs.attribution_of(explanation, "macs")
    costs.unmixed(a.shapley, a.metric, a.place)
    groups = {"Shapley value": a.shapley, "alone in `original`": a.from_start, "in `modified`": a.from_end}
    found = {name: costs.pieces(effects, a.end - a.start) for name, effects in groups.items()}
    values = {name: costs.named(pieces)[1].value for name, pieces in found.items()}
    signs = {-1 if v < 0 else 1 if v > 0 else 0 for v in values.values()}
    kind = from_side(signs.pop(), -1) if len(signs) == 1 else UNDECIDED
    told = joined(f"{spanned(v * 1e-6, None, None, signed=True)} M ({name})" for name, v in values.items())
    connectivity = {name: costs.named(found[name])[0].value for name in ("Shapley value", "alone in `original`")}
    adds, alone = (plain(value * 1e-6) for value in connectivity.values())
    sentence = (
        f"The convolution kind by itself changes the multiply-accumulates by {told}. All pieces together: `modified` computes "
        f"×{plain(a.end / a.start)} as many as `original` ({plain(a.end * 1e-6)} M against {plain(a.start * 1e-6)} M); dense "
        f"connectivity adds {adds} M (Shapley value; {alone} M alone in `original`)."
    )
    source = "attribution of macs"
    numbers = [Number(name=f"macs of the convolution, {n}", value=v, source=source) for n, v in values.items()]
    numbers += [Number(name=f"macs of connectivity, {n}", value=v, source=source) for n, v in connectivity.items()]
    numbers.append(Number(name="macs, modified over original", value=a.end / a.start, source=source))
    return Finding(kind=kind, sentence=sentence, evidence=tuple(numbers), scope=_scope(explanation))


def _at_size(evidence: Evidence) -> Explanation:
    explanation = costs.explained(evidence)
    if costs.size_of(explanation) not in (None, SIZE):
        raise Lacking(f"The pair was explained at {costs.size_text(explanation)}; the paper's counts are of {SIZE} px.")
    return explanation


def _scope(explanation: Explanation) -> str:
    return f"counted exactly at {costs.size_text(explanation)}; no data, training or hardware enters"


CLAIMS = (
    Claim(
        id="C1", says="9,352,195 and 6,283,267 parameters, a 32.8 % reduction", rule=C1_RULE, link="table-1", find=parameters,
        by_chance=False,
        measurement="parameters, counted",
    ),
    Claim(
        id="C3", says="the saving comes from dense connectivity and separable convolutions", rule=C3_RULE, link="cost", find=saving,
        by_chance=False,
        measurement="exact attribution of the parameter difference to the pieces that differ",
    ),
    Claim(
        id="C4", says="separable convolutions reduce the theoretical cost", rule=C4_RULE, link="cost", find=arithmetic,
        by_chance=False,
        measurement="multiply-accumulates of both models, attributed in the same way",
    ),
)  # fmt: skip
