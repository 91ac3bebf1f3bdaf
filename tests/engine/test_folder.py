"""One folder, one study: whatever the command and the storage, another study is refused before anything is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import optuna
import pytest

from ablation.design.spec import preset
from blocks.errors import InputError
from studies.engine.config import StudyFolder
from studies.engine.folder import check_folder, check_grid_folder, check_name, holder, take_folder, take_grid_folder
from studies.run import main
from studies.store.storage import open_storage, open_study


def begin(folder: Path, name: str, storage: str | None = None) -> optuna.Study:
    """A study as `grid` begins it."""
    part, where = check_grid_folder(folder, name, storage)
    StudyFolder(part).create()
    study = open_study(open_storage(where or StudyFolder(part).journal), name)
    take_grid_folder(part, study, where)
    return study


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and ".lock" not in path.name}


def refused(folder: Path, name: str, storage: str | None = None) -> str:
    """The refusal, which is one line and writes nothing."""
    before = files(folder)
    with pytest.raises(InputError) as caught:
        check_grid_folder(folder, name, storage)
    assert files(folder) == before
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("--out must be a folder of one study alone.")
    return str(caught.value)


def test_a_second_study_is_refused_in_every_storage(tmp_path: Path) -> None:
    url, out = f"sqlite:///{tmp_path}/all.db", tmp_path / "out"
    begin(out, "first")
    assert "--study 'first'" in refused(out, "second")
    assert "without --storage" in refused(out, "first", url)
    begin(tmp_path / "other", "third", url)
    begin(tmp_path / "fourth", "fourth", url)
    assert "'third'" in refused(tmp_path / "other", "fourth", url)
    assert "'third'" in refused(tmp_path / "other", "new", url)
    assert "'third'" in refused(tmp_path / "other", "third")
    assert "'third'" in refused(tmp_path / "other", "third", f"sqlite:///{tmp_path}/missing.db")
    assert not (tmp_path / "missing.db").exists()


def test_the_same_study_goes_on_also_where_it_was_moved(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/all.db"
    for name, storage in (("journal", None), ("database", url)):
        begin(tmp_path / name, name, storage)
        begin(tmp_path / name, name, storage)
        (tmp_path / name).rename(tmp_path / f"{name}-moved")
        begin(tmp_path / f"{name}-moved", name, storage)
    (tmp_path / "all.db").rename(tmp_path / "moved.db")
    begin(tmp_path / "database-moved", "database", f"sqlite:///{tmp_path}/moved.db")


def test_a_study_of_several_machines_has_a_folder_on_each(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/all.db"
    begin(tmp_path / "here", "shared", url)
    begin(tmp_path / "there", "shared", url)


def test_folders_of_earlier_versions_go_on(tmp_path: Path) -> None:
    """Without a marker: a journal, a database's study, and two studies in one journal, of which the second gets a part."""
    url = f"sqlite:///{tmp_path}/all.db"
    for name, storage in (("journal", None), ("database", url)):
        begin(tmp_path / name, name, storage)
        (tmp_path / name / "study.json").unlink()
        begin(tmp_path / name, name, storage)
    open_study(open_storage(StudyFolder(tmp_path / "journal").journal), "second")
    assert check_grid_folder(tmp_path / "journal", "journal", None) == (tmp_path / "journal", None)
    part, where = check_grid_folder(tmp_path / "journal", "second", None)
    assert (part, where) == (tmp_path / "journal" / "second", str(tmp_path / "journal" / "journal.log"))
    refused(tmp_path / "journal", "third")


@pytest.mark.parametrize("command", ["paper", "explain", "table1", "bench", "grid"])
def test_commands_refuse_each_others_folders(tmp_path: Path, command: str) -> None:
    take_folder(tmp_path, command)
    for other in ("paper", "explain", "table1", "bench", "grid"):
        if other != command:
            with pytest.raises(InputError, match=f"It holds a study of `{command}`. Name another folder"):
                check_folder(tmp_path, other)
    check_folder(tmp_path, command)


def test_other_settings_are_another_study(tmp_path: Path) -> None:
    take_folder(tmp_path, "table1", image_size=144, device="cpu")
    check_folder(tmp_path, "table1", image_size=144, device="cpu")
    with pytest.raises(InputError, match="image_size 144, not 48"):
        check_folder(tmp_path, "table1", image_size=48, device="cpu")


@pytest.mark.parametrize(
    ("trace", "command"),
    [("plan.json", "paper"), ("explanation.json", "explain"), ("table1.csv", "table1"), ("bench.json", "bench"), ("x.txt", None)],
)
def test_a_folder_without_a_marker_is_known_by_its_files(tmp_path: Path, trace: str, command: str | None) -> None:
    (tmp_path / trace).write_text("{}")
    assert holder(tmp_path).get("command") == command


