"""What a trial stores, and the one table of metrics that every table, plot and filter uses. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ablation.record.convert import from_plain, to_plain

COMPLETE, FAILED, RUNNING, WAITING, STALE = "complete", "failed", "running", "waiting", "stale"
# of a search alone: stopped at a rung, from which it may go on; outside of a limit, and so never trained
STOPPED, INFEASIBLE = "stopped", "infeasible"


@dataclass(frozen=True, kw_only=True)
class Record:
    """One trial: one network with one seed. Every value is plain JSON."""

    network_key: str  # identity of the network (two specs that make the same network share it)
    label: str  # short human name, e.g. "dense, pointwise_first, pooled"
    seed: int
    state: str = WAITING
    reason: str = ""  # why it failed, was stopped or is never trained, one line; empty otherwise
    number: int = -1  # Optuna's trial number
    spec: Mapping[str, Any] = field(default_factory=dict)
    # factor -> level, as text, of the first intent that makes this network
    factors: Mapping[str, str] = field(default_factory=dict)
    # every assignment of factors that makes this network (more than one where a factor is inert)
    intents: tuple[Mapping[str, str], ...] = ()
    protocol: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)  # name, fingerprint, image_size, num_train, num_validation, num_test
    # params, macs, elements_written, bytes_moved, num_ops, fvcore_params, fvcore_flops; by_part: part -> the same;
    # fvcore_reason: why fvcore's flops are missing
    costs: Mapping[str, Any] = field(default_factory=dict)
    # "cpu/1" (device/batch) -> median_ms, low_ms, high_ms, ratio, ratio_low, ratio_high (to the reference), converged
    latency: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    # best_loss, best_epoch, seconds, images_per_second, stopped_early; epochs: list of per-epoch dicts
    training: Mapping[str, Any] = field(default_factory=dict)
    # "replica" and "reporting" -> metric -> value, never mixed
    quality: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return to_plain(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Record:
        """The inverse of `to_dict`."""
        return from_plain(cls, values)

    def get(self, path: str) -> Any:
        """The value at a dotted path such as 'costs.params' or 'latency.cpu/1.median_ms'; None where it is missing."""
        value: Any = self
        for key in path.split("."):
            if isinstance(value, Record):
                value = getattr(value, key, None)
            else:
                value = value.get(key) if isinstance(value, Mapping) else None
        return value


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number of a record: where it is, what it is called, in which unit it is shown."""

    path: str
    label: str
    unit: str = ""
    scale: float = 1.0  # shown value = stored value * scale
    digits: int = 3
    lower_is_better: bool = True


METRICS: dict[str, Metric] = {
    "loss": Metric(path="training.best_loss", label="validation loss", digits=4),
    "params": Metric(path="costs.params", label="parameters", unit="M", scale=1e-6),
    "macs": Metric(path="costs.macs", label="multiply-accumulates", unit="M", scale=1e-6, digits=1),
    "elements_written": Metric(path="costs.elements_written", label="elements written", unit="M", scale=1e-6, digits=2),
    "bytes_moved": Metric(path="costs.bytes_moved", label="bytes moved", unit="MB", scale=1e-6, digits=1),
    "num_ops": Metric(path="costs.num_ops", label="operations", digits=0),
    "fvcore_params": Metric(path="costs.fvcore_params", label="fvcore parameters", unit="M", scale=1e-6),
    "fvcore_flops": Metric(path="costs.fvcore_flops", label="fvcore flops", unit="M", scale=1e-6, digits=1),
    "ssim": Metric(path="quality.reporting.ssim", label="SSIM", digits=4, lower_is_better=False),
    "psnr": Metric(path="quality.reporting.psnr", label="PSNR", unit="dB", digits=2, lower_is_better=False),
    "l1": Metric(path="quality.reporting.l1", label="L1", digits=4),
    "ms_ssim": Metric(path="quality.reporting.ms_ssim", label="MS-SSIM", digits=4, lower_is_better=False),
    "replica_loss": Metric(path="quality.replica.loss", label="test loss (replica)", digits=4),
    "replica_ssim": Metric(path="quality.replica.ssim", label="SSIM (replica)", digits=4, lower_is_better=False),
    "train_images_per_second": Metric(
        path="training.images_per_second", label="training speed", unit="images/s", digits=0, lower_is_better=False
    ),
}


def latency_metric(device: str, batch_size: int) -> Metric:
    """The latency metric of one device and batch size, in milliseconds."""
    label = f"latency ({device}, batch {batch_size})"
    return Metric(path=f"latency.{device}/{batch_size}.median_ms", label=label, unit="ms", digits=2)


def shown(record: Record, metric: Metric) -> float | None:
    """A metric's value in the unit in which it is shown, or None where the record lacks it."""
    value = record.get(metric.path)
    return None if value is None else float(value) * metric.scale
