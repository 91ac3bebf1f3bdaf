"""Costs of a whole space in `bench`: modules that networks share counted once, against the full count of each network."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from itertools import product

from ablation.design.space import Space, load_space
from ablation.measure.costs.static import static_cost
from ablation.search.costs import SpaceCosts, space_costs
from studies.bench.result import Bench, Result
from studies.grid.command import space_file

PER_MINUTE = 10_000


def bench_space(bench: Bench) -> list[Result]:
    """Variants of a whole space costed in a minute of one core, spec and key included; 500 of them in full, all numbers too."""
    name, num_checked = ("replay", 10) if bench.quick else ("search", 500)
    space = load_space(space_file(name, None), whole=False)
    assignments = [dict(zip(space.factors, levels, strict=True)) for levels in product(*space.factors.values())]
    bench.say(f"space: all {len(assignments):,} variants of {name}, shared modules counted once ...")
    counts, begin = SpaceCosts(), time.process_time()
    table = space_costs(space, assignments, counts)
    seconds = time.process_time() - begin
    assert table.valid.all() and not counts.num_networks
    rate, num_modules = 60 * len(assignments) / seconds, counts.num_modules
    bench.say(f"space: {num_checked} of them in full ...")
    full_seconds, different = _compare(space, random.Random(0).sample(assignments, num_checked), SpaceCosts())
    full_rate = 60 * num_checked / full_seconds
    about = f"all {len(assignments):,} of the space {name}, {num_modules:,} modules counted"
    detail = f"{about}, {seconds:.1f} s of CPU time, specs and keys included"
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
        spec = space.variant(factors).model_spec
        full = static_cost(spec)
        seconds += time.process_time() - begin
        different += counts.of(spec) != full
    return seconds, different
