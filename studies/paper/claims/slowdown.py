"""What the paper gives its latency to: C5, C6, from the explanation of its pair. No torch."""

from __future__ import annotations

import math

from ablation.record.attribution import Attribution
from ablation.record.explanation import Decomposition, Explanation, Share
from ablation.report.kit.numbers import joined
from ablation.stats import LEAST_SITTINGS, Estimate
from studies.paper.evidence.evidence import Evidence
from studies.paper.rules import explained as costs
from studies.paper.rules.compared import side
from studies.paper.rules.kinds import FAILS, HOLDS, UNDECIDED, all_of, from_side, worded
from studies.paper.rules.numbers import percent, plain
from studies.paper.rules.pieces import WAYS, by_piece, by_ways, named
from studies.paper.rules.verdict import Finding, Lacking, Number, Part, attempt, claim, together

LEAST_CAUSE = 0.1
MAJORITY = 0.5
WITHOUT, CONCAT = "no concatenation", "concatenation"


@claim(
    id="C5", says="concatenation and re-reading all previous feature maps cause the slowdown", link="cost", of_gpu=True,
    measurement="time, bytes and operations by kind; the same network without concatenation",
    rule=f"Two parts. Concatenation: with dense blocks that write into one buffer instead, at least {percent(LEAST_CAUSE)} of the "
    "slowdown (of the ratio's logarithm) goes away, by the whole interval of the gain's logarithm less that share of the "
    f"ratio's, both over at least {LEAST_SITTINGS} sittings (their errors added, which is cautious). Re-reading: at least "
    f"{percent(MAJORITY)} of the added time is moving bytes. In each network that is at least what the bytes of each kind of "
    "operation take at the "
    "machine's own bandwidth (and no more than the kind's time), and at most, beside it, all the time of the kinds that bytes "
    "limit, of concatenation, and what has no kind. Of the added time it is at least the least of `modified` less the most "
    "of `original`, at most the other way round. Reached when the least is enough, missed when even the most is not. The claim "
    "names both: it holds when both are reached, fails when either is missed for sure, else undecided. What dense connectivity "
    "adds as a whole (Shapley value) stands beside it and does not decide.",
)  # fmt: skip
def concatenation(evidence: Evidence) -> Finding:
    """What goes away without concatenation, and which part of the added time is moving bytes."""
    explanation = costs.explained(evidence)
    concat, reading = attempt(_without, explanation, evidence.error), attempt(_traffic, explanation)
    text, numbers = together(concat, reading, attempt(_connectivity, explanation))
    first = worded(concat.kind, ("Concatenation itself is a cause", "Concatenation itself is not a cause",
                                 "Whether concatenation itself is a cause is not settled"))  # fmt: skip
    second = worded(reading.kind, ("moving bytes is most of it", "moving bytes is not most of it",
                                   "whether re-reading is, is not settled"))  # fmt: skip
    missed = [name for name, part in (("concatenation", concat), ("re-reading", reading)) if part.kind == FAILS]
    by = f" The claim names both, and fails by {joined(missed)}." if missed else ""
    kind = all_of((concat.kind, reading.kind))
    return _timed(explanation, kind, f"{first}; {second}.{by} {text}", numbers, explanation.device)


def _timed(explanation: Explanation, kind: str, sentence: str, numbers: tuple[Number, ...], device: str) -> Finding:
    return Finding(kind=kind, sentence=sentence, scope=costs.machine(explanation), evidence=numbers, device=device)


def _connectivity(explanation: Explanation) -> Part:
    """What dense connectivity as a whole makes of the slowdown, as a logarithm."""
    attribution = costs.attribution_of(explanation, "log_latency")
    whole = attribution.end - attribution.start
    piece = named(by_piece(attribution))[0]
    if whole <= 0:
        raise Lacking("There is no slowdown here to be given to connectivity.")
    share = piece.value / whole
    source = f"attribution of log_latency: {attribution.place}"
    beyond = ", beyond 100\u00a0% for other pieces lower it" if share > 1 else ""
    text = f"Dense connectivity as a whole makes {percent(share)} of the slowdown (Shapley value of the logarithm{beyond})."
    return Part(text=text, numbers=(Number(name="share of the slowdown, connectivity", value=share, source=source),))


