"""The page of the paper's study, made of invented evidence: what it says, draws, links, leaves out and says is missing."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from ablation.report.explain.plots import Plot
from ablation.report.kit.plot_style import WIDTH, styled
from studies.paper.claims.judge import CLAIMS, RULES_CHANGED, judge
from studies.paper.claims.ledger import from_json
from studies.paper.evidence.evidence import MAIN_ARMS, Evidence, Trial
from studies.paper.facts import REPORTED
from studies.paper.page import curves, latent, maps, pieces, quality, sections, strips, tables, words
from studies.paper.page.study import ANCHORS, Study
from studies.paper.page.style import PAIR, mark_of
from studies.paper.page.write import kept_pictures, write_paper
from studies.paper.rules.verdict import Number, Verdict
from tests.builders import csv_lines
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
QUOTED = ("parameters", "latency batch of 1 image", "latency batch of 32", "training loss", "validation loss")
SSIM = "analysis.quality.reporting.ssim"
# evidence that takes little time to draw
BARE: dict[str, Any] = {"explanation": None, "hypotheses": (), "loss_attribution": ()}
VERDICTS = [
    Verdict(
        id=name, says=f"what {name} says", measurement="counting", rule=f"rule of {name}", sentence=f"sentence of {name}",
        kind=("holds", "fails", "undecided")[n % 3], scope="rendered faces", link="table-1" if name == "C2a" else "nowhere",
        evidence=(Number(name="difference", value=-0.1, low=-0.11, high=-0.09),),
    )
    for n, name in enumerate(["C1", "C2a", "C2b", *(f"C{n}" for n in range(3, 22)), "T1", "T2"])
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
    drawn = {f"plots/{stem}{end}" for stem in STEMS for end in (".svg", ".csv")}
    written = {f.relative_to(path).as_posix() for f in files}
    assert written == PAGES | drawn | {f"strips/{stem}.png" for stem in STRIPS}
    assert written == {f.relative_to(path).as_posix() for f in path.rglob("*") if f.is_file()}
    assert all(f.stat().st_size for f in files)
    return path


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "paper.html").read_text(encoding="utf-8")


def _every(page: str, *attributes: str) -> list[str]:
    """The values of these attributes; ParseError for a page whose tags are not closed in order."""
    text = re.sub(r"<((?:meta|img|source|br)\b[^>]*)>", r"<\1/>", page.partition("\n")[2]).replace("&nbsp;", " ")
    return [value for tag in ElementTree.fromstring(text).iter() for name, value in tag.attrib.items() if name in attributes]


def _plain(text: str) -> str:
    bare = re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", html.unescape(bare)).replace("\u00a0", " ").split())


def _written(
    folder: Path, evidence: Evidence, arrays: Any = None, *, verdicts: Any = VERDICTS, allowed: bool = True, kept: Any = None
) -> tuple[dict[str, set[str]], str, str]:
    """A page in a folder: ending -> stems of the files written, and both pages."""
    files = write_paper(evidence, verdicts, arrays or {}, folder, images_allowed=allowed, kept=kept)
    stems = {suffix: {f.stem for f in files if f.suffix == suffix} for suffix in (".svg", ".png")}
    return stems, *((folder / name).read_text(encoding="utf-8") for name in ("paper.html", "paper.md"))


def _drawn(plot: Plot | None) -> Any:
    assert plot is not None
    with styled():
        return plot.draw(WIDTH)


def _texts(figure: Any) -> str:
    from matplotlib.text import Text

    return " ".join(" ".join(t.get_text() for t in figure.findobj(Text)).split())


def _rows(plot: Plot | None, **wanted: Any) -> list[dict[str, Any]]:
    """The plot's lines that have these values."""
    assert plot is not None
    rows = [dict(zip(plot.headings, line, strict=True)) for line in plot.lines]
    return [row for row in rows if wanted.items() <= row.items()]


def _points(panel: Any, num: int) -> list[list[tuple[float, float]]]:
    """Each group of so many points."""
    groups = (s.get_offsets() for s in panel.collections)
    return [[tuple(p) for p in points] for points in groups if len(points) == num]


