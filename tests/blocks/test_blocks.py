"""The contract that every registered piece keeps, and what each of our own pieces computes, by hand.

A new piece is covered by itself, one from a plugin with `--plugin MODULE`. A piece within `blocks` also needs a parameter formula.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torchvision.models.densenet import _DenseBlock

from ablation.design.compose import build
from ablation.design.spec import PIECE_FIELDS, preset
from blocks import ATTENTIONS, CONNECTIVITIES, CONVS, DOWNS, ENDS, FAMILIES, HEADS, LATENT_STEMS, STEMS, UPS, Stage
from blocks.basic import ACTIVATIONS, NORMS
from blocks.connectivity import Dense, DenseBlock
from blocks.conv import convolution
from blocks.errors import InputError
from studies.engine.preflight import state_elsewhere

BATCH = 3
# architectures are no modules; their contract is in test_architectures
PIECES = [(family, name) for family, registry in FAMILIES.items() if family != "architecture" for name in registry.names()]
OURS = [(family, name) for family, name in PIECES if FAMILIES[family].get(name).__module__.startswith("blocks.")]


@dataclass(frozen=True)
class Case:
    """One piece with the arguments of its constructor, the shape of its input and the shapes of its outputs."""

    family: str
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    shape: tuple[int, ...]
    out: tuple[tuple[int, ...], ...]

    def make(self, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        module: nn.Module = FAMILIES[self.family].get(self.name)(*self.args, **self.kwargs)
        return module

    def settled(self, seed: int = 0) -> nn.Module:
        """In float64 and evaluation mode, after one step of training has moved the running statistics."""
        module = self.make(seed).double().train()
        outputs(module, self.input(seed=9))
        return module.eval()

    def input(self, seed: int = 1, **options: Any) -> Tensor:
        x = torch.randn(self.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return x.to(**options)

    def __str__(self) -> str:
        numbers = [str(a) for a in self.args if isinstance(a, int)] + ["transposed"] * bool(self.kwargs.get("transposed"))
        return "-".join([self.family, self.name, *numbers, "x".join(map(str, self.shape[2:]))])


def outputs(module: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    out = module(x)
    return out if isinstance(out, tuple) else (out,)


def standard_stage(depth: int, growth_rate: int, dense_layers: int, dense_bottleneck: bool = False, **pieces: Any) -> Stage:
    norm, activation = NORMS.get("batch"), pieces.get("activation", nn.ELU)
    return Stage(
        conv=pieces.get("conv", partial(CONVS.get("standard"), norm=norm, activation=activation)),
        project=partial(convolution, kernel_size=1),
        norm=norm,
        activation=activation,
        depth=depth,
        growth_rate=growth_rate,
        dense_layers=dense_layers,
        dense_bottleneck=dense_bottleneck,
    )


# channels in and out, height and width, kernel size
_CONVS = [(1, 1, 7, 6, 3), (1, 4, 8, 8, 3), (3, 5, 5, 9, 5), (6, 2, 4, 4, 1)]
# channels in and out, height and width, numbers of the stage
_STAGES = [(1, 1, 8, 6, (1, 1, 1)), (3, 5, 7, 6, (2, 4, 3, True)), (6, 2, 5, 5, (3, 2, 2)), (4, 4, 6, 6, (2, 1, 4, True))]
_MAPS = [(1, 8, 8), (3, 7, 9), (4, 6, 5), (8, 2, 2), (12, 4, 3)]
# channels, side, latent dimension, channels of the bottleneck
_HEADS = [(1, 1, 1, 1), (4, 3, 5, 2), (3, 4, 2, 4), (2, 5, 6, 1)]

# None: the piece reads the factor that its output's shape depends on, or does not
Arguments = tuple[tuple[Any, ...], dict[str, Any], tuple[int, ...], tuple[tuple[int, ...], ...] | None]


def _out(family: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], shape: tuple[int, ...]) -> tuple[tuple[int, ...]]:
    """Shape of what an end of a network gives."""
    field = f"{family}_factor"
    factor = kwargs[field] if field in FAMILIES[family].uses(name) else 1
    if family == "stem":
        return ((shape[0] * factor**2, shape[1] // factor, shape[2] // factor),)
    return ((args[1], shape[1] * factor, shape[2] * factor),)


ARGUMENTS: dict[str, list[Arguments]] = {
    "conv": [
        ((i, o), {"kernel_size": k, "transposed": t, "norm": nn.BatchNorm2d, "activation": nn.ELU}, (i, h, w), ((o, h, w),))
        for i, o, h, w, k in _CONVS
        for t in (False, True)
    ],
    "connectivity": [((i, o, standard_stage(*numbers)), {}, (i, h, w), ((o, h, w),)) for i, o, h, w, numbers in _STAGES],
    "down": [((c,), {}, (c, h, w), ((c, h // 2, w // 2),)) for c, h, w in _MAPS],
    "up": [((c,), {}, (c, h, w), ((c, 2 * h, 2 * w),)) for c, h, w in _MAPS],
    "head": [((c, s, n), {"head_channels": h}, (c, s, s), ((n,), (n,))) for c, s, n, h in _HEADS],
    "norm": [((c,), {}, (c, h, w), ((c, h, w),)) for c, h, w in _MAPS],
    "attention": [((c,), {"activation": nn.ELU}, (c, h, w), ((c, h, w),)) for c, h, w in _MAPS],
    "stem": [((c,), {"stem_factor": f}, (c, 4 * h, 8 * w), None) for c, h, w, f in ((1, 1, 1, 2), (3, 2, 1, 4), (3, 3, 2, 1))],
    "end": [
        ((c, 3), {"end_factor": f, "transposed": t}, (c, h, w), None)
        for c, h, w, f in ((1, 4, 3, 2), (5, 3, 3, 4), (4, 2, 2, 1))
        for t in (False, True)
    ],
    "latent_stem": [((n, c, s), {"stem_channels": k, "activation": nn.ELU}, (n,), ((c, s, s),)) for c, s, n, k in _HEADS],
    "activation": [((), {}, shape, (shape,)) for shape in _MAPS],
}
CASES = [
    Case(family, name, args, kwargs, (BATCH, *shape), tuple((BATCH, *o) for o in out or _out(family, name, args, kwargs, shape)))
    for family, name in PIECES
    for args, kwargs, shape, out in ARGUMENTS[family]
]
every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_piece = pytest.mark.parametrize(("family", "name"), PIECES)


def _convs(i: int, o: int, depth: int) -> int:
    # 3x3 convolution with bias and batch norm, `depth` times
    return (9 * i * o + o + 2 * o) + (depth - 1) * (9 * o * o + o + 2 * o)


def _dense(i: int, o: int, stage: Stage) -> int:
    g, total = stage.growth_rate, 0
    for _ in range(stage.dense_layers):
        total += 2 * i + ((i * 4 * g + 4 * g) + 2 * 4 * g + (9 * 4 * g * g + g) if stage.dense_bottleneck else 9 * i * g + g)
        i += g
    return total + 2 * i + i * o + o


def _depthwise(c: int, k: int) -> int:
    return c * k * k + c


def _point(i: int, o: int, *, norm: bool = True) -> int:
    return i * o + o + 2 * o * norm


def _change(i: int, o: int) -> int:
    return 0 if i == o else _point(i, o)


def _shuffle_unit(i: int, o: int, kernel_size: int, **_: Any) -> int:
    half = o - o // 2
    return _change(i, o) + 2 * _point(half, half) + _depthwise(half, kernel_size) + 2 * half


FORMULAS: dict[tuple[str, str], Callable[..., int]] = {
    ("conv", "standard"): lambda i, o, kernel_size, **_: i * o * kernel_size**2 + o,
    ("conv", "separable"): lambda i, o, kernel_size, **_: i * kernel_size**2 + i + i * o + o,
    ("conv", "pointwise_first"): lambda i, o, kernel_size, **_: i * o + o + 2 * o + o * kernel_size**2 + o,
    ("conv", "reparameterised"): lambda i, o, kernel_size, **_: (kernel_size**2 + 1) * i * o + 2 * o + (6 if i == o else 4) * o,
    ("conv", "partial"): lambda i, o, kernel_size, **_: (
        kernel_size**2 * max(1, i // 4) ** 2 + max(1, i // 4) + _point(i, o, norm=False)
    ),
    ("conv", "inverted_residual"): lambda i, o, kernel_size, **_: (
        _point(i, 6 * i) + _depthwise(6 * i, kernel_size) + 12 * i + _point(6 * i, o)
    ),
    ("conv", "shuffle_unit"): _shuffle_unit,
    ("conv", "convnext"): lambda i, o, kernel_size, **_: (
        _change(i, o) + _depthwise(o, kernel_size) + 2 * o + _point(o, 4 * o, norm=False) + _point(4 * o, o, norm=False)
    ),
    ("connectivity", "plain"): lambda i, o, stage: _convs(i, o, stage.depth),
    ("connectivity", "dense"): _dense,
    ("connectivity", "residual"): lambda i, o, stage: _convs(i, o, stage.depth) + (0 if i == o else i * o + o),
    ("down", "max"): lambda c: 0,
    ("down", "avg"): lambda c: 0,
    ("down", "strided"): lambda c: 9 * c * c + c,
    ("down", "unshuffle"): lambda c: 4 * c * c + c,
    ("down", "residual_unshuffle"): lambda c: 4 * c * c + c,
    ("up", "residual_shuffle"): lambda c: 4 * c * c + 4 * c,
    ("attention", "none"): lambda c, **_: 0,
    ("attention", "squeeze_excitation"): lambda c, **_: 2 * c * max(1, c // 4) + c + max(1, c // 4),
    ("stem", "full"): lambda c, **_: 0,
    ("stem", "space_to_depth"): lambda c, **_: 0,
    ("end", "conv"): lambda c, i, **_: 9 * c * i + i,
    ("end", "depth_to_space"): lambda c, i, end_factor, **_: end_factor**2 * (9 * c * i + i),
    ("latent_stem", "linear"): lambda n, c, s, **_: (n + 1) * c * s * s,
    ("latent_stem", "squeezed"): lambda n, c, s, stem_channels, **_: (n + 1) * stem_channels * s * s + stem_channels * c + c,
    ("up", "nearest"): lambda c: 0,
    ("up", "bilinear"): lambda c: 0,
    ("up", "transposed"): lambda c: 4 * c * c + c,
    ("up", "shuffle"): lambda c: 4 * c * c + 4 * c,
    ("head", "flatten"): lambda c, s, n, **_: 2 * (c * s * s * n + n),
    ("head", "pooled"): lambda c, s, n, **_: 2 * (c * n + n),
    ("head", "bottleneck"): lambda c, s, n, head_channels: c * head_channels + head_channels + 2 * (head_channels * s * s * n + n),
    ("norm", "batch"): lambda c: 2 * c,
    ("norm", "group"): lambda c: 2 * c,
    ("norm", "none"): lambda c: 0,
    **{("activation", name): lambda: 0 for name in ("elu", "relu", "leaky_relu", "silu", "gelu")},
}


# --- the contract


@every_case
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_shapes_and_type_are_the_familys_and_the_input_stays(case: Case, device: str) -> None:
    with torch.device(device):
        module = case.make()
    for mode in (True, False):
        x = case.input(dtype=torch.float32, device=device)
        kept = x.clone()
        out = outputs(module.train(mode), x)
        assert tuple(tuple(o.shape) for o in out) == case.out
        assert {o.dtype for o in out} == {torch.float32}
        assert device == "meta" or (torch.equal(x, kept) and all(o.isfinite().all() for o in out))


@every_case
def test_gradients_reach_input_and_every_parameter(case: Case) -> None:
    # in evaluation mode: in training, a norm rightly cancels the bias before it
    module, x = case.settled(), case.input().requires_grad_()
    sum((o * torch.randn_like(o)).sum() for o in outputs(module, x)).backward()
    for name, value in (("input", x), *module.named_parameters()):
        assert value.grad is not None, name
        assert value.grad.isfinite().all(), name
        assert value.grad.abs().max() > 1e-6, name


@every_case
def test_derivative_is_the_limit_of_differences(case: Case) -> None:
    module = case.settled()
    names = [name for name, _ in module.named_parameters()]

    def function(x: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        out = functional_call(module, dict(zip(names, values, strict=True)), (x,))
        return out if isinstance(out, tuple) else (out,)

    assert torch.autograd.gradcheck(function, (case.input().requires_grad_(), *module.parameters()), fast_mode=True)


@pytest.mark.parametrize("case", [c for c in CASES if (c.family, c.name) in OURS], ids=str)
def test_number_of_parameters(case: Case) -> None:
    num_params = sum(p.numel() for p in case.make().parameters())
    assert num_params == FORMULAS[case.family, case.name](*case.args, **case.kwargs)


def test_every_piece_of_ours_has_a_formula_and_every_formula_a_piece() -> None:
    assert set(FORMULAS) == set(OURS)


@every_case
def test_save_and_load(case: Case) -> None:
    saved, buffer = case.settled(), io.BytesIO()
    torch.save(saved.state_dict(), buffer)
    buffer.seek(0)
    for state in (safetensors.torch.load(safetensors.torch.save(saved.state_dict())), torch.load(buffer, weights_only=True)):
        loaded = case.make(seed=5).double().eval()
        loaded.load_state_dict(state, strict=True)
        assert all(map(torch.equal, outputs(saved, case.input()), outputs(loaded, case.input())))


@every_case
def test_what_training_changes_is_saved(case: Case) -> None:
    # a run that goes on after a stop has parameters and buffers, and nothing else
    saved = case.make().double().train()
    before = [outputs(saved, case.input(seed)) and state_elsewhere(saved) for seed in (1, 2)]
    assert before[0] == before[1]
    loaded = case.make(seed=5).double().train()
    loaded.load_state_dict(saved.state_dict(), strict=True)
    drawn = []
    for module in (saved, loaded):
        torch.manual_seed(0)
        drawn.append(outputs(module, case.input()))
    assert all(map(torch.equal, *drawn))


@every_case
def test_same_seed_same_weights_and_outputs(case: Case) -> None:
    first, second = case.settled(seed=3), case.settled(seed=3)
    assert first.state_dict().keys() == second.state_dict().keys()
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))
    assert all(map(torch.equal, outputs(first, case.input()), outputs(second, case.input())))
    assert all(map(torch.equal, outputs(first, case.input()), outputs(first, case.input())))


@every_case
def test_images_of_a_batch_do_not_mix_in_evaluation(case: Case) -> None:
    module, x = case.settled(), case.input()
    alone = zip(*(outputs(module, image) for image in x.split(1)), strict=True)
    for together, single in zip(outputs(module, x), alone, strict=True):
        torch.testing.assert_close(together, torch.cat(single), rtol=0, atol=1e-12)


@every_case
def test_memory_format_changes_nothing(case: Case) -> None:
    module, x = case.settled(), case.input()
    expected = outputs(module, x)
    other = x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x  # a vector has no such order
    got = outputs(module.to(memory_format=torch.channels_last), other)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


@every_piece
def test_docstring_of_its_own(family: str, name: str) -> None:
    # an inherited one would say what an nn.Module is
    assert (FAMILIES[family].get(name).__doc__ or "").strip()
    assert 10 < len(FAMILIES[family].summary(name)) <= 132


@every_piece
def test_composes_and_learns_in_a_network(family: str, name: str) -> None:
    tiny = preset("small").replace(image_size=16, encoder_widths=(4, 6), decoder_widths=(6, 4), decoder_stem=6, latent_dim=3)
    for field in (field for field, of in PIECE_FIELDS.items() if of == family):
        model = build(tiny.replace(**{field: name}), seed=0)
        reconstruction, mean, log_var = model(torch.rand(2, 3, 16, 16))
        assert (reconstruction.shape, mean.shape, log_var.shape) == ((2, 3, 16, 16), (2, 3), (2, 3))
        (reconstruction.mean() + mean.sum() + log_var.sum()).backward()
        assert [n for n, p in model.named_parameters() if p.grad is None] == []


# --- what each piece of ours computes


def double(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def close(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)


def conv_of_ours(name: str, i: int, o: int, **options: Any) -> nn.Module:
    module: nn.Module = CONVS.get(name)(i, o, norm=nn.BatchNorm2d, activation=nn.ELU, **options)
    return module.double()


@pytest.mark.parametrize("name", [name for family, name in OURS if family == "conv"])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_transposed_form_is_the_convolution_with_kernel_flipped_and_swapped(name: str, kernel_size: int) -> None:
    conv = conv_of_ours(name, 4, 6, kernel_size=kernel_size, transposed=False)
    transposed = conv_of_ours(name, 4, 6, kernel_size=kernel_size, transposed=True)
    pairs = [(a, b) for a, b in zip(conv.modules(), transposed.modules(), strict=True) if isinstance(a, nn.Conv2d)]
    assert not any(isinstance(m, nn.Conv2d) for m in transposed.modules())
    assert sum(isinstance(m, nn.ConvTranspose2d) for m in transposed.modules()) == len(pairs) > 0
    for a, b in pairs:
        # out x in/groups x k x k -> in x out/groups x k x k, group by group
        swapped = [group.transpose(0, 1).flip(-1, -2) for group in a.weight.chunk(a.groups)]
        b.load_state_dict({"weight": torch.cat(swapped), "bias": a.bias})
    close(transposed(double(2, 4, 7, 6)), conv(double(2, 4, 7, 6)))


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(InputError, match=r"^kernel_size must be odd, so that height and width stay\. Got 4 instead\.$"):
        conv_of_ours("standard", 2, 2, kernel_size=4)


def test_standard_is_one_convolution() -> None:
    module, x = conv_of_ours("standard", 3, 5), double(2, 3, 6, 7)
    close(module(x), F.conv2d(x, *module.parameters(), padding=1))


def test_separable_is_depthwise_then_pointwise() -> None:
    module, x = conv_of_ours("separable", 3, 5), double(2, 3, 6, 7)
    depth_w, depth_b, point_w, point_b = module.parameters()
    depthwise = torch.cat([F.conv2d(x[:, [c]], depth_w[[c]], depth_b[[c]], padding=1) for c in range(3)], dim=1)
    close(module(x), torch.einsum("nihw,oi->nohw", depthwise, point_w[:, :, 0, 0]) + point_b[:, None, None])


def test_pointwise_first_is_pointwise_norm_activation_depthwise() -> None:
    module, x = conv_of_ours("pointwise_first", 3, 5), double(2, 3, 6, 7)
    point_w, point_b, scale, shift, depth_w, depth_b = module.parameters()
    wide = torch.einsum("nihw,oi->nohw", x, point_w[:, :, 0, 0]) + point_b[:, None, None]
    wide = F.elu(F.batch_norm(wide, None, None, scale, shift, training=True))
    close(module(x), torch.cat([F.conv2d(wide[:, [c]], depth_w[[c]], depth_b[[c]], padding=1) for c in range(5)], dim=1))


def settled_conv(name: str, i: int, o: int, **options: Any) -> nn.Module:
    """In evaluation mode, with norms that have seen something and scales that are not 1."""
    module = conv_of_ours(name, i, o, **options).train()
    for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.weight.data, norm.bias.data = double(norm.num_features).abs() + 0.5, double(norm.num_features)
    module(double(4, i, 6, 7))
    return module.eval()


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("i", "o", "kernel_size"), [(3, 5, 3), (4, 4, 3), (4, 4, 5), (2, 2, 1)])
def test_reparameterised_folds_to_one_convolution_exactly(i: int, o: int, kernel_size: int, transposed: bool) -> None:
    module, x = settled_conv("reparameterised", i, o, kernel_size=kernel_size, transposed=transposed), double(2, i, 6, 7)
    folded = module.folded()
    assert type(folded) is (nn.ConvTranspose2d if transposed else nn.Conv2d)
    assert sum(p.numel() for p in folded.parameters()) == kernel_size**2 * i * o + o
    close(folded(x), module(x))
    (wide, norm), (point, scale) = module.wide, module.point
    by_hand = norm(wide(x)) + scale(point(x)) + (module.identity(x) if i == o else 0.0)
    close(module(x), by_hand)


def test_reparameterised_without_a_fixed_norm_stays() -> None:
    module = CONVS.get("reparameterised")(8, 8, norm=NORMS.get("group"), activation=nn.ELU)
    assert module.folded() is module


def test_partial_convolves_a_quarter() -> None:
    module, x = conv_of_ours("partial", 8, 5), double(2, 8, 6, 7)
    wide_w, wide_b, point_w, point_b = module.parameters()
    mixed = torch.cat([F.conv2d(x[:, :2], wide_w, wide_b, padding=1), x[:, 2:]], dim=1)
    close(module(x), torch.einsum("nihw,oi->nohw", mixed, point_w[:, :, 0, 0]) + point_b[:, None, None])


@pytest.mark.parametrize("out", [4, 6])
def test_inverted_residual_is_wide_inside(out: int) -> None:
    module, x = settled_conv("inverted_residual", 4, out), double(2, 4, 6, 7)
    a, na, _, b, nb, _, c, nc = module.layers
    inner = nc(c(F.elu(nb(F.conv2d(F.elu(na(a(x))), b.weight, b.bias, padding=1, groups=24)))))
    close(module(x), x + inner if out == 4 else inner)


@pytest.mark.parametrize("channels", [4, 5])
def test_shuffle_unit_passes_half_and_alternates(channels: int) -> None:
    module, x = settled_conv("shuffle_unit", channels, channels), double(2, channels, 6, 7)
    half = channels // 2
    worked, out = module.layers(x[:, half:]), module(x)
    for k in range(half):
        close(out[:, 2 * k], x[:, k])
        close(out[:, 2 * k + 1], worked[:, k])
    close(out[:, 2 * half :], worked[:, half:])


def test_convnext_is_depthwise_then_wide_points() -> None:
    module, x = settled_conv("convnext", 3, 3, kernel_size=7), double(2, 3, 8, 9)
    depth, norm, wide, _, narrow = module.layers
    normed = norm(F.conv2d(x, depth.weight, depth.bias, padding=3, groups=3))
    points = torch.einsum("nihw,oi->nohw", normed, wide.weight[:, :, 0, 0]) + wide.bias[:, None, None]
    close(module(x), x + torch.einsum("nihw,oi->nohw", F.elu(points), narrow.weight[:, :, 0, 0]) + narrow.bias[:, None, None])


def test_squeeze_excitation_scales_channels_by_their_means() -> None:
    module, x = ATTENTIONS.get("squeeze_excitation")(8, activation=nn.ReLU).double(), double(2, 8, 3, 4)
    w, b, v, c = module.parameters()
    weights = torch.sigmoid(F.relu(x.mean((2, 3)) @ w[:, :, 0, 0].T + b) @ v[:, :, 0, 0].T + c)
    close(module(x), x * weights[:, :, None, None])


def test_ends_move_pixels_to_channels_and_back() -> None:
    x = double(2, 3, 8, 12)
    deep = STEMS.get("space_to_depth")(3, stem_factor=4)(x)
    for c, i, j in ((0, 0, 0), (1, 2, 3), (2, 3, 1)):
        close(deep[:, 16 * c + 4 * i + j], x[:, c, i::4, j::4])
    end = ENDS.get("depth_to_space")(5, 3, end_factor=2, transposed=False).double()
    weight, bias = end.parameters()
    features = double(2, 5, 4, 6)
    wide, image = F.conv2d(features, weight, bias, padding=1), end(features)
    for c, i, j in ((0, 0, 0), (1, 0, 1), (2, 1, 0)):
        close(image[:, c, i::2, j::2], wide[:, 4 * c + 2 * i + j])


def test_squeezed_stem_is_linear_then_pointwise() -> None:
    module, z = LATENT_STEMS.get("squeezed")(5, 7, 3, stem_channels=2, activation=nn.ReLU).double(), double(4, 5)
    w, b, v, c = module.parameters()
    narrow = F.relu(z @ w.T + b).view(4, 2, 3, 3)
    close(module(z), F.relu(torch.einsum("nchw,oc->nohw", narrow, v[:, :, 0, 0]) + c[:, None, None]))


@pytest.mark.parametrize("channels", [3, 5])
def test_plain_and_residual_with_two_convolutions(channels: int) -> None:
    x, stage = double(2, 3, 6, 7), standard_stage(2, 1, 1, activation=nn.ReLU)
    plain, residual = (CONNECTIVITIES.get(name)(3, channels, stage).double() for name in ("plain", "residual"))
    w1, b1, s1, t1, w2, b2, s2, t2, *shortcut = residual.parameters()
    plain.load_state_dict(dict(zip(plain.state_dict(), residual.layers.state_dict().values(), strict=True)))
    inner = F.relu(F.batch_norm(F.conv2d(x, w1, b1, padding=1), None, None, s1, t1, training=True))
    outer = F.batch_norm(F.conv2d(inner, w2, b2, padding=1), None, None, s2, t2, training=True)
    assert len(shortcut) == (0 if channels == 3 else 2)
    close(plain(x), F.relu(outer))
    close(residual(x), F.relu(outer + (F.conv2d(x, *shortcut) if shortcut else x)))


@pytest.mark.parametrize("training", [True, False])
def test_dense_with_standard_and_bottleneck_is_torchvisions_dense_block(training: bool) -> None:
    dense = CONNECTIVITIES.get("dense")(5, 4, standard_stage(1, 3, 4, True, activation=nn.ReLU))
    assert isinstance(dense, Dense)
    block, theirs = dense[0], _DenseBlock(num_layers=4, num_input_features=5, bn_size=4, growth_rate=3, drop_rate=0.0)
    assert isinstance(block, DenseBlock)
    ours: list[Tensor] = []
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.zeros_(module.bias)
            ours += [module.weight]
        elif isinstance(module, nn.BatchNorm2d):
            module.weight.data, module.bias.data = torch.rand(module.num_features) + 0.5, torch.randn(module.num_features)
            ours += [module.weight, module.bias, module.running_mean, module.running_var]
    values = [v for v in theirs.state_dict().values() if v.dim()]
    # torchvision lists norm, convolution, norm, convolution in the same order
    for mine, other in zip(ours, values, strict=True):
        other.copy_(mine.detach())
    block.train(training), theirs.train(training)
    for x in torch.randn(3, 2, 5, 7, 6, generator=torch.Generator().manual_seed(0)):
        torch.testing.assert_close(block(x), theirs(x), rtol=0, atol=1e-6)
    torch.testing.assert_close([b.detach() for b in ours], [v.detach() for v in values], rtol=0, atol=1e-6)
    # the transition behind it, without the pool: norm, activation, 1x1 convolution
    scale, shift, weight, bias = list(dense.parameters())[-4:]
    x = torch.randn(2, 5, 7, 6)
    normed = F.batch_norm(block(x), dense[1].running_mean, dense[1].running_var, scale, shift, training=training)
    torch.testing.assert_close(dense.train(training)(x), F.conv2d(F.relu(normed), weight, bias), rtol=0, atol=1e-5)


def corners(x: Tensor) -> Tensor:
    """The four pixels of each 2x2 square, N x C x 4 x H/2 x W/2; an odd last row or column is dropped."""
    h, w = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
    return torch.stack([x[..., i:h:2, j:w:2] for i in (0, 1) for j in (0, 1)], dim=2)


@pytest.mark.parametrize("size", [(6, 8), (7, 5)])
def test_downs(size: tuple[int, int]) -> None:
    x = double(2, 3, *size)
    close(DOWNS.get("max")(3)(x), corners(x).amax(2))
    close(DOWNS.get("avg")(3)(x), corners(x).mean(2))
    unshuffle = DOWNS.get("unshuffle")(3).double()
    weight, bias = unshuffle.parameters()
    close(unshuffle(x), torch.einsum("nckhw,ock->nohw", corners(x), weight.view(3, 3, 4)) + bias[:, None, None])
    residual = DOWNS.get("residual_unshuffle")(3).double()
    residual.load_state_dict(unshuffle.state_dict())
    close(residual(x), unshuffle(x) + corners(x).mean(2))
    strided, cropped = DOWNS.get("strided")(3).double(), x[..., :6, : size[1] // 2 * 2]
    close(strided(x), corners(F.conv2d(cropped, *strided.parameters(), padding=1))[:, :, 0])


def test_ups() -> None:
    x = double(2, 3, 4, 5)
    close(UPS.get("nearest")(3)(x), x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    wide = x
    for dim in (2, 3):
        # each new pixel is 3/4 of the nearer and 1/4 of the farther old one; the border repeats
        n = wide.shape[dim]
        before, after = (wide.index_select(dim, (torch.arange(n) + step).clamp(0, n - 1)) for step in (-1, 1))
        wide = torch.stack([0.75 * wide + 0.25 * before, 0.75 * wide + 0.25 * after], dim + 1).flatten(dim, dim + 1)
    close(UPS.get("bilinear")(3)(x), wide)
    for name, pattern in (("transposed", "nihw,ioab->nohawb"), ("shuffle", "nihw,oabi->nohawb")):
        up = UPS.get(name)(3).double()
        weight, bias = up.parameters()
        kernel = weight if name == "transposed" else weight.view(3, 2, 2, 3)
        square = torch.einsum(pattern, x, kernel)  # N x out x H x 2 x W x 2
        offsets = bias.view(3, 1, 1, 1, 1) if name == "transposed" else bias.view(3, 1, 2, 1, 2)
        close(up(x), (square + offsets).reshape(2, 3, 8, 10))
    residual = UPS.get("residual_shuffle")(3).double()
    residual.conv.load_state_dict(up[0].state_dict())
    close(residual(x), up(x) + UPS.get("nearest")(3)(x))


def test_heads() -> None:
    x = double(2, 4, 3, 3)
    flatten, pooled, bottleneck = (HEADS.get(n)(4, 3, 5, head_channels=2).double() for n in ("flatten", "pooled", "bottleneck"))
    weight, bias = bottleneck.reduce[0].parameters()
    reduced = torch.einsum("nchw,oc->nohw", x, weight[:, :, 0, 0]) + bias[:, None, None]
    for head, features in ((flatten, x.reshape(2, 36)), (pooled, x.sum((2, 3)) / 9), (bottleneck, reduced.reshape(2, 18))):
        mean, log_var = head(x)
        close(mean, features @ head.mean.weight.T + head.mean.bias)
        close(log_var, features @ head.log_var.weight.T + head.log_var.bias)


@pytest.mark.parametrize(("channels", "groups"), [(16, 8), (12, 4), (3, 1)])
def test_norms(channels: int, groups: int) -> None:
    x = double(2, channels, 4, 3) * 3 + 1
    batch, group, none = (NORMS.get(name)(channels).double() for name in ("batch", "group", "none"))
    parts = x.view(2, groups, -1)
    grouped = (parts - parts.mean(2, keepdim=True)) / (parts.var(2, correction=0, keepdim=True) + 1e-5).sqrt()
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
    close(group(x), grouped.view_as(x))
    close(batch(x), (x - mean) / (var + 1e-5).sqrt())
    close(none(x), x)


def test_activations() -> None:
    x = torch.linspace(-4, 4, 81, dtype=torch.float64)
    formulas = {
        "elu": torch.where(x > 0, x, x.exp() - 1),
        "relu": torch.where(x > 0, x, 0.0 * x),
        "leaky_relu": torch.where(x > 0, x, 0.01 * x),
        "silu": x / (1 + (-x).exp()),
        "gelu": x * (1 + torch.erf(x / 2**0.5)) / 2,
    }
    assert set(formulas) == {name for family, name in OURS if family == "activation"}
    for name, expected in formulas.items():
        close(ACTIVATIONS.get(name)()(x), expected)
