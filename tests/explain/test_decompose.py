"""Decomposition: known operations of hand-made models, sums, bounds, the profiler's events as fakes, and one real network."""

from __future__ import annotations

import math
import time
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ablation.design.compose import build
from ablation.design.spec import preset
from ablation.explain import cuda_trace as decompose_cuda
from ablation.explain import decompose as module
from ablation.explain import replay as decompose_replay
from ablation.explain.bounds import share
from ablation.explain.cuda_trace import (
    Event,
    Kernels,
    TimeLine,
    as_events,
    label,
    place_kernels,
    profile_calls,
    read_label,
    time_line,
)
from ablation.explain.decompose import Allocated, assemble, decompose, host_time, place_on_gpu
from ablation.explain.replay import class_times, record
from ablation.explain.trace import (
    Op,
    Rounds,
    instrument_floor_ns,
    measure_rounds,
    num_module_calls,
    run_instrumented,
    stop_watch,
)
from ablation.measure.costs import opcount
from ablation.measure.costs.forward import Cost
from ablation.measure.costs.opcount import CLASSES, register_op
from ablation.measure.costs.operations import block_names, part_names
from ablation.measure.costs.static import static_cost
from ablation.record.explanation import Calibration, Decomposition
from blocks.errors import InputError

CALIBRATION = Calibration(place="cpu", bandwidth_gb_s=10.0, macs_per_s=1e9, call_us=2.0, threads=1, details={"module_us": 0.5})


