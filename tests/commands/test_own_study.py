"""A study whose networks and training are a user's own: run, resumed, told in its own words; what is refused, what recorded."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import ablation
from ablation import study as own_study
from ablation.record.convert import to_plain
from ablation.record.trial import COMPLETE, FAILED, Record
from ablation.report.study.curves import values_of
from ablation.train.checkpoint import BEST
from blocks.errors import InputError
from studies.engine.config import StudyConfig, StudyFolder
from studies.export.options import ExportOptions
from studies.export.source import source_of
from studies.run import main
from studies.store.records import records
from studies.store.storage import get_system_attrs, open_storage
from studies.work.resume import ORIGIN

NETS = """
from torch import nn

def make(width=4, dense=False):
    if width == 8 and dense:
        raise ValueError("too large together")
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), *([nn.Linear(width, width)] if dense else []), nn.Linear(width, 2))

def grows(width=4, _calls=[]):
    _calls.append(0)
    return nn.Linear(6, len(_calls))

class Words(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.embedding, self.out = nn.Embedding(20, width), nn.Linear(width, 2)

    def forward(self, ids):
        return self.out(self.embedding(ids).mean(1))

    def example_input(self):
        import torch
        return torch.full((1, 5), 19)
"""
# accuracy is known exactly: 0.5, 0.01 for each unit of width, 0.1 where dense, 0.001 for each seed
TRAINING = """
import torch

def train(network, seed, report, should_stop, folder, bonus=0.0, mode="fine"):
    (folder / "kept").write_text("x")
    assert network.training and not should_stop()
    width, deep = network[0].out_features, len(network) == 4
    value = 0.5 + 0.01 * width + 0.1 * deep + 0.001 * seed + bonus
    for epoch in (1, 2, 3):
        report(epoch, torch.tensor(value * epoch / 3))
    if deep and mode != "fine":
        return {"nan": {"accuracy": float("nan"), "error": 0.5}, "none": None, "other": {"precision": 0.5}}.get(mode) or boom()
    return {"accuracy": torch.tensor(value, dtype=torch.float64), "error": 1 - value, "extra": 3}

def boom():
    raise ValueError("no data\\nhere")

def words(network, seed):
    import numpy as np, random
    return {"score": float(np.random.rand() + random.random() + torch.rand(()))}

def wrong(model):
    return {}
"""
FILE = """
network = "{nets}:make"
train = "{training}:train{arguments}"
input = [6]
[factors]
width = [4, 8]
dense = [false, true]
[metrics]
accuracy = {{ better = "higher", unit = "%" }}
error = {{ better = "lower", label = "test error" }}
[defaults]
seeds = 3
"""
GRID = ["--device", "cpu", "--latency-budget", "0.4", "--latency-batches", "1"]


def grid(*more: str) -> int:
    return main(["grid", "--space", "own.toml", *GRID, *more])


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with networks and a training of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    forget()  # what other tests imported by these names
    write(tmp_path)
    yield tmp_path
    forget()


def forget() -> None:
    """As in a new process: nothing of a user's own is imported yet."""
    for name in [name for name in sys.modules if name.endswith(("_nets", "_training"))]:
        del sys.modules[name]


def write(folder: Path, *, arguments: str = "", nets: str = "own_nets", training: str = "own_training") -> None:
    (folder / f"{nets}.py").write_text(NETS)
    (folder / f"{training}.py").write_text(TRAINING)
    (folder / "own.toml").write_text(FILE.format(nets=nets, training=training, arguments=arguments))


def stored(folder: Path = Path("results/grid-own")) -> list[Record]:
    study = opened(folder)
    return records(study, StudyConfig.from_dict(study.user_attrs["config"]).limits)


def opened(folder: Path = Path("results/grid-own")) -> optuna.Study:
    return optuna.load_study(study_name=folder.name, storage=open_storage(StudyFolder(folder).journal))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete study of three networks and three seeds."""
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        write(folder, nets="done_nets", training="done_training")
        assert grid() == 0
    return folder


@pytest.fixture
def done(finished: Path, mine: Path) -> Path:
    """The same, to work on; returns the study's folder."""
    forget()
    shutil.copytree(finished, mine, dirs_exist_ok=True)
    return mine / "results/grid-own"


def test_every_trial_once_with_metrics_curve_costs_and_direction(done: Path) -> None:
    every = stored()
    assert len(every) == 9
    assert {record.state for record in every} == {COMPLETE}
    values = {(r.factors["width"], r.factors["dense"], r.seed): r.quality["own"] for r in every}
    assert values["8", "false", 2] == {"accuracy": pytest.approx(0.582), "error": pytest.approx(0.418), "extra": 3}
    assert ("8", "true", 0) not in values
    first = every[0]
    assert [epoch["value"] for epoch in first.training["epochs"]] == pytest.approx([0.54 / 3, 1.08 / 3, 0.54])
    assert first.costs["params"] == 6 * 4 + 4 + 4 * 2 + 2 == first.costs["fvcore_params"]
    assert first.costs["macs"] == 6 * 4 + 4 * 2 == first.costs["fvcore_flops"]
    study = opened()
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE", "MINIMIZE"]
    assert study.metric_names == ["accuracy", "latency_ms", "params"]
    assert study.trials[0].user_attrs["accuracy"] == pytest.approx(0.54)
    assert not list((done / "checkpoints").rglob("kept")), "a complete trial keeps its weights alone"


def test_the_same_command_trains_nothing_again_and_more_seeds_only_those(done: Path) -> None:
    assert grid("--seeds", "4") == 0
    assert sorted(r.seed for r in stored()) == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert len(opened().get_trials()) == 12


def test_the_report_speaks_of_the_metric_in_its_own_direction_and_unit(done: Path) -> None:
    text = (done / "report/report.md").read_text().replace("\u00a0", " ")
    assert "#2 width 4, dense true** has the highest accuracy, 64.10" in text
    assert "**dense: false to true** raises accuracy, " in text
    assert "| accuracy | +10.00 points |" in text
    assert "| test error | −0.1000 (−21.8" in text, "of what is no share, the share is told"
    assert "better" in next(line for line in text.splitlines() if line.startswith("| accuracy | +10.00"))
    assert "Highest accuracy" in text
    assert "Lowest accuracy" not in text
    assert "loss" not in text.lower()
    assert "SSIM" not in text
    assert "done_nets:make on 6, trained by done_training:train" in text
    names = {path.stem for path in (done / "report/plots").iterdir()}
    assert {"accuracy_against_latency_cpu_b1", "accuracy_curves", "effects_accuracy", "effects_error"} <= names
    assert not [name for name in names if "loss" in name]
    assert "loss" not in (done / "report/report.html").read_text().lower().replace("loss_", "")
    table = pd.read_csv(done / "report/table.csv")
    assert table["accuracy"].tolist() == pytest.approx([0.541, 0.641, 0.581])
    assert not [column for column in table if "loss" in column or "ssim" in column]


def test_the_terminal_and_the_dashboard_too(done: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(done)]) == 0
    printed = capfd.readouterr()
    assert "accuracy %" in printed.out
    assert main(["status", str(done)]) == 0
    shown = json.dumps(get_system_attrs(opened()))
    assert "Accuracy against latency" in shown
    assert "The first objective is the accuracy." in shown
    assert "oss" not in (printed.out + printed.err).replace("across", "")


