"""Samplers by name: free (ours), and those of Optuna with the settings that the replay benchmark found best. No torch."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from ablation.search.free import FreeSampler
from ablation.search.pool import Pool
from blocks.errors import choices, must_be, near

FREE, TPE, GP, NSGA2, RANDOM = "free", "tpe", "gp", "nsga2", "random"
DEFAULT = FREE  # `bench search` holds it to that
REPEATED = "repeated"  # the constraint that a proposal breaks whose network the study holds already
# sampler -> what it does, and what it cannot take, in one line
ABOUT: Mapping[str, str] = {
    FREE: "expected hypervolume gain over the allowed networks; knows costs and limits beforehand; categorical factors only",
    TPE: "tree of Parzen estimators; learns limits from what broke them; proposes known networks again",
    GP: "Gaussian processes on all objectives; draws conditional factors at random and learns nothing from what broke a limit",
    NSGA2: "evolution of the front; learns from complete trials alone, a generation at a time",
    RANDOM: "every combination of levels alike; learns nothing",
}
# for the rest: the defaults of Optuna
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    TPE: {"multivariate": True},
    GP: {"warn_independent_sampling": False},
    NSGA2: {"population_size": 20},
}
REPEATS = 5  # refused proposals in a row, after which one is drawn at random


def make_sampler(
    name: str, *, seed: int, num_trials: int, pool: Pool | None = None, settings: Mapping[str, Any] | None = None
) -> BaseSampler:
    """The sampler of this name for the next proposal of a study that holds so many trials; InputError for an unknown one.

    Its draws depend on `seed` and `num_trials` alone, so that a study that goes on in another process goes on the same way, and
    differ between all pairs of them. `pool`: the networks that may be proposed; free needs one, and is quicker where it is the
    same object each time. `settings` override those of SETTINGS.

    >>> make_sampler("random", seed=0, num_trials=3)
    <ablation.search.samplers.Unstuck object at ...>
    """
    if name not in ABOUT:
        raise must_be("sampler", choices(ABOUT), name, near(name, list(ABOUT)))
    chosen = {**SETTINGS.get(name, {}), **(settings or {})}
    if name == FREE:
        if pool is None:
            raise must_be("pool", "given to the sampler free", pool)
        return FreeSampler(pool, seed=seed, **chosen)
    own, other = (int(n) for n in np.random.SeedSequence([seed, num_trials]).generate_state(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # else with each proposal
        kinds: Mapping[str, Any] = {TPE: TPESampler, GP: GPSampler, NSGA2: NSGAIISampler, RANDOM: RandomSampler}
        return Unstuck(kinds[name](seed=own, **chosen), RandomSampler(seed=other))


class Unstuck(BaseSampler):
    """A sampler, and a random draw after REPEATS refused trials in a row.

    A proposal that the study holds already is refused. Samplers of Optuna learn nothing from trials that failed, and would propose
    the same network forever: in a table of 648 networks TPE repeated itself 2,300 times in 2,400. From pruned trials with a
    constraint that is broken TPE does learn, so refused ones are best recorded with REPEATED.
    """

    def __init__(self, sampler: BaseSampler, draws: BaseSampler) -> None:
        self._sampler, self._draws = sampler, draws

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Of the sampler whose turn it is."""
        return self._of(study, trial).infer_relative_search_space(study, trial)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        """Levels of several factors at once, by the sampler whose turn it is."""
        return self._of(study, trial).sample_relative(study, trial, search_space)

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> Any:
        """The level of one factor, by the sampler whose turn it is."""
        return self._of(study, trial).sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Passed on."""
        self._of(study, trial).before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Passed on."""
        self._sampler.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """Passed on."""
        self._sampler.reseed_rng()
        self._draws.reseed_rng()

    def _of(self, study: Study, trial: FrozenTrial) -> BaseSampler:
        before = [other for other in study.get_trials(deepcopy=False) if other.number < trial.number][-REPEATS:]
        return self._draws if len(before) == REPEATS and all(map(_is_refused, before)) else self._sampler


def _is_refused(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.FAIL or trial.constraints.get(REPEATED, 0) > 0
