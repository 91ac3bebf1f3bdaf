"""The whole flow of one trial: spec -> model -> costs -> training -> quality -> record, and what the dashboard shows of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from ablation.data import Dataset, Split
from ablation.data.batches import Images
from ablation.design.compose import VAE, build
from ablation.design.network import AnySpec
from ablation.design.protocol import LOSS, Protocol
from ablation.design.spec import ModelSpec
from ablation.design.variant import network_of
from ablation.machine.device import usable_device
from ablation.machine.hardware import provenance
from ablation.measure.costs.published import published_counts
from ablation.measure.costs.static import static_cost
from ablation.measure.quality.evaluate import evaluate, reconstruct, sampled_quality
from ablation.record.trial import COMPLETE, STOPPED, Record
from ablation.search.limits import latency_values, num_params
from ablation.train.checkpoint import BEST
from ablation.train.train import TrainingFailure, TrainResult, train
from studies.engine.config import StudyConfig, StudyFolder
from studies.engine.latency_session import time_proposed
from studies.engine.preflight import check_network
from studies.engine.publish import publish, take_over
from studies.engine.search.earlier import earlier_of
from studies.engine.search.rungs import RungWatch
from studies.engine.search.settings import REFERENCE, search_of
from studies.store.artifacts import PICTURES, WEIGHTS, Artifacts
from studies.store.latency import ESTIMATED, comparable_latencies, stored_latency
from studies.store.records import store_record
from studies.store.retry import TrialInfeasible, TrialStopped
from studies.store.source import ROLE
from studies.store.storage import set_constraints
from studies.work.loop import TrialFailed, TrialInterrupted
from studies.work.resume import Resumed

NUM_SHOWN = 8  # test images that every trial reconstructs, side by side in the gallery

OnStep = Callable[[str, int, int, str], None]  # (label, step, steps, detail) of the running trial


@dataclass(frozen=True, kw_only=True)
class TrialContext:
    """What all trials of a study share on this machine."""

    config: StudyConfig
    folder: StudyFolder
    images: Dataset | None = None  # none, like the split, where networks and training are the user's own
    parts: Split | None = None
    on_step: OnStep = lambda *_: None
    should_stop: Callable[[], bool] = lambda: False
    # network -> static costs, so that all variants and seeds of one network are counted once in this process
    costs: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def dataset(self) -> Dataset:
        """The images."""
        assert self.images is not None
        return self.images

    @property
    def split(self) -> Split:
        """Those to train, to validate and to test."""
        assert self.parts is not None
        return self.parts


def run_trial(trial: optuna.Trial, context: TrialContext) -> tuple[float, float, float]:
    """Train, measure and record one variant with one seed; gives (validation loss, latency in ms, parameters).

    Losses are by the study's protocol, so that variants that were trained with another loss can be compared with the rest.
    """
    attrs, config = trial.user_attrs, context.config
    record, spec = _begun(trial, context), ModelSpec.from_dict(attrs["spec"])
    protocol = replace(config.training_protocol(), **attrs.get("protocol", {}))
    context.on_step(record.label, 0, 1, "costs")
    latency = measured_latency(
        trial, spec, context, lambda: _refused(spec, protocol, context)
    )  # before hours of training, since no trial is complete without it
    model, key = build(spec, seed=record.seed), network_of(record.network_key)
    costs = context.costs[key] = context.costs.get(key) or count(spec, model)
    record = replace(record, costs=costs, latency=stored_latency(trial.study, key))
    watch = RungWatch(trial, config, latency, num_params(costs), protocol)
    if earlier := earlier_of(trial.study, record.network_key, record.seed):
        watch.note(earlier.record.training["epochs"])
        record = take_over(record, earlier, trial, context.folder)
    else:
        record = _trained(record, model, protocol, trial, watch, context)
    return float(record.training["best_loss"]), objective_latency(latency, config), float(num_params(costs))


def _begun(trial: optuna.Trial, context: TrialContext) -> Record:
    """The record of a trial, as far as it is known before anything is measured."""
    attrs, config = trial.user_attrs, context.config
    protocol = replace(config.training_protocol(), **attrs.get("protocol", {}))
    return Record(
        network_key=attrs["network_key"],
        label=attrs["label"],
        seed=attrs["seed"],
        state=COMPLETE,
        number=trial.number,
        spec=ModelSpec.from_dict(attrs["spec"]).to_dict(),
        factors=attrs["intents"][0],
        intents=tuple(attrs["intents"]),
        protocol=protocol.to_dict() if "protocol" in attrs else dict(config.protocol),
        data=describe_data(context.dataset, context.split),
        provenance=provenance(config.device, time.time()),
    )


def _trained(
    record: Record, model: VAE, protocol: Protocol, trial: optuna.Trial, watch: RungWatch, context: TrialContext
) -> Record:
    """Train, measure and store; TrialStopped where a rung stops it, with what it has come to stored."""
    seed, artifacts = record.seed, Artifacts(trial.study, context.folder.artifacts)
    resumed = Resumed(trial, context.folder.checkpoints(record.network_key, seed), artifacts, context.config.device)
    result = _train(model, protocol, record.label, seed, watch, resumed, context)
    record = replace(record, provenance={**record.provenance, **resumed.provenance()})
    if result.halted:
        store_record(trial, replace(record, state=STOPPED, reason=watch.reason, training=result.to_dict()), feasible=True)
        raise TrialStopped(watch.reason)
    context.on_step(record.label, 1, 1, "quality")
    losses, study = _common_loss(model, protocol, seed, result, context), context.config.training_protocol()
    quality = evaluate(model, context.dataset, context.split.test, device=context.config.device, protocol=study)
    record = replace(record, training={**result.to_dict(), **losses}, quality=quality)
    artifacts.put(trial, WEIGHTS, resumed.folder / BEST)
    _show(trial, model, record, artifacts, context)
    resumed.drop()
    return record


def _refused(spec: ModelSpec, protocol: Protocol, context: TrialContext) -> str:
    """Why a network can't be studied."""
    last = len(context.split.train) % protocol.batch_size
    return check_network(spec, protocol, context.config.device, last_batch=last).reason


