"""Predicted latency of networks that were not timed, by a model that is stored with the study for all of its workers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import optuna

from ablation.design.network import AnySpec
from ablation.search.costs import shared_costs
from ablation.search.latency_model import LatencyModel
from ablation.search.limits import latency_values
from studies.engine.config import StudyConfig
from studies.engine.latency_session import hardware_digest
from studies.store.storage import get_system_attrs, set_system_attr

MODELS = "latency_models:"  # prefix of hidden study attributes, one for each hardware


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """A latency at one batch size, before it is measured."""

    ms: float
    ratio: float  # to the reference
    error: float  # relative; 90 % of networks that the model has not seen lie within


Predict = Callable[[AnySpec], Mapping[int, Predicted]]  # by batch size, those that are timed


def lowest_values(predicted: Mapping[int, Predicted]) -> dict[str, float]:
    """Latencies by the keys of limits, each lower than predicted by its error: what breaks a limit even so is not worth timing.

    >>> lowest_values({1: Predicted(ms=10.0, ratio=0.5, error=0.1)})
    {'latency_ms@1': 9.0, 'latency_ratio@1': 0.45, 'latency_ms': 9.0}
    """
    ms = {batch: one.ms * (1 - one.error) for batch, one in predicted.items()}
    return latency_values(ms, {batch: one.ratio * (1 - one.error) for batch, one in predicted.items()})


def store_models(study: optuna.Study, config: StudyConfig, models: Mapping[int, LatencyModel]) -> None:
    """Keep a model for each batch size with the study, for workers on hardware of this kind."""
    values = {str(batch): model.to_dict() for batch, model in models.items()}
    set_system_attr(study, MODELS + hardware_digest(config.device), values)


def predictor(study: optuna.Study, config: StudyConfig) -> Predict | None:
    """What the study's models predict; None where there are none.

    Where only other hardware has models, theirs: good enough to choose by, with an error so large that nothing is refused for it.
    """
    stored = {name: value for name, value in get_system_attrs(study).items() if name.startswith(MODELS)}
    own = MODELS + hardware_digest(config.device)
    values = stored.get(own) or next(iter(stored.values()), None)
    if values is None:
        return None
    models = {b: LatencyModel.from_dict(values[str(b)]) for b in config.latency_batches if str(b) in values}
    counts = {batch: shared_costs(batch) for batch in models}

    def predict(spec: AnySpec) -> dict[int, Predicted]:
        predicted = {batch: model.predict(counts[batch].operations(spec)) for batch, model in models.items()}
        errors = {batch: model.error.p90 if own in stored else 1.0 for batch, model in models.items()}
        return {batch: Predicted(ms=one.ms, ratio=one.ratio, error=errors[batch]) for batch, one in predicted.items()}

    return predict


def models_digest(study: optuna.Study, config: StudyConfig) -> str:
    """8 hex digits for the models that predict on this hardware; empty where there are none of its own."""
    values = get_system_attrs(study).get(MODELS + hardware_digest(config.device))
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8] if values else ""
