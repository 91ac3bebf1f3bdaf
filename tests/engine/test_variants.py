"""A study that varies the protocol, from its file to the report: one network, counted and timed once, trained in several ways."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from ablation.design.spec import preset
from ablation.design.variant import network_of
from ablation.record.trial import COMPLETE
from studies.engine import trial
from studies.engine.config import StudyConfig, StudyFolder
from studies.engine.reporting import current_records
from studies.grid.command import OWN_SPACES, space_file
from studies.run import main
from studies.store.latency import latencies
from studies.store.storage import open_storage, open_study

KEY = preset("small").replace(image_size=16).network_key


def test_what_can_be_chosen_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "architecture (field architecture)" in lines
    for name in OWN_SPACES:
        assert space_file(name, None).is_file()
        assert any(line.startswith(f"  {name} ") for line in lines), name


def test_the_weight_of_the_divergence_and_the_loss_are_ablated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ABLATION_CACHE", str(tmp_path / "cache"))
    counted, count = [], trial.count
    monkeypatch.setattr(trial, "count", lambda spec, model: (counted.append(spec), count(spec, model))[1])
    tiny = "--image-size 16 --images 40 --epochs 1 --device cpu --seeds 2 --latency-budget 1 --latency-batches 1"
    command = ["grid", "--space", "loss", *tiny.split(), "--out", "loss"]
    assert main(command) == 0
    output = " ".join(capfd.readouterr().err.split())
    assert "8 combinations of kl_weight, reconstruction" in output
    assert "1 different ones, trained in 8 different ways" in output
    assert "16 of 16 trials" in output

    study = open_study(open_storage(StudyFolder(Path("loss")).journal), "loss")
    config = StudyConfig.from_dict(study.user_attrs["config"])
    records = current_records(study, config)
    assert {r.state for r in records} == {COMPLETE}
    assert len({r.network_key for r in records}) == 8
    assert {network_of(r.network_key) for r in records} == {KEY} == set(latencies(study))
    # costs and latency of the one network, counted and timed once
    assert len(counted) == 1
    assert len({json.dumps([r.costs, r.latency], sort_keys=True) for r in records}) == 1
    # each trained as its levels say, and nothing else of the protocol changed
    for record in records:
        changed = {name: value for name, value in record.protocol.items() if value != config.protocol[name]}
        stored = study.trials[record.number].user_attrs
        assert stored.get("protocol", {}) == changed
        assert ("protocol" in stored) == (record.network_key != KEY)
        assert record.protocol["kl_weight"] == float(record.factors["kl_weight"])
        assert (record.protocol["l2_weight"] == 100) == (record.factors["reconstruction"] == "L2")
        assert record.quality["replica"].keys() == records[0].quality["replica"].keys()
        own = record.training.get("own_best_loss", record.training["best_loss"])
        assert own == min(epoch["val_loss"] for epoch in record.training["epochs"])
        assert ("own_best_loss" in record.training) == (record.network_key != KEY)
    # the losses that are compared are all of the study's kind: after one epoch they differ by little, the variants' own do not
    losses = [r.training["best_loss"] for r in records]
    assert len(set(losses)) == 16
    assert 0.9 < min(losses) <= max(losses) < 1.1
    assert max(r.training.get("own_best_loss", 0) for r in records) > 3

    table = pd.read_csv("loss/report/table.csv")
    assert sorted(set(table["factor_reconstruction"])) == ["L1", "L2", "SSIM", "SSIM + L1"]
    assert table["is_reference"].sum() == 1
    report = Path("loss/report/report.md").read_text()
    for swap in ("kl_weight: 0.001 to 0.01", "reconstruction: SSIM + L1 to L1"):
        sentence, table_below = report.split(f"\n**{swap}**")[1].split("\n\n")[:2]
        assert "parameters and multiply-accumulates do not change" in sentence
        assert "| validation loss |" in table_below
