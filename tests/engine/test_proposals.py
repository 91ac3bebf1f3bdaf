"""Studies whose networks a sampler proposes: within limits, timed beside the base when they are proposed, and resumed."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from optuna.samplers import QMCSampler
from optuna.trial import TrialState
from rich.console import Console

from ablation.data import load_dataset
from ablation.design.protocol import Protocol
from ablation.design.space import Space
from ablation.design.spec import ModelSpec
from ablation.design.variant import network_of
from ablation.measure.costs.static import static_cost
from ablation.measure.latency.compare import compare_latency
from ablation.record.trial import COMPLETE, INFEASIBLE
from blocks.errors import InputError
from studies.engine import latency_session
from studies.engine.config import StudyConfig
from studies.engine.latency_session import time_proposed
from studies.engine.opened import RunOptions, StudyRun, open_run
from studies.engine.proposals import Describe, Search, make_sampler, source_of
from studies.engine.reporting import current_records
from studies.engine.runner import run_trials
from studies.store.latency import ESTIMATED, LATENCY, SESSIONS, hardware_digest, kinds, stored_latency, this_hardware
from studies.store.source import Enumerated, Sampled
from studies.store.storage import get_system_attrs
from tests.storages import other_hardware
from tests.tiny_grid import SHORT

BASE = SHORT
SPACE = Space(
    name="tiny",
    base=BASE,
    factors={
        "conv": {"standard": {"conv": "standard"}, "separable": {"conv": "separable"}},
        "latent_dim": {"8": {"latent_dim": 8}, "32": {"latent_dim": 32}, "4096": {"latent_dim": 4096}},
        "kl_weight": {"0.001": {"kl_weight": 1e-3}, "0.01": {"kl_weight": 1e-2}},
    },
)
LIMIT = 2 * static_cost(BASE).params


def config(**search: Any) -> StudyConfig:
    return StudyConfig(
        name="tiny",
        space=SPACE.to_dict(),
        data={"name": "faces", "limit": 40, "seed": 0, "image_size": 16},
        fingerprint="",
        protocol=Protocol(epochs=1).to_dict(),
        latency_batches=(1,),
        search=search,
    )


def opened(out: Path, wanted: StudyConfig, workers: int = 1) -> StudyRun:
    dataset = load_dataset("faces", image_size=16, limit=40, seed=0)
    return open_run(wanted, RunOptions(out=out, study="tiny", workers=workers), dataset, Console(quiet=True))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("ABLATION_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setattr(latency_session, "compare_latency", partial(compare_latency, sittings=1, rounds=(2, 2)))


def test_a_sampled_study_from_start_to_end_and_on(tmp_path: Path) -> None:
    """The second time in worker processes, of which one is left without a trial."""
    limits = {"params": LIMIT, "latency_ms": 1e4}
    numbers: list[set[int]] = []
    for num_trials in (1, 2):
        run = opened(tmp_path / "out", config(num_trials=num_trials, limits=limits), workers=num_trials)
        run_trials(run)
        records = current_records(run.study, run.config)
        complete = [record for record in records if record.state == COMPLETE]
        assert len(complete) == len({record.network_key for record in complete}) == num_trials
        numbers.append({record.number for record in complete})
    assert numbers[0] < numbers[1]  # what was complete is not trained again
    for record in complete:
        assert record.costs["params"] <= LIMIT
        assert record.protocol["kl_weight"] == float(record.factors["kl_weight"])
        trial = run.study.trials[record.number]
        assert set(trial.constraints) == set(limits) and max(trial.constraints.values()) <= 0
        # timed beside the base when it was proposed, on this hardware
        key = network_of(record.network_key)
        timing = get_system_attrs(run.study)[f"timing:{hardware_digest('cpu')}:{key}"]
        assert record.latency == timing["latency"] == stored_latency(run.study, key)
        assert record.latency["cpu/1"]["ratio"] > 0
        assert timing["sessions"]["cpu/1"][0]["provenance"]["cpu"]
        assert (run.folder.latency / f"cpu-1-0-{network_of(record.network_key)}.npz").is_file()
    for record in records:
        assert record.state == COMPLETE or "over the limit" in record.reason
    with pytest.raises(InputError, match=r"another search\.sampler"):
        opened(tmp_path / "out", config(num_trials=2, sampler="QMCSampler", limits=limits))
    with pytest.raises(InputError, match="another search"):
        opened(tmp_path / "out", config())


def test_what_is_too_slow_is_never_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studies.engine.trial.train", lambda *a, **b: pytest.fail("trained"))
    wanted = config(num_trials=1, sampler="RandomSampler", limits={"latency_ms": 1e-6}, proposals_per_trial=3)
    run = opened(tmp_path / "out", wanted)
    assert run_trials(run) == 1
    trials = run.study.trials
    assert [trial.state for trial in trials] == [TrialState.PRUNED] * 3
    assert all(trial.constraints["latency_ms"] > 1e3 for trial in trials)
    assert {record.state for record in current_records(run.study, wanted)} == {INFEASIBLE}
    assert all("latency_ms" in record.reason for record in current_records(run.study, wanted))


def test_a_latency_is_measured_once_on_each_hardware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = opened(tmp_path / "out", config(num_trials=1))
    spec = BASE.replace(latent_dim=8)

    def measure() -> dict[str, Any]:
        time_proposed(run.study, spec, run.config, run.folder, lambda: False)
        return stored_latency(run.study, spec.network_key)

    first = measure()
    assert first.keys() == {"cpu/1"} and measure() == first
    other_hardware(monkeypatch, cpu="Other CPU", cpu_cores=8)
    assert stored_latency(run.study, spec.network_key) == first
    both = measure()
    assert both.keys() == {"cpu/1", "cpu/1@Other CPU, 8 cores"}
    assert both["cpu/1"] == first["cpu/1"] != both["cpu/1@Other CPU, 8 cores"]
    assert measure() == both


def test_a_search_on_other_hardware_holds_limits_and_minimises_on_its_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There a network is timed where it is trained; what is compared is its ratio, in the milliseconds of the first."""
    run = opened(tmp_path / "out", config(num_trials=1, sampler="RandomSampler", limits={"latency_ms": 1e4}))
    assert run_trials(run) == 0
    first = next(kind for kind in kinds(run.study) if kind.is_first)
    other_hardware(monkeypatch, cpu="Other CPU", cpu_cores=8)
    run = opened(tmp_path / "out", config(num_trials=3, sampler="RandomSampler", limits={"latency_ms": 1e4}))
    assert run_trials(run) == 0
    known = [trial for trial in run.study.trials if trial.state == TrialState.COMPLETE]
    assert len(known) == 3 and any(ESTIMATED in trial.user_attrs for trial in known)
    by_number = {record.number: record for record in current_records(run.study, run.config)}
    for trial in known[1:]:
        record, place = by_number[trial.number], "cpu/1@Other CPU, 8 cores"
        assert place in record.latency
        expected = first.latency.get(network_of(record.network_key), {}).get("cpu/1", {}).get("median_ms")
        if expected is None:
            base = first.reference_ms("cpu/1")
            assert base is not None and trial.user_attrs[ESTIMATED] == "Other CPU, 8 cores" and "cpu/1" not in record.latency
            expected = base * record.latency[place]["ratio"]
        assert trial.values[1] == pytest.approx(expected)
        assert trial.constraints["latency_ms"] == pytest.approx(expected / 1e4 - 1)


