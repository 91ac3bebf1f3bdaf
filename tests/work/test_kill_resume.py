"""Four workers, three killed with SIGKILL at random times, one study resumed: every job complete once, none trained twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from studies.store.lease import read_beats
from studies.store.queue import Job, StudyState, plan, trial_state
from studies.work.processes import run_workers
from tests.storages import REPOSITORY, a_study, wait_until

JOBS = [Job(f"net{i}", seed, {"width": i}) for seed in (0, 1) for i in range(15)]

# A worker process; arguments: storage, folder of checkpoints. A training is 8 steps with a checkpoint after each, as the real one.
# A file "slow" makes the steps long, so that nothing is over before it is killed on a busy machine.
# Its last checkpoint, made with O_EXCL, proves who trained to completion, and `twice` that somebody else had done so meanwhile.
WORKER = """
import os, sys, time
from pathlib import Path
from studies.store.lease import lease_lost
from studies.work.stopping import StopRequest
from studies.store.storage import open_storage, open_study
from studies.work.loop import TrialInterrupted, run_worker
where, folder = sys.argv[1], Path(sys.argv[2])

def objective(trial):
    name = f"{trial.user_attrs['network_key']}-{trial.user_attrs['seed']}"
    steps, final = folder / f"{name}.steps", folder / f"{name}.final"
    if not final.exists():
        for step in range(int(steps.read_text()) if steps.exists() else 0, 8):
            time.sleep(0.2 if (folder / "slow").exists() else 0.01)
            part = folder / f"{name}.{os.getpid()}"
            part.write_text(str(step + 1))
            part.replace(steps)
            if stop() or lease_lost(trial):
                raise TrialInterrupted(f"at step {step + 1}")
        try:
            os.close(os.open(final, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            (folder / f"{name}.twice").touch()
    return 0.5, 2.0, 100.0

with StopRequest() as stop:
    waited = lambda event: event.kind == "waiting" and (folder / "waiting").touch()
    run_worker(open_study(open_storage(where), "study"), objective, should_stop=stop, on_event=waited)
"""


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def assert_each_complete_once(where: str | Path, checkpoints: Path) -> None:
    trials = a_study(where).trials
    complete = Counter((t.user_attrs["network_key"], t.user_attrs["seed"]) for t in trials if t.state.name == "COMPLETE")
    assert complete == Counter(job.key for job in JOBS)
    assert {t.state.name for t in trials} <= {"COMPLETE", "FAIL"}
    # a claim that came too late for the last job leaves a trial without a network
    failed = [t for t in trials if t.state.name == "FAIL" and "network_key" in t.user_attrs]
    assert {t.user_attrs["reason_kind"] for t in failed} <= {"lost", "interrupted"}
    assert len(list(checkpoints.glob("*.final"))) == len(JOBS)
    assert list(checkpoints.glob("*.twice")) == []


def test_three_of_four_workers_killed_and_the_study_resumed(where: str, checkpoints: Path) -> None:
    study = a_study(where, JOBS)
    (checkpoints / "slow").touch()
    command = [sys.executable, "-c", WORKER, str(where), str(checkpoints)]
    workers = [subprocess.Popen(command, cwd=REPOSITORY) for _ in range(4)]
    wait_until(lambda: len(list(checkpoints.glob("*.final"))) >= 2, 300)
    wait_until(lambda: len(read_beats(study)) == 4 or trial_state(study).waiting <= 12, 300)  # all at work, but not for long
    begun = {beat.pid for beat in read_beats(study).values()}
    survivor = random.choice([worker for worker in workers if worker.pid in begun])  # one that takes a signal as a wish to stop
    workers.remove(survivor)
    for victim in random.sample(workers, 3):
        time.sleep(random.uniform(0, 0.05))
        victim.kill()
        assert victim.wait() == -signal.SIGKILL
    survivor.terminate()
    assert survivor.wait() == 0
    (checkpoints / "slow").unlink()
    (checkpoints / "waiting").unlink(missing_ok=True)
    # The next command: nothing waits for a lease to run out.
    before = plan(study, JOBS)
    assert (before.planned, before.stale, before.running) == (30, 0, 0)
    assert 0 < before.waiting == 30 - before.complete
    subprocess.run(command, cwd=REPOSITORY, check=True)
    assert not (checkpoints / "waiting").exists()
    assert plan(study, JOBS).complete == 30
    assert_each_complete_once(where, checkpoints)


def test_killed_workers_are_replaced_while_it_runs(tmp_path: Path, checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    where = tmp_path / "study.log"
    study = a_study(where, JOBS)
    killed: list[int] = []

    def on_tick(state: StudyState) -> None:
        running = [beat.pid for beat in read_beats(study).values() if beat.pid not in killed]
        if len(killed) < 3 and running and state.complete and state.waiting > 4:  # none is about to end by itself
            victim = random.choice(running)
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)

    command = [sys.executable, "-c", WORKER, str(where), str(checkpoints)]
    report = run_workers(command, 2, study=study, on_tick=on_tick, reconcile_s=0.1)
    assert len(killed) > 0
    assert report.exit_codes.count(-signal.SIGKILL) == len(killed)
    assert_each_complete_once(where, checkpoints)
