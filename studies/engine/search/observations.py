"""What samplers are told of earlier studies: networks of the space with their losses, as trials that this study does not have."""

from __future__ import annotations

from statistics import fmean

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial

from ablation.design.protocol import FACTORS, Protocol
from ablation.design.protocol import LATER as LATER_OF_PROTOCOLS
from ablation.design.space import Space
from ablation.design.spec import ModelSpec
from ablation.design.variant import Variant
from ablation.machine.hardware import describe_hardware
from ablation.record.trial import Record
from ablation.search.limits import num_params
from studies.engine.config import StudyConfig
from studies.engine.latency_session import digest_of
from studies.engine.search.earlier import EarlierRecord, stored_earlier
from studies.engine.search.levels import levels_of
from studies.store.mirror import observation


def variant_of(record: Record, study: Protocol) -> Variant:
    """The variant that a record is of, in a study of this protocol."""
    own = Protocol(**{**LATER_OF_PROTOCOLS, **record.protocol})
    return Variant.of(ModelSpec.from_dict(record.spec), {name: getattr(own, name) for name in FACTORS}, study)


def distributions_of(space: Space) -> dict[str, BaseDistribution]:
    """The factors of a space as samplers have them."""
    return {factor: CategoricalDistribution(list(levels)) for factor, levels in space.factors.items()}


def observations(study: optuna.Study, config: StudyConfig) -> list[FrozenTrial]:
    """Earlier networks that the space has, each once with its mean loss, timed on hardware of this kind.

    Those that were timed elsewhere are left out: their milliseconds would mislead a sampler. They are still not trained again.
    """
    space = Space.from_dict(config.space, config.training_protocol())
    by_variant: dict[str, list[EarlierRecord]] = {}
    for one in stored_earlier(study):
        if config.search.get("reference_rate") and "-" in one.record.network_key:
            continue  # trained as the reference is, not as the space
        by_variant.setdefault(one.record.network_key, []).append(one)
    shown = []
    for key, found in by_variant.items():
        record = found[0].record
        levels, ms = levels_of(space, variant_of(record, space.protocol)), _milliseconds(record, config)
        if levels is not None and ms is not None:
            values = (fmean(one.record.training["best_loss"] for one in found), ms, num_params(record.costs))
            attrs = {"network_key": key, "seed": record.seed, "label": record.label, "origin": dict(found[0].origin)}
            shown.append(observation(levels, distributions_of(space), values, attrs))
    return shown


def _milliseconds(record: Record, config: StudyConfig) -> float | None:
    entry = record.latency.get(f"{config.device}/{config.latency_batches[0]}", {})
    is_here = digest_of(record.provenance.get("hardware", {})) == digest_of(describe_hardware(config.device))
    return entry.get("median_ms") if is_here else None
