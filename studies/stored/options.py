"""The options of `status`, `report` and `worker`. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from studies.options import COUNT, SECONDS, Rule, SharedStorage, Storage, WithPlugins, option

WATCH_S = 5.0
EVERY = Rule(SECONDS.text, lambda values: all(map(SECONDS.holds, values)))


@dataclass(frozen=True, kw_only=True)
class StudyOptions(Storage):
    """Which studies."""

    folder: Path | None = option(None, "folder of a study; all under results/ by default", positional=True, name="FOLDER")


@dataclass(frozen=True, kw_only=True)
class StatusOptions(SharedStorage, StudyOptions):
    """Options of `status`."""

    watch: tuple[float, ...] | None = option(
        None,
        f"again and again until Ctrl-C, every {WATCH_S:g} seconds or so many",
        rule=EVERY,
        metavar="S",
        consume_multiple=(0, 1),
    )


@dataclass(frozen=True, kw_only=True)
class ReportOptions(StudyOptions):
    """Options of `report`."""

    to: Path | None = option(None, "write it there, without pictures that show real faces", metavar="DIR")


@dataclass(frozen=True, kw_only=True)
class WorkerOptions(SharedStorage, WithPlugins):
    """Options of `worker`. What the study is, its storage says."""

    workers: int = option(1, "trials at a time on this machine", rule=COUNT)
    data_root: str | None = option(None, "where CelebA or the folder of images is on this machine", metavar="DIR")
    cache_dir: str | None = option(None, "decoded images; by default $ABLATION_CACHE or ~/.cache/ablation", metavar="DIR")
    out: Path | None = option(None, "folder of what is trained here; by default results/STUDY", metavar="DIR")
