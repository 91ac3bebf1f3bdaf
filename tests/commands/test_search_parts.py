"""Parts of `search` by themselves: which networks are confirmed, time, the census, what is undone, growth."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from ablation.design.space import Space
from ablation.design.spec import preset
from ablation.record.attribution import EXACT
from ablation.record.search import Candidate
from ablation.record.search_confirmed import Timing
from ablation.record.trial import COMPLETE, FAILED, METRICS, Record, own_metric
from ablation.search.undone import undone
from ablation.stats import SETTLED
from studies.search.candidates import candidates, finalists, spent_s
from studies.search.census import assignments
from studies.search.confirmation import best_rate, expected_s, floors
from studies.search.folder import SearchFolder
from studies.search.page.insight import Drawn, distribution_of, growth_of
from studies.search.parts import swaps_between
from studies.store.history import LOST, Limits
from studies.store.latency import join, latencies, store_timing
from studies.store.queue import Job
from studies.store.records import store_record
from tests.storages import a_study, other_hardware, values


def network(number: int | None, loss: float | None, ratio: float, params: int, **more: Any) -> Candidate:
    latency = {"cpu/1": Timing(ms=10 * ratio, ratio=ratio)}
    values: dict[str, Any] = {"key": str(number), "state": COMPLETE, "ended_s": float(number or 0)}
    return Candidate(number=number, label=str(number), best_loss=loss, latency=latency, params=params, **{**values, **more})


LOSS = METRICS["loss"]
REFERENCE = network(None, 0.60, 1.0, 1000)


def test_finalists_are_of_the_front_those_better_on_most_axes_then_lowest_in_loss() -> None:
    everywhere, lower, slow, dominated = (
        network(1, 0.59, 0.5, 500), network(2, 0.55, 0.9, 900), network(3, 0.50, 1.5, 400), network(4, 0.70, 1.6, 1200),
    )  # fmt: skip
    failed, same = network(5, None, 0.1, 100, state=FAILED), network(6, 0.1, 0.1, 1, key=REFERENCE.key)
    known = [everywhere, lower, slow, dominated, failed, same]
    assert [c.number for c in finalists(REFERENCE, known, 5, LOSS)] == [2, 1, 3]
    assert [c.number for c in finalists(REFERENCE, known, 1, LOSS)] == [2]
    assert finalists(REFERENCE, [dominated], 1, LOSS) == [dominated], (
        "where nothing is better, the front is still the best there is"
    )
    assert finalists(replace(REFERENCE, best_loss=None), known, 1, LOSS)[0].number in (2, 3)
    assert finalists(REFERENCE, [], 3, LOSS) == []


def test_candidates_of_several_kinds_of_hardware_compare_on_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: the reference takes 10 ms on the first, where `b` was never timed; on the other `b` takes half of what it takes."""
    study = a_study(tmp_path / "study.log", [Job(name, 0) for name in "ab"])
    store_timing(study, join(study, "cpu").digest, {"a": {"latency": {"cpu/1": {"median_ms": 20.0, "ratio": 2.0, "sittings": 3}}}})
    other_hardware(monkeypatch, cpu="Other CPU")
    both = {name: {"latency": {"cpu/1": {"median_ms": ms, "ratio": ms}}} for name, ms in (("a", 3.0), ("b", 0.5))}
    store_timing(study, join(study, "cpu").digest, both)
    for _ in both:
        trial = study.ask()
        name = trial.user_attrs["network_key"]
        store_record(trial, Record(network_key=name, label=name, seed=0, latency=latencies(study)[name], costs={"params": 9}))
        study.tell(trial, values(trial))
    known: Any = SimpleNamespace(limits=Limits(), leading=METRICS["loss"])
    _, proposals = candidates(study, known, {"reference": {"key": "r", "label": "r", "spec": {}}})
    assert [(c.key, c.latency) for c in proposals] == [
        ("a", {"cpu/1": Timing(ms=20.0, ratio=2.0, sittings=3)}),
        ("b", {"cpu/1": Timing(ms=5.0, ratio=0.5)}),
    ]


