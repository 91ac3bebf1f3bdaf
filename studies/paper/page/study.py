"""What all sections of the paper's page share: the study, and how a part or the reason for its absence is made. No torch.

Of the page's own blocks, `templates/paper.html` and `templates/paper.md` hold a macro for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ablation.report.explain.plots import PLOTS, Plot
from ablation.report.kit.numbers import capital
from ablation.report.kit.page import Block, Heading, Missing, Picture
from studies.paper.evidence.evidence import Evidence
from studies.paper.page import strips, style, tables, words
from studies.paper.rules.verdict import Verdict

Part = Block | Plot
TEMPLATES = Path(__file__).parent / "templates" / "paper"
# of all sections: what a verdict's link may name
ANCHORS = frozenset({
    "claims", "table-1", "figures", "figure-1", "figure-2", "figure-3", "figure-4-5", "figure-6", "quality", "frequency", "paired",
    "pieces", "latent", "clusters", "probes", "information", "disentanglement", "traversals", "edits", "hypotheses", "cost",
    "training-speed", "limits",
})  # fmt: skip


@dataclass(frozen=True)
class Section(Heading):
    """A heading that can be linked to, and the verdicts that rest on what follows."""

    verdicts: Sequence[Verdict] = ()


@dataclass(frozen=True)
class Claims(Block):
    """The table of verdicts; each links to the section that holds its evidence."""

    verdicts: Sequence[Verdict]
    # id of a verdict -> anchor of a section
    evidence: Mapping[str, str]


@dataclass(frozen=True)
class Contents(Block):
    """Links to sections."""

    sections: Sequence[Section]


@dataclass(frozen=True)
class Study:
    """All that the page is made of."""

    evidence: Evidence
    verdicts: Sequence[Verdict]
    arrays: style.Arrays
    images_allowed: bool = True
    # pictures of an earlier page of the same study, whose arrays are not at hand: path below the page's folder -> file
    kept: Mapping[str, bytes] = field(default_factory=dict)

    @cached_property
    def places(self) -> Mapping[str, str]:
        """Verdict -> anchor of the section with its evidence."""
        return {v.id: v.link if v.link in ANCHORS else "claims" for v in self.verdicts}

    def section(self, text: str, anchor: str, *parts: Part, level: int = 2) -> list[Part]:
        """A heading with the verdicts that rest on it, and what follows."""
        return [Section(text, level, anchor, [v for v in self.verdicts if self.places[v.id] == anchor]), *parts]

    def part(self, part: Part | None, name: str, *reasons: str) -> Part:
        """The part, or why there is none."""
        return part if part is not None else Missing(words.missing(self.evidence, name, *reasons))

    def tsne(self, plot: Plot | None, stem: str, name: str, *reasons: str) -> Part:
        """Maps, those kept of an earlier page under this stem, or why there are none."""
        svg, numbers = f"{PLOTS}/{stem}.svg", f"{PLOTS}/{stem}.csv"
        kept = Picture(svg, f"{name}, as first drawn", numbers) if svg in self.kept else None
        return self.part(plot or kept, name, *reasons)

    def strip(self, strip: strips.Strip | None, stem: str, name: str, *reasons: str) -> Part:
        """Pictures, those kept of an earlier page under this stem, or why there are none."""
        if not self.images_allowed:
            return Missing(f"{capital(name)}: left out of this copy, for they show real faces.")
        path = f"{strips.FOLDER}/{stem}.png"
        kept = strips.KeptStrip(path, f"{name}, as first drawn", content=self.kept[path]) if path in self.kept else None
        return self.part(strip or kept, name, *reasons)

    def measures(self, rows: Sequence[tables.Measure], name: str, *reasons: str) -> list[Part]:
        """Original, modified and their difference; the rows that neither has are named below, with the reason."""
        table, gone = tables.measures(self.evidence, rows)
        if table is None:
            return [self.part(None, name, *reasons)]
        return [table, *([self.part(None, f"{name}: {', '.join(gone)}", *reasons)] if gone else [])]
