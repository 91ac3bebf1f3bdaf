"""From the values of the cells to an `Attribution`: counted ones exactly, measured ones with intervals and verdicts. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import fsum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablation.attribute.lattice import Cell, Contrast, Lattice, matrix
from ablation.attribute.verdicts import CORRECTED, judged
from ablation.record.attribution import Attribution, Effect
from ablation.stats import Estimate, mean_estimate
from blocks.errors import InputError, must_be

Contrasts = dict[str, dict[str, Contrast]]


def attribute(
    names: Sequence[str],
    values: Mapping[Cell, Any],
    *,
    metric: str,
    place: str = "",
    unit: str = "",
    noise: float = 0.0,
    of: str = "seeds",
) -> Attribution:
    """Attribute v(all swaps) - v(none) to the factors. Cells that are missing are taken as impossible.

    `values`: cell -> one number where it is counted (effects are exact, integers without any rounding), or an array with one number
    for each repetition, the same for all cells, where it is measured: effects are means over repetitions, with Student's t
    intervals of each repetition's effect; of one repetition without. `of`: what the repetitions are. `noise`: half-width of the
    noise floor (A/A), in the same unit. InputError where an end is missing, no path of cells joins them, or the numbers of
    repetitions differ.

    >>> values = {frozenset(): 10, frozenset("a"): 15, frozenset("b"): 12, frozenset("ab"): 21}
    >>> {name: effect.value for name, effect in attribute("ab", values, metric="params").shapley.items()}
    {'a': 7.0, 'b': 4.0}
    """
    lattice = lattice_of(names, values)
    contrasts = contrasts_of(lattice)
    counted = all(np.ndim(value) == 0 for value in values.values())
    if counted:
        centres, groups = _counted(values, contrasts)
    else:
        centres, groups = _measured(values, contrasts, noise, of)
    start, end = centres[frozenset()], centres[frozenset(names)]
    return Attribution(
        metric=metric, place=place, unit=unit, start=float(start), end=float(end), **groups,
        path=lattice.greedy(centres), residual=_residual(start, end, lattice, centres, groups["shapley"]),
        num_variants=len(values), num_possible=2 ** len(names), corrected="" if counted else CORRECTED,
    )  # fmt: skip


def contrasts_of(lattice: Lattice) -> Contrasts:
    """Everything that is said of a quantity, by group."""
    return {
        "shapley": lattice.shapley(), "from_start": lattice.from_start(),
        "from_end": lattice.from_end(), "interactions": lattice.interactions(),
    }  # fmt: skip


def lattice_of(names: Sequence[str], values: Mapping[Cell, Any]) -> Lattice:
    """The lattice of the cells that have a value; InputError unless a path joins the two ends."""
    for end, whose in ((frozenset[str](), "first"), (frozenset(names), "second")):
        if end not in values:
            raise InputError(f"The {whose} network must have a value, for its difference is what is attributed. It has none.")
    lattice = Lattice(names, values)
    if not lattice.num_paths:
        rule = "joined by a path of variants that have a value, one swap at a time"
        raise must_be("The two networks", rule, f"values for {len(values)} of {2 ** len(names)} combinations")
    return lattice


def _counted(values: Mapping[Cell, Any], contrasts: Contrasts) -> tuple[dict[Cell, Any], dict[str, Any]]:
    # fractions hold every integer and every float without rounding
    exact = {cell: Fraction(value) for cell, value in values.items()}
    whole = exact[max(exact, key=len)] - exact[frozenset()]
    groups: dict[str, dict[str, Effect]] = {}
    for group, members in contrasts.items():
        exactly = {name: contrast.exact(exact) for name, contrast in members.items()}
        groups[group] = {name: Effect(value=float(v), share=float(v / whole) if whole else None) for name, v in exactly.items()}
    return exact, groups


def _measured(values: Mapping[Cell, Any], contrasts: Contrasts, noise: float, of: str) -> tuple[dict[Cell, Any], dict[str, Any]]:
    cells = list(values)
    shapes = {np.shape(value) for value in values.values()}
    if len(shapes) > 1 or len(next(iter(shapes))) != 1 or not next(iter(shapes))[0]:
        raise must_be("values", "one number for each repetition, as many in every cell", sorted(shapes))
    table = np.array([values[cell] for cell in cells], dtype=np.float64)  # cells x repetitions
    if not np.isfinite(table).all():
        raise must_be("values", "finite", "NaN or infinity", "Leave out the cells that have no value.")
    centres = {cell: float(middle) for cell, middle in zip(cells, table.mean(axis=1), strict=True)}
    whole = centres[max(cells, key=len)] - centres[frozenset()]
    estimates = {group: estimated(members, cells, table) for group, members in contrasts.items()}
    return centres, judged(estimates, whole, noise, dict.fromkeys(contrasts, of))


def estimated(contrasts: Mapping[str, Contrast], cells: Sequence[Cell], table: NDArray[np.float64]) -> dict[str, Estimate]:
    """Contrasts of cells x repetitions, each from its value in every repetition."""
    rows = matrix(list(contrasts.values()), cells) @ table
    return {name: mean_estimate(row) for name, row in zip(contrasts, rows, strict=True)}


def _residual(start: Any, end: Any, lattice: Lattice, centres: Mapping[Cell, Any], shapley: Mapping[str, Effect]) -> float:
    if isinstance(start, Fraction):  # of the exact shares, not of their rounding to floats
        return float(end - start - sum(contrast.exact(centres) for contrast in lattice.shapley().values()))
    return end - start - fsum(effect.value for effect in shapley.values())
