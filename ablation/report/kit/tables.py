"""Tables as files: CSV for machines, LaTeX for papers, fixed columns for a terminal; `page.Table` is for pages. No torch."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ablation.machine.text import shortened

# bytes of a name that are no UTF-8 are written as escapes
UTF8: dict[str, Any] = {"encoding": "utf-8", "errors": "backslashreplace"}
_LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "\n": " ", "<": r"\textless{}", ">": r"\textgreater{}",
})  # fmt: skip


def write_lines(path: Path, headings: Sequence[str], lines: Sequence[Sequence[Any]]) -> Path:
    """A CSV file; None is an empty cell."""
    with path.open("w", newline="", **UTF8) as file:
        csv.writer(file).writerows([headings, *lines])
    return path


def write_csv(path: Path, lines: Sequence[Mapping[str, Any]]) -> Path:
    """A CSV file of one line per mapping; the header is the union of their keys, in order of appearance."""
    names = list(dict.fromkeys(name for line in lines for name in line))
    return write_lines(path, names, [[line.get(name) for name in names] for line in lines])


def flatten(value: Any, prefix: str = "", skip: str | None = None) -> Iterator[tuple[str, Any]]:
    """Nested mappings as pairs of a dotted name and a value, without what lies under a key `skip`; lists as JSON."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key != skip:
                yield from flatten(inner, f"{prefix}.{key}" if prefix else str(key), skip)
    else:
        yield prefix, json.dumps(value, default=str) if isinstance(value, list | tuple) else value


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it stands."""
    return text.translate(_LATEX)


def longtable(headings: Sequence[str], is_number: Sequence[bool], lines: Sequence[Sequence[str]], caption: str) -> str:
    """A booktabs long table, to be \\input into a document."""
    widths = "".join("r" if number else "p{2.6cm}" for number in is_number)
    heads = [_narrow(h) if number else escape_latex(h) for h, number in zip(headings, is_number, strict=True)]
    return "\n".join([
        r"\begingroup\scriptsize\setlength{\tabcolsep}{2pt}", rf"\begin{{longtable}}{{{widths}}}",
        rf"\caption{{{escape_latex(caption)}}}\\", r"\toprule", rf"{' & '.join(heads)} \\", r"\midrule", r"\endhead",
        r"\bottomrule", r"\endfoot", *(" & ".join(map(escape_latex, line)) + r" \\" for line in lines),
        r"\end{longtable}", r"\endgroup",
    ])  # fmt: skip


def _narrow(heading: str) -> str:
    """Words below each other. The braces keep a unit in brackets from being read as a line distance."""
    words = heading.replace(" / ", " /~").split(" ")
    return r"\shortstack[r]{" + r"\\{}".join(escape_latex(word.replace("/~", "/ ")) for word in words) + "}"


def fixed(headings: Sequence[str], lines: Sequence[Sequence[str]], width: int, *, droppable: slice) -> list[str]:
    """Right-aligned columns in `width` characters, by hand so that cut names stay apart.

    The second column holds names, at the left, cut to what is left; the `droppable` columns go first, the last of them at once.
    """
    table = [list(headings), *map(list, lines)]
    removable = list(range(len(headings)))[droppable]
    while True:
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        rest = sum(widths) - widths[1] + 2 * (len(widths) - 1)
        if width - rest >= min(widths[1], 20) or not removable:
            break
        last = removable.pop()
        table = [[*line[:last], *line[last + 1 :]] for line in table]
    widths[1] = min(widths[1], max(width - rest, 8))
    names = shortened((line[1] for line in table[1:]), widths[1])
    cut = [table[0], ["-" * w for w in widths], *([line[0], names[line[1]], *line[2:]] for line in table[1:])]
    aligned = [[c.ljust(w) if n == 1 else c.rjust(w) for n, (c, w) in enumerate(zip(line, widths, strict=True))] for line in cut]
    return ["  ".join(line).rstrip() for line in aligned]