def _small() -> Evidence:
    """Evidence of which only the curves, the maps and the strips can be drawn."""
    gone = ("quality", "per_image", "edits", "latent.hopkins", "latent.silhouette", "latent.probes", "latent.kl_per_dim")
    return fake_evidence(2, without=[f"analysis.{name}" for name in gone], **BARE)


def _with_arms(evidence: Evidence, *names: str) -> Evidence:
    """More arms, copies of modified, as the trained factorial makes them."""
    copies = [
        Trial(arm=name, record=replace(t.record, label=name), analysis={k: v for k, v in t.analysis.items() if k != "latent"})
        for name in names for t in evidence.of("modified").values()
    ]  # fmt: skip
    arms = {**evidence.arms, **{name: {"params": 120_000, "macs": 1} for name in names}}
    return replace(evidence, trials=(*evidence.trials, *copies), arms=arms)


def test_the_page_parses_and_needs_nothing_else(page: str) -> None:
    assert all(source.startswith("data:image/") for source in _every(page, "src", "srcset"))
    assert not re.search(r"""(?:src|srcset|href|url\()\s*=?\s*["'(]?\s*(?:https?:)?//""", page)
    assert "<script" not in page
    assert len(page) < 1_500_000


def test_every_verdict_links_to_its_evidence_and_back(page: str, evidence: Evidence) -> None:
    ids, links = _every(page, "id"), _every(page, "href")
    assert max(Counter(ids).values()) == 1
    assert {link.removeprefix("#") for link in links} <= set(ids)
    assert all(link.startswith("#") for link in links)
    for verdict in judge(evidence):
        row = re.search(rf'<tr id="{verdict.id}">.*?</tr>', page, re.DOTALL)
        assert row is not None
        assert f'href="#{verdict.link}"' in row[0]
        assert f"{verdict.kind}</a>" in row[0]
        text = " ".join(html.unescape(re.sub(r"<[^>]+>", "", row[0])).split())
        assert all(" ".join(part.replace("`", "").split()) in text for part in (verdict.sentence, verdict.rule))
        assert all(f"{number.name}: {number.text}" in text for number in verdict.evidence)
        section = page[page.index(f'id="{verdict.link}"') :]
        assert f'href="#{verdict.id}"' in section[: section.index("</p>")]


def test_the_places_that_claims_name_are_sections(page: str) -> None:
    assert set(_every(page, "id")) >= ANCHORS
    assert {claim.link for claim in CLAIMS} <= ANCHORS
    study = Study(fake_evidence(1), VERDICTS, {})
    assert (study.places["C1"], study.places["C2a"]) == ("claims", "table-1")
    assert [v.id for v in getattr(study.section("Table 1", "table-1")[0], "verdicts", ())] == ["C2a"]


def test_the_ledger_holds_what_the_page_says(folder: Path, evidence: Evidence) -> None:
    assert from_json((folder / "ledger.json").read_text(encoding="utf-8")) == judge(evidence)
    kinds = {row["id"]: row["verdict"] for row in csv_lines(folder / "claims.csv")}
    assert kinds == {v.id: v.kind for v in judge(evidence)}


def test_the_markdown_page_links_only_to_what_is_there(folder: Path) -> None:
    text = (folder / "paper.md").read_text(encoding="utf-8")
    ids = re.findall(r'<a id="([^"]+)"></a>', text)
    assert max(Counter(ids).values()) == 1
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert {t[1:] for t in targets if t.startswith("#")} <= set(ids)
    assert all((folder / t).is_file() for t in targets if not t.startswith("#"))
    assert {f"strips/{stem}.png" for stem in STRIPS} <= set(targets)
    assert RULES_CHANGED in text


def test_the_answer_counts_verdicts_and_says_three_findings(evidence: Evidence) -> None:
    text = words.answer(evidence, VERDICTS).replace("\u00a0", " ")
    assert "Of 22 verdicts on the paper's 21 claims **8 hold, 7 fail and 7 are undecided**." in text
    assert "Of Toledo and Antonelo's 2 findings **1 fails and 1 is undecided**." in text
    means = [np.mean([t.get(SSIM) for t in evidence.of(arm).values()]) for arm in PAIR]
    assert f"Reconstructions by modified are worse: SSIM {means[1]:.3f} against {means[0]:.3f}" in text
    assert "Modified has 3.07 M parameters fewer (32.8 %): the piece that does most, head, makes −5.18 M of it" in text
    assert "It takes 5.83 times as long as original (cpu, batch 1, 144 px, 95 % interval 5.74 to 5.92)" in text
    assert "does 1.66 times as many multiply-accumulates; the paper reports 5.83 times as long" in text


