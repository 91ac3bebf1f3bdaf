"""A study of the paper judged again from what lies beside its page: the same verdicts, of this format and of the one before."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from studies.paper.claims.judge import judge
from studies.paper.evidence.collect import VERSION
from studies.paper.evidence.evidence import Evidence, Trial
from studies.paper.evidence.published import EVIDENCE, is_published, read_published, write_evidence
from studies.paper.page.write import write_paper
from studies.run import main
from tests.fake_evidence import fake_arrays, fake_evidence

KEPT = Path(__file__).parents[2] / "results/reference/cpu-2core-amd-epyc/paper"


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    made = fake_evidence()
    for trial in (*made.trials, *made.hypotheses):
        trial.analysis["version"] = VERSION  # type: ignore[index]
    return made


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, evidence: Evidence) -> Path:
    folder = tmp_path_factory.mktemp("study") / "paper"
    arrays = {arm: {seed: fake_arrays(arm, seed, 32) for seed in range(2)} for arm in ("original", "modified")}
    write_paper(evidence, judge(evidence), arrays, folder, images_allowed=True)
    write_evidence(evidence, folder)
    return folder


def test_what_is_published_gives_the_same_verdicts_and_bytes(page: Path, evidence: Evidence, tmp_path: Path) -> None:
    again = read_published(page)
    assert judge(again) == judge(evidence)
    assert write_evidence(replace(again, provenance=evidence.provenance), tmp_path).read_bytes() == (page / EVIDENCE).read_bytes()
    assert again.limits == evidence.limits, "measured by this version: nothing to be said of it"


def test_it_is_small_and_holds_no_picture(page: Path, evidence: Evidence, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)

    def large(trial: Trial) -> Trial:
        """With 3,000 test images, as at the paper's own scale."""
        by_image = {name: rng.random(3000).tolist() for name in trial.analysis["per_image"]}
        return replace(trial, analysis={**trial.analysis, "per_image": by_image})

    whole = {name: tuple(map(large, getattr(evidence, name))) for name in ("trials", "hypotheses")}
    path = write_evidence(replace(evidence, **whole), tmp_path)
    assert judge(read_published(tmp_path)) == judge(replace(evidence, **whole))
    assert path.stat().st_size < 3 * 2**20
    assert (page / EVIDENCE).stat().st_size < 2**18


def test_a_page_is_written_again_with_its_pictures(page: Path, tmp_path: Path) -> None:
    before = {p.relative_to(page): p.read_bytes() for p in page.rglob("*") if p.is_file()}
    assert main(["report", str(page), "--to", str(tmp_path / "copy")]) == 0
    here = shutil.copytree(page, tmp_path / "here")
    assert main(["report", str(here)]) == 0
    for folder in (tmp_path / "copy", here):
        after = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        kept = [path for path in before if path.suffix == ".png" or path.name.startswith("tsne_")]
        assert kept and all(after[path] == before[path] for path in kept)
        assert set(after) == set(before)
        text = after[Path("paper.md")].decode()
        assert "pictures and t-SNE maps are those of its earlier page, unchanged" in text
        assert json.loads(after[Path("ledger.json")])["verdicts"] == json.loads(before[Path("ledger.json")])["verdicts"]


def test_no_picture_of_a_real_face_is_kept(page: Path, evidence: Evidence, tmp_path: Path) -> None:
    folder = shutil.copytree(page, tmp_path / "celeba")
    write_evidence(replace(evidence, scale={**evidence.scale, "data": "celeba"}), folder)
    assert main(["report", str(folder), "--to", str(tmp_path / "copy")]) == 0
    assert not list((tmp_path / "copy").rglob("*.png"))


def test_a_page_of_the_earlier_format_is_judged_by_today_s_rules(tmp_path: Path) -> None:
    """The committed study as it was before: every number of every trial as CSV, its ledger and its page."""
    earlier = tmp_path / "paper"
    earlier.mkdir()
    for name in ("trials.csv", "ledger.json", "paper.md"):
        shutil.copy(KEPT / name, earlier / name)
    shutil.copytree(KEPT.parent / "explain", tmp_path / "explain", ignore=shutil.ignore_patterns("*.html", "*.svg"))
    assert is_published(earlier) and not is_published(tmp_path / "explain")
    again = read_published(earlier)
    assert len(again.trials) == 51 and len(again.hypotheses) == 30 and again.explanation is not None
    assert again.references["mean face"]["quality"]["reporting"]["ssim"] == pytest.approx(0.3692)
    assert again.references["mean face"]["quality"]["reporting"]["psnr"] == pytest.approx(15.37)
    verdicts = {v.id: v for v in judge(again)}
    assert not [v for v in verdicts.values() if "could not be read" in v.sentence]
    assert [verdicts[name].kind for name in ("C1", "C3", "C4")] == ["holds", "fails", "holds"]
    stored = json.loads((earlier / "ledger.json").read_text())["verdicts"]["C18"]["evidence"]
    mine = {n.name: (n.value, n.low, n.high) for n in verdicts["C18"].evidence}
    for name, number in stored.items():
        same = zip(mine[name], (number["value"], number["low"], number["high"]), strict=True)
        assert all(a == b if b is None else a == pytest.approx(b, rel=1e-6) for a, b in same), "the same trials"
    assert any("kept no values by image" in limit for limit in again.limits)
    assert "without the spread over images" in verdicts["C13"].scope
    assert verdicts["C13"].kind == "undecided" and "needs scores by image" in verdicts["C13"].sentence
    write_evidence(again, tmp_path)
    assert judge(read_published(tmp_path)) == judge(again), "and from then on by what is written now"


@pytest.mark.parametrize("text", [b"", b"no gzip", None])
def test_a_torn_file_is_one_line(text: bytes | None, page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (page / EVIDENCE).read_bytes()
    (tmp_path / EVIDENCE).write_bytes(whole[: len(whole) // 2] if text is None else text)
    for command in (["claims", str(tmp_path)], ["report", str(tmp_path)]):
        assert main(command) == 2
        error = capsys.readouterr().err.strip()
        assert error.startswith("error: evidence.json.gz must be") and "\n" not in error
