"""The index of reference results: measured hardware with its numbers, the rest as not measured."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ablation.attribute.factorial import Factorial
from ablation.attribute.timed_design import MIN_BLOCKS, latency_design
from ablation.design.spec import preset
from ablation.machine.hardware import hardware_name
from studies import reference
from studies.explain.steps import SHARES
from studies.reference import commands as commands_of
from studies.reference import write_index
from studies.run import main


def test_index_shows_numbers_and_what_is_missing(tmp_path: Path) -> None:
    table1 = tmp_path / "cpu-x" / "table1"
    table1.mkdir(parents=True)
    # the second as an earlier version stored it, from one sitting
    ratios = {"1": {"ratio": 3.21, "low": 3.1, "high": 3.3, "sittings": 5}, "32": {"ratio": 6.8, "low": 6.5, "high": 7.1}}
    (table1 / "provenance.json").write_text(json.dumps({"ratios": ratios}))
    kinds = {"C1": "holds", "C2": "fails", "C3": "fails", "T1": "holds"}
    (tmp_path / "cpu-x" / "paper").mkdir()
    ledger = {"scale": {"data": "faces"}, "verdicts": {name: {"kind": kind} for name, kind in kinds.items()}}
    (tmp_path / "cpu-x" / "paper" / "ledger.json").write_text(json.dumps(ledger))
    lines = write_index(tmp_path).read_text().splitlines()
    claims = "faces: [1 holds, 2 fail, 0 undecided](cpu-x/paper/paper.md)"
    ratios_text = "| cpu-x | 3.21 (3.10 to 3.30) | 6.80 (no interval) |"
    assert f"{ratios_text} not measured | not measured | not measured | {claims} | not measured |" in lines
    assert "| h200 |" + " not measured |" * 7 in lines


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What `reference` would run, in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    asked: list[list[str]] = []
    monkeypatch.setattr(reference, "_run", lambda command: asked.append(command) or 0)
    return asked


def test_all_parts_run_in_order_and_what_is_whole_is_not_measured_again(commands: list[list[str]], tmp_path: Path) -> None:
    measured = reference.ROOT / hardware_name("cpu") / "table1"
    measured.mkdir(parents=True)
    (measured / "provenance.json").write_text(json.dumps({"ratios": {b: {"ratio": 1, "low": 1, "high": 1} for b in ("1", "32")}}))
    assert main(["reference", "--device", "cpu", "--data-root", "CELEBA"]) == 0
    study = ["paper", "report"]
    others = ["explain"] * 4
    names = ["explain", *study, *study, "bench", "grid", "report", *others, "search", "report", "bench", "bench"]
    assert [command[0] for command in commands] == names
    folders = [Path(command[command.index("--out") + 1]).parts[-2:] for command in commands if "--input" in command]
    networks = ("mobilenet_v3_small", "shufflenet_v2_x1_0")
    assert folders == [("any", f"{name}{batch}") for batch in ("", "-b32") for name in networks]
    commands.clear()
    assert main(["reference", "table1", "--device", "cpu"]) == 0
    assert [command[0] for command in commands] == ["table1"], "a part that is named is measured again"


def test_an_explanation_that_is_there_is_lent_to_both_studies_of_the_paper(commands: list[list[str]]) -> None:
    folder = reference.ROOT / hardware_name("cpu") / "explain"
    assert "--explained" not in commands_of("cpu", hardware_name("cpu"), "CELEBA")["paper"]
    folder.mkdir(parents=True)
    (folder / "explanation.json").write_text("{}")
    faces, celeba = (commands_of("cpu", hardware_name("cpu"), "CELEBA")[part] for part in ("paper", "paper-celeba"))
    for command in (faces, celeba):
        assert command[command.index("--explained") + 1] == str(folder)
    assert "--data-root" not in faces
    assert celeba[celeba.index("--data-root") + 1] == "CELEBA"
    assert faces[faces.index("--out") + 1] != celeba[celeba.index("--out") + 1]


def test_the_pair_is_explained_with_a_budget_for_an_interval_of_every_piece() -> None:
    """All nine factors, in blocks; on a GPU with table1 in 12 minutes, of which the expected seconds leave 2 for that."""
    pair = Factorial.between(preset("original"), preset("modified"))
    for device, call_ms, share in (("cpu", 45.0, 0.9), ("cuda", 6.0, 0.95)):
        command = commands_of(device, "machine", "CELEBA")["explain"]
        budget = float(command[command.index("--budget") + 1])
        design = latency_design(pair, share * SHARES["latency"] * budget, call_ms=call_ms, device=device)
        assert (design.coarse, len(design.orderings) >= MIN_BLOCKS, design.sittings >= 3) == (False, True, True)
    assert budget + 200 <= 600


def test_studies_of_two_machines_are_two_studies() -> None:
    first, second = (commands_of("cuda", name, "CELEBA") for name in ("h100", "h200"))
    for part in ("paper", "grid"):
        assert first[part][first[part].index("--out") + 1] != second[part][second[part].index("--out") + 1]


def test_a_part_that_fails_ends_with_its_code(commands: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "_run", lambda command: commands.append(command) or 2)
    assert main(["reference", "table1", "bench", "--device", "cpu"]) == 2
    assert [command[0] for command in commands] == ["table1"]


def test_a_part_has_a_process_of_its_own() -> None:
    assert reference._run(["list"]) == 0
    assert reference._run(["table1", "--device", "none"]) == 2


INTERRUPTED = """
import os, signal, subprocess, sys
from studies import reference

start = subprocess.Popen

def interrupted(command, **how):
    os.kill(os.getpid(), signal.SIGINT)
    return start([sys.executable, "-c", "import time; time.sleep(600)"], **how)

reference.subprocess.Popen = interrupted
sys.exit(reference._run(["list"]))
"""


def test_ctrl_c_while_a_part_is_being_started_reaches_it() -> None:
    """In a process of its own, whose handlers nothing else has changed."""
    assert subprocess.run([sys.executable, "-c", INTERRUPTED], env=_with_paths(), timeout=300).returncode == 130


def test_ctrl_c_reaches_the_part_and_leaves_no_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "studies.run", "reference", "explain", "--device", "cpu"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=_with_paths()) as begun:
        assert begun.stderr is not None
        overdue = threading.Timer(600, _end, [begun])  # a failure is not to wait for ever
        overdue.start()
        for line in begun.stderr:
            if line.startswith("static"):
                break
        begun.send_signal(signal.SIGINT)
        # the pipe ends when both processes have ended
        rest = begun.stderr.read()
        assert begun.wait(60) == 130
        overdue.cancel()
    assert "Stopped. What is done is kept" in rest
    assert "Traceback" not in rest


def _with_paths() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])}


def _end(begun: subprocess.Popen[str]) -> None:
    for child in Path(f"/proc/{begun.pid}/task/{begun.pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    begun.kill()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--device cpu", "--data-root"),
        ("speed --device cpu", "speed"),
        ("paper-celeba --device cuda --data-root CELEBA", "paper with --device cuda"),
        ("paper grid --device cpu", "--data-root must be the folder of CelebA, for grid"),
    ],
)
def test_wrong_input(
    arguments: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reference, "pick_device", lambda wanted: wanted)
    assert main(["reference", *arguments.split()]) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
