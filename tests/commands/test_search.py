"""`search` from proposals to the page: its stages, what each stores, stopping and going on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from ablation.design.spec import ModelSpec
from ablation.export import write
from ablation.export.formats import FORMATS
from ablation.faster.optimise import optimise
from ablation.measure.latency.compare import compare_latency
from ablation.record.convert import from_plain
from ablation.record.search_confirmed import BETTER, UNSETTLED, Confirmation
from studies.engine import latency_session
from studies.engine import trial as trial_module
from studies.export.options import ExportOptions
from studies.export.source import source_of
from studies.run import main
from studies.search import fastest, stages
from studies.store.place import PLACE
from studies.store.storage import open_storage, study_names
from tests.commands.conftest import enter
from tests.tiny_grid import BASE, last_line

REPO = Path(__file__).parents[2]
SPACE = f"""{BASE}
[factors]
conv = ["standard", "separable"]
latent_dim = [8, 16]
head = ["pooled", "bottleneck"]
"""
FOLDER = Path("results/found")


def search(*more: str) -> list[str]:
    tiny = ["search", "--space", "space.toml", "--sampler", "random", "--images", "40", "--epochs", "1", "--device", "cpu"]
    short = ["--trials", "2", "--rates", "1e-3", "--confirm", "1", "--confirm-seeds", "2", "--why-seeds", "1"]
    return [*tiny, "--latency-batches", "1", *short, "--out", str(FOLDER), *more]


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency_session, "compare_latency", partial(compare_latency, sittings=1, rounds=(2, 2)))
        patch.setattr(fastest, "compare_latency", lambda made, **more: compare_latency(made, **{**more, "budget_s": 0.5}))
        quick = {"compile": False, "runtime": None, "budget_s": 0.3}
        patch.setattr(fastest, "optimise", lambda model, **more: optimise(model, **{**more, **quick}))
        yield


@pytest.fixture(scope="module")
def finished_search(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        folder = enter(tmp_path_factory.mktemp("search"), patch)
        (folder / "space.toml").write_text(SPACE)
        assert main(search()) == 0
    return folder


@pytest.fixture
def found(finished_search: Path, place: Path) -> Path:
    """A folder to work in with a search that is complete."""
    for name in ("results", "cache"):
        shutil.copytree(finished_search / name, place / name)
    (place / "space.toml").write_text(SPACE)
    return place


def studies(where: str | Path = FOLDER / "journal.log") -> dict[str, optuna.Study]:
    storage = open_storage(where)
    return {name: optuna.load_study(study_name=name, storage=storage) for name in study_names(storage)}


def trained(where: str | Path = FOLDER / "journal.log") -> dict[str, list[tuple[str, int]]]:
    """Study -> (label, seed) of each complete trial."""
    complete = (TrialState.COMPLETE,)
    return {
        name: [(t.user_attrs["label"], t.user_attrs["seed"]) for t in study.get_trials(states=complete)]
        for name, study in studies(where).items()
    }


def confirmation() -> Confirmation:
    return from_plain(Confirmation, json.loads((FOLDER / "confirmation.json").read_text()))


def test_every_stage_stores_a_study_and_the_confirmation_has_fresh_seeds(found: Path) -> None:
    names = list(studies())
    winner = confirmation().networks[0]
    part = f"why-{winner.number}-{winner.rate}"
    assert names == ["found", "found-sweep", "found-confirm", f"found-{part}"]
    by_study = trained()
    assert {seed for _, seed in by_study["found"]} == {seed for _, seed in by_study["found-sweep"]} == {0}
    assert by_study["found"][0] == ("reference", 0)
    assert sorted(seed for _, seed in by_study["found-confirm"]) == [1, 1, 2, 2]
    assert {seed for _, seed in by_study[names[-1]]} == {3}
    assert all((FOLDER / each).is_dir() for each in ("sweep", "confirm", part))


def test_each_network_is_confirmed_with_its_own_best_rate_and_two_seeds_settle_nothing(found: Path) -> None:
    held = confirmation()
    for network in (held.reference, *held.networks):
        assert list(network.rates) == ["0.0001", "0.001"], "the search's own rate counts, without another training"
        assert network.rates[network.rate] == min(loss for loss in network.rates.values() if loss is not None)
        assert network.search_loss == network.rates["0.0001"]
        assert [seed.seed for seed in network.seeds] == [1, 2]
        record = next(t for t in studies()["found-confirm"].trials if t.user_attrs["spec"] == dict(network.spec))
        assert record.user_attrs["record"]["protocol"]["learning_rate"] == float(network.rate)
    measured = [v for v in held.verdicts if v.metric in ("loss", "test_loss", "latency")]
    assert len(measured) == 3
    assert {v.verdict for v in measured} == {UNSETTLED}
    assert all(v.low is None for v in measured)


def test_the_winner_is_a_file_that_other_commands_read(found: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = ModelSpec.from_toml((FOLDER / "winner.toml").read_text())
    assert spec.network_key == confirmation().networks[0].key
    assert ModelSpec.from_toml((FOLDER / "reference.toml").read_text()).network_key == confirmation().reference.key
    assert main(search()) == 0
    output = capsys.readouterr().err
    assert f"python -m studies.run explain {FOLDER}/reference.toml {FOLDER}/winner.toml" in output
    assert "validation loss" in output


def test_the_same_command_again_trains_nothing(found: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = trained()
    monkeypatch.setattr(trial_module, "train", lambda *a, **b: pytest.fail("trained"))
    assert main(search()) == 0
    assert trained() == before


def test_what_is_confirmed_stays_whatever_is_searched_or_asked_later(found: Path) -> None:
    """Leaving a network out by its result would choose; leaving out the confirmation would lose it."""
    before, kept = confirmation(), (FOLDER / "confirmation.json").read_text()
    assert main(search("--confirm", "0")) == 0
    assert (FOLDER / "confirmation.json").read_text() == kept
    assert main(search("--trials", "4", "--why-seeds", "0")) == 0
    assert [network.number for network in confirmation().networks] == [network.number for network in before.networks]


def test_a_used_up_space_ends_the_search_and_a_finished_one_proposes_no_more(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (place / "space.toml").write_text(SPACE)
    long = [*search("--budget", "1h", "--confirm", "0")]
    at = long.index("--trials")
    del long[at : at + 2]  # the time alone would end it
    assert main(long) == 0
    done = trained()["found"]
    assert len(done) == 9  # the reference and all eight networks
    monkeypatch.setattr(trial_module, "train", lambda *a, **b: pytest.fail("trained"))
    monkeypatch.setattr(stages, "spent_s", lambda study: 0.0)
    num = len(studies()["found"].trials)
    assert main(long) == 0
    assert trained()["found"] == done and len(studies()["found"].trials) == num


def test_another_finalist_goes_on_from_there(found: Path) -> None:
    first = confirmation().networks[0]
    before = {t.number for t in studies()["found-confirm"].trials}
    assert main(search("--confirm", "2", "--confirm-seeds", "3", "--why-seeds", "0")) == 0
    held = confirmation()
    trials = studies()["found-confirm"].trials
    assert {t.number for t in trials if t.state == TrialState.COMPLETE} >= before
    assert first.number in [network.number for network in held.networks]
    assert all(len(network.seeds) == 3 for network in (held.reference, *held.networks))
    assert any(v.low is not None for v in held.verdicts if v.metric == "loss"), "three seeds give an interval"
    again = next(network for network in held.networks if network.number == first.number)
    assert again.seeds[:2] == first.seeds


def test_two_workers_on_a_shared_database_and_another_folder_that_joins(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "space.toml").write_text(SPACE)
    shared = f"sqlite:///{place / 'shared.db'}"
    on = ("--storage", shared, "--study", "found")
    asked = search(*on, "--why-seeds", "0", "--latency-budget", "0.5")
    assert main([*asked, "--workers", "2", "--artifacts", "files"]) == 0
    assert {study.user_attrs[PLACE] for study in studies(shared).values()} == {str(place / "files")}
    before = trained(shared)
    assert {name.partition("found")[2].partition("-")[2].partition("-")[0] for name in before} == {"", "sweep", "confirm"}
    assert all(len(set(trials)) == len(trials) for trials in before.values())
    assert len(before["found"]) == 3  # the reference and two proposals
    assert json.loads((FOLDER / "confirmation.json").read_text())["networks"]
    assert not (FOLDER / "journal.log").exists()
    # another machine with a folder of its own finds everything done
    asked[asked.index(str(FOLDER))] = "results/joined"
    assert main(asked) == 0
    assert trained(shared) == before
    # and has the pictures and weights of what it has not trained
    assert Path("results/joined/page/gallery.png").read_bytes() == (FOLDER / "page/gallery.png").read_bytes()
    for name in ("winner", "reference"):
        exported = source_of(ExportOptions(what=f"results/joined:{name}", to=Path("x"), storage=shared))
        assert exported.origin.trained
    assert len(list(Path("results/joined").rglob("best.safetensors"))) == 2
    # a machine that only reads needs neither the folder of the search nor its command
    assert main(["report", "results/empty", *on]) == 0
    pages = [
        {p.name: p.read_bytes() for p in Path(of, "page").rglob("*.[cp][sn][vg]")} for of in ("results/empty", "results/joined")
    ]
    assert pages[0] == pages[1] and "gallery.png" in pages[0]
    exported = source_of(ExportOptions(what="results/other:winner", to=Path("x"), storage=shared, study="found"))
    assert exported.origin.trained
    assert main(["status", "--storage", shared]) == 0
    assert "found-confirm: 4 planned: 4 complete" in capsys.readouterr().out


def test_the_winner_and_the_reference_can_be_exported(
    found: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "FORMATS", FORMATS[:1])
    for name in ("winner", "reference"):
        assert main(["export", f"{FOLDER}:{name}", "--to", name, "--budget", "0.3", "--latency-batches", "1"]) == 0
        card = (found / name / "README.md").read_text()
        assert "| validation loss, mean |" in card
        assert "| 2 seeds, 95 % |" in card
        chosen = confirmation().networks[0] if name == "winner" else confirmation().reference
        assert f"learning_rate={float(chosen.rate)}," in card
    assert (
        json.loads(Path("winner/config.json").read_text())["spec"]
        == ModelSpec.from_toml((FOLDER / "winner.toml").read_text()).to_dict()
    )
    assert main(["export", f"{FOLDER}:nobody", "--to", "made"]) == 2
    assert "FOLDER:NUMBER of a proposal" in last_line(capsys.readouterr().err)


def test_report_and_status_read_what_is_stored_without_torch(found: Path) -> None:
    code = (
        "import sys; from studies.run import main; a = main(['status']); b = main(['report', 'results/found', '--to', 'kept']); "
        "c = main(['report']); assert 'torch' not in sys.modules; sys.exit(a + b + c)"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "found-confirm: 4 planned: 4 complete" in done.stdout
    kept = {path.name for path in Path("kept").iterdir()}
    assert {"search.html", "search.md", "search.json", "winner.toml", "confirmation.json"} <= kept
    assert not (FOLDER / "report").exists(), "its page is that of the search"
    assert main(["report", "kept"]) == 0


class Interrupted:
    """Training that is interrupted as by Ctrl-C once a study of this name begins to train."""

    def __init__(self, part: str) -> None:
        self.part, self.real = part, trial_module.train

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        if self.part == named["checkpoint_dir"].parents[1].name.partition("-")[0]:
            self.part = ""
            os.kill(os.getpid(), signal.SIGINT)
        return self.real(*arguments, **named)


def test_ctrl_c_at_each_stage_says_how_to_go_on(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (place / "space.toml").write_text(SPACE)
    for part in ("found", "sweep", "confirm", "why"):
        with monkeypatch.context() as patch:
            patch.setattr(trial_module, "train", Interrupted(part))
            assert main(search()) == 130
        message = capfd.readouterr().err
        assert "the same command goes on from here:" in message
        assert last_line(message).startswith("  python -m studies.run search --space space.toml")
    assert main(search()) == 0
    assert [len(names) for names in trained().values()] == [3, 4, 4, len(trained()[list(trained())[-1]])]
    assert confirmation().networks[0].seeds


def test_a_budget_ends_the_search_and_not_the_confirmation(found: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it searched before counts: the same command does not begin the time anew."""
    monkeypatch.setattr(trial_module, "train", lambda *a, **b: pytest.fail("trained"))
    monkeypatch.setattr(stages, "spent_s", lambda study: 100.0)
    assert main(search("--trials", "50", "--budget", "99s")) == 0
    assert len(trained()["found"]) == 3


