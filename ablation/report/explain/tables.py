"""The tables of an explanation, for its page and its CSV files. No torch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from ablation.record.attribution import Attribution
from ablation.record.explanation import KEEPS, Explanation, ModeResult, Share
from ablation.report.explain import mechanism, style, words
from ablation.report.explain.answer import headline
from ablation.report.explain.modes import control_rows
from ablation.report.explain.plots import values
from ablation.report.kit.numbers import share_text, significant, times_span, tiny
from ablation.report.kit.page import Table
from ablation.report.kit.tables import write_lines

ATTRIBUTION_FIELDS = ("metric", "place", "unit", "kind", "name", "value", "low", "high", "share", "verdict", "needed", "num", "of")
BLOCK_FIELDS = ("name", "ms", "num_ops", "macs", "bytes_moved", "bytes_bound_ms", "macs_bound_ms", "limited_by", "efficiency")


def _table(headings: Sequence[str], lines: Sequence[Sequence[str]], texts: Collection[int] = (0, -1)) -> Table:
    """A table of which these columns are text and all others numbers."""
    last = len(headings)
    return Table(headings, [not {column, column - last} & set(texts) for column in range(last)], lines)


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def write_attribution_csv(explanation: Explanation, path: Path) -> Path:
    """Every number of every attribution, one a line: Shapley values, main effects from both ends, pairs, the greedy path."""
    return write_lines(path, ATTRIBUTION_FIELDS, [line for a in explanation.attributions for line in _attribution_lines(a)])


def _attribution_lines(a: Attribution) -> list[list[Any]]:
    head = [a.metric, a.place, a.unit]
    groups = {"shapley": a.shapley, "from_start": a.from_start, "from_end": a.from_end, "interaction": a.interactions}
    lines = [
        [*head, kind, name, e.value, e.low, e.high, style.share_of(a, e), e.verdict, e.needed, e.num, e.of]
        for kind, effects in groups.items() for name, e in effects.items()
    ]  # fmt: skip
    lines += [[*head, "greedy path", factor, value, *([None] * 7)] for factor, value in a.path]
    whole = {"start": a.start, "end": a.end, "residual": a.residual, "variants": a.num_variants, "possible": a.num_possible}
    return lines + [[*head, "whole", name, value, *([None] * 7)] for name, value in whole.items()]


def write_blocks_csv(explanation: Explanation, path: Path) -> Path:
    """Time by part of the network and by block, of both networks."""
    lines = [
        [d.name, d.place, kind, *values(share, BLOCK_FIELDS)]
        for d in explanation.decompositions for kind, shares in (("part", d.by_part), ("block", d.by_block)) for share in shares
    ]  # fmt: skip
    return write_lines(path, ("network", "place", "kind", *BLOCK_FIELDS), lines)


def effects_table(a: Attribution) -> Table:
    """One line per factor: Shapley value, share, effect as the only and as the last swap, verdict."""
    lines = [
        [
            style.plain(name), style.effect_text(a, e), share_text(style.share_of(a, e)),
            *(style.effect_text(a, side[name]) if name in side else "-" for side in (a.from_start, a.from_end)),
            words.verdict_text(a, e),
        ]
        for name, e in style.ranked(a.shapley)
    ]  # fmt: skip
    return _table(["factor", "Shapley value", "share", "as the only swap", "as the last swap", "verdict"], lines)


def costs_table(explanation: Explanation) -> Table:
    """Both networks part by part, by name; a part without a counterpart has "-" there."""
    sides = [explanation.costs[name] for name in (explanation.first, explanation.second)]
    shown = {"params": "parameters", "macs": "multiply-accumulates", "bytes_moved": "bytes moved", "num_ops": "operations"}
    names = dict.fromkeys(name for side in sides for name in side["by_part"])
    rows = [(style.plain(name), [side["by_part"].get(name, {}) for side in sides]) for name in names]
    lines = [[name, *(_count(part.get(field)) for field in shown for part in parts)] for name, parts in [*rows, ("total", sides)]]
    headings = [f"{label}, {name}" for label in shown.values() for name in (explanation.first, explanation.second)]
    return _table(["part", *headings], lines, texts=(0,))


def interactions_table(a: Attribution, most: int) -> Table:
    """The largest pairwise interactions."""
    lines = [
        [style.plain(n), style.effect_text(a, e), share_text(style.share_of(a, e)), words.verdict_text(a, e)]
        for n, e in style.ranked(a.interactions)[:most]
    ]
    return _table(["pair", "interaction", "share", "verdict"], lines)


def mechanism_table(explanation: Explanation, pair: mechanism.Pair) -> Table:
    """Class by class: time in both networks, what it adds, operations, limit and distance from it in the second."""
    first, second = explanation.first, explanation.second
    whole, seconds = pair[1].total_ms - pair[0].total_ms, {share.name: share for share in pair[1].by_class}
    lines = [
        [
            name, *map(significant, ms), share_text(ms[-1] / whole if whole else None),
            *([_count(seconds[name].num_ops), *_bound(seconds[name])] if name in seconds else ["-"] * 4),
        ]
        for name, *ms in mechanism.mechanism_rows(explanation)
    ]  # fmt: skip
    lines.append(["total", *map(significant, (pair[0].total_ms, pair[1].total_ms, whole)), *([""] * 5)])
    headings = [
        "class", f"{first} [ms]", f"{second} [ms]", "added [ms]", "share", f"operations in {second}", "nearest bound",
        "bound over time", "limited by",
    ]  # fmt: skip
    return _table(headings, lines, texts=(0, 6, 8))


def _bound(share: Share) -> list[str]:
    """The nearest bound with the bandwidth that it was made with, how near it is, and whether that makes it a limit."""
    if not share.limited_by:
        return ["-", "-", "-"]
    bandwidth = f" ({significant(share.bandwidth_gb_s)} GB/s)" if share.limited_by == "bytes" and share.bandwidth_gb_s else ""
    near = share_text(share.efficiency).lstrip("+")
    return [f"{mechanism.LIMITS[share.limited_by]}{bandwidth}", near, mechanism.LIMITS.get(share.limit, "no bound")]


def parts_table(pair: mechanism.Pair) -> Table | None:
    """Time by part of the network; None where that was not measured."""
    sides = [{share.name: share.ms for share in d.by_part} for d in pair]
    lines = [[style.plain(n), *(significant(side.get(n)) for side in sides)] for n in {**sides[0], **sides[1]}]
    return _table(["part", *(f"{d.name} [ms]" for d in pair)], lines, texts=(0,)) if lines else None


def alone(e: Explanation) -> str:
    """What '-' means in a table of parts; empty where every part has a counterpart."""
    names = [set(costs.get("by_part", {})) for costs in e.costs.values()]
    return (
        "'-': a part without a counterpart of the same name in the other network."
        if len(names) == 2 and names[0] ^ names[1]
        else ""
    )


def modes_table(explanation: Explanation) -> Table:
    """One line per way of running, by what it keeps: times, ratio, gain, error, preparation, whether the difference survives."""
    line = headline(explanation)
    difference = "slowdown" if line is None or line.ratio >= 1 else "speed-up"
    names = [f"{name} [ms]" for name in (explanation.first, explanation.second)]
    lines = [
        [
            m.mode, words.survival(explanation, m) if m.mode != "eager" else "as it is", m.keeps or "-",
            times_span(m.ratio, *m.interval), significant(m.first_ms), significant(m.second_ms),
            times_span(m.second_gain, m.second_gain_low, m.second_gain_high), tiny(m.max_error), significant(m.prepare_s),
        ]
        for m in by_keeping(explanation)
    ]  # fmt: skip
    headings = ["mode", f"the {difference}", "keeps", "ratio", *names, "gain", "largest error", "to prepare [s]"]
    return _table(headings, lines, texts=(0, 1, 2))


def by_keeping(explanation: Explanation) -> list[ModeResult]:
    """The ways of running: first those that compute the same function, then reduced precision, then another function."""
    return sorted(explanation.modes, key=lambda m: KEEPS.index(m.keeps) if m.keeps in KEEPS else 0)


def controls_table(explanation: Explanation) -> Table:
    """Both networks and the controls with their costs and latency."""
    lines = [
        [name, label or "-", _count(params), _count(macs), significant(ms), times_span(*ratio)]
        for name, label, params, macs, ms, *ratio in control_rows(explanation)
    ]
    headings = ["network", "what it is", "parameters", "multiply-accumulates", "latency [ms]", "ratio to the first"]
    return _table(headings, lines, texts=(0, 1))


def sweep_table(explanation: Explanation) -> Table:
    """Every batch size, those that could not be measured with their reason."""
    lines = [
        [
            str(p.batch_size), significant(p.first_ms), significant(p.second_ms), times_span(p.ratio, *p.interval),
            *("-" if n is None else str(n) for n in (p.rounds, p.sittings)), "; ".join(filter(None, (p.source, p.reason))) or "-",
        ]
        for p in sorted(explanation.sweep, key=lambda p: p.batch_size)
    ]  # fmt: skip
    names = [f"{name} [ms]" for name in (explanation.first, explanation.second)]
    return _table(["batch", *names, "ratio", "rounds", "sittings", "notes"], lines, texts=(6,))
