"""Every command as a user runs it: one small run of each, once more, stopped and resumed, and with wrong input."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ablation import build, static_cost
from ablation.design.space import load_space
from ablation.design.spec import PRESETS
from ablation.measure.latency.compare import compare_latency
from blocks import FAMILIES
from studies.engine.config import StudyFolder
from studies.paper import table1
from studies.run import main
from studies.store.storage import open_storage, open_study
from tests.tiny_grid import BASE, SPACE, grid, last_line

REAL_PLOTS = True
REPO = Path(__file__).parents[2]


def process(*arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "studies.run", *arguments]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def complete(folder: str = "results/tiny") -> Counter[tuple[str, int]]:
    """How often each (network, seed) is complete."""
    study = open_study(open_storage(StudyFolder(Path(folder)).journal), Path(folder).name)
    return Counter((t.user_attrs["network_key"], t.user_attrs["seed"]) for t in study.get_trials() if t.values)


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
    (place / "space.toml").write_text(BASE + '[factors]\ndown = ["max", "broken"]\n')
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


def test_table1_prints_both_models(place: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """At 16 px, so that it is quick; the paper's own numbers stand beside ours."""
    monkeypatch.setattr(table1, "compare_latency", partial(compare_latency, sittings=1, rounds=(2, 2)))
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
    (place / "space.toml").write_text(BASE + '[factors]\nup = ["nearest", "unbuildable"]\n')
    assert main(grid("--plugin", "unbuildable")) == 1
    assert list(complete().values()) == [1]
    assert "no such kernel" in capfd.readouterr().err
