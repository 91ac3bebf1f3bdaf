"""The tables of an explanation, for its page, its CSV files and a terminal. No torch."""

from __future__ import annotations

import csv
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ablation.machine.text import shortened
from ablation.record.attribution import Attribution
from ablation.record.explanation import KEEPS, Explanation, ModeResult, Share
from ablation.report.explain import mechanism, words
from ablation.report.explain import style as look
from ablation.report.explain.modes import control_rows
from ablation.report.explain.names import with_shown_names
from ablation.report.kit.page import Table

# columns
TERMINAL = 100
ATTRIBUTION_FIELDS = ("metric", "place", "unit", "kind", "name", "value", "low", "high", "share", "verdict", "needed", "num", "of")


def write_lines(path: Path, headings: Sequence[str], lines: Sequence[Sequence[Any]]) -> Path:
    """A CSV file; None is an empty cell."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(headings)
        writer.writerows(lines)
    return path


def write_attribution_csv(explanation: Explanation, path: Path) -> Path:
    """Every number of every attribution, one a line: Shapley values, main effects from both ends, pairs, the greedy path."""
    return write_lines(path, ATTRIBUTION_FIELDS, [line for a in explanation.attributions for line in _attribution_lines(a)])


def _attribution_lines(a: Attribution) -> list[list[Any]]:
    head = [a.metric, a.place, a.unit]
    groups = {"shapley": a.shapley, "from_start": a.from_start, "from_end": a.from_end, "interaction": a.interactions}
    lines = [
        [*head, kind, name, e.value, e.low, e.high, look.share_of(a, e), e.verdict, e.needed, e.num, e.of]
        for kind, effects in groups.items() for name, e in effects.items()
    ]  # fmt: skip
    lines += [[*head, "greedy path", factor, value, *([None] * 7)] for factor, value in a.path]
    whole = {"start": a.start, "end": a.end, "residual": a.residual, "variants": a.num_variants, "possible": a.num_possible}
    return lines + [[*head, "whole", name, value, *([None] * 7)] for name, value in whole.items()]


def write_blocks_csv(explanation: Explanation, path: Path) -> Path:
    """Time by part of the network and by block, of both networks."""
    fields = ("name", "ms", "num_ops", "macs", "bytes_moved", "bytes_bound_ms", "macs_bound_ms", "limited_by", "efficiency")
    lines = [
        [d.name, d.place, kind, *(getattr(share, f) for f in fields)]
        for d in explanation.decompositions for kind, shares in (("part", d.by_part), ("block", d.by_block)) for share in shares
    ]  # fmt: skip
    return write_lines(path, ("network", "place", "kind", *fields), lines)


def effects_table(a: Attribution) -> Table:
    """One line per factor: Shapley value, share, effect as the only and as the last swap, verdict."""
    headings = ["factor", "Shapley value", "share", "as the only swap", "as the last swap", "verdict"]
    lines = [
        [
            look.plain(name), look.effect_text(a.metric, e), look.percent(look.share_of(a, e)),
            *(look.effect_text(a.metric, side[name]) if name in side else "-" for side in (a.from_start, a.from_end)),
            words.verdict_text(a.metric, e),
        ]
        for name, e in look.ranked(a.shapley)
    ]  # fmt: skip
    return Table(headings, [False, True, True, True, True, False], lines)


def interactions_table(a: Attribution, most: int) -> Table:
    """The largest pairwise interactions."""
    pairs = look.ranked(a.interactions)[:most]
    lines = [
        [look.plain(n), look.effect_text(a.metric, e), look.percent(look.share_of(a, e)), words.verdict_text(a.metric, e)]
        for n, e in pairs
    ]
    return Table(["pair", "interaction", "share", "verdict"], [False, True, True, False], lines)


def mechanism_table(explanation: Explanation) -> Table:
    """Class by class: time in both networks, what it adds, operations, limit and distance from it in the second."""
    pair, rows = mechanism.decomposed(explanation), mechanism.mechanism_rows(explanation)
    if pair is None:
        return Table([], [], [])
    whole = pair[1].total_ms - pair[0].total_ms
    seconds = {share.name: share for share in pair[1].by_class}
    lines = []
    for name, before, after, more in rows:
        share = seconds.get(name)
        limits = [f"{share.num_ops:,}", *_bound(share)] if share else ["-"] * 4
        lines.append(
            [
                name,
                look.number(before),
                look.number(after),
                look.number(more),
                look.percent(more / whole if whole else None),
                *limits,
            ]
        )
    lines.append(["total", *(look.number(v) for v in (pair[0].total_ms, pair[1].total_ms, whole)), *([""] * 5)])
    of = explanation.second
    headings = [
        "class",
        f"{explanation.first} [ms]",
        f"{of} [ms]",
        "added [ms]",
        "share",
        f"operations in {of}",
        "nearest bound",
        "bound over time",
        "limited by",
    ]
    return Table(headings, [False, True, True, True, True, True, False, True, False], lines)


def _bound(share: Share) -> list[str]:
    """The nearest bound with the bandwidth that it was made with, how near it is, and whether that makes it a limit."""
    if not share.limited_by:
        return ["-", "-", "-"]
    bandwidth = f" ({look.number(share.bandwidth_gb_s)} GB/s)" if share.limited_by == "bytes" and share.bandwidth_gb_s else ""
    near = look.percent(share.efficiency).lstrip("+")
    return [f"{mechanism.LIMITS[share.limited_by]}{bandwidth}", near, mechanism.LIMITS.get(share.limit, "no bound")]


def parts_table(explanation: Explanation) -> Table | None:
    """Time by part of the network; None where that was not measured."""
    pair = mechanism.decomposed(explanation)
    if pair is None or not (pair[0].by_part or pair[1].by_part):
        return None
    sides = [{share.name: share.ms for share in d.by_part} for d in pair]
    lines = [[look.plain(n), *(look.number(side.get(n)) for side in sides)] for n in {**sides[0], **sides[1]}]
    return Table(["part", *(f"{d.name} [ms]" for d in pair)], [False, True, True], lines)


def modes_table(explanation: Explanation) -> Table:
    """One line per way of running, by what it keeps: times, ratio, gain, error, preparation, whether the difference survives."""
    found = words.headline(explanation)
    what = words.slow_word(found.ratio if found else 1.0)
    names = [f"{name} [ms]" for name in (explanation.first, explanation.second)]
    headings = ["mode", f"the {what}", "keeps", "ratio", *names, "gain", "largest error", "to prepare [s]"]
    lines = [
        [
            m.mode, words.survival(explanation, m) if m.mode != "eager" else "as it is", m.keeps or "-",
            look.times_span(m.ratio, m.ratio_low, m.ratio_high), look.number(m.first_ms), look.number(m.second_ms),
            look.times_span(m.second_gain, m.second_gain_low, m.second_gain_high), look.tiny(m.max_error), look.number(m.prepare_s),
        ]
        for m in by_keeping(explanation)
    ]  # fmt: skip
    return Table(headings, [False, False, False, True, True, True, True, True, True], lines)


def by_keeping(explanation: Explanation) -> list[ModeResult]:
    """The ways of running: first those that compute the same function, then reduced precision, then another function."""
    return sorted(explanation.modes, key=lambda m: KEEPS.index(m.keeps) if m.keeps in KEEPS else 0)


def controls_table(explanation: Explanation) -> Table:
    """Both networks and the controls with their costs and latency."""
    lines = []
    for row in control_rows(explanation):
        counts = ["-" if row[key] is None else f"{row[key]:,}" for key in ("params", "macs")]
        ratio = look.times_span(row["ratio"], row["ratio_low"], row["ratio_high"])
        lines.append([row["name"], row["label"] or "-", *counts, look.number(row["ms"]), ratio])
    headings = ["network", "what it is", "parameters", "multiply-accumulates", "latency [ms]", "ratio to the first"]
    return Table(headings, [False, False, True, True, True, True], lines)


def sweep_table(explanation: Explanation) -> Table:
    """Every batch size, those that could not be measured with their reason."""
    points = sorted(explanation.sweep, key=lambda p: p.batch_size)
    lines = [
        [
            str(p.batch_size), look.number(p.first_ms), look.number(p.second_ms),
            look.times_span(p.ratio, *p.interval), "-" if p.rounds is None else str(p.rounds),
            "-" if p.sittings is None else str(p.sittings), "; ".join(filter(None, (p.source, p.reason))) or "-",
        ]
        for p in points
    ]  # fmt: skip
    return Table(
        ["batch", f"{explanation.first} [ms]", f"{explanation.second} [ms]", "ratio", "rounds", "sittings", "notes"],
        [True, True, True, True, True, True, False],
        lines,
    )


def print_explanation(explanation: Explanation) -> str:
    """The answer and a compact table for a terminal of 100 columns."""
    explanation = with_shown_names(explanation)
    answer = re.sub(r"\*\*|`", "", words.answer(explanation))
    texts = [f"{explanation.second} against {explanation.first} ({explanation.device})", "", textwrap.fill(answer, TERMINAL), ""]
    texts += [textwrap.fill(note, TERMINAL), ""] if (note := re.sub("`", "", words.earlier(explanation))) else []
    texts += [*_factor_lines(explanation), "", *_mode_lines(explanation)]
    limits = [textwrap.fill(f"- {limit}", TERMINAL, subsequent_indent="  ") for limit in explanation.limits]
    return "\n".join([*texts, *(["", "Limits:", *limits] if limits else [])]).rstrip() + "\n"


def _factor_lines(explanation: Explanation) -> list[str]:
    """A line per factor with its share of parameters, multiply-accumulates and latency."""
    place = look.main_place(explanation)
    found = [look.find(explanation, "params"), look.find(explanation, "macs"), look.find(explanation, look.LOG, place)]
    heads = ("parameters", "mult.-accum.", "latency")
    shown = [(name, a) for name, a in zip(heads, found, strict=True) if a is not None]
    gone = [name for name, a in zip(heads, found, strict=True) if a is None]
    if not shown:
        return ["Nothing was attributed to factors."]
    order = [name for name, _ in look.ranked(shown[-1][1].shapley)]
    lines = [f"{'factor (share of difference)':<34}" + "".join(f"{name:>22}" for name, _ in shown)]
    steps = {f: "{}: {} → {}".format(look.plain(f), *explanation.factors.get(f, ("", ""))) for f in order}
    names = shortened(steps.values(), 33)
    for factor, step in steps.items():
        cells = [_cell(a, factor) for _, a in shown]
        lines.append(f"{names[step]:<34}" + "".join(f"{c:>22}" for c in cells))
    if any("~" in line for line in lines):
        lines.append("~ not settled")
    return [*lines, *([f"Not attributed: {', '.join(gone)}."] if gone else [])]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _cell(a: Attribution, factor: str) -> str:
    effect = a.shapley.get(factor)
    if effect is None:
        return "-"
    bare = look.effect_text(a.metric, effect).split(" (")[0]
    doubt = "" if effect.sure else " ~"
    return f"{bare} ({look.percent(look.share_of(a, effect))}){doubt}".replace("\u00a0", " ")


def _mode_lines(explanation: Explanation) -> list[str]:
    if not explanation.modes:
        return [textwrap.fill("Ways of running were not measured.", TERMINAL)]
    first, second = shortened((explanation.first, explanation.second), 12).values()
    names = shortened((m.mode for m in explanation.modes), 29)
    lines = [f"{'mode':<30}{first + ' ms':>16}{second + ' ms':>16}{'ratio':>10}{'gain':>10}{'error':>12}"]
    for m in explanation.modes:
        if m.reason:
            lines.append(_cut(f"{names[m.mode]:<30}not usable: {m.reason}", TERMINAL))
            continue
        ratio, gain = ("-" if v is None else look.times(v) for v in (m.ratio, m.second_gain))
        times = f"{look.number(m.first_ms):>16}{look.number(m.second_ms):>16}"
        lines.append(f"{names[m.mode]:<30}{times}{ratio:>10}{gain:>10}{look.tiny(m.max_error):>12}")
    return lines
