"""`bench coverage`: every construction that prints a 95 % interval, simulated with known truth, on all cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import NamedTuple

from ablation.cores import num_cores
from ablation.simulate import designs, effects

RUNS, QUICK_RUNS = 2000, 100
LEAST, MOST, FAMILY = 0.93, 0.98, 0.05


class Simulated(NamedTuple):
    """How often the intervals of one case covered; `wrong`: the share of runs that settled something that isn't there."""

    construction: str
    case: str
    coverage: float | None
    wrong: float | None = None


def _effect(case: effects.Case, runs: int) -> list[Simulated]:
    name = "effect of a swap on latency" if case.timed else "effect of a swap on a trained metric"
    return [Simulated(name, case.name, effects.effect_coverage(case, runs).share)]


def _interaction(num_contexts: int, repeats: int, timed: bool, runs: int) -> list[Simulated]:
    found = effects.interaction_coverage(num_contexts, repeats, timed=timed, runs=runs)
    return [Simulated(f"interaction in {'latency' if timed else 'a trained metric'}", found.case, found.share)]


def _grid(num_factors: int, num_seeds: int, num_sittings: int, runs: int) -> list[Simulated]:
    case = f"{num_factors} factors, {num_seeds} seeds, {num_sittings} sittings"
    return [
        Simulated(
            "effects and interactions of a grid", case, None, effects.false_alarms(num_factors, num_seeds, num_sittings, runs)
        )
    ]


def _design(make: Callable[..., designs.Coverage], construction: str, runs: int, **options: object) -> list[Simulated]:
    found = make(runs, **options)
    parts = [Simulated(f"{construction}: {kind.replace('_', ' ')}", found.name, share) for kind, share in found.coverage.items()]
    if make is designs.coverage_of_ratio:  # one verdict is no family
        return parts
    return [*parts, Simulated(construction, found.name, None, found.family_wise_error)]


def jobs(runs: int) -> list[Callable[[], list[Simulated]]]:
    """Everything that is simulated, the longest first."""
    exact, sampled = "latency by the exact design", "latency by the sampled design"
    return [
        *(
            partial(_design, designs.coverage_of_sampled, sampled, runs, truth=truth)
            for truth in (designs.INTERACTING, designs.NULL)
        ),
        *(
            partial(_design, designs.coverage_of_exact, exact, runs, truth=truth, sittings=sittings, rounds=rounds)
            for truth in (designs.INTERACTING, designs.NULL)
            for sittings, rounds in ((3, 6), (5, 20))
        ),
        *(
            partial(_design, designs.coverage_of_ratio, "ratio of two networks", runs, sittings=sittings, rounds=rounds)
            for sittings in (3, 4, 5, 6)
            for rounds in (6, 20, 60)
        ),
        *(partial(_grid, factors, 3, sittings, runs) for factors, sittings in ((2, 3), (3, 5))),
        *(
            partial(_interaction, contexts, repeats, timed, runs)
            for timed, most in ((False, range(3, 6)), (True, range(3, 7)))
            for contexts in (1, 2, 4)
            for repeats in most
        ),
        *(partial(_effect, case, runs) for case in effects.cases()),
    ]


def simulate(runs: int, progress: Callable[[int, int], None] = lambda done, total: None) -> list[Simulated]:
    """All of them, in processes of one thread each."""
    every = jobs(runs)
    rows: list[Simulated] = []
    with ProcessPoolExecutor(num_cores(), mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(job) for job in every]
        for done, future in enumerate(waiting, 1):
            rows += future.result()
            progress(done, len(every))
    return rows


def by_construction(rows: Sequence[Simulated]) -> dict[str, list[Simulated]]:
    """The rows of each construction, in order."""
    groups: dict[str, list[Simulated]] = {}
    for row in rows:
        groups.setdefault(row.construction, []).append(row)
    return groups
