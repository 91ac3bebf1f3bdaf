"""What the latency that a record stores can carry: values by sitting, and whether its intervals count. No torch.

A stored latency has an interval only if it rests on at least LEAST_SITTINGS sittings. Records of earlier versions hold the ends of
intervals from within one sitting, which cover too seldom: those ends are neither shown nor used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablation.record.trial import Metric, Record
from ablation.stats import LEAST_ROUNDS, LEAST_SITTINGS

ENDS = ("low", "high", "low_ms", "high_ms", "ratio_low", "ratio_high", "error", "freedom")


def is_latency(metric: Metric) -> bool:
    """Whether the metric is a latency."""
    return metric.path.startswith("latency.")


def entry_of(record: Record, metric: Metric) -> Mapping[str, Any]:
    """All that the record stores of this latency; empty where there is none."""
    return record.get(metric.path.rpartition(".")[0]) or {}


def has_intervals(entry: Mapping[str, Any]) -> bool:
    """Whether a latency, or a noise floor, rests on enough sittings for an interval."""
    return int(entry.get("sittings") or 0) >= LEAST_SITTINGS


def has_enough_rounds(entry: Mapping[str, Any]) -> bool:
    """Whether its median rests on a whole sitting at least: of fewer rounds it is a value that nothing is built on."""
    return bool(entry["sittings"]) if "sittings" in entry else int(entry.get("rounds") or 0) >= LEAST_ROUNDS


def by_sitting(record: Record, metric: Metric) -> tuple[float, ...]:
    """The latency in each sitting, in the unit in which the metric is stored; empty where there are too few sittings."""
    entry = entry_of(record, metric)
    name = "ms_by_sitting" if metric.path.endswith("_ms") else "ratio_by_sitting"
    return tuple(entry.get(name) or ()) if has_intervals(entry) else ()


def without_doubtful_ends(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The entry, without the ends of an interval that rests on too few sittings."""
    return {name: value for name, value in entry.items() if has_intervals(entry) or name not in ENDS}
