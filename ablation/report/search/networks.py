"""Which networks a search's page speaks of: states counted, the front, the one beside the reference, its spec as TOML. No torch."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ablation.design.spec import ModelSpec
from ablation.record.search import REFUSED, STOPPED, Candidate, SearchResult
from ablation.record.search_confirmed import LATENCY, PARAMS, Confirmed
from ablation.record.trial import COMPLETE, FAILED, RUNNING, WAITING
from ablation.report.kit.numbers import count, joined
from ablation.report.kit.page import literal
from ablation.report.search.axes import Axis, finite, loss_axis, places
from ablation.stats import pareto_front

# most characters of a network in a table
TITLE = 64
# how a page writes the states, in this order; one that is not here stands as it is stored
STATES = {
    COMPLETE: "trained to the end", STOPPED: "stopped early", REFUSED: "refused by a limit", FAILED: "failed", RUNNING: "running",
    WAITING: "waiting",
}  # fmt: skip


def of_state(result: SearchResult, *states: str) -> list[Candidate]:
    """The proposals in one of these states."""
    return [candidate for candidate in result.proposals if candidate.state in states]


def states_text(result: SearchResult) -> str:
    """'60 proposals: 40 trained to the end, 15 stopped early and 5 failed', or '12 proposals, all failed'."""
    counts = Counter(candidate.state for candidate in result.proposals)
    order = [*(state for state in STATES if state in counts), *(state for state in counts if state not in STATES)]
    every = count(len(result.proposals), "proposal")
    if len(order) == 1:
        return f"{every}, {'all ' if len(result.proposals) > 1 else ''}{STATES.get(order[0], order[0])}"
    texts = [f"{counts[state]:,} {STATES.get(state, state)}" for state in order]
    return f"{every}: {joined(texts)}" if texts else every


def front_axes(result: SearchResult) -> list[Axis]:
    """What the front is a front of: loss, latency at the first place, parameters."""
    return [loss_axis(result), *(Axis(LATENCY, place) for place in places(result)[:1]), Axis(PARAMS)]


def front(result: SearchResult) -> list[Candidate]:
    """The networks trained to the end that no other one beats on all axes of the front, the best loss first."""
    axes = front_axes(result)
    values = {n: [axis.searched(c) for axis in axes] for n, c in enumerate(result.proposals) if c.state == COMPLETE}
    known = {n: [value for value in line if value is not None] for n, line in values.items() if None not in line}
    lower = [axis.lowest_best(1.0) > 0 for axis in axes]
    kept = [n for n, on_front in zip(known, pareto_front(list(known.values()), lower), strict=True) if on_front] if known else []
    return sorted((result.proposals[n] for n in kept), key=lambda c: result.metric.lowest_best(finite(c.best_loss) or 0.0))


def winner_of(result: SearchResult) -> Candidate | None:
    """The network beside the reference; one that was confirmed but is no proposal of this record is made from its confirmation."""
    candidate = result.candidate(result.winner)
    network = confirmed_winner(result)
    if candidate is None and network is not None:
        return Candidate(number=network.number, label=network.label, key=network.key, spec=network.spec)
    return candidate


def confirmed_winner(result: SearchResult) -> Confirmed | None:
    """The same network in the confirmation; None where it was not confirmed."""
    return result.confirmation.network(result.winner) if result.confirmation else None


def name(network: Candidate | Confirmed) -> str:
    """'network #12', or 'original' of a network without a number, to stand in a sentence."""
    return literal(network.label) if network.number is None else f"network #{network.number}"


def title_of(network: Candidate | Confirmed) -> str:
    """'#12 partial, 32-64-128', not too long for a table or a heading."""
    text = network.label if network.number is None else f"#{network.number} {network.label}"
    return text if len(text) <= TITLE else f"{text[: TITLE - 1]}…"


def spec_toml(spec: Mapping[str, Any]) -> str:
    """A spec as TOML: the preset and the fields that differ from it, or the call and its inputs; `explain` and `cost` read it.

    >>> print(spec_toml({"image_size": 144, "depth": 2}))
    preset = "original"
    depth = 2
    <BLANKLINE>
    """
    if "callable" in spec:
        inner = ", ".join(f"{name}={value!r}" for name, value in spec["arguments"].items())
        network = f"{spec['callable']}({inner})" if inner else spec["callable"]
        return f"network = {json.dumps(network)}\ninput = {json.dumps(spec['inputs'])}\n"
    # as data, for a report makes no spec: that needs the catalogue of pieces, and so torch
    usual = {field.name: list(value) if isinstance(value := field.default, tuple) else value for field in fields(ModelSpec)}
    changed = {field: value for field, value in spec.items() if field not in usual or value != usual[field]}
    return "".join(f"{field} = {json.dumps(value)}\n" for field, value in {"preset": "original", **changed}.items())
