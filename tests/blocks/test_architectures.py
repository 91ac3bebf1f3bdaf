"""The contract of every registered architecture, one from a plugin too: parts, what they are made from, shapes, masks, checks."""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any

import pytest
import torch
from torch import nn

from ablation.attribute.factorial import Factorial
from ablation.attribute.static import PARTS, NetworkCosts, attribute_static, network_costs, part_keys
from ablation.attribute.values import attribute
from ablation.design.compose import VAE, build
from ablation.design.spec import FIELDS, PRESETS, ModelSpec, preset
from ablation.measure.costs.static import static_cost
from blocks import ARCHITECTURES, Architecture
from blocks.errors import InputError

# a small network that any architecture is likely to accept: sides 16, 8, 4, 2, 1 and back
SMALL = {"image_size": 16, "latent_dim": 3, "encoder_widths": (2, 3, 4, 5), "decoder_stem": 4, "decoder_widths": (5, 4, 3, 2)}
# another value of each field
OTHERS: dict[str, Any] = {
    "image_size": 17, "in_channels": 1, "latent_dim": 4, "encoder_stem": 3, "encoder_widths": (2, 3, 4, 6),
    "encoder_connectivity": "dense", "encoder_conv": "separable", "down": "avg", "head": "pooled", "decoder_stem": 5,
    "decoder_widths": (5, 4, 3, 3), "decoder_connectivity": "dense", "decoder_conv": "separable", "up": "shuffle",
    "transposed": False, "depth": 2, "growth_rate": 3, "dense_layers": 2, "dense_bottleneck": True, "head_channels": 2,
    "norm": "group", "activation": "relu", "mask_width": 2, "kernel_size": 5,
    "stem": "space_to_depth", "stem_factor": 4, "end": "depth_to_space", "end_factor": 4, "innermost_resampling": False,
    "latent_stem": "squeezed", "stem_channels": 2, "attention": "squeeze_excitation",
}  # fmt: skip
every = pytest.mark.parametrize("name", ARCHITECTURES.names())


def small(name: str, **changes: Any) -> ModelSpec:
    return ModelSpec(architecture=name, **{**SMALL, **changes})


@every
def test_parts_are_those_of_every_vae_and_go_together(name: str) -> None:
    architecture = ARCHITECTURES.get(name)
    assert issubclass(architecture, Architecture)
    for mask_width in (0, 2):
        model = build(small(name, mask_width=mask_width), seed=0)
        assert len(architecture(model.spec).parts()) == len(VAE.parts) == 5
        assert (model.mask_decoder is not None) == (mask_width > 0 and "mask_width" in architecture.reads())
        x = torch.rand(2, 3, 16, 16)
        reconstruction, mean, log_var = model(x)
        assert (reconstruction.shape, mean.shape, log_var.shape) == (x.shape, (2, 3), (2, 3))
        assert 0 <= reconstruction.min() <= reconstruction.max() <= 1
        if model.mask_decoder is not None:
            assert model.mask_logits(mean).shape == (2, 1, 16, 16)
        (reconstruction.mean() + mean.sum() + log_var.sum()).backward()
        inside = [p for part in VAE.parts for p in getattr(model, part).parameters()]
        assert all(p.grad is not None for p in inside)


@every
def test_the_same_seed_makes_the_same_weights_with_and_without_a_mask(name: str) -> None:
    with_mask, without = (build(small(name, mask_width=width), seed=4).state_dict() for width in (2, 0))
    assert all(torch.equal(value, with_mask[key]) for key, value in without.items())


@every
def test_every_part_says_what_it_is_made_from_and_reads_nothing_else(name: str) -> None:
    architecture, spec = ARCHITECTURES.get(name), small(name, mask_width=1)
    assert set(architecture.made_from) <= set(PARTS)
    assert "architecture" not in architecture.reads()
    assert set(architecture.reads()) <= set(FIELDS)
    assert set(spec.inert) >= set(FIELDS) - {*architecture.reads(), "architecture"}
    for field in set(FIELDS) - {"architecture"}:
        try:
            changed = spec.replace(**{field: OTHERS[field]})
        except InputError:
            continue  # a size that this architecture does not take
        shapes = [[tuple(p.shape) for p in part.parameters()] for part in ARCHITECTURES.get(name)(spec).parts()]
        others = [[tuple(p.shape) for p in part.parameters()] for part in ARCHITECTURES.get(name)(changed).parts()]
        for part, one, other in zip(VAE.parts, shapes, others, strict=True):
            assert one == other or field in architecture.made_from[part], (field, part)
        if field not in architecture.reads():
            assert changed.network_key == spec.network_key
            assert part_keys(changed) == part_keys(spec)


