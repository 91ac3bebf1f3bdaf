"""How many networks a space has and which limits exclude how many, counted before anything is timed or trained."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ablation.design.space import Space
from ablation.measure.costs.static import static_cost
from ablation.search.costs import shared_costs, space_costs
from ablation.search.limits import LATENCY, broken, latency_values, limit_text, num_excluded, num_params, quantity_of, with_ratios
from blocks.errors import InputError, must_be
from studies.engine.search.predicted import Predict, lowest_values
from studies.search.setting import Setting

MOST_COUNTED = 3000  # combinations; of a larger space so many are drawn, which takes some 20 seconds
MOST_OF_OWN = 200  # of networks of a user's own, which have nothing in common that could be counted once


@dataclass(frozen=True, kw_only=True)
class Census:
    """A space in numbers; of a sample where `sample` is a number."""

    num_combinations: int
    num_valid: int
    num_inside: int
    sample: int | None
    num_excluded: Mapping[str, int]  # static limit -> valid networks that break it

    def facts(self, space: Space) -> dict[str, Any]:
        """As the page shows it, plain."""
        counts = {name: getattr(self, name) for name in ("num_combinations", "num_valid", "num_inside", "sample")}
        return {"name": space.name, "factors": {factor: list(levels) for factor, levels in space.factors.items()}, **counts}


def take_census(setting: Setting, predict: Predict | None = None, most: int = MOST_COUNTED) -> Census:
    """Static costs, and latency where it can be predicted, of the whole space or of a sample, held against the limits.

    InputError where no network is left. A predicted latency is taken as low as its error allows, as for proposals.
    """
    space, limits = setting.space, dict(setting.config.search.get("limits", {}))
    total, most = space.num_combinations(), min(most, MOST_OF_OWN) if setting.config.own else most
    drawn = assignments(space, most) if total > most else [dict(zip(space.factors, c, strict=True)) for c in combinations(space)]
    table = space_costs(space, drawn, shared_costs())
    if not any(table.valid):
        raise must_be("--space", "a space with a network that can be built", space.name, next(iter(table.reasons), ""))
    reference = static_cost(setting.reference).to_dict()
    networks: dict[str, dict[str, float]] = {}
    for number, key in enumerate(table.keys):
        if table.valid[number] and key not in networks:
            own = {name: float(values[number]) for name, values in table.costs.items()}
            latency = lowest_values(predict(space.variant(drawn[number]).spec)) if predict else {}
            networks[key] = {**with_ratios(own, reference), **latency}
    excluded, inside = num_excluded(limits, networks.values()), [v for v in networks.values() if not broken(limits, v)]
    known = {key: num for key, num in excluded.items() if predict or not key.startswith(LATENCY)}
    census = Census(
        num_combinations=total, num_valid=len(networks), num_inside=len(inside), sample=len(drawn) if total > most else None,
        num_excluded=known,
    )  # fmt: skip
    if not inside:
        raise _nothing_left(census, limits, networks)
    return census


def drawn_inside(setting: Setting, predict: Predict, num: int = 200) -> list[dict[str, Any]]:
    """Networks of the space drawn by chance, as many as are inside all limits, with predicted latency; see `insight.Drawn`."""
    space, limits, counts = setting.space, dict(setting.config.search.get("limits", {})), shared_costs()
    reference, inside = static_cost(setting.reference).to_dict(), list[dict[str, Any]]()
    for factors in assignments(space, min(4 * num, space.num_combinations()), seed=1):
        try:
            spec = space.variant(factors).spec
            costs, predicted = counts.of(spec).to_dict(), predict(spec)
        except Exception:  # whatever a user's own piece raises: its trial records it
            continue
        latency = latency_values({b: one.ms for b, one in predicted.items()}, {b: one.ratio for b, one in predicted.items()})
        if len(inside) < num and not broken(limits, {**with_ratios(costs, reference), **latency}):
            ratio = predicted[setting.config.latency_batches[0]].ratio
            inside.append({"factors": dict(factors), "ratio": ratio, "params": num_params(costs)})
    return inside


def combinations(space: Space) -> itertools.product[tuple[str, ...]]:
    """Every assignment of levels."""
    return itertools.product(*space.factors.values())


def assignments(space: Space, num: int, seed: int = 0) -> list[dict[str, str]]:
    """So many different assignments, drawn with equal chances."""
    draw, drawn = random.Random(seed), dict[tuple[str, ...], None]()
    levels = [list(each) for each in space.factors.values()]
    while len(drawn) < num:
        drawn[tuple(map(draw.choice, levels))] = None
    return [dict(zip(space.factors, each, strict=True)) for each in drawn]


def _nothing_left(census: Census, limits: Mapping[str, float], networks: Mapping[str, Mapping[str, float]]) -> InputError:
    """Which limit excludes how many, and how near the nearest network comes."""
    texts = []
    for key, num in census.num_excluded.items():
        least = min(values[key] for values in networks.values() if key in values)
        nearest = limit_text(key, least).partition("=")[2]
        texts.append(f"{limit_text(key, limits[key])} excludes {num:,} (the least {quantity_of(key)} is {nearest})")
    drawn = f" of {census.sample:,} drawn combinations" if census.sample else ""
    got = " ".join(limit_text(key, limits[key]) for key in limits)
    remedy = f"Of {census.num_valid:,} networks{drawn}, {'; '.join(texts)}."
    return must_be("--limit", "such that a network of the space is inside all limits", got, remedy)
