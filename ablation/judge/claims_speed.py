"""The paper's claims about time: C2, C5, C6 from the explanation of its pair, C21 from training steps timed in turns. No torch."""

from __future__ import annotations

import math

from ablation.explain.explanation import Attribution, Decomposition, Explanation, ModeResult, Share
from ablation.judge import rules_cost as costs
from ablation.judge.evidence import MODIFIED, ORIGINAL, Evidence
from ablation.judge.rules import side_of, width_text
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
    plain,
)

FACTOR = 5.8
SILENT = (8, 32, 128)
# batch sizes of which the paper says nothing
LEAST_CAUSE = 0.1
MAJORITY = 0.5
WITHOUT = "no concatenation"
STEP = "training step, "

C2_RULE = (
    "Eager latency of both networks, timed in turns at batch 1. Holds when the whole 95 % interval of the ratio lies above 1 by "
    "more than one network differs from itself (A/A); fails when it lies below by as much; else undecided. "
    f"The factor {FACTOR:g} depends on the hardware, which the paper does not name: whether the interval holds it is said, and "
    f"does not decide. Batches {joined(map(str, SILENT))}, of which the paper is silent, are told beside it."
)


def slower(evidence: Evidence) -> Finding:
    """C2."""
    explanation = costs.explained(evidence)
    found = costs.ratios(explanation)
    if 1 not in found:
        raise Lacking(f"Latency at batch 1 was not measured{costs.because(explanation, 'latency', 'timed', 'sweep')}.")
    one, floor = found[1], costs.noise_floor(explanation, found[1].place)
    kind = from_side(_beyond(one.low, one.high, floor))
    words = {
        HOLDS: "slower, as the paper says",
        FAILS: "faster, against the paper",
        UNDECIDED: "neither slower nor faster for sure",
    }
    inside = one.low is not None and one.high is not None and one.low <= FACTOR <= one.high
    sentence = (
        f"`modified` takes {one.text} the time of `original` at batch 1: {words[kind]}. The paper's factor of {FACTOR:g} lies "
        f"{'within' if inside else 'outside'} that interval on this hardware.{_elsewhere(found)}"
    )
    noise = Number(name="A/A noise, batch 1", value=math.exp(floor), source=f"explanation.noise: {one.place}")
    numbers = (*(ratio.number for ratio in found.values()), noise)
    return Finding(kind=kind, sentence=sentence, scope=costs.machine(explanation), evidence=numbers)


def _beyond(low: float | None, high: float | None, floor: float) -> int:
    """On which side of 1 a ratio's interval lies, by more than the noise floor (a logarithm)."""
    if low is None or high is None:
        return 0
    return 1 if math.log(low) > floor else -1 if math.log(high) < -floor else 0


def _elsewhere(found: dict[int, costs.Ratio]) -> str:
    told = [f"{found[batch].text} at batch {batch}" for batch in SILENT if batch in found]
    gone = [str(batch) for batch in SILENT if batch not in found]
    text = f" At larger batches: {joined(told)}." if told else ""
    return text + (f" Not measured: batch {joined(gone)}." if gone else "")


C5_RULE = (
    f"Two parts. Concatenation: with dense blocks that write into one buffer instead, at least {percent(LEAST_CAUSE)} of the "
    f"slowdown (of the ratio's logarithm) goes away, by the whole interval of the gain. Re-reading: at least {percent(MAJORITY)} "
    "of the added time is moving bytes, where each kind of operation counts with its time, but with no more than its bytes take "
    "at the machine's own bandwidth; time that could not be placed may fall on either side. Holds when both are reached, fails "
    "when either is missed for sure, else undecided."
)


def concatenation(evidence: Evidence) -> Finding:
    """C5."""
    explanation = costs.explained(evidence)
    parts = [attempt(lambda: _without(explanation)), attempt(lambda: _traffic(explanation))]
    return _together(all_of(part.kind for part in parts), parts, explanation)


def _together(kind: str, parts: list[Part], explanation: Explanation) -> Finding:
    sentence = " ".join(part.text for part in parts)
    if not any(part.numbers for part in parts):
        raise Lacking(sentence)
    numbers = tuple(number for part in parts for number in part.numbers)
    return Finding(kind=kind, sentence=sentence, scope=costs.machine(explanation), evidence=numbers)