class Hand(nn.Module):
    """One or two operations of every class, in two parts and outside of them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ELU()),
            nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Conv2d(4, 8, 1), nn.MaxPool2d(2)),
        )
        self.tail = nn.Sequential(nn.Upsample(scale_factor=2), nn.Sigmoid())
        self.last = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.tail(self.body(x))
        y = torch.cat([y, x], dim=1)[:, :8].contiguous()
        y = y + torch.randn_like(y)
        out: Tensor = self.last(y.mean((2, 3))).sum(1)
        return out


KINDS = {
    "convolution": 1,
    "depthwise convolution": 1,
    "pointwise convolution": 1,
    "linear": 1,
    "normalisation": 1,
    "activation": 2,
    "concatenation": 1,
    "pooling": 2,
    "upsampling": 1,
    "elementwise": 1,
    "reduction": 1,
    "random": 1,
    "copy": 1,
}
X = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def hand() -> Hand:
    return Hand().eval()


def sums(result: Decomposition) -> list[float]:
    rest = result.host_ms + result.gaps_ms + result.residual_ms
    return [sum(s.ms for s in group) + rest for group in (result.by_class, result.by_part, result.by_block)]


# ---- the instrumented run


def test_classes_of_a_hand_made_model() -> None:
    # the slice of the concatenation isn't contiguous, so `contiguous` is a copy
    ops, ns = run_instrumented(hand(), X)
    assert Counter(op.kind for op in ops) == KINDS
    assert {*KINDS, "unused"} == set(CLASSES)
    assert len(ns) == len(ops)
    assert all(n > 0 for n in ns)


def test_operations_know_where_they_are() -> None:
    model = hand()
    assert part_names(model) == ("body", "tail", "last")
    # the children of `body` have children of their own, those of `tail` haven't
    assert block_names(model) == ("body.0", "body.1", "tail", "last")
    ops, _ = run_instrumented(model, X)
    assert [(op.kind, op.part, op.block) for op in ops[:4]] == [
        ("convolution", "body", "body.0"),
        ("normalisation", "body", "body.0"),
        ("activation", "body", "body.0"),
        ("depthwise convolution", "body", "body.1"),
    ]
    assert Counter(op.block for op in ops) == {"body.0": 3, "body.1": 3, "tail": 2, "last": 1, "other": 6}


def test_blocks_of_the_two_models() -> None:
    stages = [f"decoder_body.{i}" for i in range(4)]
    expected = {"original": 4, "modified": 5}  # the second has a convolutional stem before its four stages
    for name, num in expected.items():
        with torch.device("meta"):
            model = build(preset(name))
        assert block_names(model) == (*(f"encoder_body.{i}" for i in range(num)), "head", "stem", *stages, "output")


@pytest.mark.parametrize("name", ["small", "small_modified"])
def test_the_same_operations_as_counted_statically(name: str) -> None:
    model = build(preset(name), seed=0).eval()
    ops, _ = run_instrumented(model, torch.rand(2, 3, 48, 48))
    cost = static_cost(model, 2)
    assert Counter(op.part for op in ops) == {part: c.num_ops for part, c in cost.by_part.items() if c.num_ops}
    costs = static_cost(model, 2, parts=block_names(model)).by_part
    assert Counter(op.block for op in ops) == {block: c.num_ops for block, c in costs.items() if c.num_ops}
    for field in ("macs", "bytes_moved", "num_ops", "params"):
        assert sum(getattr(c, field) for c in costs.values()) == getattr(cost, field)


def test_hooks_are_gone_and_outputs_are_the_same() -> None:
    model = build(preset("small"), seed=0).eval()
    x = torch.rand(1, 3, 48, 48)
    before = model.encode(x)[0]
    run_instrumented(model, x)
    num_module_calls(model, x)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.equal(model.encode(x)[0], before)


def test_module_calls() -> None:
    # the model, body, its two children of three, tail and its two, last
    assert num_module_calls(hand(), X) == 1 + 1 + 2 * (1 + 3) + 1 + 2 + 1


def test_unknown_operation_is_named(nap: None) -> None:
    del opcount._TABLE["decompose_tests.nap"]
    with pytest.raises(InputError, match=r"decompose_tests\.nap"):
        run_instrumented(Napping(), X)


# ---- rounds


def test_means_are_of_the_middle_half_and_add_up() -> None:
    ops = [Op("linear", "a", "a"), Op("pooling", "b", "b")]
    plain = np.array([9.0, 1.0, 3.0, 2.0])
    # totals 3, 100, 5, 4: rounds 2 and 3 are the middle half
    op_ms = np.array([[1.0, 2.0], [50.0, 50.0], [2.0, 3.0], [3.0, 1.0]])
    total, means = Rounds(ops, plain, op_ms).means()
    assert total == 2.5
    assert means.tolist() == [2.5, 2.0]


def test_stop_watch_floor_is_subtracted() -> None:
    result = measure_rounds(hand(), X, 1e12, rounds=(2, 2), budget_s=1)
    assert result.op_ms.shape == (2, sum(KINDS.values()))
    assert not result.op_ms.any()
    assert (result.plain_ms > 0).all()
    assert 10 < instrument_floor_ns(8, 5) < 1e7


def test_stop_watch_of_one_thread_does_not_run_while_it_waits() -> None:
    assert torch.get_num_threads() == 1
    clock = stop_watch()
    start = clock()
    time.sleep(0.05)
    assert clock() - start < 0.04e9
    torch.set_num_threads(2)
    try:
        assert stop_watch() is time.perf_counter_ns
    finally:
        torch.set_num_threads(1)


NAP_S = 0.02


class Napping(nn.Module):
    """An operation that takes 20 ms, with next to nothing around it."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = torch.ops.decompose_tests.nap(x.relu())
        return out


