"""Every swap of a study with its effects, the interactions between swaps, and one verdict on each. No torch.

All measured effects and interactions of a report are judged together (`stats.judge`): better or worse where the interval, corrected
for their number, lies outside of the noise floor; within noise where it lies inside; else not settled. The floor of a latency is
what the reference differs by from a second copy of itself; a trained metric has none, for its interval holds the seeds' noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ablation.attribute.effect import Effect, Pair
from ablation.attribute.interaction import Interaction, Step, pairwise_interactions
from ablation.attribute.pairing import is_counted, paired_effects
from ablation.record.sittings import has_intervals
from ablation.record.trial import TRAINED, Metric, Record
from ablation.report.kit.page import literal
from ablation.report.study.rows import Row, StudyInfo, latency_for_ratios, latency_keys
from ablation.stats import CONFIDENCE, OPEN, SETTLED, Estimate, judge, t_quantile

BETTER, WORSE, NONE, MIXED, MISSING = "better", "worse", "no change", "differs between pairs", "missing"
# counted, not measured: exact
COUNTED = ("params", "macs", "elements_written")
# more replicates than this are not worth naming
MOST_NEEDED = 100


@dataclass(frozen=True)
class Swap:
    """One change of level with its effect on each metric, by a key such as 'loss' or 'cpu/1'."""

    factor: str
    level_from: str
    level_to: str
    effects: Mapping[str, Effect]

    @property
    def name(self) -> str:
        """'head: flatten to pooled'."""
        return literal(f"{self.factor}: {self.level_from} to {self.level_to}")

    @property
    def words(self) -> str:
        """'head from flatten to pooled'."""
        return literal(f"{self.factor} from {self.level_from} to {self.level_to}")

    @property
    def step(self) -> Step:
        """Factor, level before, level after."""
        return self.factor, self.level_from, self.level_to


@dataclass(frozen=True)
class Within:
    """A swap's effect on one metric at one level of another factor: its pairs alone."""

    factor: str
    level: str
    effect: Effect
    pairs: tuple[Pair, ...]

    @property
    def differences(self) -> list[float]:
        """Of each pair as it is shown."""
        return [self.effect.shown(pair.difference) for pair in self.pairs]

    @property
    def mean(self) -> float:
        """Over the pairs; of ratios geometric."""
        return self.effect.shown(sum(pair.difference for pair in self.pairs) / len(self.pairs))


@dataclass(frozen=True)
class Judged:
    """The swaps and interactions of one report, with the verdicts on all that is measured."""

    swaps: Sequence[Swap]
    # by the key of the metric
    interactions: Mapping[str, Sequence[Interaction]]
    # latency key -> largest |log ratio| of one network against itself; absent where it wasn't measured in enough sittings
    floors: Mapping[str, float]
    # of training, by key, the one that networks are ranked by first
    metrics: Mapping[str, Metric] = field(default_factory=lambda: TRAINED)
    # keys that stand in tables alone
    aside: Sequence[str] = ("ssim", "elements_written")

    @property
    def lead(self) -> str:
        """Key of the metric that networks are ranked by."""
        return next(iter(self.metrics))

    @property
    def told(self) -> list[str]:
        """Keys of what sentences and plots show."""
        return list(dict.fromkeys(key for swap in self.swaps for key in swap.effects if key not in self.aside))

    @cached_property
    def family(self) -> dict[tuple[object, ...], Estimate]:
        """Everything that has an interval: what is judged together."""
        every: dict[tuple[object, ...], Estimate] = {}
        every |= {(*swap.step, key): e.estimate for swap in self.swaps for key, e in swap.effects.items() if e.estimate}
        every |= {(*i.steps, key): i.estimate for key, interactions in self.interactions.items() for i in interactions}
        return {name: estimate for name, estimate in every.items() if estimate.known}

    @cached_property
    def _words(self) -> Mapping[tuple[object, ...], str]:
        return judge(self.family, {name: self.floors.get(str(name[-1]), 0.0) for name in self.family})

    def verdict(self, swap: Swap, key: str) -> str:
        """Whether the swap improves the metric."""
        effect = swap.effects[key]
        if effect.estimate is None:
            return MISSING
        if is_counted(effect.metric):
            return _of_count(effect)
        word = self._words.get((*swap.step, key), OPEN)
        return direction(effect.estimate.value, effect.metric) if word == SETTLED else word

    def of_interaction(self, interaction: Interaction, key: str) -> str:
        """SETTLED, NOISE or OPEN."""
        return self._words.get((*interaction.steps, key), OPEN)

    def depends_on(self, swap: Swap, key: str) -> list[str]:
        """The other factors by which this effect differs for certain, the one that matters most first."""
        size: dict[str, float] = {}
        for interaction in self.interactions.get(key, ()):
            other = [step[0] for step in interaction.steps if step != swap.step]
            if len(other) == 1 and self.of_interaction(interaction, key) == SETTLED:
                size[other[0]] = max(size.get(other[0], 0.0), abs(interaction.estimate.value))
        return sorted(size, key=lambda factor: -size[factor])

    def needed(self, name: tuple[object, ...]) -> int | None:
        """About how many replicates would settle an open effect of this size; None where hardly any number would."""
        estimate, beyond = self.family[name], abs(self.family[name].value) - self.floors.get(str(name[-1]), 0.0)
        if not estimate.error or beyond <= 0:
            return None
        spread = estimate.error * math.sqrt(estimate.num)
        corrected = 1 - (1 - CONFIDENCE) / len(self.family) / 2
        enough = (n for n in range(estimate.num + 1, MOST_NEEDED) if t_quantile(corrected, n - 1) * spread / math.sqrt(n) < beyond)
        return next(enough, None)


