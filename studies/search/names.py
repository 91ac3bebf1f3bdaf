"""Factors and levels of the studies that follow a search. No torch here."""

from __future__ import annotations

from ablation.record.search import Candidate

NETWORK, RATE = "network", "learning_rate"
REFERENCE, WINNER = "reference", "winner"


def level_of(candidate: Candidate) -> str:
    """A network as a level: numbers of trials never change, labels may be long.

    >>> level_of(Candidate(number=12, label="residual, pooled"))
    'proposal 12'
    """
    return REFERENCE if candidate.number is None else f"proposal {candidate.number}"


def arm(level: str, rate: float) -> str:
    """A network with its own learning rate as a level.

    >>> arm("reference", 3e-4)
    'reference at 0.0003'
    """
    return f"{level} at {rate:g}"
