"""Modules and parameters that stand in several places, and layers that are more than they look: rewritten right, or left alone."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from ablation.design.compose import VAE
from ablation.design.spec import ModelSpec
from ablation.faster.dense_buffer import BufferedDenseBlock, without_concatenation
from ablation.faster.fold import act_in_place, fast_elu, flip_transposed, fold_batch_norm
from ablation.faster.optimise import example, optimise, prepared
from ablation.faster.reorder import UpsampledDense, pool_first, upsample_late
from ablation.faster.rewrite import Layers, flat, rewrite
from ablation.faster.steps import RULES
from ablation.machine.device import keeping_buffers
from blocks.connectivity import DenseBlock, Residual
from blocks.conv.basic import pointwise_first
from blocks.heads import GaussianHead
from tests.builders import randomised
from tests.faster.test_fold import CLOSE, dense
from tests.faster.test_optimise import EVERYTHING, MODIFIED, SMALL, network

RESIDUAL = SMALL.replace(connectivity="residual", depth=2)
SPECS = {"small": SMALL, "modified": MODIFIED, "residual": RESIDUAL, "bottleneck": MODIFIED.replace(dense_bottleneck=True)}


def replaced(model: nn.Module, new: Callable[[nn.Module], nn.Module | None]) -> None:
    """Puts what `new` makes of each submodule in its place; None keeps it."""
    for module in list(model.modules()):
        for name, child in list(module._modules.items()):
            made = None if child is None else new(child)
            if made is not None:
                module._modules[name] = made


def one_activation(model: VAE) -> None:
    elu = nn.ELU()
    replaced(model, lambda child: elu if isinstance(child, nn.ELU) else None)


def one_of_each(model: VAE) -> None:
    """Layers of the same type and sizes are one object everywhere."""
    known: dict[str, nn.Module] = {}

    def new(child: nn.Module) -> nn.Module | None:
        leaf = next(child.children(), None) is None and not isinstance(child, nn.Linear)
        return known.setdefault(repr(child), child) if leaf else None

    replaced(model, new)


def tied_weights(model: VAE) -> None:
    """Layers of one shape share their Parameters, norms but not their statistics."""
    known: dict[tuple[str, torch.Size], nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None and not isinstance(module, nn.Linear):
                setattr(module, name, known.setdefault((name, parameter.shape), parameter))


def one_head(model: VAE) -> None:
    assert isinstance(model.head, GaussianHead)
    model.head.log_var = model.head.mean


SHARING = [one_activation, one_of_each, tied_weights, one_head]


def assert_same(model: VAE, made: nn.Module, x: Tensor) -> None:
    with torch.inference_mode():
        torch.manual_seed(3)
        expected = model(x)
        torch.manual_seed(3)
        torch.testing.assert_close(made(x), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("share", SHARING)
@pytest.mark.parametrize("steps", [*([rule] for rule in RULES), list(EVERYTHING)], ids="+".join)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_what_stands_in_several_places(spec: ModelSpec, steps: list[str], share: Callable[[VAE], None]) -> None:
    model = network(spec, 2)
    share(model)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    made = optimise(model, steps=steps)
    assert made.max_error < 1e-4
    assert_same(model, made, example(model, 3, seed=8))
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_every_place_counts() -> None:
    elu, conv, norm = nn.ELU(), nn.Conv2d(4, 4, 1), randomised(nn.BatchNorm2d(4))
    layers: Layers = [conv, norm, elu, conv, norm, elu, conv, elu]
    assert flat(nn.Sequential(nn.Sequential(*layers[:4]), *layers[4:])) == layers
    changed = fold_batch_norm(layers)
    assert [type(layer) for layer in changed] == [nn.Conv2d, nn.ELU, nn.Conv2d, nn.ELU, nn.Conv2d, nn.ELU]
    # the last has no norm behind it: the shared layer itself stays as it was
    assert changed[4] is conv
    whole = rewrite(nn.Sequential(*layers), list(RULES.values()))
    x = torch.randn(2, 4, 5, 5)
    with torch.inference_mode():
        torch.testing.assert_close(whole(x.clone()), nn.Sequential(*layers)(x.clone()), **CLOSE)


def test_one_norm_behind_two_convolutions_and_one_convolution_before_two_norms() -> None:
    first, second = nn.Conv2d(4, 4, 3, padding=1), nn.ConvTranspose2d(4, 4, 3, padding=1)
    norms = [randomised(nn.BatchNorm2d(4), seed) for seed in range(2)]
    for layers in ([first, norms[0], second, norms[0]], [first, norms[0], first, norms[1]]):
        changed = fold_batch_norm(layers)
        assert len(changed) == 2
        x = torch.randn(2, 4, 5, 5)
        with torch.inference_mode():
            torch.testing.assert_close(nn.Sequential(*changed)(x), nn.Sequential(*layers)(x), **CLOSE)


@pytest.mark.parametrize("rules", [*([rule] for rule in RULES.values()), list(RULES.values())])
def test_one_block_at_two_depths_and_under_two_parents(rules: list[Callable[[Layers], Layers]]) -> None:
    steps = [*dense(pointwise_first, 2), nn.Conv2d(4, 6, 1)]
    block, up = nn.Sequential(*steps), nn.Upsample(scale_factor=2)
    model = nn.Sequential(block, nn.Sequential(nn.ELU(), block), up, *steps, up, block, nn.AvgPool2d(2))
    randomised(model)
    x = torch.randn(2, 6, 4, 4)
    with torch.inference_mode():
        torch.testing.assert_close(rewrite(model, rules)(x.clone()), model(x.clone()), atol=1e-3, rtol=1e-3)


def test_a_shared_piece_is_one_object_in_all_its_places_after_a_rewrite() -> None:
    block = dense(pointwise_first, 2)[0]
    changed = rewrite(nn.Sequential(block, nn.Conv2d(16, 6, 1), block), [fold_batch_norm])
    assert isinstance(changed[0], DenseBlock)
    assert changed[0] is changed[2]


def test_a_dense_block_behind_its_upsampling_keeps_every_place_of_an_activation() -> None:
    steps = [nn.Upsample(scale_factor=2), *dense(pointwise_first, 2, bottleneck=True)]
    elu = nn.ELU()
    replaced(steps[1], lambda child: elu if isinstance(child, nn.ELU) else None)
    randomised(nn.Sequential(*steps))
    changed = upsample_late(steps)
    assert isinstance(changed[0], UpsampledDense)
    x = torch.randn(2, 6, 3, 3)
    with torch.inference_mode():
        torch.testing.assert_close(nn.Sequential(*changed)(x), nn.Sequential(*steps)(x), **CLOSE)


class Doubled(nn.Conv2d):
    """A convolution that computes something else."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Odd(nn.ELU):
    """An activation that computes something else."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) ** 2


class Shift(nn.Identity):
    """No identity."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 1


