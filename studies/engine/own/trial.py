"""A trial of a study of one's own: network -> costs -> the user's training -> metrics -> record; and trying a network before."""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from torch import Tensor, nn

from ablation.design.callable_spec import CallableSpec
from ablation.machine.device import all_seeded
from ablation.machine.hardware import provenance
from ablation.measure.costs.published import published_counts
from ablation.measure.costs.static import static_cost
from ablation.record.trial import COMPLETE, STOPPED, Record
from ablation.report import draw_curves
from ablation.search.limits import num_params
from ablation.train.checkpoint import BEST, save_weights
from ablation.train.own import MetricsError, OwnError, TrainingFunction
from blocks.errors import InputError
from studies.engine.dashboard import upload_artifacts, write_note
from studies.engine.own.folder import OWN, clear, prepare
from studies.engine.preflight import Finding
from studies.engine.publish import note
from studies.engine.search.rungs import RungWatch
from studies.engine.trial import TrialContext, measured_latency, objective_latency
from studies.store.artifacts import WEIGHTS, Artifacts
from studies.store.latency import stored_latency
from studies.store.records import store_record
from studies.store.retry import SIGNS, TrialStopped, may_pass
from studies.work.loop import TrialFailed, TrialInterrupted
from studies.work.resume import Resumed


def try_network(spec: CallableSpec) -> Finding:
    """Whether a network can be studied: made twice alike, run on its inputs, counted; before anything is timed or trained."""
    try:
        if any(module._forward_hooks or module._forward_pre_hooks for module in spec.tried().modules()):
            return Finding(reason=f"{spec.text} has forward hooks, which would be timed too")
        counted = static_cost(spec)
    except InputError as error:
        return Finding(reason=str(error))
    except Exception as error:
        return Finding() if may_pass(error) else Finding(reason=f"{type(error).__name__}: {' '.join(str(error).split())}")
    runs = "what it does depends on values: its counts are those of one run on one input"
    return Finding(note=runs if counted.executed else "")


def run_own_trial(trial: optuna.Trial, context: TrialContext) -> tuple[float, float, float]:
    """Train, measure and record one network with one seed; gives (first metric, latency in ms, parameters)."""
    attrs, config = trial.user_attrs, context.config
    spec, train = CallableSpec.from_dict(attrs["spec"]), TrainingFunction.from_dict(config.own)
    key, seed, label = attrs["network_key"], attrs["seed"], attrs["label"]
    if spec.network_key != key:
        raise TrialFailed(f"the source of {spec.path} has changed since the study began", certain=True)
    context.on_step(label, 0, 1, "costs")
    latency = measured_latency(trial, spec, context, lambda: try_network(spec).reason)
    with all_seeded(seed):
        network = spec.build_plain(seed)
    costs = context.costs[key] = context.costs.get(key) or count_own(spec)
    record = Record(
        network_key=key, label=label, seed=seed, state=COMPLETE, number=trial.number, spec=spec.to_dict(),
        factors=attrs["intents"][0], intents=tuple(attrs["intents"]), data={"name": train.text}, costs=costs,
        latency=stored_latency(trial.study, key),
        provenance=provenance(config.device, time.time()),
    )  # fmt: skip
    folder, watch = context.folder.checkpoints(key, seed), RungWatch(trial, config, latency, num_params(costs))
    artifacts = Artifacts(trial.study, context.folder.artifacts)
    resumed = Resumed(trial, folder, artifacts, config.device, OWN)
    record = _trained(record, network.to(config.device), train, resumed, watch, context)
    # apart, where the network ties them; what is no tensor is nothing to load again
    weights = {k: value.detach().cpu().clone() for k, value in network.state_dict().items() if isinstance(value, Tensor)}
    save_weights(folder, weights, {"network": spec.text, "seed": str(seed)})
    artifacts.put(trial, WEIGHTS, folder / BEST)
    if record.state == STOPPED:
        store_record(trial, record, feasible=True)
        raise TrialStopped(record.reason)
    _publish(trial, record, artifacts, context)
    resumed.drop()
    clear(folder)
    return record.quality["own"][next(iter(train.metrics))], objective_latency(latency, config), float(num_params(costs))


def count_own(spec: CallableSpec) -> dict[str, Any]:
    """Our static costs at batch 1, and fvcore's beside them or the reason why it has none."""
    return {**static_cost(spec).to_dict(), **published_counts(spec.build(seed=0), input_shape=spec.input_shape)}


def _trained(
    record: Record, network: nn.Module, train: TrainingFunction, resumed: Resumed, watch: RungWatch, context: TrialContext
) -> Record:
    """The record with metrics and curve, STOPPED where a rung says so. Weights are those that the function leaves."""
    epochs: list[dict[str, Any]] = []
    name, metric = next(iter(train.metrics.items()))

    def report(epoch: int, value: float) -> None:
        number = float(value)
        epochs.append({"epoch": int(epoch), "value": number if math.isfinite(number) else None})
        context.on_step(record.label, 0, 1, f"epoch {epoch}, {name} {metric.text(number)}")
        resumed.saved(record.number, 0)
        if not watch.reason:
            watch(epochs)

    def should_stop() -> bool:
        return bool(watch.reason) or context.should_stop()

    context.on_step(record.label, 0, 1, "training")
    work, begin = prepare(resumed.folder, record.number), time.monotonic()
    resumed.progress = (record.number, 0)
    stopped = TrialInterrupted("interrupted; it begins anew, with what its function kept in its folder")
    try:
        values = train(network.train(), record.seed, report=report, should_stop=should_stop, folder=work)
    except Exception as error:
        if context.should_stop():  # Ctrl-C reaches the processes of a training too, which then fail
            resumed.keep()
            raise stopped from error
        if isinstance(error, (MetricsError, OwnError, InputError)):
            raise TrialFailed(str(error), certain=not passes(error)) from error
        raise
    if context.should_stop():
        resumed.keep()
        raise stopped
    notes = {"notes": list(resumed.origin.notes)} if resumed.origin.notes else {}
    training = {"seconds": time.monotonic() - begin, "epochs": epochs, **notes}
    record = replace(record, training=training, provenance={**record.provenance, **resumed.provenance()})
    if watch.reason:  # one that a rung stopped may go on, with what its function kept
        resumed.keep()
        return replace(record, state=STOPPED, reason=watch.reason)
    return replace(record, quality={"own": values})


def passes(error: BaseException) -> bool:
    """Whether a training may succeed the next time: for want of memory or a device, unlike an error in its code."""
    cause = error.__cause__ or error
    return isinstance(cause, MemoryError) or any(sign in str(cause) for sign in SIGNS)


def _publish(trial: optuna.Trial, record: Record, artifacts: Artifacts, context: TrialContext) -> None:
    store_record(trial, record, feasible=True)
    if record.training["epochs"]:
        with tempfile.TemporaryDirectory() as name:
            label, metric = next(iter(context.config.metrics.items()))
            picture = draw_curves(record, Path(name) / "curve.png", {"validation": label}, metric.scale)
            upload_artifacts(trial, artifacts.store, [picture])
    write_note(trial, note(record, context.config.metrics))
