"""Latency: the statistics on synthetic samples, the protocol on lanes whose times are known, and the whole on real modules."""

from __future__ import annotations

import gc
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ablation.compose import build
from ablation.device import checked_device
from ablation.spec import preset
from ablation.timing import timers
from ablation.timing.interleave import WARMUP_ROUNDS, Plan, interleave
from ablation.timing.latency import compare_latency, describe_precision
from ablation.timing.latency_result import LatencyComparison, summarise
from ablation.timing.timers import ATTEMPTS, CALL, Lane, calls_per_block, make_lane, time_calls
from ablation.timing.timing_stats import Trend, find_drift, median_intervals, paired_ratios, trend
from blocks.errors import InputError

# ---- statistics


def test_ratios_are_paired_by_round() -> None:
    # the machine gets ten times slower half-way: ratios don't notice
    samples = np.array([[1.0, 3.0], [1.0, 3.0], [10.0, 30.0], [10.0, 30.0]])
    assert paired_ratios(samples, 0).tolist() == [[1.0, 3.0]] * 4


def test_median_interval_of_constant_samples_is_a_point() -> None:
    assert median_intervals(np.full((30, 1), 2.5)) == [(2.5, 2.5, 2.5)]


def test_interval_covers_the_true_median() -> None:
    rng = np.random.default_rng(1)
    covered = sum(
        interval.low <= 1.0 <= interval.high
        for _ in range(20)
        for interval in median_intervals(np.exp(rng.normal(0, 0.1, (30, 15))), resamples=400)
    )
    # 300 intervals at 95 %: 285 expected, standard deviation 3.8; the percentile bootstrap of a median is a little short
    assert 270 <= covered <= 298


def test_trend_finds_a_trend_and_nothing_in_noise() -> None:
    noise = np.exp(np.random.default_rng(2).normal(0, 0.01, 60))
    assert not trend(noise).significant
    found = trend(noise * np.linspace(1, 1.5, 60))
    assert found.significant
    assert found.change == pytest.approx(0.5, abs=0.1)
    assert trend(np.ones(60)) == Trend(0.0, False)


def test_drift_of_the_machine_is_not_drift_of_a_ratio() -> None:
    rng = np.random.default_rng(3)
    common = np.linspace(1, 2, 60)[:, None] * np.exp(rng.normal(0, 0.01, (60, 3)))
    drift = find_drift(common, ["a", "b", "c"], 0)
    assert drift.machine.significant
    assert not drift.ratio.significant
    common[:, 2] *= np.linspace(1, 1.3, 60)
    drift = find_drift(common, ["a", "b", "c"], 0)
    assert (drift.ratio.significant, drift.ratio_name) == (True, "c")


# ---- one block


@pytest.mark.parametrize(("call_ms", "num_calls"), [(0.1, 120), (1.0, 12), (5.0, 2), (19.0, 1), (400.0, 1), (0.0, 10_000)])
def test_calls_per_block(call_ms: float, num_calls: int) -> None:
    assert calls_per_block(call_ms) == num_calls


class Clock:
    """Time that passes only when told."""

    def __init__(self) -> None:
        self.now, self.switches = 0.0, 0

    def __call__(self) -> float:
        return self.now


def test_block_is_the_median_of_its_calls() -> None:
    clock, times = Clock(), iter([0.002, 0.100, 0.004])

    def call() -> None:
        clock.now += next(times)

    assert time_calls(call, 3, clock, lambda: 0) == pytest.approx(4.0)


def test_disturbed_call_is_made_again() -> None:
    clock, times = Clock(), iter([(0.5, 1), (0.002, 0)])

    def call() -> None:
        seconds, switches = next(times)
        clock.now += seconds
        clock.switches += switches

    assert time_calls(call, 1, clock, lambda: clock.switches) == pytest.approx(2.0)


def test_always_disturbed_call_ends_with_the_least() -> None:
    clock, calls = Clock(), []

    def call() -> None:
        calls.append(1)
        clock.now += 0.01 / len(calls)
        clock.switches += 1

    assert time_calls(call, 1, clock, lambda: clock.switches) == pytest.approx(10.0 / ATTEMPTS)
    assert len(calls) == ATTEMPTS


