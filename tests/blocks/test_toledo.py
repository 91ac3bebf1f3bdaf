"""Toledo and Antonelo's network and study: every shape and number by hand, masks in losses and training, what was stored before."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from ablation import build, preset
from ablation.attribute.factorial import Factorial
from ablation.attribute.static import PARTS, attribute_static, network_costs
from ablation.attribute.values import attribute
from ablation.data.base import Dataset, Split
from ablation.data.batches import Images
from ablation.design.compose import VAE
from ablation.design.protocol import LATER, Protocol
from ablation.design.spec import FIELDS, ModelSpec
from ablation.faster.optimise import example, prepared
from ablation.faster.optimised import RULES
from ablation.measure.costs.published import published_cost
from ablation.measure.costs.static import static_cost
from ablation.measure.latency.compare import compare_latency
from ablation.measure.quality.evaluate import evaluate, evaluate_images
from ablation.measure.quality.losses import dice, kl_per_dim, loss_parts, mask_loss, ssim
from ablation.train import loop as loop_module
from ablation.train.checkpoint import CHECKPOINT
from ablation.train.learner import Learner, clip_each, columns
from ablation.train.train import TrainResult, train
from blocks.errors import InputError
from studies.bench.naive import naive_train_epoch
from studies.engine.config import StudyConfig, reconcile_config
from studies.paper.hypotheses import HYPOTHESES, MASKED, at_size, network_of
from tests.builders import keras_params
from tests.faster.test_fold import randomised

# 19, 9, 4, 2, 1 and back: 1, 2, 4, 9, 19, two of them unpadded
TINY = preset("small_toledo_mask").replace(
    image_size=19, latent_dim=4, encoder_widths=(2, 3, 4, 5), decoder_widths=(5, 4, 3, 2), mask_width=2
)
MASK_PROTOCOL = Protocol(epochs=3, batch_size=4, **{**HYPOTHESES["L2 + SSIM, mask"], "clip_norm": 0.0}, learning_rate=3e-3)
CLOCKS = {"seconds", "images_per_second"}

Shape = tuple[int, ...]


# --- the network, from the text alone


def layer(weight: Shape, width: int) -> list[Shape]:
    """A convolution's weight and bias, and a norm's scale and shift."""
    return [weight, (width,), (width,), (width,)]


def conv(i: int, o: int) -> list[Shape]:
    """3x3 convolution with norm."""
    return layer((o, i, 3, 3), o)


def pair(i: int, o: int) -> list[Shape]:
    """Transposed 3x3 convolution and 3x3 convolution, each with norm."""
    return [*layer((i, o, 3, 3), o), *conv(o, o)]


SHAPES: dict[str, list[Shape]] = {
    "encoder_body": [
        *conv(3, 32), *conv(32, 32), *conv(32, 64), *conv(64, 64), *conv(64, 128), *conv(128, 128),
        *conv(128, 256), *conv(256, 256), *conv(256, 256), *conv(256, 256), *conv(256, 512),
    ],
    "head": [(512, 512), (512,)] * 3,
    "stem": [],
    "decoder_body": [
        *pair(512, 256), *pair(256, 256), *pair(256, 256), *pair(256, 128), *pair(128, 64), *pair(64, 32), *pair(32, 32),
    ],
    "output": [(3, 32, 3, 3), (3,)],
    "mask_decoder": [*pair(512, 32), *(pair(32, 32) * 6), (1, 32, 3, 3), (1,)],
}  # fmt: skip
# as Keras counts, 4 numbers a channel for a norm: convolution 9 i o + o + 4 o
KERAS = {
    "encoder_body": sum(9 * i * o + 5 * o for i, o in (
        (3, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256), (256, 256), (256, 512),
    )),
    "head": 3 * (512 * 512 + 512),
    "stem": 0,
    "decoder_body": sum(9 * i * o + 5 * o + 9 * o * o + 5 * o for i, o in (
        (512, 256), (256, 256), (256, 256), (256, 128), (128, 64), (64, 32), (32, 32),
    )),
    "output": 9 * 32 * 3 + 3,
    "mask_decoder": 9 * 512 * 32 + 13 * 9 * 32 * 32 + 14 * 5 * 32 + 9 * 32 + 1,
}  # fmt: skip


def on_meta(spec: ModelSpec) -> VAE:
    with torch.device("meta"):
        return build(spec)


def test_every_parameter_has_its_shape_and_every_part_its_number() -> None:
    model = on_meta(preset("toledo_mask"))
    assert tuple(SHAPES) == (*VAE.parts, "mask_decoder") == tuple(name for name, _ in model.named_children())
    for part, shapes in SHAPES.items():
        assert [tuple(p.shape) for p in getattr(model, part).parameters()] == shapes, part
        assert keras_params(getattr(model, part)) == KERAS[part], part
    assert sum(KERAS.values()) == 9_337_188
    assert sum(KERAS.values()) - KERAS["mask_decoder"] == 9_067_395
    without = on_meta(preset("toledo"))
    assert without.mask_decoder is None
    assert [p.shape for p in without.parameters()] == [p.shape for p in model.parameters()][: len(list(without.parameters()))]


def sides(model: VAE, module: nn.Module, size: int) -> list[int]:
    """Side of the output of every convolution and pool of a module, in the order in which they run."""
    seen: list[int] = []
    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d)
    hooks = [
        m.register_forward_hook(lambda _m, _i, out: seen.append(out.shape[-1])) for m in module.modules() if isinstance(m, kinds)
    ]
    model(torch.empty(2, 3, size, size, device="meta"), with_mask=True)
    for hook in hooks:
        hook.remove()
    return seen


def test_the_sides_that_an_image_goes_through() -> None:
    model = on_meta(preset("toledo_mask"))
    encoder = [144, 144, 72, 72, 72, 36, 36, 36, 18, 18, 18, 9, 9, 4, 4, 2, 2, 1]
    decoder = [2, 2, 4, 4, 9, 9, 18, 18, 36, 36, 72, 72, 144, 144]
    assert sides(model, model.encoder_body, 144) == encoder
    assert sides(model, model.decoder_body, 144) == decoder
    assert sides(model, model.mask_decoder, 144) == [*decoder, 144]
    small = on_meta(preset("small_toledo_mask"))
    assert sides(small, small.encoder_body, 48) == [48, 48, 24, 24, 24, 12, 12, 12, 6, 6, 6, 3, 3, 1]
    assert sides(small, small.decoder_body, 48) == [3, 3, 6, 6, 12, 12, 24, 24, 48, 48]
    # exactly one transposed convolution is unpadded, the third (at 48 px, the first)
    for net, place in ((model, 2), (small, 0)):
        ups = [m for m in net.decoder_body.modules() if isinstance(m, nn.ConvTranspose2d)]
        assert [up.padding == (0, 0) for up in ups] == [number == place for number in range(len(ups))]


def computed(model: VAE, x: Tensor, z: Tensor, sizes: list[int]) -> tuple[Tensor, ...]:
    """(mean, log_var, image, mask) in evaluation mode by plain functions; `sizes`: sides of the decoder."""
    state = {name: list(getattr(model, name).state_dict().values()) for name in SHAPES}

    def normed(y: Tensor, values: list[Tensor]) -> Tensor:
        scale, shift, mean, var, _ = (values.pop(0) for _ in range(5))
        y = (y - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt() * scale[:, None, None] + shift[:, None, None]
        return torch.where(y > 0, y, y.exp() - 1)

    def conv2d(y: Tensor, values: list[Tensor]) -> Tensor:
        return F.conv2d(y, values.pop(0), values.pop(0), padding=1)

    def decoded(values: list[Tensor]) -> Tensor:
        y = z[:, :, None, None]
        for size in sizes:
            full = F.conv_transpose2d(y, values.pop(0), values.pop(0), stride=2)  # 2 n + 1
            y = normed(full if size % 2 else full[..., 1:, 1:], values)
            y = normed(conv2d(y, values), values)
        return torch.sigmoid(conv2d(y, values))

    y = x
    for number in range(len(model.spec.encoder_widths)):
        for _ in range(2 if number < 4 else 1):
            y = normed(conv2d(y, state["encoder_body"]), state["encoder_body"])
        side = y.shape[-1] // 2 * 2
        y = torch.stack([y[..., i:side:2, j:side:2] for i in (0, 1) for j in (0, 1)]).amax(0)
    weights = state["head"]
    hidden = F.elu(y.flatten(1) @ weights[0].T + weights[1])
    heads = (hidden @ weights[2].T + weights[3], hidden @ weights[4].T + weights[5])
    return *heads, decoded(state["decoder_body"] + state["output"]), decoded(state["mask_decoder"])


@pytest.mark.parametrize(
    ("spec", "decoder"), [(TINY, [2, 4, 9, 19]), (preset("small_toledo_mask"), [3, 6, 12, 24, 48])], ids=["tiny", "small"]
)
def test_computes_the_function_that_the_text_describes(spec: ModelSpec, decoder: list[int]) -> None:
    model = randomised(build(spec, seed=0)).double()
    assert isinstance(model, VAE)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, spec.image_size, spec.image_size, generator=generator, dtype=torch.float64)
    z = torch.randn(2, spec.latent_dim, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close((*model.encode(x), model.decode(z), model.decode_mask(z)), computed(model, x, z, decoder))


def test_a_padded_transposed_convolution_is_keras_mirrored() -> None:
    up = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1)
    x = torch.randn(1, 2, 5, 5)
    weight = up.weight.flip(-1, -2)
    # Keras keeps the first 2 n of 2 n + 1
    keras = F.conv_transpose2d(x.flip(-1, -2), weight, up.bias, stride=2)[..., :-1, :-1].flip(-1, -2)
    torch.testing.assert_close(up(x), keras)


# --- the spec


def test_what_the_network_reads_and_what_is_inert() -> None:
    spec = preset("small_toledo_mask")
    others = {"image_size": 50, "in_channels": 1, "latent_dim": 65, "encoder_widths": (8, 16), "decoder_widths": (9, 8, 8, 8, 8),
              "norm": "group", "activation": "relu", "architecture": None, "mask_width": 9, "encoder_connectivity": "dense",
              "decoder_connectivity": "dense", "encoder_conv": "separable", "decoder_conv": "separable", "down": "avg",
              "head": "pooled", "up": "bilinear", "kernel_size": 5, "transposed": False, "dense_bottleneck": True}  # fmt: skip
    read = ("image_size", "in_channels", "latent_dim", "encoder_widths", "decoder_widths", "norm", "activation", "mask_width")
    assert set(spec.inert) == set(FIELDS) - set(read) - {"architecture"}
    assert len(spec.inert) == len(set(spec.inert))
    for name in FIELDS:
        value = others.get(name, getattr(spec, name) + 1 if name not in others else None)
        if value is not None:
            changed = spec.replace(**{name: value})
            assert (changed.network_key == spec.network_key) == (name not in read), name
            assert changed.intent_key != spec.intent_key
    assert ModelSpec.from_toml(spec.to_toml()) == ModelSpec.from_json(spec.to_json()) == spec
    assert preset("toledo").network_key != preset("toledo_mask").network_key


def test_choosing_an_architecture_or_a_mask_is_a_factor_like_others() -> None:
    found = Factorial.between(preset("small_toledo"), preset("small_toledo_mask"))
    assert found.names == ("mask width",)
    # no path leads over single swaps from stages of another number, in either direction
    for names in (("modified", "toledo_mask"), ("toledo_mask", "modified")):
        with pytest.raises(InputError, match="joined by a path of valid variants"):
            Factorial.between(*map(preset, names))
    # 16 px: one stage doubles where the other halves; what each reads comes with the architecture
    staged = preset("small_modified").replace(image_size=16, encoder_widths=(4, 4, 4, 4), decoder_widths=(4, 4, 4, 4))
    both = Factorial.between(staged, TINY.replace(image_size=16, encoder_widths=(4, 4, 4, 4), decoder_widths=(4, 4, 4, 4)))
    assert both.names == ("architecture", "latent dimension")
    assert both.factors["architecture"][1] == {"architecture": "toledo", "mask_width": 2}
    assert both.factors["architecture"][0]["head"] == "pooled"
    assert len(both.networks) == 4
    assert_parts_add_up(both)


def assert_parts_add_up(factorial: Factorial) -> None:
    """Costs put together from parts are those of counting each network, and attributions by part add up."""
    costs = network_costs(factorial)
    assert costs.by_network == {key: reduce(add, static_cost(spec).by_part.values()) for key, spec in factorial.networks.items()}
    (whole,) = [a for a in attribute_static(factorial, costs=costs) if a.metric == "params"]
    parts = [attribute(factorial.names, costs.values("params", part), metric="params", place=part, unit="") for part in PARTS]
    assert sum(part.end - part.start for part in parts) == whole.end - whole.start
    for name, effect in whole.shapley.items():
        assert sum(part.shapley[name].value for part in parts) == pytest.approx(effect.value, abs=1e-6)


def test_costs_of_toledo_networks_put_together_from_parts() -> None:
    second = TINY.replace(latent_dim=7, encoder_widths=(3, 3, 3, 3), decoder_widths=(4, 4, 4, 4), mask_width=0, norm="group")
    found = Factorial.between(TINY, second)
    assert len(found.networks) == 32
    assert_parts_add_up(found)
    assert network_costs(found).num_counted < 32


# --- what the suite does with it


@pytest.mark.parametrize("name", ["small_toledo", "small_toledo_mask"])
def test_costs_agree_with_fvcore_and_a_mask_decoder_only_adds_parameters(name: str) -> None:
    static, published = static_cost(preset(name)), published_cost(build(preset(name)))
    assert (published.conv_linear_flops, published.params) == (static.macs, static.params)
    assert set(static.by_part) == {*VAE.parts, "other"}
    plain = static_cost(preset("small_toledo"))
    more = sum(p.numel() for p in build(preset(name)).mask_decoder.parameters()) if name.endswith("mask") else 0
    assert (static.macs, static.params, static.by_part["other"].params) == (plain.macs, plain.params + more, more)


def test_multiply_accumulates_by_hand() -> None:
    # convolution: 9 i o at each position of its output; transposed: at each of its input
    encoder = sum(9 * i * o * s * s for i, o, s in (
        (3, 32, 144), (32, 32, 144), (32, 64, 72), (64, 64, 72), (64, 128, 36), (128, 128, 36), (128, 256, 18), (256, 256, 18),
        (256, 256, 9), (256, 256, 4), (256, 512, 2),
    ))  # fmt: skip
    decoder = sum(9 * i * o * s * s + 9 * o * o * t * t for i, o, s, t in (
        (512, 256, 1, 2), (256, 256, 2, 4), (256, 256, 4, 9), (256, 128, 9, 18), (128, 64, 18, 36), (64, 32, 36, 72),
        (32, 32, 72, 144),
    ))  # fmt: skip
    assert static_cost(preset("toledo")).macs == encoder + 3 * 512 * 512 + decoder + 9 * 32 * 3 * 144 * 144


@pytest.mark.parametrize("name", ["small_toledo", "small_toledo_mask"])
def test_optimised_and_timed(name: str) -> None:
    model = randomised(build(preset(name), seed=0))
    assert isinstance(model, VAE)
    fast = prepared(model, (*RULES, "channels_last"), example(model, 3))
    assert max(fast.errors.values()) < 1e-4
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fast.modules())
    times = compare_latency({"eager": model, "fast": fast}, rounds=(2, 3), budget_s=0.5)
    assert not times["fast"].failed


def test_a_mask_decoder_leaves_the_rest_of_the_network_alone() -> None:
    with_mask, without = (build(preset(name), seed=3) for name in ("small_toledo_mask", "small_toledo"))
    state = with_mask.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in without.state_dict().items())
    x, outputs = torch.rand(2, 3, 48, 48), []
    for model in (with_mask, without):
        torch.manual_seed(0)
        outputs.append(model.eval()(x))
    assert all(map(torch.equal, *outputs))
    torch.manual_seed(0)
    *same, logits = with_mask(x, with_mask=True)
    assert all(map(torch.equal, same, outputs[0]))
    assert logits.shape == (2, 1, 48, 48)
    with pytest.raises(InputError, match=r"^mask_width must be at least 1 .* Got 0 instead\. Take `toledo_mask`\.$"):
        without.decode_mask(without.encode(x)[0])


def test_the_predicted_mask_is_a_probability_beside_the_image() -> None:
    model = build(preset("small_toledo_mask"), seed=0).eval()
    x = torch.rand(2, 3, 48, 48)
    with torch.no_grad():
        mean, _ = model.encode(x)
        image, mask = model.decode(mean), model.decode_mask(mean)
        assert (mask > 0).all() and (mask < 1).all()
        for bias, expected in ((-200.0, 0.0), (200.0, 1.0)):
            model.mask_decoder[-1].bias.fill_(bias)
            assert (model.decode_mask(mean) == expected).all()  # bit for bit
            assert torch.equal(model.decode(mean), image)  # the raw image is still there


# --- losses


def half_masks() -> Tensor:
    mask = torch.zeros(2, 16, 16)
    mask[0, :, :8], mask[1, 2:6, 2:6] = 1, 1
    return mask


def test_dice_and_cross_entropy_by_hand() -> None:
    mask = half_masks()
    predicted = torch.full((2, 16, 16), 0.5)
    # (2 * 0.5 * 128 + 1) / (256 / 4 + 128 + 1) and (2 * 0.5 * 16 + 1) / (256 / 4 + 16 + 1)
    assert dice(predicted, mask).tolist() == pytest.approx([129 / 193, 17 / 81])
    assert dice(mask, mask).tolist() == [1, 1]
    assert dice(1 - mask, mask).tolist() == pytest.approx([1 / 257, 1 / 257])
    zero = torch.zeros(2, 1, 16, 16)  # log-odds of 1/2
    assert mask_loss(zero, mask).item() == pytest.approx(np.log(2) + 1 - (129 / 193 + 17 / 81) / 2)
    # log-odds of log 3 are a probability of 3/4
    share = (128 + 16) / 512
    expected = -share * np.log(0.75) - (1 - share) * np.log(0.25)
    overlap = [(2 * 0.75 * n + 1) / (256 * 0.5625 + n + 1) for n in (128, 16)]
    assert mask_loss(zero + np.log(3), mask).item() == pytest.approx(expected + 1 - sum(overlap) / 2)


def test_no_gradient_reaches_the_image_outside_of_the_face() -> None:
    mask, generator = half_masks(), torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 16, 16, generator=generator)
    y = torch.rand(2, 3, 16, 16, generator=generator).requires_grad_()
    logits = torch.randn(2, 1, 16, 16, generator=generator).requires_grad_()
    protocol = Protocol(l2_weight=100.0, mask_weight=1.0, ssim_window="gaussian", ssim_size=9)
    parts = loss_parts(y, x, torch.zeros(2, 4), torch.zeros(2, 4), protocol, mask, logits)
    parts.total.backward()
    outside = (mask == 0)[:, None].expand_as(y)
    pasted = torch.where(mask[:, None] == 1, y, x)
    assert torch.equal(pasted[outside], x[outside])
    assert torch.equal(pasted[~outside], y[~outside])
    assert torch.equal(y.grad[outside], torch.zeros(int(outside.sum())))
    assert (y.grad[~outside] != 0).float().mean() > 0.99
    assert (logits.grad != 0).all()


@pytest.mark.parametrize("mask_weight", [0.0, 0.7])
def test_the_whole_loss_by_hand(mask_weight: float) -> None:
    mask = half_masks()
    x, y = torch.full((2, 3, 16, 16), 0.5), torch.full((2, 3, 16, 16), 0.25)
    mean, log_var = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2, 2)
    weights = {"ssim_weight": 0.0, "l1_weight": 4.0, "l2_weight": 100.0, "kl_weight": 0.5, "kl_mean": True}
    protocol = Protocol(**weights, mask_weight=mask_weight)
    given = (mask, torch.zeros(2, 1, 16, 16)) if mask_weight else (None, None)
    parts = loss_parts(y, x, mean, log_var, protocol, *given)
    share = (128 + 16) / 512 if mask_weight else 1.0  # of pixels that differ
    kl = (0.5 * 1 + 0.5 * 4) / 2 / 2  # mean over images and dimensions
    masks = np.log(2) + 1 - (129 / 193 + 17 / 81) / 2
    expected = [4 * 0.25 * share + 100 * 0.0625 * share + 0.5 * kl + mask_weight * masks]
    pasted = torch.where(mask[:, None] == 1, y, x) if mask_weight else y
    expected += [ssim(x, pasted).item(), 0.25 * share, kl, 0.0625 * share, *([masks] if mask_weight else [])]
    assert [value.item() for value in parts] == pytest.approx(expected, rel=1e-5)
    assert parts.kl.item() == pytest.approx(kl_per_dim(mean, log_var).mean().item())


def test_each_gradient_is_clipped_by_itself() -> None:
    gradients = [torch.tensor([3.0, 4.0]), torch.tensor([[0.3, -0.4]]), torch.zeros(3)]
    clip_each(gradients, 0.5)
    torch.testing.assert_close(gradients, [torch.tensor([0.3, 0.4]), torch.tensor([[0.3, -0.4]]), torch.zeros(3)])


def test_a_step_clips_each_parameter_and_logs_the_norm_before() -> None:
    protocol = Protocol(**HYPOTHESES["L2, mask"])
    x, mask = torch.rand(4, 3, 19, 19), (torch.rand(4, 19, 19) > 0.5).float()
    seen: dict[str, list[Tensor]] = {}
    for name, limit in (("clipped", protocol.clip_norm), ("free", 0.0)):
        learner = Learner(build(TINY, seed=0), Protocol(**{**protocol.to_dict(), "clip_norm": limit}), torch.device("cpu"))
        kept: list[Tensor] = []
        learner.optimizer.register_step_pre_hook(
            lambda opt, *_, kept=kept: kept.extend(p.grad.clone() for group in opt.param_groups for p in group["params"])
        )
        torch.manual_seed(0)
        values = dict(zip(columns(protocol), learner.step(x, mask).tolist(), strict=True))
        seen[name] = [*kept, torch.tensor(values["grad_norm"])]
    *clipped, norm = seen["clipped"]
    *free, same = seen["free"]
    assert norm == same == pytest.approx(sum(g.double().square().sum().item() for g in free) ** 0.5, rel=1e-5)
    lengths = [g.norm().item() for g in free]
    assert min(lengths) < 1e-3 < max(lengths)  # some are clipped, and some are not
    for g, whole, length in zip(clipped, free, lengths, strict=True):
        torch.testing.assert_close(g, whole * min(1, 1e-3 / length))


# --- training


def faces(num: int = 26, side: int = 19) -> Dataset:
    """Discs of one colour on waves, and their masks."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:side, 0:side]
    waves = 0.5 + 0.5 * np.sin(random.uniform(0.3, 1.5, (num, 3, 1, 1)) * x + random.uniform(0, 6, (num, 3, 1, 1)) * (y + 1))
    centres = random.uniform(0.35 * side, 0.65 * side, (2, num, 1, 1))
    masks = (x - centres[0]) ** 2 + (y - centres[1]) ** 2 < (0.3 * side) ** 2
    colours = random.uniform(0.2, 0.8, (num, 3, 1, 1)) + 0.1 * np.cos(x / 3)
    images = np.where(masks[:, None], colours, waves)
    return Dataset(
        name="folder", images=(255 * images.clip(0, 1)).astype(np.uint8), names=tuple(map(str, range(num))), fingerprint="0" * 16,
        masks=masks.astype(np.uint8),
    )  # fmt: skip


