"""The answer of a search in at most five sentences: what beats the reference, by how much, how that was confirmed. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ablation.attribute.interaction import LEAST_SEEDS
from ablation.record.search import REFUSED, STOPPED, Candidate, SearchResult
from ablation.record.search_confirmed import BETTER, FASTEST, LOSS, MACS, PARAMS, RATIOS, WAITS, WORSE, Confirmed, Verdict
from ablation.record.trial import COMPLETE, FAILED
from ablation.report.explain.style import plain
from ablation.report.kit.numbers import capital, count, joined, signed
from ablation.report.kit.page import literal
from ablation.report.search.axes import COUNTS, Axis, axes_text, axis_of, finite, loss_axis, losses, search_axes
from ablation.report.search.networks import confirmed_winner, front_axes, name, of_state, states_text, winner_of
from ablation.stats import LEAST_SITTINGS

LUCKY = (
    "The best of many trainings with one seed is partly luck, so its {noun} should be expected to be {worse} with fresh seeds, and "
    "nothing here is certain before a confirmation."
)


def answer(result: SearchResult) -> str:
    """The paragraph that comes first."""
    network, winner = confirmed_winner(result), winner_of(result)
    if network is not None:
        sentences = _confirmed(result, network)
    elif winner is not None:
        sentences = _searched(result, winner)
    elif complete := of_state(result, COMPLETE):
        sentences = _without_winner(result, complete)
    else:
        sentences = _untrained(result)
    return " ".join([*sentences, *result.missing][:5] if network is None else [*sentences[:4], *result.missing][:5])


def _confirmed(result: SearchResult, network: Confirmed) -> list[str]:
    assert result.confirmation is not None
    verdicts, reference = result.confirmation.of(network.number or 0), result.confirmation.reference
    sentences = [_lead(result, network, reference, verdicts), _differences(result, verdicts), _how(result, network, verdicts)]
    return [*sentences, *_reason(result)]


def _lead(result: SearchResult, network: Confirmed, against: Confirmed, verdicts: Sequence[Verdict]) -> str:
    def names(judged: Sequence[Verdict]) -> str:
        return axes_text([axis_of(v, result) for v in judged])

    winner, reference = capital(name(network)), name(against)
    better, worse = ([v for v in verdicts if v.verdict == kind] for kind in (BETTER, WORSE))
    rest = [v for v in verdicts if v not in better and v not in worse]
    if not verdicts:
        return f"**{winner} was trained again beside {reference}, but there is no verdict.**"
    if len(better) == len(verdicts):
        return f"**{winner} beats {reference} on everything that was judged: {names(better)}.**"
    texts = [f"it is worse on {names(worse)}"] if worse else []
    texts += [f"on {names(rest)} the difference is not settled"] if rest else []
    start = f"beats {reference} on {names(better)}" if better else f"is not shown to beat {reference} on anything"
    return f"**{winner} {start}{', but ' if better else ': '}{joined(texts)}.**"


def _differences(result: SearchResult, verdicts: Sequence[Verdict]) -> str:
    """Each axis with the values of both networks and the interval of what lies between."""
    texts = []
    for v in (v for v in verdicts if v.metric not in (MACS, FASTEST)):
        axis = axis_of(v, result)
        change = axis.change(v.effect, v.low, v.high)
        if v.metric in COUNTS:
            change = _share(v.reference, v.effect) or change
        texts.append(_values(axis, v.reference, v.value, change))
    brackets = " (95\u00a0% intervals in brackets)" if any(v.low is not None for v in verdicts) else ""
    return f"{capital('; '.join(texts))}{brackets}." if texts else ""


def _values(axis: Axis, reference: float | None, value: float | None, change: str) -> str:
    """'its validation loss is 0.6380 instead of 0.6690, −0.0310'; what is missing is named."""
    there, here = axis.text(finite(reference)), axis.text(finite(value))
    if finite(reference) is None or finite(value) is None:
        return f"its {axis.label} cannot be compared"
    start = f"it has {here} parameters" if axis.metric == PARAMS else f"its {axis.label} is {here}"
    return f"{start} instead of {there}, {change}"


def _share(reference: float | None, effect: float | None) -> str:
    return f"{signed(100 * effect / reference, 0)}\u00a0%" if effect and reference else ""


def _how(result: SearchResult, network: Confirmed, verdicts: Sequence[Verdict]) -> str:
    assert result.confirmation is not None
    both, noun = (result.confirmation.reference, network), result.metric.noun
    num = min(len(losses(n, LOSS)) for n in both)
    sittings = [v.num for v in verdicts if v.metric in RATIOS and v.num is not None]
    failed = sum(len([s for s in n.seeds if s.reason != WAITS]) - len(losses(n, LOSS)) for n in both)
    how = "Confirmed" if num >= LEAST_SEEDS else "Trained again"
    text = f"{how} with {count(num, 'fresh seed')} for each" if num else f"No {noun} is confirmed: no training of both ended well"
    text += f" and {count(min(sittings), 'sitting')} of timing" if sittings else ", without fresh timing"
    text += f"; {count(failed, 'training')} of both gave no {noun}" if failed and num else ""
    if 0 < num < LEAST_SEEDS:
        text += f", fewer than the {LEAST_SEEDS} seeds that an interval of the {noun} takes"
    elif sittings and min(sittings) < LEAST_SITTINGS:
        text += f", fewer than the {LEAST_SITTINGS} sittings that an interval of the latency takes"
    elif num and result.confirmation.corrected:
        text += "; verdicts are corrected for all comparisons together"
    return text + "."


def _reason(result: SearchResult) -> list[str]:
    """Which of the winner's differences matters most for the loss, or for what else networks are trained."""
    metric, axis = result.metric, loss_axis(result)
    trained = [(u, u.loss) for u in result.undone if u.loss is not None and finite(u.loss.value) is not None]
    lowering = [(u, effect) for u, effect in trained if effect.sure and metric.lowest_best(effect.value) > 0]
    lowers, adds = ("lowers", "adds") if metric.lower_is_better else ("raises", "takes away")
    if lowering:
        undone, effect = max(lowering, key=lambda item: metric.lowest_best(item[1].value))
        change = axis.change(abs(effect.value)).lstrip("+")
        choice = literal(f"{plain(undone.factor)} ({undone.winner} instead of {undone.reference})")
        return [f"What {lowers} its {metric.noun} most is {choice}: undoing that alone {adds} {change}."]
    seeds = min((effect.num or 0 for _, effect in trained), default=0)
    few = f", with {seeds} seed{'' if seeds == 1 else 's'} of each" if seeds else ""
    return [f"Which of its choices {lowers} the {metric.noun} is not settled{few}."] if trained else []


