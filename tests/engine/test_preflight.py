"""Pieces that cannot work are known before anything is trained, and cost nobody but themselves; what works is left alone."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import torch
from torch import Tensor, nn

from ablation.design.compose import build
from ablation.design.protocol import Protocol
from ablation.design.spec import ModelSpec, preset
from ablation.measure.costs.static import static_cost
from blocks import ACTIVATIONS, DOWNS, FAMILIES, HEADS
from blocks.errors import InputError, WriteError
from studies.engine.preflight import check_network
from studies.store.history import read_histories
from studies.store.queue import Job, plan, trial_state
from studies.store.records import records
from studies.store.retry import TrialFailed, may_pass
from studies.work.loop import run_worker
from tests.storages import a_study, values

TINY = preset("small").replace(image_size=16, encoder_widths=(4, 6), decoder_widths=(6, 4), decoder_stem=6, latent_dim=3)


@pytest.fixture(autouse=True)
def _registries(monkeypatch: pytest.MonkeyPatch) -> None:
    # what a test registers is gone after it
    for registry in FAMILIES.values():
        for name in ("_pieces", "_uses"):
            monkeypatch.setattr(registry, name, dict(getattr(registry, name)))


def with_activation(piece: Callable[[], nn.Module]) -> ModelSpec:
    """A tiny network with this activation."""
    ACTIVATIONS.register("own")(piece)
    return TINY.replace(activation="own")


def checked(piece: Callable[[], nn.Module]) -> tuple[str, str]:
    """Reason and note of a network with this activation."""
    finding = check_network(with_activation(piece), Protocol(), "cpu")
    return finding.reason, finding.note


class Identity(nn.Module):
    """Gives what it takes."""

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize("name", ["original", "modified", "small", "toledo"])
def test_networks_of_ours_pass(name: str) -> None:
    spec = preset(name) if name in ("small", "toledo") else preset(name).replace(image_size=32)
    assert check_network(spec, Protocol(), "cpu").reason == ""


def test_a_piece_of_ones_own_passes_and_the_generator_stays() -> None:
    before = torch.get_rng_state()
    assert checked(Identity) == ("", "")
    assert torch.equal(torch.get_rng_state(), before)


class Broken(Identity):
    """Cannot be made."""

    def __init__(self) -> None:
        raise TypeError("no such kernel")


class Smaller(Identity):
    """Leaves out a row and a column."""

    def forward(self, x: Tensor) -> Tensor:
        return x[..., 1:, 1:] if x.dim() == 4 else x


class NotANumber(Identity):
    """Divides zero by zero."""

    def forward(self, x: Tensor) -> Tensor:
        return x * math.nan


@pytest.mark.parametrize(("piece", "words"), [(Broken, "TypeError: no such kernel"), (Smaller, ""), (NotANumber, "not finite")])
def test_a_piece_that_cannot_work_is_known(piece: type[nn.Module], words: str) -> None:
    reason, _ = checked(piece)
    assert words in reason
    assert reason
    assert "\n" not in reason


def test_a_piece_that_changes_the_shape_of_the_image_is_told_by_its_shapes() -> None:
    @HEADS.register("wide", uses=())
    def wide(channels: int, side: int, latent_dim: int, *, head_channels: int) -> nn.Module:
        """One number for all of the log-variance."""
        head = HEADS.get("flatten")(channels, side, latent_dim, head_channels=head_channels)
        head.log_var = nn.Linear(channels * side * side, 1)
        return head

    result = check_network(TINY.replace(head="wide"), Protocol(), "cpu")
    assert "log_var must have the shape (2, 3). Got (2, 1)" in result.reason


def test_a_level_that_cannot_run_at_the_size_is_known() -> None:
    @DOWNS.register("wide_pool")
    def wide_pool(channels: int) -> nn.Module:
        """Needs eight pixels at least."""
        return nn.Sequential(nn.Conv2d(channels, channels, 9), nn.Upsample(scale_factor=1), nn.MaxPool2d(2))

    assert "Kernel size can't be greater" in check_network(TINY.replace(down="wide_pool"), Protocol(), "cpu").reason


def test_a_last_batch_of_one_is_known_where_a_norm_needs_two() -> None:
    toledo = preset("toledo").replace(image_size=32, encoder_widths=(4,) * 5, decoder_widths=(4,) * 5)
    assert check_network(toledo, Protocol(), "cpu").reason == ""
    reason = check_network(toledo, Protocol(), "cpu", last_batch=1).reason
    assert reason == "" or "--batch-size" in reason
    assert check_network(TINY, Protocol(), "cpu", last_batch=1).reason == ""


# --- state outside of parameters and buffers


class Counting(Identity):
    """Does more with each step."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def forward(self, x: Tensor) -> Tensor:
        self.steps += self.training
        return x * (1 + 0.1 * self.steps)


