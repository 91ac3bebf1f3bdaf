"""The page of the paper's study, made of invented evidence: what it says, draws, links, leaves out and says is missing."""

from __future__ import annotations

import csv
import html
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ablation.report.explain.plots import NARROW, WIDE, Plot
from ablation.report.kit.plot_style import styled
from studies.paper.claims.judge import CLAIMS, RULES_CHANGED, judge
from studies.paper.claims.ledger import from_json
from studies.paper.evidence.evidence import MAIN_ARMS, Evidence, Trial
from studies.paper.facts import REPORTED
from studies.paper.page import curves as paper_curves
from studies.paper.page import latent as paper_latent
from studies.paper.page import look, tables, words
from studies.paper.page import maps as paper_maps
from studies.paper.page import pieces as paper_pieces
from studies.paper.page import quality as paper_quality
from studies.paper.page import sections as paper_sections
from studies.paper.page import strips as paper_strips
from studies.paper.page.study import ANCHORS, Study
from studies.paper.page.write import page_parts, write_paper
from studies.paper.rules.verdict import Number, Verdict
from tests.fake_evidence import ATTRIBUTES, HYPOTHESES, TRAIN, VALIDATION, fake_arrays, fake_evidence

ROOT = Path(__file__).parents[2]
STEMS = {
    "loss_curves", "tsne_attributes", "tsne_perplexities", "quality_params", "frequency_bands", "paired_differences", "loss_pieces",
    "clusters", "probes", "kl_by_dimension", "edits", "hypotheses", "cost_pieces", "waterfall_cpu_b1", "time_by_class_cpu_b1",
    "batch_sweep",
}  # fmt: skip
STRIPS = {
    "figure_1_samples", "figure_2_reconstructions", "figure_4_5_traversal", "traversal_original", "traversal_modified",
    "edits_original", "edits_modified",
}  # fmt: skip
PAGES = {"paper.html", "paper.md", "claims.csv", "claims.md", "ledger.json", "trials.csv"}
VOID = {"meta", "img", "source", "br"}


def _verdicts() -> list[Verdict]:
    kinds = ("holds", "fails", "undecided")
    ids = ["C1", "C2a", "C2b", *(f"C{n}" for n in range(3, 22)), "T1", "T2"]
    number = Number(name="difference", value=-0.1, low=-0.11, high=-0.09)
    return [
        Verdict(
            id=name, says=f"what {name} says", measurement="counting", rule=f"rule of {name}", kind=kinds[n % 3],
            sentence=f"sentence of {name}", evidence=(number,), scope="rendered faces",
            link="table-1" if name == "C2a" else "nowhere",
        )
        for n, name in enumerate(ids)
    ]  # fmt: skip


def _arrays(seeds: Sequence[int] = (0, 1, 2), arms: Sequence[str] = MAIN_ARMS) -> dict[str, dict[int, dict[str, Any]]]:
    return {arm: {seed: fake_arrays(arm, seed, 32) for seed in seeds} for arm in arms}


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return fake_evidence(3, spread=0.05)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, evidence: Evidence) -> Path:
    """A page with everything."""
    path = tmp_path_factory.mktemp("paper") / "new"
    files = write_paper(evidence, judge(evidence), _arrays(), path, images_allowed=True)
    drawn = {f"plots/{stem}{end}" for stem in STEMS for end in (".svg", "_narrow.svg", ".csv")}
    found = {f.relative_to(path).as_posix() for f in files}
    assert found == PAGES | drawn | {f"strips/{stem}.png" for stem in STRIPS}
    assert found == {f.relative_to(path).as_posix() for f in path.rglob("*") if f.is_file()}
    assert all(f.stat().st_size for f in files)
    return path


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "paper.html").read_text(encoding="utf-8")


