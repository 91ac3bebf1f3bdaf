"""`bench search`: samplers compared on a table of trained networks, in processes; a finished run is kept, and not run again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from math import inf
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from optuna.samplers import BaseSampler
from scipy import stats

from ablation.machine.cores import num_cores
from ablation.machine.files import write_atomic
from ablation.report.kit import plot_style as style
from ablation.search.pool import Pool
from ablation.search.replay import Table, read_table, replay
from ablation.search.samplers import DEFAULT, FREE, GP, NSGA2, RANDOM, TPE, make_sampler
from ablation.stats import CONFIDENCE, holm
from studies.bench.result import Bench, Result

# sampler -> trainings of a run; GPSampler takes about a second for each proposal
TRAININGS: Mapping[str, int] = {GP: 60, NSGA2: 120, TPE: 120, DEFAULT: 120, RANDOM: 120}
SEEDS, QUICK_SEEDS = 30, 6
TARGET, AIM = 120, 40  # trainings of a random search whose hypervolume is to be reached, and in how many
COMPARED = (20, 40, 60)  # trainings after which samplers are compared
RIVALS = (TPE, GP)  # that are never to be better
REFIT = {"refit_every": 5}  # a search fits at each proposal; here every fifth is enough
Runs = Mapping[str, Mapping[int, Sequence[float]]]  # sampler -> seed -> share of the hypervolume after each training


class Run(NamedTuple):
    """One finished run, as the file has it."""

    table: str  # digest of the table
    sampler: str
    seed: int
    repeated: int  # proposals of networks that were known
    absent: int  # proposals of networks that the table doesn't have
    shares: str  # share of the table's hypervolume after each training, with blanks between


def bench_search(bench: Bench) -> list[Result]:
    """How many trainings each sampler needs for what a random search reaches in 120, and whether another is ever better."""
    table, digest = read_table(bench.table), hashlib.sha256(bench.table.read_bytes()).hexdigest()[:8]
    seeds = range(QUICK_SEEDS if bench.quick else SEEDS)
    samplers = [name for name in TRAININGS if not (bench.quick and name == GP)]
    if bench.quick:
        bench.say(f"search: {QUICK_SEEDS} seeds for each sampler, without {GP}, which is slow")
    finished = run_all(table, digest, samplers, seeds, bench.out / "replay.csv", bench.say)
    runs: Runs = {name: {run.seed: shares_of(run) for run in finished if run.sampler == name} for name in samplers}
    draw(runs, bench.out / "replay_medians")
    repeated = {name: sum(run.repeated for run in finished if run.sampler == name) / len(seeds) for name in samplers}
    return [needed(runs, repeated), never_worse(runs)]


def run_all(
    table: Table, digest: str, samplers: Sequence[str], seeds: Sequence[int], kept: Path, say: Callable[[str], None]
) -> list[Run]:
    """All runs of these samplers and seeds on a table; those that `kept` has are read, the others added to it."""
    stored = [_typed(row) for row in pd.read_csv(kept, dtype=str).to_dict("records")] if kept.is_file() else []
    before = {(run.sampler, run.seed): run for run in stored if run.table == digest}
    wanted = [(name, seed) for name in samplers for seed in seeds]
    waiting = [pair for pair in wanted if pair not in before]
    rows = list(before.values())
    with ProcessPoolExecutor(num_cores(), mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(run_one, table, digest, *pair) for pair in waiting]
        try:
            for done, future in enumerate(as_completed(futures), len(wanted) - len(waiting) + 1):
                rows.append(future.result())
                if done % 10 == 0 or done == len(wanted):
                    _keep(rows, kept)
                    say(f"search: {done} of {len(wanted)} replayed searches")
        except BaseException:  # Ctrl-C too: what is done is kept
            pool.shutdown(wait=False, cancel_futures=True)
            _keep(rows, kept)
            raise
    return sorted((run for run in rows if (run.sampler, run.seed) in wanted), key=lambda run: wanted.index((run.sampler, run.seed)))


def run_one(table: Table, digest: str, name: str, seed: int) -> Run:
    """One run, on one thread."""
    import optuna
    from threadpoolctl import threadpool_limits

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # one object for all proposals: what it knows of the pool and its last fit are kept
    free = cache(lambda pool: make_sampler(FREE, seed=seed, num_trials=0, pool=pool, settings=REFIT))

    def sampler(number: int, pool: Pool) -> BaseSampler:
        return free(pool) if name == FREE else make_sampler(name, seed=seed, num_trials=number)

    with threadpool_limits(1):
        result = replay(table, sampler, TRAININGS[name], seed)
    return Run(digest, name, seed, result.repeated, result.absent, " ".join(f"{share:.6f}" for share in result.shares))


def shares_of(run: Run) -> list[float]:
    """Shares after each training; a run whose proposals ran out stays where it was."""
    shares = [float(share) for share in run.shares.split()]
    return shares + shares[-1:] * (TRAININGS[run.sampler] - len(shares))


def _typed(row: Mapping[Hashable, str]) -> Run:
    numbers = {name: int(row[name]) for name in ("seed", "repeated", "absent")}
    return Run(table=row["table"], sampler=row["sampler"], shares=row["shares"], **numbers)


def _keep(rows: Sequence[Run], kept: Path) -> None:
    """Written whole or not at all."""
    ordered: list[Run] = sorted(rows, key=lambda run: (list(TRAININGS).index(run.sampler), run.seed))
    frame = pd.DataFrame([run._asdict() for run in ordered])
    write_atomic(kept, lambda part: frame.to_csv(part, index=False))


def median_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float | None, float | None]:
    """Median and its interval between two order statistics, which covers with at least this chance whatever the distribution.

    The chance that the median lies below the k-th smallest of n is that of fewer than k heads in n tosses (David and Nagaraja
    2003, section 7.1). Without an interval for fewer than 6 values. Values may be infinite.

    >>> median_interval(range(30))
    (14.5, 9, 20)
    """
    ordered = sorted(values)
    num = len(ordered)
    middle = (ordered[(num - 1) // 2] + ordered[num // 2]) / 2
    rank = int(stats.binom.ppf((1 - confidence) / 2, num, 0.5))  # the largest with at most that chance of fewer heads
    return (middle, ordered[rank - 1], ordered[num - rank]) if rank else (middle, None, None)


def needed(runs: Runs, repeated: Mapping[str, float]) -> Result:
    """Trainings that the default needs for the median hypervolume of a random search after TARGET, beside all others'."""
    target = float(np.median([shares[TARGET - 1] for shares in runs[RANDOM].values()]))
    first = {name: [_first(shares, target) for shares in own.values()] for name, own in runs.items()}
    texts = [f"{name} {_interval_text(first[name])}, {repeated[name]:.0f} repeated proposals" for name in runs if name != RANDOM]
    detail = f"{target:.1%} of the table's hypervolume; median and 95 % interval of {len(first[DEFAULT])} seeds: {'; '.join(texts)}"
    value = median_interval(first[DEFAULT])[0]
    name = f"trainings that {DEFAULT} needs for the hypervolume of {TARGET} random ones"
    return Result(name, value, "trainings", f"at most {AIM}", value <= AIM, detail)


