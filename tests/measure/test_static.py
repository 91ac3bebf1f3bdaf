"""Static costs against hand-derived counts, torch's own flop counter, and the two models of the paper."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.flop_counter import FlopCounterMode

from ablation.design.compose import build
from ablation.design.spec import preset
from ablation.explain.decompose import decompose
from ablation.measure.costs import opcount
from ablation.measure.costs.forward import Cost
from ablation.measure.costs.memory import activation_bytes
from ablation.measure.costs.opcount import CLASSES, register_op
from ablation.measure.costs.operations import block_names
from ablation.measure.costs.published import published_cost
from ablation.measure.costs.static import static_cost
from ablation.measure.latency.compare import compare_latency
from ablation.record.explanation import Calibration
from blocks.errors import InputError

IN = (4, 6, 6)  # C x H x W of the hand-derived cases: 144 elements, 576 bytes


class Calls(nn.Module):
    """A function as a module."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


# (name, module, class, params, macs, elements written, bytes moved); bytes = 4 x (input + parameters and statistics + written)
HAND = [
    ("conv", nn.Conv2d(4, 8, 3, padding=1), "convolution", 296, 8 * 4 * 9 * 36, 288, 4 * (144 + 296 + 288)),
    ("no padding", nn.Conv2d(4, 8, 3, bias=False), "convolution", 288, 8 * 4 * 9 * 16, 128, 4 * (144 + 288 + 128)),
    ("grouped", nn.Conv2d(4, 8, 3, padding=1, groups=2), "convolution", 152, 8 * 2 * 9 * 36, 288, 4 * (144 + 152 + 288)),
    ("strided", nn.Conv2d(4, 8, 3, stride=2, padding=1), "convolution", 296, 8 * 4 * 9 * 9, 72, 4 * (144 + 296 + 72)),
    ("depthwise", nn.Conv2d(4, 4, 3, padding=1, groups=4), "depthwise convolution", 40, 4 * 9 * 36, 144, 4 * (144 + 40 + 144)),
    ("pointwise", nn.Conv2d(4, 8, 1), "pointwise convolution", 40, 8 * 4 * 36, 288, 4 * (144 + 40 + 288)),
    # stride 2, kernel 2: each of 36 input positions meets 4 x 8 x 4 weights, 12 x 12 positions come out
    ("transposed", nn.ConvTranspose2d(4, 8, 2, stride=2), "convolution", 136, 36 * 4 * 8 * 4, 1152, 4 * (144 + 136 + 1152)),
    ("linear", nn.Sequential(nn.Flatten(), nn.Linear(144, 5)), "linear", 725, 720, 5, 4 * (144 + 725 + 5)),
    # weight, bias, running mean, running variance: 4 each
    ("batch norm", nn.BatchNorm2d(4), "normalisation", 8, 0, 144, 4 * (144 + 16 + 144)),
    # means and deviations of the 2 groups are written too
    ("group norm", nn.GroupNorm(2, 4), "normalisation", 8, 0, 148, 4 * (144 + 8 + 148)),
    # 36 values of 4 bytes and 36 indices of 8
    ("max pool", nn.MaxPool2d(2), "pooling", 0, 0, 72, 4 * (144 + 36) + 8 * 36),
    ("avg pool", nn.AvgPool2d(2), "pooling", 0, 0, 36, 4 * (144 + 36)),
    ("global pool", nn.AdaptiveAvgPool2d(1), "pooling", 0, 0, 4, 4 * (144 + 4)),
    ("unshuffle", nn.PixelUnshuffle(2), "pooling", 0, 0, 144, 4 * 288),
    ("nearest", nn.Upsample(scale_factor=2), "upsampling", 0, 0, 576, 4 * (144 + 576)),
    ("bilinear", nn.Upsample(scale_factor=2, mode="bilinear"), "upsampling", 0, 0, 576, 4 * (144 + 576)),
    ("shuffle", nn.PixelShuffle(2), "upsampling", 0, 0, 144, 4 * 288),
    ("elu", nn.ELU(), "activation", 0, 0, 144, 4 * 288),
    ("in place", nn.ReLU(inplace=True), "activation", 0, 0, 144, 4 * 288),
    ("concat", Calls(lambda x: torch.cat((x, x[:, :2]), 1)), "concatenation", 0, 0, 216, 4 * (144 + 72 + 216)),
    # the same tensor twice is read once
    ("add", Calls(lambda x: x + x), "elementwise", 0, 0, 144, 4 * 288),
    ("random", Calls(torch.randn_like), "random", 0, 0, 144, 4 * 288),
    ("fill", Calls(lambda x: torch.empty(7).fill_(0)), "copy", 0, 0, 7, 28),
]


