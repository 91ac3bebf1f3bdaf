"""The ledger of claims: verdicts as CSV, Markdown and JSON, so that a sentence can be checked against them later. No torch."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ablation.report.kit.numbers import joined
from studies.paper.evidence.evidence import MISSES, Evidence
from studies.paper.rules.kinds import KINDS
from studies.paper.rules.numbers import plain
from studies.paper.rules.verdict import Verdict

VERSION = 2
# of the paper; C2 is judged in two parts
NUM_CLAIMS = 21
OF_VERDICT = ("id", "verdict", "claim", "found", "rule", "measurement", "scope", "section")
OF_NUMBER = ("quantity", "value", "low", "high", "unit", "source")
COLUMNS = (*OF_VERDICT, *OF_NUMBER)


def ledger_rows(verdicts: Iterable[Verdict]) -> list[dict[str, Any]]:
    """One row for each number behind each verdict; a verdict without numbers has one row."""
    rows = []
    for v in verdicts:
        own = (v.id, v.kind, v.says, v.sentence, v.rule, v.measurement, v.scope, v.link)
        numbers: list[tuple[Any, ...]] = [(n.name, n.value, n.low, n.high, n.unit, n.source) for n in v.evidence]
        rows += [dict(zip(COLUMNS, (*own, *number), strict=True)) for number in numbers or [(None,) * len(OF_NUMBER)]]
    return rows


def to_csv(verdicts: Iterable[Verdict]) -> str:
    """claims.csv: the rows, empty where there is nothing."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(ledger_rows(verdicts))
    return text.getvalue()


def to_markdown(verdicts: Iterable[Verdict]) -> str:
    """A table of id, verdict, claim with what was found and where, and rule."""
    lines = ["| | verdict | claim and what was found | rule |", "| --- | --- | --- | --- |"]
    for v in verdicts:
        scope = f" ({v.scope})" if v.scope else ""
        lines.append(f"| {v.id} | **{v.kind}** | *{_cell(v.says)}*<br>{_cell(v.sentence + scope)} | {_cell(v.rule)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def to_json(verdicts: Sequence[Verdict], evidence: Evidence | None = None) -> str:
    """ledger.json: verdicts by id, each with its numbers by name; how many of each kind; the study's scale and provenance."""
    together = max((v.together for v in verdicts), default=0)
    correction = {"method": "Holm", "together": together, "family_wise_error": MISSES}
    values: dict[str, Any] = {"version": VERSION, "counts": counts(verdicts), "correction": correction}
    if evidence is not None:
        values |= {"scale": dict(evidence.scale), "provenance": dict(evidence.provenance)}
        values |= {"given_up": list(evidence.given_up), "limits": list(evidence.limits)}
    return json.dumps({**values, "verdicts": {v.id: v.to_dict() for v in verdicts}}, indent=2, ensure_ascii=False) + "\n"


def from_json(text: str) -> tuple[Verdict, ...]:
    """The verdicts of a ledger.json."""
    return tuple(Verdict.from_dict(values) for values in json.loads(text)["verdicts"].values())


def counts(verdicts: Iterable[Verdict]) -> dict[str, dict[str, int]]:
    """{"C": {"holds": 9, ...}, "T": ...}: the paper's claims, and Toledo and Antonelo's findings."""
    kinds = Counter((v.id[0], v.kind) for v in verdicts)
    return {letter: {kind: kinds[letter, kind] for kind in KINDS} for letter in dict.fromkeys(letter for letter, _ in kinds)}


def counts_text(verdicts: Iterable[Verdict]) -> str:
    """'Of 22 verdicts on 21 claims 9 hold, 8 fail and 5 are undecided.' of the paper's claims, of which C2 has two parts."""
    number: Mapping[str, int] = counts(verdicts).get("C", dict.fromkeys(KINDS, 0))
    words = {"holds": ("holds", "hold"), "fails": ("fails", "fail"), "undecided": ("is undecided", "are undecided")}
    each = joined(f"{plain(num)} {words[kind][num != 1]}" for kind, num in number.items() if num)
    return f"Of {sum(number.values())} verdicts on {NUM_CLAIMS} claims {each}."


def write_ledger(verdicts: Sequence[Verdict], folder: Path, evidence: Evidence | None = None) -> list[Path]:
    """claims.csv, claims.md and ledger.json below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"claims.csv": to_csv(verdicts), "claims.md": to_markdown(verdicts), "ledger.json": to_json(verdicts, evidence)}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]
