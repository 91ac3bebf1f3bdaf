"""Who works on a study, how fast it goes and how long it will take, from its storage alone. No torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

import optuna
from optuna.trial import FrozenTrial, TrialState

from studies.engine.config import StudyConfig, StudyFolder
from studies.store.lease import Lease, is_alive, read_beats, this_machine
from studies.store.queue import StudyState
from studies.store.source import ROLE, proposes_until
from studies.store.storage import shared_clock
from studies.work.progress import ProgressFile, duration

HOUR_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Working:
    """A worker, as its last beat shows it."""

    lease: Lease
    is_alive: bool
    silent_s: float  # since its last beat
    doing: str  # label, seed and, on this machine, epoch of its trial; empty between two
    for_s: float = 0.0  # since it began that


@dataclass(frozen=True, kw_only=True)
class Overview:
    """A study's workers, and the trials that have come to their end."""

    workers: Sequence[Working]
    ended: Sequence[tuple[str, float, float]]  # of each complete trial: host, seconds that it took, seconds ago
    began_s: float  # seconds since the first of all trials was claimed

    @property
    def alive(self) -> list[Working]:
        """Those that live."""
        return [worker for worker in self.workers if worker.is_alive]


def read_overview(study: optuna.Study, files: StudyFolder, config: StudyConfig) -> Overview:
    """What the storage, and of workers of this machine their progress files, say at this moment."""
    clock, beats = shared_clock(study), read_beats(study)
    claimed = {trial.number: (trial, Lease(**lease)) for trial in study.get_trials(deepcopy=False)
               if (lease := trial.user_attrs.get("lease"))}  # fmt: skip
    ages = {number: max(0.0, clock.now - lease.time) for number, (_, lease) in claimed.items()}
    ended = [
        (lease.host, took := trial.duration.total_seconds(), ages[number] - took)
        for number, (trial, lease) in claimed.items() if trial.state == TrialState.COMPLETE and trial.duration
    ]  # fmt: skip
    running = {lease.worker: trial for trial, lease in claimed.values() if trial.state == TrialState.RUNNING}
    workers = []
    for beat in beats.values():
        trial, alive = running.get(beat.worker), is_alive(beat, beats, config.limits.stale_after_s, clock)
        workers.append(
            Working(
                lease=beat, is_alive=alive, silent_s=max(0.0, clock.now - beat.time),
                doing=_doing(beat, trial, files) if trial else "", for_s=ages[trial.number] if trial else 0.0,
            )
        )  # fmt: skip
    return Overview(workers=workers, ended=ended, began_s=max(ages.values(), default=0.0))


def _doing(lease: Lease, trial: FrozenTrial, files: StudyFolder) -> str:
    """A worker of this machine says in a file where its trial stands; of another the trial's name is known."""
    here = ProgressFile(files.progress, lease.pid).read() if lease.machine == this_machine() else None
    name = f"{trial.user_attrs.get('label', 'a trial')}, seed {trial.user_attrs.get('seed', '?')}"
    return ", ".join(part for part in (name, (here or {}).get("detail", "")) if part)


def machine_lines(overview: Overview) -> list[str]:
    """A line for each machine that has worked on the study, below it one for each of its workers."""
    done = Counter(host for host, _, _ in overview.ended)
    lines = []
    for host in sorted({worker.lease.host for worker in overview.workers} | set(done)):
        here = [worker for worker in overview.workers if worker.lease.host == host]
        alive = [worker for worker in here if worker.is_alive]
        lines.append(f"{host}: {len(alive)} {'worker' if len(alive) == 1 else 'workers'}, {done[host]} trials complete")
        for worker in alive:
            doing = f"{worker.doing}, for {duration(worker.for_s)}" if worker.doing else "between two trials"
            lines.append(f"  process {worker.lease.pid}, beat {duration(worker.silent_s)} ago: {doing}")
        if lost := [worker.silent_s for worker in here if not worker.is_alive]:
            lines.append(f"  lost: {len(lost)}, the last beat {duration(min(lost))} ago")
    return lines


def speed_line(study: optuna.Study, config: StudyConfig, state: StudyState, overview: Overview) -> str:
    """Trials an hour, and about how long the rest will take; empty before the first is complete."""
    if not overview.ended:
        return ""
    agos = [ago for _, _, ago in overview.ended]
    latest, idle_s = sum(ago <= HOUR_S for ago in agos), 0.0 if overview.alive else min(agos)
    an_hour = len(agos) / max(overview.began_s - idle_s, 1.0) * HOUR_S
    speed = f"{an_hour:,.0f} trials an hour so far" if an_hour >= 10 else f"{an_hour:.1f} trials an hour so far"
    if overview.began_s > HOUR_S:
        speed += f", {latest} in the last hour"
    return f"{speed}; {_left(study, config, state, overview)}"


def _left(study: optuna.Study, config: StudyConfig, state: StudyState, overview: Overview) -> str:
    num_waiting = state.waiting + state.stale + _to_be_proposed(study, config, state)
    until = (proposes_until(study) if config.search else None) or 0.0
    if until > (now := shared_clock(study).now):
        return f"proposes for another {duration(until - now)}"
    if not num_waiting and not state.running:
        return "nothing is left"
    if not overview.alive:
        return "no worker lives: nothing goes on"
    busy = [worker.for_s for worker in overview.alive if worker.doing]
    low, high = left_s(mean(took for _, took, _ in overview.ended), busy, num_waiting, len(overview.alive))
    about = duration(high) if duration(low) == duration(high) else f"{duration(low)} to {duration(high)}"
    return f"about {about} left with {len(overview.alive)} at a time"


def left_s(mean_s: float, busy_s: Sequence[float], num_waiting: int, num_workers: int) -> tuple[float, float]:
    """Least and most seconds for what runs, so long by now, and what waits, where every trial takes the mean.

    >>> left_s(60.0, [30.0, 0.0], 3, 2)
    (135.0, 180.0)
    """
    rest = sum(max(0.0, mean_s - seconds) for seconds in busy_s)
    return (rest + num_waiting * mean_s) / num_workers, math.ceil((num_waiting + len(busy_s)) / num_workers) * mean_s


def _to_be_proposed(study: optuna.Study, config: StudyConfig, state: StudyState) -> int:
    """Trainings of a search that its sampler has not proposed by now."""
    if not config.search:
        return 0
    planned = len({(t.user_attrs["network_key"], t.user_attrs["seed"]) for t in study.get_trials(deepcopy=False)
                   if ROLE in t.user_attrs})  # fmt: skip
    return max(0, int(config.search["num_trials"]) + planned - (state.planned - state.infeasible))
