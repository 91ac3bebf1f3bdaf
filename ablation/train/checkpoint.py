"""Checkpoints of a run: written whole or not at all, read without unpickling code, verified against torn and flipped bytes."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from ablation.data.base import Dataset, Split
from ablation.design.protocol import Protocol
from ablation.machine.files import write_atomic
from ablation.machine.text import first_line
from blocks.errors import InputError, WriteError, must_be

CHECKPOINT, BEST = "checkpoint.pt", "best.safetensors"
FORMAT = 1
DAMAGED = (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError)  # of what cannot be read


def identity(model: nn.Module, dataset: Dataset, split: Split, protocol: Protocol, seed: int) -> dict[str, str]:
    """What a checkpoint belongs to. A run continues only from a checkpoint whose identity is its own, entry by entry."""
    spec = getattr(model, "spec", None)
    shapes = [(name, tuple(value.shape)) for name, value in model.state_dict().items()]
    indices = np.concatenate([split.train, [-1], split.validation]).astype(np.int64)
    return {
        "format": str(FORMAT),
        "network": getattr(spec, "network_key", type(model).__name__) + "/" + _digest(repr(shapes).encode()),
        "protocol": protocol.in_words(),
        "seed": str(seed),
        "dataset": f"{dataset.fingerprint} at {dataset.image_size} px",
        "split": _digest(indices.tobytes()),
    }


def save_checkpoint(folder: Path, state: Mapping[str, Any]) -> None:
    """Writes the checkpoint: a kill at any time leaves the old one or the new one. InputError where it cannot be written."""
    _write(folder / CHECKPOINT, lambda path: torch.save(dict(state), path))


def load_checkpoint(
    folder: Path, expected: Mapping[str, str], former: Sequence[Mapping[str, str]] = ()
) -> tuple[dict[str, Any] | None, str]:
    """The checkpoint in the folder and a note: (state, ""); (None, "") where there is none; (None, why) where it is damaged.

    `former`: identities under which earlier versions stored the same run. InputError where it belongs to another run: nothing of
    that run is overwritten.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None, ""
    try:
        state = _read(path)
        stored = state["identity"]
    except DAMAGED:
        return None, f"{path.name} was damaged and is not used: training started from the beginning"
    except OSError as error:
        raise must_be("checkpoint_dir", "a folder that can be read", str(folder), f"{error.strerror}.") from None
    if stored not in former:
        _refuse_other_run(folder, stored, expected)
    return state, ""


def progress_in(folder: Path) -> tuple[int, int] | None:
    """How far the checkpoint in a folder is, as finished epochs and steps after them; None where none can be read."""
    try:
        plain = _read(folder / CHECKPOINT)["plain"]
        return len(plain["epochs"]), int(plain["step"])
    except (OSError, *DAMAGED):
        return None


def _read(path: Path) -> dict[str, Any]:
    """A checkpoint, or an error of DAMAGED, or OSError."""
    with zipfile.ZipFile(path) as archive:  # torch.load does not notice flipped bits; the archive's checksums do
        if archive.testzip() is not None:
            raise zipfile.BadZipFile
    return dict(torch.load(path, map_location="cpu", weights_only=True))


def save_weights(folder: Path, weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes the best weights as safetensors, atomically, with plain text metadata."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    _write(folder / BEST, lambda path: safetensors.torch.save_file(tensors, path, dict(metadata)))


def load_weights(model: nn.Module, folder: Path) -> None:
    """Loads the best weights of a run into its network. InputError where they are missing, damaged or of another network."""
    path = folder / BEST
    try:
        model.load_state_dict(safetensors.torch.load_file(path))
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        reason = first_line(error)
        raise InputError(f"{path} must hold the weights of this network. {reason} Train again, or name another folder.") from None


def _write(path: Path, write: Callable[[Path], None]) -> None:
    try:
        write_atomic(path, write)
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:  # torch and safetensors report a full disk as their own
        reason = getattr(error, "strerror", None) or first_line(error)
        rule = "a folder that can be written, with space left"
        raise WriteError(f"checkpoint_dir must be {rule}. Got {str(path.parent)!r} instead: {reason}.") from None


def _refuse_other_run(folder: Path, stored: Mapping[str, str], expected: Mapping[str, str]) -> None:
    differing = [name for name in expected if stored.get(name) != expected[name]]
    if not differing:
        return
    name = differing[0]
    rule = f"empty or of the same run, which has {name} {expected[name]!r}"
    got = f"{folder}, whose {' and '.join(differing)} differ ({name} {stored.get(name)!r})"
    raise InputError(f"checkpoint_dir must be {rule}. Got {got} instead. Name another folder, or use that run's settings.")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
