"""A claim, the rule that settles it, and the verdict that its numbers give. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from studies.paper.evidence.evidence import Evidence
from studies.paper.rules.kinds import UNDECIDED
from studies.paper.rules.numbers import spanned

# how the sentence of a verdict begins whose numbers are not there
NOT_COMPUTED = "Not computed."


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
    # where in the evidence it comes from
    source: str = ""

    @classmethod
    def of(cls, name: str, estimate: Any, source: str = "", unit: str = "") -> Number:
        """Of anything that has a value, a low and a high end."""
        return cls(name=name, value=estimate.value, low=estimate.low, high=estimate.high, unit=unit, source=source)

    @property
    def text(self) -> str:
        """'0.0998 (0.0943 to 0.1053)' and the unit."""
        return f"{spanned(self.value, self.low, self.high)} {self.unit}".rstrip()


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a rule makes of the evidence."""

    kind: str
    sentence: str
    evidence: tuple[Number, ...] = ()
    scope: str = ""
    # that it was measured on; for claims about time
    device: str = ""
    # whether it is undecided whatever was measured, for the study is too small for it
    refused: bool = False


Rule = Callable[[Evidence], Finding]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a paper says, and the rule by which numbers settle it; `judge.RULES_CHANGED` tells when rules were changed."""

    id: str
    says: str
    measurement: str
    # in plain English, with its thresholds
    rule: str
    # section of the page that holds the evidence
    link: str
    # raises Lacking where the evidence does not have what the rule needs
    find: Rule
    # whether it rests on intervals, and so counts among the verdicts that are corrected together
    by_chance: bool = True
    # whether it is about time, which the paper measured on a GPU: `judge.GPU_POLICY`
    of_gpu: bool = False


def claim(**about: Any) -> Callable[[Rule], Claim]:
    """Decorator: the claim, with these fields, that the function below settles."""
    return lambda find: Claim(find=find, **about)


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
    # on which data, at which size, on which hardware
    scope: str
    link: str
    # how many verdicts it was corrected with, itself among them; 0 where it rests on no interval
    together: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; the numbers by name."""
        values = asdict(self)
        return {**values, "evidence": {number.pop("name"): number for number in values["evidence"]}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Verdict:
        """The inverse of `to_dict`."""
        numbers = (Number(name=name, **number) for name, number in values["evidence"].items())
        return cls(**{**values, "evidence": tuple(numbers)})


@dataclass(frozen=True, kw_only=True)
class Part:
    """One of several measurements that a rule combines."""

    kind: str = UNDECIDED
    text: str = ""
    numbers: tuple[Number, ...] = ()


def attempt(make: Callable[..., Part], *arguments: Any) -> Part:
    """A part of a finding; undecided, with the reason, where its data is not there."""
    try:
        return make(*arguments)
    except Lacking as reason:
        return Part(text=str(reason))


def together(*parts: Part) -> tuple[str, tuple[Number, ...]]:
    """The sentences of all parts and their numbers; Lacking where no part has any."""
    text, numbers = " ".join(part.text for part in parts if part.text), tuple(number for part in parts for number in part.numbers)
    if not numbers:
        raise Lacking(text)
    return text, numbers
