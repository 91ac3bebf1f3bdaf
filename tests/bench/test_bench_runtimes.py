"""The parts of `bench` about runtimes, small: what is measured, against which rule, and a rule that can be missed."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from blocks.errors import InputError
from studies.bench import runtimes
from studies.bench.command import possible_parts
from studies.bench.result import Bench
from studies.bench.runtimes import QUICK, bench_precision, bench_runtimes
from tests.tiny_grid import SHORT


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("ABLATION_CACHE", str(tmp_path))
    monkeypatch.setattr(runtimes, "preset", lambda name: SHORT)
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


def test_what_fewer_digits_lose_and_gain(bench: Bench) -> None:
    results = {result.name: result for result in bench_precision(bench)}
    assert {f"small, int8: {metric} less that in float32" for metric in ("test loss", "SSIM", "PSNR")} <= set(results)
    assert all("2 seeds" in each.detail and "95 %" in each.detail for name, each in results.items() if "less" in name)
    assert 0 < abs(results["small, int8: SSIM less that in float32"].value) < 0.1
    assert results["small, int8: speed over that of float32"].value > 0


def test_they_are_about_a_cpu(bench: Bench) -> None:
    other = Bench("cuda", True, bench.console, bench.out, bench.table)
    for part in (bench_runtimes, bench_precision):
        with pytest.raises(InputError, match="--device must be cpu for the part"):
            part(other)
    assert {"runtimes", "precision"} <= set(possible_parts(bench)) - set(possible_parts(other))