SPLIT = Split(train=np.arange(3, 17), validation=np.arange(17, 22), test=np.arange(22, 26))  # 14 images: batches of 4, 4, 4, 2


def fit(model: nn.Module | None = None, protocol: Protocol = MASK_PROTOCOL, **options: Any) -> TrainResult:
    data = options.pop("dataset", None) or faces()
    return train(build(TINY, seed=0) if model is None else model, data, SPLIT, protocol, seed=0, **options)


def without_clocks(result: TrainResult) -> list[dict[str, Any]]:
    return [{key: value for key, value in epoch.items() if key not in CLOCKS} for epoch in result.epochs]


def stop_before(step: int) -> Callable[[], bool]:
    asked = iter(range(1, 10**6))
    return lambda: next(asked) == step


def test_training_with_masks_learns_and_its_log_adds_up() -> None:
    model = build(TINY, seed=0)
    protocol = Protocol(**{**MASK_PROTOCOL.to_dict(), "epochs": 18, "patience": 18})
    losses: list[float] = []
    result = fit(model, protocol, step_losses=losses)
    first, last = result.epochs[0], result.epochs[-1]
    assert last["val_loss"] < 0.75 * first["val_loss"]
    assert last["val_mask"] < 0.6 * first["val_mask"]
    for kind in ("train", "val"):
        parts = {name: first[f"{kind}_{name}"] for name in ("loss", "ssim", "l2", "kl", "mask")}
        total = 1 - parts["ssim"] + 100 * parts["l2"] + 1e-3 * parts["kl"] + parts["mask"]
        assert parts["loss"] == pytest.approx(total, rel=1e-5)
    assert first["train_loss"] == pytest.approx((4 * sum(losses[:3]) + 2 * losses[3]) / 14)
    assert sum(first["kl_per_dim"]) / 4 == pytest.approx(first["val_kl"], rel=1e-5)
    quality = evaluate(model, faces(), SPLIT.validation, protocol=protocol, batch_size=4)
    best = result.epochs[result.best_epoch - 1]
    assert quality["replica"]["mask"] == pytest.approx(best["val_mask"], rel=0.2)
    assert quality["replica"]["ssim_size"] == 9
    # the predicted mask finds the face on images that were not trained on
    x = torch.from_numpy(faces().images[SPLIT.test]).float() / 255
    with torch.no_grad():
        predicted = model.eval().decode_mask(model.encode(x)[0])[:, 0]
    assert dice(predicted, torch.from_numpy(faces().masks[SPLIT.test]).float()).min() > 0.6


