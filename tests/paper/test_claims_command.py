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

from studies.paper.claims.judge import CLAIMS, judge
from studies.paper.claims_command import ledger_of
from studies.paper.evidence.published import write_evidence
from studies.paper.page.write import write_paper
from studies.run import main
from tests.fake_evidence import fake_evidence

REPO = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def _published(tmp_path_factory: pytest.TempPathFactory) -> None:
    """An invented study's page, as it is published."""
    STUDY.append(tmp_path_factory.mktemp("study") / "paper")
    evidence = fake_evidence()
    write_paper(evidence, judge(evidence), {}, STUDY[0], images_allowed=True)
    write_evidence(evidence, STUDY[0])
    (STUDY[0] / "ledger.json").write_text(ledger_of(STUDY[0]))


STUDY: list[Path] = []


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["claims", *arguments]) == 0
    return capsys.readouterr().out


def test_without_a_study_the_rules_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys)
    for claim in CLAIMS:
        assert claim.says in text
    words = " ".join(printed(capsys, "C2a").split())
    assert words == f"C2a {CLAIMS[1].says} measured {CLAIMS[1].measurement} rule {CLAIMS[1].rule}"
    both = printed(capsys, "C2")
    assert both.startswith("C2a") and "C2b" in both, "both parts"


def test_a_line_for_every_verdict_and_the_count(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, str(STUDY[0])).splitlines()
    stored = json.loads((STUDY[0] / "ledger.json").read_text())
    assert [line.split()[:2] for line in lines[:-1]] == [[name, v["kind"]] for name, v in stored["verdicts"].items()]
    number = stored["counts"]["C"]["holds"]
    assert lines[-1].startswith(f"Of 22 verdicts on 21 claims {number} hold")


def test_a_named_claim_is_told_with_rule_and_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    verdict = json.loads((STUDY[0] / "ledger.json").read_text())["verdicts"]["C18"]
    words = " ".join(printed(capsys, str(STUDY[0]), "C18").split())
    for text in (verdict["says"], verdict["sentence"], verdict["rule"], verdict["scope"], *verdict["evidence"]):
        assert " ".join(text.split()) in words


def test_other_formats_hold_the_same_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    stored = json.loads((STUDY[0] / "ledger.json").read_text())
    assert json.loads(printed(capsys, "--format", "json", str(STUDY[0]))) == stored
    one = json.loads(printed(capsys, "--format", "json", str(STUDY[0]), "C1"))
    assert one == {**stored, "verdicts": {"C1": stored["verdicts"]["C1"]}}
    rows = list(csv.DictReader(io.StringIO(printed(capsys, "--format", "csv", str(STUDY[0]), "C1"))))
    assert {row["quantity"]: float(row["value"]) for row in rows} == {
        name: number["value"] for name, number in stored["verdicts"]["C1"]["evidence"].items()
    }


def test_words_may_stand_behind_flags_too(capsys: pytest.CaptureFixture[str]) -> None:
    expected = printed(capsys, "--format", "csv", str(STUDY[0]), "C1", "C8")
    assert printed(capsys, str(STUDY[0]), "--format", "csv", "C1", "C8") == expected
    assert printed(capsys, str(STUDY[0]), "C1", "C8", "--format", "csv") == expected
    for wrong, words in (
        (["claims", str(STUDY[0]), "--format", "csv", "C99"], "ID must"),
        (["claims", "C1", "--fromat"], "--fromat"),
    ):
        assert main(wrong) == 2
        assert words in capsys.readouterr().err
    assert main(["report", str(STUDY[0]), "--to", "elsewhere", "another"]) == 2
    assert "another" in capsys.readouterr().err


def test_torch_is_not_needed() -> None:
    code = (
        "import sys; from studies.run import main; code = main(['claims', sys.argv[1]]); "
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(STUDY[0])], cwd=REPO, capture_output=True, text=True, check=False)
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


def test_a_page_is_judged_again_by_today_s_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(STUDY[0], tmp_path / "page")
    (folder / "ledger.json").write_text("{}")
    assert printed(capsys, str(folder)) == printed(capsys, str(STUDY[0]))


def test_a_ledger_that_was_copied_alone_is_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(STUDY[0] / "ledger.json", tmp_path)
    assert printed(capsys, str(tmp_path)) == printed(capsys, str(STUDY[0]))
