"""Tables, plots, sentences and pages from invented records with known effects."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ablation.machine.hardware import digest_of
from ablation.record.trial import METRICS, Metric, Record
from ablation.report import StudyInfo, draw_curves, print_table, write_gallery, write_report
from ablation.report.kit.numbers import signed, times
from ablation.report.kit.page import Bullets, Heading, Paragraph, Table, to_html, to_markdown
from ablation.report.kit.plot_style import styled
from ablation.report.study import accounts, effect_sentences, effect_tables, sentences, tables, writer
from ablation.report.study.effects_plot import drawn_keys, effects_plot
from ablation.report.study.rows import INERT, Row, latency_keys, latency_of, rows_of
from ablation.report.study.scatter import _free_place, _overlap, scatter
from ablation.report.study.swaps import BETTER, MIXED, NONE, OPEN, WORSE, Judged, judge_all
from ablation.report.study.ties import Ties, front_of
from ablation.stats import NOISE, SETTLED
from blocks.errors import InputError
from tests.builders import csv_lines
from tests.fakes import FACTORS, failed, fake_record, fake_records, fake_study, inert_records, waiting

ROOT = Path(__file__).parents[2]
FILES = {"table.csv", "table.md", "table.tex", "trials.csv", "report.md", "report.html", "provenance.json"}
AGAINST = {f"loss_against_{cost}" for cost in ("latency_cpu_b1", "latency_cpu_b32", "parameters", "macs")}
EFFECTS = {f"effects_{name}" for name in ("loss", "latency_cpu_b1", "latency_cpu_b32", "parameters", "macs")}
PLOTS = {*AGAINST, *EFFECTS, "loss_curves"}


@pytest.fixture(scope="module")
def unfinished() -> list[Record]:
    """12 variants, 3 seeds, noisy; one trial failed, one waits."""
    records = fake_records(seeds=(0, 1, 2), noise=0.002)
    return [failed(records[3]), waiting(records[4]), *records[:3], *records[5:]]


@pytest.fixture(scope="module")
def study(unfinished: list[Record]) -> StudyInfo:
    return fake_study(fake_records(seeds=(0, 1, 2)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, unfinished: list[Record], study: StudyInfo) -> Path:
    """A written report."""
    path = tmp_path_factory.mktemp("report") / "new" / "folder"
    paths = write_report(unfinished, path, study=study)
    names = {p.relative_to(path).as_posix() for p in paths}
    assert names == FILES | {f"plots/{name}.{kind}" for name in PLOTS for kind in ("png", "svg")}
    return path


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    """The page of that report in Markdown."""
    return _plain((folder / "report.md").read_text(encoding="utf-8"))


def _plain(text: str) -> str:
    return text.replace("\u00a0", " ")


def _written(folder: Path, records: list[Record], **options: Any) -> str:
    """The Markdown page of a report that is written now."""
    write_report(records, folder, **{"study": fake_study(records), **options})
    return _plain((folder / "report.md").read_text(encoding="utf-8"))


def _judged(records: list[Record], **changes: Any) -> Judged:
    study = fake_study(records, **changes)
    return judge_all(records, study, rows_of(records, study))


def test_plots_are_pictures_of_readable_size(folder: Path) -> None:
    for name in PLOTS:
        with Image.open(folder / "plots" / f"{name}.png") as image:
            assert image.width >= 1000
            assert len(image.convert("L").getcolors(256) or []) > 20  # not blank
        assert ET.parse(folder / "plots" / f"{name}.svg").getroot().tag.endswith("svg")


def test_the_same_records_give_the_same_bytes(tmp_path: Path, folder: Path, unfinished: list[Record], study: StudyInfo) -> None:
    paths = write_report(unfinished, tmp_path, study=study)
    for path in paths:
        assert path.read_bytes() == (folder / path.relative_to(tmp_path)).read_bytes(), path.name


def test_a_report_needs_no_torch() -> None:
    code = (
        "import sys, tempfile; from pathlib import Path; from tests.fakes import *\n"
        "from ablation.report import write_report, print_table\n"
        "assert not {'matplotlib', 'pandas', 'torch'} & sys.modules.keys(), 'imported before a plot is drawn'\n"
        "r = fake_records(); write_report(r, Path(tempfile.mkdtemp()), study=fake_study(r)); print_table(r)\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


OTHER = "AMD EPYC 7763, 8 cores"
SEVERAL = {"1a2b3c4d": "AMD EPYC, 2 cores", digest_of({"cpu": "AMD EPYC 7763", "cpu_cores": 8}): OTHER}


def on_two(records: list[Record]) -> list[Record]:
    """The same, timed on another kind of hardware too, where dense networks are quick; seed 1 ran there."""

    def there(record: Record) -> dict[str, Any]:
        scale = 0.1 if record.factors["connectivity"] == "dense" else 1.0
        entry: dict[str, Any] = dict(record.latency["cpu/1"])
        for name in ("median_ms", "ratio", "ratio_low", "ratio_high"):
            entry[name] *= scale
        entry["ratio_by_sitting"] = [ratio * scale for ratio in entry["ratio_by_sitting"]]
        return {**record.latency, f"cpu/1@{OTHER}": entry}

    about = [{"hardware": {"cpu": "AMD EPYC 7763", "cpu_cores": 8} if r.seed else {}} for r in records]
    return [dataclasses.replace(r, latency=there(r), provenance=p) for r, p in zip(records, about, strict=True)]


def test_each_kind_of_hardware_is_judged_by_itself(tmp_path: Path) -> None:
    records = on_two(fake_records(seeds=(0, 1)))
    page = _written(tmp_path, records, study=fake_study(records, hardware=SEVERAL))
    first, other = (f"latency (cpu, batch 1, {name})" for name in SEVERAL.values())
    swap = page.split("**connectivity: plain to dense**")[1].split("**")[0]
    rows = {line.split(" | ")[0]: line for line in swap.splitlines() if "latency" in line}
    assert "×3.000" in rows[f"| {first}"] and "worse" in rows[f"| {first}"]
    # without a noise floor of its own
    assert "×0.300" in rows[f"| {other}"] and "better" in rows[f"| {other}"]
    assert f"- All of validation loss, {first}, latency (cpu, batch 32, AMD EPYC, 2 cores), parameters, " in page
    assert f"- All of validation loss, {other}, parameters, " in page
    assert page.count("on every axis (validation loss") == 2
    line = next(line for line in page.split("\n") if line.startswith(f"| {OTHER} | "))
    assert line.startswith(f"| {OTHER} | 12 | #1 (seed 1); ") and line.endswith("and 4 more networks | 12 |")
    plots = {path.stem for path in (tmp_path / "plots").glob("*.svg")}
    assert plots == PLOTS | {f"{kind}_latency_cpu_b1_amd-epyc-7763-8-cores" for kind in ("loss_against", "effects")}
    table = csv_lines(tmp_path / "table.csv")
    assert {"latency_cpu_b1_ms", "latency_cpu_b1_amd-epyc-7763-8-cores_ms"} <= table[0].keys()
    assert print_table(records, fake_study(records, hardware=SEVERAL), width=300).count("cpu/1 (AMD EPYC") == 2


def test_the_fastest_network_is_another_on_other_hardware() -> None:
    """Dense networks are beaten by plain ones on the first kind of hardware, and lead on the other."""
    records = on_two(fake_records({"connectivity": ("plain", "dense")}))
    study = fake_study(records, hardware=SEVERAL)
    rows = rows_of(records, study)
    ties = Ties(rows, latency_keys(records), {}, study)
    assert [[key for key in keys if "/" in key] for keys in ties.groups] == [["cpu/1", "cpu/32"], [f"cpu/1@{OTHER}"]]
    fronts = [[row.label for row in ties.front(rows, keys).members] for keys in (["loss", "cpu/1"], ["loss", f"cpu/1@{OTHER}"])]
    assert fronts == [["plain"], ["plain", "dense"]]


def test_nothing_stays_open_and_no_style_leaks(folder: Path) -> None:
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    assert plt.get_fignums() == []
    with styled():
        assert mpl.rcParams["svg.hashsalt"] == "ablation"
    assert mpl.rcParams["svg.hashsalt"] != "ablation"


# tables


def test_the_csv_has_one_exact_line_per_network(folder: Path) -> None:
    lines = csv_lines(folder / "table.csv")
    assert [line["number"] for line in lines] == [str(n) for n in range(1, 13)]
    first = lines[0]
    assert (first["variant"], first["is_reference"]) == ("plain, standard, flatten", "True")
    assert (first["params"], first["macs"], first["fvcore_params"]) == ("9352195", "664900000", "9352195")
    assert (first["num_seeds"], first["factor_head"]) == ("3", "flatten")
    assert float(first["latency_cpu_b1_ms"]) == 1.8
    dense = next(line for line in lines if line["variant"] == "dense, separable, flatten")
    assert (dense["latency_cpu_b1_ratio"], dense["latency_cpu_b1_converged"]) == ("4.5", "False")
    assert dense["latency_cpu_b32_converged"] == "True"


def test_the_mean_and_spread_are_over_seeds_by_hand() -> None:
    records = [fake_record({"f": "a"}, s, training={"best_loss": x, "seconds": 1.0}) for s, x in enumerate((0.5, 0.6, 0.7))]
    (row,) = rows_of(records)
    assert row.mean(METRICS["loss"]) == pytest.approx(0.6)
    assert row.sd(METRICS["loss"]) == pytest.approx(0.1)
    assert tables.with_spread(row, METRICS["loss"]) == "0.6000 ± 0.1000"
    assert tables.with_spread(row, METRICS["params"]) == "9.352"


def test_a_failed_trial_keeps_its_line_and_its_reason(folder: Path, unfinished: list[Record]) -> None:
    line = next(x for x in csv_lines(folder / "table.csv") if x["variant"] == "plain, separable, pooled")
    assert (line["state"], line["reason"]) == ("2 of 3", "loss is NaN in epoch 2")
    assert "loss is NaN in epoch 2" in (folder / "table.md").read_text(encoding="utf-8")
    assert len(csv_lines(folder / "trials.csv")) == len(unfinished) == 36
    # trials are flat and whole
    line = next(x for x in csv_lines(folder / "trials.csv") if x["label"] == "plain, standard, flatten" and x["seed"] == "1")
    assert line["costs.by_part.head.params"] == "4676097"
    assert line["factors.conv"] == "standard"
    assert json.loads(line["training.epochs"])[0]["epoch"] == 1


def test_headings_have_units_and_every_required_column(folder: Path) -> None:
    heading = (folder / "table.md").read_text(encoding="utf-8").splitlines()[2]
    for column in (
        "parameters [M]", "fvcore parameters [M]", "multiply-accumulates [M]", "fvcore flops [M]", "elements written [M]",
        "bytes moved [MB]", "operations", "latency (cpu, batch 1) [ms]", "latency (cpu, batch 32) / reference [x]",
        "validation loss", "SSIM", "PSNR [dB]", "L1", "MS-SSIM", "test loss (replica)", "training [s]", "seeds", "state",
    ):  # fmt: skip
        assert f"| {column} |" in heading, column


def test_markdown_lines_have_as_many_cells_as_headings() -> None:
    record = fake_record({"f": "a|b"}, label="a|b <x> *y*\nz")
    text = to_markdown([tables.table_of(rows_of([record]), tables.columns(["cpu/1"], StudyInfo(title="")))])
    counts = {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines()}
    assert len(text.splitlines()) == 3
    assert len(counts) == 1
    assert r"a\|b &lt;x> \*y\* z" in text


def test_a_timing_that_did_not_converge_is_starred() -> None:
    slow = next(row for row in rows_of(fake_records()) if row.label == "dense, separable, flatten")
    column = next(c for c in tables.columns(["cpu/1"], StudyInfo(title="")) if "reference" in c.heading)
    assert column.cell(slow) == "4.500*"


def test_latex_is_escaped_and_balanced() -> None:
    record = fake_record({"f": "a"}, label=r"50% & a_b #1 {x} \y ~ ^ $", training={"best_loss": 0.5})
    text = tables.latex(rows_of([record]), ["cpu/1"], fake_study([record]))
    assert r"50\% \& a\_b \#1 \{x\} \textbackslash{}y \textasciitilde{} \textasciicircum{} \$" in text
    assert text.count(r"\begin{longtable}") == text.count(r"\end{longtable}") == 2
    assert "\\\\[" not in text  # a unit after a line break would be read as a distance
    for table in text.split(r"\begin{longtable}")[1:]:
        columns = re.sub(r"p\{.*?\}", "p", table[1 : table.index("}\n")])
        heads, line = (part for part in table.splitlines() if re.search(r"(?<!\\)& ", part))
        assert len(re.findall(r"(?<!\\)&", heads)) == len(re.findall(r"(?<!\\)&", line)) == len(columns) - 1


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_table_fits(unfinished: list[Record], study: StudyInfo, width: int) -> None:
    text = print_table(unfinished, study, width=width)
    body = [line for line in text.splitlines() if not line.startswith("#")]
    assert max(map(len, body)) <= width
    assert "plain, standard, f" in text
    assert "#4 2 of 3: loss is NaN in epoch 2" in text
    assert print_table([]) == "No trials yet."


# identity, numbering, inert factors


def test_rows_are_numbered_in_the_order_of_levels() -> None:
    records = fake_records()
    rows = rows_of(records[::-1], fake_study(records))
    assert [row.number for row in rows] == list(range(1, 13))
    assert [row.label for row in rows] == [r.label for r in records]
    assert [row.number for row in rows if row.is_reference] == [1]


def test_an_inert_factor_is_named_and_counted(tmp_path: Path) -> None:
    records = inert_records()
    study = fake_study(records)
    rows = rows_of(records, study)
    assert [row.level("growth") for row in rows] == [INERT, INERT, "16", "16", "32", "32"]
    (text,) = accounts.inert_sentences(rows, study)
    assert text.startswith("**growth** does nothing in 2 of 6 networks")
    (growth,) = (swap for swap in _judged(records).swaps if swap.factor == "growth")
    assert {effect.num_same_network for effect in growth.effects.values()} == {2}


# effects and verdicts


def _lines_of(text: str, swap: str) -> dict[str, list[str]]:
    """Measure -> effect, interval, verdict, what it rests on: the table of one swap."""
    table = text.split("## What each swap changes")[1].split(f"**{swap}**")[1].split("\n\n")[1]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {measure: cells for measure, *cells in lines}


def test_effects_are_listed_signed_with_units_percent_interval_and_what_they_rest_on(text: str) -> None:
    head = _lines_of(text, "head: flatten to pooled")
    assert head["parameters"] == ["−5.243 M (−58.2 %)", "the same in all pairs", "better", "6 pairs"]
    size, ends, word, rests = head["validation loss"]
    assert re.fullmatch(r"\+0\.0\d{3} \(\+\d\.\d %\)", size)
    assert re.fullmatch(r"\+0\.0\d{3} to \+0\.0\d{3}", ends)
    assert (word, rests) == ("worse", "6 pairs, 2 to 3 seeds")
    dense = _lines_of(text, "connectivity: plain to dense")
    assert dense["latency (cpu, batch 1)"][0] == "×3.000 (+200.0 %)"
    assert dense["latency (cpu, batch 1)"][2:] == ["worse", "4 pairs, 5 sittings"]
    assert head["latency (cpu, batch 1)"][2] == NOISE, "the noise floor is 1.2 %"
    assert "the noise floor is ×1.012 either way" in text
    assert "50 rounds in 5 sittings" in text


def test_the_page_answers_first_in_at_most_five_sentences(text: str) -> None:
    answer = text.splitlines()[2]
    assert answer.startswith("Of 12 networks, **#")
    assert len(re.findall(r"[.] [A-Z]|[.]$", answer)) <= 5
    assert "connectivity from plain to dense" in answer


def test_with_one_seed_the_spread_is_said_to_be_unknown() -> None:
    study = fake_study(records := fake_records(), latency_noise={})
    texts = effect_sentences.judging_sentences(_judged(records, latency_noise={}), rows_of(records, study), study, ["cpu/1"])
    assert any(t.startswith("One seed only: the spread of validation loss and SSIM over seeds is unknown") for t in texts)
    assert any(t.startswith("Latency (cpu, batch 1)") and "The noise floor was not measured in enough sittings" in t for t in texts)


def _trained(f: str, g: str, seed: int, loss: float) -> Record:
    return fake_record({"f": f, "g": g}, seed, training={"best_loss": loss})


def _turning(noise: float = 0.001) -> list[Record]:
    """f lowers the loss under x and raises it under y, far beyond the seeds' spread."""
    losses = {("a", "x"): 0.5, ("b", "x"): 0.4, ("a", "y"): 0.5, ("b", "y"): 0.65}
    return [_trained(f, g, s, loss + noise * s * (1 + (f == "b"))) for (f, g), loss in losses.items() for s in (0, 1, 2)]


