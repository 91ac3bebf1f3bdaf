"""Safety in `bench`: what a study adds to its trials, what a killed worker costs, and whether intervals cover."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from studies.bench.coverage import FAMILY, LEAST, MOST, QUICK_RUNS, RUNS, Simulated, by_construction, simulate
from studies.bench.result import Bench, Result
from studies.bench.synthetic import kill_and_resume, run_empty_study


def bench_overhead(bench: Bench) -> list[Result]:
    """The suite's own time for a whole study whose trials do nothing, over that of trials that take 10 s."""
    count = 12 if bench.quick else 60
    bench.say(f"overhead: planning, storing and reporting {count} trials that do nothing ...")
    with tempfile.TemporaryDirectory() as name:
        seconds = run_empty_study(Path(name), count)
    share = 100 * seconds / (10 * count)
    detail = f"{seconds:.2f} s for {count} trials"
    return [Result("planning, storage and report of a study", share, "% of trials of 10 s", "at most 1", share <= 1, detail)]


def bench_kill(bench: Bench) -> list[Result]:
    """4 workers, 3 of them killed at random times, then the same command again: every variant complete exactly once."""
    count = 12 if bench.quick else 48
    bench.say(f"kill: {count} trials, 4 workers, SIGKILL to 3 of them at random times, then the study again ...")
    with tempfile.TemporaryDirectory() as name:
        outcome = kill_and_resume(Path(name), count, num_workers=4, num_killed=3, seed=time.time_ns() % 2**32)
    wrong = outcome["missing"] + outcome["twice"]
    detail = f"{outcome['killed']} workers killed, {outcome['complete']} of {count} complete"
    detail += f", {outcome['twice']} complete twice, {outcome['missing']} lost"
    met = wrong == 0 and outcome["killed"] == 3
    return [Result("variants lost or done twice", wrong, f"of {count}", "0", met, detail)]


def bench_coverage(bench: Bench) -> list[Result]:
    """Every construction that prints a 95 % interval, simulated with known truth; and how often something is settled by chance."""
    runs = QUICK_RUNS if bench.quick else RUNS

    def progress(done: int, total: int) -> None:
        if done % 50 == 0 or done == total:
            bench.say(f"coverage: {done} of {total} chunks, {runs:,} simulated measurements of each case")

    groups = by_construction(simulate(runs, bench.out / "cases.csv", progress))
    return [covered(name, groups[name], runs) for name in sorted(groups)]


def covered(name: str, rows: list[Simulated], runs: int) -> Result:
    """The lowest and the highest coverage of one construction; or its most false verdicts, where it judges several together."""
    wrong = [(row.false_share, row.case) for row in rows if row.false_share is not None]
    if wrong:
        share, case = max(wrong)
        detail = f"{case}; the most of {len(wrong)} cases, {runs:,} runs each"
        return Result(f"{name}, runs with a false verdict", 100 * share, "%", "at most 5", share <= FAMILY, detail)
    shares = [(row.coverage, row.case) for row in rows if row.coverage is not None]
    (low, case), (high, _) = min(shares), max(shares)
    without = f"; {len(rows) - len(shares)} cases print no interval" if len(shares) < len(rows) else ""
    rule, met = f"{100 * LEAST:.0f} to {100 * MOST:.0f}", low >= LEAST and high <= MOST
    detail = f"{case}; the least of {len(shares)} cases, the most {high:.1%}; {runs:,} runs each{without}"
    return Result(f"{name}, coverage", 100 * low, "%", rule, met, detail)
