"""An explanation for a terminal: the answer, and compact tables of factors and of ways of running. No torch."""

from __future__ import annotations

import re
import textwrap

from ablation.machine.text import shortened
from ablation.record.attribution import Attribution
from ablation.record.explanation import Explanation
from ablation.report.explain import style, words
from ablation.report.explain.answer import answer
from ablation.report.explain.names import with_shown_names
from ablation.report.kit.numbers import share_text, significant, times_span, tiny

# columns
TERMINAL = 100


def print_explanation(explanation: Explanation) -> str:
    """The answer and a compact table for a terminal of 100 columns."""
    explanation = with_shown_names(explanation)
    texts = [re.sub(r"\*\*|`", "", text) for text in (answer(explanation), words.earlier(explanation)) if text]
    sections = [
        [f"{explanation.second} against {explanation.first} ({explanation.device})"],
        *([textwrap.fill(text, TERMINAL)] for text in texts),
        _factor_lines(explanation),
        _mode_lines(explanation),
    ]
    if explanation.limits:
        limits = [textwrap.fill(f"- {limit}", TERMINAL, subsequent_indent="  ") for limit in explanation.limits]
        sections.append(["Limits:", *limits])
    return "\n\n".join("\n".join(lines) for lines in sections).rstrip() + "\n"


def _factor_lines(explanation: Explanation) -> list[str]:
    """A line per factor with its share of parameters, multiply-accumulates and latency."""
    columns = {
        "parameters": ("params", None),
        "mult.-accum.": ("macs", None),
        "latency": (style.LOG, style.main_place(explanation)),
    }
    every = {name: style.find(explanation, *wanted) for name, wanted in columns.items()}
    shown = {name: attribution for name, attribution in every.items() if attribution is not None}
    if not shown:
        return ["Nothing was attributed to factors."]
    lines = [f"{'factor (share of difference)':<34}" + "".join(f"{name:>22}" for name in shown)]
    order = [name for name, _ in style.ranked(list(shown.values())[-1].shapley)]
    steps = {factor: "{}: {} → {}".format(style.plain(factor), *explanation.factors.get(factor, ("", ""))) for factor in order}
    names = shortened(steps.values(), 33)
    lines += [f"{names[step]:<34}" + "".join(f"{_cell(a, factor):>22}" for a in shown.values()) for factor, step in steps.items()]
    lines += ["~ not settled"] if any("~" in line for line in lines) else []
    gone = ", ".join(name for name in every if name not in shown)
    return [*lines, *([f"Not attributed: {gone}."] if gone else [])]


def _cell(a: Attribution, factor: str) -> str:
    effect = a.shapley.get(factor)
    if effect is None:
        return "-"
    bare = style.effect_text(a, effect).split(" (")[0]
    return f"{bare} ({share_text(style.share_of(a, effect))}){'' if effect.sure else ' ~'}".replace("\u00a0", " ")


def _mode_lines(explanation: Explanation) -> list[str]:
    if not explanation.modes:
        return ["Ways of running were not measured."]
    first, second = shortened((explanation.first, explanation.second), 12).values()
    names = shortened((m.mode for m in explanation.modes), 29)
    lines = [f"{'mode':<30}{first + ' ms':>16}{second + ' ms':>16}{'ratio':>10}{'gain':>10}{'error':>12}"]
    for m in explanation.modes:
        ratio, gain = (times_span(value, None, None) for value in (m.ratio, m.second_gain))
        numbers = f"{significant(m.first_ms):>16}{significant(m.second_ms):>16}{ratio:>10}{gain:>10}{tiny(m.max_error):>12}"
        line = f"{names[m.mode]:<30}{f'not usable: {m.reason}' if m.reason else numbers}"
        lines.append(line if len(line) <= TERMINAL or not m.reason else f"{line[: TERMINAL - 1]}…")
    return lines
