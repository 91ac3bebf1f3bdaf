"""Plain sentences on effects: what each swap raises and lowers, what the answer is, how effects are judged. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ablation.attribute.effect import Effect
from ablation.record.sittings import has_enough_rounds, has_intervals
from ablation.report.kit.numbers import capital, count, joined, percent, signed, times
from ablation.report.kit.page import literal
from ablation.report.study.effect_tables import counted_signs, value_text
from ablation.report.study.rows import Row, StudyInfo
from ablation.report.study.swaps import BETTER, MISSING, MIXED, NONE, OPEN, WORSE, Judged, Swap, Within, within
from ablation.stats import NOISE

VERBS = ("raises", "lowers", "in every pair raises", "in every pair lowers")
# what is said of measures that a swap neither raises nor lowers: of several, of one
STATES = {
    MIXED: ("go up in some pairs and down in others", "goes up in some pairs and down in others"),
    NOISE: ("are within noise", "is within noise"),
    OPEN: ("are not settled", "is not settled"),
    NONE: ("do not change", "does not change"),
    MISSING: ("have no complete pair", "has no complete pair"),
}


def swap_sentence(judged: Judged, swap: Swap) -> str:
    """'**head: flatten to pooled** raises validation loss and lowers parameters; latency is within noise.', without numbers."""
    moved: dict[str, list[str]] = {}
    depending: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}
    for key, effect in swap.effects.items():
        # SSIM, which mostly mirrors the loss, and elements written are in the table
        if key not in judged.told:
            continue
        word, parts = judged.verdict(swap, key), _parts(judged, swap, key)
        if _disagree(parts):
            depending.setdefault(literal(parts[0].factor), []).append(effect.metric.label)
        elif effect.estimate and (word in (BETTER, WORSE) or (word == OPEN and parts)):
            verb = "raises" if effect.estimate.value > 0 else "lowers"
            moved.setdefault(f"in every pair {verb}" if word == OPEN else verb, []).append(effect.metric.label)
        else:
            others.setdefault(word, []).append(effect.metric.label)
    texts = [", and ".join(f"{verb} {joined(moved[verb])}" for verb in VERBS if verb in moved)]
    texts += [f"what it does to {joined(labels)} depends on {factor}" for factor, labels in depending.items()]
    texts += [f"{joined(others[word])} {STATES[word][_is_one(others[word])]}" for word in STATES if word in others]
    texts = [text for text in texts if text]
    return f"**{swap.name}**{' ' if moved else ': '}{'; '.join(texts) or 'no complete pair of networks yet'}."


def _is_one(labels: Sequence[str]) -> bool:
    return len(labels) == 1 and not (labels[0].endswith("s") and not labels[0].endswith("ss"))


def _parts(judged: Judged, swap: Swap, key: str) -> list[Within]:
    """The effect by level of the factor that it depends on most; empty where it depends on none."""
    factors = judged.depends_on(swap, key)
    parts = within(swap, key, factors[0]) if factors else []
    return parts if len(parts) > 1 else []


def _disagree(parts: Sequence[Within]) -> bool:
    """Whether a swap raises in one pair what it lowers in another."""
    return len({pair.difference > 0 for part in parts for pair in part.pairs}) > 1


def answer(judged: Judged, first: str) -> list[str]:
    """At most five sentences: the best network, what moves its metric, what that depends on, the time, the parameters."""
    texts = [first] if first else []
    lead = judged.lead
    texts += _moved(judged, [swap for swap in judged.swaps if not judged.depends_on(swap, lead)], lead)
    depending = [(swap, parts) for swap in judged.swaps if (parts := _parts(judged, swap, lead))]
    # what hides behind an average first
    depending.sort(key=lambda item: not _disagree(item[1]))
    texts += [_depending(*item) for item in depending[:1]]
    timed = [key for swap in judged.swaps[:1] for key, effect in swap.effects.items() if effect.as_ratio]
    return texts + [text for key in (*timed[:1], "params") for text in _moved(judged, judged.swaps, key)]


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
    settled.sort(key=lambda swap: -_log_factor(swap.effects[key]))
    label = settled[0].effects[key].metric.label
    names = [f"{swap.words} ({_short(swap.effects[key])})" for swap in settled[:3]]
    return [f"{capital(label)} {'changes' if _is_one([label]) else 'change'} most with {joined(names)}."]


def _log_factor(effect: Effect) -> float:
    """What effects are sorted by: the logarithm of the factor, so that a half counts as much as a double."""
    assert effect.estimate is not None
    if effect.as_ratio or effect.relative is None or effect.relative <= -1 or effect.metric.is_share:
        return abs(effect.estimate.value)
    return abs(math.log1p(effect.relative))


def _short(effect: Effect) -> str:
    assert effect.mean is not None
    if effect.as_ratio:
        return times(effect.mean)
    if effect.metric.is_share:
        return f"{signed(effect.mean, effect.metric.digits)} points"
    return signed(effect.mean, effect.metric.digits) if effect.relative is None else percent(effect.relative)


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
    texts += [_floor(judged, study, rows, key) for key in keys]
    if any(row.complete for row in rows) and all(len(row.complete) < 2 for row in rows):
        names = joined([study.metrics[key].label for key in study.compared])
        texts.append(f"One seed only: the spread of {names} over seeds is unknown, and no interaction of them is judged.")
    return texts


def _floor(judged: Judged, study: StudyInfo, rows: Sequence[Row], key: str) -> str:
    entries = [trial.latency[key] for row in rows for trial in row.trials if key in trial.latency]
    text = f"{capital(study.metric(key).label)}: {_rounds([e for e in entries if e.get('median_ms') is not None])}."
    if key not in judged.floors:
        return f"{text} The noise floor was not measured in enough sittings, so nothing is within noise."
    ratio, low, high = (times(study.latency_noise[key][name], 3) for name in ("ratio", "low", "high"))
    return (
        f"{text} A second copy of the reference took {ratio} as long as the first (95\u00a0% interval {low} to {high}): the "
        f"noise floor is {times(math.exp(judged.floors[key]), 3)} either way."
    )


def _rounds(timed: Sequence[Mapping[str, Any]]) -> str:
    rounds = [int(entry["rounds"]) for entry in timed if entry.get("rounds")]
    text = f"{min(rounds)} rounds" if rounds else "a number of rounds that was not stored"
    if timed and all(map(has_intervals, timed)):
        return f"{text} in {min(int(entry['sittings']) for entry in timed)} sittings, networks loaded anew in each"
    if timed and all(map(has_enough_rounds, timed)):
        return f"{text} in one sitting or two: too few for an interval of a network's own latency"
    return f"{text}: too few for any interval"