class Parsed(HTMLParser):
    """Open tags, ids and links of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids += [values["id"] or ""] if "id" in values else []
        self.links += [values["href"] or ""] if "href" in values else []
        self.sources += [values[k] or "" for k in ("src", "srcset") if k in values]
        self.open += [] if tag in VOID else [tag]

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def _plain(text: str) -> str:
    bare = re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", html.unescape(bare)).replace("\u00a0", " ").split())


def _lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _drawn(plot: Plot | None, width: float = WIDE) -> Any:
    assert plot is not None
    with styled():
        return plot.draw(width)


def _texts(figure: Any) -> str:
    from matplotlib.text import Text

    return " ".join(" ".join(t.get_text() for t in figure.findobj(Text)).split())


def _rows(plot: Plot | None) -> list[dict[str, Any]]:
    assert plot is not None
    return [dict(zip(plot.headings, line, strict=True)) for line in plot.lines]


def _small() -> Evidence:
    """Evidence of which only the curves, the maps and the strips can be drawn."""
    gone = ("quality", "per_image", "edits", "latent.hopkins", "latent.silhouette", "latent.probes", "latent.kl_per_dim")
    without = [f"analysis.{name}" for name in gone]
    return fake_evidence(2, without=without, explanation=None, hypotheses=(), loss_attribution=())


def _with_arms(evidence: Evidence, *names: str) -> Evidence:
    """More arms, copies of modified, as the trained factorial makes them."""
    copies = [
        Trial(arm=name, record=replace(t.record, label=name), analysis={k: v for k, v in t.analysis.items() if k != "latent"})
        for name in names for t in evidence.of("modified").values()
    ]  # fmt: skip
    arms = {**evidence.arms, **{name: {"params": 120_000, "macs": 1} for name in names}}
    return replace(evidence, trials=(*evidence.trials, *copies), arms=arms)


def test_the_page_parses_and_needs_nothing_else(page: str) -> None:
    parsed = Parsed(page)
    assert not parsed.wrong
    assert not parsed.open
    assert all(source.startswith("data:image/") for source in parsed.sources)
    assert not re.search(r"""(?:src|srcset|href|url\()\s*=?\s*["'(]?\s*(?:https?:)?//""", page)
    assert "<script" not in page
    assert len(page) < 3_000_000


def test_every_verdict_links_to_its_evidence_and_back(page: str, evidence: Evidence) -> None:
    parsed = Parsed(page)
    assert max(Counter(parsed.ids).values()) == 1
    assert {link.removeprefix("#") for link in parsed.links} <= set(parsed.ids)
    assert all(link.startswith("#") for link in parsed.links)
    for verdict in judge(evidence):
        row = re.search(rf'<tr id="{verdict.id}">.*?</tr>', page, re.DOTALL)
        assert row is not None
        place = verdict.link
        assert f'href="#{place}"' in row[0]
        assert f"{verdict.kind}</a>" in row[0]
        told = " ".join(html.unescape(re.sub(r"<[^>]+>", "", row[0])).split())
        assert " ".join(verdict.sentence.replace("`", "").split()) in told
        assert " ".join(verdict.rule.replace("`", "").split()) in told
        assert all(f"{number.name}: {number.text}" in told for number in verdict.evidence)
        section = page[page.index(f'id="{place}"') :]
        assert f'href="#{verdict.id}"' in section[: section.index("</p>")]


def test_the_places_that_claims_name_are_sections(page: str) -> None:
    assert set(Parsed(page).ids) >= ANCHORS
    assert {claim.link for claim in CLAIMS} <= ANCHORS


def test_a_verdict_without_a_section_links_to_itself() -> None:
    study = Study(fake_evidence(1), _verdicts(), {})
    assert study.places["C1"] == "claims"
    assert study.places["C2a"] == "table-1"
    assert [v.id for v in study.section("Table 1", "table-1").verdicts] == ["C2a"]


def test_the_ledger_holds_what_the_page_says(folder: Path, evidence: Evidence) -> None:
    assert from_json((folder / "ledger.json").read_text(encoding="utf-8")) == judge(evidence)
    kinds = {row["id"]: row["verdict"] for row in _lines(folder / "claims.csv")}
    assert kinds == {v.id: v.kind for v in judge(evidence)}


def test_the_markdown_page_links_only_to_what_is_there(folder: Path) -> None:
    text = (folder / "paper.md").read_text(encoding="utf-8")
    ids = re.findall(r'<a id="([^"]+)"></a>', text)
    assert max(Counter(ids).values()) == 1
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert {t[1:] for t in targets if t.startswith("#")} <= set(ids)
    assert all((folder / t).is_file() for t in targets if not t.startswith("#"))
    assert {f"strips/{stem}.png" for stem in STRIPS} <= set(targets)


def test_the_answer_counts_verdicts_and_says_three_findings(evidence: Evidence) -> None:
    text = words.answer(evidence, _verdicts()).replace("\u00a0", " ")
    assert "Of 22 verdicts on the paper's 21 claims **8 hold, 7 fail and 7 are undecided**." in text
    assert "Of Toledo and Antonelo's 2 findings **1 fails and 1 is undecided**." in text
    means = [np.mean([t.get("analysis.quality.reporting.ssim") for t in evidence.of(a).values()]) for a in look.PAIR]
    assert f"Reconstructions by modified are worse: SSIM {means[1]:.3f} against {means[0]:.3f}" in text
    assert "Modified has 3.07 M parameters fewer (32.8 %): the piece that does most, head, makes −5.18 M of it" in text
    assert "It takes 5.83 times as long as original (cpu, batch 1, 144 px, 95 % interval 5.74 to 5.92)" in text
    assert "does 1.66 times as many multiply-accumulates; the paper reports 5.83 times as long" in text


def test_findings_that_were_not_computed_are_not_counted_as_judged() -> None:
    verdicts = [replace(v, kind="undecided", sentence="Not computed. x") if v.id.startswith("T") else v for v in _verdicts()]
    text = words.counts(verdicts)
    assert text.endswith("Toledo and Antonelo's 2 findings **were not judged**: what they need was not computed.")
    assert "21 claims **8 hold" in text


def test_the_page_tells_how_the_rules_came_about(folder: Path) -> None:
    assert RULES_CHANGED in (folder / "paper.md").read_text(encoding="utf-8")


def test_findings_follow_the_numbers() -> None:
    better = fake_evidence(truths={"analysis.quality.reporting.ssim": {"modified": 0.8}})
    assert "are better: SSIM 0.798 against 0.698" in words.answer(better, ())
    same = fake_evidence(truths={"analysis.quality.reporting.ssim": {"modified": 0.7}}, spread=0.2)
    assert "not measurably different" in words.answer(same, ())
    one = words.answer(fake_evidence(1), ())
    assert "Reconstructions by modified reach SSIM" in one
    assert "with one seed, so without an interval" in one
    assert "No claim was judged." in one


def test_what_was_not_measured_is_replaced_by_weighty_verdicts() -> None:
    bare = fake_evidence(explanation=None, without=("analysis.quality",))
    told = words.findings(bare, _verdicts())
    assert told == ["C3 holds: sentence of C3.", "C12 holds: sentence of C12.", "C15 holds: sentence of C15."]


def test_the_scale_is_named_and_compared_with_the_papers(evidence: Evidence) -> None:
    run = words.what_was_run(evidence)
    assert "4 networks, 3 seeds each: 12 of 12 trials complete; and 30 of 30 of Toledo and Antonelo's losses and masks." in run
    assert (
        "48 px, 400 images (280 for training), 10 epochs, networks of a quarter of the paper's width, on AMD EPYC, 1 thread." in run
    )
    assert words.paper_scale(evidence) == (
        "**This is not the paper's scale**: rendered faces instead of CelebA, 48 px instead of 144 px, 400 images instead of "
        "20,000 images and networks of a quarter of the paper's width instead of networks of the paper's width. "
        "C1 to C6, about cost and latency, are of the explained pair at 144 px instead. Verdicts are about what was run."
    )
    whole = {"data": "celeba", "image_size": 144, "num_images": 20_000, "epochs": 10, "width": "the paper's"}
    assert words.paper_scale(fake_evidence(1, scale=whole)).startswith("**This is the paper's scale**")
    assert "epochs unknown" in words.paper_scale(replace(evidence, scale={}))
    assert "Left out for lack of time: Two seeds." in words.budget(replace(evidence, given_up=("Two seeds.",)))


def test_the_papers_numbers_stand_beside_ours(evidence: Evidence) -> None:
    rows = {line[0]: [cell.replace("\u00a0", " ") for cell in line[1:]] for line in tables.table_1(evidence).lines}
    assert rows["parameters at 144 px"] == ["9,352,195", "6,283,267", "−32.8 %"] * 2
    assert rows["multiply-accumulates at 144 px [G]"][3:] == ["0.6649", "1.1020", "×1.66"]
    assert rows["parameters as trained (48 px)"][3:] == ["142,339", "104,131", "−26.8 %"]
    assert rows["latency, batch of 1 [ms]"] == ["1.77 ± 0.08", "10.32 ± 1.13", "×5.83", "17.7", "103", "×5.83 (5.74 to 5.92)"]
    assert rows["latency, batch of 32 [ms]"][:3] == ["26.30 ± 5.07", "131.22 ± 8.18", "×4.99"]
    assert rows["validation loss, last epoch"][:3] == ["0.5572", "0.6699", "+0.1127"]
    last = [t.record.training["epochs"][-1]["val_loss"] for t in evidence.of("original").values()]
    assert rows["validation loss, last epoch"][3].startswith(f"{np.mean(last):.4f} ± ")


def test_the_papers_curves_are_those_of_its_table() -> None:
    assert [REPORTED[arm].train for arm in look.PAIR] == list(TRAIN)
    assert [REPORTED[arm].validation for arm in look.PAIR] == list(VALIDATION)


def test_plus_minus_is_half_of_the_interval() -> None:
    evidence = fake_evidence(3, spread=0.05)
    found = evidence.estimate("original", "analysis.quality.reporting.ssim")
    assert found is not None
    values = [t.get("analysis.quality.reporting.ssim") for t in evidence.of("original").values()]
    half = 4.302652729749 * np.std(values, ddof=1) / 3**0.5  # Student's t of 2 degrees of freedom
    assert tables.plus_minus(found, 4) == f"{np.mean(values):.4f} ±\u00a0{half:.4f}"
    assert tables.plus_minus(None, 4) == "-"
    one = fake_evidence(1).estimate("original", "analysis.quality.reporting.ssim")
    assert re.fullmatch(r"0\.\d{4}", tables.plus_minus(one, 4))


def test_the_quality_table_holds_every_arm_and_reference(evidence: Evidence) -> None:
    table = tables.quality(evidence, tables.RECONSTRUCTION)
    assert [line[0] for line in table.lines] == [*MAIN_ARMS, "mean face", "PCA, 128 components"]
    assert "LPIPS" not in table.headings
    assert table.lines[-1][3:] == ["0.6200", "0.8600", "21.50", "0.0620"]
    stored = {"_made_of": {"data": "x"}, "PCA": {"quality": {"ssim": 0.5}, "per_image": {}, "num_parameters": 2_000_000}}
    flat = tables.quality(replace(evidence, references=stored), ("ssim",))
    assert flat.lines[-1] == ["PCA", "2.000", "-", "0.5000"]
    assert len(flat.lines) == 5


def test_curves_are_drawn_as_stored_with_the_papers_below(evidence: Evidence, folder: Path) -> None:
    plot = paper_curves.loss_curves(evidence)
    rows = _lines(folder / "plots" / "loss_curves.csv")
    ours = [r for r in rows if r["seed"] != "the paper's"]
    assert len(ours) == 12 * 10
    assert len(rows) - len(ours) == 20
    assert _texts(_drawn(plot)).count("Shows 12 of 12 trials.") == 1
    axes = _drawn(plot).axes[:3]
    titles = [a.get_title(loc="left") for a in axes]
    assert titles == ["original", "modified", "all arms, validation"]
    for panel, arm in zip(axes, look.PAIR, strict=False):
        for which, key in (("-", "validation_loss"), ("--", "training_loss")):
            by_epoch = [[float(r[key]) for r in ours if r["arm"] == arm and int(r["epoch"]) == n] for n in range(1, 11)]
            mean = [np.mean(v) for v in by_epoch]
            line = next(ln for ln in panel.lines if ln.get_color() == look.look(arm)[0] and (ln.get_linestyle() == which))
            assert line.get_ydata() == pytest.approx(mean)
        grey = [ln for ln in panel.lines if ln.get_color() == paper_curves.PAPER_GREY]
        assert [tuple(ln.get_ydata()) for ln in grey] == [REPORTED[arm].validation, REPORTED[arm].train]
        assert all(ln.get_zorder() < line.get_zorder() for ln in grey)


def test_a_study_of_fewer_epochs_and_arms_draws_what_it_has() -> None:
    short = fake_evidence(
        2, train=[c[:2] for c in TRAIN], validation=[c[:2] for c in VALIDATION], failed=[("modified", 0), ("modified", 1)]
    )
    figure = _drawn(paper_curves.loss_curves(short), NARROW)
    assert "Shows 6 of 8 trials." in _texts(figure)
    assert "modified" not in [a.get_title(loc="left") for a in figure.axes]


def test_quality_points_and_references_are_the_numbers() -> None:
    evidence = fake_evidence(3)
    plot = paper_quality.quality_params(evidence)
    panel = _drawn(plot).axes[0]
    assert {r["metric"] for r in _rows(plot)} == {"ssim", "psnr", "l1", "delta_e"}
    large = {tuple(s.get_offsets()[0]) for s in panel.collections if len(s.get_offsets()) == 1}
    for arm in MAIN_ARMS:
        mean = np.mean([r["value"] for r in _rows(plot) if r["metric"] == "ssim" and r["arm"] == arm])
        assert any(p == pytest.approx((evidence.arms[arm]["params"] * 1e-6, mean)) for p in large)
    assert [ln.get_ydata()[0] for ln in panel.lines if len(set(ln.get_ydata())) == 1] == [0.62]
    assert "mean face 0.3000 ↓" in _texts(panel)
    assert {r["value"] for r in _rows(plot) if r["seed"] == "reference" and r["metric"] == "ssim"} == {0.3, 0.62}


def test_other_arms_are_drawn_counted_and_named(evidence: Evidence) -> None:
    more = _with_arms(evidence, "dense encoder", "pooled dense")
    text = _texts(_drawn(paper_quality.quality_params(more)))
    assert "2 other arms" in text
    assert "Shows 18 of 18 trials." in text
    curves = _texts(_drawn(paper_curves.loss_curves(more), NARROW))
    assert "Shows 18 of 18 trials." in curves
    assert "grey: the other arms" in curves
    note = next(b.text for b in paper_sections.quality_section(Study(more, (), {})) if "further networks" in getattr(b, "text", ""))
    assert "2 further networks" in note


def test_frequency_lines_are_means_over_seeds(evidence: Evidence) -> None:
    plot = paper_quality.frequency_bands(evidence)
    rows = [r for r in _rows(plot) if r["arm"] == "original"]
    assert [r["cycles_per_pixel"] for r in rows[:8]] == pytest.approx([(n + 0.5) / 16 for n in range(8)])
    line = next(ln for ln in _drawn(plot).axes[0].lines if ln.get_color() == look.look("original")[0])
    assert line.get_ydata() == pytest.approx([1.0, 0.97, 0.9, 0.75, 0.5, 0.3, 0.2, 0.1])


def test_differences_by_image_pair_the_same_images() -> None:
    evidence = fake_evidence(2)
    paired = paper_quality.paired_images(evidence)
    l1 = {arm: np.array([t.get("analysis.per_image.l1") for t in evidence.of(arm).values()]) for arm in look.PAIR}
    expected = (l1["modified"] - l1["original"]).mean(0)  # seeds x images -> images
    assert paired["l1"] == pytest.approx(expected)
    assert paper_quality.share_worse("ssim", np.array([-1.0, -1.0, 1.0, 0.0])) == 0.5
    assert paper_quality.share_worse("l1", np.array([-1.0, -1.0, 1.0, 0.0])) == 0.25
    figure = _drawn(paper_quality.paired_differences(evidence))
    assert sum(patch.get_height() for patch in figure.axes[0].patches) == len(paired["ssim"])
    assert "Shows 4 of 4 trials." in _texts(figure)


def test_clusters_stand_against_their_null(evidence: Evidence) -> None:
    plot = paper_latent.clusters(evidence)
    panel = _drawn(plot).axes[0]
    points = [tuple(s.get_offsets()[:, 0]) for s in panel.collections if len(s.get_offsets())]
    for arm in MAIN_ARMS:
        values = [r["value"] for r in _rows(plot) if r["statistic"] == "Hopkins" and r["arm"] == arm]
        assert len(values) == 3
        assert any(p == pytest.approx(values) for p in points)
    assert [(b.get_x(), b.get_x() + b.get_width()) for b in panel.patches] == [pytest.approx((0.56, 0.60))] * 4


def test_probes_are_drawn_as_means_over_seeds_with_the_shuffled_band(evidence: Evidence) -> None:
    plot = paper_latent.probes(evidence)
    rows = _rows(plot)
    assert len(rows) == 2 * 3 * len(ATTRIBUTES)
    panel = _drawn(plot).axes[0]
    shown = [x for s in panel.collections if len(s.get_offsets()) == len(ATTRIBUTES) for x in s.get_offsets()[:, 0]]
    expected = [
        np.mean([r[key] for r in rows if r["arm"] == arm and r["attribute"] == name])
        for arm in look.PAIR for key in ("linear_auc", "knn_auc") for name in ATTRIBUTES
    ]  # fmt: skip
    assert sorted(shown) == pytest.approx(sorted(expected))
    assert (panel.patches[0].get_x(), panel.patches[0].get_width()) == pytest.approx((0.5 - 0.06, 0.12))
    names = [t.get_text() for t in panel.get_yticklabels()]
    assert names == [n.replace("_", " ") for n in reversed(ATTRIBUTES)], "the best read first"


def test_divergence_is_sorted_and_active_units_named(evidence: Evidence) -> None:
    plot = paper_latent.kl_by_dimension(evidence)
    rows = [r for r in _rows(plot) if r["arm"] == "modified" and r["seed"] == 1]
    assert [r["kl_nats"] for r in rows] == sorted((r["kl_nats"] for r in rows), reverse=True)
    assert "modified: 8 active of 32" in _texts(_drawn(plot, NARROW))


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_maps_show_the_stored_points_by_attribute(evidence: Evidence, width: float) -> None:
    arrays = _arrays()
    plot = paper_maps.tsne_attributes(evidence, arrays)
    figure = _drawn(plot, width)
    names = paper_maps.colouring(evidence, paper_maps.maps_of(evidence, arrays))
    assert len(names) == paper_maps.NUM_ATTRIBUTES
    assert len(figure.axes) == 2 * len(names)
    held = arrays["original"][0]
    has = held["attributes"][:, list(ATTRIBUTES).index(names[0])]
    lacks, red = (s.get_offsets() for s in figure.axes[0].collections)
    assert np.allclose(red, held["tsne_30"][has == 1])
    assert np.allclose(lacks, held["tsne_30"][has == 0])
    assert len(_rows(plot)) == 2 * len(held["tsne_30"])
    assert (_rows(plot)[0]["x"], _rows(plot)[0]["y"]) == tuple(held["tsne_30"][0].tolist())
    text = _texts(figure)
    assert "Shows 2 of 6 trials of both models." in text
    assert "original 0.900; modified 0.900" in text
    assert "The extent of a t-SNE axis is no evidence" in text


def test_maps_of_the_first_images_take_their_attributes(evidence: Evidence) -> None:
    arrays = _arrays((0,), ("original",))
    arrays["original"][0]["tsne_30"] = arrays["original"][0]["tsne_30"][:20]
    del arrays["original"][0]["tsne_5"]
    (found,) = paper_maps.maps_of(evidence, arrays)
    assert {len(v) for v in found.attributes.values()} == {20}
    del arrays["original"][0]["attribute_names"]
    study = Study(evidence, (), arrays)
    told = [getattr(p, "text", "") for p in paper_sections.figures(study)]
    assert any("Not measured: attributes to colour the maps by" in t for t in told)
    assert "without colours" in str(getattr(paper_maps.tsne_attributes(evidence, arrays), "alt", ""))


def test_hypotheses_are_drawn_with_and_without_mask(evidence: Evidence) -> None:
    plot = paper_pieces.hypotheses(evidence)
    figure = _drawn(plot)
    large = [tuple(s.get_offsets()[0]) for s in figure.axes[0].collections if len(s.get_offsets()) == 1]
    assert len(large) == len(HYPOTHESES) == 10
    for line, loss in enumerate(("L1", "L1 + SSIM", "L2", "L2 + SSIM", "SSIM")):
        for mask, offset in (("without mask", -0.13), ("with mask", 0.13)):
            mean = np.mean([r["l1_inside"] for r in _rows(plot) if (r["loss"], r["mask"]) == (loss, mask)])
            assert any(p == pytest.approx((mean, line + offset)) for p in large)
    assert "Shows 30 of 30 trials." in _texts(figure)
    table = tables.hypotheses(evidence)
    assert table is not None
    assert [line[0] for line in table.lines] == list(HYPOTHESES)


def test_edits_and_pieces_keep_their_numbers(evidence: Evidence) -> None:
    rows = paper_pieces.edits_of(evidence)
    assert len(rows) == 2 * 3 * 4 * 2
    assert {row[4:] for row in rows if row[3] == "probe"} == {(0.3, 0.08)}
    panel = _drawn(paper_pieces.edits(evidence)).axes[0]
    assert [tuple(np.unique(s.get_offsets()[:, 0].round(6))) for s in panel.collections if len(s.get_offsets()) == 4] == [
        (0.3,),
        (0.08,),
    ] * 2
    table = tables.pieces(evidence.loss_attribution)
    assert table.headings == ("piece", "validation loss", "SSIM", "PSNR")
    assert table.lines[0][:2] == ["head", "+0.0394 (+0.0389 to +0.0400)"]


def test_every_plot_says_how_many_of_how_many_it_shows(evidence: Evidence) -> None:
    parts = [p for p in page_parts(Study(evidence, _verdicts(), _arrays())) if isinstance(p, Plot)]
    assert {p.stem for p in parts} == STEMS
    for plot in parts:
        assert re.search(r"Shows \d+ of \d+ ", _texts(_drawn(plot, NARROW))), plot.stem
        assert all(len(line) == len(plot.headings) for line in plot.lines), plot.stem


def test_strips_hold_the_stored_pixels_enlarged(folder: Path) -> None:
    samples = fake_arrays("original", 0, 32)["samples"]
    sheet = np.asarray(Image.open(folder / "strips" / "figure_1_samples.png"))
    row = np.asarray(paper_strips.row(samples[:4], 3))
    assert row.shape == (96, 4 * 100 - 4, 3)
    assert np.array_equal(row[::3, :96:3].transpose(2, 0, 1), samples[0])
    at = next(n for n in range(len(sheet)) if np.array_equal(sheet[n, 4 : 4 + row.shape[1]], row[0]))
    assert np.array_equal(sheet[at : at + 96, 4 : 4 + row.shape[1]], row)


def test_strips_say_what_they_show(evidence: Evidence) -> None:
    arrays = _arrays()
    made = paper_strips.traversals(evidence, arrays, "modified")
    assert made is not None
    assert made.rows[0][0] == "dimension 0, −2.0 to 2.1, KL 3.00"
    assert made.note == "Shows 4 of 4 dimensions, those of the largest KL; 1 of 3 trials of modified, seed 0."
    both = paper_strips.reconstructions(evidence, arrays)
    assert both is not None
    assert [label for label, _ in both.rows] == ["original images", *(f"reconstructed by {arm}" for arm in MAIN_ARMS)]
    assert "of 4 of 12 trials" in both.note
    edits = paper_strips.edit_strips(evidence, arrays, "original")
    assert edits is not None
    assert [label for label, _ in edits.rows][:2] == ["Smiling, probe", "Smiling, difference of means"]


def test_large_pictures_are_compressed_for_the_page() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (7, 3, 144, 144)).astype(np.uint8)
    assert paper_strips.page_uri(noise).startswith("data:image/jpeg;base64,")
    assert paper_strips.page_uri(noise[:1, :, :16, :16]).startswith("data:image/png;base64,")


