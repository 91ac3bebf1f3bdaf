"""A grid on two kinds of hardware, from start to report: each timed once, apart, and one of them is what trials compare by."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pandas as pd
import pytest
from rich.console import Console

from ablation.data import load_dataset
from ablation.design.protocol import Protocol
from ablation.design.space import Space
from ablation.measure.latency.compare import compare_latency
from ablation.record.trial import COMPLETE
from studies.engine import latency_session
from studies.engine.config import StudyConfig
from studies.engine.dashboard import pareto_figure
from studies.engine.latency_session import ensure_latency
from studies.engine.opened import RunOptions, StudyRun, open_run
from studies.engine.reporting import current_records, report_study
from studies.engine.runner import plan_trials, run_trials
from studies.store.latency import (
    ESTIMATED,
    LATENCY,
    NOISE,
    SESSIONS,
    hardware_digest,
    kinds,
    latencies,
    store_timing,
    stored_noise,
    stored_sessions,
)
from studies.store.records import records
from studies.store.storage import get_system_attrs
from tests.storages import other_hardware
from tests.tiny_grid import SHORT

BASE = SHORT
HERE = "Other CPU, 8 cores"
PLACE = f"cpu/1@{HERE}"


@pytest.fixture(autouse=True)
def sessions(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """Short ones; the networks of each that is run. Reports are written without plots."""
    run: list[list[str]] = []

    def compare(models: dict[str, object], **options: object) -> object:
        run.append(list(models))
        return compare_latency(models, **{**options, "sittings": 3, "rounds": (2, 2)})  # type: ignore[arg-type]

    monkeypatch.setenv("ABLATION_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setattr(latency_session, "compare_latency", compare)
    monkeypatch.setattr("ablation.report.study.writer.write_plots", lambda report, folder: [])
    return run


def opened(out: Path, *, seeds: int = 1, heads: tuple[str, ...] = ("flatten", "pooled")) -> StudyRun:
    space = Space(name="tiny", base=BASE, factors={"head": {head: {"head": head} for head in heads}})
    config = StudyConfig(
        name="tiny", space=space.to_dict(), data={"name": "faces", "limit": 40, "seed": 0, "image_size": 16}, fingerprint="",
        protocol=Protocol(epochs=1).to_dict(), latency_batches=(1,), seeds=seeds,
    )  # fmt: skip
    dataset = load_dataset("faces", image_size=16, limit=40, seed=0)
    return open_run(config, RunOptions(out=out, study="tiny", latency_budget_s=60.0), dataset, Console(quiet=True))


def key(head: str) -> str:
    return BASE.replace(head=head).network_key


def never() -> bool:
    return False


def test_two_kinds_of_hardware_from_start_to_report(
    tmp_path: Path, sessions: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = opened(tmp_path)
    assert run_trials(run) == 0
    report_study(run.study, run.folder, run.config, run.console)
    assert not any(word in (tmp_path / "report/report.md").read_text() for word in ("Where trials ran", "cores)", "timed_on"))
    assert len(sessions) == 1 and ensure_latency(run, never) and len(sessions) == 1
    first = latencies(run.study)

    other_hardware(monkeypatch, cpu="Other CPU", cpu_cores=8)
    run = opened(tmp_path, seeds=2)
    assert run_trials(run) == 0
    assert len(sessions) == 2 and ensure_latency(run, never) and len(sessions) == 2
    assert [kind.name for kind in kinds(run.study)][1:] == [HERE]
    assert {file.suffix for file in run.folder.latency.iterdir()} == {".npz"} and len(list(run.folder.latency.iterdir())) == 2
    stored = current_records(run.study, run.config)
    for record in stored:
        assert (record.state, list(record.latency)) == (COMPLETE, ["cpu/1", PLACE])
        assert record.latency["cpu/1"] == first[record.network_key]["cpu/1"] != record.latency[PLACE]
        trial = run.study.trials[record.number]
        # what is minimised is of the first kind, on whatever the trial ran
        assert trial.values[1] == record.latency["cpu/1"]["median_ms"]
        assert (record.provenance["hardware"]["cpu"] == "Other CPU") == (record.seed == 1)
        assert (f"latency_ms {PLACE}" in trial.user_attrs) == (record.seed == 1)
    # as the trial stored it: what it ran on is there
    assert {PLACE in record.latency for record in records(run.study) if record.seed == 1} == {True}
    assert stored_noise(run.study).keys() == stored_sessions(run.study).keys() == {"cpu/1", PLACE}
    assert kinds(run.study)[0].name in pareto_figure(run.study).layout.xaxis.title.text

    report_study(run.study, run.folder, run.config, run.console)
    page = (tmp_path / "report/report.md").read_text().replace("\u00a0", " ")
    name = kinds(run.study)[0].name
    for label in (f"latency (cpu, batch 1, {name})", f"latency (cpu, batch 1, {HERE})"):
        assert f"| {label} | ×" in page, "an effect of its own"
        assert f"Loss and {label}: " in page, "a front of its own"
        assert f"| {label} [ms] |" in page, "a column of its own"
    assert f"| {name} | 2 | #1 (seed 0); #2 (seed 0) | 2 |\n| {HERE} | 2 | #1 (seed 1); #2 (seed 1) | 2 |" in page
    assert f"Device: {name} and {HERE}." in page
    table = pd.read_csv(tmp_path / "report/table.csv")
    for column, place in (("latency_cpu_b1", "cpu/1"), ("latency_cpu_b1_other-cpu-8-cores", PLACE)):
        means = {record.network_key: record.latency[place]["median_ms"] for record in stored}
        assert dict(zip(table["network_key"], table[f"{column}_ms"], strict=True)) == pytest.approx(means)
    assert list(json.loads((tmp_path / "report/provenance.json").read_text())["timed_on"]) == [name, HERE]


def test_a_network_that_the_first_hardware_never_timed_is_compared_by_its_ratio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The space grows on another machine; the trial says that its objective is an estimate, its record holds what was measured."""
    run = opened(tmp_path, heads=("flatten",))
    assert run_trials(run) == 0
    base = latencies(run.study)[key("flatten")]["cpu/1"]["median_ms"]
    other_hardware(monkeypatch, cpu="Other CPU", cpu_cores=8)
    run = opened(tmp_path)
    assert run_trials(run) == 0
    by_key = {record.network_key: record for record in current_records(run.study, run.config)}
    new, old = (by_key[key(head)] for head in ("pooled", "flatten"))
    assert list(new.latency) == [PLACE] and list(old.latency) == ["cpu/1", PLACE]
    trial = run.study.trials[new.number]
    assert trial.values[1] == pytest.approx(base * new.latency[PLACE]["ratio"])
    assert trial.user_attrs[ESTIMATED] == HERE and ESTIMATED not in run.study.trials[old.number].user_attrs
    report_study(run.study, run.folder, run.config, run.console)
    page = (tmp_path / "report/report.md").read_text()
    assert f"Latency (cpu, batch 1, {kinds(run.study)[0].name}) is missing in 1 of 2 networks" in page
    assert "1 of 2 trials" not in page


