"""`bench search`: runs are kept and not run again; medians, tests and corrections by hand."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import stats

from ablation.search.replay import read_table
from ablation.search.samplers import FREE, GP, RANDOM, TPE
from ablation.stats import holm
from blocks.errors import InputError
from studies.bench import search as bench_search_module
from studies.bench.command import PARTS, possible_parts
from studies.bench.result import Bench
from studies.bench.search import Runs, bench_search, median_interval, needed, never_worse
from studies.bench.table import write_table
from studies.run import main
from tests.search.replay_table import made_up
from tests.tiny_grid import begin, grid


def test_a_quick_bench_is_stored_drawn_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up(sizes=(3, 2, 2, 2)).frame.to_csv(tmp_path / "table.csv", index=False)
    monkeypatch.setattr(bench_search_module, "TRAININGS", {TPE: 8, FREE: 12, RANDOM: 12})
    monkeypatch.setattr(bench_search_module, "COMPARED", (8,))
    monkeypatch.setattr(bench_search_module, "AIM", 8)
    monkeypatch.setattr(bench_search_module, "TARGET", 12)
    monkeypatch.setattr(bench_search_module, "QUICK_SEEDS", 3)
    monkeypatch.setattr(bench_search_module, "ProcessPoolExecutor", Inline)
    bench = Bench("cpu", True, Console(quiet=True), tmp_path, tmp_path / "table.csv")
    first, second = bench_search(bench)
    assert first.value <= 12 and "tpe" in first.detail and "no interval" in first.detail
    assert "Wilcoxon" in second.detail
    kept = (tmp_path / "replay.csv").read_text()
    assert len(pd.read_csv(tmp_path / "replay.csv")) == 9
    assert len(pd.read_csv(tmp_path / "replay_medians.csv")) == 32
    assert (tmp_path / "replay_medians.svg").is_file()
    monkeypatch.setattr(bench_search_module, "run_one", lambda *_: pytest.fail("run again"))
    assert bench_search(bench) == [first, second]
    assert (tmp_path / "replay.csv").read_text() == kept


class Inline:
    """In place of processes."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, function, *arguments):  # type: ignore[no-untyped-def]
        from concurrent.futures import Future

        future: Future[object] = Future()
        future.set_result(function(*arguments))
        return future


def test_the_interval_of_a_median_covers() -> None:
    rng = np.random.default_rng(0)
    for num in (6, 30):
        intervals = [median_interval(rng.exponential(1, num).tolist()) for _ in range(4000)]
        covered = np.mean([low <= np.log(2) <= high for _, low, high in intervals if low is not None and high is not None])
        exact = 1 - 2 * stats.binom.cdf({6: 0, 30: 9}[num], num, 0.5)
        assert covered == pytest.approx(exact, abs=0.012)
        assert 0.93 <= exact <= 0.98
    assert median_interval([3, 1, 2]) == (2, None, None)


def test_holm_by_hand() -> None:
    assert holm({"a": 0.5, "b": 0.01, "c": 0.02}) == pytest.approx({"a": 0.5, "b": 0.03, "c": 0.04})
    assert holm({"a": 0.04, "b": 0.04}) == pytest.approx({"a": 0.08, "b": 0.08})
    assert holm({}) == {}


def runs(free: float, tpe: float) -> Runs:
    """30 seeds whose shares grow to 1 at a speed, with noise that seeds do not share."""
    rng = np.random.default_rng(0)
    speeds = {FREE: free, TPE: tpe, GP: 0.05, RANDOM: 0.01}

    def shares(speed: float) -> list[float]:
        own = speed * np.exp(rng.normal(0, 0.1))
        return [1 - float(np.exp(-own * n)) for n, _ in zip(count(1), range(120), strict=False)]

    return {name: {seed: shares(speed) for seed in range(30)} for name, speed in speeds.items()}


def test_the_verdicts() -> None:
    good, bad = runs(0.06, 0.03), runs(0.02, 0.04)
    result = needed(good, dict.fromkeys(good, 2.4))
    assert result.met and result.value == pytest.approx(20, abs=1)  # 0.01 x 120 / 0.06
    assert "free 21 (" in result.detail and "2 repeated proposals" in result.detail
    assert never_worse(good).met
    lost = never_worse(bad)
    assert not lost.met and lost.value == 6
    assert not needed(bad, dict.fromkeys(bad, 0.0)).met
    assert "never" in needed({**bad, FREE: dict.fromkeys(range(30), [0.1] * 120)}, dict.fromkeys(bad, 0.0)).detail


def test_without_the_table_all_other_parts_are_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = Bench("cpu", True, Console(stderr=True), tmp_path, tmp_path / "table.csv")
    assert possible_parts(bench) == [part for part in PARTS if part != "search"]
    assert "table.csv, which is not there" in capsys.readouterr().err.replace("\n", "")
    bench.table.write_text("")
    assert possible_parts(bench) == list(PARTS)


def test_a_study_becomes_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `bench search` reads is made from a finished study by the command that the documentation names."""
    monkeypatch.chdir(begin(tmp_path))
    assert main(grid("--seeds", "2")) == 0
    table = read_table(write_table(tmp_path / "results/tiny", tmp_path / "made/table.csv"))
    assert table.factors == {"connectivity": ("plain", "dense"), "growth_rate": ("4", "8")}
    assert table.losses.shape == (4, 2)
    facts = json.loads((tmp_path / "made/table.json").read_text())
    assert (facts["networks"], facts["rows"], facts["seeds"], facts["epochs"]) == (3, 4, [0, 1], 1)
    with pytest.raises(InputError, match="FOLDER must be that of a study"):
        write_table(tmp_path, tmp_path / "made/other.csv")
