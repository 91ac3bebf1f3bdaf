"""docs/findings.md and the README's answer are what the stored results give, and change, or are refused, with them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ablation.attribute.effect import Effect
from ablation.record.trial import METRICS
from ablation.stats import Estimate
from blocks.errors import InputError
from studies.paper.facts import REPORTED
from studies.paper.findings import (
    FOLDER,
    GENERATED,
    PAGE,
    README,
    TEMPLATE,
    Results,
    filled,
    holds,
    main,
    parts_of,
    pick,
    render,
    times,
)
from studies.reference import write_index

ROOT = Path(__file__).parents[2]
PICTURES = shutil.ignore_patterns("*.svg", "*.png", "*.html", "*.npz", "*.gz")
# what counts as a measured number: ×3.2, 3.2, 9,352,195, 1e-6, or a number before one of these units
MEASURED = re.compile(
    r"(?<![\w.,-])(?P<times>×)?(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+\.\d+(?:e[−-]?\d+)?|\d+(?:e[−-]?\d+)?)"
    r"(?P<unit>[\s\u00a0]?(?:%|ms\b|s\b|[MG]B\b|[MG]\b|x\b|times\b|images/s))?(?![\w]|[.,]\d)"
)
# levels of intervals and versions, which nothing has measured
LEVEL = re.compile(r"\b9[059][\s\u00a0]% (?=interval|confidence)|\bPython 3\.\d+|\b\d+\.\d+ or newer")


def measured_numbers(text: str) -> list[str]:
    """The measured numbers that a reader sees: with a decimal, a thousand, an exponent, a ×, or a unit; not in code and links."""
    prose = re.sub(r"^```.*?^```$|`[^`]*`|\]\([^)]*\)|^#+ .*?$|<!--.*?-->", " ", text, flags=re.MULTILINE | re.DOTALL)
    matches = MEASURED.finditer(LEVEL.sub(" ", prose))
    return [m["number"] for m in matches if m["times"] or m["unit"] or re.search("[.,e]", m["number"])]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the page is made of, to be changed."""
    kept = Path("results/reference")
    shutil.copytree(ROOT / kept, tmp_path / kept, ignore=PICTURES)
    (tmp_path / "docs").mkdir()
    for name in (TEMPLATE, PAGE, README):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def change(checkout: Path, name: str, edit: Callable[[Any], object]) -> None:
    path = checkout / FOLDER / name
    values = json.loads(path.read_text(encoding="utf-8"))
    edit(values)
    path.write_text(json.dumps(values), encoding="utf-8")


# the repository's own pages


def test_the_pages_are_what_the_results_give() -> None:
    assert (ROOT / PAGE).read_text(encoding="utf-8") == render(ROOT, "../")
    readme = (ROOT / README).read_text(encoding="utf-8")
    assert readme == filled(readme, parts_of(render(ROOT))), "run python -m studies.paper.findings"


def test_they_state_results_in_few_sentences() -> None:
    page = render(ROOT)
    answer, winner = (parts_of(page)[name] for name in ("answer", "winner"))
    assert len(measured_numbers(page)) >= 60 and len(measured_numbers(answer)) >= 12
    assert len(measured_numbers(winner)) >= 16
    assert winner.count("\n|") == 5
    assert len(re.findall(r"[.](?:\s|$)", re.sub(r"\(.*?\)", "", answer))) == 5


def test_every_measured_number_is_computed() -> None:
    """None stands in the template's own words, nor beside the answer in the README."""
    assert measured_numbers(re.sub(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", " ", (ROOT / TEMPLATE).read_text(), flags=re.DOTALL)) == []
    written = GENERATED.sub("", (ROOT / README).read_text(encoding="utf-8"))
    sections = re.split(r"^## ", written, flags=re.MULTILINE)
    stating = [sections[0], *(text for text in sections if text.startswith(("What it found", "Several machines")))]
    assert [number for text in stating for number in measured_numbers(text)] == []


def test_the_paper_s_page_has_the_numbers_that_are_reported_and_stored() -> None:
    page = (ROOT / "docs/paper.md").read_text(encoding="utf-8")
    counted = {row["model"]: row for row in Results(ROOT).stored("table1/table1.csv")}
    columns = []
    for name, paper in REPORTED.items():
        assert paper.params == counted[name]["params"]
        curves = (" ".join(f"{loss:.4f}".lstrip("0") for loss in losses) for losses in (paper.train, paper.validation))
        times = ("{:.2f} +- {:.2f} ms".format(*paper.latency_ms[batch]) for batch in (1, 32))
        macs, flops = (counted[name][column] * 1e-9 for column in ("macs", "fvcore_flops"))
        columns.append((f"{paper.params:,}", *curves, *times, f"{macs:.4f} G", f"{flops:.3f} G"))
    for cells in zip(*columns, strict=True):
        assert f"| {' | '.join(cells)} |" in page


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("It takes ×3.22 as long.", ["3.22"]),
        ("It saves 61 % of 9,352,195 parameters in 12 ms, 5 times a day.", ["61", "9,352,195", "12", "5"]),
        ("Equal to 2.4e-7; 40 images/s; 1.5 GB.", ["2.4e-7", "40", "1.5"]),
        ("- one: 53 s\n- two: 0.88 GB", ["53", "0.88"]),
        ("On 48 px, three seeds, 95 % interval; `x = 3.2` and [a](b-1.5.md); 12 networks; Python 3.11 or newer.", []),
        ("a\n\n```sh\nx 1.5 ms\n\ny\n```\n\nb `1.5 ms`", []),
    ],
)
def test_what_a_measured_number_is(text: str, numbers: list[str]) -> None:
    assert measured_numbers(text) == numbers


