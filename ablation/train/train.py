"""Training by a protocol: Adam, early stopping on the validation loss, checkpoints from which a run goes on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from ablation.data.base import Dataset, Split
from ablation.design.protocol import Protocol
from ablation.machine.device import own_randomness, usable_device
from ablation.machine.text import first_line
from ablation.train.loop import Halt, Progress, Reporter, Run, Saved, TrainingFailure, TrainResult

__all__ = ["TrainResult", "TrainingFailure", "train"]


def train(
    model: nn.Module,
    dataset: Dataset,
    split: Split,
    protocol: Protocol,
    *,
    seed: int,
    device: str | torch.device = "cpu",
    checkpoint_dir: str | Path | None = None,
    on_progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
    on_saved: Saved = lambda epochs, step: None,
    halt: Halt = lambda epochs: False,
    step_losses: list[float] | None = None,
) -> TrainResult:
    """Trains the model in place and loads its best weights into it.

    `on_progress(step, total_steps, epoch, epochs, loss or None)` comes at most 10 times a second, and after the last step. After
    `should_stop()` or Ctrl-C the run stops before the next step, saves, and returns with `interrupted`; the same call continues it,
    on a CPU bit for bit. `on_saved(epochs, step)` comes after each checkpoint, with how far it is. `halt(epochs)` is asked between
    two epochs, with the log of those that are done: where it says so the run ends with `halted`, and the same call with another
    answer continues it. `step_losses` collects the loss of each step, whole epochs at a time. The caller's random generators stay
    as they were. InputError: no such device, an empty split, a folder that cannot be written or holds another run. TrainingFailure:
    a loss that is not finite, too little memory, a failed compilation.
    """
    place = usable_device(device)
    try:
        with own_randomness(place), _ctrl_c() as pressed:
            folder = Path(checkpoint_dir) if checkpoint_dir is not None else None
            run = Run(model, dataset, split, protocol, seed=seed, device=place, folder=folder, on_saved=on_saved)
            stop = pressed.is_set if should_stop is None else lambda: pressed.is_set() or should_stop()
            return run.train(Reporter(run, on_progress), stop, halt, step_losses)
    except (RuntimeError, MemoryError) as error:
        reason = _known_reason(error, protocol, dataset.image_size)
        if reason is None:
            raise
    # raised out here, since the first error's traceback would keep the tensors of the failed step alive
    if place.type == "cuda":
        torch.cuda.empty_cache()
    raise TrainingFailure(reason)


@contextmanager
def _ctrl_c() -> Iterator[threading.Event]:
    # An exception in the middle of a step would leave half an update behind: the first Ctrl-C only sets the event, a second one
    # raises. Where the caller has a handler of its own, or this is not the main thread, the caller decides through should_stop.
    pressed = threading.Event()
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def handler(number: int, frame: object) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    if ours:
        signal.signal(signal.SIGINT, handler)
    try:
        yield pressed
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _known_reason(error: BaseException, protocol: Protocol, image_size: int) -> str | None:
    text = first_line(error, "")
    signs = ("out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED")
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in text for sign in signs):
        return f"out of memory at batch size {protocol.batch_size} and {image_size} px: {text[:200]}"
    if protocol.compile and type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        return f"torch.compile failed: {' '.join(str(error).split())[:200]}"
    return None
