"""The paper's claims about what its latency is due to: C5, C6, from the explanation of its pair. No torch."""

from __future__ import annotations

import math
from dataclasses import replace

from ablation.measure.latency.statistics import LEAST_SITTINGS
from ablation.record.attribution import Attribution
from ablation.record.explanation import Decomposition, Explanation, Share
from ablation.stats import Estimate
from studies.paper.evidence.evidence import Evidence
from studies.paper.rules import rules_cost as costs
from studies.paper.rules.rules import concluded, side
from studies.paper.rules.verdict import (
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
    plain,
)

LEAST_CAUSE = 0.1
MAJORITY = 0.5
WITHOUT, CONCAT = "no concatenation", "concatenation"

C5_RULE = (
    f"Two parts. Concatenation: with dense blocks that write into one buffer instead, at least {percent(LEAST_CAUSE)} of the "
    "slowdown (of the ratio's logarithm) goes away, by the whole interval of the gain's logarithm less that share of the "
    f"ratio's, both over at least {LEAST_SITTINGS} sittings (their errors added, which is cautious). Re-reading: at least "
    f"{percent(MAJORITY)} of the added time is moving bytes. In each network that is at least what the bytes of each kind of "
    "operation take at the "
    "machine's own bandwidth (and no more than the kind's time), and at most, beside it, all the time of the kinds that bytes "
    "limit, of concatenation, and what has no kind. Of the added time it is at least the least of `modified` less the most "
    "of `original`, at most the other way round. Reached when the least is enough, missed when even the most is not. The claim "
    "names both: it holds when both are reached, fails when either is missed for sure, else undecided. What dense connectivity "
    "adds as a whole (Shapley value) stands beside it and does not decide."
)


def concatenation(evidence: Evidence) -> Finding:
    """C5."""
    explanation = costs.explained(evidence)
    parts = [attempt(lambda: _without(explanation, evidence.error)), attempt(lambda: _traffic(explanation))]
    kind = all_of(part.kind for part in parts)
    beside = attempt(lambda: _connectivity(explanation))
    found = _together(kind, [*parts, beside], explanation)
    return replace(found, sentence=f"{_causes(*parts)} {found.sentence}")


def _causes(concat: Part, reading: Part) -> str:
    """The conclusion on each half, and which of them a claim that names both fails by."""
    first = {HOLDS: "Concatenation itself is a cause", FAILS: "Concatenation itself is not a cause",
             UNDECIDED: "Whether concatenation itself is a cause is not settled"}[concat.kind]  # fmt: skip
    second = {HOLDS: "moving bytes is most of it", FAILS: "moving bytes is not most of it",
              UNDECIDED: "whether re-reading is, is not settled"}[reading.kind]  # fmt: skip
    missed = [name for name, part in (("concatenation", concat), ("re-reading", reading)) if part.kind == FAILS]
    return f"{first}; {second}." + (f" The claim names both, and fails by {joined(missed)}." if missed else "")


def _connectivity(explanation: Explanation) -> Part:
    """What dense connectivity as a whole makes of the slowdown, as a logarithm."""
    attribution = costs.attribution_of(explanation, "log_latency")
    costs.unmixed(attribution.shapley, attribution.metric, attribution.place)
    whole = attribution.end - attribution.start
    piece = costs.named(costs.pieces(attribution.shapley, whole))[0]
    if whole <= 0:
        raise Lacking("There is no slowdown here to be given to connectivity.")
    share = piece.value / whole
    source = f"attribution of log_latency: {attribution.place}"
    number = Number(name="share of the slowdown, connectivity", value=share, source=source)
    beyond = ", beyond 100\u00a0% for other pieces lower it" if share > 1 else ""
    text = f"Dense connectivity as a whole makes {percent(share)} of the slowdown (Shapley value of the logarithm{beyond})."
    return Part(kind=UNDECIDED, text=text, numbers=(number,))


def _together(kind: str, parts: list[Part], explanation: Explanation) -> Finding:
    sentence = " ".join(part.text for part in parts)
    if not any(part.numbers for part in parts):
        raise Lacking(sentence)
    numbers = tuple(number for part in parts for number in part.numbers)
    return Finding(kind=kind, sentence=sentence, scope=costs.machine(explanation), evidence=numbers, device=explanation.device)


