"""What the paper's page has beyond a plain page: anchors, verdicts that link to their evidence, strips. No torch.

`templates/paper.html` and `templates/paper.md` hold a macro for each of these blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ablation.report.kit.page import Block
from studies.paper.page.strips import Pictures, page_uri
from studies.paper.rules.verdict import Verdict

TEMPLATES = Path(__file__).parent / "templates" / "paper"
# rows of at most so many pictures stand in pairs where there is room
HALF, PAIR_REM = 5, 23.4
PICTURE_REM = 5.9


@dataclass(frozen=True)
class Section(Block):
    """A heading that can be linked to, and the verdicts that rest on what follows."""

    text: str
    anchor: str
    level: int = 2
    verdicts: Sequence[Verdict] = ()


@dataclass(frozen=True)
class Claims(Block):
    """The table of verdicts; each links to the section that holds its evidence."""

    verdicts: Sequence[Verdict]
    evidence: Mapping[str, str]  # id of a verdict -> anchor of a section


@dataclass(frozen=True)
class Contents(Block):
    """Links to sections."""

    sections: Sequence[Section]


@dataclass(frozen=True)
class Strip(Block):
    """One PNG below the page's folder, what it shows, and its rows for the page itself."""

    path: str
    alt: str
    caption: str
    rows: Sequence[tuple[str, Pictures]]

    @property
    def shown(self) -> Iterator[Mapping[str, str]]:
        """Label, width in rem and data URI of each row."""
        for label, pictures in self.rows:
            rem = len(pictures) * PICTURE_REM
            rem = rem if len(pictures) > HALF else min(rem, PAIR_REM)
            yield {"label": label, "rem": f"{rem:.1f}", "uri": page_uri(pictures)}