def measured_latency(trial: optuna.Trial, spec: AnySpec, context: TrialContext, refused: Callable[[], str]) -> dict[str, Any]:
    """The network's latency by which trials compare. A proposed network is tried and timed now, and held to its limit.

    `refused`: tries it, and says why it can't be studied.
    """
    config = context.config
    if config.search:
        if reason := refused():
            raise TrialFailed(reason, certain=True)
        time_proposed(trial.study, spec, config, context.folder, context.should_stop)
        if context.should_stop():
            raise TrialInterrupted("interrupted while it was timed")
    latency = comparable_latency(trial, config)
    if config.search and trial.user_attrs.get(ROLE) != REFERENCE:
        search, values = search_of(config), measured_values(latency, config)
        set_constraints(trial, search.constraints(values))
        if reason := search.broken(values):
            raise TrialInfeasible(reason)
    return latency


def measured_values(latency: dict[str, Any], config: StudyConfig) -> dict[str, float]:
    """Latencies by the keys of limits: milliseconds, and paired ratios to the reference."""
    entries = {batch: latency.get(f"{config.device}/{batch}", {}) for batch in config.latency_batches}
    ms, ratios = ({b: e[name] for b, e in entries.items() if e.get(name) is not None} for name in ("median_ms", "ratio"))
    return latency_values(ms, ratios)


