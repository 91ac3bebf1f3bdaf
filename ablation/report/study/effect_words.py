"""How an effect is written: its size with enough digits, its interval or range, and what it rests on. No torch."""

from __future__ import annotations

from ablation.attribute.effect import Effect
from ablation.attribute.interaction import LEAST_SEEDS, Interaction
from ablation.attribute.pairing import is_counted
from ablation.measure.latency.statistics import LEAST_ROUNDS, LEAST_SITTINGS
from ablation.record.sittings import is_latency
from ablation.record.trial import Metric
from ablation.report.kit.numbers import MOST_DIGITS, NOTHING, count, percent, signed, times
from ablation.report.study.swaps import MISSING, NONE, OPEN, Judged, Swap, Within


def value_text(value: float, metric: Metric, as_ratio: bool) -> str:
    """A difference, or a ratio, as it is shown."""
    return times(value, 3) if as_ratio else signed(value, metric.digits)


def size(effect: Effect) -> str:
    """'−5.243 M (−56.1 %)', '×1.518 (+51.8 %)', 'no change'."""
    if effect.mean is None:
        return NOTHING
    if is_counted(effect.metric) and not any(pair.difference for pair in effect.pairs):
        return NONE
    text = value_text(effect.mean, effect.metric, effect.as_ratio)
    text = text if effect.as_ratio else f"{text}\u00a0{effect.metric.unit}".rstrip()
    is_whole = effect.as_ratio and text == times(1, 3)  # a share of what is smaller than its digits says nothing
    return text if effect.relative is None or is_whole else f"{text} ({percent(effect.relative)})"


def span(values: list[float] | tuple[float, ...], metric: Metric, as_ratio: bool) -> str:
    """'−0.0017 to +0.0263', or the one value where all are alike as printed."""
    low, high = (value_text(end, metric, as_ratio) for end in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def interval(effect: Effect) -> str:
    """'−0.0684 to +0.0355'; of a count 'range ...'; why there is no interval."""
    if effect.estimate is None:
        return NOTHING
    if is_counted(effect.metric):
        return _range(effect)
    if effect.low is None or effect.high is None:
        return "no interval"
    return span((effect.low, effect.high), effect.metric, effect.as_ratio)


def _range(effect: Effect) -> str:
    if len(effect.pairs) == 1 or not any(pair.difference for pair in effect.pairs):
        return NOTHING
    if len({round(pair.difference, MOST_DIGITS) for pair in effect.pairs}) == 1:
        return "the same in all pairs"
    return f"range {span(effect.differences, effect.metric, effect.as_ratio)}"


def rests_on(effect: Effect) -> str:
    """'8 pairs in 4 clusters, 3 seeds each'; what is missing where there is no interval."""
    if effect.estimate is None:
        return NOTHING
    pairs = count(effect.num_networks, "pair")
    if is_counted(effect.metric):
        return pairs
    clusters = effect.num_clusters
    if clusters < effect.num_networks:
        pairs += f" in {count(clusters, 'cluster')}"
    if is_latency(effect.metric):
        sittings = min(len(pair.sittings) for pair in effect.pairs)
        if sittings:
            return f"{pairs}, {count(sittings, 'sitting')}"
        return pairs if effect.over else f"{pairs}, fewer than {_lacking(effect)}"
    return f"{pairs}, {seeds(effect)}"


def _lacking(effect: Effect) -> str:
    return f"{LEAST_SITTINGS} sittings of {LEAST_ROUNDS} rounds" if effect.num_clusters == 1 else f"{LEAST_ROUNDS} rounds"


def seeds(effect: Effect) -> str:
    """'3 seeds each', '2 to 3 seeds', '1 seed'."""
    numbers = [len(pair.values) for pair in effect.pairs]
    low, high = min(numbers), max(numbers)
    if low != high:
        return f"{low} to {high} seeds"
    return count(low, "seed") + (" each" if len(numbers) > 1 and low > 1 else "")


def verdict_text(judged: Judged, swap: Swap, key: str) -> str:
    """The verdict; of an open one what would settle it."""
    word, effect = judged.verdict(swap, key), swap.effects[key]
    if word != OPEN or not effect.over:
        return "no complete pair" if word == MISSING else word
    needed = judged.needed((*swap.step, key))
    return f"{word}{_would_take(needed, effect.over)}"


def interaction_verdict(judged: Judged, interaction: Interaction, key: str) -> str:
    """The same of an interaction."""
    word = judged.of_interaction(interaction, key)
    if word != OPEN:
        return word
    if not interaction.over:
        return f"{word}: needs {_least(interaction.metric)}"
    return f"{word}{_would_take(judged.needed((*interaction.steps, key)), interaction.over)}"


def _least(metric: Metric) -> str:
    return f"{LEAST_SITTINGS} sittings" if is_latency(metric) else f"{LEAST_SEEDS} seeds"


def _would_take(needed: int | None, over: str) -> str:
    return f" (needs about {needed} {over})" if needed else ""


def counted_signs(part: Within) -> str:
    """'lower in all 4 pairs', 'higher in both pairs', 'lower in 1 of 4 pairs'."""
    lower = sum(pair.difference < 0 for pair in part.pairs)
    higher = sum(pair.difference > 0 for pair in part.pairs)
    num = len(part.pairs)
    every = {1: "the one pair", 2: "both pairs"}.get(num, f"all {num} pairs")
    if num in (lower, higher):
        return f"{'lower' if lower else 'higher'} in {every}"
    return f"lower in {lower or 'none'} of {count(num, 'pair')}"


def change(effect: Effect) -> str:
    """'by 2.2 %' of a share, 'to ×4.20' of a ratio beyond a half, 'by 0.0123' where there is no share."""
    assert effect.mean is not None
    if effect.as_ratio and effect.mean > 1.5:
        return f"to {times(effect.mean, 3)}"
    if effect.relative is not None:
        return f"by {percent(abs(effect.relative)).lstrip('+')}"
    return f"by {value_text(abs(effect.mean), effect.metric, False).lstrip('+')}"
