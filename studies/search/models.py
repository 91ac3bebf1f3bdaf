"""The latency model of a search: some dozens of networks of the space timed once, before any is proposed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from ablation.design.compose import build
from ablation.design.network import AnySpec
from ablation.design.space import Space
from ablation.measure.costs.static import StaticCost, static_cost
from ablation.record.search import PredictionError
from ablation.search.costs import shared_costs
from ablation.search.latency_model import LEAST_NETWORKS, LatencyModel
from ablation.search.latency_sample import features_of, sample_for_timing
from ablation.search.latency_timing import time_networks
from ablation.search.limits import LATENCY, LATENCY_RATIO, broken, with_ratios
from ablation.search.samplers import FREE, RANDOM
from blocks.errors import InputError
from studies.engine.latency_session import hardware_digest
from studies.engine.opened import StudyRun
from studies.engine.search.predicted import MODELS, store_models
from studies.search.census import MOST_OF_OWN, Census, assignments
from studies.search.setting import Setting
from studies.store.storage import get_system_attrs
from studies.work.progress import LatencyBar

NUM_TIMED = {False: 50, True: LEAST_NETWORKS + 2}  # by whether the search is quick
BUDGET_S = {False: 120.0, True: 15.0}  # for each batch size
FAR = 3.0  # times a limit on latency, beyond which a network is not timed at larger batch sizes
POOL = 600  # combinations from which the timed ones are chosen, as far apart as they can be

Say = Callable[[str], None]


def fit_models(setting: Setting, run: StudyRun, say: Say) -> list[dict[str, Any]]:
    """Time networks and fit a model for each batch size, where this hardware has none; how far it is off, as the page shows it."""
    device, stored = setting.config.device, get_system_attrs(run.study).get(MODELS + hardware_digest(setting.config.device))
    if stored is not None:
        models = {int(batch): LatencyModel.from_dict(values) for batch, values in stored.items()}
        return [_error(f"{device}/{batch}", model) for batch, model in models.items()]
    models = dict[int, LatencyModel]()
    for batch in sorted(setting.config.latency_batches):
        specs = timed_specs(setting, models)
        networks = {key: build(spec, seed=0) for key, spec in specs.items()}
        with LatencyBar(f"latency model {device}/{batch}, {len(specs)} networks", run.console) as bar:
            timed = time_networks(
                networks, batch_size=batch, device=device, budget_s=BUDGET_S[setting.quick], progress=bar.update,
                input_shape=setting.reference.input_shape,
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


def timed_specs(setting: Setting, models: Mapping[int, LatencyModel]) -> dict[str, AnySpec]:
    """Network -> spec of the reference and of networks of the space that differ much in what they are made of.

    Networks that no search would train are left out, as far as enough others are there: those outside of the limits on costs, and
    those that a model of a smaller batch size predicts far beyond the limit there. They take the longest to time.
    """
    num, seen = NUM_TIMED[setting.quick], dict[str, tuple[AnySpec, StaticCost, bool]]()
    counts, worthwhile = shared_costs(), _worthwhile(setting, models)
    for spec in (setting.reference, *_drawn(setting.space, MOST_OF_OWN if setting.config.own else POOL)):
        if spec.network_key not in seen:
            try:
                seen[spec.network_key] = (spec, cost := counts.of(spec), worthwhile(spec, cost))
            except Exception:  # whatever a user's own piece raises: its trial records it
                continue
    reference, *others = seen
    kept = [reference, *(key for key in others if seen[key][2])]
    keys = kept if len(kept) >= num else list(seen)
    chosen = sample_for_timing([features_of(seen[key][1]) for key in keys], num, first=[0])
    return {keys[position]: seen[keys[position]][0] for position in chosen}


def _worthwhile(setting: Setting, models: Mapping[int, LatencyModel]) -> Callable[[AnySpec, StaticCost], bool]:
    """Whether a network may be inside the limits, by its costs and by the models that there are."""
    limits, reference = dict(setting.config.search.get("limits", {})), static_cost(setting.reference).to_dict()
    on_costs = {key: limit for key, limit in limits.items() if not key.startswith(LATENCY)}
    far = {batch: FAR * limits[key] for batch in models if (key := f"{LATENCY_RATIO}@{batch}") in limits}

    def check(spec: AnySpec, cost: StaticCost) -> bool:
        if broken(on_costs, with_ratios(cost.to_dict(), reference)):
            return False
        return all(models[batch].predict(shared_costs(batch).operations(spec)).ratio <= most for batch, most in far.items())

    return check


def _drawn(space: Space, most: int) -> list[AnySpec]:
    specs = []
    for factors in assignments(space, min(most, space.num_combinations())):
        try:
            specs.append(space.variant(factors).spec)
        except InputError:
            continue
    return specs


def _error(place: str, model: LatencyModel) -> dict[str, Any]:
    error: Mapping[str, Any] = {"num_fitted": model.error.num, "num_held_out": model.error.num}
    return asdict(PredictionError(place=place, median=model.error.median, within_10=model.error.within, **error))