def _show(trial: optuna.Trial, model: VAE, record: Record, artifacts: Artifacts, context: TrialContext) -> None:
    """Store the record, and for the gallery what the network makes of some test images."""
    shown = context.split.test[:NUM_SHOWN]
    images = reconstruct(model, context.dataset, shown, device=context.config.device)
    path = context.folder.reconstructions(record.network_key, record.seed)
    np.save(path, images)
    artifacts.put(trial, PICTURES, path)
    originals: NDArray[np.uint8] = np.asarray(context.dataset.images[shown])
    publish(trial, record, originals, images, artifacts)


def _train(
    model: VAE, protocol: Protocol, label: str, seed: int, watch: RungWatch, resumed: Resumed, context: TrialContext
) -> TrainResult:
    """Train to the end or a rung, from the last checkpoint where there is one; a failure or an interruption becomes the trial's."""

    def on_progress(step: int, steps: int, epoch: int, epochs: int, loss: float | None) -> None:
        detail = f"epoch {epoch}/{epochs}" + (f", loss {loss:.4f}" if loss is not None else "")
        context.on_step(label, step, steps, detail)

    try:
        result = train(
            model,
            context.dataset,
            context.split,
            protocol,
            seed=seed,
            device=context.config.device,
            checkpoint_dir=resumed.folder,
            on_progress=on_progress,
            should_stop=context.should_stop,
            on_saved=resumed.saved,
            halt=watch,
        )
    except TrainingFailure as error:
        raise TrialFailed(str(error), certain="out of memory" not in str(error)) from error
    if result.interrupted or result.halted:
        resumed.keep()
    if result.interrupted:
        raise TrialInterrupted("interrupted; the checkpoint is kept")
    return replace(result, notes=(*resumed.origin.notes, *result.notes))


def _common_loss(model: VAE, protocol: Protocol, seed: int, result: TrainResult, context: TrialContext) -> dict[str, float]:
    """Validation loss of the best epoch by the study's loss; beside it, `own_best_loss` by the loss that the variant minimised."""
    study, own = context.config.training_protocol(), result.best_loss
    assert own is not None
    if all(getattr(protocol, name) == getattr(study, name) for name in LOSS):
        return {"best_loss": own}
    images = Images(context.dataset, context.split.validation, usable_device(context.config.device), masks=study.mask_weight > 0)
    scores = sampled_quality(model, images, batch_size=study.batch_size, protocol=study, seed=seed)
    return {"best_loss": scores["loss"], "own_best_loss": own}


def count(spec: ModelSpec, model: VAE) -> dict[str, Any]:
    """Our static costs at batch 1, and fvcore's counts beside them or the reason why it has none, as a record holds them."""
    return {**static_cost(spec).to_dict(), **published_counts(model, spec.image_size, spec.in_channels)}


def comparable_latency(trial: optuna.Trial, config: StudyConfig) -> dict[str, Any]:
    """'device/batch' -> latency on the study's first hardware, whatever this machine is; TrialFailed where there is none.

    Where it is an estimate, the trial says so.
    """
    latency = comparable_latencies(trial.study).get(network_of(trial.user_attrs["network_key"]), {})
    objective_latency(latency, config)
    if names := [entry[ESTIMATED] for entry in latency.values() if ESTIMATED in entry]:
        trial.set_user_attr(ESTIMATED, names[0])
    return latency


def objective_latency(latency: dict[str, Any], config: StudyConfig) -> float:
    """Median milliseconds at the study's first batch size; TrialFailed where it could not be measured."""
    entry = latency.get(f"{config.device}/{config.latency_batches[0]}", {})
    if entry.get("median_ms") is None:
        reason = entry.get("reason", "no latency session holds this network")
        raise TrialFailed(f"latency was not measured: {reason}", certain="reason" in entry)  # it is stored, and not measured again
    return float(entry["median_ms"])


def describe_data(dataset: Dataset, split: Split) -> dict[str, Any]:
    """The data set and the sizes of its split, as plain values."""
    sizes = {"num_train": len(split.train), "num_validation": len(split.validation), "num_test": len(split.test)}
    return {**dataset.describe(), **sizes}