def test_reporting_is_of_the_raw_image() -> None:
    model = build(TINY, seed=0).eval()
    x = torch.from_numpy(faces().images[SPLIT.test]).float() / 255
    with torch.no_grad():
        expected = (model.decode(model.encode(x)[0]) - x).abs().mean((1, 2, 3))
    np.testing.assert_allclose(evaluate_images(model, faces(), SPLIT.test)["l1"], expected.numpy(), rtol=1e-5)


@pytest.mark.parametrize("steps", [(1, 1), (3, 4), (5, 7)])
def test_stopped_and_continued_run_with_masks_is_the_same_bit_for_bit(tmp_path: Path, steps: tuple[int, int]) -> None:
    expected = fit(expected_model := build(TINY, seed=0))
    for step in steps:
        assert fit(checkpoint_dir=tmp_path, should_stop=stop_before(step)).interrupted
    result = fit(model := build(TINY, seed=9), checkpoint_dir=tmp_path)
    assert without_clocks(result) == without_clocks(expected)
    assert result.resumed_from_epoch == (sum(steps) - 2) // 4
    for (name, value), other in zip(model.state_dict().items(), expected_model.state_dict().values(), strict=True):
        assert torch.equal(value, other), name


@pytest.mark.parametrize("options", [{"precision": "bfloat16"}, {"precision": "float16"}, {"memory_format": "contiguous"}])
def test_options_change_speed_and_not_the_training(options: dict[str, Any]) -> None:
    expected, result = fit(), fit(protocol=Protocol(**{**MASK_PROTOCOL.to_dict(), **options}))
    for ours, theirs in zip(result.epochs, expected.epochs, strict=True):
        for name in ("train_loss", "val_loss", "train_mask"):
            assert ours[name] == pytest.approx(theirs[name], rel=3e-2)