@pytest.fixture
def nap(monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(torch.ops.decompose_tests, "nap"):

        @torch.library.custom_op("decompose_tests::nap", mutates_args=())
        def slow(x: Tensor) -> Tensor:
            end = time.thread_time() + NAP_S
            while time.thread_time() < end:
                pass
            return x.clone()

        slow.register_fake(torch.empty_like)
    monkeypatch.setattr(opcount, "_TABLE", dict(opcount._TABLE))
    register_op("decompose_tests.nap", "elementwise")


def test_known_time_is_placed_where_it_is_spent(nap: None) -> None:
    result = decompose(Napping(), "nap", device="cpu", threads=1, calibration=CALIBRATION, quick=True, input_shape=(3, 8, 8))
    times = {s.name: s.ms for s in result.by_class}
    assert set(times) == {"activation", "elementwise"}
    assert times["elementwise"] > 0.8 * result.total_ms
    assert times["elementwise"] > 0.8 * 1e3 * NAP_S
    assert result.explained > 0.8


# ---- assembling


def made(ops: list[tuple[Op, float]], total: float = 20.0, **more: float) -> Decomposition:
    allocated = Allocated(total, ops, more.get("host", 0.0), more.get("gaps", 0.0), ("a note",))
    return assemble(hand(), "hand", allocated, CALIBRATION, batch_size=2, shape=(3, 8, 8), place="cpu")


def test_sums() -> None:
    ops, _ = run_instrumented(hand(), X)
    timed = [(op, 0.1 * (i + 1)) for i, op in enumerate(ops)]  # 0.1 x (1 + ... + 15) = 12
    result = made(timed, total=20.0, host=4.0, gaps=1.5)
    assert result.residual_ms == pytest.approx(20 - 12 - 4 - 1.5)
    assert result.explained == pytest.approx(1 - 2.5 / 20)
    assert sums(result) == pytest.approx([20.0] * 3, rel=1e-12)
    assert {s.name: s.num_ops for s in result.by_class} == KINDS
    assert result.place == "cpu/2"
    assert result.by_block[0].ms == pytest.approx(0.1 + 0.2 + 0.3)
    # macs of the first convolution: 2 images x 4 x 27 x 64
    assert (result.by_class[0].name, result.by_class[0].macs) == ("convolution", 2 * 4 * 27 * 64)
    assert sum(s.bytes_moved for s in result.by_class) == sum(s.bytes_moved for s in result.by_block)


def test_what_is_unexplained_has_a_cause() -> None:
    ops, _ = run_instrumented(hand(), X)
    assert made([(op, 1.0) for op in ops], total=15.1).notes == ("a note",)
    short = made([(op, 1.0) for op in ops], total=20.0)
    assert short.notes[1] == (
        "+5 ms (25.0% of the total) is unexplained: time outside of operations beyond the calibrated cost of a call "
        "(Python, giving memory back, waking threads)."
    )
    over = made([(op, 1.0) for op in ops], total=10.0)
    assert over.residual_ms == pytest.approx(-5.0)
    assert over.explained == pytest.approx(0.5)
    assert over.notes[1].startswith("-5 ms (50.0% of the total)")
    assert made([]).notes[-1] == "No operation was seen."
    assert "30 operations ran where 15 are counted" in made([(op, 0.5) for op in ops] * 2, total=15.0).notes[-1]


def test_class_without_time_still_shows_its_cost() -> None:
    result = made([(Op("linear", "last", "last"), 3.0)])
    times = {s.name: s.ms for s in result.by_class}
    assert times["pooling"] == 0.0
    assert len(times) == len(KINDS)


# ---- bounds


@pytest.mark.parametrize(
    ("cost", "limit", "bound", "efficiency"),
    [
        # 10^7 bytes at 10 GB/s: 1 ms
        (Cost(bytes_moved=10**7, macs=10**5, num_ops=1), "bytes", 1.0, 0.25),
        # 2 x 10^6 at 10^9 a second: 2 ms
        (Cost(bytes_moved=10**7, macs=2 * 10**6, num_ops=1), "macs", 2.0, 0.5),
        # 2000 calls at 2 us: 4 ms, which are added to the 4 ms that the host's time has taken them from
        (Cost(bytes_moved=10**7, macs=0, num_ops=2000), "calls", 4.0, 0.5),
    ],
)
def test_largest_bound_limits(cost: Cost, limit: str, bound: float, efficiency: float) -> None:
    result = share("linear", 4.0, cost, CALIBRATION)
    assert result.limited_by == limit
    assert result.efficiency == pytest.approx(efficiency)
    assert {"bytes": result.bytes_bound_ms, "macs": result.macs_bound_ms, "calls": bound}[limit] == pytest.approx(bound)


def test_calls_on_a_gpu_are_kernels() -> None:
    gpu = Calibration(place="cuda", bandwidth_gb_s=10.0, macs_per_s=1e9, call_us=9.0, details={"kernel_us": 2.0})
    result = share("pooling", 4.0, Cost(num_ops=1000), gpu)
    assert (result.limited_by, result.efficiency) == ("calls", pytest.approx(0.5))


def test_products_and_convolutions_have_rates_of_their_own() -> None:
    gpu = Calibration(
        place="cuda",
        bandwidth_gb_s=10.0,
        macs_per_s=8e9,
        call_us=0.0,
        details={"product_macs_per_s": 1e9, "convolution_macs_per_s": 8e9},
    )
    cost = Cost(macs=8 * 10**6, num_ops=1)
    assert share("linear", 9.0, cost, gpu).macs_bound_ms == pytest.approx(8.0)
    assert share("depthwise convolution", 9.0, cost, gpu).macs_bound_ms == pytest.approx(1.0)
    assert share("decoder_body.0", 9.0, cost, gpu).macs_bound_ms == pytest.approx(1.0)


def test_share_without_time_has_no_efficiency() -> None:
    result = share("other", 0.0, Cost(), CALIBRATION)
    assert (result.limited_by, result.efficiency) == ("", None)


def test_host_time() -> None:
    # 100 operations of 2 us and 20 further modules of half a microsecond
    assert host_time(CALIBRATION, 100, 120) == pytest.approx(0.21)
    assert host_time(CALIBRATION, 100, 80) == pytest.approx(0.2)


# ---- a real network on the CPU


def test_real_network() -> None:
    model = build(preset("small"), seed=0).train()
    result = decompose(model, "small", device="cpu", threads=1, calibration=CALIBRATION, total_ms=5000.0, quick=True)
    assert model.training
    assert result.total_ms == 5000.0
    assert sums(result) == pytest.approx([5000.0] * 3, rel=1e-9)
    cost = static_cost(model)
    assert sum(s.num_ops for s in result.by_class) == cost.num_ops
    assert sum(s.macs for s in result.by_part) == sum(s.macs for s in result.by_block) == cost.macs
    # convolutions do nearly all the work: most of the time, however busy the machine is
    assert max(result.by_class, key=lambda s: s.ms).name == "convolution"
    # 5 s are many times what it takes: everything is scaled to them, the host's time too
    assert result.host_ms > host_time(CALIBRATION, cost.num_ops, cost.num_ops)
    assert any("other load slowed it" in note for note in result.notes)
    assert any("replayed alone" in note for note in result.notes)
    assert all(math.isfinite(s.ms) and s.ms >= 0 for s in result.by_class)


def test_model_that_cannot_run_is_said() -> None:
    with pytest.raises(RuntimeError, match="small cannot be timed here"):
        decompose(build(preset("small")), "small", calibration=CALIBRATION, input_shape=(5, 48, 48))


# ---- each class alone


def test_replay_has_the_same_operations() -> None:
    assert {kind: len(ops) for kind, ops in record(hand(), X).items()} == KINDS


def test_replay_agrees_with_the_stop_watch() -> None:
    model, x = build(preset("small"), seed=0).eval(), torch.rand(4, 3, 48, 48)
    alone = sum(class_times(model, x, 5).values())
    _, means = measure_rounds(model, x, instrument_floor_ns(), rounds=(8, 8), budget_s=5).means()
    # two independent routes; wide bounds, since the machine may be busy during either
    assert 0.2 < alone / means.sum() < 5


def test_replay_that_takes_too_much_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decompose_replay.Recorder.__init__, "__defaults__", (1000,))
    with pytest.raises(MemoryError, match="replay"):
        record(hand(), X)
    result = decompose(hand(), "hand", calibration=CALIBRATION, total_ms=9.0, quick=True, input_shape=(3, 8, 8))
    assert any(note.startswith("No cross-check by replay") for note in result.notes)


