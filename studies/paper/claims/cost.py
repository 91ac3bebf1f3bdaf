"""What the paper says about parameters and arithmetic: C1, C3, C4. Counted exactly, no interval enters. No torch."""

from __future__ import annotations

from ablation.record.explanation import Explanation
from ablation.report.kit.numbers import joined
from studies.paper.evidence.evidence import Evidence
from studies.paper.facts import REPORTED
from studies.paper.rules.explained import attribution_of, explained, size_of, size_text
from studies.paper.rules.kinds import FAILS, HOLDS, UNDECIDED, from_side
from studies.paper.rules.numbers import plain, spanned
from studies.paper.rules.pieces import WAYS, by_piece, by_ways, named
from studies.paper.rules.verdict import Finding, Lacking, Number, claim

PARAMS = (REPORTED["original"].params, REPORTED["modified"].params)
REDUCTION = 0.328
# pixels of the paper's networks
SIZE = 144


@claim(
    id="C1", says=f"{PARAMS[0]:,} and {PARAMS[1]:,} parameters, a {100 * REDUCTION:.1f} % reduction", link="table-1",
    measurement="parameters, counted", by_chance=False,
    rule=f"Exact counts at {SIZE} px. Holds when they are {PARAMS[0]:,} and {PARAMS[1]:,} and the reduction rounds to "
    f"{100 * REDUCTION:.1f} %; fails otherwise.",
)  # fmt: skip
def parameters(evidence: Evidence) -> Finding:
    """Whether both counts, and the reduction to three digits, are the paper's."""
    explanation = _at_size(evidence)
    names = (explanation.first, explanation.second)
    counts = [int(explanation.costs.get(name, {}).get("params") or 0) for name in names]
    if not all(counts):
        raise Lacking("The parameters of the pair were not counted.")
    first, second = counts
    reduction = 1 - second / first
    exact = (first, second) == PARAMS and round(reduction, 3) == REDUCTION
    against = ", exactly as the paper says." if exact else f"; the paper says {PARAMS[0]:,} and {PARAMS[1]:,}."
    sentence = f"Counted: {first:,} and {second:,} parameters, {100 * reduction:.1f}\u00a0% fewer{against}"
    values = {**{f"parameters, {n}": v for n, v in zip(names, counts, strict=True)}, "reduction": reduction}
    return _finding(HOLDS if exact else FAILS, sentence, values, "explanation.costs", explanation)


@claim(
    id="C3", says="the saving comes from dense connectivity and separable convolutions", link="cost", by_chance=False,
    measurement="exact attribution of the parameter difference to the pieces that differ",
    rule="Exact Shapley values of the parameter difference over all combinations of the pieces, encoder and decoder added. Holds "
    "when dense connectivity and the convolution kind each save parameters, and together more than any other piece; fails "
    "otherwise.",
)  # fmt: skip
def saving(evidence: Evidence) -> Finding:
    """Whether the two pieces that the paper names each save parameters, and together more than any other."""
    explanation = _at_size(evidence)
    attribution = attribution_of(explanation, "params")
    every, whole = by_piece(attribution), attribution.end - attribution.start
    both = named(every)
    together = both[0].value + both[1].value
    most = min((p for p in every.values() if p not in both), key=lambda p: p.value, default=None)
    beaten = most is not None and most.value <= together
    shares = "; ".join(p.text(1e-6, "M") for p in sorted(every.values(), key=lambda p: p.value))
    adding = [p.label for p in every.values() if p.value * whole < 0]
    go = "goes" if len(adding) == 1 else "go"
    why = f" The others make more than 100\u00a0%, for {joined(adding)} {go} the other way." if adding else ""
    sentence = (
        f"Of {_millions(whole)} parameters, by exact Shapley values: {shares}.{why} Connectivity and convolution together make "
        f"{_millions(together)}."
    )
    if beaten and most is not None:
        sentence += f" The piece that saves most is the {most.name}."
    kind = FAILS if beaten or max(p.value for p in both) >= 0 else HOLDS
    source = "attribution of params"
    numbers = (*(Number.of(f"params, {p.name}", p, source) for p in every.values()),
               Number(name="params, the two pieces named", value=together))  # fmt: skip
    return Finding(kind=kind, sentence=sentence, evidence=numbers, scope=_scope(explanation))


@claim(
    id="C4", says="separable convolutions reduce the theoretical cost", link="cost", by_chance=False,
    measurement="multiply-accumulates of both models, attributed in the same way",
    rule="Multiply-accumulates given to the convolution kind, encoder and decoder added: its exact Shapley value, its effect "
    "swapped alone in `original`, and what it still contributes in `modified`. Holds when all three are below zero; fails when all "
    "are above; undecided where they disagree. The total of `modified`, with all its pieces, stands beside it and does not decide: "
    "the claim is about the convolution.",
)  # fmt: skip
def arithmetic(evidence: Evidence) -> Finding:
    """Whether the convolution kind lowers multiply-accumulates, by each of three ways to fix the other pieces."""
    explanation = _at_size(evidence)
    a = attribution_of(explanation, "macs")
    ways = {name: named(every) for name, every in by_ways(a).items()}
    values = {name: convolution.value for name, (_, convolution) in ways.items()}
    signs = {(v > 0) - (v < 0) for v in values.values()}
    kind = from_side(signs.pop(), -1) if len(signs) == 1 else UNDECIDED
    changes = joined(f"{_millions(v)} ({name})" for name, v in values.items())
    connectivity = {name: ways[name][0].value for name in WAYS[:2]}
    adds, alone = (plain(value * 1e-6) for value in connectivity.values())
    sentence = (
        f"The convolution kind by itself changes the multiply-accumulates by {changes}. All pieces together: `modified` computes "
        f"×{plain(a.end / a.start)} as many as `original` ({plain(a.end * 1e-6)} M against {plain(a.start * 1e-6)} M); dense "
        f"connectivity adds {adds} M (Shapley value; {alone} M alone in `original`)."
    )
    numbers = {
        **{f"macs of the convolution, {n}": v for n, v in values.items()},
        **{f"macs of connectivity, {n}": v for n, v in connectivity.items()},
        "macs, modified over original": a.end / a.start,
    }
    return _finding(kind, sentence, numbers, "attribution of macs", explanation)


def _millions(value: float) -> str:
    return f"{spanned(value * 1e-6, None, None, signed=True)} M"


def _at_size(evidence: Evidence) -> Explanation:
    explanation = explained(evidence)
    if size_of(explanation) not in (None, SIZE):
        raise Lacking(f"The pair was explained at {size_text(explanation)}; the paper's counts are of {SIZE} px.")
    return explanation


def _finding(kind: str, sentence: str, values: dict[str, float], source: str, explanation: Explanation) -> Finding:
    numbers = tuple(Number(name=name, value=value, source=source) for name, value in values.items())
    return Finding(kind=kind, sentence=sentence, evidence=numbers, scope=_scope(explanation))


def _scope(explanation: Explanation) -> str:
    return f"counted exactly at {size_text(explanation)}; no data, training or hardware enters"


CLAIMS = (parameters, saving, arithmetic)