def test_findings_that_were_not_computed_are_not_counted_as_judged() -> None:
    verdicts = [replace(v, kind="undecided", sentence="Not computed. x") if v.id.startswith("T") else v for v in VERDICTS]
    text = words.counts(verdicts)
    assert text.endswith("Toledo and Antonelo's 2 findings **were not judged**: what they need was not computed.")
    assert "21 claims **8 hold" in text


@pytest.mark.parametrize(
    ("changes", "sentences"),
    [
        ({"truths": {SSIM: {"modified": 0.8}}}, ["are better: SSIM 0.798 against 0.698"]),
        ({"truths": {SSIM: {"modified": 0.7}}, "spread": 0.2}, ["not measurably different"]),
        ({"seeds": 1}, ["tions by modified reach SSIM", "with one seed, so without an interval", "No claim was judged."]),
    ],
)
def test_findings_follow_the_numbers(changes: dict[str, Any], sentences: list[str]) -> None:
    text = words.answer(fake_evidence(**changes), ())
    assert all(sentence in text for sentence in sentences)


def test_what_was_not_measured_is_replaced_by_weighty_verdicts() -> None:
    bare = fake_evidence(explanation=None, without=("analysis.quality",))
    assert words.findings(bare, VERDICTS) == [f"{name} holds: sentence of {name}." for name in ("C3", "C12", "C15")]


def test_the_scale_is_named_and_compared_with_the_papers(evidence: Evidence) -> None:
    run = words.setup_text(evidence)
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
    assert words.paper_scale(replace(evidence, scale=whole)).startswith("**This is the paper's scale**")
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


def test_the_papers_numbers_are_those_that_its_document_quotes() -> None:
    text = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8").partition("## Reported results")[2]
    rows = [line.strip("|").replace(",", "").split("|") for line in text.splitlines() if line.startswith("| ")]
    for n, arm in enumerate(PAIR, start=1):
        named = {row[0].strip(): tuple(map(float, re.findall(r"\d*\.?\d+", row[n]))) for row in rows[1:6]}
        quoted = [next(values for name, values in named.items() if name.startswith(text)) for text in QUOTED]
        r = REPORTED[arm]
        assert quoted == [(r.params,), r.latency_ms[1], r.latency_ms[32], r.train, r.validation]


def test_plus_minus_is_half_of_the_interval(evidence: Evidence) -> None:
    estimate = evidence.estimate("original", SSIM)
    values = [t.get(SSIM) for t in evidence.of("original").values()]
    half = 4.302652729749 * np.std(values, ddof=1) / 3**0.5  # Student's t of 2 degrees of freedom
    assert tables.plus_minus(estimate, 4) == f"{np.mean(values):.4f} ±\u00a0{half:.4f}"
    assert tables.plus_minus(None, 4) == "-"
    assert re.fullmatch(r"0\.\d{4}", tables.plus_minus(fake_evidence(1).estimate("original", SSIM), 4))


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
    figure = _drawn(curves.loss_curves(evidence))
    rows = csv_lines(folder / "plots" / "loss_curves.csv")
    ours = [r for r in rows if r["seed"] != "the paper's"]
    assert len(ours) == 12 * 10
    assert len(rows) - len(ours) == 20
    assert _texts(figure).count("Shows 12 of 12 trials.") == 1
    axes = figure.axes[:3]
    assert [a.get_title(loc="left") for a in axes] == ["original", "modified", "all arms, validation"]
    for panel, arm in zip(axes, PAIR, strict=False):
        for which, key in (("-", "validation_loss"), ("--", "training_loss")):
            by_epoch = [[float(r[key]) for r in ours if r["arm"] == arm and int(r["epoch"]) == n] for n in range(1, 11)]
            line = next(ln for ln in panel.lines if ln.get_color() == mark_of(arm).colour and ln.get_linestyle() == which)
            assert line.get_ydata() == pytest.approx([np.mean(v) for v in by_epoch])
        grey = [ln for ln in panel.lines if ln.get_color() == curves.PAPER_GREY]
        assert [tuple(ln.get_ydata()) for ln in grey] == [REPORTED[arm].validation, REPORTED[arm].train]
        assert all(ln.get_zorder() < line.get_zorder() for ln in grey)


