"""Our sampler: what it may propose, what it learns from, and that the same trials and seed give the same proposal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from ablation.search.free import FreeSampler
from ablation.search.pool import Assignment, Described, Pool
from ablation.search.surrogate import Surrogate, encoded
from blocks.errors import InputError

FACTORS = {"conv": ["a", "b", "c"], "width": [1, 2, 4, 8], "depth": [1, 2, 3]}
SPACE: dict[str, BaseDistribution] = {name: CategoricalDistribution(levels) for name, levels in FACTORS.items()}


def describe(assignments: Sequence[Assignment]) -> Described:
    """Width and depth make parameters, conv latency; c with depth 3 cannot be built, and 24 units of parameters are too many."""
    params = [100.0 * int(a["width"]) * int(a["depth"]) for a in assignments]
    latency = [p * (1 + "abc".index(str(a["conv"]))) for p, a in zip(params, assignments, strict=True)]
    allowed = [p < 2400 and (a["conv"], a["depth"]) != ("c", 3) for p, a in zip(params, assignments, strict=True)]
    return Described(
        keys=[str(list(a.values())) for a in assignments], allowed=allowed, params=params, macs=params, latency_ms=latency
    )


def values(assignment: Assignment) -> list[float]:
    known = describe([assignment])
    loss = 1.0 - 0.1 * np.log(known.params[0]) + 0.2 * (assignment["conv"] == "b")
    return [float(loss), known.latency_ms[0], known.params[0]]


def a_study(num: int, **settings: Any) -> tuple[optuna.Study, list[dict[str, Any]]]:
    study = optuna.create_study(directions=["minimize"] * 3, sampler=FreeSampler(Pool(FACTORS, describe), **settings))
    proposed = []
    for _ in range(num):
        trial = study.ask(SPACE)
        proposed.append(trial.params)
        study.tell(trial, values(trial.params))
    return study, proposed


def completed(params: Assignment, results: Sequence[float], state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    complete = state == TrialState.COMPLETE
    return create_trial(state=state, params=dict(params), distributions=SPACE, values=list(results) if complete else None)


def test_every_allowed_network_once_and_none_else() -> None:
    num_allowed = 11 + 11 + 8  # of a, b and c: 12 each, less width 8 with depth 3, and c with depth 3
    allowed = Pool(FACTORS, describe).base
    _, proposed = a_study(len(allowed))
    assert len({str(p) for p in proposed}) == len(allowed) == num_allowed
    assert all(describe([p]).allowed[0] for p in proposed)


def test_the_same_trials_and_seed_give_the_same_proposal_in_a_new_sampler() -> None:
    study, proposed = a_study(14, seed=3)
    assert proposed == a_study(14, seed=3)[1]
    assert proposed[:3] != a_study(3, seed=4)[1]
    again = optuna.create_study(directions=["minimize"] * 3, sampler=FreeSampler(Pool(FACTORS, describe), seed=3))
    again.add_trials(study.trials)
    assert again.ask(SPACE).params == study.ask(SPACE).params


def test_what_a_study_maximises_is_proposed_as_its_negative_would_be_minimised() -> None:
    _, proposed = a_study(14, seed=3)
    sampler = FreeSampler(Pool(FACTORS, describe), seed=3)
    highest = optuna.create_study(directions=["maximize", "minimize", "minimize"], sampler=sampler)
    for params in proposed:
        trial = highest.ask(SPACE)
        assert trial.params == params
        loss, *costs = values(params)
        highest.tell(trial, [-loss, *costs])


def test_several_workers_get_different_networks_and_running_ones_count() -> None:
    study, proposed = a_study(10)
    running = [study.ask(SPACE).params for _ in range(5)]
    assert len({str(p) for p in [*proposed, *running]}) == 15


def test_failed_pruned_and_earlier_trials_are_not_proposed_again() -> None:
    pool = Pool(FACTORS, describe)
    study = optuna.create_study(directions=["minimize"] * 3, sampler=FreeSampler(pool, num_initial=4))
    every = [pool.assignment(code) for code in pool.base.codes]
    states = [TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED]
    for n, assignment in enumerate(every[:-1]):
        study.add_trial(completed(assignment, values(assignment), states[n % 3]))
    study.add_trial(completed({"conv": "c", "width": 8, "depth": 3}, [0.1, 1.0, 1.0]))  # outside of the limits
    study.add_trial(create_trial(state=TrialState.COMPLETE, values=[0.5, 1, 1]))  # a reference outside of the space
    assert study.ask(SPACE).params == every[-1]
    assert study.ask(SPACE).params.keys() == SPACE.keys()  # nothing is left: at random


def test_it_learns_which_level_is_worse() -> None:
    """b is worse by far and no cheaper than a: after the initial design it is left for last."""
    _, proposed = a_study(24, num_initial=6)
    before = [p["conv"] for p in proposed[6:18]]
    assert before.count("b") <= 2


def test_enqueued_trials_keep_their_levels() -> None:
    study, _ = a_study(2)
    study.enqueue_trial({"conv": "c", "width": 8, "depth": 3})
    assert study.ask(SPACE).params == {"conv": "c", "width": 8, "depth": 3}


def test_a_diverged_loss_and_losses_of_stopped_trials() -> None:
    def loss_of(trial: FrozenTrial) -> float | None:
        return trial.values[0] if trial.values else trial.user_attrs.get("projected")

    study, _ = a_study(8, loss_of=loss_of)
    pool = Pool(FACTORS, describe)
    rest = [pool.assignment(code) for code in pool.base.codes if pool.assignment(code) not in [t.params for t in study.trials]]
    study.add_trial(completed(rest[0], [float("inf"), 1.0, 1.0]))
    stopped = completed(rest[1], [], TrialState.PRUNED)
    stopped.set_user_attr("projected", 0.2)
    study.add_trial(stopped)
    assert describe([study.ask(SPACE).params]).allowed[0]


def test_a_reference_bounds_what_is_worth_training() -> None:
    """Only gains below the reference count: 300 parameters and 300 ms leave a alone up to there, and b up to half."""
    study, proposed = a_study(10, num_initial=4, reference=(2.0, 310.0, 310.0))
    costs = describe(proposed[4:8])
    assert max(costs.latency_ms) <= 300
    assert study.trials


def test_wrong_settings() -> None:
    with pytest.raises(InputError, match="num_initial"):
        FreeSampler(Pool(FACTORS, describe), num_initial=0)


@pytest.mark.parametrize("linear", [True, False])
def test_the_surrogate_recovers_an_additive_loss_and_doubts_what_it_has_not_seen(linear: bool) -> None:
    rng = np.random.default_rng(0)
    codes = np.array(np.meshgrid(*map(range, (3, 3, 3, 3)))).reshape(4, -1).T
    true = rng.normal(0, 1, (4, 3))[np.arange(4), codes].sum(axis=1)
    features = encoded(codes, (3, 3, 3, 3))
    order = rng.permutation(81)
    seen, rest = order[:40], order[40:]
    surrogate = Surrogate(linear=linear, refit_every=10)
    mean, sd = surrogate.posterior(features[seen], true[seen] + rng.normal(0, 0.05, 40), features)
    assert np.abs(mean[rest] - true[rest]).mean() < 0.35 * true.std()
    assert sd[rest].mean() > sd[seen].mean()
    constant = surrogate.posterior(features[:2], np.array([1.0, 1.0]), features[:5])
    assert constant[0] == pytest.approx(np.ones(5))
