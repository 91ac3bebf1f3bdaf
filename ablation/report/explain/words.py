"""What an explanation says beside its answer: verdicts, whether the difference survives, how sure it is. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ablation.record.attribution import EXACT, TRAINED, Attribution, Effect
from ablation.record.explanation import VERSION, Explanation, ModeResult
from ablation.report.explain.answer import (
    REASONS,
    Headline,
    answer,
    best_remedy,
    fraction_left,
    gain_stands,
    headline,
    interval_text,
    slow_word,
)
from ablation.report.explain.style import LOG, find, limit_on, main_place, metric_of, noise_floor, number, place_text, plain, times
from ablation.stats import NOISE, OPEN, SETTLED

__all__ = [
    "REASONS",
    "Headline",
    "answer",
    "best_remedy",
    "certainty_notes",
    "gain_stands",
    "headline",
    "interval_text",
    "slow_word",
    "survival",
    "verdict_text",
]
EARLIER = (
    "These latencies were timed in one sitting by an earlier version of this suite, so they are shown without intervals and their "
    "verdicts are not repeated; `explain` measures them again."
)


def verdict_text(metric: str, effect: Effect) -> str:
    """'settled', or in which way it is not and how many sittings, blocks or seeds would settle it."""
    if effect.verdict == NOISE:
        return f"within the {'noise between seeds' if metric in TRAINED else 'A/A noise floor'}"
    if effect.verdict != OPEN:
        return effect.verdict
    what = effect.of or ("seeds" if metric in TRAINED else "sittings")
    if effect.low is None:
        return "not settled: no interval"
    return "not settled" + (f"; about {effect.needed:,} {what} would settle it" if effect.needed else "")


def survival(explanation: Explanation, mode: ModeResult) -> str:
    """Whether the eager difference 'survives', 'survives, less than half of it', 'is gone' or 'is reversed' in this mode."""
    if mode.reason:
        return "not usable here"
    eager = next((m for m in explanation.modes if m.mode == "eager"), None)
    if mode.ratio is None or eager is None or not eager.ratio or eager.ratio == 1:
        return "not measured"
    if mode.ratio_low is None or mode.ratio_high is None:
        return "not settled: no interval"
    sign = 1 if eager.ratio > 1 else -1
    low, high = sorted(sign * math.log(end) for end in (mode.ratio_low, mode.ratio_high))
    verdict = mode.ratio_verdict or _verdict(low, high, noise_floor(explanation, main_place(explanation)) or 0.0)
    if verdict == NOISE:
        return "is gone"
    if verdict != SETTLED:
        return "not settled"
    if sign * math.log(mode.ratio) < 0:
        return "is reversed"
    return "survives" if fraction_left(mode, eager) > 0.5 else "survives, less than half of it (in logarithms)"


def _verdict(low: float, high: float, floor: float) -> str:
    """Of one interval by itself, where no verdict was stored."""
    return SETTLED if low > floor or high < -floor else NOISE if -floor <= low and high <= floor else OPEN


def name_of(attribution: Attribution) -> str:
    """'Validation loss' or 'Latency (cpu, batch 1)'."""
    label = metric_of(attribution.metric).label
    where = f" ({place_text(attribution.place)})" if attribution.place else ""
    return f"{label[0].upper()}{label[1:]}{where}"


def certainty_notes(explanation: Explanation) -> list[str]:
    """On how many variants every attribution rests, what its parts miss, its correction, and what is not settled."""
    groups: dict[tuple[str, int, int, str], list[Attribution]] = {}
    for a in explanation.attributions:
        groups.setdefault((_basis(a), a.num_variants, a.num_possible, a.corrected), []).append(a)
    texts = []
    for (basis, num, possible, corrected), found in groups.items():
        what = f"{basis} from {num} of {possible} combinations: {'; '.join(f'{name_of(a)}{_residual(a)}' for a in found)}"
        texts.append(f"{what}. {f'Verdicts: {corrected}.' if corrected else ''}".rstrip())
    for a in explanation.attributions:
        weak: dict[str, list[str]] = {}
        for name, effect in a.shapley.items():
            if not effect.sure:
                weak.setdefault(verdict_text(a.metric, effect), []).append(plain(name))
        texts += [f"{name_of(a)}: {'; '.join(f'{_names(names, a)} {why}' for why, names in weak.items())}."] if weak else []
    return [*texts, *opposed_signs(explanation), *_own_ratio(explanation)]


def _names(names: Sequence[str], a: Attribution) -> str:
    return "all effects" if len(names) == len(a.shapley) else ", ".join(names)


def _basis(a: Attribution) -> str:
    """'Exact', 'Measured over 5 sittings' or 'Estimated over 12 blocks'."""
    effect = next(iter(a.shapley.values()), None)
    over = f" over {effect.num} {effect.of}" if effect is not None and effect.num and effect.of else ""
    kind = "counted exactly" if a.kind == EXACT else a.kind
    return f"{kind[0].upper()}{kind[1:]}{over}"


def opposed_signs(explanation: Explanation) -> list[str]:
    """Factors whose effect is a gain as a ratio and a loss in ms, or the other way round, and why that can be."""
    texts = []
    for log in (a for a in explanation.attributions if a.metric == LOG):
        ms = find(explanation, "latency_ms", log.place)
        both = {n: (e.value, ms.shapley[n].value) for n, e in log.shapley.items() if ms is not None and n in ms.shapley}
        names = [plain(name) for name, (ratio, difference) in both.items() if ratio * difference < 0]
        if names:
            texts.append(
                f"{', '.join(names)}: as a ratio and in milliseconds the effect has opposite signs ({place_text(log.place)}), "
                "because it differs between networks, and milliseconds weigh slow networks more."
            )
    return texts


def _own_ratio(explanation: Explanation) -> list[str]:
    """The attribution's ratio beside the headline's, which is of other sittings."""
    log, found = find(explanation, LOG, main_place(explanation)), headline(explanation)
    if log is None or found is None or found.place != log.place:
        return []
    return [
        f"The pieces multiply up to {times(math.exp(log.end - log.start))}, the ratio in the sittings of this attribution; "
        f"{times(found.ratio)} is from the sittings of the ways of running."
    ]


def _residual(a: Attribution) -> str:
    """' (the parts miss the difference by 0.1 ms)'; that they add up to rounding is said once, on the page."""
    metric = metric_of(a.metric)
    if abs(a.residual) <= 1e-9 * max(abs(a.end - a.start), abs(a.start), 1e-30):
        return ""
    return f" (the parts miss the difference by {number(a.residual * metric.scale)} {metric.unit}".rstrip() + ")"


def earlier(explanation: Explanation) -> str:
    """What a page says of an explanation of version 1; empty of a later one, or where nothing was timed."""
    timed = bool(explanation.modes or explanation.sweep or find(explanation, LOG))
    return EARLIER if explanation.version < VERSION and timed else ""


def missing(explanation: Explanation, what: str, words: Sequence[str]) -> str:
    """'Not measured: WHAT. WHY' for a section that has nothing."""
    return f"**Not measured**: {what}. Why: {limit_on(explanation, words)}"
