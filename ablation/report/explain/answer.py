"""The answer of an explanation in five sentences: how much slower, by which pieces, what was saved, where, what helps. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ablation.record.attribution import Attribution, Effect
from ablation.record.explanation import SAME, Explanation, ModeResult, Remedy
from ablation.report.explain.mechanism import LEAST_SHARE, added_time, decomposed
from ablation.report.explain.style import (
    LOG,
    effect_text,
    find,
    limit_on,
    main_place,
    metric_of,
    number,
    percent,
    place_text,
    plain,
    ranked,
    share_of,
    signed,
    times,
    times_span,
    tiny,
)

# characters of both levels of a factor, up to which the answer shows them
SHORT = 32
_TIMED = ("latency", "timed", "timing")
# words by which a limit is known as the reason for what is missing, the closest first
REASONS = {
    "latency": _TIMED, "which piece made the difference in latency": ("attribution of latency", *_TIMED),
    "which piece made the difference in counts": ("static", "count"), "by which mechanism": ("decompos", "profil", *_TIMED),
    "which remedy removes it": ("remed", "ways of running", *_TIMED),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Headline:
    """Both networks' latency as the answer quotes it, and where it is from."""

    place: str
    first_ms: float
    second_ms: float
    ratio: float
    low: float | None
    high: float | None
    rounds: int | None = None
    sittings: int | None = None


def headline(explanation: Explanation) -> Headline | None:
    """Eager latency where timed, else the sweep's first point, the attribution's, the decompositions'; None without."""
    place = main_place(explanation)
    eager = next((m for m in explanation.modes if m.mode == "eager"), None)
    for found in (eager, *sorted(explanation.sweep, key=lambda p: p.batch_size)):
        if found is not None and found.first_ms and found.second_ms:
            ratio = found.ratio or found.second_ms / found.first_ms
            where = place if isinstance(found, ModeResult) else f"{explanation.device}/{found.batch_size}"
            low, high = (found.ratio_low, found.ratio_high) if isinstance(found, ModeResult) else found.interval
            return Headline(
                place=where, first_ms=found.first_ms, second_ms=found.second_ms, ratio=ratio, low=low, high=high,
                rounds=found.rounds, sittings=found.sittings,
            )  # fmt: skip
    attribution = find(explanation, "latency_ms")
    if attribution is not None and attribution.start:
        start, end = attribution.start, attribution.end
        return Headline(place=attribution.place, first_ms=start, second_ms=end, ratio=end / start, low=None, high=None)
    pair = decomposed(explanation)
    if pair is not None:
        start, end = pair[0].total_ms, pair[1].total_ms
        return Headline(place=pair[0].place, first_ms=start, second_ms=end, ratio=end / start, low=None, high=None)
    return None


def answer(explanation: Explanation) -> str:
    """The paragraph that comes first; what was not measured is named, with the reason, in place of its sentence."""
    found = {
        "latency": _latency(explanation), "which piece made the difference in latency": _pieces(explanation),
        "which piece made the difference in counts": _counts(explanation), "by which mechanism": added_time(explanation),
        "which remedy removes it": _remedy(explanation),
    }  # fmt: skip
    texts = [text for text in found.values() if text]
    gone = [what for what, text in found.items() if not text]
    if gone:
        reasons = dict.fromkeys(limit_on(explanation, REASONS[what]) for what in gone)
        texts.append(f"Not measured: {', '.join(gone)}. Why: {' '.join(reasons)}")
    return " ".join(texts)


def _latency(explanation: Explanation) -> str:
    found = headline(explanation)
    if found is None:
        return ""
    return (
        f"**{explanation.second} takes {times(found.ratio)} the time of {explanation.first}** on {place_text(found.place)} "
        f"({number(found.second_ms)} against {number(found.first_ms)}\u00a0ms; {interval_text(found)})."
    )


def interval_text(found: Headline) -> str:
    """'95 % interval 2.91 to 2.95 over 5 sittings', or 'no interval, 2 rounds'."""
    if found.low is None or found.high is None:
        return "no interval" + (f", {found.rounds} rounds" if found.rounds else "")
    over = f" over {found.sittings} sittings" if found.sittings else ""
    return f"95\u00a0% interval {found.low:.2f} to {found.high:.2f}{over}"


