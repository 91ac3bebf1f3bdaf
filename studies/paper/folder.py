"""The files of a study of the paper, and the names of its groups of trials. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MODELS, PIECES, HYPOTHESES = "models", "pieces", "hypotheses"
GROUPS = (MODELS, PIECES, HYPOTHESES)  # of trials, in the order in which they are run
# what a study can do without, in words
SIDE_STUDIES = {PIECES: "the networks between the two models", HYPOTHESES: "the hypotheses about losses and masks"}


@dataclass(frozen=True)
class PaperFolder:
    """The files of one study of the paper."""

    path: Path

    @property
    def journal(self) -> Path:
        """Optuna's journal file with all groups."""
        return self.path / "journal.log"

    @property
    def plan(self) -> Path:
        """What is run, as it was fitted to the budget; its presence marks the folder."""
        return self.path / "plan.json"

    @property
    def facts(self) -> Path:
        """Scale, machine and data of the study."""
        return self.path / "facts.json"

    @property
    def speed(self) -> Path:
        """Interleaved training steps."""
        return self.path / "speed.json"

    @property
    def references(self) -> Path:
        """Quality of the mean face and of PCA."""
        return self.path / "references.json"

    @property
    def attribution(self) -> Path:
        """Loss and quality given to the pieces."""
        return self.path / "attribution.json"

    @property
    def explain(self) -> Path:
        """Explanation of the latency of the paper's pair."""
        return self.path / "explain"

    @property
    def page(self) -> Path:
        """The page, its figures and tables."""
        return self.path / "paper"

    def group(self, name: str) -> Path:
        """Folder of one group's checkpoints and pictures."""
        return self.path / "trials" / _plain(name)

    def analysis(self, group: str, key: str, seed: int) -> Path:
        """Analysis of one trial; its arrays lie beside it, with the suffix .npz."""
        return self.path / "analysis" / _plain(group) / f"{key}-{seed}.json"


def _plain(name: str) -> str:
    """A name as a folder's."""
    return "".join(c if c.isalnum() else "-" for c in name)
