"""What a search trains before any sampler proposes: the reference, and the best networks of earlier studies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import compress

import optuna

from ablation.design.space import Space
from ablation.design.variant import Variant
from ablation.stats import pareto_front
from studies.engine.config import StudyConfig
from studies.engine.proposals import Describe, variant_attrs
from studies.engine.search.levels import levels_of
from studies.engine.search.observations import observations
from studies.engine.search.settings import EARLIER, REFERENCE, reference_spec, search_of
from studies.store.queue import Job
from studies.store.source import ROLE


def first_jobs(study: optuna.Study, config: StudyConfig, describe: Describe) -> list[Job]:
    """The reference with its seeds, and of what earlier studies know the front inside of the limits, not to be trained again."""
    jobs = reference_jobs(config, describe.space)
    known = observations(study, config)
    front = compress(known, pareto_front([trial.values for trial in known])) if known else ()
    for trial in front:
        proposal = describe(trial.params)
        if proposal.job is not None and not proposal.reason and trial.user_attrs["seed"] == 0:
            jobs.append(with_role(proposal.job, EARLIER))
    return list({job.key: job for job in reversed(jobs)}.values())[::-1]  # the reference may be among the earlier ones


def reference_jobs(config: StudyConfig, space: Space) -> list[Job]:
    """The reference, once for each of its seeds; with levels where it is in the space."""
    rate = search_of(config).reference_rate
    variant = Variant.of(reference_spec(config), {"learning_rate": rate} if rate else {}, config.training_protocol())
    levels = None if variant.changes else levels_of(space, variant)  # trained differently it is no observation of the space
    variant = space.described(variant, [levels or {}]) if levels else variant
    attrs = variant_attrs(variant if levels else replace(variant, intents=({},)))
    attrs["label"] = "reference"
    jobs = (Job(variant.key, seed, levels or {}, attrs) for seed in range(search_of(config).reference_seeds))
    return [with_role(job, REFERENCE) for job in jobs]


def with_role(job: Job, role: str) -> Job:
    """The job as one that no sampler proposed."""
    return Job(job.network_key, job.seed, job.params, {**job.attrs, ROLE: role})


def choices_of(space: Space) -> Mapping[str, list[str]]:
    """The levels of each factor, in the order in which samplers have them."""
    return {factor: list(levels) for factor, levels in space.factors.items()}
