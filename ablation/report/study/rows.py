"""What a report is about: the study's facts, and its trials gathered into one row per network. No torch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ablation.attribute.pairing import intents_of, one_per_trial, usable_value
from ablation.machine.text import printable
from ablation.record.trial import COMPLETE, FAILED, METRICS, TRAINED, Metric, Record, fitting, latency_metric, parts_of
from ablation.stats import mean_and_sd

COSTS = ("params", "fvcore_params", "macs", "fvcore_flops", "elements_written", "bytes_moved", "num_ops")
INERT = "inert"  # the level shown for a factor that does not change this network


@dataclass(frozen=True, kw_only=True)
class StudyInfo:
    """The facts of a study that its records do not hold."""

    title: str
    command: str = ""  # the command line that makes this study
    device: str = ""  # the device by its model name, as every plot states it
    # digest -> name of each kind of hardware, the reference first, where networks were timed or trained on several; else empty
    hardware: Mapping[str, str] = field(default_factory=dict)
    # name, num_images, image_size, fingerprint, notes (a list of sentences: corrupt files, subset, ...)
    data: Mapping[str, Any] = field(default_factory=dict)
    num_planned: int = 0  # trials planned: networks times seeds
    counts: Mapping[str, int] = field(default_factory=dict)  # state -> trials in it; counted from the records where empty
    protocol: Mapping[str, Any] = field(default_factory=dict)
    network: str = ""  # of a user's own: the callable, its input, and what trains it
    # factor -> its levels, in the order in which swaps are listed
    factors: Mapping[str, Sequence[str]] = field(default_factory=dict)
    reference: str = ""  # network key of the base variant; empty where there is none
    provenance: Mapping[str, Any] = field(default_factory=dict)  # commit, packages, hardware, seeds, data fingerprint
    # of training, by key, the first being what networks are ranked by; which of them swaps are judged on, and which of those are
    # in tables alone
    metrics: Mapping[str, Metric] = field(default_factory=lambda: TRAINED)
    compared: Sequence[str] = ("loss", "ssim")
    aside: Sequence[str] = ("ssim",)
    # costs and latencies by key, in units that fit their values
    fitted: Mapping[str, Metric] = field(default_factory=dict)
    # "cpu/1" (a place) -> ratio, low, high, sittings, rounds of the reference against a second copy of itself
    latency_noise: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def lead(self) -> str:
        """Key of the metric that networks are ranked by."""
        return next(iter(self.metrics))

    @property
    def leading(self) -> Metric:
        """That metric."""
        return self.metrics[self.lead]

    def metric(self, key: str) -> Metric:
        """Of training, a cost, or the latency at a place."""
        return self.metrics.get(key) or self.fitted.get(key) or METRICS.get(key) or latency_of(key, self)

    @property
    def by_epoch(self) -> str:
        """What curves show: of the networks of this project two losses, else the first metric."""
        return self.leading.label if self.is_own else "loss"

    @property
    def is_own(self) -> bool:
        """Whether networks and metrics are a user's own."""
        return self.leading.path != METRICS["loss"].path


@dataclass(frozen=True)
class Row:
    """One network: its trials, one per seed, and its number in every table and plot."""

    number: int
    trials: tuple[Record, ...]
    is_reference: bool = False

    @property
    def label(self) -> str:
        """The short name of the network."""
        return self.trials[0].label

    @property
    def network_key(self) -> str:
        """The identity of the network."""
        return self.trials[0].network_key

    @property
    def complete(self) -> tuple[Record, ...]:
        """The trials that count."""
        return tuple(t for t in self.trials if t.state == COMPLETE)

    @property
    def state(self) -> str:
        """'complete', or how far the seeds are: '1 of 3', or the one state that all share."""
        states = [t.state for t in self.trials]
        return states[0] if len(set(states)) == 1 else f"{states.count(COMPLETE)} of {len(states)}"

    @property
    def reasons(self) -> list[str]:
        """Why trials failed, each reason once."""
        return list(dict.fromkeys(t.reason or "no reason was stored" for t in self.trials if t.state == FAILED))

    def level(self, factor: str) -> str:
        """The level of a factor; INERT where several levels of it make this very network."""
        levels = dict.fromkeys(i[factor] for i in intents_of(self.trials[0]) if factor in i)
        return next(iter(levels)) if len(levels) == 1 else INERT if levels else "-"

    def values(self, metric: Metric) -> list[float]:
        """The metric of each trial that has a usable one, in the unit shown."""
        return [value for t in self.trials if (value := usable_value(t, metric)) is not None]

    def mean(self, metric: Metric) -> float | None:
        """Mean over seeds, in the unit shown."""
        return mean_and_sd(self.values(metric))[0]

    def sd(self, metric: Metric) -> float | None:
        """Standard deviation over seeds, None for fewer than two."""
        return mean_and_sd(self.values(metric))[1]


