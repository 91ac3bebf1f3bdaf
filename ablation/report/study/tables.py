"""The tables of a study: CSV for machines, Markdown and LaTeX for readers, plain text for a terminal. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablation.record.sittings import without_doubtful_ends
from ablation.record.trial import METRICS, Metric, Record
from ablation.report.kit.numbers import NOTHING
from ablation.report.kit.page import Bullets, Heading, Table, literal, to_markdown
from ablation.report.kit.tables import UTF8, fixed, flatten, longtable, write_csv
from ablation.report.study.rows import (
    COSTS,
    Row,
    StudyInfo,
    as_shown,
    axis_label,
    hardware_of,
    latency_keys,
    latency_of,
    name_of,
    ratio_of,
    rows_of,
)

SECONDS = Metric(path="training.seconds", label="training", unit="s", digits=0)


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


def converged(row: Row, key: str) -> bool | None:
    """Whether every timing of this row converged; None where none says so."""
    known = [bool(flag) for t in row.trials if (flag := t.get(f"latency.{key}.converged")) is not None]
    return all(known) if known else None


def state_text(row: Row) -> str:
    """The row's state with the reasons of its failures."""
    return f"{row.state}: {'; '.join(row.reasons)}" if row.reasons else row.state


def seeds_text(row: Row) -> str:
    """'3', or '1 of 3' where trials are missing."""
    done, planned = len(row.complete), len(row.trials)
    return str(done) if done == planned else f"{done} of {planned}"


NAMES = (
    Column("#", lambda row: str(row.number)),
    Column("variant", lambda row: f"{row.label} (reference)" if row.is_reference else row.label, is_number=False),
)
SEEDS, STATE = Column("seeds", seeds_text), Column("state", state_text, is_number=False)


def _metric_column(metric: Metric) -> Column:
    return Column(axis_label(metric), lambda row: with_spread(row, metric))


def _ratio_column(key: str, study: StudyInfo) -> Column:
    """The ratio to the reference; an asterisk where any of the seeds' timings did not converge."""

    def cell(row: Row) -> str:
        text = with_spread(row, ratio_of(key))
        return text if text == NOTHING or converged(row, key) in (True, None) else f"{text}*"

    return Column(f"{study.metric(key).label} / reference [x]", cell)


def _cost_columns(study: StudyInfo) -> list[Column]:
    return [_metric_column(study.metric(name)) for name in COSTS]


def _result_columns(keys: Sequence[str], study: StudyInfo) -> list[Column]:
    latency = [column for key in keys for column in (_metric_column(study.metric(key)), _ratio_column(key, study))]
    return [*latency, *map(_metric_column, study.metrics.values()), _metric_column(SECONDS), SEEDS, STATE]


def columns(keys: Sequence[str], study: StudyInfo) -> list[Column]:
    """Every column of the full table: variant, costs, latency by device and batch, quality, training."""
    return [*NAMES, *_cost_columns(study), *_result_columns(keys, study)]


def main_columns(keys: Sequence[str], study: StudyInfo) -> list[Column]:
    """The few columns that fit a page."""
    return [*NAMES, *(_metric_column(metric) for _, metric in _main(keys, study)), SEEDS]


def _main(keys: Sequence[str], study: StudyInfo) -> list[tuple[str, Metric]]:
    """The metrics that matter most, with what a terminal calls them."""
    lead, *others = study.compared
    words = {"params": "params", "macs": "MACs", **{key: _place(key, study) for key in keys}}
    costs = [(f"{word} {study.metric(key).unit}".rstrip(), study.metric(key)) for key, word in words.items()]
    return [(_head(lead, study), study.metrics[lead]), *costs, *((_head(name, study), study.metrics[name]) for name in others)]


def _place(key: str, study: StudyInfo) -> str:
    """'cpu/1', of several kinds of hardware 'cpu/1 (AMD EPYC, 2 cores)'."""
    hardware = hardware_of(key, study)
    return key.partition("@")[0] + (f" ({hardware})" if hardware else "")


def _head(name: str, study: StudyInfo) -> str:
    metric = study.metrics[name]
    return metric.label if name == "ssim" else f"{name} {metric.unit}".strip()


