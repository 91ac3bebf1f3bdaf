"""What this machine can do, measured by itself: bandwidth, multiply-accumulate rate, the cost of one small operation.

These are the limits that `decompose` holds a network's operations against, so they are measured with the same library (torch) and
the same threads as the network runs with: what a large copy, a large product and a chain of tiny operations reach here, not what a
data sheet says. Every figure is a median over calls, on the CPU with one thread of that thread's own time, so that other load does
not pass for a slow machine.

- bandwidth: `copy_` of float32 tensors, bytes read plus bytes written a second, at several sizes from cache to far beyond it.
  `bandwidth_gb_s` is the largest size; `details["bandwidths"]` holds [bytes moved, GB/s] of all.
- rate: the better of a square product and a 3x3 convolution in float32, which on CUDA may use TF32 (`details` says so, and keeps
  the rates of both apart where their arithmetic differs).
- call: a chain of ReLU modules on 16 numbers: module call, dispatch, allocation. On CUDA the time to enqueue it, and the GPU's own
  time for such a kernel from the replay of a graph (`details["kernel_us"]`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from ablation.explain.trace import own_time
from ablation.machine.device import checked_device
from ablation.measure.latency.compare import describe_precision, settled
from ablation.measure.latency.timers import CudaLane, capture
from ablation.record.explanation import Calibration

CHAIN = 64  # tiny operations in a row
CPU_BYTES = (2**17, 2**20, 2**22, 2**24, 2**28)
# moved by one copy, half read and half written; the largest is several times the last level of cache
CUDA_BYTES = (2**21, 2**24, 2**27, 2**31)

Call = Callable[[], object]
TimeMs = Callable[[Call, int], float]  # ms of one call, from so many


def calibrate(device: str = "cpu", *, threads: int | None = None, quick: bool = False) -> Calibration:
    """Bandwidth (10^9 bytes/s), multiply-accumulates a second and microseconds of a small operation on `device`.

    `threads` on the CPU: torch's current number unless given, put back afterwards. InputError for a GPU that isn't there.
    """
    place = checked_device(device)
    calls = 5 if quick else 15
    with settled(place, threads), torch.inference_mode():
        time_ms = gpu_time if place.type == "cuda" else own_time
        copies = bandwidths(place, CUDA_BYTES if place.type == "cuda" else CPU_BYTES, time_ms, calls)
        rates = mac_rates(place, time_ms, calls)
        precision = describe_precision(place)
        if precision["float32_convolutions"] == precision["float32_products"]:
            rates = dict.fromkeys(rates, max(rates.values()))
        small = small_operation(place, 200)
        used = torch.get_num_threads() if place.type == "cpu" else None
    return Calibration(
        place=place.type,
        bandwidth_gb_s=copies[-1][1],
        macs_per_s=max(rates.values()),
        call_us=small.pop("call_us"),
        threads=used,
        details={
            "bandwidths": [list(pair) for pair in copies],
            "cache_gb_s": max(rate for _, rate in copies),
            **rates,
            **small,
            **precision,
        },
    )


def bandwidths(place: torch.device, sizes: tuple[int, ...], time_ms: TimeMs, calls: int = 5) -> list[tuple[int, float]]:
    """(bytes moved by a copy, GB/s) for each size, in the order given."""
    rates = []
    for size in sizes:
        source = torch.ones(size // 8, device=place)  # float32: 4 bytes read and 4 written an element
        target = torch.empty_like(source)
        repeats = max(1, min(64, 2**22 // size))  # short copies in a row, so that the clock's own cost vanishes

        def copies(source: torch.Tensor = source, target: torch.Tensor = target, repeats: int = repeats) -> None:
            for _ in range(repeats):
                target.copy_(source)

        copies()  # the first touch of memory is the operating system's time
        rates.append((size, size * repeats / time_ms(copies, calls) / 1e6))
    return rates


def mac_rates(place: torch.device, time_ms: TimeMs, calls: int = 5) -> dict[str, float]:
    """Multiply-accumulates a second of a large product and a large convolution."""
    side, batch, channels, size = (8192, 32, 256, 56) if place.type == "cuda" else (1024, 1, 128, 40)
    left, right = torch.rand(2, side, side, device=place)
    images = torch.rand(batch, channels, size, size, device=place)
    conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False).to(place)

    def rate(call: Call, macs: int) -> float:
        call()
        return 1e3 * macs / time_ms(call, calls)

    return {
        "product_macs_per_s": rate(lambda: left @ right, side**3),
        "convolution_macs_per_s": rate(lambda: conv(images), batch * 9 * channels**2 * size**2),
    }


def small_operation(place: torch.device, calls: int = 50) -> dict[str, float]:
    """Microseconds of one tiny operation in a module, without one, and of a module that does nothing; on CUDA of its kernel."""
    x = torch.rand(1, 16, 1, 1, device=place)
    modules = nn.Sequential(*(nn.ReLU() for _ in range(CHAIN)))
    empty = nn.Sequential(*(nn.Identity() for _ in range(CHAIN)))

    def functions() -> None:
        y = x
        for _ in range(CHAIN):
            y = torch.relu(y)

    def us(call: Call) -> float:
        call()
        lane = CudaLane(call, num_calls=calls) if place.type == "cuda" else None
        return 1e3 / CHAIN * (lane.enqueue() if lane else own_time(call, calls))

    times = {"call_us": us(lambda: modules(x)), "function_us": us(functions), "module_us": us(lambda: empty(x))}
    if place.type == "cuda":
        times["kernel_us"] = 1e3 / CHAIN * gpu_time(capture(lambda: modules(x)).replay, calls)
    return times


def gpu_time(call: Call, num_calls: int) -> float:
    """ms of one call, from back-to-back calls between two CUDA events."""
    return CudaLane(call, num_calls=num_calls).events(call)


def bandwidth_for(calibration: Calibration, bytes_per_op: float) -> float:
    """GB/s that an operation moving so many bytes can hope for: the best of the copies that move at least as much."""
    pairs = calibration.details.get("bandwidths", ())
    return max([float(rate) for size, rate in pairs if size >= bytes_per_op], default=calibration.bandwidth_gb_s)


def rate_for(calibration: Calibration, convolution: bool) -> float:
    """Multiply-accumulates a second that a convolution, or a product, can hope for."""
    details: Mapping[str, Any] = calibration.details
    return float(details.get("convolution_macs_per_s" if convolution else "product_macs_per_s", calibration.macs_per_s))