def test_a_proposal_that_fails_to_train_is_recorded_and_the_search_goes_on(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (place / "space.toml").write_text(BASE + '[factors]\nhead = ["flatten", "pooled"]\n')
    real = trial_module.train

    def fails(model: Any, *arguments: Any, **named: Any) -> Any:
        if model.spec.head == "pooled":
            raise RuntimeError("broken on purpose")
        return real(model, *arguments, **named)

    monkeypatch.setattr(trial_module, "train", fails)
    wide = "small,image_size=16,decoder_stem=128"
    assert main(search("--reference", wide, "--trials", "2", "--why-seeds", "0")) == 0
    assert "broken on purpose" in capfd.readouterr().err
    held = confirmation()
    assert [network.label for network in held.networks] == ["flatten"]
    assert (held.reference.label, held.reference.spec["decoder_stem"]) == (wide, 128)
    assert {v.metric: v.verdict for v in held.verdicts}["params"] == BETTER


NAMED = [
    "search",
    "--network",
    "small,head=pooled",
    "--reference",
    "small",
    "--image-size",
    "16",
    "--images",
    "40",
    "--epochs",
    "1",
]


def test_a_named_network_is_confirmed_without_a_search_and_no_training_is_made_twice(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Reference and network with two rates and two fresh seeds: the search's two trainings are taken over by the sweep."""
    real, made = trial_module.train, list[tuple[str, float, int]]()

    def counted(model: Any, dataset: Any, split: Any, protocol: Any, **named: Any) -> Any:
        made.append((model.spec.head, protocol.learning_rate, named["seed"]))
        return real(model, dataset, split, protocol, **named)

    monkeypatch.setattr(trial_module, "train", counted)
    more = [
        "--rates",
        "1e-3",
        "3e-3",
        "--learning-rate",
        "1e-3",
        "--reference-rate",
        "3e-3",
        "--confirm",
        "1",
        "--confirm-seeds",
        "2",
    ]
    rest = ["--why-seeds", "0", "--latency-batches", "1", "--device", "cpu", "--out", str(FOLDER)]
    assert main([*NAMED, *more, *rest]) == 0
    assert sorted(made[:2]) == [("flatten", 3e-3, 0), ("pooled", 1e-3, 0)]  # each by its own rate
    assert sorted(made[2:4]) == [("flatten", 1e-3, 0), ("pooled", 3e-3, 0)]
    assert len(made) == 8 and {seed for *_, seed in made[4:]} == {1, 2}
    held = confirmation()
    assert [network.label for network in held.networks] == ["small,head=pooled"]
    assert set(held.reference.rates) == set(held.networks[0].rates) == {"0.001", "0.003"}
    assert held.reference.rates["0.003"] == held.reference.search_loss
    assert {verdict.metric for verdict in held.verdicts} >= {"params", "latency", "fastest", "loss", "test_loss"}
    assert "none, all networks that were named" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (NAMED[:3], "--reference must be given"),
        ([*NAMED[:3], "--reference", "small,head=pooled"], "another network than the reference"),
    ],
)
def test_a_named_network_needs_another_one_as_its_reference(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main([*arguments, "--images", "40"]) == 2
    assert words in last_line(capsys.readouterr().err)


def wrong(name: str, arguments: list[str], *words: str) -> object:
    return pytest.param(arguments, words, id=name)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        wrong("limits that leave nothing", ["--limit", "params=1k", "--limit", "macs=5G"],
              "--limit", "params=1k excludes 8", "macs=5G excludes 0", "the least params is"),
        wrong("contradictory limits", ["--limit", "params=1M", "--limit", "params=2M"], "--limit", "params=1M and params=2M"),
        wrong("no limit", ["--limit", "beauty=3"], "beauty", "params"),
        wrong("latency that is not timed", ["--limit", "latency@32=0.5x"], "latency@32", "--latency-batches"),
        wrong("unknown sampler", ["--sampler", "magic"], "--sampler", "nsga2"),
        wrong("reference of another size", ["--reference", "small"], "--reference", "image_size, 16", "48"),
        wrong("unknown reference", ["--reference", "smal"], "preset", "small"),
        wrong("no budget", ["--budget", "soon"], "--budget", "20m"),
        wrong("budget below one training", ["--budget", "0.001s"], "--budget", "one training of the reference"),
        wrong("no such space", ["--space", "none.toml"], "none.toml"),
        wrong("sizes as levels", ["--space", "sizes.toml"], "image_size", "the same in the whole space"),
        wrong("earlier study that is none", ["--from", "nowhere"], "--from", "nowhere"),
        wrong("too many finalists", ["--confirm", "6"], "--confirm", "0 to 5"),
        wrong("a rate that is none", ["--rates", "2"], "learning_rate"),
        wrong("no trials", ["--trials", "0"], "--trials"),
        wrong("a protocol as a factor", ["--space", "rates.toml"], "'learning_rate'", "of the network alone", "--rates"),
        wrong("a network and a space", ["--network", "small,head=pooled", "--reference", "small"], "--space", "--network"),
    ],
)  # fmt: skip
def test_wrong_input_is_one_line_before_anything_is_stored(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: tuple[str, ...]
) -> None:
    (place / "space.toml").write_text(SPACE)
    (place / "rates.toml").write_text(SPACE + "learning_rate = [1e-3, 1e-2]\n")
    assert main(search(*arguments)) == 2
    message = last_line(capsys.readouterr().err)
    assert message.startswith("error: ")
    for word in words:
        assert word in message
    journal = FOLDER / "journal.log"
    assert not journal.exists() or not journal.stat().st_size


def test_other_settings_in_the_folder_are_refused(found: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = trained()
    for change, word in (
        (["--images", "50"], "data.limit"), (["--epochs", "2"], "protocol.epochs"), (["--limit", "params=9M"], "search.limits"),
    ):  # fmt: skip
        assert main(search(*change)) == 2
        message = last_line(capsys.readouterr().err)
        assert word in message and "--out" in message
    grid = ["grid", "--space", "space.toml", "--images", "40", "--epochs", "1", "--device", "cpu", "--out", str(FOLDER)]
    assert main(grid) == 2
    assert "a study of `search`" in capsys.readouterr().err
    assert trained() == before