def of_now(study: optuna.Study) -> list[str]:
    """What the version before did not have."""
    return [name for name in get_system_attrs(study) if name.startswith(("hardware:", "timing:"))]


def as_before(run: StudyRun) -> None:
    """Keep what was timed as the version before did: in three user attributes, with no kinds of hardware."""
    study = run.study
    study.set_user_attr(LATENCY, latencies(study))
    study.set_user_attr(NOISE, stored_noise(study))
    study.set_user_attr(SESSIONS, stored_sessions(study))
    lines = run.folder.journal.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not any(f'"{name}"' in line for name in of_now(study))]
    assert len(kept) < len(lines)
    run.folder.journal.write_text("".join(kept))


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_study_of_the_version_before_goes_on(
    tmp_path: Path, sessions: list[list[str]], monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    run = opened(tmp_path)
    assert run_trials(run) == 0
    report_study(run.study, run.folder, run.config, run.console)
    pages = {file.name: file.read_bytes() for file in (tmp_path / "report").iterdir() if file.is_file()}
    known = latencies(run.study)
    as_before(run)
    old = opened(tmp_path)
    assert not of_now(old.study)
    report_study(old.study, old.folder, old.config, old.console)
    assert {file.name: file.read_bytes() for file in (tmp_path / "report").iterdir() if file.is_file()} == pages
    if elsewhere:
        other_hardware(monkeypatch, cpu="Other CPU", cpu_cores=8)
    on = opened(tmp_path, seeds=2)
    assert run_trials(on) == 0
    assert len(sessions) == 1 + elsewhere
    for network, entries in latencies(on.study).items():
        assert entries["cpu/1"] == known[network]["cpu/1"]
        assert list(entries) == ["cpu/1", PLACE] if elsewhere else ["cpu/1"]
    assert len(kinds(on.study)) == 1 + elsewhere
    assert len({trial.values[1] for trial in on.study.trials}) == 2  # one for each network


def test_what_can_never_be_built_is_not_waited_for(tmp_path: Path, sessions: list[list[str]]) -> None:
    """A worker that comes later times nothing again because of networks that failed before they were timed."""
    run = opened(tmp_path)
    whole, broken = run.variants
    assert ensure_latency(run, never, [whole])
    plan_trials(run, {broken.key: "no such kernel"})
    assert ensure_latency(run, never)
    assert sessions == [[whole.network_key]]


def test_who_waited_for_another_process_of_its_kind_finds_it_measured(
    tmp_path: Path, sessions: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, digest = opened(tmp_path), hardware_digest("cpu")

    @contextmanager
    def waited(study: optuna.Study, purpose: str) -> Iterator[None]:
        assert purpose == f"latency {digest}"
        entry = {"median_ms": 1.0, "ratio": 1.0, "sittings": 3}
        store_timing(study, digest, {v.network_key: {"latency": {"cpu/1": entry}} for v in run.variants})
        yield

    monkeypatch.setattr(latency_session, "exclusive", waited)
    assert ensure_latency(run, never)
    assert sessions == [] and latencies(run.study).keys() == {v.network_key for v in run.variants}


def test_a_stop_while_a_grid_is_timed_stores_nothing(tmp_path: Path) -> None:
    run = opened(tmp_path)
    assert not ensure_latency(run, lambda: True)
    assert latencies(run.study) == {}
