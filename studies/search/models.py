"""The latency model of a search: some dozens of networks of the space timed once, before any is proposed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from ablation.design.compose import build
from ablation.design.space import Space
from ablation.design.spec import ModelSpec
from ablation.record.search import PredictionError
from ablation.search.costs import SpaceCosts
from ablation.search.latency_model import LEAST_NETWORKS, LatencyModel
from ablation.search.latency_sample import features_of, sample_for_timing
from ablation.search.latency_timing import time_networks
from ablation.search.samplers import FREE, RANDOM
from blocks.errors import InputError
from studies.engine.latency_session import hardware_digest
from studies.engine.opened import StudyRun
from studies.engine.search.predicted import MODELS, store_models
from studies.search.census import Census, assignments
from studies.search.setting import Setting
from studies.store.storage import get_system_attrs
from studies.work.progress import LatencyBar

NUM_TIMED = {False: 50, True: LEAST_NETWORKS + 2}  # by whether the search is quick
BUDGET_S = {False: 120.0, True: 15.0}  # for each batch size
POOL = 300  # combinations from which the timed ones are chosen, as far apart as they can be

Say = Callable[[str], None]


def fit_models(setting: Setting, run: StudyRun, say: Say) -> list[dict[str, Any]]:
    """Time networks and fit a model for each batch size, where this hardware has none; how far it is off, as the page shows it."""
    device, stored = setting.config.device, get_system_attrs(run.study).get(MODELS + hardware_digest(setting.config.device))
    if stored is not None:
        models = {int(batch): LatencyModel.from_dict(values) for batch, values in stored.items()}
        return [_error(f"{device}/{batch}", model) for batch, model in models.items()]
    specs = timed_specs(setting)
    networks = {key: build(spec, seed=0) for key, spec in specs.items()}
    models = {}
    for batch in setting.config.latency_batches:
        with LatencyBar(f"latency model {device}/{batch}, {len(specs)} networks", run.console) as bar:
            timed = time_networks(
                networks, batch_size=batch, device=device, budget_s=BUDGET_S[setting.quick], progress=bar.update,
                num_threads=setting.config.latency_threads if device == "cpu" else None,
            )  # fmt: skip
        models[batch] = LatencyModel.fit(timed.networks, setting.reference.network_key)
    store_models(run.study, setting.config, models)
    for batch, model in models.items():
        within = f"{100 * model.error.within:.0f} % of networks that it had not seen within 10 %, the median off by"
        say(f"Predicted latency at batch {batch}: {within} {100 * model.error.median:.1f} %")
    return [_error(f"{device}/{batch}", model) for batch, model in models.items()]


def can_be_fitted(census: Census) -> bool:
    """Whether the space has networks enough for a model of latency."""
    return census.num_valid >= NUM_TIMED[True]


def without_model(setting: Setting) -> Setting:
    """The search of a space that is too small for a model of latency, and so for the sampler that needs one."""
    search = {**setting.config.search}
    if search.get("sampler") == FREE:
        search["sampler"] = RANDOM
    return replace(setting, config=replace(setting.config, search=search))


def timed_specs(setting: Setting) -> dict[str, ModelSpec]:
    """Network -> spec of the reference and of networks of the space that differ much in what they are made of."""
    counts, features, specs = SpaceCosts(), [], dict[str, ModelSpec]()
    for spec in (setting.reference, *_drawn(setting.space)):
        if spec.network_key not in specs:
            try:
                features.append(features_of(counts.of(spec)))
            except Exception:  # whatever a user's own piece raises: its trial records it
                continue
            specs[spec.network_key] = spec
    chosen, keys = sample_for_timing(features, NUM_TIMED[setting.quick], first=[0]), list(specs)
    return {keys[position]: specs[keys[position]] for position in chosen}


def _drawn(space: Space) -> list[ModelSpec]:
    specs = []
    for factors in assignments(space, min(POOL, space.num_combinations())):
        try:
            specs.append(space.variant(factors).spec)
        except InputError:
            continue
    return specs


def _error(place: str, model: LatencyModel) -> dict[str, Any]:
    error: Mapping[str, Any] = {"num_fitted": model.error.num, "num_held_out": model.error.num}
    return asdict(PredictionError(place=place, median=model.error.median, within_10=model.error.within, **error))
