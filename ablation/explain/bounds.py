"""What a share of a network could take at the least: bytes, multiply-accumulates and calls against the machine's own limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ablation.explain.calibrate import bandwidth_for, rate_for
from ablation.explain.trace import Op
from ablation.measure.costs.forward import Cost
from ablation.record.explanation import Calibration, Share

MILLI = 1e-3


def shares(
    ops: Sequence[tuple[Op, float]], group: str, names: Sequence[str], costs: Mapping[str, Cost], calibration: Calibration
) -> tuple[Share, ...]:
    """One share a name that has time or cost, in the order of `names`, then any others."""
    times: dict[str, float] = {}
    for op, ms in ops:
        times[op.key(group)] = times.get(op.key(group), 0.0) + ms
    order = [name for name in dict.fromkeys((*names, *times, *costs)) if name in times or costs.get(name, Cost()).num_ops]
    return tuple(share(name, times.get(name, 0.0), costs.get(name, Cost()), calibration) for name in order)


def share(name: str, ms: float, cost: Cost, calibration: Calibration) -> Share:
    """Time and cost of a share with its bounds: which is the largest, and how near to it the share is.

    "calls" is the least that so many operations take: on the CPU their calibrated calls, which `ms` does not hold (host time does)
    and which are added to it for the efficiency; on CUDA as many of the smallest kernels.
    """
    bytes_ms = cost.bytes_moved / bandwidth_for(calibration, cost.bytes_moved / max(1, cost.num_ops)) / 1e6
    macs_ms = 1e3 * cost.macs / rate_for(calibration, convolution=name != "linear")
    kernel_us = calibration.details.get("kernel_us")
    calls_ms = MILLI * cost.num_ops * float(calibration.call_us if kernel_us is None else kernel_us)
    bounds = {"bytes": bytes_ms, "macs": macs_ms, "calls": calls_ms}
    limit = max(bounds, key=lambda bound: bounds[bound])
    whole = ms + calls_ms if limit == "calls" and kernel_us is None else ms
    return Share(
        name=name,
        ms=ms,
        num_ops=cost.num_ops,
        macs=cost.macs,
        bytes_moved=cost.bytes_moved,
        bytes_bound_ms=bytes_ms,
        macs_bound_ms=macs_ms,
        limited_by=limit if cost.num_ops else "",
        efficiency=bounds[limit] / whole if whole > 0 else None,
    )
