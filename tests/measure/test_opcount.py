"""Formulas of single operations (attention, distances, resampling, weight norm), by hand and against torch's counter."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.utils.flop_counter import FlopCounterMode

from ablation.measure.costs.forward import Cost
from ablation.measure.costs.static import StaticCost, static_cost
from blocks.errors import InputError
from tests.measure.test_static import Calls

# C x H x W; as a sequence N x 4 x 36, as heads N x 4 x 6 x 6
IN = (4, 6, 6)


class On(nn.Module):
    """A module fed with the image as a sequence N x 4 x 36."""

    def __init__(self, module: nn.Module, feed: Callable[[nn.Module, Tensor], Tensor] = lambda module, x: module(x)) -> None:
        super().__init__()
        self.module, self.feed = module, feed

    def forward(self, x: Tensor) -> Tensor:
        return self.feed(self.module, x.flatten(2))


def self_attention(module: nn.Module, x: Tensor) -> Tensor:
    out: Tensor = module(x, x, x, need_weights=False)[0]
    return out


def cross_attention(module: nn.Module, x: Tensor) -> Tensor:
    out: Tensor = module(x, x[:, :3], x[:, :3], need_weights=False)[0]
    return out


def cost_of(module: nn.Module, batch_size: int = 2) -> StaticCost:
    return static_cost(module, batch_size, input_shape=IN)


# (name, module, macs at batch 2)
MACS = [
    # 2 x 4 heads of 6 queries, 6 keys, width 6: scores and weighted sums
    ("attention", Calls(lambda x: F.scaled_dot_product_attention(x, x, x)), 2 * 2 * 4 * 6 * 6 * 6),
    ("masked", Calls(lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True)), 2 * 2 * 4 * 6 * 6 * 6),
    # 36 positions with 4 channels each, strided: torch takes the products one by one
    ("positions", Calls(lambda x: F.scaled_dot_product_attention(*(x.flatten(2).mT,) * 3)), 2 * 2 * 36 * 36 * 4),
    # 6 queries, 4 keys of width 6, values of width 6
    ("other keys", Calls(lambda x: F.scaled_dot_product_attention(x, x[:, :, :4], x[:, :, :4])), 2 * 2 * 4 * 6 * 4 * 6),
    # four projections 36 x 36 at 4 positions, attention 4 x 4 x 36 twice
    ("fused heads", On(nn.MultiheadAttention(36, 4, batch_first=True), self_attention), 2 * (4 * 4 * 36 * 36 + 2 * 4 * 4 * 36)),
    ("sequence first", On(nn.MultiheadAttention(36, 4), self_attention), 4 * (4 * 2 * 36 * 36 + 2 * 2 * 2 * 36)),
    # queries and outputs at 4 positions, keys and values at 3
    (
        "cross attention",
        On(nn.MultiheadAttention(36, 4, batch_first=True), cross_attention),
        2 * (2 * (4 + 3) * 36 * 36 + 2 * 4 * 3 * 36),
    ),
    (
        "encoder layer",
        On(nn.TransformerEncoderLayer(36, 4, 50, batch_first=True)),
        2 * (4 * 4 * 36 * 36 + 2 * 4 * 4 * 36 + 2 * 4 * 36 * 50),
    ),
    # 4 steps: four gates of 5 from 36 inputs and 5 states; three gates
    ("lstm", On(nn.LSTM(36, 5, batch_first=True), lambda module, x: module(x)[0]), 2 * 4 * 4 * 5 * (36 + 5)),
    ("gru", On(nn.GRU(36, 5, batch_first=True), lambda module, x: module(x)[0]), 2 * 4 * 3 * 5 * (36 + 5)),
    # weights 8 x 4 x 3 x 3 at 4 x 4 positions; weight norm scales, spectral norm is W v (8 x 36) and u (W v) more
    ("weight norm", parametrizations.weight_norm(nn.Conv2d(4, 8, 3)), 2 * 8 * 36 * 16),
    ("spectral norm", parametrizations.spectral_norm(nn.Conv2d(4, 8, 3)), 2 * 8 * 36 * 16 + 8 * 36 + 8),
    ("padding by name", nn.Conv2d(4, 8, 3, padding="same"), 2 * 8 * 36 * 36),
    # every position (x, y, 1) times theta of 2 x 3
    ("affine grid", Calls(lambda x: F.affine_grid(x[:, 0, :2, :3], (2, 4, 5, 7), align_corners=False)), 2 * 5 * 7 * 3 * 2),
    ("grid of volumes", Calls(lambda x: F.affine_grid(x[:, 0, :3, :4], (2, 1, 2, 5, 7), align_corners=False)), 2 * 70 * 4 * 3),
    ("sum of products", Calls(lambda x: torch.addbmm(x[0, 0], x[0], x[1])), 4 * 6 * 6 * 6),
    ("inner product", Calls(lambda x: torch.vdot(x.flatten(), x.flatten())), 2 * 144),
    # 6 x 6 pairs of width 6; 36 x 36 pairs of width 4 as one product over 4 + 2 columns
    ("distances", Calls(lambda x: torch.cdist(x, x)), 2 * 4 * 6 * 6 * 6),
    ("city blocks", Calls(lambda x: torch.cdist(x, x, p=1)), 0),
    ("many distances", Calls(lambda x: torch.cdist(x.flatten(2).mT, x.flatten(2).mT)), 2 * 36 * 36 * (4 + 2)),
    ("sine in place", Calls(lambda x: x.sin().cos_().mul_(2)), 0),
]


@pytest.mark.parametrize(("module", "macs"), [(m, n) for _, m, n in MACS], ids=[name for name, *_ in MACS])
def test_multiply_accumulates_by_hand(module: nn.Module, macs: int) -> None:
    cost = cost_of(module)
    assert cost.macs == macs
    # the formulas see what really runs
    with torch.no_grad():
        module.eval()(torch.rand(2, *IN))


@pytest.mark.parametrize("name", ["attention", "positions", "other keys", "sequence first", "cross attention", "padding by name"])
def test_agrees_with_torchs_flop_counter(name: str) -> None:
    module = {n: m for n, m, _ in MACS}[name].eval()
    with FlopCounterMode(display=False) as counter:
        module(torch.rand(2, *IN))
    assert 2 * cost_of(module).macs == counter.get_total_flops()


def test_the_fused_path_of_attention_counts_what_the_slow_one_does() -> None:
    module = On(nn.MultiheadAttention(36, 4, batch_first=True), self_attention).eval()
    fused = cost_of(module)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        slow = cost_of(module)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    assert fused.num_ops == 1 < slow.num_ops
    assert (fused.macs, fused.params) == (slow.macs, slow.params)


# (name, module, class, elements written, bytes moved) at batch 1; 144 elements come in
MOVED = [
    # windows of 3 x 3 at 4 x 4 positions
    ("unfold", nn.Unfold(3), "copy", 4 * 9 * 16, 4 * (144 + 4 * 9 * 16)),
    ("fold", Calls(lambda x: F.fold(x.reshape(1, 36, 4), (3, 3), 2)), "copy", 9 * 9, 4 * (144 + 9 * 9)),
    # two values for each of 36 positions choose where 4 channels are read
    (
        "grid sample",
        Calls(lambda x: F.grid_sample(x, x.view(1, 6, 12, 2), align_corners=False)),
        "upsampling",
        4 * 72,
        4 * (144 + 144 + 4 * 72),
    ),
    ("pool of volumes", Calls(lambda x: F.avg_pool3d(x[:, None], 2)), "pooling", 18, 4 * (144 + 18)),
    ("pad a sequence", Calls(lambda x: F.pad(x.flatten(2), (1, 1), mode="reflect")), "copy", 4 * 38, 4 * (144 + 4 * 38)),
    ("upsample a sequence", Calls(lambda x: F.interpolate(x.flatten(2), scale_factor=2)), "upsampling", 288, 4 * (144 + 288)),
    ("sine", Calls(torch.sin), "elementwise", 144, 4 * 288),
    # values of 4 bytes and places of 8
    ("largest", Calls(lambda x: x.topk(2)[0]), "reduction", 2 * 48, 4 * (144 + 48) + 8 * 48),
]


@pytest.mark.parametrize(
    ("module", "op_class", "written", "num_bytes"), [tuple(rest) for _, *rest in MOVED], ids=[name for name, *_ in MOVED]
)
def test_elements_and_bytes_by_hand(module: nn.Module, op_class: str, written: int, num_bytes: int) -> None:
    assert cost_of(module, 1).by_class == {op_class: Cost(0, 0, written, num_bytes, 1)}


def test_weight_norm_by_hand() -> None:
    # reads v (8 x 4 x 3 x 3) and g (8), writes the weight and the 8 norms
    cost = cost_of(parametrizations.weight_norm(nn.Conv2d(4, 8, 3)), 1)
    assert cost.by_class["normalisation"] == Cost(288 + 8, 0, 288 + 8, 4 * 2 * (288 + 8), 1)
    assert cost.params == 288 + 8 + 8


def test_what_nobody_counts_is_named_with_its_remedy() -> None:
    with pytest.raises(
        InputError, match=r"Got 'aten._fft_c2c', which has none. Add it with ablation.measure.costs.opcount.register_op"
    ):
        cost_of(Calls(lambda x: torch.fft.fft2(x).abs()))


class _Inner(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.aten.polygamma(1, x)  # type: ignore[no-any-return]


def test_an_operation_without_formula_is_named_with_its_place() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.ReLU(), _Inner()))
    with pytest.raises(InputError, match=r"Got 'aten\.polygamma', which has none.*register_op.*It runs in '1\.1'"):
        static_cost(model, input_shape=(4,))
    assert model(torch.rand(1, 4)).shape == (1, 4)  # the module holds its own tensors again