def test_time_is_counted_once_where_trials_overlap_and_not_where_nobody_worked() -> None:
    study, start = optuna.create_study(), datetime(2026, 1, 1)
    for begin, end, attrs in ((0, 10, {}), (5, 20, {}), (100, 130, {}), (200, 9000, {"reason_kind": LOST})):
        trial = create_trial(state=TrialState.COMPLETE, value=1.0, user_attrs=attrs)
        trial.datetime_start, trial.datetime_complete = (start + timedelta(seconds=s) for s in (begin, end))
        study.add_trial(trial)
    assert spent_s(study) == pytest.approx(50)


def test_the_best_rate_is_that_of_the_lowest_loss_that_is_one() -> None:
    assert best_rate({"0.0001": 0.7, "0.001": None, "0.0003": 0.6}, LOSS) == "0.0003"
    assert best_rate({"0.001": None}, LOSS) is None


def test_expected_time_is_shared_by_workers_but_no_training_is_split() -> None:
    assert expected_s([[10.0, 20.0], [5.0]], 5, 2) == pytest.approx(5 * 20 / 2)
    assert expected_s([[100.0]], 1, 8) == 100.0
    assert expected_s([[10.0], []], 5, 1) is None


def test_a_floor_without_an_interval_is_none() -> None:
    assert floors({"cpu/1": {"ratio": 1.0, "low": None, "high": None}}) == {}
    assert floors({"cpu/1": {"ratio": 1.0, "low": 0.98, "high": 1.01}})["cpu/1"] == pytest.approx(-math.log(0.98))


def test_a_sample_of_a_space_has_no_combination_twice_and_misses_no_level() -> None:
    factors = {name: {str(n): {name: n} for n in range(2, 12)} for name in ("latent_dim", "growth_rate", "dense_layers")}
    drawn = assignments(Space(name="s", base=preset("small"), factors=factors), 400)
    assert len({tuple(each.values()) for each in drawn}) == 400
    assert all({each[name] for each in drawn} == set(levels) for name, levels in factors.items())


def test_each_difference_is_undone_alone() -> None:
    reference = preset("small")
    winner = reference.replace(head="bottleneck", head_channels=8, activation="relu", encoder_widths=(8, 16, 32, 32))
    swaps = swaps_between(reference, winner)
    assert set(swaps.levels) == {"head", "activation", "encoder widths"}
    assert swaps.undone["head"].head == "flatten" and swaps.undone["head"].activation == "relu"
    assert swaps.undone["encoder widths"].encoder_widths == reference.encoder_widths
    assert not swaps.reasons
    alone = swaps_between(reference, reference.replace(activation="relu"))
    assert not alone.undone and "reference" in alone.reasons["activation"]


def record(level: str, seed: int, loss: float, ratios: tuple[float, ...], params: int) -> Record:
    return Record(
        network_key=level, label=level, seed=seed, state=COMPLETE, factors={"network": level},
        costs={"params": params, "macs": params},
        training={"best_loss": loss}, latency={"cpu/1": {"ratio_by_sitting": list(ratios), "sittings": len(ratios)}},
    )  # fmt: skip


def test_what_undoing_a_swap_changes() -> None:
    winner = [record("winner", seed, loss, (1.0, 1.0, 1.0), 100) for seed, loss in enumerate((0.50, 0.51, 0.49))]
    head = [record("head", seed, loss, (2.0, 2.02, 1.98), 150) for seed, loss in enumerate((0.60, 0.61, 0.59))]
    levels = {"head": ("flatten", "pooled"), "norm": ("batch", "group")}
    first, second = undone(levels, winner, {"head": head}, {"norm": "It cannot be built."}, {"cpu/1": 0.01})
    assert (first.params, first.macs, first.reference, first.winner) == (50, 50, "flatten", "pooled")
    assert first.loss is not None and first.loss.verdict == SETTLED
    assert (first.loss.value, first.loss.num, first.loss.of) == (pytest.approx(0.1), 3, "seeds")
    ratio = first.latency["cpu/1"]
    assert ratio.value == pytest.approx(2.0, rel=1e-3) and ratio.low is not None and 1.9 < ratio.low < 2.0
    assert ratio.verdict == SETTLED != EXACT
    assert (second.loss, second.params, second.reason) == (None, None, "It cannot be built.")


