"""Costs of a whole space in `bench`: modules that networks share counted once, against the full count of each network."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from ablation.design.space import Space, level_text
from ablation.design.spec import preset
from ablation.measure.costs.static import static_cost
from ablation.search.costs import SpaceCosts, space_costs
from studies.bench.result import Bench, Result

CONVS = ("standard", "separable", "pointwise_first")
CONNECTIVITIES = ("plain", "dense", "residual")
# field of a spec -> its levels; a choice for each of four stages where they are lists: 80 million million combinations
LEVELS: Mapping[str, Sequence[Any]] = {
    "encoder_conv": [*map(list, product(CONVS, repeat=4))],
    "decoder_conv": [*map(list, product(CONVS, repeat=4))],
    "encoder_connectivity": [*map(list, product(CONNECTIVITIES, repeat=4))],
    "decoder_connectivity": [*map(list, product(CONNECTIVITIES, repeat=4))],
    "depth": [*map(list, product((1, 2), repeat=4))],
    "kernel_size": [*map(list, product((3, 5), repeat=4))],
    "encoder_stem": [0, 32],
    "encoder_widths": [[32, 64, 128, 256], [32, 64, 96, 128], [64, 128, 256, 512]],
    "decoder_widths": [[256, 128, 64, 32], [128, 96, 64, 32]],
    "head": ["flatten", "pooled", "bottleneck"],
    "down": ["max", "avg", "strided", "unshuffle"],
    "up": ["nearest", "bilinear", "transposed", "shuffle"],
    "growth_rate": [16, 32],
}
PER_MINUTE = 10_000


def bench_space(bench: Bench) -> list[Result]:
    """Variants costed in a minute of one core, spec and key included; and 500 of them in full, compared in every number."""
    num_checked, num_costed = (10, 500) if bench.quick else (500, 20_000)
    factors = {field: {level_text(level): {field: level} for level in levels} for field, levels in LEVELS.items()}
    space, draw = Space(name="bench", base=preset("original"), factors=factors), random.Random(0)
    drawn = [{factor: draw.choice(list(levels)) for factor, levels in factors.items()} for _ in range(num_costed)]
    bench.say(f"space: {num_costed:,} of {space.num_combinations():.1g} variants, shared modules counted once ...")
    counts, begin = SpaceCosts(), time.process_time()
    table = space_costs(space, drawn, counts)
    seconds = time.process_time() - begin
    assert table.valid.all() and not counts.num_networks
    rate, num_modules = 60 * num_costed / seconds, counts.num_modules
    bench.say(f"space: {num_checked} of them in full ...")
    full_seconds, different = _compare(space, drawn[:num_checked], SpaceCosts())
    full_rate = 60 * num_checked / full_seconds
    detail = f"{num_costed:,} variants, {num_modules:,} modules counted, {seconds:.1f} s of CPU time, specs and keys included"
    side_by_side = f"{rate:,.0f} against {full_rate:,.0f} variants a minute"
    return [
        Result("variants costed in a minute of one core", rate, "", f"at least {PER_MINUTE:,}", rate >= PER_MINUTE, detail),
        Result("rate over that of the full count", rate / full_rate, "x", "above 1", rate > full_rate, side_by_side),
        Result("sums that differ from the full count in any number", different, f"of {num_checked}", "0", different == 0),
    ]


def _compare(space: Space, drawn: Sequence[Mapping[str, str]], counts: SpaceCosts) -> tuple[float, int]:
    """Seconds of CPU time for the full counts, specs included; and in how many the sum differs: in all, by part or by class."""
    seconds, different = 0.0, 0
    for factors in drawn:
        begin = time.process_time()
        spec = space.variant(factors).spec
        full = static_cost(spec)
        seconds += time.process_time() - begin
        different += counts.of(spec) != full
    return seconds, different
