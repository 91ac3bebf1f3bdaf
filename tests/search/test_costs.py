"""Costs of whole spaces: sums of shared modules are the full count in every number, and where they would not be, it is taken."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ablation.design.space import Space
from ablation.design.spec import PER_STAGE, PIECE_FIELDS, ModelSpec, preset
from ablation.measure.costs.static import static_cost
from ablation.search.costs import METRICS, SpaceCosts, space_costs
from blocks import ACTIVATIONS, CONVS, DOWNS, FAMILIES
from blocks.errors import InputError

TINY = preset("small").replace(
    image_size=16, stem_factor=2, end_factor=2, encoder_widths=(4, 6), decoder_widths=(6, 4), decoder_stem=6, latent_dim=3
)
NUMBERS: dict[str, list[Any]] = {
    "image_size": [32], "in_channels": [1, 3], "latent_dim": [3, 8], "encoder_stem": [0, 4], "decoder_stem": [4, 6],
    "transposed": [False, True], "growth_rate": [2, 3], "dense_layers": [1, 3], "dense_bottleneck": [False, True],
    "head_channels": [2, 5],
    "stem_factor": [2, 4], "end_factor": [2, 4], "stem_channels": [2, 3], "innermost_resampling": [False, True],
}  # fmt: skip
STAGES: dict[str, list[Any]] = {
    "encoder_widths": [2, 4, 6],
    "decoder_widths": [2, 4, 6],
    "depth": [1, 2],
    "kernel_size": [1, 3, 5, 7],
}


def ours(family: str) -> list[str]:
    """The pieces of a family but for those that other tests register."""
    return [name for name in FAMILIES[family].names() if FAMILIES[family].get(name).__module__.startswith("blocks.")]


@pytest.fixture(autouse=True)
def _registries(monkeypatch: pytest.MonkeyPatch) -> None:
    # what a test registers is gone after it
    for registry in FAMILIES.values():
        for name in ("_pieces", "_uses"):
            monkeypatch.setattr(registry, name, dict(getattr(registry, name)))


def drawn(draw: random.Random, num_stages: int = 3) -> ModelSpec:
    """A network with any pieces; fields that may differ by stage do so half of the time."""
    values = {name: draw.choice(choices) for name, choices in NUMBERS.items()}
    pieces = {name: ours(family) for name, family in PIECE_FIELDS.items()}
    for name, choices in {**pieces, **STAGES}.items():
        listed = name in ("encoder_widths", "decoder_widths") or (name in PER_STAGE and draw.random() < 0.5)
        values[name] = draw.choices(choices, k=num_stages) if listed else draw.choice(choices)
    return ModelSpec(**values)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_sums_are_the_full_count_in_every_number(batch_size: int) -> None:
    draw, counts = random.Random(batch_size), SpaceCosts(batch_size)
    for _ in range(12 // batch_size):
        spec = drawn(draw, num_stages=draw.choice([1, 2, 3]))
        full = static_cost(spec, batch_size)
        # in all, by part and by class, batch and input too
        assert counts.of(spec) == full, spec
        assert [getattr(counts.total(spec), name) for name in METRICS] == [getattr(full, name) for name in METRICS]
    assert counts.num_networks == 0


def test_every_piece_keeps_to_its_recipe() -> None:
    counts = SpaceCosts()
    for family in set(PIECE_FIELDS.values()):
        for piece in ours(family):
            spec = TINY.replace(**{name: piece for name in PIECE_FIELDS if PIECE_FIELDS[name] == family})
            assert counts.of(spec) == static_cost(spec), (family, piece)


def test_both_forms_of_a_reparameterised_convolution() -> None:
    cost = SpaceCosts().of(TINY.replace(conv="reparameterised"))
    # 1x1 and two norms more than folded, 3 -> 4 -> 6 and 6 -> 6 -> 4; and one norm more where channels stay
    assert cost.training_params - cost.params == (12 + 4 + 16) + (24 + 6 + 24) + (36 + 6 + 24 + 12) + (24 + 4 + 16)


@pytest.mark.parametrize("name", ["original", "modified", "toledo_mask"])
def test_presets(name: str) -> None:
    spec, counts = preset(name), SpaceCosts()
    assert counts.of(spec) == counts.of(spec) == static_cost(spec)
    # no layout is stated of a chain: it is counted in full, once
    assert counts.num_networks == (name == "toledo_mask")


def test_what_was_counted_is_not_counted_again() -> None:
    counts, spec = SpaceCosts(), TINY.replace(encoder_widths=(4, 4, 4), decoder_widths=(4, 4, 4), decoder_stem=4)
    counts.of(spec)
    # wiring and pooling at 16, 8 and 4 pixels; head, drawing of z, stem; wiring and doubling at 2, 4 and 8; convolution and sigmoid
    assert counts.num_modules == 6 + 3 + 6 + 2
    for changes, num_new in (
        ({}, 0),
        # nobody reads it, which a recipe does not know
        ({"head_channels": 7}, 1),
        ({"encoder_conv": ["standard", "separable", "standard"]}, 1),
        ({"encoder_conv": ["standard", "separable", "separable"]}, 1),
        ({"decoder_conv": "separable", "encoder_conv": "separable"}, 4),
        ({"down": "avg", "latent_dim": 5}, 3 + 3),
    ):
        before = counts.num_modules
        counts.of(spec.replace(**changes))
        assert counts.num_modules - before == num_new, changes


def as_conv(make: Callable[[int, int], nn.Module]) -> Callable[..., nn.Module]:
    """A piece of the family of convolutions."""

    def own(in_channels: int, out_channels: int, **options: Any) -> nn.Module:
        """From a plug-in."""
        return make(in_channels, out_channels)

    return own


def test_a_plain_piece_from_elsewhere_is_compared_and_then_trusted() -> None:
    CONVS.register("own")(as_conv(lambda i, o: nn.Conv2d(i, o, 3, padding=1)))
    counts, spec = SpaceCosts(), TINY.replace(conv="own")
    assert counts.of(spec) == static_cost(spec)
    other = spec.replace(down="avg")
    assert (counts.of(other), counts.num_networks) == (static_cost(other), 2)
    mixed = spec.replace(decoder_conv="standard")
    assert (counts.of(mixed), counts.num_networks) == (static_cost(mixed), 3)
    # all of its modules are known
    last = other.replace(decoder_conv="standard")
    assert (counts.of(last), counts.num_networks) == (static_cost(last), 3)


def test_shared_weights_are_noticed() -> None:
    shared = nn.Conv2d(4, 4, 3, padding=1)
    CONVS.register("shared")(as_conv(lambda i, o: shared))
    counts, spec = SpaceCosts(), TINY.replace(encoder_widths=(4, 4), decoder_widths=(4, 4), decoder_stem=4, encoder_stem=4)
    for changes in ({"conv": "shared"}, {"conv": "shared", "down": "avg"}, {"encoder_conv": ["standard", "shared"]}):
        changed = spec.replace(**changes)
        assert counts.of(changed) == static_cost(changed), changes
    assert counts.num_networks == 3
    # the others go on being sums
    assert counts.of(spec) == static_cost(spec) and counts.num_networks == 3


def test_what_a_module_leaves_in_memory_is_part_of_the_next_ones_key() -> None:
    class Transposing(nn.Module):
        """Pools, and leaves memory in another order, so that flattening must copy."""

        def __init__(self, channels: int) -> None:
            super().__init__()

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.avg_pool2d(x, 2).contiguous(memory_format=torch.channels_last)

    DOWNS.register("transposing")(Transposing)
    counts = SpaceCosts()
    for spec in (TINY, TINY.replace(down="transposing"), TINY.replace(down="avg"), TINY.replace(down="transposing", latent_dim=5)):
        assert counts.of(spec) == static_cost(spec)
    # compared twice, and right
    assert (counts.num_networks, counts._not_sums) == (2, set())
    head = [static_cost(TINY.replace(down=down)).by_part["head"].num_ops for down in ("avg", "transposing")]
    assert head[1] == head[0] + 1


def test_lazy_layers_are_counted_in_full() -> None:
    CONVS.register("lazy")(as_conv(lambda i, o: nn.LazyConv2d(o, 3, padding=1)))
    counts, spec = SpaceCosts(), TINY.replace(encoder_conv="lazy")
    assert (counts.of(spec), counts.num_modules, counts.num_networks) == (static_cost(spec), 0, 1)


def test_a_table_has_a_place_for_every_assignment() -> None:
    def fussy(in_channels: int, out_channels: int) -> nn.Module:
        if out_channels == 6:
            raise RuntimeError("no kernel for 6 channels")
        return nn.Conv2d(in_channels, out_channels, 3, padding=1)

    CONVS.register("fussy")(as_conv(fussy))
    conv = {"standard": {"conv": "standard"}, "fussy": {"conv": "fussy"}}
    stages = {"2": {"encoder_widths": [4, 6]}, "5": {"encoder_widths": [4] * 5}}
    weight = {"low": {"kl_weight": 1e-4}, "usual": {"kl_weight": 1e-3}}
    space = Space(name="s", base=TINY, factors={"conv": conv, "stages": stages, "weight": weight})
    rows = [("standard", "2", "usual"), ("standard", "2", "low"), ("fussy", "2", "low"), ("standard", "5", "low")]
    assignments = [dict(zip(space.factors, row, strict=True)) for row in rows]
    table = space_costs(space, assignments)
    assert table.valid.tolist() == [True, True, False, False]
    full = static_cost(TINY)
    for name in METRICS:
        assert table.costs[name][:2].tolist() == [getattr(full, name)] * 2
        assert np.isnan(table.costs[name][2:]).all()
    assert table.reasons[:2] == ("", "")
    assert table.reasons[2] == "RuntimeError: no kernel for 6 channels"
    assert table.reasons[3].startswith("image_size must be a multiple of 32")
    variants = [space.variant(factors) for factors in assignments[:3]]
    assert table.keys == (*(variant.key for variant in variants), "")
    assert len(set(table.keys)) == 4


def test_a_table_of_nothing_is_empty() -> None:
    table = space_costs(Space(name="s", base=TINY, factors={}), [])
    assert (table.keys, table.valid.shape, table.costs["macs"].shape) == ((), (0,), (0,))
    assert space_costs(Space(name="s", base=TINY, factors={}), [{}]).keys == (TINY.network_key,)


def test_what_the_full_count_raises_is_raised() -> None:
    CONVS.register("narrow")(as_conv(lambda i, o: nn.Conv2d(i, o + 1, 3, padding=1)))
    with pytest.raises(InputError, match="The model must be able to run on an input of shape"):
        SpaceCosts().of(TINY.replace(conv="narrow"))


def test_activations_of_equal_cost_are_counted_as_one() -> None:
    counts = SpaceCosts()
    counts.of(TINY)
    before = counts.num_modules
    assert counts.of(TINY.replace(activation="silu")) == static_cost(TINY.replace(activation="silu"))
    assert counts.num_modules == before

    class Twice(nn.Module):
        """Two operations."""

        def forward(self, x: Tensor) -> Tensor:
            return x.sigmoid().relu()

    ACTIVATIONS.register("twice")(Twice)
    for spec in (TINY.replace(activation="twice"), TINY.replace(activation="twice", norm="group")):
        assert counts.of(spec) == static_cost(spec)
    assert counts.num_networks == 2
