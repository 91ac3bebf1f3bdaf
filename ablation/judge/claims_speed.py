"""The paper's claims about time: C2 from the explanation of its pair, C21 from training steps timed in turns. No torch."""

from __future__ import annotations

import math

from ablation.judge import rules_cost as costs
from ablation.judge.evidence import MODIFIED, ORIGINAL, Evidence
from ablation.judge.rules import counted, side_of, width_text
from ablation.judge.verdict import (
    FAILS,
    HOLDS,
    UNDECIDED,
    Claim,
    Finding,
    Lacking,
    Number,
    from_side,
    joined,
)
from ablation.timing.hardware import machine_name

FACTOR = 5.8
SILENT = (8, 32, 128)
# batch sizes of which the paper's text says nothing; its code prints a latency at 32
STEP = "training step, "
PAPER_STEP = "144 px, full width, batch 32, a GPU that it does not name"

C2_RULE = (
    "Eager latency of both networks, timed in turns at batch 1. Holds when the whole 95 % interval of the ratio lies above 1 by "
    "more than one network differs from itself (A/A); fails when it lies below by as much; else undecided. "
    f"The factor of {FACTOR:g} depends on the hardware, which the paper does not name: whether the interval holds it is said, and "
    f"does not decide. Batches {joined(map(str, SILENT))}, of which the paper's text is silent, are told beside it."
)


def slower(evidence: Evidence) -> Finding:
    """C2."""
    explanation = costs.explained(evidence)
    found = costs.ratios(explanation)
    if 1 not in found:
        raise Lacking(f"Latency at batch 1 was not measured{costs.because(explanation, 'latency', 'timed', 'sweep')}.")
    one, floor = found[1], costs.noise_floor(explanation, found[1].place)
    kind = from_side(_beyond(one.low, one.high, floor))
    known = one.low is not None and one.high is not None
    inside = one.low is not None and one.high is not None and one.low <= FACTOR <= one.high
    words = {
        HOLDS: "Slower, and by the paper's factor" if inside else "Slower, but not by the paper's factor",
        FAILS: "Faster, against the paper",
        UNDECIDED: "Neither slower nor faster for sure",
    }
    factor = f", the paper's ×{FACTOR:g} lies within" if inside else f", not ×{FACTOR:g}" if known else ""
    took = f"at batch 1 `modified` takes {one.text} the time of `original` on this hardware"
    sentence = f"{words[kind]}: {took}{factor}.{_elsewhere(found)}"
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
    wide = [str(batch) for batch in SILENT if batch in found and found[batch].low is None]
    text += f" Without an interval, for too few rounds or an unknown number of them: batch {joined(wide)}." if wide else ""
    return text + (f" Not measured: batch {joined(gone)}." if gone else "")


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
    told = f" (medians over all rounds: {joined(f'{n.name.removeprefix(STEP)} {n.text}' for n in each)})" if each else ""
    where = f"batch {speed.get('batch_size', '?')} on {speed.get('device', '?')}"
    rounds = f"{speed['rounds']} rounds" if speed.get("rounds") else "rounds"
    sentence = (
        f"A training step of `modified` takes ×{step.text} the time of one of `original`, {where}: the median of the ratios within "
        f"{rounds}{told}."
    )
    timed = machine_name(speed.get("provenance", {}).get("hardware", {}))
    # the steps' own machine, which may not be the trials'
    hardware = timed or evidence.scale.get("hardware", speed.get("device"))
    size = speed.get("image_size", evidence.scale.get("image_size"))
    threads = f", {counted(speed['threads'], 'thread')}" if speed.get("threads") else ""
    scope = f"judged at {size} px, networks of {width_text(evidence.scale)}, on {hardware}{threads} only. The paper: {PAPER_STEP}."
    kind = from_side(side_of(step.low, step.high, 1.0), -1)
    return Finding(kind=kind, sentence=sentence, evidence=(step, *each), scope=scope)


CLAIMS = (
    Claim(
        id="C2", says="`modified` is 5.8 times slower (1.77 → 10.32 ms)", rule=C2_RULE, link="cost", find=slower,
        measurement="latency ratio at batch 1 with its interval; and at 8, 32, 128, where the paper is silent",
    ),
    Claim(
        id="C21", says="`modified` trains faster per epoch (in the released code's notes)", rule=C21_RULE, link="training-speed",
        find=training_speed, measurement="training steps of both networks timed in turns",
    ),
)  # fmt: skip
