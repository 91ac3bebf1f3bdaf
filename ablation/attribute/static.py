"""Static costs of every network of a factorial from a few of them, exactly, and their attributions.

Parts of the network run one after the other, so that a part's cost depends only on the fields it is made from, which the
architecture names: the 512 networks between `original` and `modified` share 16 encoder bodies and 16 decoder bodies. Networks are
costed until every part has been seen; the others are sums. Were a piece to make the next part's cost depend on itself (by leaving a
memory layout that forces a copy, say), sums would be wrong: so a sample of sums is compared with direct counts, and on any
difference all are counted directly.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add

from ablation.attribute.factorial import Factorial
from ablation.attribute.lattice import Cell
from ablation.attribute.values import attribute
from ablation.design.compose import VAE
from ablation.design.network import AnySpec
from ablation.design.spec import ModelSpec
from ablation.machine.text import first_line
from ablation.measure.costs.forward import Cost
from ablation.measure.costs.operations import OTHER
from ablation.measure.costs.static import static_cost
from ablation.record.attribution import Attribution
from blocks import ARCHITECTURES
from blocks.errors import choices, must_be

UNITS = {
    "params": "parameters",
    "macs": "multiply-accumulates",
    "elements_written": "elements",
    "bytes_moved": "bytes",
    "num_ops": "operations",
}
CHECKS = 4  # sums that are compared with direct counts, besides the two ends
PARTS = (*VAE.parts, OTHER)
PartKey = tuple[str, tuple[str, ...]]  # part, and what it is made from


@dataclass(frozen=True, kw_only=True)
class NetworkCosts:
    """Costs of all networks of a factorial that can be built here."""

    factorial: Factorial  # without those that cannot
    by_part: Mapping[str, Mapping[str, Cost]]  # network key -> part of the network -> cost
    num_counted: int  # networks counted directly; the others are sums of parts

    @cached_property
    def by_network(self) -> dict[str, Cost]:
        """Network key -> cost."""
        return {key: reduce(add, parts.values()) for key, parts in self.by_part.items()}

    def values(self, metric: str, part: str | None = None) -> dict[Cell, int]:
        """Cell -> one number of the whole network, or of one part of it."""
        if metric not in UNITS:
            raise must_be("metric", choices(UNITS), metric)
        if part is not None and part not in PARTS:
            raise must_be("part", choices(PARTS), part)
        costs = self.by_network if part is None else {key: parts[part] for key, parts in self.by_part.items()}
        return self.factorial.values({key: getattr(cost, metric) for key, cost in costs.items()})


def network_costs(factorial: Factorial, batch_size: int = 1) -> NetworkCosts:
    """Costs of every network. Those that fail to build or to run become impossible cells, with the reason."""
    try:
        summed = _by_parts(factorial.networks, batch_size)
    except Exception:  # whatever a piece raises: which networks fail shows by trying each
        summed = None
    if summed is not None:
        return NetworkCosts(factorial=factorial, by_part=summed[0], num_counted=summed[1])
    costs: dict[str, Mapping[str, Cost]] = {}
    failures: dict[str, str] = {}
    for key, spec in factorial.networks.items():
        try:
            costs[key] = static_cost(spec, batch_size).by_part
        except Exception as error:
            failures[key] = first_line(error)
    return NetworkCosts(factorial=factorial.without(failures), by_part=costs, num_counted=len(costs))


def attribute_static(factorial: Factorial, batch_size: int = 1, *, costs: NetworkCosts | None = None) -> tuple[Attribution, ...]:
    """Parameters, multiply-accumulates, elements written, bytes moved and operations of one forward pass, each exactly."""
    costs = costs or network_costs(factorial, batch_size)
    place = f"batch {batch_size}" if batch_size != 1 else ""
    names = costs.factorial.names
    return tuple(attribute(names, costs.values(metric), metric=metric, place=place, unit=unit) for metric, unit in UNITS.items())


def part_keys(spec: ModelSpec) -> dict[str, tuple[str, ...]]:
    """Part -> what its cost depends on: the architecture, and the active ones of the fields that the part is made from."""
    made_from, active = ARCHITECTURES.get(spec.architecture).made_from, spec.active
    return {part: (spec.architecture, *(repr(active.get(name)) for name in made_from.get(part, ()))) for part in PARTS}


def _by_parts(networks: Mapping[str, AnySpec], batch_size: int) -> tuple[dict[str, Mapping[str, Cost]], int] | None:
    # costs by network and part, and how many were counted directly; None where sums turn out wrong
    keys = {key: frozenset(part_keys(spec).items()) for key, spec in networks.items() if isinstance(spec, ModelSpec)}
    if len(keys) < len(networks):
        return None  # of a callable's network nothing says what its parts are made from
    known: dict[PartKey, Cost] = {}
    waiting = dict.fromkeys(networks)

    def fits(key: str) -> bool:
        waiting.pop(key)
        parts = static_cost(networks[key], batch_size).by_part
        counted = {(part, made): parts[part] for part, made in keys[key]}
        agree = parts.keys() == set(PARTS) and all(known.get(part, cost) == cost for part, cost in counted.items())
        known.update(counted)
        return agree

    for key in list(networks)[:2]:
        if not fits(key):
            return None
    while waiting and (missing := _most(waiting, keys, known)) is not None:
        if not fits(missing):
            return None
    for key in random.Random(0).sample(list(waiting), min(CHECKS, len(waiting))):
        if not fits(key):
            return None
    return {key: {part: known[part, made] for part, made in sorted(keys[key])} for key in networks}, len(networks) - len(waiting)


def _most(waiting: Mapping[str, None], keys: Mapping[str, frozenset[PartKey]], known: Mapping[PartKey, Cost]) -> str | None:
    # the network with the most parts that were not seen yet, if any has some
    best = max(waiting, key=lambda key: len(keys[key] - known.keys()))
    return best if keys[best] - known.keys() else None
