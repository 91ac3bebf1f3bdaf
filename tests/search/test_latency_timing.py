"""Timing networks for a latency model: operations and times belong together, and a slow round is taken out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ablation.design.compose import build, build_without_weights, deployed
from ablation.design.spec import ModelSpec, preset
from ablation.measure.costs.form import Form
from ablation.measure.costs.forward import count_forward
from ablation.measure.costs.static import static_cost
from ablation.search.costs import SpaceCosts
from ablation.search.latency_timing import _without_rounds, time_networks
from blocks.errors import InputError

TINY = preset("small").replace(image_size=16, encoder_widths=(4, 8), decoder_widths=(8, 4), decoder_stem=8, latent_dim=4)


class Fails(nn.Module):
    """Runs while it is counted, and never after."""

    def forward(self, x: Tensor) -> Tensor:
        if type(x) is Tensor:
            raise RuntimeError("no such kernel")
        return torch.relu(x)


class LooksAtValues(nn.Module):
    """One more operation where a value is positive, which no count can know."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x) + 1 if type(x) is Tensor else torch.relu(x)


def test_networks_are_timed_as_a_whole_and_by_operation() -> None:
    specs = {"a": TINY, "b": TINY.replace(conv="reparameterised")}
    timed = time_networks({name: build(spec, 0) for name, spec in specs.items()}, rounds=(3, 3))
    assert timed.rounds == 3
    assert timed.failures == {}
    for name, spec in specs.items():
        network = timed.networks[name]
        assert network.operations == SpaceCosts().operations(spec)  # folded
        assert 0 < sum(network.operation_ms) < 5 * network.ms < math.inf


def test_models_and_the_random_generator_stay_as_they_were() -> None:
    model, before = build(TINY, 0).train(), torch.get_rng_state()
    time_networks({"a": model}, rounds=(3, 3))
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_that_fails_or_runs_otherwise_than_counted_is_recorded() -> None:
    models = {"works": nn.ReLU(), "fails": Fails(), "looks": LooksAtValues()}
    timed = time_networks(models, input_shape=(4,), rounds=(3, 3))
    assert list(timed.networks) == ["works"]
    assert timed.failures["fails"] == "RuntimeError: no such kernel"
    assert timed.failures["looks"].startswith("RuntimeError: 2 operations ran where 1 are counted")


def test_where_all_fail_there_are_reasons_and_no_times() -> None:
    timed = time_networks({"fails": Fails()}, input_shape=(4,), rounds=(3, 3))
    assert (timed.networks, list(timed.failures)) == ({}, ["fails"])


def test_a_slow_round_is_taken_out() -> None:
    ms, slowed = _without_rounds(np.outer([1.0, 3.0, 1.0], [2.0, 10.0, np.nan]))
    assert slowed.tolist() == [1.0, 3.0, 1.0]
    assert ms[:2].tolist() == [2.0, 10.0]


def test_wrong_arguments() -> None:
    with pytest.raises(InputError, match="models must be one or more"):
        time_networks({})
    with pytest.raises(InputError, match="batch_size"):
        time_networks({"a": nn.ReLU()}, input_shape=(4,), batch_size=0)


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize(
    "changes", [{}, {"conv": "shuffle_unit", "depth": 2}, {"up": "transposed", "head": "pooled", "norm": "group"}]
)
def test_operations_are_those_of_the_full_count_and_add_up_to_it(changes: dict[str, object], batch_size: int) -> None:
    spec: ModelSpec = TINY.replace(**changes)
    counts, cost = SpaceCosts(batch_size), static_cost(spec, batch_size)
    counts.of(spec.replace(activation="relu"))  # costs as much, under another name
    operations = counts.operations(spec)
    form = Form.contiguous((batch_size, 3, 16, 16))
    assert operations == count_forward(deployed(build_without_weights(spec)), [form]).operations
    assert (len(operations), sum(one.macs for one in operations)) == (cost.num_ops, cost.macs)
    assert sum(one.bytes_moved for one in operations) == cost.bytes_moved
    assert sum(one.elements_written for one in operations) == cost.elements_written


@pytest.mark.parametrize(
    ("layer", "name", "channels"),
    [
        (nn.Conv2d(4, 8, 3), "convolution 3x3", (4, 8)),
        (nn.Conv2d(4, 4, 5, groups=4), "convolution 5x5 depthwise", (4, 4)),
        (nn.Conv2d(4, 8, 3, groups=2, stride=2), "convolution 3x3 stride 2 groups 2", (4, 8)),
        (nn.ConvTranspose2d(4, 8, 2, stride=2), "transposed convolution 2x2 stride 2", (4, 8)),
        (nn.ELU(), "elu", (4, 4)),
    ],
)
def test_names_of_operations(layer: nn.Module, name: str, channels: tuple[int, int]) -> None:
    (one,) = count_forward(layer, [Form.contiguous((1, 4, 8, 8))]).operations
    assert (one.name, (one.in_channels, one.out_channels)) == (name, channels)
