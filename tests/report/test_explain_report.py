"""The page, plots, tables and sentences of an invented explanation with known numbers."""

from __future__ import annotations

import html
import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from ablation.record.attribution import Effect
from ablation.record.convert import to_plain
from ablation.record.explanation import Explanation, ModeResult, SweepPoint
from ablation.record.stored import explanation_of
from ablation.report.explain import machine, mechanism, modes, plots, style, sweep, words
from ablation.report.explain.answer import answer
from ablation.report.explain.page import read_explanation, write_explanation
from ablation.report.explain.tables import mechanism_table, modes_table
from ablation.report.explain.terminal import print_explanation
from ablation.report.kit.numbers import share_text
from ablation.report.kit.plot_style import WIDTH, styled
from tests.builders import csv_lines
from tests.fake_explanation import FACTORS, MODES, fake_attribution, fake_explanation, quick_explanation

ROOT = Path(__file__).parents[2]
STEMS = {
    "waterfall_cpu_b1", "shapley", "shapley_more", "shapley_more_2", "time_by_class_cpu_b1", "roofline_cpu_b1", "batch_sweep",
    "modes", "controls", "guidelines",
}  # fmt: skip
PAGES = {"explanation.html", "explanation.md", "explanation.json", "attribution.csv", "time_by_part.csv"}


@pytest.fixture(scope="module")
def full() -> Explanation:
    return fake_explanation()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, full: Explanation) -> Path:
    """A written explanation."""
    path = tmp_path_factory.mktemp("explain") / "new"
    files = write_explanation(full, path)
    plotted = {f"plots/{stem}{end}" for stem in STEMS for end in (".svg", ".csv")}
    assert {f.relative_to(path).as_posix() for f in files} == PAGES | plotted
    assert all(f.stat().st_size for f in files)
    return path


def _plain(text: str) -> str:
    return re.sub(r"<[^>]+>", "", html.unescape(text)).replace("\u00a0", " ")


def _texts(plot: plots.Plot) -> str:
    """Every text of a drawn plot, in one line."""
    from matplotlib.text import Text

    with styled():
        return " ".join(" ".join(t.get_text() for t in plot.draw(WIDTH).findobj(Text)).split())


def _markdown(explanation: Explanation, folder: Path) -> str:
    """The page of an explanation."""
    write_explanation(explanation, folder)
    return (folder / "explanation.md").read_text(encoding="utf-8")


def _pair(explanation: Explanation) -> mechanism.Pair:
    pair = mechanism.decomposed(explanation)
    assert pair is not None
    return pair


def _mechanism_lines(explanation: Explanation) -> list[list[str]]:
    return [list(line) for line in mechanism_table(explanation, _pair(explanation)).lines]


def test_json_comes_back_as_the_same_explanation(folder: Path, full: Explanation) -> None:
    assert read_explanation(folder) == full
    assert explanation_of(json.loads(json.dumps(to_plain(full)))) == full


def test_the_page_needs_no_network_and_shows_every_plot_once(folder: Path) -> None:
    page = (folder / "explanation.html").read_text(encoding="utf-8")
    assert re.findall(r"""(?:src|href|srcset)=["'](?!data:)|url\(|@import|<script|<link""", page) == []
    assert page.count('<img alt="') == len(STEMS) == page.count('src="data:image/svg+xml')
    assert len(page) < 500_000
    for stem in STEMS:
        assert ET.parse(folder / "plots" / f"{stem}.svg").getroot().tag.endswith("svg")


def test_plots_of_an_earlier_page_are_removed(tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "modes_narrow.svg").write_text("<svg/>")
    write_explanation(quick_explanation(), tmp_path)
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {"shapley.svg", "shapley.csv"}


