"""Which networks to time, and in which comparisons, so that a budget is kept: all of them, or a sample that stays unbiased.

The finest of these that the budget allows: every network of the factorial; random paths through it (at least MIN_BLOCKS blocks of
two); the same for the factorial in which encoder body and decoder body are one factor each: a coarser answer, which says so.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ablation.explain.factorial import Factorial
from ablation.explain.shapley import Cell, Lattice, Ordering, cells_of
from ablation.timing.latency_result import LatencyComparison

MIN_BLOCKS = 5
MAX_BLOCKS = 40
EXACT_ROUNDS = (8, 60)
# at least, at most
BLOCK_ROUNDS = 8
# of a sampled block: more blocks are worth more than more rounds
WARMUP_ROUNDS = 12
# typical: 4 on a quiet machine, 20 on one that never settles; and some calls before them
CALLS_BEFORE = 5
BLOCK_MS = {"cpu": 12.0, "cuda": 14.0}
# least time of one network in one round
BUILD_S = {"cpu": 0.2, "cuda": 0.4}
# to build and copy
MAX_TOGETHER = 26
# networks that are loaded at once
OVERDUE = 3.0
# times its expected duration after which a comparison is cut short


@dataclass(frozen=True, kw_only=True)
class LatencyDesign:
    """What to time. Groups are comparisons; the first network leads each of them."""

    factorial: Factorial
    # perhaps a coarser one than was asked for
    exact: bool
    groups: tuple[tuple[str, ...], ...]
    # network keys. Sampled: first the main effects' group, then one for each block
    orderings: tuple[tuple[Ordering, ...], ...] = ()
    # of each block
    rounds: int
    expected_s: float
    budget_s: float
    coarse: bool = False

    @property
    def num_networks(self) -> int:
        """Different networks that are timed."""
        return len({key for group in self.groups for key in group})

    def shortfall(self, comparisons: Sequence[LatencyComparison]) -> str:
        """What time did not allow of the plan, in one sentence; empty where all was done."""
        fewest = min((len(c.samples.get("call", ())) for c in comparisons), default=0)
        missing = len(self.groups) - len(comparisons)
        told = [f"{missing} of {len(self.groups)} groups of networks were not timed"] if missing else []
        told += [f"a group of networks had {fewest} of {self.rounds} rounds"] if fewest < self.rounds else []
        return f"Latency: {' and '.join(told)}, for time ran out." if told else ""

    @property
    def text(self) -> str:
        """The plan: what is exact and what is sampled, in one sentence."""
        whole = "with encoder body and decoder body as one factor each, " if self.coarse else ""
        timed = f"{self.num_networks} of {len(self.factorial.networks)} networks timed"
        if self.exact:
            return f"Latency: {whole}{timed}, {self.rounds} rounds; Shapley values are exact but for noise."
        return (
            f"Latency: {whole}{timed}, along {len(self.orderings)} pairs of random orderings, {self.rounds} rounds each; "
            "Shapley intervals include the choice of orderings. Pairwise interactions need all networks."
        )


def latency_design(
    factorial: Factorial,
    budget_s: float,
    *,
    call_ms: float,
    device: str = "cpu",
    max_together: int = MAX_TOGETHER,
    seed: int = 0,
) -> LatencyDesign:
    """The finest design for `budget_s` seconds, where a call of a typical network takes `call_ms` (the mean of both, say).

    Where not even the coarsest fits, it is returned all the same: `expected_s` tells.
    """
    place = device.partition(":")[0]
    round_s = max(call_ms, BLOCK_MS[place]) / 1e3
    fixed_s = BUILD_S[place] + (CALLS_BEFORE * call_ms / 1e3) + (WARMUP_ROUNDS * round_s)
    designs = []
    coarser = factorial.coarse()
    for chosen in (factorial,) if coarser.names == factorial.names else (factorial, coarser):
        coarse = chosen is not factorial
        designs.append(_exact(chosen, budget_s, fixed_s, round_s, max_together, coarse))
        if len(chosen.names) > 2:
            designs.append(_sampled(chosen, budget_s, fixed_s, round_s, coarse, seed))
    return next((d for d in designs if d.expected_s <= budget_s), min(designs, key=lambda d: d.expected_s))


def _exact(factorial: Factorial, budget_s: float, fixed_s: float, round_s: float, max_together: int, coarse: bool) -> LatencyDesign:
    first, *others = factorial.networks
    size = max_together - 1
    groups = tuple((first, *others[i : i + size]) for i in range(0, len(others), size))
    lanes = sum(len(group) + 1 for group in groups)  # the first is timed twice in each
    affordable = int((budget_s - lanes * fixed_s) / (lanes * round_s))
    rounds = min(max(affordable, EXACT_ROUNDS[0]), EXACT_ROUNDS[1])
    expected = lanes * (fixed_s + rounds * round_s)
    return LatencyDesign(
        factorial=factorial, exact=True, groups=groups, rounds=rounds, expected_s=expected, budget_s=budget_s, coarse=coarse
    )


def _sampled(factorial: Factorial, budget_s: float, fixed_s: float, round_s: float, coarse: bool, seed: int) -> LatencyDesign:
    names, rng = factorial.names, random.Random(seed)
    lattice, whole = Lattice(names, factorial.cells), frozenset(names)
    alone = [cell for name in names for cell in (frozenset((name,)), whole - {name}) if cell in factorial.cells]
    network_s = fixed_s + BLOCK_ROUNDS * round_s
    affordable = int((budget_s / network_s - len(alone) - 3) / (2 * len(names) + 1))
    num_blocks = min(max(affordable, MIN_BLOCKS), MAX_BLOCKS)
    orderings = tuple(_pair(lattice, rng) for _ in range(num_blocks))
    cells = [alone, *([cell for order in pair for cell in cells_of(order)] for pair in orderings)]
    groups = tuple(_keys(factorial, some) for some in cells)
    return LatencyDesign(
        factorial=factorial, exact=False, groups=groups, orderings=orderings, rounds=BLOCK_ROUNDS,
        expected_s=sum(len(group) + 1 for group in groups) * network_s, budget_s=budget_s, coarse=coarse,
    )  # fmt: skip


def _pair(lattice: Lattice, rng: random.Random) -> tuple[Ordering, Ordering]:
    # the reverse of a uniform draw is a uniform draw only where every cell exists
    order = lattice.draw(rng)
    return order, order[::-1] if len(lattice.cells) == lattice.full + 1 else lattice.draw(rng)


def _keys(factorial: Factorial, cells: Sequence[Cell]) -> tuple[str, ...]:
    ends = (factorial.first.network_key, factorial.second.network_key)
    return tuple(dict.fromkeys((*ends, *(factorial.keys[cell] for cell in cells))))


def time_design(
    design: LatencyDesign,
    *,
    batch_size: int = 1,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    compare: Callable[..., LatencyComparison] | None = None,
    clock: Callable[[], float] = time.perf_counter,
    **settings: Any,
) -> tuple[LatencyComparison, ...]:
    """Build and time the groups of a design, one after the other. `progress(groups done, groups)`; `settings`: of compare_latency.

    Beyond the budget a sampled design stops after the block at hand, once there are MIN_BLOCKS: how many were timed shows in the
    length of the answer. A comparison that takes OVERDUE times as long as expected gets fewer rounds, which shows in its `rounds`.
    """
    from ablation.compose import build
    from ablation.timing.latency import compare_latency

    timer = compare or compare_latency
    start = clock()
    found: list[LatencyComparison] = []
    for number, group in enumerate(design.groups):
        if progress is not None:
            progress(number, len(design.groups))
        if not design.exact and len(found) > MIN_BLOCKS and clock() - start > design.budget_s:
            break
        models = {key: build(design.factorial.networks[key], seed=0) for key in group}
        overdue = OVERDUE * design.expected_s / len(design.groups)
        chosen = {"rounds": (design.rounds, design.rounds), "budget_s": overdue, "only_calls": True, **settings}
        found.append(timer(models, reference=group[0], batch_size=batch_size, device=device, **chosen))
    return tuple(found)
