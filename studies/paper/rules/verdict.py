"""A claim, the rule that settles it, and the verdict that its numbers give. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from studies.paper.evidence.evidence import Evidence

HOLDS, FAILS, UNDECIDED = "holds", "fails", "undecided"
KINDS = (HOLDS, FAILS, UNDECIDED)
NOT_COMPUTED = "Not computed."  # how the sentence of a verdict begins whose numbers are not there
SIGNIFICANT, MOST_DIGITS = 3, 4  # digits of a number without an interval; of one with an interval at most
OF_INTERVAL = 2  # digits of half an interval that are shown, and with them those of its value


class Lacking(Exception):  # noqa: N818 - no error: what a rule raises where its data is not there
    """What a rule needs and the evidence does not have, in words: the verdict is undecided for this reason."""


@dataclass(frozen=True, kw_only=True)
class Number:
    """One named number behind a verdict, with its 95 % interval where it was measured rather than counted."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    unit: str = ""
    source: str = ""  # where in the evidence it comes from

    @property
    def text(self) -> str:
        """'0.0998 (0.0943 to 0.1053)' and the unit."""
        return f"{spanned(self.value, self.low, self.high)} {self.unit}".rstrip()


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a rule found in the evidence."""

    kind: str
    sentence: str
    evidence: tuple[Number, ...] = ()
    scope: str = ""
    device: str = ""  # that it was measured on; for claims about time
    refused: bool = False  # whether it is undecided whatever was measured, for the study is too small for it


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a paper says, and the rule by which numbers settle it; `claims.RULES_CHANGED` tells when rules were changed."""

    id: str
    says: str
    measurement: str
    rule: str  # in plain English, with its thresholds
    link: str  # section of the page that holds the evidence
    find: Callable[[Evidence], Finding]  # raises Lacking where the evidence does not have what the rule needs
    by_chance: bool = True  # whether it rests on intervals, and so counts among the verdicts that are corrected together
    of_gpu: bool = False  # whether it is about time, which the paper measured on a GPU: `claims.GPU_POLICY`


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A claim judged: what is shown of it, and the numbers that its sentence was made of."""

    id: str
    says: str
    measurement: str
    rule: str
    kind: str
    sentence: str
    evidence: tuple[Number, ...]
    scope: str  # on which data, at which size, on which hardware
    link: str
    together: int = 0  # how many verdicts it was corrected with, itself among them; 0 where it rests on no interval

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; the numbers by name."""
        plain = asdict(self)
        plain["evidence"] = {n.name: {k: v for k, v in asdict(n).items() if k != "name"} for n in self.evidence}
        return plain

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Verdict:
        """The inverse of `to_dict`."""
        return cls(**{**values, "evidence": tuple(Number(name=name, **found) for name, found in values["evidence"].items())})


def from_side(side: int, wanted: int = 1) -> str:
    """The verdict where a number must lie on the side `wanted` (1 above, -1 below) and lies on `side` (0: on neither)."""
    return UNDECIDED if not side else HOLDS if side == wanted else FAILS


def all_of(kinds: Iterable[str]) -> str:
    """Holds when all hold; fails when at least one fails; else undecided."""
    found = list(kinds)
    return FAILS if FAILS in found else HOLDS if found and all(k == HOLDS for k in found) else UNDECIDED


def agreed(kinds: Iterable[str]) -> str:
    """The verdict that all of them share; else undecided."""
    found = set(kinds)
    return found.pop() if len(found) == 1 else UNDECIDED


def plain(value: float, decimals: int | None = None) -> str:
    """Whole numbers exactly, others to three significant digits or to these decimals; a real minus sign."""
    if not math.isfinite(value):
        return str(value)
    if decimals is None:
        if isinstance(value, int) or (value == round(value) and abs(value) >= 10**SIGNIFICANT):
            return f"{value:,.0f}".replace("-", "−")
        decimals = _decimals(value, SIGNIFICANT)
    text = f"{value:,.{decimals}f}"
    return (text.lstrip("-") if float(text.replace(",", "")) == 0 else text).replace("-", "−")


def spanned(value: float, low: float | None, high: float | None, *, signed: bool = False) -> str:
    """'0.0998 (0.0943 to 0.1053)': as many decimals as the interval's width justifies; no bracket without an interval."""
    decimals = None
    if low is not None and high is not None:
        half = (high - low) / 2
        most = _decimals(max(abs(value), half), MOST_DIGITS)
        decimals = min(_decimals(half, OF_INTERVAL), most) if half else most
    plus = "+" if signed and value > 0 else ""
    text = f"{plus}{plain(value, decimals)}"
    if low is None or high is None:
        return text
    ends = [("+" if signed and end > 0 else "") + plain(end, decimals) for end in (low, high)]
    return f"{text} ({ends[0]} to {ends[1]})"


def percent(share: float) -> str:
    """'52 %'; one decimal below 10 %."""
    digits = 1 if 0 < abs(100 * share) < 9.95 else 0
    return f"{plain(100 * share, digits)}\u00a0%"


def percent_span(value: float, low: float | None, high: float | None) -> str:
    """'25.1 % (23.8 to 26.3)' of shares."""
    ends = tuple(None if v is None else 100 * v for v in (low, high))
    text, _, bracket = spanned(100 * value, *ends).partition(" (")
    return f"{text}\u00a0%" + (f" ({bracket}" if bracket else "")


def joined(names: Iterable[str], last: str = "and") -> str:
    """'a, b and c'."""
    found = list(names)
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} {last} {found[-1]}" if found else "none"


def _decimals(value: float, digits: int) -> int:
    return 0 if value == 0 else min(max(0, digits - 1 - math.floor(math.log10(abs(value)))), 6)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One of several measurements that a rule combines."""

    kind: str
    text: str
    numbers: tuple[Number, ...] = ()


def attempt(make: Callable[[], Part]) -> Part:
    """A part of a finding; undecided, with the reason, where its data is not there."""
    try:
        return make()
    except Lacking as reason:
        return Part(kind=UNDECIDED, text=str(reason))
