"""Studies whose networks a sampler proposes from a space, within limits that are checked before anything is timed or trained."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler

from ablation.design.space import Space
from ablation.design.variant import Variant
from ablation.machine.text import first_line
from ablation.measure.costs.static import static_cost
from blocks.errors import InputError, check_whole, must_be
from studies.engine.config import StudyConfig
from studies.store.levels import Level
from studies.store.queue import Job
from studies.store.source import Enumerated, Proposal, Sampled, TrialSource

LATENCY_MS = "latency_ms"
COSTS = ("params", "macs", "elements_written", "bytes_moved", "num_ops")


@dataclass(frozen=True, kw_only=True)
class Search:
    """How networks are proposed. Plain JSON values, stored with the study as `StudyConfig.search`."""

    num_trials: int  # networks that are trained
    sampler: str = "TPESampler"  # a class of optuna.samplers
    settings: Mapping[str, Any] = field(default_factory=dict)  # its arguments
    seed: int = 0
    # one of COSTS, or the latency at the first batch size in milliseconds -> the largest value of a network that is trained
    limits: Mapping[str, float] = field(default_factory=dict)
    proposals_per_trial: int = 20  # at most, on average, those refused included

    def __post_init__(self) -> None:
        check_whole("num_trials", self.num_trials)
        check_whole("proposals_per_trial", self.proposals_per_trial)
        for name, limit in self.limits.items():
            if name not in (*COSTS, LATENCY_MS):
                raise must_be("A limit of a search", "on one of " + ", ".join([*COSTS, LATENCY_MS]), name)
            if not 0 < limit < float("inf"):
                raise must_be(f"The limit on {name}", "a positive number", limit)
        kind = getattr(optuna.samplers, self.sampler, None)
        if not (isinstance(kind, type) and issubclass(kind, BaseSampler)) or kind is BaseSampler:
            raise must_be("sampler", "a sampler of Optuna, e.g. TPESampler or RandomSampler", self.sampler)

    def make_sampler(self, num_trials: int) -> BaseSampler:
        """The sampler for the next proposal of a study with so many trials."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # else with each proposal
            sampler: BaseSampler = getattr(optuna.samplers, self.sampler)(seed=self.seed + num_trials, **self.settings)
        return sampler

    def constraints(self, values: Mapping[str, Any]) -> dict[str, float]:
        """Limit -> by which part of it a network is over (positive) or under, for the limits of which there are values."""
        return {name: values[name] / limit - 1 for name, limit in self.limits.items() if name in values}


def broken_limits(search: Search, values: Mapping[str, Any]) -> str:
    """Which limits a network breaks, as one reason; empty where it breaks none."""
    over = [name for name, excess in search.constraints(values).items() if excess > 0]
    return "; ".join(f"{name} {values[name]:.6g} is over the limit {search.limits[name]:.6g}" for name in over)


def source_of(config: StudyConfig) -> TrialSource:
    """Where the trials of a study come from: the queue that its plan filled, or the sampler of its search."""
    if not config.search:
        return Enumerated(limits=config.limits)
    search, space = Search(**config.search), Space.from_dict(config.space, config.training_protocol())
    return Sampled(
        distributions={factor: CategoricalDistribution(list(levels)) for factor, levels in space.factors.items()},
        describe=lambda params: describe(space, search, params),
        sampler=search.make_sampler,
        num_jobs=search.num_trials,
        max_proposals=search.num_trials * search.proposals_per_trial,
        limits=config.limits,
    )


def describe(space: Space, search: Search, params: Mapping[str, Level]) -> Proposal:
    """The network that levels of a space's factors make, held to the search's limits by its static costs."""
    factors = {factor: str(level) for factor, level in params.items()}
    try:
        variant = space.described(space.variant(factors), [factors])
    except InputError as error:
        return Proposal(job=None, constraints={"exists": 1.0}, reason=str(error))
    job = Job(variant.key, 0, factors, variant_attrs(variant))
    try:
        costs = static_cost(variant.spec).to_dict()
    except Exception as error:  # whatever a user's own piece raises
        return Proposal(job=job, constraints={"exists": 1.0}, reason=f"{type(error).__name__}: {first_line(error, '')}")
    return Proposal(job=job, constraints=search.constraints(costs), reason=broken_limits(search, costs))


def variant_attrs(variant: Variant) -> dict[str, Any]:
    """What a job says of its variant, as user attributes of its trials."""
    attrs = {"label": variant.label, "spec": variant.spec.to_dict(), "intents": [dict(i) for i in variant.intents]}
    attrs["factors"] = dict(variant.intents[0])
    return {**attrs, **({"protocol": dict(variant.changes)} if variant.changes else {})}