@pytest.mark.parametrize(
    ("module", "op_class", "expected"), [(m, c, Cost(*n, 1)) for _, m, c, *n in HAND], ids=[n for n, *_ in HAND]
)
def test_hand_derived(module: nn.Module, op_class: str, expected: Cost) -> None:
    result = static_cost(module, input_shape=IN)
    assert result.by_class == {op_class: expected}
    assert Cost(result.params, result.macs, result.elements_written, result.bytes_moved, result.num_ops) == expected


def test_views_are_no_operations() -> None:
    result = static_cost(Calls(lambda x: x.flatten(1).reshape(x.shape[0], 12, 12).transpose(1, 2)[:, :3]), input_shape=IN)
    assert (result.num_ops, result.bytes_moved, result.elements_written, result.by_class) == (0, 0, 0, {})


def test_batched_product() -> None:
    # N x 4 x 36 times N x 36 x 4
    result = static_cost(Calls(lambda x: x.flatten(2) @ x.flatten(2).transpose(1, 2)), 3, input_shape=IN)
    assert result.by_class["linear"].macs == 3 * 4 * 4 * 36


@pytest.mark.parametrize(
    ("name", "macs", "params"),
    [
        # encoder 144^2 3 32 9 + 72^2 32 64 9 + 36^2 64 128 9 + 18^2 128 256 9, heads 2 x 20736 128, stem 128 20736
        ("original", 17_915_904 + 3 * 95_551_488 + 3 * 2_654_208 + 47_775_744 + 3 * 95_551_488 + 17_915_904, 9_352_195),
        ("modified", 1_101_969_536, 6_283_267),
    ],
)
def test_paper_models(name: str, macs: int, params: int) -> None:
    result = static_cost(preset(name))
    assert (result.macs, result.params) == (macs, params)


def test_modified_by_hand() -> None:
    def dense(width: int, side: int, out: int) -> int:
        # four layers: 1x1 (c -> 32), depthwise 3x3 on 32; then 1x1 to `out`
        return side * side * (sum(32 * (width + 32 * i) + 32 * 9 for i in range(4)) + (width + 128) * out)

    encoder = 144 * 144 * 3 * 32 * 9 + sum(dense(w, 144 >> i, 64 << i) for i, w in enumerate((32, 64, 128, 256)))
    decoder = sum(dense(w, 9 << i, 256 >> i) for i, w in enumerate((512, 256, 128)))
    decoder += dense(64, 72, 32)
    assert static_cost(preset("modified")).macs == encoder + 2 * 512 * 128 + 128 * 41_472 + decoder + 144 * 144 * 32 * 3 * 9


@pytest.mark.parametrize("name", ["small", "small_modified"])
def test_agrees_with_torch_flop_counter(name: str) -> None:
    model = build(preset(name)).eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.rand(2, 3, 48, 48))
    assert static_cost(model, 2).macs * 2 == counter.get_total_flops()


def test_batch_scales_what_it_should() -> None:
    one, many = static_cost(preset("small_modified")), static_cost(preset("small_modified"), 7)
    assert (many.macs, many.elements_written) == (7 * one.macs, 7 * one.elements_written)
    assert (many.params, many.num_ops) == (one.params, one.num_ops)
    # weights are read once whatever the batch
    assert 6 * one.bytes_moved < many.bytes_moved < 7 * one.bytes_moved


def test_parts_and_classes_add_up() -> None:
    result = static_cost(preset("small_modified"), 2)
    assert tuple(result.by_part) == ("encoder_body", "head", "stem", "decoder_body", "output", "other")
    assert set(result.by_class) <= set(CLASSES)
    for share in (result.by_part, result.by_class):
        for name in ("params", "macs", "elements_written", "bytes_moved", "num_ops"):
            assert sum(getattr(cost, name) for cost in share.values()) == getattr(result, name)
    # sampling z: 0.5 * log_var, exp, randn, product, sum, each 2 x 32
    assert (result.by_part["other"].num_ops, result.by_part["other"].elements_written) == (5, 5 * 2 * 32)


