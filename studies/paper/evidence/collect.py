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

from ablation.machine.files import write_atomic
from ablation.machine.hardware import git_commit, machine_name
from ablation.record.explanation import Explanation
from ablation.record.stored import attribution_of, explanation_of
from ablation.record.trial import COMPLETE, Record
from ablation.report.kit.numbers import joined
from studies.engine.config import StudyConfig
from studies.engine.reporting import current_records
from studies.paper.evidence.evidence import EXPLANATION_LIMIT, Evidence, Trial
from studies.paper.folder import GROUPS, HYPOTHESES, MODELS, SIDE_STUDIES, PaperFolder
from studies.store.storage import open_storage, study_names

# of what is measured of a trial: raise it when a measure changes
VERSION = 4
STALE = "measured by another version of this suite; the command of `paper` that made the study measures it again, without training"
# what an explanation of another version, or something else in its place, may raise
UNREADABLE = (LookupError, TypeError, ValueError, AttributeError)
# arm -> seed -> name -> array
Arrays = dict[str, dict[int, dict[str, NDArray[Any]]]]


def collect(folder: PaperFolder) -> Evidence:
    """All that the folder holds by now; what is not there yet is absent."""
    facts, plan, attribution = read_json(folder.facts), read_json(folder.plan), read_json(folder.attribution)
    (explanation, unread), (references, unmeasured) = _explanation(folder), _references(folder)
    hypotheses = {name for name, kind in facts.get("groups", {}).items() if kind == HYPOTHESES}
    stored = [(group, record) for group, records in stored_records(folder).items() for record in records]
    arms = [(group, record) for group, record in stored if group not in hypotheses]
    chosen = plan.get("asked", {}).get("groups", GROUPS)
    left_out = [f"Left out by --groups: {study}." for group, study in SIDE_STUDIES.items() if group not in chosen]
    return Evidence(
        scale=_scale(facts, [record for _, record in stored]),
        arms={record.label: described(record) for _, record in arms},
        trials=tuple(_trial(folder, group, record.label, record) for group, record in arms),
        hypotheses=tuple(_trial(folder, group, group, record) for group, record in stored if group in hypotheses),
        explanation=explanation,
        loss_attribution=tuple(map(attribution_of, attribution.get("attributions", ()))),
        loss_by_seed={name: tuple(values) for name, values in attribution.get("by_seed", {}).items()},
        references=references,
        speed=read_json(folder.speed),
        given_up=tuple(plan.get("given_up", ())),
        limits=(*facts.get("limits", ()), *left_out, *attribution.get("limits", ()), *unmeasured, *unread),
        provenance=_provenance(facts, [record for _, record in arms]),
    )


def _scale(facts: Mapping[str, Any], records: Sequence[Record]) -> dict[str, Any]:
    """The study's scale, with the hardware as the trials state it: all of it where they were trained on several."""
    scale = dict(facts.get("scale", {}))
    names = dict.fromkeys(name for record in records if (name := machine_name(record.provenance.get("hardware") or {})))
    return {**scale, "hardware": joined(names)} if names else scale


def _provenance(facts: Mapping[str, Any], records: Sequence[Record]) -> dict[str, Any]:
    """Where the trials come from, with the hardware that they state where they agree; and with which commit they are judged."""
    provenance = dict(facts.get("provenance", {}))
    hardware = [record.provenance["hardware"] for record in records if record.provenance.get("hardware")]
    if hardware and all(each == hardware[0] for each in hardware):
        provenance["hardware"] = hardware[0]
    again = [f"{sitting.get('started')}, commit {sitting.get('commit')}" for sitting in facts.get("sittings", ())]
    provenance |= {"gone on with": joined(again)} if again else {}
    return {**provenance, "judged with commit": git_commit()} if provenance else provenance


def described(record: Record) -> dict[str, Any]:
    """What is known of an arm's network."""
    return {"spec": dict(record.spec), "params": record.costs.get("params"), "macs": record.costs.get("macs")}


def _trial(folder: PaperFolder, group: str, arm: str, record: Record) -> Trial:
    analysis = read_json(folder.analysis(group, record.network_key, record.seed)) if record.state == COMPLETE else {}
    if analysis.get("stamp") != stamp(record):
        analysis = {}
    # a failed one has no version: its reason stands
    if analysis.get("version", VERSION) != VERSION:
        analysis = {"not_computed": {"analysis": STALE}}
    return Trial(arm=arm, record=record, analysis=analysis)


def stamp(record: Record) -> dict[str, Any]:
    """What ties an analysis to the weights that it was made of."""
    return {"best_loss": record.training.get("best_loss"), "best_epoch": record.training.get("best_epoch")}


def arrays_of(folder: PaperFolder, evidence: Evidence) -> Arrays:
    """Points, strips and reconstructions of every analysed trial of the models."""
    arrays: Arrays = {}
    names = np.array(read_json(folder.facts).get("attribute_names", []))
    for trial in evidence.trials:
        path = folder.analysis(MODELS, trial.record.network_key, trial.seed).with_suffix(".npz")
        if trial.analysis.get("version") == VERSION and path.is_file():
            try:
                with np.load(path) as stored:
                    arrays.setdefault(trial.arm, {})[trial.seed] = {**stored, "attribute_names": names}
            except (OSError, ValueError, zipfile.BadZipFile):
                continue  # a torn file is missing; the next run of the study makes it again
    return arrays


def stored_records(folder: PaperFolder) -> dict[str, list[Record]]:
    """Group -> one record for each of its jobs, in the order in which the groups were begun."""
    if not folder.journal.is_file():
        return {}
    storage = open_storage(folder.journal, must_exist=True)
    studies = {name: optuna.load_study(study_name=name, storage=storage) for name in study_names(storage)}
    return {
        name: current_records(study, StudyConfig.from_dict(study.user_attrs["config"]))
        for name, study in studies.items()
        if "config" in study.user_attrs
    }


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; empty where there is none, or a torn one."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # undecodable bytes and broken JSON are both a ValueError
        return {}
    return values if isinstance(values, dict) else {}


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Written whole or not at all."""
    write_atomic(path, json.dumps(values))


def as_explanation(values: Mapping[str, Any]) -> Explanation:
    """The explanation that a study holds, its own or lent; one of UNREADABLE for anything else."""
    return explanation_of({name: value for name, value in values.items() if name != "lent"})


def _explanation(folder: PaperFolder) -> tuple[Explanation | None, list[str]]:
    """What is stored, and why nothing is where something else is."""
    values = read_json(folder.explain / "explanation.json")
    try:
        return (as_explanation(values) if values else None), []
    except UNREADABLE as error:
        reason = f"stored by another version, it cannot be read ({type(error).__name__}: {error})"
        return None, [f"{EXPLANATION_LIMIT}: {reason}; the same command of `paper` makes it again."]


def _references(folder: PaperFolder) -> tuple[dict[str, Any], list[str]]:
    """References by name, and limits; none where they were measured by another version."""
    values = read_json(folder.references)
    if values and values.get("_version") != VERSION:
        return {}, [f"The references (mean face, PCA) were {STALE}."]
    return {name: reference for name, reference in values.items() if not name.startswith("_")}, values.get("_limits", [])