def test_an_effect_that_turns_is_shown_by_level_before_its_average() -> None:
    judged = _judged(_turning())
    swap = next(swap for swap in judged.swaps if swap.factor == "f")
    assert judged.verdict(swap, "loss") == OPEN
    assert judged.verdict(swap, "params") == NONE
    assert judged.of_interaction(judged.interactions["loss"][0], "loss") == SETTLED
    assert judged.depends_on(swap, "loss") == ["g"]
    text = effect_sentences.swap_sentence(judged, swap)
    assert text.startswith("**f: a to b**")
    assert "what it does to validation loss depends on g" in text
    lines = [[line[0], line[1].partition(" ")[0], line[3]] for line in effect_tables.effects_table(judged, swap).lines[:3]]
    assert lines[:2] == [
        ["validation loss, with g x", "−0.0990", "lower in the one pair"],
        ["validation loss, with g y", "+0.1510", "higher in the one pair"],
    ]
    assert lines[2][:2] == ["validation loss, average over all pairs", "+0.0260"]
    assert lines[2][2].startswith("not settled")
    table, left_out = effect_tables.interactions_table(judged)
    assert table is not None
    assert left_out == 0
    assert table.lines[0][2:4] == ["validation loss", "+0.2500"]
    assert table.lines[0][5] == SETTLED
    assert "What f from a to b does to validation loss depends on g" in " ".join(effect_sentences.answer(judged, ""))