@pytest.mark.parametrize("name", [name for name in HYPOTHESES if not name.endswith(MASKED)])
def test_losses_equal_those_of_the_plain_loop(tmp_path: Path, name: str) -> None:
    data, paths = faces(), []
    for number, image in enumerate(data.images):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(image.transpose(1, 2, 0)).save(paths[-1])
    spec, protocol, losses = TINY.replace(mask_width=0), Protocol(epochs=1, batch_size=4, **HYPOTHESES[name]), list[float]()
    train(build(spec, seed=1), data, SPLIT, protocol, seed=5, step_losses=losses)
    plain = naive_train_epoch(build(spec, seed=1), paths, SPLIT.train, protocol, 5, "cpu", image_size=19)
    np.testing.assert_allclose(losses, plain, rtol=2e-4)
    with pytest.raises(InputError, match="mask_weight must be 0 for the plain loop"):
        naive_train_epoch(build(TINY), paths, SPLIT.train, MASK_PROTOCOL, 5, "cpu", image_size=19)


def test_masks_travel_with_their_images() -> None:
    data = faces(6)
    images = Images(data, np.array([5, 1, 2]), torch.device("cpu"), masks=True, channels_last=True)
    (x, mask), (y, last) = images.pairs(2, torch.tensor([2, 0, 1]))
    np.testing.assert_array_equal(mask.numpy(), data.masks[[2, 5]])
    np.testing.assert_array_equal(last.numpy(), data.masks[[1]])
    np.testing.assert_array_equal(x.numpy(), data.images[[2, 5]].astype(np.float32) / 255)
    assert (mask.dtype, y.shape) == (torch.float32, (1, 3, 19, 19))
    assert [m for _, m in Images(data, np.arange(6), torch.device("cpu")).pairs(4)] == [None, None]


