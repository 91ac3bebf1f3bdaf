"""The paper's claims about time: C2a and C2b from the explanation of its pair, C21 from interleaved training steps. No torch."""

from __future__ import annotations

import math

from ablation.machine.hardware import machine_name
from ablation.measure.latency.statistics import LEAST_SITTINGS
from ablation.record.explanation import Explanation
from studies.paper.evidence.evidence import MODIFIED, ORIGINAL, Evidence
from studies.paper.rules import rules_cost as costs
from studies.paper.rules.rules import counted, side, width_text
from studies.paper.rules.verdict import (
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

FACTOR = 5.8
# within one standard deviation of the ratio of the paper's own times: 10.32 ± 1.13 ms over 1.77 ± 0.08 ms
FACTOR_RANGE = (5.1, 6.5)
# batch sizes of which the paper's text says nothing; its code prints a latency at 32
SILENT = (8, 32, 128)
STEP = "training step, "
PAPER_STEP = "144 px, full width, batch 32, a GPU that it does not name"
OVER_SITTINGS = f"interval over at least {LEAST_SITTINGS} sittings, in each of which the networks are built anew"

C2A_RULE = (
    f"Eager latency of both networks at batch 1, interleaved. Holds when the whole {OVER_SITTINGS}, of the ratio lies above 1 by "
    "more than one network differs from its own copy (A/A); fails when it lies below by as much; else undecided. Batches "
    f"{joined(map(str, SILENT))}, of which the paper's text is silent, stand beside it and do not decide."
)
C2B_RULE = (
    f"The same ratio at batch 1. Holds when its whole interval lies between {FACTOR_RANGE[0]:g} and {FACTOR_RANGE[1]:g}, one "
    f"standard deviation of the paper's own times to either side of ×{FACTOR:g}; fails when the whole interval lies outside; else "
    "undecided."
)


def slower(evidence: Evidence) -> Finding:
    """C2a."""
    explanation, found = _timed(evidence)
    one, floor = found[1], costs.noise_floor(explanation, found[1].place)
    above, below = (side(one.log, bound, evidence.error) for bound in (floor, -floor))
    kind = HOLDS if above == 1 else FAILS if below == -1 else UNDECIDED
    words = {HOLDS: "Slower", FAILS: "Faster, against the paper", UNDECIDED: "Whether slower is not settled"}
    sentence = f"{words[kind]}: {_took(one)}.{_elsewhere(found)}"
    noise = Number(name="A/A noise, batch 1", value=math.exp(floor), source=f"explanation.noise: {one.place}")
    numbers = (*(ratio.number for ratio in found.values()), noise)
    return _finding(explanation, kind, sentence, numbers)


def by_the_factor(evidence: Evidence) -> Finding:
    """C2b."""
    explanation, found = _timed(evidence)
    one = found[1]
    low, high = (side(one.log, math.log(end), evidence.error) for end in FACTOR_RANGE)
    kind = HOLDS if (low, high) == (1, -1) else FAILS if low == -1 or high == 1 else UNDECIDED
    words = {HOLDS: "By that factor", FAILS: "Not by that factor", UNDECIDED: "Whether by that factor is not settled"}
    sentence = f"{words[kind]}: {_took(one)}, against ×{FACTOR:g} in the paper."
    return _finding(explanation, kind, sentence, (one.number,))


def _timed(evidence: Evidence) -> tuple[Explanation, dict[int, costs.Ratio]]:
    explanation = costs.explained(evidence)
    found = costs.ratios(explanation)
    if 1 not in found:
        raise Lacking(f"Latency at batch 1 was not measured{costs.because(explanation, 'latency', 'timed', 'sweep')}.")
    return explanation, found


def _took(one: costs.Ratio) -> str:
    few = "" if one.log.known else f" (without an interval, which takes {LEAST_SITTINGS} sittings)"
    return f"at batch 1 `modified` takes {one.text} the time of `original` on this hardware{few}"


def _finding(explanation: Explanation, kind: str, sentence: str, numbers: tuple[Number, ...]) -> Finding:
    return Finding(kind=kind, sentence=sentence, scope=costs.machine(explanation), evidence=numbers, device=explanation.device)


def _elsewhere(found: dict[int, costs.Ratio]) -> str:
    told = [f"{found[batch].text} at batch {batch}" for batch in SILENT if batch in found]
    gone = [str(batch) for batch in SILENT if batch not in found]
    text = f" At larger batches: {joined(told)}." if told else ""
    wide = [str(batch) for batch in SILENT if batch in found and not found[batch].log.known]
    text += f" Without an interval, for too few sittings or rounds: batch {joined(wide)}." if wide else ""
    return text + (f" Not measured: batch {joined(gone)}." if gone else "")


C21_RULE = (
    "Interleaved training steps of both networks; an epoch is the same number of steps for both. Holds when the whole "
    f"{OVER_SITTINGS}, of the time of `modified` over `original` lies below 1, fails when it lies above, else undecided."
)


def training_speed(evidence: Evidence) -> Finding:
    """C21."""
    speed = evidence.speed
    if speed.get("ratio") is None:
        raise Lacking("Training steps of the two networks were not timed against each other.")
    sittings = int(speed.get("sittings") or 0)
    log = costs.in_log(float(speed["ratio"]), speed.get("low"), speed.get("high"), sittings)
    ratio = log.exp()
    step = Number(
        name="time of a training step, modified over original", value=ratio.value, low=ratio.low, high=ratio.high, source="speed"
    )
    each = [
        Number(name=f"{STEP}{arm}", value=float(speed[f"{arm}_ms"]), unit="ms", source="speed")
        for arm in (ORIGINAL, MODIFIED)
        if speed.get(f"{arm}_ms") is not None
    ]
    told = f" (medians over all rounds: {joined(f'{n.name.removeprefix(STEP)} {n.text}' for n in each)})" if each else ""
    where = f"batch {speed.get('batch_size', '?')} on {speed.get('device', '?')}"
    over = f"over {counted(sittings, 'sitting')}" if log.known else f"without an interval, which takes {LEAST_SITTINGS} sittings"
    sentence = f"A training step of `modified` takes ×{step.text} the time of one of `original`, {where}, {over}{told}."
    timed = machine_name(speed.get("provenance", {}).get("hardware", {}))
    # the steps' own machine, which may not be the trials'
    hardware = timed or evidence.scale.get("hardware", speed.get("device"))
    size = speed.get("image_size", evidence.scale.get("image_size"))
    threads = f", {counted(speed['threads'], 'thread')}" if speed.get("threads") else ""
    scope = f"judged at {size} px, networks of {width_text(evidence.scale)}, on {hardware}{threads} only. The paper: {PAPER_STEP}."
    kind = from_side(side(log, error=evidence.error), -1)
    return Finding(kind=kind, sentence=sentence, evidence=(step, *each), scope=scope, device=str(speed.get("device", "")))


CLAIMS = (
    Claim(
        id="C2a", says="`modified` runs slower", rule=C2A_RULE, link="cost", find=slower, of_gpu=True,
        measurement="latency ratio at batch 1 with its interval; and at 8, 32, 128, where the paper is silent",
    ),
    Claim(
        id="C2b", says="`modified` is 5.8 times slower (1.77 → 10.32 ms)", rule=C2B_RULE, link="cost", find=by_the_factor,
        of_gpu=True, measurement="latency ratio at batch 1 with its interval",
    ),
    Claim(
        id="C21", says="`modified` trains faster per epoch (in the released code's notes)", rule=C21_RULE, link="training-speed",
        find=training_speed, of_gpu=True, measurement="interleaved training steps of both networks",
    ),
)  # fmt: skip