def test_noise_settled_and_open_are_decided_by_whole_intervals() -> None:
    def verdict_of(ratios: list[float], floor: float) -> str:
        records = [
            fake_record({"f": f, "g": str(n)}, latency={"cpu/1": {"median_ms": r, "ratio": r, "rounds": 30}})
            for n, ratio in enumerate(ratios)
            for f, r in (("a", 1.0), ("b", ratio))
        ]
        noise = {"cpu/1": {"ratio": 1.0, "low": 1 / floor, "high": floor, "sittings": 5}}
        judged = _judged(records, latency_noise=noise)
        return judged.verdict(judged.swaps[0], "cpu/1")

    # the mean is the same and inside the floor of 6 %; the interval is so in the first alone
    assert verdict_of([0.949, 0.950, 0.948, 0.949], 1.06) == NOISE
    assert verdict_of([0.75, 1.2, 0.949, 0.949], 1.06) == OPEN
    assert verdict_of([0.949, 0.950, 0.948, 0.949], 1.02) == BETTER
    assert verdict_of([1.5, 1.51, 1.49, 1.5], 1.02) == WORSE


def test_a_floor_from_one_sitting_is_none() -> None:
    records = fake_records()
    judged = _judged(records, latency_noise={"cpu/1": {"ratio": 0.97, "low": 0.94, "high": 1.01}})
    assert judged.floors == {}
    assert not {NOISE} & {judged.verdict(swap, "cpu/1") for swap in judged.swaps}


