"""A training that goes on where another machine left it: its checkpoint among the study's artifacts, and what it ran on so far.

A job has at most one checkpoint there, which the next one replaces: at most once in EVERY_S while it trains, and whenever it ends
before it is complete. That of a complete job is removed, for nothing goes on from it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError

from ablation.machine.files import write_atomic
from ablation.machine.hardware import describe_hardware
from ablation.train.checkpoint import CHECKPOINT, progress_in
from blocks.errors import WriteError
from studies.store.artifacts import Artifacts, Gone
from studies.store.history import job_key
from studies.store.retry import PASSING

EVERY_S = 60.0  # least seconds between two that are kept while it trains
SHARE = 0.05  # most of the time that goes into keeping them, where one takes long
ORIGIN = "origin.json"  # beside a checkpoint: what it was trained on
KIND = ("device", "system", "cpu", "cpu_cores", "gpu")  # of hardware: what makes two machines the same kind


@dataclass(frozen=True, kw_only=True)
class Form:
    """How a training keeps its state in its folder."""

    name: str  # of the artifact
    progress: Callable[[Path], tuple[int, int] | None]  # how far it is in a folder, to be compared; None where there is none
    file: str  # in the folder, which holds all of it
    pack: Callable[[Path], object] = lambda folder: None  # before that file is kept
    unpack: Callable[[Path], object] = lambda folder: None  # after it was fetched


CHECKPOINTED = Form(name="checkpoint", progress=progress_in, file=CHECKPOINT)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where the steps of a checkpoint were made. Plain JSON values."""

    hardware: tuple[Mapping[str, Any], ...] = ()  # each kind once, in order
    notes: tuple[str, ...] = ()


class Resumed:
    """The checkpoint of one trial, in a folder of this machine and among the artifacts of its study."""

    def __init__(self, trial: optuna.Trial, folder: Path, artifacts: Artifacts, device: str, form: Form = CHECKPOINTED) -> None:
        """Fetch the checkpoint where it is further than the one in the folder. One that is missing or damaged is a note.

        WriteError where its place is out of reach: to begin anew would give up what it has.
        """
        self.trial, self.folder, self.artifacts, self.form = trial, folder, artifacts, form
        job = job_key(trial)
        assert job is not None, "no plan enqueued it"
        self.kept = artifacts.latest(job, form.name) if artifacts.place else None
        self.hardware = kind_of(describe_hardware(device))
        self.progress = (0, 0)
        self.origin = self._fetched()
        if self.hardware not in self.origin.hardware:
            self.origin = Origin(hardware=(*self.origin.hardware, self.hardware), notes=self.origin.notes)
        write_atomic(folder / ORIGIN, json.dumps(asdict(self.origin)))
        self.due = time.monotonic() + EVERY_S

    def saved(self, epochs: int, step: int) -> None:
        """After each checkpoint in the folder, which holds so many epochs and steps after them: keep it, if that is due."""
        self.progress = (epochs, step)
        if time.monotonic() >= self.due:
            self.keep()

    def keep(self) -> None:
        """Keep the checkpoint as it is in the folder. Where that fails it is tried again later: nothing depends on it yet."""
        if self.artifacts.place is None:
            return
        begin = time.monotonic()
        try:
            about = {"progress": self.progress, "origin": asdict(self.origin)}
            self.form.pack(self.folder)
            self.kept = self.artifacts.put(self.trial, self.form.name, self.folder / self.form.file, self.kept, **about)
        except (WriteError, UpdateFinishedTrialError, *PASSING):
            pass  # place or storage are out of reach; or the trial was taken over, and the checkpoint is another worker's
        now = time.monotonic()
        self.due = now + max(EVERY_S, (now - begin) / SHARE)

    def drop(self) -> None:
        """The training is complete."""
        self.artifacts.drop(self.trial, self.form.name, self.kept)

    def provenance(self) -> dict[str, Any]:
        """Other hardware that it was trained on before; none where all of it was of one kind."""
        before = [dict(each) for each in self.origin.hardware if each != self.hardware]
        return {"resumed_from": before} if before else {}

    def _fetched(self) -> Origin:
        """Of the checkpoint that the training goes on from."""
        here, note = self.form.progress(self.folder), ""
        there = tuple(self.kept.about["progress"]) if self.kept is not None else (0, 0)
        if self.kept is not None and (here is None or here < there):
            try:
                self.artifacts.load(self.kept, self.folder / self.form.file)
            except Gone as error:
                note = f"{error}: training started from the beginning"
            else:
                self.form.unpack(self.folder)
                self.progress = there
                return _origin(self.kept.about["origin"])
        if here is None:
            return Origin(notes=(note,) if note else ())
        self.progress = here
        return read_origin(self.folder)


def kind_of(hardware: Mapping[str, Any]) -> dict[str, Any]:
    """What of a machine decides whether a training goes on bit for bit."""
    return {name: hardware[name] for name in KIND if hardware.get(name) is not None}


def read_origin(folder: Path) -> Origin:
    """Of the checkpoint in a folder; empty for one of an earlier version."""
    try:
        return _origin(json.loads((folder / ORIGIN).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError):
        return Origin()


def _origin(values: Mapping[str, Sequence[Any]]) -> Origin:
    return Origin(hardware=tuple(values["hardware"]), notes=tuple(values["notes"]))
