"""Where the time goes inside the runtimes, by their own profilers: the operations they made of a network's, as shares of a call."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ablation.explain.modes import SIDES
from ablation.explain.prepared import common_shape, prepared
from ablation.faster.optimise import reason_of
from ablation.faster.rewrite import checked_copy
from ablation.faster.runtimes import RUNTIMES, shares
from ablation.machine.device import checked_device
from ablation.record.explanation import RuntimeShare


def inside_runtimes(
    first: nn.Module,
    second: nn.Module,
    *,
    device: str = "cpu",
    batch_size: int = 1,
    input_shape: tuple[int, ...] | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> tuple[tuple[RuntimeShare, ...], tuple[str, ...]]:
    """Shares of both networks in each runtime, as they are (not rewritten), in float32; and what could not be profiled, and why.

    A profiled call takes longer than another one: shares are to be read, not milliseconds.
    """
    place, made, limits = checked_device(device), list[RuntimeShare](), list[str]()
    networks = [checked_copy(model).to(place) for model in (first, second)]
    x = torch.rand((batch_size, *common_shape(networks, input_shape)), generator=torch.Generator().manual_seed(0)).to(place)
    for name, kind in RUNTIMES.items():
        if place.type not in kind.devices:
            continue
        reason = kind.missing(place.type)
        for side, model in zip(SIDES, networks, strict=True):
            if reason:
                break
            progress(f"{kind.title}: {side} network")
            try:
                network = prepared(model, (name,), x)
                assert network.elsewhere is not None
                made += shares(network.elsewhere.operations(x), runtime=name, network=side)
            except Exception as error:  # what a runtime can't load is a stated limit
                reason = reason_of(error)
        if reason:
            limits.append(f"Operations inside {kind.title} were not measured: {reason}.")
    return tuple(made), tuple(limits)
