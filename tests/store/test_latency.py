"""Latencies of a study on several kinds of hardware: what is stored where, what compares, what earlier versions left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from ablation.machine.hardware import digest_of
from ablation.record.trial import Record
from studies.store.latency import (
    ESTIMATED,
    LATENCY,
    NOISE,
    SESSIONS,
    comparable_latencies,
    hardware_digest,
    join,
    kinds,
    latencies,
    store_timing,
    stored_latency,
    stored_noise,
    stored_sessions,
)
from studies.store.records import store_record
from studies.store.storage import get_system_attrs
from tests.storages import a_study, networks, other_hardware, output, values

OTHER = {"cpu": "Other CPU", "cpu_cores": 8}
JOIN = "from studies.store.latency import join; print(join(study, 'cpu').digest)"


@pytest.fixture(params=["study.log", "sqlite"])
def study(request: pytest.FixtureRequest, tmp_path: Path) -> optuna.Study:
    return a_study(f"sqlite:///{tmp_path / 'study.db'}" if request.param == "sqlite" else tmp_path / request.param)


def entry(ms: float, ratio: float | None = 1.0, **more: Any) -> dict[str, Any]:
    return {"median_ms": ms, "ratio": ratio, "sittings": 5, **more}


def timed(study: optuna.Study, **by_network: dict[str, Any]) -> None:
    """These latencies, as measured on this machine."""
    store_timing(study, join(study, "cpu").digest, {name: {"latency": entries} for name, entries in by_network.items()})


def test_the_first_kind_that_joins_is_the_reference(study: optuna.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    first = join(study, "cpu")
    assert (first.is_first, first.digest) == (True, hardware_digest("cpu"))
    other_hardware(monkeypatch, **OTHER)
    second = join(study, "cpu")
    assert (second.is_first, second.name, second.about["cpu"]) == (False, "Other CPU, 8 cores", "Other CPU")
    other_hardware(monkeypatch, **OTHER, driver="2")
    assert join(study, "cpu").name == "Other CPU, 8 cores (2)"  # no two are called the same
    assert join(study, "cpu").name == "Other CPU, 8 cores (2)"
    assert [kind.digest for kind in kinds(study)][:2] == [first.digest, second.digest] and len(kinds(study)) == 3


def test_processes_of_one_kind_are_one(tmp_path: Path) -> None:
    study = a_study(tmp_path / "study.log")
    assert {output(JOIN, tmp_path / "study.log").strip() for _ in range(2)} == {join(study, "cpu").digest}
    assert len(kinds(study)) == 1


def test_each_kind_has_values_of_its_own(study: optuna.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    timed(study, a={"cpu/1": entry(10.0)}, b={"cpu/1": entry(20.0, 2.0)})
    timed(study, a={"cpu/32": entry(50.0)})
    first = hardware_digest("cpu")
    store_timing(study, first, {"": {"noise": {"cpu/1": {"ratio": 1.0}}, "sessions": {"cpu/1": [{"provenance": {}}]}}})
    other_hardware(monkeypatch, **OTHER)
    timed(study, a={"cpu/1": entry(1.0)})
    store_timing(study, hardware_digest("cpu"), {"": {"noise": {"cpu/1": {"ratio": 1.1}}}})
    here = "cpu/1@Other CPU, 8 cores"
    assert latencies(study) == {
        "a": {"cpu/1": entry(10.0), "cpu/32": entry(50.0), here: entry(1.0)},
        "b": {"cpu/1": entry(20.0, 2.0)},
    }
    assert stored_noise(study) == {"cpu/1": {"ratio": 1.0}, here: {"ratio": 1.1}}
    assert stored_sessions(study) == {"cpu/1": [{"provenance": {}}]}
    # one attribute for each kind and network
    names = {name for name in get_system_attrs(study) if name.startswith("timing:")}
    assert names == {
        *(f"timing:{first}{end}" for end in (":a", ":b", "")),
        *(f"timing:{hardware_digest('cpu')}{end}" for end in (":a", "")),
    }


def test_what_trials_compare_by_is_of_the_first_kind(study: optuna.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: the reference takes 10 ms on the first; `c` was timed on the other alone, at 1.5 times the reference's 1 ms."""
    timed(study, a={"cpu/1": entry(10.0)}, b={"cpu/1": entry(20.0, 2.0)}, broken={"cpu/1": {"median_ms": None, "reason": "big"}})
    other_hardware(monkeypatch, **OTHER)
    timed(study, a={"cpu/1": entry(1.0)}, b={"cpu/1": entry(3.0, 3.0)}, c={"cpu/1": entry(1.5, 1.5)}, broken={"cpu/1": entry(9.0)})
    timed(study, d={"cpu/1": {"median_ms": None, "reason": "no kernel"}}, e={"cpu/1": entry(4.0, None)})
    found = comparable_latencies(study)
    assert (found["a"], found["b"]) == ({"cpu/1": entry(10.0)}, {"cpu/1": entry(20.0, 2.0)})
    assert found["c"] == {"cpu/1": {"median_ms": 15.0, "ratio": 1.5, ESTIMATED: "Other CPU, 8 cores"}}
    assert found["broken"]["cpu/1"]["reason"] == "big"  # what cannot run there has no estimate
    assert found["d"]["cpu/1"]["reason"] == "no kernel"
    assert found["e"] == {"cpu/1": {}}
    assert stored_latency(study, "c").keys() == {"cpu/1@Other CPU, 8 cores"}  # estimates are never stored as measured


