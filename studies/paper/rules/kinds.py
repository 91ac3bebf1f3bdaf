"""The three verdicts, and what several of them are together. No torch."""

from __future__ import annotations

from collections.abc import Iterable

HOLDS, FAILS, UNDECIDED = "holds", "fails", "undecided"
KINDS = (HOLDS, FAILS, UNDECIDED)


def from_side(side: int, wanted: int = 1) -> str:
    """The verdict where a number must lie on the side `wanted` (1 above, -1 below) and lies on `side` (0: on neither)."""
    return UNDECIDED if not side else HOLDS if side == wanted else FAILS


def all_of(kinds: Iterable[str]) -> str:
    """Holds when all hold; fails when at least one fails; else undecided."""
    every = set(kinds)
    return FAILS if FAILS in every else HOLDS if every == {HOLDS} else UNDECIDED


def agreed(kinds: Iterable[str]) -> str:
    """The verdict that all of them share; else undecided."""
    every = set(kinds)
    return every.pop() if len(every) == 1 else UNDECIDED


def worded(kind: str, words: tuple[str, str, str]) -> str:
    """The words for this verdict, of those for holds, fails and undecided."""
    return words[KINDS.index(kind)]
