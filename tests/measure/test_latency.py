"""Latency: the statistics on synthetic samples, the protocol on lanes whose times are known, and the whole on real modules."""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ablation.design.compose import build
from ablation.design.spec import preset
from ablation.machine.device import checked_device
from ablation.measure.latency import timers
from ablation.measure.latency.compare import compare_latency, describe_precision
from ablation.measure.latency.interleave import WARMUP_ROUNDS, Plan, Run, interleave
from ablation.measure.latency.result import AGAIN, LatencyComparison, summarise
from ablation.measure.latency.statistics import Trend, by_sitting, find_drift, over_sittings, paired_ratios, trend
from ablation.measure.latency.timers import ATTEMPTS, CALL, Lane, calls_per_block, make_lane, time_calls
from blocks.errors import InputError

# ---- statistics


def test_ratios_are_paired_by_round() -> None:
    # the machine gets ten times slower half-way: ratios don't notice
    samples = np.array([[1.0, 3.0], [1.0, 3.0], [10.0, 30.0], [10.0, 30.0]])
    assert paired_ratios(samples, 0).tolist() == [[1.0, 3.0]] * 4


def test_medians_are_of_each_sitting() -> None:
    samples = np.array([[1.0]] * 3 + [[100.0]] + [[2.0]] * 3)
    assert by_sitting(samples, np.array([0, 0, 0, 0, 7, 7, 7])).tolist() == [[1.0], [2.0]]


def test_the_interval_is_students_t_over_the_sittings_logarithms() -> None:
    # three sittings of six rounds, medians 1, 2 and 4: logarithms 0, 1, 2 (to the base of 2) with standard error 1 / sqrt(3)
    samples, sittings = np.repeat([1.0, 2.0, 4.0], 6)[:, None], np.repeat([0, 1, 2], 6)
    (result,) = over_sittings(samples, sittings)
    reach = 4.302653 / math.sqrt(3)
    assert (result.num, result.value) == (3, pytest.approx(2.0))
    assert (result.low, result.high) == (pytest.approx(2 ** (1 - reach)), pytest.approx(2 ** (1 + reach)))


@pytest.mark.parametrize(
    "rounds", [[2], [60], [6, 6], [60, 60], [6, 6, 5], [2, 2, 2, 2, 2, 2]], ids=lambda rounds: "+".join(map(str, rounds))
)
def test_fewer_than_three_sittings_of_six_rounds_give_a_value_and_no_interval(rounds: list[int]) -> None:
    sittings = np.repeat(np.arange(len(rounds)), rounds)
    samples = np.random.default_rng(0).lognormal(0.0, 0.1, (len(sittings), 1))
    (result,) = over_sittings(samples, sittings)
    assert (result.low, result.high, result.error) == (None, None, None)
    assert result.value == pytest.approx(1.0, abs=0.2)


def test_a_sitting_that_was_cut_short_does_not_count_beside_whole_ones() -> None:
    samples = np.array([1.0] * 18 + [50.0] * 2)[:, None]
    (result,) = over_sittings(samples, np.repeat([0, 1, 2, 3], [6, 6, 6, 2]))
    assert (result.num, result.value, result.low) == (3, pytest.approx(1.0), pytest.approx(1.0))


def test_a_column_that_failed_has_no_estimate() -> None:
    samples = np.column_stack([np.ones(18), np.full(18, np.nan)])
    whole, failed = over_sittings(samples, np.repeat([0, 1, 2], 6))
    assert (whole.value, failed.num) == (pytest.approx(1.0), 0)
    assert math.isnan(failed.value)


def test_trend_finds_a_trend_and_nothing_in_noise() -> None:
    noise = np.exp(np.random.default_rng(2).normal(0, 0.01, 60))
    assert not trend(noise).significant
    result = trend(noise * np.linspace(1, 1.5, 60))
    assert result.significant
    assert result.change == pytest.approx(0.5, abs=0.1)
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
        result = self.ms * self.machine.slowness(self)
        self.machine.now += result / 1e3
        return {"call": result}


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


