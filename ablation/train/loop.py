"""The epochs of one training: what an epoch logs, when a run ends, and what its checkpoint holds.

No step waits for the device. Losses and gradient norms of an epoch collect in one device tensor, which is read when the epoch
ends and about once a second while it runs. Order and noise come from (seed, epoch), so an epoch needs nothing of the ones before
it but the learner's state.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from math import inf, isfinite
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from ablation.data.base import Dataset, Split
from ablation.data.batches import Images, epoch_order, seed_noise
from ablation.design.protocol import Protocol
from ablation.measure.quality.evaluate import sampled_quality
from ablation.measure.quality.losses import check_masks, part_names
from ablation.train.checkpoint import BEST, identity, load_checkpoint, save_checkpoint, save_weights
from ablation.train.learner import Learner, columns
from ablation.train.trainable import check_batches

# least seconds between reports of progress, between reads of the loss (each waits for the device), between saves inside an epoch
PROGRESS_S, READ_S, SAVE_S = 0.1, 1.0, 60.0

UNTRAINED_MASKS = "the mask decoder was not trained, since mask_weight is 0"

Progress = Callable[[int, int, int, int, float | None], None]
Saved = Callable[[int, int], None]  # finished epochs and steps after them, when a checkpoint has been written
Halt = Callable[[list[dict[str, Any]]], bool]  # the finished epochs, as `Run.finish_epoch` logs them -> whether to go no further


class TrainingFailure(RuntimeError):  # noqa: N818 -- a failed trial, not a fault of the program
    """A training that cannot give a result, with its reason in one line; a trial records it."""


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a training gave; the model holds the weights of its best epoch."""

    best_loss: float | None  # lowest validation loss; None where a stop came before the first epoch ended
    best_epoch: int  # counted from 1; 0 where none has ended
    epochs: tuple[dict[str, Any], ...]  # one dict of plain values for each finished epoch, see `Run.finish_epoch`
    stopped_early: bool  # by patience
    interrupted: bool  # by should_stop or Ctrl-C; the same call goes on from there
    seconds: float  # training, validation and checkpoints, all sittings together
    images_per_second: float | None  # median over epochs, of training alone
    num_steps: int
    resumed_from_epoch: int  # finished epochs that came from a checkpoint
    notes: tuple[str, ...] = ()
    halted: bool = False  # between two epochs, by `halt`; the same call without it goes on from there

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "epochs": [dict(epoch) for epoch in self.epochs], "notes": list(self.notes)}


