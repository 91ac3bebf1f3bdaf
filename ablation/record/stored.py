"""Explanations and attributions from plain values, also those that earlier versions of this suite stored. No torch.

Version 1 took its 95 % intervals of latency from the rounds of one sitting, which cover too seldom: it is read without those
intervals, and without the verdicts that rested on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ablation.record.attribution import EXACT, TIMED, Attribution
from ablation.record.convert import from_plain
from ablation.record.explanation import OTHER, REDUCED, SAME, VERSION, Explanation
from ablation.stats import OPEN, SETTLED

# timed lists of an explanation, and which of their numbers had an interval
_INTERVALS = {"modes": ("ratio", "second_gain"), "sweep": ("ratio",), "controls": ("ratio",), "remedies": ("gain",)}


def explanation_of(values: Mapping[str, Any]) -> Explanation:
    """The inverse of `to_plain`, also after a trip through JSON. ValueError for anything else."""
    plain = {**values, "version": values.get("version", 1)}
    if plain["version"] < VERSION:
        plain |= _without_intervals(values)
    made = from_plain(Explanation, {**plain, "attributions": [_effects_read(a) for a in plain.get("attributions", ())]})
    return replace(made, attributions=tuple(map(_settled, made.attributions)))


def attribution_of(values: Mapping[str, Any]) -> Attribution:
    """An attribution from plain values, also after a trip through JSON. ValueError for anything else."""
    return _settled(from_plain(Attribution, _effects_read(values)))


def _without_intervals(values: Mapping[str, Any]) -> dict[str, Any]:
    """The timed lists without the ends of their intervals, and with what their modes keep."""
    bare = {
        name: [{**v, **{f"{field}_{end}": None for field in fields for end in ("low", "high")}} for v in values[name]]
        for name, fields in _INTERVALS.items()
    }
    for kind, name in (("modes", "mode"), ("remedies", "name")):
        bare[kind] = [{**v, "keeps": _keeps(v[name]) if v["max_error"] is not None else ""} for v in bare[kind]]
    points = [[{**p, "low": None, "high": None} for p in g["points"]] for g in values["guidelines"]]
    undecided = [{**g, "points": p, "verdict": "undecided"} for g, p in zip(values["guidelines"], points, strict=True)]
    return {**bare, "guidelines": undecided}


def _keeps(mode: str) -> str:
    return OTHER if "inference only" in mode else REDUCED if "bf16" in mode else SAME


def _effects_read(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values of an attribution with the effects of today's version."""
    groups = ("shapley", "from_start", "from_end", "interactions")
    timed = values["metric"] in TIMED
    return {**values, **{group: {name: _effect(e, timed) for name, e in values[group].items()} for group in groups}}


def _effect(values: Mapping[str, Any], timed: bool) -> Mapping[str, Any]:
    """What still stands of an effect whose number of repetitions was not stored."""
    if "num" in values or values["verdict"] == EXACT:
        return values
    if timed:
        return {"value": values["value"], "share": values["share"], "verdict": OPEN}
    return {**values, "verdict": SETTLED if values["verdict"] == "significant" else values["verdict"]}


def _settled(a: Attribution) -> Attribution:
    """Without a correction of verdicts that are no longer there, and without the greedy path of a sample."""
    corrected = a.corrected if a.metric not in TIMED or any(e.num for e in a.shapley.values()) else ""
    return replace(a, corrected=corrected, path=() if a.sampled else a.path)
