"""Plain sentences on networks as wholes: the best of each axis, Pareto fronts, what beats the reference; with ties. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ablation.record.trial import METRICS, Metric
from ablation.report.kit.numbers import count, percent
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
    reference = next((row for row in rows if row.is_reference), None)
    for key, metric in ties.axes.items():
        value, row, tied = _best(rows, ties, key)
        others = f" (and {count(tied, 'other')} with the same)" if ties.is_counted(key) and tied else ""
        others += "" if row.complete else f" ({row.state})"
        against = _against(value, reference, metric) if row is not reference else " (the reference)"
        doubt = "" if ties.is_counted(key) else f" {_tied(rows, row, key, ties)}"
        texts.append(f"Lowest {metric.label}: **{named(row)}**{others} with {_with_unit(value, metric)}{against}.{doubt}".rstrip())
    return texts


def _best(rows: Sequence[Row], ties: Ties, key: str) -> tuple[float, Row, int]:
    """The lowest value, the first network that has it, and how many others have exactly the same."""
    having = [(value, row) for row in rows if (value := row.mean(ties.axes[key])) is not None]
    value, row = min(having, key=lambda pair: pair[0])
    return value, row, sum(v == value for v, _ in having) - 1


def _tied(rows: Sequence[Row], best: Row, key: str, ties: Ties) -> str:
    """Which networks tie with the best one on a measured axis."""
    others = [row for row in rows if row is not best and row.mean(ties.axes[key]) is not None]
    if not others:
        return ""
    if not ties.is_judged(key):
        return f"Its lead is not judged: {ties.lacking(key)}."
    tied = [row for row in others if not ties.compare(best, row, key)]
    if not tied:
        return "It leads all others for certain."
    return f"Tied with it: {listed(tied)}."


def _with_unit(value: float, metric: Metric) -> str:
    return f"{value:.{metric.digits}f}\u00a0{metric.unit}".rstrip()


def _against(value: float, reference: Row | None, metric: Metric) -> str:
    base = reference.mean(metric) if reference else None
    if not base:
        return ""
    if value == base:
        return ", the same as the reference"
    return f"; the reference has {_with_unit(base, metric)} ({percent(value / base - 1)})"


def front_sentences(rows: Sequence[Row], ties: Ties) -> list[str]:
    """Which networks no other beats on loss and one cost, and on all axes at once."""
    axes, texts = ties.axes, []
    if "loss" in axes:
        texts = [_front(f"Loss and {m.label}", rows, ["loss", key], ties) for key, m in axes.items() if key != "loss"]
    if len(axes) > 2:
        texts.append(_front("All of " + ", ".join(m.label for m in axes.values()), rows, list(axes), ties))
    return texts


def _front(what: str, rows: Sequence[Row], keys: Sequence[str], ties: Ties) -> str:
    front = ties.front(rows, keys)
    if not front.drawn:
        return f"{what}: no network has all of these yet."
    members = sorted(front.members, key=lambda row: row.number)
    every = len(members) == len(front.drawn) > MOST_NAMED
    names = "every one of them" if every else "; ".join(named(row) + (" (tied)" if row in front.weak else "") for row in members)
    off = f" Tied with the front: {listed(sorted(front.off, key=lambda row: row.number))}." if front.off else ""
    unjudged = [ties.axes[key].label for key in keys if not ties.is_judged(key)]
    doubt = f" By means alone: no interval of {' and '.join(unjudged)}." if unjudged else ""
    return f"{what}: {len(members)} of {count(len(front.drawn), 'network')} on the front: {names}.{off}{doubt}"


def reference_sentences(rows: Sequence[Row], ties: Ties) -> list[str]:
    """Which networks are better than the reference on every axis, by means, and where their lead is a tie."""
    reference = next((row for row in rows if row.is_reference), None)
    if reference is None:
        return ["The reference variant is not among the trials, so nothing is compared with it."]
    lacking = [m.label for m in ties.axes.values() if reference.mean(m) is None]
    axes = [key for key, m in ties.axes.items() if reference.mean(m) is not None]
    if not axes:
        return [f"The reference ({named(reference)}) has no complete trial yet, so nothing is compared with it."]
    what = ", ".join(ties.axes[key].label for key in axes)
    texts = [f"The reference lacks {', '.join(lacking)}: not compared."] if lacking else []
    others = [row for row in rows if row is not reference]
    better = [row for row in others if all(_margin(row, reference, ties.axes[key]) < 0 for key in axes)]
    close = [row for row in others if row not in better and _has_all(row, ties, axes) and ties.beats(row, reference, axes)]
    if better:
        beat = f"{count(len(better), 'network')} beat{'s' if len(better) == 1 else ''}"
        texts.append(f"{beat} the reference ({named(reference)}) on every axis ({what}):")
        texts += [_margins(row, reference, axes, ties) for row in better]
    else:
        texts.append(f"No other network beats the reference ({named(reference)}) on every axis ({what}).")
    if close and all(ties.is_judged(key) for key in axes):
        texts.append(f"Better on some axes and tied on the others: {listed(close)}.")
    return texts


def _has_all(row: Row, ties: Ties, keys: Sequence[str]) -> bool:
    return all(row.mean(ties.axes[key]) is not None for key in keys)


def _margin(row: Row, reference: Row, metric: Metric) -> float:
    """Relative difference to the reference; infinite where the row lacks the metric, so that it never counts as better."""
    value, base = row.mean(metric), reference.mean(metric)
    return math.inf if value is None or not base else value / base - 1


def _margins(row: Row, reference: Row, keys: Sequence[str], ties: Ties) -> str:
    parts = [
        f"{ties.axes[k].label} {percent(_margin(row, reference, ties.axes[k]))}{_doubt(row, reference, k, ties)}" for k in keys
    ]
    return f"**{named(row)}**: {', '.join(parts)}."


def _doubt(row: Row, reference: Row, key: str, ties: Ties) -> str:
    if not ties.is_judged(key):
        return f" ({ties.lacking(key)}: not judged)"
    return "" if ties.compare(row, reference, key) else " (tied)"


def lead_sentence(rows: Sequence[Row], ties: Ties) -> str:
    """Which network has the lowest loss, and whether that is certain; empty before any is trained."""
    if "loss" not in ties.axes:
        return ""
    value, row, _ = _best(rows, ties, "loss")
    trained = sum(bool(r.complete) for r in rows)
    text = f"Of {count(trained, 'network')}, **{named(row)}** has the lowest validation loss, {_with_unit(value, METRICS['loss'])}"
    if trained < 2:
        return f"{text}."
    if not ties.is_judged("loss"):
        return f"{text}; with {ties.lacking('loss')} each, whether it leads for certain is not known."
    tied = [r for r in rows if r is not row and r.complete and not ties.compare(row, r, "loss")]
    if not tied:
        return f"{text}, and leads all others for certain."
    which = ", the reference among them" if any(r.is_reference for r in tied) else ""
    return f"{text}; {count(len(tied), 'other')} cannot be distinguished from it{which}."
