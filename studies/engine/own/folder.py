"""What a training function of the user's own keeps in its folder, as one file for the machine that goes on with the trial."""

from __future__ import annotations

import shutil
from pathlib import Path

from studies.work.resume import Form

WORK, ARCHIVE = "own", "own.tar"
LAST = "own.trial"  # number of the last trial that worked in the folder: what a later one kept elsewhere is newer


def progress(folder: Path) -> tuple[int, int] | None:
    """The last trial that worked there; None where nothing is kept. How far it came, only its function knows."""
    try:
        return (int((folder / LAST).read_text()), 0) if any((folder / WORK).iterdir()) else None
    except (OSError, ValueError):
        return None


def prepare(folder: Path, number: int) -> Path:
    """Where the function of a trial keeps its files, from now on."""
    (folder / WORK).mkdir(parents=True, exist_ok=True)
    (folder / LAST).write_text(str(number))
    return folder / WORK


def clear(folder: Path) -> None:
    """Nothing of it is needed once the trial is complete."""
    shutil.rmtree(folder / WORK, ignore_errors=True)
    for name in (ARCHIVE, LAST):
        (folder / name).unlink(missing_ok=True)


def _pack(folder: Path) -> None:
    if progress(folder) is None:
        raise FileNotFoundError(f"{WORK} is empty")  # nothing is there to be kept
    shutil.make_archive(str((folder / ARCHIVE).with_suffix("")), "tar", folder / WORK)


def _unpack(folder: Path) -> None:
    shutil.rmtree(folder / WORK, ignore_errors=True)
    shutil.unpack_archive(folder / ARCHIVE, folder / WORK, filter="data")


OWN = Form(name="own", progress=progress, file=ARCHIVE, pack=_pack, unpack=_unpack)