def test_what_is_missing_is_told_in_one_line() -> None:
    bare = Dataset(name="celeba", images=faces().images, names=faces().names, fingerprint="0" * 16)
    no_masks = r"^The data set must be one with face masks, since mask_weight is not 0\. Got 'celeba' instead\. Use rendered faces"
    no_decoder = r"^mask_weight must be 0 for a network without a mask decoder\. Got 1\.0 instead\. Take .* `toledo_mask`"
    plain = build(TINY.replace(mask_width=0), seed=0)
    for message, model, data in ((no_masks, build(TINY), bare), (no_decoder, plain, faces())):
        with pytest.raises(InputError, match=message):
            fit(model, dataset=data)
        with pytest.raises(InputError, match=message):
            evaluate(model, data, SPLIT.test, protocol=MASK_PROTOCOL)
    fast = prepared(randomised(build(TINY)), ["fold"], example(build(TINY), 1))
    with pytest.raises(InputError, match=no_decoder):
        evaluate(fast, faces(), SPLIT.test, protocol=MASK_PROTOCOL)


def test_a_mask_decoder_that_is_not_trained_is_said(tmp_path: Path) -> None:
    protocol = Protocol(epochs=2, batch_size=4, ssim_window="gaussian")
    model, fresh = build(TINY, seed=0), build(TINY, seed=0)
    assert fit(model, protocol, checkpoint_dir=tmp_path, should_stop=stop_before(6)).interrupted
    assert fit(model, protocol, checkpoint_dir=tmp_path).notes == (loop_module.UNTRAINED_MASKS,)
    assert all(map(torch.equal, model.mask_decoder.parameters(), fresh.mask_decoder.parameters()))
    assert not torch.equal(next(model.parameters()), next(fresh.parameters()))
    assert fit(build(TINY.replace(mask_width=0), seed=0), protocol).notes == ()