def test_a_study_of_fewer_epochs_and_arms_draws_what_it_has() -> None:
    two = {"train": [c[:2] for c in TRAIN], "validation": [c[:2] for c in VALIDATION]}
    figure = _drawn(curves.loss_curves(fake_evidence(2, failed=[("modified", 0), ("modified", 1)], **two)))
    assert "Shows 6 of 8 trials." in _texts(figure)
    assert "modified" not in [a.get_title(loc="left") for a in figure.axes]


def test_quality_points_and_references_are_the_numbers() -> None:
    evidence = fake_evidence(3)
    plot = quality.quality_params(evidence)
    panel = _drawn(plot).axes[0]
    assert {r["metric"] for r in _rows(plot)} == {"ssim", "psnr", "l1", "delta_e"}
    large = [point for (point,) in _points(panel, 1)]
    for arm in MAIN_ARMS:
        mean = np.mean([r["value"] for r in _rows(plot, metric="ssim", arm=arm)])
        assert any(p == pytest.approx((evidence.arms[arm]["params"] * 1e-6, mean)) for p in large)
    assert [ln.get_ydata()[0] for ln in panel.lines if len(set(ln.get_ydata())) == 1] == [0.62]
    assert "mean face 0.3000 ↓" in _texts(panel)
    assert {r["value"] for r in _rows(plot, seed="reference", metric="ssim")} == {0.3, 0.62}


def test_other_arms_are_drawn_counted_and_named(evidence: Evidence) -> None:
    more = _with_arms(evidence, "dense encoder", "pooled dense")
    text = _texts(_drawn(quality.quality_params(more)))
    assert "2 other arms" in text
    assert "Shows 18 of 18 trials." in text
    lines = _texts(_drawn(curves.loss_curves(more)))
    assert "Shows 18 of 18 trials." in lines
    assert "grey: the other arms" in lines
    note = next(b.text for b in sections.quality_section(Study(more, (), {})) if "further networks" in getattr(b, "text", ""))
    assert "2 further networks" in note


def test_frequency_lines_are_means_over_seeds(evidence: Evidence) -> None:
    plot = curves.frequency_bands(evidence)
    assert [r["cycles_per_pixel"] for r in _rows(plot, arm="original")[:8]] == pytest.approx([(n + 0.5) / 16 for n in range(8)])
    line = next(ln for ln in _drawn(plot).axes[0].lines if ln.get_color() == mark_of("original").colour)
    assert line.get_ydata() == pytest.approx([1.0, 0.97, 0.9, 0.75, 0.5, 0.3, 0.2, 0.1])


def test_differences_by_image_pair_the_same_images() -> None:
    evidence = fake_evidence(2)
    paired = quality.paired_images(evidence)
    l1 = {arm: np.array([t.get("analysis.per_image.l1") for t in evidence.of(arm).values()]) for arm in PAIR}
    assert paired["l1"] == pytest.approx((l1["modified"] - l1["original"]).mean(0))  # seeds x images -> images
    assert quality.share_worse("ssim", np.array([-1.0, -1.0, 1.0, 0.0])) == 0.5
    assert quality.share_worse("l1", np.array([-1.0, -1.0, 1.0, 0.0])) == 0.25
    figure = _drawn(quality.paired_differences(evidence))
    assert sum(patch.get_height() for patch in figure.axes[0].patches) == len(paired["ssim"])
    assert "Shows 4 of 4 trials." in _texts(figure)


def test_clusters_stand_against_their_null(evidence: Evidence) -> None:
    plot = latent.clusters(evidence)
    panel = _drawn(plot).axes[0]
    for arm in MAIN_ARMS:
        values = [r["value"] for r in _rows(plot, statistic="Hopkins", arm=arm)]
        assert len(values) == 3
        assert any([x for x, _ in points] == pytest.approx(values) for points in _points(panel, 3))
    assert [(b.get_x(), b.get_x() + b.get_width()) for b in panel.patches] == [pytest.approx((0.56, 0.60))] * 4