def within(swap: Swap, key: str, factor: str) -> list[Within]:
    """The effect at each level of another factor; pairs that are the same at several levels are left out."""
    effect = swap.effects[key]
    levels = dict.fromkeys(level for pair in effect.pairs if (level := pair.level(factor)) is not None)
    return [Within(factor, level, effect, tuple(p for p in effect.pairs if p.level(factor) == level)) for level in levels]


def direction(value: float, metric: Metric) -> str:
    """BETTER or WORSE, by the sign of a change."""
    return BETTER if (value < 0) == metric.lower_is_better else WORSE


def _of_count(effect: Effect) -> str:
    differences = [pair.difference for pair in effect.pairs]
    if not any(differences):
        return NONE
    words = {direction(difference, effect.metric) for difference in differences if difference}
    return words.pop() if len(words) == 1 else MIXED


def compared_metrics(records: Sequence[Record], study: StudyInfo) -> dict[str, tuple[Metric, bool]]:
    """Key -> (metric, whether compared as a ratio), in the order in which effects are listed."""
    chosen: dict[str, tuple[Metric, bool]] = {name: (study.metrics[name], False) for name in study.compared}
    chosen |= {key: (latency_for_ratios(records, key, study), True) for key in latency_keys(records)}
    return chosen | {name: (study.metric(name), False) for name in COUNTED}


def judge_all(records: Sequence[Record], study: StudyInfo, rows: Sequence[Row]) -> Judged:
    """Every swap between two levels of every factor and every interaction of two swaps, judged together."""
    metrics, levels, swaps = compared_metrics(records, study), _levels(records, study, rows), []
    for factor in levels:
        by_key = {k: paired_effects(records, factor, m, levels=levels[factor], as_ratio=ratio) for k, (m, ratio) in metrics.items()}
        for effects in zip(*by_key.values(), strict=True):
            first = effects[0]
            swaps.append(Swap(factor, first.level_from, first.level_to, dict(zip(by_key, effects, strict=True))))
    measured = {key: chosen for key, chosen in metrics.items() if key not in COUNTED}
    interactions = {k: pairwise_interactions(records, levels, m, as_ratio=ratio) for k, (m, ratio) in measured.items()}
    # the A/A floor of each latency that has one: the larger end of its interval
    ends = {key: [aa.get("low"), aa.get("high")] for key, aa in study.latency_noise.items() if has_intervals(aa)}
    floors = {key: max(abs(math.log(end)) for end in known if end) for key, known in ends.items() if None not in known}
    return Judged(swaps, interactions, floors, study.metrics, (*study.aside, "elements_written"))


def _levels(records: Sequence[Record], study: StudyInfo, rows: Sequence[Row]) -> dict[str, list[str]]:
    """Each factor that a trial has, the reference's level first, so that swaps are steps away from the reference."""
    known = {f for r in records for intent in (r.intents or (r.factors,)) for f in intent}
    base = next((row.trials[0].factors for row in rows if row.is_reference), {})
    varied = {f: levels for f, levels in study.factors.items() if f in known and len(levels) > 1}
    return {f: sorted(levels, key=lambda level: level != base.get(f)) for f, levels in varied.items()}