class AlwaysTraining(nn.Sequential):
    """Norms of the batch's own statistics, also in evaluation mode."""

    def train(self, mode: bool = True) -> AlwaysTraining:
        return super().train(True)


def overridden() -> nn.Module:
    conv = nn.Conv2d(4, 4, 1)
    conv.forward = lambda x: nn.functional.conv2d(x, conv.weight) - 3  # type: ignore[method-assign]
    return conv


LOOKALIKES = {
    "subclass": lambda: Doubled(4, 4, 1),
    "own forward": overridden,
    "weight norm": lambda: parametrizations.weight_norm(nn.Conv2d(4, 4, 1)),
    "spectral norm": lambda: parametrizations.spectral_norm(nn.Conv2d(4, 4, 1)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Conv2d(4, 4, 1)),
}


@pytest.mark.parametrize("make", LOOKALIKES.values(), ids=LOOKALIKES)
def test_what_only_looks_like_a_layer_stays(make: Callable[[], nn.Module]) -> None:
    conv, norm = make().eval(), randomised(nn.BatchNorm2d(4))
    assert fold_batch_norm([conv, norm]) == [conv, norm]
    assert pool_first([conv, nn.AvgPool2d(2)])[0] is conv
    assert upsample_late([nn.Upsample(scale_factor=2), conv])[1] is conv
    assert not act_in_place([conv, nn.ELU()])[1].inplace
    model = nn.Sequential(nn.Upsample(scale_factor=2), conv, norm, nn.ELU(), conv, nn.AvgPool2d(2))
    x = torch.randn(2, 4, 3, 3)
    with torch.inference_mode():
        torch.testing.assert_close(rewrite(model, list(RULES.values()))(x), model.eval()(x), **CLOSE)


