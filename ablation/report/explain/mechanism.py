"""By which mechanism: what adds up to the latency of both networks, class by class, and what it says. No torch."""

from __future__ import annotations

import math

from ablation.record.explanation import LIMITING, Decomposition, Explanation
from ablation.report.explain.style import GAPS, HOST, RESIDUAL, main_place
from ablation.report.kit.numbers import joined, share_text, significant

# of a difference, for a factor or class to be named in the answer
LEAST_SHARE = 0.1
LIMITS = {"bytes": "bandwidth", "macs": "arithmetic", "calls": "calls"}
BEYOND = "Shares beyond 100\u00a0% are offset by others of the other sign: together they are 100\u00a0%."
# what adds up to the latency beside classes of operation
NO_CLASS = (HOST, GAPS, RESIDUAL)
# of the first and the second network
Pair = tuple[Decomposition, Decomposition]


def decomposed(explanation: Explanation) -> Pair | None:
    """The decompositions of both networks at one place, the main one first; None where one of them is missing."""
    main = main_place(explanation)
    places = sorted(dict.fromkeys(d.place for d in explanation.decompositions), key=lambda p: p != main)
    for place in places:
        named = {d.name: d for d in explanation.decompositions if d.place == place}
        if explanation.first in named and explanation.second in named:
            return named[explanation.first], named[explanation.second]
    return None


def mechanism_rows(explanation: Explanation) -> list[tuple[str, float, float, float]]:
    """(class or 'launches and host', 'gaps', 'unexplained'; ms in the first; in the second; added), the largest addition first."""
    pair = decomposed(explanation)
    if pair is None:
        return []
    sides = [segments(d) for d in pair]
    rows = [(name, sides[0].get(name, 0.0), sides[1].get(name, 0.0)) for name in {**sides[1], **sides[0]}]
    return sorted(((n, a, b, b - a) for n, a, b in rows), key=lambda row: -abs(row[3]))


def segments(decomposition: Decomposition) -> dict[str, float]:
    """What adds up to the total: classes from the largest, then host, gaps and the residual where they are not 0."""
    classes = {share.name: share.ms for share in sorted(decomposition.by_class, key=lambda s: -s.ms)}
    rest = {HOST: decomposition.host_ms, GAPS: decomposition.gaps_ms, RESIDUAL: decomposition.residual_ms}
    return classes | {name: ms for name, ms in rest.items() if ms}


def added_time(explanation: Explanation) -> str:
    """Where the added time goes, in one sentence; empty where that was not measured."""
    pair, rows = decomposed(explanation), mechanism_rows(explanation)
    if pair is None:
        return ""
    whole = pair[1].total_ms - pair[0].total_ms
    if not whole:
        return "Both networks take the same time."
    causes = joined([f"{name} ({_share(more / whole)})" for name, _, _, more in rows if more / whole >= LEAST_SHARE][:3])
    most = f"most is {causes}" if causes else f"no class of operation makes {100 * LEAST_SHARE:.0f}\u00a0%"
    against = next((row for row in rows if row[0] not in NO_CLASS and row[3] / whole <= -LEAST_SHARE), None)
    longer, less = ("longer", "less") if whole > 0 else ("less", "more")
    text = f"Of the {significant(abs(whole))}\u00a0ms that it takes {longer} when profiled, {most}"
    return text + (f", while {against[0]} takes {significant(abs(against[3]))}\u00a0ms {less}." if against else ".")


def mechanism(explanation: Explanation) -> str:
    """Where the added time goes, how much of it multiplies nothing, what limits it, and why shares may exceed 100 %."""
    pair, rows = decomposed(explanation), mechanism_rows(explanation)
    whole = pair[1].total_ms - pair[0].total_ms if pair else 0.0
    if pair is None or not whole:
        return added_time(explanation)
    working = {share.name for d in pair for share in d.by_class if share.macs}
    idle = sum(more for name, _, _, more in rows if name not in working and name not in NO_CLASS)
    ends = f"{significant(pair[0].total_ms)} against {significant(pair[1].total_ms)}\u00a0ms in the profiled session"
    beyond = f" {BEYOND}" if any(abs(row[3] / whole) > 1 for row in rows) else ""
    return (
        f"{added_time(explanation)} Operations that multiply nothing make {_share(idle / whole)} of the difference "
        f"({ends}; at least {math.floor(100 * min(d.explained for d in pair))}\u00a0% of either latency is explained). "
        f"{limits(pair[1])}{beyond}"
    )


def limits(decomposition: Decomposition) -> str:
    """Which classes of operation run near a bound of the machine, and that the others are near none."""
    known = [share for share in decomposition.by_class if share.limited_by and share.efficiency is not None]
    if not known:
        return ""
    near = sorted((share for share in known if share.limit), key=lambda share: -share.ms)
    names = joined([f"{share.name} by {LIMITS[share.limit]} ({_share(share.efficiency)} of that bound)" for share in near])
    rest = math.fsum(share.ms for share in known if not share.limit) / decomposition.total_ms
    near_text = f"the machine limits {names}" if names else "no class is limited by bandwidth, arithmetic or calls"
    return (
        f"In {decomposition.name}, {near_text}; classes with {_share(rest)} of its time are below "
        f"{100 * LIMITING:.0f}\u00a0% of every bound: their limit is overhead, latency or unknown."
    )


def _share(share: float | None) -> str:
    return share_text(share).lstrip("+")