def as_shown(records: Iterable[Record], study: StudyInfo) -> tuple[list[Record], StudyInfo]:
    """Records and study with every name a person gave as it may stand in a line, see `ablation.machine.text`."""

    def names(levels: Mapping[str, str]) -> dict[str, str]:
        return {printable(factor): printable(level) for factor, level in levels.items()}

    shown = []
    for r in records:
        texts = {"label": printable(r.label), "reason": printable(" ".join(r.reason.split()))}
        shown.append(replace(r, **texts, factors=names(r.factors), intents=tuple(map(names, r.intents))))  # type: ignore[arg-type]
    known = {name: METRICS[name] for name in COSTS} | {key: latency_of(key, study) for key in latency_keys(shown)}
    fitted = {
        key: fitting(metric, [float(v) for r in shown if isinstance(v := r.get(metric.path), (int, float))])
        for key, metric in known.items()
    }
    factors = {printable(factor): tuple(map(printable, levels)) for factor, levels in study.factors.items()}
    words: dict[str, Any] = {name: printable(getattr(study, name)) for name in ("title", "command", "device", "network")}
    return shown, replace(study, factors=factors, fitted=fitted, **words)


def rows_of(records: Iterable[Record], study: StudyInfo | None = None) -> list[Row]:
    """One row per network in the order of the study's levels, numbered from 1."""
    groups: dict[str, list[Record]] = {}
    for record in one_per_trial(records):
        groups.setdefault(record.network_key, []).append(record)
    factors = study.factors if study else {}
    ordered = sorted(groups.items(), key=lambda item: _place(item[1][0], factors))
    return [
        Row(n, tuple(sorted(trials, key=lambda t: t.seed)), bool(study) and key == study.reference)  # type: ignore[union-attr]
        for n, (key, trials) in enumerate(ordered, 1)
    ]


def _place(record: Record, factors: Mapping[str, Sequence[str]]) -> tuple[Any, ...]:
    levels = [(record.factors.get(f), list(names)) for f, names in factors.items()]
    return (*(names.index(lv) if lv in names else len(names) for lv, names in levels), record.label, record.network_key)


def state_counts(records: Iterable[Record], study: StudyInfo) -> dict[str, int]:
    """State -> number of trials (network and seed), by the study's own count where it has one."""
    if study.counts:
        return {state: int(n) for state, n in study.counts.items()}
    return dict(Counter(r.state for r in one_per_trial(records)))


def latency_keys(records: Iterable[Record]) -> list[str]:
    """Every place that any record has, by device and then by batch size, the places of one kind of hardware together."""
    keys = dict.fromkeys(key for record in records for key in record.latency)
    hardware = sorted(dict.fromkeys(parts_of(key)[2] for key in keys), key=bool)  # the study's first, which has no name, first

    def place(key: str) -> tuple[str, int, int]:
        device, batch_size, name = parts_of(key)
        return device, hardware.index(name), batch_size

    return sorted(keys, key=place)


def by_hardware(keys: Iterable[str]) -> list[list[str]]:
    """Places in groups of one kind of hardware each; one empty group where there are none."""
    groups: dict[str, list[str]] = {}
    for key in keys:
        groups.setdefault(parts_of(key)[2], []).append(key)
    return list(groups.values()) or [[]]


def hardware_of(key: str, study: StudyInfo | None) -> str:
    """The hardware of a place, also of the study's first where there are several; empty where there is one."""
    return parts_of(key)[2] or next(iter(study.hardware.values() if study else ()), "")


def latency_of(key: str, study: StudyInfo | None = None) -> Metric:
    """The metric, in milliseconds, of a place; in a study of several kinds of hardware it names its own."""
    device, batch_size, hardware = parts_of(key)
    label = latency_metric(device, batch_size, hardware_of(key, study)).label
    return replace(latency_metric(device, batch_size, hardware), label=label)


def name_of(key: str) -> str:
    """A place in the names of files and of columns for machines: 'latency_cpu_b1'.

    >>> name_of("cpu/1@AMD EPYC, 2 cores")
    'latency_cpu_b1_amd-epyc-2-cores'
    """
    device, batch_size, hardware = parts_of(key)
    words = re.findall("[a-z0-9]+", hardware.lower())
    return f"latency_{device}_b{batch_size}" + (f"_{'-'.join(words)}" if words else "")


def ratio_of(key: str, study: StudyInfo | None = None) -> Metric:
    """The latency at a place as a multiple of the reference's, paired within rounds."""
    metric = latency_of(key, study)
    return Metric(path=f"latency.{key}.ratio", label=metric.label, unit="x the reference", digits=3)


def latency_for_ratios(records: Iterable[Record], key: str, study: StudyInfo | None = None) -> Metric:
    """What to compare networks by: the paired ratio where every timed trial has it (free of drift), else the median."""
    timed = [r.latency[key] for r in records if key in r.latency]
    return (ratio_of if timed and all(t.get("ratio") is not None for t in timed) else latency_of)(key, study)


def axis_label(metric: Metric) -> str:
    """'parameters [M]', for axes and headings."""
    return f"{metric.label} [{metric.unit}]" if metric.unit else metric.label


def seeds_text(rows: Sequence[Row]) -> str:
    """'3 seeds each', '1 to 3 seeds each'."""
    counts = [len(r.complete) for r in rows if r.complete]
    if not counts:
        return "no seed complete"
    low, high = min(counts), max(counts)
    return f"{low} to {high} seeds each" if low != high else f"{low} seed{'s' if low > 1 else ''} each"