def run_lanes(
    ms: Sequence[float] | Callable[[int], Sequence[float]],
    plan: Plan,
    noise: float = 0.01,
    fail_at: Mapping[int, int] | None = None,
) -> tuple[list[list[FakeLane]], Machine, Run]:
    """Lanes that take `ms` (of a sitting, where it is a function), on a steady machine without noise; `fail_at`: lane -> block."""
    machine = Machine(noise, len(ms(0) if callable(ms) else ms))
    if not noise:
        machine.rng = SimpleNamespace(normal=lambda *_: 0.0)
    made: list[list[FakeLane]] = []

    def load(sitting: int) -> list[FakeLane]:
        times = ms(sitting) if callable(ms) else ms
        made.append([FakeLane(time, machine, (fail_at or {}).get(i)) for i, time in enumerate(times)])
        return made[-1]

    return made, machine, interleave(load, plan, primary="call", clock=machine, describe=lambda e: str(e).splitlines()[0])


def run_fake(noise: float, plan: Plan, fail_at: int | None = None) -> tuple[list[list[FakeLane]], Machine, Run]:
    """Three lanes and the first one's second copy; the second lane fails at a block of each sitting."""
    return run_lanes((2.0, 5.0, 9.0, 2.0), plan, noise, {1: fail_at} if fail_at else None)


def comparison(run, names=("a", "b", "c"), target: float = 0.02) -> LatencyComparison:
    provenance = {"device": "fake", "target_half_width": target}
    return summarise(names, names[0], run, target_half_width=target, provenance=provenance)


def test_recovers_the_ratios_on_an_unsteady_machine() -> None:
    plan = Plan()
    made, machine, run = run_fake(0.01, plan)
    result = comparison(run)
    assert result.converged
    for name, ratio in (("a", 1.0), ("b", 2.5), ("c", 4.5)):
        assert result[name].ratio == pytest.approx(ratio, rel=0.01)
        assert result[name].ratio_low <= result[name].ratio <= result[name].ratio_high
    assert result.noise_floor is not None
    assert (result.noise_floor.low < 1.01, result.noise_floor.high > 0.99, result.noise_floor.num) == (True, True, plan.sittings)
    # the times themselves scatter with the machine
    assert result["c"].high_ms / result["c"].low_ms > 1.2
    assert len(made) == plan.sittings == result["c"].sittings == len(result["c"].ratio_by_sitting)
    assert run.sittings == [n for n in range(plan.sittings) for _ in range(plan.rounds[1])]
    assert run.samples["call"].shape == (run.rounds, 4)
    # every lane of the sitting once a round, in orders that differ
    rounds = [machine.order[i : i + 4] for i in range(0, len(machine.order), 4)]
    assert all(len(set(map(id, block))) == 4 for block in rounds)
    assert len({tuple(lane.ms for lane in block) for block in rounds}) > 5


def test_what_loading_changes_shows_in_the_interval() -> None:
    """One network is 3 % slower in every other sitting: rounds can't show it, sittings do."""
    run = run_lanes(lambda sitting: (2.0, 5.0 * (1 + 0.03 * (sitting % 2)), 2.0), Plan(sittings=6), 0.001)[2]
    result = comparison(run, ("a", "b"))
    assert result["b"].ratio_low < 2.5 < 2.575 < result["b"].ratio_high


def test_the_references_second_copy_is_a_lane_of_its_own() -> None:
    result = comparison(run_lanes((2.0, 2.2), Plan(), 0.001)[2], ("a",))
    assert result.noise_floor.value == pytest.approx(1.1, rel=0.01)


def test_any_two_columns_have_a_paired_ratio() -> None:
    result = comparison(run_fake(0.01, Plan())[2])
    ratio = result.paired("c", "b")
    assert (ratio.value, ratio.num) == (pytest.approx(1.8, rel=0.01), 5)
    assert ratio.low <= ratio.value <= ratio.high
    assert result.paired("a" + AGAIN, "a").value == result.noise_floor.value
    assert result.sitting_medians(ratios=True)[:, 1].tolist() == pytest.approx(result["b"].ratio_by_sitting)


