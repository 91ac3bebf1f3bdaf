"""The files of a study of the paper, and the names of its groups of trials. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

MODELS, PIECES, HYPOTHESES = "models", "pieces", "hypotheses"
# of trials, in the order in which they are run
GROUPS = (MODELS, PIECES, HYPOTHESES)
# what a study can do without, in words
SIDE_STUDIES = {PIECES: "the networks between the two models", HYPOTHESES: "the hypotheses about losses and masks"}


def _file(name: str) -> cached_property[Path]:
    return cached_property(lambda folder: folder.path / name)


@dataclass(frozen=True)
class PaperFolder:
    """The files of one study of the paper."""

    path: Path

    # Optuna's journal file with all groups
    journal = _file("journal.log")
    # what is run, as it was fitted to the budget; its presence marks the folder
    plan = _file("plan.json")
    # scale, machine and data of the study
    facts = _file("facts.json")
    # interleaved training steps
    speed = _file("speed.json")
    # quality of the mean face and of PCA
    references = _file("references.json")
    # loss and quality given to the pieces
    attribution = _file("attribution.json")
    # explanation of the latency of the paper's pair
    explain = _file("explain")
    # the page, its figures and tables
    page = _file("paper")

    def group(self, name: str) -> Path:
        """Folder of one group's checkpoints and pictures."""
        return self.path / "trials" / _plain(name)

    def analysis(self, group: str, key: str, seed: int) -> Path:
        """Analysis of one trial; its arrays lie beside it, with the suffix .npz."""
        return self.path / "analysis" / _plain(group) / f"{key}-{seed}.json"


def _plain(name: str) -> str:
    """A name as a folder's."""
    return "".join(c if c.isalnum() else "-" for c in name)