def test_the_index_of_reference_results_is_what_is_stored(checkout: Path) -> None:
    kept = checkout / "results/reference"
    committed = (ROOT / "results/reference/README.md").read_text(encoding="utf-8")
    assert write_index(kept).read_text(encoding="utf-8") == committed
    change(checkout, "table1/provenance.json", lambda v: v["ratios"]["1"].update(ratio=3.5))
    assert write_index(kept).read_text(encoding="utf-8") != committed


# results that changed


CHAOS = "../cpu-2core-intel-xeon/chaos/bench.json"


def of_jobs(chaos: Any) -> Any:
    """The result of jobs that were lost."""
    return next(result for result in chaos["results"] if result["what"] == "jobs lost in chaos")


def fresh(bench: Any) -> Any:
    """The result of the pair's ratio in fresh processes."""
    return next(result for result in bench["results"] if "fresh processes" in result["what"])


@pytest.mark.parametrize(
    ("name", "edit", "words"),
    [
        ("table1/provenance.json", lambda v: v["ratios"]["1"].update(ratio=3.4), r"×3\.40 \("),
        ("table1/provenance.json", lambda v: v["ratios"]["1"].update(low=2.8), r"\(2\.80 to "),
        ("table1/provenance.json", lambda v: v["ratios"]["32"].update(high=None), r"×[\d.]+ at batch 32"),
        ("explain/explanation.json", lambda v: v["costs"]["modified"]["by_part"]["head"].update(params=0), r"head saves 5\.31 M"),
        ("explain/explanation.json", lambda v: v["sweep"][1].update(ratio=5.0), r"a batch of 8 makes it ×5\.00 \("),
        ("explain/explanation.json", lambda v: v["attributions"][-1]["shapley"]["encoder"].update(value=1), "encoder makes ×2.72"),
        ("explain/explanation.json", lambda v: v["decompositions"][1].update(total_ms=1e6), r"concatenation is \S*0 % of it"),
        ("paper-celeba/ledger.json", lambda v: v["counts"]["C"].update(holds=4), "4 hold, 3 fail"),
        ("paper/ledger.json", lambda v: v["counts"]["C"].update(fails=2), "it is 3, 2 and 18"),
        ("grid-celeba/provenance.json", lambda v: v["data"].update(num_images=1600), "On 1,600 CelebA faces"),
        ("bench/bench.json", lambda v: fresh(v).update(detail="2, 3 to 4, 5; 6, 7 to 8, 9"), r"2\.00 to 6\.00 later"),
        (CHAOS, lambda v: of_jobs(v).update(unit="of 7000"), "ran 7,000 trials"),
        (CHAOS, lambda v: v["results"][-1].update(detail="1 of 2 ms, 3 of 4 s; at most 33 against 77"), "33 instead of 77"),
    ],
)  # fmt: skip
def test_changed_results_change_the_words(checkout: Path, name: str, edit: Callable[[Any], object], words: str) -> None:
    """Each edit shows in the page that is made from the results; what the results are now is no part of the test."""
    before = " ".join(render(checkout).replace("\u00a0", " ").split())
    assert not re.search(words, before)
    change(checkout, name, edit)
    assert re.search(words, " ".join(render(checkout).replace("\u00a0", " ").split()))


