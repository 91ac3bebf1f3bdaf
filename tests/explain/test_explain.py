"""`explain` as a user runs it: once, again, on specs from files, with wrong input; and against what is known of the pair."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ablation.design.spec import preset
from ablation.record.stored import explanation_of
from studies.explain import steps as explain_steps
from studies.explain.networks import read_spec
from studies.run import main

TINY = ["--image-size", "16", "--quick", "--budget", "3", "--batches", "2", "1", "--device", "cpu", "--out", "why"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_explains_a_pair_and_goes_on_from_what_is_stored(
    place: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two factors: both are attributed exactly, latency is timed, time is placed; the same command measures nothing again."""
    monkeypatch.setattr(explain_steps, "git_commit", lambda: "0")  # a file saved meanwhile changes nothing
    pair = ["small", "small,head=pooled,decoder_stem=32"]
    assert main(["explain", *pair, *TINY]) == 0
    printed = capfd.readouterr()
    assert "head" in printed.out
    explanation = explanation_of(json.loads((place / "why/explanation.json").read_text()))
    params = next(a for a in explanation.attributions if a.metric == "params")
    # head at 16 px: 64 channels of one position either way, so pooling saves nothing; stem: 32 latent to 64 or 32 channels, and the
    # first decoder convolution, 64 or 32 to 64 channels
    stem = 32 * (32 + 1) - 64 * (32 + 1) + 9 * 64 * (32 - 64)
    assert {name: effect.value for name, effect in params.shapley.items()} == {"head": 0, "stem width": stem}
    assert params.residual == 0
    metrics = {a.metric for a in explanation.attributions}
    assert {"macs", "elements_written", "bytes_moved", "num_ops", "latency_ms", "log_latency", "peak_bytes"} <= metrics
    assert [(p.batch_size, p.ratio is not None) for p in explanation.sweep] == [(1, True), (2, True)]
    assert len(explanation.decompositions) == 2
    assert {c.name for c in explanation.controls} == {"same parameters", "same multiply-accumulates"}
    assert "<html" in (place / "why/explanation.html").read_text()
    assert main(["report", "why", "--to", "elsewhere"]) == 0
    capfd.readouterr()
    for name in ("explanation.html", "explanation.md", "attribution.csv"):
        assert (place / "elsewhere" / name).read_bytes() == (place / "why" / name).read_bytes(), name
    (place / "why/explanation.json").write_text("{}")
    assert main(["report", "why"]) == 2
    assert capfd.readouterr().err.startswith("error: explanation.json must be what `explain` writes. Got 'why/explanation.json'")
    assert main(["explain", *pair, *TINY]) == 0
    again = capfd.readouterr().err
    for step in ("static", "latency", "machine", "modes", "sweep"):
        assert f"{step}: measured before" in again


def test_specs_come_from_presets_changes_and_files(place: Path) -> None:
    spec = preset("small").replace(head="pooled", encoder_widths=(8, 16, 32, 64), dense_bottleneck=True)
    assert read_spec("small,head=pooled,encoder_widths=8+16+32+64,dense_bottleneck=true") == spec
    (place / "a.toml").write_text(spec.to_toml())
    (place / "a.json").write_text(spec.to_json())
    assert read_spec("a.toml") == read_spec("a.json") == spec


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["small", "small"], ["same network"]),
        (["small", "small,growth_rate=4"], ["same network"]),
        (["small", "tiny"], ["tiny", "small_modified"]),
        (["small", "small,heads=pooled"], ["heads", "Did you mean"]),
        (["small", "small,head"], ["field=value"]),
        (["small", "none.toml"], ["none.toml", "no such file"]),
        (["small", "original"], ["image size", "--image-size"]),
        (["small", "small_modified", "--batch-size", "0"], ["--batch-size"]),
        (["small", "small_modified", "--batches", "8", "0"], ["--batches", "Got 0"]),
        (["small", "small_modified", "--budget", "0"], ["--budget"]),
        (["small", "small_modified", "--trained", "nowhere"], ["--trained", "nowhere"]),
        (["small"], ["SECOND must be given a value"]),
    ],
)
def test_wrong_input_is_one_line(place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]) -> None:
    assert main(["explain", *arguments, "--device", "cpu"]) == 2
    printed = capsys.readouterr().err.strip()
    assert printed.startswith("error: ")
    assert "\n" not in printed
    for word in words:
        assert word in printed
    assert not list(place.glob("results/*"))
