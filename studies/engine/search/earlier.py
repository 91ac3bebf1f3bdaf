"""Warm start: trials of earlier studies of the same data and protocol, so that nothing is trained twice and samplers know more.

A network that an earlier study trained with the same seed and the whole protocol of this one is not trained again when it is asked
for: it is timed here and held to the limits, and takes over what the training gave, with its origin. All others that the space has
are observations of the sampler. The records are kept with the study, so that workers on every machine see them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna

from ablation.design.protocol import FACTORS, LOSS, Protocol
from ablation.design.protocol import LATER as LATER_OF_PROTOCOLS
from ablation.design.spec import ModelSpec
from ablation.design.variant import Variant, network_of
from ablation.machine.hardware import digest_of
from ablation.machine.text import first_line
from ablation.record.trial import COMPLETE, Record
from blocks.errors import InputError
from studies.engine.config import StudyConfig, StudyFolder
from studies.engine.folder import holder
from studies.store.latency import kinds
from studies.store.records import records
from studies.store.storage import get_system_attrs, open_storage, set_system_attr, study_names

EARLIER = "earlier:"  # prefix of hidden study attributes, one for each variant and seed
COPIED = "copied_from"  # in the provenance of a record that took over a training
LONG = ("kl_per_dim",)  # entries of an epoch's log that are not kept


@dataclass(frozen=True, kw_only=True)
class EarlierRecord:
    """A complete trial of another study, as one of this study's protocol."""

    record: Record  # its network_key is the variant's in this study
    origin: Mapping[str, Any]  # folder, study, number of the trial


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What earlier studies have for this one."""

    records: tuple[EarlierRecord, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)  # folder, or folder and study -> why nothing of it is used


def earlier_records(folders: Iterable[Path], config: StudyConfig) -> Earlier:
    """Complete trials in these folders that were trained on the data and by the protocol of this study; each variant and seed once.

    A folder that does not fit is refused with its reason; nothing is written into any.
    """
    kept: dict[tuple[str, int], EarlierRecord] = {}
    refused: dict[str, str] = {}
    for folder in folders:
        try:
            studies = _studies(folder)
        except InputError as error:
            refused[str(folder)] = first_line(error)
            continue
        for study, stored in studies:
            name = str(folder) if len(studies) == 1 else f"{folder}, study {study.study_name}"
            reason, fitting = misfit(stored, config), list[EarlierRecord]()
            if not reason:
                fitting, reason = _fitting(study, stored, config, folder)
            for one in fitting:
                kept.setdefault((one.record.network_key, one.record.seed), one)
            if not fitting:
                refused[name] = reason
    return Earlier(records=tuple(kept.values()), refused=refused)


def _studies(folder: Path) -> list[tuple[optuna.Study, StudyConfig]]:
    """The studies of a folder's journal, or of the storage that its marker names."""
    journal = StudyFolder(folder).journal
    held = holder(folder)
    where = journal if journal.is_file() or "storage" not in held else str(held["storage"])
    storage = open_storage(where, must_exist=True)
    names = study_names(storage) if where == journal else [name for name in study_names(storage) if name == held.get("study")]
    studies = [optuna.load_study(study_name=name, storage=storage) for name in names]
    opened = [(s, StudyConfig.from_dict(s.user_attrs["config"])) for s in studies if "config" in s.user_attrs]
    if not opened:
        raise InputError("it holds no study with trials")
    return opened


def misfit(stored: StudyConfig, config: StudyConfig) -> str:
    """Why no trial of a stored study can stand in a study of this config; empty where some may."""
    if not stored.fingerprint or stored.fingerprint not in (config.fingerprint, config.former_fingerprint):
        return f"its images are others: fingerprint {stored.fingerprint or 'unknown'}, not {config.fingerprint}"
    if stored.data["image_size"] != config.data["image_size"]:
        return f"its images are {stored.data['image_size']} px wide, not {config.data['image_size']}"
    if stored.device != config.device:
        return f"it was trained on {stored.device}, not on {config.device}"
    own, wanted = stored.training_protocol().to_dict(), config.training_protocol().to_dict()
    fixed = [name for name in wanted if name in LOSS or name not in FACTORS]  # what a variant can't set for itself, and the judge
    other = next((name for name in fixed if own[name] != wanted[name]), None)
    return f"its protocol has another {other}: {own[other]}, not {wanted[other]}" if other else ""


