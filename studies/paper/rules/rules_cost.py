"""Reading an explanation: which piece a factor belongs to, effects added up by piece, ratios of latency. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from ablation.machine.hardware import machine_name
from ablation.measure.latency.statistics import LEAST_SITTINGS
from ablation.record.attribution import Attribution, Effect
from ablation.record.explanation import Decomposition, Explanation
from ablation.stats import CONFIDENCE, Estimate, t_quantile
from studies.paper.evidence.evidence import EXPLANATION_LIMIT, Evidence
from studies.paper.rules.verdict import Lacking, Number, percent, plain, spanned

# piece -> words of a factor's name that belong to it
CONNECTIVITY, CONVOLUTION, HEAD, WIDTHS, OTHER, MIXED = "connectivity", "convolution", "head", "widths", "the rest", "mixed"
WORDS = {CONNECTIVITY: ("connectivity",), CONVOLUTION: ("conv",), HEAD: ("head",), WIDTHS: ("width", "stem")}
# words of factors that the trained networks swap together with connectivity
SAMPLING = ("downsampling", "upsampling", "transposed")
BODIES = ("encoder", "decoder")  # factors in which a coarse attribution of latency merges connectivity, convolution and widths
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Piece:
    """What one piece, in encoder and decoder together, adds to a quantity."""

    name: str
    value: float
    low: float | None
    high: float | None
    share: float | None  # of the whole difference
    with_sampling: bool = False  # connectivity that was only ever swapped together with down- and upsampling

    @property
    def label(self) -> str:
        """Its name, and what it was not told apart from."""
        return label_of(self.name, self.with_sampling)

    def told(self, scale: float = 1.0, unit: str = "") -> str:
        """'head −7.86 M (256 %)'."""
        low, high = (None if end is None else end * scale for end in (self.low, self.high))
        share = "" if self.share is None else f", {percent(self.share)}"
        return f"{self.label} {spanned(self.value * scale, low, high, signed=True)} {unit}".rstrip() + share


def piece_of(factor: str) -> str:
    """The piece that a factor belongs to; MIXED where it merges several of them."""
    name = factor.lower().replace("_", " ")
    found = [piece for piece, words in WORDS.items() if any(word in name for word in words)]
    if len(found) > 1 or name in BODIES:
        return MIXED
    return found[0] if found else OTHER


def pieces(effects: Mapping[str, Effect], whole: float) -> dict[str, Piece]:
    """Effects added up by piece. The ends of intervals are added too, which is cautious: the sum's own interval is narrower."""
    groups: dict[str, list[Effect]] = {}
    for factor, effect in effects.items():
        groups.setdefault(piece_of(factor), []).append(effect)
    sampling = with_sampling(effects)
    return {name: _sum(name, group, whole, sampling and name == CONNECTIVITY) for name, group in groups.items()}


def with_sampling(factors: Iterable[str]) -> bool:
    """Whether connectivity was only ever swapped together with down- and upsampling."""
    return any(piece_of(factor) == CONNECTIVITY and any(word in factor for word in SAMPLING) for factor in factors)


def label_of(piece: str, sampling: bool) -> str:
    """A piece's name, and what it was not kept apart from."""
    return f"{piece} (with down- and upsampling)" if sampling and piece == CONNECTIVITY else piece


def _sum(name: str, effects: list[Effect], whole: float, with_sampling: bool) -> Piece:
    value = math.fsum(e.value for e in effects)
    lows, highs = ([getattr(e, end) for e in effects] for end in ("low", "high"))
    low, high = (None if None in ends else math.fsum(ends) for ends in (lows, highs))
    return Piece(name=name, value=value, low=low, high=high, share=value / whole if whole else None, with_sampling=with_sampling)


def named(found: Mapping[str, T]) -> tuple[T, T]:
    """The two pieces that the paper credits: connectivity and convolution."""
    if not {CONNECTIVITY, CONVOLUTION} <= set(found):
        raise Lacking("Connectivity and convolution are not among the pieces in which the two networks differ.")
    return found[CONNECTIVITY], found[CONVOLUTION]


def piece_numbers(found: Mapping[str, Piece], metric: str, unit: str = "") -> tuple[Number, ...]:
    """The pieces as a verdict's numbers."""
    return tuple(
        Number(name=f"{metric}, {p.name}", value=p.value, low=p.low, high=p.high, unit=unit, source=f"attribution of {metric}")
        for p in found.values()
    )


def explained(evidence: Evidence) -> Explanation:
    """The explanation of the paper's pair; Lacking without one, or with one at another size than the paper's."""
    if evidence.explanation is None:
        told = next((limit for limit in evidence.limits if limit.startswith(EXPLANATION_LIMIT)), "")
        raise Lacking(told or "The costs of the paper's pair were not explained in this study.")
    return evidence.explanation


def attribution_of(explanation: Explanation, metric: str) -> Attribution:
    """The first attribution of a metric; Lacking with the reason that the explanation gives."""
    found = next((a for a in explanation.attributions if a.metric == metric), None)
    if found is None:
        raise Lacking(f"{metric} was not given to the pieces{because(explanation, metric)}.")
    return found


def unmixed(factors: Iterable[str], metric: str, place: str = "") -> None:
    """Lacking where a factor merges pieces that the claim tells apart."""
    mixed = [factor for factor in factors if piece_of(factor) == MIXED]
    if mixed:
        where = f" at {place}" if place else ""
        together = "; ".join(factor.replace(" and ", ", ") for factor in mixed)
        raise Lacking(f"{metric}{where} was given to wholes, not to the pieces in them: {together}.")