@pytest.mark.parametrize(
    ("name", "edit", "words"),
    [
        ("paper-celeba/ledger.json", lambda v: v["verdicts"]["C8"].update(kind="holds"), "which the paper names as a cause"),
        ("paper-celeba/ledger.json", lambda v: v["verdicts"]["C18"].update(kind="fails"), "No claim that holds on one fails"),
        ("explain/explanation.json", lambda v: v["modes"][1].update(ratio=0.9), "The slowdown survives every way"),
        ("explain/explanation.json", lambda v: v["remedies"].append({"name": "no concatenation"}), "which is not settled"),
        (CHAOS, lambda v: of_jobs(v).update(value=1), "each trial was complete exactly once"),
        (CHAOS, lambda v: v["results"][-1].update(value=0.9), "and never time"),
        ("table1/provenance.json", lambda v: v["ratios"]["32"].update(low=2.9), "A larger batch makes the slowdown worse"),
        ("table1/provenance.json", lambda v: v["ratios"].pop("1"), "has no attribute '1'"),
        ("explain/explanation.json", lambda v: v["modes"].pop(0), "with one row of {'mode': 'eager'}. Got 0 instead"),
        ("explain/explanation.json", lambda v: v["modes"].append(v["modes"][0]), "Got 2 instead"),
    ],
)  # fmt: skip
def test_words_that_no_longer_stand_are_refused(
    checkout: Path, capsys: pytest.CaptureFixture[str], name: str, edit: Callable[[Any], object], words: str
) -> None:
    change(checkout, name, edit)
    before = [(checkout / page).read_bytes() for page in (PAGE, README)]
    assert main(checkout) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and words in error
    assert [(checkout / page).read_bytes() for page in (PAGE, README)] == before


def test_a_file_that_is_missing_is_named(checkout: Path) -> None:
    (checkout / FOLDER / "table1/table1.csv").unlink()
    with pytest.raises(InputError, match=r"with table1/table1\.csv"):
        render(checkout)


def test_the_command_writes_both_pages(checkout: Path) -> None:
    (checkout / PAGE).unlink()
    (checkout / README).write_text(GENERATED.sub(r"\1old\n\3", (ROOT / README).read_text(encoding="utf-8")), encoding="utf-8")
    assert main(checkout) == 0
    for page in (PAGE, README):
        assert (checkout / page).read_bytes() == (ROOT / page).read_bytes()
    with pytest.raises(InputError, match="for answer and winner"):
        filled("a page without them", {"answer": "a", "winner": "b", "machines": "c"})


# numbers


@pytest.mark.parametrize(
    ("stored", "options", "text"),
    [
        ({"ratio": 3.2249, "low": 3.1276, "high": 3.2981}, {}, "×3.22 (3.13 to 3.30)"),
        ({"ratio": 2.9398, "ratio_low": 2.867, "ratio_high": 3.011, "second_gain": 1.0}, {}, "×2.94 (2.87 to 3.01)"),
        ({"second_gain": 1.1949, "second_gain_low": None, "second_gain_high": None}, {"name": "second_gain"}, "×1.19"),
        ({"ratio": 3.2249, "low": 3.1276}, {}, "×3.22"),
        ({"value": 0.9, "low": 0.885, "high": 0.917}, {"log": True}, "×2.46 (2.42 to 2.50)"),
        (
            Effect(factor="f", level_from="a", level_to="b", metric=METRICS["loss"], as_ratio=True,
                   estimate=Estimate(value=0.0, low=-0.1, high=0.1)), {}, "×1.00 (0.90 to 1.11)",
        ),
    ],
)  # fmt: skip
def test_ratios_with_their_intervals(stored: Any, options: dict[str, Any], text: str) -> None:
    assert times(stored, **options) == text


def test_effects_of_the_grid_are_those_of_its_report() -> None:
    results, report = Results(ROOT), (ROOT / FOLDER / "grid-celeba/report.md").read_text(encoding="utf-8")
    time, loss = results.effect("connectivity", "cpu/1"), results.effect("head", "loss")
    assert isinstance(time, Effect) and f"×{time.mean:.3f}" in report and f"×{time.low:.3f} to ×{time.high:.3f}" in report
    assert isinstance(loss, Effect) and f"+{loss.mean:.4f}" in report and f"(+{100 * (loss.relative or 0):.1f}" in report
    lowered = results.effect("connectivity", "loss", conv="pointwise_first")
    assert isinstance(lowered, list) and len(lowered) == 4
    assert f"−{-min(lowered):.4f} to −{-max(lowered):.4f}" in report


def test_helpers_refuse_what_is_not_there() -> None:
    assert pick([{"a": 1}, {"a": 2}], a=2) == {"a": 2} and holds(True, "so") == "so"
    for wrong in (lambda: pick([{"a": 1}], a=3), lambda: pick([{"a": 1}, {"a": 1}], a=1), lambda: holds(False, "so")):
        with pytest.raises(InputError):
            wrong()