def _without(explanation: Explanation, error: float) -> Part:
    modes = {mode.mode: mode for mode in explanation.modes}
    mode, eager = modes.get(WITHOUT), modes.get("eager")
    if mode is None or mode.second_gain is None or eager is None or not eager.ratio:
        raise Lacking(f"`modified` was not timed without concatenation{f' ({mode.reason})' if mode and mode.reason else ''}.")
    if eager.ratio <= 1:
        raise Lacking("There is no slowdown here to be caused.")
    ratio = costs.in_log(eager.ratio, eager.ratio_low, eager.ratio_high, costs.sittings_of(eager))
    gain = costs.in_log(mode.second_gain, mode.second_gain_low, mode.second_gain_high, costs.sittings_of(mode))
    shown, source = gain.exp(), f"explanation.modes: {mode.mode}"
    number = Number(name="gain without concatenation", value=shown.value, low=shown.low, high=shown.high, source=source)
    share = Number(name="share of the slowdown that goes away", value=gain.value / ratio.value, source=source)
    text = f"Without concatenation `modified` becomes ×{number.text} as fast: {percent(share.value)} of its slowdown."
    text += "" if gain.known and ratio.known else f" Without an interval, which takes {LEAST_SITTINGS} sittings."
    return Part(kind=from_side(side(_beyond(gain, ratio), error=error)), text=text, numbers=(number, share))


def _beyond(gain: Estimate, ratio: Estimate) -> Estimate:
    """The gain's logarithm less the least share of the ratio's, with the sum of both errors: right however they go together."""
    error = None if gain.error is None or ratio.error is None else gain.error + LEAST_CAUSE * ratio.error
    freedom = min(gain.freedom, ratio.freedom)
    return Estimate(value=gain.value - LEAST_CAUSE * ratio.value, error=error, freedom=freedom, num=min(gain.num, ratio.num))


def _traffic(explanation: Explanation) -> Part:
    first, second = costs.both_decomposed(explanation)
    added = second.total_ms - first.total_ms
    if added <= 0:
        raise Lacking("There is no added time here to be given to kinds of operation.")
    if any(share.bytes_bound_ms is None for d in (first, second) for share in d.by_class):
        raise Lacking("The machine's own bandwidth was not measured, so no time can be given to moving bytes.")
    (least_before, most_before), (least_after, most_after) = _moving(first), _moving(second)
    share = (least_after - least_before) / added
    low, high = (least_after - most_before) / added, (most_after - least_before) / added
    kind = HOLDS if low >= MAJORITY else FAILS if high < MAJORITY else UNDECIDED
    source = f"explanation.decompositions: {second.place}"
    concat = _concat(first, second, source)
    ops = [sum(s.num_ops for s in d.by_class) for d in (first, second)]
    text = (
        f"Of the {plain(added)} ms added ({plain(first.total_ms)} to {plain(second.total_ms)} ms in the profiled session), moving "
        f"bytes makes {percent(share)} where both move them at the machine's bandwidth, and from {percent(low)} to {percent(high)} "
        "where either may take all the time of concatenation, of the kinds of operation that bytes limit, and what has no "
        f"kind; concatenation itself is {percent(concat[0].value)} of the added time, {percent(concat[1].value)} of the added "
        f"bytes and {plain(concat[2].value)} of {ops[1]} operations (`original` runs {ops[0]})."
    )
    moving = Number(name="share of added time, moving bytes", value=share, low=low, high=high, source=source)
    counts = [Number(name=f"operations, {d.name}", value=n, source=source) for d, n in zip((first, second), ops, strict=True)]
    return Part(kind=kind, text=text, numbers=(moving, *concat, *counts))


def _moving(decomposition: Decomposition) -> tuple[float, float]:
    """Time of one network that is moving bytes: at least, at most."""
    least = {share.name: min(share.ms, share.bytes_bound_ms or 0.0) for share in decomposition.by_class}
    whole = {share.name: share.ms for share in decomposition.by_class if share.limited_by == "bytes" or share.name == CONCAT}
    return math.fsum(least.values()), math.fsum((least | whole).values()) + max(0.0, decomposition.residual_ms)