# --- what was stored before


OLD = (
    "epochs=10, batch_size=32, learning_rate=0.0001, patience=5, ssim_window=uniform, ssim_weight=1.0, l1_weight=0.5, "
    "kl_weight=0.001, split_seed=42, precision=float32, memory_format=auto, compile=False"
)


def test_identity_of_a_checkpoint_of_the_papers_protocol_is_as_it_was(tmp_path: Path) -> None:
    assert Protocol().in_words() == OLD
    assert Protocol(l2_weight=2.0, kl_mean=True).in_words() == OLD + ", l2_weight=2.0, kl_mean=True"
    assert columns(Protocol()) == ("loss", "ssim", "l1", "kl", "grad_norm")
    fit(build(TINY), Protocol(epochs=1), checkpoint_dir=tmp_path, should_stop=stop_before(2))
    stored = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert stored["identity"]["protocol"] == OLD.replace("epochs=10", "epochs=1")
    assert stored["history"].shape == (1, 5)


def stored_config(**changes: Any) -> dict[str, Any]:
    """A study's config as it was stored before the later fields existed."""
    space = {"name": "s", "base": preset("small").to_dict(), "factors": {"head": {"pooled": {"head": "pooled"}}}}
    config = StudyConfig(
        name="s", space=space, data={"name": "faces"}, fingerprint="0", protocol={**Protocol().to_dict(), **changes}
    )
    values = config.to_dict()
    assert set(LATER) <= set(values["protocol"])
    values["protocol"] = {name: value for name, value in values["protocol"].items() if name not in LATER}
    values["space"]["base"] = {k: v for k, v in values["space"]["base"].items() if k not in ("architecture", "mask_width")}
    return values


