"""The part `chaos` of `bench`: what a trial costs, whether plans wait for each other, whether anything is lost or done twice."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import sqlalchemy as sa

from ablation.machine.cores import num_cores
from blocks.errors import must_be
from studies.bench.chaos.network import Network
from studies.bench.chaos.process import Machine
from studies.bench.chaos.server import Server, missing, postgresql
from studies.bench.chaos.study import CLOCK_TOLERANCE_S, Outcome, run_study
from studies.bench.chaos.trouble import Amount, Trouble
from studies.bench.result import Bench, Result
from studies.store.queue import Job, plan
from studies.store.storage import open_storage, open_study

OVERHEAD_MS = 100  # of a trial, 1 % of one of 10 s
MACHINES, JOURNAL_WORKERS = 4, 4
NUM_SMALL, SMALL = 5, 10  # studies that are planned beside a large one, and their jobs


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is run."""

    num_workers: int  # of each machine
    num_trials: int
    trial_s: float
    num_still: int  # trials of each worker without chaos
    num_planned: int  # jobs of the larger of two studies that are planned at once
    seeds: Sequence[int]
    beat_s: float
    stale_after_s: float
    amount: Amount


FULL = Size(
    num_workers=4, num_trials=2000, trial_s=1.0, num_still=20, num_planned=2000, seeds=(0, 1, 2), beat_s=5.0, stale_after_s=30.0,
    amount=Amount(num_kills=30, num_restarts=5, num_partitions=3, partition_s=20.0, full_s=10.0, write_s=0.5, wrong_s=600.0),
)  # fmt: skip
QUICK = Size(
    num_workers=2, num_trials=64, trial_s=0.5, num_still=4, num_planned=500, seeds=(0,), beat_s=1.0, stale_after_s=6.0,
    amount=Amount(num_kills=3, num_restarts=1, num_partitions=1, partition_s=3.0, full_s=1.0, write_s=0.5, wrong_s=600.0),
)  # fmt: skip


def bench_chaos(bench: Bench) -> list[Result]:
    """16 workers of 4 "machines" on one PostgreSQL, still and in chaos; 4 on a journal. InputError where there is no PostgreSQL."""
    if reason := missing():
        raise must_be("PART chaos", "run beside a PostgreSQL", reason)
    size = QUICK if bench.quick else FULL
    with tempfile.TemporaryDirectory() as name, postgresql() as server:
        return [*still(bench, size, server, Path(name)), together(bench, size, server), *chaos(bench, size, server, Path(name))]


def still(bench: Bench, size: Size, server: Server, folder: Path) -> list[Result]:
    """What a trial costs where nothing goes wrong, on PostgreSQL and on a journal file."""
    with server.database() as url:
        empty = server.size(url)
        group = [a_machine(size, folder / "still", number, url) for number in range(MACHINES)]
        bench.say(f"chaos: {MACHINES * size.num_workers} workers on PostgreSQL, and nothing goes wrong ...")
        many = run_study(shown(url), size.num_still * MACHINES * size.num_workers, group, bench.say)
        results = [_cost("PostgreSQL", many, server.size(url) - empty)]
    journal = folder / "alone" / "journal.log"
    bench.say(f"chaos: {JOURNAL_WORKERS} workers on a journal file ...")
    group = [replace(a_machine(size, journal.parent, 0, journal), num_workers=JOURNAL_WORKERS)]
    few = run_study(shown(journal), size.num_still * JOURNAL_WORKERS, group, bench.say)
    return [*results, _cost("a journal file", few, journal.stat().st_size)]


def _cost(storage: str, outcome: Outcome, size: int) -> Result:
    overhead_ms = 1000 * outcome.overhead_s
    met = overhead_ms <= OVERHEAD_MS and not (outcome.lost or outcome.twice or outcome.crashes)
    detail = f"{outcome.num_jobs} trials of {outcome.trial_s:g} s, {_figures(outcome, size)}; {load()}"
    name = f"overhead of a trial on {storage}, {outcome.num_workers} workers"
    return Result(name, overhead_ms, "ms", f"at most {OVERHEAD_MS}, 1 % of a trial of 10 s", met, detail)


def _figures(outcome: Outcome, size: int) -> str:
    return f"{outcome.num_jobs / outcome.seconds:.2f} trials a second, {size / 1000 / outcome.num_jobs:.1f} kB stored for each"


def load() -> str:
    """How busy this machine is."""
    return f"load average {os.getloadavg()[0]:.1f} on {num_cores()} cores"


