"""Networks that may be proposed: each once, inside of the limits, described once; a sample where the space is large."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from ablation.search.pool import Assignment, Described, Pool
from blocks.errors import InputError

FACTORS = {"conv": ["a", "b", "none"], "width": [1, 2, 4, 8], "rate": [1, 2]}


class Counting:
    """Networks of conv and width, where rate does something in b alone and `none` can't be built; counts what it is asked."""

    def __init__(self, most_params: float = 1e9) -> None:
        self.asked: list[dict[str, object]] = []
        self.most_params = most_params

    def __call__(self, assignments: Sequence[Assignment]) -> Described:
        self.asked += [dict(assignment) for assignment in assignments]
        params = [np.nan if a["conv"] == "none" else 100.0 * int(a["width"]) for a in assignments]
        keys = [f"{a['conv']}{a['width']}" + (f"/{a['rate']}" if a["conv"] == "b" else "") for a in assignments]
        return Described(keys=keys, allowed=[p <= self.most_params for p in params], params=params, macs=params, latency_ms=params)


def test_the_whole_space_each_network_once() -> None:
    describe = Counting()
    pool = Pool(FACTORS, describe)
    assert sorted(pool.base.keys) == sorted(
        [*(f"a{w}" for w in (1, 2, 4, 8)), *(f"b{w}/{r}" for w in (1, 2, 4, 8) for r in (1, 2))]
    )
    assert pool.base.allowed.all() and np.isfinite(pool.base.costs).all()
    assert np.exp(pool.base.costs[0]) == pytest.approx([100, 100, 100])
    assert pool.is_whole and len(describe.asked) == 24
    pool.neighbours([(0, 0, 0)])
    assert len(describe.asked) == 24


def test_limits_and_unknown_costs() -> None:
    pool = Pool(FACTORS, Counting(most_params=200))
    assert set(pool.base.keys) == {"a1", "a2", "b1/1", "b1/2", "b2/1", "b2/2"}
    over, missing = pool.networks([(0, 3, 0), (2, 0, 0)]).costs
    assert np.exp(over) == pytest.approx([800] * 3)
    assert np.isnan(missing).all()
    with pytest.raises(InputError, match="all of 24 break a limit or cannot be built"):
        _ = Pool(FACTORS, Counting(most_params=50)).base
    with pytest.raises(InputError, match="factors must be"):
        Pool({}, Counting())


def test_codes_and_neighbours() -> None:
    pool = Pool(FACTORS, Counting())
    assert pool.code({"conv": "b", "width": 4, "rate": 2, "other": 0}) == (1, 2, 1)
    assert pool.assignment((1, 2, 1)) == {"conv": "b", "width": 4, "rate": 2}
    assert pool.code({"conv": "c", "width": 4, "rate": 2}) is None
    assert pool.code({"conv": "b"}) is None
    assert set(pool.neighbours([(0, 0, 0)]).keys) == {"a2", "a4", "a8", "b1/1", "a1"}


def test_a_large_space_is_sampled_by_seed_until_enough_are_allowed() -> None:
    factors = {f"f{n}": list(range(8)) for n in range(8)}

    def describe(assignments: Sequence[Assignment]) -> Described:
        sums = [float(sum(map(int, a.values()))) + 1 for a in assignments]
        keys = ["".join(map(str, a.values())) for a in assignments]
        return Described(keys=keys, allowed=[s < 20 for s in sums], params=sums, macs=sums, latency_ms=sums)  # about 4 %

    one, same, other = (Pool(factors, describe, most=100, seed=seed).base for seed in (0, 0, 1))
    assert 60 <= len(one) <= 100
    assert one.allowed.all() and len(set(one.keys)) == len(one)
    assert (one.codes == same.codes).all()
    assert set(one.keys) != set(other.keys)
