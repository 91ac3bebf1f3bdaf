"""Sessions of a study's latency: what is timed again, and what is stored of the noise floor. Small networks, in memory."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from rich.console import Console

from ablation.design.protocol import Protocol
from studies.engine.config import StudyFolder
from studies.engine.latency_session import LatencySession, missing_latency
from studies.store.latency import LATENCY, SESSIONS, stored_latency, stored_noise, this_hardware
from tests.tiny_grid import SHORT

SPECS = {name: SHORT.replace(head=name) for name in ("flatten", "pooled")}
NETWORKS = [SimpleNamespace(key=name, network_key=name, spec=spec) for name, spec in SPECS.items()]


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study(storage=optuna.storages.InMemoryStorage())


def measure(study: optuna.Study, folder: Path, budget_s: float | None) -> None:
    config: Any = SimpleNamespace(device="cpu", data={"image_size": 16}, protocol=Protocol().to_dict(), latency_threads=1)
    paths = StudyFolder(folder)
    paths.latency.mkdir(parents=True, exist_ok=True)
    about: Any = {"networks": NETWORKS, "reference": "flatten", "folder": paths, "budget_s": budget_s}
    LatencySession(config=config, console=Console(quiet=True), **about).measure(study, 1)


def test_a_session_stores_sittings_and_a_floor_between_copies(study: optuna.Study, tmp_path: Path) -> None:
    measure(study, tmp_path, None)
    entry = stored_latency(study, "pooled")["cpu/1"]
    assert entry["sittings"] == len(entry["ratio_by_sitting"]) == len(entry["ms_by_sitting"]) >= 3
    assert entry["ratio_low"] <= entry["ratio"] <= entry["ratio_high"]
    floor = stored_noise(study)["cpu/1"]
    assert floor["low"] <= floor["ratio"] <= floor["high"]
    assert floor["sittings"] == entry["sittings"] and floor["rounds"] == entry["rounds"]
    assert missing_latency(study, NETWORKS, "cpu", 1) == []  # type: ignore[arg-type]


def test_a_budget_too_short_for_sittings_gives_values_alone(study: optuna.Study, tmp_path: Path) -> None:
    measure(study, tmp_path, 0.05)
    entry = stored_latency(study, "pooled")["cpu/1"]
    assert entry["median_ms"] > 0
    assert (entry["ratio_low"], entry["low_ms"], stored_noise(study)["cpu/1"]["low"]) == (None, None, None)
    assert missing_latency(study, NETWORKS, "cpu", 1) == []  # type: ignore[arg-type]
    # without a budget, sittings are what is wanted
    assert len(missing_latency(study, NETWORKS, "cpu", 1, whole=True)) == 2  # type: ignore[arg-type]
    measure(study, tmp_path, None)
    assert missing_latency(study, NETWORKS, "cpu", 1, whole=True) == []  # type: ignore[arg-type]


def test_sessions_of_earlier_versions_are_timed_again(study: optuna.Study) -> None:
    old = {"median_ms": 2.0, "ratio": 1.1, "ratio_low": 1.0, "ratio_high": 1.2, "rounds": 2, "reason": ""}
    failed = {"median_ms": None, "reason": "out of memory"}
    study.set_user_attr(LATENCY, {"flatten": {"cpu/1": old}, "pooled": {"cpu/1": failed}})
    study.set_user_attr(SESSIONS, {"cpu/1": [{"provenance": this_hardware("cpu")}]})
    assert [n.key for n in missing_latency(study, NETWORKS, "cpu", 1)] == ["flatten"]  # type: ignore[arg-type]
    assert [n.key for n in missing_latency(study, NETWORKS, "cpu", 1, retry_failed=True)] == ["flatten", "pooled"]  # type: ignore[arg-type]
    assert len(missing_latency(study, NETWORKS, "cpu", 32)) == 2  # type: ignore[arg-type]