def test_without_permission_no_face_is_written_or_shown(tmp_path: Path) -> None:
    assert write_paper(_small(), _verdicts(), _arrays(), tmp_path, images_allowed=True)
    assert len(list((tmp_path / "strips").iterdir())) == len(STRIPS)
    files = write_paper(_small(), _verdicts(), _arrays(), tmp_path, images_allowed=False)
    assert not (tmp_path / "strips").exists()
    assert not [f for f in files if f.suffix == ".png"]
    text = (tmp_path / "paper.html").read_text(encoding="utf-8")
    assert all(source.startswith("data:image/svg+xml") for source in Parsed(text).sources)
    plain = _plain(text)
    assert "pictures of real faces" in plain
    assert plain.count("left out of this copy, for they show real faces") == len(STRIPS)
    assert "strips/" not in (tmp_path / "paper.md").read_text(encoding="utf-8")
    drawn = {f.stem.removesuffix("_narrow") for f in files if f.suffix == ".svg"}
    assert drawn == {"loss_curves", "tsne_attributes", "tsne_perplexities"}, "maps and curves show no face"


def test_the_same_evidence_makes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_paper(_small(), _verdicts(), _arrays((0,)), tmp_path / name, images_allowed=True)
    first = {f.relative_to(tmp_path / "a"): f.read_bytes() for f in (tmp_path / "a").rglob("*") if f.is_file()}
    second = {f.relative_to(tmp_path / "b"): f.read_bytes() for f in (tmp_path / "b").rglob("*") if f.is_file()}
    assert first == second
    assert len(first) > 15


