"""The batch sweep: the knee on known times, memory that runs out, budgets, and the estimate of memory."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from ablation.explain import sweep
from ablation.explain.sweep import BATCHES, batch_sweep, knee
from ablation.measure.costs import memory as memory_estimate
from ablation.measure.costs.memory import activation_bytes, available_bytes
from ablation.measure.latency import interleave
from ablation.measure.latency.compare import compare_latency
from ablation.measure.latency.result import ModelLatency
from ablation.record.explanation import SweepPoint
from blocks.errors import InputError

# ---- the knee


def test_knee_of_an_exact_bend() -> None:
    # max(8, n): the launch cost equals 8 images
    assert knee({n: max(8.0, n) for n in BATCHES}) == 8


def test_knee_between_two_batches_is_the_next_one() -> None:
    assert knee({n: max(11.0, n) for n in BATCHES}) == 16


def test_knee_is_the_first_batch_where_time_is_proportional_from_the_start() -> None:
    assert knee({n: 3.0 * n for n in BATCHES}) == 1


def test_no_knee_where_time_never_grows() -> None:
    assert knee(dict.fromkeys(BATCHES, 2.0)) is None
    assert knee({n: 2.0 + 0.01 * (n % 3) for n in BATCHES}) is None


def test_no_knee_from_one_high_last_point_or_too_few() -> None:
    assert knee({1: 2.0, 2: 2.0, 4: 2.0, 8: 2.2}) is None
    assert knee({1: 1.0, 2: 2.0}) is None
    assert knee({}) is None


@pytest.mark.parametrize("seed", range(20))
def test_knee_with_five_per_cent_noise(seed: int) -> None:
    noise = torch.randn(len(BATCHES), generator=torch.Generator().manual_seed(seed)) * 0.05
    times = {n: max(8.0, 0.5 * n) * float(noise[i].exp()) for i, n in enumerate(BATCHES)}
    assert knee(times) == 16


# ---- the sweep


@pytest.fixture(autouse=True)
def _few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "ROUNDS", (6, 6))
    monkeypatch.setattr(sweep, "compare_latency", partial(compare_latency, sittings=1))
    monkeypatch.setattr(interleave, "WARMUP_ROUNDS", (4, 4))


class Limited(nn.Module):
    """Runs out of memory above a batch size, or fails at it in another way."""

    def __init__(self, most: int, error: Exception | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.most, self.error = most, error or torch.OutOfMemoryError("CUDA out of memory.")

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.most:
            raise self.error
        out: Tensor = self.conv(x)
        return out


def test_memory_that_runs_out_marks_the_point_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "compare_latency", partial(compare_latency, sittings=3))
    points, knees = batch_sweep(
        Limited(100), Limited(2), batches=(4, 1, 2, 8), budget_s=600, image_size=8, threads=1, names=("roomy", "greedy")
    )
    assert [p.batch_size for p in points] == [1, 2, 4, 8]
    assert [p.reason for p in points] == ["", "", "greedy: out of memory at batch 4", "greedy: out of memory at batch 4"]
    assert all(p.first_ms is not None for p in points)
    assert [p.second_ms is None for p in points] == [False, False, True, True]
    assert [p.ratio is None for p in points] == [False, False, True, True]
    # the budget has time for the sittings of an interval
    assert all(p.ratio_low <= p.ratio <= p.ratio_high and p.sittings >= 3 for p in points[:2])
    assert set(knees) == {"roomy", "greedy"}
    assert knees["greedy"] is None


def test_first_out_of_memory_leaves_the_second() -> None:
    points, _ = batch_sweep(Limited(1), Limited(9), batches=(1, 2), budget_s=60, image_size=8, threads=1)
    assert (points[1].first_ms, points[1].ratio) == (None, None)
    assert points[1].second_ms is not None
    assert points[1].reason == "first: out of memory at batch 2"


def test_both_out_of_memory_leaves_marked_points() -> None:
    points, knees = batch_sweep(Limited(1), Limited(1), batches=(1, 2, 4), budget_s=60, image_size=8, threads=1)
    assert points[2].reason == "first: out of memory at batch 2; second: out of memory at batch 2"
    assert points[2].first_ms is None
    assert knees == {"first": None, "second": None}


def test_other_failures_mark_their_point_only() -> None:
    points, _ = batch_sweep(Limited(100), Limited(1, ValueError("odd batch")), batches=(1, 2), budget_s=60, image_size=8, threads=1)
    assert points[1].reason == "second: ValueError: odd batch"


def test_cpu_memory_is_checked_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    # one 1x1 convolution on 3 x 8 x 8: 768 bytes an image, and half as much again
    monkeypatch.setattr(sweep, "available_bytes", lambda: 2000)
    points, _ = batch_sweep(Limited(9), Limited(9), batches=(1, 2), budget_s=60, image_size=8, threads=1)
    assert points[0].reason == ""
    assert points[1].reason.startswith("first: out of memory at batch 2 (about 2.3e-06 of 2e-06 GB)")


class FakeRuns:
    """Stands for compare_latency: `ms` an image for each model, `seconds` of a fake clock for every comparison."""

    def __init__(self, ms: float, seconds: float, sittings: int = 3) -> None:
        self.ms, self.seconds, self.now, self.asked, self.sittings = ms, seconds, 0.0, [], sittings

    def __call__(self, models, *, batch_size: int, budget_s: float, **settings) -> SimpleNamespace:
        self.now += self.seconds
        self.asked.append((batch_size, budget_s))
        ends = (0.9, 1.1) if self.sittings >= 3 else (None, None)
        latencies = {
            name: ModelLatency(
                median_ms=self.ms * batch_size * (1 + i),
                ratio=1.0 + i,
                **dict(zip(("ratio_low", "ratio_high"), [end and end + i for end in ends], strict=True)),
            )
            for i, name in enumerate(models)
        }
        kinds = {"call": latencies, "enqueue": {name: ModelLatency(median_ms=0.5) for name in models}}
        sittings = tuple(number for number in range(self.sittings) for _ in range(6))
        return SimpleNamespace(models=latencies, by_kind=kinds, rounds=len(sittings), sittings=sittings)


def test_point_that_would_overrun_the_budget_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = FakeRuns(ms=100.0, seconds=3.0)
    monkeypatch.setattr(sweep, "compare_latency", runs)
    points, knees = batch_sweep(Limited(9), Limited(9), batches=(1, 2, 4, 8), budget_s=25.0, image_size=8, clock=lambda: runs.now)
    # a round of batch n takes n x (100 + 200 + 100) ms; before 2 rounds 6 calls and 4 of warm-up: 4.8 n seconds
    # 1 at 0 s; 2 needs 9.6 of 22 s; 4 needs 19.2 of 19 s; 8 needs 38 of 19 s
    assert [batch for batch, _ in runs.asked] == [1, 2]
    assert points[2].reason == "not measured: it would take about 19 s, and 19 s of the budget were left"
    assert points[3].reason == "not measured: it would take about 38 s, and 19 s of the budget were left"
    assert points[2].first_ms is None
    assert knees == {"first": None, "second": None}


def named(monkeypatch: pytest.MonkeyPatch, call_ms: float) -> tuple[FakeRuns, tuple[SweepPoint, ...]]:
    """Batches 1, 8 and 64, named, with a budget for the first; a call takes `call_ms` an image, of the second twice that."""
    runs = FakeRuns(ms=call_ms, seconds=3.0)
    monkeypatch.setattr(sweep, "compare_latency", runs)
    slow = Limited(99)
    monkeypatch.setattr(sweep, "_call_s", lambda model, batch, _: call_ms * batch * (2 if model is slow else 1) / 1e3)
    points, _ = batch_sweep(Limited(99), slow, batches=(1, 8, 64), budget_s=0.1, image_size=8, overrun=True, clock=lambda: runs.now)
    return runs, points


def test_named_batches_are_measured_beyond_the_budget_with_what_their_interval_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    runs, points = named(monkeypatch, 10.0)
    assert [(p.reason, p.rounds, p.sittings, p.interval) for p in points] == [("", 18, 3, (1.9, 2.1))] * 3
    # a round of batch n takes 0.04 n s; a sitting 6 calls, 4 of warm-up, 6 rounds: 0.64 n s; three or five, and a margin
    assert [batch for batch, _ in runs.asked] == [1, 8, 64]
    assert [budget for _, budget in runs.asked] == pytest.approx([1.3 * 5 * 0.64, 1.3 * 5 * 0.64 * 8, 1.3 * 3 * 0.64 * 64])


def test_a_named_batch_whose_interval_would_take_too_long_is_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    runs, points = named(monkeypatch, 100.0)
    # a round of batch 64 takes 25.6 s, and 30 of them, loading included, 768 s
    assert [batch for batch, _ in runs.asked] == [1, 8]
    last = points[-1]
    assert (last.first_ms, last.second_ms, last.ratio) == pytest.approx((6400.0, 12800.0, 2.0))
    assert (last.rounds, last.sittings, last.interval) == (2, 0, (None, None))
    assert last.reason == "no interval: 3 sittings would take about 17 minutes"


def test_one_call_is_timed_and_what_fails_is_endless() -> None:
    there = sweep._Sweep({"a": Limited(2)}, "cpu", (3, 8, 8), 1, True, lambda: 0.0, 1.0)
    assert 0 < sweep._call_s(Limited(2), 2, there) < 10
    assert sweep._call_s(Limited(2), 3, there) == float("inf")


def test_a_point_that_is_known_is_not_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    runs, seen = FakeRuns(ms=10.0, seconds=1.0), []
    monkeypatch.setattr(sweep, "compare_latency", runs)
    known = {1: SweepPoint(batch_size=1, first_ms=7.0, second_ms=14.0, ratio=2.0, rounds=9, sittings=0, source="elsewhere")}
    points, _ = batch_sweep(
        Limited(9),
        Limited(9),
        batches=(1, 2),
        budget_s=60,
        image_size=8,
        known=known,
        progress=seen.append,
        clock=lambda: runs.now,
    )
    assert points[0] is known[1]
    assert [batch for batch, _ in runs.asked] == [2]
    assert seen == [1, 2]


def test_ratio_is_second_over_first_and_enqueue_times_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "compare_latency", FakeRuns(ms=1.0, seconds=0.0))
    points, knees = batch_sweep(Limited(9), Limited(9), batches=(1, 2, 4), budget_s=25.0, image_size=8)
    last = points[2]
    assert (last.first_ms, last.second_ms, last.ratio, last.ratio_low, last.ratio_high) == (4.0, 8.0, 2.0, 1.9, 2.1)
    assert (last.first_enqueue_ms, last.second_enqueue_ms) == (0.5, 0.5)
    assert knees == {"first": 1, "second": 1}


@pytest.mark.parametrize(("sittings", "interval"), [(3, (1.9, 2.1)), (2, (None, None))])
def test_an_interval_needs_sittings(monkeypatch: pytest.MonkeyPatch, sittings: int, interval: tuple[float | None, ...]) -> None:
    monkeypatch.setattr(sweep, "compare_latency", FakeRuns(ms=1.0, seconds=0.0, sittings=sittings))
    (point,), _ = batch_sweep(Limited(9), Limited(9), batches=(1,), budget_s=25.0, image_size=8)
    assert (point.rounds, point.interval) == (6 * sittings, interval)
    assert SweepPoint(batch_size=1, ratio=2.0, ratio_low=1.9, ratio_high=2.1).interval == (None, None), "nobody noted how many"


def test_a_budget_for_a_value_gives_no_interval() -> None:
    (point,), _ = batch_sweep(Limited(9), Limited(9), batches=(1,), budget_s=0.3, image_size=8, threads=1)
    assert point.ratio is not None
    assert (point.interval, point.sittings) == ((None, None), 0)


@pytest.mark.parametrize("batches", [(), (0,), (1, 2.0), (True,)])
def test_batches_must_be_whole_numbers(batches: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="batches"):
        batch_sweep(Limited(1), Limited(1), batches=batches, image_size=8)


def test_names_must_differ() -> None:
    with pytest.raises(InputError, match="names"):
        batch_sweep(Limited(1), Limited(1), image_size=8, names=("a", "a"))


def test_any_module_is_swept_that_takes_one_tensor() -> None:
    models = (nn.Sequential(nn.Linear(6, 3), nn.ReLU()), nn.Linear(6, 300))
    points, knees = batch_sweep(*models, batches=(1, 2), budget_s=60, input_shape=(6,), threads=1)
    assert [p.reason for p in points] == ["", ""]
    assert all(p.ratio is not None for p in points)
    assert set(knees) == {"first", "second"}
    with pytest.raises(InputError, match="input_shape"):
        batch_sweep(*models, batches=(1, 2))


# ---- memory


class Held(nn.Module):
    """Three results of one size, of which so many are alive at once."""

    def forward(self, x: Tensor) -> Tensor:
        one = x.relu()
        view = one.flatten(1)
        two = view.exp()
        return one.flatten(1) + two


def test_activation_bytes() -> None:
    size = 4 * 3 * 8 * 8
    # in a chain the newest result and the one that it is made of are alive
    chain = nn.Sequential(*(nn.ReLU() for _ in range(5)))
    assert activation_bytes(chain, (3, 8, 8)) == 2 * size
    assert activation_bytes(chain, (3, 8, 8), batch_size=3) == 6 * size
    # one, two and the sum; a view takes none
    assert activation_bytes(Held(), (3, 8, 8)) == 3 * size


def test_weights_are_not_activations() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 7))
    assert activation_bytes(model, (3, 8, 8)) == 4 * 7
    assert next(model.parameters()).device.type == "cpu"


def test_available_memory_is_read_from_the_system(tmp_path: Path) -> None:
    path = tmp_path / "meminfo"
    path.write_text("MemTotal: 9 kB\nMemAvailable:    7 kB\n")
    assert memory_estimate._machine(path) == 7 * 1024
    assert memory_estimate._machine(tmp_path / "none") is None
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("2000\n")
    (tmp_path / "memory.stat").write_text("anon 900\ninactive_file 600\nactive_file 500\n")
    assert memory_estimate._container(tmp_path) == 5000 - (2000 - 600), "kept files that nothing uses are given up"
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_estimate._container(tmp_path) is None


def test_less_of_machine_and_container_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_estimate, "_machine", lambda: 10)
    for container, expected in ((4, 4), (None, 10)):
        monkeypatch.setattr(memory_estimate, "_container", lambda size=container: size)
        assert available_bytes() == expected
