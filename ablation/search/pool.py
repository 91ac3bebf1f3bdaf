"""Networks of a space that may be proposed, with all that is known of them before training; a sample of a large space.

Costs of a network are computed once. Two assignments of levels that make the same network are one candidate.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from blocks.errors import InputError, must_be

Level: TypeAlias = str | int | float | bool
Assignment: TypeAlias = Mapping[str, Level]  # factor -> level
Code: TypeAlias = tuple[int, ...]  # number of the level, of each factor
DRAWS_PER_NETWORK = 20  # at most, of a large space, where few networks are allowed


@dataclass(frozen=True, kw_only=True)
class Described:
    """What is known of assignments before any is trained; entry i belongs to assignment i. Costs that are not known are NaN."""

    keys: Sequence[str]  # identity of the network
    allowed: Sequence[bool] | NDArray[np.bool_]  # whether it can be built and is inside of the limits
    params: Sequence[float] | NDArray[np.float64]
    macs: Sequence[float] | NDArray[np.float64]
    latency_ms: Sequence[float] | NDArray[np.float64]  # as predicted


Describe: TypeAlias = Callable[[Sequence[Assignment]], Described]


@dataclass(frozen=True, kw_only=True)
class Networks:
    """N networks, one a row."""

    codes: NDArray[np.int64]  # N x factors
    keys: NDArray[np.str_]
    allowed: NDArray[np.bool_]
    costs: NDArray[np.float64]  # N x 3: logarithms of latency in ms, parameters, multiply-accumulates; NaN where not known

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which of them have known costs."""
        return np.asarray(np.isfinite(self.costs).all(axis=1), dtype=bool)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Networks:
        """Some of the rows."""
        return Networks(codes=self.codes[rows], keys=self.keys[rows], allowed=self.allowed[rows], costs=self.costs[rows])

    def joined(self, other: Networks) -> Networks:
        """These and others, each network once."""
        parts = {name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in vars(self)}
        return Networks(**parts).take(np.sort(np.unique(parts["keys"], return_index=True)[1]))


class Pool:
    """Networks of a space: all that are allowed where the space has at most `most` assignments, else `sample` of them by `seed`.

    `describe` is asked for many assignments at once and never twice for one. Raises InputError where no network is allowed.

    >>> def describe(assignments):
    ...     widths = [float(a["width"]) for a in assignments]
    ...     allowed = [width < 30 for width in widths]
    ...     return Described(keys=[f"w{w:g}" for w in widths], allowed=allowed, params=widths, macs=widths, latency_ms=widths)
    >>> pool = Pool({"width": [8, 16, 32]}, describe)
    >>> pool.base.keys.tolist(), pool.assignment(pool.base.codes[1])
    (['w8', 'w16'], {'width': 16})
    """

    def __init__(
        self, factors: Mapping[str, Sequence[Level]], describe: Describe, *, most: int = 4000, sample: int = 1000, seed: int = 0
    ) -> None:
        if not factors or any(len(levels) == 0 for levels in factors.values()):
            raise must_be("factors", "at least one factor, each with at least one level", dict(factors))
        self.factors = {factor: tuple(levels) for factor, levels in factors.items()}
        self._describe, self._most, self._sample, self._seed = describe, most, min(sample, most), seed
        self._known: dict[Code, tuple[str, bool, tuple[float, ...]]] = {}

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of levels of each factor."""
        return tuple(map(len, self.factors.values()))

    def assignment(self, code: Iterable[int]) -> dict[str, Level]:
        """The levels of a code."""
        return {factor: levels[i] for (factor, levels), i in zip(self.factors.items(), code, strict=True)}

    def code(self, assignment: Assignment) -> Code | None:
        """The code of an assignment; None for one that this space doesn't have."""
        try:
            return tuple(levels.index(assignment[factor]) for factor, levels in self.factors.items())
        except (KeyError, ValueError):
            return None

    def networks(self, codes: Iterable[Code]) -> Networks:
        """The networks of these codes, allowed or not, in order."""
        codes = list(codes)
        new = [code for code in dict.fromkeys(codes) if code not in self._known]
        if new:
            known = self._describe([self.assignment(code) for code in new])
            costs = zip(known.latency_ms, known.params, known.macs, strict=True)
            self._known |= {
                code: (str(key), bool(allowed) and min(cost) > 0, tuple(float(c) if c > 0 else math.nan for c in cost))
                for code, key, allowed, cost in zip(new, known.keys, known.allowed, costs, strict=True)
            }
        rows = [self._known[code] for code in codes]
        return Networks(
            codes=np.array(codes, dtype=np.int64).reshape(len(codes), len(self.factors)),
            keys=np.array([key for key, _, _ in rows], dtype=np.str_),
            allowed=np.array([allowed for _, allowed, _ in rows], dtype=bool),
            costs=np.log(np.array([cost for _, _, cost in rows], dtype=np.float64).reshape(len(rows), 3)),
        )

    @property
    def is_whole(self) -> bool:
        """Whether the base holds every allowed network of the space."""
        return math.prod(self.sizes) <= self._most

    @cached_property
    def base(self) -> Networks:
        """The allowed networks of the whole space or of the sample, each once."""
        if self.is_whole:
            return self._some(self._only_allowed(itertools.product(*map(range, self.sizes))))
        rng, networks = np.random.default_rng(self._seed), self.networks([])
        for _ in range(DRAWS_PER_NETWORK):
            drawn = rng.integers(0, self.sizes, (self._most, len(self.sizes)))
            networks = networks.joined(self._only_allowed(map(tuple, drawn.tolist())))
            if len(networks) >= self._sample:
                break
        return self._some(networks.take(np.arange(min(len(networks), self._sample))))

    def neighbours(self, codes: Iterable[Code]) -> Networks:
        """The allowed networks that differ from one of these in the level of one factor."""
        moved = {
            (*code[:f], level, *code[f + 1 :]): None
            for code in codes
            for f, size in enumerate(self.sizes)
            for level in range(size)
            if level != code[f]
        }
        return self._only_allowed(moved)

    def _only_allowed(self, codes: Iterable[Code]) -> Networks:
        networks = self.networks(codes)
        return networks.take(networks.allowed).joined(self.networks([]))

    def _some(self, networks: Networks) -> Networks:
        if not len(networks):
            raise InputError(f"No network of the space is allowed: all of {len(self._known):,} break a limit or cannot be built.")
        return networks
