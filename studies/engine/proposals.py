"""Studies whose networks a sampler proposes from a space, within limits that are checked before anything is timed or trained."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from filelock import FileLock
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from ablation.design.network import AnySpec
from ablation.design.space import Space
from ablation.design.variant import Variant
from ablation.machine.files import write_atomic
from ablation.machine.text import first_line
from ablation.search.costs import shared_costs
from ablation.search.limits import LATENCY_MS, with_ratios
from ablation.search.pool import Described, Pool
from ablation.search.samplers import ABOUT, FREE
from ablation.search.samplers import make_sampler as named_sampler
from blocks.errors import InputError, must_be
from studies.engine.config import StudyConfig
from studies.engine.search.observations import distributions_of, observations
from studies.engine.search.predicted import Predict, lowest_values, models_digest, predictor
from studies.engine.search.rungs import with_projections
from studies.engine.search.settings import Search as Search
from studies.engine.search.settings import reference_spec, search_of
from studies.store.levels import Level
from studies.store.queue import Job
from studies.store.source import Enumerated, Proposal, Sampled, TrialSource

EXISTS = "exists"  # the constraint that what makes no network breaks


def source_of(config: StudyConfig, study: optuna.Study | None = None, folder: Path | None = None) -> TrialSource:
    """Where the trials of a study come from: the queue that its plan filled, or the sampler of its search.

    With the study, its predicted latencies and what earlier studies know are used. In the folder processes of this machine share
    what they know of the networks that may be proposed.
    """
    if not config.search:
        return Enumerated(limits=config.limits)
    search, describe = Search(**config.search), describe_of(config, study, folder)
    space = describe.space
    known = observations(study, config) if study else []

    def seen(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        here = {trial.user_attrs.get("network_key") for trial in trials}
        return [*(one for one in known if one.user_attrs["network_key"] not in here), *with_projections(trials, config.leading)]

    return Sampled(
        prepare=describe.prepare if search.sampler == FREE else tuple,
        distributions=distributions_of(space),
        describe=describe,
        sampler=lambda num_trials: make_sampler(search, num_trials, describe),
        num_jobs=search.num_trials,
        max_proposals=search.num_trials * search.proposals_per_trial,
        limits=config.limits,
        seen=seen,
    )


def describe_of(config: StudyConfig, study: optuna.Study | None, folder: Path | None, predict: Predict | None = None) -> Describe:
    """What is known of the networks of a search before they are timed; `predict`: the study's own unless given."""
    search, space, reference = search_of(config), Space.from_dict(config.space, config.training_protocol()), reference_spec(config)
    if study is None:
        return Describe(space, search, reference)
    facts = [config.space, dict(search.limits), reference.to_dict(), search.seed, models_digest(study, config)]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
    shared = folder / f"pool-{digest}.json" if folder is not None else None
    return Describe(space, search, reference, predict or predictor(study, config), shared)


def make_sampler(search: Search, num_trials: int, describe: Describe) -> BaseSampler:
    """The sampler for the next proposal of a study with so many trials."""
    if search.sampler in ABOUT:
        pool = describe.pool if search.sampler == FREE else None
        return named_sampler(search.sampler, seed=search.seed, num_trials=num_trials, pool=pool, settings=search.settings)
    seed = search.seed + num_trials  # as studies of earlier versions go on
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # else with each proposal
        sampler: BaseSampler = getattr(optuna.samplers, search.sampler)(seed=seed, **search.settings)
    return sampler


class Row(NamedTuple):
    """What a pool needs of one network."""

    key: str
    allowed: bool
    params: float
    macs: float
    latency_ms: float


