"""Each confirmed network in its own fastest mode, all of them timed together: eager latency flatters whoever compiles badly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from ablation.design.compose import build
from ablation.design.spec import ModelSpec
from ablation.faster.optimise import optimise
from ablation.faster.optimised import Optimised
from ablation.machine.text import first_line
from ablation.measure.latency.compare import compare_latency, settled
from ablation.record.convert import to_plain
from ablation.record.search_confirmed import FastestMode
from studies.engine.config import StudyConfig

BUDGET_S = 30.0  # for each network at each batch size, beside what compiling takes

Say = Callable[[str], None]


def fastest_modes(
    specs: Mapping[str, ModelSpec], config: StudyConfig, place: str, *, compile: bool, say: Say
) -> dict[str, dict[str, Any] | None]:
    """Network -> its fastest mode of those that compute the same function in float32, as plain values; None where none works.

    Runtimes that are installed are among the modes. `specs`: by level, the reference first; `place`: "cpu/32". Ratios are to the
    reference in the reference's own fastest mode, paired by round, their intervals over sittings with weights at other places in
    memory.
    """
    batch_size, threads = int(place.partition("/")[2]), config.latency_threads if config.device == "cpu" else None
    made: dict[str, Optimised] = {}
    with settled(torch.device(config.device), threads):
        for level, spec in specs.items():
            say(f"Fastest mode of {level} at {place} ...")
            try:
                model = build(spec, seed=0)
                timing = {"device": config.device, "batch_size": batch_size, "budget_s": BUDGET_S / 3}
                made[level] = optimise(model, compile=compile, runtime="auto", **timing)  # type: ignore[arg-type]
            except Exception as error:  # too little memory, or no stack that keeps the outputs
                say(f"{level} has no fastest mode at {place}: {first_line(error)}")
    reference, modes = next(iter(specs)), dict[str, dict[str, Any] | None](dict.fromkeys(specs))
    if reference not in made:
        return modes
    times = compare_latency(
        made, batch_size=batch_size, device=config.device, reference=reference, image_size=config.data["image_size"],
        num_threads=threads, budget_s=BUDGET_S * len(made), only_calls=True,
    )  # fmt: skip
    for level, network in made.items():
        timed = times[level]
        if timed.median_ms is not None:
            ends = {"low": timed.ratio_low, "high": timed.ratio_high} if level != reference else {}
            mode = " + ".join(network.steps) or "eager"
            modes[level] = to_plain(FastestMode(mode=mode, ms=timed.median_ms, ratio=timed.ratio, **ends))
    return modes