def test_what_is_missing_is_said_with_its_reason(tmp_path: Path) -> None:
    bare = fake_evidence(
        1, without=("analysis.latent", "analysis.traversal", "analysis.edits", "analysis.disentanglement", "analysis.per_image"),
        explanation=None, hypotheses=(), references={}, speed={}, loss_attribution=(),
        limits=("Latency was not timed.", "The hypotheses were not trained: no time."),
    )  # fmt: skip
    files = write_paper(bare, _verdicts(), {}, tmp_path, images_allowed=True)
    drawn = {f.stem for f in files if f.suffix == ".svg" and not f.stem.endswith("_narrow")}
    assert drawn == {"loss_curves", "quality_params", "frequency_bands"}
    text = _plain((tmp_path / "paper.html").read_text(encoding="utf-8"))
    for sentence in (
        "Not measured: measures of the latent space. Why: left out here.", "Not measured: probes. Why: left out here.",
        "Not measured: traversals. Why: left out here.", "Not measured: disentanglement. Why: left out here.",
        "Not measured: differences image by image. Why: left out here.", "Not measured: LPIPS. Why: its weights are not there.",
        "Not measured: error inside the face under the ten losses. Why: The hypotheses were not trained: no time.",
        "Not measured: parameters at 144 px and latency. Why: Latency was not timed.",
        "Not measured: loss given to the pieces. Why: no reason was stored.",
        "Not measured: references (mean face, PCA). Why: no reason was stored.",
        "Not measured: interleaved training steps. Why: no reason was stored.", "Not measured: samples of the data.",
        "Not measured: t-SNE maps.",
    ):  # fmt: skip
        assert sentence in text, sentence
    assert set(Parsed((tmp_path / "paper.html").read_text(encoding="utf-8")).ids) >= ANCHORS


