"""The TOML file of a study of one's own: the network's callable, what trains it, factors and metrics; and the settings of both.

network = "my_nets:make"
train = "my_training:train"
input = [3, 32, 32]          # or "3x32x32", or several; left out where the module has an example_input()
[factors]
width = [16, 32]
[metrics]
accuracy = { better = "higher", unit = "%" }
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from ablation.design.call_text import EXAMPLE
from ablation.design.callable_spec import CallableSpec
from ablation.design.inputs import Input
from ablation.design.space import Levels, Space, factors_of, read_toml
from ablation.machine.text import printable
from ablation.train.own import WHAT, TrainingFunction
from blocks.errors import InputError, must_be
from studies.engine.config import StudyConfig

KEYS = ("name", "network", "train", "input", "factors", "metrics", "defaults")


@dataclass(frozen=True, kw_only=True)
class OwnStudy:
    """Networks of a callable with factors among its arguments, and the function that trains them."""

    space: Space
    train: TrainingFunction

    @property
    def network(self) -> CallableSpec:
        """What the space is built on."""
        assert isinstance(self.space.base, CallableSpec)
        return self.space.base

    def settings(self) -> dict[str, Any]:
        """What a study's config keeps of it beside the space."""
        sources = {self.network.path: self.network.source, self.train.path: self.train.source}
        return {**self.train.to_dict(), "sources": sources}


def is_own(path: Path) -> bool:
    """Whether a space's file is of networks of a user's own."""
    return bool({"network", WHAT} & set(read_toml(path)))


def read_own(path: Path, *, whole: bool = True) -> OwnStudy:
    """The study of a file; InputError, which names the file, for whatever is wrong with it.

    Not `whole`: the space, which may be too large for that, is not enumerated.
    """
    values = read_toml(path)
    try:
        if unknown := sorted(set(values) - set(KEYS)):
            raise must_be("A key", f"one of {', '.join(KEYS)}", unknown[0])
        for key, example in (("network", EXAMPLE), (WHAT, "my_training:train")):
            if not isinstance(values.get(key), str):
                raise must_be(key, f"given, as {example}", values.get(key))
        if not isinstance(name := values.get("name", path.stem), str) or not name.strip():
            raise must_be("name", "text", name)
        factors = values.get("factors", {})
        if not isinstance(factors, dict):
            raise must_be("factors", "a table, [factors]", factors)
        train = TrainingFunction.read(values[WHAT], values.get("metrics", {}))
        return own_study(name, values["network"], train, factors, inputs_of(values.get("input")), whole=whole)
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from None


def own_study(
    name: str, network: str, train: TrainingFunction, factors: Mapping[str, Any], inputs: Sequence[str] = (), *, whole: bool = True
) -> OwnStudy:
    """A study of the networks that levels of arguments make; InputError where none can be made, or the function can't be called."""
    levels = factors_of(factors, "width = [16, 32]")
    train.function  # noqa: B018 -- raises what is wrong with it
    base = CallableSpec.parse(network, inputs)
    space = Space(name=printable(name), base=base, factors=levels)
    _check_names(space, levels)
    if not inputs:
        first = first_of(space)
        space = replace(space, base=replace(base, inputs=first.inputs or first.own_inputs()))
    if whole:
        space.enumerate()
    return OwnStudy(space=space, train=train)


def _check_names(space: Space, levels: Mapping[str, Levels]) -> None:
    """InputError for a level that sets what the callable does not take: not a combination that it refuses, but a mistake."""
    assert isinstance(space.base, CallableSpec)
    for factor, table in levels.items():
        for fields in table.values():
            try:
                space.base.bound((), {**space.base.arguments, **fields}, partial=True)
            except InputError as error:
                raise InputError(f"Factor {factor!r}: {error}") from None


def first_of(space: Space) -> CallableSpec:
    """The first network that can be made."""
    reasons = []
    for levels in product(*space.factors.values()):
        try:
            made = space.variant(dict(zip(space.factors, levels, strict=True))).spec
        except InputError as error:
            reasons.append(error)
        else:
            assert isinstance(made, CallableSpec)
            return made
    raise reasons[0]


def inputs_of(value: Any) -> list[str]:
    """Inputs as `--input` has them, from [3, 32, 32], "3x32x32", or a list of such."""
    if value is None:
        return []
    if isinstance(value, str) or (isinstance(value, (list, tuple)) and value and all(isinstance(size, int) for size in value)):
        value = [value]
    if not isinstance(value, (list, tuple)) or not value:
        raise must_be("input", "sizes without the batch, as [3, 32, 32], or a list of several inputs", value)
    texts = [
        each if isinstance(each, str) else "x".join(map(str, each)) if isinstance(each, (list, tuple)) else "" for each in value
    ]
    try:
        return [str(Input.read(text)) for text in texts]
    except InputError:
        raise must_be("input", 'sizes without the batch, as [3, 32, 32] or "128:30522", or a list of such', value) from None


def check_sources(config: StudyConfig) -> None:
    """InputError where networks or training stand in another source than the study began with."""
    base = CallableSpec.from_dict(config.space["base"])
    now = {base.path: base.source, config.own["train"].partition("(")[0]: TrainingFunction.from_dict(config.own).source}
    for path, digest in now.items():
        if config.own["sources"].get(path) != digest:
            raise must_be(f"The source of {path}", "the one that the study began with", "another", "Restore it.")
