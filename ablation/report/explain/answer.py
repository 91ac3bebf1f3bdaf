"""The answer of an explanation in five sentences: how much slower, by which pieces, what was saved, where, what helps. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ablation.record.attribution import Attribution, Effect
from ablation.record.explanation import SAME, Explanation, ModeResult, SweepPoint
from ablation.report.explain.inside import removed
from ablation.report.explain.mechanism import LEAST_SHARE, added_time, decomposed
from ablation.report.explain.style import (
    LOG,
    eager,
    effect_text,
    find,
    is_whole,
    main_place,
    metric_of,
    place_text,
    plain,
    ranked,
    share_of,
    signed,
)
from ablation.report.explain.words import best_remedy, gain_stands, limit_on
from ablation.report.kit.numbers import digits_of, joined, share_text, significant, times, times_span, tiny

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
    low: float | None = None
    high: float | None = None
    rounds: int | None = None
    sittings: int | None = None


def headline(explanation: Explanation) -> Headline | None:
    """Eager latency where timed, else the sweep's first point, the attribution's, the decompositions'; None without."""
    as_built, whole = eager(explanation), find(explanation, LOG, main_place(explanation))
    if is_whole(explanation) and whole is not None and as_built is not None and as_built.interval[0] is None:
        (effect,), both = whole.shapley.values(), find(explanation, "latency_ms", whole.place)
        if (
            effect.low is not None and effect.high is not None and both is not None
        ):  # of more sittings than other modes have time for
            return Headline(
                place=whole.place, first_ms=both.start, second_ms=both.end, ratio=math.exp(effect.value),
                low=math.exp(effect.low), high=math.exp(effect.high), sittings=effect.num,
            )  # fmt: skip
    timed: list[tuple[str, ModeResult | SweepPoint]] = [(main_place(explanation), as_built)] if as_built else []
    timed += [(f"{explanation.device}/{p.batch_size}", p) for p in sorted(explanation.sweep, key=lambda p: p.batch_size)]
    for place, point in timed:
        if point.first_ms and point.second_ms:
            ratio, (low, high) = point.ratio or point.second_ms / point.first_ms, point.interval
            return Headline(
                place=place, first_ms=point.first_ms, second_ms=point.second_ms, ratio=ratio, low=low, high=high,
                rounds=point.rounds, sittings=point.sittings,
            )  # fmt: skip
    attribution, pair = find(explanation, "latency_ms"), decomposed(explanation)
    if attribution is not None and attribution.start:
        place, start, end = attribution.place, attribution.start, attribution.end
    elif pair is not None:
        place, start, end = pair[0].place, pair[0].total_ms, pair[1].total_ms
    else:
        return None
    return Headline(place=place, first_ms=start, second_ms=end, ratio=end / start)


def answer(explanation: Explanation) -> str:
    """The paragraph that comes first; what was not measured is named, with the reason, in place of its sentence."""
    sentences = (
        _latency(explanation), _pieces(explanation), _counts(explanation), added_time(explanation), _remedy(explanation)
    )  # fmt: skip
    gone = [question for question, sentence in zip(REASONS, sentences, strict=True) if not sentence]
    reasons = dict.fromkeys(limit_on(explanation, REASONS[question]) for question in gone)
    missing = [f"Not measured: {', '.join(gone)}. Why: {' '.join(reasons)}"] if gone else []
    return " ".join([*filter(None, sentences), *missing])


def _latency(explanation: Explanation) -> str:
    line = headline(explanation)
    if line is None:
        return ""
    interval = "no interval" + (f", {line.rounds} rounds" if line.rounds else "")
    if line.low is not None and line.high is not None:
        over = f" over {line.sittings} sittings" if line.sittings else ""
        digits = digits_of(line.ratio)
        interval = f"95\u00a0% interval {line.low:.{digits}f} to {line.high:.{digits}f}{over}"
    return (
        f"**{explanation.second} takes {times(line.ratio)} the time of {explanation.first}** on {place_text(line.place)} "
        f"({significant(line.second_ms)} against {significant(line.first_ms)}\u00a0ms; {interval})."
    )


