"""What a sampler sees of a study: a copy of its trials in memory, on which it is asked for the next proposal.

Optuna's samplers take for their search space what all trials have in common, and fail or give up on a trial that lacks a parameter.
A search has such trials: a reference outside of its space. And it knows more than its trials hold: networks of earlier studies, and
how a training that was stopped would probably have ended. Here both are trials like the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from ablation.search.samplers import REPEATED
from studies.store.history import REFUSED
from studies.store.levels import Level

LARGE = ("record", "traceback", "spec")  # user attributes that samplers have no use for
PROJECTED = "projected"  # user attribute of a trial whose values are no measurement


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A sampler's proposal, and what the sampler keeps with its trial (NSGA-II its generation)."""

    params: Mapping[str, Level]
    system_attrs: Mapping[str, Any]


def ask_on_mirror(
    sampler: BaseSampler, trials: Iterable[FrozenTrial], directions: Iterable[Any], distributions: Mapping[str, BaseDistribution]
) -> Asked:
    """Ask a sampler for levels of all factors, given these trials; those that lack a factor are left out."""
    mirror = optuna.create_study(storage=None, sampler=sampler, directions=list(directions))
    mirror.add_trials([seen for trial in trials if (seen := _seen(trial, distributions)) is not None])
    asked = mirror.ask(dict(distributions))
    kept = mirror.get_trials(deepcopy=False)[-1].system_attrs
    return Asked(params=asked.params, system_attrs=dict(kept))


def _seen(trial: FrozenTrial, distributions: Mapping[str, BaseDistribution]) -> FrozenTrial | None:
    """A copy of a trial without what is large. A waiting one, which `ask` would give out again, counts as running.

    What was refused because the study holds its network already breaks the constraint REPEATED.
    """
    if not distributions.keys() <= trial.params.keys():
        return None
    state, attrs = trial.state, {name: value for name, value in trial.system_attrs.items() if name != "fixed_params"}
    seen = create_trial(
        state=TrialState.RUNNING if state == TrialState.WAITING else state,
        values=trial.values,
        params={name: trial.params[name] for name in distributions},
        distributions=dict(distributions),
        user_attrs={name: value for name, value in trial.user_attrs.items() if name not in LARGE},
        system_attrs=attrs,
    )
    if trial.user_attrs.get("reason_kind") == REFUSED:
        seen.state = TrialState.PRUNED  # from trials that failed samplers of Optuna learn nothing
        seen.set_constraint(REPEATED, 1.0)
    return seen


def with_values(trial: FrozenTrial, values: Iterable[float]) -> FrozenTrial:
    """A finished trial as if it had come to these values; marked as `projected`."""
    return create_trial(
        state=TrialState.COMPLETE,
        values=list(values),
        params=trial.params,
        distributions=trial.distributions,
        user_attrs={**trial.user_attrs, PROJECTED: True},
        system_attrs=trial.system_attrs,
    )


def observation(
    params: Mapping[str, Level], distributions: Mapping[str, BaseDistribution], values: Iterable[float], attrs: Mapping[str, Any]
) -> FrozenTrial:
    """A network of another study as a complete trial."""
    return create_trial(
        state=TrialState.COMPLETE,
        params=dict(params),
        distributions=dict(distributions),
        values=list(values),
        user_attrs=dict(attrs),
    )
