"""Paired effects: what one swap changes, over all otherwise equal variants and seeds. Records only, no torch."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from ablation.record import COMPLETE, FAILED, RUNNING, STALE, WAITING, Metric, Record, shown
from ablation.stats import bootstrap_mean
from blocks.errors import choices, must_be

_PREFERENCE = (FAILED, STALE, WAITING, RUNNING, COMPLETE)

Context = frozenset[tuple[str, str]]
# the levels of all other factors
Cells = dict[str, dict[Context, dict[int, Record]]]
# level -> context -> seed -> record


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What one swap changes in one metric: signed, in the unit in which the metric is shown."""

    factor: str
    level_from: str
    level_to: str
    metric: Metric
    as_ratio: bool = False
    # True: mean, low and high are factors (1.3 = 1.3 times as much, from the geometric mean); False: differences
    mean: float | None
    low: float | None
    high: float | None
    # interval over pairs of networks (over seeds where there is one pair); None where one value gives no interval
    relative: float | None
    # the effect as a share of the mean before the swap: -0.33 is 33 % less
    num_pairs: int
    # pairs of trials compared: pairs of networks times seeds
    num_networks: int
    # pairs of different networks, otherwise equal
    num_same_network: int
    # pairs left out because the swap changes nothing there (the factor is inert)
    num_incomplete: int
    # pairs of trials left out because a side has no value (yet)
    num_unpaired: int
    # variants whose other side was never planned (a combination that cannot exist, or is not in the space)
    differences: tuple[float, ...] = ()
    # one per pair of networks, mean over seeds; factors where as_ratio


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


def paired_effects(
    records: Iterable[Record],
    factor: str,
    metric: Metric,
    *,
    levels: Sequence[str] | None = None,
    as_ratio: bool = False,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[Effect]:
    """The effect of every swap between two levels of `factor` on `metric`, first level to second, in the order of `levels`.

    Two trials are a pair when they have the same seed and the same level of every other factor. A pair that is one and the
    same network says nothing about the swap: it is left out and counted. Two networks that meet under several contexts
    (another factor being inert there) are one pair. Intervals come from resampling pairs of networks, not seeds, so that
    replicates of one network do not pass for more networks.
    """
    trials = one_per_trial(records)
    known = dict.fromkeys(name for r in trials for intent in intents_of(r) for name in intent)
    if known and factor not in known:
        raise must_be("factor", choices(known), factor)
    cells = _cells(trials, factor)
    swaps = combinations(levels or list(cells), 2)
    return [_effect(cells, factor, a, b, metric, as_ratio, confidence, seed) for a, b in swaps]


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
    needs_training = not metric.path.startswith(("costs.", "latency."))
    value = None if needs_training and record.state != COMPLETE else shown(record, metric)
    return value if value is not None and math.isfinite(value) else None


def _value(record: Record, metric: Metric, as_ratio: bool) -> float | None:
    """The value to subtract: as shown, or its logarithm."""
    value = usable_value(record, metric)
    if value is None or not as_ratio:
        return value
    return math.log(value) if value > 0 else None


def _effect(cells: Cells, factor: str, a: str, b: str, metric: Metric, as_ratio: bool, confidence: float, seed: int) -> Effect:
    before, after = cells.get(a, {}), cells.get(b, {})
    same = [c for c in before if c in after and _network(before[c]) == _network(after[c])]
    pairs: dict[tuple[str, str, int], tuple[float, float] | None] = {}
    for context in [c for c in before if c in after and c not in same]:
        for number in sorted(before[context].keys() | after[context].keys()):
            sides = [trials[context].get(number) for trials in (before, after)]
            x, y = (None if trial is None else _value(trial, metric, as_ratio) for trial in sides)
            names = (_network(before[context]), _network(after[context]), number)
            pairs[names] = None if x is None or y is None else (x, y)
    usable = {names: pair for names, pair in pairs.items() if pair is not None}
    empty = Effect(
        factor=factor, level_from=a, level_to=b, metric=metric, as_ratio=as_ratio, mean=None, low=None, high=None, relative=None,
        num_pairs=len(usable), num_networks=0, num_same_network=len(same), num_incomplete=len(pairs) - len(usable),
        num_unpaired=len(before.keys() ^ after.keys()),
    )  # fmt: skip
    return _summary(usable, empty, confidence, seed)


def _network(trials: Mapping[int, Record]) -> str:
    return next(iter(trials.values())).network_key


def _summary(usable: Mapping[tuple[str, str, int], tuple[float, float]], empty: Effect, confidence: float, seed: int) -> Effect:
    """The effect with its mean and interval filled in, or `empty` itself where no pair is usable."""
    if not usable:
        return empty
    groups: dict[tuple[str, str], list[float]] = defaultdict(list)
    for (left, right, _), (x, y) in usable.items():
        groups[left, right].append(y - x)
    by_network = [sum(g) / len(g) for g in groups.values()]
    resampled = by_network if len(by_network) > 1 else next(iter(groups.values()))
    interval = bootstrap_mean(resampled, level=confidence, seed=seed)
    mean, low, high = _mean_of(by_network), interval.low, interval.high
    base = _mean_of([x for x, _ in usable.values()])
    if empty.as_ratio:
        mean, by_network = math.exp(mean), [math.exp(d) for d in by_network]
        low, high = (None if v is None else math.exp(v) for v in (low, high))
        relative: float | None = mean - 1
    else:
        relative = mean / base if base else None
    return Effect(**{
        **empty.__dict__, "mean": mean, "low": low, "high": high, "relative": relative,
        "num_networks": len(groups), "differences": tuple(by_network),
    })  # fmt: skip


def _mean_of(values: Sequence[float]) -> float:
    return sum(values) / len(values)
