"""`claims`: the paper's claims with the rules that settle them; of a study, the ledger: verdicts and the numbers behind each.

No torch and no training: a study is judged again from what it has stored.
"""

from __future__ import annotations

import json
import re
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from blocks.errors import choices, must_be
from studies.options import ClaimsOptions
from studies.paper.claims.judge import CLAIMS, CORRECTION, GPU_POLICY, PAPER_CLAIMS, RULES_CHANGED, judge
from studies.paper.claims.ledger import counts_text, from_json, to_csv, to_json
from studies.paper.evidence.collect import collect
from studies.paper.evidence.published import is_published, read_published
from studies.paper.folder import PaperFolder
from studies.paper.rules.verdict import Verdict

ID = re.compile(r"[CT]\d+[ab]?")
LEDGER = "ledger.json"
INDENT = " " * 15  # of what stands below a claim's id and verdict


def run_claims(options: ClaimsOptions) -> int:
    """Print the rules, or a study's verdicts: a line each, or all that is behind those that are named."""
    ids = [word for word in options.words if ID.fullmatch(word)]
    folders = [Path(word) for word in options.words if not ID.fullmatch(word)]
    for name in ids:
        if not any(_is_of(claim.id, [name]) for claim in CLAIMS):
            raise must_be("ID", choices(claim.id for claim in CLAIMS), name)
    if len(folders) > 1:
        raise must_be("FOLDER", "one study of the paper", [str(folder) for folder in folders])
    if not folders and options.format != "text":
        raise must_be("FOLDER", f"a study of the paper with --format {options.format}", None)
    print(_study(folders[0], ids, options.format) if folders else _rules(ids))
    return 0


def _rules(ids: Sequence[str]) -> str:
    """The claims with the rules that settle them; of all claims, what holds for every rule too."""
    parts = [
        "\n".join([f"{claim.id:<4} {claim.says}", *_paragraphs({"measured": claim.measurement, "rule": claim.rule})])
        for claim in CLAIMS
        if not ids or _is_of(claim.id, ids)
    ]
    common = {"corrected": CORRECTION, "hardware": GPU_POLICY, "changed": RULES_CHANGED}
    return "\n\n".join([*parts, *([] if ids else _paragraphs(common))])


def _study(folder: Path, ids: Sequence[str], form: str) -> str:
    """A study's ledger, whole or of the claims named, in one of the formats."""
    text = ledger_of(folder)
    try:
        every = from_json(text)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = f"It cannot be read ({type(error).__name__}: {error}). `report FOLDER` writes it again."
        raise must_be(LEDGER, "the ledger that `paper` writes", str(folder / LEDGER), remedy) from None
    chosen = [verdict for verdict in every if not ids or _is_of(verdict.id, ids)]
    if form == "json":
        return json.dumps({**json.loads(text), "verdicts": {v.id: v.to_dict() for v in chosen}}, indent=2, ensure_ascii=False)
    if form == "csv":
        return to_csv(chosen).removesuffix("\n")
    if ids:
        return "\n\n".join(map(_whole, chosen))
    return "\n".join([*(f"{v.id:<4} {v.kind:<10} {v.sentence}" for v in chosen), counts_text(every)])


def _is_of(name: str, ids: Sequence[str]) -> bool:
    """Whether a claim is one of these or a part of one: C2a is of C2."""
    return name in ids or name.rstrip("ab") in ids


def ledger_of(folder: Path) -> str:
    """The ledger as JSON: of a study's folder or its published page, judged again; of a ledger.json alone, as stored.

    InputError for any other folder.
    """
    if PaperFolder(folder).plan.is_file() or is_published(folder):
        evidence = collect(PaperFolder(folder)) if PaperFolder(folder).plan.is_file() else read_published(folder)
        return to_json(judge(evidence), evidence)
    if not (folder / LEDGER).is_file():
        raise must_be(
            "FOLDER",
            f"a study of `paper`, or a folder with its {LEDGER}",
            str(folder),
            f"Ids are {CLAIMS[0].id} to {PAPER_CLAIMS[-1].id} and {CLAIMS[len(PAPER_CLAIMS)].id} to {CLAIMS[-1].id}.",
        )
    try:
        return (folder / LEDGER).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise must_be(LEDGER, "a readable file of UTF-8 text", str(folder / LEDGER), f"{error}.") from None


def _whole(verdict: Verdict) -> str:
    """A verdict with its rule and the numbers behind it."""
    texts = {"found": verdict.sentence, "where": verdict.scope, "measured": verdict.measurement, "rule": verdict.rule}
    width = max((len(number.name) for number in verdict.evidence), default=0)
    numbers = [f"{INDENT}{number.name:<{width}}  {number.text}  [{number.source}]" for number in verdict.evidence]
    head = f"{verdict.id:<4} {verdict.kind:<9} {verdict.says}"
    return "\n".join([head, *_paragraphs(texts), *(["     numbers", *numbers] if numbers else [])])


def _paragraphs(texts: Mapping[str, str]) -> list[str]:
    """Named paragraphs, wrapped to the terminal."""
    width = min(120, shutil.get_terminal_size().columns)
    shown = {f"     {name:<10}": text for name, text in texts.items() if text}
    return [textwrap.fill(text, width, initial_indent=head, subsequent_indent=INDENT) for head, text in shown.items()]
