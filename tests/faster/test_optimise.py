"""`optimise`: every registered piece through every step against the eager network; choices, refusals, immutability."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from ablation.design.compose import VAE, build
from ablation.design.spec import PIECE_FIELDS, ModelSpec, preset
from ablation.faster import optimise as module
from ablation.faster.optimise import errors, example, likely_stacks, optimise, prepared
from ablation.faster.steps import REWRITES, RULES
from ablation.measure.latency.compare import compare_latency
from blocks import FAMILIES
from blocks.errors import InputError
from tests.builders import randomised

CPU = torch.device("cpu")
SMALL = preset("small").replace(image_size=32, latent_dim=8)
MODIFIED = preset("small_modified").replace(image_size=32, latent_dim=8)
EVERYTHING = (*RULES, "channels_last")


def network(spec: ModelSpec, seed: int = 0) -> VAE:
    model = randomised(build(spec, seed=seed), seed)
    assert isinstance(model, VAE)
    return model


# beside those of one piece
SWAPS: dict[str, dict[str, object]] = {
    "bottleneck": {"dense_bottleneck": True},
    "depth": {"depth": 2, "connectivity": "residual"},
    "transposed": {"transposed": True},
}


def swaps() -> list[tuple[str, ModelSpec]]:
    """Both small presets, every registered piece in every place of each, and what only comes out in combination."""
    result = {f"{field}={piece}": {field: piece} for field, family in PIECE_FIELDS.items() for piece in FAMILIES[family].names()}
    specs = [
        (f"{base} {name}", spec, change)
        for base, spec in (("small", SMALL), ("modified", MODIFIED))
        for name, change in {**result, **SWAPS}.items()
    ]
    return [(name, spec.replace(**change)) for name, spec, change in specs]


@pytest.mark.parametrize(("name", "spec"), [pytest.param(name, spec, id=name) for name, spec in swaps()])
def test_every_piece_keeps_its_outputs_under_all_rewrites(name: str, spec: ModelSpec) -> None:
    model = network(spec)
    x = example(model, 3)
    made = prepared(model, EVERYTHING, x)
    with torch.inference_mode():
        torch.testing.assert_close(made.encode(x), model.encode(x), atol=1e-4, rtol=1e-4)
        z = torch.randn(3, 8)
        torch.testing.assert_close(made.decode(z), model.decode(z), atol=1e-4, rtol=1e-4)
    assert made.max_error < 1e-4


@pytest.mark.parametrize("step", [*RULES, "channels_last"])
@pytest.mark.parametrize("spec", [SMALL, MODIFIED], ids=["small", "modified"])
def test_every_step_alone(step: str, spec: ModelSpec) -> None:
    model = network(spec, 1)
    assert max(prepared(model, [step], example(model, 1)).errors.values()) < 1e-4


@pytest.mark.parametrize("spec", [SMALL, MODIFIED], ids=["small", "modified"])
def test_bfloat16_within_its_stated_tolerance(spec: ModelSpec) -> None:
    model = build(spec, seed=0)
    made = optimise(model, steps=["bf16"])
    assert 0 < made.max_error < module.TOLERANCE["bfloat16"]
    reconstruction, mean, log_var = made(example(model, 2))
    assert log_var is not None
    assert {reconstruction.dtype, mean.dtype, log_var.dtype} == {torch.float32}


def test_mean_only_is_compared_with_the_mean() -> None:
    model = network(MODIFIED)
    x = example(model, 2)
    made = prepared(model, ["mean only"], x)
    reconstruction, _, log_var = made(x)
    assert log_var is None
    assert made.errors == {"reconstruction": 0.0, "mean": 0.0}
    with torch.inference_mode():
        assert torch.equal(reconstruction, model.decode(model.encode(x)[0]))
    torch.manual_seed(1)
    assert torch.equal(made(x)[0], made(x)[0])


def test_the_noise_is_that_of_the_model() -> None:
    model = network(MODIFIED)
    x = example(model, 3)
    made = optimise(model, steps=REWRITES)
    with torch.inference_mode():
        torch.manual_seed(5)
        expected = model(x)[0]
        torch.manual_seed(5)
        torch.testing.assert_close(made(x)[0], expected, atol=1e-5, rtol=0)
        assert (made(x)[0] - expected).abs().max() > 1e-4  # it samples


def test_an_error_is_found() -> None:
    model = network(MODIFIED)
    x = example(model, 1)
    made = prepared(model, ["fold"], x)
    with torch.no_grad():
        next(made.output.parameters()).add_(0.5)
    assert errors(model, made, x)["reconstruction"] > 1e-3
    with torch.no_grad():
        next(made.output.parameters()).fill_(float("nan"))
    assert errors(model, made, x)["reconstruction"] == float("inf")


def test_the_given_model_stays_as_it_is() -> None:
    model = network(MODIFIED).train()
    state = copy.deepcopy(model.state_dict())
    optimise(model, steps=EVERYTHING)
    assert model.training
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), state.values(), strict=True))


def test_choosing_by_measurement() -> None:
    model = network(MODIFIED)
    made = optimise(model, compile=False, budget_s=1)
    stacks = likely_stacks(CPU, compile=False)
    assert {frozenset(candidate.steps) for candidate in made.measured} == {frozenset(steps) for steps in stacks}
    gains = {frozenset(c.steps): c.gain for c in made.measured}
    assert gains[frozenset(made.steps)] == max(gains.values())
    assert made.max_error < 1e-4


def test_a_remedy_that_fails_or_errs_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    def unusable(*_: object, **__: object) -> None:
        raise RuntimeError("no working C++ compiler\nat some length")

    monkeypatch.setattr(torch, "compile", unusable)
    model = network(MODIFIED)
    made = optimise(model, budget_s=1, precision="bfloat16", tolerance=1e-4)
    assert "compile" not in made.steps
    assert "bf16" not in made.steps
    for candidate in made.measured:
        if "compile" in candidate.steps:
            assert candidate.reason == "RuntimeError: no working C++ compiler"
            assert candidate.gain is None
        elif "bf16" in candidate.steps:
            assert "over the tolerance 0.0001" in candidate.reason
        else:
            assert candidate.reason == ""


def test_compiled_outputs() -> None:
    model = network(SMALL)
    made = optimise(model, steps=[*REWRITES, "fast ELU", "compile", "channels_last"])
    assert made.max_error < 1e-4
    assert made.prepare_s > 0.1


def test_the_interface_and_what_cannot_be_changed() -> None:
    model = network(MODIFIED)
    made = optimise(model, steps=EVERYTHING)
    assert made.spec == model.spec
    assert [name for name, _ in made.named_children()] == list(made.parts) == list(VAE.parts)
    assert copy.deepcopy(made) is made
    assert made.to("cpu") is made
    assert made.eval() is made
    with pytest.raises(InputError, match="evaluation"):
        made.train()
    with pytest.raises(InputError, match="optimised"):
        made.to("meta")
    x = example(model, 2)
    with torch.inference_mode():
        mean, _ = made.encode(x)
        z = made.stem(mean)
        torch.testing.assert_close(made.output(made.decoder_body(z)), made.decode(mean))
    times = compare_latency({"eager": model, "fast": made}, rounds=(2, 3), budget_s=0.5)
    assert not times["fast"].failed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": ["folded"]}, "A step must be one of fold"),
        ({"steps": "fold"}, "sequence of names"),
        ({"steps": ["CUDA graph"]}, "CUDA device"),
        ({"steps": ["compile", "max-autotune"]}, "compiles too"),
        ({"batch_size": 0}, "batch_size"),
        ({"precision": "float16"}, "precision"),
        ({"budget_s": 0}, "budget_s"),
        ({"device": "tpu"}, "device"),
        ({"steps": ["bf16"], "tolerance": 1e-9}, "largest error"),
    ],
)
def test_wrong_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        optimise(build(SMALL), **arguments)  # type: ignore[arg-type]


def test_a_module_that_is_no_vae() -> None:
    with pytest.raises(InputError, match="VAE"):
        optimise(nn.Linear(1, 1))


def test_stacks_for_a_gpu_end_in_one_launch() -> None:
    stacks = likely_stacks(torch.device("cuda"), precision="bfloat16")
    assert stacks[0] == ()
    assert all("CUDA graph" in steps for steps in stacks[1:])
    assert any("bf16" in steps for steps in stacks)