def both_decomposed(explanation: Explanation) -> tuple[Decomposition, Decomposition]:
    """Where the time of both networks goes, at the first place that has both."""
    for place in dict.fromkeys(d.place for d in explanation.decompositions):
        named = {d.name: d for d in explanation.decompositions if d.place == place}
        if explanation.first in named and explanation.second in named:
            return named[explanation.first], named[explanation.second]
    raise Lacking(f"Latency was not split by kind of operation{because(explanation, 'decompos', 'latency')}.")


def noise_floor(explanation: Explanation, place: str) -> float:
    """The largest logarithm that timing one network against itself reached, either way; 0 where that was not done."""
    noise = explanation.noise.get(place)
    return max(abs(math.log(noise[end])) for end in ("ratio", "low", "high")) if noise else 0.0


def sittings_of(found: object) -> int:
    """On how many sittings (of sampled networks, blocks) a latency rests: 0 where it isn't stored, as by earlier versions.

    Those knew one sitting alone, whose rounds give no interval.
    """
    if isinstance(found, Attribution):
        return min((int(effect.num or 0) for effect in found.shapley.values()), default=0)
    return int(getattr(found, "sittings", None) or 0)


def in_log(value: float, low: float | None, high: float | None, sittings: int) -> Estimate:
    """The logarithm of a ratio with its 95 % interval, where that rests on enough sittings; else the value alone."""
    if low is None or high is None or sittings < LEAST_SITTINGS:
        return Estimate(value=math.log(value), num=sittings)
    return of_interval(math.log(value), math.log(low), math.log(high), sittings)


def of_interval(value: float, low: float, high: float, num: int) -> Estimate:
    """The estimate from `num` replicates that has this 95 % interval by Student's t."""
    error = (high - low) / 2 / t_quantile((1 + CONFIDENCE) / 2, num - 1)
    return Estimate(value=value, error=error, freedom=num - 1, low=low, high=high, num=num)


def log_of(piece: Piece, sittings: int) -> Estimate:
    """A piece's effect on a logarithm; with its interval where that rests on enough sittings."""
    if piece.low is None or piece.high is None or sittings < LEAST_SITTINGS:
        return Estimate(value=piece.value, num=sittings)
    return of_interval(piece.value, piece.low, piece.high, sittings)


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Latency of the second network over the first."""

    batch_size: int
    place: str
    log: Estimate

    @property
    def text(self) -> str:
        """'×3.22 (3.13 to 3.30)'."""
        found = self.log.exp()
        return f"×{spanned(found.value, found.low, found.high)}"

    @property
    def number(self) -> Number:
        """As a verdict's number."""
        name, found = f"latency ratio, batch {self.batch_size}", self.log.exp()
        return Number(name=name, value=found.value, low=found.low, high=found.high, source=f"explanation: {self.place}")


def ratios(explanation: Explanation) -> dict[int, Ratio]:
    """Batch size -> eager latency ratio: of the ways of running at batch 1, else of the batch sweep."""
    found: dict[int, Ratio] = {}
    for p in explanation.sweep:
        if p.ratio:
            log = in_log(p.ratio, *p.interval, sittings_of(p))
            found[p.batch_size] = Ratio(batch_size=p.batch_size, place=f"{explanation.device}/{p.batch_size}", log=log)
    for mode in explanation.modes:
        if mode.mode == "eager" and mode.ratio and main_place(explanation).endswith("/1"):
            log = in_log(mode.ratio, mode.ratio_low, mode.ratio_high, sittings_of(mode))
            found[1] = Ratio(batch_size=1, place=main_place(explanation), log=log)
    return dict(sorted(found.items()))


def interval_of(explanation: Explanation, place: str) -> tuple[float | None, float | None]:
    """The interval of the latency ratio at a place, where it rests on enough sittings."""
    found = next((ratio.log.exp() for ratio in ratios(explanation).values() if ratio.place == place), None)
    return (None, None) if found is None else (found.low, found.high)


def main_place(explanation: Explanation) -> str:
    """Device and batch size of the first attribution of latency; the device at batch 1 without one."""
    timed = (a for a in explanation.attributions if a.metric in ("log_latency", "latency_ms") and a.place)
    return next((a.place for a in timed), f"{explanation.device}/1")


def place_text(place: str) -> str:
    """'cpu at batch 1' of "cpu/1"."""
    device, _, batch = place.rpartition("/")
    return f"{device} at batch {batch}" if device else place


def sampled(explanation: Explanation) -> str:
    """' Latency: 96 of 512 networks timed, along 7 pairs of random orderings ...': where not every network was timed."""
    told = [limit.partition(". ")[0].rstrip(".") for limit in explanation.limits if "random orderings" in limit]
    return f" {'. '.join(told)}." if told else ""


def machine(explanation: Explanation) -> str:
    """'144 px, cpu (AMD EPYC, 1 thread)': what latency was measured on."""
    hardware = explanation.provenance.get("hardware", {})
    name = machine_name(hardware) or explanation.provenance.get("cpu")
    threads = explanation.provenance.get("threads") if explanation.device == "cpu" else None
    told = [str(name)] if name else []
    told += [f"{threads} thread{'s' * (threads != 1)}"] if threads else []
    return f"{size_text(explanation)}, {explanation.device}" + (f" ({', '.join(told)})" if told else "")


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
    told = [limit for limit in explanation.limits if any(word in limit.lower() for word in words)]
    return f" ({' '.join(told).rstrip('.')})" if told else ""
