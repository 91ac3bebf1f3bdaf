"""Choices for single stages: equal ones are one choice, each makes its own stage, costs follow, wrong ones are named."""

from __future__ import annotations

import re
from functools import reduce
from operator import add
from typing import Any

import pytest
import torch
from torch import nn

from ablation.attribute.factorial import Factorial
from ablation.attribute.static import network_costs
from ablation.design.compose import build
from ablation.design.space import Space
from ablation.design.spec import PER_STAGE, PIECE_FIELDS, ModelSpec, preset
from ablation.faster.optimise import example, prepared
from ablation.faster.steps import RULES
from ablation.measure.costs.published import published_cost
from ablation.measure.costs.static import static_cost
from blocks import FAMILIES
from blocks.connectivity import Dense, Plain, Residual
from blocks.errors import InputError
from studies.engine.preflight import check_network
from tests.builders import num_params, randomised

SPEC = preset("small").replace(image_size=16, encoder_widths=(4, 6, 8), decoder_widths=(8, 6, 4), decoder_stem=8, latent_dim=3)
MIXED = SPEC.replace(
    encoder_connectivity=["residual", "plain", "dense"],
    decoder_connectivity=["dense", "plain", "residual"],
    encoder_conv=["standard", "separable", "pointwise_first"],
    depth=[2, 1, 3],
    kernel_size=[3, 5, 1],
)  # fmt: skip
# field -> a value for all stages and another
VALUES: dict[str, tuple[Any, Any]] = {
    **{name: ("plain", "dense") for name in PER_STAGE if "connectivity" in name},
    **{name: ("standard", "separable") for name in PER_STAGE if "conv" in name.split("_")},
    "depth": (1, 2),
    "kernel_size": (3, 5),
}


@pytest.mark.parametrize("name", PER_STAGE)
def test_equal_values_are_one_value_with_its_key(name: str) -> None:
    value, other = VALUES[name]
    same, changed = SPEC.replace(**{name: [value] * 3}), SPEC.replace(**{name: [value, value, other]})
    assert same == SPEC
    assert (same.intent_key, same.network_key) == (SPEC.intent_key, SPEC.network_key)
    assert changed.network_key not in (SPEC.network_key, SPEC.replace(**{name: other}).network_key)
    for back in (ModelSpec.from_toml(changed.to_toml()), ModelSpec.from_json(changed.to_json()), changed.replace()):
        assert (back, back.network_key) == (changed, changed.network_key)


def test_the_default_kernel_size_is_in_no_key() -> None:
    # every stored network has kernels of 3 x 3
    assert SPEC.network_key == SPEC.replace(kernel_size=3).network_key != SPEC.replace(kernel_size=5).network_key


def test_every_stage_is_made_of_its_own_choices() -> None:
    model = build(MIXED, seed=0)
    for body, kinds in ((model.encoder_body, (Residual, Plain, Dense)), (model.decoder_body, (Dense, Plain, Residual))):
        assert [type(stage[0]) for stage in body] == list(kinds)
    # 3x3 residual, two convolutions 3 -> 4 -> 4 and a shortcut; norms of 2 x 4
    assert num_params(model.encoder_body[0]) == (9 * 12 + 4) + 8 + (9 * 16 + 4) + 8 + (12 + 4)
    # separable 5x5, 4 -> 6
    assert num_params(model.encoder_body[1]) == (25 * 4 + 4) + (4 * 6 + 6) + 12
    kernels = [{m.kernel_size for m in stage.modules() if isinstance(m, nn.Conv2d)} for stage in model.encoder_body]
    assert kernels == [{(3, 3), (1, 1)}, {(5, 5), (1, 1)}, {(1, 1)}]
    # the last decoder stage: three 1x1 convolutions, 6 -> 4 -> 4 -> 4, and a shortcut
    assert num_params(model.decoder_body[2]) == (24 + 4) + 8 + 2 * ((16 + 4) + 8) + (24 + 4)
    reconstruction, mean, _ = model(torch.rand(2, 3, 16, 16))
    assert (reconstruction.shape, mean.shape) == ((2, 3, 16, 16), (2, 3))


def test_a_list_makes_the_weights_of_the_one_value_that_it_repeats() -> None:
    states = [build(spec, seed=3).state_dict() for spec in (SPEC, SPEC.replace(depth=[1, 1, 1], encoder_conv=["standard"] * 3))]
    assert all(map(torch.equal, *(state.values() for state in states)))


@pytest.mark.parametrize("kernel_size", [1, 5, (5, 3, 1)])
@pytest.mark.parametrize("conv", FAMILIES["conv"].names())
def test_every_convolution_takes_the_kernel_size_of_its_stage(conv: str, kernel_size: Any) -> None:
    model = build(SPEC.replace(conv=conv, kernel_size=kernel_size), seed=0)
    sizes = kernel_size if isinstance(kernel_size, tuple) else (kernel_size,) * 3
    for body in (model.encoder_body, model.decoder_body):
        kinds = (nn.Conv2d, nn.ConvTranspose2d)
        assert [max(m.kernel_size[0] for m in stage.modules() if isinstance(m, kinds)) for stage in body] == list(sizes)