def test_spec_and_model_agree_and_model_is_left_alone() -> None:
    model = build(preset("small"), 0)
    model.head.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.random.get_rng_state()
    assert static_cost(model) == static_cost(preset("small"))
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert (model.training, model.head.training, model.stem.training) == (True, False, True)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_spec_at_another_size() -> None:
    assert static_cost(preset("small"), image_size=96) == static_cost(preset("small").replace(image_size=96))


def test_bytes_follow_dtype() -> None:
    half, single = (static_cost(nn.Conv2d(4, 8, 3).to(dtype), input_shape=IN) for dtype in (torch.float16, torch.float32))
    assert half.bytes_moved * 2 == single.bytes_moved


def test_shared_and_unused_parameters_count_once() -> None:
    linear = nn.Linear(6, 6, bias=False)
    model = nn.Sequential(linear, nn.Sequential(linear))
    model.register_parameter("spare", nn.Parameter(torch.zeros(5)))
    result = static_cost(model, input_shape=IN)
    assert {name: cost.params for name, cost in result.by_part.items()} == {"0": 36, "1": 0, "other": 5}
    assert (result.params, result.by_class["linear"].params, result.by_class["unused"].params) == (41, 36, 5)


def test_unknown_operation_is_an_error_until_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opcount, "_TABLE", dict(opcount._TABLE))
    model = Calls(lambda x: torch.special.bessel_j0(x))
    name = "aten.special_bessel_j0"
    with pytest.raises(InputError, match=r"register_op\('aten.special_bessel_j0'"):
        static_cost(model, input_shape=IN)
    register_op(name, "elementwise", lambda args, out: 3 * out.numel())
    assert static_cost(model, input_shape=IN).macs == 3 * 144
    with pytest.raises(InputError, match="has a formula already"):
        register_op(name, "elementwise")


@pytest.mark.parametrize(("name", "op_class"), [("relu", "activation"), ("aten.swirl", "swirling")])
def test_register_refuses(name: str, op_class: str) -> None:
    with pytest.raises(InputError):
        register_op(name, op_class)


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, True])
def test_batch_size_must_be_positive(batch_size: object) -> None:
    with pytest.raises(InputError, match="batch_size must be"):
        static_cost(preset("small"), batch_size)  # type: ignore[arg-type]


def test_model_that_does_not_accept_the_input() -> None:
    with pytest.raises(InputError, match=r"shape \(1, 3, 40, 40\)"):
        static_cost(build(preset("small")), image_size=40)
    with pytest.raises(InputError, match="image_size must be given"):
        static_cost(nn.ReLU())


def test_model_that_looks_at_values() -> None:
    """It is counted while it runs on one input, and the result says so."""
    steered = static_cost(Calls(lambda x: x * 2 if x.sum() > 0 else x), input_shape=IN)
    assert steered.executed
    assert steered.by_class["elementwise"].num_ops >= 1
    assert not static_cost(Calls(lambda x: x * 2), input_shape=IN).executed