def test_a_study_whose_trials_all_failed_is_still_written(tmp_path: Path) -> None:
    every = [(arm, seed) for arm in MAIN_ARMS for seed in (0, 1)]
    lost = fake_evidence(2, failed=every, hypotheses=(), explanation=None, references={}, loss_attribution=(), limits=())
    files = write_paper(lost, _verdicts(), _arrays(), tmp_path, images_allowed=True)
    assert not [f for f in files if f.suffix in (".svg", ".png")]
    text = _plain((tmp_path / "paper.html").read_text(encoding="utf-8"))
    assert "0 of 8 trials complete" in text
    assert text.count("no trial was completed.") > 10
    assert text.count("failed: loss became NaN in epoch 2 (step 5 of 9)") == 8
    assert len(_lines(tmp_path / "trials.csv")) == 8


def test_evidence_of_nothing_at_all_is_still_a_page(tmp_path: Path) -> None:
    write_paper(Evidence(scale={}, arms={}, trials=()), [], {}, tmp_path, images_allowed=False)
    text = _plain((tmp_path / "paper.html").read_text(encoding="utf-8"))
    assert "No claim was judged." in text
    assert "scale unknown" in text.lower()


def test_limits_leave_nothing_out(evidence: Evidence) -> None:
    given_up = ("Only 2 seeds: the budget is 20 minutes.",)
    more = fake_evidence(2, failed=[("modified", 1)], without=("analysis.latent",), given_up=given_up)
    text = json.dumps(
        [getattr(p, "text", "") or list(getattr(p, "items", "")) for p in paper_sections.limits_section(Study(more, (), {}))]
    )
    for told in ("Only 2 seeds: the budget is 20 minutes.", "modified, seed 1: failed: loss became NaN", "LPIPS was not computed"):
        assert told in text
    assert "latent: left out here (7 of 27 analyses)" in text
    assert "Commit: 0123abc" in text
    waiting = replace(evidence.trials[0], record=replace(evidence.trials[0].record, state="running"))
    assert words.failures(replace(evidence, trials=(waiting,), hypotheses=())) == [
        "original, seed 0: not finished (running), no reason stored"
    ]


