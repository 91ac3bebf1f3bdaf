"""Every command as a user runs it: one small run of each, once more, stopped and resumed, and with wrong input."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from ablation import build, static_cost
from ablation.design.space import load_space
from ablation.design.spec import PRESETS
from blocks import FAMILIES
from studies import run
from studies.engine.config import StudyFolder
from studies.run import COMMANDS, main, parse, public_line
from studies.store.storage import open_storage, open_study

SPACE = """
[base]
preset = "small"
image_size = 16
[factors]
connectivity = ["plain", "dense"]
growth_rate = [4, 8]
"""
REPO = Path(__file__).parents[2]


def begin(folder: Path) -> Path:
    """The same folder with a tiny space, and one that no study can have."""
    (folder / "space.toml").write_text(SPACE)
    (folder / "sizes.toml").write_text('[base]\npreset = "small"\n[factors]\nimage_size = [48, 64]\n')
    return folder


@pytest.fixture
def place(place: Path) -> Path:
    return begin(place)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tiny grid has been run."""
    folder = begin(tmp_path_factory.mktemp("finished"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("ABLATION_CACHE", str(folder / "cache"))
        assert main(grid()) == 0
    return folder


@pytest.fixture
def study(finished: Path, place: Path) -> Path:
    """The folder of a tiny grid that is complete, to work on."""
    for name in ("results", "cache"):
        shutil.copytree(finished / name, place / name)
    return place / "results/tiny"


def grid(*more: str, epochs: int = 1) -> list[str]:
    tiny = ["grid", "--space", "space.toml", "--images", "40", "--epochs", str(epochs), "--device", "cpu"]
    return [*tiny, "--latency-budget", "1", "--latency-batches", "1", "2", "--out", "results/tiny", *more]


def process(*arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "studies.run", *arguments]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def complete(folder: str = "results/tiny") -> Counter[tuple[str, int]]:
    """How often each (network, seed) is complete."""
    study = open_study(open_storage(StudyFolder(Path(folder)).journal), Path(folder).name)
    return Counter((t.user_attrs["network_key"], t.user_attrs["seed"]) for t in study.get_trials() if t.values)


def last_line(text: str) -> str:
    """The last of all lines, which is an error's only one."""
    return text.strip().splitlines()[-1]


def test_grid_from_start_to_report_and_again(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """3 networks of 4 combinations, then the same command does nothing but report, then more seeds only add."""
    assert main(grid()) == 0
    message = capfd.readouterr().err.replace("\n", " ")
    dashboard = "optuna-dashboard results/tiny/journal.log"
    for words in ("4 combinations", "3 different ones", "40 images at 16 px", dashboard, "3 of 3 trials"):
        assert words in message
    assert list(complete().values()) == [1, 1, 1]
    report = place / "results/tiny/report"
    for name in ("table.csv", "table.md", "table.tex", "report.md", "report.html", "provenance.json", "gallery.png", "trials.csv"):
        assert (report / name).stat().st_size > 0, name
    for plot in ("loss_against_latency_cpu_b1", "loss_against_parameters", "loss_against_macs", "effects_loss", "loss_curves"):
        assert (report / "plots" / f"{plot}.png").stat().st_size > 5000, plot
    facts = json.loads((report / "provenance.json").read_text())
    assert facts["command"].startswith("python -m studies.run grid --space space.toml")
    assert "torch" in json.dumps(facts)
    assert main(grid()) == 0
    assert list(complete().values()) == [1, 1, 1]
    assert main(grid("--seeds", "2")) == 0
    assert sorted(complete().values()) == [1] * 6


def test_stored_numbers_are_the_networks_own(study: Path) -> None:
    """Parameters and multiply-accumulates in the table are those of the built networks; both losses are finite."""
    table = pd.read_csv(study / "report/trials.csv").set_index("network_key")
    networks = load_space(Path("space.toml")).enumerate()[0]
    assert set(table.index) == {n.key for n in networks}
    for network in networks:
        row = table.loc[network.key]
        assert row["costs.params"] == sum(p.numel() for p in build(network.spec).parameters())
        assert row["costs.macs"] == static_cost(network.spec).macs
        assert np.isfinite([row["quality.replica.loss"], row["quality.reporting.ssim"], row["training.best_loss"]]).all()


def test_two_workers_share_one_study(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(grid("--workers", "2", "--seeds", "2")) == 0
    assert sorted(complete().values()) == [1] * 6
    assert "[6/6]" in capfd.readouterr().err


def test_grown_space_trains_only_what_is_new(study: Path, place: Path) -> None:
    before = complete()
    (place / "space.toml").write_text(SPACE.replace("[4, 8]", "[4, 8, 12]"))
    assert main(grid()) == 0
    assert complete().keys() > before.keys()
    assert sorted(complete().values()) == [1] * 4


def test_ctrl_c_stops_cleanly_and_the_same_command_resumes(place: Path) -> None:
    """Interrupted in training, the command says how to go on; afterwards everything is complete exactly once."""
    command = grid("--seeds", "3", epochs=20)
    running = process(*command)
    deadline = time.monotonic() + 600
    while not list(Path("results/tiny/checkpoints").glob("*/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
        assert running.poll() is None, running.communicate()
    assert list(Path("results/tiny/checkpoints").glob("*/*")), "never began to train"
    running.send_signal(signal.SIGINT)
    _, message = running.communicate(timeout=600)
    assert running.returncode == 130, message
    assert "Traceback" not in message
    assert "the same command goes on" in message
    assert sum(complete().values()) < 9
    assert main(command) == 0
    assert sorted(complete().values()) == [1] * 9


def test_failing_variant_is_recorded_and_the_study_goes_on(
    place: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A piece that cannot run costs its own trials only: reason kept, retries bounded, exit code 1."""
    (place / "broken_piece.py").write_text(
        "from torch import nn\nfrom blocks import DOWNS\n\n\nclass Broken(nn.MaxPool2d):\n"
        '    """Fails whenever it is trained."""\n\n    def forward(self, x):\n        if self.training:\n'
        '            raise RuntimeError("broken on purpose")\n        return super().forward(x)\n\n\n'
        '@DOWNS.register("broken")\ndef broken(channels):\n    """Fails whenever it is trained."""\n    return Broken(2)\n'
    )
    (place / "space.toml").write_text('[base]\npreset = "small"\nimage_size = 16\n[factors]\ndown = ["max", "broken"]\n')
    assert main(grid("--plugin", "broken_piece")) == 1
    assert list(complete().values()) == [1]
    assert "broken on purpose" in capfd.readouterr().err
    assert main(["status", "results/tiny"]) == 0
    out = capfd.readouterr().out
    assert "1 complete, 1 failed" in out
    assert "broken on purpose" in out
    assert "broken on purpose" in (place / "results/tiny/report/report.md").read_text()


def test_status_and_report_need_no_torch(study: Path, place: Path) -> None:
    code = (
        "import sys; from studies.run import main; a = main(['status']); b = main(['report', 'results/tiny', '--to', 'shared']); "
        "assert 'torch' not in sys.modules; sys.exit(a + b)"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "tiny: 3 planned: 3 complete" in done.stdout
    assert (place / "shared/report.html").exists()


def test_real_images_are_not_passed_on(place: Path) -> None:
    """A report written elsewhere shows no picture of a data set of files."""
    folder = place / "photos"
    folder.mkdir()
    for i in range(40):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(folder / f"{i:03d}.png")
    assert main(grid("--data", "folder", "--data-root", "photos")) == 0
    assert main(["report", "results/tiny", "--to", "public"]) == 0
    assert (place / "results/tiny/report/gallery.png").exists()
    assert not (place / "public/gallery.png").exists()
    assert "gallery" not in (place / "public/report.html").read_text()


def test_table1_prints_both_models(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """At 16 px, so that it is quick; the paper's own numbers stand beside ours."""
    assert main(["table1", "--image-size", "16", "--budget", "1", "--device", "cpu"]) == 0
    out = capfd.readouterr().out
    for words in ("9,352,195", "6,283,267", "32.8%", "1.77 ± 0.08 ms", "10.32 ± 1.13 ms", "times slower"):
        assert words in out
    assert {p.suffix for p in (place / "results/table1").iterdir()} == {".csv", ".md", ".tex", ".npz", ".json"}


def test_list_names_every_piece(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for family, registry in FAMILIES.items():
        for name in registry.names():
            assert any(line.startswith(f"  {name} ") and registry.summary(name) in line for line in lines), (family, name)
    assert all(any(line.startswith(f"  {name} ") for line in lines) for name in PRESETS)


def test_bench_reports_counts_and_ratios(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "static", "training", "overhead", "--quick", "--device", "cpu"]) == 0
    out = capfd.readouterr().out
    plain = "images per second over the plain loop"
    for words in ("40 variants", "time of fvcore over ours", plain, "planning, storage and report"):
        assert words in out
    stored = json.loads((place / "results/bench/bench.json").read_text())
    difference = next(r for r in stored["results"] if r["what"].startswith("largest difference"))
    assert difference["value"] < 1e-3


# --- the command line itself


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
        wrong("unknown command", ["gird"], "gird", "grid"),
        wrong("unknown flag", grid("--epoch-count", "3"), "--epoch-count"),
        wrong("flag that could be two", grid("--late", "3"), "--late"),
        wrong("no switch off", grid("--no-compile"), "--no-compile"),
        wrong("part of a number", grid("--seeds", "1.5"), "--seeds", "1.5"),
        wrong("none is no number", grid("--seeds", "none"), "--seeds", "none"),
        wrong("a flag without value", ["report", "--to"], "--to"),
        wrong("an empty value", grid("--study", ""), "--study"),
        wrong("one network", ["explain", "original"], "SECOND"),
        wrong("no batches", ["explain", "original", "modified", "--batches", "0"], "--batches", "at least 1"),
        wrong("unknown data", grid("--data", "mnist"), "mnist", "celeba"),
        wrong("missing space", grid("--space", "none.toml"), "none.toml", "no such file"),
        wrong("indivisible size", grid("--image-size", "50"), "50", "48 or 64"),
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


def test_another_study_in_the_folder_is_refused_and_stays_intact(
    study: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other data, protocol or space: one line that names the first difference; the journal keeps its bytes."""
    journal = (study / "journal.log").read_bytes()
    (place / "other.toml").write_text(SPACE.replace('"plain", "dense"', '"plain", "residual"'))
    for change, word in (
        (["--images", "50"], "data.limit"),
        (["--data-seed", "1"], "data.seed"),
        (["--epochs", "2"], "protocol.epochs"),
        (["--space", "other.toml"], "space"),
    ):
        capsys.readouterr()
        assert main([*grid(), *change]) == 2
        message = last_line(capsys.readouterr().err)
        assert word in message
        assert "--out" in message
    assert (study / "journal.log").read_bytes() == journal


def test_torn_journal_is_mended_and_garbage_is_refused(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = study / "journal.log"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 5, "trial')
    assert main(["status", "results/tiny"]) == 0
    assert "3 complete" in capsys.readouterr().out
    lines = whole.splitlines(keepends=True)
    torn = b"".join([*lines[:3], b"garbage\n", *lines[3:]])
    journal.write_bytes(torn)
    assert main(["status", "results/tiny"]) == 2
    message = capsys.readouterr().err.strip()
    assert "journal.log" in message
    assert "\n" not in message
    assert journal.read_bytes() == torn


def test_full_disk_ends_the_study_in_one_line_and_costs_no_attempt(
    place: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room runs out when the second trial stores its pictures; with room again, the same command completes everything."""
    from studies.engine import trial as objective

    saved = []

    def save(path: Path, images: np.ndarray) -> None:
        saved.append(path)
        if len(saved) == 3:  # the originals, the first trial's, the second's
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, images)

    real = objective.np.save
    with monkeypatch.context() as full:
        full.setattr(objective.np, "save", save)
        assert main(grid()) == 2
    message = capfd.readouterr().err
    assert "No space left on device" in last_line(message)
    assert "Traceback" not in message
    assert main(grid()) == 0
    assert list(complete().values()) == [1, 1, 1]


def test_piece_that_cannot_be_built_fails_alone(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Its networks are left out of the timing with their reason; the others are timed, trained and reported."""
    (place / "unbuildable.py").write_text(
        "from blocks import UPS\n\n\n@UPS.register('unbuildable')\ndef unbuildable(channels):\n"
        '    """Cannot be made."""\n    raise RuntimeError("no such kernel")\n'
    )
    (place / "space.toml").write_text('[base]\npreset = "small"\nimage_size = 16\n[factors]\nup = ["nearest", "unbuildable"]\n')
    assert main(grid("--plugin", "unbuildable")) == 1
    assert list(complete().values()) == [1]
    assert "no such kernel" in capfd.readouterr().err


def test_stored_command_has_no_credentials_and_no_folders_of_this_machine(tmp_path: Path) -> None:
    storage = "--storage=postgresql+psycopg://me:secret@host/db"
    line = public_line(["grid", storage, "--data-root", str(tmp_path / "celeba"), "--seeds", "3"])
    assert line == "python -m studies.run grid --storage=postgresql+psycopg://host/db --data-root celeba --seeds 3"
    public_line(["grid", "--space", "\udcff.toml", "--study", "a\nb"]).encode("utf-8")
