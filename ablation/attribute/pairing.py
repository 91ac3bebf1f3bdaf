"""Paired effects: what one swap changes, over all otherwise equal variants and seeds. Records only, no torch.

What an effect's interval rests on, first of these that has two replicates:

- clusters of pairs: pairs of networks that share a network, directly or through others, are one replicate, the mean of its pairs;
- of a single cluster the seeds (trained metrics), or the sittings (latency): for each one value, the mean over the cluster's pairs.

Counts have no interval; their range over the pairs is exact.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from ablation.attribute.effect import CLUSTERS, PAIRS, SEEDS, SITTINGS, Context, Effect, Pair, clusters_of, mean
from ablation.record.sittings import by_sitting, entry_of, has_enough_rounds, is_latency
from ablation.record.trial import COMPLETE, FAILED, INFEASIBLE, RUNNING, STALE, STOPPED, WAITING, Metric, Record, shown
from ablation.stats import Estimate, mean_estimate
from blocks.errors import choices, must_be

_PREFERENCE = (INFEASIBLE, FAILED, STALE, STOPPED, WAITING, RUNNING, COMPLETE)
# level -> context -> seed -> record
Cells = dict[str, dict[Context, dict[int, Record]]]


def one_per_trial(records: Iterable[Record]) -> list[Record]:
    """One record per network and seed: of several attempts the complete one, else the liveliest, else the latest."""
    best: dict[tuple[str, int], Record] = {}
    for record in records:
        key = (record.network_key, record.seed)
        if key not in best or _rank(record) > _rank(best[key]):
            best[key] = record
    return list(best.values())


def _rank(record: Record) -> tuple[int, int]:
    return _PREFERENCE.index(record.state), record.number


def intents_of(record: Record) -> tuple[Mapping[str, str], ...]:
    """Every assignment of factors that makes this record's network."""
    return record.intents or (record.factors,)


def is_counted(metric: Metric) -> bool:
    """Whether the metric is exact: it has a range over pairs, never an interval."""
    return metric.path.startswith("costs.")


def paired_effects(
    records: Iterable[Record],
    factor: str,
    metric: Metric,
    *,
    levels: Sequence[str] | None = None,
    as_ratio: bool = False,
) -> list[Effect]:
    """The effect of every swap between two levels of `factor` on `metric`, first level to second, in the order of `levels`.

    Two trials are a pair when they have the same seed and the same level of every other factor. A pair that is one and the
    same network says nothing about the swap: it is left out and counted. Two networks that meet under several contexts
    (another factor being inert there) are one pair.
    """
    trials = one_per_trial(records)
    known = dict.fromkeys(name for r in trials for intent in intents_of(r) for name in intent)
    if known and factor not in known:
        raise must_be("factor", choices(known), factor)
    cells = _cells(trials, factor)
    empty = [Effect(factor=factor, level_from=a, level_to=b, metric=metric, as_ratio=as_ratio) for a, b in (
        combinations(levels or list(cells), 2)
    )]  # fmt: skip
    return [_effect(cells, effect) for effect in empty]


def _cells(trials: Iterable[Record], factor: str) -> Cells:
    """Level of `factor` -> levels of all other factors -> seed -> trial."""
    cells: Cells = defaultdict(lambda: defaultdict(dict))
    for record in trials:
        for intent in intents_of(record):
            if factor in intent:
                context = frozenset((k, v) for k, v in intent.items() if k != factor)
                cells[intent[factor]][context][record.seed] = record
    return cells


def usable_value(record: Record, metric: Metric) -> float | None:
    """The metric as shown, or None where it is missing, not finite, or comes from a training that is not complete.

    Costs and latency need no training: they count whatever became of the trial.
    """
    needs_training = not (is_counted(metric) or is_latency(metric))
    value = None if needs_training and record.state != COMPLETE else shown(record, metric)
    return value if value is not None and math.isfinite(value) else None


def value_of(record: Record, metric: Metric, as_ratio: bool) -> float | None:
    """The value to subtract: as shown, or its logarithm."""
    value = usable_value(record, metric)
    if value is None or not as_ratio:
        return value
    return math.log(value) if value > 0 else None


def sittings_of(record: Record, metric: Metric, as_ratio: bool) -> list[float]:
    """The latency in each sitting, as shown or its logarithm; empty where there are too few, or one is no number above 0."""
    values = [value * metric.scale for value in by_sitting(record, metric)]
    if not all(math.isfinite(value) and value > 0 for value in values):
        return []
    return [math.log(value) for value in values] if as_ratio else values


