"""Studies for `bench`: one whose trials do nothing, to time the suite itself; and a real one whose workers are killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState
from rich.console import Console

from ablation.design.protocol import Protocol
from ablation.design.space import load_space
from ablation.record.trial import COMPLETE, Record
from studies.engine.config import StudyConfig, StudyFolder
from studies.engine.publish import publish
from studies.engine.reporting import report_study
from studies.grid.command import SPACES
from studies.store.artifacts import Artifacts
from studies.store.history import job_key
from studies.store.queue import Job, plan
from studies.store.storage import open_storage, open_study
from studies.work.loop import run_worker
from studies.work.progress import ProgressFile, own_machine


def run_empty_study(path: Path, count: int) -> float:
    """Seconds to plan, store and report `count` trials whose training takes no time; each keeps record, pictures and note."""
    # what every process pays once, however many trials it runs, is no overhead of a trial
    run_empty_trials(path / "warm-up", 2)
    begin = time.perf_counter()
    run_empty_trials(path / "study", count)
    return time.perf_counter() - begin


def run_empty_trials(path: Path, count: int) -> None:
    """A whole study in this process, its objective replaced by stored numbers."""
    folder = StudyFolder(path).create()
    space = load_space(SPACES / "small.toml")
    data = {"name": "faces", "limit": 0, "seed": 0, "image_size": 48}
    config = StudyConfig(name="empty", space=space.to_dict(), data=data, fingerprint="", protocol=Protocol(epochs=10).to_dict())
    study = open_study(open_storage(folder.journal), "empty")
    networks = space.enumerate()[0]
    chosen = [(networks[i % len(networks)], i // len(networks)) for i in range(count)]
    jobs = [Job(network_key=n.key, seed=seed, params=n.intents[0], attrs={"label": n.label}) for n, seed in chosen]
    plan(study, jobs)
    by_key = {network.key: network for network in networks}
    pixels, artifacts = np.zeros((8, 3, 48, 48), np.uint8), Artifacts(study, folder.artifacts)

    def objective(trial: optuna.Trial) -> tuple[float, float, float]:
        network, seed = by_key[trial.user_attrs["network_key"]], trial.user_attrs["seed"]
        loss = 0.5 + 0.01 * (trial.number % 7)
        epochs = [
            {"epoch": e, "train_loss": loss + 1 / e, "val_loss": loss + 1 / e, "kl_per_dim": [0.1] * 128} for e in range(1, 11)
        ]
        record = Record(
            network_key=network.key,
            label=network.label,
            seed=seed,
            state=COMPLETE,
            number=trial.number,
            spec=network.spec.to_dict(),
            factors=network.intents[0],
            intents=network.intents,
            protocol=dict(config.protocol),
            costs={"params": 1000 + trial.number, "macs": 10_000 + trial.number},
            training={"best_loss": loss, "epochs": epochs},
        )
        np.save(folder.reconstructions(network.key, seed), pixels)
        publish(trial, record, pixels, pixels, artifacts)
        return loss, 1.0, 1000.0 + trial.number

    run_worker(study, objective)
    report_study(study, folder, config, Console(quiet=True))


SPACE = """
[base]
preset = "small"
image_size = 16
[factors]
connectivity = ["plain", "dense"]
conv = ["standard", "separable", "pointwise_first"]
down = ["max", "avg"]
head = ["flatten", "pooled"]
"""


OPTIONS = "--images 60 --epochs 2 --latency-batches 1 --latency-budget 5 --device cpu --seeds {seeds} --workers {workers}"


def kill_and_resume(path: Path, count: int, *, num_workers: int, num_killed: int, seed: int) -> dict[str, int]:
    """Runs the real `grid` on a tiny space; kills workers at random times, then the parent; runs the same command to its end."""
    networks = 24
    (path / "space.toml").write_text(SPACE if count >= networks else SPACE.replace(', "pooled"', ""))
    out = path / "study"
    folders = ["--space", str(path / "space.toml"), "--out", str(out), "--cache-dir", str(path / "cache")]
    options = OPTIONS.format(seeds=-(-count // networks), workers=num_workers).split()
    command = [sys.executable, "-m", "studies.run", "grid", *folders, *options]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    first = subprocess.Popen(command, start_new_session=True, **quiet)
    killed = _kill(_workers(out, first), num_killed, random.Random(seed))
    first.kill()
    first.wait()
    subprocess.run(command, check=False, **quiet)
    study = open_study(open_storage(StudyFolder(out).journal), out.name)
    complete = Counter(job_key(t) for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
    planned = {job_key(t) for t in study.get_trials(deepcopy=False)}
    return {
        "killed": killed,
        "complete": len(complete),
        "missing": len(planned - set(complete)) + max(0, count - len(planned)),
        "twice": sum(n > 1 for n in complete.values()),
    }


def _kill(workers: Iterator[int], most: int, draw: random.Random) -> int:
    """How many of the workers were killed, `most` at most, each at a random time."""
    killed = set[int]()
    for pid in workers:
        if len(killed) == most:
            break
        if pid not in killed:
            time.sleep(draw.uniform(0, 2))
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
    return len(killed)


def _workers(out: Path, parent: subprocess.Popen[bytes]) -> Iterator[int]:
    """Process ids of running workers, again and again, until the study ends."""
    while parent.poll() is None:
        yield from (file.worker for file in ProgressFile.all(StudyFolder(out).progress, own_machine()))
        time.sleep(0.05)
