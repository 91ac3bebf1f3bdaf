"""`claims`: rules without a study, verdicts and numbers of a stored ledger, other formats, and wrong input."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ablation.judge.claims import CLAIMS
from studies.run import main

REPO = Path(__file__).parents[1]
STUDY = REPO / "results/reference/cpu-2core-amd-epyc/paper"


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["claims", *arguments]) == 0
    return capsys.readouterr().out


def test_without_a_study_the_rules_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys)
    for claim in CLAIMS:
        assert claim.says in text
    words = " ".join(said(capsys, "C2").split())
    assert words == f"C2 {CLAIMS[1].says} measured {CLAIMS[1].measurement} rule {CLAIMS[1].rule}"


def test_a_line_for_every_verdict_and_the_count(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, str(STUDY)).splitlines()
    stored = json.loads((STUDY / "ledger.json").read_text())
    assert [line.split()[:2] for line in lines[:-1]] == [[name, v["kind"]] for name, v in stored["verdicts"].items()]
    number = stored["counts"]["C"]["holds"]
    assert lines[-1].startswith(f"Of 21 claims {number} hold")


def test_a_named_claim_is_told_with_rule_and_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    verdict = json.loads((STUDY / "ledger.json").read_text())["verdicts"]["C18"]
    words = " ".join(said(capsys, str(STUDY), "C18").split())
    for text in (verdict["says"], verdict["sentence"], verdict["rule"], verdict["scope"], *verdict["evidence"]):
        assert " ".join(text.split()) in words


def test_other_formats_hold_the_same_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    stored = json.loads((STUDY / "ledger.json").read_text())
    assert json.loads(said(capsys, "--format", "json", str(STUDY))) == stored
    one = json.loads(said(capsys, "--format", "json", str(STUDY), "C1"))
    assert one == {**stored, "verdicts": {"C1": stored["verdicts"]["C1"]}}
    rows = list(csv.DictReader(io.StringIO(said(capsys, "--format", "csv", str(STUDY), "C1"))))
    assert {row["quantity"]: float(row["value"]) for row in rows} == {
        name: number["value"] for name, number in stored["verdicts"]["C1"]["evidence"].items()
    }


def test_words_may_stand_behind_flags_too(capsys: pytest.CaptureFixture[str]) -> None:
    expected = said(capsys, "--format", "csv", str(STUDY), "C1", "C8")
    assert said(capsys, str(STUDY), "--format", "csv", "C1", "C8") == expected
    assert said(capsys, str(STUDY), "C1", "C8", "--format", "csv") == expected
    for wrong, told in ((["claims", str(STUDY), "--format", "csv", "C99"], "ID must"), (["claims", "C1", "--fromat"], "--fromat")):
        assert main(wrong) == 2
        assert told in capsys.readouterr().err
    assert main(["report", str(STUDY), "--to", "elsewhere", "another"]) == 2
    assert "unrecognized arguments: another" in capsys.readouterr().err


def test_torch_is_not_needed() -> None:
    code = (
        "import sys; from studies.run import main; code = main(['claims', sys.argv[1]]); "
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(STUDY)], cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["C99"], ["ID", "C21, T1", "C99"]),
        (["nowhere"], ["FOLDER", "a study of `paper`", "nowhere"]),
        (["one", "two"], ["FOLDER", "one study"]),
        (["--format", "json"], ["FOLDER", "--format json"]),
        (["broken"], ["ledger.json", "JSONDecodeError", "report"]),
        (["other"], ["ledger.json", "KeyError"]),
    ],
)
def test_wrong_input_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("broken", "{"), ("other", "{}")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ledger.json").write_text(text)
    assert main(["claims", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert "\n" not in error
    for word in words:
        assert word in error


def test_a_ledger_that_was_copied_alone_is_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(STUDY / "ledger.json", tmp_path)
    assert said(capsys, str(tmp_path)) == said(capsys, str(STUDY))