def test_user_attributes_of_earlier_versions_are_of_the_hardware_that_was_timed(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading writes nothing; the first process of this version that joins notes both kinds."""
    old = {"device": "cpu", "cpu": "Old CPU", "cpu_cores": 4, "system": "Linux x86_64", "torch": "2.0"}
    study.set_user_attr(LATENCY, {"a": {"cpu/1": entry(10.0), "cpu/32": entry(90.0)}})
    study.set_user_attr(NOISE, {"cpu/1": {"ratio": 1.0}})
    study.set_user_attr(SESSIONS, {place: [{"provenance": old, "drift": {}}] for place in ("cpu/1", "cpu/32")})
    before = get_system_attrs(study)
    for _ in range(2):
        assert latencies(study) == {"a": {"cpu/1": entry(10.0), "cpu/32": entry(90.0)}}
        assert (stored_noise(study), stored_sessions(study)) == ({"cpu/1": {"ratio": 1.0}}, study.user_attrs[SESSIONS])
        (kind,) = (kind for kind in kinds(study) if kind.is_first)
        assert (kind.digest, kind.name) == (digest_of(old), "Old CPU, 4 cores")
        if len(kinds(study)) == 1:
            assert get_system_attrs(study) == before
            assert not join(study, "cpu").is_first
    timed(study, a={"cpu/1": entry(5.0)})
    assert len(latencies(study)["a"]) == 3
    # the same hardware again, by the version of now: its values replace the old ones
    other_hardware(monkeypatch, **old)
    timed(study, a={"cpu/1": entry(11.0)})
    assert [kind.latency["a"]["cpu/1"]["median_ms"] for kind in kinds(study)] == [11.0, 5.0]
    assert stored_latency(study, "a")["cpu/32"] == entry(90.0)


def test_without_sessions_the_first_trial_says_what_was_timed(tmp_path: Path) -> None:
    study = a_study(tmp_path / "study.log", networks(1))
    trial = study.ask()
    about = {"device": "cpu", "cpu": "Old CPU", "cpu_cores": 1}
    store_record(trial, Record(network_key="net0", label="net0", seed=0, provenance={"hardware": about}))
    study.tell(trial, values(trial))
    study.set_user_attr(LATENCY, {"net0": {"cpu/1": entry(10.0)}})
    assert [(kind.name, kind.digest) for kind in kinds(study)] == [("Old CPU, 1 core", digest_of(about))]


def test_a_search_of_an_earlier_version_names_its_hardware_by_its_sessions(study: optuna.Study) -> None:
    old = {"device": "cpu", "cpu": "Old CPU", "cpu_cores": 4}
    sessions = {"cpu/1": [{"provenance": old}]}
    store_timing(study, digest_of(old), {"a": {"latency": {"cpu/1": entry(2.0)}, "noise": {"cpu/1": {}}, "sessions": sessions}})
    assert [(kind.name, kind.is_first) for kind in kinds(study)] == [("Old CPU, 4 cores", True)]
    join(study, "cpu")
    assert [kind.is_first for kind in kinds(study)] == [True, False]
    assert latencies(study) == {"a": {"cpu/1": entry(2.0)}}
    assert stored_noise(study) == {}  # that of a proposal says nothing of the study
