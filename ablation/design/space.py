"""A space of variants: a base spec and factors with levels; its full factorial, with what cannot exist and what is inert named."""

from __future__ import annotations

import itertools
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablation.design.spec import ModelSpec, resolve
from ablation.machine.text import printable
from blocks.errors import InputError, must_be

Levels = dict[str, dict[str, Any]]  # level, as text -> the fields that it sets


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network of a space, with every assignment of factors that makes it."""

    key: str
    label: str
    spec: ModelSpec
    intents: tuple[dict[str, str], ...]
    inert: tuple[str, ...]  # factors that change nothing in this network


@dataclass(frozen=True, kw_only=True)
class Invalid:
    """A combination of levels that cannot exist, and why."""

    factors: dict[str, str]
    reason: str


@dataclass(frozen=True, kw_only=True)
class Space:
    """Base and factors. Validated where it is made: at least one variant exists, and every level occurs in one."""

    name: str
    base: ModelSpec
    factors: dict[str, Levels]

    def __post_init__(self) -> None:
        owner: dict[str, str] = {}
        for factor, levels in self.factors.items():
            for field in {field for level in levels.values() for field in resolve(level)}:
                if owner.setdefault(field, factor) != factor:
                    raise must_be(
                        f"Factor {factor!r}", f"of fields that {owner[field]!r} does not set", field, "Merge the two factors."
                    )
        networks, invalid = self.enumerate()
        seen = {(f, level) for network in networks for intent in network.intents for f, level in intent.items()}
        for factor, levels in self.factors.items():
            for level in levels:
                if (factor, level) not in seen:
                    reason = next(i.reason for i in invalid if i.factors[factor] == level)
                    raise InputError(f"Level {level!r} of factor {factor!r} makes no valid variant: {reason}")

    def enumerate(self) -> tuple[list[Network], list[Invalid]]:
        """Every distinct network of the full factorial, in order, and the combinations that cannot exist."""
        specs: dict[str, ModelSpec] = {}
        intents: dict[str, list[dict[str, str]]] = {}
        invalid: list[Invalid] = []
        for levels in itertools.product(*self.factors.values()):
            factors = dict(zip(self.factors, levels, strict=True))
            try:
                spec = self.spec(factors)
            except InputError as error:
                invalid.append(Invalid(factors=factors, reason=str(error)))
                continue
            specs.setdefault(spec.network_key, spec)
            intents.setdefault(spec.network_key, []).append(factors)
        return [self._network(key, spec, intents[key]) for key, spec in specs.items()], invalid

    def spec(self, factors: Mapping[str, str]) -> ModelSpec:
        """The spec of one assignment of factors; InputError where it cannot exist."""
        changes: dict[str, Any] = {}
        for factor, level in factors.items():
            changes.update(resolve(self.factors[factor][level]))
        return self.base.replace(**changes)

    def reference(self) -> str:
        """Key of the network that others are compared with: the base where it is in the space, else the first."""
        keys = [network.key for network in self.enumerate()[0]]
        return self.base.network_key if self.base.network_key in keys else keys[0]

    def num_combinations(self) -> int:
        """Size of the full factorial, valid or not."""
        product = 1
        for levels in self.factors.values():
            product *= len(levels)
        return product

    def to_dict(self) -> dict[str, Any]:
        """Plain values that identify the space."""
        return json.loads(json.dumps({"name": self.name, "base": self.base.to_dict(), "factors": self.factors}))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Space:
        """The inverse of `to_dict`."""
        return cls(name=values["name"], base=ModelSpec.from_dict(values["base"]), factors=dict(values["factors"]))

    def _network(self, key: str, spec: ModelSpec, intents: list[dict[str, str]]) -> Network:
        inert = tuple(f for f in self.factors if len({i[f] for i in intents}) > 1)
        # a number says little by itself, the name of a piece says it all
        text = {
            f: level if not level[0].isdigit() and level not in ("true", "false") else f"{f} {level}"
            for f, level in intents[0].items()
        }
        label = printable(", ".join(text[f] for f in self.factors if f not in inert)) or "base"
        return Network(key=key, label=label, spec=spec, intents=tuple(intents), inert=inert)


def load_space(path: Path, **base_changes: Any) -> Space:
    """A space from a TOML file with tables `base` (preset and fields) and `factors`; `base_changes` override the base."""
    values = _read(path)
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
        return Space(name=printable(name), base=base, factors=_levels(values.get("factors", {})))
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from None


def load_defaults(path: Path, allowed: Sequence[str]) -> dict[str, Any]:
    """The table `defaults` of a space's file: settings of a study that flags override; InputError for a key not allowed."""
    defaults = dict(_read(path).get("defaults", {}))
    for key in defaults:
        if key not in allowed:
            raise must_be(f"{path.name}: a key of [defaults]", "one of " + ", ".join(allowed), key)
    return defaults


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows editors begin a file with a byte order mark
    except FileNotFoundError:
        raise must_be("--space", "small, paper or a TOML file", str(path), "There is no such file.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"The space {path} must be a readable TOML file. {str(error).splitlines()[0]}.") from None


def _levels(factors: Mapping[str, Any]) -> dict[str, Levels]:
    """`factor = [levels]` sets the field of that name; `[factors.NAME] level = {field = value}` sets several at once."""
    if not factors:
        raise must_be(
            "factors", "a table with at least one factor", dict(factors), 'For example: conv = ["standard", "separable"].'
        )
    result: dict[str, Levels] = {}
    for factor, levels in factors.items():
        for name in (factor, *(levels if isinstance(levels, dict) else ())):
            if not name.strip():
                raise must_be(f"A name in factor {factor!r}" if name != factor else "A factor's name", "text", name)
        if isinstance(levels, dict) and levels and all(isinstance(v, dict) and v for v in levels.values()):
            result[factor] = {level: dict(changes) for level, changes in levels.items()}
            for changes in levels.values():
                resolve(changes)
        elif isinstance(levels, list) and levels:
            resolve({factor: None})
            for level in levels:
                if not isinstance(level, (str, int, float, list)) or level == [] or (isinstance(level, str) and not level.strip()):
                    raise must_be(f"A level of factor {factor!r}", "text, a number, true, false or a list of numbers", level)
            result[factor] = {level_text(level): {factor: level} for level in levels}
        else:
            raise must_be(f"Factor {factor!r}", "a list of levels, or a table from level to the fields it sets", levels)
        if len(result[factor]) != len(levels):
            raise must_be(f"The levels of factor {factor!r}", "all different", levels)
    return result


def level_text(level: Any) -> str:
    """A level as text: names as they are, the rest as JSON."""
    return level if isinstance(level, str) else json.dumps(level)