def table_of(rows: Sequence[Row], chosen: Sequence[Column]) -> Table:
    """These columns as a table of a page."""
    return Table([c.heading for c in chosen], [c.is_number for c in chosen], [[c.cell(row) for c in chosen] for row in rows])


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
    write_csv(paths[0], [_flat_row(row, keys, study) for row in rows])
    notes = Bullets([literal(note) for note in footnotes(keys, rows)])
    page = [Heading(f"{literal(study.title)}: all variants", 1), table_of(rows, columns(keys, study)), notes]
    paths[1].write_text(to_markdown(page), **UTF8)
    paths[2].write_text(latex(rows, keys, study), **UTF8)
    write_csv(paths[3], [flat(record) for record in records])
    return paths


def _flat_row(row: Row, keys: Sequence[str], study: StudyInfo) -> dict[str, Any]:
    """A line of table.csv: exact values in base units (bytes, multiply-accumulates, milliseconds, seconds)."""
    line: dict[str, Any] = {"number": row.number, "variant": row.label, "is_reference": row.is_reference}
    line |= {f"factor_{f}": row.level(f) for f in study.factors}
    line |= {"network_key": row.network_key, "state": row.state, "reason": "; ".join(row.reasons)}
    line |= {"num_seeds": len(row.complete), "num_seeds_planned": len(row.trials)}
    names = {key: name_of(key) for key in keys}
    known = METRICS if study.leading == METRICS["loss"] else {**{name: METRICS[name] for name in COSTS}, **study.metrics}
    raw = {name: Metric(path=m.path, label=name) for name, m in known.items()} | {"training_seconds": SECONDS}
    for key, name in names.items():
        raw |= {f"{name}_ms": latency_of(key), f"{name}_ratio": ratio_of(key)}
    for name, metric in raw.items():
        mean = row.mean(metric)
        is_count = name in COSTS and mean is not None and mean.is_integer()
        line |= {name: int(mean) if is_count and mean is not None else mean, f"{name}_sd": row.sd(metric)}
    if reasons := dict.fromkeys(str(r) for t in row.trials if (r := t.get("costs.fvcore_reason"))):
        line["fvcore_reason"] = "; ".join(reasons)
    return line | {f"{name}_converged": converged(row, key) for key, name in names.items()}


def flat(record: Record) -> dict[str, Any]:
    """Everything that a trial stored, nested keys joined by dots and lists as JSON; without intervals of too few sittings."""
    latency = {key: without_doubtful_ends(entry) for key, entry in record.latency.items()}
    return dict(flatten({**record.to_dict(), "latency": latency}))


def latex(rows: Sequence[Row], keys: Sequence[str], study: StudyInfo) -> str:
    """Two booktabs long tables, what each variant costs and what it gives, to be \\input into a document."""
    notes = " ".join(footnotes(keys, rows))
    parts = ["% \\usepackage{booktabs,longtable} and, for wide pages, \\usepackage{pdflscape}"]
    for chosen, about in ((_cost_columns(study), "static costs"), (_result_columns(keys, study), "latency, quality and training")):
        table = table_of(rows, [*NAMES, *chosen])
        parts.append(longtable(table.headings, table.is_number, table.lines, f"{study.title}: {about}. {notes}"))
    return "\n\n".join(parts) + "\n"


def print_table(records: Iterable[Record], study: StudyInfo | None = None, *, width: int = 120) -> str:
    """The main columns as plain text, at most `width` characters wide; the caller prints it."""
    records, study = as_shown(records, study or StudyInfo(title=""))
    rows = rows_of(records, study)
    if not rows:
        return "No trials yet."
    keys = latency_keys(records)
    main = [*_main(keys, study), ("train s", SECONDS)]
    heads, metrics = ["#", "variant", *(head for head, _ in main), "seeds"], [metric for _, metric in main]
    cells = [
        [str(row.number), f"{row.label}{' (ref)' * row.is_reference}", *(with_spread(row, m) for m in metrics), seeds_text(row)]
        for row in rows
    ]
    lines = fixed(heads, cells, width, droppable=slice(3, -2))
    return "\n".join([*lines, *(f"#{row.number} {state_text(row)}" for row in rows if row.state != "complete")])
