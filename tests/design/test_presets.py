"""The paper's two models: every shape worked out by hand from the paper's facts, and the function computed a second time."""

from __future__ import annotations

import random
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ablation.design.compose import VAE, build
from ablation.design.spec import ModelSpec, preset
from tests.builders import num_params, on_meta

Shape = tuple[int, ...]


def conv(i: int, o: int, k: int) -> list[Shape]:
    """Weight out x in x k x k, and bias."""
    return [(o, i, k, k), (o,)]


def transposed(i: int, o: int, k: int) -> list[Shape]:
    """Weight in x out x k x k, and bias."""
    return [(i, o, k, k), (o,)]


def norm(c: int) -> list[Shape]:
    """Scale and shift."""
    return [(c,), (c,)]


def linear(i: int, o: int) -> list[Shape]:
    """Weight out x in, and bias."""
    return [(o, i), (o,)]


def layer(c: int) -> list[Shape]:
    """A dense layer with growth 32: norm, pointwise to 32, norm, depthwise 3x3."""
    return [*norm(c), (32, c, 1, 1), (32,), (32,), (32,), (32, 1, 3, 3), (32,)]


# part by part, in forward order; 144 / 2^4 = 9, 256 x 9 x 9 = 20,736, 512 x 9 x 9 = 41,472
SHAPES: dict[str, dict[str, list[Shape]]] = {
    "original": {
        "encoder_body": [
            *conv(3, 32, 3), *norm(32),
            *conv(32, 64, 3), *norm(64),
            *conv(64, 128, 3), *norm(128),
            *conv(128, 256, 3), *norm(256),
        ],
        "head": [*linear(20_736, 128), *linear(20_736, 128)],
        "stem": linear(128, 20_736),
        "decoder_body": [
            *transposed(256, 256, 3), *norm(256),
            *transposed(256, 128, 3), *norm(128),
            *transposed(128, 64, 3), *norm(64),
            *transposed(64, 32, 3), *norm(32),
        ],
        "output": transposed(32, 3, 3),
    },
    "modified": {
        "encoder_body": [
            *conv(3, 32, 3), *norm(32),
            *layer(32), *layer(64), *layer(96), *layer(128), *norm(160), *conv(160, 64, 1),
            *layer(64), *layer(96), *layer(128), *layer(160), *norm(192), *conv(192, 128, 1),
            *layer(128), *layer(160), *layer(192), *layer(224), *norm(256), *conv(256, 256, 1),
            *layer(256), *layer(288), *layer(320), *layer(352), *norm(384), *conv(384, 512, 1),
        ],
        "head": [*linear(512, 128), *linear(512, 128)],
        "stem": linear(128, 41_472),
        "decoder_body": [
            *layer(512), *layer(544), *layer(576), *layer(608), *norm(640), *transposed(640, 256, 1),
            *layer(256), *layer(288), *layer(320), *layer(352), *norm(384), *transposed(384, 128, 1),
            *layer(128), *layer(160), *layer(192), *layer(224), *norm(256), *transposed(256, 64, 1),
            *layer(64), *layer(96), *layer(128), *layer(160), *norm(192), *transposed(192, 32, 1),
        ],
        "output": conv(32, 3, 3),
    },
}  # fmt: skip
TOTALS = {"original": 9_352_195, "modified": 6_283_267}
# (convolutions, norms, linear layers) of the encoder body, the head, the stem, and of decoder body and output together
PARTS = {
    "original": ((388_416, 960, 0), (0, 0, 5_308_672), (0, 0, 2_674_944), (978_243, 960, 0)),
    "modified": ((390_464, 8_448, 0), (0, 0, 131_328), (0, 0, 5_349_888), (389_955, 13_184, 0)),
}
KINDS: tuple[Any, ...] = ((nn.Conv2d, nn.ConvTranspose2d), nn.BatchNorm2d, nn.Linear)
both = pytest.mark.parametrize("name", ["original", "modified"])


def by_kind(*parts: nn.Module) -> tuple[int, ...]:
    modules = [m for part in parts for m in part.modules()]
    return tuple(num_params(*(m for m in modules if isinstance(m, kind))) for kind in KINDS)


@both
def test_every_parameter_has_the_shape_of_the_paper(name: str) -> None:
    model = on_meta(preset(name))
    assert tuple(SHAPES[name]) == VAE.parts == tuple(n for n, _ in model.named_children())
    for part, shapes in SHAPES[name].items():
        assert [tuple(p.shape) for p in getattr(model, part).parameters()] == shapes


