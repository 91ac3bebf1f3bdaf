"""Exact allocation of a difference to the factors that made it, when some combinations of them cannot exist. No torch.

Cells are sets of swapped factors; v maps the cells that exist to values. A path swaps one factor after another, from no swap to
all of them, through cells that exist. The allocation is the average, over all paths alike, of what each factor changes when it is
its turn. Along any one path the changes add up to v(all) - v(none), hence so does the average, exactly. Where every cell exists,
the paths are the k! orderings and this is Shapley's value (Shapley 1953). For games in which only some orderings are admissible it
is the value of Faigle & Kern (1992, "The Shapley value for cooperative games under precedence constraints") and, on maximal chains
of feasible sets, of Bilbao & Edelman (2000, "The Shapley value on convex geometries").

A step from S to S + i is on before(S) x after(S + i) of the paths, so counting paths replaces enumerating them. Counts are
integers: of integer values the allocation is an exact fraction. Everything here is a contrast, i.e. a weighted sum of cells.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Cell = frozenset[str]  # the factors swapped
Ordering = tuple[str, ...]


@dataclass(frozen=True)
class Contrast:
    """Sum of weight x value over cells, divided by `denominator`."""

    weights: Mapping[Cell, int]
    denominator: int = 1

    def exact(self, values: Mapping[Cell, int | Fraction]) -> Fraction:
        """On integers or fractions, without rounding."""
        return Fraction(sum(weight * values[cell] for cell, weight in self.weights.items())) / self.denominator

    def of(self, values: Mapping[Cell, Any]) -> Any:
        """On numbers, or on arrays of one shape."""
        return sum(weight / self.denominator * values[cell] for cell, weight in self.weights.items())


class Lattice:
    """The cells of k factors that exist, and the number of paths through each."""

    def __init__(self, names: Sequence[str], cells: Iterable[Cell]) -> None:
        self.names = tuple(names)
        self.full = 2 ** len(self.names) - 1
        bit = {name: 1 << i for i, name in enumerate(self.names)}
        # bit mask -> cell
        self.cells = {sum(bit[name] for name in cell): cell for cell in cells}
        # paths from no swap to this cell
        self.before = [0] * (self.full + 1)
        # paths from this cell to all swaps
        self.after = [0] * (self.full + 1)
        self._count()
        self.num_paths = self.before[self.full]

    def _count(self) -> None:
        bits = [1 << i for i in range(len(self.names))]
        for mask in sorted(self.cells):
            self.before[mask] = sum(self.before[mask ^ bit] for bit in bits if mask & bit) if mask else 1
        for mask in sorted(self.cells, reverse=True):
            self.after[mask] = sum(self.after[mask | bit] for bit in bits if not mask & bit) if mask != self.full else 1

    def shapley(self) -> dict[str, Contrast]:
        """Each factor's share: the average over all paths of what its swap changes. Needs at least one path."""
        assert self.num_paths, "no path of existing cells"
        return {name: Contrast(self._steps(1 << i), self.num_paths) for i, name in enumerate(self.names)}

    def _steps(self, bit: int) -> dict[Cell, int]:
        weights: dict[Cell, int] = {}
        for mask, cell in self.cells.items():
            paths = 0 if mask & bit else self.before[mask] * self.after[mask | bit]
            if paths:
                weights[cell] = weights.get(cell, 0) - paths
                more = self.cells[mask | bit]
                weights[more] = weights.get(more, 0) + paths
        return weights

    def interactions(self) -> dict[str, Contrast]:
        """'a + b' -> Shapley interaction index (Grabisch & Roubens 1999): what both swaps do beyond what each does.

        The average of v(S+a+b) - v(S+a) - v(S+b) + v(S) over the paths on which a and b are swapped in one step, with all four
        cells existing; pairs without such a path are left out. Where every cell exists the weight of S is s! (k-s-2)! / (k-1)!.
        """
        pairs = {f"{a} + {b}": self._squares(a, b) for a, b in combinations(self.names, 2)}
        return {pair: contrast for pair, contrast in pairs.items() if contrast is not None}

    def _squares(self, a: str, b: str) -> Contrast | None:
        one, two = (1 << self.names.index(name) for name in (a, b))
        weights: dict[Cell, int] = {}
        total = 0
        for mask in self.cells:
            corners = (mask, mask | one, mask | two, mask | one | two)
            paths = 0 if mask & (one | two) else self.before[mask] * self.after[corners[3]]
            if paths and all(corner in self.cells for corner in corners):
                total += paths
                for corner, sign in zip(corners, (1, -1, -1, 1), strict=True):
                    weights[self.cells[corner]] = weights.get(self.cells[corner], 0) + sign * paths
        return Contrast(weights, total) if total else None

    def from_start(self) -> dict[str, Contrast]:
        """What each swap changes when it is the only one; where that cell exists."""
        return self._ends(0)

    def from_end(self) -> dict[str, Contrast]:
        """What each swap changes when it is the last one, i.e. minus what undoing it in the second network would."""
        return self._ends(self.full)

    def _ends(self, end: int) -> dict[str, Contrast]:
        contrasts = {}
        for i, name in enumerate(self.names):
            low, high = end & ~(1 << i), end | 1 << i
            if low in self.cells and high in self.cells:
                contrasts[name] = Contrast({self.cells[high]: 1, self.cells[low]: -1})
        return contrasts

    def greedy(self, values: Mapping[Cell, float]) -> tuple[tuple[str, float], ...]:
        """The measured path that takes the largest step towards the second network's value each time (irace's ablation).

        (factor, value after its swap), from first to second. A step from which the second cannot be reached is not taken.
        """
        direction = 1 if values[self.cells[self.full]] >= values[self.cells[0]] else -1
        mask, path = 0, []
        while mask != self.full:
            steps = [i for i in range(len(self.names)) if not mask >> i & 1 and self.after[mask | 1 << i]]
            best = max(steps, key=lambda i: direction * values[self.cells[mask | 1 << i]])
            mask |= 1 << best
            path.append((self.names[best], float(values[self.cells[mask]])))
        return tuple(path)

    def draw(self, rng: random.Random) -> Ordering:
        """One path, all being equally likely, as the order of its swaps."""
        mask, order = 0, []
        while mask != self.full:
            steps = [i for i in range(len(self.names)) if not mask >> i & 1]
            chosen = rng.choices(steps, [self.after[mask | 1 << i] for i in steps])[0]
            mask |= 1 << chosen
            order.append(self.names[chosen])
        return tuple(order)


def cells_of(ordering: Ordering) -> list[Cell]:
    """The cells that a path goes through, both ends included."""
    return [frozenset(ordering[:length]) for length in range(len(ordering) + 1)]


def along(ordering: Ordering, values: Mapping[Cell, Any]) -> dict[str, Any]:
    """What each factor changes on one path."""
    cells = cells_of(ordering)
    return {name: values[cells[i + 1]] - values[cells[i]] for i, name in enumerate(ordering)}


def matrix(contrasts: Sequence[Contrast], cells: Sequence[Cell]) -> NDArray[np.float64]:
    """Contrasts x cells: multiply by the values of the cells."""
    place = {cell: i for i, cell in enumerate(cells)}
    table = np.zeros((len(contrasts), len(cells)))
    for row, contrast in zip(table, contrasts, strict=True):
        for cell, weight in contrast.weights.items():
            row[place[cell]] = weight / contrast.denominator
    return table
