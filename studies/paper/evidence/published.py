"""What of a study is published beside its page, to judge it again without its folder.

`evidence.json.gz` holds values by seed, and by image where a rule needs them; never a picture. Folders that were published before
it was written have a CSV file of every number of every trial instead: `earlier` reads most back from that.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from ablation.machine.hardware import git_commit
from ablation.record.convert import to_plain
from ablation.record.stored import attribution_of
from ablation.record.trial import Record
from blocks.errors import must_be
from studies.paper.evidence.collect import UNREADABLE, VERSION, as_explanation
from studies.paper.evidence.earlier import EARLIER, TRIALS, read_earlier
from studies.paper.evidence.evidence import MODIFIED, ORIGINAL, Evidence, Trial, rounded

EVIDENCE = "evidence.json.gz"
FORMAT = 1
PLAIN = ("scale", "arms", "references", "speed", "given_up", "limits", "provenance", "loss_by_seed")
# what T1 and T4 ask for by image
OF_HYPOTHESES = frozenset({"l1_inside", "ms_ssim", "lpips"})


def is_published(folder: Path) -> bool:
    """Whether a study can be judged again from this folder of its page."""
    return (folder / EVIDENCE).is_file() or all((folder / name).is_file() for name in EARLIER)


def read_published(folder: Path) -> Evidence:
    """The evidence that was published; InputError for what cannot be read."""
    name, read = (EVIDENCE, _read) if (folder / EVIDENCE).is_file() else (TRIALS, read_earlier)
    try:
        evidence = read(folder)
    except (*UNREADABLE, OSError, EOFError, zlib.error, csv.Error) as error:
        remedy = f"It cannot be read ({type(error).__name__}: {error})."
        raise must_be(name, "what `report FOLDER --to DIR` writes of a study of the paper", str(folder / name), remedy) from None
    evidence = replace(evidence, provenance={**evidence.provenance, "judged with commit": git_commit()})
    trials = (*evidence.trials, *evidence.hypotheses)
    versions = {t.analysis["version"] for t in trials if "version" in t.analysis} - {VERSION}
    if not versions:
        return evidence
    old = f"Measured by version {', '.join(map(str, sorted(versions)))} of the measures, and judged by today's rules."
    return replace(evidence, limits=(*(limit for limit in evidence.limits if limit != old), old))


def write_evidence(evidence: Evidence, folder: Path) -> Path:
    """`evidence.json.gz`: the same evidence gives the same bytes."""
    plain: dict[str, Any] = {name: getattr(evidence, name) for name in PLAIN}
    plain["references"] = {name: {k: v for k, v in row.items() if k != "per_image"} for name, row in evidence.references.items()}
    plain |= {"format": FORMAT, "loss_attribution": to_plain(evidence.loss_attribution)}
    plain["explanation"] = None if evidence.explanation is None else to_plain(evidence.explanation)
    plain["trials"] = [_plain(trial, None if trial.arm in (ORIGINAL, MODIFIED) else frozenset()) for trial in evidence.trials]
    plain["hypotheses"] = [_plain(trial, OF_HYPOTHESES) for trial in evidence.hypotheses]
    path = folder / EVIDENCE
    path.write_bytes(gzip.compress(json.dumps(plain, default=dict).encode(), mtime=0))
    return path


def _plain(trial: Trial, metrics: frozenset[str] | None) -> dict[str, Any]:
    """A trial, with values by image as the rules read them: of these metrics, or of all."""
    analysis = {name: value for name, value in trial.analysis.items() if name != "per_image"}
    by_image = {name: v for name, v in (trial.analysis.get("per_image") or {}).items() if metrics is None or name in metrics}
    if by_image:
        analysis["per_image"] = {name: [None if v is None else rounded(v) for v in vs] for name, vs in by_image.items()}
    return {"arm": trial.arm, "record": trial.record.to_dict(), "analysis": analysis}


def _read(folder: Path) -> Evidence:
    plain = json.loads(gzip.decompress((folder / EVIDENCE).read_bytes()))
    values: dict[str, Any] = {name: plain[name] for name in PLAIN}
    for name in ("trials", "hypotheses"):
        values[name] = tuple(Trial(arm=t["arm"], record=Record.from_dict(t["record"]), analysis=t["analysis"]) for t in plain[name])
    values |= {name: tuple(plain[name]) for name in ("given_up", "limits")}
    values["loss_by_seed"] = {name: tuple(by_seed) for name, by_seed in plain["loss_by_seed"].items()}
    values["loss_attribution"] = tuple(map(attribution_of, plain["loss_attribution"]))
    values["explanation"] = None if plain["explanation"] is None else as_explanation(plain["explanation"])
    return Evidence(**values)