class Describe:
    """Networks that levels of a space's factors make, held to the limits by static costs and predicted latency; each once."""

    def __init__(
        self, space: Space, search: Search, reference: AnySpec, predict: Predict | None = None, shared: Path | None = None
    ) -> None:
        self.space, self.search, self.reference, self.predict, self.shared = space, search, reference, predict, shared
        self._rows: dict[str, Row] = {}  # levels, as JSON -> what the pool needs
        self._count = cost_counter()
        self._known: dict[tuple[str, ...], tuple[Proposal, dict[str, float]]] = {}

    def __call__(self, params: Mapping[str, Level]) -> Proposal:
        """What is known of a proposal before anything is timed or trained."""
        return self._of(params)[0]

    def values(self, params: Mapping[str, Level]) -> dict[str, float]:
        """Static costs and predicted latencies by the keys of limits; empty where no network can be made."""
        return self._of(params)[1]

    @cached_property
    def pool(self) -> Pool:
        """The networks that may be proposed. InputError where no latency is predicted, by which they are compared."""
        if self.predict is None:
            remedy = "Fit and store a model of latency first, or take another sampler."
            raise must_be("sampler", "one that needs no predicted latency where there is none", FREE, remedy)
        return Pool({factor: list(levels) for factor, levels in self.space.factors.items()}, self.many, seed=self.search.seed)

    def prepare(self) -> None:
        """Describe the networks of the pool, once on this machine where a file is shared. InputError where none is allowed."""
        if self.shared is None:
            assert self.pool.base is not None
            return
        with FileLock(self.shared.with_suffix(".lock")):
            if self.shared.is_file():
                self._rows.update({levels: Row(*row) for levels, row in json.loads(self.shared.read_text()).items()})
            num = len(self._rows)
            assert self.pool.base is not None
            if len(self._rows) > num:
                write_atomic(self.shared, json.dumps(self._rows))

    def many(self, assignments: Sequence[Mapping[str, Level]]) -> Described:
        """The same for the pool of a sampler, by the first batch size that is predicted."""
        rows = [self._row(each) for each in assignments]
        columns = {name: [getattr(row, name) for row in rows] for name in ("params", "macs", "latency_ms")}
        return Described(keys=[row.key for row in rows], allowed=[row.allowed for row in rows], **columns)

    def _row(self, params: Mapping[str, Level]) -> Row:
        levels = json.dumps([str(params[factor]) for factor in self.space.factors])
        if levels not in self._rows:
            proposal, values = self._of(params)
            ms = next((ms for key, ms in values.items() if key.startswith(LATENCY_MS)), 1.0)
            key = proposal.job.network_key if proposal.job else ""
            self._rows[levels] = Row(key, not proposal.reason, values.get("params", 1.0), values.get("macs", 1.0), ms)
        return self._rows[levels]

    def _of(self, params: Mapping[str, Level]) -> tuple[Proposal, dict[str, float]]:
        levels = tuple(str(params[factor]) for factor in self.space.factors)
        if levels not in self._known:
            self._known[levels] = self._described(dict(zip(self.space.factors, levels, strict=True)))
        return self._known[levels]

    def _described(self, factors: dict[str, str]) -> tuple[Proposal, dict[str, float]]:
        try:
            variant = self.space.described(self.space.variant(factors), [factors])
        except InputError as error:
            return Proposal(job=None, constraints={EXISTS: 1.0}, reason=str(error)), {}
        job = Job(variant.key, 0, factors, variant_attrs(variant))
        try:
            costs = with_ratios(self._count(variant.spec), self._reference_costs)
        except Exception as error:  # whatever a user's own piece raises
            reason = f"{type(error).__name__}: {first_line(error, '')}"
            return Proposal(job=job, constraints={EXISTS: 1.0}, reason=reason), {}
        constraints, reason = self.search.constraints(costs), self.search.broken(costs)
        predicted = self.predict(variant.spec) if self.predict is not None and not reason else {}
        lowest = lowest_values(predicted)
        if not reason and (slow := self.search.broken(lowest)):
            # only what is refused unmeasured: the others get the constraints that are measured
            constraints, reason = {**constraints, **self.search.constraints(lowest)}, f"predicted, less its error: {slow}"
        latency = {f"latency_ms@{batch}": one.ms for batch, one in predicted.items()}
        return Proposal(job=job, constraints=constraints, reason=reason), {**costs, **latency}

    @cached_property
    def _reference_costs(self) -> dict[str, float]:
        return self._count(self.reference)


def cost_counter() -> Callable[[AnySpec], dict[str, Any]]:
    """Static costs of networks at batch 1, as plain values; what they have in common is counted once."""
    return lambda spec: shared_costs().of(spec).to_dict()


def variant_attrs(variant: Variant) -> dict[str, Any]:
    """What a job says of its variant, as user attributes of its trials."""
    attrs = {"label": variant.label, "spec": variant.spec.to_dict(), "intents": [dict(i) for i in variant.intents]}
    attrs["factors"] = dict(variant.intents[0])
    return {**attrs, **({"protocol": dict(variant.changes)} if variant.changes else {})}
