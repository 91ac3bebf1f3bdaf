"""Two machines with folders of their own and one storage: what one trains the other goes on with, reports and exports."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from safetensors.torch import load_file

from ablation.machine.hardware import cpu_model
from ablation.record.trial import Record
from ablation.train.checkpoint import BEST
from studies.engine.config import StudyFolder
from studies.export.options import ExportOptions
from studies.export.source import source_of
from studies.run import main
from studies.store.place import PLACE, open_place
from studies.store.records import records
from studies.store.storage import open_storage
from studies.work import resume
from tests.commands.conftest import enter
from tests.storages import REPOSITORY
from tests.tiny_grid import BASE, last_line

SPACE = BASE + '[factors]\nconnectivity = ["plain", "dense"]\n'
EPOCHS = 4
# A machine that ends in the middle of a training: it gets one signal when so many epochs are done. Where it is killed, each
# checkpoint was kept before, as by a training that is long.
MACHINE = """
import os, signal, sys
from studies.run import main
from studies.work.resume import Resumed
from studies.work import resume
number, epochs = int(sys.argv[1]), int(sys.argv[2])
if number == signal.SIGKILL:
    resume.EVERY_S, resume.SHARE = 0, 1e9
saved, sent = Resumed.saved, []
def then_end(self, done, step):
    saved(self, done, step)
    if (done, step) == (epochs, 0) and not sent:
        sent.append(number)
        os.kill(os.getpid(), number)
Resumed.saved = then_end
sys.exit(main(sys.argv[3:]))
"""


def grid(out: str, *more: str) -> list[str]:
    tiny = ["grid", "--space", "two.toml", "--images", "40", "--epochs", str(EPOCHS), "--device", "cpu"]
    return [*tiny, "--latency-budget", "0.5", "--latency-batches", "1", "--out", out, *more]


def ends(number: signal.Signals, epochs: int, *command: str) -> int:
    """Run a command as a machine that ends after so many epochs of the first training; its exit code."""
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    program = [sys.executable, "-c", MACHINE, str(int(number)), str(epochs), *command]
    return subprocess.run(program, env={**os.environ, "PYTHONPATH": path}, capture_output=True, timeout=600).returncode


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def of_study(url: str) -> list[Record]:
    return records(optuna.load_study(study_name="two", storage=open_storage(url)))


def learned(record: Record) -> dict[str, Any]:
    """What training and measuring gave, without what a clock says."""
    timed = ("seconds", "images_per_second", "resumed_from_epoch")
    epochs = [{name: value for name, value in epoch.items() if name not in timed} for epoch in record.training["epochs"]]
    training = {name: value for name, value in record.training.items() if name not in (*timed, "epochs")}
    return {"training": training, "epochs": epochs, "quality": record.quality, "costs": record.costs, "spec": record.spec}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where one machine has trained the study without an interruption."""
    with pytest.MonkeyPatch.context() as patch:
        folder = enter(tmp_path_factory.mktemp("alone"), patch)
        (folder / "two.toml").write_text(SPACE)
        assert main(grid("two")) == 0
    return folder / "two"