def test_the_answer_comes_first_and_is_made_from_the_numbers(folder: Path, full: Explanation) -> None:
    page = (folder / "explanation.html").read_text(encoding="utf-8")
    assert page.index('class="answer"') < page.index("<h2>")
    text = answer(full)
    assert "**modified takes ×5.83 the time of original** on cpu, batch 1" in text
    assert "95\u00a0% interval 5.74 to 5.92 over 5 sittings" in text
    # effects are 0.83 and 0.52 of the weights' sum, in logarithms
    whole, total = math.log(103.2 / 17.7), 0.83 + 0.52 + 0.12 + 0.09 - 0.018 + 0.055 + 0.004 + 0.16
    assert f"**encoder connectivity** (plain → dense): ×{math.exp(whole * 0.83 / total):.2f}" in text
    assert "It is slower mainly through **encoder connectivity**" in text
    assert "(1 of 8 effects are not settled)" in text
    assert "Parameters fall by 33\u00a0%, mostly through head (−5.178 M), offset in part by widths (+2.749 M)" in text
    assert "multiply-accumulates rise by 66\u00a0%, mostly through encoder connectivity (+620.0 M)" in text
    assert "**no concatenation + compiled** helps most: modified then runs ×2.63 (2.58 to 2.69) as fast" in text


OUR_OWN_WORDS = r"\b(told|said|placed|its logarithm|gave nothing up|by turns|significant)\b"


def test_the_answer_is_five_sentences_in_plain_words(full: Explanation, earlier: Explanation) -> None:
    for explanation in (full, earlier):
        text = _plain(answer(explanation))
        assert len(re.findall(r"\.(?= |$)", text)) <= 5
        assert len(text.split()) <= 160
        assert not re.search(OUR_OWN_WORDS, text)


def test_pages_avoid_words_of_our_own(tmp_path: Path, full: Explanation, earlier: Explanation) -> None:
    for number, explanation in enumerate((full, earlier, quick_explanation())):
        text = _markdown(replace(explanation, decompositions=(), limits=()), tmp_path / str(number))
        assert not re.search(OUR_OWN_WORDS, text.replace("wherever nothing else is said here", ""))


def test_the_largest_part_of_a_rise_is_no_fall() -> None:
    """Multiply-accumulates rise; the largest single effect is a fall."""
    macs = fake_attribution("macs")
    falling = replace(macs, shapley={**macs.shapley, "decoder_conv": replace(macs.shapley["decoder_conv"], value=-9e9)})
    text = answer(fake_explanation(attributions=(falling,)))
    assert "rise by 66\u00a0%, mostly through encoder connectivity (+620.0 M), offset in part by decoder conv (−9000.0 M)" in text


def test_no_cost_is_no_change_and_little_is_not_nothing() -> None:
    params = style.metric_of("params")
    assert style.effect_text(fake_attribution("params"), Effect(value=0)) == "no change"
    assert (style.signed(0, params), style.signed(340, params), style.signed(-34, params)) == ("0", "+0.00034", "−0.000034")
    assert style.signed(5_178_123, params) == "+5.178"
    assert [share_text(s) for s in (0.0, 0.002, -0.0001, 0.52)] == ["0\u00a0%", "+0.2\u00a0%", "under −0.1\u00a0%", "+52\u00a0%"]


def test_opposite_signs_of_ratio_and_difference_are_explained(full: Explanation) -> None:
    assert words.opposed_signs(full) == []
    ms = style.find(full, "latency_ms")
    assert ms is not None
    turned = replace(ms, shapley={**ms.shapley, "head": replace(ms.shapley["head"], value=0.3)})
    (note,) = words.opposed_signs(replace(full, attributions=(turned, *(a for a in full.attributions if a.metric != "latency_ms"))))
    assert note.startswith("head: as a ratio and in milliseconds the effect has opposite signs (cpu, batch 1)")


def test_shares_beyond_the_whole_give_their_reason(folder: Path) -> None:
    text = _plain((folder / "explanation.md").read_text(encoding="utf-8"))
    assert "+169 %" in text
    assert "Shares beyond 100 % are offset by others of the other sign: together they are 100 %." in text


def test_exact_is_for_counts(folder: Path, full: Explanation) -> None:
    text = _plain((folder / "explanation.md").read_text(encoding="utf-8"))
    assert "### Parameters: exact" in text
    assert "### Latency, as factors that multiply (cpu, batch 1): measured" in text
    assert "Shapley values of each piece: parameters, multiply-accumulates exact; latency measured" in text
    assert "Measured over 3 seeds from 192 of 256 combinations: Validation loss" in text
    log = style.find(full, style.LOG)
    assert log is not None
    blocks = {name: replace(effect, of="blocks", num=12) for name, effect in log.shapley.items()}
    assert replace(log, shapley=blocks).kind == "estimated"


