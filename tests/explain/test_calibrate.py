"""Calibration: arithmetic with a clock that lies, sanity of a real one, and what stands for a class of operation."""

from __future__ import annotations

import pytest
import torch

from ablation.explain import calibrate as module
from ablation.explain.calibrate import CPU_BYTES, bandwidth_for, bandwidths, calibrate, mac_rates, rate_for, small_operation
from ablation.record.explanation import Calibration
from blocks.errors import InputError

CPU = torch.device("cpu")


def made(**details: object) -> Calibration:
    return Calibration(place="cpu", bandwidth_gb_s=10.0, macs_per_s=2e9, call_us=1.0, details=details)


def test_bandwidth_with_a_clock_of_two_ms() -> None:
    calls = []

    def two_ms(call, num_calls: int) -> float:
        call()
        calls.append(num_calls)
        return 2.0

    # 2^20 bytes are copied 4 times in a row, 2^23 once: bytes / 2 ms
    assert bandwidths(CPU, (2**20, 2**23), two_ms, calls=3) == [(2**20, 2**22 / 2e6), (2**23, 2**23 / 2e6)]
    assert calls == [3, 3]


def test_rates_with_a_clock_of_one_second() -> None:
    result = mac_rates(CPU, lambda call, num_calls: 1000.0)
    assert result == {"product_macs_per_s": 1024**3, "convolution_macs_per_s": 9 * 128 * 128 * 40 * 40}


def test_real_calibration_is_sane() -> None:
    result = calibrate("cpu", threads=1, quick=True)
    assert (result.place, result.threads) == ("cpu", 1)
    pairs = result.details["bandwidths"]
    assert [size for size, _ in pairs] == list(CPU_BYTES)
    assert result.bandwidth_gb_s == pairs[-1][1]
    assert result.details["cache_gb_s"] == max(rate for _, rate in pairs)
    assert result.details["product_macs_per_s"] == result.details["convolution_macs_per_s"] == result.macs_per_s
    # wide bounds that a mistaken unit breaks: 10^8 to 10^13 macs/s, 0.05 to 5000 GB/s, 0.05 to 500 us
    assert 1e8 < result.macs_per_s < 1e13
    assert all(0.05 < rate < 5000 for _, rate in pairs)
    assert all(0.05 < us < 500 for us in (result.call_us, result.details["function_us"], result.details["module_us"]))
    assert result.details["float32_products"] == "ieee"


def test_threads_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "bandwidths", lambda *a: [(8, 5.0)])
    monkeypatch.setattr(module, "mac_rates", lambda *a: {"product_macs_per_s": 1.0, "convolution_macs_per_s": 8.0})
    before = torch.get_num_threads()
    assert calibrate("cpu", threads=before + 1, quick=True).threads == before + 1
    assert torch.get_num_threads() == before


def test_rates_stay_apart_where_their_arithmetic_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "bandwidths", lambda *a: [(8, 5.0)])
    monkeypatch.setattr(module, "mac_rates", lambda *a: {"product_macs_per_s": 1.0, "convolution_macs_per_s": 8.0})
    monkeypatch.setattr(module, "describe_precision", lambda place: {"float32_convolutions": "tf32", "float32_products": "ieee"})
    result = calibrate("cpu", quick=True)
    assert (rate_for(result, convolution=True), rate_for(result, convolution=False), result.macs_per_s) == (8.0, 1.0, 8.0)


def test_small_operation_is_per_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    # a chain of 64 in 6.4 ms is 100 us each
    monkeypatch.setattr(module, "own_time", lambda call, calls: 6.4)
    assert small_operation(CPU) == pytest.approx({"call_us": 100.0, "function_us": 100.0, "module_us": 100.0})


def test_bandwidth_of_an_operation_is_that_of_copies_as_large() -> None:
    # the smallest copy is slower than the next one: an operation as small can hope for the best of those above it
    result = made(bandwidths=[[100, 50.0], [1000, 80.0], [10_000, 20.0]])
    assert [bandwidth_for(result, size) for size in (10, 100, 1000, 1001, 10_001)] == [80.0, 80.0, 80.0, 20.0, 10.0]
    assert bandwidth_for(made(), 10) == 10.0


def test_rate_without_details_is_the_only_rate() -> None:
    assert rate_for(made(), convolution=True) == rate_for(made(), convolution=False) == 2e9


@pytest.mark.parametrize("device", ["tpu", "cuda:99"])
def test_device_that_is_not_there(device: str) -> None:
    with pytest.raises(InputError, match="device"):
        calibrate(device)
