"""A job's levels as Optuna parameters, so that the dashboard shows them, in a way that survives an axis that grows.

Optuna fixes the choices of a categorical parameter for the life of a study, but lets the range of a number grow. So a categorical
parameter is declared with all names known at the first plan (pass every registered piece), and a level that comes later and is not
among them stays out of the parameters: it is then a user attribute `level: <factor>`, and the trial runs all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
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
    return {**known, **{name: _covering(values, known.get(name)) for name, values in levels.items()}}


def declarable(params: Mapping[str, Level], distributions: Mapping[str, BaseDistribution]) -> dict[str, Level]:
    """The levels that fit the study's distributions."""
    return {name: level for name, level in params.items() if name in distributions and _contains(distributions[name], level)}


def _covering(levels: Sequence[Level], known: BaseDistribution | None) -> BaseDistribution:
    """A distribution that has these levels, as far as the known one can grow: a number's range, for numbers of its kind."""
    numbers = [level for level in levels if _is_number(level)]
    if isinstance(known, IntDistribution | FloatDistribution):
        kind, ends = type(known), [known.low, known.high]
        if known.log or known.step not in (1, None):
            return known
    elif known is not None:
        return known
    elif len(numbers) < len(levels):
        return CategoricalDistribution(list(dict.fromkeys(levels)))  # True == 1 for Optuna too: the first of them is the choice
    else:
        kind, ends = (IntDistribution if all(isinstance(n, int) for n in numbers) else FloatDistribution), []
    ends += [number for number in numbers if kind is FloatDistribution or isinstance(number, int)]
    return kind(min(ends), max(ends))


def _is_number(level: Level) -> bool:
    return isinstance(level, int | float) and not isinstance(level, bool)


def _contains(distribution: BaseDistribution, level: Level) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return any(type(choice) is type(level) and choice == level for choice in distribution.choices)
    if not _is_number(level) or (isinstance(distribution, IntDistribution) and not isinstance(level, int)):
        return False
    return bool(distribution._contains(float(level)))
