"""Where a model runs and how it is while it is measured: the one check of a device, and evaluation mode that is put back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from blocks.errors import must_be


def checked_device(device: str | torch.device) -> torch.device:
    """The device as it was written, "cuda" without an index; InputError where it is neither cpu nor a GPU that torch sees."""
    try:
        place = torch.device(device)
    except RuntimeError:
        raise must_be("device", "cpu, cuda or cuda:N", str(device)) from None
    if place.type not in ("cpu", "cuda"):
        raise must_be("device", "cpu, cuda or cuda:N", str(device))
    num_gpus = torch.cuda.device_count() if place.type == "cuda" and torch.cuda.is_available() else 0
    if place.type == "cuda" and (place.index or 0) >= num_gpus:
        rule = f"one of this machine's, where torch sees {num_gpus} GPUs"
        raise must_be("device", rule, str(device), "Use the CPU: --device cpu.")
    return place


def usable_device(device: str | torch.device) -> torch.device:
    """The device with its index, so that two of them can be compared; InputError as for `checked_device`."""
    place = checked_device(device)
    if place.type == "cuda" and place.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return place


@contextmanager
def keeping_buffers(*models: nn.Module) -> Iterator[None]:
    """The values of all buffers after as they were before, for modules that count or remember in them whenever they run."""
    held = [(module._buffers, name) for model in models for module in model.modules() for name in module._buffers]
    kept = [(buffers, name, buffer, buffer.clone()) for buffers, name in held if (buffer := buffers[name]) is not None]
    try:
        yield
    finally:
        for buffers, name, buffer, value in kept:
            buffers[name] = buffer.copy_(value)


@contextmanager
def own_randomness(place: torch.device, seed: int | None = None) -> Iterator[None]:
    """Random draws inside leave the caller's generators, of the CPU and of `place`, as they were; from `seed` if given."""
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        if seed is not None:
            torch.manual_seed(seed)
        yield


@contextmanager
def all_seeded(seed: int) -> Iterator[None]:
    """Draws of torch, numpy and random inside begin from the seed, and leave the caller's generators as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=devices):
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.manual_seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def evaluating(model: object) -> Iterator[None]:
    """Evaluation mode inside, the former mode of every module after. What is no module is left alone."""
    modes = {module: module.training for module in model.modules()} if isinstance(model, nn.Module) else {}
    for module in modes:
        module.training = False
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def pick_device(wanted: str) -> str:
    """'cpu' or 'cuda'; InputError for a GPU that is not there."""
    return str(checked_device(("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted))