def test_verdicts_are_corrected_for_all_that_a_report_judges() -> None:
    # one effect of p = 0.03, alone and among 30 others that are not there
    losses = (0.0, 0.011, 0.02)
    one = [_trained(f, "x", s, 0.5 + (f == "b") * (0.02 + x)) for f in "ab" for s, x in enumerate(losses)]
    judged = _judged([dataclasses.replace(r, latency={}, quality={}) for r in one])
    (swap,) = judged.swaps
    assert judged.verdict(swap, "loss") == WORSE
    others = {("other", n): dataclasses.replace(swap.effects["loss"].estimate, value=0.0) for n in range(30)}  # type: ignore[type-var]
    crowded = Judged(judged.swaps, judged.interactions, {})
    crowded.family.update(others)
    assert crowded.verdict(swap, "loss") == OPEN


def test_counts_that_go_both_ways_and_those_too_small_for_their_digits() -> None:
    def counted(f: str, g: str, elements: int, params: int) -> Record:
        costs = {"params": params, "macs": 10**6, "elements_written": elements}
        return fake_record({"f": f, "g": g}, costs=costs)

    first = [counted("a", "x", 2_000_000, 100), counted("b", "x", 2_000_576, 200)]
    judged = _judged([*first, counted("a", "y", 3_000_000, 300), counted("b", "y", 3_000_576, 250)])
    swap = judged.swaps[0]
    assert judged.verdict(swap, "params") == MIXED
    assert judged.verdict(swap, "macs") == NONE
    assert judged.verdict(swap, "elements_written") == WORSE
    lines = {line[0]: line[1:] for line in effect_tables.effects_table(judged, swap).lines}
    assert _plain(lines["elements written"][0]) == "+0.0006 M (+0.023 %)"
    assert lines["multiply-accumulates"][0] == lines["multiply-accumulates"][2] == NONE
    assert "+0.00" not in " ".join(map(" ".join, lines.values())).replace("+0.000", "")
    assert "parameters go up in some pairs and down in others" in effect_sentences.swap_sentence(judged, swap)