def _searched(result: SearchResult, winner: Candidate) -> list[str]:
    """By search values alone."""
    better: list[Axis] = []
    worse: list[Axis] = []
    unknown: list[Axis] = []
    texts: list[str] = []
    for axis in search_axes(result):
        reference, value = axis.searched(result.reference), axis.searched(winner)
        if reference is None or value is None:
            unknown.append(axis)
            continue
        (better if axis.is_ahead(value, reference) else worse).append(axis)
        effect = axis.effect(reference, value)
        share = _share(reference, effect) if axis.metric == PARAMS else ""
        texts.append(_values(axis, reference, value, share or axis.change(effect)))
    parts = [f"ahead of {name(result.reference)} on {axes_text(better)}"] if better else []
    parts += [f"not ahead on {axes_text(worse)}"] if worse else []
    parts += [f"without a comparison on {axes_text(unknown)}"] if unknown else []
    sentences = [f"**Nothing is confirmed: by the search's own values, of one seed, {name(winner)} is {', '.join(parts)}.**"]
    sentences += [f"{capital('; '.join(texts))}."] if texts else []
    lucky = LUCKY.format(noun=result.metric.noun, worse="higher" if result.metric.lower_is_better else "lower")
    return [*sentences, *_reference_gone(result), lucky]


def _reference_gone(result: SearchResult) -> list[str]:
    if finite(result.reference.best_loss) is not None:
        return []
    why = literal(result.reference.reason) or "it has not been trained"
    label, noun = result.metric.label, result.metric.noun
    return [f"{capital(name(result.reference))} has no {label} ({why.rstrip('.')}), so no {noun} can be compared with it."]


def _without_winner(result: SearchResult, complete: Sequence[Candidate]) -> list[str]:
    axes, reference = search_axes(result), name(result.reference)
    ends = {axis: axis.searched(result.reference) for axis in axes}
    ahead = {axis: [c for c in complete if _is_ahead(axis, axis.searched(c), end)] for axis, end in ends.items()}
    every = [c for c in complete if all(c in group for group in ahead.values())]
    texts = joined(f"{len(group)} on {axis.label}" for axis, group in ahead.items() if ends[axis] is not None)
    lead = f"{len(every)} of them on all axes at once" if every else "none of them on all axes at once"
    of = f"of {count(len(complete), 'network')} trained to the end, {texts} are ahead of it by search values, {lead}"
    alone = f"**No network can be compared with {reference}.**"
    sentences = [f"**No network is put beside {reference}**: {of}." if texts else alone]
    known = [c for c in complete if finite(c.best_loss) is not None]
    if known:
        best = min(known, key=lambda c: result.metric.lowest_best(finite(c.best_loss) or 0.0))
        values = joined(f"{axis.label} {axis.text(axis.searched(best))}" for axis in front_axes(result))
        sentences.append(f"The {result.metric.best} {result.metric.noun} is that of {name(best)}: {values}.")
    return [*sentences, *_reference_gone(result)]


def _is_ahead(axis: Axis, value: float | None, end: float | None) -> bool:
    return value is not None and end is not None and axis.is_ahead(value, end)


def _untrained(result: SearchResult) -> list[str]:
    """No network was trained to the end: what happened to the proposals instead."""
    if not result.proposals:
        return [f"**Nothing has been trained yet**, so there is no network to put beside {name(result.reference)}."]
    sentences = [f"**No network has been trained to the end**; {states_text(result)}."]
    if stopped := of_state(result, STOPPED):
        metric = result.metric
        best = min((loss for c in stopped if (loss := finite(c.best_loss)) is not None), key=metric.lowest_best, default=None)
        what = f"the {metric.best} {metric.noun} that any of them had reached"
        so_far = f"; {what} is {loss_axis(result).text(best)}" if best is not None else ""
        sentences.append(f"A stopped network keeps its checkpoint and may be trained further{so_far}.")
    for state, text in ((FAILED, "Most frequent reason for a failure"), (REFUSED, "Most frequent reason for a refusal")):
        if reasons := Counter(c.reason for c in of_state(result, state) if c.reason):
            reason, num = reasons.most_common(1)[0]
            sentences.append(f"{text}, {num} of {reasons.total()}: {literal(reason.rstrip('.'))}.")
    return [*sentences, *_reference_gone(result)]