def test_probes_are_drawn_as_means_over_seeds_with_the_shuffled_band(evidence: Evidence) -> None:
    plot = latent.probes(evidence)
    assert len(_rows(plot)) == 2 * 3 * len(ATTRIBUTES)
    panel = _drawn(plot).axes[0]
    expected = [
        np.mean([r[key] for r in _rows(plot, arm=arm, attribute=name)])
        for arm in PAIR for key in ("linear_auc", "knn_auc") for name in ATTRIBUTES
    ]  # fmt: skip
    assert sorted(x for points in _points(panel, len(ATTRIBUTES)) for x, _ in points) == pytest.approx(sorted(expected))
    assert (panel.patches[0].get_x(), panel.patches[0].get_width()) == pytest.approx((0.5 - 0.06, 0.12))
    names = [t.get_text() for t in panel.get_yticklabels()]
    assert names == [n.replace("_", " ") for n in reversed(ATTRIBUTES)], "the best read first"


def test_divergence_is_sorted_and_active_units_named(evidence: Evidence) -> None:
    plot = curves.kl_by_dimension(evidence)
    values = [r["kl_nats"] for r in _rows(plot, arm="modified", seed=1)]
    assert values == sorted(values, reverse=True)
    text = _texts(_drawn(plot))
    assert "modified: 8 active of 32" in text
    assert "mathdefault" not in text


def test_maps_show_the_stored_points_by_attribute(evidence: Evidence) -> None:
    arrays = _arrays()
    plot = maps.tsne_attributes(evidence, arrays)
    figure = _drawn(plot)
    names = maps.colouring(evidence, maps.maps_of(evidence, arrays))
    assert len(names) == maps.NUM_ATTRIBUTES
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
    (only,) = maps.maps_of(evidence, arrays)
    assert {len(v) for v in only.attributes.values()} == {20}
    del arrays["original"][0]["attribute_names"]
    texts = [getattr(p, "text", "") for p in sections.figures(Study(evidence, (), arrays))]
    assert any("Not measured: attributes to colour the maps by" in t for t in texts)
    assert "without colours" in str(getattr(maps.tsne_attributes(evidence, arrays), "alt", ""))


def test_hypotheses_are_drawn_with_and_without_mask(evidence: Evidence) -> None:
    plot = pieces.hypotheses(evidence)
    figure = _drawn(plot)
    large = [point for points in _points(figure.axes[0], 5) for point in points]
    assert len(large) == len(HYPOTHESES) == 10
    for line, loss in enumerate(("L1", "L1 + SSIM", "L2", "L2 + SSIM", "SSIM")):
        for mask, offset in (("without mask", -0.13), ("with mask", 0.13)):
            mean = np.mean([r["l1_inside"] for r in _rows(plot, loss=loss, mask=mask)])
            assert any(p == pytest.approx((mean, line + offset)) for p in large)
    assert "Shows 30 of 30 trials." in _texts(figure)
    table = tables.hypotheses(evidence)
    assert table is not None
    assert [line[0] for line in table.lines] == list(HYPOTHESES)


def test_edits_and_pieces_keep_their_numbers(evidence: Evidence) -> None:
    rows = pieces.edit_rows(evidence)
    assert len(rows) == 2 * 3 * 4 * 2
    assert {row[4:] for row in rows if row[3] == "probe"} == {(0.3, 0.08)}
    groups = _points(_drawn(pieces.edits(evidence)).axes[0], 4)
    assert [{round(x, 6) for x, _ in points} for points in groups] == [{0.3}, {0.08}] * 2
    table = tables.pieces(evidence.loss_attribution)
    assert table.headings == ("piece", "validation loss", "SSIM", "PSNR")
    assert table.lines[0][:2] == ["head", "+0.0394 (+0.0389 to +0.0400)"]


@pytest.mark.parametrize("stem", sorted(STEMS))
def test_every_plot_says_how_many_of_how_many_it_shows(folder: Path, stem: str) -> None:
    assert re.search(r"Shows \d+ of \d+ ", (folder / "plots" / f"{stem}.svg").read_text(encoding="utf-8"))
    rows = csv_lines(folder / "plots" / f"{stem}.csv")
    assert rows
    assert not [row for row in rows if None in row or None in row.values()], "as many cells as headings"


