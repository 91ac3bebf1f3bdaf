"""The part `proxy` of `bench`: workers that reach PostgreSQL each on their own, and the same through Optuna's gRPC proxy."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa

from blocks.errors import must_be
from studies.bench.chaos.part import FULL, a_machine, load, shown
from studies.bench.chaos.server import Server, missing, postgresql
from studies.bench.chaos.study import Outcome, run_study
from studies.bench.result import Bench, Result

COUNT_S = 0.25  # between two counts of the connections
SERVER = """
import sys, warnings
from optuna.storages import run_grpc_proxy_server
from studies.store.storage import open_storage
warnings.simplefilter("ignore")
run_grpc_proxy_server(open_storage(sys.argv[1], connections=10), host="localhost", port=int(sys.argv[2]))
"""


@dataclass(frozen=True, kw_only=True)
class Load:
    """How much is run."""

    workers: Sequence[int]
    trial_s: float
    num_trials: int  # of each worker


LARGE = Load(workers=(16, 32, 64), trial_s=5.0, num_trials=4)
SMALL = Load(workers=(2, 4), trial_s=0.5, num_trials=2)


def bench_proxy(bench: Bench) -> list[Result]:
    """What a trial costs either way, by the number of workers. InputError where there is no PostgreSQL."""
    if reason := missing():
        raise must_be("PART proxy", "run beside a PostgreSQL", reason)
    with tempfile.TemporaryDirectory() as name, postgresql() as server:
        return compare(bench, SMALL if bench.quick else LARGE, server, Path(name))


def compare(bench: Bench, size: Load, server: Server, folder: Path) -> list[Result]:
    """For each number of workers what a trial takes beside its objective through the proxy, over that without it."""
    results = []
    for count in size.workers:
        done: dict[str, tuple[Outcome, int]] = {}
        for way in ("direct", "proxy"):
            bench.say(f"proxy: {count} workers, {way} ...")
            with server.database() as url, proxied(url) if way == "proxy" else nullcontext(url) as storage:
                machine = replace(a_machine(FULL, folder / f"{way}-{count}", 0, storage), num_workers=count, trial_s=size.trial_s)
                with counted_connections(server, url) as counts:
                    outcome = run_study(shown(url), size.num_trials * count, [machine], bench.say)
                done[way] = outcome, max(counts)
        results.append(_compared(count, *done["direct"], *done["proxy"]))
    return results


def _compared(count: int, direct: Outcome, many: int, proxied: Outcome, few: int) -> Result:
    """Met where both ways lost nothing."""
    whole = not any(outcome.lost or outcome.twice or outcome.crashes for outcome in (direct, proxied))
    detail = (
        f"{1000 * proxied.overhead_s:.0f} against {1000 * direct.overhead_s:.0f} ms, {direct.num_jobs} trials of "
        f"{direct.trial_s:g} s each way; at most {few} connections to the database against {many}; {load()}"
    )
    return Result(f"overhead of a trial through it, {count} workers", proxied.overhead_s / direct.overhead_s, "x that without",
                  "", whole, detail)  # fmt: skip


@contextmanager
def proxied(url: sa.URL) -> Iterator[sa.URL]:
    """The URL of Optuna's proxy of a database, which runs in a process of its own."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-c", SERVER, shown(url), str(port)], start_new_session=True)
    try:
        yield sa.make_url(f"grpc://localhost:{port}")
    finally:
        process.kill()
        process.wait()


@contextmanager
def counted_connections(server: Server, url: sa.URL) -> Iterator[list[int]]:
    """How many connections a database has, again and again while this lasts."""
    counts, end = [server.num_connections(url)], threading.Event()

    def count() -> None:
        while not end.wait(COUNT_S):
            counts.append(server.num_connections(url))

    thread = threading.Thread(target=count)
    thread.start()
    try:
        yield counts
    finally:
        end.set()
        thread.join()
