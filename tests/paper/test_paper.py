"""`paper` from end to end: trained, stopped, gone on with, judged, and written again without torch."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from ablation.data.faces import rendered as faces
from ablation.machine.hardware import git_commit
from ablation.record.trial import Record
from ablation.train.speed import compare_training
from studies.paper import groups as paper_groups
from studies.paper import steps as paper_steps
from studies.paper.claims.judge import judge
from studies.paper.evidence import analysis as paper_analysis
from studies.paper.evidence import collect as paper_evidence
from studies.paper.evidence.collect import VERSION, arrays_of, collect, read_json, write_json
from studies.paper.folder import PaperFolder
from studies.run import main
from tests.conftest import blank_plots

pytestmark = pytest.mark.timeout(900)  # the first test to run trains the whole study
EXPLAINED = Path(__file__).parents[2] / "results" / "reference" / "cpu-2core-amd-epyc" / "explain"
SIZE = ["--images", "80", "--epochs", "1", "--seeds", "1", "--image-size", "32"]
TINY = [*SIZE, "--device", "cpu", "--workers", "1", "--explained", str(EXPLAINED)]
PICTURE = re.compile("data:image/(?!svg)")
WITHOUT_TORCH = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision"):
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
from studies.run import main
sys.exit(main(sys.argv[1:]))
"""


def _small(patch: pytest.MonkeyPatch) -> None:
    """Less of what is measured, not fewer things."""
    patch.setattr(paper_groups, "LATENCY_S", 0.1)
    patch.setattr(paper_analysis, "FACTOR_FACES", 60)
    patch.setattr(paper_analysis, "FACTOR_BATCH", 17)
    few = {"sittings": 3, "rounds": (2, 2)}
    patch.setattr(paper_steps, "compare_training", lambda *args, **more: compare_training(*args, **{**more, **few}))
    patch.setattr("studies.paper.command.num_cores", lambda: 1)
    patch.setattr("studies.paper.fitting.num_cores", lambda: 1)
    patch.setattr("studies.work.threads.num_cores", lambda: 1)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One whole study on rendered faces, tiny: trained once, copied for each of the processes that run tests."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    trained, root = shared / "trained-paper", own / "paper"
    with pytest.MonkeyPatch.context() as patch, blank_plots():
        _small(patch)
        with FileLock(shared / "trained-paper.lock"):
            if not (trained / "whole").exists():
                trained.mkdir(exist_ok=True)
                patch.chdir(trained)
                patch.setenv("ABLATION_CACHE", str(trained / "cache"))
                assert main(["paper", *TINY, "--out", "study"]) == 0
                (trained / "whole").touch()
        shutil.copytree(trained, root)
        patch.chdir(root)
        patch.setenv("ABLATION_CACHE", str(root / "cache"))
        yield root / "study"


