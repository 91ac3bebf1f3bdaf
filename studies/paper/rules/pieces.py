"""The pieces in which the two networks differ: to which of them a factor belongs, and effects added up by piece. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from ablation.record.attribution import Attribution, Effect
from studies.paper.rules.numbers import percent, spanned
from studies.paper.rules.verdict import Lacking

CONNECTIVITY, CONVOLUTION, HEAD, WIDTHS, OTHER, MIXED = "connectivity", "convolution", "head", "widths", "the rest", "mixed"
# piece -> words of a factor's name that belong to it
WORDS = {CONNECTIVITY: ("connectivity",), CONVOLUTION: ("conv",), HEAD: ("head",), WIDTHS: ("width", "stem")}
# words of factors that the trained networks swap together with connectivity
SAMPLING = ("downsampling", "upsampling", "transposed")
# factors in which a coarse attribution of latency merges connectivity, convolution and widths
BODIES = ("encoder", "decoder")
# to fix the other pieces while one is swapped
WAYS = ("Shapley value", "alone in `original`", "in `modified`")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Piece:
    """What one piece, in encoder and decoder together, adds to a quantity."""

    name: str
    # its name, and what it was not kept apart from
    label: str
    value: float
    low: float | None
    high: float | None
    # of the whole difference
    share: float | None

    def text(self, scale: float, unit: str) -> str:
        """'head −7.86 M, 256 %'."""
        low, high = (None if end is None else end * scale for end in (self.low, self.high))
        share = "" if self.share is None else f", {percent(self.share)}"
        return f"{self.label} {spanned(self.value * scale, low, high, signed=True)} {unit}{share}"


def piece_of(factor: str) -> str:
    """The piece that a factor belongs to; MIXED where it merges several of them."""
    name = factor.lower().replace("_", " ")
    matching = [piece for piece, words in WORDS.items() if any(word in name for word in words)]
    if len(matching) > 1 or name in BODIES:
        return MIXED
    return matching[0] if matching else OTHER


def pieces(effects: Mapping[str, Effect], whole: float) -> dict[str, Piece]:
    """Effects added up by piece. The ends of intervals are added too, which is cautious: the sum's own interval is narrower."""
    groups: dict[str, list[Effect]] = {}
    for factor, effect in effects.items():
        groups.setdefault(piece_of(factor), []).append(effect)
    labels = labels_of(effects)
    return {name: _sum(name, labels[name], group, whole) for name, group in groups.items()}


def labels_of(factors: Iterable[str]) -> dict[str, str]:
    """Piece -> its label: connectivity names down- and upsampling where it was only ever swapped together with them."""
    by_factor = {factor: piece_of(factor) for factor in factors}
    labels = {piece: piece for piece in by_factor.values()}
    if any(piece == CONNECTIVITY and any(word in factor for word in SAMPLING) for factor, piece in by_factor.items()):
        labels[CONNECTIVITY] += " (with down- and upsampling)"
    return labels


def _sum(name: str, label: str, effects: list[Effect], whole: float) -> Piece:
    value = math.fsum(e.value for e in effects)
    ends = ([e.low for e in effects], [e.high for e in effects])
    low, high = (None if None in each else math.fsum(each) for each in ends)  # type: ignore[arg-type]
    return Piece(name=name, label=label, value=value, low=low, high=high, share=value / whole if whole else None)


def by_piece(attribution: Attribution) -> dict[str, Piece]:
    """The Shapley values of an attribution by piece; Lacking where a factor merges several."""
    unmixed(attribution.shapley, attribution.metric, attribution.place)
    return pieces(attribution.shapley, attribution.end - attribution.start)


def by_ways(attribution: Attribution) -> dict[str, dict[str, Piece]]:
    """What the pieces add by each way to fix the rest; Lacking where a factor merges several pieces."""
    unmixed(attribution.shapley, attribution.metric, attribution.place)
    ways = zip(WAYS, (attribution.shapley, attribution.from_start, attribution.from_end), strict=True)
    return {name: pieces(effects, attribution.end - attribution.start) for name, effects in ways}


def named(by_name: Mapping[str, T]) -> tuple[T, T]:
    """The two pieces that the paper credits: connectivity and convolution."""
    if not {CONNECTIVITY, CONVOLUTION} <= set(by_name):
        raise Lacking("Connectivity and convolution are not among the pieces in which the two networks differ.")
    return by_name[CONNECTIVITY], by_name[CONVOLUTION]


def unmixed(factors: Iterable[str], metric: str, place: str = "") -> None:
    """Lacking where a factor merges pieces that the claim tells apart."""
    mixed = [factor for factor in factors if piece_of(factor) == MIXED]
    if mixed:
        where = f" at {place}" if place else ""
        together = "; ".join(factor.replace(" and ", ", ") for factor in mixed)
        raise Lacking(f"{metric}{where} was given to wholes, not to the pieces in them: {together}.")
