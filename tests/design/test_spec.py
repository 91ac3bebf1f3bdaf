"""Specs: identity, round trips, validation case by case."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablation.design.spec import (
    ALIASES,
    FAMILY_FIELDS,
    FIELDS,
    LATER,
    PER_STAGE,
    PIECE_FIELDS,
    PRESET_SUMMARIES,
    PRESETS,
    ModelSpec,
    preset,
    resolve,
)
from blocks import FAMILIES
from blocks.errors import InputError, choices

DEPTH, DENSE = ("depth",), ("growth_rate", "dense_layers", "dense_bottleneck")
counts = st.integers(1, 600)


@st.composite
def spec_fields(draw: st.DrawFn, per_stage: bool = True) -> dict[str, Any]:
    """Fields of a valid spec, some of them left at their defaults, some with one value for each stage where that is asked for."""
    widths = st.lists(counts, min_size=1, max_size=5).map(tuple)
    encoder, decoder = draw(widths), draw(widths)
    lengths = {"encoder_widths": {len(encoder)}, "decoder_widths": {len(decoder)}}

    def for_stages(name: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        sizes = set.union(*(lengths[of] for of in PER_STAGE.get(name, ("encoder_widths", "decoder_widths"))))
        if not per_stage or name not in PER_STAGE or len(sizes) > 1:
            return values
        (size,) = sizes
        return values | st.lists(values, min_size=size, max_size=size).map(tuple)

    side = 4 * 2 ** max(len(encoder), len(decoder)) * draw(st.integers(1, 9))
    rest = {
        **dict.fromkeys(
            ("in_channels", "latent_dim", "decoder_stem", "depth", "growth_rate", "dense_layers", "head_channels", "stem_channels"),
            counts,
        ),
        **dict.fromkeys(("stem_factor", "end_factor"), st.sampled_from((1, 2, 4))),
        "kernel_size": st.integers(0, 4).map(lambda half: 2 * half + 1),
        **dict.fromkeys(("encoder_stem", "mask_width"), st.integers(0, 64)),
        **dict.fromkeys(("transposed", "dense_bottleneck", "innermost_resampling"), st.booleans()),
        **{field: st.sampled_from(FAMILIES[family].names()) for field, family in PIECE_FIELDS.items()},
    }
    some = draw(st.fixed_dictionaries({}, optional={name: for_stages(name, values) for name, values in rest.items()}))
    return {"encoder_widths": encoder, "decoder_widths": decoder, "image_size": side, **some}


def one(value: Any) -> Any:
    """Equal values for each stage, of a field that may have one for all, as that one."""
    return value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value


specs, uniform = (spec_fields(per_stage).map(lambda values: ModelSpec(**values)) for per_stage in (True, False))
examples = settings(max_examples=60, deadline=None, derandomize=True)


@examples
@given(spec=specs)
def test_round_trips(spec: ModelSpec) -> None:
    for back in (
        ModelSpec.from_dict(spec.to_dict()),
        ModelSpec.from_json(spec.to_json()),
        ModelSpec.from_toml(spec.to_toml()),
        spec.replace(),
    ):
        assert back == spec
        assert hash(back) == hash(spec)
        assert (back.intent_key, back.network_key) == (spec.intent_key, spec.network_key)
    assert tuple(spec.to_dict()) == FIELDS == tuple(json.loads(spec.to_json()))


@examples
@given(spec=uniform, values=spec_fields())
def test_replace_sets_what_it_names_and_keeps_the_rest(spec: ModelSpec, values: dict[str, Any]) -> None:
    before = spec.to_dict()
    changed = spec.replace(**values)
    assert spec.to_dict() == before
    for name in FIELDS:
        expected = values.get(name, getattr(spec, name))
        assert getattr(changed, name) == (one(expected) if name in PER_STAGE else expected)


@examples
@given(first=specs, second=specs)
def test_keys_differ_exactly_as_what_they_identify(first: ModelSpec, second: ModelSpec) -> None:
    assert re.fullmatch("[0-9a-f]{16}", first.intent_key)
    assert (first.intent_key == second.intent_key) == (first == second)
    assert (first.network_key == second.network_key) == (first.active == second.active)


def inert_by_hand(spec: ModelSpec) -> set[str]:
    wirings = {*spec.pieces("encoder_connectivity"), *spec.pieces("decoder_connectivity")}
    return {
        *(DENSE if "dense" not in wirings else ()),
        *(DEPTH if wirings == {"dense"} else ()),
        *(("head_channels",) if spec.head != "bottleneck" else ()),
        *(("stem_factor",) if spec.stem == "full" else ()),
        *(("end_factor",) if spec.end == "conv" else ()),
        *(("stem_channels",) if spec.latent_stem == "linear" else ()),
        "mask_width",
    }


def another(spec: ModelSpec, name: str) -> Any:
    """A different valid value of a field."""
    value = getattr(spec, name)
    if name in PIECE_FIELDS:
        return next(n for n in FAMILIES[PIECE_FIELDS[name]].names() if n != value)
    if name in ("stem_factor", "end_factor"):
        return 2 if value == 4 else 4
    if name in ("depth", "kernel_size"):
        return (max(value) if isinstance(value, tuple) else value) + 2
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return (*value[:-1], value[-1] + 1)
    return value * 2 if name == "image_size" else value + 1


@examples
@given(spec=specs)
def test_a_change_of_an_inert_field_keeps_the_network_and_any_other_changes_it(spec: ModelSpec) -> None:
    assert set(spec.inert) == inert_by_hand(spec)
    active = {name: value for name, value in spec.to_dict().items() if name not in inert_by_hand(spec)}
    # of the depths of single stages, those that a stage reads; see test_stages
    assert spec.active == active | ({"depth": spec.active["depth"]} if isinstance(spec.depth, tuple) and "depth" in active else {})
    for name in FIELDS:
        if name == "architecture":  # the other one has other sides; see test_architectures
            continue
        changed = spec.replace(**{name: another(spec, name)})
        assert changed.intent_key != spec.intent_key
        assert (changed.network_key == spec.network_key) == (name in inert_by_hand(spec))


def test_keys_are_stable_across_versions_and_processes() -> None:
    # stored trials refer to these: a change of the digest orphans every study
    code = "from ablation import preset; print(*(preset(n).intent_key + preset(n).network_key for n in ('original', 'modified')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2bcc366f39e7ee1b88c8e110265b8a04", "a0e4cbeb9f4c3471f181b4b05f477681"]


# intent and network keys from before `architecture` and `mask_width` were fields
CHANGES: dict[str, dict[str, Any]] = {
    "itself": {},
    "pooled": {"head": "pooled"},
    "dense": {"connectivity": "dense"},
    "separable": {"conv": "separable", "depth": 2},
    "bottleneck": {"head": "bottleneck", "head_channels": 7},
    "pieces": {"norm": "group", "activation": "relu", "up": "shuffle", "down": "strided"},
    "numbers": {"latent_dim": 5, "encoder_stem": 9, "dense_bottleneck": True, "growth_rate": 3, "transposed": False},
}
FROZEN = {
    "original": {
        "itself": "2bcc366f39e7ee1b 88c8e110265b8a04",
        "pooled": "b1a21f0f98b1b2da aad9e62ca83fa5f3",
        "dense": "310eab4de3e53ad2 f9343980eabd3a6a",
        "separable": "73ee5f29e2ca442c 2b7f682363c47049",
        "bottleneck": "93c1552b32fa49c2 e6908dd89c80a3f1",
        "pieces": "7e66a491a83e7c5f ff1655b09f9af937",
        "numbers": "9c7e799d202a70ed d4184f1dcbad2506",
    },
    "modified": {
        "itself": "a0e4cbeb9f4c3471 f181b4b05f477681",
        "separable": "05ed292b63fec4d9 b0034bf1837f8e86",
        "bottleneck": "9a44742dc533490a 4c0c4ba4a5fc25d1",
        "pieces": "61bd6cf863b5c7dd ea33357f5d843c2b",
        "numbers": "387f5124c40cd63b 8716cd96694bae18",
    },
    "small": {
        "itself": "d58e39a73ff06540 16caa7af67dd6416",
        "dense": "c8c56a4727b5f820 f8a007e8ac143af0",
        "numbers": "798c7de8100a58b6 5ebf8310d427f2c0",
    },
    "small_modified": {
        "itself": "887851b3e553821f 225079c3ea8d9510",
        "bottleneck": "e684125744ccbc56 9b34cb0750ecd893",
        "pieces": "fb936edea5d5c696 b26e689e3b08d8d8",
        "numbers": "94cbefb82bed57fc e98c7f14fcfc1e2f",
    },
}


@pytest.mark.parametrize(("base", "change"), [(base, change) for base, keys in FROZEN.items() for change in keys])
def test_later_fields_changed_no_key(base: str, change: str) -> None:
    spec = preset(base).replace(**CHANGES[change])
    assert f"{spec.intent_key} {spec.network_key}" == FROZEN[base][change]
    # a stored spec without the later fields is the same, and one that says them otherwise is not
    stored = {name: value for name, value in spec.to_dict().items() if name not in LATER}
    assert ModelSpec.from_dict(stored) == ModelSpec.from_json(json.dumps(stored)) == spec
    asked = spec.replace(mask_width=8)
    assert (asked.intent_key != spec.intent_key, asked.network_key == spec.network_key) == (True, True)


def test_importing_specs_needs_no_torch() -> None:
    code = "import sys, ablation.design.spec; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_frozen_and_keyword_only() -> None:
    spec = preset("small")
    for name in FIELDS:
        with pytest.raises(FrozenInstanceError):
            setattr(spec, name, getattr(spec, name))
    with pytest.raises(TypeError, match="positional"):
        ModelSpec(48)  # type: ignore[misc]


def test_presets() -> None:
    assert set(PRESETS) == set(PRESET_SUMMARIES) >= {"original", "modified", "small"}
    assert preset("original") == ModelSpec()
    assert {preset(name).image_size for name in PRESETS if name.startswith("small")} == {48}
    for name in PRESETS:
        assert ModelSpec.from_dict({"preset": name}) == preset(name)
        assert ModelSpec.from_toml(f'preset = "{name}"\nlatent_dim = 7\n') == preset(name).replace(latent_dim=7)


def test_aliases_set_encoder_and_decoder() -> None:
    spec = preset("original").replace(connectivity="residual", conv="separable")
    assert (spec.encoder_connectivity, spec.decoder_connectivity) == ("residual", "residual")
    assert (spec.encoder_conv, spec.decoder_conv) == ("separable", "separable")
    assert resolve({"conv": "x", "encoder_widths": [1, 2]}) == {"encoder_conv": "x", "decoder_conv": "x", "encoder_widths": (1, 2)}
    assert not set(ALIASES) & set(FIELDS)


WHOLE = [f.name for f in fields(ModelSpec) if str(f.type).startswith("int")]
MAY_BE_ZERO = ("encoder_stem", "mask_width")
WIDTHS = {"()": [], "(8, 0)": [8, 0], "(8, -1)": [8, -1], "(8.0,)": [8.0], "(True,)": [True], "8": 8, "'8'": "8"}
# changes of `original`, and how the line begins that refuses them; a plugin may have added pieces where * stands
WRONG: list[tuple[dict[str, Any], str]] = [
    *(
        ({name: value}, f"{name} must be a whole number of at least {0 if name in MAY_BE_ZERO else 1}. Got {value!r} instead.")
        for name in WHOLE
        for value in (-16, 16.0, True, "16", None, float("nan"), *(() if name in MAY_BE_ZERO else (0,)))
    ),
    *(
        ({name: value}, f"{name} must be true or false. Got {value!r} instead.")
        for name in ("transposed", "dense_bottleneck")
        for value in (0, 1, "true", None)
    ),
    *(
        ({name: value}, f"{name} must be one or more whole numbers of at least 1. Got {shown} instead.")
        for name in ("encoder_widths", "decoder_widths")
        for shown, value in WIDTHS.items()
    ),
    *(({name: 3}, f"{name} must be text. Got 3 instead.") for name in FAMILY_FIELDS),
    *(
        ({name: "nope"}, f"{name} must be one of {', '.join(FAMILIES[family].names())}*. Got 'nope' instead. ")
        for name, family in FAMILY_FIELDS.items()
    ),
    ({"head": "poled"}, "head must be one of flatten, pooled, bottleneck*. Got 'poled' instead. Did you mean 'pooled'?"),
    (
        {"architecture": "tolledo"},
        "architecture must be one of stages, toledo*. Got 'tolledo' instead. Did you mean 'toledo'?",
    ),
    (
        {"architecture": "toledo"},
        "image_size must be from 16 to 31, since decoder_widths has 4 stages that double a side of 1 (or double it and add 1). "
        "Got 144 instead. Take 7 decoder_widths for this size.",
    ),
    ({"latent_dims": 3}, "A key of a spec must be one of its fields. Got 'latent_dims' instead. Did you mean 'latent_dim'?"),
    (
        {"zzz": 3},
        f"A key of a spec must be one of its fields. Got 'zzz' instead. The fields are {', '.join((*ALIASES, *FIELDS))}.",
    ),
    *(
        ({"image_size": size}, f"image_size must be a multiple of 16, since encoder_widths has 4 stages that halve it. Got {rest}")
        for size, rest in ((100, "100 instead. Take 96 or 112."), (9, "9 instead. Take 16."))
    ),
    (
        {"decoder_widths": [8] * 5},
        "image_size must be a multiple of 32, since decoder_widths has 5 stages that double it. Got 144 instead. Take 128 or 160.",
    ),
]
CALLS: list[tuple[Callable[[], object], str]] = [
    (
        lambda: preset("small_toledo").replace(encoder_widths=[8] * 6),
        "image_size must be at least 64, since encoder_widths has 6 stages that halve it. Got 48 instead. Take 5 encoder_widths",
    ),
    (lambda: preset("small_toledo").replace(image_size=1), "image_size must be from 32 to 63, since decoder_widths has 5 stages"),
    (lambda: preset("orginal"), f"preset must be {choices(PRESETS)}. Got 'orginal' instead."),
    (lambda: ModelSpec.from_dict({"preset": "big"}), f"preset must be {choices(PRESETS)}. Got 'big'"),
    (lambda: ModelSpec.from_json('{"head":\n'), "A spec must be a JSON object. Line 2: Expecting value."),
    (lambda: ModelSpec.from_json("[1]"), "A spec must be a JSON object. Got [1] instead."),
    (lambda: ModelSpec.from_json('{"depth": NaN}'), "depth must be a whole number of at least 1. Got nan instead."),
    (lambda: ModelSpec.from_toml("head = pooled"), "A spec must be TOML. Invalid value (at line 1"),
    (
        lambda: ModelSpec.from_toml("[encoder]\nx = 1"),
        "A key of a spec must be one of its fields. Got 'encoder' instead. Did you mean",
    ),
]


@pytest.mark.parametrize(("wrong", "message"), [*WRONG, *CALLS])
def test_wrong_input_is_refused_in_one_line(wrong: dict[str, Any] | Callable[[], object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        ModelSpec().replace(**wrong) if isinstance(wrong, dict) else wrong()
    line = str(caught.value)
    assert "\n" not in line
    assert re.match(re.escape(message).replace(r"\*", r"[\w, ]*"), line), line
    assert len(line) < 600


def test_wrong_input_is_refused_where_the_spec_is_made_too() -> None:
    with pytest.raises(InputError, match=r"^image_size must be a multiple of 16"):
        ModelSpec(image_size=100)
    with pytest.raises(InputError, match=r"^depth must be a whole number"):
        ModelSpec(depth=0)
