"""What all sections of the paper's page share: the study, and how a part or the reason for its absence is made. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ablation.report.explain.page import PLOTS
from ablation.report.explain.plots import Plot
from ablation.report.kit.page import Block, Drawn, Missing, Picture, Table
from studies.paper.evidence.evidence import Evidence
from studies.paper.page import look, tables, words
from studies.paper.page.blocks import Section
from studies.paper.page.strips import Strips
from studies.paper.rules.verdict import Verdict

Part = Block | Plot | Strips
STRIPS = "strips"
# of all sections: what a verdict's link may name
ANCHORS = frozenset({
    "claims", "table-1", "figures", "figure-1", "figure-2", "figure-3", "figure-4-5", "figure-6", "quality", "frequency", "paired",
    "pieces", "latent", "clusters", "probes", "information", "disentanglement", "traversals", "edits", "hypotheses", "cost",
    "training-speed", "limits",
})  # fmt: skip


@dataclass(frozen=True)
class Study:
    """All that the page is made of."""

    evidence: Evidence
    verdicts: Sequence[Verdict]
    arrays: look.Arrays
    images_allowed: bool = True
    # pictures of an earlier page of the same study, whose arrays are not at hand: path below the page's folder -> file
    kept: Mapping[str, bytes] = field(default_factory=dict)

    @cached_property
    def places(self) -> Mapping[str, str]:
        """Verdict -> anchor of the section with its evidence."""
        return {v.id: v.link if v.link in ANCHORS else "claims" for v in self.verdicts}

    def section(self, text: str, anchor: str, level: int = 2) -> Section:
        """A heading, with the verdicts that rest on it."""
        return Section(text, anchor, level, [v for v in self.verdicts if self.places[v.id] == anchor])

    def plot(self, found: Plot | None, what: str, *names: str, stem: str = "") -> Part:
        """A plot, one kept of an earlier page under this stem, or why there is none."""
        if found is None and f"{PLOTS}/{stem}.svg" in self.kept:
            return Drawn(f"{PLOTS}/{stem}.svg", f"{PLOTS}/{stem}_narrow.svg", f"{PLOTS}/{stem}.csv", f"{what}, as first drawn")
        return found if found is not None else Missing(words.missing(self.evidence, what, *names))

    def strip(self, make: Callable[[], Strips | None], what: str, *names: str, stem: str) -> Part:
        """Pictures, those kept of an earlier page under this stem, or why there are none."""
        if not self.images_allowed:
            return Missing(f"{what[:1].upper()}{what[1:]}: left out of this copy, for they show real faces.")
        found = make()
        if found is None and f"{STRIPS}/{stem}.png" in self.kept:
            return Picture(f"{STRIPS}/{stem}.png", f"{what}, as first drawn")
        return found if found is not None else Missing(words.missing(self.evidence, what, *names))

    def table(self, found: Table | None, what: str, *names: str) -> Part:
        """A table, or why there is none."""
        return found if found is not None else Missing(words.missing(self.evidence, what, *names))

    def measures(self, rows: Sequence[tables.Measure], what: str, *names: str) -> list[Part]:
        """Original, modified and their difference; the rows that neither has are named below, with the reason."""
        table, gone = tables.measures(self.evidence, rows)
        if table is None:
            return [Missing(words.missing(self.evidence, what, *names))]
        rest = [Missing(words.missing(self.evidence, f"{what}: {', '.join(gone)}", *names))] if gone else []
        return [table, *rest]
