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
        known = {**trial.distributions, **known}
    return known


def extend(
    known: Mapping[str, BaseDistribution], jobs: Iterable[Mapping[str, Level]], choices: Mapping[str, Sequence[Level]]
) -> dict[str, BaseDistribution]:
    """Distributions for all jobs' levels: those known (numbers with a range as wide as needed), and new ones for new factors."""
    levels: dict[str, list[Level]] = {}
    for params in jobs:
        for name, level in params.items():
            levels.setdefault(name, list(choices.get(name, ()))).append(level)
    wanted = {name: _covering(values, known.get(name)) for name, values in levels.items()}
    return {**known, **{name: wanted[name] for name in wanted if name not in known or _may_replace(known[name], wanted[name])}}


def declarable(params: Mapping[str, Level], distributions: Mapping[str, BaseDistribution]) -> dict[str, Level]:
    """The levels that fit the study's distributions."""
    return {name: level for name, level in params.items() if name in distributions and _contains(distributions[name], level)}


def _may_replace(old: BaseDistribution, new: BaseDistribution) -> bool:
    try:
        check_distribution_compatibility(old, new)
    except ValueError:
        return False
    return True


def _covering(levels: Sequence[Level], known: BaseDistribution | None) -> BaseDistribution:
    """A distribution that has these levels, as far as the known one can grow: a number's range, for numbers of its kind."""
    numbers = [level for level in levels if isinstance(level, int | float) and not isinstance(level, bool)]
    integers = [number for number in numbers if isinstance(number, int)]
    if known is None and len(numbers) < len(levels):
        return CategoricalDistribution(list(dict.fromkeys(levels)))  # True == 1 for Optuna too: the first of them is the choice
    if isinstance(known, IntDistribution) or (known is None and len(integers) == len(levels)):
        whole = [*integers, *([known.low, known.high] if known else [])]
        return IntDistribution(min(whole), max(whole))
    if isinstance(known, FloatDistribution) or known is None:
        numbers += [known.low, known.high] if known else []
        return FloatDistribution(min(numbers), max(numbers))
    return known


def _contains(distribution: BaseDistribution, level: Level) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return any(type(choice) is type(level) and choice == level for choice in distribution.choices)
    kinds = (int,) if isinstance(distribution, IntDistribution) else (int, float)
    return type(level) in kinds and bool(distribution._contains(float(level)))
