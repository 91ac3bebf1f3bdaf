"""A network as data: `ModelSpec`, frozen and validated where it is made. Importing this needs no torch; making a spec does.

A spec has two identities. Its *intent* is the spec as written. Its *network* is what `build` makes of it: a field that no
chosen piece reads (growth rate under plain connectivity) is inert, so specs that differ only there are one network.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import Field, asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any

from ablation.design.presets import PRESET_SUMMARIES as PRESET_SUMMARIES
from ablation.design.presets import PRESETS as PRESETS
from blocks.errors import InputError, choices, must_be, near

BOM = "\ufeff"  # a byte order mark, with which Windows editors begin a file
# fields that came after the first results were stored: a key leaves them out where they have these values
LATER: dict[str, Any] = {
    "architecture": "stages", "mask_width": 0, "kernel_size": 3, "stem": "full", "stem_factor": 2, "end": "conv", "end_factor": 2,
    "innermost_resampling": True, "latent_stem": "linear", "stem_channels": 16, "attention": "none",
}  # fmt: skip

# a field of the spec -> the family whose piece it names
PIECE_FIELDS = {
    "encoder_connectivity": "connectivity",
    "encoder_conv": "conv",
    "down": "down",
    "head": "head",
    "stem": "stem",
    "latent_stem": "latent_stem",
    "end": "end",
    "attention": "attention",
    "decoder_connectivity": "connectivity",
    "decoder_conv": "conv",
    "up": "up",
    "norm": "norm",
    "activation": "activation",
}
FAMILY_FIELDS = {"architecture": "architecture", **PIECE_FIELDS}
# fields that have one value, or one for each stage -> the widths whose stages they belong to
PER_STAGE = {
    "encoder_connectivity": ("encoder_widths",),
    "encoder_conv": ("encoder_widths",),
    "decoder_connectivity": ("decoder_widths",),
    "decoder_conv": ("decoder_widths",),
    "depth": ("encoder_widths", "decoder_widths"),
    "kernel_size": ("encoder_widths", "decoder_widths"),
}
# one name for a choice made in encoder and decoder alike
ALIASES = {"connectivity": ("encoder_connectivity", "decoder_connectivity"), "conv": ("encoder_conv", "decoder_conv")}


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One VAE. The defaults are the preset `original`.

    Connectivity, convolution, depth and kernel size are one value, or a list with one for each stage. Equal values in a list are
    the same as one value.

    >>> spec = ModelSpec(encoder_conv=["standard", "standard", "separable", "separable"])
    >>> spec.encoder_conv
    ('standard', 'standard', 'separable', 'separable')
    >>> spec.replace(encoder_conv=["standard"] * 4) == ModelSpec()
    True
    """

    image_size: int = 144  # pixels; square
    in_channels: int = 3
    latent_dim: int = 128
    encoder_stem: int = 0  # channels of a first 3x3 convolution, norm, activation; 0 leaves it out
    encoder_widths: tuple[int, ...] = (32, 64, 128, 256)  # channels out of each encoder stage; every stage halves height and width
    encoder_connectivity: str | tuple[str, ...] = "plain"
    encoder_conv: str | tuple[str, ...] = "standard"
    down: str = "max"
    head: str = "flatten"
    decoder_stem: int = 256  # channels that the linear stem makes of the latent vector
    decoder_widths: tuple[int, ...] = (256, 128, 64, 32)  # channels out of each decoder stage; every stage doubles height and width
    decoder_connectivity: str | tuple[str, ...] = "plain"
    decoder_conv: str | tuple[str, ...] = "standard"
    up: str = "nearest"
    # decoder stages and output in transposed convolutions: same shapes, costs and functions, other kernels. The 1x1 projections of
    # a decoder's dense and residual stages are always transposed; those within a dense layer never are
    transposed: bool = True
    depth: int | tuple[int, ...] = 1  # convolutions in a plain or residual stage
    growth_rate: int = 32  # channels that each layer of a dense block adds
    dense_layers: int = 4
    dense_bottleneck: bool = False  # DenseNet-B: 1x1 convolution to 4 x growth_rate in each dense layer
    head_channels: int = 32  # channels of the 1x1 reduction of the `bottleneck` head
    norm: str = "batch"
    activation: str = "elu"
    architecture: str = "stages"  # how the network is laid out, and so which of the other fields it reads
    mask_width: int = 0  # channels of every stage of a second decoder, which predicts the face mask from z; 0 leaves it out
    kernel_size: int | tuple[int, ...] = 3  # of the stages' convolutions; odd
    stem: str = "full"  # how the encoder begins
    stem_factor: int = 2  # side of the squares of pixels that `space_to_depth` makes channels of
    end: str = "conv"  # how the decoder ends
    end_factor: int = 2  # the same of `depth_to_space`
    innermost_resampling: bool = True  # False: the last encoder stage does not halve, the first decoder stage does not double
    latent_stem: str = "linear"  # how the decoder begins, from the latent vector
    stem_channels: int = 16  # channels between the two layers of the `squeezed` latent stem
    attention: str = "none"  # behind each stage's wiring

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                value = tuple(value)
            _check(field, value)
            if field.name in PER_STAGE and isinstance(value, tuple):
                self._check_stages(field.name, value)
                value = value[0] if len(set(value)) == 1 else value
            object.__setattr__(self, field.name, value)
        _families()["architecture"].check(self.architecture, "architecture")
        self._architecture(self).check()
        for name, family in PIECE_FIELDS.items():
            for piece in self.pieces(name):
                _families()[family].check(piece, name)

    def replace(self, **changes: Any) -> ModelSpec:
        """A spec with some fields changed. `connectivity` and `conv` set encoder and decoder alike."""
        return replace(self, **resolve(changes))

    def pieces(self, field: str) -> tuple[str, ...]:
        """The pieces that a field names, each once: more than one where stages differ."""
        value = getattr(self, field)
        return tuple(dict.fromkeys(value)) if isinstance(value, tuple) else (value,)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one image: channels, height and width."""
        return (self.in_channels, self.image_size, self.image_size)

    @cached_property
    def active(self) -> dict[str, Any]:
        """The fields that take part in the network, i.e. all but the inert ones."""
        values = {name: value for name, value in self.to_dict().items() if name not in self.inert}
        listed = {name: value for name, value in values.items() if name in PER_STAGE and isinstance(value, list)}
        return values | {name: self._as_read(name, value) for name, value in listed.items()}

    @cached_property
    def inert(self) -> tuple[str, ...]:
        """Fields that neither the architecture nor a chosen piece reads."""
        governed = {name for family in _families().values() for name in family.governs}
        layout = (*self._architecture.reads(), "architecture")
        used = {name for field in PIECE_FIELDS if field in layout for name in self.read_by(field)}
        return tuple(name for name in FIELDS if name not in layout or (name in governed and name not in used))

    def read_by(self, field: str) -> tuple[str, ...]:
        """The fields that what `field` names reads, and that others of its kind may not: growth rate by dense connectivity."""
        if field not in FAMILY_FIELDS:
            return ()
        family = _families()[FAMILY_FIELDS[field]]
        if field == "architecture":
            own, others = self._architecture.reads(), [family.get(name).reads() for name in family.names()]
            return tuple(name for name in own if not all(name in reads for reads in others))
        return tuple(dict.fromkeys(name for piece in self.pieces(field) for name in family.uses(piece)))

    @cached_property
    def intent_key(self) -> str:
        """16 hex digits that identify the spec as written."""
        return _digest(self.to_dict())

    @cached_property
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

    @property
    def _architecture(self) -> Any:
        return _families()["architecture"].get(self.architecture)

    def _check_stages(self, name: str, values: tuple[Any, ...]) -> None:
        for widths in PER_STAGE[name]:
            stages = len(getattr(self, widths))
            if len(values) != stages:
                raise must_be(name, f"one value, or one for each of the {stages} stages of {widths}", values)

    def _as_read(self, name: str, values: list[Any]) -> Any:
        """Values for each stage as the network reads them: None where no piece of the stage does, one for all where they agree."""
        readers = [field for field, family in PIECE_FIELDS.items() if name in _families()[family].governs]
        for stage in range(len(values)) if readers else ():
            chosen = ((_families()[PIECE_FIELDS[field]], getattr(self, field)) for field in readers)
            if not any(name in family.uses(piece[stage] if isinstance(piece, tuple) else piece) for family, piece in chosen):
                values[stage] = None
        different = set(values) - {None}
        return different.pop() if len(different) == 1 else values


FIELDS = tuple(field.name for field in fields(ModelSpec))


def resolve(changes: Mapping[str, Any], others: Sequence[str] = ()) -> dict[str, Any]:
    """Fields of a spec from fields and aliases, lists as tuples; InputError for a key that is neither and not among `others`."""
    names, resolved = (*ALIASES, *FIELDS, *others), dict[str, Any]()
    for key, value in changes.items():
        if key not in names:
            remedy = near(key, (*FIELDS, *ALIASES, *others), f"The fields are {', '.join(names)}.")
            raise must_be("A key of a spec", "one of its fields", key, remedy)
        for name in ALIASES.get(key, (key,)):
            if name in resolved and resolved[name] != value:
                raise must_be(
                    f"{name}, which {key!r} sets too,", "given once", (resolved[name], value), "Leave one of the two out."
                )
            resolved[name] = tuple(value) if isinstance(value, list) else value
    return resolved


def preset(name: str) -> ModelSpec:
    """The named spec; InputError that lists the presets when there is none of that name.

    >>> preset("small").replace(head="pooled").head
    'pooled'
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise must_be("preset", choices(PRESETS), name, near(name, tuple(PRESETS)))
    return ModelSpec().replace(**PRESETS[name])


