"""The page of an invented search with known numbers, and of searches that came to little."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ablation.design.spec import ModelSpec
from ablation.record.convert import from_plain, to_plain
from ablation.record.search import STOPPED, Candidate, Growth, SearchResult
from ablation.record.search_confirmed import BETTER, LOSS, PARAMS, UNSETTLED, WAITS, WORSE, Confirmed, SeedLoss, Timing
from ablation.record.trial import COMPLETE, FAILED
from ablation.report.explain.plots import Plot
from ablation.report.kit.page import Heading, Table
from ablation.report.kit.plot_style import WIDTH, styled
from ablation.report.search import tables
from ablation.report.search.answer import answer
from ablation.report.search.axes import Axis, axes_text, loss_axis
from ablation.report.search.networks import front, spec_toml, states_text, winner_of
from ablation.report.search.terminal import print_search
from ablation.report.search.writer import page_parts, read_search, write_search
from tests.builders import csv_lines
from tests.fake_search import SPEC, bare, fake_confirmation, fake_search, unfinished

ROOT = Path(__file__).parents[2]
STEMS = {
    "front_latency_cpu_b1", "front_latency_cpu_b32", "front_params", "drawing_reference", "drawing_winner", "undone", "growth",
    "distribution", "prediction",
}  # fmt: skip
PAGES = {"search.html", "search.md", "search.json", "winner.toml", "proposals.csv", "confirmation.csv"}


@pytest.fixture(scope="module")
def full() -> SearchResult:
    return fake_search()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, full: SearchResult) -> Path:
    """A written search."""
    path = tmp_path_factory.mktemp("search") / "new"
    files = write_search(full, path)
    plotted = {f"plots/{stem}{end}" for stem in STEMS for end in (".svg", ".csv")}
    assert {f.relative_to(path).as_posix() for f in files} == PAGES | plotted
    assert all(f.stat().st_size for f in files)
    return path


def _plain(text: str) -> str:
    return re.sub(r"\*\*|`|<[^>]+>", "", html.unescape(text)).replace("\u00a0", " ")


def _sentences(text: str) -> int:
    return len(re.findall(r"\.(?:\*\*)?(?= |$)", text))


def _cells(table: Table, line: str) -> list[str]:
    return next([_plain(cell) for cell in cells] for cells in table.lines if cells[0] == line)


def _drawn(result: SearchResult, *, layout: bool = True) -> set[str]:
    """Draws every plot of the page, without writing them; returns their names."""
    plots = [part for part in page_parts(result) if isinstance(part, Plot)]
    with styled():
        for plot in plots:
            figure = plot.draw(WIDTH)
            if layout:
                figure.draw_without_rendering()
            assert all(len(line) == len(plot.headings) for line in plot.lines), plot.stem
    return {plot.stem for plot in plots}


def test_the_record_survives_json(full: SearchResult, folder: Path) -> None:
    assert from_plain(SearchResult, json.loads(json.dumps(to_plain(full)))) == full
    assert read_search(folder) == full


def test_the_answer_comes_first_and_is_short(full: SearchResult, folder: Path) -> None:
    text = _plain(answer(full))
    winner = winner_of(full)
    assert winner is not None
    assert _sentences(answer(full)) <= 5
    assert text.startswith(f"Network #{winner.number} beats original on everything that was judged: parameters, latency at batch 1")
    # by hand: 6.6 / 24.6 = 0.2683, 2.143811 / 9.352195 - 1 = -0.7708, losses 0.638 - 0.669
    assert "2.14 M parameters instead of 9.35 M, −77 %" in text
    assert "latency at batch 1 is 6.60 ms instead of 24.6 ms, ×0.268 (0.263 to 0.273)" in text
    assert "validation loss is 0.6380 instead of 0.6690, −0.0310 (−0.0370 to −0.0250)" in text
    assert "Confirmed with 5 fresh seeds for each and 6 sittings of timing" in text
    assert "encoder conv (reparameterised instead of standard): undoing that alone adds 0.0123" in text
    page = _plain((folder / "search.html").read_text(encoding="utf-8"))
    assert page.index("beats original") < page.index("Beside the reference")


def test_the_table_of_axes_holds_search_and_confirmed_values(full: SearchResult) -> None:
    winner = winner_of(full)
    assert winner is not None
    table = tables.axes_table(full, winner)
    names = [f"{name}, {kind}" for kind in ("confirmed", "search") for name in ("original", f"#{winner.number}")]
    assert table.headings == ["", *names[:2], "difference", "verdict", *names[2:]]
    # confirmed: the mean of 0.634 + 0.002 k over k = 0 .. 4
    interval = "−0.0310 (−0.0370 to −0.0250)"
    judged = "better (p = 0.001, 5 seeds)"
    assert _cells(table, "validation loss") == ["validation loss", "0.6690", "0.6380", interval, judged, "0.6712", "0.6489"]
    assert _cells(table, "parameters, deployed")[1:5] == ["9.35 M", "1.95 M", "−7.40 M", "counted"]
    assert _cells(table, "latency at batch 32, fastest mode")[1:3] == ["295 ms", "43.0 ms"]
    assert _cells(table, "test loss")[5:] == ["-", "-"]


def test_what_undoing_each_choice_changes(full: SearchResult) -> None:
    table = tables.undone_table(full.undone, loss_axis(full))
    assert table.headings == ["undone", "validation loss", "of the loss", "latency at batch 1", "latency at batch 32", "parameters"]
    first, second, third, last = table.lines
    assert first[:3] == ["encoder conv: reparameterised → standard", "+0.0123 (+0.0080 to +0.0166)", "settled (3 seeds)"]
    assert second[2] == "not settled (3 seeds)"
    assert third[1:4] == ["-", "not measured", "×3.90 (3.82 to 3.98)"]
    assert last[1:] == ["-", "with three stages the decoder would end at 36 px", "-", "-", "-"]


def test_the_front_is_what_nothing_beats(full: SearchResult) -> None:
    points = [(c, c.best_loss, c.latency["cpu/1"].ms, c.params) for c in full.proposals if c.state == COMPLETE]
    expected = [
        p[0].number for p in points if not any(all(q[i] < p[i] for i in (1, 2, 3)) for q in points)  # type: ignore[operator]
    ]  # fmt: skip
    assert sorted(c.number for c in front(full) if c.number is not None) == sorted(n for n in expected if n is not None)
    losses = [c.best_loss for c in front(full)]
    assert losses == sorted(losses, key=lambda loss: loss or 0)


def test_the_spec_loads_back(full: SearchResult, folder: Path) -> None:
    spec = ModelSpec.from_dict({**SPEC, "encoder_connectivity": "plain"})
    assert ModelSpec.from_toml((folder / "winner.toml").read_text(encoding="utf-8")) == spec
    assert ModelSpec.from_toml(spec_toml(spec.to_dict())) == spec
    assert spec_toml(ModelSpec().to_dict()) == 'preset = "original"\n'
    # without the fields that have their usual value
    assert "image_size" not in spec_toml(SPEC)
    markdown = (folder / "search.md").read_text(encoding="utf-8")
    assert f"```toml\n{spec_toml(SPEC)}" in markdown
    assert "```sh\n# why it differs\npython -m studies.run explain original results/search/winner.toml" in markdown


def test_every_proposal_is_in_the_csv(full: SearchResult, folder: Path) -> None:
    lines = csv_lines(folder / "proposals.csv")
    assert len(lines) == 2 + len(full.proposals)
    first, proposal = lines[2], full.proposals[0]
    assert json.loads(first["losses"]) == list(proposal.losses)
    assert float(first["latency.cpu/32.predicted_ms"]) == proposal.latency["cpu/32"].predicted_ms
    assert first["down"] == proposal.factors["down"]
    assert {line["state"] for line in lines} == {"complete", "stopped early", "refused", "failed"}
    verdicts = csv_lines(folder / "confirmation.csv")
    assert [line["metric"] for line in verdicts] == ["params", "latency", "latency", "fastest", "fastest", "loss", "test_loss"]
    drawn = csv_lines(folder / "plots" / "front_params.csv")
    assert [line["role"] for line in drawn].count("stopped early") == 12
    assert [line["number"] for line in drawn if line["role"] == "chosen"] == [str(full.winner)]


def test_states_are_counted(full: SearchResult) -> None:
    assert states_text(full) == "60 proposals: 36 trained to the end, 12 stopped early, 6 refused by a limit and 6 failed"
    assert states_text(bare()) == "0 proposals"
    assert states_text(unfinished(1, FAILED)) == "1 proposal, failed"


def test_axes_are_named_once() -> None:
    axes = [Axis(PARAMS), Axis("latency", "cpu/1"), Axis("latency", "cpu/32"), Axis(LOSS)]
    assert axes_text(axes) == "parameters, latency at batch 1 and batch 32 and validation loss"
    assert Axis("latency", "cuda/8").label == "latency at batch 8 (cuda)"
    assert Axis("fastest", "cpu/1").label == "latency at batch 1, fastest mode"


def test_pictures_are_whole(folder: Path) -> None:
    for path in (folder / "plots").glob("*.svg"):
        ET.fromstring(path.read_text(encoding="utf-8"))
    page = (folder / "search.html").read_text(encoding="utf-8")
    assert "http" not in re.sub(r"xmlns[^ ]+|data:image[^\"]+", "", page)
    assert "CelebA's licence forbids" in _plain(page)


def test_a_gallery_stands_on_the_page(tmp_path: Path) -> None:
    picture = tmp_path / "faces.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    files = write_search(unfinished(0, COMPLETE), tmp_path / "page", gallery=picture)
    assert tmp_path / "page" / "gallery.png" in files
    assert "](gallery.png)" in (tmp_path / "page" / "search.md").read_text(encoding="utf-8")


def test_an_earlier_winner_is_not_left_behind(tmp_path: Path) -> None:
    (tmp_path / "winner.toml").write_text("preset = 'original'")
    (tmp_path / "confirmation.csv").write_text("number")
    files = write_search(bare(), tmp_path)
    assert not (tmp_path / "winner.toml").exists()
    assert not (tmp_path / "confirmation.csv").exists()
    assert all(path.exists() for path in files)


@pytest.mark.parametrize(
    ("result", "start"),
    [
        (bare(), "Nothing has been trained yet, so there is no network to put beside original."),
        (unfinished(0, COMPLETE), "Nothing has been trained yet"),
        (unfinished(12, STOPPED), "No network has been trained to the end; 12 proposals, all stopped early. A stopped network"),
        (
            unfinished(12, FAILED, "RuntimeError: out of memory"),
            "No network has been trained to the end; 12 proposals, all failed.",
        ),
    ],
    ids=["bare", "nothing", "stopped", "failed"],
)
def test_a_search_that_came_to_nothing(result: SearchResult, start: str) -> None:
    assert _plain(answer(result)).startswith(start)
    assert _sentences(answer(result)) <= 5
    assert _drawn(result) <= {"front_latency_cpu_b1", "front_latency_cpu_b32", "front_params", "prediction"}
    headings = [part.text for part in page_parts(result) if isinstance(part, Heading)]
    assert not {"Beside the reference", "The network", "Which differences matter"} & set(headings)
    if result.proposals and result.proposals[0].reason:
        assert "12 of 12: RuntimeError: out of memory." in _plain(answer(result))


def test_without_a_confirmation_nothing_is_called_certain() -> None:
    result = fake_search(confirmation=None, missing=("No network was confirmed: `--quick` leaves that out.",))
    text = _plain(answer(result))
    start = "Nothing is confirmed: by the search's own values, of one seed, network"
    assert text.startswith(f"{start} #{result.winner} is ahead of original on parameters, latency at batch 1")
    assert "partly luck" in text
    assert "`--quick` leaves that out" in answer(result)
    winner = winner_of(result)
    assert winner is not None
    table = tables.axes_table(result, winner)
    assert table.headings == ["", "original, search", f"#{result.winner}, search", "difference", "verdict"]
    assert _cells(table, "validation loss")[3:] == ["−0.0223", "not confirmed"]
    assert _cells(table, "parameters")[4] == "counted"


def test_seeds_that_still_wait_are_no_failures() -> None:
    winner = winner_of(fake_search())
    assert winner is not None
    whole = fake_confirmation(winner)

    def without_last(network: Confirmed, reason: str) -> Confirmed:
        *ended, last = network.seeds
        return replace(network, seeds=(*ended, SeedLoss(seed=last.seed, reason=reason)))

    for reason, failed in ((WAITS, False), ("out of memory", True)):
        networks = tuple(without_last(network, reason) for network in whole.networks)
        text = _plain(answer(fake_search(confirmation=replace(whole, networks=networks))))
        assert "Confirmed with 4 fresh seeds for each" in text
        assert ("1 training of both gave no loss" in text) == failed


def test_two_seeds_have_no_interval() -> None:
    winner = winner_of(fake_search())
    assert winner is not None
    result = fake_search(confirmation=fake_confirmation(winner, seeds=2))
    text = _plain(answer(result))
    assert "but on validation loss and test loss the difference is not settled." in text
    assert "its validation loss is 0.6380 instead of 0.6690, −0.0310; its test loss" in text
    assert "Trained again with 2 fresh seeds for each and 6 sittings of timing, fewer than the 3 seeds that an interval" in text
    assert _cells(tables.axes_table(result, winner), "validation loss")[3:5] == ["−0.0310", "not settled (2 seeds)"]
    assert "undone" in _drawn(result)


def test_a_winner_that_is_worse_on_one_axis() -> None:
    winner = winner_of(fake_search())
    assert winner is not None
    kinds = (BETTER,) * 5 + (WORSE, UNSETTLED)
    text = _plain(answer(fake_search(confirmation=fake_confirmation(winner, kinds=kinds))))
    assert text.startswith(f"Network #{winner.number} beats original on parameters, latency at batch 1")
    assert "but it is worse on validation loss and on test loss the difference is not settled." in text
    assert "+0.0310 (+0.0250 to +0.0370)" in text
    none = _plain(answer(fake_search(confirmation=fake_confirmation(winner, kinds=(UNSETTLED,) * 7))))
    assert f"Network #{winner.number} is not shown to beat original on anything" in none


@pytest.mark.parametrize("loss", [None, float("nan"), float("inf")])
def test_a_reference_whose_loss_is_not_finite(loss: float | None) -> None:
    reference = replace(fake_search().reference, best_loss=loss, losses=(None,) * 4, reason="its loss was not finite after epoch 1")
    searched = fake_search(reference=reference, confirmation=None)
    for result in (searched, replace(searched, winner=None)):
        text = _plain(answer(result))
        assert "Original has no validation loss (its loss was not finite after epoch 1), so no loss can be compared" in text
        assert "nan" not in text.split()
        assert "front_params" in _drawn(result)


def test_a_reference_that_diverged_with_every_fresh_seed() -> None:
    result = fake_search()
    assert result.confirmation is not None
    failed = tuple(SeedLoss(seed=n, reason="the loss is not finite") for n in range(5))
    broken = replace(result.confirmation, reference=replace(result.confirmation.reference, seeds=failed), verdicts=())
    again = fake_search(confirmation=broken)
    assert "there is no verdict" in answer(again)
    assert "No loss is confirmed: no training of both ended well" in answer(again)
    page = " ".join(str(part) for part in page_parts(again))
    assert "seed 4: the loss is not finite" in page


def test_no_winner_among_complete_networks() -> None:
    result = fake_search(winner=None, confirmation=None)
    complete = [c for c in result.proposals if c.state == COMPLETE]
    ahead = sum((c.best_loss or 9) < 0.6712 for c in complete)
    text = _plain(answer(result))
    assert text.startswith("No network is put beside original: of 36 networks trained to the end")
    assert f"{ahead} on validation loss are ahead of it by search values" in text
    assert min(c.best_loss or 9 for c in complete) == pytest.approx(0.6489)


def test_pages_keep_to_standard_words(folder: Path) -> None:
    for text in (
        (folder / "search.md").read_text(encoding="utf-8"),
        *map(answer, (bare(), unfinished(12, FAILED), fake_search(30))),
    ):
        assert not re.search(r"\b(told|said|placed|found|by turns|significant|winner minus)\b", text.lower())


def test_a_front_of_one_network() -> None:
    one = next(c for c in fake_search().proposals if c.state == COMPLETE)
    result = fake_search(proposals=(one,), winner=one.number, confirmation=None, growth=Growth(reached=(0.4,)))
    assert front(result) == [one]
    assert STEMS - {"prediction"} <= _drawn(result)
    assert "On the front: 1 network," in " ".join(str(part) for part in page_parts(result))


def test_three_hundred_trials(tmp_path: Path) -> None:
    result = fake_search(300)
    assert _drawn(result) == STEMS
    shown = [part for part in page_parts(result) if isinstance(part, Table) and part.headings[:2] == ["network", "parameters"]]
    assert [len(table.lines) for table in shown] == [14]


@pytest.mark.parametrize("field", ["params", "macs", "best_loss", "latency", "losses", "factors", "spec", "label"])
def test_missing_values_break_nothing(field: str) -> None:
    empty = {"latency": {}, "losses": (), "factors": {}, "spec": {}, "label": ""}.get(field)
    result = fake_search(20)

    def without(network: Candidate) -> Candidate:
        return replace(network, **{field: empty})  # type: ignore[arg-type]

    for every in (False, True):
        proposals = tuple(without(c) if every or n % 2 else c for n, c in enumerate(result.proposals))
        reference = without(result.reference) if every else result.reference
        poor = replace(result, proposals=proposals, reference=reference)
        _drawn(poor, layout=False)
        searched = replace(poor, confirmation=None)
        assert page_parts(searched)
        assert answer(searched)


def test_every_optional_part_can_be_left_out(full: SearchResult) -> None:
    plain = to_plain(full)
    optional = [name for name in plain if name not in ("title", "reference", "space")]
    for name in optional:
        result = from_plain(SearchResult, {key: value for key, value in plain.items() if key != name})
        page_parts(result)
        assert _sentences(answer(result)) <= 5, name
    assert len(optional) > 20


def test_timings_without_measurements() -> None:
    predicted = {place: Timing(predicted_ms=10.0) for place in ("cpu/1", "cpu/32")}
    result = fake_search(20)
    poor = replace(result, proposals=tuple(replace(c, latency=predicted) for c in result.proposals), confirmation=None)
    assert "prediction" not in _drawn(poor)
    assert "without a comparison on latency at batch 1 and batch 32" in answer(poor)


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    result = fake_search(10, title="a *b* <i>", winner=None, confirmation=None)
    odd = replace(result, reference=replace(result.reference, label="x_`y`|*z*$"))
    write_search(odd, tmp_path)
    assert "a *b* <i>" in html.unescape((tmp_path / "search.html").read_text(encoding="utf-8"))
    assert "x_`y`|*z*$" in html.unescape((tmp_path / "search.html").read_text(encoding="utf-8"))


def test_the_terminal_shows_the_answer_without_markup(full: SearchResult) -> None:
    text = print_search(full)
    assert "**" not in text
    assert all(len(line) <= 100 for line in text.splitlines())
    assert "python -m studies.run export results/search/winner.toml" in text


def test_shares_of_the_space_are_of_its_quantiles(full: SearchResult) -> None:
    # 0.645 + 0.12 s^0.6 <= 0.645 + 0.05 up to s = (5 / 12)^(5 / 3)
    page = _plain(" ".join(str(part) for part in page_parts(full)))
    assert f"{100 * (5 / 12) ** (5 / 3):.2g}" in page
    assert np.isclose((5 / 12) ** (5 / 3), 0.2324, atol=1e-4)


def test_the_page_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.fake_search import fake_search; "
        "from ablation.report.search.writer import write_search; write_search(fake_search(), Path(sys.argv[1])); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=True)