def test_the_session_of_a_grid_of_an_earlier_version_counts(tmp_path: Path) -> None:
    run = opened(tmp_path / "out", config(num_trials=1))
    run.study.set_user_attr(LATENCY, {BASE.network_key: {"cpu/1": {"median_ms": 7.0}}})
    run.study.set_user_attr(SESSIONS, {"cpu/1": [{"provenance": this_hardware("cpu")}]})
    time_proposed(run.study, BASE, run.config, run.folder, lambda: False)
    assert stored_latency(run.study, BASE.network_key) == {"cpu/1": {"median_ms": 7.0}}


def test_a_stop_while_it_is_timed_stores_nothing(tmp_path: Path) -> None:
    run = opened(tmp_path / "out", config(num_trials=1))
    time_proposed(run.study, BASE, run.config, run.folder, lambda: True)
    assert stored_latency(run.study, BASE.network_key) == {}


# --- proposals


def test_a_proposal_says_what_it_is_and_which_limits_it_breaks() -> None:
    search = Search(num_trials=1, limits={"params": LIMIT, "macs": 1e12})
    small = Describe(SPACE, search, BASE)({"conv": "separable", "latent_dim": "8", "kl_weight": "0.01"})
    variant = SPACE.variant({"conv": "separable", "latent_dim": "8", "kl_weight": "0.01"})
    assert small.job is not None
    assert (small.job.network_key, small.reason) == (variant.key, "")
    assert (small.job.attrs["label"], small.job.attrs["protocol"]) == (
        "separable, latent_dim 8, kl_weight 0.01", {"kl_weight": 0.01},
    )  # fmt: skip
    assert ModelSpec.from_dict(small.job.attrs["spec"]) == variant.spec
    assert small.constraints["params"] == static_cost(variant.spec).params / LIMIT - 1 < 0 > small.constraints["macs"]
    large = Describe(SPACE, search, BASE)({"conv": "standard", "latent_dim": "4096", "kl_weight": "0.001"})
    assert large.constraints["params"] > 0
    assert large.reason.startswith("params ") and f"is over the limit {LIMIT:.6g}" in large.reason


def test_levels_that_make_no_network_are_no_job() -> None:
    space = replace(SPACE, factors={"widths": {"odd": {"encoder_widths": [8], "decoder_widths": [8, 4, 2, 1, 1]}}})
    proposal = Describe(space, Search(num_trials=1), BASE)({"widths": "odd"})
    assert proposal.job is None
    assert proposal.constraints == {"exists": 1.0}
    assert proposal.reason


def test_a_source_by_the_settings() -> None:
    assert isinstance(source_of(config()), Enumerated)
    scrambled = Search(num_trials=1, sampler="QMCSampler", settings={"scramble": True})
    assert isinstance(make_sampler(scrambled, 3, Describe(SPACE, scrambled, BASE)), QMCSampler)
    source = source_of(config(num_trials=5, proposals_per_trial=4))
    assert isinstance(source, Sampled)
    assert (source.num_jobs, source.max_proposals, list(source.distributions)) == (5, 20, ["conv", "latent_dim", "kl_weight"])
    assert "search" not in config().to_dict()  # as earlier versions stored it
    wanted = config(num_trials=5)
    assert StudyConfig.from_dict(wanted.to_dict()) == wanted


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"limits": {"beauty": 1}}, "A limit of a search must be on one of params"),
        ({"limits": {"params": 0}}, "The limit on params must be a positive number. Got 0"),
        ({"sampler": "os"}, "sampler must be one of free, tpe, gp, nsga2, random, or a sampler"),
        ({"sampler": "BaseSampler"}, "sampler must be one of"),
        ({"num_trials": 0}, "num_trials must be a whole number of at least 1"),
        ({"proposals_per_trial": 0}, "proposals_per_trial must be a whole number of at least 1"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Search(**{"num_trials": 1, **settings})
