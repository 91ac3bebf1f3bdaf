"""`bench coverage`: every construction that prints a 95 % interval, simulated with known truth, on all cores.

The work is cut into chunks of runs, each with a seed of its own; a finished chunk is kept in `cases.csv`, so that the same command
goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd

from ablation.machine.cores import num_cores
from ablation.machine.files import write_atomic
from studies.bench.simulate import Simulated, designs, effects

RUNS, QUICK_RUNS, CHUNK = 2000, 100, 250
LEAST, MOST, FAMILY = 0.93, 0.98, 0.05


def _cases() -> Iterator[tuple[str, Callable[..., list[Simulated]]]]:
    """Name and simulation (of `runs` and `seed`) of every case, the longest first."""
    for truth in (designs.INTERACTING, designs.NULL):
        yield f"sampled {truth}", partial(designs.coverage_of_sampled, truth=truth)
    for truth in (designs.INTERACTING, designs.NULL):
        for sittings, rounds in ((3, 6), (5, 20)):
            exact = partial(designs.coverage_of_exact, truth=truth, sittings=sittings, rounds=rounds)
            yield f"exact {truth} {sittings} {rounds}", exact
    for sittings, rounds in product((3, 4, 5, 6), (6, 20, 60)):
        yield f"ratio {sittings} {rounds}", partial(designs.coverage_of_ratio, sittings=sittings, rounds=rounds)
    for factors, sittings in ((2, 3), (3, 5)):
        yield f"grid {factors} {sittings}", partial(effects.false_alarms, factors, 3, sittings)
    for timed, most in ((False, range(3, 6)), (True, range(3, 7))):
        for contexts, repeats in product((1, 2, 4), most):
            yield f"interaction {timed} {contexts} {repeats}", partial(effects.interaction_coverage, contexts, repeats, timed=timed)
    for case in effects.cases():
        yield f"effect {case.name}", partial(effects.effect_coverage, case)


def simulate(runs: int, kept: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> list[Simulated]:
    """All cases with so many runs, in processes of one thread each; finished chunks are read from `kept` and added to it."""
    chunks = {
        f"{name}, chunk {seed}": partial(run, runs=min(CHUNK, runs - start), seed=seed)
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
        key = (row.construction, row.case)
        before = whole.get(key, row._replace(runs=0, intervals=0, hits=0, wrong=None if row.wrong is None else 0))
        sums = [None if new is None else (old or 0) + new for old, new in zip(before[2:], row[2:], strict=True)]
        whole[key] = Simulated(*key, *sums)  # type: ignore[arg-type]
    return list(whole.values())


def by_construction(rows: Sequence[Simulated]) -> dict[str, list[Simulated]]:
    """The rows of each construction, in order."""
    return {name: [row for row in rows if row.construction == name] for name in dict.fromkeys(row.construction for row in rows)}
