"""Simulations with known truth: whether what is called a 95 % interval covers. No torch."""

from __future__ import annotations

from typing import NamedTuple


class Simulated(NamedTuple):
    """One case: its runs, the intervals that they printed and those that held the truth; or the runs with a false verdict."""

    construction: str
    case: str
    runs: int
    intervals: int = 0
    hits: int = 0
    # None where nothing is judged
    wrong: int | None = None

    @property
    def coverage(self) -> float | None:
        """Share of the intervals that hold the truth; None where none was printed."""
        return self.hits / self.intervals if self.intervals else None

    @property
    def false_share(self) -> float | None:
        """Share of runs with a false verdict; None where nothing is judged."""
        return None if self.wrong is None else self.wrong / self.runs
