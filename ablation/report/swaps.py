"""Every swap of a study with its effects on every metric, and a verdict on each: better, worse, or within noise. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ablation.attribute import Effect, paired_effects
from ablation.record import METRICS, Metric, Record
from ablation.report.page import literal
from ablation.report.study import Row, StudyInfo, latency_for_ratios, latency_keys, latency_of, swap_levels
from ablation.stats import pooled_sd

BETTER, WORSE, NONE, NOISE, MIXED, MISSING = "better", "worse", "no change", "within noise", "depends", "missing"
EXACT = ("params", "macs", "elements_written")
# counted, not measured: never within noise
TRAINED = ("loss", "ssim")


@dataclass(frozen=True)
class Swap:
    """One change of level with its effect on each metric, by a key such as 'loss' or 'cpu/1'."""

    factor: str
    level_from: str
    level_to: str
    effects: Mapping[str, Effect]
    milliseconds: Mapping[str, Effect]
    # the latency effects once more, as differences

    @property
    def name(self) -> str:
        """'head: flatten to pooled'."""
        return literal(f"{self.factor}: {self.level_from} to {self.level_to}")


def compared_metrics(records: Sequence[Record]) -> dict[str, tuple[Metric, bool]]:
    """Key -> (metric, whether compared as a ratio), in the order in which effects are told."""
    keys = latency_keys(records)
    chosen: dict[str, tuple[Metric, bool]] = {"loss": (METRICS["loss"], False)}
    chosen |= {key: (latency_for_ratios(records, key), True) for key in keys}
    return chosen | {name: (METRICS[name], False) for name in (*EXACT, "ssim")}


def all_swaps(records: Sequence[Record], study: StudyInfo, rows: Sequence[Row]) -> list[Swap]:
    """Every swap between two levels of every factor; of a factor that no trial has yet, none."""
    metrics = compared_metrics(records)
    known = {f for r in records for intent in (r.intents or (r.factors,)) for f in intent}
    swaps: list[Swap] = []
    for factor, levels in swap_levels(study, rows).items():
        if factor not in known:
            continue
        by_key = {k: paired_effects(records, factor, m, levels=levels, as_ratio=ratio) for k, (m, ratio) in metrics.items()}
        in_ms = {k: paired_effects(records, factor, latency_of(k), levels=levels) for k, (_, ratio) in metrics.items() if ratio}
        for n, effect in enumerate(by_key["loss"]):
            effects, milliseconds = ({k: found[n] for k, found in table.items()} for table in (by_key, in_ms))
            swaps.append(Swap(factor, effect.level_from, effect.level_to, effects, milliseconds))
    return swaps


@dataclass(frozen=True)
class Noise:
    """What repeats of the same thing differ by: seeds for trained metrics, one network against itself for latency."""

    sd: Mapping[str, float]
    # metric -> standard deviation over seeds, pooled over networks; absent where no network has two seeds
    floor: Mapping[str, float]
    # latency key -> largest |log ratio| of one network against itself; absent where it was not measured

    def half_width(self, key: str, effect: Effect) -> float | None:
        """The size (difference, or log ratio) below which an effect is noise; None where that is unknown, 0 for counts."""
        if key in EXACT:
            return 0.0
        if key in TRAINED:
            sd = self.sd.get(key)
            return None if sd is None or not effect.num_pairs else 1.96 * sd * math.sqrt(2 / effect.num_pairs)
        return self.floor.get(key)


def noise_of(rows: Iterable[Row], study: StudyInfo) -> Noise:
    """The noise of this study: seeds' spread from its rows, A/A ratios from the study."""
    rows = list(rows)
    sds = {key: pooled_sd([row.values(METRICS[key]) for row in rows]) for key in TRAINED}
    floor = {key: max(abs(math.log(aa[end])) for end in ("low", "high")) for key, aa in study.latency_noise.items()}
    return Noise({key: sd for key, sd in sds.items() if sd is not None}, floor)


def verdict(key: str, effect: Effect, noise: Noise) -> str:
    """Whether the swap improves the metric; noise first, then whether the interval over pairs has one sign."""
    if effect.mean is None:
        return MISSING
    size = math.log(effect.mean) if effect.as_ratio else effect.mean
    neutral = 1.0 if effect.as_ratio else 0.0
    half_width = noise.half_width(key, effect)
    if key in EXACT and all(d == neutral for d in effect.differences):
        return NONE
    if half_width is not None and key not in EXACT and abs(size) <= half_width:
        return NOISE
    if effect.low is not None and effect.high is not None and effect.low <= neutral <= effect.high:
        return MIXED
    return BETTER if (size < 0) == effect.metric.lower_is_better else WORSE
