"""What an explanation says beside its answer: verdicts, whether the difference survives, how sure it is. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ablation.record.attribution import EXACT, Attribution, Effect
from ablation.record.explanation import SAME, VERSION, Explanation, ModeResult, Remedy
from ablation.report.explain.style import LOG, eager, find, main_place, metric_of, place_text, plain
from ablation.report.kit.numbers import capital, significant, times
from ablation.stats import NOISE, OPEN, SETTLED

EARLIER = (
    "These latencies were timed in one sitting by an earlier version of this suite, so they are shown without intervals and their "
    "verdicts are not repeated; `explain` measures them again."
)


def verdict_text(a: Attribution, effect: Effect) -> str:
    """'settled', or in which way it is not and how many sittings, blocks or seeds would settle it."""
    if effect.verdict == NOISE:
        return f"within the {'noise between seeds' if a.trained else 'A/A noise floor'}"
    if effect.verdict != OPEN:
        return effect.verdict
    if effect.low is None:
        return "not settled: no interval"
    units = effect.of or ("seeds" if a.trained else "sittings")
    return "not settled" + (f"; about {effect.needed:,} {units} would settle it" if effect.needed else "")


def survival(explanation: Explanation, mode: ModeResult) -> str:
    """Whether the eager difference 'survives', 'survives, less than half of it', 'is gone' or 'is reversed' in this mode."""
    if mode.reason:
        return "not usable here"
    as_built = eager(explanation)
    if mode.ratio is None or as_built is None or not as_built.ratio or as_built.ratio == 1:
        return "not measured"
    if mode.ratio_low is None or mode.ratio_high is None:
        return "not settled: no interval"
    left = math.log(mode.ratio) / math.log(as_built.ratio)
    verdict = mode.ratio_verdict or _verdict(explanation, math.log(mode.ratio_low), math.log(mode.ratio_high))
    if verdict == NOISE:
        return "is gone"
    if verdict != SETTLED:
        return "not settled"
    if left < 0:
        return "is reversed"
    return "survives" if left > 0.5 else "survives, less than half of it (in logarithms)"


def _verdict(explanation: Explanation, low: float, high: float) -> str:
    """Of one interval of a logarithm by itself, where no verdict was stored."""
    noise = explanation.noise.get(main_place(explanation))
    floor = max(abs(math.log(noise[end])) for end in ("ratio", "low", "high")) if noise else 0.0
    return SETTLED if low > floor or high < -floor else NOISE if -floor <= low and high <= floor else OPEN


def gain_stands(remedy: Remedy) -> bool:
    """Whether the gain is above 1 with its whole interval."""
    return remedy.gain_low is not None and remedy.gain_low > 1


def best_remedy(explanation: Explanation) -> Remedy | None:
    """The remedy with the largest gain: of ways of running that keep the function, or else of others with the same weights."""
    usable = [r for r in explanation.remedies if r.max_error is not None]
    kept = [r for r in usable if r.keeps in ("", SAME)]
    return max(kept or usable, key=lambda r: r.gain, default=None)


def name_of(attribution: Attribution) -> str:
    """'Validation loss' or 'Latency (cpu, batch 1)'."""
    label = metric_of(attribution).label
    return capital(label) + (f" ({place_text(attribution.place)})" if attribution.place else "")


def certainty_notes(explanation: Explanation) -> list[str]:
    """On how many variants every attribution rests, what its parts miss, its correction, and what is not settled."""
    groups: dict[tuple[str, str], list[str]] = {}
    for a in explanation.attributions:
        basis = f"{_basis(a)} from {a.num_variants} of {a.num_possible} combinations"
        groups.setdefault((basis, a.corrected), []).append(f"{name_of(a)}{_residual(a)}")
    notes = [
        f"{basis}: {'; '.join(names)}.{f' Verdicts: {corrected}.' if corrected else ''}"
        for (basis, corrected), names in groups.items()
    ]
    notes += [note for a in explanation.attributions if (note := _unsettled(a))]
    return [*notes, *opposed_signs(explanation)]


def _unsettled(a: Attribution) -> str:
    weak: dict[str, list[str]] = {}
    for name, effect in a.shapley.items():
        if not effect.sure:
            weak.setdefault(verdict_text(a, effect), []).append(plain(name))
    texts = [f"{'all effects' if len(n) == len(a.shapley) else ', '.join(n)} {reason}" for reason, n in weak.items()]
    return f"{name_of(a)}: {'; '.join(texts)}." if texts else ""


def _basis(a: Attribution) -> str:
    """'Counted exactly', 'Measured over 5 sittings' or 'Estimated over 12 blocks'."""
    effect = next(iter(a.shapley.values()), None)
    over = f" over {effect.num} {effect.of}" if effect is not None and effect.num and effect.of else ""
    return capital("counted exactly" if a.kind == EXACT else a.kind) + over


def opposed_signs(explanation: Explanation) -> list[str]:
    """Factors whose effect is a gain as a ratio and a loss in ms, or the other way round, and why that can be."""
    texts = []
    for log in (a for a in explanation.attributions if a.metric == LOG):
        ms = find(explanation, "latency_ms", log.place)
        in_ms = ms.shapley if ms else {}
        names = [plain(name) for name, e in log.shapley.items() if name in in_ms and e.value * in_ms[name].value < 0]
        if names:
            texts.append(
                f"{', '.join(names)}: as a ratio and in milliseconds the effect has opposite signs ({place_text(log.place)}), "
                "because it differs between networks, and milliseconds weigh slow networks more."
            )
    return texts


def own_ratio(explanation: Explanation, ratio: float, place: str) -> list[str]:
    """The attribution's ratio beside the headline's at this place, which is of other sittings."""
    log = find(explanation, LOG, main_place(explanation))
    if log is None or place != log.place:
        return []
    return [
        f"The pieces multiply up to {times(math.exp(log.end - log.start))}, the ratio in the sittings of this attribution; "
        f"{times(ratio)} is from the sittings of the ways of running."
    ]


def _residual(a: Attribution) -> str:
    """' (the parts miss the difference by 0.1 ms)'; that they add up to rounding is said once, on the page."""
    metric = metric_of(a)
    if abs(a.residual) <= 1e-9 * max(abs(a.end - a.start), abs(a.start), 1e-30):
        return ""
    return f" (the parts miss the difference by {significant(a.residual * metric.scale)} {metric.unit}".rstrip() + ")"


def earlier(explanation: Explanation) -> str:
    """What a page says of an explanation of version 1; empty of a later one, or where nothing was timed."""
    timed = bool(explanation.modes or explanation.sweep or find(explanation, LOG))
    return EARLIER if explanation.version < VERSION and timed else ""


def missing(explanation: Explanation, section: str, words: Iterable[str]) -> str:
    """'Not measured: SECTION. REASON' for a section that has nothing."""
    return f"**Not measured**: {section}. Why: {limit_on(explanation, words)}"


def limit_on(explanation: Explanation, words: Iterable[str]) -> str:
    """The limits that speak of the first of these words that any speaks of; a plain statement where none does."""
    speaking = ([limit for limit in explanation.limits if word.lower() in limit.lower()] for word in words)
    return " ".join(next(filter(None, speaking), ["no reason was stored."]))
