"""What each of the winner's differences from the reference is worth: the winner with that one set back, against itself. No torch.

Parameters and multiply-accumulates are counted. The loss: difference of means over seeds, Welch's interval. Latency: ratio in the
same sittings. Verdicts are corrected over all differences of one quantity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import exp, log

from ablation.attribute.interaction import LEAST_SEEDS
from ablation.attribute.verdicts import judged, without_interval
from ablation.record.attribution import Effect
from ablation.record.search_confirmed import Undone
from ablation.record.trial import COMPLETE, Record
from ablation.stats import LEAST_SITTINGS, Estimate, contrast_estimate, mean_estimate

Levels = Mapping[str, tuple[str, str]]  # factor -> its level in the reference and in the winner


def undone(
    levels: Levels,
    winner: Sequence[Record],
    without: Mapping[str, Sequence[Record]],
    reasons: Mapping[str, str],
    floors: Mapping[str, float],
    path: str = "training.best_loss",
) -> tuple[Undone, ...]:
    """Effects of undoing each factor, in the order of `levels`.

    `winner`: its records, one for each seed. `without`: factor -> those of the winner without it. `reasons`: factor -> why it can't
    be undone alone. `floors`: place -> half-width of the A/A interval of the logarithm of a ratio. `path`: where records have the
    loss, or what else networks are trained for.
    """
    losses = _judged({f: e for f in levels if (e := _loss(winner, without.get(f, ()), path)) is not None}, 0.0, "seeds")
    places = dict.fromkeys(place for records in without.values() for record in records[:1] for place in record.latency)
    latency = {place: _ratios(place, without, floors.get(place, 0.0)) for place in places}
    return tuple(
        Undone(
            factor=factor,
            reference=first,
            winner=second,
            params=_change(winner, without.get(factor, ()), "params"),
            macs=_change(winner, without.get(factor, ()), "macs"),
            loss=losses.get(factor),
            latency={place: effects[factor] for place, effects in latency.items() if factor in effects},
            reason=reasons.get(factor, "") or _reason(without.get(factor, ())),
        )
        for factor, (first, second) in levels.items()
    )


def _loss(winner: Sequence[Record], records: Sequence[Record], path: str) -> Estimate | None:
    groups = [[float(r.get(path)) for r in each if r.state == COMPLETE] for each in (records, winner)]
    if not all(groups):
        return None
    estimate = contrast_estimate(groups, [1.0, -1.0])
    whole = all(len(group) == len(each) for group, each in zip(groups, (records, winner), strict=True))  # no choice of survivors
    return estimate if whole and estimate.num >= LEAST_SEEDS else without_interval(estimate)


def _ratios(place: str, without: Mapping[str, Sequence[Record]], floor: float) -> dict[str, Effect]:
    estimates: dict[str, Estimate] = {}
    for factor, records in without.items():
        ratios = (records[0].latency.get(place, {}) if records else {}).get("ratio_by_sitting") or ()
        if ratios:
            estimate = mean_estimate([log(ratio) for ratio in ratios])
            estimates[factor] = estimate if estimate.num >= LEAST_SITTINGS else without_interval(estimate)
    effects = _judged(estimates, floor, "sittings")
    return {factor: _as_ratio(effect) for factor, effect in effects.items()}


def _judged(estimates: Mapping[str, Estimate], floor: float, of: str) -> dict[str, Effect]:
    return judged({of: estimates}, 0.0, floor, {of: of})[of] if estimates else {}


def _as_ratio(effect: Effect) -> Effect:
    low, high = (None if end is None else exp(end) for end in (effect.low, effect.high))
    return replace(effect, value=exp(effect.value), low=low, high=high)


def _change(winner: Sequence[Record], records: Sequence[Record], metric: str) -> int | None:
    names = ("training_params", "params") if metric == "params" else (metric,)  # parameters as trained
    found = [next((r.costs[n] for r in each for n in names if r.costs.get(n)), None) for each in (winner, records)]
    before, after = found
    return None if before is None or after is None else int(after - before)


def _reason(records: Sequence[Record]) -> str:
    return "" if any(r.state == COMPLETE for r in records) else next((r.reason for r in records if r.reason), "")
