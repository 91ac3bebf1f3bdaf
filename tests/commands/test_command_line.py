"""The command line itself: how it is read, what its help shows, and wrong input, which is one line and exit code 2."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from studies import run
from studies.run import COMMANDS, main, parse
from studies.work.line import public_line
from tests.tiny_grid import grid, last_line

REPO = Path(__file__).parents[2]


def printed_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *command: str) -> str:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0
    return capsys.readouterr().out


def test_help_of_all_commands_fits_on_a_screen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed_help(monkeypatch, capsys).splitlines()
    assert len(lines) <= 24
    assert [line.split()[1] for line in lines if line.startswith("│ ")][:-1] == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_ends_with_an_example_that_works(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed_help(monkeypatch, capsys, name)
    assert f"Usage: python -m studies.run {name}" in text
    start, example = last_line(text).split(f" -m studies.run {name}")
    assert start == "Example: python"
    assert isinstance(parse([name, *shlex.split(example)]), COMMANDS[name].options)
    assert "None" not in text and "()" not in text, "a default that says nothing"


def test_help_imports_no_torch_and_shows_defaults() -> None:
    code = "import sys; from studies.run import main\ntry: main(['grid', '-h'])\nfinally: assert 'torch' not in sys.modules"
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    for words in ("[default: 1 32]", "[default: auto]", "[default: 0]", "latency"):
        assert words in done.stdout


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        (["claims", "FOLDER", "--format", "csv", "C8"], "words", ("FOLDER", "C8")),
        (["grid", "--latency-batches", "1", "8", "--seeds", "2"], "latency_batches", (1, 8)),
        (["grid", "--latency-batches", "1", "--latency-batches", "8"], "latency_batches", (8,)),
        (["grid", "--plugin", "a", "--plugin=b"], "plugin", ("a", "b")),
        (["grid", "--epochs=3", "--epochs", "4"], "epochs", 4),
        (["grid", "--epo", "4"], "epochs", 4),
        (["grid", "--study", "none"], "study", "none"),
        (["grid", "--learning-rate", "1e-3"], "learning_rate", 1e-3),
        (["grid", "--data-seed", "-1"], "data_seed", -1),
        (["report", "--to", "page", "folder"], "folder", Path("folder")),
        (["bench", "static", "--quick", "kill"], "parts", ("static", "kill")),
        (["paper", "--groups", "models", "pieces", "--quick"], "groups", ("models", "pieces")),
        (["explain", "--batches", "1", "8", "--quick", "a", "b"], "second", "b"),
        (["status", "--", "-folder"], "folder", Path("-folder")),
    ],
)
def test_a_command_line_is_read_as_it_is_written(arguments: list[str], field: str, value: object) -> None:
    options = parse(arguments)
    assert getattr(options, field) == value
    assert options.line == " ".join(["python -m studies.run", *arguments])


def test_the_installed_command_has_its_own_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"ablation": "studies.run:run"}
    monkeypatch.setattr(sys, "argv", ["/usr/bin/ablation", "gird"])
    assert main() == 2
    assert capsys.readouterr().err.startswith("error: ablation: ")
    assert "Usage: ablation list" in printed_help(monkeypatch, capsys, "list")
    assert parse(["list"]).line == "ablation list"


def wrong(name: str, arguments: list[str], *words: str) -> object:
    return pytest.param(arguments, words, id=name)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        wrong("no command", [], "COMMAND"),
        wrong("unknown command", ["gird"], "COMMAND must be one of grid, ", "reference, bench", "gird"),
        wrong("unknown flag", grid("--epoch-count", "3"), "--epoch-count"),
        wrong("flag that could be several", grid("--late", "3"), "--late", "--latency-batches", "--latency-threads"),
        wrong("a word too many", grid("another"), "unrecognized arguments: another"),
        wrong("no switch off", grid("--no-compile"), "--no-compile"),
        wrong("part of a number", grid("--seeds", "1.5"), "--seeds", "1.5"),
        wrong("none is no number", grid("--seeds", "none"), "--seeds", "none"),
        wrong("a flag without value", ["report", "--to"], "--to must be given a value"),
        wrong("an empty value", grid("--study", ""), "--study"),
        wrong("one network", ["explain", "original"], "SECOND must be given a value"),
        wrong("flag of several before words", ["explain", "--batches", "1", "a", "b"], "FIRST", "before flags that take several"),
        wrong("no batches", ["explain", "original", "modified", "--batches", "8", "0"], "--batches", "at least 1", "Got 0"),
        wrong("unknown data", grid("--data", "mnist"), "mnist", "celeba"),
        wrong("missing space", grid("--space", "none.toml"), "none.toml", "no such file"),
        wrong("indivisible size", grid("--image-size", "50"), "50", "48 or 52"),
        wrong("no root", grid("--data", "celeba"), "--data-root"),
        wrong("root that is not there", grid("--data", "celeba", "--data-root", "nowhere"), "nowhere"),
        wrong("root without images", grid("--data", "folder", "--data-root", "."), "holds none"),
        wrong("root for faces", grid("--data-root", "."), "--data-root"),
        wrong("too few images", grid("--images", "5"), "5", "at least 10"),
        wrong("zero epochs", [*grid(), "--epochs", "0"], "epochs", "at least 1"),
        wrong("negative rate", grid("--learning-rate", "-1"), "learning_rate"),
        wrong("zero workers", grid("--workers", "0"), "--workers"),
        wrong("zero seeds", grid("--seeds", "0"), "--seeds"),
        wrong("zero batch", grid("--latency-batches", "0"), "--latency-batches"),
        wrong("bad budget", grid("--latency-budget", "-3"), "--latency-budget"),
        wrong("missing plugin", grid("--plugin", "no_such_module"), "no_such_module", "--plugin"),
        wrong("storage without driver", grid("--storage", "postgresql://u:secret@localhost/x"), "postgresql+psycopg"),
        wrong("out is a file", grid("--out", "space.toml"), "space.toml", "--out"),
        wrong("status without studies", ["status"], "results/"),
        wrong("status of a folder without study", ["status", "."], "FOLDER"),
        wrong("report without study", ["report", "nowhere"], "nowhere"),
        wrong("unknown part of bench", ["bench", "speed"], "speed", "static"),
        wrong("another size as a level", grid("--space", "sizes.toml"), "image_size", "--image-size"),
        wrong("table1 at an odd size", ["table1", "--image-size", "50"], "50", "48 or 64"),
        wrong("table1 without time", ["table1", "--budget", "0"], "--budget"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: tuple[str, ...]
) -> None:
    assert main(arguments) == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("error: ")
    assert "\n" not in message
    assert "secret" not in message
    for word in words:
        assert word in message


def test_a_defect_has_an_exit_code_of_its_own(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(argv: object = None) -> int:
        raise ZeroDivisionError("by mistake")

    monkeypatch.setattr(run, "main", broken)
    assert run.run() == run.DEFECT == 70
    assert "by mistake" in capsys.readouterr().err


def test_no_gpu_is_said_in_one_line(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([*grid(), "--device", "cuda"]) == 2
    assert "--device" in capsys.readouterr().err


def test_stored_command_has_no_credentials_and_no_folders_of_this_machine(tmp_path: Path) -> None:
    storage = "--storage=postgresql+psycopg://me:secret@host/db"
    line = public_line(["grid", storage, "--data-root", str(tmp_path / "celeba"), "--seeds", "3"])
    assert line == "python -m studies.run grid --storage=postgresql+psycopg://host/db --data-root celeba --seeds 3"
    public_line(["grid", "--space", "\udcff.toml", "--study", "a\nb"]).encode("utf-8")