def test_a_long_call_is_made_once_however_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing leaves a call of a second alone: three attempts at each would only take three times as long."""
    for seconds, made in ((1.0, 1), (0.1, ATTEMPTS)):
        clock, calls = Clock(), []

        def call(clock: Clock = clock, calls: list[int] = calls, seconds: float = seconds) -> None:
            calls.append(1)
            clock.now += seconds
            clock.switches += 1

        monkeypatch.setattr(timers.time_calls, "__defaults__", (clock, lambda clock=clock: clock.switches, ATTEMPTS))
        lane = Lane(call)
        lane.calibrate()
        assert (lane.num_calls, lane.attempts) == (1, made)
        assert len(calls) == (2 if made == 1 else 1 + 3 * ATTEMPTS)
        calls.clear()
        assert lane.block() == {CALL: pytest.approx(1e3 * seconds)}
        assert len(calls) == made


def test_a_short_call_that_begins_slowly_is_not_taken_for_a_long_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, times = Clock(), iter([3.0, *[0.002] * 100])

    def call() -> None:
        clock.now += next(times)

    monkeypatch.setattr(timers.time_calls, "__defaults__", (clock, lambda: 0, ATTEMPTS))
    lane = Lane(call)
    lane.calibrate()
    assert (lane.num_calls, lane.attempts) == (6, ATTEMPTS)


# ---- the protocol


class FakeLane:
    """Takes `ms` times the machine's present slowness; may fail at a block."""

    def __init__(self, ms: float, machine: Machine, fail_at: int | None = None) -> None:
        self.ms, self.machine, self.fail_at, self.blocks = ms, machine, fail_at, 0

    def calibrate(self) -> None:
        pass

    def block(self) -> Mapping[str, float]:
        self.blocks += 1
        if self.blocks == self.fail_at:
            raise RuntimeError("broken\nsecond line")
        found = self.ms * self.machine.slowness(self)
        self.machine.now += found / 1e3
        return {"call": found}


class Machine:
    """Gets slower and faster from round to round, and adds noise to each block."""

    def __init__(self, noise: float, num_lanes: int) -> None:
        self.rng, self.noise, self.num_lanes = np.random.default_rng(5), noise, num_lanes
        self.now, self.order, self.level = 0.0, [], 1.0

    def slowness(self, lane: FakeLane) -> float:
        if len(self.order) % self.num_lanes == 0:
            self.level = float(np.exp(self.rng.normal(0, 0.5)))
        self.order.append(lane)
        return self.level * float(np.exp(self.rng.normal(0, self.noise)))

    def __call__(self) -> float:
        return self.now


def run_fake(noise: float, plan: Plan, fail_at: int | None = None, reference: int = 0):
    machine = Machine(noise, 4)
    lanes = [FakeLane(ms, machine, fail_at if i == 1 else None) for i, ms in enumerate((2.0, 5.0, 9.0))]
    return (
        lanes,
        machine,
        interleave(lanes, reference, plan, primary="call", clock=machine, describe=lambda e: str(e).splitlines()[0]),
    )


def comparison(run, plan: Plan, names=("a", "b", "c")) -> LatencyComparison:
    return summarise(
        names,
        names[0],
        run,
        target_half_width=plan.target_half_width,
        seed=0,
        failures={names[i]: why for i, why in run.failures.items()},
        missing={},
        provenance={"device": "fake"},
    )


def test_recovers_the_ratios_on_an_unsteady_machine() -> None:
    plan = Plan()
    _, machine, run = run_fake(0.01, plan)
    found = comparison(run, plan)
    assert found.converged
    for name, ratio in (("a", 1.0), ("b", 2.5), ("c", 4.5)):
        assert found[name].ratio == pytest.approx(ratio, rel=0.01)
    assert found.noise_floor is not None
    assert found.noise_floor.low < 1.01
    assert found.noise_floor.high > 0.99
    # the times themselves scatter with the machine
    assert found["c"].high_ms / found["c"].low_ms > 1.2
    assert plan.rounds[0] <= run.rounds < plan.rounds[1]
    assert run.samples["call"].shape == (run.rounds, 4)
    # every lane once a round, the reference twice, in orders that differ
    rounds = [machine.order[i : i + 4] for i in range(0, len(machine.order), 4)]
    assert all(len(set(map(id, block))) == 3 for block in rounds)
    assert len({tuple(map(id, block)) for block in rounds}) > 5