@pytest.mark.parametrize(
    "value", [sign * size * 10.0**-power for sign in (-1, 1) for size in (1, 2.576, 9.96) for power in range(9)]
)
def test_what_is_not_zero_is_printed_with_its_sign_and_not_as_zero(value: float) -> None:
    for digits in (0, 1, 3):
        text = signed(value, digits)
        assert text[0] == ("+" if value > 0 else "−")
        assert float(text[1:]) > 0
    assert times(1 + value / 100, 3) == f"×{1 + value / 100:.3f}"
    assert re.fullmatch(r"×\d+\.\d{2,3}", times(1 + value / 100))


def test_old_latency_shows_no_interval_anywhere(tmp_path: Path) -> None:
    names = ("median_ms", "low_ms", "high_ms", "ratio", "ratio_low", "ratio_high", "converged")

    def old(record: Record) -> Record:
        latency = {key: {**{name: entry[name] for name in names}, "rounds": 2} for key, entry in record.latency.items()}
        return dataclasses.replace(record, latency=latency)

    records = [old(r) for r in fake_records()]
    study = fake_study(records, latency_noise={"cpu/1": {"ratio": 1.0, "low": 0.9123, "high": 1.0987}})
    text = _written(tmp_path, records, study=study)
    for number in ("0.9123", "1.0987"):
        assert number not in text + (tmp_path / "provenance.json").read_text(encoding="utf-8")
    assert "Latency (cpu, batch 1): 2 rounds: too few for any interval." in text
    rests = _lines_of(text, "head: flatten to pooled")["latency (cpu, batch 1)"][1:]
    assert rests == ["no interval", "not settled", "6 pairs, fewer than 6 rounds"]
    heads = (tmp_path / "trials.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    assert "latency.cpu/1.ratio" in heads
    assert not [name for name in heads if name.startswith("latency.") and name.endswith(("_low", "_high", "low_ms", "high_ms"))]


def test_better_is_higher_for_ssim_and_lower_for_loss() -> None:
    judged = _judged(fake_records({"connectivity": ("plain", "residual")}, seeds=(0, 1)))
    (swap,) = judged.swaps
    assert (judged.verdict(swap, "loss"), judged.verdict(swap, "ssim")) == (BETTER, BETTER)
    assert swap.effects["loss"].mean == pytest.approx(-0.02)
    assert swap.effects["ssim"].mean == pytest.approx(0.02)
    text = effect_sentences.swap_sentence(judged, swap)
    assert "lowers validation loss" in text
    assert "raises latency (cpu, batch 1)" in text
    assert effect_tables.size(swap.effects["cpu/1"]) == "×1.250 (+25.0\u00a0%)"


def test_no_sentence_raises_what_falls(folder: Path) -> None:
    judged = _judged(fake_records(seeds=(0, 1, 2), noise=0.002))
    for swap in judged.swaps:
        text = effect_sentences.swap_sentence(judged, swap)
        for key, effect in swap.effects.items():
            if key not in ("ssim", "elements_written") and judged.verdict(swap, key) in (BETTER, WORSE):
                verb = "raises" if effect.estimate is not None and effect.estimate.value > 0 else "lowers"
                assert effect.metric.label in re.split("raises|lowers|;", text.split(f"{verb} ")[1])[0], (swap.name, key)


# networks as wholes


def test_the_front_and_what_beats_the_reference() -> None:
    def variant(f: str, loss: float, ms: float, params: int) -> Record:
        latency = {"cpu/1": {"median_ms": ms, "ratio": ms / 2.0}}
        return fake_record({"f": f}, costs={"params": params, "macs": params}, latency=latency, training={"best_loss": loss})

    records = [variant("base", 0.5, 2.0, 100), variant("best", 0.4, 1.0, 90), variant("close", 0.45, 1.99, 95)]
    records.append(variant("bad", 0.6, 0.5, 110))
    rows = rows_of(records, fake_study(records))
    ties = Ties(rows, ["cpu/1"], {})
    texts = sentences.reference_sentences(rows, ties)
    assert texts[0].startswith("2 networks beat the reference (#1 base) on every axis")
    assert "latency (cpu, batch 1) −50.0 % (" in _plain(texts[1])
    assert "latency (cpu, batch 1) −0.5 % (fewer than 3 sittings: not judged)" in _plain(texts[2])
    assert "(fewer than 3 seeds: not judged)" in texts[1]
    fronts = sentences.front_sentences(rows, ties)
    assert fronts[0].startswith("Loss and latency (cpu, batch 1): 2 of 4 networks on the front: #2 best; #4 bad. By means alone")
    assert fronts[1].startswith("Loss and parameters: 1 of 4 networks on the front: #2 best. By means alone")
    drawn, front = front_of(rows, [METRICS["loss"], latency_of("cpu/1")])
    assert [r.number for r in drawn] == [2, 3, 1, 4]
    assert [r.number for r in front] == [2, 4]


def _close(losses: Mapping[str, float], spread: float = 0.004) -> tuple[list[Row], Ties]:
    """Networks of three seeds each; the loss falls and the latency rises by their order."""
    records = []
    for n, (f, loss) in enumerate(losses.items()):
        ratios = [(1 + n) * (1 + 0.001 * s) for s in (-1, 0, 1)]
        entry = {"median_ms": 1.0 + n, "ratio": 1.0 + n, "sittings": 3, "rounds": 18, "ratio_by_sitting": ratios}
        same: dict[str, Any] = {"latency": {"cpu/1": entry}, "costs": {"params": 10 - n}}
        records += [fake_record({"f": f}, s, training={"best_loss": loss + spread * (s - 1)}, **same) for s in range(3)]
    rows = rows_of(records, fake_study(records))
    return rows, Ties(rows, ["cpu/1"], {"cpu/1": 0.01})


def test_a_lead_that_is_not_settled_is_a_tie() -> None:
    rows, ties = _close({"base": 0.500, "near": 0.499, "far": 0.600})
    best = dict(zip(ties.axes, sentences.best_sentences(rows, ties), strict=True))
    assert best["loss"].endswith("Tied with it: #1 base.")
    assert best["cpu/1"].endswith("It leads all others for certain.")
    assert "Tied" not in best["params"]
    assert "#1 base" in sentences.lead_sentence(rows, ties) or "the reference among them" in sentences.lead_sentence(rows, ties)
    # near leads in loss by chance alone and takes twice as long
    assert sentences.front_sentences(rows, ties)[0] == (
        "Loss and latency (cpu, batch 1): 2 of 3 networks on the front: #1 base; #2 near (tied)."
    )


def test_a_network_off_the_front_by_chance_alone_is_named() -> None:
    rows, ties = _close({"base": 0.500, "near": 0.501})
    same = [dataclasses.replace(t, latency=rows[0].trials[0].latency) for t in rows[1].trials]
    records = [*rows[0].trials, *same]
    rows = rows_of(records, fake_study(records))
    ties = Ties(rows, ["cpu/1"], {"cpu/1": 0.01})
    text = sentences.front_sentences(rows, ties)[0]
    assert text == "Loss and latency (cpu, batch 1): 1 of 2 networks on the front: #1 base. Tied with the front: #2 near."


def test_a_lead_within_the_noise_floor_is_a_tie() -> None:
    rows, ties = _close({"base": 0.5, "near": 0.4})
    wide = Ties(rows, ["cpu/1"], {"cpu/1": math.log(2.1)})
    assert (ties.compare(rows[0], rows[1], "cpu/1"), wide.compare(rows[0], rows[1], "cpu/1")) == (-1, 0)
    assert ties.compare(rows[1], rows[0], "cpu/1") == 1


@pytest.mark.parametrize(
    "sentence",
    [
        "34 of 36 planned trials are complete; all 12 networks have results, 2 to 3 seeds each. The others: 1 failed, 1 waiting.",
        "- Failed: #4 plain, separable, pooled, seed 0: loss is NaN in epoch 2.",
        "- 1 waiting: #5 residual, standard, flatten (seed 0).",
        "did not reach the precision asked for in 2 of 12 networks: #11 dense, separable, flatten; #12 dense, separable, pooled.",
    ],
)
def test_what_is_missing_is_listed_with_reasons_and_counts(text: str, sentence: str) -> None:
    assert sentence in text


def test_missing_values_attempts_and_unrecorded_trials_are_counted() -> None:
    records = fake_records({"head": ("flatten", "pooled")})
    quality = {"replica": records[1].quality["replica"], "reporting": {"ssim": 0.5, "psnr": 20.0, "l1": 0.1}}
    records[1] = dataclasses.replace(records[1], quality=quality, number=7)
    records.append(dataclasses.replace(failed(records[1]), number=6))
    study = fake_study(records, num_planned=5, data={"notes": ["2 files are not images."]})
    texts = accounts.missing_sentences(rows_of(records, study), records, study)
    assert "MS-SSIM is missing in 1 of 2 networks with results: #2 pooled." in texts
    assert "3 planned trials have no record at all." in texts
    assert any(t.startswith("1 trials failed at first and were completed") for t in texts)
    assert texts[-1] == "2 files are not images."


def test_counts_that_differ_from_fvcore_are_told() -> None:
    records = fake_records({"head": ("flatten", "pooled")})
    texts = accounts.counting_sentences(rows_of(records))
    assert "differ from our multiply-accumulates by +4.0 % over 2 networks" in _plain(texts[0])
    assert texts[1] == "fvcore's parameters equal ours in 2 of 2 networks."
    records[0] = dataclasses.replace(records[0], costs={**records[0].costs, "fvcore_params": 9_000_000})
    texts = accounts.counting_sentences(rows_of(records))
    assert texts[1] == "fvcore's parameters differ from ours in 1 of 2 networks: #1 flatten (ours 9,352,195, fvcore's 9,000,000)."


def test_counts_that_fvcore_lacks_are_missing_with_their_reason(tmp_path: Path) -> None:
    records = fake_records({"head": ("flatten", "pooled")})
    reason = "Every operation must have an fvcore handle. Got aten::sin, which has none."
    costs = {name: value for name, value in records[1].costs.items() if name != "fvcore_flops"}
    records[1] = Record.from_dict({**records[1].to_dict(), "costs": {**costs, "fvcore_reason": reason}})
    study = fake_study(records)
    rows = rows_of(records, study)
    missing = f"Fvcore flops is missing in 1 of 2 networks with results: #2 pooled. fvcore could not count #2: {reason}"
    assert missing in accounts.missing_sentences(rows, records, study)
    assert "over 1 networks" in accounts.counting_sentences(rows)[0]
    write_report(records, tmp_path, study=study)
    table = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert f"- fvcore could not count #2: {reason}" in table
    lines = csv_lines(tmp_path / "table.csv")
    assert [(line["fvcore_flops"] == "", line["fvcore_reason"]) for line in lines] == [(False, ""), (True, reason)]
    assert "could not count" in (tmp_path / "table.tex").read_text(encoding="utf-8")


# studies that are empty, small or half done


@pytest.mark.parametrize("num_records", [0, 1])
def test_an_empty_study_and_a_single_variant_are_reported(tmp_path: Path, num_records: int) -> None:
    records = fake_records()[:num_records]
    paths = write_report(records, tmp_path, study=fake_study(records))
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert len([p for p in paths if p.suffix == ".svg"]) == (6 if records else 4)
    assert ("1 of 1 planned trials are complete" if records else "No trial has been planned yet.") in text


def test_a_study_with_costs_and_no_training_tells_costs(tmp_path: Path) -> None:
    records = [dataclasses.replace(r, state="waiting", training={}, quality={}) for r in fake_records()]
    text = _written(tmp_path, records)
    assert "0 of 12 planned trials are complete; 0 of 12 networks have results" in text
    assert _lines_of(text, "head: flatten to pooled")["parameters"][0].startswith("−5.243 M")
    assert "validation loss has no complete pair." in text
    assert "The reference lacks" not in text  # no network has a loss, so loss is no axis at all
    assert "Lowest parameters: **#12 dense, separable, pooled** (waiting)" in text


def test_only_failures_are_listed_with_reasons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "write_plots", lambda *_: [])  # the sentences are the subject here
    records = [failed(r, f"out of memory at {r.label}") for r in fake_records()]
    text = _written(tmp_path, records)
    assert "No variant has any number yet" in text
    assert all(f"out of memory at {r.label}." in text for r in records)


