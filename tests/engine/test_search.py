"""A search from its reference to its rungs: what is trained first, taken over, stopped, continued, and what fails on the way."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from ablation.data import load_dataset
from ablation.design.protocol import Protocol
from ablation.design.space import Space
from ablation.design.spec import preset
from ablation.design.variant import Variant
from ablation.measure.costs.operation import Operation
from ablation.measure.costs.static import static_cost
from ablation.measure.latency.compare import compare_latency
from ablation.record.trial import COMPLETE, FAILED, STOPPED, Record
from ablation.search.costs import SpaceCosts
from ablation.search.latency_model import LatencyModel, TimedNetwork
from ablation.train.train import train
from blocks.errors import InputError
from studies.engine import latency_session
from studies.engine.config import StudyConfig
from studies.engine.latency_session import ensure_latency
from studies.engine.opened import RunOptions, StudyRun, open_run
from studies.engine.proposals import Describe, Search, describe_of, source_of
from studies.engine.reporting import report_study
from studies.engine.runner import plan_search, run_study, run_trials
from studies.engine.search.earlier import COPIED, earlier_records, store_earlier, stored_earlier
from studies.engine.search.first import first_jobs
from studies.engine.search.levels import levels_of
from studies.engine.search.observations import observations
from studies.engine.search.predicted import Predicted, predictor, store_models
from studies.engine.search.rungs import RUNGS, RungWatch, no_longer_stopped, rank_correlations, runners
from studies.engine.search.settings import EARLIER, REFERENCE, check_search, reference_spec, search_of
from studies.store.queue import GO_ON, fail, go_on, trial_state
from studies.store.records import records
from studies.store.source import ROLE, Sampled, propose_until
from studies.work.loop import run_worker
from tests.storages import a_study, other_hardware

BASE = preset("small").replace(image_size=16)
OTHER = BASE.replace(conv="separable", latent_dim=24)  # no network of the space
SPACE = Space(
    name="tiny",
    base=BASE,
    factors={
        "conv": {"standard": {"conv": "standard"}, "separable": {"conv": "separable"}},
        "latent_dim": {"8": {"latent_dim": 8}, "32": {"latent_dim": 32}},
    },
)


@pytest.fixture(scope="module")
def dataset() -> Any:
    return load_dataset("faces", image_size=16, limit=40, seed=0)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("ABLATION_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setattr(latency_session, "compare_latency", partial(compare_latency, sittings=1, rounds=(2, 2)))


def config(dataset: Any, epochs: int = 1, space: Space = SPACE, **search: Any) -> StudyConfig:
    return StudyConfig(
        name="tiny",
        space=space.to_dict(),
        data={"name": "faces", "limit": 40, "seed": 0, "image_size": 16},
        fingerprint=dataset.fingerprint,
        protocol=Protocol(epochs=epochs).to_dict(),
        latency_batches=(1,),
        search={"sampler": "RandomSampler", **search} if search else {},
    )


def opened(out: Path, wanted: StudyConfig, dataset: Any) -> StudyRun:
    return open_run(wanted, RunOptions(out=out, study="tiny"), dataset, Console(quiet=True))


def of_run(run: StudyRun) -> list[Record]:
    return records(run.study, run.config.limits)


# --- the reference


def test_the_reference_is_trained_first_and_lies_outside_of_the_space(tmp_path: Path, dataset: Any) -> None:
    """It breaks the limit and is trained all the same; a sampler that needs every factor goes on past it."""
    limits = {"params_ratio": 0.999}
    wide = BASE.replace(latent_dim=48)
    wanted = config(dataset, num_trials=1, sampler="NSGAIISampler", reference=wide.to_dict(), reference_seeds=2, limits=limits)
    run = opened(tmp_path / "out", wanted, dataset)
    assert run_study(run) == 0
    first, second, *rest = run.study.trials
    assert [first.user_attrs[ROLE], second.user_attrs[ROLE]] == [REFERENCE, REFERENCE]
    assert [first.user_attrs["seed"], second.user_attrs["seed"]] == [0, 1]
    stored = [record for record in of_run(run) if record.state == COMPLETE]
    assert [record.network_key for record in stored[:2]] == [wide.network_key] * 2
    assert (stored[0].label, stored[0].factors, stored[0].latency["cpu/1"]["ratio"]) == ("reference", {}, 1.0)
    assert len(stored) == 3 and stored[2].latency["cpu/1"]["ratio"] != 1.0
    assert all(ROLE not in trial.user_attrs and set(trial.params) == set(SPACE.factors) for trial in rest)
    assert run_trials(run) == 0 and len(run.study.trials) == 2 + len(rest)  # nothing twice


def test_a_reference_inside_of_the_space_is_what_samplers_learn_from(tmp_path: Path, dataset: Any) -> None:
    inside = SPACE.variant({"conv": "separable", "latent_dim": "8"})
    wanted = config(dataset, num_trials=1, reference=inside.spec.to_dict(), reference_seeds=1)
    run = opened(tmp_path / "out", wanted, dataset)
    jobs = first_jobs(run.study, wanted, Describe(SPACE, Search(**wanted.search), reference_spec(wanted)))
    assert [(job.key, job.params) for job in jobs] == [((inside.key, 0), {"conv": "separable", "latent_dim": "8"})]
    assert reference_spec(config(dataset, num_trials=1)) == BASE


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"reference": {"preset": "small"}}, "image_size of the reference must be that of the space, 16. Got 48"),
        ({"reference": {"preset": "small", "image_size": 16, "in_channels": 1}}, "in_channels of the reference must be"),
        ({"limits": {"latency_ms@32": 1.0}}, "The limit latency_ms@32 must be on a batch size that is timed, 1. Got '32'"),
        ({"limits": {"params": 1.0, "params_ratio": 1.0}}, "The limits must be one for params"),
        ({"rungs": [2.0]}, "A rung must be a fraction"),
        ({"reference_seeds": -1}, "reference_seeds must be a whole number of at least 0"),
    ],
)
def test_a_search_that_cannot_be_is_refused_before_anything_is_written(
    tmp_path: Path, dataset: Any, search: dict[str, Any], message: str
) -> None:
    wanted = config(dataset, num_trials=1, **search)
    with pytest.raises(InputError, match=message):
        check_search(wanted)
    with pytest.raises(InputError, match=message):
        opened(tmp_path / "out", wanted, dataset)
    assert not (tmp_path / "out").exists()


def test_settings_are_stored_as_they_were_before_later_ones() -> None:
    search = Search(num_trials=3, rungs=(0.25,), limits={"params": 3e6})
    assert search.to_dict() == {"num_trials": 3, "rungs": [0.25], "limits": {"params": 3e6}}
    assert Search(**search.to_dict()) == search


# --- proposals


@pytest.fixture(scope="module")
def model() -> LatencyModel:
    """Fitted to networks of one operation each."""
    adds = {n: Operation("add", "elementwise", 0, 3000 * n, 1000 * n, 8, 8) for n in range(1, 25)}
    timed = {str(n): TimedNetwork(ms=1.1 * n, operations=(add,), operation_ms=(1.0 * n,)) for n, add in adds.items()}
    return LatencyModel.fit(timed, "10")


@pytest.mark.parametrize("sampler", ["free", "tpe", "gp", "nsga2", "random"])
def test_every_sampler_searches_with_a_reference_outside_of_the_space(
    tmp_path: Path, dataset: Any, model: LatencyModel, sampler: str
) -> None:
    """All networks inside of the limit are trained once: two of the four, since separable ones are smaller here."""
    limit = static_cost(SPACE.variant({"conv": "separable", "latent_dim": "32"}).spec).params + 1.0
    wanted = config(dataset, num_trials=2, sampler=sampler, reference=OTHER.to_dict(), reference_seeds=1, limits={"params": limit},
                    proposals_per_trial=40)  # fmt: skip
    run = opened(tmp_path / "out", wanted, dataset)
    store_models(run.study, wanted, {1: model})
    assert plan_search(run) == (0, 3)
    source = source_of(wanted, run.study)

    def objective(trial: optuna.Trial) -> tuple[float, float, float]:
        return 0.5 + trial.number / 100, 2.0, 100.0

    report = run_worker(run.study, objective, source=source)
    complete = run.study.get_trials(states=(TrialState.COMPLETE,))
    assert len(report.complete) == len({trial.user_attrs["network_key"] for trial in complete}) == 3
    assert {trial.params["conv"] for trial in complete if trial.params} == {"separable"}
    assert source.remaining(run.study) == 0
    if sampler == "free":  # it knows the limit and what was trained beforehand
        assert len(run.study.trials) == 3
    if sampler == "nsga2":
        assert sum("generation" in name for trial in complete for name in trial.system_attrs) == 2


def test_a_stored_model_predicts_for_every_worker(
    tmp_path: Path, dataset: Any, model: LatencyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On other hardware it is good enough to choose by, and refuses nothing."""
    wanted = config(dataset, num_trials=1, limits={"latency_ms@1": 1e-9})
    run = opened(tmp_path / "out", wanted, dataset)
    assert predictor(run.study, wanted) is None
    store_models(run.study, wanted, {1: model})
    predict = predictor(run.study, wanted)
    assert predict is not None
    direct = model.predict(SpaceCosts(1).operations(BASE))
    assert predict(BASE) == {1: Predicted(ms=direct.ms, ratio=direct.ratio, error=model.error.p90)}
    assert "predicted" in Describe(SPACE, search_of(wanted), BASE, predict)({"conv": "standard", "latent_dim": "8"}).reason
    monkeypatch.setattr("studies.engine.search.predicted.hardware_digest", lambda device: "other")
    elsewhere = predictor(run.study, wanted)
    assert elsewhere is not None and elsewhere(BASE)[1].error == 1.0
    assert Describe(SPACE, search_of(wanted), BASE, elsewhere)({"conv": "standard", "latent_dim": "8"}).reason == ""


