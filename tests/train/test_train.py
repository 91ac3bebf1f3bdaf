"""Training: against the plain loop, stopped and killed at any step, damaged checkpoints, failures with their reasons."""

from __future__ import annotations

import io
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from ablation import build, preset
from ablation.data.base import Dataset, Split
from ablation.data.batches import Images, epoch_order, seed_noise
from ablation.design.protocol import Protocol
from ablation.train import loop as loop_module
from ablation.train.checkpoint import BEST, CHECKPOINT, load_weights
from ablation.train.train import TrainingFailure, TrainResult, train
from blocks.errors import InputError
from studies.bench.naive import naive_train_epoch
from tests.builders import stop_before, without_clocks
from tests.small_data import as_dataset

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


class TinyVAE(nn.Module):
    """Forward as every VAE here: (reconstruction, mean, log_var), z sampled."""

    def __init__(self, norm: bool = True, side: int = 16) -> None:
        super().__init__()
        self.side = side
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4) if norm else nn.Identity(), nn.ELU())
        self.head, self.stem = nn.Linear(side * side, 2 * 5), nn.Linear(5, 3 * side * side)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_var = self.head(self.body(x).flatten(1)).chunk(2, 1)  # N x 4 x S/2 x S/2 -> N x SS
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        return torch.sigmoid(self.stem(z)).view(-1, 3, self.side, self.side), mean, log_var


def tiny(seed: int = 0, **options: Any) -> TinyVAE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TinyVAE(**options)


def images(num: int, side: int) -> np.ndarray:
    """Smooth images, so that there is something to learn."""
    y, x = np.mgrid[0:side, 0:side] / side
    random = np.random.default_rng(0).uniform(1, 9, (num, 3, 3, 1, 1))
    waves = 0.5 + 0.5 * np.sin(random[:, :, 0] * x + random[:, :, 1] * y + random[:, :, 2])
    return (255 * waves).astype(np.uint8)


def dataset(num: int = 34, side: int = 16, fingerprint: str = "0" * 16) -> Dataset:
    return as_dataset(images(num, side), fingerprint=fingerprint)


SPLIT = Split(train=np.arange(3, 21), validation=np.arange(21, 28), test=np.arange(28, 34))  # 18 images: batches of 4, 4, 4, 4, 2
SWAPPED = Split(train=SPLIT.validation, validation=SPLIT.train, test=SPLIT.test)
PROTOCOL = Protocol(epochs=3, batch_size=4, learning_rate=1e-2, l1_weight=2.0)


def fit(model: nn.Module | None = None, protocol: Protocol = PROTOCOL, seed: int = 0, **options: Any) -> TrainResult:
    return train(tiny() if model is None else model, dataset(), SPLIT, protocol, seed=seed, **options)


def assert_same_run(result: TrainResult, model: nn.Module, expected: TrainResult, expected_model: nn.Module) -> None:
    """Bit for bit: weights, buffers and every number of the log."""
    assert without_clocks(result) == without_clocks(expected)
    assert (result.best_loss, result.best_epoch, result.num_steps) == (expected.best_loss, expected.best_epoch, expected.num_steps)
    for (name, value), other in zip(model.state_dict().items(), expected_model.state_dict().values(), strict=True):
        assert torch.equal(value, other), name


# ---- what is learnt and logged


@pytest.mark.parametrize("device", DEVICES)
def test_losses_equal_those_of_the_plain_loop(tmp_path: Path, device: str) -> None:
    rng, paths = np.random.default_rng(0), []
    for number in range(14):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)).resize((70, 90)).save(paths[-1])
    resized = [Image.open(path).convert("RGB").resize((48, 48), Image.Resampling.BILINEAR) for path in paths]
    pixels = np.stack([np.asarray(image).transpose(2, 0, 1) for image in resized])
    data = as_dataset(pixels)
    indices, protocol, losses = np.array([13, *range(10)]), Protocol(epochs=1, batch_size=4, learning_rate=1e-3), list[float]()
    split = Split(train=indices, validation=np.array([10, 11]), test=np.array([12]))
    train(build(preset("small"), seed=1), data, split, protocol, seed=5, device=device, step_losses=losses)
    plain = naive_train_epoch(build(preset("small"), seed=1), paths, indices, protocol, 5, device, image_size=48)
    assert len(losses) == 3
    np.testing.assert_allclose(losses, plain, rtol=1e-4)
    assert not np.allclose(losses, plain[::-1], rtol=1e-3)  # the comparison would notice another order


