"""Interleaved training steps, and how many trials to run side by side."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
import torch

from ablation.design.protocol import Protocol
from ablation.design.spec import preset
from ablation.train import speed
from ablation.train.speed import compare_training
from studies.engine import side_by_side

PROTOCOL = Protocol(batch_size=4)
SMALL = preset("small").replace(image_size=32)


def test_ratios_are_to_the_first_and_in_its_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "time", SimpleNamespace(perf_counter=time.thread_time))  # without what other programs take
    wide = SMALL.replace(encoder_widths=(32, 64, 128, 256), decoder_stem=256, decoder_widths=(256, 128, 64, 32))
    result = compare_training({"small": SMALL, "wide": wide}, PROTOCOL, rounds=(6, 6), sittings=3)
    assert result["small"].ratio == result["small"].low == result["small"].high == 1
    wide_speed = result["wide"]
    assert (wide_speed.rounds, wide_speed.sittings) == (18, 3)
    assert wide_speed.low is not None and wide_speed.high is not None
    assert wide_speed.low <= wide_speed.ratio <= wide_speed.high
    assert wide_speed.ratio > 1.5, "sixteen times the multiply-accumulates"
    assert wide_speed.ratio == pytest.approx(wide_speed.step_ms / result["small"].step_ms, rel=0.5)


def test_least_rounds_are_made_and_generators_are_left_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    result = compare_training({"small": SMALL}, PROTOCOL, rounds=(3, 100), sittings=2, budget_s=0.0)
    assert result["small"].rounds == 6
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("sittings", "rounds"), [(2, 6), (3, 5), (1, 40)])
def test_few_sittings_or_rounds_give_no_interval(sittings: int, rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "training_step", lambda *_: (lambda: None, lambda: None))
    result = compare_training({"a": SMALL, "b": SMALL}, PROTOCOL, rounds=(rounds, rounds), sittings=sittings)["b"]
    assert (result.low, result.high) == (None, None) and result.rounds == sittings * rounds


def test_networks_are_built_anew_for_each_sitting(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []

    def step(spec: object, protocol: object, device: str, seed: int) -> tuple[object, object]:
        seeds.append(seed)
        return (lambda: None), (lambda: None)

    monkeypatch.setattr(speed, "training_step", step)
    compare_training({"a": SMALL, "b": SMALL}, PROTOCOL, rounds=(6, 6), sittings=3)
    assert seeds == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("rates", "best"),
    [({1: 100.0}, 1), ({1: 100.0, 2: 104.0}, 1), ({1: 100.0, 2: 150.0, 4: 155.0}, 2), ({1: 100.0, 2: 90.0, 4: 120.0}, 4)],
)
def test_more_at_a_time_must_pay(rates: dict[int, float], best: int) -> None:
    assert side_by_side.fastest(rates) == best


def test_several_processes_really_train_at_once() -> None:
    rates = side_by_side.measure(SMALL, PROTOCOL, "cpu", (1, 2), seconds=0.5)
    assert set(rates) == {1, 2}
    assert all(rate > 0 for rate in rates.values())


def test_a_process_that_fails_ends_the_measurement() -> None:
    assert side_by_side.measure(SMALL, PROTOCOL, "cuda:99", (1, 2), seconds=0.5) == {}
