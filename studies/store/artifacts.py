"""The files of a study that more than one machine reads: kept in one place by Optuna's artifact stores, named by hidden attributes.

A study that names no place keeps its files in the folder that it is run in. They are not kept a second time then: what is there
already is read from there, on one machine or by several that share the folder, and only the dashboard's pictures go through
Optuna. A study with a place of its own, a shared folder or a bucket, keeps each file there too, and a machine whose folder lacks
one, or has another one than the trial kept, fetches it.

Optuna's dashboard shows a trial's artifacts by their position. These files are therefore no artifacts to it: their ids stand in
system attributes of their own, of the trial or, for what all trials share, of the study.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.exceptions import UpdateFinishedTrialError

from ablation.machine.files import write_atomic
from ablation.machine.text import first_line
from blocks.errors import WriteError
from studies.store.history import JobKey, job_key
from studies.store.place import PLACE, open_place
from studies.store.storage import get_system_attrs, set_system_attr, set_trial_system_attrs

FILE = "file:"  # prefix of the hidden attributes, before a file's name
WEIGHTS, PICTURES = "weights", "reconstructions"  # of a trial
ORIGINALS, SAMPLES = "originals", "latency/"  # of all trials; the second before the name of a file


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A file that is kept: plain JSON values."""

    id: str
    sha256: str  # a file that was cut or changed is not used
    about: Mapping[str, Any] = field(default_factory=dict)


class Gone(Exception):  # noqa: N818 - an outcome
    """A kept file that is missing or damaged."""


class Artifacts:
    """The files of one study, by name; `own` is the folder in which a study without a place keeps the dashboard's pictures."""

    def __init__(self, study: optuna.Study, own: Path) -> None:
        self.study = study
        self.place: str | None = study.user_attrs.get(PLACE)
        self.gone: list[str] = []  # what was asked for in vain
        self.out_of_reach = ""  # why nothing more is fetched: a place that does not answer is waited for once
        self.store = FileSystemArtifactStore(own) if self.place is None else open_place(self.place)

    def put(self, owner: optuna.Study | optuna.Trial, name: str, path: Path, old: Kept | None = None, **about: Any) -> Kept | None:
        """Keep a file in place of the `old` one; None where it stays in the folder alone.

        WriteError where the place cannot be written; UpdateFinishedTrialError, with nothing kept, where the trial was taken over.
        """
        if self.place is None:
            return None
        kept = Kept(id=uuid.uuid4().hex, sha256=sha256_of(path), about=about)
        try:
            with path.open("rb") as content:
                self.store.write(kept.id, content)
        except Exception as error:
            raise WriteError(f"{self.place} must be a place that can be written, with room left. {first_line(error)}") from error
        try:
            self._note(owner, name, asdict(kept))
        except UpdateFinishedTrialError:
            self._remove(kept)
            raise
        self._remove(old)
        return kept

    def put_shared(self, name: str, path: Path) -> None:
        """Keep a file of all trials, unless it is kept already."""
        old = None if self.place is None else self.shared().get(name)
        if old is None or old.sha256 != sha256_of(path):
            self.put(self.study, name, path, old)

    def drop(self, trial: optuna.Trial, name: str, kept: Kept | None) -> None:
        """Keep a file no longer."""
        if kept is not None:
            with suppress(UpdateFinishedTrialError):
                self._note(trial, name, None)
                self._remove(kept)

    def kept(self, name: str) -> dict[int, Kept | None]:
        """Number of a trial -> its file of this name, None where it was dropped; without the trials that never had one."""
        if self.place is None:
            return {}
        trials = self.study.get_trials(deepcopy=False)
        return {t.number: _read(t.system_attrs[FILE + name]) for t in trials if FILE + name in t.system_attrs}

    def latest(self, job: JobKey, name: str) -> Kept | None:
        """The file of this name that the last trial of a job kept."""
        numbers = {trial.number for trial in self.study.get_trials(deepcopy=False) if job_key(trial) == job}
        mine = {number: kept for number, kept in self.kept(name).items() if number in numbers}
        return mine[max(mine)] if mine else None

    def shared(self) -> dict[str, Kept]:
        """The files of all trials, by name."""
        attrs = {} if self.place is None else get_system_attrs(self.study)
        found = {name.removeprefix(FILE): _read(value) for name, value in attrs.items() if name.startswith(FILE)}
        return {name: kept for name, kept in found.items() if kept is not None}

    def fetch(self, kept: Kept | None, path: Path) -> str:
        """Let `path` hold the kept file, which it may do already; why it does not, in one line, empty where it does."""
        if kept is None or (path.is_file() and sha256_of(path) == kept.sha256):
            return "" if path.is_file() else f"{path.name} is not kept in {self.place or path.parent}"
        if self.out_of_reach:
            return self.out_of_reach
        try:
            self.load(kept, path)
        except Gone as error:
            self.gone.append(str(error))
            return str(error)
        except WriteError as error:
            self.out_of_reach = str(error)
        return self.out_of_reach

    @property
    def missing(self) -> str:
        """What could not be fetched, in one line; empty where nothing was missing."""
        more = f", and {len(self.gone) - 1} more" if len(self.gone) > 1 else ""
        return self.out_of_reach or "".join(self.gone[:1]) + more

    def load(self, kept: Kept, path: Path) -> None:
        """Write the kept file there. Gone where it is missing or damaged, WriteError where its place cannot be reached."""
        try:
            write_atomic(path, lambda part: self._copy(kept, part))
        except (Gone, ArtifactNotFound) as error:
            what = "damaged" if isinstance(error, Gone) else "missing"
            raise Gone(f"{path.name} is {what} in {self.place}") from error
        except Exception as error:  # of the file system, of boto3 or botocore, which have no error in common
            raise WriteError(f"{path.name} could not be read from {self.place}: {first_line(error)}") from error

    def _copy(self, kept: Kept, path: Path) -> None:
        with closing(self.store.open_reader(kept.id)) as content, path.open("wb") as file:
            shutil.copyfileobj(content, file)
        if sha256_of(path) != kept.sha256:
            raise Gone

    def _note(self, owner: optuna.Study | optuna.Trial, name: str, value: Any) -> None:
        if isinstance(owner, optuna.Study):
            set_system_attr(owner, FILE + name, value)
        else:
            set_trial_system_attrs(owner, {FILE + name: value})

    def _remove(self, kept: Kept | None) -> None:
        if kept is not None:
            with suppress(Exception):  # one that is left over costs room, and nothing else
                self.store.remove(kept.id)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _read(value: Any) -> Kept | None:
    return Kept(**value) if value is not None else None