def _families() -> dict[str, Any]:
    # the catalogue needs torch: loaded when the first spec is made, so that reports, which make none, stay free of it
    from blocks import FAMILIES

    return FAMILIES


def _check(field: Field[Any], value: Any) -> None:
    """InputError for a value of the wrong kind, each of a field that has one for each stage."""
    name, kind = field.name, str(field.type).partition(" |")[0]
    for one in value if name in PER_STAGE and isinstance(value, tuple) else (value,):
        lowest = 0 if name in ("encoder_stem", "mask_width") else 1
        if kind == "int" and not _is_whole(one, lowest):
            raise must_be(name, f"a whole number of at least {lowest}", one)
        if kind == "bool" and not isinstance(one, bool):
            raise must_be(name, "true or false", one)
        if kind == "str" and not isinstance(one, str):
            raise must_be(name, "text", one)
        if name == "kernel_size" and one % 2 == 0:
            raise must_be(name, "odd, so that height and width stay", one)
    if kind.startswith("tuple") and not (isinstance(value, tuple) and value and all(_is_whole(one, 1) for one in value)):
        raise must_be(name, "one or more whole numbers of at least 1", value)


def _is_whole(value: Any, lowest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= lowest


def _digest(values: Mapping[str, Any]) -> str:
    known = {name: value for name, value in values.items() if name not in LATER or value != LATER[name]}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]
