"""The effects and interactions of a study as tables for its page. No torch."""

from __future__ import annotations

from collections.abc import Iterator

from ablation.attribute.interaction import Interaction
from ablation.report.kit.numbers import NOTHING, count
from ablation.report.kit.page import Table
from ablation.report.study.effect_words import (
    counted_signs,
    interaction_verdict,
    interval,
    rests_on,
    size,
    span,
    value_text,
    verdict_text,
)
from ablation.report.study.swaps import OPEN, Judged, Swap, Within, within

EFFECTS = ("swap", "measure", "effect", "95\u00a0% t interval, or range", "verdict", "rests on")
INTERACTIONS = ("swap", "together with", "measure", "beyond the sum", "95\u00a0% t interval", "verdict", "rests on")
# beyond this many lines only what is settled is listed
MOST_LINES = 40


def effects_table(judged: Judged) -> Table:
    """A line for each swap and measure; where another factor matters (the one that does most), its levels before the average."""
    lines = [line for swap in judged.swaps for key in swap.effects for line in _lines(judged, swap, key)]
    # the name of a swap once
    shown = [line if not n or line[0] != lines[n - 1][0] else ["", *line[1:]] for n, line in enumerate(lines)]
    return Table(EFFECTS, [False, False, True, True, False, False], shown)


def _lines(judged: Judged, swap: Swap, key: str) -> Iterator[list[str]]:
    effect, depends = swap.effects[key], judged.depends_on(swap, key)
    for factor in depends[:1]:
        for part in within(swap, key, factor):
            yield [swap.name, f"{effect.metric.label}, with {factor} {part.level}", *_within(part)]
    average = ", average over all pairs" if depends else ""
    yield [
        swap.name, effect.metric.label + average, size(effect), interval(effect), verdict_text(judged, swap, key), rests_on(effect)
    ]  # fmt: skip


def _within(part: Within) -> list[str]:
    effect = part.effect
    spread = f"range {span(part.differences, effect.metric, effect.as_ratio)}" if len(part.pairs) > 1 else NOTHING
    return [value_text(part.mean, effect.metric, effect.as_ratio), spread, counted_signs(part), count(len(part.pairs), "pair")]


def interactions_table(judged: Judged) -> tuple[Table | None, int]:
    """A line for each pair of swaps and measure, and how many lines that are not settled were left out for length."""
    every = [(key, i) for key, found in judged.interactions.items() for i in found]
    every.sort(key=lambda item: str(item[1].steps))
    kept = [item for item in every if judged.of_interaction(item[1], item[0]) != OPEN] if len(every) > MOST_LINES else every
    if not kept:
        return None, len(every)
    lines = [_interaction(judged, key, interaction) for key, interaction in kept]
    return Table(INTERACTIONS, [False, False, False, True, True, False, False], lines), len(every) - len(kept)


def _interaction(judged: Judged, key: str, found: Interaction) -> list[str]:
    estimate = found.estimate.exp() if found.as_ratio else found.estimate
    ends = (estimate.low, estimate.high)
    text = "no interval" if None in ends else span([e for e in ends if e is not None], found.metric, found.as_ratio)
    names = [f"{factor}: {a} to {b}" for factor, a, b in found.steps]
    size = value_text(estimate.value, found.metric, found.as_ratio)
    return [*names, found.metric.label, size, text, interaction_verdict(judged, found, key), _rests(found)]


def _rests(found: Interaction) -> str:
    four = f"{count(found.num_contexts, 'set')} of 4 networks"
    if not found.over:
        return four
    return f"{four}, {count(found.estimate.num, found.over.removesuffix('s'))}"
