"""`bench coverage`: every construction that prints a 95 % interval, simulated with known truth, on all cores.

The work is cut into chunks of runs, each with a seed of its own; a finished chunk is kept in `cases.csv`, so that the same command
goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ablation.machine.cores import num_cores
from ablation.machine.files import write_atomic
from studies.bench.simulate import designs, effects

RUNS, QUICK_RUNS, CHUNK = 2000, 100, 250
LEAST, MOST, FAMILY = 0.93, 0.98, 0.05


class Simulated(NamedTuple):
    """One case: its runs, the intervals that they printed and those that held the truth; or the runs with a false verdict."""

    construction: str
    case: str
    runs: int
    intervals: int = 0
    hits: int = 0
    # None where nothing is judged
    wrong: int | None = None

    @property
    def coverage(self) -> float | None:
        """Share of the intervals that hold the truth; None where none was printed."""
        return self.hits / self.intervals if self.intervals else None

    @property
    def false_share(self) -> float | None:
        """Share of runs with a false verdict; None where nothing is judged."""
        return None if self.wrong is None else self.wrong / self.runs


Job = Callable[[], list[Simulated]]


def _effect(case: effects.Case, runs: int, seed: int) -> list[Simulated]:
    name = "effect of a swap on latency" if case.timed else "effect of a swap on a trained metric"
    found = effects.effect_coverage(case, runs, seed)
    return [Simulated(name, case.name, runs, found.intervals, found.hits)]


def _interaction(num_contexts: int, repeats: int, timed: bool, runs: int, seed: int) -> list[Simulated]:
    found = effects.interaction_coverage(num_contexts, repeats, timed=timed, runs=runs, seed=seed)
    return [
        Simulated(f"interaction in {'latency' if timed else 'a trained metric'}", found.case, runs, found.intervals, found.hits)
    ]


def _grid(num_factors: int, num_seeds: int, num_sittings: int, runs: int, seed: int) -> list[Simulated]:
    case = f"{num_factors} factors, {num_seeds} seeds, {num_sittings} sittings"
    wrong = round(runs * effects.false_alarms(num_factors, num_seeds, num_sittings, runs, seed))
    return [Simulated("effects and interactions of a grid", case, runs, wrong=wrong)]


def _design(
    make: Callable[..., designs.Coverage], construction: str, options: dict[str, object], runs: int, seed: int
) -> list[Simulated]:
    found = make(runs, seed=seed, **options)
    parts = [
        Simulated(f"{construction}: {kind.replace('_', ' ')}", found.name, runs, num, hits)
        for kind, (num, hits) in found.counts.items()
    ]
    if make is designs.coverage_of_ratio:  # one verdict is no family
        return parts
    return [*parts, Simulated(construction, found.name, runs, wrong=found.wrong)]


def _cases() -> Iterator[tuple[str, Callable[[int, int], list[Simulated]]]]:
    """Name and simulation (runs, seed) of every case, the longest first."""
    exact, sampled, ratio = "latency by the exact design", "latency by the sampled design", "ratio of two networks"
    for truth in (designs.INTERACTING, designs.NULL):
        yield f"sampled {truth}", partial(_design, designs.coverage_of_sampled, sampled, {"truth": truth})
    for truth in (designs.INTERACTING, designs.NULL):
        for sittings, rounds in ((3, 6), (5, 20)):
            options: dict[str, object] = {"truth": truth, "sittings": sittings, "rounds": rounds}
            yield f"exact {truth} {sittings} {rounds}", partial(_design, designs.coverage_of_exact, exact, options)
    for sittings in (3, 4, 5, 6):
        for rounds in (6, 20, 60):
            options = {"sittings": sittings, "rounds": rounds}
            yield f"ratio {sittings} {rounds}", partial(_design, designs.coverage_of_ratio, ratio, options)
    for factors, sittings in ((2, 3), (3, 5)):
        yield f"grid {factors} {sittings}", partial(_grid, factors, 3, sittings)
    for timed, most in ((False, range(3, 6)), (True, range(3, 7))):
        for contexts in (1, 2, 4):
            for repeats in most:
                yield f"interaction {timed} {contexts} {repeats}", partial(_interaction, contexts, repeats, timed)
    for case in effects.cases():
        yield f"effect {case.name}", partial(_effect, case)


def simulate(runs: int, kept: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> list[Simulated]:
    """All cases with so many runs, in processes of one thread each; finished chunks are read from `kept` and added to it."""
    chunks = {
        f"{name}, chunk {seed}": partial(run, min(CHUNK, runs - start), seed)
        for name, run in _cases()
        for seed, start in enumerate(range(0, runs, CHUNK))
    }
    stored = pd.read_csv(kept, keep_default_na=False).to_dict("records") if kept.is_file() else []
    rows = [(str(row["chunk"]), _typed(row)) for row in stored if row["chunk"] in chunks and row["of"] == runs]
    waiting = {name: job for name, job in chunks.items() if name not in {chunk for chunk, _ in rows}}
    with ProcessPoolExecutor(num_cores(), mp_context=get_context("spawn")) as pool:
        names = {pool.submit(job): name for name, job in waiting.items()}
        try:
            for done, future in enumerate(as_completed(names), 1 + len(chunks) - len(waiting)):
                rows += [(names[future], row) for row in future.result()]
                if done % 10 == 0 or done == len(chunks):
                    _keep(rows, runs, kept)
                progress(done, len(chunks))
        except BaseException:  # Ctrl-C too: what is done is kept
            pool.shutdown(wait=False, cancel_futures=True)
            _keep(rows, runs, kept)
            raise
    return _added([row for _, row in rows])


def _typed(row: Mapping[Hashable, Any]) -> Simulated:
    """A row of the file."""
    runs, intervals, hits = (int(row[name]) for name in ("runs", "intervals", "hits"))
    wrong = str(row["wrong"])
    return Simulated(str(row["construction"]), str(row["case"]), runs, intervals, hits, int(float(wrong)) if wrong else None)


def _keep(rows: Sequence[tuple[str, Simulated]], runs: int, kept: Path) -> None:
    """Written whole or not at all."""
    frame = pd.DataFrame([{"chunk": chunk, "of": runs, **row._asdict()} for chunk, row in rows])
    write_atomic(kept, lambda part: frame.to_csv(part, index=False))


def _added(rows: Sequence[Simulated]) -> list[Simulated]:
    """The chunks of each case as one."""
    whole: dict[tuple[str, str], Simulated] = {}
    for row in rows:
        before = whole.get((row.construction, row.case))
        if before is not None:
            wrong = None if row.wrong is None else row.wrong + (before.wrong or 0)
            row = row._replace(
                runs=before.runs + row.runs, intervals=before.intervals + row.intervals, hits=before.hits + row.hits, wrong=wrong
            )  # fmt: skip
        whole[row.construction, row.case] = row
    return list(whole.values())


def by_construction(rows: Sequence[Simulated]) -> dict[str, list[Simulated]]:
    """The rows of each construction, in order."""
    groups: dict[str, list[Simulated]] = {}
    for row in rows:
        groups.setdefault(row.construction, []).append(row)
    return groups
