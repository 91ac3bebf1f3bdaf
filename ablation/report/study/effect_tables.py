"""The effects and interactions of a study as tables: size, interval or range, verdict, and what each rests on. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ablation.attribute.effect import Effect
from ablation.attribute.interaction import LEAST_SEEDS, Interaction
from ablation.attribute.pairing import is_counted
from ablation.record.sittings import is_latency
from ablation.record.trial import Metric
from ablation.report.kit.numbers import MOST_DIGITS, NOTHING, count, percent, signed, times
from ablation.report.kit.page import Table
from ablation.report.study.swaps import MISSING, NONE, OPEN, Judged, Swap, Within, within
from ablation.stats import LEAST_ROUNDS, LEAST_SITTINGS

INTERVAL = "95\u00a0% t interval"
EFFECTS = ("measure", "effect", f"{INTERVAL}, or range", "verdict", "rests on")
INTERACTIONS = ("swap", "together with", "measure", "beyond the sum", INTERVAL, "verdict", "rests on")
# beyond this many lines only what is settled is listed
MOST_LINES = 40


def effects_table(judged: Judged, swap: Swap) -> Table:
    """A line for each measure; where another factor matters (the one that does most), its levels before the average."""
    lines = [line for key in swap.effects for line in _effect_lines(judged, swap, key)]
    return Table(EFFECTS, [False, True, True, False, False], lines)


def _effect_lines(judged: Judged, swap: Swap, key: str) -> Iterator[list[str]]:
    effect, depends = swap.effects[key], judged.depends_on(swap, key)
    label = effect.metric.label
    for factor in depends[:1]:
        for part in within(swap, key, factor):
            yield [f"{label}, with {factor} {part.level}", *_within(part)]
    label += ", average over all pairs" if depends else ""
    yield [label, size(effect), interval(effect), verdict_text(judged, swap, key), rests_on(effect)]


def _within(part: Within) -> list[str]:
    metric, as_ratio = part.effect.metric, part.effect.as_ratio
    spread = f"range {span(part.differences, metric, as_ratio)}" if len(part.pairs) > 1 else NOTHING
    return [value_text(part.mean, metric, as_ratio), spread, counted_signs(part), count(len(part.pairs), "pair")]


def value_text(value: float, metric: Metric, as_ratio: bool) -> str:
    """A difference, or a ratio, as it is shown."""
    return times(value, 3) if as_ratio else signed(value, metric.digits)


def span(values: Iterable[float], metric: Metric, as_ratio: bool) -> str:
    """'−0.0017 to +0.0263', or the one value where all are alike as printed."""
    ordered = sorted(values)
    low, high = (value_text(end, metric, as_ratio) for end in (ordered[0], ordered[-1]))
    return low if low == high else f"{low} to {high}"


def size(effect: Effect) -> str:
    """'−5.243 M (−56.1 %)', '×1.518 (+51.8 %)', 'no change'."""
    if effect.mean is None:
        return NOTHING
    if is_counted(effect.metric) and not any(pair.difference for pair in effect.pairs):
        return NONE
    text = value_text(effect.mean, effect.metric, effect.as_ratio)
    text = text if effect.as_ratio else f"{text}\u00a0{effect.metric.unit_of_change}".rstrip()
    is_whole = effect.as_ratio and text == times(1, 3)  # a share of what is smaller than its digits says nothing
    return (
        text
        if effect.relative is None or is_whole or (effect.metric.is_share and not effect.as_ratio)
        else f"{text} ({percent(effect.relative)})"
    )


def interval(effect: Effect) -> str:
    """'−0.0684 to +0.0355'; of a count 'range ...'; why there is no interval."""
    if effect.estimate is None:
        return NOTHING
    if is_counted(effect.metric):
        differences = {round(pair.difference, MOST_DIGITS) for pair in effect.pairs}
        if len(effect.pairs) == 1 or differences == {0}:
            return NOTHING
        same = len(differences) == 1
        return "the same in all pairs" if same else f"range {span(effect.differences, effect.metric, effect.as_ratio)}"
    if effect.low is None or effect.high is None:
        return "no interval"
    return span((effect.low, effect.high), effect.metric, effect.as_ratio)


def rests_on(effect: Effect) -> str:
    """'8 pairs in 4 clusters, 3 seeds each'; what is missing where there is no interval."""
    if effect.estimate is None:
        return NOTHING
    pairs, clusters = count(effect.num_networks, "pair"), effect.num_clusters
    if is_counted(effect.metric):
        return pairs
    pairs += f" in {count(clusters, 'cluster')}" if clusters < effect.num_networks else ""
    if not is_latency(effect.metric):
        return f"{pairs}, {_seeds(effect)}"
    if sittings := min(len(pair.sittings) for pair in effect.pairs):
        return f"{pairs}, {count(sittings, 'sitting')}"
    needed = f"{LEAST_SITTINGS} sittings of {LEAST_ROUNDS} rounds" if clusters == 1 else f"{LEAST_ROUNDS} rounds"
    return pairs if effect.over else f"{pairs}, fewer than {needed}"


def _seeds(effect: Effect) -> str:
    """'3 seeds each', '2 to 3 seeds', '1 seed'."""
    numbers = [len(pair.values) for pair in effect.pairs]
    low, high = min(numbers), max(numbers)
    if low != high:
        return f"{low} to {high} seeds"
    return count(low, "seed") + (" each" if len(numbers) > 1 and low > 1 else "")


def counted_signs(part: Within) -> str:
    """'lower in all 4 pairs', 'higher in both pairs', 'lower in 1 of 4 pairs'."""
    lower, higher = (sum(pair.difference * sign > 0 for pair in part.pairs) for sign in (-1, 1))
    num = len(part.pairs)
    every = {1: "the one pair", 2: "both pairs"}.get(num, f"all {num} pairs")
    if num in (lower, higher):
        return f"{'lower' if lower else 'higher'} in {every}"
    return f"lower in {lower or 'none'} of {count(num, 'pair')}"


def verdict_text(judged: Judged, swap: Swap, key: str) -> str:
    """The verdict; of an open one what would settle it."""
    word, over = judged.verdict(swap, key), swap.effects[key].over
    if word == MISSING:
        return "no complete pair"
    return word + (_would_take(judged, (*swap.step, key), over) if word == OPEN and over else "")


def _would_take(judged: Judged, name: tuple[object, ...], over: str) -> str:
    needed = judged.needed(name)
    return f" (needs about {needed} {over})" if needed else ""


def interactions_table(judged: Judged) -> tuple[Table | None, int]:
    """A line for each pair of swaps and measure, and how many lines that are not settled were left out for length."""
    every = [(key, i) for key, interactions in judged.interactions.items() for i in interactions]
    every.sort(key=lambda item: str(item[1].steps))
    kept = [item for item in every if judged.of_interaction(item[1], item[0]) != OPEN] if len(every) > MOST_LINES else every
    if not kept:
        return None, len(every)
    lines = [_interaction(judged, key, interaction) for key, interaction in kept]
    return Table(INTERACTIONS, [False, False, False, True, True, False, False], lines), len(every) - len(kept)


def _interaction(judged: Judged, key: str, interaction: Interaction) -> list[str]:
    metric, as_ratio, over = interaction.metric, interaction.as_ratio, interaction.over
    estimate = interaction.estimate.exp() if as_ratio else interaction.estimate
    known = estimate.low is not None and estimate.high is not None
    ends = span((estimate.low, estimate.high), metric, as_ratio) if known else "no interval"  # type: ignore[arg-type]
    names = [f"{factor}: {before} to {after}" for factor, before, after in interaction.steps]
    word = judged.of_interaction(interaction, key)
    if word == OPEN and over:
        word += _would_take(judged, (*interaction.steps, key), over)
    elif word == OPEN:
        word += f": needs {LEAST_SITTINGS} sittings" if is_latency(metric) else f": needs {LEAST_SEEDS} seeds"
    rests = f"{count(interaction.num_contexts, 'set')} of 4 networks"
    rests += f", {count(interaction.estimate.num, over.removesuffix('s'))}" if over else ""
    return [*names, metric.label, value_text(estimate.value, metric, as_ratio), ends, word, rests]
