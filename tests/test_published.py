"""fvcore's counts: the paper's totals, agreement with static_cost for every registered piece, nothing uncounted."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from ablation.compose import build
from ablation.costs.published import published_cost
from ablation.costs.static import static_cost
from ablation.spec import PIECE_FIELDS, preset
from blocks import FAMILIES
from blocks.errors import InputError

SWAPS = [(field, name) for field, family in PIECE_FIELDS.items() for name in FAMILIES[family].names()]


@pytest.mark.parametrize(("field", "name"), SWAPS)
def test_agrees_with_static_cost_for_every_piece(field: str, name: str) -> None:
    spec = preset("small").replace(**{field: name})
    published, static = published_cost(build(spec)), static_cost(spec)
    assert (published.conv_linear_flops, published.params) == (static.macs, static.params)
    assert sum(published.by_operator.values()) == published.flops


@pytest.mark.parametrize("changes", [{"dense_bottleneck": True}, {"depth": 2}, {"encoder_stem": 8}, {"conv": "separable"}])
def test_agrees_in_dense_variants(changes: dict[str, object]) -> None:
    spec = preset("small_modified").replace(**changes)
    assert published_cost(build(spec)).conv_linear_flops == static_cost(spec).macs


def test_original_in_the_published_convention() -> None:
    found = published_cost(build(preset("original")))
    assert (found.params, found.conv_linear_flops) == (9_352_195, 664_879_104)
    # norms in evaluation: 2 each of 1,555,200 elements; nearest upsampling: 1 each of 1,244,160
    assert found.flops == 664_879_104 + 2 * 1_555_200 + 1_244_160


def test_what_fvcore_leaves_out_is_counted_apart() -> None:
    found = published_cost(build(preset("small_modified")))
    assert {"elu", "cat", "avg_pool2d", "sigmoid", "exp", "mul", "add", "randn_like"} == set(found.elements_outside)
    assert found.elements_outside["sigmoid"] == 3 * 48 * 48


def test_leaves_the_model_and_the_logger_alone() -> None:
    model = build(preset("small"), 0).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state, level = torch.random.get_rng_state(), logging.getLogger("fvcore.nn.jit_analysis").level
    published_cost(model)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())
    assert logging.getLogger("fvcore.nn.jit_analysis").level == level


class Bessel(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(x)


def test_unsupported_operation_is_an_error_until_handled() -> None:
    with pytest.raises(InputError, match="aten::special_bessel_j0"):
        published_cost(Bessel(), 4)
    assert published_cost(Bessel(), 4, handles={"aten::special_bessel_j0": lambda i, o: {"bessel": 7}}).flops == 7


def test_needs_a_size() -> None:
    with pytest.raises(InputError, match="image_size must be given"):
        published_cost(nn.ReLU())
