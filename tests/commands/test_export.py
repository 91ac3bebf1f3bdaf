"""`export` as a user runs it: networks of a study by number, label and key, presets, and wrong input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ablation import load
from ablation.export import write
from ablation.export.formats import FORMATS, Onnx
from ablation.train.checkpoint import BEST
from studies.engine.config import StudyFolder
from studies.export.options import ExportOptions
from studies.export.source import source_of
from studies.run import main
from studies.store.records import records
from studies.store.storage import open_storage, open_study
from tests.tiny_grid import last_line

QUICK = ("--budget", "0.5", "--latency-batches", "1")


def stored(study: Path):  # type: ignore[no-untyped-def]
    return records(open_study(open_storage(StudyFolder(study).journal), study.name))


def test_a_network_of_a_study_is_exported_with_its_weights(
    study: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["export", f"{study}:2", "--to", "made", "--int8", *QUICK]) == 0
    out = capsys.readouterr().out
    assert [line.split("  ")[0] for line in out.splitlines()] == [
        "torch.export", "ONNX", "OpenVINO", "OpenVINO, int8", "The card: made/README.md"
    ]  # fmt: skip
    card, config = Path("made/README.md").read_text(), json.loads(Path("made/config.json").read_text())
    record = next(r for r in stored(study) if r.label in config["name"])
    assert config["spec"] == load("made").spec.to_dict() == dict(record.spec)
    loss = f"| validation loss | {record.training['best_loss']:.4f}"
    for words in (loss, "faces, 40 images at 16 px", "drawn by this package", "epochs=1"):
        assert words in card
    # an export is replaced, also one that is called as a preset is
    Path("small").mkdir()
    Path("small/config.json").write_text('{"model_type": "vae-ablation"}')
    Path("small/mask.onnx").touch()
    monkeypatch.setattr(write, "FORMATS", FORMATS[:1])
    assert main(["export", "small", "--image-size", "16", "--to", "small", *QUICK]) == 0
    assert not Path("small/mask.onnx").exists()
    assert "It was not trained" in Path("small/README.md").read_text()


def test_number_label_and_key_name_the_same_network(study: Path) -> None:
    [first, second, third] = stored(study)
    for record in (first, second, third):
        by_label = source_of(ExportOptions(what=f"{study}:{record.label}", to=Path("x")))
        by_key = source_of(ExportOptions(what=f"{study}:{record.network_key}", to=Path("x")))
        assert by_label.origin.source == by_key.origin.source == f"tiny, {record.label}, seed 0"
    sources = {source_of(ExportOptions(what=f"{study}:{number}", to=Path("x"))).origin.source for number in (1, 2, 3)}
    assert len(sources) == 3


@pytest.mark.parametrize(
    ("what", "more", "words"),
    [
        ("{study}", (), "It holds: 1 "),
        ("{study}:9", (), "It holds: 1 "),
        ("{study}:no such label", (), "FOLDER:NETWORK, by number, label or key"),
        ("{study}:1", ("--seed", "7"), "--seed must be one of 0"),
        ("results/none:1", (), "There is no such folder"),
        ("results/none", (), "There is no such folder"),
        ("smal", (), "preset must be one of"),
        ("space.json", (), "There is no such file"),
        ("small", ("--image-size", "50"), "image_size must be a multiple of 16"),
        ("small", ("--threads", "0"), "--threads must be a whole number of at least 1"),
        ("small", ("--budget", "-1"), "--budget must be a positive number of seconds"),
        ("small", ("--to", "results"), "It holds something else"),
        ("small", ("--to", "space.toml/x"), "space.toml is a file"),
        (".", (), "preset must be one of"),
        ("./", (), "It holds no study"),
        ("{study}:1", ("--image-size", "32"), "--image-size must be left out unless a preset is exported"),
        ("{study}:1", ("--data-root", "x"), "--data-root must be left out unless a study is exported with --int8"),
        ("small", ("--storage", "sqlite:///x.db"), "--storage must be left out unless a study is exported"),
        ("small", ("--seed", "99999999999999999999999"), "--seed must be a whole number from 0 to 2**63 - 1"),
    ],
)
def test_wrong_input_is_one_line_and_nothing_is_written(
    what: str, more: tuple[str, ...], words: str, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(Path().rglob("*"))
    to = () if "--to" in more else ("--to", "made")
    assert main(["export", what.format(study=study.relative_to(Path.cwd())), *to, *more]) == 2
    err = capsys.readouterr().err
    assert words in last_line(err)
    assert len(err.strip().splitlines()) == 1
    assert sorted(Path().rglob("*")) == before


def test_a_study_without_weights_says_so(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in study.rglob(BEST):
        path.unlink()
    assert main(["export", f"{study}:1", "--to", "made"]) == 2
    assert "must be stored with its weights in this folder" in last_line(capsys.readouterr().err)
    shutil.rmtree(study / "checkpoints")
    assert main(["export", f"{study}:1", "--to", "made", "--int8"]) == 2
    assert not Path("made").exists()


def test_a_format_that_fails_is_a_line_and_the_others_are_written(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Onnx, "packages", ("no_such_package",))
    monkeypatch.setattr(write, "FORMATS", (Onnx(), *write.FORMATS[:1]))
    assert main(["export", "small", "--image-size", "16", "--to", "made", *QUICK]) == 1
    assert "ONNX             not written: not installed: pip install no_such_package" in capsys.readouterr().out
    assert Path("made/model.pt2").is_file()