def test_says_when_it_did_not_converge() -> None:
    _, _, run = run_fake(0.5, Plan(rounds=(6, 8), sittings=3))
    result = comparison(run)
    assert (run.rounds, result.converged, result["b"].converged) == (24, False, False)
    assert any("not converged after 24 rounds" in line for line in result.lines())


@pytest.mark.parametrize("plan", [Plan(rounds=(2, 5)), Plan(sittings=2), Plan(sittings=1)])
def test_says_why_there_is_no_interval(plan: Plan) -> None:
    result = comparison(run_fake(0.01, plan)[2])
    assert (result["b"].ratio_low, result["b"].low_ms, result.noise_floor.low, result.converged) == (None, None, None, False)
    assert result["b"].ratio == pytest.approx(2.5, rel=0.02)
    assert any("no intervals" in line for line in result.lines())
    assert result.lines()[1].endswith("(no interval)")


def test_budget_decides_the_sittings_before_any_ratio_is_seen() -> None:
    """A round takes 18 ms, a sitting at least (4 + 6) of them: 0.8 s have time for four, 0.6 s for three, 0.5 s for one."""
    for budget, sittings in ((5.0, 5), (0.8, 4), (0.6, 3), (0.5, 1)):
        _, machine, run = run_lanes((2.0, 5.0, 9.0, 2.0), Plan(budget_s=budget), 0.0)
        assert len(set(run.sittings)) == sittings, budget
        assert machine.now <= budget + 0.02
        least = min(run.sittings.count(number) for number in set(run.sittings))
        assert least >= 6


def test_budget_ends_the_rounds() -> None:
    _, _, run = run_fake(0.5, Plan(budget_s=0.11))
    assert 2 <= run.rounds < 6
    assert comparison(run)["b"].ratio_low is None


def test_warm_up_leaves_the_rounds_their_share_of_the_budget() -> None:
    """An unsettled machine would warm up for 20 rounds of 18 ms on average; 0.4 of a sitting's share is over sooner."""
    _, _, run = run_fake(0.5, Plan(rounds=(2, 100), sittings=1, budget_s=0.4))
    assert WARMUP_ROUNDS[0] <= run.warmup_rounds < WARMUP_ROUNDS[1]
    assert run.rounds > run.warmup_rounds


def test_a_long_round_is_warm_up_enough() -> None:
    """Two blocks of 3 s a round: one round before each sitting, where short ones take four."""
    run = run_lanes((3000.0, 3000.0), Plan(sittings=3), 0.0)[2]
    assert (run.warmup_rounds, run.settled) == (3, True)


def test_calls_alone_on_a_gpu_need_no_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(timers, "capture", lambda call: pytest.fail("captured"))
    calls: list[object] = []
    x = SimpleNamespace(device=SimpleNamespace(type="cuda"))
    lane = make_lane(calls.append, x, only_calls=True)
    assert set(lane.block()) == {CALL}
    assert calls and all(given is x for given in calls)  # again where the scheduler interrupted it


def test_unsettled_warm_up_is_bounded_and_told() -> None:
    _, _, run = run_fake(0.5, Plan(rounds=(2, 2), sittings=1))
    assert (run.warmup_rounds, run.settled) == (WARMUP_ROUNDS[1], False)


@pytest.mark.parametrize("fail_at", [1, 20])
def test_failed_lane_is_recorded_and_the_rest_goes_on(fail_at: int) -> None:
    made, _, run = run_fake(0.01, Plan(), fail_at)
    result = comparison(run)
    assert (result["b"].failed, result["b"].reason, result["b"].ratio) == (True, "broken", None)
    assert [lanes[1].blocks for lanes in made] == [fail_at, *[0] * 4]
    assert result["c"].ratio == pytest.approx(4.5, rel=0.01)
    assert result.converged


@pytest.mark.parametrize("fail_at", [3, 20, 21])
def test_failed_reference_leaves_times_without_ratios(fail_at: int) -> None:
    """In warm-up and in rounds."""
    result = comparison(run_lanes((2.0, 5.0, 9.0, 2.0), Plan(), fail_at={0: fail_at})[2])
    assert result["a"].failed
    assert result["a"].reason.startswith("broken")
    assert (result["b"].failed, result["b"].ratio, result.noise_floor, result.converged) == (False, None, None, False)
    assert result["b"].low_ms is not None