# plots


def _texts(figure: object) -> str:
    from matplotlib.text import Text

    return "\n".join(t.get_text() for t in figure.findobj(Text))  # type: ignore[attr-defined]


def _scatter(records: list[Record], x: Metric = METRICS["params"]) -> Any:
    study = fake_study(records)
    with styled():
        figure = scatter(rows_of(records, study), study, x, METRICS["loss"])
        figure.draw_without_rendering()
    return figure


def _effects_plot(records: list[Record], key: str) -> Any:
    study = fake_study(records)
    with styled():
        return effects_plot(_judged(records), key, rows_of(records, study), study)


def test_a_plot_counts_what_it_shows_and_names_its_axes() -> None:
    figure = _scatter([*fake_records()[:-1], failed(fake_records()[-1])])
    text = " ".join(_texts(figure).split())
    assert "11 of 12 variants, 1 seed each, AMD EPYC 7763, 2 threads. Not drawn: 1 without parameters and validation loss" in text
    assert "parameters [M]" in text
    assert figure.axes[0].get_xscale() == "linear"  # 3.6 to 9.4 is less than tenfold


def test_axes_are_logarithmic_beyond_tenfold() -> None:
    records = [fake_record({"f": f}, costs={"params": p}) for f, p in (("a", 10**6), ("b", 2 * 10**7))]
    figure = _scatter(records)
    assert figure.axes[0].get_xscale() == "log"
    assert figure.axes[0].get_yscale() == "linear"