@pytest.fixture
def work(tmp_path: Path, alone: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with the images at hand."""
    (tmp_path / "two.toml").write_text(SPACE)
    shutil.copytree(alone.parent / "cache", tmp_path / "cache")
    return enter(tmp_path, monkeypatch)


@pytest.mark.parametrize("place", ["folder", "s3"])
def test_what_one_machine_leaves_another_finishes_and_reports(
    place: str, work: Path, alone: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = str(work / "shared") if place == "folder" else f"s3://{request.getfixturevalue('bucket')}/studies"
    url = f"sqlite:///{work}/all.db"
    shared = ("--storage", url, "--study", "two")
    # A is killed in the first training, C interrupted in the second; both are gone when B goes on with either
    assert ends(signal.SIGKILL, 2, *grid("a", *shared, "--artifacts", where)) == -signal.SIGKILL
    shutil.rmtree("a")
    assert ends(signal.SIGINT, 3, *grid("c", *shared)) == 130
    shutil.rmtree("c")
    elsewhere = {**resume.describe_hardware("cpu"), "cpu": "another"}
    if place == "folder":
        monkeypatch.setattr(resume, "describe_hardware", lambda device: elsewhere)
    assert main(grid("b", *shared)) == 0
    first, second = of_study(url)
    assert (first.training["resumed_from_epoch"], second.training["resumed_from_epoch"]) == (2, 3)
    before = [{**resume.kind_of(elsewhere), "cpu": cpu_model()}] if place == "folder" else None
    assert [record.provenance.get("resumed_from") for record in (first, second)] == [before, before]
    one = records(optuna.load_study(study_name="two", storage=open_storage(alone / "journal.log")))
    assert [learned(record) for record in (first, second)] == [learned(record) for record in one]

    # a machine that has trained nothing has every picture, number and weight
    assert main(["report", "empty", *shared]) == 0
    report = files(Path("empty/report"))
    assert report["gallery.png"] == (alone / "report/gallery.png").read_bytes()
    assert main(["report", "b", *shared, "--to", "again"]) == 0
    named = {"report.md", "report.html", "provenance.json"}  # say by which command and when they were written
    assert {n: c for n, c in report.items() if n not in named} == {n: c for n, c in files(Path("again")).items() if n not in named}
    for record, network in zip(one, ("1", "2"), strict=True):
        assert (StudyFolder(Path("empty")).reconstructions(record.network_key, 0)).read_bytes() == (
            StudyFolder(alone).reconstructions(record.network_key, 0).read_bytes()
        )
        exported = source_of(ExportOptions(what=f"other:{network}", to=Path("x"), storage=url, study="two"))
        assert exported.origin.trained and exported.origin.name == record.label
        paths = [StudyFolder(folder).checkpoints(record.network_key, 0) / BEST for folder in (Path("other"), alone)]
        fetched, trained = (load_file(path) for path in paths)
        assert fetched.keys() == trained.keys()
        assert all(torch.equal(fetched[name], trained[name]) for name in trained)
    assert [path.name for path in Path("empty/latency").rglob("*.npz")] == ["cpu-1-0.npz"]


def test_a_damaged_checkpoint_is_a_note(work: Path, alone: Path) -> None:
    url = f"sqlite:///{work}/all.db"
    shared = ("--storage", url, "--study", "two")
    assert ends(signal.SIGKILL, 2, *grid("a", *shared, "--artifacts", "shared")) == -signal.SIGKILL
    shutil.rmtree("a")
    for path in Path("shared").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    assert main(grid("b", *shared)) == 0
    first, second = of_study(url)
    note = f"checkpoint.pt is damaged in {work / 'shared'}: training started from the beginning"
    assert first.training["notes"] == [note] and second.training["notes"] == []
    assert first.training["resumed_from_epoch"] == 0
    one = records(optuna.load_study(study_name="two", storage=open_storage(alone / "journal.log")))
    assert [record.training["best_loss"] for record in (first, second)] == [record.training["best_loss"] for record in one]


def test_a_study_in_its_own_folder_keeps_nothing_twice(alone: Path) -> None:
    study = optuna.load_study(study_name="two", storage=open_storage(alone / "journal.log"))
    assert PLACE not in study.user_attrs
    assert len(list((alone / "artifacts").iterdir())) == 4  # two pictures of each trial, for the dashboard
    assert not [name for trial in study.trials for name in trial.system_attrs if name.startswith("file:")]


def test_wrong_places_are_one_line_before_any_work(
    work: Path, alone: Path, bucket: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(alone, work / "old")
    name = ("--study", "two")
    (work / "file").touch()
    cases = {
        f"s3://{bucket}-other": "must be a place that can be reached and written",
        "s3://key:hidden@bucket": "must be a folder, or s3://BUCKET/PREFIX. Got 's3://bucket/' instead",
        "file/below": "must be a place that can be reached and written",
    }
    for place, words in cases.items():
        assert main(grid("new", "--artifacts", place)) == 2
        error = last_line(capsys.readouterr().err)
        assert error.startswith(f"error: --artifacts {words}") and "hidden" not in error
        assert not Path("new/latency").exists()
    # a study of an earlier version has its files in its folder
    assert main(grid("old", *name, "--artifacts", f"s3://{bucket}")) == 2
    assert "must be where the study began to keep its files, old/artifacts" in last_line(capsys.readouterr().err)
    assert main(grid("old", *name, "--artifacts", "old/artifacts")) == 0
    # without the library
    monkeypatch.setitem(sys.modules, "boto3", None)
    open_place.cache_clear()
    assert main(grid("new", "--artifacts", f"s3://{bucket}")) == 2
    assert "Install boto3: pip install 'vae-ablation[s3]'" in last_line(capsys.readouterr().err)