def test_trials_csv_holds_every_trial_and_measurement(folder: Path, evidence: Evidence) -> None:
    rows = _lines(folder / "trials.csv")
    assert Counter(r["group"] for r in rows) == {"model": 12, "hypothesis": 30}
    first = rows[0]
    trial = evidence.trials[0]
    assert float(first["analysis.latent.hopkins.value"]) == trial.get("analysis.latent.hopkins.value")
    assert float(first["training.best_loss"]) == trial.get("record.training.best_loss")
    assert not [name for name in first if "per_image" in name]


def test_markup_in_names_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    lost = fake_evidence(
        1, failed=[(arm, 0) for arm in MAIN_ARMS], hypotheses=(), explanation=None, loss_attribution=(), references={}
    )
    wild = replace(_verdicts()[0], sentence="<script>alert(1)</script> a | b", says="<b>x</b>")
    write_paper(replace(lost, limits=("<i>y</i>",)), [wild], {}, tmp_path, images_allowed=True)
    page = (tmp_path / "paper.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<b>x" not in page
    assert "<i>y" not in page
    text = (tmp_path / "paper.md").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "a \\| b" in text


def test_reports_of_the_paper_need_no_torch() -> None:
    code = (
        "import sys, tempfile; from pathlib import Path\n"
        "from studies.paper.page.write import write_paper\n"
        "from tests.fake_evidence import fake_evidence\n"
        "gone = ('analysis.quality', 'analysis.per_image', 'analysis.latent', 'analysis.edits')\n"
        "e = fake_evidence(1, explanation=None, loss_attribution=(), hypotheses=(), without=gone)\n"
        "write_paper(e, [], {}, Path(tempfile.mkdtemp()), images_allowed=True); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
