"""Places for artifacts, and the files of a study in them: kept, replaced, fetched, and never used where they are damaged."""

from __future__ import annotations

import json
import sys
from io import BytesIO
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError

from blocks.errors import InputError, WriteError
from studies.store.artifacts import Artifacts, Gone
from studies.store.place import PLACE, Bucket, check_place, open_place, place_of, read_place
from studies.store.queue import Job
from studies.work.resume import CHECKPOINTED, ORIGIN, Resumed
from tests.storages import a_study

NAME = CHECKPOINTED.name


def stored(place: str) -> list[str]:
    """Names of what lies in a place."""
    store = open_place(place)
    if not isinstance(store, Bucket):
        return [path.name for path in Path(place).iterdir()]
    listed = store.store.client.list_objects_v2(Bucket=store.store.bucket).get("Contents", ())
    return [item["Key"] for item in listed]


def begun(where: str | Path, place: str | None, folder: Path) -> tuple[Artifacts, optuna.Trial]:
    """The artifacts of a study, and a trial of it."""
    study = a_study(where, [Job("net", 0)])
    if place is not None:
        check_place(place, is_new=True)
        study.set_user_attr(PLACE, place)
    return Artifacts(study, folder / "artifacts"), study.ask()


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_file_is_kept_replaced_and_fetched(where: str, artifacts_place: str, tmp_path: Path) -> None:
    artifacts, trial = begun(where, artifacts_place, tmp_path)
    file = write(tmp_path / "here/file", "one")
    first = artifacts.put(trial, NAME, file)
    second = artifacts.put(trial, NAME, write(file, "two"), first, progress=[1, 2])
    assert len(stored(artifacts_place)) == 1
    assert all(name.startswith("of/studies/") for name in stored(artifacts_place)) or not artifacts_place.endswith("/of/studies")
    there = Artifacts(a_study(where), tmp_path / "there/artifacts")
    kept = there.latest(("net", 0), NAME)
    assert kept == second and kept is not None and kept.about == {"progress": [1, 2]}
    assert there.kept(NAME) == {trial.number: kept}
    assert there.latest(("net", 1), NAME) is None
    copy = tmp_path / "there/file"
    for before in (None, "an older one"):
        if before:
            write(copy, before)
        assert there.fetch(kept, copy) == ""
        assert copy.read_text() == "two"
    artifacts.drop(trial, NAME, second)
    assert stored(artifacts_place) == []
    assert (there.latest(("net", 0), NAME), there.kept(NAME)) == (None, {trial.number: None})
    # to the dashboard they are no artifacts, whose position it goes by
    assert not [name for name in trial.study.trials[0].system_attrs if name.startswith("artifacts:")]


def test_files_of_all_trials_are_kept_once(where: str, artifacts_place: str, tmp_path: Path) -> None:
    artifacts, _ = begun(where, artifacts_place, tmp_path)
    file = write(tmp_path / "file", "one")
    for _ in range(2):
        artifacts.put_shared("latency/x.npz", file)
    assert len(stored(artifacts_place)) == 1
    artifacts.put_shared("latency/x.npz", write(file, "two"))
    assert len(stored(artifacts_place)) == 1
    there = Artifacts(a_study(where), tmp_path / "there/artifacts")
    assert there.fetch(there.shared()["latency/x.npz"], tmp_path / "copy") == ""
    assert (tmp_path / "copy").read_text() == "two"


def test_a_trial_that_was_taken_over_keeps_nothing(where: str, artifacts_place: str, tmp_path: Path) -> None:
    artifacts, trial = begun(where, artifacts_place, tmp_path)
    file = write(tmp_path / "file", "one")
    kept = artifacts.put(trial, NAME, file)
    a_study(where).tell(trial.number, state=optuna.trial.TrialState.FAIL)
    with pytest.raises(UpdateFinishedTrialError):
        artifacts.put(trial, NAME, write(file, "two"), kept)
    artifacts.drop(trial, NAME, kept)
    assert len(stored(artifacts_place)) == 1
    assert artifacts.fetch(artifacts.latest(("net", 0), NAME), file) == ""
    assert file.read_text() == "one"


