"""The tables of a study: CSV for machines, Markdown and LaTeX for readers, plain text for a terminal. No torch."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablation.machine.text import shortened
from ablation.record.sittings import without_doubtful_ends
from ablation.record.trial import METRICS, Metric, Record
from ablation.report.kit.page import escape_markdown
from ablation.report.study.rows import Row, StudyInfo, as_shown, axis_label, latency_keys, latency_of, ratio_of, rows_of

COSTS = ("params", "fvcore_params", "macs", "fvcore_flops", "elements_written", "bytes_moved", "num_ops")
QUALITY = ("loss", "ssim", "psnr", "l1", "ms_ssim", "replica_loss")
SECONDS = Metric(path="training.seconds", label="training", unit="s", digits=0)
# bytes of a name that are no UTF-8 are written as escapes
UTF8: dict[str, Any] = {"encoding": "utf-8", "errors": "backslashreplace"}
NOTHING = "-"  # stands where a number is missing


@dataclass(frozen=True)
class Column:
    """One column of a reader's table: its heading with the unit, and the text of a row's cell."""

    heading: str
    cell: Callable[[Row], str]
    is_number: bool = True


def with_spread(row: Row, metric: Metric) -> str:
    """'0.5512 ± 0.0021' over seeds, '0.5512' where there is one seed or no spread, '-' where the value is missing."""
    mean, sd = row.mean(metric), row.sd(metric)
    if mean is None:
        return NOTHING
    text = f"{mean:.{metric.digits}f}"
    return f"{text} ± {sd:.{metric.digits}f}" if sd else text


def _ratio(row: Row, key: str) -> str:
    """The ratio to the reference; an asterisk where any of the seeds' timings did not converge."""
    text = with_spread(row, ratio_of(key))
    return text if text == NOTHING or converged(row, key) in (True, None) else f"{text}*"


def converged(row: Row, key: str) -> bool | None:
    """Whether every timing of this row converged; None where none says so."""
    flags = [t.get(f"latency.{key}.converged") for t in row.trials]
    known = [bool(f) for f in flags if f is not None]
    return all(known) if known else None


def state_text(row: Row) -> str:
    """The row's state with the reasons of its failures."""
    return f"{row.state}: {'; '.join(row.reasons)}" if row.reasons else row.state


def seeds_text(row: Row) -> str:
    """'3', or '1 of 3' where trials are missing."""
    done, planned = len(row.complete), len(row.trials)
    return str(done) if done == planned else f"{done} of {planned}"


def columns(keys: Sequence[str], metrics: Sequence[str] = (*COSTS, *QUALITY)) -> list[Column]:
    """Every column of the full table: variant, costs, latency by device and batch, quality, training."""
    costs = [_metric_column(METRICS[m]) for m in metrics if m in COSTS]
    quality = [_metric_column(METRICS[m]) for m in metrics if m in QUALITY]
    latency = []
    for key in keys:
        metric = latency_of(key)
        latency.append(_metric_column(metric))
        latency.append(Column(f"{metric.label} / reference [x]", lambda row, key=key: _ratio(row, key)))  # type: ignore[misc]
    return [*_names(), *costs, *latency, *quality, _metric_column(SECONDS), Column("seeds", seeds_text), _state()]


def _names() -> list[Column]:
    return [
        Column("#", lambda row: str(row.number)),
        Column("variant", lambda row: f"{row.label} (reference)" if row.is_reference else row.label, is_number=False),
    ]


def _state() -> Column:
    return Column("state", state_text, is_number=False)


def _metric_column(metric: Metric) -> Column:
    return Column(axis_label(metric), lambda row: with_spread(row, metric))


def main_columns(keys: Sequence[str]) -> list[Column]:
    """The few columns that fit a page."""
    chosen = [_metric_column(METRICS[m]) for m in ("loss", "params", "macs")]
    latency = [_metric_column(latency_of(key)) for key in keys]
    return [*_names(), *chosen, *latency, _metric_column(METRICS["ssim"]), Column("seeds", seeds_text)]