def _effect(cells: Cells, empty: Effect) -> Effect:
    """The effect of one swap, `empty` with everything filled in."""
    before, after = cells.get(empty.level_from, {}), cells.get(empty.level_to, {})
    meeting = [c for c in before if c in after]
    same = [c for c in meeting if _network(before[c]) == _network(after[c])]
    contexts: dict[tuple[str, str], list[Context]] = defaultdict(list)
    for context in meeting:
        if context not in same:
            contexts[_network(before[context]), _network(after[context])].append(context)
    pairs, incomplete = [], 0
    for networks, where in contexts.items():
        sides = before[where[0]], after[where[0]]
        pair = Pair(networks=networks, contexts=tuple(where), values=_values(sides, empty), sittings=_sittings(sides, empty))
        pairs += [pair] if pair.values else []
        incomplete += len(sides[0].keys() | sides[1].keys()) - len(pair.values)
    effect = replace(
        empty, pairs=tuple(pairs), num_same_network=len(same), num_incomplete=incomplete,
        num_unpaired=len(before.keys() ^ after.keys()),
    )  # fmt: skip
    timed_enough = not is_latency(empty.metric) or all(
        has_enough_rounds(entry_of(record, empty.metric))
        for pair in pairs for side in (before, after) for record in side[pair.contexts[0]].values() if record.latency
    )  # fmt: skip
    return _with_estimate(effect, timed_enough) if pairs else effect


def _network(trials: Mapping[int, Record]) -> str:
    return next(iter(trials.values())).network_key


def _values(sides: Sequence[Mapping[int, Record]], effect: Effect) -> dict[int, tuple[float, float]]:
    values = {}
    for seed in sorted(sides[0].keys() & sides[1].keys()):
        x, y = (value_of(side[seed], effect.metric, effect.as_ratio) for side in sides)
        if x is not None and y is not None:
            values[seed] = (x, y)
    return values


def _sittings(sides: Sequence[Mapping[int, Record]], effect: Effect) -> tuple[tuple[float, float], ...]:
    """The latency of both networks in each sitting; empty where they were not timed in the same number of them."""
    if not is_latency(effect.metric):
        return ()
    x, y = (next((s for r in side.values() if (s := sittings_of(r, effect.metric, effect.as_ratio))), []) for side in sides)
    return tuple(zip(x, y, strict=True)) if len(x) == len(y) else ()


def _with_estimate(effect: Effect, has_interval: bool) -> Effect:
    clusters = clusters_of(effect.pairs)
    replicates, over = _replicates(effect, clusters) if has_interval else ([], "")
    by_pair = [pair.difference for pair in effect.pairs]
    if len(replicates) > 1:
        estimate = mean_estimate(replicates)
    else:
        estimate, over = Estimate(value=mean(by_pair)), ""
    base = mean([x for pair in effect.pairs for x, _ in pair.values.values()])
    if effect.as_ratio:
        relative: float | None = math.expm1(estimate.value)
    else:
        # a share of what is negative would have the other sign
        relative = estimate.value / base if base > 0 else None
    return replace(effect, estimate=estimate, over=over, relative=relative)


def _replicates(effect: Effect, clusters: Sequence[Sequence[Pair]]) -> tuple[list[float], str]:
    """The independent values whose mean is the effect, and what they are."""
    if is_counted(effect.metric):
        return [], ""
    if len(clusters) > 1:
        means = [mean([pair.difference for pair in cluster]) for cluster in clusters]
        return means, PAIRS if len(clusters) == len(effect.pairs) else CLUSTERS
    if is_latency(effect.metric):
        rounds = {len(pair.sittings) for pair in effect.pairs}
        count = rounds.pop() if len(rounds) == 1 else 0
        return _over(effect.pairs, range(count), lambda pair, n: pair.sittings[n]), SITTINGS
    seeds = sorted(set.intersection(*(set(pair.values) for pair in effect.pairs)))
    return _over(effect.pairs, seeds, lambda pair, seed: pair.values[seed]), SEEDS


def _over(pairs: Sequence[Pair], numbers: Iterable[int], values: Callable[[Pair, int], tuple[float, float]]) -> list[float]:
    """For each seed or sitting the mean difference over the pairs."""
    return [mean([y - x for x, y in (values(pair, n) for pair in pairs)]) for n in numbers]
