"""`search` over networks of a user's own: proposed, stopped early, confirmed with fresh seeds, in the words of their metric."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import optuna
import pytest

from ablation.measure.latency.compare import compare_latency
from ablation.record.convert import from_plain
from ablation.record.search_confirmed import BETTER, Confirmation
from studies.engine import latency_session
from studies.run import main
from studies.store.storage import open_storage, study_names
from tests.commands.conftest import enter
from tests.commands.test_own_study import forget

NETS = """
from torch import nn

def make(width=4, idle=0):
    if width == 16 and idle:
        raise ValueError("too large together")
    wide = [nn.Linear(64, 64) for _ in range(8 * idle)]
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 64), *wide)

def other(width=4):
    return nn.Linear(64, width)
"""
# accuracy is known exactly: 0.5, 0.01 for each unit of width, less 0.1 for each idle layer, 0.001 for each seed
TRAINING = """
def train(network, seed, report, should_stop):
    value = 0.5 + 0.01 * network[0].out_features - 0.1 * (len(network) > 3) + 0.001 * (seed % 2)
    for epoch in (1, 2, 3, 4):
        report(epoch, value * epoch / 4)
        with open("epochs.txt", "a") as file:
            file.write(f"{network[0].out_features} {len(network)} {seed} {epoch}\\n")
        if should_stop():
            break
    return {"accuracy": value, "error": 1 - value}
"""
FILE = """
network = "search_nets:make"
train = "search_training:train"
input = [64]
[factors]
width = [2, 4, 8, 16]
idle = [0, 1]
[metrics]
accuracy = { better = "higher", unit = "%" }
error = "lower"
"""
FOLDER = Path("results/search-own")


def search(*more: str) -> int:
    about = ["search", "--space", "own.toml", "--device", "cpu", "--latency-batches", "1", "--latency-budget", "0.3"]
    return main([*about, "--confirm", "5", "--confirm-seeds", "3", "--why-seeds", "3", *more])


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished search of all seven networks."""
    with pytest.MonkeyPatch.context() as patch:
        folder = enter(tmp_path_factory.mktemp("own-search"), patch)
        patch.setattr(latency_session, "compare_latency", partial(compare_latency, sittings=3, rounds=(6, 6), budget_s=2.0))
        patch.setattr(sys, "path", [str(folder), *sys.path])
        forget()
        for name, text in (("search_nets.py", NETS), ("search_training.py", TRAINING), ("own.toml", FILE)):
            (folder / name).write_text(text)
        assert search() == 0
        yield folder
        forget()


def studies(folder: Path) -> dict[str, optuna.Study]:
    storage = open_storage(folder / FOLDER / "journal.log")
    return {name: optuna.load_study(study_name=name, storage=storage) for name in study_names(storage)}


def confirmation(folder: Path) -> Confirmation:
    return from_plain(Confirmation, json.loads((folder / FOLDER / "confirmation.json").read_text()))


def test_the_best_accuracy_is_confirmed_with_fresh_seeds(found: Path) -> None:
    held, stored = confirmation(found), studies(found)
    assert list(stored)[:2] == ["search-own", "search-own-confirm"], "there is no sweep of learning rates"
    best = max(held.networks, key=lambda network: network.spec["arguments"]["width"])
    assert best.spec["arguments"] == {"width": 16}
    assert [seed.validation for seed in best.seeds] == pytest.approx([0.66, 0.661, 0.66])
    fresh, known = ({t.user_attrs.get("seed") for t in stored[name].trials} for name in ("search-own-confirm", "search-own"))
    assert fresh == {2, 3, 4} and not fresh & known
    (verdict,) = (v for v in held.of(best.number or 0) if v.metric == "loss")
    assert (verdict.verdict, verdict.effect) == (BETTER, pytest.approx(0.12)), "higher is better"
    assert not any(v.metric == "test_loss" for v in held.verdicts), "the user's training has no second split that we know of"


def test_a_network_that_another_beats_in_everything_is_stopped_at_a_rung(found: Path) -> None:
    """Idle layers cost time and parameters, and take accuracy away; the reference's two seeds say how far chance goes."""
    stopped = [t for t in studies(found)["search-own"].trials if t.user_attrs.get("reason_kind") == "stopped"]
    assert stopped
    for trial in stopped:
        assert trial.params["idle"] == "1"
        assert "its accuracy" in trial.user_attrs["reason"] and "% is under the" in trial.user_attrs["reason"]
    epochs = [line.split() for line in (found / "epochs.txt").read_text().splitlines()]
    lasts = {tuple(line[:3]): int(line[3]) for line in epochs}
    ends = [lasts[(trial.params["width"], "11", "0")] for trial in stopped]
    assert set(ends) <= {1, 2}, "a quarter and half of the four epochs that the reference reports"


def test_the_page_speaks_of_accuracy_and_never_of_a_loss(found: Path) -> None:
    text = (found / FOLDER / "page" / "search.md").read_text()
    assert "accuracy is" in text and "points" in text
    assert "loss" not in text.lower()
    assert "Reconstructions" not in text
    lines = (found / FOLDER / "page" / "confirmation.csv").read_text()
    assert "0.66" in lines, "as the training returned it"


def test_the_same_command_again_trains_nothing(found: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (found / "epochs.txt").read_text()
    monkeypatch.chdir(found)
    assert search() == 0
    assert (found / "epochs.txt").read_text() == before


def test_other_commands_read_the_winner(found: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(found)
    assert main(["cost", str(FOLDER / "reference.toml"), str(FOLDER / "winner.toml")]) == 0
    lines = [line.split() for line in capfd.readouterr().out.splitlines()]
    network = (found / FOLDER / "winner.toml").read_text().splitlines()[0]  # which is the best depends on latencies
    width = int(network.partition("width=")[2].partition(")")[0])
    assert [line[1] for line in lines[1:3]] == ["580", f"{129 * width + 64:,}"], "64 w + w + 64 w + 64"
    assert main(["report", str(FOLDER), "--to", "elsewhere"]) == 0
    assert (found / "elsewhere" / "search.html").is_file()


def test_limits_hold_and_a_reference_is_a_call_of_the_same_callable(
    found: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(found)
    assert search("--out", "results/no", "--reference", "search_nets:other") == 2
    assert "a call of what makes the networks of the space, search_nets:make" in capfd.readouterr().err
    assert search("--out", "results/no", "--limit", "params=10") == 2
    assert "--limit must be such that a network of the space is inside all limits" in capfd.readouterr().err
    small = ["--out", "results/small", "--limit", "params=1x", "--confirm", "0", "--trials", "3"]
    assert search(*small, "--reference", "search_nets:make(width=8)") == 0
    storage = open_storage("results/small/journal.log")
    trials = optuna.load_study(study_name="small", storage=storage).trials
    trained = {int(t.params["width"]) for t in trials if t.state.name == "COMPLETE"}
    assert trained <= {2, 4, 8} and {t.params["width"] for t in trials if t.user_attrs.get("reason_kind") == "infeasible"} <= {
        "2",
        "4",
        "8",
        "16",
    }