def published_reasons(rows: Sequence[Row]) -> list[str]:
    """Why fvcore's flops are missing, once for each reason, with the networks that it holds for."""
    numbers: dict[str, list[str]] = {}
    for row in rows:
        for reason in dict.fromkeys(t.get("costs.fvcore_reason") for t in row.trials):
            if reason:
                numbers.setdefault(str(reason), []).append(f"#{row.number}")
    return [f"fvcore could not count {', '.join(which)}: {reason}" for reason, which in numbers.items()]


def footnotes(keys: Sequence[str], rows: Sequence[Row] = ()) -> list[str]:
    """What the signs in the tables mean, and why counts are missing."""
    notes = [f"± is the standard deviation over seeds, '{NOTHING}' a missing value."]
    notes += ["M, G: millions, thousand millions; MB: millions of bytes.", *published_reasons(rows)]
    return [*notes, "* The timing did not reach the precision asked for."] if keys else notes


def write_tables(rows: Sequence[Row], records: Sequence[Record], folder: Path, study: StudyInfo) -> list[Path]:
    """table.csv, table.md, table.tex and trials.csv."""
    keys = latency_keys(records)
    paths = [folder / name for name in ("table.csv", "table.md", "table.tex", "trials.csv")]
    write_csv(paths[0], [_flat_row(row, keys, tuple(study.factors)) for row in rows])
    notes = "\n".join(f"- {escape_markdown(note)}" for note in footnotes(keys, rows))
    paths[1].write_text(f"# {escape_markdown(study.title)}: all variants\n\n{markdown(rows, columns(keys))}\n\n{notes}\n", **UTF8)
    paths[2].write_text(latex(rows, keys, study), **UTF8)
    write_csv(paths[3], [flat(record) for record in records])
    return paths


