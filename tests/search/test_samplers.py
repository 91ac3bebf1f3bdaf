"""Samplers by name: all of them bring a study to its end, by the same seed the same way, and none repeats itself forever."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from ablation.search.pool import Pool
from ablation.search.samplers import ABOUT, DEFAULT, GP, RANDOM, REPEATED, REPEATS, TPE, Unstuck, make_sampler
from blocks.errors import InputError
from studies.store.queue import Job
from studies.store.source import Proposal, Sampled
from studies.work.loop import run_worker
from tests.search.replay_table import made_up
from tests.storages import a_study, values

TABLE = made_up()
SPACE = {factor: CategoricalDistribution(levels) for factor, levels in TABLE.factors.items()}


def a_pool() -> Pool:
    return Pool(TABLE.factors, TABLE.described(TABLE.frame["latency_ms"].to_numpy()))


@pytest.mark.parametrize("name", ABOUT)
def test_each_drives_a_source_of_trials(name: str, tmp_path: Path) -> None:
    pool = a_pool()
    source = Sampled(
        distributions=SPACE,
        describe=lambda params: Proposal(job=Job(f"n{TABLE.row(params)}", 0, params, {"label": "one"})),
        sampler=lambda num: make_sampler(name, seed=1, num_trials=num, pool=pool),
        num_jobs=12,
        max_proposals=60,
    )
    study = a_study(tmp_path / "study.log")
    assert len(run_worker(study, values, source=source).complete) == 12
    assert len(run_worker(study, values, source=replace(source, num_jobs=14)).complete) == 2


@pytest.mark.parametrize("name", [TPE, RANDOM])
def test_draws_follow_from_seed_and_number_of_trials_and_differ_between_them(name: str) -> None:
    def proposals(seed: int, numbers: range) -> list[str]:
        study = optuna.create_study(directions=["minimize"] * 3)
        drawn = []
        for number in numbers:
            study.sampler = make_sampler(name, seed=seed, num_trials=number)
            drawn.append(str(study.ask(dict(SPACE)).params))
        return drawn

    assert proposals(0, range(6)) == proposals(0, range(6))
    assert proposals(0, range(1, 7)) != proposals(1, range(6))  # a seed of seed + number would make them the same


def test_after_refused_trials_in_a_row_one_is_drawn_at_random() -> None:
    class Stubborn(RandomSampler):
        def infer_relative_search_space(self, study, trial):  # type: ignore[no-untyped-def]
            return SPACE

        def sample_relative(self, study, trial, search_space):  # type: ignore[no-untyped-def]
            return {factor: levels[0] for factor, levels in TABLE.factors.items()}

    first = {factor: levels[0] for factor, levels in TABLE.factors.items()}
    study = optuna.create_study(directions=["minimize"] * 3, sampler=Unstuck(Stubborn(), RandomSampler(seed=0)))
    for n in range(REPEATS):
        trial = study.ask(dict(SPACE))
        assert trial.params == first
        if n % 2:
            study.tell(trial, state=TrialState.FAIL)
        else:
            trial.set_constraint(REPEATED, 1.0)
            study.tell(trial, state=TrialState.PRUNED)
    drawn = study.ask(dict(SPACE))
    assert drawn.params != first
    study.tell(drawn, [1.0, 1.0, 1.0])
    assert study.ask(dict(SPACE)).params == first


def test_wrong_names_and_settings() -> None:
    with pytest.raises(InputError, match=r"sampler must be one of free, tpe, gp, nsga2, random.*Did you mean 'random'"):
        make_sampler("randon", seed=0, num_trials=0)
    with pytest.raises(InputError, match="pool must be given"):
        make_sampler(DEFAULT, seed=0, num_trials=0)
    assert all(len(text) < 130 for text in ABOUT.values())
    assert isinstance(make_sampler(GP, seed=0, num_trials=0, settings={"n_startup_trials": 5}), Unstuck)
