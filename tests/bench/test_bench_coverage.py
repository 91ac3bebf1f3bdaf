"""`bench coverage`: chunks add up, are kept, and are not simulated again; and what a result says of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from studies.bench import coverage as bench_coverage
from studies.bench.coverage import by_construction, simulate
from studies.bench.safety import covered
from studies.bench.simulate import Simulated, designs, effects


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [
        ("effect", partial(effects.effect_coverage, effects.Case(pairs=3, repeats=3))),
        ("grid", partial(effects.false_alarms, 2, 3, 3)),
        ("ratio", partial(designs.coverage_of_ratio, sittings=3, rounds=6)),
    ]
    monkeypatch.setattr(bench_coverage, "_cases", lambda: iter(cases))
    monkeypatch.setattr(bench_coverage, "CHUNK", 20)


def test_chunks_add_up_and_are_kept(few: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "cases.csv"
    seen: list[tuple[int, int]] = []
    rows = {(row.construction, row.case): row for row in simulate(50, kept, lambda done, total: seen.append((done, total)))}
    assert seen[-1] == (9, 9)
    effect = rows["effect of a swap on a trained metric", "3 pairs, separate, 3 seeds"]
    assert (effect.runs, effect.intervals, effect.wrong) == (50, 50, None)
    assert effect.coverage is not None and effect.coverage > 0.8
    grid = next(row for row in rows.values() if row.wrong is not None)
    assert (grid.runs, grid.coverage) == (50, None)
    assert {row.case for row in rows.values() if row.construction.startswith("ratio")} == {"ratio, 3 sittings of 6 rounds"}
    monkeypatch.setattr(bench_coverage, "as_completed", lambda names: pytest.fail("simulated again") if names else [])
    assert {(row.construction, row.case): row for row in simulate(50, kept)} == rows


def test_the_worst_case_decides() -> None:
    rows = [Simulated("a", "good", 100, 100, 95), Simulated("a", "bad", 100, 100, 92), Simulated("a", "none", 100)]
    result = covered("a", by_construction(rows)["a"], 100)
    assert (result.value, result.met) == (pytest.approx(92), False)
    assert "bad" in result.detail and "1 cases print no interval" in result.detail
    assert covered("a", rows[:1], 100).met
    assert not covered("a", [Simulated("a", "wide", 100, 100, 99)], 100).met
    assert covered("b", [Simulated("b", "family", 100, wrong=5)], 100).met
    assert not covered("b", [Simulated("b", "family", 100, wrong=6)], 100).met