def test_free_needs_a_predicted_latency_and_some_network(tmp_path: Path, dataset: Any, model: LatencyModel) -> None:
    wanted = config(dataset, num_trials=1, sampler="free", limits={"params": 1.0})
    run = opened(tmp_path / "out", wanted, dataset)
    with pytest.raises(InputError, match=r"sampler must be one that needs no predicted latency where there is none\. Got 'free'"):
        run_worker(run.study, lambda trial: (1.0, 1.0, 1.0), source=source_of(wanted, run.study))
    store_models(run.study, wanted, {1: model})
    with pytest.raises(InputError):
        run_worker(run.study, lambda trial: (1.0, 1.0, 1.0), source=source_of(wanted, run.study))
    assert run.study.trials == []


def test_processes_of_a_machine_share_what_they_know_of_the_pool(
    tmp_path: Path, dataset: Any, model: LatencyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = config(dataset, num_trials=1, sampler="free")
    run = opened(tmp_path / "out", wanted, dataset)
    store_models(run.study, wanted, {1: model})
    first = describe_of(wanted, run.study, tmp_path)
    first.prepare()
    monkeypatch.setattr(Describe, "_of", lambda *_: pytest.fail("described again"))
    second = describe_of(wanted, run.study, tmp_path)
    second.prepare()
    assert second.pool.base.keys.tolist() == first.pool.base.keys.tolist() != []
    assert second.pool.base.costs.tolist() == first.pool.base.costs.tolist()
    # another limit is another pool
    other = describe_of(replace(wanted, search={**wanted.search, "limits": {"params": 1e9}}), run.study, tmp_path)
    assert first.shared != other.shared != describe_of(wanted, None, tmp_path).shared


def test_limits_relative_to_the_reference_and_predicted_latency() -> None:
    """Predicted 0.5 with an error of 0.1 may be 0.45: over a limit of 0.4, and not over one of 0.46."""
    search = Search(num_trials=1, limits={"params_ratio": 1.01, "latency_ratio@1": 0.4})
    params = {"conv": "standard", "latent_dim": "8"}
    predict = lambda spec: {1: Predicted(ms=5.0, ratio=0.5, error=0.1)}  # noqa: E731
    slow = Describe(SPACE, search, BASE, predict)(params)
    assert slow.reason == "predicted, less its error: latency_ratio@1 0.45 is over the limit 0.4"
    assert slow.constraints["latency_ratio@1"] == pytest.approx(0.125)
    assert Describe(SPACE, search, BASE)(params).reason == ""
    describe = Describe(SPACE, replace(search, limits={"params_ratio": 1.01, "latency_ratio@1": 0.46}), BASE, predict)
    assert describe(params).reason == "" and set(describe(params).constraints) == {"params_ratio"}  # the rest is measured
    assert describe.values(params)["latency_ms@1"] == 5.0
    large = Describe(SPACE, replace(search, limits={"params_ratio": 0.5}), BASE)(params)
    ratio = static_cost(BASE.replace(latent_dim=8)).params / static_cost(BASE).params
    assert large.reason == f"params_ratio {ratio:.6g} is over the limit 0.5"
    assert large.constraints == {"params_ratio": pytest.approx(ratio / 0.5 - 1)}


def test_nothing_is_proposed_after_its_time(tmp_path: Path, dataset: Any) -> None:
    run = opened(tmp_path / "out", config(dataset, num_trials=3), dataset)
    source = source_of(run.config, run.study)
    assert source.remaining(run.study) == 3
    propose_until(run.study, 1.0)
    assert source.remaining(run.study) == 0
    propose_until(run.study, None)
    assert source.remaining(run.study) == 3


def test_a_proposal_that_fails_is_recorded_and_the_search_goes_on(
    tmp_path: Path, dataset: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of the four networks diverges, one can't be built by a run: the other two come to their end."""

    def train_or_fail(model: Any, *rest: Any, **more: Any) -> Any:
        if model.spec.latent_dim == 8 and model.spec.encoder_conv == "separable":
            raise RuntimeError("the loss became NaN")
        return train(model, *rest, **more)

    def check(spec: Any, *rest: Any, **more: Any) -> Any:
        from studies.engine.preflight import Finding

        return Finding(reason="it has no backward" if spec.latent_dim == 32 and spec.encoder_conv == "separable" else "")

    monkeypatch.setattr("studies.engine.trial.train", train_or_fail)
    monkeypatch.setattr("studies.engine.trial.check_network", check)
    run = opened(tmp_path / "out", config(dataset, num_trials=4, proposals_per_trial=30), dataset)
    assert run_trials(run) == 0
    state = trial_state(run.study)
    assert (state.complete, state.failed) == (2, 2)
    reasons = {record.reason for record in of_run(run) if record.state == FAILED}
    assert reasons == {"RuntimeError: the loss became NaN", "it has no backward"}


@pytest.mark.parametrize(
    ("factors", "fits"),
    [({"conv": "separable", "latent_dim": "32"}, True), ({"conv": "standard", "latent_dim": "8"}, True)],
)
def test_levels_are_known_again_from_the_network(factors: dict[str, str], fits: bool) -> None:
    assert levels_of(SPACE, SPACE.variant(factors)) == factors
    assert levels_of(SPACE, Variant(spec=OTHER)) is None


def test_levels_are_known_again_where_factors_do_nothing_and_stages_differ() -> None:
    factors = {
        "connectivity": {"plain": {"connectivity": "plain"}, "dense": {"connectivity": "dense"}},
        "growth_rate": {"4": {"growth_rate": 4}, "8": {"growth_rate": 8}},
        "kl_weight": {"0.001": {"kl_weight": 1e-3}, "0.01": {"kl_weight": 1e-2}},
        "conv": {"all": {"conv": "standard"}, "late": {"encoder_conv": ["standard", "standard", "separable"]}},
    }
    widths = {"encoder_widths": [8, 8, 8], "decoder_widths": [8, 8, 8]}
    space = Space(name="s", base=BASE.replace(**widths), factors=factors)
    for levels in (("plain", "4", "0.01", "late"), ("dense", "8", "0.001", "all")):
        wanted = dict(zip(factors, levels, strict=True))
        assert levels_of(space, space.variant(wanted)) == wanted
    plain = Variant(spec=space.base.replace(growth_rate=99))  # growth rate does nothing in it
    assert space.variant(levels_of(space, plain) or {}).key == plain.key


# --- warm start


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory, dataset: Any) -> Path:
    """A grid of the four networks, two of them trained."""
    out = tmp_path_factory.mktemp("grid") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency_session, "compare_latency", partial(compare_latency, sittings=1, rounds=(2, 2)))
        small = replace(SPACE, factors={**SPACE.factors, "conv": {"standard": {"conv": "standard"}}})
        assert run_trials(opened(out, config(dataset, space=small), dataset)) == 0
    return out


