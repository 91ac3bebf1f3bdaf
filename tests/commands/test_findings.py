"""Findings: every number that the README states as a result is stored, and a sentence that is no longer true is found out."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from studies.paper.claims.judge import judge
from studies.paper.claims.ledger import write_ledger
from studies.reference import write_index
from tests.fake_evidence import SPEED, fake_evidence, timed_in_sittings
from tests.fake_explanation import fake_explanation
from tests.findings import blocks, cores, measured_numbers, problems, statements, unmarked, visible
from tests.findings_values import Span, Unsupported, evaluate

ROOT = Path(__file__).parents[2]
SECTIONS = ("", "What it reaches")
# of the README, which state results: what comes before the first heading, and the targets
STORED = {
    "ratios": {"1": {"ratio": 3.2249, "low": 3.1276, "high": 3.2981}},
    "a": {"params": 9_352_195}, "b": {"params": 6_283_267},
    "modes": [{"mode": "eager", "ratio": 2.9398, "ratio_low": 2.867, "ratio_high": 3.011}, {"mode": "folded", "ratio": 3.03}],
    "effects": {"stem width": {"value": 0.9, "low": 0.885, "high": 0.917}}, "error": 2.384e-07, "word": "reached",
}  # fmt: skip
TABLE = 'model,macs,note\noriginal,664879104,-\n"modified, dense",1101969536,-\n'
TEXT = "# Report\n\n**conv** It costs: latency ×1.518 (+51.8 %).\n\n**head** It costs: latency ×1.017; loss +0.0996 (+15.1 %).\n"
GOOD = (
    "It takes ×3.22 (3.13 to 3.30) as long and saves 33 %.\n"
    "<!-- finding x.json: ratios.1 = ×3.22 (3.13 to 3.30); 1 - {b.params} / {a.params} = 33 % -->"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "x.json").write_text(json.dumps(STORED), encoding="utf-8")
    (tmp_path / "t.csv").write_text(TABLE, encoding="utf-8")
    (tmp_path / "r.md").write_text(TEXT, encoding="utf-8")
    gpu = timed_in_sittings(fake_explanation(), device="cuda")
    write_ledger(judge(fake_evidence(explanation=gpu, speed={**SPEED, "device": "cuda"})), tmp_path)
    return tmp_path


# the repository's own sentences


def test_every_result_in_the_readme_is_stored() -> None:
    assert problems((ROOT / "README.md").read_text(encoding="utf-8"), ROOT, SECTIONS) == []


def test_the_readme_states_results_at_all() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert sum(len(statements(block)) for block in blocks(text)) >= 20


def test_every_changed_number_in_the_readme_is_found_out() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    changed = 0
    for block in blocks(text):
        for number in {core for s in statements(block) if s.must_be_shown for core in cores(s.shown)}:
            last = max(i for i, c in enumerate(number) if c.isdigit())
            wrong = number[:last] + str((int(number[last]) + 3) % 10) + number[last + 1 :]
            corrupted = re.sub(rf"(?<![\w.,]){re.escape(number)}(?![\w.])", wrong, block)  # in the sentence and in its marker
            assert problems(corrupted, ROOT), f"{number} as {wrong} is not found out in: {visible(block)[:80]}"
            assert problems(visible(corrupted) + "".join(re.findall(r"<!--.*?-->", block, flags=re.DOTALL)), ROOT)
            changed += 1
    assert changed >= 20


def test_the_index_of_reference_results_is_what_is_stored(tmp_path: Path) -> None:
    kept = tmp_path / "reference"
    shutil.copytree(ROOT / "results" / "reference", kept, ignore=shutil.ignore_patterns("*.svg", "*.png", "*.html", "*.npz"))
    committed = (kept / "README.md").read_text(encoding="utf-8")
    assert write_index(kept).read_text(encoding="utf-8") == committed


def test_a_corrupted_index_is_found_out(tmp_path: Path) -> None:
    kept = tmp_path / "reference"
    shutil.copytree(ROOT / "results" / "reference", kept, ignore=shutil.ignore_patterns("*.svg", "*.png", "*.html", "*.npz"))
    committed = (kept / "README.md").read_text(encoding="utf-8")
    stored = next(kept.glob("*/table1/provenance.json"))
    values = json.loads(stored.read_text(encoding="utf-8"))
    values["ratios"]["1"]["ratio"] += 0.5
    stored.write_text(json.dumps(values), encoding="utf-8")
    assert write_index(kept).read_text(encoding="utf-8") != committed


# what stands


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        "1.66 times as many.\n<!-- finding t.csv: {[model=modified, dense].macs} / {[model=original].macs} = 1.66 -->",
        "Half as slow again.\n<!-- finding r.md: after \"**conv**\" after \"latency ×\" = 1.5 ±3% -->",
        "The head costs 15 % of the loss.\n<!-- finding r.md: after \"**head**\" after \"loss \" after \"(\" = 15 % -->",
        "×2.46 (2.42 to 2.50)\n<!-- finding x.json: exp({effects.stem width}) = ×2.46 (2.42 to 2.50) -->",
        "Saves 33 % and 3.07 M.\n<!-- finding x.json: 1 - {b.params} / {a.params} = 33 %; {a.params} - {b.params} = 3.07 M -->",
        "×2.94 (2.87 to 3.01).\n<!-- finding x.json: modes[mode=eager].ratio = ×2.94 (2.87 to 3.01); modes.1.ratio > 3 -->",
        "Equal to 2.4e-7.\n<!-- finding x.json: error = 2.4e-7 -->",
        "Slower.\n<!-- finding ledger.json: C2a = holds; C3 = fails -->",
        "5.83\n<!-- finding ledger.json: C2a.evidence.latency ratio, batch 1 = 5.83 -->",
        "**conv** It costs: latency ×1.518 (+51.8 %).\n<!-- finding r.md: copied -->",
        "Nothing is stated here.",
    ],
)  # fmt: skip
def test_true_sentences(root: Path, text: str) -> None:
    assert problems(text, root, ("",)) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD.replace("3.22", "3.32"), "stored is 3.2249"),
        (GOOD.replace("3.13 to", "3.03 to"), "stored is 3.1276"),
        (GOOD.replace("as long and saves 33 %", "as long and saves 34 %"), "does not show 33"),
        (GOOD.replace("33 %", "34 %"), "stored is 32.8"),
        (GOOD.replace("×3.22 (3.13 to 3.30) as", "×3.2 as"), "does not show 3.22"),
        (GOOD.replace("x.json", "gone.json"), "no such file"),
        (GOOD.replace("ratios.1 ", "ratios.32 "), "nothing is stored as '32'"),
        ("1\n<!-- finding x.json: modes[mode=compiled].ratio = 1 -->", "0 items have mode = compiled"),
        ("3.22 (3.13 to 3.30)\n<!-- finding x.json: {ratios.1} - {ratios.1} = 3.22 (3.13 to 3.30) -->", "stored is 0"),
        ("9 (8 to 10)\n<!-- finding x.json: {modes.1.ratio} * 3 = 9 (8 to 10) -->", "no interval"),
        ("Slower.\n<!-- finding ledger.json: C2a = fails -->", "stored is 'holds'"),
        ("5\n<!-- finding ledger.json: C2a = 5 -->", "stored is 'holds'"),
        ("5\n<!-- finding x.json: word = 5 -->", "stored is 'reached'"),
        ("Half as slow again.\n<!-- finding r.md: after \"**head**\" after \"latency ×\" = 1.5 ±3% -->", "stored is 1.017"),
        ("1\n<!-- finding r.md: after \"**norm**\" = 1 -->", "the text has no '**norm**'"),
        ("1\n<!-- finding r.md: after \"It\" = 1 -->", "no number behind"),
        ("1\n<!-- finding r.md: anything = 1 -->", "no number behind"),
        ("Above three.\n<!-- finding x.json: modes.0.ratio > 3 -->", "stored is 2.9398"),
        ("**conv** It costs: latency ×1.519 (+51.8 %).\n<!-- finding r.md: copied -->", "has no such line"),
        ("1\n<!-- finding x.json: __import__('os').getpid({a.params}) = 1 -->", "no arithmetic"),
        ("1\n<!-- finding x.json: nonsense -->", "cannot be read"),
        ("1\n<!-- finding x.json: a = 1 -->", "this is no number"),
        ("1\n<!-- finding x.json: word = nothing -->", "stored is 'reached'"),
        ("1\n<!-- finding x.json: error = many -->", "stored is the number"),
    ],
)  # fmt: skip
def test_false_sentences_are_found_out(root: Path, text: str, words: str) -> None:
    found = problems(text, root)
    assert found and any(words in problem for problem in found), found


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v["ratios"]["1"].update(ratio=3.4),
        lambda v: v["ratios"]["1"].update(low=3.0),
        lambda v: v["ratios"]["1"].pop("high"),
        lambda v: v["b"].update(params=6_000_000),
        lambda v: v.pop("a"),
    ],
)
def test_changed_results_are_found_out(root: Path, change: Callable[[dict[str, object]], object]) -> None:
    assert problems(GOOD, root) == []
    values = json.loads(json.dumps(STORED))
    change(values)
    (root / "x.json").write_text(json.dumps(values), encoding="utf-8")
    assert problems(GOOD, root)


def test_a_verdict_that_turned_is_found_out(root: Path) -> None:
    text = "It is slower.\n<!-- finding ledger.json: C21 = fails -->"
    assert problems(text, root) == []
    write_ledger(judge(fake_evidence(speed={"ratio": 0.9, "low": 0.8, "high": 0.95})), root)
    assert problems(text, root)


# sentences without a marker


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("It takes ×3.22 as long.", ["3.22"]),
        ("It saves 61 % of 9,352,195 parameters in 12 ms, 5 times a day.", ["61", "9,352,195", "12", "5"]),
        ("Equal to 2.4e-7; 40 images/s; 1.5 GB.", ["2.4e-7", "40", "1.5"]),
        ("- one: 53 s\n- two: 0.88 GB", ["53", "0.88"]),
        ("On 48 px, three seeds, 95 % interval; `x = 3.2` and [a](b-1.5.md); 12 networks; Python 3.11 or newer.", []),
        (GOOD, []),
        (GOOD.replace("and saves", "(×1.81) and saves"), ["1.81"]),
    ],
)
def test_measured_numbers_need_a_marker(text: str, missing: list[str]) -> None:
    assert [p.split(": ")[1].split(" ")[0] for p in unmarked(text, ("",))] == missing


def test_other_sections_may_state_what_they_want() -> None:
    text = f"{GOOD}\n\n## Results\n\nIt takes ×4.5.\n\n## Method\n\nA loss of 0.5 L1.\n"
    assert len(unmarked(text, ("", "Results"))) == 1 and unmarked(text, ("",)) == []


def test_a_marker_vouches_for_its_own_block_only() -> None:
    assert len(unmarked(f"It takes ×3.22.\n\n{GOOD}", ("",))) == 1


def test_code_blocks_are_no_sentences() -> None:
    assert blocks("a\n\n```sh\nx 1.5 ms\n\ny\n```\n\nb") == ["a", "b"]
    assert measured_numbers("It takes `1.5 ms`.") == []


def test_intervals_of_falling_expressions_are_turned_round() -> None:
    assert evaluate("1 - {p}", {"p": {"value": 0.3, "low": 0.2, "high": 0.5}}) == Span(0.7, 0.5, 0.8)
    with pytest.raises(Unsupported, match="not a number"):
        evaluate("1 - {p}", {"p": "text"})