def _without(explanation: Explanation, error: float) -> Part:
    """The share of the slowdown that goes away without concatenation."""
    modes = {mode.mode: mode for mode in explanation.modes}
    mode, eager = modes.get(WITHOUT), modes.get("eager")
    if mode is None or mode.second_gain is None or eager is None or not eager.ratio:
        raise Lacking(f"`modified` was not timed without concatenation{f' ({mode.reason})' if mode and mode.reason else ''}.")
    if eager.ratio <= 1:
        raise Lacking("There is no slowdown here to be caused.")
    ratio = costs.in_log(eager.ratio, eager.ratio_low, eager.ratio_high, costs.sittings_of(eager))
    gain = costs.in_log(mode.second_gain, mode.second_gain_low, mode.second_gain_high, costs.sittings_of(mode))
    source = f"explanation.modes: {mode.mode}"
    number = Number.of("gain without concatenation", gain.exp(), source)
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
    """Which part of the added time is moving bytes: at the machine's bandwidth, at least, at most."""
    first, second = costs.both_decomposed(explanation)
    added = second.total_ms - first.total_ms
    if added <= 0:
        raise Lacking("There is no added time here to be given to kinds of operation.")
    if any(share.bytes_bound_ms is None for d in (first, second) for share in d.by_class):
        raise Lacking("The machine's own bandwidth was not measured, so no time can be given to moving bytes.")
    (least_before, most_before), (least_after, most_after) = _moving(first), _moving(second)
    share = (least_after - least_before) / added
    low, high = (least_after - most_before) / added, (most_after - least_before) / added
    time, moved, concats = _concat(first, second)
    ops = [sum(s.num_ops for s in d.by_class) for d in (first, second)]
    text = (
        f"Of the {plain(added)} ms added ({plain(first.total_ms)} to {plain(second.total_ms)} ms in the profiled session), moving "
        f"bytes makes {percent(share)} where both move them at the machine's bandwidth, and from {percent(low)} to {percent(high)} "
        "where either may take all the time of concatenation, of the kinds of operation that bytes limit, and what has no "
        f"kind; concatenation itself is {percent(time)} of the added time, {percent(moved)} of the added "
        f"bytes and {plain(concats)} of {ops[1]} operations (`original` runs {ops[0]})."
    )
    source = f"explanation.decompositions: {second.place}"
    counts = {
        "share of added time, concatenation": time, "share of added bytes, concatenation": moved,
        "operations, concatenation": concats,
        **{f"operations, {d.name}": n for d, n in zip((first, second), ops, strict=True)},
    }  # fmt: skip
    numbers = (Number(name="share of added time, moving bytes", value=share, low=low, high=high, source=source),
               *(Number(name=name, value=value, source=source) for name, value in counts.items()))  # fmt: skip
    kind = HOLDS if low >= MAJORITY else FAILS if high < MAJORITY else UNDECIDED
    return Part(kind=kind, text=text, numbers=numbers)


def _moving(decomposition: Decomposition) -> tuple[float, float]:
    """Time of one network that is moving bytes: at least, at most."""
    least = {share.name: min(share.ms, share.bytes_bound_ms or 0.0) for share in decomposition.by_class}
    whole = {share.name: share.ms for share in decomposition.by_class if share.limited_by == "bytes" or share.name == CONCAT}
    return math.fsum(least.values()), math.fsum((least | whole).values()) + max(0.0, decomposition.residual_ms)


def _concat(first: Decomposition, second: Decomposition) -> tuple[float, float, int]:
    """Concatenation's share of the added time and of the added bytes, and its operations."""
    none = Share(name=CONCAT, ms=0.0)
    a, b = (next((s for s in d.by_class if s.name == CONCAT), none) for d in (first, second))
    before, after = (sum(s.bytes_moved for s in d.by_class) for d in (first, second))
    moved = (b.bytes_moved - a.bytes_moved) / (after - before) if after != before else 0.0
    return (b.ms - a.ms) / (second.total_ms - first.total_ms), moved, b.num_ops


@claim(
    id="C6", says="separable convolutions may not be faster on hardware made for standard ones", link="cost", of_gpu=True,
    measurement="the convolution kind's own effect on latency, on each device and batch size",
    rule="The effect of the convolution kind alone on latency, everything else fixed and averaged over all ways to fix it (Shapley "
    "value of the ratio's logarithm; the ends of encoder's and decoder's intervals added, which is cautious), at each batch size "
    "where it was timed. Holds when at one batch size at least the whole interval excludes a gain beyond the A/A noise "
    "(Bonferroni's correction for the number of batch sizes); fails when it is faster beyond that noise at all of them; else "
    "undecided.",
)  # fmt: skip
def not_faster(evidence: Evidence) -> Finding:
    """The convolution kind's own effect on latency against the A/A noise, at each place where it was timed; CUDA's decide."""
    explanation = costs.explained(evidence)
    costs.attribution_of(explanation, "log_latency")
    timed = [a for a in explanation.attributions if a.metric == "log_latency"]
    deciding = [a for a in timed if a.place.startswith("cuda")] or timed
    parts = [attempt(_effect, explanation, a, evidence.error, len(deciding)) for a in timed]
    kinds = [part.kind for a, part in zip(timed, parts, strict=True) if a in deciding]
    kind = HOLDS if HOLDS in kinds else FAILS if set(kinds) == {FAILS} else UNDECIDED
    text, numbers = together(*parts)
    sentence = (
        f"{worded(kind, ('Not faster here.', 'Faster, against the paper.', 'Not settled.'))} {text}{costs.sampled(explanation)}"
    )
    return _timed(explanation, kind, sentence, numbers, deciding[0].place.partition("/")[0])


def _effect(explanation: Explanation, attribution: Attribution, error: float, comparisons: int) -> Part:
    """The convolution kind's effect at one place, by each way to fix the other pieces."""
    place = attribution.place
    logs, numbers = {}, []
    for way, every in by_ways(attribution).items():
        _, piece = named(every)
        logs[way] = costs.of_sittings(piece.value, piece.low, piece.high, costs.sittings_of(attribution))
        name = f"latency by the convolution kind, {way}, {place}"
        numbers.append(Number.of(name, logs[way].exp(), f"attribution of log_latency: {place}"))
    log, floor = logs[WAYS[0]], costs.noise_floor(explanation, place)
    kind = HOLDS if side(log, -floor, error / comparisons) == 1 else FAILS if side(log, -floor, error) == -1 else UNDECIDED
    ways = (f"by {WAYS[0]}", *WAYS[1:])
    factors = joined(f"{number.text} {way}" for way, number in zip(ways, numbers, strict=True))
    device, _, batch = place.rpartition("/")
    where = f"{device} at batch {batch}" if device else place
    text = (
        f"On {where} separable convolutions multiply the latency by {factors}: "
        f"{worded(kind, ('not faster', 'faster', 'neither is settled'))}{'' if log.known else costs.FEW_SITTINGS}."
    )
    return Part(kind=kind, text=text, numbers=tuple(numbers))


CLAIMS = (concatenation, not_faster)