def write_csv(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """One line per mapping; the header is the union of their keys, in order of appearance."""
    names = list(dict.fromkeys(name for line in lines for name in line))
    with path.open("w", newline="", **UTF8) as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(lines)


def _flat_row(row: Row, keys: Sequence[str], factors: Sequence[str]) -> dict[str, Any]:
    """A line of table.csv: exact values in base units (bytes, multiply-accumulates, milliseconds, seconds)."""
    line: dict[str, Any] = {"number": row.number, "variant": row.label, "is_reference": row.is_reference}
    line |= {f"factor_{f}": row.level(f) for f in factors}
    line |= {"network_key": row.network_key, "state": row.state, "reason": "; ".join(row.reasons)}
    line |= {"num_seeds": len(row.complete), "num_seeds_planned": len(row.trials)}
    raw = {name: Metric(path=m.path, label=name) for name, m in METRICS.items()}
    raw |= {"training_seconds": SECONDS}
    for key in keys:
        name = key.replace("/", "_b")
        raw |= {f"latency_{name}_ms": latency_of(key), f"latency_{name}_ratio": ratio_of(key)}
    for name, metric in raw.items():
        mean = row.mean(metric)
        is_count = name in COSTS and mean is not None and mean.is_integer()
        line |= {name: int(mean) if is_count and mean is not None else mean, f"{name}_sd": row.sd(metric)}
    if any(t.get("costs.fvcore_reason") for t in row.trials):
        line["fvcore_reason"] = "; ".join(dict.fromkeys(str(r) for t in row.trials if (r := t.get("costs.fvcore_reason"))))
    for key in keys:
        line[f"latency_{key.replace('/', '_b')}_converged"] = converged(row, key)
    return {k: "" if v is None else v for k, v in line.items()}


def flat(record: Record) -> dict[str, Any]:
    """Everything that a trial stored, nested keys joined by dots and lists as JSON; without intervals of too few sittings."""
    stored = record.to_dict()
    stored["latency"] = {key: without_doubtful_ends(entry) for key, entry in record.latency.items()}
    return dict(_flatten("", stored))


def _flatten(prefix: str, value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flatten(f"{prefix}.{key}" if prefix else str(key), inner)
    else:
        yield prefix, json.dumps(value, default=str) if isinstance(value, list | tuple) else value


def markdown(rows: Sequence[Row], chosen: Sequence[Column]) -> str:
    """A GitHub table, numbers to the right."""
    lines = [[c.heading for c in chosen], ["---:" if c.is_number else "---" for c in chosen]]
    lines += [[c.cell(row) for c in chosen] for row in rows]
    return "\n".join(f"| {' | '.join(escape_markdown(cell) for cell in line)} |" for line in lines)


_LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "\n": " ", "<": r"\textless{}", ">": r"\textgreater{}",
})  # fmt: skip


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it stands."""
    return text.translate(_LATEX)


def latex(rows: Sequence[Row], keys: Sequence[str], study: StudyInfo) -> str:
    """Two booktabs long tables, what each variant costs and what it gives, to be \\input into a document."""
    every = columns(keys)
    numbers = every[2:-2]
    cut = len(COSTS)
    notes = " ".join(footnotes(keys, rows))
    given = [*_names(), *numbers[cut:], Column("seeds", seeds_text), _state()]
    parts = [
        "% \\usepackage{booktabs,longtable} and, for wide pages, \\usepackage{pdflscape}",
        _longtable(rows, [*_names(), *numbers[:cut]], f"{study.title}: static costs. {notes}"),
        _longtable(rows, given, f"{study.title}: latency, quality and training. {notes}"),
    ]
    return "\n\n".join(parts) + "\n"


def _longtable(rows: Sequence[Row], chosen: Sequence[Column], caption: str) -> str:
    widths = "".join("r" if c.is_number else "p{2.6cm}" for c in chosen)
    heads = " & ".join(_latex_heading(c.heading) if c.is_number else escape_latex(c.heading) for c in chosen)
    body = [" & ".join(escape_latex(c.cell(row)) for c in chosen) + r" \\" for row in rows]
    lines = [
        r"\begingroup\scriptsize\setlength{\tabcolsep}{2pt}", rf"\begin{{longtable}}{{{widths}}}",
        rf"\caption{{{escape_latex(caption)}}}\\", r"\toprule", rf"{heads} \\", r"\midrule", r"\endhead",
        r"\bottomrule", r"\endfoot", *body, r"\end{longtable}", r"\endgroup",
    ]  # fmt: skip
    return "\n".join(lines)


def _latex_heading(heading: str) -> str:
    """A narrow heading: words below each other. The braces keep a unit in brackets from being read as a line distance."""
    words = heading.replace(" / ", " /~").split(" ")
    return r"\shortstack[r]{" + r"\\{}".join(escape_latex(w.replace("/~", "/ ")) for w in words) + "}"


def print_table(records: Iterable[Record], study: StudyInfo | None = None, *, width: int = 120) -> str:
    """The main columns as plain text, at most `width` characters wide; the caller prints it."""
    records, study = as_shown(records, study or StudyInfo(title=""))
    rows = rows_of(records, study)
    if not rows:
        return "No trials yet."
    keys = latency_keys(records)
    heads, cells = ["#", "variant", "loss", "params M", "MACs M"], []
    heads += [f"{key} ms" for key in keys] + ["SSIM", "train s", "seeds"]
    metrics = [METRICS["loss"], METRICS["params"], METRICS["macs"], *map(latency_of, keys), METRICS["ssim"], SECONDS]
    for row in rows:
        name = f"{row.label} (ref)" if row.is_reference else row.label
        cells.append([str(row.number), name, *(with_spread(row, m) for m in metrics), seeds_text(row)])
    lines = _fixed(heads, cells, width)
    return "\n".join([*lines, *(f"#{row.number} {state_text(row)}" for row in rows if row.state != "complete")])


def _fixed(heads: list[str], cells: list[list[str]], width: int) -> list[str]:
    """Right-aligned columns, the variant's name cut to what is left; latency columns go first where nothing is left."""
    while True:
        widths = [max(len(line[i]) for line in [heads, *cells]) for i in range(len(heads))]
        rest = sum(widths) - widths[1] + 2 * (len(widths) - 1)
        if width - rest >= min(widths[1], 20) or len(heads) <= 5:
            break
        heads, cells = [*heads[:-3], *heads[-2:]], [[*line[:-3], *line[-2:]] for line in cells]
    widths[1] = min(widths[1], max(width - rest, 8))
    names = shortened((line[1] for line in cells), widths[1])
    cells = [[line[0], names[line[1]], *line[2:]] for line in cells]
    lines = [_aligned(line, widths) for line in (heads, ["-" * w for w in widths], *cells)]
    return ["  ".join(line).rstrip() for line in lines]


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [cell.ljust(w) if i == 1 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))]