@pytest.mark.parametrize(
    "factors", [FACTORS, {**FACTORS, "up": ("nearest", "bilinear", "shuffle"), "stem": ("16", "32")}], ids=["12", "72"]
)
def test_numbers_on_a_plot_do_not_overlap(factors: dict[str, tuple[str, ...]]) -> None:
    from matplotlib.text import Annotation

    records = fake_records(factors, noise=0.01)
    figure = _scatter(records, latency_of("cpu/1"))
    boxes = [np.array(a.get_window_extent().extents) for a in figure.axes[0].findobj(Annotation)]
    assert len(boxes) == 12 if len(records) == 12 else len(boxes) >= 3
    for n, a in enumerate(boxes):
        for b in boxes[:n]:
            assert _overlap(a, b) < 0.35 * (a[2] - a[0]) * (a[3] - a[1])


def test_a_number_avoids_what_is_taken() -> None:
    class Bounds:
        x0, y0, x1, y1 = 0.0, 0.0, 200.0, 200.0

    point = np.array([100.0, 100.0])
    free, _ = _free_place(point, 2, 1.0, [], Bounds, 45.0)
    other, _ = _free_place(point, 2, 1.0, [free], Bounds, 45.0)
    assert _overlap(free, other) == 0.0
    corner, _ = _free_place(np.array([198.0, 198.0]), 2, 1.0, [], Bounds, 45.0)
    assert corner[2] <= 200
    assert corner[3] <= 200