def test_strips_hold_the_stored_pixels_enlarged(folder: Path) -> None:
    samples = fake_arrays("original", 0, 32)["samples"]
    sheet = np.asarray(Image.open(folder / "strips" / "figure_1_samples.png"))
    row = np.asarray(strips.row(samples[:4], 3))
    assert row.shape == (96, 4 * 100 - 4, 3)
    assert np.array_equal(row[::3, :96:3].transpose(2, 0, 1), samples[0])
    at = next(n for n in range(len(sheet)) if np.array_equal(sheet[n, 4 : 4 + row.shape[1]], row[0]))
    assert np.array_equal(sheet[at : at + 96, 4 : 4 + row.shape[1]], row)


def test_strips_say_what_they_show(evidence: Evidence) -> None:
    arrays = _arrays()
    moved, both = strips.traversals(evidence, arrays, "modified"), strips.reconstructions(evidence, arrays)
    edits = strips.edit_strips(evidence, arrays, "original")
    assert moved is not None and both is not None and edits is not None
    assert moved.rows[0][0] == "dimension 0, −2.0 to 2.1, KL 3.00"
    assert moved.note == "Shows 4 of 4 dimensions, those of the largest KL; 1 of 3 trials of modified, seed 0."
    assert [label for label, _ in both.rows] == ["original images", *(f"reconstructed by {arm}" for arm in MAIN_ARMS)]
    assert "of 4 of 12 trials" in both.note
    assert [label for label, _ in edits.rows][:2] == ["Smiling, probe", "Smiling, difference of means"]


def test_large_pictures_are_compressed_for_the_page() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (7, 3, 144, 144)).astype(np.uint8)
    assert strips.page_uri(strips.row(noise, 1)).startswith("data:image/jpeg;base64,")
    assert strips.page_uri(strips.row(noise[:1, :, :16, :16], 6)).startswith("data:image/png;base64,")


def test_without_permission_no_face_is_written_or_shown(tmp_path: Path) -> None:
    _written(tmp_path, _small(), _arrays())
    assert len(list((tmp_path / "strips").iterdir())) == len(STRIPS)
    kept = kept_pictures(tmp_path)
    for arrays in (_arrays(), {}):  # as measured, and from an earlier page that has pictures
        stems, page, text = _written(tmp_path, _small(), arrays, allowed=False, kept=kept)
        assert not (tmp_path / "strips").exists()
        assert not stems[".png"]
        assert all(source.startswith("data:image/svg+xml") for source in _every(page, "src", "srcset"))
        assert "pictures of real faces" in _plain(page)
        assert _plain(page).count("left out of this copy, for they show real faces") == len(STRIPS)
        assert "strips/" not in text
        assert stems[".svg"] == {"loss_curves", "tsne_attributes", "tsne_perplexities"}, "maps and curves show no face"


