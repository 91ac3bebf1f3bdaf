"""One folder, one study: what a folder holds, and the refusal to put another study into it. No torch here.

A study's folder says in `study.json` what it holds. Folders of earlier versions have no such file: their other files tell.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna

from blocks.errors import InputError, must_be
from studies.engine.config import StudyFolder
from studies.store.storage import check_lockable, exclusive, open_storage, public_url, study_names

MARKER = "study.json"
GRID = "grid"
# user attribute of a study, and the entry of its folders' markers, by which they know each other
ID = "folder_id"
# files of which the first that is there tells the command that made a folder without a marker
TRACES = {
    "plan.json": "paper", "journal.log": GRID, "checkpoints": GRID, "artifacts": GRID, "explanation.json": "explain",
    "steps": "explain", "table1.csv": "table1", "bench.json": "bench",
}  # fmt: skip


def holder(folder: Path) -> dict[str, Any]:
    """What a folder holds: `command` and what identifies the study, as far as it is known; empty for a folder without a study."""
    try:
        stored = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        if isinstance(stored, dict) and "command" in stored:
            return stored
    except (OSError, ValueError):
        pass  # none, or cut by a full disk: the files tell
    command = next((command for name, command in TRACES.items() if _is_there(folder / name)), None)
    return {"command": command} if command else {}


def _is_there(path: Path) -> bool:
    return path.is_dir() or (path.is_file() and path.stat().st_size > 0)  # an empty journal is of a study that never began


def check_folder(folder: Path, command: str, **settings: Any) -> None:
    """InputError where a folder holds the study of another command, or of this one with other settings. Writes nothing."""
    held = holder(folder)
    if held and held["command"] != command:
        raise _refusal(folder, f"a study of `{held['command']}`")
    for name, value in _plain(settings).items():
        if name in held and held[name] != value:
            raise _refusal(folder, f"a study of `{command}` with {name} {held[name]!r}, not {value!r}")


def take_folder(folder: Path, command: str, **settings: Any) -> None:
    """Checks the folder once more, and writes down that it holds this study."""
    check_folder(folder, command, **settings)
    _mark(folder, command, settings)


def _mark(folder: Path, command: str, settings: Mapping[str, Any]) -> None:
    text = json.dumps({"command": command, **_plain(settings)}, indent=2) + "\n"
    marker = folder / MARKER
    if not marker.is_file() or marker.read_text(encoding="utf-8", errors="replace") != text:
        marker.write_text(text, encoding="utf-8")


def check_grid_folder(folder: Path, study: str, storage: str | None, command: str = GRID) -> tuple[Path, str | None]:
    """Where this study of a storage (None: the folder's own journal) keeps its files, and its storage.

    InputError where the folder holds another study, or where the study would be new under a name that is no folder's name.
    """
    check_folder(folder, command)
    held, journal = holder(folder), StudyFolder(folder).journal
    inside = study_names(open_storage(journal, must_exist=True)) if journal.is_file() else []
    if inside and (storage is not None or study not in inside):
        rest = f" without --storage and with --study {inside[0]!r}" if storage is not None else f" with --study {inside[0]!r}"
        raise _refusal(folder, f"the study {inside[0]!r} in its journal", f", or go on with that one{rest}")
    known = "" if inside else None if storage is None else _stored_id(storage, study)
    if known is None:
        check_name(study)
    if held and not inside:
        _check_other_storage(folder, held, known)
    part = part_of(folder, study, inside)
    return part, storage if part == folder else str(journal)


def _check_other_storage(folder: Path, held: Mapping[str, Any], known: str | None) -> None:
    """InputError unless a folder without a journal of its own is that of the study with this identity."""
    if known is None or (ID in held and known != held[ID]):
        name = f"the study {held['study']!r} of {held.get('storage', 'its journal')}" if "study" in held else "another study"
        raise _refusal(folder, name, f", or go on with that one: --study {held['study']!r}" if "study" in held else "")


def take_grid_folder(folder: Path, study: optuna.Study, storage: str | None, command: str = GRID) -> None:
    """Writes down that a folder holds this study, and gives the study the identity by which the two know each other."""
    with exclusive(study):
        if ID not in study.user_attrs:
            study.set_user_attr(ID, uuid.uuid4().hex)
        where = {"storage": public_url(storage)} if storage else {}
        # a marker that is there is of the same study, as `check_grid_folder` made sure, perhaps moved
        _mark(folder, command, {"study": study.study_name, **where, ID: study.user_attrs[ID]})


def part_of(folder: Path, study: str, stored: Sequence[str]) -> Path:
    """Where a study of a folder's journal keeps its files: the first in the folder, others, of earlier versions, in one below."""
    if not stored or study not in stored[1:]:
        return folder
    return folder / "".join(c if c.isalnum() or c in "-_" else "-" for c in study)


def check_name(study: str) -> None:
    """InputError for a name that is not one folder's name: `status` would not find the study again."""
    wrong = not study.strip() or study != study.strip() or study[0] in ".-" or any(c in "/\\" or not c.isprintable() for c in study)
    if wrong:
        rule = "one word or more without / or \\, not beginning with a dot or a dash"
        raise must_be("--study", rule, study, "It names the study's folder; --out may lie anywhere.")


def _stored_id(storage: str, name: str) -> str | None:
    """The identity of a study of a database, empty where an earlier version made it; None where there is no such study."""
    try:
        opened = open_storage(storage, must_exist=True)
    except InputError as error:
        if "an existing database" in str(error):
            return None
        raise
    check_lockable(opened)
    if name not in study_names(opened):
        return None
    return str(optuna.load_study(study_name=name, storage=opened).user_attrs.get(ID, ""))


def _refusal(folder: Path, held: str, more: str = "") -> InputError:
    return must_be("--out", "a folder of one study alone", str(folder), f"It holds {held}. Name another folder{more}.")


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return dict(json.loads(json.dumps(settings)))
