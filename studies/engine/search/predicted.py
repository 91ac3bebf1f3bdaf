"""Predicted latency of networks that were not timed, by a model that is stored with the study for all of its workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import optuna

from ablation.design.spec import ModelSpec
from ablation.search.limits import latency_values
from studies.engine.config import StudyConfig


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """A latency at one batch size, before it is measured."""

    ms: float
    ratio: float  # to the reference
    error: float  # relative; 90 % of networks that the model has not seen lie within


Predict = Callable[[ModelSpec], Mapping[int, Predicted]]  # by batch size, those that are timed


def lowest_values(predicted: Mapping[int, Predicted]) -> dict[str, float]:
    """Latencies by the keys of limits, each lower than predicted by its error: what breaks a limit even so is not worth timing.

    >>> lowest_values({1: Predicted(ms=10.0, ratio=0.5, error=0.1)})
    {'latency_ms@1': 9.0, 'latency_ratio@1': 0.45, 'latency_ms': 9.0}
    """
    ms = {batch: one.ms * (1 - one.error) for batch, one in predicted.items()}
    return latency_values(ms, {batch: one.ratio * (1 - one.error) for batch, one in predicted.items()})


def predictor(study: optuna.Study, config: StudyConfig) -> Predict | None:
    """The model that is stored with the study for hardware of this kind; None where there is none."""
    return None