def _pieces(explanation: Explanation) -> str:
    """Which factors made the difference in latency."""
    attribution = find(explanation, LOG, main_place(explanation)) or find(explanation, "latency_ms")
    if attribution is None:
        return ""
    order, direction = ranked(attribution.shapley), attribution.end - attribution.start
    sure = [(name, e) for name, e in order if e.sure]
    if not sure:
        names = " and ".join(_piece(explanation, attribution, name, e) for name, e in _causes(order, direction)[:2])
        why = "no interval" if all(e.low is None for _, e in order) else "not settled"
        largest = f"; the largest estimates are {names} ({why})" if names else ""
        return f"None of the {len(order)} differences between them has a settled effect on latency{largest}."
    causes = [(n, e) for n, e in _causes(sure, direction) if abs(share_of(attribution, e) or 0) >= LEAST_SHARE][:3]
    against = [(n, e) for n, e in sure if e.value * direction < 0 and abs(share_of(attribution, e) or 0) >= LEAST_SHARE][:1]
    word = "slower" if direction >= 0 else "faster"
    made = _listed([_piece(explanation, attribution, n, e) for n, e in causes])
    text = f"It is {word} mainly through {made}" if made else f"No single settled effect makes it {word} by much"
    text += f", while {_piece(explanation, attribution, *against[0])} works the other way" if against else ""
    open_ = len(order) - len(sure)
    return f"{text}{f' ({open_} of {len(order)} effects are not settled)' if open_ else ''}."


def _causes(effects: Sequence[tuple[str, Effect]], direction: float) -> list[tuple[str, Effect]]:
    """Those in the direction of the whole difference."""
    return [(name, effect) for name, effect in effects if effect.value * direction > 0]


def _listed(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}" if texts else ""


def _piece(explanation: Explanation, attribution: Attribution, name: str, effect: Effect) -> str:
    before, after = explanation.factors.get(name, ("?", "?"))
    levels = f" ({before} → {after})" if len(before) + len(after) <= SHORT else ""
    return f"**{plain(name)}**{levels}: {effect_text(attribution.metric, effect)}"


def _counts(explanation: Explanation) -> str:
    """What made the difference in parameters and multiply-accumulates: one sentence."""
    texts = [text for metric in ("params", "macs") if (text := _count(explanation, metric))]
    return f"{'; '.join(texts)}." if texts else ""


def _count(explanation: Explanation, metric: str) -> str:
    found = find(explanation, metric)
    if found is None or not found.start:
        return ""
    label, whole = metric_of(metric).label, found.end - found.start
    label = label[0].upper() + label[1:] if metric == "params" else label
    if not whole:
        return f"{label} are the same"
    order = [(n, e) for n, e in ranked(found.shapley) if e.value]
    causes = _causes(order, whole)[:1]
    against = [(n, e) for n, e in order if e.value * whole < 0 and abs(e.value) >= LEAST_SHARE * abs(whole)][:1]
    text = f"{label} {'fall' if whole < 0 else 'rise'} by {percent(abs(whole) / found.start).lstrip('+')}"
    text += f", mostly through {_amount(metric, *causes[0])}" if causes else ""
    return text + (f", offset in part by {_amount(metric, *against[0])}" if against else "")


def _amount(metric: str, name: str, effect: Effect) -> str:
    unit = metric_of(metric).unit
    return f"{plain(name)} ({signed(effect.value, metric_of(metric))}{f' {unit}' if unit else ''})"


def best_remedy(explanation: Explanation, *, same_weights: bool = True) -> Remedy | None:
    """The remedy with the largest gain: of ways of running that keep the function, the first kind of them that there is; or, with
    `same_weights` False, of networks to be trained."""
    usable = [r for r in explanation.remedies if (r.max_error is not None) == same_weights]
    kept = [r for r in usable if r.keeps in ("", SAME)] if same_weights else []
    return max(kept or usable, key=lambda r: r.gain, default=None)


def _remedy(explanation: Explanation) -> str:
    best, found = best_remedy(explanation), headline(explanation)
    if best is None:
        return "No way of running it is settled to make it faster." if explanation.modes else ""
    if best.gain_low is not None and not gain_stands(best):
        return "No way of running it is settled to make it faster."
    gain = times_span(best.gain, best.gain_low, best.gain_high)
    what = f"Without training anything anew, **{best.name}** helps most" if best.keeps not in ("", SAME) else (
        f"Computing the same faster, **{best.name}** helps most"
    )  # fmt: skip
    text = f"{what}: {explanation.second} then runs {gain} as fast, its outputs within {tiny(best.max_error)}"
    text += ", a gain without an interval" if best.gain_low is None else ""
    return f"{text}, and takes {times(found.ratio / best.gain)} the time of {explanation.first} as it was." if found else f"{text}."


def gain_stands(remedy: Remedy) -> bool:
    """Whether the gain is above 1 with its whole interval."""
    return remedy.gain_low is not None and remedy.gain_low > 1


def slow_word(ratio: float) -> str:
    """What the difference in latency is called."""
    return "slowdown" if ratio >= 1 else "speed-up"


def fraction_left(mode: ModeResult, eager: ModeResult) -> float:
    """Of the logarithm of the eager ratio, what is left in a mode."""
    return math.log(mode.ratio or 1.0) / math.log(eager.ratio or 1.0)
