"""The parts of `bench` about runtimes, small: what is measured, against which rule, and a rule that can be missed."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from studies.bench import runtimes
from studies.bench.result import Bench
from studies.bench.runtimes import QUICK, bench_int8, bench_runtimes


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("ABLATION_CACHE", str(tmp_path))
    return Bench("cpu", True, Console(stderr=True), tmp_path, tmp_path / "none.csv")


def test_the_gain_of_the_automatic_choice_and_its_error(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    size = type(QUICK)(**{**vars(QUICK), "gains": {("small", 2): 1000.0}, "budget_s": 1.0})
    monkeypatch.setattr(runtimes, "QUICK", size)
    gain, error = bench_runtimes(bench)
    assert (gain.rule, gain.met) == ("at least 1000", False)
    assert gain.value > 0
    assert " against " in gain.detail
    assert error.met
    assert 0 <= error.value < 1e-5


def test_what_int8_loses_and_gains(bench: Bench) -> None:
    results = bench_int8(bench)
    assert [result.name.partition(" in ")[0] for result in results] == [
        "small: test loss", "small: SSIM", "small: PSNR", "small: int8 over float32, both"
    ]  # fmt: skip
    assert all("2 seeds" in result.detail and "95 %" in result.detail for result in results[:3])
    assert 0 < abs(results[1].value) < 0.1