def _first(shares: Sequence[float], target: float) -> float:
    return next((num for num, share in enumerate(shares, 1) if share >= target), inf)


def _interval_text(values: Sequence[float]) -> str:
    middle, low, high = (f"{value:g}" if value is not None and value < inf else "never" for value in median_interval(values))
    return f"{middle} ({low} to {high})" if len(values) >= 6 else f"{middle} (no interval: fewer than 6 seeds)"


def never_worse(runs: Runs) -> Result:
    """At how many of COMPARED trainings a rival has the larger hypervolume: one-sided Wilcoxon tests paired by seed, corrected."""
    pairs = [(name, num) for name in RIVALS if name in runs for num in COMPARED]
    worse = holm({pair: _chance(runs[pair[0]], runs[DEFAULT], pair[1]) for pair in pairs})
    num_worse = sum(chance <= 1 - CONFIDENCE for chance in worse.values())
    better = holm({name: _chance(runs[DEFAULT], runs[name], AIM) for name in runs if name != DEFAULT})
    texts = [f"{name} {chance:.2g}" for name, chance in better.items()]
    seeds = len(runs[DEFAULT])
    detail = f"chance of so large a lead of {DEFAULT} after {AIM} if it had none: {', '.join(texts)}; Wilcoxon, {seeds} seeds, Holm"
    name = f"comparisons after {', '.join(map(str, COMPARED))} trainings that {DEFAULT} loses to {' or '.join(dict(pairs))}"
    return Result(name, num_worse, f"of {len(pairs)}", "0", num_worse == 0, detail)


def _chance(ahead: Mapping[int, Sequence[float]], behind: Mapping[int, Sequence[float]], num: int) -> float:
    """One-sided chance of so large a lead after so many trainings, where neither is ahead."""
    leads = np.array([ahead[seed][num - 1] - behind[seed][num - 1] for seed in ahead])
    return float(stats.wilcoxon(leads, alternative="greater").pvalue) if leads.any() else 1.0


def draw(runs: Runs, stem: Path) -> None:
    """Median share of the hypervolume over trainings with its interval, as a plot and as a CSV."""
    rows = [
        (name, num, *median_interval([shares[num - 1] for shares in own.values()]))
        for name, own in runs.items()
        for num in range(1, TRAININGS[name] + 1)
    ]
    frame = pd.DataFrame(rows, columns=["sampler", "trainings", "median", "low", "high"])
    write_atomic(stem.with_suffix(".csv"), lambda part: frame.round(6).to_csv(part, index=False))
    with style.styled():
        figure = style.new_figure(style.WIDTH, 3.2)
        axes = figure.subplots()
        for (name, own), colour in zip(frame.groupby("sampler", sort=False), style.palette(len(runs)), strict=True):
            axes.plot(own["trainings"], own["median"], color=colour, label=name)
            if own["low"].notna().all():
                axes.fill_between(
                    own["trainings"], own["low"].astype(float), own["high"].astype(float), color=colour, alpha=0.2, lw=0
                )
        axes.set_xlabel("trainings")
        axes.set_ylabel("share of the table's hypervolume")
        style.title(axes, f"Samplers, median of {len(runs[RANDOM])} seeds")
        axes.legend(frameon=False)
        style.save(figure, stem)