def _concat(first: Decomposition, second: Decomposition, source: str) -> tuple[Number, Number, Number]:
    """Concatenation's share of the added time and of the added bytes, and its operations."""
    none = Share(name=CONCAT, ms=0.0)
    a, b = (next((s for s in d.by_class if s.name == none.name), none) for d in (first, second))
    moved = [sum(s.bytes_moved for s in d.by_class) for d in (first, second)]
    shares = {
        "share of added time": (b.ms - a.ms) / (second.total_ms - first.total_ms),
        "share of added bytes": (b.bytes_moved - a.bytes_moved) / (moved[1] - moved[0]) if moved[1] != moved[0] else 0.0,
        "operations": b.num_ops,
    }
    time, share, ops = (Number(name=f"{name}, concatenation", value=v, source=source) for name, v in shares.items())
    return time, share, ops


C6_RULE = (
    "The effect of the convolution kind alone on latency, everything else fixed and averaged over all ways to fix it (Shapley "
    "value of the ratio's logarithm; the ends of encoder's and decoder's intervals added, which is cautious), at each batch size "
    "where it was timed. Holds when at one batch size at least the whole interval excludes a gain beyond the A/A noise "
    "(Bonferroni's correction for the number of batch sizes); fails when it is faster beyond that noise at all of them; else "
    "undecided."
)


def not_faster(evidence: Evidence) -> Finding:
    """C6."""
    explanation = costs.explained(evidence)
    costs.attribution_of(explanation, "log_latency")
    timed = [a for a in explanation.attributions if a.metric == "log_latency"]
    deciding = [a for a in timed if a.place.startswith("cuda")] or timed
    errors = (evidence.error, evidence.error / len(deciding))
    parts = [attempt(lambda a=a: _effect(explanation, a, *errors)) for a in timed]  # type: ignore[misc]
    kinds = [part.kind for a, part in zip(timed, parts, strict=True) if a in deciding]
    kind = HOLDS if HOLDS in kinds else FAILS if all(k == FAILS for k in kinds) else UNDECIDED
    found = _together(kind, parts, explanation)
    said = ("Not faster here.", "Faster, against the paper.", "Not settled.")
    device = deciding[0].place.partition("/")[0]
    return replace(found, sentence=f"{concluded(kind, said)} {found.sentence}{costs.sampled(explanation)}", device=device)


def _effect(explanation: Explanation, attribution: Attribution, error: float, corrected: float) -> Part:
    costs.unmixed(attribution.shapley, attribution.metric, attribution.place)
    whole = attribution.end - attribution.start
    sittings = costs.sittings_of(attribution)
    groups = {
        "Shapley value": attribution.shapley, "alone in `original`": attribution.from_start, "in `modified`": attribution.from_end,
    }  # fmt: skip
    found = {name: costs.named(costs.pieces(effects, whole))[1] for name, effects in groups.items()}
    logs = {name: costs.log_of(piece, sittings) for name, piece in found.items()}
    log, floor = logs["Shapley value"], costs.noise_floor(explanation, attribution.place)
    kind = HOLDS if side(log, -floor, corrected) == 1 else FAILS if side(log, -floor, error) == -1 else UNDECIDED
    word = {HOLDS: "not faster", FAILS: "faster"}.get(kind, "neither is settled")
    numbers = [_multiplied(name, estimate, attribution.place) for name, estimate in logs.items()]
    ways = ("by Shapley value", *list(groups)[1:])
    told = joined(f"{number.text} {way}" for way, number in zip(ways, numbers, strict=True))
    where = costs.place_text(attribution.place)
    few = "" if log.known else f" (without an interval, which takes {LEAST_SITTINGS} sittings)"
    text = f"On {where} separable convolutions multiply the latency by {told}: {word}{few}."
    return Part(kind=kind, text=text, numbers=tuple(numbers))


def _multiplied(name: str, log: Estimate, place: str) -> Number:
    what, found = f"latency by the convolution kind, {name}, {place}", log.exp()
    return Number(name=what, value=found.value, low=found.low, high=found.high, source=f"attribution of log_latency: {place}")


CLAIMS = (
    Claim(
        id="C5", says="concatenation and re-reading all previous feature maps cause the slowdown", rule=C5_RULE, link="cost",
        find=concatenation, of_gpu=True, measurement="time, bytes and operations by kind; the same network without concatenation",
    ),
    Claim(
        id="C6", says="separable convolutions may not be faster on hardware made for standard ones", rule=C6_RULE, link="cost",
        find=not_faster, of_gpu=True, measurement="the convolution kind's own effect on latency, on each device and batch size",
    ),
)  # fmt: skip