def test_depths_that_no_stage_reads_do_nothing() -> None:
    dense_first = SPEC.replace(connectivity=["dense", "plain", "plain"])
    keys = [dense_first.replace(depth=depth).network_key for depth in ([7, 2, 2], [1, 2, 2], 2)]
    assert len(set(keys)) == 1
    assert dense_first.replace(depth=[1, 2, 3]).active["depth"] == [None, 2, 3]
    # one side's plain stage reads it
    assert dense_first.replace(decoder_connectivity="plain", depth=[7, 2, 2]).active["depth"] == [7, 2, 2]
    assert "depth" in SPEC.replace(connectivity="dense", depth=[1, 2, 3]).inert
    assert "depth" not in dense_first.inert


def test_what_the_pieces_of_all_stages_read() -> None:
    spec = SPEC.replace(encoder_connectivity=["dense", "plain", "plain"])
    assert spec.pieces("encoder_connectivity") == ("dense", "plain")
    assert set(spec.read_by("encoder_connectivity")) == {"depth", "growth_rate", "dense_layers", "dense_bottleneck"}
    assert "growth_rate" not in spec.inert


def test_costs_and_attribution_are_exact() -> None:
    static, published = static_cost(MIXED), published_cost(build(MIXED))
    assert (static.macs, static.params) == (published.conv_linear_flops, published.params)
    factorial = Factorial.between(SPEC, MIXED)
    assert {"encoder connectivity", "decoder connectivity", "encoder convolution", "kernel size"} <= set(factorial.names)
    assert factorial.levels["kernel size"] == ("3", "3-5-1")
    costs = network_costs(factorial)
    assert costs.by_network == {key: reduce(add, static_cost(spec).by_part.values()) for key, spec in factorial.networks.items()}
    assert costs.num_counted < len(factorial.networks)


def test_rewritten_for_speed_it_computes_the_same() -> None:
    model = randomised(build(MIXED, seed=0))
    fast = prepared(model, (*RULES, "channels_last"), example(model, 3))
    assert max(fast.errors.values()) < 1e-5


def test_stages_of_another_number_are_combinations_that_cannot_exist() -> None:
    shorter = SPEC.replace(encoder_widths=(4, 8), encoder_conv=["standard", "separable"])
    factorial = Factorial.between(SPEC, shorter)
    assert [reason.partition(" Got")[0] for reason in factorial.impossible.values()] == [
        "encoder_conv must be one value, or one for each of the 3 stages of encoder_widths."
    ]


def test_levels_of_a_space() -> None:
    factors = {"conv": {"s": {"conv": "standard"}, "mixed": {"encoder_conv": ["standard", "separable", "separable"]}}}
    (first, second), invalid = Space(name="s", base=SPEC, factors=factors).enumerate()
    assert (first.key, second.spec.encoder_conv, invalid) == (SPEC.network_key, ("standard", "separable", "separable"), [])


def test_networks_of_ours_are_known_as_ours_before_a_study() -> None:
    from ablation.design.protocol import Protocol

    finding = check_network(MIXED, Protocol(), "cpu")
    assert (finding.reason, finding.note) == ("", "")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": [1, 2]}, "depth must be one value, or one for each of the 3 stages of encoder_widths. Got (1, 2) instead."),
        (
            {"decoder_conv": []},
            "decoder_conv must be one value, or one for each of the 3 stages of decoder_widths. Got () instead.",
        ),
        (
            {"decoder_widths": (8, 4), "kernel_size": [3, 5, 3]},
            "kernel_size must be one value, or one for each of the 2 stages of decoder_widths. Got (3, 5, 3) instead.",
        ),
        ({"depth": [1, 0, 1]}, "depth must be a whole number of at least 1. Got 0 instead."),
        ({"depth": [1, True, 1]}, "depth must be a whole number of at least 1. Got True instead."),
        ({"kernel_size": 4}, "kernel_size must be odd, so that height and width stay. Got 4 instead."),
        ({"kernel_size": [3, 3, 2]}, "kernel_size must be odd, so that height and width stay. Got 2 instead."),
        ({"encoder_conv": ["standard", 3, "standard"]}, "encoder_conv must be text. Got 3 instead."),
        ({"conv": ["standard", "seperable", "standard"]}, "encoder_conv must be one of *. Got 'seperable' instead. Did you mean"),
        ({"down": ["max", "avg", "max"]}, "down must be text. Got ('max', 'avg', 'max') instead."),
        ({"growth_rate": [1, 2, 3]}, "growth_rate must be a whole number of at least 1. Got (1, 2, 3) instead."),
    ],
)
def test_wrong_choices_are_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        SPEC.replace(**changes)
    assert re.match(re.escape(message).replace(r"\*", r"[\w, ]*"), str(caught.value)), caught.value
    assert "\n" not in str(caught.value)


def test_every_field_that_names_a_wiring_or_a_convolution_may_differ_by_stage() -> None:
    assert set(PER_STAGE) == {name for name, family in PIECE_FIELDS.items() if family in ("connectivity", "conv")} | {
        "depth",
        "kernel_size",
    }
