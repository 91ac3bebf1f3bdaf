"""Which networks to time, and in which comparisons, so that a budget is kept: all of them, or a sample that stays unbiased.

The finest of these that the budget allows: every network of the factorial, in several sittings; random paths through it (at least
MIN_BLOCKS blocks of two, each loaded apart, and in sittings of their own the networks one swap from either end); the same for the
factorial in which encoder body and decoder body are one factor each, a coarser answer, which says so; that in one sitting, which
gives values without intervals.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ablation.attribute.factorial import Factorial
from ablation.attribute.lattice import Cell, Lattice, Ordering, cells_of
from ablation.measure.latency.interleave import ROUNDS, SITTINGS
from ablation.measure.latency.result import LatencyComparison
from ablation.measure.latency.statistics import num_whole
from ablation.stats import LEAST_ROUNDS, LEAST_SITTINGS

# fewer cover less than 93 % of strongly interacting factors (`studies.bench.simulate.designs`)
MIN_BLOCKS = 12
MAX_BLOCKS = 40
# of a sampled block: more blocks are worth more than more rounds
BLOCK_ROUNDS = 8
# of each sitting; typical: 4 on a quiet machine, 20 on one that never settles
WARMUP_ROUNDS = 8
# before them, to load and to choose how many fill a block
CALLS_BEFORE = 6
# least time of one network in one round
BLOCK_MS = {"cpu": 12.0, "cuda": 14.0}
# to build and copy
BUILD_S = {"cpu": 0.2, "cuda": 0.4}
# networks that are loaded at once
MAX_TOGETHER = 26
# times its expected duration after which a comparison is cut short
OVERDUE = 3.0


@dataclass(frozen=True, kw_only=True)
class LatencyDesign:
    """What to time. Groups are comparisons; the first network leads each of them."""

    # perhaps a coarser one than was asked for
    factorial: Factorial
    exact: bool
    # network keys. Sampled: first the group of the effects alone and undone, then one for each block
    groups: tuple[tuple[str, ...], ...]
    orderings: tuple[tuple[Ordering, ...], ...] = ()
    # of a sitting at most, and of a block
    rounds: int
    # of each group; of a sampled design of the first, for each block is one
    sittings: int
    # of one network: in such a group, in a block
    network_s: tuple[float, float]
    budget_s: float
    coarse: bool = False

    def is_block(self, number: int) -> bool:
        """Whether this group is a block of a sampled design."""
        return not self.exact and number > 0

    def group_s(self, number: int) -> float:
        """Seconds that this group is expected to take."""
        return (len(self.groups[number]) + 1) * self.network_s[self.is_block(number)]

    @property
    def expected_s(self) -> float:
        """Seconds that all of it is expected to take."""
        return sum(self.group_s(number) for number in range(len(self.groups)))

    @property
    def num_networks(self) -> int:
        """Different networks that are timed."""
        return len({key for group in self.groups for key in group})

    def shortfall(self, comparisons: Sequence[LatencyComparison]) -> str:
        """What time did not allow of the plan, in one sentence; empty where all was done."""
        missing = len(self.groups) - len(comparisons)
        blocks = [len(c.sittings) for number, c in enumerate(comparisons) if self.is_block(number)]
        whole = [num_whole(np.array(c.sittings)) for number, c in enumerate(comparisons) if not self.is_block(number)]
        short = [f"{missing} of {len(self.groups)} groups of networks were not timed"] if missing else []
        short += [f"a block had {min(blocks)} of {self.rounds} rounds"] if blocks and min(blocks) < self.rounds else []
        if whole and min(whole) < self.sittings:
            short.append(f"a group of networks had {min(whole)} of {self.sittings} sittings of {LEAST_ROUNDS} rounds at least")
        return f"Latency: {' and '.join(short)}, because time ran out." if short else ""

    @property
    def text(self) -> str:
        """The plan: what is measured and what is estimated from a sample, in one sentence."""
        whole = "with encoder body and decoder body as one factor each, " if self.coarse else ""
        timed = f"{self.num_networks} of {len(self.factorial.networks)} networks timed"
        rounds = f"{LEAST_ROUNDS} to {self.rounds}" if self.rounds > LEAST_ROUNDS else str(self.rounds)
        several = f"{self.sittings} sitting{'s' if self.sittings > 1 else ''} of {rounds} rounds"
        if self.exact:
            few = f" Too few sittings for intervals, which take {LEAST_SITTINGS}." if self.sittings < LEAST_SITTINGS else ""
            return f"Latency: {whole}{timed}, in {several}, networks loaded anew for each.{few}"
        return (
            f"Latency: {whole}{timed}, along {len(self.orderings)} pairs of random orderings, each loaded apart and timed for "
            f"{self.rounds} rounds; effects alone and undone in {several}. Shapley values are estimated from these orderings, and "
            "their intervals include the choice of orderings. Pairwise interactions and the greedy path need all networks."
        )


def latency_design(
    factorial: Factorial, budget_s: float, *, call_ms: float, device: str = "cpu", max_together: int = MAX_TOGETHER, seed: int = 0
) -> LatencyDesign:
    """The finest design for `budget_s` seconds, where a call of a typical network takes `call_ms` (the mean of both, say).

    Where not even the coarsest fits, it is returned all the same: `expected_s` tells.
    """
    pace = Pace(call_ms, device.partition(":")[0])
    designs = []
    coarser = factorial.coarse()
    for chosen in (factorial,) if coarser.names == factorial.names else (factorial, coarser):
        coarse = chosen is not factorial
        designs.append(exact_design(chosen, budget_s, pace, max_together, coarse))
        if len(chosen.names) > 2:
            designs.append(sampled_design(chosen, budget_s, pace, coarse, seed))
    designs.append(exact_design(coarser, budget_s, pace, max_together, coarser.names != factorial.names, several=False))
    return next((d for d in designs if d.expected_s <= budget_s), designs[-1])


class Pace:
    """Seconds that one network takes: for a round, and before the rounds of a sitting."""

    def __init__(self, call_ms: float, place: str) -> None:
        self.round_s = max(call_ms, BLOCK_MS[place]) / 1e3
        self.build_s = BUILD_S[place]
        self.before_s = CALLS_BEFORE * call_ms / 1e3 + WARMUP_ROUNDS * self.round_s

    def network_s(self, sittings: int, rounds: int) -> float:
        """Of one network, built once and loaded for each of so many sittings."""
        return self.build_s + sittings * (self.before_s + rounds * self.round_s)


def exact_design(
    factorial: Factorial, budget_s: float, pace: Pace, max_together: int, coarse: bool, *, several: bool = True
) -> LatencyDesign:
    """Every network, in as many sittings and rounds as the budget allows; the least of `several`, or one sitting."""
    first, *others = factorial.networks
    size = max_together - 1
    groups = tuple((first, *others[i : i + size]) for i in range(0, len(others), size))
    lanes = sum(len(group) + 1 for group in groups)  # the first is timed twice in each
    plans = [(SITTINGS, ROUNDS[1]), *((sittings, LEAST_ROUNDS) for sittings in (SITTINGS, LEAST_SITTINGS))] if several else []
    plans = plans or [(1, ROUNDS[1]), (1, LEAST_ROUNDS)]
    sittings, rounds = next((plan for plan in plans if lanes * pace.network_s(*plan) <= budget_s), plans[-1])
    return LatencyDesign(
        factorial=factorial, exact=True, groups=groups, rounds=rounds, sittings=sittings, budget_s=budget_s, coarse=coarse,
        network_s=(pace.network_s(sittings, rounds), 0.0),
    )  # fmt: skip


def sampled_design(
    factorial: Factorial, budget_s: float, pace: Pace, coarse: bool, seed: int, least: int = MIN_BLOCKS
) -> LatencyDesign:
    """As many blocks as the budget allows, at `least`, and sittings for the effects alone and undone."""
    names, rng = factorial.names, random.Random(seed)
    lattice, whole = Lattice(names, factorial.cells), frozenset(names)
    ends = [cell for name in names for cell in (frozenset((name,)), whole - {name}) if cell in factorial.cells]
    block_s = (2 * len(names) + 1) * pace.network_s(1, BLOCK_ROUNDS)
    for sittings in (SITTINGS, LEAST_SITTINGS):
        network_s = pace.network_s(sittings, LEAST_ROUNDS)
        affordable = int((budget_s - (len(ends) + 3) * network_s) / block_s)
        if affordable >= least:
            break
    orderings = tuple(_pair(lattice, rng) for _ in range(min(max(affordable, least), MAX_BLOCKS)))
    cells = [ends, *([cell for order in pair for cell in cells_of(order)] for pair in orderings)]
    return LatencyDesign(
        factorial=factorial, exact=False, groups=tuple(_keys(factorial, some) for some in cells), orderings=orderings,
        rounds=BLOCK_ROUNDS, sittings=sittings, network_s=(network_s, pace.network_s(1, BLOCK_ROUNDS)), budget_s=budget_s,
        coarse=coarse,
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

    Every group, and so every block, is built and loaded by itself. Beyond the budget a sampled design stops after the block at
    hand, once there are MIN_BLOCKS: how many were timed shows in the length of the answer. A comparison that takes OVERDUE times as
    long as expected gets fewer sittings or rounds, which shows in its `sittings`.
    """
    from ablation.design.compose import build
    from ablation.measure.latency.compare import compare_latency

    timer = compare or compare_latency
    start = clock()
    comparisons: list[LatencyComparison] = []
    for number, group in enumerate(design.groups):
        if progress is not None:
            progress(number, len(design.groups))
        if not design.exact and len(comparisons) > MIN_BLOCKS and clock() - start > design.budget_s:
            break
        models = {key: build(design.factorial.networks[key], seed=0) for key in group}
        block = design.is_block(number)
        plan = {"rounds": (design.rounds,) * 2, "sittings": 1} if block else {"rounds": (LEAST_ROUNDS, design.rounds)}
        plan = {"sittings": design.sittings, **plan, "budget_s": OVERDUE * design.group_s(number), "seed": number}
        chosen = {"only_calls": True, **plan, **settings}
        comparisons.append(timer(models, reference=group[0], batch_size=batch_size, device=device, **chosen))
    return tuple(comparisons)
