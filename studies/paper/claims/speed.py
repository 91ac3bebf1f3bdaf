"""What the paper says about time: C2a and C2b from the explanation of its pair, C21 from interleaved training steps. No torch."""

from __future__ import annotations

import math

from ablation.machine.hardware import machine_name
from ablation.record.explanation import Explanation
from ablation.report.kit.numbers import count, joined
from ablation.stats import LEAST_SITTINGS
from studies.paper.evidence.evidence import Evidence
from studies.paper.facts import REPORTED
from studies.paper.rules.compared import side
from studies.paper.rules.conclude import width_text
from studies.paper.rules.explained import FEW_SITTINGS, Ratio, because, explained, in_log, machine, noise_floor, ratios
from studies.paper.rules.kinds import FAILS, HOLDS, UNDECIDED, from_side, worded
from studies.paper.rules.pairs import PAIR
from studies.paper.rules.verdict import Finding, Lacking, Number, claim

ONE, OTHER = (REPORTED[arm].latency_ms[1][0] for arm in PAIR)
FACTOR = round(OTHER / ONE, 1)
# within one standard deviation of the ratio of the paper's own times: 10.32 ± 1.13 ms over 1.77 ± 0.08 ms
FACTOR_RANGE = (5.1, 6.5)
# batch sizes of which the paper's text says nothing; its code prints a latency at 32
SILENT = (8, 32, 128)
PAPER_STEP = "144 px, full width, batch 32, a GPU that it does not name"
OVER_SITTINGS = f"interval over at least {LEAST_SITTINGS} sittings, in each of which the networks are built anew"


@claim(
    id="C2a", says="`modified` runs slower", link="cost", of_gpu=True,
    measurement="latency ratio at batch 1 with its interval; and at 8, 32, 128, where the paper is silent",
    rule=f"Eager latency of both networks at batch 1, interleaved. Holds when the whole {OVER_SITTINGS}, of the ratio lies above 1 "
    "by more than one network differs from its own copy (A/A); fails when it lies below by as much; else undecided. Batches "
    f"{joined(map(str, SILENT))}, of which the paper's text is silent, stand beside it and do not decide.",
)  # fmt: skip
def slower(evidence: Evidence) -> Finding:
    """The latency ratio at batch 1 beyond the A/A noise."""
    explanation, by_batch = _timed(evidence)
    one, floor = by_batch[1], noise_floor(explanation, by_batch[1].place)
    above, below = (side(one.log, bound, evidence.error) for bound in (floor, -floor))
    kind = HOLDS if above == 1 else FAILS if below == -1 else UNDECIDED
    words = worded(kind, ("Slower", "Faster, against the paper", "Whether slower is not settled"))
    noise = Number(name="A/A noise, batch 1", value=math.exp(floor), source=f"explanation.noise: {one.place}")
    numbers = (*(ratio.number for ratio in by_batch.values()), noise)
    return _finding(explanation, kind, f"{words}: {_took(one)}.{_elsewhere(by_batch)}", numbers)


@claim(
    id="C2b", says=f"`modified` is {FACTOR:g} times slower ({ONE:g} → {OTHER:g} ms)", link="cost", of_gpu=True,
    measurement="latency ratio at batch 1 with its interval",
    rule=f"The same ratio at batch 1. Holds when its whole interval lies between {FACTOR_RANGE[0]:g} and {FACTOR_RANGE[1]:g}, one "
    f"standard deviation of the paper's own times to either side of ×{FACTOR:g}; fails when the whole interval lies outside; else "
    "undecided.",
)  # fmt: skip
def by_the_factor(evidence: Evidence) -> Finding:
    """The latency ratio at batch 1 within the paper's own spread of its factor."""
    explanation, by_batch = _timed(evidence)
    one = by_batch[1]
    low, high = (side(one.log, math.log(end), evidence.error) for end in FACTOR_RANGE)
    kind = HOLDS if (low, high) == (1, -1) else FAILS if low == -1 or high == 1 else UNDECIDED
    words = worded(kind, ("By that factor", "Not by that factor", "Whether by that factor is not settled"))
    return _finding(explanation, kind, f"{words}: {_took(one)}, against ×{FACTOR:g} in the paper.", (one.number,))


