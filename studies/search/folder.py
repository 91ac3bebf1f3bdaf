"""The files of a search, the studies that it is made of, all in one storage, and what is called how in them. No torch here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna

from ablation.design.callable_spec import LEFT_OUT, CallableSpec
from ablation.design.network import AnySpec
from ablation.machine.files import write_atomic
from ablation.record.search import Candidate
from studies.engine.config import StudyFolder
from studies.engine.folder import holder, take_grid_folder
from studies.store.storage import get_system_attrs, set_system_attr

SEARCH = "search"  # the command, as a folder's marker names it
SWEEP, CONFIRM, WHY = "sweep", "confirm", "why"
ABOUT = "about_search"  # hidden attribute of a study in a shared storage: the facts of its search
# factors and levels of these
NETWORK, RATE = "network", "learning_rate"
NO_RATE = ""  # in place of a learning rate, where a training of the user's own has none that is known
REFERENCE, WINNER = "reference", "winner"


@dataclass(frozen=True)
class SearchFolder:
    """The folder of one search; it is also that of the study whose networks are proposed."""

    path: Path

    @cached_property
    def journal(self) -> Path:
        """All studies, unless another storage is named."""
        return StudyFolder(self.path).journal

    @cached_property
    def facts(self) -> Path:
        """What the page needs that no study holds; its presence marks the folder."""
        return self.path / "about.json"

    @cached_property
    def page(self) -> Path:
        """Tables, plots and sentences."""
        return self.path / "page"

    @cached_property
    def winner(self) -> Path:
        """The spec of the winner."""
        return self.path / "winner.toml"

    @cached_property
    def reference(self) -> Path:
        """The spec of the reference."""
        return self.path / "reference.toml"

    @cached_property
    def confirmation(self) -> Path:
        """Values and verdicts of the confirmation."""
        return self.path / "confirmation.json"

    def part(self, kind: str) -> Path:
        """Folder of another study of the search: its checkpoints, pictures and samples."""
        return self.path / kind

    def files_of(self, study: str, search: str) -> Path:
        """Where a study of the search of this name keeps its files."""
        return self.path if study == search else self.part(study.removeprefix(study_of(search, "")))

    def read_facts(self) -> dict[str, Any]:
        """The stored facts; none where there are none, or where a full disk cut them."""
        try:
            return dict(json.loads(self.facts.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}

    def note(self, **facts: Any) -> None:
        """Adds facts to those that are stored; plain JSON values."""
        write_atomic(self.facts, json.dumps({**self.read_facts(), **facts}, indent=2) + "\n")


def keep_facts(study: optuna.Study, folder: SearchFolder) -> None:
    """Store the facts of a search with its study, for machines that have another folder."""
    facts = folder.read_facts()
    if get_system_attrs(study).get(ABOUT) != facts:
        set_system_attr(study, ABOUT, facts)


def restore_facts(study: optuna.Study, folder: SearchFolder, storage: str) -> bool:
    """Make a folder that of the search of this study in a storage; False where the study is no search, or has not begun."""
    facts = get_system_attrs(study).get(ABOUT)
    if facts is None or holder(folder.path).get("command", SEARCH) != SEARCH:
        return False
    folder.note(**facts)  # of the machine that came last to the end of a stage
    take_grid_folder(folder.path, study, storage, SEARCH)
    return True


def study_of(name: str, kind: str) -> str:
    """The name of another study of the search of this name."""
    return f"{name}-{kind}"


def is_search(folder: Path, marker: Mapping[str, Any]) -> bool:
    """Whether a folder holds a search that got as far as its facts."""
    return marker.get("command") == SEARCH and SearchFolder(folder).facts.is_file()


def level_of(candidate: Candidate) -> str:
    """A network as a level: numbers of trials never change, labels may be long.

    >>> level_of(Candidate(number=12, label="residual, pooled"))
    'proposal 12'
    """
    return REFERENCE if candidate.number is None else f"proposal {candidate.number}"


def why_of(winner: Candidate, rate: str) -> str:
    """The kind of the study of a winner's swaps, each trained with the winner's own learning rate."""
    return f"{WHY}-{winner.number}" + (f"-{rate}" if rate else "")


def arm(level: str, rate: str) -> str:
    """A network with its own learning rate as a level; the network alone where a training of the user's own has none.

    >>> arm("reference", "0.0003"), arm("reference", NO_RATE)
    ('reference at 0.0003', 'reference')
    """
    return f"{level} at {rate}" if rate else level


def difference(base: AnySpec, spec: AnySpec) -> dict[str, Any]:
    """The fields in which a spec differs from another, or the arguments of a call, as a level sets them.

    >>> from ablation import preset
    >>> difference(preset("small"), preset("small").replace(head="pooled"))
    {'head': 'pooled'}
    """
    if isinstance(base, CallableSpec) and isinstance(spec, CallableSpec):
        before, after = ({**each.defaults, **each.arguments} for each in (base, spec))
    else:
        before, after = base.to_dict(), spec.to_dict()
    return {n: after.get(n, LEFT_OUT) for n in {**before, **after} if after.get(n, LEFT_OUT) != before.get(n, LEFT_OUT)}
