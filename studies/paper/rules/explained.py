"""Reading the explanation of the paper's pair: its attributions, where its time goes, and ratios of its latency. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ablation.machine.hardware import machine_name
from ablation.record.attribution import Attribution
from ablation.record.explanation import Decomposition, Explanation, ModeResult, SweepPoint
from ablation.report.kit.numbers import count
from ablation.stats import CONFIDENCE, LEAST_SITTINGS, Estimate, t_quantile
from studies.paper.evidence.evidence import EXPLANATION_LIMIT, Evidence
from studies.paper.rules.numbers import plain, spanned
from studies.paper.rules.verdict import Lacking, Number

FEW_SITTINGS = f" (without an interval, which takes {LEAST_SITTINGS} sittings)"


def explained(evidence: Evidence) -> Explanation:
    """The explanation of the paper's pair; Lacking, with the reason, without one."""
    if evidence.explanation is None:
        limit = next((limit for limit in evidence.limits if limit.startswith(EXPLANATION_LIMIT)), "")
        raise Lacking(limit or "The costs of the paper's pair were not explained in this study.")
    return evidence.explanation


def attribution_of(explanation: Explanation, metric: str) -> Attribution:
    """The first attribution of a metric; Lacking with the reason that the explanation gives."""
    attribution = next((a for a in explanation.attributions if a.metric == metric), None)
    if attribution is None:
        raise Lacking(f"{metric} was not given to the pieces{because(explanation, metric)}.")
    return attribution


def both_decomposed(explanation: Explanation) -> tuple[Decomposition, Decomposition]:
    """Where the time of both networks goes, at the first place that has both."""
    for place in dict.fromkeys(d.place for d in explanation.decompositions):
        by_name = {d.name: d for d in explanation.decompositions if d.place == place}
        if explanation.first in by_name and explanation.second in by_name:
            return by_name[explanation.first], by_name[explanation.second]
    raise Lacking(f"Latency was not split by kind of operation{because(explanation, 'decompos', 'latency')}.")


def noise_floor(explanation: Explanation, place: str) -> float:
    """The largest logarithm that timing one network against itself reached, either way; 0 where that was not done."""
    noise = explanation.noise.get(place)
    return max(abs(math.log(noise[end])) for end in ("ratio", "low", "high")) if noise else 0.0


def sittings_of(timed: Attribution | ModeResult | SweepPoint) -> int:
    """On how many sittings (of sampled networks, blocks) a latency rests: 0 where it isn't stored, as by earlier versions.

    Those knew one sitting alone, whose rounds give no interval.
    """
    if isinstance(timed, Attribution):
        return min((int(effect.num or 0) for effect in timed.shapley.values()), default=0)
    return int(timed.sittings or 0)


def of_sittings(value: float, low: float | None, high: float | None, sittings: int) -> Estimate:
    """The estimate that has this 95 % interval by Student's t over so many sittings; the value alone where they are too few."""
    if low is None or high is None or sittings < LEAST_SITTINGS:
        return Estimate(value=value, num=sittings)
    error = (high - low) / 2 / t_quantile((1 + CONFIDENCE) / 2, sittings - 1)
    return Estimate(value=value, error=error, freedom=sittings - 1, low=low, high=high, num=sittings)


def in_log(value: float, low: float | None, high: float | None, sittings: int) -> Estimate:
    """The same of a ratio's logarithm."""
    if low is None or high is None or sittings < LEAST_SITTINGS:
        return Estimate(value=math.log(value), num=sittings)
    return of_sittings(math.log(value), math.log(low), math.log(high), sittings)


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Latency of the second network over the first."""

    batch_size: int
    place: str
    log: Estimate

    @property
    def text(self) -> str:
        """'×3.22 (3.13 to 3.30)'."""
        ratio = self.log.exp()
        return f"×{spanned(ratio.value, ratio.low, ratio.high)}"

    @property
    def number(self) -> Number:
        """As a verdict's number."""
        return Number.of(f"latency ratio, batch {self.batch_size}", self.log.exp(), f"explanation: {self.place}")


def ratios(explanation: Explanation) -> dict[int, Ratio]:
    """Batch size -> eager latency ratio: of the ways of running at batch 1, else of the batch sweep."""
    device, main = explanation.device, main_place(explanation)
    logs = {p.batch_size: (f"{device}/{p.batch_size}", in_log(p.ratio, *p.interval, sittings_of(p)))
            for p in explanation.sweep if p.ratio}  # fmt: skip
    for mode in explanation.modes:
        if mode.mode == "eager" and mode.ratio and main.endswith("/1"):
            logs[1] = main, in_log(mode.ratio, mode.ratio_low, mode.ratio_high, sittings_of(mode))
    return {batch: Ratio(batch_size=batch, place=place, log=log) for batch, (place, log) in sorted(logs.items())}


def interval_of(explanation: Explanation, place: str) -> tuple[float | None, float | None]:
    """The interval of the latency ratio at a place, where it rests on enough sittings."""
    ratio = next((ratio.log.exp() for ratio in ratios(explanation).values() if ratio.place == place), None)
    return (None, None) if ratio is None else (ratio.low, ratio.high)


def main_place(explanation: Explanation) -> str:
    """Device and batch size of the first attribution of latency; the device at batch 1 without one."""
    timed = (a for a in explanation.attributions if a.metric in ("log_latency", "latency_ms") and a.place)
    return next((a.place for a in timed), f"{explanation.device}/1")


def sampled(explanation: Explanation) -> str:
    """' Latency: 96 of 512 networks timed, along 7 pairs of random orderings ...': where not every network was timed."""
    limits = [limit.partition(". ")[0].rstrip(".") for limit in explanation.limits if "random orderings" in limit]
    return f" {'. '.join(limits)}." if limits else ""


def machine(explanation: Explanation) -> str:
    """'144 px, cpu (AMD EPYC, 1 thread)': what latency was measured on."""
    name = machine_name(explanation.provenance.get("hardware", {})) or explanation.provenance.get("cpu")
    threads = explanation.provenance.get("threads") if explanation.device == "cpu" else None
    parts = [str(name) if name else "", count(threads, "thread") if threads else ""]
    bracket = f" ({', '.join(filter(None, parts))})" if any(parts) else ""
    return f"{size_text(explanation)}, {explanation.device}{bracket}"


def size_of(explanation: Explanation) -> int | None:
    """Pixels of the images that the costs are of."""
    shape = explanation.costs.get(explanation.second, {}).get("input_shape")
    return int(shape[-1]) if shape else None


def size_text(explanation: Explanation) -> str:
    """'144 px'."""
    size = size_of(explanation)
    return "size not stored" if size is None else f"{plain(size)} px"


def because(explanation: Explanation, *words: str) -> str:
    """' (the limits that speak of these words)'; empty where none does."""
    limits = [limit for limit in explanation.limits if any(word in limit.lower() for word in words)]
    return f" ({' '.join(limits).rstrip('.')})" if limits else ""