def test_epoch_log_is_complete_and_adds_up() -> None:
    losses: list[float] = []
    result = fit(step_losses=losses)
    first = result.epochs[0]
    assert len(losses) == result.num_steps == 15
    assert first["train_loss"] == pytest.approx((4 * sum(losses[:4]) + 2 * losses[4]) / 18)
    weighted = (1 - first["train_ssim"]) + 2 * first["train_l1"] + 1e-3 * first["train_kl"]
    assert first["train_loss"] == pytest.approx(weighted, rel=1e-6)
    assert first["val_loss"] == pytest.approx(1 - first["val_ssim"] + 2 * first["val_l1"] + 1e-3 * first["val_kl"], rel=1e-6)
    assert sum(first["kl_per_dim"]) == pytest.approx(first["val_kl"], rel=1e-6)
    assert len(first["kl_per_dim"]) == 5
    assert 0 <= first["active_units"] <= 5
    assert first["images_per_second"] == pytest.approx(18 / first["seconds"])
    assert (first["epoch"], first["learning_rate"]) == (1, 1e-2)
    assert result.epochs[2]["val_loss"] < first["val_loss"] - 0.05  # it learns
    assert result.best_loss == min(epoch["val_loss"] for epoch in result.epochs)
    assert result.seconds > sum(epoch["seconds"] for epoch in result.epochs)


def test_gradient_norm_of_one_step_by_hand() -> None:
    model, protocol = tiny(), Protocol(epochs=1, batch_size=18, ssim_weight=0, l1_weight=1, kl_weight=0)
    result = fit(tiny(), protocol)
    with torch.random.fork_rng(devices=[]):
        seed_noise(0, 1)
        x = torch.from_numpy(dataset().images[SPLIT.train[epoch_order(18, 0, 1).numpy()]]).float() / 255
        (model(x)[0] - x).abs().mean().backward()
    squares = sum(p.grad.double().square().sum().item() for p in model.parameters() if p.grad is not None)
    assert result.epochs[0]["grad_norm_mean"] == result.epochs[0]["grad_norm_max"] == pytest.approx(squares**0.5, rel=1e-5)


def test_best_weights_are_in_the_model_and_on_disk(tmp_path: Path) -> None:
    model = tiny()
    result = fit(model, checkpoint_dir=tmp_path)
    again = fit(other := tiny(), Protocol(**{**PROTOCOL.to_dict(), "epochs": result.best_epoch}))
    assert again.best_epoch == result.best_epoch
    stored = load_file(tmp_path / BEST)
    for name, value in model.state_dict().items():
        assert torch.equal(value, stored[name])
        assert torch.equal(value, other.state_dict()[name])
    load_weights(fresh := tiny(seed=9), tmp_path)
    assert torch.equal(fresh.stem.weight, model.stem.weight)
    with pytest.raises(InputError, match=r"best\.safetensors must hold the weights of this network"):
        load_weights(tiny(side=8), tmp_path)
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["plain"]["finished"] is True


