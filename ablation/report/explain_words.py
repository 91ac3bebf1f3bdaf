"""What an explanation says in sentences, made from its numbers: answer, verdicts, mechanism, remedy, what is missing. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ablation.explain.explanation import Attribution, Effect, Explanation, ModeResult, Remedy
from ablation.report.explain_mechanism import LEAST_SHARE, decomposed, mechanism
from ablation.report.explain_style import (
    LOG,
    TRAINED,
    effect_text,
    find,
    limit_on,
    main_place,
    metric_of,
    noise_floor,
    number,
    percent,
    place_text,
    plain,
    ranked,
    share_of,
    times,
    times_span,
    tiny,
)

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


def headline(explanation: Explanation) -> Headline | None:
    """Eager latency where timed, else the sweep's first point, the attribution's, the decompositions'; None without."""
    place = main_place(explanation)
    eager = next((m for m in explanation.modes if m.mode == "eager"), None)
    for found in (eager, *sorted(explanation.sweep, key=lambda p: p.batch_size)):
        if found is not None and found.first_ms and found.second_ms:
            ratio = found.ratio or found.second_ms / found.first_ms
            where = place if isinstance(found, ModeResult) else f"{explanation.device}/{found.batch_size}"
            low, high = (found.ratio_low, found.ratio_high) if isinstance(found, ModeResult) else found.interval
            return Headline(place=where, first_ms=found.first_ms, second_ms=found.second_ms, ratio=ratio, low=low, high=high)
    attribution = find(explanation, "latency_ms")
    if attribution is not None and attribution.start:
        start, end = attribution.start, attribution.end
        return Headline(place=attribution.place, first_ms=start, second_ms=end, ratio=end / start, low=None, high=None)
    pair = decomposed(explanation)
    if pair is not None:
        start, end = pair[0].total_ms, pair[1].total_ms
        return Headline(place=pair[0].place, first_ms=start, second_ms=end, ratio=end / start, low=None, high=None)
    return None


def slow_word(ratio: float) -> str:
    """What the difference in latency is called."""
    return "slowdown" if ratio >= 1 else "speed-up"


def verdict_text(metric: str, effect: Effect) -> str:
    """'significant', or in which way it is not and how many rounds or seeds would settle it."""
    what = "seeds" if metric in TRAINED else "rounds"
    floor = "noise between seeds" if metric in TRAINED else "A/A noise floor"
    settle = f"; about {effect.needed:,} {what} would settle it" if effect.needed else ""
    if effect.verdict == "within noise":
        return f"within the {floor}{settle}"
    if effect.verdict == "not settled":
        return f"not settled, the interval includes no effect{settle}"
    return effect.verdict