def test_a_command_that_found_no_data_leaves_the_folder_free(tmp_path: Path) -> None:
    open_storage(StudyFolder(tmp_path).journal)
    assert not holder(tmp_path)
    check_grid_folder(tmp_path, "x", f"sqlite:///{tmp_path}/x.db")


@pytest.mark.parametrize("name", ["a/b", "/abs", "..", ".", ".hidden", "-x", "", " ", " a", "a ", "a\\b", "a\nb", "\udcff"])
def test_names_that_are_no_folders_name_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="--study must be"):
        check_name(name)


@pytest.mark.parametrize("name", ["a", "my study", "v1.2", "größe-3_x"])
def test_names_with_dots_and_spaces_are_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    study = begin(Path("results") / name, name)
    study.set_user_attr("config", CONFIG)
    begin(Path("results") / "other", "other").set_user_attr("config", CONFIG)
    assert main(["status", "--study", name]) == 0
    assert capsys.readouterr().out.startswith(f"{name}: 0 planned")


def test_status_finds_a_name_with_a_slash_that_an_earlier_version_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    StudyFolder(Path("results/a/b")).create()
    open_study(open_storage("results/a/b/journal.log"), "a/b").set_user_attr("config", CONFIG)
    assert main(["status"]) == 0
    assert "a/b: 0 planned" in capsys.readouterr().out
    assert check_grid_folder(Path("results/a/b"), "a/b", None)[0] == Path("results/a/b")


def test_status_of_a_folder_whose_study_has_another_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path}/all.db"
    begin(tmp_path / "folder", "name", url).set_user_attr("config", CONFIG)
    begin(tmp_path / "else", "folder2", url)
    assert main(["status", str(tmp_path / "folder"), "--storage", url]) == 0
    assert capsys.readouterr().out.startswith("name: 0 planned")


def test_reports_of_two_studies_in_one_journal_lie_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(tmp_path / "x", "first").set_user_attr("config", CONFIG)
    open_study(open_storage(StudyFolder(tmp_path / "x").journal), "second").set_user_attr("config", CONFIG)
    assert main(["report", str(tmp_path / "x")]) == 0
    assert (tmp_path / "x/report/report.html").is_file()
    assert (tmp_path / "x/second/report/report.html").is_file()
    shutil.rmtree(tmp_path / "x")


@pytest.mark.parametrize(
    "arguments",
    [
        ["table1", "--budget", "1", "--image-size", "16"],
        ["bench", "static", "--quick"],
        ["explain", "small", "small_modified", "--quick"],
        ["paper", "--quick"],
        ["grid", "--images", "40", "--study", "second"],
        ["grid", "--images", "40", "--storage", "sqlite:///{}/all.db"],
    ],
    ids=lambda arguments: " ".join(arguments[:1]),
)
def test_a_command_refuses_another_studys_folder_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setenv("ABLATION_CACHE", str(tmp_path / "cache"))
    begin(tmp_path / "held", "first")
    before = files(tmp_path)
    given = [argument.format(tmp_path) for argument in arguments]
    assert main([*given, "--device", "cpu", "--out", str(tmp_path / "held")]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: --out must be a folder of one study alone.")
    assert shown.count("\n") == 1
    assert files(tmp_path) == before


def test_an_explanation_of_another_pair_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also one of an earlier version, whose folder has no marker."""
    specs = {name: preset(name).to_dict() for name in ("original", "modified")}
    (tmp_path / "explanation.json").write_text(json.dumps({"specs": specs}))
    assert main(["explain", "small", "small_modified", "--quick", "--device", "cpu", "--out", str(tmp_path)]) == 2
    assert "explanation of other networks" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["explanation.json"]


CONFIG = {
    "name": "grid",
    "space": {"name": "s", "base": {}, "factors": {"conv": {"standard": {"conv": "standard"}}}},
    "data": {"name": "faces", "limit": 40, "seed": 0, "image_size": 16},
    "fingerprint": "",
    "protocol": {"epochs": 1},
    "device": "cpu",
    "seeds": 1,
    "latency_batches": [1],
    "latency_threads": 1,
    "max_attempts": 3,
}


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["grid", "--study", ""], "--study"),
        (["grid", "--out="], "--out"),
        (["grid", "--storage", ""], "--storage"),
        (["grid", "--data", "celeba", "--data-root", ""], "--data-root"),
        (["status", ""], "An argument"),
    ],
)
def test_an_argument_without_text_is_not_the_default(capsys: pytest.CaptureFixture[str], arguments: list[str], word: str) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: {word} must be given a value.")
    assert shown.count("\n") == 1
