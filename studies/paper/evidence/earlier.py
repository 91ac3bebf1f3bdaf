"""Evidence out of a folder that was published before `evidence.json.gz` was written: a table of trials, a ledger and a page."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ablation.record.trial import Record
from studies.paper.evidence.attribution import attributed
from studies.paper.evidence.collect import as_explanation, described, read_json
from studies.paper.evidence.evidence import MODIFIED, ORIGINAL, Evidence, Trial
from studies.paper.page.style import QUALITY

TRIALS, LEDGER, PAGE = EARLIER = ("trials.csv", "ledger.json", "paper.md")
# beside a study's page as it was published
EXPLAINED = Path("..") / "explain" / "explanation.json"
# keys and groups of keys whose values are text even where they look like numbers
TEXT = frozenset({"arm", "group", "network_key", "label", "state", "reason", "fingerprint", "commit", "name"})
TEXTS = ("factors.", "provenance.", "analysis.not_computed.", "analysis.latent.not_probed.")
WITHOUT_IMAGES = (
    "Judged again from what an earlier version published, which kept no values by image: where rules ask for the spread over test "
    "images (C7, C9, C10, C11, C13, T1, T2, T4), seeds alone decide. References are to the digits of that page."
)


def read_earlier(folder: Path) -> Evidence:
    """What trials.csv, ledger.json, paper.md and the explanation beside them hold. Giving the loss to the pieces takes torch."""
    ledger = json.loads((folder / LEDGER).read_text(encoding="utf-8"))
    groups: dict[str, list[Trial]] = {"model": [], "hypothesis": []}
    for group, trial in read_trials(folder / TRIALS):
        groups[group].append(trial)
    trials, explanation = tuple(groups["model"]), read_json(folder / EXPLAINED)
    attributions, by_seed, _ = attributed([trial.record for trial in trials])
    return Evidence(
        scale=ledger.get("scale", {}),
        arms={t.arm: described(t.record) for t in trials},
        trials=trials,
        hypotheses=tuple(groups["hypothesis"]),
        explanation=as_explanation(explanation) if explanation else None,
        loss_attribution=tuple(attributions),
        loss_by_seed=by_seed,
        references=_references((folder / PAGE).read_text(encoding="utf-8")),
        speed=_speed(ledger["verdicts"].get("C21", {}), ledger.get("scale", {})),
        given_up=tuple(ledger.get("given_up", ())),
        limits=(*ledger.get("limits", ()), WITHOUT_IMAGES),
        provenance=ledger.get("provenance", {}),
    )


def read_trials(path: Path) -> Iterable[tuple[str, Trial]]:
    """(group, trial) of each row of a trials.csv: of the paper's, or of any study, whose rows have no group and no arm."""
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield row.get("group", ""), _trial(row)


def _trial(row: Mapping[str, str]) -> Trial:
    tree: dict[str, Any] = {}
    for path, text in row.items():
        if text and path not in ("group", "arm"):
            *way, last = path.split(".")
            level = tree
            for key in way:
                level = level.setdefault(key, {})
            level[last] = _value(path, text)
    analysis = tree.pop("analysis", {})
    return Trial(arm=row.get("arm", ""), record=Record.from_dict({"reason": "", **tree}), analysis=analysis)


def _value(path: str, text: str) -> Any:
    """A cell as it was before it was written."""
    if path.rpartition(".")[2] in TEXT or path.startswith(TEXTS):
        return text
    if text in ("True", "False"):
        return text == "True"
    try:
        return json.loads(text)
    except ValueError:
        return text


def _references(page: str) -> dict[str, dict[str, Any]]:
    """Quality of the mean face and of PCA, from the page's tables."""
    names = {metric.label: name for name, metric in QUALITY.items()}
    references: dict[str, dict[str, Any]] = {}
    headings: Sequence[str] = ()
    for line in page.splitlines():
        cells = [cell.strip().partition(" [")[0] for cell in line.strip("|").split("|")]
        if line.startswith("| ") and any(label in cells for label in names):
            headings = cells
        elif re.match(r"\| (mean face|PCA)", line) and len(cells) == len(headings):
            values = {
                names[heading]: float(cell.replace("−", "-").replace(",", ""))
                for heading, cell in zip(headings, cells, strict=True)
                if heading in names and re.fullmatch(r"[−\d.,]+", cell)
            }
            references.setdefault(cells[0], {"quality": {"reporting": {}}})["quality"]["reporting"] |= values
    return references


def _speed(verdict: Mapping[str, Any], scale: Mapping[str, Any]) -> dict[str, Any]:
    """Training steps, as the verdict on them has them."""
    numbers = verdict.get("evidence", {})
    ratio = numbers.get("time of a training step, modified over original")
    if ratio is None:
        return {}
    steps = {f"{arm}_ms": numbers.get(f"training step, {arm}", {}).get("value") for arm in (ORIGINAL, MODIFIED)}
    facts = {name: scale.get(name) for name in ("batch_size", "device", "image_size")}
    return {"ratio": ratio["value"], "low": ratio["low"], "high": ratio["high"], **steps, **facts}
