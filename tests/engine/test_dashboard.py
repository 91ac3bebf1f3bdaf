"""optuna-dashboard, really started on a finished study and asked over HTTP for trials, files, notes and the figure."""

from __future__ import annotations

import json
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore

from ablation.record.trial import Record
from studies.engine.dashboard import (
    dashboard_command,
    pareto_figure,
    publish_pareto,
    upload_artifacts,
    write_note,
)
from studies.store.queue import Job, plan
from studies.store.records import store_record
from studies.store.storage import open_storage, open_study
from studies.work.loop import run_worker

# loss, latency, parameters; trial 3 is the best but infeasible, trial 2 is beaten by trial 0
OBJECTIVES = [(0.5, 2.0, 100.0), (0.4, 3.0, 100.0), (0.6, 2.0, 100.0), (0.1, 1.0, 10.0)]


def artifact_store(folder: Path) -> FileSystemArtifactStore:
    (folder / "artifacts").mkdir(exist_ok=True)
    return FileSystemArtifactStore(folder / "artifacts")


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A folder with a study of four trials, each with two files, a note, numbers."""
    study = open_study(open_storage(tmp_path / "study.log"), "faces")
    plan(study, [Job(f"net{i}", 0, {"conv": "ab"[i % 2], "width": i}, {"label": f"variant {i}"}) for i in range(4)])
    store = artifact_store(tmp_path)

    def objective(trial: optuna.Trial) -> tuple[float, float, float]:
        loss, latency, params = OBJECTIVES[trial.number]
        files = [tmp_path / "loss.svg", tmp_path / "faces.png"]
        for file in files:
            file.write_text(f"{file.name} of trial {trial.number}")
        upload_artifacts(trial, store, files)
        write_note(trial, f"**variant {trial.number}** costs {params:.0f} parameters")
        record = Record(network_key="x", label="x", seed=0, costs={"params": params}, training={"best_loss": loss})
        store_record(trial, record, feasible=trial.number != 3)
        return loss, latency, params

    assert len(run_worker(study, objective).complete) == 4
    write_note(study, "What each piece costs")
    publish_pareto(study)
    publish_pareto(study)  # the same figure again, not a second one
    return tmp_path


@pytest.fixture
def server(finished: Path) -> Iterator[str]:
    """The dashboard's address, by the very line that a study prints."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program, *arguments = shlex.split(dashboard_command(finished / "study.log", finished / "artifacts"))
    path = shutil.which(program, path=str(Path(sys.executable).parent)) or program
    log = (finished / "dashboard.log").open("wb")
    process = subprocess.Popen([path, *arguments, "--port", str(port), "--host", "127.0.0.1"], stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        end = time.monotonic() + 300
        while True:
            try:
                urllib.request.urlopen(f"{address}/api/meta", timeout=60).close()
                break
            except OSError:  # refused, reset, too slow
                assert process.poll() is None, (finished / "dashboard.log").read_text()
                assert time.monotonic() < end
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait()
        log.close()


def get(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=20) as answer:
        return json.loads(answer.read())


def test_the_dashboard_shows_a_finished_study(server: str) -> None:
    summary = get(f"{server}/api/studies")["study_summaries"][0]
    assert summary["study_name"] == "faces"
    study = get(f"{server}/api/studies/{summary['study_id']}?after=0")
    assert study["directions"] == ["minimize"] * 3
    assert study["objective_names"] == ["loss", "latency_ms", "params"]
    assert study["note"]["body"] == "What each piece costs"
    trials = study["trials"]
    assert [tuple(trial["values"]) for trial in trials] == OBJECTIVES
    for trial in trials:
        number = trial["number"]
        assert {p["name"]: p["param_external_value"] for p in trial["params"]} == {"conv": "ab"[number % 2], "width": str(number)}
        assert trial["note"]["body"].startswith(f"**variant {number}** costs")
        assert [entry["filename"] for entry in trial["artifacts"]] == ["loss.svg", "faces.png"]
        attrs = {entry["key"]: entry["value"] for entry in trial["user_attrs"]}
        assert attrs["loss"] == str(OBJECTIVES[number][0])
        assert attrs["feasible"] == str(number != 3)
        place = f"{server}/artifacts/{summary['study_id']}/{trial['trial_id']}/{trial['artifacts'][1]['artifact_id']}"
        with urllib.request.urlopen(place, timeout=20) as answer:
            assert answer.read() == f"faces.png of trial {number}".encode()
            assert answer.headers["Content-Type"] == "image/png"
    figures = study["plotly_graph_objects"]
    assert [figure["id"] for figure in figures] == ["pareto"]
    drawn = json.loads(figures[0]["graph_object"])["data"]
    assert [trace["name"] for trace in drawn] == ["Pareto front", "dominated or infeasible"]


def test_the_front_has_what_nothing_feasible_beats(finished: Path) -> None:
    study = open_study(open_storage(finished / "study.log"), "faces")
    front, others = pareto_figure(study).data
    assert [text.partition(":")[0] for text in front.text] == ["trial 0", "trial 1"]
    assert (list(front.x), list(front.y)) == ([2.0, 3.0], [0.5, 0.4])
    assert list(others.x) == [2.0, 1.0]


def test_equal_trials_share_the_front(tmp_path: Path) -> None:
    study = open_study(open_storage(tmp_path / "study.log"), "s")
    plan(study, [Job("a", 0), Job("b", 0)])
    run_worker(study, lambda trial: (1.0, 1.0, 1.0))
    assert len(pareto_figure(study).data[0].x) == 2


def test_every_trial_brings_the_same_files_in_the_same_order(finished: Path) -> None:
    study = open_study(open_storage(finished / "study.log"), "faces")
    plan(study, [Job("late", 0)])
    trial = study.ask()
    store = artifact_store(finished)
    with pytest.raises(AssertionError, match=r"artifacts must be \['loss.svg', 'faces.png'\] in every trial"):
        upload_artifacts(trial, store, [finished / "faces.png", finished / "loss.svg"])
    with pytest.raises(FileNotFoundError, match=r"artifacts not written: .*absent\.png"):
        upload_artifacts(trial, store, [finished / "loss.svg", finished / "absent.png"])
    assert not [name for name in study.trials[-1].system_attrs if name.startswith("artifacts")]


def test_a_long_note_is_cut(tmp_path: Path) -> None:
    from optuna_dashboard import get_note

    study = open_study(open_storage(tmp_path / "study.log"), "s")
    write_note(study, "x" * 5000)
    note = get_note(study)
    assert len(note) <= 2000
    assert note.endswith("... (cut)")


@pytest.mark.parametrize(
    ("where", "line"),
    [
        (Path("a b/study.log"), "optuna-dashboard 'a b/study.log' --storage-class JournalFileStorage --artifact-dir 'out dir'"),
        ("sqlite:///study.db", "optuna-dashboard sqlite:///study.db --storage-class RDBStorage --artifact-dir 'out dir'"),
        (
            "postgresql+psycopg://ann:secret@host/db",
            "optuna-dashboard 'postgresql+psycopg://ann:***@host/db' --storage-class RDBStorage --artifact-dir 'out dir'",
        ),
    ],
)
def test_the_line_that_starts_it(where: str | Path, line: str) -> None:
    assert dashboard_command(where, Path("out dir")) == line
