"""Factors between two specs, the full factorial of swaps, and its static attribution against hand-derived numbers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import combinations

import pytest
import torch
from torch import Tensor, nn

from ablation.attribute.factorial import GROUPS, Factorial, factors_between
from ablation.attribute.static import PARTS, UNITS, attribute_static, network_costs
from ablation.attribute.values import attribute
from ablation.design.spec import FIELDS, ModelSpec, preset
from ablation.measure.costs.forward import Cost
from ablation.measure.costs.static import static_cost
from blocks import ARCHITECTURES, CONVS, DOWNS
from blocks.errors import InputError

PAPER = (preset("original"), preset("modified"))
TINY = ModelSpec(
    image_size=16, latent_dim=4, encoder_widths=(4, 6), decoder_stem=6, decoder_widths=(6, 4), growth_rate=2, dense_layers=2
)


def cell(*names: str) -> frozenset[str]:
    return frozenset(names)


@pytest.fixture(scope="module")
def paper() -> Factorial:
    return Factorial.between(*PAPER)


def test_the_papers_pair_differs_in_nine_factors(paper: Factorial) -> None:
    assert paper.levels == {
        "encoder widths": (
            "encoder stem 0, encoder widths 32-64-128-256",
            "encoder stem 32, encoder widths 64-128-256-512",
        ),
        "encoder connectivity": ("plain", "dense"),
        "encoder convolution": ("standard", "pointwise_first"),
        "downsampling": ("max", "avg"),
        "head": ("flatten", "pooled"),
        "stem width": ("256", "512"),
        "decoder connectivity": ("plain", "dense"),
        "decoder convolution": ("standard", "pointwise_first"),
        "transposed": ("True", "False"),
    }
    assert (paper.num_possible, len(paper.cells), len(paper.networks), paper.impossible) == (512, 512, 512, {})
    assert list(paper.networks)[:2] == [spec.network_key for spec in PAPER]


def test_every_cell_has_exactly_the_fields_of_its_swaps(paper: Factorial) -> None:
    for swapped in random.Random(0).sample(list(paper.cells), 40):
        spec = paper.cells[swapped].to_dict()
        for name, (before, after) in paper.factors.items():
            wanted = after if name in swapped else before
            assert {field: spec[field] for field in wanted} == {
                field: list(value) if isinstance(value, tuple) else value for field, value in wanted.items()
            }


def test_every_field_of_a_spec_belongs_to_one_factor_and_to_a_part() -> None:
    grouped = [name for fields in GROUPS.values() for name in fields]
    assert sorted(grouped) == sorted(FIELDS)
    architectures = [ARCHITECTURES.get(name) for name in ARCHITECTURES.names()]
    assert {name for architecture in architectures for name in architecture.reads()} == set(FIELDS) - {"architecture"}


def test_fields_that_do_nothing_in_both_are_no_factor() -> None:
    first = TINY.replace(growth_rate=3)
    second = TINY.replace(growth_rate=5, head="pooled", head_channels=9)
    assert list(factors_between(first, second)) == ["head"]


def test_a_field_that_one_network_reads_comes_with_the_piece_that_reads_it() -> None:
    first = TINY.replace(depth=2, growth_rate=3)
    second = TINY.replace(connectivity="dense", depth=1, growth_rate=5)
    factors = factors_between(first, second)
    assert factors == {
        "encoder connectivity": (
            {"encoder_connectivity": "plain", "depth": 2},
            {"encoder_connectivity": "dense", "growth_rate": 5},
        ),
        "decoder connectivity": (
            {"decoder_connectivity": "plain", "depth": 2},
            {"decoder_connectivity": "dense", "growth_rate": 5},
        ),
    }
    half = Factorial.between(first, second).cells[cell("encoder connectivity")]
    # the decoder, still plain, keeps the first's depth; the encoder has the second's growth
    assert (half.depth, half.growth_rate, half.decoder_connectivity) == (2, 5, "plain")


def test_a_field_that_both_read_is_a_factor_of_its_own() -> None:
    first = TINY.replace(encoder_connectivity="dense", growth_rate=3)
    second = TINY.replace(decoder_connectivity="dense", growth_rate=5)
    factorial = Factorial.between(first, second)
    assert list(factorial.factors) == ["encoder connectivity", "decoder connectivity", "growth rate"]
    # with neither side dense the growth rate does nothing: two cells, one network
    assert (len(factorial.cells), len(factorial.networks)) == (8, 7)
    assert factorial.keys[cell("encoder connectivity")] == factorial.keys[cell("encoder connectivity", "growth rate")]


def test_combinations_that_cannot_exist_are_left_out_and_named() -> None:
    first = TINY.replace(image_size=48, encoder_widths=(4, 4, 4, 4), decoder_widths=(4, 4, 4, 4))
    second = TINY.replace(image_size=40, encoder_widths=(4, 4, 4), decoder_widths=(4, 4, 4))
    factorial = Factorial.between(first, second)
    # 40 pixels can be halved three times, not four: neither side may still have its four stages
    assert set(factorial.impossible) == {
        cell("image size"), cell("image size", "encoder widths"), cell("image size", "decoder widths"),
    }  # fmt: skip
    assert len(factorial.cells) == 5
    combination, reason = factorial.named_impossible[0]
    assert combination == "image size"
    assert reason.startswith("image_size must be a multiple of 16")
    (params, *_) = attribute_static(factorial)
    # without an encoder or decoder to match, the image's size costs what it costs when it is swapped last
    costs = {swapped: static_cost(spec).params for swapped, spec in factorial.cells.items()}
    last = cell("encoder widths", "decoder widths")
    assert params.shapley["image size"].value == costs[last | {"image size"}] - costs[last]
    assert (params.num_variants, params.num_possible) == (5, 8)
    assert "image size" not in params.from_start


def test_equal_networks_have_nothing_to_explain() -> None:
    with pytest.raises(InputError, match="the same network, nothing to explain"):
        Factorial.between(TINY, TINY.replace(growth_rate=7))


def test_losing_every_path_is_an_error_that_says_why() -> None:
    factorial = Factorial.between(TINY, TINY.replace(head="pooled", down="avg"))
    middle = {factorial.keys[cell("head")]: "out of memory", factorial.keys[cell("downsampling")]: "out of memory"}
    kept = factorial.without(dict(list(middle.items())[:1]))
    assert kept.impossible == {cell("head"): "out of memory"}
    with pytest.raises(InputError, match=r"a path of valid variants.*2 of 4 combinations.*out of memory"):
        factorial.without(middle)
    with pytest.raises(InputError, match="Both networks must work on this machine"):
        factorial.without({factorial.first.network_key: "out of memory"})


def test_too_many_factors_are_an_error() -> None:
    different = {
        "image_size": 32, "in_channels": 1, "latent_dim": 5, "encoder_widths": (5, 5), "conv": "separable",
        "connectivity": "residual", "down": "avg", "up": "bilinear", "head": "pooled",
        "decoder_stem": 7, "decoder_widths": (5, 5), "norm": "group", "depth": 3,
    }  # fmt: skip
    with pytest.raises(InputError, match="different in at most 14 factors"):
        Factorial.between(TINY, TINY.replace(**different))


def test_coarse_factorial_has_one_factor_for_each_body(paper: Factorial) -> None:
    coarse = paper.coarse()
    assert list(coarse.factors) == ["encoder", "head", "stem width", "decoder"]
    assert len(coarse.networks) == 16
    encoder = coarse.cells[cell("encoder")]
    assert (encoder.encoder_stem, encoder.encoder_connectivity, encoder.encoder_conv, encoder.down) == (
        32,
        "dense",
        "pointwise_first",
        "avg",
    )
    assert (encoder.head, encoder.decoder_connectivity, encoder.decoder_stem) == ("flatten", "plain", 256)
    assert set(coarse.networks) < set(paper.networks)


def test_factors_that_a_study_varies_only_together_are_merged(paper: Factorial) -> None:
    both = cell("encoder connectivity", "decoder connectivity")
    seen = [paper.keys[swapped] for swapped in (cell(), both, cell("head"), both | {"head"})]
    merged = paper.covered(seen)
    assert [name for name in merged.names if "connectivity" in name] == ["encoder connectivity and decoder connectivity"]
    assert "head" in merged.names
    assert paper.covered(paper.networks).names == paper.names


# ---- static costs ----


@pytest.fixture(scope="module")
def costs(paper: Factorial):
    return network_costs(paper)


def test_sums_of_parts_are_the_direct_counts(paper: Factorial, costs) -> None:
    assert costs.num_counted < 50  # not all of 512
    for key in random.Random(1).sample(list(paper.networks), 8):
        direct = static_cost(paper.networks[key])
        assert costs.by_part[key] == direct.by_part
        assert costs.by_network[key] == Cost(
            direct.params, direct.macs, direct.elements_written, direct.bytes_moved, direct.num_ops
        )


def test_the_papers_pair_adds_up_exactly(costs) -> None:
    by_metric = {a.metric: a for a in attribute_static(costs.factorial, costs=costs)}
    assert list(by_metric) == list(UNITS)
    assert (by_metric["params"].start, by_metric["params"].end) == (9_352_195, 6_283_267)
    assert (by_metric["macs"].start, by_metric["macs"].end) == (664_879_104, 1_101_969_536)
    for attribution in by_metric.values():
        assert attribution.residual == 0
        difference = attribution.end - attribution.start
        assert sum(effect.value for effect in attribution.shapley.values()) == pytest.approx(difference, rel=1e-12)
        assert sum(effect.share for effect in attribution.shapley.values()) == pytest.approx(1)
        assert {effect.verdict for effect in attribution.shapley.values()} == {"exact"}


def test_objectives_are_never_mixed_up(costs) -> None:
    ends = [static_cost(spec) for spec in PAPER]
    for attribution in attribute_static(costs.factorial, costs=costs):
        assert [attribution.start, attribution.end] == [getattr(end, attribution.metric) for end in ends]


def test_what_the_paper_did_not_see_is_found(costs) -> None:
    """Heads lose 5.18 M parameters, the wider decoder stem adds 2.67 M, all convolutions together lose 0.59 M."""
    names = costs.factorial.names
    by_part = {part: attribute(names, costs.values("params", part), metric="params", place=part, unit="") for part in PARTS}
    change = {part: a.end - a.start for part, a in by_part.items()}
    # two Linear(256 x 9 x 9 -> 128) become two Linear(512 -> 128)
    assert change["head"] == 2 * (512 * 128 + 128) - 2 * (20_736 * 128 + 128) == -5_177_344
    # Linear(128 -> 256 x 81) becomes Linear(128 -> 512 x 81)
    assert change["stem"] == 256 * 81 * 128 + 256 * 81 == 2_674_944
    # convolutions 1,366,659 -> 780,419, norms 1,920 -> 21,632
    assert change["encoder_body"] + change["decoder_body"] + change["output"] == -586_240 + 19_712
    # flatten to pooled saves 2 x 128 x (81 - 1) weights for each channel: 256 at first, 512 once the encoder is wide
    head = by_part["head"].shapley
    assert head["head"].value == -2 * 128 * 80 * (256 + 512) / 2 == -7_864_320
    assert head["encoder widths"].value == 2 * 128 * (512 - 256) * (81 + 1) / 2
    # nothing but the stem's own width acts on the stem
    assert {name: effect.value for name, effect in by_part["stem"].shapley.items() if effect.value} == {"stem width": 2_674_944}


def test_macs_are_made_by_dense_wiring_and_width_and_saved_by_the_convolutions(costs) -> None:
    macs = attribute_static(costs.factorial, costs=costs)[1]
    shapley = {name: effect.value for name, effect in macs.shapley.items()}
    # of the heads' products alone: 20,736 -> 256 inputs for 2 x 128 outputs, or 41,472 -> 512
    assert shapley["head"] == -256 * (20_480 + 40_960) / 2
    assert (shapley["downsampling"], shapley["transposed"]) == (0, 0)
    assert shapley["encoder connectivity"] > shapley["encoder widths"] > shapley["decoder connectivity"] > 0
    assert shapley["encoder convolution"] < shapley["decoder convolution"] < 0
    assert macs.path[0][0] == "encoder connectivity"
    assert macs.path[-1][1] == macs.end


def test_main_effects_stand_for_themselves(costs) -> None:
    params = attribute_static(costs.factorial, costs=costs)[0]
    assert params.from_start["head"].value == -2 * 128 * 80 * 256
    assert params.from_end["head"].value == -2 * 128 * 80 * 512
    # the head's saving doubles with the encoder's width
    assert params.interactions["encoder widths + head"].value == -2 * 128 * 80 * 256
    assert len(params.interactions) == len(list(combinations(costs.factorial.names, 2)))


class Transposing(nn.Module):
    """Pools, and leaves memory in another order, so that flattening must copy."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(x, 2).contiguous(memory_format=torch.channels_last)