def test_pictures_of_an_earlier_page_are_kept_and_maps_in_their_narrow_shape(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    _written(old, _small(), _arrays())
    narrow = (old / "plots" / "tsne_attributes.svg").read_bytes()
    (old / "plots" / "tsne_attributes_narrow.svg").write_bytes(narrow)
    (old / "plots" / "tsne_attributes.svg").write_text("<svg>of an earlier version, drawn twice</svg>")
    stems, page, _ = _written(new, _small(), kept=kept_pictures(old))
    assert stems[".png"] == STRIPS
    assert all((new / "strips" / f.name).read_bytes() == f.read_bytes() for f in (old / "strips").iterdir())
    assert (new / "plots" / "tsne_attributes.svg").read_bytes() == narrow
    assert sum(source.startswith(("data:image/png", "data:image/jpeg")) for source in _every(page, "src", "srcset")) == len(STRIPS)


def test_the_same_evidence_makes_the_same_bytes(tmp_path: Path) -> None:
    made = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        _written(folder, _small(), _arrays((0,)))
        made.append({f.relative_to(folder): f.read_bytes() for f in folder.rglob("*") if f.is_file()})
    assert made[0] == made[1]
    assert len(made[0]) > 15


def test_what_is_missing_is_said_with_its_reason(tmp_path: Path) -> None:
    gone = ("latent", "traversal", "edits", "disentanglement", "per_image")
    limits = ("Latency was not timed.", "The hypotheses were not trained: no time.")
    bare = fake_evidence(1, without=[f"analysis.{name}" for name in gone], references={}, speed={}, limits=limits, **BARE)
    stems, page, _ = _written(tmp_path, bare)
    assert stems[".svg"] == {"loss_curves", "quality_params", "frequency_bands"}
    text = _plain(page)
    for sentence in (
        "measures of the latent space. Why: left out here.", "probes. Why: left out here.", "traversals. Why: left out here.",
        "disentanglement. Why: left out here.", "differences image by image. Why: left out here.",
        "LPIPS. Why: its weights are not there.",
        "error inside the face under the ten losses. Why: The hypotheses were not trained: no time.",
        "parameters at 144 px and latency. Why: Latency was not timed.",
        "loss given to the pieces. Why: no reason was stored.", "references (mean face, PCA). Why: no reason was stored.",
        "interleaved training steps. Why: no reason was stored.", "samples of the data.", "t-SNE maps.",
    ):  # fmt: skip
        assert f"Not measured: {sentence}" in text, sentence
    assert set(_every(page, "id")) >= ANCHORS


def test_a_study_whose_trials_all_failed_is_still_written(tmp_path: Path) -> None:
    every = [(arm, seed) for arm in MAIN_ARMS for seed in (0, 1)]
    stems, page, _ = _written(tmp_path, fake_evidence(2, failed=every, references={}, limits=(), **BARE), _arrays())
    assert stems == {".svg": set(), ".png": set()}
    text = _plain(page)
    assert "0 of 8 trials complete" in text
    assert text.count("no trial was completed.") > 10
    assert text.count("failed: loss became NaN in epoch 2 (step 5 of 9)") == 8
    assert len(csv_lines(tmp_path / "trials.csv")) == 8


def test_evidence_of_nothing_at_all_is_still_a_page(tmp_path: Path) -> None:
    _, page, _ = _written(tmp_path, Evidence(scale={}, arms={}, trials=()), verdicts=[], allowed=False)
    assert "No claim was judged." in _plain(page)
    assert "scale unknown" in _plain(page).lower()


def test_limits_leave_nothing_out(evidence: Evidence) -> None:
    given_up = ("Only 2 seeds: the budget is 20 minutes.",)
    more = fake_evidence(2, failed=[("modified", 1)], without=("analysis.latent",), given_up=given_up)
    parts = sections.limits_section(Study(more, (), {}))
    text = json.dumps([getattr(p, "text", "") or list(getattr(p, "items", "")) for p in parts])
    for sentence in (
        *given_up, "modified, seed 1: failed: loss became NaN", "LPIPS was not computed",
        "latent: left out here (7 of 27 analyses)", "Commit: 0123abc",
    ):  # fmt: skip
        assert sentence in text
    waiting = replace(evidence.trials[0], record=replace(evidence.trials[0].record, state="running"))
    assert words.failures(replace(evidence, trials=(waiting,), hypotheses=())) == [
        "original, seed 0: not finished (running), no reason stored"
    ]


def test_trials_csv_holds_every_trial_and_measurement(folder: Path, evidence: Evidence) -> None:
    rows = csv_lines(folder / "trials.csv")
    assert Counter(r["group"] for r in rows) == {"model": 12, "hypothesis": 30}
    first, trial = rows[0], evidence.trials[0]
    assert float(first["analysis.latent.hopkins.value"]) == trial.get("analysis.latent.hopkins.value")
    assert float(first["training.best_loss"]) == trial.get("record.training.best_loss")
    assert not [name for name in first if "per_image" in name]


def test_markup_in_names_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    lost = fake_evidence(1, failed=[(arm, 0) for arm in MAIN_ARMS], references={}, limits=("<i>y</i>",), **BARE)
    wild = replace(VERDICTS[0], sentence="<script>alert(1)</script> a | b", says="<b>x</b>")
    _, page, text = _written(tmp_path, lost, verdicts=[wild])
    assert not [tag for tag in ("<script", "<b>x", "<i>y") if tag in page]
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
