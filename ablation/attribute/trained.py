"""Loss, SSIM, PSNR and the like given to the factors, from trained variants, per seed. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ablation.attribute.factorial import Factorial
from ablation.attribute.pairing import one_per_trial, usable_value
from ablation.attribute.values import attribute
from ablation.record.attribution import TRAINED, Attribution
from ablation.record.trial import METRICS, Metric, Record
from blocks.errors import InputError, choices, must_be


def attribute_all(
    factorial: Factorial, records: Iterable[Record], metrics: Mapping[str, Metric] = METRICS
) -> tuple[list[Attribution], list[str]]:
    """Every trained metric given to the factors, and for each that can't be, one sentence that says why.

    `metrics`: of a study whose training is the user's own, its metrics by name.
    """
    known = list(records)
    attributions: list[Attribution] = []
    limits: list[str] = []
    for metric in TRAINED if metrics is METRICS else metrics:
        try:
            attributions.append(attribute_trained(factorial, known, metric, metrics))
        except InputError as error:
            limits.append(f"{metric} was not given to the pieces: {error}")
    return attributions, limits


def attribute_trained(
    factorial: Factorial, records: Iterable[Record], metric: str, metrics: Mapping[str, Metric] = METRICS
) -> Attribution:
    """One trained metric, in the unit in which it is shown, from records by network key and seed.

    Factors that the trained variants vary only together are one factor here (`Factorial.covered`). Seeds are repetitions: the mean
    over the seeds that every trained variant has, with Student's t intervals; one seed gives no interval. InputError where the
    records hold no such seed, not both networks, or no path of variants between them.
    """
    if metric not in metrics:
        raise must_be("metric", choices(metrics), metric)
    shown = metrics[metric]
    about: dict[str, Any] = {} if metrics is METRICS else {"label": shown.label, "digits": shown.digits}
    by_network: dict[str, dict[int, float]] = {}
    known = set(factorial.keys.values())
    for record in one_per_trial(records):
        value = usable_value(record, shown)
        if record.network_key in known and value is not None:
            by_network.setdefault(record.network_key, {})[record.seed] = value
    for name, spec in (("first", factorial.first), ("second", factorial.second)):
        if spec.network_key not in by_network:
            raise InputError(f"The {name} network must have been trained, to attribute {metric}. No record has its value.")
    seeds = sorted(set.intersection(*(set(by_seed) for by_seed in by_network.values())))
    if not seeds:
        counts = sorted({seed for by_seed in by_network.values() for seed in by_seed})
        raise must_be("The trained variants", "complete for at least one seed in common", counts)
    merged = factorial.covered(by_network)
    values = merged.values({key: np.array([by_seed[seed] for seed in seeds]) for key, by_seed in by_network.items()})
    place = f"{len(seeds)} seeds" if len(seeds) > 1 else "1 seed"
    return replace(attribute(merged.names, values, metric=metric, place=place, unit=shown.unit), **about)
