"""The tolerance: steps and modes whose outputs differ are refused, and errors stand beside their own network."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ablation.explain import modes
from ablation.explain.modes import MODES, ModeResult, run_modes
from ablation.explain.remedies import rank_remedies
from ablation.faster import optimise as module
from ablation.faster.optimise import example, optimise, prepared
from ablation.faster.rewrite import Layers
from ablation.faster.steps import RULES
from blocks.errors import InputError
from tests.faster.test_optimise import MODIFIED, SMALL, network


def other_pooling(kind: type[nn.Module], other: type[nn.Module]) -> Callable[[Layers], Layers]:
    """A rule that computes something else where there is pooling of one kind."""
    return lambda layers: [other(2) if type(layer) is kind else layer for layer in layers]


# the small preset pools by maximum, the modified one by mean
FIRST_BROKEN = other_pooling(nn.MaxPool2d, nn.AvgPool2d)
SECOND_BROKEN = other_pooling(nn.AvgPool2d, nn.MaxPool2d)


def test_a_step_that_computes_something_else_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, "pool first", SECOND_BROKEN)  # type: ignore[arg-type]
    model = network(MODIFIED)
    # mean and log-variance show it, whatever the decoder makes of z
    nn.init.zeros_(next(model.stem.parameters()))
    with pytest.raises(InputError, match=r"largest error must be at most 0.001 \(tolerance\)[^\n]* Leave out pool first\.$"):
        optimise(model, steps=["fold", "pool first", "flip"])
    made = optimise(model, compile=False, budget_s=1)
    assert "pool first" not in made.steps
    for candidate in made.measured:
        if "pool first" in candidate.steps:
            assert "(log_var) over the tolerance 0.001" in candidate.reason or "(mean) over" in candidate.reason
            assert candidate.max_error is not None
            assert candidate.max_error > 1e-3
            assert candidate.gain is None


def test_the_tolerance_of_bfloat16_is_for_stacks_that_compute_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOLERANCE", {"float32": 1e-12, "bfloat16": 5e-2})
    made = optimise(network(MODIFIED), precision="bfloat16", compile=False, budget_s=1)
    for candidate in made.measured:
        refused = "over the tolerance" in candidate.reason
        assert refused == bool(candidate.steps and "bf16" not in candidate.steps)


class Unrepeatable(nn.Module):
    """Counts where nobody can put it back."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = [0]

    def forward(self, x: Tensor) -> Tensor:
        self.calls[0] += 1
        return x + self.calls[0]


def test_a_network_that_never_repeats_is_refused() -> None:
    model = network(SMALL)
    model.output = nn.Sequential(model.output, Unrepeatable())
    with pytest.raises(InputError, match="repeat under one seed"):
        optimise(model, compile=False, budget_s=1)


def test_a_network_of_another_precision_is_refused() -> None:
    with pytest.raises(InputError, match=r"float32\. Got 'torch\.float64'"):
        optimise(network(SMALL).double())


@pytest.mark.parametrize(("broken", "which"), [(FIRST_BROKEN, "first"), (SECOND_BROKEN, "second")])
def test_a_mode_that_changes_outputs_is_neither_timed_nor_recommended(
    monkeypatch: pytest.MonkeyPatch, broken: Callable[[Layers], Layers], which: str
) -> None:
    monkeypatch.setitem(RULES, "fold", broken)  # type: ignore[arg-type]
    results = {r.mode: r for r in run_modes(network(SMALL), network(MODIFIED), names=["folded"], budget_s=2, rounds=(2, 3))}
    assert results["folded"].reason.startswith(f"{which} network: largest error")
    assert "network" not in results["folded"].reason.removeprefix(f"{which} network")
    assert (results["folded"].ratio, results["folded"].second_gain) == (None, None)
    assert rank_remedies(results.values()) == ()


def test_an_error_stands_beside_its_own_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, "fold", FIRST_BROKEN)  # type: ignore[arg-type]
    monkeypatch.setattr(modes, "beyond", lambda made: "")
    first, second = network(SMALL), network(MODIFIED)
    [result] = [r for r in run_modes(first, second, names=["folded"], budget_s=2, rounds=(2, 3)) if r.mode == "folded"]
    x = example(first, 1)
    errors = [prepared(model, ["fold"], x).max_error for model in (first, second)]
    assert [result.first_max_error, result.max_error] == errors
    assert errors[0] > 1e-3
    assert errors[1] < 1e-5


def test_only_modes_of_the_same_outputs_are_remedies() -> None:
    def mode(name: str, error: float | None) -> ModeResult:
        return ModeResult(mode=name, text=MODES[name].text, second_gain=2.0, second_gain_low=1.9, max_error=error)

    given = [mode("folded", 0.3), mode("reordered", 1e-6), mode("bf16", 0.02), mode("channels_last", None)]
    assert [(r.name, r.max_error) for r in rank_remedies(given)] == [("reordered", 1e-6), ("bf16", 0.02)]


def test_errors_of_latents_are_shares_of_their_size() -> None:
    assert module.difference(torch.tensor([7.9, 0.0]), torch.tensor([-8.0, 8.0])) == pytest.approx(15.9 / 8)
    assert module.difference(torch.tensor([0.2]), torch.tensor([0.5])) == pytest.approx(0.3)
    assert module.difference(torch.zeros(2), torch.zeros(3)) == float("inf")