def test_lookalikes_of_activations_transposed_layers_and_sequences_stay() -> None:
    odd = Odd()
    assert fast_elu([odd]) == [odd]
    assert upsample_late([nn.Upsample(scale_factor=2), odd])[1] is odd
    transposed = parametrizations.weight_norm(nn.ConvTranspose2d(4, 4, 3, padding=1))
    assert flip_transposed([transposed]) == [transposed]
    training = AlwaysTraining(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)).eval()
    model = nn.Sequential(Shift(), training, odd)
    assert flat(model) == [*model]
    x = torch.randn(2, 4, 3, 3)
    with torch.inference_mode():
        torch.testing.assert_close(rewrite(model, list(RULES.values()))(x), copy.deepcopy(model)(x))


@pytest.mark.parametrize("norm", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_parametrised_networks_keep_their_outputs(norm: Callable[[nn.Module], nn.Module]) -> None:
    model = network(MODIFIED)
    for module in list(model.modules()):
        if isinstance(module, nn.Conv2d):
            norm(module)
    assert_same(model.eval(), optimise(model, steps=EVERYTHING), example(model, 2, seed=9))


def test_a_subclass_of_a_piece_stays() -> None:
    class Clamped(GaussianHead):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            mean, log_var = super().forward(x)
            return mean.clamp(-0.1, 0.1), log_var

    class Halved(Residual):
        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layers[0](x) / 2
            return out

    model = network(RESIDUAL)
    model.head.__class__ = Clamped
    for module in list(model.modules()):
        if isinstance(module, Residual):
            module.__class__ = Halved
    x = example(model, 2)
    assert_same(model, optimise(model, steps=EVERYTHING), x)
    assert prepared(model, ["mean only"], x).max_error == 0


def test_activations_that_overwrite_spare_what_others_read() -> None:
    up, relu, elu = nn.Upsample(scale_factor=2), nn.ReLU(inplace=True), nn.ELU(inplace=True)
    assert not upsample_late([up, relu, nn.MaxPool2d(2)])[0].inplace
    assert relu.inplace
    assert fast_elu([elu]) == [elu]
    block = dense(pointwise_first, 2)[0]
    assert isinstance(block, DenseBlock)
    assert isinstance(without_concatenation([block])[0], BufferedDenseBlock)
    block.layers[0].layers = nn.Sequential(relu, *block.layers[0].layers[1:])
    assert without_concatenation([block]) == [block]


class Counting(nn.Module):
    """Remembers in a buffer how often it ran, and shows it."""

    calls: Tensor

    def __init__(self, assigns: bool) -> None:
        super().__init__()
        self.assigns = assigns
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls = self.calls + 1 if self.assigns else self.calls.add_(1)
        return x * self.calls


class Noisy(nn.Module):
    """Draws in evaluation mode too."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.randn_like(x)


@pytest.mark.parametrize("piece", [Counting(False), Counting(True), Noisy()], ids=["counts", "counts anew", "draws"])
def test_pieces_with_a_state_or_draws_are_compared_like_with_like(piece: nn.Module) -> None:
    model = network(MODIFIED)
    model.encoder_body = nn.Sequential(copy.deepcopy(piece), model.encoder_body, nn.ELU())
    # in the other memory format torch draws the same numbers for other positions, and the step is refused
    made = optimise(model, steps=list(RULES))
    assert made.max_error < 1e-4
    with keeping_buffers(model):
        assert_same(model, made, example(model, 2))
    assert all(buffer.item() == 0 for name, buffer in model.named_buffers() if name.endswith("calls"))


def test_buffers_are_put_back() -> None:
    for piece in (Counting(False), Counting(True)):
        given = piece.calls
        with keeping_buffers(piece), torch.inference_mode():
            assert piece(torch.ones(1)).item() == 1
        assert piece.calls is given
        assert given.item() == 0