# ---- CUDA, by fakes

CONV, NORM = Op("convolution", "body", "body.0"), Op("normalisation", "body", "body.0")


def test_labels() -> None:
    assert read_label(label(CONV)) == CONV


def test_kernels_are_placed_and_the_rest_is_counted() -> None:
    run = [
        Event(label(CONV), 0, 5, False, kernels_us=30.0),
        Event(label(NORM), 5, 9, False, kernels_us=8.0),
        Event(label(CONV), 9, 12, False, kernels_us=2.0),
        Event("sgemm", 10, 40, True),
        Event("norm", 40, 48, True),
        Event("scale", 50, 52, True),
        Event("memset", 52, 55, True),
    ]
    result = place_kernels([*run, *run], runs=2)
    assert dict(result.ops) == {CONV: 32.0, NORM: 8.0}
    # 43 microseconds of kernels, of which 40 were launched by operations
    assert result.unplaced_us == pytest.approx(3.0)


def test_time_line_with_holes_and_overlap() -> None:
    # replay 1: busy 0-10, 8-20 (overlapping), 25-30: span 30, busy 25; replay 2 is the same, 1000 later
    one = [(0, 10), (8, 20), (25, 30)]
    events = [Event("k", s + t, e + t, True) for t in (0, 1000) for s, e in one]
    line = time_line([*events, Event("cpu", 0, 2000, False)], runs=2)
    assert line is not None
    assert (line.span_us, line.busy_us, line.gaps_us) == (30, 25, 5)


