"""The replay: tables in and out, what a run costs, and that our sampler needs far fewer trainings than a random one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from optuna.samplers import BaseSampler, RandomSampler

from ablation.record.trial import COMPLETE, FAILED, Record
from ablation.search.hypervolume import hypervolume
from ablation.search.pool import Pool
from ablation.search.replay import Table, read_table, replay, table_from_records
from ablation.search.samplers import FREE, RANDOM, make_sampler
from blocks.errors import InputError
from tests.search.replay_table import made_up


def a_record(key: str, seed: int, **changes: object) -> Record:
    losses = [0.9 - 0.1 * seed, 0.7 + 0.1 * seed]
    known: dict[str, object] = {
        "state": COMPLETE,
        "factors": {"conv": key},
        "intents": ({"conv": key, "rate": "1"}, {"conv": key, "rate": "2"}),
        "costs": {"params": 1000, "macs": 20_000},
        "latency": {"cpu/1": {"median_ms": 2.5}} if seed == 0 else {},
        "training": {"best_loss": min(losses), "epochs": [{"epoch": n, "val_loss": x} for n, x in enumerate(losses, 1)]},
    }
    return Record(network_key=key, label=key, seed=seed, **{**known, **changes})  # type: ignore[arg-type]


def test_records_make_a_table(tmp_path: Path) -> None:
    records = [a_record("a", 0), a_record("a", 1), a_record("b", 0), a_record("b", 1, state=FAILED), a_record("1e5", 1)]
    frame = table_from_records([*records, a_record("1e5", 0)])
    assert list(frame.columns[:6]) == ["conv", "rate", "network_key", "params", "macs", "latency_ms"]
    assert frame["network_key"].tolist() == ["a", "a", "1e5", "1e5"]  # b lacks a seed
    frame.to_csv(tmp_path / "table.csv", index=False)
    table = read_table(tmp_path / "table.csv")
    assert table.factors == {"conv": ("a", "1e5"), "rate": ("1", "2")}
    assert table.frame["network_key"].tolist() == frame["network_key"].tolist()
    assert table.losses == pytest.approx(np.array([[0.7, 0.8]] * 4))  # the best epoch of each seed
    assert table.row({"conv": "1e5", "rate": 2}) == 3
    assert table.row({"conv": "c", "rate": "2"}) is None
    with pytest.raises(InputError, match="complete with all seeds"):
        table_from_records([a_record("a", 0, latency={})])


def test_tables_that_are_none(tmp_path: Path) -> None:
    frame = made_up().frame
    wrong = {
        "columns": frame.drop(columns="params"),
        "finite": frame.assign(loss_0_1=np.nan),
        "different in their levels": frame.assign(f0="same"),
    }
    for message, table in wrong.items():
        table.to_csv(tmp_path / "wrong.csv", index=False)
        with pytest.raises(InputError, match=message):
            read_table(tmp_path / "wrong.csv")
    with pytest.raises(InputError, match="readable CSV"):
        read_table(tmp_path / "missing.csv")


def random(seed: int) -> RandomSampler:
    return RandomSampler(seed=seed)


def test_a_run_counts_what_was_known_or_is_not_there() -> None:
    whole = made_up()
    table = Table(frame=whole.frame.sample(frac=0.5, random_state=0))
    result = replay(table, lambda number, pool: make_sampler(RANDOM, seed=0, num_trials=number), 30, seed=0)
    assert len(result.shares) == 30
    assert result.absent > 5 and result.repeated > 2
    assert all(np.diff(result.shares) >= 0) and 0 < result.shares[-1] <= 1
    stuck = replay(table, lambda number, pool: random(0), 30, seed=0)
    assert len(stuck.shares) <= 1
    assert stuck.repeated + stuck.absent + len(stuck.shares) == 600


def test_shares_are_of_mean_losses_in_logarithms_of_costs() -> None:
    table = made_up()
    rows = [3, 50, 77]
    known = table.frame.iloc[rows]
    loss = (known["loss_0_2"] + known["loss_1_2"]) / 2
    whole = np.column_stack([table.losses.mean(axis=1), np.log(table.frame["latency_ms"]), np.log(table.frame["params"])])
    points = np.column_stack([loss, np.log(known["latency_ms"]), np.log(known["params"])])
    expected = hypervolume(points, whole.max(axis=0)) / hypervolume(whole, whole.max(axis=0))
    assert table.share(rows) == pytest.approx(expected)
    assert table.share(range(len(table.frame))) == 1


def test_ours_reaches_in_a_third_what_random_ends_with() -> None:
    table = made_up(noise=0.2)
    ends, reached = [], []
    for seed in range(4):
        free: list[BaseSampler] = []

        def sampler(number: int, pool: Pool, seed: int = seed, free: list[BaseSampler] = free) -> BaseSampler:
            free[:] = free or [make_sampler(FREE, seed=seed, num_trials=0, pool=pool, settings={"refit_every": 5})]
            return free[0]

        ends.append(replay(table, lambda n, _, seed=seed: make_sampler(RANDOM, seed=seed, num_trials=n), 45, seed).shares[-1])  # type: ignore[misc]
        run = replay(table, sampler, 15, seed)
        assert run.repeated == run.absent == 0
        reached.append(run.shares[-1])
    assert np.median(reached) > np.median(ends)
