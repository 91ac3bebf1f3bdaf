"""The chain of convolutions down to one pixel and back: every shape and number by hand, and its function computed a second time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ablation import build, preset
from ablation.attribute.factorial import Factorial
from ablation.design.compose import VAE
from ablation.design.spec import FIELDS, ModelSpec
from ablation.faster.optimise import example, prepared
from ablation.faster.steps import RULES
from ablation.measure.costs.published import published_cost
from ablation.measure.costs.static import static_cost
from ablation.measure.latency.compare import compare_latency
from blocks.errors import InputError
from tests.blocks.test_architectures import assert_parts_add_up
from tests.builders import TINY_MASK as TINY
from tests.builders import keras_params, num_params, on_meta, randomised

Shape = tuple[int, ...]


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
    # by torch's count, without the running means and variances of 1984 + 2048 channels, and of 14 x 32 more
    assert [num_params(net) for net in (without, model)] == [9_067_395 - 2 * 4032, 9_337_188 - 2 * (4032 + 448)]
    assert keras_params(without) == 9_067_395
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
              "head": "pooled", "up": "bilinear", "kernel_size": 5, "transposed": False, "dense_bottleneck": True,
              "stem": "space_to_depth", "end": "depth_to_space",
              "latent_stem": "squeezed", "attention": "squeeze_excitation", "innermost_resampling": False}  # fmt: skip
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
    factorial = Factorial.between(preset("small_toledo"), preset("small_toledo_mask"))
    assert factorial.names == ("mask width",)
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


# --- what the suite does with it


@pytest.mark.parametrize("name", ["small_toledo", "small_toledo_mask"])
def test_costs_agree_with_fvcore_and_a_mask_decoder_only_adds_parameters(name: str) -> None:
    static, published = static_cost(preset(name)), published_cost(build(preset(name)))
    assert (published.conv_linear_flops, published.params) == (static.macs, static.params)
    assert set(static.by_part) == {*VAE.parts, "other"}
    plain = static_cost(preset("small_toledo"))
    more = num_params(build(preset(name)).mask_decoder) if name.endswith("mask") else 0
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
