"""One study of `bench chaos`: planned, run by its machines while things go wrong, and counted."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState

from studies.bench.chaos.process import STUDY, Machine
from studies.bench.chaos.trouble import Trouble, living
from studies.store.db.database import LEASE
from studies.store.history import job_key
from studies.store.queue import Job, plan
from studies.store.storage import open_storage, open_study
from studies.work.processes import BAD_INPUT, worker_environment

TICK_S, TELL_S = 0.05, 10.0
READY_S = 300.0  # until every worker has started, on a busy machine
KILLED = -signal.SIGKILL
MOST = 20  # times as long as it takes where nothing goes wrong
ASK_S, STOP_S = 1.0, 10.0  # for a gentle stop, and for one at once
CLOCK_TOLERANCE_S = 30.0  # a process may be held up between reading two clocks


class Ran(NamedTuple):
    """A run of an objective that came to its end; times by the clock that all processes share."""

    key: str
    pid: int
    begin: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a study. Jobs are counted in the storage and, apart from it, by what the machines noted."""

    num_jobs: int
    lost: int  # not complete at the end
    twice: int  # complete more than once
    unknown: int  # complete, though no objective came to its end
    again: int  # objectives that came to their end once more, each after a lease or an answer was lost
    stops: int  # processes that ended with a message to a person
    crashes: int  # processes that ended by an error which no user could mend
    seconds: float  # from the first begin of an objective to the last end
    num_workers: int
    trial_s: float
    done: Counter[str]  # what went wrong
    all_happened: bool  # all of it, and the clocks were as wrong as they were to be
    wrong: list[str]  # the trials of every job that is lost or complete twice
    ahead_s: dict[str, float]  # machine -> its clock over the database's, as measured

    @property
    def overhead_s(self) -> float:
        """What a trial takes beside its objective."""
        return self.seconds * self.num_workers / self.num_jobs - self.trial_s


def run_study(
    storage: str, count: int, machines: Sequence[Machine], say: Callable[[str], None], trouble: Trouble | None = None
) -> Outcome:
    """Plan so many jobs, let the machines run them; none of the processes outlives this function."""
    study = open_study(open_storage(storage), STUDY)
    plan(study, [Job(f"net{i}", 0, {"width": i}) for i in range(count)])
    num_workers = sum(machine.num_workers for machine in machines)
    limit_s = READY_S + MOST * count * machines[0].trial_s / num_workers
    with running(machines) as processes:
        _await_workers(machines, num_workers)
        machines[0].go.touch()
        try:
            _watch(processes, machines, count, trouble, limit_s, say)
        finally:
            if trouble is not None:
                trouble.end()
        codes = [process.poll() for process in processes]
        everything = trouble is None or trouble.done == trouble.planned
    return counted(study, machines, codes, trouble.done if trouble else Counter(), everything)


def counted(
    study: optuna.Study, machines: Sequence[Machine], codes: Sequence[int | None], done: Counter[str], everything: bool
) -> Outcome:
    """What became of a study whose machines ended so; `everything`: all that was to go wrong went wrong."""
    trials = study.get_trials(deepcopy=False)
    planned = {job_key(trial) for trial in trials}
    complete = Counter(job_key(trial) for trial in trials if trial.state == TrialState.COMPLETE)
    ran = [run for machine in machines for run in runs(machine)]
    known = {run.key for run in ran}
    ahead_s = {machine.name: ahead(machine) for machine in machines if machine.clock.exists()}
    right = all(abs(ahead_s.get(machine.name, 0.0) - machine.ahead_s) < CLOCK_TOLERANCE_S for machine in machines)
    ends = [int(line) for machine in machines if machine.codes.exists() for line in machine.codes.read_text().split()]
    return Outcome(
        num_jobs=len(planned),
        lost=len(planned - set(complete)),
        twice=sum(times > 1 for times in complete.values()),
        unknown=sum(key is None or key[0] not in known for key in complete),
        again=len(ran) - len(known),
        stops=[*ends, *codes].count(BAD_INPUT),
        crashes=sum(code not in (0, KILLED, BAD_INPUT) for code in [*ends, *codes]),
        seconds=max((run.end for run in ran), default=0.0) - min((run.begin for run in ran), default=0.0),
        num_workers=sum(machine.num_workers for machine in machines),
        trial_s=machines[0].trial_s,
        done=done,
        all_happened=everything and right,
        wrong=[about(trial) for trial in trials if complete[job_key(trial)] != 1],
        ahead_s=ahead_s,
    )


def about(trial: FrozenTrial) -> str:
    """A trial in one line."""
    attrs = trial.user_attrs
    times = f"{trial.datetime_start:%H:%M:%S.%f} to {trial.datetime_complete:%H:%M:%S.%f}" if trial.datetime_complete else ""
    by = attrs.get(LEASE, {}).get("worker", "nobody")
    return f"{attrs.get('network_key')}, trial {trial.number}: {trial.state.name} by {by}, {times} {attrs.get('reason', '')}"


def _watch(
    processes: Sequence[subprocess.Popen[bytes]],
    machines: Sequence[Machine],
    count: int,
    trouble: Trouble | None,
    limit_s: float,
    say: Callable[[str], None],
) -> None:
    """Until all machines are at their end, or it takes far too long: what is then not complete counts as lost."""
    begin, tell_s = time.monotonic(), TELL_S
    while any(process.poll() is None for process in processes):
        now_s = time.monotonic() - begin
        if now_s > limit_s:
            return
        if trouble is not None:
            trouble.tick(now_s)
        if now_s >= tell_s:
            tell_s += TELL_S
            finished = len({run.key for machine in machines for run in runs(machine)})
            happened = "".join(f", {number} {kind}" for kind, number in trouble.done.items()) if trouble else ""
            say(f"{finished} of {count} trials after {now_s:.0f} s{happened}")
        time.sleep(TICK_S)


def _await_workers(machines: Sequence[Machine], count: int) -> None:
    """So that they begin together."""
    end = time.monotonic() + READY_S
    while sum(len(living(machine)) for machine in machines) < count and time.monotonic() < end:
        time.sleep(TICK_S)


@contextmanager
def running(machines: Sequence[Machine]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The processes of machines; none of them, and none of their workers, is left afterwards."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for machine in machines:
            command = machine.command("machine")
            with (Path(machine.folder) / "machine.log").open("ab") as log:
                # its own session: Ctrl-C in a terminal reaches this process alone
                processes.append(subprocess.Popen(command, env=worker_environment(len(machines)), stdout=log, stderr=log,
                                                  start_new_session=True))  # fmt: skip
        yield processes
    finally:
        for wait_s in (ASK_S, STOP_S):  # as two times Ctrl-C: a machine then kills its workers
            for process in processes:
                process.terminate()
            end = time.monotonic() + wait_s
            while any(process.poll() is None for process in processes) and time.monotonic() < end:
                time.sleep(TICK_S)
        for process in processes:
            process.kill()
            process.wait()
        for pid in [pid for machine in machines for pid in living(machine)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def runs(machine: Machine) -> list[Ran]:
    """What a machine's objectives noted."""
    lines = machine.runs.read_text().splitlines() if machine.runs.exists() else []
    fields = [line.split() for line in lines]
    return [Ran(key, int(pid), float(begin), float(end)) for key, pid, begin, end in fields]


def ahead(machine: Machine) -> float:
    """How far the clocks of a machine's processes were ahead of the database's: what is furthest from what they were to be."""
    numbers = [float(word) for word in machine.clock.read_text().split()]
    return max(numbers, key=lambda number: abs(number - machine.ahead_s))
