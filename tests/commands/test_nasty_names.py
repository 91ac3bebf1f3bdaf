"""Names that a person may give, from a space or a record to the whole report: nothing crashes, each is readable and its own."""

from __future__ import annotations

import csv
import html
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablation.data.base import Dataset
from ablation.design.space import load_space
from ablation.machine.text import printable, shortened
from ablation.record.convert import to_plain
from ablation.record.stored import explanation_of
from ablation.record.trial import Record
from ablation.report import print_table, write_report
from ablation.report.explain.page import write_explanation
from ablation.report.explain.terminal import print_explanation
from ablation.report.kit.page import Bullets, Heading, literal, to_html, to_markdown, unmarked
from ablation.report.kit.plot_style import new_figure, save, styled
from ablation.report.study.pictures import write_gallery
from tests.fake_explanation import fake_explanation
from tests.fakes import failed, fake_records, fake_study

REAL_PLOTS = True
LONG = "a level with a name of more than ninety characters that says everything of what it does, and then"
LEVELS = (
    "$\\frac{", "cost in $ and $", "under_score", "_begins_ and ends_", "a^2", "back\\slash", "<b>bold</b>", "a & b", "p|q",
    "line\nbreak", "tab\tand\rreturn", "*star* **two**", "`code`", "[link](x)", "#1 %", "{brace}~", "emoji 😀👩‍👧", "bytes \udcff",
    f"{LONG} this", f"{LONG} that",
)  # fmt: skip


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Record], str]:
    folder = tmp_path_factory.mktemp("report")
    factors = {"$x_{1}$ | <i>": LEVELS[:10], f"_{LONG}": LEVELS[10:12], "plain": LEVELS[-2:]}
    records = fake_records(factors)
    records[1] = failed(records[1], "ValueError: `x` is <bad>\nin | file \udcfe.png")
    notes = {"name": "faces", "num_images": 40, "notes": ["file \udcff$.png could not be read"]}
    study = fake_study(records, title="A $title$ with_ \udcff", data=notes, command="run --space \udcff.toml")
    write_report(records, folder, study=study)
    return folder, records, print_table(records, study)


def test_the_whole_report_is_written_and_is_utf_8(report: tuple[Path, list[Record], str]) -> None:
    folder, _, _ = report
    for name in ("table.csv", "table.md", "table.tex", "trials.csv", "report.md", "report.html", "provenance.json"):
        assert (folder / name).read_bytes().decode("utf-8"), name
    assert len(list((folder / "plots").glob("*.png"))) == 10
    json.loads((folder / "provenance.json").read_text())


def test_every_variant_keeps_its_name(report: tuple[Path, list[Record], str]) -> None:
    folder, records, shown = report
    labels = {printable(record.label) for record in records}
    with (folder / "table.csv").open(encoding="utf-8", newline="") as file:
        assert {line["variant"] for line in csv.DictReader(file)} == labels
    page = html.unescape((folder / "report.html").read_text(encoding="utf-8"))
    assert all(label in page for label in labels)
    assert "<b>bold" not in (folder / "report.html").read_text(encoding="utf-8")
    rule, *lines = shown.splitlines()[1 : len(records) + 2]
    start, width = rule.index("  ") + 2, len(rule.split("  ")[1])
    assert len({line[start : start + width] for line in lines}) == len(records)  # as many names as variants, though they are cut


def test_tables_keep_their_shape(report: tuple[Path, list[Record], str]) -> None:
    folder, records, _ = report
    lines = [line for line in (folder / "table.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert len(lines) == len(records) + 2
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    body = (folder / "table.tex").read_text(encoding="utf-8")
    assert body.count(r"\\" + "\n") >= 2 * len(records)
    assert r"\textbackslash{}frac\{" in body


@given(st.text(max_size=60))
def test_a_name_in_a_sentence_reads_as_it_is_written(name: str) -> None:
    name = printable(name)
    page = to_html([Heading("x"), Bullets([f"**{literal(name)}** costs"])], Path())
    assert f"<strong>{html.escape(name)}</strong> costs" in page or not name
    assert unmarked(literal(name)) == name
    to_markdown([Bullets([literal(name)])]).encode()


@given(st.lists(st.text(max_size=40), unique=True, max_size=8), st.integers(8, 30))
def test_names_are_cut_apart(names: list[str], width: int) -> None:
    cut = shortened(names, width)
    assert list(cut) == names
    assert all(len(short) <= width for short in cut.values())
    assert all(cut[name] == name for name in names if len(name) <= width)


def test_long_names_that_end_differently_stay_two() -> None:
    cut = shortened([f"{LONG} this", f"{LONG} that"], 24)
    assert len(set(cut.values())) == 2
    assert {text[-4:] for text in cut.values()} == {"this", "that"}


def test_a_plot_shows_dollars_as_they_are(tmp_path: Path) -> None:
    with styled():
        figure = new_figure(4, 3)
        figure.subplots().set_title("$\\frac{ and 😀 $")
        assert all(path.stat().st_size > 1000 for path in save(figure, tmp_path / "x"))


def test_a_gallery_takes_any_name(tmp_path: Path) -> None:
    images = np.zeros((2, 3, 16, 16), np.uint8)
    assert write_gallery(images, [(name, images) for name in LEVELS], tmp_path / "gallery.png").stat().st_size > 1000


def test_an_explanation_names_networks_of_any_file(tmp_path: Path) -> None:
    found = fake_explanation()
    first, second = f"{LONG} this $\\frac{{<b>.toml", f"{LONG} that `x` *y* \udcff.toml"
    text = json.dumps(to_plain(found)).replace(json.dumps(found.first), json.dumps(first))
    renamed = explanation_of(json.loads(text.replace(json.dumps(found.second), json.dumps(second))))
    assert (renamed.first, renamed.second) == (first, second)
    write_explanation(renamed, tmp_path)
    assert "<b>.toml" not in (tmp_path / "explanation.html").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "explanation.json").read_text())["first"] == first
    heads = next(line for line in print_explanation(renamed).splitlines() if line.startswith("mode ")).split(" ms")
    assert heads[0].split()[-1] != heads[1].split()[-1]


def test_notes_of_a_data_set_can_be_stored_and_printed() -> None:
    images = np.zeros((1, 3, 8, 8), np.uint8)
    data = Dataset(name="folder", images=images, names=("\udcff.png",), fingerprint="0", notes=("\udcff.png is missing",))
    assert data.notes == ("\\xff.png is missing",)
    json.dumps(data.describe(), ensure_ascii=False).encode()


def test_a_space_of_such_names_has_as_many_networks(tmp_path: Path) -> None:
    names = [name for name in LEVELS if name.isprintable() or "\n" in name]
    widths = "\n".join(f"{json.dumps(name, ensure_ascii=False)} = {{ latent_dim = {n + 2} }}" for n, name in enumerate(names))
    path = tmp_path / "space.toml"
    path.write_text(f'[base]\npreset = "small"\n[factors."$ <&>"]\n{widths}\n', encoding="utf-8")
    networks = load_space(path).enumerate()[0]
    assert [network.label for network in networks] == [printable(name) for name in names]
    assert load_space(path).to_dict()["factors"].keys() == {"$ <&>"}
