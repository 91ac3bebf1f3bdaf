"""Memory that a forward pass needs at its peak, from shapes alone, and memory that this machine has left."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ablation.design.compose import deployed


class _Live(TorchDispatchMode):
    """Bytes of all results that are still referred to, and their maximum."""

    def __init__(self, given: Iterable[Tensor]) -> None:
        super().__init__()
        self.now = self.peak = 0
        # storages that were there before, or whose bytes are counted in `now`
        self.seen = {t.untyped_storage()._cdata for t in given}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        self.peak = max(self.peak, self.now)
        return out

    def _add(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.seen:
            return
        self.seen.add(key)
        self.now += size
        weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.now -= size


def activation_bytes(model: nn.Module, shape: tuple[int, ...], batch_size: int = 1) -> int:
    """Bytes of results alive at once in a forward pass on batch_size x `shape` without gradients; weights and input not counted.

    A library's own scratch memory is not counted either.

    >>> activation_bytes(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), (4,))
    64
    """
    empty = copy.deepcopy(deployed(model)).to("meta").eval()
    x = torch.empty((batch_size, *shape), device="meta")
    with torch.no_grad(), _Live([x, *empty.parameters(), *empty.buffers()]) as live:
        empty(x)
    return live.peak


def available_bytes() -> int | None:
    """Memory that this process may still take: of the machine, or of its container where that is less; None where unknown."""
    limits = [value for value in (_machine(), _container()) if value is not None]
    return min(limits) if limits else None


def _machine(path: Path = Path("/proc/meminfo")) -> int | None:
    try:
        lines = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
        return 1024 * int(lines["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return None


def _container(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    # version 2 of control groups; "max" where there is no limit; files that are kept in memory but not in use make room when asked
    try:
        used = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        taken = int((folder / "memory.current").read_text()) - int(used["inactive_file"])
        return int((folder / "memory.max").read_text()) - taken
    except (OSError, ValueError, KeyError):
        return None