def test_says_when_it_did_not_converge() -> None:
    plan = Plan(rounds=(5, 20))
    _, _, run = run_fake(0.5, plan)
    found = comparison(run, plan)
    assert (run.rounds, found.converged, found["b"].converged) == (20, False, False)
    assert any("not converged after 20 rounds" in line for line in found.lines())


def test_budget_ends_the_rounds() -> None:
    plan = Plan(budget_s=0.3)
    _, _, run = run_fake(0.5, plan)
    assert 2 <= run.rounds < plan.rounds[0]
    assert not run.converged


def test_warm_up_leaves_the_rounds_their_share_of_the_budget() -> None:
    """An unsettled machine would warm up for 20 rounds of 18 ms on average; 0.4 of the budget is over sooner."""
    _, _, run = run_fake(0.5, Plan(rounds=(2, 100), budget_s=0.4))
    assert WARMUP_ROUNDS[0] <= run.warmup_rounds < WARMUP_ROUNDS[1]
    assert run.rounds > run.warmup_rounds


def test_warm_up_has_its_least_rounds_before_the_share_counts() -> None:
    """Two blocks of 10 ms a round: 0.4 of 150 ms are over after three rounds, and four are the least that can settle."""
    machine = Machine(0.0, 2)
    machine.rng = SimpleNamespace(normal=lambda *_: 0.0)
    plan = Plan(rounds=(2, 2), budget_s=0.15)
    run = interleave([FakeLane(10.0, machine)], 0, plan, primary="call", clock=machine)
    assert (run.warmup_rounds, run.settled, run.rounds) == (WARMUP_ROUNDS[0], True, 2)


def test_calls_alone_on_a_gpu_need_no_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(timers, "capture", lambda call: pytest.fail("captured"))
    calls: list[object] = []
    x = SimpleNamespace(device=SimpleNamespace(type="cuda"))
    lane = make_lane(calls.append, x, only_calls=True)
    assert set(lane.block()) == {CALL}
    assert calls and all(given is x for given in calls)  # again where the scheduler interrupted it


def test_unsettled_warm_up_is_bounded_and_told() -> None:
    _, _, run = run_fake(0.5, Plan(rounds=(2, 2)))
    assert (run.warmup_rounds, run.settled) == (WARMUP_ROUNDS[1], False)


@pytest.mark.parametrize("fail_at", [1, 30])
def test_failed_lane_is_recorded_and_the_rest_goes_on(fail_at: int) -> None:
    plan = Plan()
    lanes, _, run = run_fake(0.01, plan, fail_at)
    found = comparison(run, plan)
    assert (found["b"].failed, found["b"].reason, found["b"].ratio) == (True, "broken", None)
    assert lanes[1].blocks == fail_at
    assert found["c"].ratio == pytest.approx(4.5, rel=0.01)
    assert found.converged


@pytest.mark.parametrize("fail_at", [3, 20, 21, 27, 28])
def test_failed_reference_leaves_times_without_ratios(fail_at: int) -> None:
    # in warm-up and in rounds, at its first and at its second entry
    plan = Plan(rounds=(5, 10))
    machine = Machine(0.01, 4)
    lanes = [FakeLane(2.0, machine, fail_at), FakeLane(5.0, machine), FakeLane(9.0, machine)]
    found = comparison(interleave(lanes, 0, plan, primary="call", clock=machine, describe=str), plan)
    assert found["a"].failed
    assert found["a"].reason.startswith("broken")
    assert (found["b"].failed, found["b"].ratio, found.noise_floor, found.converged) == (False, None, None, False)


def test_all_lanes_failing_is_an_answer_too() -> None:
    lane = FakeLane(1.0, Machine(0.0, 2), fail_at=1)
    found = comparison(interleave([lane], 0, Plan(), primary="call", describe=str), Plan(), ("a",))
    assert (found.rounds, found["a"].failed, found.noise_floor) == (0, True, None)