def fussy(in_channels: int, out_channels: int, *, kernel_size: int = 3, transposed: bool = False, norm, activation) -> nn.Module:
    """Refuses 6 output channels."""
    if out_channels == 6:
        raise RuntimeError("no kernel for 6 channels")
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding=1)


@pytest.fixture
def odd_pieces() -> Iterator[None]:
    DOWNS.register("transposing")(Transposing)
    CONVS.register("fussy")(fussy)
    yield
    for registry, name in ((DOWNS, "transposing"), (CONVS, "fussy")):
        registry._pieces.pop(name)
        registry._uses.pop(name)


@pytest.mark.usefixtures("odd_pieces")
def test_a_part_whose_cost_depends_on_another_is_noticed() -> None:
    factorial = Factorial.between(TINY, TINY.replace(down="transposing", latent_dim=5, decoder_stem=8, decoder_conv="separable"))
    costs = network_costs(factorial)
    assert costs.num_counted == len(factorial.networks) == 16
    for key, spec in factorial.networks.items():
        assert costs.by_part[key] == static_cost(spec).by_part


@pytest.mark.usefixtures("odd_pieces")
def test_a_level_that_fails_to_build_is_left_out_and_named() -> None:
    first = TINY.replace(decoder_widths=(4, 4))
    second = first.replace(encoder_widths=(4, 8), encoder_conv="fussy", head="pooled")
    params, *_ = attribute_static(Factorial.between(first, second))
    # fussy convolutions exist only once the width is no longer 6
    assert (params.num_variants, params.num_possible, params.residual) == (6, 8, 0)
    assert "encoder convolution" not in params.from_start
    impossible = network_costs(Factorial.between(first, second)).factorial.named_impossible
    assert [name for name, _ in impossible] == ["encoder convolution", "encoder convolution + head"]
    assert all("no kernel for 6 channels" in reason for _, reason in impossible)