def test_damaged_and_missing_files_are_not_used(where: str, artifacts_place: str, tmp_path: Path) -> None:
    artifacts, trial = begun(where, artifacts_place, tmp_path)
    kept = artifacts.put(trial, NAME, write(tmp_path / "file", "whole"))
    assert kept is not None
    artifacts.store.write(kept.id, BytesIO(b"whol"))
    assert "copy is damaged in " in artifacts.fetch(kept, tmp_path / "copy")
    artifacts.store.remove(kept.id)
    assert "copy is missing in " in artifacts.fetch(kept, tmp_path / "copy")
    with pytest.raises(Gone):
        artifacts.load(kept, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert artifacts.out_of_reach == ""
    assert artifacts.missing == f"copy is damaged in {artifacts_place}, and 1 more"


def test_a_study_without_a_place_keeps_nothing_twice(where: str, tmp_path: Path) -> None:
    artifacts, trial = begun(where, None, tmp_path)
    file = write(tmp_path / "file", "one")
    assert artifacts.put(trial, NAME, file) is None
    artifacts.put_shared("originals", file)
    assert (artifacts.kept(NAME), artifacts.shared(), artifacts.latest(("net", 0), NAME)) == ({}, {}, None)
    assert not (tmp_path / "artifacts").exists()
    assert artifacts.fetch(None, file) == ""
    assert artifacts.fetch(None, tmp_path / "none") == f"none is not kept in {tmp_path}"


def test_a_place_out_of_reach_is_asked_once(where: str, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts, trial = begun(where, f"s3://{bucket}/x", tmp_path)
    kept = artifacts.put(trial, NAME, write(tmp_path / "file", "one"))
    asked: list[str] = []

    def fail(artifact_id: str) -> None:
        asked.append(artifact_id)
        raise ConnectionError("no route")

    monkeypatch.setattr(artifacts.store, "open_reader", fail)
    for _ in range(2):
        reason = artifacts.fetch(kept, tmp_path / "copy")
        assert reason == artifacts.out_of_reach == f"copy could not be read from s3://{bucket}/x: no route"
    assert len(asked) == 1
    with pytest.raises(WriteError):
        Resumed(trial, tmp_path / "checkpoint", _with_checkpoint(artifacts, trial, tmp_path), "cpu")


def _with_checkpoint(artifacts: Artifacts, trial: optuna.Trial, folder: Path) -> Artifacts:
    about = {"progress": [2, 0], "origin": {"hardware": [{"cpu": "other"}], "notes": []}}
    artifacts.put(trial, NAME, write(folder / "checkpoint.pt", "steps"), artifacts.latest(("net", 0), NAME), **about)
    return artifacts


@pytest.mark.parametrize("gone", ["missing", "damaged", ""])
def test_a_checkpoint_that_is_gone_is_a_note(gone: str, artifacts_place: str, tmp_path: Path) -> None:
    artifacts, trial = begun(tmp_path / "study.log", artifacts_place, tmp_path)
    kept = _with_checkpoint(artifacts, trial, tmp_path / "there").latest(("net", 0), NAME)
    assert kept is not None
    if gone == "missing":
        artifacts.store.remove(kept.id)
    elif gone:
        artifacts.store.write(kept.id, BytesIO(b"x"))
    resumed = Resumed(trial, tmp_path / "here", artifacts, "cpu")
    assert resumed.progress == ((0, 0) if gone else (2, 0))
    whole = f"checkpoint.pt is {gone} in {artifacts_place}: training started from the beginning"
    assert resumed.origin.notes == ((whole,) if gone else ())
    assert (tmp_path / "here/checkpoint.pt").exists() == (not gone)
    # the hardware of steps that are lost is nothing that this training went on from
    assert resumed.provenance() == ({} if gone else {"resumed_from": [{"cpu": "other"}]})
    assert json.loads((tmp_path / "here" / ORIGIN).read_text())["hardware"][-1] == resumed.hardware
    # the next one takes its place
    resumed.keep()
    if not gone:
        assert len(stored(artifacts_place)) == 1


def test_a_place_as_a_study_stores_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_place("shared/../shared") == str(tmp_path / "shared")
    assert read_place("s3://bucket//") == "s3://bucket"
    for wrong in ("s3://", "gs://bucket", "s3://key:hidden@bucket/x", "s3://bucket?secret=hidden", "http://host/bucket"):
        with pytest.raises(InputError, match="--artifacts must be a folder, or s3://BUCKET/PREFIX") as caught:
            read_place(wrong)
        assert "hidden" not in str(caught.value) and "\n" not in str(caught.value)


def test_another_place_is_refused_once_a_study_has_begun(where: str, tmp_path: Path) -> None:
    study, own = a_study(where), tmp_path / "study/artifacts"
    assert place_of(None, "s3://bucket", own) == place_of(study, "s3://bucket", own) == "s3://bucket"
    assert place_of(None, str(own), own) is place_of(None, None, own) is None
    study.set_user_attr("config", {})
    assert place_of(study, None, own) is place_of(study, str(own), own) is None
    with pytest.raises(InputError, match=f"--artifacts must be where the study began to keep its files, {own}"):
        place_of(study, "s3://bucket", own)
    study.set_user_attr(PLACE, "s3://bucket/x")
    assert place_of(study, None, own) == place_of(study, "s3://bucket/x/", own) == "s3://bucket/x"
    for other in (str(own), "s3://bucket/y"):
        with pytest.raises(InputError, match="to keep its files, s3://bucket/x"):
            place_of(study, other, own)


def test_a_place_that_cannot_be_used_is_refused(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_place(f"s3://{bucket}/x", is_new=True)
    check_place(None, is_new=False)
    with pytest.raises(InputError, match=r"--artifacts must be a place that can be reached and written.*NoSuchBucket"):
        check_place(f"s3://{bucket}-other", is_new=True)
    with pytest.raises(InputError, match="Not a directory"):
        check_place("/dev/null/x", is_new=True)
    # a shared disk that is not there must not become a folder of this machine
    with pytest.raises(InputError, match="No such file or directory"):
        check_place(str(tmp_path / "unmounted"), is_new=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"Could not connect to the endpoint URL: .http://127\.0\.0\.1:9"):
        check_place("s3://elsewhere", is_new=True)
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(InputError, match=r"Install boto3: pip install 'vae-ablation\[s3\]'"):
        check_place("s3://without-boto3", is_new=True)
