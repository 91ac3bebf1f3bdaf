"""Which networks differ by more than chance: leads in lists and on Pareto fronts that are not settled are ties. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ablation.attribute.interaction import LEAST_SEEDS, Measured
from ablation.record.trial import Metric
from ablation.report.study.rows import Row, StudyInfo, by_hardware, latency_for_ratios
from ablation.stats import CONFIDENCE, LEAST_SITTINGS, SETTLED, judge, pareto_front

RULE = (
    "Two networks tie on a measured axis where their difference is not settled (Welch's interval over seeds for what training "
    "gives, Student's t over sittings and beyond the noise floor for latency, corrected for all networks that one is compared "
    "with). One network beats another if it leads for certain on one axis and trails for certain on none; what is on the front, or "
    "off it, by leads that are not settled is marked as tied."
)


@dataclass(frozen=True)
class Front:
    """A Pareto front by means over seeds, and ties."""

    # the networks that have every value, and those of them on the front
    drawn: list[Row]
    members: list[Row]
    # on the front by a lead alone that is not settled, and off it by a margin alone that is not settled
    weak: list[Row]
    off: list[Row]


def front_of(rows: Sequence[Row], metrics: Sequence[Metric]) -> tuple[list[Row], list[Row]]:
    """(rows that have every metric, those of them on the Pareto front) by means over seeds, in the order of the first metric."""
    valued = [(row, [row.mean(m) for m in metrics]) for row in rows]
    drawn = sorted(((row, values) for row, values in valued if None not in values), key=lambda item: item[1][0] or 0.0)
    points = np.array([values for _, values in drawn], dtype=np.float64)
    front = pareto_front(points, [m.lower_is_better for m in metrics])
    return [row for row, _ in drawn], [row for (row, _), keep in zip(drawn, front, strict=True) if keep]


class Ties:
    """Comparisons of networks with one another, each made when it is asked for."""

    def __init__(
        self, rows: Sequence[Row], keys: Sequence[str], floors: Mapping[str, float], study: StudyInfo | None = None
    ) -> None:
        # what variants are compared on as wholes: what they are trained for, every latency, parameters, multiply-accumulates
        study = study or StudyInfo(title="")
        lead = self.lead = study.lead
        axes = {key: study.metric(key) for key in (lead, *keys, "params", "macs")}
        self.axes = {k: metric for k, metric in axes.items() if any(row.mean(metric) is not None for row in rows)}
        timed = [key for key in keys if key in self.axes]
        # for each kind of hardware all axes but the latencies of the others
        self.groups = [[key for key in self.axes if key not in timed or key in own] for own in by_hardware(timed)]
        self._floors = floors
        records = [trial for row in rows for trial in row.trials]
        measured = {lead: (study.leading, False)} | {key: (latency_for_ratios(records, key, study), True) for key in keys}
        self._measured = {key: Measured(records, metric, ratio) for key, (metric, ratio) in measured.items() if key in self.axes}
        self._networks = {key: sum(map(bool, measured.values.values())) for key, measured in self._measured.items()}
        self._signs: dict[tuple[str, int, int], int] = {}

    def is_counted(self, key: str) -> bool:
        """Whether any difference on this axis is exact."""
        return key not in self._measured

    def is_judged(self, key: str) -> bool:
        """Whether differences on this axis have intervals: two networks at least with enough seeds, or sittings."""
        return self.is_counted(key) or self._measured[key].num_repeated > 1

    def lacking(self, key: str) -> str:
        """What an axis that is not judged lacks."""
        return f"fewer than {LEAST_SEEDS} seeds" if key == self.lead else f"fewer than {LEAST_SITTINGS} sittings"

    def compare(self, one: Row, other: Row, key: str) -> int:
        """-1 where `one` is better for certain, 1 where it is worse, 0 where they tie or a value is missing."""
        a, b = one.mean(self.axes[key]), other.mean(self.axes[key])
        if a is None or b is None:
            return 0
        sign = 1 if self.axes[key].lower_is_better else -1
        if self.is_counted(key):
            return sign * ((a > b) - (a < b))
        first, second = sorted((one, other), key=lambda row: row.number)
        name = (key, first.number, second.number)
        if name not in self._signs:
            self._signs[name] = self._contrast(first, second, key)
        return sign * (self._signs[name] if first is one else -self._signs[name])

    def _contrast(self, one: Row, other: Row, key: str) -> int:
        measured = self._measured[key]
        # Bonferroni over all that one network is compared with
        confidence = 1 - (1 - CONFIDENCE) / max(1, self._networks[key] - 1)
        estimate = measured.contrast({one.network_key: 1.0, other.network_key: -1.0})
        word = judge({"": estimate}, {"": self._floors.get(key, 0.0)}, confidence)[""]
        return (1 if estimate.value > 0 else -1) if word == SETTLED else 0

    def beats(self, one: Row, other: Row, keys: Sequence[str]) -> bool:
        """Whether `one` leads for certain on one axis and trails for certain on none."""
        leads = False
        # counts first: they cost no statistics
        for key in sorted(keys, key=self.is_counted, reverse=True):
            sign = self.compare(one, other, key)
            if sign > 0:
                return False
            leads = leads or sign < 0
        return leads

    def front(self, rows: Sequence[Row], keys: Sequence[str]) -> Front:
        """The Pareto front by means, and what on it and off it is tied."""
        drawn, front = front_of(rows, [self.axes[key] for key in keys])
        if not all(self.is_judged(key) for key in keys):
            return Front(drawn, front, [], [])
        weak = [row for row in front if any(self.beats(other, row, keys) for other in drawn if other is not row)]
        off = [row for row in drawn if row not in front and not any(self.beats(member, row, keys) for member in front)]
        return Front(drawn, front, weak, off)