def _timed(evidence: Evidence) -> tuple[Explanation, dict[int, Ratio]]:
    explanation = explained(evidence)
    by_batch = ratios(explanation)
    if 1 not in by_batch:
        raise Lacking(f"Latency at batch 1 was not measured{because(explanation, 'latency', 'timed', 'sweep')}.")
    return explanation, by_batch


def _took(one: Ratio) -> str:
    few = "" if one.log.known else FEW_SITTINGS
    return f"at batch 1 `modified` takes {one.text} the time of `original` on this hardware{few}"


def _finding(explanation: Explanation, kind: str, sentence: str, numbers: tuple[Number, ...]) -> Finding:
    return Finding(kind=kind, sentence=sentence, scope=machine(explanation), evidence=numbers, device=explanation.device)


def _elsewhere(by_batch: dict[int, Ratio]) -> str:
    timed = {batch: by_batch[batch] for batch in SILENT if batch in by_batch}
    few = [str(batch) for batch, ratio in timed.items() if not ratio.log.known]
    gone = [str(batch) for batch in SILENT if batch not in timed]
    text = f" At larger batches: {joined(f'{ratio.text} at batch {batch}' for batch, ratio in timed.items())}." if timed else ""
    text += f" Without an interval, for too few sittings or rounds: batch {joined(few)}." if few else ""
    return text + (f" Not measured: batch {joined(gone)}." if gone else "")


@claim(
    id="C21", says="`modified` trains faster per epoch (in the released code's notes)", link="training-speed", of_gpu=True,
    measurement="interleaved training steps of both networks",
    rule="Interleaved training steps of both networks; an epoch is the same number of steps for both. Holds when the whole "
    f"{OVER_SITTINGS}, of the time of `modified` over `original` lies below 1, fails when it lies above, else undecided.",
)  # fmt: skip
def training_speed(evidence: Evidence) -> Finding:
    """The ratio of a training step's times on one side of 1."""
    speed = evidence.speed
    if speed.get("ratio") is None:
        raise Lacking("Training steps of the two networks were not timed against each other.")
    sittings = int(speed.get("sittings") or 0)
    log = in_log(float(speed["ratio"]), speed.get("low"), speed.get("high"), sittings)
    step = Number.of("time of a training step, modified over original", log.exp(), "speed")
    stored = {arm: float(speed[f"{arm}_ms"]) for arm in PAIR if speed.get(f"{arm}_ms") is not None}
    each = {arm: Number(name=f"training step, {arm}", value=ms, unit="ms", source="speed") for arm, ms in stored.items()}
    medians = f" (medians over all rounds: {joined(f'{arm} {n.text}' for arm, n in each.items())})" if each else ""
    where = f"batch {speed.get('batch_size', '?')} on {speed.get('device', '?')}"
    over = f"over {count(sittings, 'sitting')}" if log.known else f"without an interval, which takes {LEAST_SITTINGS} sittings"
    sentence = f"A training step of `modified` takes ×{step.text} the time of one of `original`, {where}, {over}{medians}."
    # the steps' own machine, which may not be the trials'
    hardware = machine_name(speed.get("provenance", {}).get("hardware", {}))
    hardware = hardware or evidence.scale.get("hardware", speed.get("device"))
    size = speed.get("image_size", evidence.scale.get("image_size"))
    threads = f", {count(speed['threads'], 'thread')}" if speed.get("threads") else ""
    scope = f"judged at {size} px, networks of {width_text(evidence.scale)}, on {hardware}{threads} only. The paper: {PAPER_STEP}."
    kind = from_side(side(log, error=evidence.error), -1)
    return Finding(kind=kind, sentence=sentence, evidence=(step, *each.values()), scope=scope, device=str(speed.get("device", "")))


CLAIMS = (slower, by_the_factor, training_speed)