def test_another_machine_has_the_weights(mine: Path) -> None:
    place = ("--storage", f"sqlite:///{mine}/all.db", "--study", "own")
    assert grid(*place, "--artifacts", "shared", "--seeds", "1", "--out", "here") == 0
    trained = {path.parent.name: load_file(path) for path in Path("here").rglob(BEST)}
    shutil.rmtree("here")
    for number in ("1", "2", "3"):
        assert source_of(ExportOptions(what=f"there:{number}", to=Path("x"), storage=place[1], study="own")).origin.trained
    fetched = {path.parent.name: load_file(path) for path in Path("there").rglob(BEST)}
    assert len(trained) == 3 and fetched.keys() == trained.keys()
    assert all(torch.equal(value, fetched[key][name]) for key, of in trained.items() for name, value in of.items())


def test_explain_gives_the_metric_to_the_arguments(done: Path, capfd: pytest.CaptureFixture[str]) -> None:
    named = ["done_nets:make", "done_nets:make(dense=True)"]
    code = main(
        ["explain", *named, "--input", "6", "--quick", "--budget", "2", "--device", "cpu", "--trained", str(done), "--out", "why"]
    )
    assert code == 0
    made = json.loads(Path("why/explanation.json").read_text())
    accuracy = next(a for a in made["attributions"] if a["metric"] == "accuracy")
    assert accuracy["shapley"]["dense"]["value"] == pytest.approx(10.0)
    assert (accuracy["unit"], accuracy["label"], accuracy["place"]) == ("%", "accuracy", "3 seeds")
    page = Path("why/explanation.html").read_text()
    assert "accuracy" in page
    assert "SSIM" not in page


