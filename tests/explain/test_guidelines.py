"""ShuffleNet V2's guidelines: what is held fixed is fixed, the verdict's rule, and one experiment really measured."""

from __future__ import annotations

import math

import pytest
import torch

from ablation.explain import guidelines as module
from ablation.explain.guidelines import (
    ANY_INPUT,
    Bottleneck,
    Experiment,
    Fragments,
    decide,
    experiments,
    guidelines,
    points,
    verdict,
)
from ablation.measure.costs.static import static_cost
from ablation.measure.latency.interleave import Plan, Run, interleave
from ablation.measure.latency.result import LatencyComparison, summarise
from ablation.stats import Estimate

FLOOR = math.log(1.01)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_macs_are_held_fixed_exactly(device: str) -> None:
    macs = {e.name: {static_cost(m, input_shape=ANY_INPUT).macs for m in e.networks.values()} for e in experiments(device)}
    assert {name: len(counts) for name, counts in macs.items()} == {"G1": 1, "G2": 1, "G3": 1, "G4": 1}
    if device == "cpu":
        # 8 convolutions at 56 x 56: 96 x 96; 64 x 64; 64 x 64; 8 units of 128 x 32 + 9 x 32 x 32 + 32 x 128
        expected = {"G1": 8 * 9216, "G2": 8 * 4096, "G3": 8 * 4096, "G4": 8 * (4096 + 9216 + 4096)}
        assert macs == {name: {56 * 56 * n} for name, n in expected.items()}


def test_what_varies_varies() -> None:
    one, two, three, four = ({k: static_cost(m, input_shape=ANY_INPUT) for k, m in e.networks.items()} for e in experiments())
    moved = [cost.bytes_moved for cost in one.values()]
    assert moved == sorted(moved)
    # equal widths move the least
    assert [cost.num_ops for cost in two.values()] == [8, 8, 8]
    # one convolution; four in a row; four and three additions
    assert [cost.num_ops for cost in three.values()] == [8, 8 * 4, 8 * 7]
    # three convolutions; with an addition; with three ReLUs; with both
    assert [cost.num_ops for cost in four.values()] == [8 * n for n in (3, 4, 6, 7)]


def test_groups_are_groups() -> None:
    settings = [{m.groups for m in net.modules() if isinstance(m, torch.nn.Conv2d)} for net in experiments()[1].networks.values()]
    assert settings == [{1}, {4}, {16}]


def test_fragments_add_up() -> None:
    block, x = Fragments(4, 3), torch.rand(1, 4, 5, 5)
    assert torch.equal(block(x), block.fragments[0](x) + block.fragments[1](x) + block.fragments[2](x))


def test_bottleneck_shortcut_and_relu() -> None:
    x = torch.rand(1, 8, 5, 5)
    plain, with_shortcut = Bottleneck(8, []), Bottleneck(8, ["shortcut"])
    with_shortcut.load_state_dict(plain.state_dict())
    assert torch.equal(with_shortcut(x), plain(x) + x)
    assert (Bottleneck(8, ["relu"])(x) >= 0).all()


def test_input_is_not_read() -> None:
    network = next(iter(experiments()[0].networks.values()))
    assert torch.equal(network(torch.zeros(1, *ANY_INPUT)), network(torch.ones(1, *ANY_INPUT)))


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ([(1.1, 1.2)], "holds here"),
        # one within noise, the last slower
        ([(0.98, 1.02), (1.02, 1.05)], "holds here"),
        # not beyond the noise floor, and it may be 6 %
        ([(1.005, 1.06)], "undecided"),
        # the last one decides
        ([(1.2, 1.3), (0.99, 1.06)], "undecided"),
        # any faster one
        ([(0.9, 0.95), (1.2, 1.3)], "does not hold here"),
        # the difference is less than 5 % for certain
        ([(0.98, 1.02), (0.99, 1.04)], "does not hold here"),
        # "faster" within the noise floor is not faster
        ([(0.985, 0.992), (1.2, 1.3)], "holds here"),
    ],
)
def test_rule(intervals: list[tuple[float, float]], expected: str) -> None:
    assert decide({str(i): ratio(*ends) for i, ends in enumerate(intervals)}, FLOOR) == expected


def ratio(low: float, high: float) -> Estimate:
    """A ratio with this interval, of so many sittings that the correction for several settings is all that t adds."""
    ends = math.log(low), math.log(high)
    error = (ends[1] - ends[0]) / (2 * 1.96)
    return Estimate(value=math.exp(sum(ends) / 2), error=error, freedom=10_000, low=low, high=high, num=99)


def test_settings_are_corrected_for_their_number() -> None:
    """An interval that ends just beyond the floor settles one setting, not one of three."""
    edge, none = ratio(1.0101, 1.2), ratio(0.95, 1.06)
    assert decide({"last": edge}, FLOOR) == "holds here"
    assert decide({"a": none, "b": none, "last": edge}, FLOOR) == "undecided"


class Lane:
    """Takes `ms`, or fails."""

    def __init__(self, ms: float | None) -> None:
        self.ms = ms

    def calibrate(self) -> None:
        pass

    def block(self) -> dict[str, float]:
        if self.ms is None:
            raise RuntimeError("no room")
        return {"call": self.ms}


def compared(times: dict[str, float | None], sittings: int = 3) -> LatencyComparison:
    names = list(times)
    lanes = [Lane(times[name]) for name in (*names, names[0])]
    run: Run = interleave(lambda sitting: lanes, Plan(rounds=(6, 6), sittings=sittings), primary="call", describe=str)
    return summarise(names, names[0], run, target_half_width=0.01, provenance={})


def test_verdict_and_points_of_a_comparison() -> None:
    result = compared({"even": 2.0, "uneven": 3.0})
    assert verdict(result) == "holds here"
    assert [(p.setting, p.ms, p.relative, p.low, p.high) for p in points(result)] == [
        ("even", 2.0, 1.0, 1.0, 1.0),
        ("uneven", pytest.approx(3.0), 1.5, 1.5, 1.5),
    ]
    assert verdict(compared({"even": 2.0, "uneven": 3.0}, sittings=2)) == "undecided", "too few sittings for an interval"


def test_setting_that_fails_is_named_and_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    result = compared({"even": 2.0, "uneven": 3.0, "worst": None})
    monkeypatch.setattr(module, "compare_latency", lambda *a, **k: result)
    guideline = module._measure(Experiment("G1", "claim", "macs", {}), "cpu", None, True)
    assert guideline.verdict == "undecided"
    assert [p.setting for p in guideline.points] == ["even", "uneven"]
    assert guideline.held_fixed == "macs. Not measured: worst (no room)"


def test_really_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    small = experiments(blocks=1)[2:3]
    monkeypatch.setattr(module, "experiments", lambda device: small)
    (result,) = guidelines("cpu", threads=1, quick=True)
    assert result.name == "G3"
    assert [p.setting for p in result.points] == list(small[0].networks)
    assert result.points[0].relative == 1.0
    assert result.rounds is not None
    assert all(p.low is None or p.low <= p.relative <= p.high for p in result.points)
    assert result.verdict in ("holds here", "does not hold here", "undecided")