def test_time_line_of_unequal_replays_is_none() -> None:
    assert time_line([Event("k", 0, 1, True)] * 3, runs=2) is None
    assert time_line([], runs=2) is None


def test_gpu_sums() -> None:
    # a replay takes 0.9 ms and 1000 us in the profile: times are scaled by 0.9
    allocated = place_on_gpu(Kernels([(CONV, 600.0), (NORM, 200.0)], 50.0), TimeLine(1000.0, 900.0), total_ms=2.0, graph_ms=0.9)
    assert dict(allocated.ops) == pytest.approx({CONV: 0.54, NORM: 0.18})
    assert (allocated.host_ms, allocated.gaps_ms) == pytest.approx((1.1, 0.09))
    result = made(list(allocated.ops), total=2.0, host=allocated.host_ms, gaps=allocated.gaps_ms)
    # 100 of the replay's 900 busy microseconds weren't seen in the eager run's operations
    assert result.residual_ms == pytest.approx(0.09)
    assert sums(result) == pytest.approx([2.0] * 3)


@pytest.mark.parametrize(
    ("line", "graph_ms", "why"), [(None, 0.9, "equal replays"), (TimeLine(1000.0, 900.0), None, "capture failed")]
)
def test_without_a_time_line_host_is_the_rest(line: TimeLine | None, graph_ms: float | None, why: str) -> None:
    allocated = place_on_gpu(Kernels([(CONV, 600.0)], 50.0), line, 2.0, graph_ms, "" if line is None else why)
    assert (allocated.host_ms, allocated.gaps_ms) == (pytest.approx(1.35), 0.0)
    assert why in allocated.notes[0]


def test_profiler_that_is_not_usable_is_said_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("the profiler recorded no GPU kernels (is CUPTI permitted here?)")

    monkeypatch.setattr(module, "profile_kernels", refuse)
    allocated = module._on_gpu(hand(), X, 5.0, 2.0, "")
    assert allocated.host_ms == 3.0
    assert {op.kind for op, _ in allocated.ops} == set(KINDS)
    assert allocated.notes[0].startswith("The profiler is not usable here: the profiler recorded no GPU kernels")
    # without a graph, the host's time is what the classes leave
    allocated = module._on_gpu(hand(), X, 5.0, None, "")
    assert allocated.host_ms + sum(ms for _, ms in allocated.ops) == pytest.approx(5.0)


def test_plain_events_of_the_profilers() -> None:
    gpu, cpu = torch._C._autograd.DeviceType.CUDA, torch._C._autograd.DeviceType.CPU

    def event(name: str, place: object, us: tuple[float, float], **more: object) -> SimpleNamespace:
        span = SimpleNamespace(start=us[0], end=us[1])
        return SimpleNamespace(**{"name": name, "device_type": place, "time_range": span, "device_time_total": 7.0, **more})

    result = as_events(
        [
            event(label(CONV), cpu, (0, 9)),
            event("aten::conv2d", cpu, (1, 8)),
            event("sgemm", gpu, (5, 12)),
            # the GPU's echo of a range is no kernel
            event(label(CONV), gpu, (5, 12)),
            event("Context Sync", gpu, (5, 12)),
            event("ProfilerStep", gpu, (5, 12), is_user_annotation=True),
        ]
    )
    assert result == [Event(label(CONV), 0, 9, False, 7.0), Event("sgemm", 5, 12, True, 0.0)]


def test_ranges_of_torchs_profiler_reach_the_plain_events() -> None:
    # the real profiler, CPU only: one range for each operation, in order, with the right names
    model = hand()

    def call() -> None:
        run_instrumented(model, X, lambda op: torch.profiler.record_function(label(op)))

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        call()
    events = [e for e in as_events(profile.events()) if not e.on_gpu]
    assert [read_label(e.name) for e in sorted(events, key=lambda e: e.start_us)] == run_instrumented(model, X)[0]


def test_profile_without_kernels_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    activities = [torch.profiler.ProfilerActivity.CPU]
    real = torch.profiler.profile
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(decompose_cuda.torch.profiler, "profile", lambda **_: real(activities=activities))
    with pytest.raises(RuntimeError, match="no GPU kernels"):
        profile_calls(lambda: calls.append(1), 2)
    assert len(calls) == 3  # one to warm up
