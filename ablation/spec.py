"""A variant as data: `ModelSpec`, frozen and validated where it is made. Importing this needs no torch; making a spec does.

A spec has two identities. Its *intent* is the spec as written. Its *network* is what `build` makes of it: a field that no
chosen piece reads (growth rate under plain connectivity) is inert, so specs that differ only there are one network.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from blocks.errors import InputError, must_be

# a field of the spec -> the family whose piece it names
PIECE_FIELDS = {
    "encoder_connectivity": "connectivity",
    "encoder_conv": "conv",
    "down": "down",
    "head": "head",
    "decoder_connectivity": "connectivity",
    "decoder_conv": "conv",
    "up": "up",
    "norm": "norm",
    "activation": "activation",
}
# one name for a choice made in encoder and decoder alike
ALIASES = {"connectivity": ("encoder_connectivity", "decoder_connectivity"), "conv": ("encoder_conv", "decoder_conv")}


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One VAE. The defaults are the paper's `original` (its section 4.3; Toledo & Antonelo 2021)."""

    image_size: int = 144
    # pixels; square
    in_channels: int = 3
    latent_dim: int = 128
    encoder_stem: int = 0
    # channels of a first 3x3 convolution, norm, activation; 0 leaves it out
    encoder_widths: tuple[int, ...] = (32, 64, 128, 256)
    # channels out of each encoder stage; every stage halves height and width
    encoder_connectivity: str = "plain"
    encoder_conv: str = "standard"
    down: str = "max"
    head: str = "flatten"
    decoder_stem: int = 256
    # channels that the linear stem makes of the latent vector
    decoder_widths: tuple[int, ...] = (256, 128, 64, 32)
    # channels out of each decoder stage; every stage doubles height and width
    decoder_connectivity: str = "plain"
    decoder_conv: str = "standard"
    up: str = "nearest"
    transposed: bool = True
    # decoder stages and output in transposed convolutions: same shapes, costs and functions, other kernels. The 1x1 projections of
    # a decoder's dense and residual stages are always transposed, as in the paper's code; those within a dense layer never are
    depth: int = 1
    # convolutions in a plain or residual stage
    growth_rate: int = 32
    # channels that each layer of a dense block adds
    dense_layers: int = 4
    dense_bottleneck: bool = False
    # DenseNet-B: 1x1 convolution to 4 x growth_rate in each dense layer
    head_channels: int = 32
    # channels of the 1x1 reduction of the `bottleneck` head
    norm: str = "batch"
    activation: str = "elu"

    def __post_init__(self) -> None:
        for name in ("encoder_widths", "decoder_widths"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        _check_numbers(self)
        _check_sides(self)
        for name, family in PIECE_FIELDS.items():
            _families()[family].check(getattr(self, name), name)

    def replace(self, **changes: Any) -> ModelSpec:
        """A spec with some fields changed. `connectivity` and `conv` set encoder and decoder alike."""
        return replace(self, **resolve(changes))

    @property
    def active(self) -> dict[str, Any]:
        """The fields that take part in the network, i.e. all but the inert ones."""
        return {name: value for name, value in self.to_dict().items() if name not in self.inert}

    @property
    def inert(self) -> tuple[str, ...]:
        """Fields that no chosen piece reads."""
        families = _families()
        governed = [name for family in families.values() for name in family.governs]
        used = {name for field, family in PIECE_FIELDS.items() for name in families[family].uses(getattr(self, field))}
        return tuple(name for name in governed if name not in used)

    @property
    def intent_key(self) -> str:
        """16 hex digits that identify the spec as written."""
        return _digest(self.to_dict())

    @property
    def network_key(self) -> str:
        """16 hex digits that identify the network that the spec makes."""
        return _digest(self.active)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; tuples as lists."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelSpec:
        """A spec from fields, or from `preset` and the fields that differ from it."""
        rest = dict(values)
        base = preset(rest.pop("preset")) if "preset" in rest else cls()
        return base.replace(**rest)

    def to_json(self) -> str:
        """JSON text with every field."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """The inverse of `to_json`; InputError where the text is no JSON object."""
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"A spec must be a JSON object. Line {error.lineno}: {error.msg}.") from None
        if not isinstance(values, dict):
            raise must_be("A spec", "a JSON object", values)
        return cls.from_dict(values)

    def to_toml(self) -> str:
        """TOML text with every field (numbers, text, booleans and arrays are written alike in JSON and TOML)."""
        return "".join(f"{name} = {json.dumps(value)}\n" for name, value in self.to_dict().items())

    @classmethod
    def from_toml(cls, text: str) -> ModelSpec:
        """The inverse of `to_toml`; InputError where the text is no TOML."""
        try:
            return cls.from_dict(tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"A spec must be TOML. {error}.") from None


FIELDS = tuple(field.name for field in fields(ModelSpec))


def resolve(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a spec from fields and aliases, lists as tuples; InputError for a key that is neither."""
    resolved: dict[str, Any] = {}
    for key, value in changes.items():
        if key not in FIELDS and key not in ALIASES:
            close = difflib.get_close_matches(key, (*FIELDS, *ALIASES), n=1)
            remedy = f"Did you mean {close[0]!r}?" if close else f"The fields are {', '.join((*ALIASES, *FIELDS))}."
            raise must_be("A key of a spec", "one of its fields", key, remedy)
        for name in ALIASES.get(key, (key,)):
            if name in resolved and resolved[name] != value:
                raise must_be(
                    f"{name}, which {key!r} sets too,", "given once", (resolved[name], value), "Leave one of the two out."
                )
            resolved[name] = tuple(value) if isinstance(value, list) else value
    return resolved


_SMALL = {"image_size": 48, "latent_dim": 32, "growth_rate": 8, "head_channels": 8}

# the two models of the paper as its code builds them, and both at a quarter of the width for small images
PRESETS: dict[str, dict[str, Any]] = {
    "original": {},
    "modified": {
        "encoder_stem": 32,
        "encoder_widths": (64, 128, 256, 512),
        "decoder_stem": 512,
        "connectivity": "dense",
        "conv": "pointwise_first",
        "down": "avg",
        "head": "pooled",
        "transposed": False,
    },
    "small": {**_SMALL, "encoder_widths": (8, 16, 32, 64), "decoder_stem": 64, "decoder_widths": (64, 32, 16, 8)},
    "small_modified": {
        **_SMALL,
        "encoder_stem": 8,
        "encoder_widths": (16, 32, 64, 128),
        "decoder_stem": 128,
        "decoder_widths": (64, 32, 16, 8),
        "connectivity": "dense",
        "conv": "pointwise_first",
        "down": "avg",
        "head": "pooled",
        "transposed": False,
    },
}
PRESET_SUMMARIES = {
    "original": "The paper's plain baseline, 144 px, 9,352,195 parameters",
    "modified": "The paper's DenseNet variant, 144 px, 6,283,267 parameters",
    "small": "`original` at a quarter of the width, 48 px",
    "small_modified": "`modified` at a quarter of the width, 48 px",
}


def preset(name: str) -> ModelSpec:
    """The named spec; InputError that lists the presets when there is none of that name."""
    if not isinstance(name, str) or name not in PRESETS:
        close = difflib.get_close_matches(str(name), PRESETS, n=1)
        raise must_be("preset", "one of " + ", ".join(PRESETS), name, f"Did you mean {close[0]!r}?" if close else "")
    return ModelSpec().replace(**PRESETS[name])


def _families() -> dict[str, Any]:
    # the catalogue needs torch: loaded when the first spec is made, so that reports, which make none, stay free of it
    from blocks import FAMILIES

    return FAMILIES


def _check_numbers(spec: ModelSpec) -> None:
    for field in fields(spec):
        value = getattr(spec, field.name)
        if field.type == "int":
            lowest = 0 if field.name == "encoder_stem" else 1
            if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
                raise must_be(field.name, f"a whole number of at least {lowest}", value)
        elif field.type == "bool" and not isinstance(value, bool):
            raise must_be(field.name, "true or false", value)
        elif field.type == "str" and not isinstance(value, str):
            raise must_be(field.name, "text", value)
        elif field.type == "tuple[int, ...]" and not (
            isinstance(value, tuple) and value and all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in value)
        ):
            raise must_be(field.name, "one or more whole numbers of at least 1", value)


def _check_sides(spec: ModelSpec) -> None:
    for name, verb in (("encoder_widths", "halve"), ("decoder_widths", "double")):
        stages = len(getattr(spec, name))
        step = 2**stages
        if spec.image_size % step:
            below, above = spec.image_size // step * step, (spec.image_size // step + 1) * step
            near = f"{below} or {above}" if below else f"{above}"
            rule = f"a multiple of {step}, since {name} has {stages} stages that {verb} it"
            raise must_be("image_size", rule, spec.image_size, f"Take {near}.")


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