def test_collector_is_put_back_and_progress_told() -> None:
    seen: list[tuple[int, int, bool]] = []
    lane = FakeLane(1.0, Machine(0.0, 2))
    interleave([lane], 0, Plan(rounds=(2, 3)), primary="call", progress=lambda i, n: seen.append((i, n, gc.isenabled())))
    done = [rounds for rounds, _, _ in seen]
    assert done == sorted(done)
    assert set(seen) == {(0, 3, True), (0, 3, False), (1, 3, False), (2, 3, False)}  # calibration is not timed, collecting is fine
    assert gc.isenabled()


def test_saves_and_loads(tmp_path: Path) -> None:
    plan = Plan()
    found = comparison(run_fake(0.01, plan, 1)[2], plan)
    path = tmp_path / "raw.latency"
    found.save(path)
    again = LatencyComparison.load(path)
    assert json.loads(json.dumps(again.to_dict(), allow_nan=False)) == again.to_dict() == found.to_dict()
    assert np.array_equal(again.samples["call"], found.samples["call"], equal_nan=True)
    (tmp_path / "broken").write_bytes(b"no archive")
    with pytest.raises(InputError, match="one that `save` wrote"):
        LatencyComparison.load(tmp_path / "broken")


# ---- real modules


class Repeat(nn.Module):
    """Does the same work `times` times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times, self.work = times, nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times):
            x = self.work(x)
        return x


class Breaks(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise MemoryError("too large")


def test_real_models_and_a_broken_one() -> None:
    models = {"one": Repeat(2), "eight": Repeat(16), "broken": Breaks()}
    models["one"].train()
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    found = compare_latency(models, image_size=24, rounds=(8, 12), budget_s=5, num_threads=1)
    assert found["broken"].reason == "out of memory: too large"
    # 8 times the work; anything between is a loaded machine
    assert found["eight"].ratio > 2
    assert found.noise_floor is not None
    assert found.noise_floor.low < found["eight"].ratio_low
    assert found.columns == ("one", "eight", "broken", "one (again)")
    assert found.samples["call"].shape == (found.rounds, 4)
    assert models["one"].training
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)
    wanted = {
        "device",
        "cpu",
        "cpu_threads",
        "torch",
        "float32_convolutions",
        "float32_products",
        "memory_format",
        "batch_size",
        "seed",
    }
    assert wanted <= set(found.provenance)
    assert found.provenance["cpu_threads"] == 1


@pytest.mark.parametrize("options", [{"precision": "bfloat16"}, {"channels_last": True, "batch_size": 2}])
def test_options_reach_the_model(options: dict[str, object]) -> None:
    found = compare_latency({"small": build(preset("small"), 0)}, rounds=(2, 2), budget_s=5, **options)  # type: ignore[arg-type]
    assert not found["small"].failed, found["small"].reason
    assert found.provenance["precision"] == options.get("precision", "float32")
    assert found.provenance["memory_format"] == ("channels_last" if "channels_last" in options else "contiguous")


def test_precision_defaults_to_full_on_the_cpu() -> None:
    assert set(describe_precision(torch.device("cpu"))) == {"float32_convolutions", "float32_products"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": {}}, "models must be"),
        ({"reference": "nobody"}, "reference must be one of relu"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"rounds": (9, 3)}, "rounds must be"),
        ({"target_half_width": 0}, "target_half_width must be"),
        ({"budget_s": -1}, "budget_s must be"),
        ({"num_threads": 0}, "num_threads must be"),
        ({"precision": "int4"}, "precision must be one of float32"),
        ({"device": "quantum"}, "device must be"),
        ({"device": "meta"}, "device must be"),
        ({"device": "cuda:99"}, "device must be one of this machine's"),
        ({"image_size": None}, "image_size must be given"),
        (
            {"models": {"a": build(preset("small")), "b": build(preset("small").replace(image_size=64))}, "image_size": None},
            "the same",
        ),
    ],
)
def test_wrong_arguments(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        compare_latency(**{"models": {"relu": nn.ReLU()}, "image_size": 8, **options})  # type: ignore[arg-type]


def test_instrumented_model_is_refused() -> None:
    model = nn.ReLU()
    handle = model.register_forward_hook(lambda *_: None)
    with pytest.raises(InputError, match="free of forward hooks"):
        compare_latency({"hooked": model}, image_size=8)
    handle.remove()


def test_device_that_is_there() -> None:
    assert checked_device("cpu").type == "cpu"
