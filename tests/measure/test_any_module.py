"""Any module can be costed, timed and decomposed: what needs a VAE is attribution alone, which must know what can be swapped."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import mobilenet_v3_small

from ablation.explain.decompose import decompose
from ablation.measure.costs.memory import activation_bytes
from ablation.measure.costs.operations import align, part_names
from ablation.measure.costs.published import published_cost
from ablation.measure.costs.static import static_cost
from ablation.measure.latency.compare import compare_latency
from ablation.record.explanation import Calibration

CALIBRATION = Calibration(place="cpu", bandwidth_gb_s=10.0, macs_per_s=1e9, call_us=1.0)


class Tagger(nn.Module):
    """A recurrent network over sequences of 12 steps with 5 features; returns a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.GRU(5, 8, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"tags": self.head(self.recurrent(x)[0]).softmax(-1)}


@pytest.mark.parametrize(
    ("make", "shape", "macs"),
    [
        (lambda: mobilenet_v3_small(num_classes=10), (3, 64, 64), None),
        # 12 steps: three gates of 8 from 5 inputs and 8 states, then 3 scores of 8
        (Tagger, (12, 5), 12 * (3 * 8 * (5 + 8) + 3 * 8)),
        (lambda: nn.Sequential(nn.Linear(7, 4), nn.ReLU(), nn.Linear(4, 2)), (7,), 7 * 4 + 4 * 2),
    ],
    ids=["mobilenet", "recurrent", "perceptron"],
)
def test_any_module_is_costed_timed_and_decomposed(make, shape: tuple[int, ...], macs: int | None) -> None:
    model = make().eval()
    cost = static_cost(model, 2, input_shape=shape)
    if macs is None:
        with FlopCounterMode(display=False) as counter:
            model(torch.rand(1, *shape))
        macs = counter.get_total_flops() // 2
        assert published_cost(model, shape[-1]).conv_linear_flops == macs
    assert (cost.macs, cost.params) == (2 * macs, sum(p.numel() for p in model.parameters()))
    assert tuple(cost.by_part) == (*dict(model.named_children()), "other")
    assert activation_bytes(model, shape, 2) > 0
    timed = compare_latency({"it": model}, batch_size=2, input_shape=shape, rounds=(2, 2), sittings=1)
    assert timed["it"].median_ms and not timed["it"].failed
    result = decompose(
        model, "it", batch_size=2, total_ms=timed["it"].median_ms, calibration=CALIBRATION, quick=True, input_shape=shape
    )
    for shares in (result.by_class, result.by_part, result.by_block):
        rest = result.host_ms + result.gaps_ms + result.residual_ms
        assert sum(share.ms for share in shares) + rest == pytest.approx(result.total_ms)
    assert sum(share.macs for share in result.by_class) == cost.macs


def test_parts_of_two_networks_are_aligned_by_path_and_kind() -> None:
    def net(blocks: int, kind: type[nn.Module] = nn.ReLU) -> nn.Module:
        model = nn.Module()
        model.stem = nn.Linear(4, 4)
        model.layers = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), kind()) for _ in range(blocks))
        model.parts = nn.ModuleList([nn.Linear(4, 4)])  # a module of that name is no statement of parts
        return model

    first, second = net(1), net(3)
    assert part_names(first) == ("stem", "layers.0", "parts.0"), "a list never runs: its entries do"
    align(first, second)
    assert part_names(first) == ("stem", "layers.0.0", "layers.0.1", "parts.0")
    assert part_names(second) == ("stem", "layers.0.0", "layers.0.1", "layers.1", "layers.2", "parts.0")
    one, other = nn.Sequential(nn.Sequential(nn.Linear(2, 2))), nn.Sequential(nn.Sequential(nn.ReLU()))
    align(one, other)
    assert part_names(one) == part_names(other) == ("0",), "children of one name and another kind are no counterparts"
    assert part_names(copy.deepcopy(second)) == part_names(second)
