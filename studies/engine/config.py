"""What a study is: its space, data, protocol and machine; and the folder that it lives in. No torch here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ablation.design.protocol import LATER as LATER_OF_PROTOCOLS
from ablation.design.protocol import Protocol
from ablation.design.spec import LATER as LATER_OF_SPECS
from ablation.record.trial import TRAINED, Metric, own_metrics
from blocks.errors import InputError, must_be
from studies.store.history import Limits

# settings that came after the first studies were stored: left out where they are not set
_LATER = ("former_fingerprint", "search", "first_seed", "own")


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Everything that a trial depends on. Stored with the study, so that every worker on every machine reads the same."""

    name: str
    space: Mapping[str, Any]  # Space.to_dict()
    data: Mapping[str, Any]  # name, limit, seed, image_size
    fingerprint: str  # of the data set
    protocol: Mapping[str, Any]
    device: str = "cpu"
    seeds: int = 1
    first_seed: int = 0  # of so many; a confirmation has seeds that no search has seen
    latency_batches: tuple[int, ...] = (1, 32)
    latency_threads: int = 1  # on a CPU; one is steadier than many where other programs run too
    max_attempts: int = 3
    former_fingerprint: str = ""  # by which the study began, where that knew names and sizes of files only
    search: Mapping[str, Any] = field(default_factory=dict)  # of studies.engine.proposals.Search; empty for a full grid
    # of a study whose networks and training are the user's own: what trains them, its metrics, and digests of the sources of both
    own: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; of the settings that came later only those that are set."""
        values = json.loads(json.dumps(asdict(self)))
        return {name: value for name, value in values.items() if value or name not in _LATER}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> StudyConfig:
        """The inverse of `to_dict`; what a study stored before later settings existed gets them at the values that it ran with."""
        protocol = {} if values.get("own") else {**LATER_OF_PROTOCOLS, **values["protocol"]}
        base = values["space"].get("base")
        space = values["space"] if base is None or "callable" in base else {**values["space"], "base": {**LATER_OF_SPECS, **base}}
        search, batches = dict(values.get("search") or {}), tuple(values["latency_batches"])
        if reference := search.get("reference"):
            search["reference"] = reference if {"preset", "callable"} & reference.keys() else {**LATER_OF_SPECS, **reference}
        return cls(**{**values, "protocol": protocol, "space": space, "latency_batches": batches, "search": search})

    @property
    def limits(self) -> Limits:
        """How often its jobs are tried."""
        return Limits(max_attempts=self.max_attempts)

    @property
    def metrics(self) -> dict[str, Metric]:
        """What training gives, by key; the first is what networks are ranked by."""
        return own_metrics(self.own["metrics"]) if self.own else TRAINED

    @property
    def leading(self) -> Metric:
        """The first of them."""
        return next(iter(self.metrics.values()))

    def training_protocol(self) -> Protocol:
        """The protocol as a validated object."""
        return Protocol(**self.protocol)


class StudyFolder:
    """The files of one study."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path / "journal.log"  # Optuna's, the store of all trials unless another storage is named
        self.artifacts = path / "artifacts"  # pictures of each trial, for the dashboard
        self.latency = path / "latency"  # raw samples of the latency sessions
        self.originals = path / "reconstructions" / "originals.npy"  # test images that every trial reconstructs, N x 3 x S x S
        self.progress = path / "progress"  # one small file for each local worker: where it stands
        self.report = path / "report"  # tables, plots and sentences

    def reconstructions(self, key: str, seed: int) -> Path:
        """One trial's reconstructions of the originals."""
        return self.originals.with_name(f"{key}-{seed}.npy")

    def checkpoints(self, key: str, seed: int) -> Path:
        """Where one trial keeps its weights and what it needs to continue."""
        return self.path / "checkpoints" / f"{key}-{seed}"

    def create(self) -> StudyFolder:
        """Make the folder; InputError where that cannot be done."""
        for folder in (self.path, self.artifacts, self.latency, self.originals.parent, self.progress):
            prepare_folder(folder)
        return self


def prepare_folder(folder: Path, flag: str = "--out") -> Path:
    """Make a folder and try to write in it, before any work is done; InputError where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise must_be(flag, "a folder that can be written to", str(folder), f"{error.strerror}. Name another folder.") from None
    return folder


# what may differ between two runs of one study: more seeds are more replicates, more attempts change no number
_FREE = ("seeds", "max_attempts", "name", "former_fingerprint")
# of a search: how many networks it trains, and how long it times each
_FREE_OF_SEARCH = ("num_trials", "timing_s")


def _of_own(own: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a study of one's own another one: of metrics their names, order and directions, not how they are shown."""
    if not own:
        return {}
    kept = {"metrics": {name: "lower" if m.lower_is_better else "higher" for name, m in own_metrics(own["metrics"]).items()}}
    return {**own, **kept, "order": list(own["metrics"])}


def _without(values: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def reconcile_config(stored: StudyConfig, wanted: StudyConfig, where: str, former: Sequence[str] = ()) -> StudyConfig:
    """The config to go on with: more seeds or proposals, or a space that contains the stored one; else InputError.

    `former`: what earlier versions called the same data. A study that began by such a fingerprint goes on by the new one.
    """
    began = stored.former_fingerprint or (stored.fingerprint if stored.fingerprint in former else "")
    old_values, new_values = (
        {**c.to_dict(), "search": _without(c.search, _FREE_OF_SEARCH), "own": _of_own(c.own)} for c in (stored, wanted)
    )
    for key in {**old_values, **new_values}:
        value, new = old_values.get(key), new_values.get(key)
        if key in _FREE or new == value:
            continue
        if (key == "space" and _contains(wanted.space, stored.space)) or (key == "fingerprint" and value in former):
            continue
        name, old, got = _difference(key, value, new)
        if name.startswith("own.sources."):
            name = f"source of {name.removeprefix('own.sources.')}"
        name = name.removeprefix("own.")
        remedy = "Name another folder with --out, in a shared storage another --study too, or repeat the command that made it."
        if name == "data.limit" and old == "None":  # earlier versions took all files whatever the space said
            remedy += " If the number comes from [defaults] of the space, take `images` out there to go on with all files."
        raise InputError(f"{where} holds a study with another {name}: it must be {old}. Got {got} instead. {remedy}")
    return replace(wanted, seeds=max(stored.seeds, wanted.seeds), former_fingerprint=began)


def _contains(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether every variant of the old space is one of the new: the same base and factors, with at least the same levels."""
    is_same = new["base"] == old["base"] and new["factors"].keys() == old["factors"].keys()
    return is_same and all(levels.items() <= new["factors"][factor].items() for factor, levels in old["factors"].items())


def _difference(key: str, old: Any, new: Any) -> tuple[str, str, str]:
    """The first value that differs, as (name, old, new), from nested plain values."""
    if isinstance(old, dict) and isinstance(new, dict):
        for inner in [*old, *(k for k in new if k not in old)]:
            if old.get(inner) != new.get(inner):
                return _difference(f"{key}.{inner}", old.get(inner), new.get(inner))
    return key, repr(old), repr(new)