def together(bench: Bench, size: Size, server: Server) -> Result:
    """Small studies that are planned while a large one is, in the same database."""
    bench.say(f"chaos: {NUM_SMALL} studies planned while one of {size.num_planned} jobs is ...")
    with server.database() as url:
        alone_s = _planned("alone", url, SMALL)
        study = open_study(open_storage(shown(url)), "large")
        large = threading.Thread(target=_planned, args=("large", url, size.num_planned))
        large.start()
        while large.is_alive() and not study.get_trials(deepcopy=False):
            time.sleep(0.01)  # until it holds its lock
        beside_s = []
        for number in range(NUM_SMALL):
            seconds = _planned(f"small-{number}", url, SMALL)
            beside_s += [seconds] if large.is_alive() else []
        large.join()
    detail = f"{SMALL} jobs in {alone_s:.2f} s alone, in {median(beside_s):.2f} s beside it" if beside_s else ""
    name = "studies planned while another of the same database was"
    return Result(name, len(beside_s), f"of {NUM_SMALL}", "all", len(beside_s) == NUM_SMALL, detail)


def _planned(name: str, url: sa.URL, count: int) -> float:
    """Seconds to plan a study of so many jobs."""
    begin = time.perf_counter()
    plan(open_study(open_storage(shown(url)), name), [Job(f"net{i}", 0, {"width": i}) for i in range(count)])
    return time.perf_counter() - begin


def chaos(bench: Bench, size: Size, server: Server, folder: Path) -> list[Result]:
    """Every seed's study, with all that goes wrong."""
    outcomes, figures = [], []
    for seed in size.seeds:
        bench.say(f"chaos: {size.num_trials} trials of {size.trial_s:g} s, seed {seed} ...")
        with server.database() as url, Network() as network:
            empty = server.size(url)
            outcomes.append(_in_chaos(bench, size, server, url, network, folder / f"chaos-{seed}", seed))
            for trial in outcomes[-1].wrong:
                bench.say(trial)
            figures.append(_figures(outcomes[-1], server.size(url) - empty))
    jobs = f"of {sum(outcome.num_jobs for outcome in outcomes)}"
    lost, twice, unknown, again, stops, crashes = (
        sum(getattr(outcome, name) for outcome in outcomes) for name in ("lost", "twice", "unknown", "again", "stops", "crashes")
    )
    slowest = min(outcome.num_jobs / outcome.seconds for outcome in outcomes)
    all_happened = all(outcome.all_happened for outcome in outcomes)
    return [
        Result("jobs lost in chaos", lost, jobs, "0", all_happened and lost == 0, _what_happened(size, outcomes)),
        Result("jobs complete twice", twice, jobs, "0", twice == 0, f"objectives that came to their end once more: {again}"),
        Result("jobs complete though no objective came to its end", unknown, jobs, "0", unknown == 0),
        Result("processes that crashed", crashes, "", "0", crashes == 0, f"{stops} more ended with a message, as for a full disk"),
        Result("slowest of the seeds", slowest, "trials a second", "", True, f"{'; '.join(figures)}; {load()}"),
    ]


def _in_chaos(bench: Bench, size: Size, server: Server, url: sa.URL, network: Network, folder: Path, seed: int) -> Outcome:
    amount, proxies = size.amount, [network.proxy(url) for _ in range(MACHINES)]
    group = [a_machine(size, folder, number, proxy.public) for number, proxy in enumerate(proxies)]
    group[1] = replace(group[1], ahead_s=amount.wrong_s * (-1) ** seed)
    group[2] = replace(group[2], write_s=amount.write_s)  # the first one's disk is full at times
    span_s = size.num_trials * size.trial_s / (MACHINES * size.num_workers)
    trouble = Trouble(amount=amount, seed=seed, span_s=span_s, machines=group, proxies=proxies, network=network, server=server)
    return run_study(shown(url), size.num_trials, group, bench.say, trouble)


def _what_happened(size: Size, outcomes: Sequence[Outcome]) -> str:
    counts = sum((outcome.done for outcome in outcomes), Counter[str]())
    what = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))
    wrong = [f"{ahead:+.1f} s" for outcome in outcomes for ahead in outcome.ahead_s.values() if abs(ahead) > CLOCK_TOLERANCE_S]
    amount = f"partitions of {size.amount.partition_s:g} s, writes of {size.amount.write_s:g} s on one machine"
    return f"{len(outcomes)} seeds: {what}; {amount}, another's clock off by {', '.join(wrong)}"


def a_machine(size: Size, folder: Path, number: int, storage: sa.URL | Path) -> Machine:
    """One of a group, with nothing wrong."""
    return Machine(
        name=f"machine-{number}", folder=str(folder / f"machine-{number}"), storage=shown(storage), num_workers=size.num_workers,
        trial_s=size.trial_s, beat_s=size.beat_s, stale_after_s=size.stale_after_s,
    )  # fmt: skip


def shown(storage: sa.URL | Path) -> str:
    """A storage as it is opened."""
    return storage.render_as_string(hide_password=False) if isinstance(storage, sa.URL) else str(storage)