def test_the_page_prints_the_bandwidth_that_its_bounds_use(tmp_path: Path, earlier: Explanation) -> None:
    text = _markdown(earlier, tmp_path)
    assert "68.9 to 90.6 GB/s" in text
    assert "21.2 GB/s" not in text
    rows = {row["class"]: row for row in csv_lines(tmp_path / "plots" / "roofline_cpu_b1.csv") if row["network"] == "modified"}
    assert float(rows["concatenation"]["bound_gb_per_s"]) == pytest.approx(68.86, abs=0.01)


def test_a_class_far_from_its_bound_is_not_limited_by_it(earlier: Explanation) -> None:
    lines = {line[0]: line[-3:] for line in _mechanism_lines(earlier)}
    assert lines["activation"] == ["bandwidth (90.6 GB/s)", "8\u00a0%", "no bound"]
    assert lines["pointwise convolution"] == ["arithmetic", "55\u00a0%", "arithmetic"]
    text = _plain(mechanism.mechanism(earlier))
    assert "the machine limits pointwise convolution by arithmetic (55 % of that bound)" in text
    assert "classes with 62 % of its time are below 50 % of every bound" in text


# ---- explanations of earlier versions


@pytest.fixture(scope="module")
def earlier() -> Explanation:
    """One that was committed when a latency's interval came from the rounds of one sitting."""
    return explanation_of(json.loads((ROOT / "tests" / "explanation_v1.json").read_text(encoding="utf-8")))


def test_an_earlier_explanation_is_shown_without_its_intervals_and_verdicts(tmp_path: Path, earlier: Explanation) -> None:
    text = _plain(_markdown(earlier, tmp_path))
    assert text.count("timed in one sitting by an earlier version") == 1
    assert "(93.5 against 31.7 ms; no interval)" in text
    assert not re.search(r"×[0-9.]+ \([0-9.]+ to [0-9.]+\)|ms \([−+0-9.]+ to|significant|holds here", text)
    assert "survives" not in text
    assert "Greedy path" not in text.split("### Parameters")[0]
    assert "are not shown: they need every combination" in text
    for a in earlier.attributions:
        if a.metric in ("latency_ms", "log_latency"):
            assert a.kind == "estimated"
            effects = (*a.shapley.values(), *a.from_start.values())
            assert {(e.low, e.high, e.verdict) for e in effects} == {(None, None, "not settled")}
            assert a.path == ()
    assert explanation_of(json.loads(json.dumps(to_plain(earlier)))) == earlier


def test_a_report_leaves_the_earlier_file_as_it_is(tmp_path: Path, earlier: Explanation) -> None:
    stored = (ROOT / "tests" / "explanation_v1.json").read_text(encoding="utf-8")
    (tmp_path / "explanation.json").write_text(stored, encoding="utf-8")
    write_explanation(read_explanation(tmp_path), tmp_path)
    assert (tmp_path / "explanation.json").read_text(encoding="utf-8") == stored


def test_another_answer_follows_from_other_numbers() -> None:
    """The second is the faster one; a graph removes all of it."""
    eager = replace(MODES[0], first_ms=40.0, second_ms=20.0, ratio=0.5, ratio_low=0.49, ratio_high=0.51)
    graph = replace(eager, mode="CUDA graph", first_ms=10.0, second_ms=10.02, ratio=1.002, ratio_low=0.998, ratio_high=1.006)
    reversed_ = replace(graph, ratio=1.4, ratio_low=1.39, ratio_high=1.41)
    part = replace(graph, ratio=0.8, ratio_low=0.79, ratio_high=0.81)
    faster = fake_explanation(modes=(eager, graph))
    assert "takes ×0.50 the time" in answer(faster)
    assert words.survival(faster, eager) == "survives"
    assert words.survival(faster, graph) == "is gone"
    wide = replace(graph, ratio_low=0.98)
    assert words.survival(faster, wide) == "not settled", "the interval reaches beyond the A/A floor, and includes none"
    assert words.survival(faster, replace(graph, ratio_low=None, ratio_high=None)) == "not settled: no interval"
    assert words.survival(faster, replace(part, ratio_verdict="not settled")) == "not settled", "corrected over all modes"
    assert words.survival(faster, reversed_) == "is reversed"
    assert words.survival(faster, part) == "survives, less than half of it (in logarithms)"
    assert modes_table(faster).headings[1] == "the speed-up"


