"""A job's levels as Optuna parameters, so that the dashboard shows them, in a way that survives an axis that grows.

Optuna fixes the choices of a categorical parameter for the life of a study, but lets the range of a number grow. So a categorical
parameter is declared with all names known at the first plan (pass every registered piece), and a level that comes later and is not
among them stays out of the parameters: it is then a user attribute `level: <factor>`, and the trial runs all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    check_distribution_compatibility,
)
from optuna.trial import FrozenTrial

Level = str | int | float | bool


def known_distributions(trials: Iterable[FrozenTrial]) -> dict[str, BaseDistribution]:
    """The distribution of each parameter in the first trial that has it: Optuna holds later ones to that."""
    known: dict[str, BaseDistribution] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            known.setdefault(name, distribution)
    return known


def extend(
    known: Mapping[str, BaseDistribution], jobs: Iterable[Mapping[str, Level]], choices: Mapping[str, Sequence[Level]]
) -> dict[str, BaseDistribution]:
    """Distributions for all jobs' levels: those known (numbers with a range as wide as needed), and new ones for new factors."""
    seen: dict[str, list[Level]] = {}
    for params in jobs:
        for name, level in params.items():
            seen.setdefault(name, list(choices.get(name, ()))).append(level)
    result = dict(known)
    for name, levels in seen.items():
        wanted = _grown(known[name], levels) if name in known else _new(levels)
        if name not in known or _compatible(known[name], wanted):
            result[name] = wanted
    return result


def declarable(params: Mapping[str, Level], distributions: Mapping[str, BaseDistribution]) -> dict[str, Level]:
    """The levels that fit the study's distributions."""
    return {name: level for name, level in params.items() if name in distributions and _contains(distributions[name], level)}


def _new(levels: list[Level]) -> BaseDistribution:
    numbers = [level for level in levels if _is_number(level)]
    if len(numbers) < len(levels):
        return CategoricalDistribution(list(dict.fromkeys(levels)))  # True == 1 for Optuna too: the first of them is the choice
    if all(isinstance(number, int) for number in numbers):
        return IntDistribution(int(min(numbers)), int(max(numbers)))
    return FloatDistribution(float(min(numbers)), float(max(numbers)))


def _grown(known: BaseDistribution, levels: list[Level]) -> BaseDistribution:
    """A number's range, made wide enough for the levels of its kind."""
    if isinstance(known, IntDistribution):
        whole = [known.low, known.high, *(int(level) for level in levels if _is_number(level) and isinstance(level, int))]
        return IntDistribution(min(whole), max(whole))
    if isinstance(known, FloatDistribution):
        numbers = [known.low, known.high, *(float(level) for level in levels if _is_number(level))]
        return FloatDistribution(min(numbers), max(numbers))
    return known


def _is_number(level: Level) -> bool:
    return isinstance(level, int | float) and not isinstance(level, bool)


def _compatible(old: BaseDistribution, new: BaseDistribution) -> bool:
    try:
        check_distribution_compatibility(old, new)
    except ValueError:
        return False
    return True


def _contains(distribution: BaseDistribution, level: Level) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return any(type(choice) is type(level) and choice == level for choice in distribution.choices)
    if not _is_number(level) or (isinstance(distribution, IntDistribution) and not isinstance(level, int)):
        return False
    return bool(distribution._contains(float(level)))