def _without(explanation: Explanation) -> Part:
    modes = {mode.mode: mode for mode in explanation.modes}
    mode, eager = modes.get(WITHOUT), modes.get("eager")
    if mode is None or mode.second_gain is None or eager is None or not eager.ratio:
        raise Lacking(f"`modified` was not timed without concatenation{f' ({mode.reason})' if mode and mode.reason else ''}.")
    if eager.ratio <= 1:
        raise Lacking("There is no slowdown here to be caused.")
    gain, share = _gain(mode), _gone(mode, math.log(eager.ratio))
    text = f"Without concatenation `modified` becomes ×{gain.text} as fast: {percent(share.value)} of its slowdown."
    return Part(kind=from_side(side_of(share.low, share.high, LEAST_CAUSE)), text=text, numbers=(gain, share))


def _gain(mode: ModeResult) -> Number:
    assert mode.second_gain is not None
    return Number(
        name="gain without concatenation", value=mode.second_gain, low=mode.second_gain_low, high=mode.second_gain_high,
        source=f"explanation.modes: {mode.mode}",
    )  # fmt: skip


def _gone(mode: ModeResult, whole: float) -> Number:
    """Share of the slowdown, as a logarithm, that goes away."""
    ends = (mode.second_gain, mode.second_gain_low, mode.second_gain_high)
    value, low, high = (None if gain is None else math.log(gain) / whole for gain in ends)
    assert value is not None
    name = "share of the slowdown that goes away"
    return Number(name=name, value=value, low=low, high=high, source=f"explanation.modes: {mode.mode}")


def _traffic(explanation: Explanation) -> Part:
    first, second = costs.both_decomposed(explanation)
    added = second.total_ms - first.total_ms
    if added <= 0:
        raise Lacking("There is no added time here to be given to kinds of operation.")
    if any(share.bytes_bound_ms is None for d in (first, second) for share in d.by_class):
        raise Lacking("The machine's own bandwidth was not measured, so no time can be given to moving bytes.")
    share = (_moving(second) - _moving(first)) / added
    doubt = abs(second.residual_ms - first.residual_ms) / added
    kind = HOLDS if share >= MAJORITY else FAILS if share + doubt < MAJORITY else UNDECIDED
    source = f"explanation.decompositions: {second.place}"
    concat = _concat(first, second, source)
    ops = [sum(s.num_ops for s in d.by_class) for d in (first, second)]
    text = (
        f"Of the {plain(added)} ms added, moving bytes at the machine's bandwidth makes {percent(share)} ({percent(doubt)} could "
        f"not be placed); concatenation itself is {percent(concat[0].value)} of the time, {percent(concat[1].value)} of the "
        f"added bytes and {plain(concat[2].value)} of {ops[1]} operations (`original` runs {ops[0]})."
    )
    moving = Number(name="share of added time, moving bytes", value=share, low=share, high=share + doubt, source=source)
    counts = [Number(name=f"operations, {d.name}", value=n, source=source) for d, n in zip((first, second), ops, strict=True)]
    return Part(kind=kind, text=text, numbers=(moving, *concat, *counts))


def _moving(decomposition: Decomposition) -> float:
    return math.fsum(min(share.ms, share.bytes_bound_ms or 0.0) for share in decomposition.by_class)


def _concat(first: Decomposition, second: Decomposition, source: str) -> tuple[Number, Number, Number]:
    """Concatenation's share of the added time and of the added bytes, and its operations."""
    none = Share(name="concatenation", ms=0.0)
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
    "value of the ratio's logarithm; the ends of encoder's and decoder's intervals added, which is cautious), at each device and "
    "batch size where it was timed. Holds when at one of them at least the whole 95 % interval excludes a gain beyond the A/A "
    "noise; fails when it is faster beyond that noise at all of them; else undecided."
)


def not_faster(evidence: Evidence) -> Finding:
    """C6."""
    explanation = costs.explained(evidence)
    costs.attribution_of(explanation, "log_latency")
    timed = [a for a in explanation.attributions if a.metric == "log_latency"]
    parts = [attempt(lambda a=a: _effect(explanation, a)) for a in timed]  # type: ignore[misc]
    kinds = [part.kind for part in parts]
    kind = HOLDS if HOLDS in kinds else FAILS if all(k == FAILS for k in kinds) else UNDECIDED
    return _together(kind, parts, explanation)