def test_there_is_an_effects_plot_for_each_metric_with_a_bar_for_each_swap() -> None:
    keys = drawn_keys(_judged(fake_records()))
    assert keys == ["loss", "cpu/1", "cpu/32", "params", "macs"]
    figures = [_effects_plot(fake_records(), key) for key in keys]
    titles = [axes.get_title(loc="left").removeprefix("Effect on ") for figure in figures for axes in figure.axes]
    latencies = ["latency (cpu, batch 1), times", "latency (cpu, batch 32), times"]
    assert titles == ["validation loss", *latencies, "parameters [M]", "multiply-accumulates [M]"]
    text = _plain(" ".join(" ".join(map(_texts, figures)).split()))
    for part in ("connectivity (4 pairs): plain → dense", "×3.00", "−5.243", "+0.0500", "95 % t interval over clusters"):
        assert part in text


def test_the_effects_plot_shows_the_levels_on_which_an_effect_depends() -> None:
    text = " ".join(_texts(_effects_plot(_turning(), "loss")).split())
    assert "x −0.0990" in text
    assert "y +0.1510" in text
    assert "pairs by the level of another factor" in text


def test_draw_curves_draws_one_trial(tmp_path: Path) -> None:
    path = draw_curves(fake_record({"f": "a"}), tmp_path / "curve.png")
    with Image.open(path) as image:
        assert image.size == (500, 320)
        colours = {colour for _, colour in image.convert("RGB").getcolors(maxcolors=1 << 16)}
    assert {(0, 114, 178), (213, 94, 0)} <= colours  # both curves are there


# pages


def test_the_page_is_self_contained_and_well_formed(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "https://" not in text
    assert text.count('src="data:image/svg+xml') == len(PLOTS)
    assert text.count('<div class="plots">') == 3, "plots that follow each other stand side by side"
    assert len(text) < 1_500_000
    assert text.count("<li>") == text.count("</li>")
    assert '<meta name="viewport"' in text


def test_markup_of_labels_is_escaped() -> None:
    blocks = [Heading("a <b>", 1), Paragraph("**bold** `code` <i>"), Bullets(["x & y"]), Table(["n|m"], [True], [["<1>"]])]
    page = to_html(blocks, Path())
    assert "<h1>a &lt;b&gt;</h1>" in page
    assert "<strong>bold</strong> <code>code</code> &lt;i&gt;" in page
    assert "<td>&lt;1&gt;</td>" in page
    assert to_markdown(blocks) == "# a &lt;b>\n\n**bold** `code` &lt;i>\n\n- x &amp; y\n\n| n\\|m |\n| ---: |\n| &lt;1> |\n"


def test_pictures_of_data_are_shown_only_where_they_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "write_plots", lambda *_: [])  # the gallery is the subject here
    records = fake_records()[:1]
    pixels = np.zeros((2, 3, 16, 16), dtype=np.uint8)
    write_gallery(pixels, [("a", pixels)], tmp_path / "gallery.png")
    for allowed in (True, False):
        _written(tmp_path, records, images_allowed=allowed)
        page = (tmp_path / "report.html").read_text(encoding="utf-8")
        assert ("data:image/png;base64" in page) is allowed
        assert ("forbids passing them on" in page) is not allowed


def test_provenance_is_whole(folder: Path) -> None:
    facts = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    expected = {"commit": "0123abc", "packages": {"torch": "2.11.0"}, "seeds": [0, 1, 2], "command": "python -m studies.run grid"}
    assert facts | expected | {"counts": {"complete": 34, "failed": 1, "waiting": 1}} == facts


# gallery


def test_the_gallery_keeps_every_pixel(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    originals, first, second = (rng.integers(0, 256, (3, 3, 20, 20), dtype=np.uint8) for _ in range(3))
    rows = [("a", first), ("a long label, with many pieces, that has to be broken", second)]
    path = write_gallery(originals, rows, tmp_path / "gallery.png", tile=40)
    with Image.open(path) as image:
        sheet = np.asarray(image.convert("RGB"))
    for pictures in (originals, first, second):
        for picture in pictures:
            tile = picture.transpose(1, 2, 0).repeat(2, axis=0).repeat(2, axis=1)
            assert _holds(sheet, tile)


def _holds(sheet: np.ndarray, tile: np.ndarray) -> bool:
    size = len(tile)
    corners = np.argwhere((sheet[: -size + 1, : -size + 1] == tile[0, 0]).all(axis=2))
    return any(np.array_equal(sheet[y : y + size, x : x + size], tile) for y, x in corners)


def test_galleries_of_other_shapes_are_refused(tmp_path: Path) -> None:
    good = np.zeros((2, 3, 8, 8), dtype=np.uint8)
    for originals, pictures in ((good.astype(np.float32), good), (good[0], good), (good, good[:1]), (good, good.astype(np.int16))):
        with pytest.raises(InputError, match="uint8"):
            write_gallery(originals, [("a", pictures)], tmp_path / "gallery.png")
    assert not (tmp_path / "gallery.png").exists()


def test_latency_places_are_ordered_by_number() -> None:
    record = fake_record({"f": "a"}, latency={k: {"median_ms": 1.0} for k in ("cuda/1", "cpu/32", "cpu/4", "cpu/256")})
    assert latency_keys([record]) == ["cpu/4", "cpu/32", "cpu/256", "cuda/1"]
    elsewhere = fake_record({"f": "b"}, latency={"cpu/4@B": {"median_ms": 1.0}, "cpu/32@A": {"median_ms": 1.0}})
    assert latency_keys([elsewhere, record]) == ["cpu/4", "cpu/32", "cpu/256", "cpu/4@B", "cpu/32@A", "cuda/1"]