def test_a_failed_second_copy_takes_the_noise_floor_alone() -> None:
    result = comparison(run_lanes((2.0, 5.0, 2.0), Plan(), fail_at={2: 3})[2], ("a", "b"))
    assert (result["a"].failed, result["b"].ratio, result.noise_floor) == (False, pytest.approx(2.5, rel=0.01), None)


def test_all_lanes_failing_is_an_answer_too() -> None:
    result = comparison(run_lanes((1.0, 1.0), Plan(), fail_at={0: 1, 1: 1})[2], ("a",))
    assert (result.rounds, result["a"].failed, result.noise_floor) == (0, True, None)


def test_collector_is_put_back_and_progress_reported() -> None:
    seen: list[tuple[int, int, bool]] = []
    machine = Machine(0.0, 2)
    plan = Plan(rounds=(2, 3), sittings=1)
    interleave(
        lambda _: [FakeLane(1.0, machine)], plan, primary="call", progress=lambda i, n: seen.append((i, n, gc.isenabled()))
    )  # fmt: skip
    done = [rounds for rounds, _, _ in seen]
    assert done == sorted(done)
    assert set(seen) == {(rounds, 3, False) for rounds in range(4)}
    assert gc.isenabled()


def test_a_file_of_one_sitting_has_no_intervals(tmp_path: Path) -> None:
    """Files that were saved before there were sittings hold rounds of one; their intervals were over rounds."""
    result = comparison(run_fake(0.01, Plan())[2])
    path = tmp_path / "old.npz"
    values = {k: v for k, v in result.to_dict().items() if k != "sittings"}
    with path.open("wb") as file:
        np.savez_compressed(file, summary=np.array(json.dumps(values)), **result.samples)
    again = LatencyComparison.load(path)
    assert (again["b"].ratio_low, again["b"].rounds, again.noise_floor.low) == (None, result.rounds, None)
    assert again["b"].ratio == pytest.approx(2.5, rel=0.01)


def test_saves_and_loads(tmp_path: Path) -> None:
    result = comparison(run_fake(0.01, Plan(), 1)[2])
    path = tmp_path / "raw.latency"
    result.save(path)
    again = LatencyComparison.load(path)
    assert json.loads(json.dumps(again.to_dict(), allow_nan=False)) == again.to_dict() == result.to_dict()
    assert np.array_equal(again.samples["call"], result.samples["call"], equal_nan=True)
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
    result = compare_latency(models, image_size=24, rounds=(6, 8), sittings=3, num_threads=1)
    assert result["broken"].reason == "out of memory: too large"
    # 8 times the work; anything between is a loaded machine
    assert result["eight"].ratio > 2
    assert result.noise_floor is not None
    assert result.noise_floor.num == result["eight"].sittings == 3
    assert result.columns == ("one", "eight", "broken", "one (again)")
    assert result.samples["call"].shape == (result.rounds, 4)
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
    assert wanted <= set(result.provenance)
    assert result.provenance["cpu_threads"] == 1


@pytest.mark.parametrize("options", [{"precision": "bfloat16"}, {"channels_last": True, "batch_size": 2}])
def test_options_reach_the_model(options: dict[str, object]) -> None:
    result = compare_latency({"small": build(preset("small"), 0)}, rounds=(2, 2), budget_s=5, **options)  # type: ignore[arg-type]
    assert not result["small"].failed, result["small"].reason
    assert result.provenance["precision"] == options.get("precision", "float32")
    assert result.provenance["memory_format"] == ("channels_last" if "channels_last" in options else "contiguous")


def test_precision_defaults_to_full_on_the_cpu() -> None:
    assert set(describe_precision(torch.device("cpu"))) == {"float32_convolutions", "float32_products"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": {}}, "models must be"),
        ({"reference": "nobody"}, "reference must be one of relu"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"rounds": (9, 3)}, "rounds must be"),
        ({"sittings": 0}, "sittings must be"),
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