def test_verdicts_say_the_floor_and_what_would_settle_it() -> None:
    weak = Effect(value=0.1, low=-1, high=1, verdict="not settled", needed=2400, of="blocks")
    assert words.verdict_text(fake_attribution("latency_ms"), weak) == "not settled; about 2,400 blocks would settle it"
    assert words.verdict_text(fake_attribution("loss"), replace(weak, of="")) == "not settled; about 2,400 seeds would settle it"
    assert words.verdict_text(fake_attribution("latency_ms"), replace(weak, verdict="within noise")) == "within the A/A noise floor"
    assert words.verdict_text(fake_attribution("loss"), replace(weak, verdict="within noise")) == "within the noise between seeds"
    assert (
        words.verdict_text(fake_attribution("loss"), replace(weak, low=None, high=None, needed=None)) == "not settled: no interval"
    )
    assert words.verdict_text(fake_attribution("params"), Effect(value=1)) == "exact"


def test_the_waterfall_multiplies_to_the_ratio(folder: Path) -> None:
    rows = csv_lines(folder / "plots" / "waterfall_cpu_b1.csv")
    product = math.prod(float(row["times"]) for row in rows if row["factor"] != "whole")
    assert product == pytest.approx(103.2 / 17.7)
    assert float(rows[-1]["times"]) == pytest.approx(103.2 / 17.7)
    assert {row["factor"] for row in rows} == {*FACTORS, "residual", "whole"}


def test_shapley_lines_add_up_and_are_never_mixed_up(folder: Path) -> None:
    rows = csv_lines(folder / "plots" / "shapley.csv") + csv_lines(folder / "plots" / "shapley_more.csv")
    for metric, whole in (("params", 6_283_267 - 9_352_195), ("macs", 1_101_969_536 - 664_879_104), ("num_ops", 271 - 43)):
        assert sum(float(row["value"]) for row in rows if row["metric"] == metric) == whole
    every = csv_lines(folder / "attribution.csv")
    assert {row["metric"] for row in every} == {a.metric for a in fake_explanation().attributions}
    # 8 Shapley values, 8 and 8 main effects, 28 pairs, 8 steps of the path, 5 lines on the whole
    assert len([row for row in every if row["metric"] == "params"]) == 8 + 8 + 8 + 28 + 8 + 5


def test_time_by_class_adds_up_to_the_total(folder: Path, full: Explanation) -> None:
    rows = csv_lines(folder / "plots" / "time_by_class_cpu_b1.csv")
    for name, total in (("original", 17.7), ("modified", 103.2)):
        parts = [float(row["ms"]) for row in rows if row["network"] == name and row["class"] != "total"]
        assert sum(parts) == pytest.approx(total)
    added = _mechanism_lines(full)
    assert added[0][:4] == ["pointwise convolution", "0", "26.4", "26.4"]
    assert added[-1][:4] == ["total", "17.7", "103", "85.5"]


def test_the_mechanism_counts_what_multiplies_nothing() -> None:
    """Normalisation, activation, concatenation, pooling, upsampling: 18.7 + 24.4 + 14.2 + 0.5 + 0.05 of 85.5 ms."""
    share = (18.7 + 24.4 + 14.2 + 0.5 + 0.05) / 85.5
    text = _plain(mechanism.mechanism(fake_explanation()))
    assert f"Operations that multiply nothing make {100 * share:.0f} % of the difference" in text
    assert "pointwise convolution (31 %)" in text
    assert "while convolution takes 10.4 ms less" in text
    assert "Of the 85.5 ms that it takes longer when profiled" in text
    assert "(17.7 against 103 ms in the profiled session;" in text


def test_every_plot_says_how_many_of_how_many_it_shows(full: Explanation) -> None:
    three = [a for a in full.attributions if a.metric in ("params", "macs", "latency_ms")]
    counts = {
        "Shows 8 of 8 factors. 192 of 256 combinations": plots.waterfall(full, fake_attribution("log_latency", "cpu/1")),
        "Shows 24 of 24 effects": plots.shapley(full, three, "s", "Shapley"),
        "Shows 7 of 9 modes.": modes.modes(full), "Not drawn: bf16": modes.modes(full),
        "Shows 12 of 12 values": modes.controls(full), "Shows 23 of 23 shares": machine.time_by_class(_pair(full)),
        "Shows 19 of 19 classes": machine.roofline(full, _pair(full)), "Shows 15 of 15 settings": sweep.guidelines(full),
        "Shows 17 of 18 times. 8 of 9 ratios": sweep.sweep(full),
    }  # fmt: skip
    for text, plot in counts.items():
        assert text in _texts(plot), plot.stem