@both
def test_numbers_of_parameters(name: str) -> None:
    model = on_meta(preset(name))
    parts = (model.encoder_body,), (model.head,), (model.stem,), (model.decoder_body, model.output)
    assert tuple(by_kind(*part) for part in parts) == PARTS[name]
    assert num_params(model) == TOTALS[name] == sum(map(sum, PARTS[name]))


def test_numbers_that_the_paper_and_its_reading_quote() -> None:
    assert num_params(on_meta(preset("original").replace(head="pooled"))) == 4_109_315
    assert [by_kind(on_meta(preset(n)))[::2] for n in TOTALS] == [(1_366_659, 7_983_616), (780_419, 5_481_216)]
    assert round(100 * (1 - num_params(on_meta(preset("modified"))) / num_params(on_meta(preset("original")))), 1) == 32.8


# --- the two models a second time, from the facts alone


class Dense(nn.Module):
    """One dense layer that appends its 32 channels to its input."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.norm1, self.pointwise = nn.BatchNorm2d(c), nn.Conv2d(c, 32, 1)
        self.norm2, self.depthwise = nn.BatchNorm2d(32), nn.Conv2d(32, 32, 3, padding=1, groups=32)

    def forward(self, x: Tensor) -> Tensor:
        new = self.pointwise(nn.functional.elu(self.norm1(x)))
        return torch.cat((x, self.depthwise(nn.functional.elu(self.norm2(new)))), 1)


class Reference(nn.Module):
    """Encoder, two linear layers, decoder."""

    def __init__(self, encoder: nn.Module, features: int, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.mean, self.log_var = nn.Linear(features, 128), nn.Linear(features, 128)
        # registered last, but second in forward order
        self._modules = {k: self._modules[k] for k in ("encoder", "mean", "log_var", "decoder")}

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encoder(x)
        return self.mean(features), self.log_var(features)


def original() -> Reference:
    encoder: list[nn.Module] = []
    for i, o in ((3, 32), (32, 64), (64, 128), (128, 256)):
        encoder += [nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ELU(), nn.MaxPool2d(2)]
    decoder: list[nn.Module] = [nn.Linear(128, 20_736), nn.ELU(), nn.Unflatten(1, (256, 9, 9))]
    for i, o in ((256, 256), (256, 128), (128, 64), (64, 32)):
        decoder += [nn.ConvTranspose2d(i, o, 3, 1, 1), nn.BatchNorm2d(o), nn.ELU(), nn.UpsamplingNearest2d(scale_factor=2)]
    decoder += [nn.ConvTranspose2d(32, 3, 3, 1, 1), nn.Sigmoid()]
    return Reference(nn.Sequential(*encoder, nn.Flatten()), 20_736, nn.Sequential(*decoder))


def modified() -> Reference:
    encoder: list[nn.Module] = [nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ELU()]
    for i, o in ((32, 64), (64, 128), (128, 256), (256, 512)):
        wide = i + 4 * 32
        encoder += [Dense(i), Dense(i + 32), Dense(i + 64), Dense(i + 96)]
        encoder += [nn.BatchNorm2d(wide), nn.ELU(), nn.Conv2d(wide, o, 1), nn.AvgPool2d(2)]
    decoder: list[nn.Module] = [nn.Linear(128, 41_472), nn.ELU(), nn.Unflatten(1, (512, 9, 9))]
    for i, o in ((512, 256), (256, 128), (128, 64), (64, 32)):
        wide = i + 4 * 32
        decoder += [Dense(i), Dense(i + 32), Dense(i + 64), Dense(i + 96)]
        decoder += [nn.BatchNorm2d(wide), nn.ELU(), nn.ConvTranspose2d(wide, o, 1), nn.UpsamplingNearest2d(scale_factor=2)]
    decoder += [nn.Conv2d(32, 3, 3, padding=1), nn.Sigmoid()]
    # the mean over the 9 x 9 positions left
    return Reference(nn.Sequential(*encoder, nn.AvgPool2d(9), nn.Flatten()), 512, nn.Sequential(*decoder))


def awake(model: nn.Module) -> None:
    """Scales, shifts and running statistics away from 1 and 0, so that a norm left out or swapped shows."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in ((module.weight, 0.5), (module.bias, -0.2), (module.running_mean, -0.2), (module.running_var, 0.5)):
                tensor.data.uniform_(low, low + 1 if low > 0 else 0.2)