def assert_parts_add_up(factorial: Factorial) -> NetworkCosts:
    """Costs put together from parts are those of counting each network, and attributions by part add up."""
    costs = network_costs(factorial)
    assert costs.by_network == {key: reduce(add, static_cost(spec).by_part.values()) for key, spec in factorial.networks.items()}
    (whole,) = [a for a in attribute_static(factorial, costs=costs) if a.metric == "params"]
    parts = [attribute(factorial.names, costs.values("params", part), metric="params", place=part, unit="") for part in PARTS]
    assert sum(part.end - part.start for part in parts) == whole.end - whole.start
    for name, effect in whole.shapley.items():
        assert sum(part.shapley[name].value for part in parts) == pytest.approx(effect.value, abs=1e-6)
    return costs


@every
def test_costs_put_together_from_parts_are_those_of_the_whole(name: str) -> None:
    first = small(name, mask_width=1)
    changes = {field: OTHERS[field] for field in ("latent_dim", "encoder_widths", "decoder_widths", "norm")}
    factorial = Factorial.between(first, first.replace(**changes, mask_width=0))
    assert len(factorial.networks) == (32 if "mask_width" in first.active else 16)
    assert assert_parts_add_up(factorial).num_counted < len(factorial.networks)


@every
def test_a_size_that_does_not_go_with_the_stages_is_one_line(name: str) -> None:
    with pytest.raises(
        InputError, match=r"^image_size must be .*encoder_widths has 9 stages|^image_size must be .* stages"
    ) as caught:
        small(name, encoder_widths=(2,) * 9)
    assert "\n" not in str(caught.value)


@every
def test_it_has_presets_and_a_line_about_itself(name: str) -> None:
    assert 10 < len(ARCHITECTURES.summary(name)) <= 132
    if ARCHITECTURES.get(name).__module__.startswith("blocks."):
        assert any(preset(known).architecture == name for known in PRESETS)


def test_one_of_a_plugin_is_a_choice_like_ours() -> None:
    class Flat(Architecture):
        """One linear layer each way; no stages, norms or convolutions."""

        made_from = {  # noqa: RUF012
            "encoder_body": ("image_size", "in_channels"), "head": ("image_size", "in_channels", "latent_dim"), "stem": (),
            "decoder_body": ("image_size", "in_channels", "latent_dim"), "output": (), "other": ("latent_dim",),
        }  # fmt: skip

        def check(self) -> None:
            pass

        def parts(self) -> Any:
            from blocks.heads import GaussianHead

            spec = self.spec
            shape = (spec.in_channels, spec.image_size, spec.image_size)
            pixels = spec.in_channels * spec.image_size**2
            decoder = nn.Sequential(nn.Linear(spec.latent_dim, pixels), nn.Unflatten(1, shape))
            return nn.Flatten(), GaussianHead(nn.Identity(), pixels, spec.latent_dim), nn.Identity(), decoder, nn.Sigmoid()

    ARCHITECTURES.register("flat_for_tests")(Flat)
    try:
        spec = ModelSpec(architecture="flat_for_tests", image_size=7, latent_dim=2)
        assert set(spec.active) == {"architecture", "image_size", "in_channels", "latent_dim"}
        assert set(spec.read_by("architecture")) == set()  # nothing that the others do not read
        assert spec.replace(head="pooled").network_key == spec.network_key
        assert build(spec)(torch.rand(2, 3, 7, 7))[0].shape == (2, 3, 7, 7)
        assert static_cost(spec).params == 2 * (147 * 2 + 2) + (2 * 147 + 147)
        factorial = Factorial.between(spec, spec.replace(latent_dim=4, in_channels=1))
        assert network_costs(factorial).by_network[factorial.second.network_key].params == 2 * (49 * 4 + 4) + 4 * 49 + 49
    finally:
        ARCHITECTURES._pieces.pop("flat_for_tests")
        ARCHITECTURES._uses.pop("flat_for_tests")