def test_no_axis_shows_markup_of_mathematics(full: Explanation) -> None:
    assert "$" not in _texts(machine.roofline(full, _pair(full))) + _texts(sweep.sweep(full)) + _texts(modes.modes(full))


def test_missing_points_are_named_and_knees_marked(full: Explanation) -> None:
    text = _texts(sweep.sweep(full))
    assert text.count("knee") == 2
    assert "batch 256: modified: out of memory at 256 images" in text
    bare = fake_explanation(sweep=(SweepPoint(batch_size=1, reason="no time"),), knee={"original": None})
    text = _texts(sweep.sweep(bare))
    assert "Shows 0 of 2 times. 0 of 1 ratios" in text
    assert "original none found" in text
    assert "batch 1: no time" in text


def test_sweep_of_which_nothing_is_missing_keeps_its_room(full: Explanation) -> None:
    whole = fake_explanation(sweep=tuple(p for p in full.sweep if p.second_ms is not None))
    with styled():
        figure = sweep.sweep(whole).draw(WIDTH)
        figure.draw_without_rendering()
    assert all(axes.get_tightbbox().width > 60 for axes in figure.axes)


def test_a_class_without_time_or_bytes_is_named_below_the_roofline(full: Explanation) -> None:
    pair = _pair(full)
    shares = (replace(pair[0].by_class[0], bytes_moved=0), *pair[0].by_class[1:])
    text = _texts(machine.roofline(full, (replace(pair[0], by_class=shares), pair[1])))
    assert "Shows 18 of 19 classes" in text
    assert "Not drawn, having no time or no bytes: convolution (original)" in text
    alone = machine.roofline(replace(full, calibration=None), pair)
    assert "The machine was not calibrated: no roof." in _texts(alone)


def test_one_colour_per_factor_and_per_class_and_none_of_a_network(full: Explanation) -> None:
    factors = style.factor_colours(full)
    assert list(factors) == list(FACTORS)
    assert len(set(factors.values())) == len(FACTORS)
    classes = {name: style.class_colour(name) for name in (*style.CLASS_LOOKS, *style.REST_LOOKS)}
    assert len(set(classes.values())) == len(classes)
    markers = [style.class_marker(name) for name in style.CLASS_LOOKS]
    assert len(set(markers)) == len(markers)
    assert not {style.FIRST, style.SECOND} & {*factors.values(), *classes.values()}
    many = fake_explanation(factors={f"f{n}": ("a", "b") for n in range(14)})
    assert len(set(style.factor_colours(many).values())) == 14


def test_every_class_that_costs_are_counted_in_has_a_look() -> None:
    from ablation.measure.costs.opcount import CLASSES

    assert set(CLASSES) == set(style.CLASS_LOOKS)


def test_a_quick_explanation_says_what_is_not_measured_and_why(tmp_path: Path) -> None:
    quick = quick_explanation()
    files = write_explanation(quick, tmp_path)
    assert {f.name for f in files if f.suffix == ".svg"} == {"shapley.svg"}
    page = _plain((tmp_path / "explanation.html").read_text(encoding="utf-8"))
    for text in (
        "Not measured: the attribution of latency to pieces. Why: Latency was not timed: --quick counts only.",
        "Not measured: the batch sweep. Why: No batch sweep: --quick leaves it out.",
        "Not measured: the guidelines' experiments. Why: Guidelines were left out by --quick.",
        "Not measured: the attribution of validation loss, SSIM, PSNR. Why: Loss was not attributed: no variant was trained.",
        "Not measured: the attribution of elements written, bytes moved, operations. Why: no reason was stored.",
        "Not measured: the roofline", "Not measured: other ways of running", "Not measured: plain networks",
        "Not measured: remedies",
    ):  # fmt: skip
        assert text in page, text
    text = answer(quick)
    assert "Not measured: latency, which piece made the difference in latency, by which mechanism, which remedy removes it." in text
    assert text.count("Latency was not timed") == 1
    assert read_explanation(tmp_path) == quick


