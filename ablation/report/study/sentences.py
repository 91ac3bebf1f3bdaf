"""Plain sentences on networks as wholes: the best of each axis, Pareto fronts, what beats the reference; with ties. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ablation.record.trial import METRICS, Metric
from ablation.report.kit.numbers import capital, count, percent, signed
from ablation.report.kit.page import literal
from ablation.report.study.rows import Row
from ablation.report.study.ties import Ties

MOST_NAMED = 8


def named(row: Row) -> str:
    """'#3 plain, separable, flatten'."""
    return f"#{row.number} {literal(row.label)}"


def listed(rows: Sequence[Row]) -> str:
    """The first eight names, and how many more there are."""
    names = "; ".join(named(row) for row in rows[:MOST_NAMED])
    return names + (f"; and {len(rows) - MOST_NAMED} more" if len(rows) > MOST_NAMED else "")


def best_sentences(rows: Sequence[Row], ties: Ties) -> list[str]:
    """The best network of each axis beside the reference, with those that tie with it; one that is not trained says so."""
    texts = []
    reference = _reference(rows)
    for key, metric in ties.axes.items():
        value, row, same = _best(rows, ties, key)
        others = f" (and {count(same, 'other')} with the same)" if ties.is_counted(key) and same else ""
        others += "" if row.complete else f" ({row.state})"
        against = _against(value, reference, metric) if row is not reference else " (the reference)"
        doubt = "" if ties.is_counted(key) else f" {_tied(rows, row, key, ties)}"
        text = f"{capital(metric.best)} {metric.label}: **{named(row)}**{others} with {_with_unit(value, metric)}"
        texts.append(f"{text}{against}.{doubt}".rstrip())
    return texts


def _reference(rows: Sequence[Row]) -> Row | None:
    return next((row for row in rows if row.is_reference), None)


def _best(rows: Sequence[Row], ties: Ties, key: str) -> tuple[float, Row, int]:
    """The best value, the first network that has it, and how many others have exactly the same."""
    having = [(value, row) for row in rows if (value := row.mean(ties.axes[key])) is not None]
    sign = 1 if ties.axes[key].lower_is_better else -1
    value, row = min(having, key=lambda pair: sign * pair[0])
    return value, row, sum(v == value for v, _ in having) - 1


def _tied(rows: Sequence[Row], best: Row, key: str, ties: Ties) -> str:
    """Which networks tie with the best one on a measured axis."""
    others = [row for row in rows if row is not best and row.mean(ties.axes[key]) is not None]
    if not others:
        return ""
    if not ties.is_judged(key):
        return f"Its lead is not judged: {ties.lacking(key)}."
    tied = [row for row in others if not ties.compare(best, row, key)]
    return f"Tied with it: {listed(tied)}." if tied else "It leads all others for certain."


def _with_unit(value: float, metric: Metric) -> str:
    return f"{value:.{metric.digits}f}\u00a0{metric.unit}".rstrip()


def _against(value: float, reference: Row | None, metric: Metric) -> str:
    base = reference.mean(metric) if reference else None
    if base is None:
        return ""
    if value == base:
        return ", the same as the reference"
    return f"; the reference has {_with_unit(base, metric)} ({_change(value, base, metric)})"


def _change(value: float, base: float, metric: Metric) -> str:
    """What it is more than the base: as a share, of what is a share itself in points."""
    if metric.is_share or base <= 0:  # a share of what is negative would have the other sign
        return f"{signed(value - base, metric.digits)} {metric.unit_of_change}".rstrip()
    return percent(value / base - 1)


def front_sentences(rows: Sequence[Row], ties: Ties) -> list[str]:
    """Which networks no other beats on what they are trained for and one cost, and on all axes at once, on each hardware."""
    axes = ties.axes
    lead = ties.lead
    name = "Loss" if axes.get(lead) == METRICS["loss"] else capital(axes[lead].label) if lead in axes else ""
    groups = {f"{name} and {axes[key].label}": [lead, key] for key in axes if lead in axes and key != lead}
    groups |= {f"All of {_labels(keys, ties)}": keys for keys in ties.groups if len(keys) > 2}
    return [f"{name}: {_front(rows, keys, ties)}" for name, keys in groups.items()]


def _front(rows: Sequence[Row], keys: Sequence[str], ties: Ties) -> str:
    front = ties.front(rows, keys)
    if not front.drawn:
        return "no network has all of these yet."
    members, off = (sorted(group, key=lambda row: row.number) for group in (front.members, front.off))
    every = len(members) == len(front.drawn) > MOST_NAMED
    names = "every one of them" if every else "; ".join(named(row) + (" (tied)" if row in front.weak else "") for row in members)
    tied = f" Tied with the front: {listed(off)}." if off else ""
    unjudged = [ties.axes[key].label for key in keys if not ties.is_judged(key)]
    doubt = f" By means alone: no interval of {' and '.join(unjudged)}." if unjudged else ""
    return f"{len(members)} of {count(len(front.drawn), 'network')} on the front: {names}.{tied}{doubt}"


def reference_sentences(rows: Sequence[Row], ties: Ties) -> list[str]:
    """Which networks are better than the reference on every axis, by means, and where their lead is a tie; on each hardware."""
    reference = _reference(rows)
    if reference is None:
        return ["The reference variant is not among the trials, so nothing is compared with it."]
    if all(reference.mean(m) is None for m in ties.axes.values()):
        return [f"The reference ({named(reference)}) has no complete trial yet, so nothing is compared with it."]
    return [text for keys in ties.groups for text in _compared(rows, reference, keys, ties)]


def _labels(keys: Sequence[str], ties: Ties) -> str:
    return ", ".join(ties.axes[key].label for key in keys)


def _compared(rows: Sequence[Row], reference: Row, keys: Sequence[str], ties: Ties) -> list[str]:
    """The networks beside the reference on these axes, as far as it has them."""
    axes = [key for key in keys if reference.mean(ties.axes[key]) is not None]
    lacking = [key for key in keys if key not in axes]
    texts = [f"The reference lacks {_labels(lacking, ties)}: not compared."] if lacking else []
    if not axes:
        return texts
    others = [row for row in rows if row is not reference]
    better = [row for row in others if all(_margin(row, reference, ties.axes[key]) < 0 for key in axes)]
    on_every_axis = f"the reference ({named(reference)}) on every axis ({_labels(axes, ties)})"
    if better:
        texts.append(f"{count(len(better), 'network')} beat{'s' if len(better) == 1 else ''} {on_every_axis}:")
        texts += [_margins(row, reference, axes, ties) for row in better]
    else:
        texts.append(f"No other network beats {on_every_axis}.")
    has_all = [row for row in others if row not in better and all(row.mean(ties.axes[key]) is not None for key in axes)]
    close = [row for row in has_all if ties.beats(row, reference, axes)]
    if close and all(ties.is_judged(key) for key in axes):
        texts.append(f"Better on some axes and tied on the others: {listed(close)}.")
    return texts


def _margin(row: Row, reference: Row, metric: Metric) -> float:
    """How much worse than the reference, relatively; infinite where the row lacks the metric, so that it never counts as better."""
    value, base = row.mean(metric), reference.mean(metric)
    if value is None or base is None:
        return math.inf
    return (1 if metric.lower_is_better else -1) * (value - base) / (abs(base) or 1.0)


def _margins(row: Row, reference: Row, keys: Sequence[str], ties: Ties) -> str:
    parts = []
    for key in keys:
        doubt = "" if ties.compare(row, reference, key) else " (tied)"
        doubt = doubt if ties.is_judged(key) else f" ({ties.lacking(key)}: not judged)"
        metric, value, base = ties.axes[key], row.mean(ties.axes[key]), reference.mean(ties.axes[key])
        parts.append(f"{metric.label} {_change(value or 0.0, base or 0.0, metric)}{doubt}")
    return f"**{named(row)}**: {', '.join(parts)}."


def lead_sentence(rows: Sequence[Row], ties: Ties) -> str:
    """Which network is the best by what they are trained for, and whether that is certain; empty before any is trained."""
    lead = ties.lead
    if lead not in ties.axes:
        return ""
    value, row, _ = _best(rows, ties, lead)
    trained = [r for r in rows if r.complete]
    text = f"Of {count(len(trained), 'network')}, **{named(row)}** has the {ties.axes[lead].best} {ties.axes[lead].label}, "
    text += _with_unit(value, ties.axes[lead])
    if len(trained) < 2:
        return f"{text}."
    if not ties.is_judged(lead):
        return f"{text}; with {ties.lacking(lead)} each, whether it leads for certain is not known."
    tied = [r for r in trained if r is not row and not ties.compare(row, r, lead)]
    if not tied:
        return f"{text}, and leads all others for certain."
    which = ", the reference among them" if any(r.is_reference for r in tied) else ""
    return f"{text}; {count(len(tied), 'other')} cannot be distinguished from it{which}."
