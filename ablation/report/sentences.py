"""Plain sentences made from the numbers: what each swap costs and buys, and what is within noise. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ablation.attribute import Effect
from ablation.record import METRICS, Metric
from ablation.report.page import literal
from ablation.report.scatter import front_of
from ablation.report.study import Row, StudyInfo, latency_of
from ablation.report.swaps import BETTER, EXACT, MISSING, MIXED, NOISE, NONE, TRAINED, WORSE, Noise, Swap, verdict


def signed(value: float, digits: int) -> str:
    """'+0.0123' or '−0.0123', with a minus sign that is not a hyphen."""
    return f"{value:+.{digits}f}".replace("-", "−")


def percent(share: float) -> str:
    """'+2.2 %'."""
    return f"{signed(100 * share, 1)}\u00a0%"


def amount(effect: Effect, milliseconds: Effect | None = None) -> str:
    """'parameters −5.243 M (−56.1 %)', with the interval where the pairs differ."""
    if effect.mean is None:
        return effect.metric.label
    metric = effect.metric
    if effect.as_ratio:
        size = f"×{effect.mean:.3f}"
        extra = [percent(effect.mean - 1)]
        if milliseconds is not None and milliseconds.mean is not None:
            extra.insert(0, f"{signed(milliseconds.mean, milliseconds.metric.digits)}\u00a0{milliseconds.metric.unit}")
    else:
        size = f"{signed(effect.mean, metric.digits)}\u00a0{metric.unit}".rstrip()
        extra = [percent(effect.relative)] if effect.relative is not None else []
    return f"{metric.label} {size} ({', '.join([*extra, *_interval(effect)])})"


def _interval(effect: Effect) -> list[str]:
    if effect.low is None or effect.high is None:
        return ["one pair, no interval"]
    digits = 3 if effect.as_ratio else effect.metric.digits
    low, high = (f"×{v:.{digits}f}" if effect.as_ratio else signed(v, digits) for v in (effect.low, effect.high))
    return [] if low == high else [f"95\u00a0% interval {low} to {high}"]


def swap_sentences(swaps: Sequence[Swap], noise: Noise) -> list[tuple[str, list[str]]]:
    """Per swap its name with the pairs it rests on, and: what it buys, what it costs, what is within noise or not settled."""
    return [_swap(swap, noise) for swap in swaps]


def _swap(swap: Swap, noise: Noise) -> tuple[str, list[str]]:
    told: dict[str, list[str]] = {}
    for key, effect in swap.effects.items():
        told.setdefault(verdict(key, effect, noise), []).append(amount(effect, swap.milliseconds.get(key)))
    parts = [
        ("It buys", told.get(BETTER)), ("It costs", told.get(WORSE)), ("Within noise", told.get(NOISE)),
        ("Not settled, for the interval includes no change", told.get(MIXED)), ("Unchanged", told.get(NONE)),
        ("No complete pair for", told.get(MISSING)),
    ]  # fmt: skip
    return f"**{swap.name}** ({_pairs(swap)})", [f"{head}: {'; '.join(items)}." for head, items in parts if items]


def _pairs(swap: Swap) -> str:
    """How many pairs the numbers rest on, per metric where metrics differ, and what was left out."""
    effects = list(swap.effects.values())
    most = max(effects, key=lambda e: e.num_pairs)
    texts = [f"{_count(most.num_networks, 'pair')} of networks, {_count(most.num_pairs, 'pair')} of trials"]
    fewer = [f"{e.num_pairs} for {e.metric.label}" for e in effects if 0 < e.num_pairs < most.num_pairs]
    texts += [f"only {', '.join(fewer)}"] if fewer else []
    texts += [f"{_count(most.num_same_network, 'pair')} left out, being one network"] if most.num_same_network else []
    texts += [f"{_count(most.num_incomplete, 'pair')} of trials incomplete"] if most.num_incomplete else []
    texts += [f"{most.num_unpaired} variants have no partner in this space"] if most.num_unpaired else []
    return "; ".join(texts)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def noise_sentences(swaps: Sequence[Swap], noise: Noise, rows: Sequence[Row], study: StudyInfo) -> list[str]:
    """How large noise is, by what it was measured, and which swaps disappear in it."""
    texts = []
    for key, aa in study.latency_noise.items():
        floor = math.exp(noise.floor[key])
        texts.append(
            f"{latency_of(key).label.capitalize()}: one network timed against itself differed by ×{aa['ratio']:.3f} (95 % interval "
            f"×{aa['low']:.3f} to ×{aa['high']:.3f}); a mean ratio within ×{floor:.3f} either way is called noise."
        )
    timed = [key for swap in swaps[:1] for key in swap.milliseconds]
    texts += [f"{latency_of(key).label.capitalize()}: the noise floor was not measured." for key in timed if key not in noise.floor]
    for key in TRAINED:
        metric = METRICS[key]
        if key in noise.sd:
            num = sum(len(row.values(metric)) > 1 for row in rows)
            texts.append(
                f"{metric.label[0].upper()}{metric.label[1:]}: standard deviation over seeds {noise.sd[key]:.{metric.digits}f}, "
                f"pooled over {_count(num, 'network')} with at least two seeds; a mean of n pairs within 1.96 × this × √(2 / n) is "
                "called noise."
            )
    if "loss" not in noise.sd and any(row.complete for row in rows):
        texts.append(
            "Validation loss and SSIM: one seed only, so their spread over seeds is unknown. Their intervals tell how much a "
            "swap's effect varies between networks, not how much another seed would change it."
        )
    texts += _within(swaps, noise)
    num_effects = sum(e.low is not None for swap in swaps for key, e in swap.effects.items() if key not in EXACT)
    if num_effects:
        texts.append(
            f"{num_effects} measured effects have intervals of 95\u00a0%, not corrected for their number: about one in twenty "
            "misses by chance alone."
        )
    return texts


def _within(swaps: Sequence[Swap], noise: Noise) -> list[str]:
    every = [(swap.name, key, effect) for swap in swaps for key, effect in swap.effects.items()]
    found = [f"{name} ({effect.metric.label})" for name, key, effect in every if verdict(key, effect, noise) == NOISE]
    if found:
        return [f"Within noise: {'; '.join(found)}."]
    return ["No measured effect is within the noise that is known."] if swaps else []


def axes_of(rows: Sequence[Row], keys: Sequence[str]) -> dict[str, Metric]:
    """The metrics on which variants are compared as wholes: loss, every latency, parameters, multiply-accumulates."""
    every = {"loss": METRICS["loss"], **{k: latency_of(k) for k in keys}, "params": METRICS["params"], "macs": METRICS["macs"]}
    return {k: m for k, m in every.items() if any(row.mean(m) is not None for row in rows)}


def named(row: Row) -> str:
    """'#3 plain, separable, flatten'."""
    return f"#{row.number} {literal(row.label)}"


def best_sentences(rows: Sequence[Row], keys: Sequence[str]) -> list[str]:
    """The best network of each axis beside the reference; one that is not trained says so."""
    texts = []
    reference = next((row for row in rows if row.is_reference), None)
    for metric in axes_of(rows, keys).values():
        having = [(value, row) for row in rows if (value := row.mean(metric)) is not None]
        value, row = min(having, key=lambda pair: pair[0])
        others = sum(v == value for v, _ in having) - 1
        shared = f" (and {_count(others, 'other')} with the same)" if others else ""
        shared += "" if row.complete else f" ({row.state})"
        against = _against(value, reference, metric) if row is not reference else " (the reference)"
        texts.append(f"Lowest {metric.label}: **{named(row)}**{shared} with {_with_unit(value, metric)}{against}.")
    return texts


def _with_unit(value: float, metric: Metric) -> str:
    return f"{value:.{metric.digits}f}\u00a0{metric.unit}".rstrip()


def _against(value: float, reference: Row | None, metric: Metric) -> str:
    base = reference.mean(metric) if reference else None
    if not base:
        return ""
    if value == base:
        return ", the same as the reference"
    return f"; the reference has {_with_unit(base, metric)} ({percent(value / base - 1)})"


def front_sentences(rows: Sequence[Row], keys: Sequence[str]) -> list[str]:
    """Which networks no other beats on loss and one cost, and on all axes at once."""
    axes = axes_of(rows, keys)
    texts = []
    if "loss" in axes:
        for metric in [m for k, m in axes.items() if k != "loss"]:
            texts.append(_front(f"Loss and {metric.label}", rows, [METRICS["loss"], metric]))
    if len(axes) > 2:
        texts.append(_front("All of " + ", ".join(m.label for m in axes.values()), rows, list(axes.values())))
    return texts


def _front(what: str, rows: Sequence[Row], metrics: Sequence[Metric]) -> str:
    drawn, front = front_of(rows, metrics)
    if not drawn:
        return f"{what}: no network has all of these yet."
    names = [named(row) for row in sorted(front, key=lambda r: r.number)]
    listed = "every one of them" if len(front) == len(drawn) > 8 else "; ".join(names)
    return f"{what}: {len(front)} of {_count(len(drawn), 'network')} on the front: {listed}."


def reference_sentences(rows: Sequence[Row], keys: Sequence[str], noise: Noise) -> list[str]:
    """Which networks are strictly better than the reference on every axis, with the margins that noise could explain."""
    reference = next((row for row in rows if row.is_reference), None)
    if reference is None:
        return ["The reference variant is not among the trials, so nothing is compared with it."]
    axes = axes_of(rows, keys)
    lacking = [m.label for m in axes.values() if reference.mean(m) is None]
    axes = {k: m for k, m in axes.items() if reference.mean(m) is not None}
    if not axes:
        return [f"The reference ({named(reference)}) has no complete trial yet, so nothing is compared with it."]
    what = ", ".join(m.label for m in axes.values())
    texts = [f"The reference lacks {', '.join(lacking)}: not compared."] if lacking else []
    better = [row for row in rows if row is not reference and all(_margin(row, reference, m) < 0 for m in axes.values())]
    if not better:
        return [*texts, f"No other network beats the reference ({named(reference)}) on every axis ({what})."]
    beat = f"{_count(len(better), 'network')} beat{'s' if len(better) == 1 else ''}"
    texts.append(f"{beat} the reference ({named(reference)}) on every axis ({what}):")
    return texts + [_margins(row, reference, axes, noise) for row in better]


def _margin(row: Row, reference: Row, metric: Metric) -> float:
    """Relative difference to the reference; infinite where the row lacks the metric, so that it never counts as better."""
    value, base = row.mean(metric), reference.mean(metric)
    return math.inf if value is None or not base else value / base - 1


def _margins(row: Row, reference: Row, axes: Mapping[str, Metric], noise: Noise) -> str:
    parts = []
    for key, metric in axes.items():
        margin = _margin(row, reference, metric)
        parts.append(f"{metric.label} {percent(margin)}{_doubt(key, metric, row, reference, margin, noise)}")
    return f"**{named(row)}**: {', '.join(parts)}."


def _doubt(key: str, metric: Metric, row: Row, reference: Row, margin: float, noise: Noise) -> str:
    if key in noise.floor:
        return " (within noise)" if abs(math.log1p(margin)) <= noise.floor[key] else ""
    if key not in TRAINED:
        return ""
    if key not in noise.sd:
        return " (one seed: noise unknown)"
    few = 1 / len(row.values(metric)) + 1 / len(reference.values(metric))
    base = reference.mean(metric) or 0.0
    return " (within noise)" if abs(margin * base) <= 1.96 * noise.sd[key] * math.sqrt(few) else ""