def test_a_stored_study_without_the_later_settings_goes_on() -> None:
    old = StudyConfig.from_dict(stored_config())
    wanted = StudyConfig(
        name="s", space={**old.space, "base": preset("small").to_dict()}, data={"name": "faces"}, fingerprint="0",
        protocol=Protocol().to_dict(), seeds=2,
    )  # fmt: skip
    assert old.training_protocol() == Protocol()
    assert reconcile_config(old, wanted, "here").seeds == 2
    other = StudyConfig.from_dict({**wanted.to_dict(), "protocol": Protocol(ssim_size=9).to_dict()})
    with pytest.raises(InputError, match=r"another protocol\.ssim_size: it must be 11\. Got 9 instead"):
        reconcile_config(old, other, "here")


def test_wrong_settings_are_told_in_one_line() -> None:
    wrong = {
        "ssim_size": (7, r"^ssim_size must be one of 9, 11\. Got 7"),
        "kl_mean": (1, r"^kl_mean must be true or false\. Got 1"),
        "mask_weight": (-1, r"^mask_weight must be zero or a positive number\. Got -1"),
        "l2_weight": (float("nan"), r"^l2_weight must be zero or a positive number\. Got nan"),
        "clip_norm": ("1", r"^clip_norm must be a number\. Got '1'"),
    }
    assert set(wrong) == set(LATER)
    for name, (value, message) in wrong.items():
        with pytest.raises(InputError, match=message):
            Protocol(**{name: value})