def test_a_training_that_goes_wrong_is_recorded_with_its_reason_and_the_others_go_on(
    mine: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    reasons = {
        "boom": "ValueError: no data (own_training.py, line",
        "nan": "accuracy must be a finite number. own_training:train returned nan",
        "other": "own_training:train must return accuracy, error. Got precision instead",
    }
    for mode, reason in reasons.items():
        write(mine, arguments=f'(mode=\\"{mode}\\")')
        assert grid("--seeds", "1", "--out", f"results/{mode}") == 1
        by_state = {record.state: record for record in stored(Path("results") / mode)}
        assert by_state[FAILED].reason.startswith(reason)
        assert by_state[FAILED].factors == {"width": "4", "dense": "true"}
        assert by_state[COMPLETE].quality["own"]["accuracy"]
        assert len(opened(Path("results") / mode).get_trials()) == 3, "what is sure to fail is tried once"
    assert "Traceback" not in capfd.readouterr().err


WRONG = {
    "nothing trains": ('train = "own_training:train"', "", "train must be given"),
    "no such module": ("own_training:train", "nowhere:train", "no such module"),
    "no such function": ("own_training:train", "own_training:trai", "'train'"),
    "no network": ("own_training:train", "own_training:wrong", "a function of network"),
    "argument": ("own_training:train", "own_training:train(epoch=3)", "epoch"),
    "network": ("own_nets:make", "own_nets:mak", "'make'"),
    "factor": ("width = [4, 8]", "widht = [4, 8]", "Factor 'widht'"),
    "no factors": ("width = [4, 8]\ndense = [false, true]", "", "at least one factor"),
    "no metrics": ("[metrics]", "[other]", "one of name, network"),
    "direction": ('better = "higher"', 'better = "up"', "higher or lower"),
    "metric's name": ("accuracy =", "macs =", "no name that tables have"),
    "input": ("input = [6]", "input = [0]", "sizes without the batch"),
    "other input": ("input = [6]", "input = [5]", "runs on 5 (its input)"),
    "no input": ("input = [6]", "", "The input must be given"),
    "default": ("seeds = 3", "images = 3", "one of seeds"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files_get_one_line_before_anything_is_written(mine: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    before, after, words = WRONG[name]
    text = Path("own.toml").read_text()
    assert before in text
    Path("own.toml").write_text(text.replace(before, after))
    assert grid() == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ")
    assert words in lines[-1]
    if name != "other input":  # a network that does not run may be one of many: it is told before anything is stored as well
        assert not list(Path().glob("results/*/journal.log"))


def test_flags_that_are_for_images_are_refused(mine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert grid("--epochs", "3") == 2
    assert "--epochs must be left out where own_training:train trains" in capfd.readouterr().err
    for flag in (["--images", "9"], ["--rates", "1e-3"], ["--from", "."]):
        assert main(["search", "--space", "own.toml", *flag]) == 2
        assert f"{flag[0]} must be left out where own_training:train trains" in capfd.readouterr().err


def test_a_network_that_changes_with_each_call_is_told(mine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("own.toml").write_text(Path("own.toml").read_text().replace("own_nets:make", "own_nets:grows").replace("dense =", "# "))
    assert grid() == 2
    assert "the same network at every call" in capfd.readouterr().err


def test_a_changed_source_is_another_study(done: Path, mine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = mine / "done_training.py"
    path.write_text(path.read_text() + "\n# changed\n")
    assert grid() == 2
    assert "another source of done_training" in capfd.readouterr().err
    assert len(stored()) == 9


def stop_once() -> None:
    """The training raises Ctrl-C the first time that it trains a dense network, and keeps a file that says so."""
    first = (
        "    again = folder / 'again'\n    if deep and not again.exists():\n        again.touch()\n"
        "        signal.raise_signal(signal.SIGINT)\n        assert should_stop()\n        return None\n"
    )
    stopping = TRAINING.replace("import torch\n", "import signal\nimport torch\n", 1).replace(
        "    if deep and", first + "    if deep and"
    )
    Path("own_training.py").write_text(stopping)


def test_what_a_function_keeps_goes_to_another_machine(mine: Path) -> None:
    stop_once()
    place = ("--storage", f"sqlite:///{mine}/all.db", "--study", "own", "--seeds", "1")
    assert grid(*place, "--artifacts", "shared", "--out", "here") == 130
    assert list(Path("here").rglob("again"))
    shutil.rmtree("here")
    assert grid(*place, "--out", "there") == 0, "it would stop again without the file that was kept"
    study = optuna.load_study(study_name="own", storage=open_storage(place[1]))
    assert [record.state for record in records(study)] == [COMPLETE] * 3
    # of what is complete weights and curve alone are kept, beside the samples of the latency session
    assert len(list(Path("shared").iterdir())) == 2 * 3 + 1
    assert {path.name for path in Path("there/checkpoints").rglob("*.*")} == {BEST, ORIGIN}


def test_ctrl_c_in_a_training_keeps_what_is_done_and_the_same_command_goes_on(mine: Path) -> None:
    stop_once()
    assert grid("--seeds", "1") == 130
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert sorted(record.state for record in stored()) == ["complete", "waiting", "waiting"]
    assert grid("--seeds", "1") == 0
    assert {record.state for record in stored()} == {COMPLETE}


def test_workers_in_processes_import_it_too(mine: Path) -> None:
    assert grid("--seeds", "2", "--workers", "2") == 0
    assert len([record for record in stored() if record.state == COMPLETE]) == 6


def test_from_python_the_same(mine: Path) -> None:
    settings: dict[str, Any] = {
        "network": "own_nets:make", "train": "own_training:train", "factors": {"width": [4, 8]}, "input": (6,), "device": "cpu",
        "metrics": {"accuracy": {"unit": "%"}, "error": "lower"}, "latency_batches": (1,), "latency_budget": 0.3, "name": "py",
    }  # fmt: skip
    result = own_study(**settings, seeds=2)
    assert result.table["accuracy"].tolist() == pytest.approx([0.5405, 0.5805])
    assert result.table["variant"].tolist() == ["width 4", "width 8"]
    assert result.report.is_file()
    assert result.failed == {}
    assert "effects_accuracy" in result.plots
    assert "<svg" in result.plots["effects_accuracy"]._repr_svg_()
    assert "<table" in result._repr_html_()
    again = own_study(**settings, seeds=2)
    assert [to_plain(record)["number"] for record in again.records] == [0, 1, 2, 3]
    with pytest.raises(InputError, match="top level of a module"):
        own_study(**{**settings, "train": lambda network: {}})
    with pytest.raises(InputError, match="metrics must be"):
        own_study(**{**settings, "metrics": {}})


def test_inputs_of_whole_numbers_and_own_randomness(mine: Path) -> None:
    settings: dict[str, Any] = {
        "network": "own_nets:Words", "train": "own_training:words", "factors": {"width": [3, 5]}, "device": "cpu", "seeds": 2,
        "metrics": {"score": "higher"}, "latency_batches": (2,), "latency_budget": 0.3,
    }  # fmt: skip
    one = own_study(**settings, name="one")
    two = own_study(**settings, name="two")
    scores = [[record.quality["own"]["score"] for record in result.records] for result in (one, two)]
    assert scores[0] == scores[1], "all generators begin from the seed"
    assert len(set(scores[0])) == 2, "which is the same for both networks, as far as they draw nothing"
    assert one.records[0].costs["params"] == 20 * 3 + 3 * 2 + 2


def test_a_trained_network_leaves_with_its_weights_and_metrics(done: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["export", f"{done}:2", "--to", "there", "--budget", "0.3", "--latency-batches", "1"]
    assert main(words) == 0
    model = ablation.load("there", trust=True)
    assert [type(layer).__name__ for layer in model] == ["Linear", "ReLU", "Linear", "Linear"]
    card = Path("there/README.md").read_text()
    assert "| accuracy | 64.20 % | this network, seed 2 |" in card, "the best seed, by the metric's own direction"
    assert "| test error | 0.3580 | this network, seed 2 |" in card
    assert "done_training:train" in card
    assert "loss" not in card.lower()
    assert main([*words, "--int8"]) == 2
    assert "--int8 must be left out" in capfd.readouterr().err


def edit(before: str, after: str, name: str = "own.toml") -> None:
    """Another text in a file; what was imported from it is forgotten, as in a new process."""
    text = Path(name).read_text()
    assert before in text
    Path(name).write_text(text.replace(before, after))
    sys.modules.pop(name.removesuffix(".py"), None)


def test_what_was_wrong_may_be_mended_while_nothing_is_complete(mine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    edit("input = [6]", "input = [5]")
    assert grid("--seeds", "1") == 2
    edit("input = [5]", "input = [6]")
    edit('"accuracy": torch', '"acuracy": torch', "own_training.py")
    assert grid("--seeds", "1") == 1
    edit('"acuracy": torch', '"accuracy": torch', "own_training.py")
    assert grid("--seeds", "1") == 0
    assert {record.state for record in stored()} == {COMPLETE}
    assert "Traceback" not in capfd.readouterr().err


def test_how_metrics_are_shown_may_change_and_their_direction_may_not(done: Path, capfd: pytest.CaptureFixture[str]) -> None:
    edit('unit = "%"', 'unit = "%", label = "share of hits"')
    assert grid() == 0
    assert "highest share of hits, 64.10" in (done / "report/report.md").read_text().replace("\u00a0", " ")
    edit('better = "higher"', 'better = "lower"')
    assert grid() == 2
    assert "another metrics.accuracy: it must be 'higher'" in capfd.readouterr().err
    assert len(opened().get_trials()) == 9


BODIES = {
    "interrupted": (
        "    again = folder / 'again'\n    if not again.exists():\n        again.touch()\n        import signal\n"
        "        signal.raise_signal(signal.SIGINT)\n        raise RuntimeError('a loader died')\n",
        130, "waiting", "",
    ),
    "a file of its own": ("    open('/proc/nothing/there', 'w')\n", 1, FAILED, "FileNotFoundError"),
    "a full disk of its own": ("    raise OSError(28, 'No space left on device')\n", 1, FAILED, "No space left"),
    "a key": ("    {}['accuracy']\n", 1, FAILED, "KeyError: 'accuracy' (own_training.py, line"),
    "an exit": ("    raise ValueError\n", 1, FAILED, "ValueError"),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_what_a_training_raises_is_its_own_trials_affair(mine: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    body, code, state, words = BODIES[name]
    edit("    width, deep", f"{body}    width, deep", "own_training.py")
    edit("width = [4, 8]\ndense = [false, true]", "width = [4]")
    assert grid("--seeds", "1") == code
    [record] = stored()
    assert record.state == state
    assert words in record.reason
    assert len(opened().get_trials()) == 1, "what is sure to come again is tried once"
    if name == "interrupted":
        assert grid("--seeds", "1") == 0


def test_a_network_that_is_kept_between_calls_is_refused(mine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    edit("def make(", "from functools import lru_cache\n\n@lru_cache\ndef make(", "own_nets.py")
    assert grid() == 2
    assert "a new network at every call" in capfd.readouterr().err


def test_values_that_no_metric_names_are_kept_and_overwrite_nothing(mine: Path) -> None:
    edit('"extra": 3}', '"params": 3, "label": 4, "record": 5, "extra": 6}', "own_training.py")
    edit("width = [4, 8]\ndense = [false, true]", "width = [4]")
    assert grid("--seeds", "1") == 0
    [trial] = opened().get_trials()
    assert (trial.user_attrs["params"], trial.user_attrs["label"], trial.user_attrs["extra"]) == (38, "width 4", 6)
    assert stored()[0].quality["own"]["label"] == 4


def test_curves_stand_at_the_epochs_that_were_reported(mine: Path) -> None:
    edit("report(epoch, ", "report(10 * epoch, ", "own_training.py")
    assert grid("--seeds", "1") == 0
    assert list(values_of(stored()[0], "validation")) == [10, 20, 30]


def test_weights_follow_the_seed_whatever_draws_them(mine: Path) -> None:
    edit(
        "    return nn.Sequential(nn.Linear(6, width)",
        "    import numpy as np, torch\n    first = nn.Linear(6, width)\n"
        "    first.weight.data = torch.tensor(np.random.randn(width, 6), dtype=torch.float32)\n    return nn.Sequential(first",
        "own_nets.py",
    )
    edit('"extra": 3}', '"extra": float(network[0].weight.detach().sum())}', "own_training.py")
    edit("width = [4, 8]\ndense = [false, true]", "width = [4]")
    sums = []
    for folder in ("results/a", "results/b"):
        assert grid("--seeds", "2", "--out", folder) == 0
        sums.append([record.quality["own"]["extra"] for record in stored(Path(folder))])
    assert sums[0] == sums[1]
    assert len(set(sums[0])) == 2


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("seeds = 3", "seeds = 0", "seeds must be"),
        ("seeds = 3", 'latency_budget = "x"', "a positive number of seconds"),
        ("[defaults]\nseeds = 3", "", ""),
        ("accuracy = {", "params = {", "no name that tables have"),
    ],
)
def test_wrong_defaults_are_told(mine: Path, before: str, after: str, words: str, capfd: pytest.CaptureFixture[str]) -> None:
    edit(before, after)
    edit("width = [4, 8]\ndense = [false, true]", "width = [4]")
    assert grid() == (2 if words else 0)
    assert words in capfd.readouterr().err.splitlines()[-1]
