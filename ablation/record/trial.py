"""What a trial stores, and the one table of metrics that every table, plot and filter uses. No torch here."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ablation.record.convert import from_plain, to_plain
from blocks.errors import must_be

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
    # "cpu/1" (a place, see `place_of`) -> median_ms, low_ms, high_ms, ratio, ratio_low, ratio_high (to the reference), converged
    latency: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    # best_loss, best_epoch, seconds, images_per_second, stopped_early; epochs: list of per-epoch dicts
    training: Mapping[str, Any] = field(default_factory=dict)
    # "replica" and "reporting" -> metric -> value, never mixed; "own" -> what a training function of the user's own returned
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

    @property
    def best(self) -> str:
        """'lowest' or 'highest'."""
        return "lowest" if self.lower_is_better else "highest"

    def lowest_best(self, value: float) -> float:
        """The value, or its negative where higher is better; of that again the value."""
        return value if self.lower_is_better else -value

    @property
    def noun(self) -> str:
        """'loss' of the validation loss; the label of any other."""
        return self.label.removeprefix("validation ")

    def text(self, value: float) -> str:
        """A stored value as it is shown, with its unit."""
        return f"{value * self.scale:.{self.digits}f} {self.unit}".rstrip()

    @property
    def is_share(self) -> bool:
        """Whether it is shown in per cent, so that differences are points, and shares of it would mislead."""
        return self.unit == "%"

    @property
    def unit_of_change(self) -> str:
        """The unit of a difference."""
        return "points" if self.is_share else self.unit


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


# of the networks of this project, by key; the first is what they are trained for
TRAINED = {name: METRICS[name] for name in ("loss", "ssim", "psnr", "l1", "ms_ssim", "replica_loss")}


# names that tables, plots and trials use for something else
_TAKEN = (
    "number variant state reason label seed seeds spec factors intents protocol data costs record network_key parameters latency "
    "training_seconds feasible num_seeds is_reference levels latency_estimated_from"
)
TAKEN = frozenset(_TAKEN.split())


def own_metric(
    name: str,
    *,
    better: str = "higher",
    unit: str = "",
    label: str = "",
    digits: int | None = None,
    scale: float | None = None,
) -> Metric:
    """A metric that a training function of the user's own returns. Of the unit "%" it returns shares, 0.93 for 93 %.

    `scale`: what is shown over what is returned. InputError for wrong values.

    >>> own_metric("accuracy", unit="%").scale
    100.0
    """
    if better not in ("higher", "lower"):
        raise must_be(f"metrics: better, of {name}", "higher or lower", better)
    taken = {*(METRICS.keys() - TRAINED.keys()), *TAKEN}
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w -]*", name) or name.lower() in taken:
        raise must_be("A metric's name", "letters, digits, spaces and dashes, and no name that tables have already", name)
    if not all(isinstance(text, str) for text in (unit, label)):
        raise must_be(f"metrics: unit and label, of {name}", "text", unit if not isinstance(unit, str) else label)
    is_share = unit == "%"
    digits = (2 if is_share else 4) if digits is None else digits
    scale = (100.0 if is_share else 1.0) if scale is None else scale
    if not isinstance(digits, int) or isinstance(digits, bool) or not 0 <= digits <= 9:
        raise must_be(f"metrics: digits, of {name}", "a whole number from 0 to 9", digits)
    if not isinstance(scale, (int, float)) or isinstance(scale, bool) or not 0 < scale < math.inf:
        raise must_be(f"metrics: scale, of {name}", "a positive number", scale)
    return Metric(
        path=f"quality.own.{name}", label=label or name.replace("_", " "), unit=unit, scale=scale, digits=digits,
        lower_is_better=better == "lower",
    )  # fmt: skip


def own_metrics(values: Mapping[str, Any]) -> dict[str, Metric]:
    """Metrics by name, from "higher" or "lower", or a table of what `own_metric` takes; InputError for wrong ones, and for none."""
    if not isinstance(values, Mapping) or not values:
        raise must_be("metrics", 'a table with at least one metric, such as accuracy = { better = "higher", unit = "%" }', values)
    made: dict[str, Metric] = {}
    for name, about in values.items():
        given = {"better": about} if isinstance(about, str) else about
        known = ("better", "unit", "label", "digits", "scale")
        if not isinstance(given, Mapping) or not set(given) <= set(known):
            raise must_be(f"metrics: {name}", f'"higher", "lower" or a table of {", ".join(known)}', about)
        made[name] = own_metric(name, **given)
    return made


def place_of(device: str, batch_size: int, hardware: str = "") -> str:
    """Where a latency was measured: on the study's first hardware 'cpu/1', on any other, or where both are named, with its name.

    >>> place_of("cpu", 1, "AMD EPYC, 2 cores")
    'cpu/1@AMD EPYC, 2 cores'
    """
    return f"{device}/{batch_size}" + (f"@{hardware}" if hardware else "")


def parts_of(place: str) -> tuple[str, int, str]:
    """Device, batch size and hardware of a place, the last empty for a study's first.

    >>> parts_of("cpu/32")
    ('cpu', 32, '')
    """
    where, _, hardware = place.partition("@")
    device, _, batch_size = where.rpartition("/")
    return device, int(batch_size), hardware


def latency_metric(device: str, batch_size: int, hardware: str = "") -> Metric:
    """The latency metric of one device and batch size, in milliseconds; of several kinds of hardware on the one that is named."""
    label = f"latency ({device}, batch {batch_size}{', ' if hardware else ''}{hardware})"
    return Metric(path=f"latency.{place_of(device, batch_size, hardware)}.median_ms", label=label, unit="ms", digits=2)


# of what is counted in millions: the unit below which the next smaller one says more, by the largest value
_SMALLER = {"M": ((1e5, "k", 1e-3), (1e3, "", 1.0)), "MB": ((1e5, "kB", 1e-3), (1e3, "bytes", 1.0))}
SMALL_MS = 0.1


def fitting(metric: Metric, values: Sequence[float]) -> Metric:
    """The metric in a unit, and with the digits, that values as small as these need; of counts whole numbers stay whole.

    >>> fitting(METRICS["params"], [1234.0]).unit, fitting(METRICS["params"], [9_352_195.0]).unit
    ('k', 'M')
    """
    if not values:
        return metric
    if metric.unit == "ms" and 0 < min(values) < SMALL_MS:
        return replace(metric, digits=2 - math.floor(math.log10(min(values))))
    if metric.unit in _SMALLER and max(values) < 1e6:
        metric = replace(metric, digits=3)
    for below, unit, scale in _SMALLER.get(metric.unit, ()):
        if max(values) < below:
            metric = replace(metric, unit=unit, scale=scale, digits=0 if scale == 1 else 3)
    return metric


def fitted_text(metric: Metric, value: float) -> str:
    """A stored value in the unit that fits it, as '1.234 k'."""
    return fitting(metric, [value]).text(value)


def shown(record: Record, metric: Metric) -> float | None:
    """A metric's value in the unit in which it is shown, or None where the record lacks it."""
    value = record.get(metric.path)
    return None if value is None else float(value) * metric.scale
