"""What of a study is published beside its page, to judge it again without its folder.

`evidence.json.gz` holds values by seed, and by image where a rule needs them; never a picture. Folders that were published before
it was written have a CSV file of every number of every trial instead, from which most is read back.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import sys
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ablation.machine.hardware import git_commit
from ablation.record.convert import to_plain
from ablation.record.stored import attribution_of
from ablation.record.trial import Record
from blocks.errors import must_be
from studies.paper.evidence.collect import UNREADABLE, VERSION, as_explanation, attributed, loss_by_seed, read_json
from studies.paper.evidence.evidence import MODIFIED, ORIGINAL, Evidence, Trial
from studies.paper.page import look
from studies.paper.rules.rules import rounded

EVIDENCE, TRIALS, LEDGER, PAGE = "evidence.json.gz", "trials.csv", "ledger.json", "paper.md"
FORMAT = 1
PLAIN = ("scale", "arms", "references", "speed", "given_up", "limits", "provenance", "loss_by_seed")
# what T1 and T4 ask for by image
OF_HYPOTHESES = frozenset({"l1_inside", "ms_ssim", "lpips"})
# beside a study's page as it was published
EXPLAINED = Path("..") / "explain" / "explanation.json"
# keys and groups of keys whose values are text even where they look like numbers
TEXT = frozenset({"arm", "group", "network_key", "label", "state", "reason", "fingerprint", "commit", "name"})
TEXTS = ("factors.", "provenance.", "analysis.not_computed.", "analysis.latent.not_probed.")
WITHOUT_IMAGES = (
    "Judged again from what an earlier version published, which kept no values by image: where rules ask for the spread over test "
    "images (C7, C9, C10, C11, C13, T1, T2, T4), seeds alone decide. References are to the digits of that page."
)


def is_published(folder: Path) -> bool:
    """Whether a study can be judged again from this folder of its page."""
    return (folder / EVIDENCE).is_file() or all((folder / name).is_file() for name in (TRIALS, LEDGER, PAGE))


def read_published(folder: Path) -> Evidence:
    """The evidence that was published; InputError for what cannot be read."""
    name = EVIDENCE if (folder / EVIDENCE).is_file() else TRIALS
    try:
        found = _read(folder / EVIDENCE) if name == EVIDENCE else _read_earlier(folder)
    except (*UNREADABLE, OSError, EOFError, zlib.error, csv.Error) as error:
        remedy = f"It cannot be read ({type(error).__name__}: {error})."
        raise must_be(name, "what `report FOLDER --to DIR` writes of a study of the paper", str(folder / name), remedy) from None
    found = replace(found, provenance={**found.provenance, "judged with commit": git_commit()})
    versions = {t.analysis["version"] for t in (*found.trials, *found.hypotheses) if "version" in t.analysis} - {VERSION}
    if not versions:
        return found
    old = f"Measured by version {', '.join(map(str, sorted(versions)))} of the measures, and judged by today's rules."
    return replace(found, limits=(*(limit for limit in found.limits if limit != old), old))


def write_evidence(evidence: Evidence, folder: Path) -> Path:
    """`evidence.json.gz`: the same evidence gives the same bytes."""
    plain: dict[str, Any] = {name: getattr(evidence, name) for name in PLAIN}
    plain["references"] = {name: {k: v for k, v in row.items() if k != "per_image"} for name, row in evidence.references.items()}
    plain |= {"format": FORMAT, "loss_attribution": to_plain(evidence.loss_attribution)}
    plain["explanation"] = None if evidence.explanation is None else to_plain(evidence.explanation)
    plain["trials"] = [_plain(trial, trial.arm in look.PAIR) for trial in evidence.trials]
    plain["hypotheses"] = [_plain(trial, OF_HYPOTHESES) for trial in evidence.hypotheses]
    path = folder / EVIDENCE
    path.write_bytes(gzip.compress(json.dumps(plain, default=dict).encode(), mtime=0))
    return path


def _plain(trial: Trial, by_image: bool | frozenset[str]) -> dict[str, Any]:
    """A trial; values by image as the rules read them: all, none, or those of these metrics."""
    analysis = {name: value for name, value in trial.analysis.items() if name != "per_image"}
    values = trial.analysis.get("per_image") or {}
    kept = [name for name in values if by_image is True or (by_image and name in by_image)]
    if kept:
        analysis["per_image"] = {name: [None if v is None else rounded(v) for v in values[name]] for name in kept}
    return {"arm": trial.arm, "record": trial.record.to_dict(), "analysis": analysis}


def _read(path: Path) -> Evidence:
    plain = json.loads(gzip.decompress(path.read_bytes()))
    for name in ("trials", "hypotheses"):
        plain[name] = tuple(Trial(arm=t["arm"], record=Record.from_dict(t["record"]), analysis=t["analysis"]) for t in plain[name])
    explanation = None if plain["explanation"] is None else as_explanation(plain["explanation"])
    made: dict[str, Any] = {name: plain[name] for name in (*PLAIN, "trials", "hypotheses")}
    made |= {name: tuple(plain[name]) for name in ("given_up", "limits")}
    made |= {"loss_by_seed": {name: tuple(values) for name, values in plain["loss_by_seed"].items()}, "explanation": explanation}
    return Evidence(**made, loss_attribution=tuple(attribution_of(values) for values in plain["loss_attribution"]))


def _read_earlier(folder: Path) -> Evidence:
    """What trials.csv, ledger.json, paper.md and the explanation beside them hold. Giving the loss to the pieces takes torch."""
    ledger = json.loads((folder / LEDGER).read_text(encoding="utf-8"))
    trials = {"model": [], "hypothesis": []}  # type: dict[str, list[Trial]]
    for row in _rows(folder / TRIALS):
        trials[row["group"]].append(_trial(row))
    records = [trial.record for trial in trials["model"]]
    explanation = read_json(folder / EXPLAINED)
    return Evidence(
        scale=ledger.get("scale", {}),
        arms={t.arm: {"spec": t.record.spec, **{c: t.record.costs.get(c) for c in ("params", "macs")}} for t in trials["model"]},
        trials=tuple(trials["model"]),
        hypotheses=tuple(trials["hypothesis"]),
        explanation=as_explanation(explanation) if explanation else None,
        loss_attribution=attributed(records)[0],
        loss_by_seed=loss_by_seed(records),
        references=_references((folder / PAGE).read_text(encoding="utf-8")),
        speed=_speed(ledger["verdicts"].get("C21", {}), ledger.get("scale", {})),
        given_up=tuple(ledger.get("given_up", ())),
        limits=(*ledger.get("limits", ()), WITHOUT_IMAGES),
        provenance=ledger.get("provenance", {}),
    )


def _rows(path: Path) -> Iterable[dict[str, str]]:
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


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
    return Trial(arm=row["arm"], record=Record.from_dict({"reason": "", **tree}), analysis=analysis)


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
    names, found = {metric.label: name for name, metric in look.QUALITY.items()}, {}  # type: dict[str, str], dict[str, dict[str, Any]]
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
            found.setdefault(cells[0], {"quality": {"reporting": {}}})["quality"]["reporting"] |= values
    return found


def _speed(verdict: Mapping[str, Any], scale: Mapping[str, Any]) -> dict[str, Any]:
    """Training steps, as the verdict on them has them."""
    numbers = verdict.get("evidence", {})
    ratio = numbers.get("time of a training step, modified over original")
    if ratio is None:
        return {}
    steps = {f"{arm}_ms": numbers.get(f"training step, {arm}", {}).get("value") for arm in (ORIGINAL, MODIFIED)}
    facts = {name: scale.get(name) for name in ("batch_size", "device", "image_size")}
    return {"ratio": ratio["value"], "low": ratio["low"], "high": ratio["high"], **steps, **facts}
