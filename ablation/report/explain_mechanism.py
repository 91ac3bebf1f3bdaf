"""By which mechanism: what adds up to the latency of both networks, class by class, and what it says. No torch."""

from __future__ import annotations

import math

from ablation.explain.explanation import Decomposition, Explanation
from ablation.report.explain_style import GAPS, HOST, RESIDUAL, main_place, number, percent

LEAST_SHARE = 0.1
# of a difference, for a factor or class to be named in the answer


def decomposed(explanation: Explanation) -> tuple[Decomposition, Decomposition] | None:
    """The decompositions of both networks at one place, the main one first; None where one of them is missing."""
    main = main_place(explanation)
    places = sorted(dict.fromkeys(d.place for d in explanation.decompositions), key=lambda p: p != main)
    for place in places:
        named = {d.name: d for d in explanation.decompositions if d.place == place}
        if explanation.first in named and explanation.second in named:
            return named[explanation.first], named[explanation.second]
    return None


def mechanism_rows(explanation: Explanation) -> list[tuple[str, float, float, float]]:
    """(class or 'launches and host', 'gaps', 'not placed'; ms in the first; in the second; added), the largest addition first."""
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


def mechanism(explanation: Explanation) -> str:
    """Where the added time goes, and how much of it multiplies nothing."""
    pair, rows = decomposed(explanation), mechanism_rows(explanation)
    if pair is None:
        return ""
    whole = pair[1].total_ms - pair[0].total_ms
    if not whole:
        return "Both networks take the same time."
    added = [row for row in rows if abs(row[3] / whole) >= LEAST_SHARE][:5]
    told = [f"{name} {percent(more / whole).lstrip('+')}" for name, _, _, more in added]
    worked = {share.name for d in pair for share in d.by_class if share.macs}
    idle = sum(more for name, _, _, more in rows if name not in worked and name not in (HOST, GAPS, RESIDUAL))
    ends = f"{number(pair[0].total_ms)} against {number(pair[1].total_ms)}\u00a0ms in the profiled session"
    text = f"Of the {number(whole)}\u00a0ms between them ({ends}), {', '.join(told) or 'no class has 10 % or more'}"
    explained = min(d.explained for d in pair)
    return (
        f"{text}; operations that multiply nothing are {percent(idle / whole).lstrip('+')} of it"
        f" (at least {math.floor(100 * explained)}\u00a0% of either latency is placed).{_limited(pair[1])}"
    )


def _limited(decomposition: Decomposition) -> str:
    """The second network's time by the bound nearest to each of its classes, and how little of it the bound itself would take."""
    texts = {"bytes": "bytes", "macs": "multiply-accumulates", "calls": "calls"}
    known = [share for share in decomposition.by_class if share.limited_by]
    by_limit = {limit: sum(s.ms for s in known if s.limited_by == limit) for limit in dict.fromkeys(s.limited_by for s in known)}
    order = sorted(((ms, limit) for limit, ms in by_limit.items() if ms > 0), reverse=True)
    told = [
        f"{texts.get(limit, limit)} {percent(ms / decomposition.total_ms).lstrip('+')}{_at_full_rate(decomposition, limit)}"
        for ms, limit in order
        if ms >= 0.005 * decomposition.total_ms
    ]
    return f" Time of {decomposition.name} by the nearest bound of each class: {', '.join(told)}." if told else ""


def _at_full_rate(decomposition: Decomposition, limit: str) -> str:
    """' (7 % at full bandwidth)': what the classes of a bound would take if they ran at it."""
    rate = {"bytes": "at full bandwidth", "macs": "at full rate"}.get(limit)
    bounds = [s.bytes_bound_ms if limit == "bytes" else s.macs_bound_ms for s in decomposition.by_class if s.limited_by == limit]
    known = [bound for bound in bounds if bound is not None]
    if rate is None or len(known) < len(bounds):
        return ""
    return f" ({percent(math.fsum(known) / decomposition.total_ms).lstrip('+')} {rate})"