def test_seed_decides_order_and_noise_and_nothing_leaks_out() -> None:
    before = torch.get_rng_state()
    one, same, other = (fit(seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert without_clocks(one) == without_clocks(same) != without_clocks(other)
    assert sorted(epoch_order(9, 0, 1).tolist()) == list(range(9))
    assert epoch_order(9, 0, 1).tolist() != epoch_order(9, 0, 2).tolist()


def test_early_stopping_by_patience() -> None:
    frozen = Protocol(epochs=9, batch_size=4, learning_rate=1e-30, patience=2)  # no step changes a float32 weight
    result = fit(tiny(norm=False), frozen)
    assert (result.best_epoch, len(result.epochs), result.stopped_early, result.interrupted) == (1, 3, True, False)
    assert not fit(tiny(norm=False), Protocol(**{**frozen.to_dict(), "epochs": 3})).stopped_early  # it was the last one anyway


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [({"memory_format": "contiguous"}, 1e-5), ({"precision": "bfloat16"}, 2e-2), ({"precision": "float16"}, 5e-3)],
)
def test_options_change_speed_and_not_the_training(options: dict[str, Any], tolerance: float) -> None:
    data = dataset(num=20, side=48)
    split = Split(train=np.arange(12), validation=np.arange(12, 16), test=np.arange(16, 20))
    plain, fast = Protocol(epochs=2, batch_size=4), Protocol(epochs=2, batch_size=4, **options)
    expected = train(build(preset("small_modified"), seed=0), data, split, plain, seed=0)
    result = train(model := build(preset("small_modified"), seed=0), data, split, fast, seed=0)
    for ours, theirs in zip(result.epochs, expected.epochs, strict=True):
        for name in ("train_loss", "val_loss", "train_kl", "grad_norm_mean"):
            assert ours[name] == pytest.approx(theirs[name], rel=tolerance * (20 if name == "grad_norm_mean" else 1))
    assert all(p.dtype == torch.float32 and p.is_contiguous() for p in model.parameters())


def test_compiled_training_is_the_same_and_says_why_it_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, with_compile = torch.compile, Protocol(**{**PROTOCOL.to_dict(), "epochs": 1, "compile": True})
    expected = fit(expected_model := tiny(), Protocol(**{**PROTOCOL.to_dict(), "epochs": 1}))
    # the "eager" backend traces as any other and generates no C++, which would take minutes
    monkeypatch.setattr(torch, "compile", lambda model: compiled(model, backend="eager"))
    assert_same_run(fit(model := tiny(), with_compile), model, expected, expected_model)

    def broken(graph: object, inputs: object) -> Callable[..., Any]:
        raise OSError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", lambda model: compiled(model, backend=broken))
    with pytest.raises(TrainingFailure, match=r"^torch\.compile failed: .*no C\+\+ compiler"):
        fit(tiny(), with_compile)


def test_images_come_as_written(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", images(6, 16))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    data = as_dataset(mapped)
    for channels_last in (False, True):
        split = Images(data, np.array([5, 1, 2]), torch.device("cpu"), channels_last=channels_last)
        first, second = split.batches(2, torch.tensor([2, 0, 1]))
        np.testing.assert_array_equal(first.numpy(), mapped[[2, 5]].astype(np.float32) / 255)
        np.testing.assert_array_equal(second.numpy(), mapped[[1]].astype(np.float32) / 255)
        assert first.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def test_progress_is_reported_at_most_ten_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[tuple[float, int, int, int, int, float | None]] = []
    now = 0.0
    monkeypatch.setattr(loop_module, "time", SimpleNamespace(perf_counter=lambda: now))

    class Slow(TinyVAE):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            nonlocal now
            now += 0.03
            return super().forward(x)

    losses: list[float] = []
    fit(Slow(), on_progress=lambda *values: reports.append((now, *values)), step_losses=losses)
    times = [moment for moment, *_ in reports]
    assert 3 <= len(reports) <= 10
    assert all(after - before >= 0.099 for before, after in pairwise(times[:-1]))
    assert reports[-1][1:5] == (15, 15, 3, 3)
    assert [values[1] for values in reports] == sorted({values[1] for values in reports})


# ---- stopped, killed, damaged


@pytest.mark.parametrize("steps", [(1, 1), (3, 1), (6, 5), (2, 7), (15, 1)])
def test_stopped_and_continued_run_is_the_same_bit_for_bit(tmp_path: Path, steps: tuple[int, int]) -> None:
    losses, expected_losses = list[float](), list[float]()
    expected = fit(expected_model := tiny(), step_losses=expected_losses)
    for step in steps:
        assert fit(tiny(), checkpoint_dir=tmp_path, should_stop=stop_before(step), step_losses=losses).interrupted
    torch.manual_seed(123)  # what else the process draws does not matter
    result = fit(model := tiny(seed=7), checkpoint_dir=tmp_path, step_losses=losses)
    assert not result.interrupted
    assert result.resumed_from_epoch == (sum(steps) - 2) // 5
    assert_same_run(result, model, expected, expected_model)
    assert losses == expected_losses


def test_continued_run_with_options_is_the_same(tmp_path: Path) -> None:
    protocol = Protocol(epochs=2, batch_size=4, memory_format="channels_last", precision="float16")
    expected = fit(expected_model := tiny(), protocol)
    fit(tiny(), protocol, checkpoint_dir=tmp_path, should_stop=stop_before(8))
    result = fit(model := tiny(), protocol, checkpoint_dir=tmp_path)
    assert_same_run(result, model, expected, expected_model)


def test_stop_before_any_epoch_ended(tmp_path: Path) -> None:
    result = fit(checkpoint_dir=tmp_path, should_stop=stop_before(2))
    assert (result.interrupted, result.best_loss, result.best_epoch, result.epochs, result.num_steps) == (True, None, 0, (), 1)
    assert result.to_dict()["images_per_second"] is None


def test_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first = fit(model := tiny(), checkpoint_dir=tmp_path)
    again = fit(other := tiny(seed=3), checkpoint_dir=tmp_path, should_stop=lambda: pytest.fail("a step was about to run"))
    assert_same_run(again, other, first, model)
    assert (again.resumed_from_epoch, again.interrupted) == (3, False)


def test_ctrl_c_stops_between_two_steps(tmp_path: Path) -> None:
    expected = fit(expected_model := tiny())
    asked = iter(range(1, 100))

    def press() -> bool:
        if next(asked) == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return False

    before = signal.getsignal(signal.SIGINT)
    result = fit(tiny(), checkpoint_dir=tmp_path, should_stop=press)
    assert result.interrupted
    assert 6 <= result.num_steps <= 7
    assert signal.getsignal(signal.SIGINT) is before
    assert_same_run(fit(model := tiny(), checkpoint_dir=tmp_path), model, expected, expected_model)


def test_killed_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    code = f"""
import time
import tests.train.test_train as t
t.torch.set_num_threads({torch.get_num_threads()})
t.loop_module.SAVE_S = 0.0  # a save after every step
reports = [0]

def tell(step, *_):
    reports.append(step)
    print(step, flush=True)

# slow, and at the seventh step it waits to be killed
t.fit(checkpoint_dir={str(tmp_path)!r}, on_progress=tell, should_stop=lambda: time.sleep(600 if reports[-1] >= 7 else 0.05))
"""
    expected = fit(expected_model := tiny())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        while int(process.stdout.readline() or 10**9) < 7:
            pass
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    stored = torch.load(tmp_path / CHECKPOINT, weights_only=True)["plain"]
    assert not stored["finished"]
    assert 5 * len(stored["epochs"]) + stored["step"] >= 6
    assert_same_run(fit(model := tiny(), checkpoint_dir=tmp_path), model, expected, expected_model)


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    # one bit of one weight: torch.load alone would not notice
    weights = torch.load(io.BytesIO(data), weights_only=True)["learner"]["model"]["stem.weight"]
    place = data.index(weights.numpy().tobytes()[:32])
    return data[:place] + bytes([data[place] ^ 8]) + data[place + 1 :]


@pytest.mark.parametrize("damage", [cut, flip, lambda data: b"", lambda data: b"no checkpoint" * 99])
def test_damaged_checkpoint_starts_over_and_says_so(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    expected = fit(expected_model := tiny())
    fit(checkpoint_dir=tmp_path, should_stop=stop_before(8))
    path = tmp_path / CHECKPOINT
    path.write_bytes(damage(path.read_bytes()))
    result = fit(model := tiny(), checkpoint_dir=tmp_path)
    assert result.notes == ("checkpoint.pt was damaged and is not used: training started from the beginning",)
    assert result.resumed_from_epoch == 0
    assert_same_run(result, model, expected, expected_model)


@pytest.mark.parametrize(
    ("differing", "call"),
    [
        ("seed", lambda folder: fit(seed=1, checkpoint_dir=folder)),
        ("protocol", lambda folder: fit(protocol=Protocol(epochs=4, batch_size=4), checkpoint_dir=folder)),
        ("network", lambda folder: fit(tiny(norm=False), checkpoint_dir=folder)),
        ("dataset", lambda folder: train(tiny(), dataset(fingerprint="1" * 16), SPLIT, PROTOCOL, seed=0, checkpoint_dir=folder)),
        ("split", lambda folder: train(tiny(), dataset(), SWAPPED, PROTOCOL, seed=0, checkpoint_dir=folder)),
    ],
)
def test_checkpoint_of_another_run_is_refused_and_kept(tmp_path: Path, differing: str, call: Callable[[Path], TrainResult]) -> None:
    fit(checkpoint_dir=tmp_path, should_stop=stop_before(8))
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(
        InputError, match=f"^checkpoint_dir must be empty or of the same run, which has {differing} .*Name another folder"
    ) as caught:
        call(tmp_path)
    assert "\n" not in str(caught.value)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"^checkpoint_dir must be a folder that can be written, with space left\. Got .*file/run"):
        fit(checkpoint_dir=tmp_path / "file" / "run")


def test_full_disk_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    fit(checkpoint_dir=tmp_path, should_stop=stop_before(8))
    before, limits = (tmp_path / CHECKPOINT).read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))  # no file may grow beyond 2000 bytes
    try:
        with pytest.raises(InputError, match=r"^checkpoint_dir must be a folder that can be written, with space left") as caught:
            fit(checkpoint_dir=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


# ---- failures


class Failing(TinyVAE):
    """Breaks in its forward pass number `at`."""

    def __init__(self, at: int, how: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.at, self.how, self.passes = at, how, 0

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.passes += 1
        reconstruction, mean, log_var = super().forward(x)
        return reconstruction, self.how(mean) if self.passes == self.at else mean, log_var


def test_nan_is_a_failure_with_its_step(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailure, match=r"^loss became NaN in epoch 1 \(step 3 of 5\)$"):
        fit(Failing(3, lambda mean: mean * float("nan")), checkpoint_dir=tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()  # nothing that came after the NaN was kept
    with pytest.raises(TrainingFailure, match=r"^loss became infinite in epoch 2 \(step 1 of 5\)$"):
        fit(Failing(8, lambda mean: mean * 1e30))  # passes 6 and 7 validate
    with pytest.raises(TrainingFailure, match=r"^validation loss became NaN in epoch 1$"):
        fit(Failing(6, lambda mean: mean * float("nan")))


def test_nan_is_noticed_while_the_epoch_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "READ_S", 0.0)
    with pytest.raises(TrainingFailure, match=r"epoch 1 \(step 2 of 5\)$"):
        fit(model := Failing(2, lambda mean: mean * float("nan")))
    assert model.passes == 2


@pytest.mark.parametrize("device", DEVICES)
def test_out_of_memory_is_a_failure_with_its_reason(device: str) -> None:
    model = Failing(2, lambda mean: mean + torch.empty(2**52, dtype=torch.uint8, device=mean.device)[:5].float())
    with pytest.raises(TrainingFailure, match=r"^out of memory at batch size 4 and 16 px: .*allocate") as caught:
        fit(model, device=device)
    assert "\n" not in str(caught.value)
    assert caught.value.__context__ is None  # nothing keeps the failed step's tensors alive


def test_other_errors_pass_through() -> None:
    with pytest.raises(RuntimeError, match="shape") as caught:
        fit(Failing(1, lambda mean: mean.view(7, 7)))
    assert not isinstance(caught.value, TrainingFailure)


def test_wrong_input_is_named_in_one_line() -> None:
    with pytest.raises(InputError, match=r"^device must be"):
        fit(device="cuda:99")
    with pytest.raises(InputError, match=r"^device must be cpu, cuda or cuda:N\. Got 'tpu' instead\.$"):
        fit(device="tpu")
    empty = Split(train=SPLIT.train, validation=np.arange(0), test=SPLIT.test)
    with pytest.raises(InputError, match="at least one image"):
        train(tiny(), dataset(), empty, PROTOCOL, seed=0)
