"""What goes wrong in `bench chaos`, and when: drawn from a seed, done while the study runs."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from studies.bench.chaos.network import KINDS, Network, Proxy
from studies.bench.chaos.process import Machine
from studies.bench.chaos.server import FAST, IMMEDIATE, Server
from studies.store.lease import process_started

LAST = 0.9  # of the shortest time that the study can take: everything has begun by then
RETRY_S = 0.2
KILL, RESTART, PARTITION, FULL = "SIGKILLs", "restarts of PostgreSQL", "partitions", "full disk"


@dataclass(frozen=True, kw_only=True)
class Amount:
    """How much goes wrong."""

    num_kills: int = 0
    num_restarts: int = 0
    num_partitions: int = 0
    partition_s: float = 0.0
    full_s: float = 0.0  # one machine's disk is full for so long at least
    write_s: float = 0.0  # a write to another's takes so long
    wrong_s: float = 0.0  # a third's clock is wrong by so much


@dataclass(kw_only=True)
class Trouble:
    """Troubles of one run. `tick` does those that are due; `done` counts them."""

    amount: Amount
    seed: int
    span_s: float  # the study takes at least so long
    machines: Sequence[Machine]
    proxies: Sequence[Proxy]
    network: Network
    server: Server
    done: Counter[str] = field(default_factory=Counter)
    _due: list[tuple[float, Callable[[float], None]]] = field(default_factory=list)
    _restart: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        a, last_s = self.amount, LAST * self.span_s
        self._due += [(self.draw.uniform(0, last_s), self._kill) for _ in range(a.num_kills)]
        modes = [(FAST, IMMEDIATE)[i % 2] for i in range(a.num_restarts)]
        self._due += [(at, self._restarting(mode)) for at, mode in zip(self._spread(a.num_restarts), modes, strict=True)]
        kinds = [KINDS[i % len(KINDS)] for i in range(a.num_partitions)]
        self.draw.shuffle(kinds)
        self._due += [(at, self._parting(kind)) for at, kind in zip(self._spread(a.num_partitions), kinds, strict=True)]
        self._due += [(at, self._fill) for at in self._spread(1 if a.full_s else 0)]

    def _spread(self, count: int) -> list[float]:
        """Times, one in each of equal parts of the study."""
        return [(i + self.draw.random()) / count * LAST * self.span_s for i in range(count)]

    @property
    def planned(self) -> dict[str, int]:
        """How many are to be done of each kind."""
        a = self.amount
        counts = {KILL: a.num_kills, RESTART: a.num_restarts if self.server.control else 0, PARTITION: a.num_partitions}
        return {kind: count for kind, count in {**counts, FULL: int(a.full_s > 0)}.items() if count}

    def tick(self, now_s: float) -> None:
        """Do what is due, so many seconds after the beginning."""
        for event in sorted((event for event in self._due if event[0] <= now_s), key=lambda event: event[0]):
            self._due.remove(event)
            event[1](now_s)

    def end(self) -> None:
        """Leave everything as it was."""
        for machine, proxy in zip(self.machines, self.proxies, strict=True):
            self.network.mend(proxy)
            machine.full.unlink(missing_ok=True)
        if self._restart is not None:
            self._restart.wait()

    def _kill(self, now_s: float) -> None:
        """A worker, as soon as there is one."""
        workers = [worker for machine in self.machines for worker in living(machine)]
        if not workers:
            self._due.append((now_s + RETRY_S, self._kill))
            return
        os.kill(self.draw.choice(workers), signal.SIGKILL)
        self.done[KILL] += 1

    def _restarting(self, mode: str) -> Callable[[float], None]:
        def restart(now_s: float) -> None:
            if not self.server.control:
                return
            if self._restart is not None and self._restart.poll() is None:
                self._due.append((now_s + RETRY_S, restart))
                return
            self._restart = self.server.restart(mode)
            self.done[RESTART] += 1

        return restart

    def _parting(self, kind: str) -> Callable[[float], None]:
        def part(now_s: float) -> None:
            whole = [proxy for proxy in self.proxies if not proxy.partition]
            proxy = self.draw.choice(whole)
            self.network.part(proxy, kind)
            self._due.append((now_s + self.amount.partition_s, lambda _: self.network.mend(proxy)))
            self.done[PARTITION] += 1

        return part

    def _fill(self, now_s: float) -> None:
        self.machines[0].full.touch()
        self._due.append((now_s + self.amount.full_s, self._make_room))

    def _make_room(self, now_s: float) -> None:
        """Once a worker has met it; where none was there, the disk is full later."""
        first = self.machines[0]
        if first.met.exists():
            self.done[FULL] += 1
        elif living(first):
            self._due.append((now_s + RETRY_S, self._make_room))
            return
        else:
            self._due.append((now_s + self.amount.full_s, self._fill))
        first.full.unlink()


def living(machine: Machine) -> list[int]:
    """Process ids of a machine's workers."""
    marks = {int(path.stem): path.read_text() for path in Path(machine.folder).glob("*.worker")}
    return [pid for pid, started in marks.items() if started and process_started(pid) == started]