def test_earlier_trainings_are_taken_over_with_their_origin(
    tmp_path: Path, dataset: Any, grid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []

    def counted(model: Any, *rest: Any, **more: Any) -> Any:
        trained.append(model.spec.network_key)
        return train(model, *rest, **more)

    monkeypatch.setattr("studies.engine.trial.train", counted)
    wanted = config(dataset, num_trials=2, reference_seeds=1, proposals_per_trial=40)
    earlier = earlier_records([grid], wanted)
    assert (len(earlier.records), earlier.refused) == (2, {})
    run = opened(tmp_path / "out", wanted, dataset)
    assert (store_earlier(run.study, earlier), store_earlier(run.study, earlier)) == (2, 0)
    assert run_trials(run) == 0
    old = {one.record.network_key: one.record for one in earlier.records}
    complete = {record.network_key: record for record in of_run(run) if record.state == COMPLETE}
    assert old.keys() <= complete.keys()  # the best of them are planned without being proposed
    assert set(trained) == complete.keys() - old.keys()
    for key, record in old.items():
        taken = complete[key]
        assert taken.provenance[COPIED] == {"folder": str(grid), "study": "tiny", "trial": record.number, "network_key": key}
        assert taken.training["best_loss"] == record.training["best_loss"] and taken.quality == record.quality
        assert taken.latency["cpu/1"]["ratio"] > 0 and taken.costs == record.costs
        assert (run.folder.checkpoints(key, 0) / "best.safetensors").is_file()
        assert np.load(run.folder.reconstructions(key, 0)).shape == np.load(run.folder.originals).shape
    roles = {trial.user_attrs.get(ROLE) for trial in run.study.trials if trial.state == TrialState.COMPLETE}
    assert roles >= {REFERENCE} and roles <= {REFERENCE, EARLIER, None}
    report_study(run.study, run.folder, run.config, Console(quiet=True))


def test_what_earlier_studies_know_is_seen_by_samplers(tmp_path: Path, dataset: Any, grid: Path) -> None:
    wanted = config(dataset, num_trials=2)
    run = opened(tmp_path / "out", wanted, dataset)
    store_earlier(run.study, earlier_records([grid], wanted))
    known = observations(run.study, wanted)
    assert {trial.params["latent_dim"] for trial in known} == {"8", "32"}
    by_key = {one.record.network_key: one.record for one in stored_earlier(run.study)}
    for trial in known:
        record = by_key[trial.user_attrs["network_key"]]
        assert trial.values == [record.training["best_loss"], record.latency["cpu/1"]["median_ms"], record.costs["params"]]
    source = source_of(wanted, run.study)
    assert isinstance(source, Sampled)
    same = optuna.trial.create_trial(state=TrialState.FAIL, user_attrs={"network_key": known[0].user_attrs["network_key"]})
    shown = [[trial.user_attrs for trial in source.seen(trials)] for trials in ([], [same])]
    # what this study knows by itself counts
    assert shown == [[known[0].user_attrs, known[1].user_attrs], [known[1].user_attrs, same.user_attrs]]


def test_an_earlier_latency_is_of_the_hardware_that_its_trial_ran_on(tmp_path: Path, dataset: Any) -> None:
    """Not of the first of that study."""
    one = replace(SPACE, factors={"latent_dim": {"8": {"latent_dim": 8}}})
    run = opened(tmp_path / "out", config(dataset, space=one), dataset)
    with pytest.MonkeyPatch.context() as patch:
        other_hardware(patch, cpu="Other CPU")
        assert ensure_latency(run, lambda: False)
    assert run_trials(run) == 0
    (record,) = of_run(run)
    first, here = record.latency.values()
    (earlier,) = earlier_records([tmp_path / "out"], config(dataset, num_trials=1)).records
    assert earlier.record.latency == {"cpu/1": here} != {"cpu/1": first}


def test_a_folder_that_does_not_fit_is_refused_with_its_reason(tmp_path: Path, dataset: Any, grid: Path) -> None:
    def reason(wanted: StudyConfig, folder: Path = grid) -> str:
        earlier = earlier_records([folder], wanted)
        assert earlier.records == ()
        return earlier.refused[str(folder)]

    wanted = config(dataset, num_trials=1)
    before = {path: path.stat().st_mtime_ns for path in grid.rglob("*")}
    assert reason(replace(wanted, fingerprint="f" * 16)).startswith("its images are others: fingerprint " + dataset.fingerprint)
    assert reason(replace(wanted, data={**wanted.data, "image_size": 32})) == "its images are 16 px wide, not 32"
    assert reason(replace(wanted, device="cuda")) == "it was trained on cpu, not on cuda"
    for name, value in (("epochs", 2), ("kl_weight", 0.5), ("split_seed", 1), ("learning_rate", 0.5)):
        other = replace(wanted, protocol={**wanted.protocol, name: value})
        assert reason(other) == f"its protocol has another {name}: {wanted.protocol[name]}, not {value}"
    assert "an existing journal file" in reason(wanted, tmp_path / "nowhere")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "journal.log").write_text("no journal\n")
    assert reason(wanted, tmp_path / "torn")
    assert {path: path.stat().st_mtime_ns for path in grid.rglob("*")} == before
    both = earlier_records([tmp_path / "nowhere", grid], wanted)
    assert len(both.records) == 2 and list(both.refused) == [str(tmp_path / "nowhere")]


