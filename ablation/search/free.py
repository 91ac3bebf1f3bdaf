"""Proposals by expected hypervolume gain with free objectives: parameters exact, latency predicted, only the loss uncertain.

A Gaussian process is fitted to the losses alone, and of all networks that may be proposed the one is taken whose training is
expected to raise the hypervolume of the front the most (`ablation.search.hypervolume.expected_gain`). A sampler of Optuna.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ablation.search.hypervolume import expected_gain
from ablation.search.pool import Networks, Pool
from ablation.search.surrogate import Surrogate, Values, encoded
from ablation.stats import pareto_front
from blocks.errors import check_whole

MOST_SPREAD = 1000  # candidates among which the next one of the initial design is chosen
FENCE = 3.0  # losses further above the upper quartile than so many interquartile ranges (Tukey 1977) count as on this fence


def first_value(trial: FrozenTrial) -> float | None:
    """The loss of a complete trial: its first objective."""
    return trial.values[0] if trial.state == TrialState.COMPLETE and trial.values else None


class FreeSampler(BaseSampler):
    """Proposes the network of the pool with the largest expected hypervolume gain, and none that the study holds already.

    Candidates: the pool's networks and, where the pool is a sample, all that differ from one of the front in one factor. The first
    `num_initial` losses, earlier ones of the study included, come from networks as far from one another as possible. Latency and
    parameters count by their logarithms: to halve them is worth the same everywhere. The front is that of the posterior means, so
    that a lucky seed doesn't hide better networks; running trials are in it with their posterior mean, and reduce the uncertainty
    near them (Ginsbourger et al. 2010, kriging believer). The same trials and seed give the same proposal, in any process. Draws
    all factors at random where every network of the pool was proposed.

    `loss_of`: the loss to learn from of a trial, or what is to be high where the study maximises its first objective; None where
    there is none; with it, trials that were stopped early can count.
    `reference`: (loss, latency in ms, parameters), the corner of the volume; by default a little beyond all that was seen.
    `with_costs`, `linear`: see `ablation.search.surrogate`. Only categorical factors, which are those of the pool.

    >>> import optuna
    >>> from ablation.search.pool import Described
    >>> def describe(assignments):
    ...     wide = [float(a["width"]) for a in assignments]
    ...     return Described(keys=[str(w) for w in wide], allowed=[True] * len(wide), params=wide, macs=wide, latency_ms=wide)
    >>> sampler = FreeSampler(Pool({"width": [8, 16, 32]}, describe))
    >>> study = optuna.create_study(directions=["minimize"] * 3, sampler=sampler)
    >>> trials = [study.ask({"width": optuna.distributions.CategoricalDistribution([8, 16, 32])}) for _ in range(3)]
    >>> sorted(trial.params["width"] for trial in trials)
    [8, 16, 32]
    """

    def __init__(
        self,
        pool: Pool,
        *,
        seed: int = 0,
        num_initial: int = 8,
        refit_every: int = 1,
        linear: bool = True,
        with_costs: bool = True,
        loss_of: Callable[[FrozenTrial], float | None] = first_value,
        reference: Sequence[float] | None = None,
    ) -> None:
        check_whole("num_initial", num_initial)
        check_whole("refit_every", refit_every)
        self._pool, self._seed, self._num_initial = pool, seed, num_initial
        self._space: dict[str, BaseDistribution] = {f: CategoricalDistribution(levels) for f, levels in pool.factors.items()}
        self._surrogate = Surrogate(linear=linear, refit_every=refit_every)
        self._with_costs, self._loss_of, self._reference = with_costs, loss_of, reference
        self._draws = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All factors at once; none for a trial that was enqueued with its levels."""
        return {} if "fixed_params" in trial.system_attrs else self._space

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        """The levels of the network that is proposed."""
        if not search_space:
            return {}
        history = self._history(study, trial)
        front = history.seen[pareto_front(history.points())]
        near = [tuple(history.networks.codes[row].tolist()) for row in front]
        pool = self._pool.base if self._pool.is_whole else self._pool.base.joined(self._pool.neighbours(near))
        candidates = pool.take(~np.isin(pool.keys, history.networks.keys))
        if not len(candidates):
            return {}
        enough = len(history.seen) >= self._num_initial
        best = self._best(candidates, history) if enough else self._farthest(candidates, history.networks, trial.number)
        return self._pool.assignment(candidates.codes[best])

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> Any:
        """A level at random, of a factor that the pool doesn't have or when nothing is left to propose."""
        return self._draws.sample_independent(study, trial, param_name, param_distribution)

    def _history(self, study: Study, trial: FrozenTrial) -> _History:
        others = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
        held = [(other, code) for other in others if (code := self._pool.code(other.params)) is not None]
        networks = self._pool.networks([code for _, code in held])
        sign = -1.0 if study.directions[0] == StudyDirection.MAXIMIZE else 1.0
        losses = [None if (loss := self._loss_of(other)) is None else sign * loss for other, _ in held]
        known = networks.known
        seen = [row for row, loss in enumerate(losses) if loss is not None and not np.isnan(loss) and known[row]]
        running = [row for row, (other, _) in enumerate(held) if other.state == TrialState.RUNNING and row not in seen]
        return _History(
            networks=networks,
            seen=np.array(seen, dtype=np.int64),
            losses=_fenced(np.array([losses[row] for row in seen], dtype=np.float64)),
            running=np.array([row for row in running if known[row]], dtype=np.int64),
        )

    def _farthest(self, candidates: Networks, held: Networks, number: int) -> int:
        """The candidate whose nearest network of the study is the farthest away; the first at random."""
        some = np.random.default_rng([self._seed, number]).permutation(len(candidates))[:MOST_SPREAD]
        held = held.take(held.known)
        if not len(held):
            return int(some[0])
        features = self._features(candidates.take(some), held)
        distances = ((features[: len(some), None] - features[None, len(some) :]) ** 2).sum(axis=2)
        return int(some[np.argmax(distances.min(axis=1))])

    def _best(self, candidates: Networks, history: _History) -> int:
        """The candidate with the largest expected gain."""
        num, num_seen = len(candidates), len(history.seen)
        held = history.networks.take(np.concatenate([history.seen, history.running]))
        features = self._features(candidates, held)
        mean, sd = self._surrogate.posterior(features[num : num + num_seen], history.losses, features)
        if len(history.running):
            believed = np.concatenate([history.losses, mean[num + num_seen :]])
            mean, sd = self._surrogate.posterior(features[num:], believed, features)
        costs = np.concatenate([candidates.costs, held.costs])[:, :2]
        front = np.column_stack([mean[num:], costs[num:]])[held.allowed]
        corner = self._corner(history.losses, costs) if self._reference is None else _logarithms(self._reference)
        return int(np.argmax(expected_gain(mean[:num], sd[:num], costs[:num], front, corner)))

    def _corner(self, losses: Values, costs: Values) -> Values:
        """A tenth of the range beyond the worst loss, a hundredth beyond the largest costs."""
        beyond = np.array([losses.max() + 0.1 * np.ptp(losses), *(costs.max(axis=0) + 0.01 * np.ptp(costs, axis=0))])
        return beyond + 1e-9

    def _features(self, *parts: Networks) -> Values:
        codes, costs = (np.concatenate([getattr(part, name) for part in parts]) for name in ("codes", "costs"))
        return encoded(codes, self._pool.sizes, costs if self._with_costs else None)


@dataclass(frozen=True, kw_only=True)
class _History:
    """What the study holds: networks, which of them have a loss, and which run."""

    networks: Networks
    seen: NDArray[np.int64]
    losses: Values  # of those seen
    running: NDArray[np.int64]

    def points(self) -> Values:
        return np.column_stack([self.losses, self.networks.costs[self.seen, :2]])


def _fenced(losses: Values) -> Values:
    """Losses with those of diverged networks on the fence: how bad they are says nothing of the others."""
    finite = losses[np.isfinite(losses)]
    if not len(finite):
        return np.zeros(len(losses))
    low, high = np.quantile(finite, [0.25, 0.75])
    return np.minimum(losses, high + FENCE * (high - low))


def _logarithms(reference: Sequence[float]) -> Values:
    return np.array([reference[0], *np.log(reference[1:])])
