"""Evidence out of a study's folder: records from Optuna, analyses and arrays beside it. No torch, no training, no GPU."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from ablation.attribute.factorial import Factorial
from ablation.attribute.trained import attribute_all, attribute_trained
from ablation.design.spec import ModelSpec
from ablation.machine.hardware import git_commit, machine_name
from ablation.record.attribution import Attribution
from ablation.record.explanation import Explanation
from ablation.record.stored import attribution_of, explanation_of
from ablation.record.trial import COMPLETE, Record
from blocks.errors import InputError
from studies.engine.config import StudyConfig
from studies.engine.reporting import current_records
from studies.paper.evidence.evidence import EXPLANATION_LIMIT, MODIFIED, ORIGINAL, Evidence, Trial
from studies.paper.folder import GROUPS, HYPOTHESES, MODELS, SIDE_STUDIES, PaperFolder
from studies.paper.rules.verdict import joined
from studies.store.storage import open_storage, study_names

VERSION = 4  # of what is measured of a trial: raise it when a measure changes
STALE = "measured by another version of this suite; the command of `paper` that made the study measures it again, without training"

# what an explanation of another version, or something else in its place, may raise
UNREADABLE = (LookupError, TypeError, ValueError, AttributeError)
Arrays = dict[str, dict[int, dict[str, NDArray[Any]]]]  # arm -> seed -> name -> array


def collect(folder: PaperFolder) -> Evidence:
    """All that the folder holds by now; what is not there yet is absent."""
    facts, plan = read_json(folder.facts), read_json(folder.plan)
    (explanation, unread), (references, unmeasured) = _explanation(folder), _references(folder)
    found = stored_records(folder)
    hypotheses = {name for name, kind in facts.get("groups", {}).items() if kind == HYPOTHESES}
    arms = [(group, record) for group, records in found.items() if group not in hypotheses for record in records]
    return Evidence(
        scale=_scale(facts, [record for records in found.values() for record in records]),
        arms={record.label: _described(record) for _, record in arms},
        trials=tuple(_trial(folder, group, record.label, record) for group, record in arms),
        hypotheses=tuple(_trial(folder, g, g, record) for g in found if g in hypotheses for record in found[g]),
        explanation=explanation,
        loss_attribution=tuple(attribution_of(values) for values in read_json(folder.attribution).get("attributions", ())),
        loss_by_seed={name: tuple(values) for name, values in read_json(folder.attribution).get("by_seed", {}).items()},
        references=references,
        speed=read_json(folder.speed),
        given_up=tuple(plan.get("given_up", ())),
        limits=(
            *facts.get("limits", ()),
            *_left_out(plan.get("asked", {}).get("groups", GROUPS)),
            *read_json(folder.attribution).get("limits", ()),
            *unmeasured,
            *unread,
        ),
        provenance=_provenance(facts, [record for _, record in arms]),
    )


def loss_by_seed(records: Sequence[Record]) -> dict[str, tuple[float, ...]]:
    """Piece -> its Shapley value in the validation loss with each seed that all networks have; empty without one.

    Specs are made for it, which takes torch.
    """
    complete, factorial = _factorial(records)
    if factorial is None:
        return {}
    by_seed: dict[int, list[Record]] = {}
    for record in complete:
        by_seed.setdefault(record.seed, []).append(record)
    networks = {record.network_key for record in complete}
    try:
        found = [
            attribute_trained(factorial, held, "loss").shapley
            for _, held in sorted(by_seed.items())
            if {record.network_key for record in held} == networks
        ]
    except InputError:
        return {}  # the networks between the two were not trained; `attribution.json` has the reason
    return {name: tuple(effects[name].value for effects in found) for name in found[0]} if found else {}


def attributed(records: Sequence[Record]) -> tuple[tuple[Attribution, ...], list[str]]:
    """Loss, SSIM and PSNR given to the pieces, from all trials, and why any is not. Takes torch, too."""
    complete, factorial = _factorial(records)
    if factorial is None:
        return (), []
    found, limits = attribute_all(factorial, complete)
    return tuple(found), limits


def _factorial(records: Sequence[Record]) -> tuple[list[Record], Factorial | None]:
    """Complete trials, and all networks between the two of the paper; None unless both were trained."""
    complete = [record for record in records if record.state == COMPLETE]
    pair = {r.label: ModelSpec.from_dict(r.spec) for r in complete if r.label in (ORIGINAL, MODIFIED)}
    return complete, Factorial.between(pair[ORIGINAL], pair[MODIFIED]) if len(pair) == 2 else None


def _scale(facts: Mapping[str, Any], records: Sequence[Record]) -> dict[str, Any]:
    """The study's scale, with the hardware by the trials' own word: all of it where they were trained on several."""
    told = dict(facts.get("scale", {}))
    names = dict.fromkeys(name for record in records if (name := machine_name(record.provenance.get("hardware") or {})))
    return {**told, "hardware": joined(names)} if names else told


def _provenance(facts: Mapping[str, Any], records: Sequence[Record]) -> dict[str, Any]:
    """Where the trials come from, by their own word about hardware where they agree; and with which commit they are judged."""
    told = dict(facts.get("provenance", {}))
    hardware = [record.provenance["hardware"] for record in records if record.provenance.get("hardware")]
    if hardware and all(found == hardware[0] for found in hardware):
        told["hardware"] = hardware[0]
    again = [f"{sitting.get('started')}, commit {sitting.get('commit')}" for sitting in facts.get("sittings", ())]
    told |= {"gone on with": joined(again)} if again else {}
    return {**told, "judged with commit": git_commit()} if told else told


def _left_out(groups: Sequence[str]) -> list[str]:
    """What the flag --groups left out."""
    return [f"Left out by --groups: {what}." for group, what in SIDE_STUDIES.items() if group not in groups]


def arrays_of(folder: PaperFolder, evidence: Evidence) -> Arrays:
    """Points, strips and reconstructions of every analysed trial of the models."""
    found: Arrays = {}
    names = np.array(read_json(folder.facts).get("attribute_names", []))
    for trial in evidence.trials:
        path = folder.analysis(MODELS, trial.record.network_key, trial.seed).with_suffix(".npz")
        if trial.analysis.get("version") == VERSION and path.is_file():
            try:
                with np.load(path) as stored:
                    found.setdefault(trial.arm, {})[trial.seed] = {**stored, "attribute_names": names}
            except (OSError, ValueError, zipfile.BadZipFile):
                continue  # a torn file is missing; the next run of the study makes it again
    return found


def stored_records(folder: PaperFolder) -> dict[str, list[Record]]:
    """Group -> one record for each of its jobs, in the order in which the groups were begun."""
    if not folder.journal.is_file():
        return {}
    storage = open_storage(folder.journal, must_exist=True)
    found: dict[str, list[Record]] = {}
    for name in study_names(storage):
        study = optuna.load_study(study_name=name, storage=storage)
        if "config" in study.user_attrs:
            found[name] = current_records(study, StudyConfig.from_dict(study.user_attrs["config"]))
    return found


def stamp(record: Record) -> dict[str, Any]:
    """What ties an analysis to the weights that it was made of."""
    return {"best_loss": record.training.get("best_loss"), "best_epoch": record.training.get("best_epoch")}


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; empty where there is none, or a torn one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # undecodable bytes and broken JSON are both a ValueError
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Written whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(values), encoding="utf-8")
    temporary.replace(path)


def _trial(folder: PaperFolder, group: str, arm: str, record: Record) -> Trial:
    analysis = read_json(folder.analysis(group, record.network_key, record.seed)) if record.state == COMPLETE else {}
    if not analysis or analysis.get("stamp") != stamp(record):
        return Trial(arm=arm, record=record, analysis={})
    if analysis.get("version", VERSION) != VERSION:  # a failed one has no version: its reason stands
        return Trial(arm=arm, record=record, analysis={"not_computed": {"analysis": STALE}})
    return Trial(arm=arm, record=record, analysis=analysis)


def _described(record: Record) -> dict[str, Any]:
    return {"spec": dict(record.spec), "params": record.costs.get("params"), "macs": record.costs.get("macs")}


def as_explanation(values: Mapping[str, Any]) -> Explanation:
    """The explanation that a study holds, its own or lent; one of UNREADABLE for anything else."""
    return explanation_of({name: value for name, value in values.items() if name != "lent"})


def _explanation(folder: PaperFolder) -> tuple[Explanation | None, list[str]]:
    """What is stored, and why nothing is where something else is."""
    values = read_json(folder.explain / "explanation.json")
    try:
        return (as_explanation(values) if values else None), []
    except UNREADABLE as error:
        told = f"stored by another version, it cannot be read ({type(error).__name__}: {error})"
        return None, [f"{EXPLANATION_LIMIT}: {told}; the same command of `paper` makes it again."]


def _references(folder: PaperFolder) -> tuple[dict[str, Any], list[str]]:
    """References by name, and limits; none where they were measured by another version."""
    values = read_json(folder.references)
    if values and values.get("_version") != VERSION:
        return {}, [f"The references (mean face, PCA) were {STALE}."]
    return {name: found for name, found in values.items() if not name.startswith("_")}, values.get("_limits", [])