def test_an_explanation_of_nothing_but_names_is_still_written(tmp_path: Path) -> None:
    bare = Explanation(first="a", second="b", specs={}, costs={}, factors={})
    write_explanation(bare, tmp_path)
    page = _plain((tmp_path / "explanation.html").read_text(encoding="utf-8"))
    assert page.count("Why: no reason was stored.") >= 10
    assert "Nothing was attributed" in print_explanation(bare)


def test_a_mode_that_cannot_be_used_is_listed_with_its_reason(folder: Path) -> None:
    text = (folder / "explanation.md").read_text(encoding="utf-8")
    assert "**bf16**: Sixteen-bit floating point. Not usable here: this CPU has no bf16 arithmetic" in text
    rows = {row["mode"]: row for row in csv_lines(folder / "plots" / "modes.csv")}
    assert len(rows) == len(MODES)
    assert rows["CUDA graph"]["reason"] == "there is no CUDA device here"
    assert rows["CUDA graph"]["ratio"] == ""


def test_only_unusable_modes_make_a_table_and_no_plot(tmp_path: Path) -> None:
    unusable = (ModeResult(mode="compiled", text="Fused.", reason="no compiler"),)
    files = write_explanation(replace(quick_explanation(), modes=unusable), tmp_path)
    assert {f.stem for f in files if f.suffix == ".svg"} == {"shapley"}
    assert "no compiler" in (tmp_path / "explanation.md").read_text(encoding="utf-8")


def test_remedies_are_ranked_with_code_and_say_whether_weights_stay(folder: Path) -> None:
    text = (folder / "explanation.md").read_text(encoding="utf-8")
    names = ("no concatenation + compiled", "compiled", "folded", "plain encoder")
    order = [text.index(f"**{n}. {name}") for n, name in enumerate(names, 1)]
    assert order == sorted(order)
    assert "```python\nmodel = torch.compile(model.eval())\n```" in text
    assert "4. plain encoder: ×2.31 (2.27 to 2.36) as fast** (another network, to be trained)" in text
    assert "Its interval includes no gain." in text


def test_bfloat16_has_other_weights_and_the_mean_is_another_function(tmp_path: Path, full: Explanation) -> None:
    kinds = {"bf16": "reduced precision", "inference only": "another function"}
    remedies = [replace(full.remedies[0], name=name, keeps=keeps, gain=9.0) for name, keeps in kinds.items()]
    text = _markdown(replace(full, remedies=(*remedies, *full.remedies)), tmp_path)
    assert "**4. bf16: ×9.00 (2.58 to 2.69) as fast** (computed in fewer digits, outputs within 2.9e-06)" in text
    assert "**5. inference only: ×9.00 (2.58 to 2.69) as fast** (same weights, another function: the latent mean" in text
    best = words.best_remedy(replace(full, remedies=(*remedies, *full.remedies)))
    assert best is not None
    assert best.name == "no concatenation + compiled"
    order = [line[0] for line in modes_table(full).lines]
    assert order[-1] == "inference only"


def test_markup_in_names_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    write_explanation(replace(quick_explanation(), second="<b>x</b>", limits=("<script>alert(1)</script>",)), tmp_path)
    page = (tmp_path / "explanation.html").read_text(encoding="utf-8")
    assert "<b>x</b>" not in page
    assert "<script" not in page


@pytest.mark.parametrize("make", [fake_explanation, quick_explanation])
def test_the_terminal_gets_the_answer_in_100_columns(make: object) -> None:
    text = print_explanation(make())  # type: ignore[operator]
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "**" not in text
    assert re.search(r"^head: flatten → pooled +−5\.178 M \(\+169 %\)", text, re.MULTILINE)


def test_insignificant_effects_are_marked_in_the_terminal(full: Explanation) -> None:
    lines = print_explanation(full).splitlines()
    assert [line.split(":")[0] for line in lines if line.endswith(") ~")] == ["down"]
    assert "~ not settled" in lines


def test_reports_of_explanations_need_no_torch() -> None:
    code = (
        "import sys, tempfile; from pathlib import Path\n"
        "from ablation.report.explain.page import write_explanation\n"
        "from tests.fake_explanation import quick_explanation\n"
        "write_explanation(quick_explanation(), Path(tempfile.mkdtemp())); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