def _pieces(explanation: Explanation) -> str:
    """Which factors made the difference in latency."""
    if is_whole(explanation):
        return "They are made by different callables, so that no piece of the one can be put into the other."
    attribution = find(explanation, LOG, main_place(explanation)) or find(explanation, "latency_ms")
    if attribution is None:
        return ""
    order, direction = ranked(attribution.shapley), attribution.end - attribution.start
    sure = [(name, effect) for name, effect in order if effect.sure]

    def pieces(effects: Sequence[tuple[str, Effect]], sign: float, most: int) -> str:
        """The largest of those in the direction of the whole difference, or against it."""
        named = [(name, effect) for name, effect in effects if effect.value * direction * sign > 0][:most]
        return joined([_piece(explanation, attribution, name, effect) for name, effect in named])

    if not sure:
        names = pieces(order, 1, 2)
        why = "no interval" if all(effect.low is None for _, effect in order) else "not settled"
        largest = f"; the largest estimates are {names} ({why})" if names else ""
        return f"None of the {len(order)} differences between them has a settled effect on latency{largest}."
    large = [(name, effect) for name, effect in sure if abs(share_of(attribution, effect) or 0) >= LEAST_SHARE]
    word = "slower" if direction >= 0 else "faster"
    causes, against, num_open = pieces(large, 1, 3), pieces(large, -1, 1), len(order) - len(sure)
    text = f"It is {word} mainly through {causes}" if causes else f"No single settled effect makes it {word} by much"
    text += f", while {against} works the other way" if against else ""
    return f"{text}{f' ({num_open} of {len(order)} effects are not settled)' if num_open else ''}."


def _piece(explanation: Explanation, attribution: Attribution, name: str, effect: Effect) -> str:
    before, after = explanation.factors.get(name, ("?", "?"))
    levels = f" ({before} → {after})" if len(before) + len(after) <= SHORT else ""
    return f"**{plain(name)}**{levels}: {effect_text(attribution, effect)}"


def _counts(explanation: Explanation) -> str:
    """What made the difference in parameters and multiply-accumulates: one sentence."""
    texts = [text for metric in ("params", "macs") if (text := _count(explanation, metric))]
    return f"{'; '.join(texts)}{_predicted(explanation)}." if texts else ""


def _predicted(explanation: Explanation) -> str:
    """What multiply-accumulates alone predict of the latency, where nothing else tells the two networks apart."""
    macs, line = find(explanation, "macs"), headline(explanation)
    if not is_whole(explanation) or line is None or macs is None or not macs.start or not macs.end:
        return ""
    predicted = macs.end / macs.start
    each = line.ratio / predicted
    longer = f"{each:.2g} times as long as" if each >= 1 else f"{each:.2g} of the time of"
    return f", which alone predict {times(predicted)} the time: each takes {longer} one in {explanation.first}"


def _count(explanation: Explanation, metric: str) -> str:
    attribution = find(explanation, metric)
    if attribution is None or not attribution.start:
        return ""
    shown, whole = metric_of(attribution), attribution.end - attribution.start
    label = shown.label.capitalize() if metric == "params" else shown.label
    if not whole:
        return f"{label} are the same"
    order = [(n, signed(e.value, shown), e.value / whole) for n, e in ranked(attribution.shapley)]
    order = [] if is_whole(explanation) else order
    texts = [(f"{plain(name)} ({f'{value} {shown.unit}'.rstrip()})", share) for name, value, share in order]
    causes = [text for text, share in texts if share > 0][:1]
    against = [text for text, share in texts if share <= -LEAST_SHARE][:1]
    text = f"{label} {'fall' if whole < 0 else 'rise'} by {share_text(abs(whole) / attribution.start).lstrip('+')}"
    text += f", mostly through {causes[0]}" if causes else ""
    return text + (f", offset in part by {against[0]}" if against else "")


def _largest(explanation: Explanation) -> str:
    """The way of running with the largest gain among those that compute the same but were timed too seldom for an interval."""
    open_ = [
        m for m in explanation.modes if m.second_gain and m.second_gain_low is None and m.keeps in ("", SAME) and m.mode != "eager"
    ]
    best = max(open_, key=lambda m: m.second_gain or 0.0, default=None)
    if best is None or not best.second_gain or best.second_gain <= 1:
        return ""
    return f"; the largest gain, without an interval, is that of **{best.mode}**, {times(best.second_gain)}"


def _remedy(explanation: Explanation) -> str:
    best, line = best_remedy(explanation), headline(explanation)
    if best is None and not explanation.modes:
        return ""
    if best is None or (best.gain_low is not None and not gain_stands(best)):
        return f"No way of running it is settled to make it faster{_largest(explanation)}."
    kept = "Computing the same faster" if best.keeps in ("", SAME) else "Without training anything anew"
    gain = times_span(best.gain, best.gain_low, best.gain_high)
    text = f"{kept}, **{best.name}** helps most: {explanation.second} then runs {gain} as fast"
    text += f", its outputs within {tiny(best.max_error)}"
    text += ", a gain without an interval" if best.gain_low is None else ""
    share = removed(explanation, next((m for m in explanation.modes if m.mode == best.name), None))
    if share is not None and share > 0:
        text += f" ({share_text(share).lstrip('+')} of the slowdown gone)"
    return text + (f", and takes {times(line.ratio / best.gain)} the time of {explanation.first} as it was." if line else ".")