@pytest.fixture
def beside(study: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The whole study, with its folder's parent as the current one: as it was made."""
    monkeypatch.chdir(study.parent)
    monkeypatch.setenv("ABLATION_CACHE", str(study.parent / "cache"))
    return study


@pytest.fixture
def copy(study: Path, tmp_path: Path) -> PaperFolder:
    """The whole study once more, to be changed."""
    return PaperFolder(shutil.copytree(study, tmp_path / "study"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ABLATION_CACHE", str(tmp_path / "cache"))
    return tmp_path


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of error."""
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


def test_every_claim_gets_a_verdict_from_stored_trials(study: Path) -> None:
    ledger = read_json(study / "paper" / "ledger.json")
    verdicts = ledger["verdicts"]
    assert ["C1", "C2a", "C2b", *(f"C{n}" for n in range(3, 22))] == [name for name in verdicts if name.startswith("C")]
    assert verdicts["C1"]["kind"] == "holds"
    assert verdicts["C7"]["kind"] == "undecided", "one seed settles nothing that was trained"
    assert all(v["rule"] and v["sentence"] for v in verdicts.values())


def test_the_page_says_on_what_the_trials_ran_and_with_what_they_were_judged(study: Path) -> None:
    evidence = collect(PaperFolder(study))
    assert evidence.provenance["hardware"] == dict(evidence.trials[0].record.provenance["hardware"])
    assert evidence.provenance["judged with commit"] == git_commit()
    assert "Judged with commit: " in (study / "paper" / "paper.md").read_text()


def test_groups_are_complete_and_never_mixed(study: Path) -> None:
    evidence = collect(PaperFolder(study))
    assert {t.arm for t in evidence.trials} >= {"original", "modified", "original, pooled head", "plain, same parameters"}
    assert len(evidence.trials) == 4 + 13
    assert len(evidence.hypotheses) == 10
    assert all(t.record.state == "complete" for t in (*evidence.trials, *evidence.hypotheses))
    protocols = {t.arm: t.record.protocol for t in evidence.hypotheses}
    assert protocols["L2"]["l2_weight"] == 100
    assert protocols["L2"]["ssim_weight"] == 0
    assert {t.record.protocol["l2_weight"] for t in evidence.trials} == {0}
    assert protocols["SSIM, mask"]["mask_weight"] > 0
    assert set(evidence.references) == {"mean face", "PCA, 32 components", "PCA, 55 components"}
    assert evidence.loss_attribution[0].num_variants == 16
    assert evidence.loss_attribution[0].residual == pytest.approx(0, abs=1e-9)


def test_both_models_are_analysed_in_full(study: Path) -> None:
    folder = PaperFolder(study)
    evidence = collect(folder)
    arrays = arrays_of(folder, evidence)
    for arm in ("original", "modified"):
        trial = evidence.of(arm)[0]
        for path in ("latent.hopkins.value", "latent.active_units", "disentanglement.mig", "disentanglement.factor_vae",
                     "traversal.paper.path_length", "quality.reporting.delta_e", "eval_losses.train"):  # fmt: skip
            assert isinstance(trial.get(f"analysis.{path}"), (int, float)), path
        assert arrays[arm][0]["mean"].shape == (24, 32), "12 test images and 12 of validation"
        assert len(trial.analysis["per_image"]["ssim"]) == 12
        means = "path_length_mean" in trial.analysis["traversal"]
        assert means != ("traversal" in trial.analysis["not_computed"]), "there, or said why not"
    mean, stored = arrays["original"][0], evidence.of("original")[0]
    assert mean["samples"].dtype == np.uint8
    assert stored.analysis["quality"]["reporting"]["ssim"] == pytest.approx(stored.record.quality["reporting"]["ssim"], abs=1e-5)


def test_the_same_command_does_nothing_again(beside: Path) -> None:
    study = beside
    created = '"op_code":4,'  # in Optuna's journal: a trial
    trials = 4 + 13 + 10
    assert (study / "journal.log").read_text().count(created) == trials
    stamps = {path: path.stat().st_mtime_ns for path in (study / "analysis").rglob("*.json")}
    assert main(["paper", *TINY, "--out", "study"]) == 0
    assert (study / "journal.log").read_text().count(created) == trials
    assert {path: path.stat().st_mtime_ns for path in (study / "analysis").rglob("*.json")} == stamps


def test_the_page_is_written_again_without_torch(study: Path, tmp_path: Path) -> None:
    there = tmp_path / "page"
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, "report", str(study), "--to", str(there)],
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, done.stderr
    for name in ("paper.md", "ledger.json", "claims.csv"):
        assert (there / name).read_bytes() == (study / "paper" / name).read_bytes(), name


def test_claims_judges_a_study_as_its_page_does(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claims", "--format", "json", str(study)]) == 0
    assert json.loads(capsys.readouterr().out) == read_json(study / "paper" / "ledger.json")


def test_another_protocol_is_refused(beside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = beside
    before = (study / "journal.log").read_bytes()
    assert main(["paper", *TINY, "--epochs", "2", "--out", "study"]) == 2
    assert error_of(capsys).startswith("error: --epochs must be 1, with which the study in study was begun. Got 2 instead.")
    assert (study / "journal.log").read_bytes() == before


def _celeba(root: Path, number: int) -> None:
    """Rendered faces in CelebA's layout, without attributes: the files of a licensed data set don't belong into a test."""
    (root / "img_align_celeba").mkdir(parents=True)
    for n, image in enumerate(faces.render_faces(number, 48, seed=5).images, start=1):
        Image.fromarray(image.transpose(1, 2, 0)).save(root / "img_align_celeba" / f"{n:06d}.jpg")


def test_real_faces_without_attributes_and_masks(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _small(monkeypatch)
    _celeba(here / "data", 60)
    command = ["paper", *TINY, "--images", "60", "--data", "celeba", "--data-root", "data", "--groups", "hypotheses", "--out", "s"]
    assert main(command) == 0
    evidence = collect(PaperFolder(here / "s"))
    assert len(evidence.hypotheses) == 5, "those without masks"
    assert any("5 of 10 hypotheses need face masks" in text for text in evidence.limits)
    assert "no attribute" in evidence.not_computed("attributes")
    assert "rendered faces" in evidence.not_computed("factors")
    assert {t.arm for t in evidence.trials} == {"original", "modified", "original, pooled head", "plain, same parameters"}
    # what may be passed on shows none of the faces
    assert main(["report", "s", "--to", "shared"]) == 0
    assert not [path for path in (here / "shared").rglob("*") if path.suffix in (".png", ".jpg")]
    shown, shared = ((here / place / "paper.html").read_text() for place in ("s/paper", "shared"))
    assert PICTURE.search(shown), "the user's own page shows them"
    assert not PICTURE.search(shared)
    assert not [path for path in (here / "shared").rglob("*.*") if str(here).encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "celeba"], "--data-root must be the folder of CelebA with --data celeba"),
        (["--budget", "soon"], "--budget must be a positive time such as 90s, 20m or 1.5h. Got 'soon' instead."),
        (["--budget", "2s"], "--budget must be at least about"),
        (["--seeds", "0"], "--seeds must be a whole number of at least 1. Got 0 instead."),
        (["--image-size", "50"], "image_size must be a multiple of 16"),
        (["--images", "5"], "--images must be a whole number of at least 10, for the split. Got 5 instead."),
        (["--data-root", "somewhere"], "--data-root must be left out with --data faces"),
        (["--explained", "nowhere"], "--explained must be a folder of `explain original modified --device cpu`. Got 'nowhere'"),
        (["--groups", "models", "nonsense"], "--groups must be one of models, pieces, hypotheses. Got 'nonsense'"),
        (["--workers", "0"], "--workers must be a whole number of at least 1"),
    ],
)
def test_wrong_input_is_one_line(here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    assert main(["paper", "--device", "cpu", "--out", "s", *arguments]) == 2
    assert words in error_of(capsys)
    assert not (here / "s" / "plan.json").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"specs": {}, "device": "cpu"}', "It cannot be read (KeyError"),
        ('["a list"]', "Leave it out"),
        ("{torn", "Leave it out"),
        (b"\xff\xfe", "Leave it out"),
        ("other networks", "Leave it out"),
    ],
)
def test_an_explanation_that_is_none_is_refused_before_anything_is_trained(
    here: Path, capsys: pytest.CaptureFixture[str], content: str | bytes, words: str
) -> None:
    if content == "other networks":
        stored = read_json(EXPLAINED / "explanation.json")
        stored["specs"]["modified"] = stored["specs"]["original"]
        content = json.dumps(stored)
    (here / "explained").mkdir()
    (here / "explained" / "explanation.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["paper", "--device", "cpu", "--out", "s", "--explained", "explained"]) == 2
    line = error_of(capsys)
    assert words in line and "--explained must be a folder of `explain original modified" in line
    assert not (here / "s" / "plan.json").exists()


def test_measures_of_another_version_are_not_mixed_in(copy: PaperFolder, capsys: pytest.CaptureFixture[str]) -> None:
    before = collect(copy).of("modified")[0]
    path = copy.analysis("models", before.record.network_key, 0)
    write_json(path, {**read_json(path), "version": VERSION - 1})
    evidence = collect(copy)
    assert evidence.of("modified")[0].get("analysis.latent.hopkins.value") is None
    assert "measured by another version of this suite" in evidence.not_computed("analysis")
    assert "modified" not in arrays_of(copy, evidence)
    assert before.get("analysis.latent.hopkins.value") is not None
    page = (copy.page / "paper.md").read_text()
    assert main(["report", str(copy.path)]) == 2
    line = error_of(capsys)
    assert "1 of another' instead. Run `python -m studies.run paper" in line and "without training" in line
    assert (copy.page / "paper.md").read_text() == page, "a whole page stays"


def test_references_and_an_explanation_of_another_version_are_told(copy: PaperFolder) -> None:
    stored = read_json(copy.references)
    assert stored.pop("_version") == VERSION
    write_json(copy.references, stored)  # as an earlier version left them
    write_json(copy.explain / "explanation.json", {"lent": True, "specs": {}, "of": "another version"})
    evidence = collect(copy)
    assert evidence.references == {} and evidence.explanation is None
    assert "The references (mean face, PCA) were measured by another version" in "\n".join(evidence.limits)
    verdicts = {v.id: v for v in judge(evidence)}
    for name in ("C1", "C5"):
        assert "The explanation of the pair: stored by another version, it cannot be read" in verdicts[name].sentence
    assert "The mean face was not measured" in verdicts["C7"].sentence


def test_the_hardware_is_that_of_the_trials(copy: PaperFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = read_json(copy.facts)
    write_json(copy.facts, {**stored, "scale": {**stored["scale"], "hardware": "a later machine"}})
    machine = stored["scale"]["hardware"]
    assert collect(copy).scale["hardware"] == machine
    every = paper_evidence.stored_records

    def on_two(folder: PaperFolder) -> dict[str, list[Record]]:
        groups = every(folder)
        first, *rest = groups["models"]
        elsewhere = {**first.provenance, "hardware": {"gpu": "NVIDIA H200"}}
        return {**groups, "models": [replace(first, provenance=elsewhere), *rest]}

    monkeypatch.setattr(paper_evidence, "stored_records", on_two)
    assert collect(copy).scale["hardware"] == f"NVIDIA H200 and {machine}"


def test_too_few_images_for_the_split(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _celeba(here / "data", 6)
    assert main(["paper", "--data", "celeba", "--data-root", "data", "--device", "cpu", "--out", "s"]) == 2
    assert "at least 10 images" in error_of(capsys)


def test_torn_files_are_made_again(beside: Path) -> None:
    first, second = sorted((beside / "analysis" / "pieces").glob("*.json"))[:2]
    whole = json.loads(first.read_text())
    first.write_text(first.read_text()[:100])
    arrays = second.with_suffix(".npz")
    before = _shapes(arrays)
    arrays.write_bytes(arrays.read_bytes()[:100])
    assert main(["paper", *TINY, "--out", "study"]) == 0
    leaves, again = dict(_leaves(whole["quality"])), dict(_leaves(json.loads(first.read_text())["quality"]))
    assert again.keys() == leaves.keys()
    for name, leaf in leaves.items():
        # as near as single precision is: another number of threads sums in another order
        assert again[name] == (pytest.approx(leaf, rel=1e-4, abs=1e-5) if isinstance(leaf, float) else leaf), name
    assert _shapes(arrays) == before


def _leaves(value: object, at: str = "") -> Iterator[tuple[str, object]]:
    """Every leaf of nested dicts and lists, with the way to it."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if children is None:
        yield at, value
        return
    for key, child in children:
        yield from _leaves(child, f"{at}/{key}")


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    with np.load(path) as arrays:
        return {name: arrays[name].shape for name in arrays.files}


def test_one_trial_that_cannot_be_analysed(beside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its reason is on the page, without this machine's folders, and the rest of the study is there."""
    study = beside
    path = next((study / "analysis" / "pieces").glob("*.json"))
    weights = study / "trials" / "pieces" / "checkpoints" / path.stem / "best.safetensors"
    moved = weights.rename(weights.with_suffix(".away"))
    path.unlink()
    assert main(["paper", *TINY, "--out", str(study)]) == 1
    assert "not analysed" in capsys.readouterr().err
    page = (study / "paper" / "paper.md").read_text()
    assert "must hold the weights of this network" in page
    assert str(study) not in page
    moved.rename(weights)
    assert main(["paper", *TINY, "--out", "study"]) == 0, "tried again"
    assert "must hold the weights" not in (study / "paper" / "paper.md").read_text()


def test_a_command_that_found_no_data_leaves_no_plan(here: Path) -> None:
    assert main(["paper", *TINY, "--data", "celeba", "--data-root", "nowhere", "--out", "s"]) == 2
    assert main(["paper", *TINY, "--images", "5", "--out", "s"]) == 2
    assert not (here / "s" / "plan.json").exists()
