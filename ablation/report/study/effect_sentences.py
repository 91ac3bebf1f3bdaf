"""Plain sentences on effects: what a swap raises and lowers, where that depends on another factor, how it is judged. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ablation.attribute.effect import Effect
from ablation.record.sittings import has_enough_rounds, has_intervals
from ablation.record.trial import METRICS
from ablation.report.kit.numbers import count, joined, percent, times
from ablation.report.kit.page import literal
from ablation.report.study.effect_words import change, counted_signs, size, span, value_text
from ablation.report.study.rows import Row, StudyInfo, latency_of
from ablation.report.study.swaps import BETTER, MISSING, MIXED, NOISE, NONE, OPEN, TRAINED, WORSE, Judged, Swap, Within, within


def swap_sentences(judged: Judged) -> list[str]:
    """For each swap its name and: where it depends on another factor, what it raises and lowers, what is not settled."""
    return [f"**{swap.name}**: {' '.join(_swap(judged, swap)) or 'No complete pair of networks yet.'}" for swap in judged.swaps]


def _swap(judged: Judged, swap: Swap) -> list[str]:
    # SSIM, which mostly mirrors the loss, and elements written are in the table
    keys = [key for key in swap.effects if key not in ("ssim", "elements_written")]
    depends = {key: text for key in keys if (text := dependence(judged, swap, key))}
    words: dict[str, list[str]] = {}
    for key in (key for key in keys if key not in depends):
        words.setdefault(judged.verdict(swap, key), []).append(key)
    settled = [key for key in keys if key in (*words.get(BETTER, ()), *words.get(WORSE, ()))]
    alike = [key for key in words.get(OPEN, ()) if _parts(judged, swap, key)]
    texts = [*depends.values(), *(_alike(judged, swap, key) for key in alike)]
    texts += [_moves(judged, swap, settled)] if settled else []
    for word, head in (
        (MIXED, "Up in some pairs, down in others"), (NOISE, "Within noise"), (OPEN, "Not settled"), (NONE, "No change"),
        (MISSING, "No complete pair"),
    ):  # fmt: skip
        labels = [_with_size(swap.effects[key]) for key in words.get(word, ()) if key not in alike]
        texts += [f"{head}: {', '.join(labels)}."] if labels else []
    return texts


def _timed(swap: Swap) -> list[str]:
    return [key for key, effect in swap.effects.items() if effect.as_ratio]


def _with_size(effect: Effect) -> str:
    return effect.metric.label if effect.mean is None or size(effect) == NONE else f"{effect.metric.label} {size(effect)}"


def _moves(judged: Judged, swap: Swap, keys: Sequence[str]) -> str:
    """'It raises validation loss by 7.6 %, and lowers parameters by 61.3 %.'"""
    parts = []
    for verb, sign in (("raises", 1), ("lowers", -1)):
        moved = [_moved_by(judged, swap, key) for key in keys if (e := swap.effects[key].estimate) and e.value * sign > 0]
        parts += [f"{verb} {joined(moved)}"] if moved else []
    return f"It {', and '.join(parts)}."


def _moved_by(judged: Judged, swap: Swap, key: str) -> str:
    """'latency to ×4.204 (×4.760 with conv standard, ×3.713 with pointwise_first)'."""
    effect, levels = swap.effects[key], _levels(judged, swap, key)
    return f"{effect.metric.label} {change(effect)}" + (f" ({levels})" if levels else "")


def _alike(judged: Judged, swap: Swap, key: str) -> str:
    """An effect of one sign that another factor makes larger or smaller for certain, so that its average is not settled."""
    effect = swap.effects[key]
    assert effect.estimate is not None
    assert effect.mean is not None
    verb = "raises" if effect.estimate.value > 0 else "lowers"
    average = value_text(effect.mean, effect.metric, effect.as_ratio)
    return f"In every pair it {verb} {effect.metric.label}: {_levels(judged, swap, key)}; the average, {average}, is not settled."


def _levels(judged: Judged, swap: Swap, key: str) -> str:
    """'+0.0885 with connectivity plain, +0.0337 with dense', where that is settled."""
    parts, effect = _parts(judged, swap, key), swap.effects[key]
    names = [literal(f"{parts[0].factor} {part.level}" if not n else part.level) for n, part in enumerate(parts)]
    return ", ".join(
        f"{value_text(part.mean, effect.metric, effect.as_ratio)} with {name}" for part, name in zip(parts, names, strict=True)
    )


def dependence(judged: Judged, swap: Swap, key: str) -> str:
    """Where a swap raises in some pairs what it lowers in others, by a factor for certain: each of its levels, then the average."""
    parts, effect = _parts(judged, swap, key), swap.effects[key]
    if not _disagree(parts) or effect.mean is None:
        return ""
    levels = "; ".join(f"with {literal(part.level)} {_part(part)}" for part in parts)
    average = f"averaged over all pairs {value_text(effect.mean, effect.metric, effect.as_ratio)}, {judged.verdict(swap, key)}"
    return f"Its effect on {effect.metric.label} depends on {literal(parts[0].factor)}: {levels}; {average}."


def _parts(judged: Judged, swap: Swap, key: str) -> list[Within]:
    factors = judged.depends_on(swap, key)
    parts = within(swap, key, factors[0]) if factors else []
    return parts if len(parts) > 1 else []


def _disagree(parts: Sequence[Within]) -> bool:
    """Whether a swap raises in one pair what it lowers in another."""
    return len({pair.difference > 0 for part in parts for pair in part.pairs}) > 1


def _part(part: Within) -> str:
    effect = part.effect
    return f"it is {counted_signs(part)} ({span(part.differences, effect.metric, effect.as_ratio)})"


def judging_sentences(judged: Judged, rows: Sequence[Row], study: StudyInfo, keys: Sequence[str]) -> list[str]:
    """What the intervals rest on, what noise is, and how verdicts are made."""
    texts = [
        "Interval: 95\u00a0% Student's t over clusters of pairs, networks that share a network being one cluster; where all pairs "
        "are one cluster, over seeds, of latency over sittings. What is counted (parameters, multiply-accumulates, elements "
        "written) is exact and has a range over pairs instead.",
    ]
    if judged.family:
        texts.append(
            f"Verdict: {count(len(judged.family), 'measured effect')} and interactions have an interval and are judged together "
            "(Holm): the chance that any of them is settled by chance alone is at most 5\u00a0%. Better or worse: the corrected "
            "interval lies outside of the noise floor. Within noise: the interval lies inside. Not settled: neither, or no "
            "interval; in brackets about how many would settle an effect as large as this one."
        )
    for key in keys:
        texts.append(_floor(judged, study, rows, key))
    if any(row.complete for row in rows) and all(len(row.complete) < 2 for row in rows):
        names = joined([METRICS[key].label for key in TRAINED])
        texts.append(f"One seed only: the spread of {names} over seeds is unknown, and no interaction of them is judged.")
    return texts


def _floor(judged: Judged, study: StudyInfo, rows: Sequence[Row], key: str) -> str:
    name = latency_of(key).label.capitalize()
    entries = [trial.latency[key] for row in rows for trial in row.trials if key in trial.latency]
    timed = [entry for entry in entries if entry.get("median_ms") is not None]
    rounds = [int(entry["rounds"]) for entry in timed if entry.get("rounds")]
    how = f"{min(rounds)} rounds" if rounds else "a number of rounds that was not stored"
    if timed and all(has_intervals(entry) for entry in timed):
        how += f" in {min(int(entry['sittings']) for entry in timed)} sittings, networks loaded anew in each"
    elif timed and all(has_enough_rounds(entry) for entry in timed):
        how += " in one sitting or two: too few for an interval of a network's own latency"
    else:
        how += ": too few for any interval"
    floor = judged.floors.get(key)
    if floor is None:
        return f"{name}: {how}. The noise floor was not measured in enough sittings, so nothing is within noise."
    aa = study.latency_noise[key]
    return (
        f"{name}: {how}. A second copy of the reference took ×{aa['ratio']:.3f} as long as the first (95\u00a0% interval "
        f"×{aa['low']:.3f} to ×{aa['high']:.3f}): the noise floor is ×{math.exp(floor):.3f} either way."
    )


def answer(judged: Judged, lead: str) -> list[str]:
    """At most five sentences: the best network, what moves the loss, what that depends on, the time, the parameters."""
    texts = [lead] if lead else []
    texts += _moved(judged, [swap for swap in judged.swaps if not judged.depends_on(swap, "loss")], "loss")
    depending = [(swap, parts) for swap in judged.swaps if (parts := _parts(judged, swap, "loss"))]
    # what hides behind an average first
    depending.sort(key=lambda item: not _disagree(item[1]))
    texts += [_depending(*item) for item in depending[:1]]
    for key in (*(_timed(judged.swaps[0])[:1] if judged.swaps else []), "params"):
        texts += _moved(judged, judged.swaps, key)
    return texts


def _depending(swap: Swap, parts: Sequence[Within]) -> str:
    effect = parts[0].effect
    levels = [
        f"with {literal(p.level)} it is {counted_signs(p)} (mean {value_text(p.mean, effect.metric, effect.as_ratio)})"
        for p in parts
    ]
    return f"What {swap.words} does to {effect.metric.label} depends on {literal(parts[0].factor)}: {joined(levels)}."


def _moved(judged: Judged, swaps: Sequence[Swap], key: str) -> list[str]:
    """'Parameters change most with conv from standard to pointwise_first (−61.3 %).', the three largest that are settled."""
    settled = [swap for swap in swaps if judged.verdict(swap, key) in (BETTER, WORSE)]
    if not settled:
        return []
    settled.sort(key=lambda swap: -_factor(swap.effects[key]))
    label = settled[0].effects[key].metric.label
    verb = "change" if label.endswith("s") and not label.endswith("ss") else "changes"
    names = [f"{swap.words} ({_short(swap.effects[key])})" for swap in settled[:3]]
    return [f"{label[0].upper()}{label[1:]} {verb} most with {joined(names)}."]


def _factor(effect: Effect) -> float:
    """What effects are sorted by: the logarithm of the factor, so that a half counts as much as a double."""
    assert effect.estimate is not None
    if effect.as_ratio or effect.relative is None or effect.relative <= -1:
        return abs(effect.estimate.value)
    return abs(math.log1p(effect.relative))


def _short(effect: Effect) -> str:
    assert effect.mean is not None
    if effect.as_ratio:
        return times(effect.mean)
    return percent(effect.relative) if effect.relative is not None else value_text(effect.mean, effect.metric, False)