def answer(explanation: Explanation) -> str:
    """The one paragraph that comes first: which piece, by how much, how sure, by which mechanism, which remedy."""
    found = {
        "latency": _latency(explanation), "which piece made the difference in latency": _pieces(explanation),
        "which piece made the difference in counts": _counts(explanation), "by which mechanism": mechanism(explanation),
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
    interval = (
        "no interval" if found.low is None or found.high is None else f"95\u00a0% interval {found.low:.2f} to {found.high:.2f}"
    )
    floor = noise_floor(explanation, found.place)
    aa = "" if floor is None else f"; one network against itself stays within {times(math.exp(floor))}"
    return (
        f"**{explanation.second} takes {times(found.ratio)} the time of {explanation.first}** on {place_text(found.place)} "
        f"({number(found.second_ms)} against {number(found.first_ms)}\u00a0ms; {interval}{aa})."
    )


def _pieces(explanation: Explanation) -> str:
    """Which factors made the difference in latency, with how sure that is."""
    attribution = find(explanation, LOG, main_place(explanation)) or find(explanation, "latency_ms")
    if attribution is None:
        return ""
    order = ranked(attribution.shapley)
    sure = [(name, e) for name, e in order if e.verdict in ("significant", "exact")]
    doubt = [name for name, e in order if e.verdict not in ("significant", "exact")]
    if not sure:
        return f"None of the {len(order)} factors has an effect on latency that stands out of the noise."
    large = [(n, e) for n, e in sure if abs(share_of(attribution, e) or 0) >= LEAST_SHARE] or sure[:1]
    told = [_piece(explanation, attribution, name, effect) for name, effect in large[:3]]
    text = f"The piece that made most of it is {told[0]}"
    text += f", then {' and '.join(told[1:])}" if told[1:] else ""
    rest = f" ({', '.join(plain(n) for n in doubt)} {'is' if len(doubt) == 1 else 'are'} not)" if doubt else ""
    return f"{text}; {len(sure)} of {len(order)} factors' effects on latency are significant{rest}."


def _piece(explanation: Explanation, attribution: Attribution, name: str, effect: Effect) -> str:
    before, after = explanation.factors.get(name, ("?", "?"))
    kind = "its logarithm" if attribution.metric == LOG else "the difference"
    share = percent(share_of(attribution, effect)).lstrip("+")
    return f"**{plain(name)}** ({before} → {after}): {effect_text(attribution.metric, effect)}, {share} of {kind}"


def _counts(explanation: Explanation) -> str:
    """What made the difference in parameters and multiply-accumulates."""
    texts = []
    for metric in ("params", "macs"):
        found = find(explanation, metric)
        label = metric_of(metric).label.capitalize()
        if found is None or not found.start:
            continue
        change = percent(found.end / found.start - 1)
        told = [f"{plain(n)} {effect_text(metric, e)}" for n, e in ranked(found.shapley)[:2] if e.value]
        texts.append(f"{label} change by {change}" + (f" (most by {', then '.join(told)})." if told else "."))
    return " ".join(texts)


def best_remedy(explanation: Explanation, *, same_weights: bool = True) -> Remedy | None:
    """The remedy with the largest gain; by default of those that keep weights and outputs."""
    usable = [r for r in explanation.remedies if (r.max_error is not None) == same_weights]
    return max(usable, key=lambda r: r.gain, default=None)


def _remedy(explanation: Explanation) -> str:
    best, found = best_remedy(explanation), headline(explanation)
    if best is None or not gain_stands(best):
        return "No remedy that keeps the weights makes it faster." if explanation.remedies else ""
    gain = times_span(best.gain, best.gain_low, best.gain_high)
    text = f"The best remedy that keeps the weights is **{best.name}**: {explanation.second} becomes {gain} as fast"
    text += f", its outputs within {tiny(best.max_error)}"
    if found is None:
        return f"{text}."
    mode = next((m for m in explanation.modes if m.mode == best.name and m.ratio), None)
    left = found.ratio / best.gain
    versus = f"it then takes {times(left)} the time of {explanation.first} as it was"
    if mode is None or mode.ratio is None:
        return f"{text}; {versus}."
    verdict = f"the {slow_word(found.ratio)} {survival(explanation, mode)}"
    return f"{text}; {versus}, and with both run this way the ratio is {times(mode.ratio)}: {verdict}."


def gain_stands(remedy: Remedy) -> bool:
    """Whether the gain is above 1 with its whole interval."""
    return (remedy.gain if remedy.gain_low is None else remedy.gain_low) > 1


def survival(explanation: Explanation, mode: ModeResult) -> str:
    """Whether the eager difference 'survives', 'survives, less than half of it', 'is gone' or 'is reversed' in this mode."""
    if mode.reason:
        return "not usable here"
    eager = next((m for m in explanation.modes if m.mode == "eager"), None)
    if mode.ratio is None or eager is None or not eager.ratio or eager.ratio == 1:
        return "not measured"
    floor = noise_floor(explanation, main_place(explanation)) or 0.0
    sign = 1 if eager.ratio > 1 else -1
    ends = [mode.ratio if end is None else end for end in (mode.ratio_low, mode.ratio_high)]
    low, high = sorted(sign * math.log(end) for end in ends)
    if low <= floor:
        return "is reversed" if high < -floor else "is gone"
    share = math.log(mode.ratio) / math.log(eager.ratio)
    return "survives" if share > 0.5 else "survives, less than half of it (in logarithms)"


def name_of(attribution: Attribution) -> str:
    """'Validation loss' or 'Latency (cpu, batch 1)'."""
    label = metric_of(attribution.metric).label
    where = f" ({place_text(attribution.place)})" if attribution.place else ""
    return f"{label[0].upper()}{label[1:]}{where}"


def certainty_notes(explanation: Explanation) -> list[str]:
    """How many variants every attribution rests on, what its parts miss, its correction, and what is not significant."""
    groups: dict[tuple[int, int, str], list[Attribution]] = {}
    for a in explanation.attributions:
        groups.setdefault((a.num_variants, a.num_possible, a.corrected), []).append(a)
    texts = []
    for (num, possible, corrected), found in groups.items():
        what = f"{num} of {possible} combinations: {'; '.join(f'{name_of(a)}{_residual(a)}' for a in found)}"
        texts.append(f"{what}. {f'Several comparisons at once: {corrected}.' if corrected else ''}".rstrip())
    for a in explanation.attributions:
        weak = [f"{plain(n)} ({verdict_text(a.metric, e)})" for n, e in a.shapley.items() if e.verdict not in _SURE]
        texts += [f"{name_of(a)}, not significant: {', '.join(weak)}."] if weak else []
    return texts


def _residual(a: Attribution) -> str:
    """' (the parts miss the difference by 0.1 ms)'; that they add up to rounding is said once, on the page."""
    metric = metric_of(a.metric)
    if abs(a.residual) <= 1e-9 * max(abs(a.end - a.start), abs(a.start), 1e-30):
        return ""
    return f" (the parts miss the difference by {number(a.residual * metric.scale)} {metric.unit}".rstrip() + ")"


_SURE = ("significant", "exact")


def missing(explanation: Explanation, what: str, words: Sequence[str]) -> str:
    """'Not measured: WHAT. WHY' for a section that has nothing."""
    return f"**Not measured**: {what}. Why: {limit_on(explanation, words)}"
