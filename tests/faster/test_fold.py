"""Rewriting rules one by one: folding, flipping, reordering, buffers, against the layers they replace."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from ablation.design.compose import build
from ablation.design.spec import preset
from ablation.faster.dense_buffer import BufferedDenseBlock, without_concatenation
from ablation.faster.fold import FastELU, act_in_place, fast_elu, flip_transposed, fold_batch_norm
from ablation.faster.fold_traced import fold_traced
from ablation.faster.reorder import UpsampledDense, pool_first, upsample_late, upsampling_convolution
from ablation.faster.rewrite import flat, rewrite
from ablation.faster.steps import rewritten
from ablation.measure.costs.static import static_cost
from blocks.connectivity import DenseBlock, Stage
from blocks.conv import convolution
from blocks.conv.basic import pointwise_first, standard
from blocks.conv.reparameterised import scale_and_shift
from blocks.errors import InputError
from tests.builders import randomised

CLOSE = {"atol": 2e-5, "rtol": 2e-5}


def same(layers: list[nn.Module], changed: list[nn.Module], x: torch.Tensor, **tolerance: float) -> None:
    with torch.inference_mode():
        torch.testing.assert_close(nn.Sequential(*changed)(x.clone()), nn.Sequential(*layers)(x.clone()), **(tolerance or CLOSE))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("bias", [True, False])
def test_a_norm_behind_a_convolution_folds(transposed: bool, groups: int, bias: bool) -> None:
    conv = (nn.ConvTranspose2d if transposed else nn.Conv2d)(6, 12, 3, padding=1, groups=groups, bias=bias)
    layers = [conv, randomised(nn.BatchNorm2d(12)), nn.ELU()]
    changed = fold_batch_norm(layers)
    assert [type(layer) for layer in changed] == [type(conv), nn.ELU]
    same(layers, changed, torch.randn(3, 6, 5, 5))


def test_a_fold_by_hand() -> None:
    conv, norm = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0).eval()
    nn.init.constant_(conv.weight, 3)
    nn.init.constant_(conv.bias, 1)
    norm.running_mean.fill_(5)
    norm.running_var.fill_(4)
    nn.init.constant_(norm.weight, 6)
    nn.init.constant_(norm.bias, 7)
    # 6 (3 x + 1 - 5) / 2 + 7 = 9 x - 5
    scale, shift = scale_and_shift(norm)
    assert (scale.item(), shift.item()) == (3, -8)
    folded = fold_batch_norm([conv, norm])
    assert (folded[0].weight.item(), folded[0].bias.item()) == (9, -5)


def test_what_must_not_fold_stays() -> None:
    norm = nn.BatchNorm2d(4)
    untracked = nn.BatchNorm2d(4, track_running_stats=False)
    conv = nn.Conv2d(4, 4, 3)
    for layers in ([norm, nn.ELU(), conv], [norm, conv], [conv, nn.ELU(), norm], [conv, untracked], [conv, nn.GroupNorm(2, 4)]):
        assert fold_batch_norm(layers) == layers


@pytest.mark.parametrize(("kernel", "groups"), [(1, 1), (3, 1), (5, 2), (3, 6)])
def test_transposed_convolutions_flip(kernel: int, groups: int) -> None:
    layers: list[nn.Module] = [convolution(6, 12, kernel, transposed=True, groups=groups)]
    changed = flip_transposed(layers)
    assert type(changed[0]) is nn.Conv2d
    same(layers, changed, torch.randn(2, 6, 7, 5))


def test_other_transposed_convolutions_stay() -> None:
    layers: list[nn.Module] = [
        nn.ConvTranspose2d(4, 4, 2, stride=2),
        nn.ConvTranspose2d(4, 4, 3),
        nn.ConvTranspose2d(4, 4, 3, dilation=2),
    ]
    assert flip_transposed(layers) == layers


@pytest.mark.parametrize("side", [8, 9])
def test_average_pooling_moves_in_front_of_1x1_convolutions(side: int) -> None:
    layers: list[nn.Module] = [nn.Conv2d(4, 6, 1), nn.Conv2d(6, 3, 1), nn.AvgPool2d(2)]
    changed = pool_first(layers)
    assert changed == [layers[2], layers[0], layers[1]]
    same(layers, changed, torch.randn(3, 4, side, side))
    for stays in ([nn.Conv2d(4, 6, 1), nn.MaxPool2d(2)], [nn.Conv2d(4, 6, 3, padding=1), nn.AvgPool2d(2)]):
        assert pool_first(stays) == stays


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("bias", [True, False])
def test_upsampling_merges_with_a_3x3_convolution_also_at_the_border(groups: int, bias: bool) -> None:
    conv = nn.Conv2d(4, 8, 3, padding=1, groups=groups, bias=bias)
    layers: list[nn.Module] = [nn.Upsample(scale_factor=2), conv]
    x = torch.randn(3, 4, 5, 3)
    changed = upsample_late(layers)
    assert [type(layer) for layer in changed] == [nn.ConvTranspose2d]
    same(layers, changed, x)
    assert upsampling_convolution(conv).weight.shape == (4, 8 // groups, 4, 4)


def test_upsampling_moves_behind_what_acts_on_positions_alone() -> None:
    up = nn.Upsample(scale_factor=2)
    layers = [up, randomised(nn.BatchNorm2d(4)), nn.ELU(), nn.Conv2d(4, 2, 1), nn.MaxPool2d(2)]
    changed = upsample_late(layers)
    assert changed == [*layers[1:4], up, layers[4]]
    same(layers, changed, torch.randn(2, 4, 3, 3))
    for stays in ([nn.Upsample(scale_factor=2, mode="bilinear"), nn.ELU()], [nn.Upsample(scale_factor=3), nn.ELU()]):
        assert upsample_late(stays) == stays


def dense(conv: object, layers: int = 3, bottleneck: bool = False) -> list[nn.Module]:
    stage = Stage(
        conv=lambda i, o: conv(i, o, norm=nn.BatchNorm2d, activation=nn.ELU),  # type: ignore[operator]
        project=lambda i, o: nn.Conv2d(i, o, 1),
        norm=nn.BatchNorm2d,
        activation=nn.ELU,
        growth_rate=5,
        dense_layers=layers,
        dense_bottleneck=bottleneck,
    )
    block = DenseBlock(6, stage)
    return [block, nn.BatchNorm2d(block.out_channels), nn.ELU(), nn.Conv2d(block.out_channels, 4, 1)]


@pytest.mark.parametrize("bottleneck", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
def test_a_dense_block_reads_its_input_before_upsampling(layers: int, bottleneck: bool) -> None:
    steps = [nn.Upsample(scale_factor=2), *dense(pointwise_first, layers, bottleneck)]
    randomised(nn.Sequential(*steps))
    changed = upsample_late(steps)
    assert [type(layer) for layer in changed] == [UpsampledDense]
    x = torch.randn(3, 6, 5, 4)
    same(steps, changed, x)
    buffered = without_concatenation(changed)
    same(changed, buffered, x)
    same(changed, buffered, x[:1], atol=0, rtol=0)


def test_a_dense_block_of_3x3_convolutions_is_left_behind_its_upsampling() -> None:
    steps = [nn.Upsample(scale_factor=2), *dense(standard)]
    assert upsample_late(steps) == steps


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_buffer_gives_the_same_bits(batch_size: int, memory_format: torch.memory_format) -> None:
    block = randomised(nn.Sequential(*dense(pointwise_first))).to(memory_format=memory_format)
    x = torch.randn(batch_size, 6, 5, 7).contiguous(memory_format=memory_format)
    changed = rewrite(block, [without_concatenation])
    assert isinstance(changed[0], BufferedDenseBlock)
    with torch.inference_mode():
        before = x.clone()
        # the same convolutions on slices of other strides may use other kernels: rounding, where the slice isn't contiguous
        exact = {"atol": 0.0, "rtol": 0.0} if batch_size == 1 and memory_format is torch.contiguous_format else CLOSE
        torch.testing.assert_close(changed(x), block(x), **exact)
        assert torch.equal(x, before)


def test_activations_in_place_spare_what_others_read() -> None:
    conv, elu, relu = nn.Conv2d(4, 4, 1), nn.ELU(), nn.ReLU()
    changed = act_in_place([elu, conv, relu, nn.GELU(), nn.MaxPool2d(2), elu])
    assert [getattr(layer, "inplace", None) for layer in changed] == [False, None, True, None, None, False]
    assert not relu.inplace
    same([elu, conv, relu], changed[:3], torch.randn(2, 4, 3, 3), atol=0, rtol=0)


def test_fast_elu() -> None:
    x = torch.cat([torch.linspace(-90, 20, 10001), torch.tensor([0.0, -1e-8, 1e-8, float("inf"), -float("inf")])])
    assert [type(layer) for layer in fast_elu([nn.ELU(2.0), nn.ReLU()])] == [FastELU, nn.ReLU]
    torch.testing.assert_close(FastELU(2.0)(x), nn.ELU(2.0)(x), atol=3e-7, rtol=0)


def test_reordering_saves_the_multiply_accumulates_that_it_should() -> None:
    model = build(preset("modified"), seed=0)
    before = static_cost(model)
    pooled = static_cost(rewritten(model, ["pool first"]))
    # transitions 160 -> 64 at 144, 192 -> 128 at 72, 256 -> 256 at 36, 384 -> 512 at 18: three quarters of each
    transitions = 160 * 64 * 144**2 + 192 * 128 * 72**2 + 256 * 256 * 36**2 + 384 * 512 * 18**2
    assert before.macs - pooled.macs == transitions * 3 // 4
    late = static_cost(rewritten(model, ["flip", "upsample late"]))
    # inputs of the last three decoder blocks, read by 4 layers of growth 32 and a transition, at a quarter of the positions; and
    # the output's 9 products a position as 4 (16 taps at a quarter of the positions)
    hoisted = sum(c * (4 * 32 + w) * s**2 for c, w, s in ((256, 128, 18), (128, 64, 36), (64, 32, 72)))
    assert before.macs - late.macs == hoisted * 3 // 4 + 32 * 3 * 144**2 * 5


def test_hooks_and_the_given_model() -> None:
    model = build(preset("small_modified"), seed=0).train()
    state = copy.deepcopy(model.state_dict())
    changed = rewritten(model, ["fold", "flip", "pool first", "upsample late", "no concatenation", "in place", "fast ELU"])
    assert model.training
    assert not changed.training
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), state.values(), strict=True))
    assert all(p.requires_grad for p in model.parameters())
    assert not any(layer.inplace for layer in model.modules() if isinstance(layer, nn.ELU))
    model.head.register_forward_hook(lambda *_: None)
    with pytest.raises(InputError, match="hooks"):
        rewrite(model, [])


def test_flat() -> None:
    inner = nn.Sequential(nn.ELU(), nn.Identity(), nn.Sequential(nn.ReLU()))
    assert [type(layer) for layer in flat(nn.Sequential(nn.Identity(), inner, nn.Flatten()))] == [nn.ELU, nn.ReLU, nn.Flatten]


class Branches(nn.Module):
    """Norms that fold and norms that do not: another reader, a shared convolution, none before, batch statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.read_twice, self.read_norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.shared, self.shared_norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.alone = nn.BatchNorm2d(4)
        self.batch = nn.BatchNorm2d(4, track_running_stats=False)
        self.last = nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first_norm(self.first(x)).relu()
        twice = self.read_twice(x)
        x = self.read_norm(twice) + twice
        x = self.shared_norm(self.shared(x)) + self.shared(x)
        return self.batch(self.last(self.alone(x)))


def test_norms_fold_in_any_network_that_can_be_traced() -> None:
    model = Branches().eval()
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None):
        for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            nn.init.uniform_(values, 0.5, 2.0)  # type: ignore[arg-type]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded, x = fold_traced(model), torch.rand(2, 3, 9, 9)
    with torch.no_grad():
        assert torch.allclose(folded(x), model(x), rtol=1e-3, atol=1e-4)
    left = {name for name, module in folded.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert left == {"read_norm", "alone", "batch"}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), "the model stays as it is"


def test_what_cannot_be_traced_stays() -> None:
    class Looks(Branches):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x if x.sum() > 0 else -x)

    model = Looks().eval()
    assert fold_traced(model) is model
    plain = nn.Sequential(nn.Linear(2, 2)).eval()
    assert fold_traced(plain) is plain
