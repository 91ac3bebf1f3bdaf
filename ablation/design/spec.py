"""A variant as data: `ModelSpec`, frozen and validated where it is made. Importing this needs no torch; making a spec does.

A spec has two identities. Its *intent* is the spec as written. Its *network* is what `build` makes of it: a field that no
chosen piece reads (growth rate under plain connectivity) is inert, so specs that differ only there are one network.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ablation.design.presets import PRESET_SUMMARIES as PRESET_SUMMARIES
from ablation.design.presets import PRESETS as PRESETS
from blocks.errors import InputError, choices, must_be

BOM = "\ufeff"  # a byte order mark, with which Windows editors begin a file
# how a network is laid out -> the fields of the spec that it does not read
ARCHITECTURES: dict[str, tuple[str, ...]] = {
    "stages": ("mask_width",),
    # stages of interchangeable pieces, as in the paper's two models
    "toledo": (
        "encoder_stem", "encoder_connectivity", "encoder_conv", "down", "head", "decoder_stem", "decoder_connectivity",
        "decoder_conv", "up", "transposed", "depth", "growth_rate", "dense_layers", "dense_bottleneck", "head_channels",
    ),
    # Toledo & Antonelo 2021, see blocks.toledo
}  # fmt: skip
# fields that came after the first results were stored: a key leaves them out where they have these values
LATER: dict[str, Any] = {"architecture": "stages", "mask_width": 0}

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
# fields that may have one value, or one for each stage
PER_STAGE = ("encoder_connectivity", "encoder_conv", "decoder_connectivity", "decoder_conv", "depth")
# one name for a choice made in encoder and decoder alike
ALIASES = {"connectivity": ("encoder_connectivity", "decoder_connectivity"), "conv": ("encoder_conv", "decoder_conv")}


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One VAE. The defaults are the paper's `original` (its section 4.3; Toledo & Antonelo 2021)."""

    image_size: int = 144  # pixels; square
    in_channels: int = 3
    latent_dim: int = 128
    encoder_stem: int = 0  # channels of a first 3x3 convolution, norm, activation; 0 leaves it out
    encoder_widths: tuple[int, ...] = (32, 64, 128, 256)  # channels out of each encoder stage; every stage halves height and width
    encoder_connectivity: str = "plain"
    encoder_conv: str = "standard"
    down: str = "max"
    head: str = "flatten"
    decoder_stem: int = 256  # channels that the linear stem makes of the latent vector
    decoder_widths: tuple[int, ...] = (256, 128, 64, 32)  # channels out of each decoder stage; every stage doubles height and width
    decoder_connectivity: str = "plain"
    decoder_conv: str = "standard"
    up: str = "nearest"
    # decoder stages and output in transposed convolutions: same shapes, costs and functions, other kernels. The 1x1 projections of
    # a decoder's dense and residual stages are always transposed, as in the paper's code; those within a dense layer never are
    transposed: bool = True
    depth: int = 1  # convolutions in a plain or residual stage
    growth_rate: int = 32  # channels that each layer of a dense block adds
    dense_layers: int = 4
    dense_bottleneck: bool = False  # DenseNet-B: 1x1 convolution to 4 x growth_rate in each dense layer
    head_channels: int = 32  # channels of the 1x1 reduction of the `bottleneck` head
    norm: str = "batch"
    activation: str = "elu"
    # "toledo" reads image size, channels, latent dimension, widths (one for each halving and each doubling), norm and activation
    architecture: str = "stages"
    mask_width: int = 0  # channels of every stage of a second decoder, which predicts the face mask from z; 0 leaves it out

    def __post_init__(self) -> None:
        for name in ("encoder_widths", "decoder_widths"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        _check_numbers(self)
        if self.architecture not in ARCHITECTURES:
            near = difflib.get_close_matches(str(self.architecture), ARCHITECTURES, n=1)
            raise must_be("architecture", choices(ARCHITECTURES), self.architecture, f"Did you mean {near[0]!r}?" if near else "")
        (_check_sides if self.architecture == "stages" else _check_chain)(self)
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
        unread = ARCHITECTURES[self.architecture]
        governed = [name for family in _families().values() for name in family.governs]
        used = {name for field in PIECE_FIELDS if field not in unread for name in self.read_by(field)}
        return (*unread, *(name for name in governed if name not in used and name not in unread))

    def read_by(self, field: str) -> tuple[str, ...]:
        """The fields that what `field` names reads, and that others of its kind may not: growth rate by dense connectivity."""
        if field == "architecture":
            others = dict.fromkeys(name for unread in ARCHITECTURES.values() for name in unread)
            return tuple(name for name in others if name not in ARCHITECTURES[self.architecture])
        if field not in PIECE_FIELDS:
            return ()
        used: tuple[str, ...] = _families()[PIECE_FIELDS[field]].uses(getattr(self, field))
        return used

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
            values = json.loads(text.removeprefix(BOM))
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
            return cls.from_dict(tomllib.loads(text.removeprefix(BOM)))
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"A spec must be TOML. {error}.") from None


FIELDS = tuple(field.name for field in fields(ModelSpec))


def resolve(changes: Mapping[str, Any], others: Sequence[str] = ()) -> dict[str, Any]:
    """Fields of a spec from fields and aliases, lists as tuples; InputError for a key that is neither and not among `others`."""
    names, resolved = (*ALIASES, *FIELDS, *others), dict[str, Any]()
    for key, value in changes.items():
        if key not in names:
            close = difflib.get_close_matches(key, (*FIELDS, *ALIASES, *others), n=1)
            remedy = f"Did you mean {close[0]!r}?" if close else f"The fields are {', '.join(names)}."
            raise must_be("A key of a spec", "one of its fields", key, remedy)
        for name in ALIASES.get(key, (key,)):
            if name in resolved and resolved[name] != value:
                raise must_be(
                    f"{name}, which {key!r} sets too,", "given once", (resolved[name], value), "Leave one of the two out."
                )
            resolved[name] = tuple(value) if isinstance(value, list) else value
    return resolved


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
            lowest = 0 if field.name in ("encoder_stem", "mask_width") else 1
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


def _check_chain(spec: ModelSpec) -> None:
    # sides are halved and rounded down (144, 72, 36, 18, 9, 4, 2, 1); the decoder goes the same way back, from 1 x 1
    halvings = spec.image_size.bit_length() - 1
    for name, verb in (("decoder_widths", "double a side of 1 (or double it and add 1)"), ("encoder_widths", "halve it")):
        stages = len(getattr(spec, name))
        if stages > halvings or (name == "decoder_widths" and stages < halvings):
            bounds = f"at least {2**stages}" if name == "encoder_widths" else f"from {2**stages} to {2 ** (stages + 1) - 1}"
            rule = f"{bounds}, since {name} has {stages} stages that {verb}"
            raise must_be("image_size", rule, spec.image_size, f"Take {halvings} {name} for this size." if halvings else "")


def _digest(values: Mapping[str, Any]) -> str:
    said = {name: value for name, value in values.items() if name not in LATER or value != LATER[name]}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]