def _effect(explanation: Explanation, attribution: Attribution) -> Part:
    costs.unmixed(attribution)
    whole = attribution.end - attribution.start
    piece = costs.named(costs.pieces(attribution.shapley, whole))[1]
    floor = costs.noise_floor(explanation, attribution.place)
    kind = UNDECIDED
    if piece.low is not None and piece.high is not None:
        kind = HOLDS if piece.low > -floor else FAILS if piece.high < -floor else UNDECIDED
    word = {HOLDS: "not faster", FAILS: "faster"}.get(kind, "neither for sure")
    groups = {
        "alone": attribution.shapley, "alone in original": attribution.from_start, "undone in modified": attribution.from_end,
    }  # fmt: skip
    numbers = [_multiplied(name, costs.named(costs.pieces(e, whole))[1], attribution.place) for name, e in groups.items()]
    text = f"At {attribution.place} separable convolutions multiply the latency by {numbers[0].text}: {word}."
    return Part(kind=kind, text=text, numbers=tuple(numbers))


def _multiplied(name: str, piece: costs.Piece, place: str) -> Number:
    low, high = (None if end is None else math.exp(end) for end in (piece.low, piece.high))
    what = f"latency by the convolution kind {name}, {place}"
    return Number(name=what, value=math.exp(piece.value), low=low, high=high, source=f"attribution of log_latency: {place}")


C21_RULE = (
    "Training steps of both networks timed in turns; an epoch is the same number of steps for both. Holds when the whole 95 % "
    "interval of the time of `modified` over `original` lies below 1, fails when it lies above, else undecided."
)


def training_speed(evidence: Evidence) -> Finding:
    """C21."""
    speed = evidence.speed
    if speed.get("ratio") is None:
        raise Lacking("Training steps of the two networks were not timed against each other.")
    step = Number(
        name="time of a training step, modified over original", value=float(speed["ratio"]), low=speed.get("low"),
        high=speed.get("high"), source="speed",
    )  # fmt: skip
    each = [
        Number(name=f"{STEP}{arm}", value=float(speed[f"{arm}_ms"]), unit="ms", source="speed")
        for arm in (ORIGINAL, MODIFIED)
        if speed.get(f"{arm}_ms") is not None
    ]
    told = f" ({joined(f'{n.name.removeprefix(STEP)} {n.text}' for n in each)})" if each else ""
    where = f"batch {speed.get('batch_size', '?')} on {speed.get('device', '?')}"
    sentence = f"A training step of `modified` takes ×{step.text} the time of one of `original`, {where}{told}."
    size, hardware = speed.get("image_size", evidence.scale.get("image_size")), evidence.scale.get("hardware", speed.get("device"))
    scope = f"judged at {size} px, networks of {width_text(evidence.scale)}, on {hardware} only"
    kind = from_side(side_of(step.low, step.high, 1.0), -1)
    return Finding(kind=kind, sentence=sentence, evidence=(step, *each), scope=scope)


CLAIMS = (
    Claim(
        id="C2", says="`modified` is 5.8 times slower (1.77 → 10.32 ms)", rule=C2_RULE, link="cost", find=slower,
        measurement="latency ratio at batch 1 with its interval; and at 8, 32, 128, where the paper is silent",
    ),
    Claim(
        id="C5", says="concatenation and re-reading all previous feature maps cause the slowdown", rule=C5_RULE, link="cost",
        find=concatenation, measurement="time, bytes and operations by kind; the same network without concatenation",
    ),
    Claim(
        id="C6", says="separable convolutions may not be faster on hardware made for standard ones", rule=C6_RULE, link="cost",
        find=not_faster, measurement="the convolution kind's own effect on latency, on each device and batch size",
    ),
    Claim(
        id="C21", says="`modified` trains faster per epoch (in the released code's notes)", rule=C21_RULE, link="training-speed",
        find=training_speed, measurement="training steps of both networks timed in turns",
    ),
)  # fmt: skip