def test_of_an_accuracy_the_highest_is_best() -> None:
    accuracy, known = (
        own_metric("accuracy", unit="%"),
        [network(1, 0.7, 0.9, 900), network(2, 0.8, 0.9, 900), network(3, 0.6, 0.9, 800)],
    )
    assert [c.number for c in finalists(REFERENCE, known, 5, accuracy)] == [2, 3]
    assert best_rate({"0.001": 0.7, "0.01": 0.8}, accuracy) == "0.01"
    grown = [
        growth_of([replace(c, best_loss=sign * (c.best_loss or 0)) for c in known], {}, metric)
        for sign, metric in ((1, accuracy), (-1, LOSS))
    ]
    assert grown[0] == grown[1] is not None


def test_the_front_grows_from_nothing_and_never_shrinks() -> None:
    grown = growth_of(
        [network(n, loss, ratio, 100 + n) for n, (loss, ratio) in enumerate(((0.9, 2.0), (0.5, 1.0), (0.7, 0.5)), 1)], {}, LOSS
    )
    assert grown is not None
    assert list(grown.reached) == sorted(grown.reached)
    assert 0 <= grown.reached[0] <= grown.reached[-1] <= 1
    assert growth_of([network(1, 0.5, 1.0, 100)], {}, LOSS) is None


def test_beside_the_front_stands_what_chance_would_have_reached() -> None:
    """A search that is lucky with its first network leads; eight levels of one factor tell the model little, so it stays below."""
    factors = {"a": tuple("01234567")}
    trained = [
        network(n, 0.9 - 0.05 * a, 1.0 - 0.05 * a, 100 - a, factors={"a": str(a)})
        for n, a in enumerate((7, 0, 1, 2, 3, 4, 5, 6), 1)
    ]
    drawn = [Drawn(factors={"a": str(a)}, ratio=1.0 - 0.05 * a, params=100 - a) for a in range(8)]
    grown = growth_of(trained, factors, LOSS, drawn)
    assert grown is not None and len(grown.random) == len(grown.reached) == 8
    assert list(grown.random) == sorted(grown.random)
    assert grown.random[0] < 0.5 < grown.reached[0] == pytest.approx(1.0)
    assert grown.random[0] < grown.random[-1] < 1.0
    assert all(low <= middle <= high for low, middle, high in zip(grown.random_low, grown.random, grown.random_high, strict=True))
    assert growth_of(trained, factors, LOSS).random == ()


def test_losses_of_the_space_follow_those_that_were_trained() -> None:
    """A loss that one factor alone decides: half of the space has each of two losses."""
    factors = {"a": ("0", "1"), "b": ("0", "1", "2")}
    trained = [
        network(3 * a + b, 0.5 + 0.2 * a + 0.001 * b, 1.0, 100, factors={"a": str(a), "b": str(b)})
        for a in (0, 1) for b in (0, 1, 2)
    ]  # fmt: skip
    extra = [replace(c, number=(c.number or 0) + 10) for c in trained]
    spread = distribution_of([*trained, *extra], factors, LOSS)
    assert spread is not None
    at = dict(spread.quantiles)
    assert at[0.25] == pytest.approx(0.5, abs=0.03) and at[0.75] == pytest.approx(0.7, abs=0.03)
    assert distribution_of(trained[:3], factors, LOSS) is None


def test_facts_are_added_to_those_that_are_stored(tmp_path: Path) -> None:
    folder = SearchFolder(tmp_path)
    assert folder.read_facts() == {}
    folder.note(a=1)
    folder.note(b=2)
    assert folder.read_facts() == {"a": 1, "b": 2}
    assert folder.files_of("x-why-3", "x") == tmp_path / "why-3"
    assert folder.files_of("x", "x") == tmp_path