@both
def test_computes_the_function_of_the_paper(name: str) -> None:
    model, reference = build(preset(name), seed=1), {"original": original, "modified": modified}[name]()
    awake(model)
    values, others = ([*m.parameters(), *m.buffers()] for m in (model, reference))
    for value, other in zip(values, others, strict=True):
        assert value.shape == other.shape
        other.data.copy_(value.data)
    x, z = torch.rand(2, 3, 144, 144), torch.randn(2, 128)
    for training in (True, False):
        model.train(training), reference.train(training)
        with torch.no_grad():
            got, expected = (*model.encode(x), model.decode(z)), (*reference.encode(x), reference.decoder(z))
        assert [tuple(t.shape) for t in got] == [(2, 128), (2, 128), (2, 3, 144, 144)]
        assert all(t.std() > 0.01 for t in expected)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
        torch.testing.assert_close([*model.buffers()], [*reference.buffers()], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_forward_samples_z_in_training_and_evaluation(training: bool) -> None:
    model, x = build(preset("small"), seed=0).train(training), torch.rand(2, 3, 48, 48)
    torch.manual_seed(5)
    reconstruction, mean, log_var = model(x)
    torch.manual_seed(5)
    z = mean + log_var.exp().sqrt() * torch.randn(2, 32)
    torch.testing.assert_close(reconstruction, model.decode(z))
    assert not torch.equal(model(x)[0], model(x)[0])
    assert 0 <= reconstruction.min() <= reconstruction.max() <= 1


def test_build_from_a_seed_repeats_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first, second, third = (build(preset("small"), seed=seed).state_dict() for seed in (7, 7, 8))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(map(torch.equal, first.values(), second.values()))
    assert not torch.equal(first["stem.0.weight"], third["stem.0.weight"])
    # without a seed, from the global generator
    torch.manual_seed(7)
    assert all(map(torch.equal, build(preset("small")).state_dict().values(), first.values()))


# --- every combination between the two


DIFFERENT = (
    "encoder_stem", "encoder_widths", "encoder_connectivity", "encoder_conv", "down",
    "head", "decoder_stem", "decoder_connectivity", "decoder_conv", "transposed",
)  # fmt: skip


def swapped(names: tuple[str, ...]) -> ModelSpec:
    """`original` with some fields as in `modified`."""
    return preset("original").replace(**{name: getattr(preset("modified"), name) for name in names})


def test_the_presets_differ_in_ten_fields() -> None:
    one, other = preset("original").to_dict(), preset("modified").to_dict()
    assert {name for name in one if one[name] != other[name]} == set(DIFFERENT)
    assert swapped(()) == preset("original")
    assert swapped(DIFFERENT) == preset("modified")


def chosen() -> list[tuple[str, ...]]:
    choices = product((False, True), repeat=len(DIFFERENT))
    return [tuple(name for name, taken in zip(DIFFERENT, choice, strict=True) if taken) for choice in choices]


def test_all_1024_combinations_are_valid_and_different_networks() -> None:
    specs = [swapped(names) for names in chosen()]
    assert len({spec.network_key for spec in specs}) == len(specs) == 1024


def sample() -> list[tuple[str, ...]]:
    ends = [names for names in chosen() if len(names) in (0, 1, 9, 10)]
    return ends + random.Random(0).sample([names for names in chosen() if 1 < len(names) < 9], 10)


@pytest.mark.parametrize("names", sample(), ids="-".join)
def test_combinations_build_and_run(names: tuple[str, ...]) -> None:
    model = on_meta(swapped(names))
    reconstruction, mean, log_var = model(torch.empty(2, 3, 144, 144, device="meta"))
    assert (reconstruction.shape, mean.shape, log_var.shape) == ((2, 3, 144, 144), (2, 128), (2, 128))
    # linear layers, by hand: they depend on head, widths and stem alone
    features = (512 if "encoder_widths" in names else 256) * (1 if "head" in names else 81)
    stem = (512 if "decoder_stem" in names else 256) * 81
    assert by_kind(model)[2] == 2 * (features * 128 + 128) + 129 * stem
    kinds = {type(m) for m in model.decoder_body.modules()} | {type(m) for m in model.output.modules()}
    assert (nn.ConvTranspose2d in kinds) == ("transposed" not in names or "decoder_connectivity" in names)