class Run:
    """One training with everything that a checkpoint must hold."""

    plain = ("step", "epochs", "best_epoch", "best_loss", "seconds", "epoch_seconds", "finished", "stopped_early", "notes")

    def __init__(
        self,
        model: nn.Module,
        dataset: Dataset,
        split: Split,
        protocol: Protocol,
        *,
        seed: int,
        device: torch.device,
        folder: Path | None,
        on_saved: Saved = lambda epochs, step: None,
    ) -> None:
        self.identity = identity(model, dataset, split, protocol, seed)
        self.former = [identity(model, replace(dataset, fingerprint=name), split, protocol, seed) for name in dataset.former]
        self.protocol, self.seed, self.folder, self.on_saved = protocol, seed, folder, on_saved
        check_masks(model, protocol)
        check_batches(model, protocol, len(split.train), dataset.images.shape[1:])
        kept = {"channels_last": protocol.uses_channels_last(device.type), "masks": protocol.mask_weight > 0}
        self.images = Images(dataset, split.train, device, **kept)
        self.validation = Images(dataset, split.validation, device, **kept)
        self.learner = Learner(model, protocol, device)
        self.steps = -(-len(self.images) // protocol.batch_size)
        self.history = torch.zeros(self.steps, len(columns(protocol)), device=device)
        self.step, self.epochs, self.best_epoch, self.best_loss = 0, list[dict[str, Any]](), 0, inf
        self.best_weights: dict[str, Tensor] = {}
        self.seconds = self.epoch_seconds = 0.0
        self.finished = self.stopped_early = False
        self.notes: list[str] = []
        self.noise: dict[str, Tensor] | None = None
        self.mark = self.saved = time.perf_counter()
        self.restore()
        self.resumed_from_epoch = len(self.epochs)
        idle = getattr(model, "mask_decoder", None) is not None and not protocol.mask_weight
        if idle and UNTRAINED_MASKS not in self.notes:
            self.notes.append(UNTRAINED_MASKS)

    @property
    def epoch(self) -> int:
        """The epoch that runs now, from 1."""
        return len(self.epochs) + 1

    def train(self, reporter: Reporter, stop: Callable[[], bool], halt: Halt, step_losses: list[float] | None) -> TrainResult:
        """Epochs until the last one, patience or a stop."""
        interrupted = halted = False
        while not self.finished and not interrupted:
            # asked before an epoch, so that a run that was killed before it could ask is asked when it goes on
            halted = self.step == 0 and bool(self.epochs) and halt(self.epochs)
            if halted:
                break
            interrupted = not self.train_epoch(reporter, stop)
            if not interrupted:
                if step_losses is not None:
                    step_losses.extend(self.history[:, 0].tolist())
                self.finish_epoch()
            self.save()
        if self.best_weights:
            self.learner.model.load_state_dict(self.best_weights)
        self.learner.model.to(memory_format=torch.contiguous_format)
        return replace(self.result(interrupted), halted=halted)

    def train_epoch(self, reporter: Reporter, stop: Callable[[], bool]) -> bool:
        """The steps of the epoch that are still to be done; False where a stop came before one of them."""
        self.learner.model.train()
        seed_noise(self.seed, self.epoch)
        if self.noise is not None and not self.learner.load_noise(self.noise):
            self.notes.append(f"epoch {self.epoch} began on another device: the rest of it has other noise")
        self.noise = None
        order = epoch_order(len(self.images), self.seed, self.epoch)
        for x, mask in self.images.pairs(self.protocol.batch_size, order, start=self.step):
            if stop():
                return False
            self.history[self.step] = self.learner.step(x, mask)
            self.step += 1
            reporter.report()
            if self.folder is not None and time.perf_counter() - self.saved > SAVE_S:
                self.save()
        return True

    def finish_epoch(self) -> None:
        """Reads what the epoch collected, validates, and keeps the weights if they are the best so far."""
        means = self.training_means()  # waits for the device, so the clock below is true
        self.epoch_seconds += self.lap()
        with self.learner.autocast():
            validation = sampled_quality(
                self.learner.network, self.validation, batch_size=self.protocol.batch_size, protocol=self.protocol, seed=self.seed
            )
        if not isfinite(validation["loss"]):
            raise TrainingFailure(f"validation loss became {_spelt(validation['loss'])} in epoch {self.epoch}")
        entry = {
            "epoch": self.epoch,
            **means,
            **{f"val_{name}": validation[name] for name in part_names(self.protocol)},
            "active_units": validation["active_units"],
            "kl_per_dim": validation["kl_per_dim"],
            "seconds": self.epoch_seconds,
            "images_per_second": len(self.images) / self.epoch_seconds,
            "learning_rate": float(self.learner.optimizer.param_groups[0]["lr"]),
        }
        if entry["val_loss"] < self.best_loss:
            self.best_epoch, self.best_loss, self.best_weights = self.epoch, entry["val_loss"], self.learner.weights()
        self.epochs.append(entry)
        self.step, self.epoch_seconds = 0, 0.0
        done = len(self.epochs) == self.protocol.epochs
        self.stopped_early = not done and len(self.epochs) - self.best_epoch >= self.protocol.patience
        self.finished = done or self.stopped_early

    def training_means(self) -> dict[str, float | None]:
        """Losses averaged over the images of the epoch as it ran; gradient norms over the steps where they were finite."""
        self.check()
        history, size = self.history.double().cpu(), self.protocol.batch_size
        images = torch.tensor([min(size, len(self.images) - step * size) for step in range(self.steps)], dtype=torch.float64)
        means = images @ history[:, :-1] / len(self.images)
        norms = history[:, -1][history[:, -1].isfinite()]
        if len(norms) < self.steps:
            self.notes.append(f"epoch {self.epoch}: {self.steps - len(norms)} of {self.steps} steps had no finite gradient")
        return {
            **{f"train_{name}": value for name, value in zip(part_names(self.protocol), means.tolist(), strict=True)},
            "grad_norm_mean": float(norms.mean()) if len(norms) else None,
            "grad_norm_max": float(norms.max()) if len(norms) else None,
        }

    def check(self) -> float | None:
        """The latest loss. Waits for the device. TrainingFailure where a loss of this epoch is not finite."""
        losses = self.history[: self.step, 0].cpu()
        wrong = (~losses.isfinite()).nonzero()
        if len(wrong):
            step = int(wrong[0])
            value = _spelt(float(losses[step]))
            raise TrainingFailure(f"loss became {value} in epoch {self.epoch} (step {step + 1} of {self.steps})")
        return float(losses[-1]) if self.step else None

    def lap(self) -> float:
        """Seconds since the last call, which also count into the whole."""
        now = time.perf_counter()
        seconds, self.mark = now - self.mark, now
        self.seconds += seconds
        return seconds

    def save(self) -> None:
        """Writes the checkpoint, and the best weights before it when the run is finished."""
        self.check()  # a checkpoint never holds weights that came after a NaN
        lap = self.lap()
        self.epoch_seconds += lap if self.step else 0.0
        if self.folder is not None:
            if self.finished:
                self.save_best(self.folder)
            save_checkpoint(self.folder, self.state())
        self.lap()
        if self.folder is not None:
            self.on_saved(len(self.epochs), self.step)
        self.mark = self.saved = time.perf_counter()  # what is done with a checkpoint is no time of the training

    def save_best(self, folder: Path) -> None:
        """Writes the best weights."""
        save_weights(folder, self.best_weights, {"epoch": str(self.best_epoch), "validation_loss": repr(self.best_loss)})

    def state(self) -> dict[str, Any]:
        """Everything that a checkpoint holds; of a finished run, the best weights and the log."""
        is_best = self.step == 0 and 0 < self.best_epoch == len(self.epochs)
        return {
            "identity": self.identity,
            "plain": {name: getattr(self, name) for name in self.plain},
            "best_weights": None if is_best and not self.finished else self.best_weights,  # None: the same as the learner's
            "learner": None if self.finished else self.learner.state(),
            "history": self.history,
        }

    def restore(self) -> None:
        """Goes on from the folder's checkpoint, if there is one."""
        state, note = load_checkpoint(self.folder, self.identity, self.former) if self.folder is not None else (None, "")
        self.notes += [note] if note else []
        if state is None:
            return
        for name in self.plain:
            setattr(self, name, state["plain"][name])
        if state["learner"] is not None:
            self.learner.load_state(state["learner"])
            self.noise = state["learner"]["noise"] if self.step else None
        self.history.copy_(state["history"])
        best = state["best_weights"]
        self.best_weights = self.learner.weights() if best is None else best
        if self.finished and self.folder is not None and not (self.folder / BEST).exists():  # a checkpoint from another machine
            self.save_best(self.folder)

    def result(self, interrupted: bool) -> TrainResult:
        """The public view of the run."""
        return TrainResult(
            best_loss=self.best_loss if self.epochs else None,
            best_epoch=self.best_epoch,
            epochs=tuple(self.epochs),
            stopped_early=self.stopped_early,
            interrupted=interrupted,
            seconds=self.seconds,
            images_per_second=median(entry["images_per_second"] for entry in self.epochs) if self.epochs else None,
            num_steps=len(self.epochs) * self.steps + self.step,
            resumed_from_epoch=self.resumed_from_epoch,
            notes=tuple(self.notes),
        )


class Reporter:
    """Tells progress a few times a second, and reads the loss, which waits for the device, about once a second."""

    def __init__(self, run: Run, send: Progress | None) -> None:
        self.run, self.send, self.loss = run, send, None if run.step == 0 else run.check()
        self.sent = self.read = time.perf_counter()

    def report(self) -> None:
        """After every step."""
        run, now = self.run, time.perf_counter()
        if now - self.read >= READ_S:
            self.loss, self.read = run.check(), now
        last = run.step == run.steps and run.epoch == run.protocol.epochs
        if self.send is not None and (last or now - self.sent >= PROGRESS_S):
            self.sent = now
            epochs = run.protocol.epochs
            self.send(len(run.epochs) * run.steps + run.step, epochs * run.steps, run.epoch, epochs, self.loss)


def _spelt(value: float) -> str:
    return "NaN" if value != value else "infinite"