def test_another_seed_or_protocol_is_trained(tmp_path: Path, dataset: Any, grid: Path) -> None:
    """A factor of the protocol at the grid's own value is the grid's network; at another value it is not."""
    space = replace(SPACE, factors={**SPACE.factors, "learning_rate": {"a": {"learning_rate": 1e-4}, "b": {"learning_rate": 1e-3}}})
    wanted = config(dataset, space=space, num_trials=1)
    earlier = earlier_records([grid], wanted)
    levels = [levels_of(Space.from_dict(wanted.space), Variant(spec=BASE.replace(latent_dim=n))) for n in (8, 32)]
    assert {one.record.network_key for one in earlier.records} == {space.variant(each or {}).key for each in levels}
    assert all(each and each["learning_rate"] == "a" for each in levels)


# --- rungs


def test_a_stopped_training_keeps_its_checkpoint_and_goes_on(tmp_path: Path, dataset: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after one epoch of four, counted apart from failures, shown, continued from there to the very same end."""
    wanted = config(dataset, epochs=4, num_trials=1, rungs=[0.25, 0.5])
    run = opened(tmp_path / "out", wanted, dataset)
    monkeypatch.setattr("studies.engine.search.rungs.stop_reason", lambda own, others, epoch, *_: f"stopped at {epoch}")
    assert run_trials(run) == 1  # nothing is complete
    (trial,) = run.study.trials
    assert (trial.state, trial.user_attrs["reason_kind"]) == (TrialState.PRUNED, STOPPED)
    assert list(trial.user_attrs[RUNGS]["losses"]) == ["1"]
    state = trial_state(run.study)
    assert (state.planned, state.stopped, state.failed, state.waiting) == (1, 1, 0, 0)
    (record,) = of_run(run)
    assert (record.state, record.reason, len(record.training["epochs"])) == (STOPPED, "stopped at 1", 1)
    assert record.costs["params"] and record.latency["cpu/1"]["median_ms"]
    assert (run.folder.checkpoints(record.network_key, 0) / "checkpoint.pt").is_file()
    report_study(run.study, run.folder, run.config, Console(quiet=True))
    assert "1 stopped" in (run.folder.report / "report.md").read_text()
    assert run_trials(run) == 1 and len(run.study.trials) == 1  # it stays stopped

    assert go_on(run.study, [("nobody", 0)]) == 0
    assert (go_on(run.study), go_on(run.study)) == (1, 0)
    assert trial_state(run.study).waiting == 1
    assert run_trials(run) == 0
    (done,) = of_run(run)
    assert (done.state, done.training["resumed_from_epoch"], len(done.training["epochs"])) == (COMPLETE, 1, 4)
    assert run.study.trials[1].user_attrs[GO_ON]

    plain = opened(tmp_path / "plain", config(dataset, epochs=4, num_trials=1), dataset)
    assert run_trials(plain) == 0
    (whole,) = of_run(plain)
    assert whole.network_key == done.network_key
    assert [e["val_loss"] for e in done.training["epochs"]] == [e["val_loss"] for e in whole.training["epochs"]]


def test_a_search_stops_what_is_worse_in_everything(tmp_path: Path, dataset: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses are invented: the wide network is larger, slower and worse, so it goes no further than its first rung."""
    losses = {8: 0.5, 32: 0.9}

    def quality(network: Any, *rest: Any, seed: int, **more: Any) -> dict[str, Any]:
        value = losses[network.spec.latent_dim] + 0.001 * seed
        return {"loss": value, "ssim": value, "l1": value, "kl": value, "active_units": 1, "kl_per_dim": [1.0]}

    monkeypatch.setattr("ablation.train.loop.sampled_quality", quality)
    monkeypatch.setattr("ablation.train.loop.part_names", lambda protocol: ("loss", "ssim", "l1", "kl"))
    monkeypatch.setattr(
        "studies.engine.trial.comparable_latencies",
        lambda study: {key: {"cpu/1": {"median_ms": 1.0, "ratio": 2.0 if key == wide else 1.0}} for key in (narrow, wide)},
    )
    narrow, wide = (BASE.replace(latent_dim=n).network_key for n in (8, 32))
    space = replace(SPACE, factors={"latent_dim": SPACE.factors["latent_dim"]}, base=BASE.replace(latent_dim=8))
    wanted = config(dataset, epochs=4, space=space, num_trials=1, rungs=[0.25, 0.5], reference_seeds=2, proposals_per_trial=40)
    run = opened(tmp_path / "out", wanted, dataset)
    assert run_trials(run) == 0
    states = {(record.network_key, record.seed): record.state for record in of_run(run)}
    assert states == {(narrow, 0): COMPLETE, (narrow, 1): COMPLETE, (wide, 0): STOPPED}
    (stopped,) = [record for record in of_run(run) if record.state == STOPPED]
    assert stopped.reason.startswith("stopped after epoch 1: its loss 0.9000 is over the 0.5005 of a network that is no slower")
    assert len(runners(run.study.trials)) == 3
    assert [(one.epoch, one.rho, one.num) for one in rank_correlations(run.study, wanted)] == [(1, None, 1), (2, None, 1)]
    # a sampler sees it as if it had ended: nobody gained anything after the first rung
    source = source_of(wanted, run.study)
    assert isinstance(source, Sampled)
    shown = [trial for trial in source.seen(run.study.trials) if trial.user_attrs.get("projected")]
    assert [(trial.state, trial.values) for trial in shown] == [(TrialState.COMPLETE, [0.9, 1.0, stopped.costs["params"]])]


def watched(study: optuna.Study, wanted: StudyConfig, key: str, seed: int = 0, ratio: float = 1.0, **attrs: Any) -> RungWatch:
    """The watch of a new, running trial."""
    trial = study.ask()
    for name, value in {"network_key": key, "seed": seed, "label": key.upper(), "planned": [], **attrs}.items():
        trial.set_user_attr(name, value)
    latency = {"cpu/1": {"median_ms": 5.0 * ratio, "ratio": ratio}}
    return RungWatch(trial, wanted, latency, 100.0 * ratio, wanted.training_protocol())


def log(*losses: float) -> list[dict[str, Any]]:
    """Epochs of a training."""
    return [{"val_loss": loss} for loss in losses]


def test_losses_at_rungs_are_seen_by_others_while_they_train(tmp_path: Path, dataset: Any) -> None:
    """Whatever their workers are: what is compared stands in the study. By hand: sd 0.001 of one degree, margin 0.0089."""
    study, wanted = a_study(tmp_path / "study.log"), config(dataset, epochs=8, num_trials=9, rungs=[0.25, 0.5])
    best = watched(study, wanted, "a", ratio=0.5)
    assert not best(log(0.9, 0.8))  # nobody else is there
    worse = watched(study, wanted, "b")
    assert not worse(log(0.95, 0.9))  # nobody knows the spread
    for seed, loss in ((0, 0.8), (1, 0.8 + 0.001 * 2**0.5)):
        reference = watched(study, wanted, "r", seed, ratio=3.0, **{ROLE: REFERENCE})
        assert not reference(log(0.9, loss))  # is never stopped
    assert not worse(log(0.95, 0.9, 0.85))  # between rungs
    assert not watched(study, wanted, "c")(log(0.9, 0.808))
    stopped = watched(study, wanted, "d")
    assert stopped(log(0.9, 0.81)) and "(A)" in stopped.reason
    assert not watched(study, wanted, "e", ratio=0.4)(log(0.9, 0.9))  # quicker and smaller than all others
    assert not watched(study, wanted, "f", **{GO_ON: True})(log(0.9, 0.9))
    assert worse(log(0.95, 0.9, 0.85, 0.84)) is False  # nobody else has come so far
    assert not best(log(0.9, 0.8, 0.7, 0.7)) and worse.trial.study.trials[0].user_attrs[RUNGS]["losses"] == {"2": 0.8, "4": 0.7}
    other_loss = RungWatch(study.ask(), wanted, {}, 1.0, replace(wanted.training_protocol(), kl_weight=0.5))
    assert not other_loss(log(0.9, 9.9)) and RUNGS not in other_loss.trial.user_attrs

    fail(study, stopped.trial, STOPPED, stopped.reason, certain=True)
    assert no_longer_stopped(study) == []
    watched(study, wanted, "r", 2, ratio=3.0, **{ROLE: REFERENCE})(log(0.9, 0.9))  # the seeds differ by more than was known
    assert no_longer_stopped(study) == [("d", 0)]


def test_a_run_that_was_killed_at_a_rung_is_asked_again(tmp_path: Path, dataset: Any) -> None:
    """And one that is told to halt returns between two epochs, with all that it needs to go on."""
    from ablation.data.splits import split_indices
    from ablation.design.compose import build

    asked: list[int] = []

    def call(halt_at: int, folder: Path) -> Any:
        def halt(epochs: list[dict[str, Any]]) -> bool:
            asked.append(len(epochs))
            return len(epochs) == halt_at

        model = build(BASE, seed=0)
        return train(model, dataset, split_indices(40), Protocol(epochs=3), seed=0, checkpoint_dir=folder, halt=halt)

    first = call(1, tmp_path / "run")
    assert (first.halted, first.interrupted, len(first.epochs), asked) == (True, False, 1, [1])
    again = call(1, tmp_path / "run")
    assert (again.halted, again.epochs, asked) == (True, first.epochs, [1, 1])
    whole = call(0, tmp_path / "run")
    assert (whole.halted, whole.resumed_from_epoch, len(whole.epochs), asked) == (False, 1, 3, [1, 1, 1, 2])
    shutil.rmtree(tmp_path / "run")
    straight = call(0, tmp_path / "run")
    assert [e["val_loss"] for e in whole.epochs] == [e["val_loss"] for e in straight.epochs]
