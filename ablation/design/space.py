"""A space of variants: a base and factors with levels; its full factorial, with what cannot exist and what is inert named.

A level sets fields of the spec, fields of the protocol (`ablation.design.protocol.FACTORS`), or both. Of a network that a callable
makes, levels set arguments.
"""

from __future__ import annotations

import itertools
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ablation.design.callable_spec import CallableSpec
from ablation.design.network import AnySpec, of_pieces, spec_from_dict
from ablation.design.protocol import FACTORS, Protocol
from ablation.design.spec import PER_STAGE, ModelSpec, resolve
from ablation.design.variant import Variant
from ablation.machine.text import first_line, printable
from blocks.errors import InputError, must_be

Levels = dict[str, dict[str, Any]]  # level, as text -> the fields that it sets


@dataclass(frozen=True, kw_only=True)
class Invalid:
    """A combination of levels that cannot exist, and why."""

    factors: dict[str, str]
    reason: str


@dataclass(frozen=True, kw_only=True)
class Space:
    """Base and factors. Enumerated once, when it is first asked for its variants.

    >>> from ablation import preset
    >>> factors = {"head": {"flat": {"head": "flatten"}, "pooled": {"head": "pooled"}}}
    >>> variants, invalid = Space(name="heads", base=preset("small"), factors=factors).enumerate()
    >>> [variant.label for variant in variants], invalid
    (['flat', 'pooled'], [])
    """

    name: str
    base: AnySpec
    factors: dict[str, Levels]
    protocol: Protocol = field(default_factory=Protocol)  # the study's; no part of the space's identity

    def __post_init__(self) -> None:
        owner: dict[str, str] = {}
        for factor, levels in self.factors.items():
            for name in {name for level in levels.values() for name in self._fields(level)}:
                if owner.setdefault(name, factor) != factor:
                    raise must_be(
                        f"Factor {factor!r}", f"of fields that {owner[name]!r} does not set", name, "Merge the two factors."
                    )

    @property
    def model_spec(self) -> ModelSpec:
        """The base, of this project's pieces; InputError where a callable makes the networks."""
        return of_pieces(self.base)

    def enumerate(self) -> tuple[list[Variant], list[Invalid]]:
        """Every distinct variant of the full factorial, in order, and the combinations that cannot exist.

        InputError where no variant has a certain level, as is the case where none exists.
        """
        return self._enumerated

    @cached_property
    def _enumerated(self) -> tuple[list[Variant], list[Invalid]]:
        made: dict[str, tuple[Variant, list[dict[str, str]]]] = {}
        invalid: list[Invalid] = []
        for levels in itertools.product(*self.factors.values()):
            factors = dict(zip(self.factors, levels, strict=True))
            try:
                variant = self.variant(factors)
            except InputError as error:
                invalid.append(Invalid(factors=factors, reason=str(error)))
            else:
                made.setdefault(variant.key, (variant, []))[1].append(factors)
        used = {pair for _, intents in made.values() for intent in intents for pair in intent.items()}
        for factor, level in ((factor, level) for factor, levels in self.factors.items() for level in levels):
            if (factor, level) not in used:
                reason = next(i.reason for i in invalid if i.factors[factor] == level)
                raise InputError(f"Level {level!r} of factor {factor!r} makes no valid variant: {reason}")
        return [self.described(variant, intents) for variant, intents in made.values()], invalid

    def variant(self, factors: Mapping[str, str]) -> Variant:
        """The variant of one assignment of factors; InputError where it cannot exist."""
        changes: dict[str, Any] = {}
        for factor, level in factors.items():
            changes.update(self._fields(self.factors[factor][level]))
        if isinstance(self.base, CallableSpec):
            return Variant(spec=self.base.replace(**changes))
        protocol = {name: changes.pop(name) for name in FACTORS if name in changes}
        return Variant.of(self.base.replace(**changes), protocol, self.protocol)

    def _fields(self, level: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a level sets, by the names of fields."""
        return level if isinstance(self.base, CallableSpec) else resolve(level, FACTORS)

    def reference(self) -> str:
        """Key of the variant that others are compared with: the base where it is in the space, else the first."""
        keys = [variant.key for variant in self.enumerate()[0]]
        return self.base.network_key if self.base.network_key in keys else keys[0]

    def num_combinations(self) -> int:
        """Size of the full factorial, valid or not."""
        return math.prod(map(len, self.factors.values()))

    def to_dict(self) -> dict[str, Any]:
        """Plain values that identify the space."""
        return json.loads(json.dumps({"name": self.name, "base": self.base.to_dict(), "factors": self.factors}))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], protocol: Protocol | None = None) -> Space:
        """The inverse of `to_dict`, in a study of this protocol."""
        base = spec_from_dict(values["base"])
        return cls(name=values["name"], base=base, factors=dict(values["factors"]), protocol=protocol or Protocol())

    def described(self, variant: Variant, intents: Sequence[dict[str, str]]) -> Variant:
        """The variant with these assignments of factors, which all make it, and a label made of the first."""
        inert = tuple(f for f in self.factors if len({i[f] for i in intents}) > 1)
        # a number says little by itself, the name of a piece says it all
        texts = {f: f"{f} {level}" if _needs_name(f, level) else level for f, level in intents[0].items()}
        label = printable(", ".join(texts[f] for f in self.factors if f not in inert)) or "base"
        return replace(variant, label=label, intents=tuple(intents), inert=inert)


def _needs_name(factor: str, level: str) -> bool:
    return level[0].isdigit() or level in ("true", "false") or (factor in PER_STAGE and level[:1] == "[" and level[1].isdigit())


def load_space(path: Path, *, protocol: Protocol | None = None, whole: bool = True, **base_changes: Any) -> Space:
    """A space from a TOML file with tables `base` (preset and fields) and `factors`; `base_changes` override the base.

    Enumerated where it is taken `whole`, so that whatever is wrong with it is an InputError that names the file; a space that a
    search draws from may be too large for that. `protocol`: the study's.
    """
    values = read_toml(path)
    for table in ("base", "factors", "defaults"):
        if not isinstance(values.get(table, {}), dict):
            raise must_be(f"{path.name}: {table}", f"a table, [{table}]", values[table])
    name = values.get("name", path.stem)
    if not isinstance(name, str) or not name.strip():
        raise must_be(f"{path.name}: name", "text", name)
    unknown = set(values) - {"name", "base", "factors", "defaults"}
    if unknown:
        raise must_be(f"A table of {path.name}", "base, factors or defaults", sorted(unknown)[0])
    try:
        base = ModelSpec.from_dict({**values.get("base", {}), **base_changes})
        factors = factors_of(values.get("factors", {}), 'conv = ["standard", "separable"]')
        space = Space(name=printable(name), base=base, factors=factors, protocol=protocol or Protocol())
        if whole:
            space.enumerate()
        return space
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from None


def factors_of(values: Mapping[str, Any], example: str) -> dict[str, Levels]:
    """Factors with their levels, from a table of a file; InputError for wrong ones, and for none."""
    factors = {factor: _levels(factor, levels) for factor, levels in values.items()}
    if not factors:
        raise must_be("factors", "a table with at least one factor", factors, f"For example: {example}.")
    return factors


def load_defaults(path: Path, allowed: Sequence[str]) -> dict[str, Any]:
    """The table `defaults` of a space's file: settings of a study that flags override; InputError for a key not allowed."""
    defaults = read_toml(path).get("defaults", {})
    if not isinstance(defaults, dict):
        raise must_be(f"{path.name}: defaults", "a table, [defaults]", defaults)
    for key in defaults:
        if key not in allowed:
            raise must_be(f"{path.name}: a key of [defaults]", "one of " + ", ".join(allowed), key)
    return defaults


def read_toml(path: Path) -> dict[str, Any]:
    """What a space's file holds; InputError where it can't be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows editors begin a file with a byte order mark
    except FileNotFoundError:
        raise must_be("--space", "small, paper, loss or a TOML file", str(path), "There is no such file.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"The space {path} must be a readable TOML file. {first_line(error)}.") from None


def _levels(factor: str, levels: Any) -> Levels:
    """`factor = [levels]` sets the field of that name; `[factors.NAME] level = {field = value}` sets several at once."""
    for name in (factor, *(levels if isinstance(levels, dict) else ())):
        if not name.strip():
            raise must_be(f"A name in factor {factor!r}" if name != factor else "A factor's name", "text", name)
    if isinstance(levels, dict) and levels and all(isinstance(v, dict) and v for v in levels.values()):
        result = {level: dict(changes) for level, changes in levels.items()}
    elif isinstance(levels, list) and levels:
        for level in levels:
            if not isinstance(level, (str, int, float, list)) or level == [] or (isinstance(level, str) and not level.strip()):
                raise must_be(f"A level of factor {factor!r}", "text, a number, true, false or a list of them", level)
        result = {level_text(level): {factor: level} for level in levels}
    else:
        raise must_be(f"Factor {factor!r}", "a list of levels, or a table from level to the fields it sets", levels)
    if len(result) != len(levels):
        raise must_be(f"The levels of factor {factor!r}", "all different", levels)
    return result


def level_text(level: Any) -> str:
    """A level as text: names as they are, the rest as JSON."""
    return level if isinstance(level, str) else json.dumps(level)
