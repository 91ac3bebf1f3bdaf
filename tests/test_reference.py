"""The index of reference results: measured hardware with its numbers, the rest as not measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from studies.reference import write_index
from studies.run import main


def test_index_shows_numbers_and_what_is_missing(tmp_path: Path) -> None:
    table1 = tmp_path / "cpu-x" / "table1"
    table1.mkdir(parents=True)
    ratios = {"1": {"ratio": 3.21, "low": 3.1, "high": 3.3}, "32": {"ratio": 6.8, "low": 6.5, "high": 7.1}}
    (table1 / "provenance.json").write_text(json.dumps({"ratios": ratios}))
    kinds = {"C1": "holds", "C2": "fails", "C3": "fails", "T1": "holds"}
    (tmp_path / "cpu-x" / "paper").mkdir()
    ledger = {"verdicts": {name: {"kind": kind} for name, kind in kinds.items()}}
    (tmp_path / "cpu-x" / "paper" / "ledger.json").write_text(json.dumps(ledger))
    lines = write_index(tmp_path).read_text().splitlines()
    claims = "[1 holds, 2 fails, 0 undecided](cpu-x/paper/paper.md)"
    assert f"| cpu-x | 3.21 (3.10 to 3.30) | 6.80 (6.50 to 7.10) | not measured | not measured | {claims} | not measured |" in lines
    assert "| h200 |" + " not measured |" * 6 in lines


def test_wrong_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["reference", "--device", "cpu"]) == 2
    assert "--data-root" in capsys.readouterr().err
    assert main(["reference", "speed", "--device", "cpu"]) == 2
    assert "speed" in capsys.readouterr().err
    assert main(["reference", "paper", "grid", "--device", "cpu"]) == 2
    assert "--data-root must be the folder of CelebA, for grid" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
