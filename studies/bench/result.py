"""What a part of `bench` is given, and what it gives: ratios and counts, each beside the rule that it is held to."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from studies.work.progress import print_line


@dataclass(frozen=True)
class Result:
    """One measured ratio or count."""

    name: str
    value: float
    unit: str
    rule: str  # empty for a figure that is told and held to nothing
    met: bool
    detail: str = ""

    def stored(self, part: str) -> dict[str, Any]:
        """As bench.json has it."""
        return {"part": part, **{"what" if key == "name" else key: value for key, value in asdict(self).items()}}


def line(result: Mapping[str, Any]) -> str:
    """One stored result as a line of text."""
    verdict = "reached" if result["met"] else "MISSED"
    detail = f" ({result['detail']})" if result["detail"] else ""
    judged = f", must be {result['rule']}: {verdict}" if result["rule"] else ""
    return f"{result['part']:<9} {result['what']}: {result['value']:.3g} {result['unit']}{judged}{detail}"


@dataclass(frozen=True)
class Bench:
    """What every part is given."""

    device: str
    quick: bool
    console: Console
    out: Path
    table: Path  # of the networks that `search` replays
    begin: float = field(default_factory=time.time)

    def say(self, text: str) -> None:
        """A line of progress."""
        print_line(self.console, text)
