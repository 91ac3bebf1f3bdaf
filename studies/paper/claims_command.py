"""`claims`: the paper's claims with the rules that settle them; of a study, the ledger: verdicts and the numbers behind each.

No torch and no training: a study is judged again from what it has stored.
"""

from __future__ import annotations

import json
import re
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path

from blocks.errors import choices, must_be
from studies.options import ClaimsOptions
from studies.paper.claims.judge import CLAIMS, CORRECTION, GPU_POLICY, PAPER_CLAIMS, RULES_CHANGED, judge
from studies.paper.claims.ledger import counts_text, from_json, to_csv, to_json
from studies.paper.evidence.collect import collect
from studies.paper.evidence.published import is_published, read_published
from studies.paper.folder import PaperFolder
from studies.paper.rules.verdict import Claim, Verdict

ID = re.compile(r"[CT]\d+[ab]?")
LEDGER = "ledger.json"
INDENT = " " * 15  # of what stands below a claim's id and verdict


def run_claims(options: ClaimsOptions) -> int:
    """Print the rules, or a study's verdicts: a line each, or all that is behind those that are named."""
    ids = [text for text in options.words if ID.fullmatch(text)]
    folders = [Path(text) for text in options.words if not ID.fullmatch(text)]
    for name in ids:
        if not any(_is_of(claim.id, [name]) for claim in CLAIMS):
            raise must_be("ID", choices(claim.id for claim in CLAIMS), name)
    if len(folders) > 1:
        raise must_be("FOLDER", "one study of the paper", [str(folder) for folder in folders])
    if not folders:
        if options.format != "text":
            raise must_be("FOLDER", f"a study of the paper with --format {options.format}", None)
        told = [_rule(claim) for claim in CLAIMS if not ids or _is_of(claim.id, ids)]
        print(
            "\n\n".join(
                [*told, *([] if ids else _told({"corrected": CORRECTION, "hardware": GPU_POLICY, "changed": RULES_CHANGED}, at=5))]
            )
        )
        return 0
    text = ledger_of(folders[0])
    try:
        every = from_json(text)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = f"It cannot be read ({type(error).__name__}: {error}). `report FOLDER` writes it again."
        raise must_be(LEDGER, "the ledger that `paper` writes", str(folders[0] / LEDGER), remedy) from None
    chosen = [verdict for verdict in every if not ids or _is_of(verdict.id, ids)]
    if options.format == "json":
        print(json.dumps({**json.loads(text), "verdicts": {v.id: v.to_dict() for v in chosen}}, indent=2, ensure_ascii=False))
    elif options.format == "csv":
        print(to_csv(chosen), end="")
    else:
        print("\n\n".join(map(_whole, chosen)) if ids else "\n".join([*map(_line, chosen), counts_text(every)]))
    return 0


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


def _line(verdict: Verdict) -> str:
    return f"{verdict.id:<4} {verdict.kind:<10} {verdict.sentence}"


def _rule(claim: Claim) -> str:
    return "\n".join([f"{claim.id:<4} {claim.says}", *_told({"measured": claim.measurement, "rule": claim.rule}, at=5)])


def _whole(verdict: Verdict) -> str:
    told = {"found": verdict.sentence, "where": verdict.scope, "measured": verdict.measurement, "rule": verdict.rule}
    width = max((len(number.name) for number in verdict.evidence), default=0)
    numbers = [f"{INDENT}{number.name:<{width}}  {number.text}  [{number.source}]" for number in verdict.evidence]
    return "\n".join(
        [f"{verdict.id:<4} {verdict.kind:<9} {verdict.says}", *_told(told, at=5), *(["     numbers", *numbers] if numbers else [])]
    )


def _told(parts: dict[str, str], at: int) -> Sequence[str]:
    """Named paragraphs, wrapped to the terminal."""
    width = min(120, shutil.get_terminal_size().columns)
    return [
        textwrap.fill(text, width, initial_indent=f"{'':{at}}{name:<10}", subsequent_indent=INDENT)
        for name, text in parts.items()
        if text
    ]