class Averaging(Identity):
    """Keeps a running mean as a plain tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.average = torch.zeros(1)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.average = 0.5 * self.average + 0.5 * (x.detach().mean() + 1).cpu()
        return x + self.average.to(x)


class Unsaved(Averaging):
    """Keeps it as a buffer that is not saved."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.register_buffer("average", torch.zeros(1), persistent=False)


class Saved(Averaging):
    """Keeps it as a buffer."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.register_buffer("average", torch.zeros(1))


class Watching(Identity):
    """Counts, and does nothing with it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        return x


class Caching(Identity):
    """Makes a table at its first call."""

    def __init__(self) -> None:
        super().__init__()
        self.table: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.table = torch.ones(1, device=x.device) if self.table is None else self.table
        return x * self.table


class Dicing(Identity):
    """Draws from Python's generator."""

    def forward(self, x: Tensor) -> Tensor:
        return x * random.random()


def test_state_outside_of_buffers_is_refused() -> None:
    reason, _ = checked(Counting)
    assert "steps" in reason
    assert "Register it as a buffer" in reason


@pytest.mark.parametrize("piece", [Averaging, Unsaved])
def test_a_plain_tensor_is_refused(piece: type[nn.Module]) -> None:
    # as a buffer, or where fake tensors are refused before
    assert "buffer" in checked(piece)[0]


def test_another_generator_is_refused() -> None:
    assert "another random generator" in checked(Dicing)[0]


@pytest.mark.parametrize("piece", [Saved, Caching, nn.Dropout])
def test_what_is_saved_or_made_again_is_fine(piece: type[nn.Module]) -> None:
    def make() -> nn.Module:
        """A piece."""
        return piece()

    assert checked(make)[0] == ""


def test_a_counter_without_effect_is_a_note() -> None:
    reason, note = checked(Watching)
    assert reason == ""
    assert "seen" in note
    assert "not saved" in note


# --- pieces that are handled


def lazy_down(channels: int) -> nn.Module:
    """Lazy layers in a row."""
    return nn.Sequential(nn.LazyConv2d(channels, 3, padding=1), nn.LazyBatchNorm2d(), nn.MaxPool2d(2))


def test_lazy_layers_are_ordinary_ones_once_built() -> None:
    DOWNS.register("lazy")(lazy_down)
    spec = TINY.replace(down="lazy")
    first, second = build(spec, seed=3), build(spec, seed=3)
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))
    assert first.training
    assert static_cost(spec).params == sum(p.numel() for p in first.parameters())
    assert check_network(spec, Protocol(), "cpu").reason == ""


class Unused(Identity):
    """Has a lazy layer that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LazyLinear(3)


def test_a_lazy_layer_that_never_runs_is_refused() -> None:
    with pytest.raises(InputError, match="A lazy layer must be run"):
        build(with_activation(Unused))


class Reading(Identity):
    """Looks at a value while it is made."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = torch.linspace(0, 1, 5)[2].item()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.rate


def test_a_piece_that_cannot_be_made_on_meta_tensors_is_counted() -> None:
    assert checked(Reading) == ("", "")
    assert static_cost(TINY.replace(activation="own")).params == static_cost(TINY).params


# --- what is tried again


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (TypeError("x"), False),
        (NotImplementedError(), False),
        (InputError("x"), False),
        (ValueError("x"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (AssertionError(), False),
        (TrialFailed("loss is NaN", certain=True), False),
        (TrialFailed("out of memory"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate"), True),
        (torch.OutOfMemoryError("out of memory"), True),
        (MemoryError(), True),
        (OSError("broken pipe"), True),
        (ConnectionResetError(), True),
        (WriteError("no room"), False),
    ],
)
def test_only_what_may_pass_is_tried_again(tmp_path: Path, error: Exception, again: bool) -> None:
    assert may_pass(error) is again
    study = a_study(tmp_path / "journal.log", [Job("net", 0)])

    def failing(trial: optuna.Trial) -> tuple[float, float, float]:
        raise error

    assert len(run_worker(study, failing).failed) == (3 if again else 1)
    assert trial_state(study).failed == 1
    assert plan(study, [Job("net", 0)]).enqueued == 0
    assert plan(study, [Job("net", 0)], retry_failed=True).enqueued == 1
    assert run_worker(study, values).complete


def test_networks_without_hope_are_failed_untried(where: str) -> None:
    study = a_study(where)
    jobs = [Job(name, seed, {"up": name}) for name in ("good", "bad") for seed in (0, 1)]
    hopeless = {"bad": "TypeError: no\nsuch kernel"}
    report = plan(study, jobs, hopeless=hopeless)
    assert (report.enqueued, report.failed, report.waiting) == (2, 2, 2)
    assert plan(study, jobs, hopeless=hopeless).failed == 2
    assert len(study.trials) == 4
    bad = next(record for record in records(study) if record.network_key == "bad")
    assert (bad.state, bad.reason) == ("failed", "TypeError: no such kernel")
    assert len(run_worker(study, values).complete) == 2
    assert plan(study, jobs, retry_failed=True).enqueued == 2
    assert len(read_histories(study).jobs) == 4
