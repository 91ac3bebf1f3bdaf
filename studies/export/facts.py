"""What the card of an export says of a network: its data, what training reached, what it costs."""

from __future__ import annotations

from collections.abc import Sequence

from ablation.design.network import AnySpec
from ablation.measure.costs.static import static_cost
from ablation.record.trial import Record, shown
from ablation.stats import mean_estimate
from studies.engine.config import StudyConfig


def data_of(config: StudyConfig) -> str:
    """The images of a study, in one line."""
    data = config.data
    return f"{data['name']}, {data['limit'] or 'all'} images at {data['image_size']} px, fingerprint {config.fingerprint}"


def losses_of(trials: Sequence[Record], chosen: Record, config: StudyConfig) -> list[tuple[str, str, str]]:
    """Of the exported trial, and over all seeds of its network with an interval where there are enough."""
    rows = []
    for name in config.metrics if config.own else ("loss", "replica_loss", "ssim", "psnr"):
        metric = config.metrics[name]
        own, values = shown(chosen, metric), [value for trial in trials if (value := shown(trial, metric)) is not None]
        if own is None:
            continue
        unit = f" {metric.unit}" if metric.unit else ""
        rows.append((metric.label, f"{own:.{metric.digits}f}{unit}", f"this network, seed {chosen.seed}"))
        if len(values) > 1:
            mean = mean_estimate(values)
            ends = f" ({mean.low:.{metric.digits}f} to {mean.high:.{metric.digits}f})" if mean.known else ""
            rows.append((f"{metric.label}, mean", f"{mean.value:.{metric.digits}f}{ends}{unit}", f"{len(values)} seeds, 95 %"))
    return rows


def costs_of(spec: AnySpec) -> list[tuple[str, str]]:
    """What a network is counted to cost: what, value."""
    cost = static_cost(spec)
    return [
        ("parameters", f"{cost.params:,}"),
        ("multiply-accumulates", _millions(cost.macs, 1)),
        ("elements written", _millions(cost.elements_written, 2)),
        ("operations", f"{cost.num_ops:,}"),
    ]


def _millions(number: int, digits: int) -> str:
    """In millions, unless that says little."""
    return f"{number / 1e6:,.{digits}f} M" if number >= 1e5 else f"{number:,}"
