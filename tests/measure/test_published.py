"""fvcore's counts: the paper's totals, agreement with static_cost for every registered piece, nothing uncounted."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

import pytest
import torch
from torch import nn

from ablation.design.compose import build
from ablation.design.spec import PIECE_FIELDS, preset
from ablation.measure.costs import published
from ablation.measure.costs.published import published_cost, published_counts, register_handle
from ablation.measure.costs.static import static_cost
from blocks import FAMILIES
from blocks.errors import InputError
from studies.engine.trial import count
from tests.measure.test_static import Calls

SWAPS = [(field, name) for field, family in PIECE_FIELDS.items() for name in FAMILIES[family].names()]


@pytest.mark.parametrize(("field", "name"), SWAPS)
def test_agrees_with_static_cost_for_every_piece(field: str, name: str) -> None:
    spec = preset("small").replace(image_size=64, **{field: name})  # a size that also the ends with a factor take
    theirs, ours = published_cost(build(spec)), static_cost(spec)
    assert (theirs.conv_linear_flops, theirs.params) == (ours.macs, ours.params)
    assert sum(theirs.by_operator.values()) == theirs.flops


@pytest.mark.parametrize("changes", [{"dense_bottleneck": True}, {"depth": 2}, {"encoder_stem": 8}, {"conv": "separable"}])
def test_agrees_in_dense_variants(changes: dict[str, object]) -> None:
    spec = preset("small_modified").replace(**changes)
    assert published_cost(build(spec)).conv_linear_flops == static_cost(spec).macs


def test_original_in_the_published_convention() -> None:
    result = published_cost(build(preset("original")))
    assert (result.params, result.conv_linear_flops) == (9_352_195, 664_879_104)
    # norms in evaluation: 2 each of 1,555,200 elements; nearest upsampling: 1 each of 1,244,160
    assert result.flops == 664_879_104 + 2 * 1_555_200 + 1_244_160


def test_what_fvcore_leaves_out_is_counted_apart() -> None:
    result = published_cost(build(preset("small_modified")))
    assert {"elu", "cat", "avg_pool2d", "sigmoid", "exp", "mul", "add", "randn_like"} == set(result.elements_outside)
    assert result.elements_outside["sigmoid"] == 3 * 48 * 48


def test_leaves_the_model_and_the_logger_alone() -> None:
    model = build(preset("small"), 0).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state, level = torch.random.get_rng_state(), logging.getLogger("fvcore.nn.jit_analysis").level
    published_cost(model)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())
    assert logging.getLogger("fvcore.nn.jit_analysis").level == level


def test_unsupported_operation_is_an_error_until_a_handle_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "_registered", {})
    name, model = "aten::special_bessel_j0", Calls(torch.special.bessel_j0)
    with pytest.raises(InputError, match=name):
        published_cost(model, 4)
    assert f"register_handle({name!r}" in published_counts(model, 4)["fvcore_reason"]
    register_handle(name, lambda inputs, outputs: {"bessel": 7})
    cost = published_cost(model, 4)
    assert (cost.flops, cost.by_operator) == (7, {"bessel": 7})
    with pytest.raises(InputError, match=f"has a handle of {name!r} already"):
        register_handle(name, lambda inputs, outputs: {"bessel": 8})


def test_needs_a_size() -> None:
    with pytest.raises(InputError, match="image_size must be given"):
        published_cost(nn.ReLU())


@pytest.mark.parametrize("name", ["aten::elu", "aten::flatten", "aten::unflatten", "aten::_convolution", "relu"])
def test_what_has_a_handle_or_no_namespace_is_refused(name: str) -> None:
    with pytest.raises(InputError):
        register_handle(name, lambda inputs, outputs: {})


class Doubling(torch.autograd.Function):
    """An operation of one's own with a gradient of one's own."""

    @staticmethod
    def forward(context: object, x: torch.Tensor) -> torch.Tensor:
        return x * 2

    @staticmethod
    def backward(context: object, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * 2


# pieces that our own count knows, with their multiply-accumulates on 3 x 4 x 4
PIECES = {
    "sine": (lambda: Calls(torch.sin), 0),
    "in place": (lambda: Calls(lambda x: x.clone().sigmoid_().exp_()), 0),
    "own gradient": (lambda: Calls(Doubling.apply), 0),
    "padding by name": (lambda: nn.Conv2d(3, 2, 3, padding="same"), 2 * 27 * 16),
    "attention": (lambda: Calls(lambda x: nn.functional.scaled_dot_product_attention(x, x, x)), 2 * 3 * 4 * 4 * 4),
}


@pytest.mark.parametrize(("make", "macs"), PIECES.values(), ids=PIECES)
def test_what_fvcore_lacks_is_missing_with_its_reason(make: Callable[[], nn.Module], macs: int) -> None:
    model = make()
    result = published_counts(model, 4)
    assert set(result) == {"fvcore_params", "fvcore_reason"}
    assert result["fvcore_params"] == sum(p.numel() for p in model.parameters())
    assert re.match(r"Every operation must have an fvcore handle\. Got (aten|prim)::\S+", result["fvcore_reason"])
    assert static_cost(model, image_size=4).macs == macs


def test_any_failure_of_the_tracer_is_a_reason() -> None:
    def fails(x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no tracing\nat some length")

    assert published_counts(Calls(fails), 4)["fvcore_reason"] == "RuntimeError: no tracing"


def test_a_trial_counts_what_it_can() -> None:
    spec = preset("small")
    model = build(spec)
    whole = count(spec, model)
    assert whole["fvcore_flops"] > 0
    assert "fvcore_reason" not in whole
    model.output = nn.Sequential(model.output, Calls(torch.sin))
    part = count(spec, model)
    assert part["fvcore_params"] == part["params"]
    assert "aten::sin" in part["fvcore_reason"]
    assert "fvcore_flops" not in part