class Remembers(nn.Module):
    """Keeps what it computed: in an attribute, a dictionary, a list, a buffer that was empty; and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.grid: Tensor | None = None
        self.by_size: dict[int, Tensor] = {}
        self.seen: list[Tensor] = []
        self.calls = 0
        self.register_buffer("late", None)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.grid is None:
            self.grid = torch.arange(x.shape[-1], dtype=x.dtype)
            self.by_size[x.shape[-1]] = self.grid
            self.seen.append(x)
            self.late = self.grid + 1
        return x * self.grid + self.by_size[x.shape[-1]] + self.late


def shared_layer() -> nn.Module:
    conv, norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
    return nn.Sequential(conv, norm, nn.ReLU(), nn.Sequential(conv, norm), conv)


def tied() -> nn.Module:
    first, second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
    second.weight = first.weight
    return nn.Sequential(first, second)


def shared_buffer() -> nn.Module:
    first, second = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
    second.running_mean = first.running_mean
    return nn.Sequential(first, second)


def plain_attribute() -> nn.Module:
    model = Calls(lambda x: x)
    model.kernel = torch.rand(4, 1, 3, 3)
    model.function = lambda x: nn.functional.conv2d(x, model.kernel, groups=4)
    return model


# model, its parameters: 4 x 4 x 9 + 4 of a convolution, 8 of a norm
HOLDERS = {
    "layer in several places": (shared_layer, 148 + 8),
    "tied weights": (tied, 148 + 4),
    "tied buffer": (shared_buffer, 16),
    "remembers": (Remembers, 0),
    "tensor that is no buffer": (plain_attribute, 0),
    "weights in a list": (lambda: nn.Sequential(nn.Flatten(2), nn.LSTM(36, 5), Calls(lambda x: x[0])), 4 * 5 * (36 + 5 + 2)),
    "weight norm": (lambda: parametrizations.weight_norm(nn.Conv2d(4, 4, 3)), 148 + 4),
    "spectral norm": (lambda: parametrizations.spectral_norm(nn.Conv2d(4, 4, 3)), 148),
    "hooked": (lambda: hooked(nn.Conv2d(4, 4, 3)), 148),
}


def hooked(model: nn.Module) -> nn.Module:
    model.register_forward_hook(lambda *_: None)
    return model


def everything(model: nn.Module) -> list[object]:
    """What the modules hold, by identity where it is a tensor; and every value and gradient."""

    def known(value: object) -> object:
        if isinstance(value, dict):
            return {key: known(inner) for key, inner in value.items()}
        return [known(inner) for inner in value] if isinstance(value, list) else id(value)

    held = [known(vars(module)) for module in model.modules()]
    tensors = [*model.parameters(), *model.buffers()]
    return [
        held,
        [(t.tolist(), t.dtype, t.device, t.requires_grad, t.grad if t.grad is None else t.grad.tolist()) for t in tensors],
    ]


LEFT_ALONE: dict[str, Callable[[nn.Module], object]] = {
    "static_cost": lambda model: static_cost(model, input_shape=IN),
    "costs by block": lambda model: static_cost(model, input_shape=IN, parts=block_names(model)),
    "activation_bytes": lambda model: activation_bytes(model, IN),
    "published_cost": lambda model: published_cost(model, 6, 4),
    "compare_latency": lambda model: compare_latency(
        {"it": model}, input_shape=IN, rounds=(2, 2), budget_s=0.1, precision="float16"
    ),
    "decompose": lambda model: decompose(model, "it", calibration=CALIBRATION, total_ms=1.0, quick=True, input_shape=IN),
}
CALIBRATION = Calibration(place="cpu", bandwidth_gb_s=10.0, macs_per_s=1e9, call_us=1.0)


@pytest.mark.parametrize("measure", LEFT_ALONE.values(), ids=LEFT_ALONE)
@pytest.mark.parametrize("make", [make for make, _ in HOLDERS.values()], ids=HOLDERS)
def test_the_callers_model_stays_as_it_was_and_runs(make: Callable[[], nn.Module], measure: Callable[[nn.Module], object]) -> None:
    model = make().train()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    next(iter(model.modules())).training = False
    before = everything(model)
    with suppress(InputError, RuntimeError, KeyError):
        # what refuses such a model must leave it alone too
        measure(model)
    assert everything(model) == before
    model(torch.rand(2, *IN)).sum()


@pytest.mark.parametrize(("make", "params"), HOLDERS.values(), ids=HOLDERS)
def test_what_stands_in_several_places_counts_once(make: Callable[[], nn.Module], params: int) -> None:
    model = make()
    result = static_cost(model, input_shape=IN)
    assert result.params == params == sum(p.numel() for p in model.parameters())
    assert result.by_class.get("unused", Cost()).params == 0
    assert static_cost(model, input_shape=IN) == result


def test_a_failure_leaves_the_model_as_it_was_too() -> None:
    conv = nn.Conv2d(4, 4, 3)
    model = nn.Sequential(conv, conv, Calls(torch.special.bessel_j0))
    before = everything(model)
    with pytest.raises(InputError, match="bessel"):
        static_cost(model, input_shape=IN)
    assert everything(model) == before


def test_lazy_layers_are_refused_in_one_line() -> None:
    with pytest.raises(InputError, match=r"lazy layers.*Run it once"):
        static_cost(nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d()), input_shape=IN)