# --- the study


def test_ten_hypotheses() -> None:
    losses = ["L1", "L1 + SSIM", "L2", "L2 + SSIM", "SSIM"]
    assert list(HYPOTHESES) == [name + suffix for name in losses for suffix in ("", ", mask")]
    for name, changes in HYPOTHESES.items():
        protocol = Protocol(**changes)
        assert protocol.ssim_weight == ("SSIM" in name)
        assert protocol.l1_weight == 4 * ("L1" in name)
        assert protocol.l2_weight == 100 * ("L2" in name)
        assert protocol.mask_weight == ("mask" in name)
        common = (protocol.ssim_window, protocol.ssim_size, protocol.kl_weight, protocol.kl_mean, protocol.clip_norm)
        assert common == ("gaussian", 9, 1e-3, True, 1e-3)
        assert (protocol.learning_rate, protocol.batch_size) == (1e-4, 32)
        assert network_of(name) == preset("toledo_mask" if "mask" in name else "toledo")
        assert network_of(name, 48, small=True) == preset("small_toledo_mask" if "mask" in name else "small_toledo")
    code = "import sys, studies.paper.hypotheses; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("size", [2, 5, 16, 32, 63, 64, 96, 128, 256, 511])
def test_the_network_at_other_sizes(size: int) -> None:
    for name in ("toledo_mask", "small_toledo"):
        spec = at_size(preset(name), size)
        halvings = len(bin(size)) - 3
        assert len(spec.encoder_widths) == len(spec.decoder_widths) == halvings
        assert spec.encoder_widths[-1] == preset(name).encoder_widths[-1]
        assert spec.decoder_widths[-1] == preset(name).decoder_widths[-1]
        reconstruction, mean, _ = on_meta(spec)(torch.empty(2, 3, size, size, device="meta"))
        assert (reconstruction.shape, mean.shape) == ((2, 3, size, size), (2, spec.latent_dim))
    assert at_size(preset("toledo"), 96).encoder_widths == (32, 64, 128, 256, 256, 512)
    assert at_size(preset("toledo"), 256).decoder_widths == (256, 256, 256, 256, 128, 64, 32, 32)