def _fitting(study: optuna.Study, stored: StudyConfig, config: StudyConfig, folder: Path) -> tuple[list[EarlierRecord], str]:
    """The complete trials of a study that can stand in one of this config, and why one of the others can't."""
    fitting, reason = list[EarlierRecord](), "it has no complete trial"
    timed = {kind.digest: kind.latency for kind in kinds(study)}
    for record in records(study, stored.limits):
        if record.state != COMPLETE:
            continue
        try:
            key = _key_here(record, config)
        except (InputError, TypeError) as error:  # of a piece or a field that this version does not have
            reason = first_line(error)
            continue
        if timed:  # the latency of the hardware that its provenance states, whichever is the first of that study
            ran = timed.get(digest_of(record.provenance.get("hardware") or {}), {})
            record = replace(record, latency=ran.get(network_of(record.network_key), {}))
        own = {"folder": str(folder), "study": study.study_name, "trial": record.number, "network_key": record.network_key}
        fitting.append(EarlierRecord(record=replace(record, network_key=key), origin=record.provenance.get(COPIED) or own))
    return fitting, reason


def _key_here(record: Record, config: StudyConfig) -> str:
    """The key of the record's variant in a study of this config; InputError where the study has no such protocol."""
    own, study = Protocol(**{**LATER_OF_PROTOCOLS, **record.protocol}), config.training_protocol()
    variant = Variant.of(ModelSpec.from_dict(record.spec), {name: getattr(own, name) for name in FACTORS}, study)
    varied = {n for levels in config.space["factors"].values() for fields in levels.values() for n in fields}
    varied |= {"learning_rate"} if (config.search or {}).get("reference_rate") else set()
    other = next((name for name, value in own.to_dict().items() if value != getattr(study, name) and name not in varied), None)
    if other:
        raise InputError(f"its protocol has another {other}: {getattr(own, other)}, not {getattr(study, other)}")
    return variant.key


def store_earlier(study: optuna.Study, earlier: Earlier) -> int:
    """Keep records with a study, each once; how many are new."""
    known, new = get_system_attrs(study), 0
    for one in earlier.records:
        name = f"{EARLIER}{one.record.network_key}:{one.record.seed}"
        if name not in known:
            set_system_attr(study, name, {"record": _compact(one.record).to_dict(), "origin": dict(one.origin)})
            new += 1
    return new


def _compact(record: Record) -> Record:
    """Without what is measured here anew, or is long."""
    epochs = [{name: value for name, value in epoch.items() if name not in LONG} for epoch in record.training.get("epochs", ())]
    costs = {name: value for name, value in record.costs.items() if name in ("params", "training_params", "macs")}
    return replace(record, training={**record.training, "epochs": epochs}, costs=costs, intents=(), factors={})


def stored_earlier(study: optuna.Study) -> list[EarlierRecord]:
    """All records that are kept with a study."""
    values = [value for name, value in get_system_attrs(study).items() if name.startswith(EARLIER)]
    return [EarlierRecord(record=Record.from_dict(value["record"]), origin=value["origin"]) for value in values]


def earlier_of(study: optuna.Study, key: str, seed: int) -> EarlierRecord | None:
    """What an earlier study has of one job."""
    value = get_system_attrs(study).get(f"{EARLIER}{key}:{seed}")
    return EarlierRecord(record=Record.from_dict(value["record"]), origin=value["origin"]) if value else None


def losses_of(found: Sequence[EarlierRecord]) -> dict[str, list[float]]:
    """Variant -> final validation loss of each seed."""
    losses: dict[str, list[float]] = {}
    for one in found:
        losses.setdefault(one.record.network_key, []).append(float(one.record.training["best_loss"]))
    return losses
