"""A trained study from start to end: check, announce, time, plan, train, report. The same call again goes on from there."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ablation.design.callable_spec import CallableSpec
from ablation.design.space import Space
from ablation.design.spec import ALIASES, PIECE_FIELDS
from ablation.design.variant import Variant
from ablation.record.trial import COMPLETE
from ablation.report.kit.numbers import count
from ablation.search.limits import limit_text
from blocks import FAMILIES
from blocks.errors import InputError
from studies.engine.config import StudyConfig
from studies.engine.dashboard import dashboard_command
from studies.engine.latency_session import ensure_latency
from studies.engine.opened import RunOptions, StudyRun
from studies.engine.own.trial import try_network
from studies.engine.preflight import Finding, check_network
from studies.engine.proposals import Describe, variant_attrs
from studies.engine.reporting import report_study
from studies.engine.search.first import choices_of, first_jobs
from studies.engine.search.settings import reference_spec, search_of
from studies.engine.training import train_all
from studies.engine.trial import NUM_SHOWN
from studies.store.artifacts import ORIGINALS, SAMPLES, Artifacts
from studies.store.latency import hardware_digest
from studies.store.queue import Job, PlanReport, plan, trial_state
from studies.store.records import records
from studies.store.storage import is_url
from studies.work.line import program
from studies.work.stopping import StopRequest

INTERRUPTED = 130  # exit code after Ctrl-C
PLAIN: dict[str, Any] = {"markup": False, "highlight": False, "soft_wrap": True}  # of a line for the console that is left as it is
Train = Callable[[StudyRun, int, int, StopRequest], int]  # (study, trials in all, complete ones, whether to stop) -> exit code


def run_study(run: StudyRun, train: Train | None = None) -> int:
    """Do what is missing and report. Exit code 0 when all is complete, 1 when trials failed for good, 130 after Ctrl-C.

    `train`: what has the planned trials trained, in place of `train_planned`; while it leaves any there is no report.
    """
    announce(run)
    code = run_trials(run, train)
    if code == INTERRUPTED:
        run.console.print("Stopped. What is done is kept; the same command goes on from here:", markup=False)
        run.console.print(f"  {run.options.command}", **PLAIN)
        return code
    state = trial_state(run.study, run.config.limits)
    if train is not None and state.waiting + state.running + state.stale:
        return code
    report_study(run.study, run.folder, run.config, run.console, run.options.command)
    return code


def run_trials(run: StudyRun, train: Train | None = None) -> int:
    """Cost, time and train what is missing, without announcement and report; the exit code of `run_study`."""
    with StopRequest() as stop:
        if run.config.search:  # what a sampler proposes is checked and timed in its own trial
            ensure_latency(run, stop)
            complete, total = plan_search(run)
        else:
            hopeless = check_networks(run, stop)
            if stop() or not ensure_latency(run, stop, [v for v in run.variants if v.key not in hopeless]):
                return INTERRUPTED
            report = plan_trials(run, hopeless)
            complete, total = report.complete, report.planned
        keep_shared(run)
        return (train or train_planned)(run, total, complete, stop)


def train_planned(run: StudyRun, total: int, complete: int, stop: StopRequest) -> int:
    """Train what waits or may be proposed, `complete` of `total` being done; the exit code of `run_study`."""
    if complete < total or trial_state(run.study, run.config.limits).waiting:
        train_all(run, total, complete, stop)
    if stop():
        return INTERRUPTED
    state = trial_state(run.study, run.config.limits)
    return int(state.complete == 0 if run.config.search else state.failed > 0)


def keep_shared(run: StudyRun) -> None:
    """Keep what all trials share: the images that the gallery shows, and the raw samples of this machine's latency sessions."""
    artifacts = Artifacts(run.study, run.folder.artifacts)
    if run.images:
        np.save(run.folder.originals, np.asarray(run.images.images[run.split.test[:NUM_SHOWN]]))
        artifacts.put_shared(ORIGINALS, run.folder.originals)
    if not run.config.search:  # there each proposal has samples of its own, of which nobody reads so many
        for path in sorted(run.folder.latency.glob("*.npz")):
            artifacts.put_shared(f"{SAMPLES}{hardware_digest(run.config.device)}/{path.name}", path)


def plan_search(run: StudyRun) -> tuple[int, int]:
    """Enqueue what a search trains before its sampler proposes; the trainings that are done, and all."""
    describe = Describe(run.space, search_of(run.config), reference_spec(run.config))
    jobs = first_jobs(run.study, run.config, describe)
    plan(run.study, jobs, choices=choices_of(run.space), limits=run.config.limits, retry_failed=run.options.retry_failed)
    state = trial_state(run.study, run.config.limits)
    return state.complete + state.stopped, len(jobs) + search_of(run.config).num_trials


def announce(run: StudyRun) -> None:
    """Say first what the study will do."""
    for name, text in _announcement(run):
        run.console.print(f"{name:<9} {text}", **PLAIN)


def _announcement(run: StudyRun) -> list[tuple[str, str]]:
    config, space = run.config, run.space
    num_complete = sum(r.state == COMPLETE for r in records(run.study, config.limits))
    batches = " and ".join(map(str, config.latency_batches))
    threads = f" with {config.latency_threads} thread(s)" if config.device == "cpu" else ""
    return [
        ("Study", f"{config.name}: {count(space.num_combinations(), 'combination')} of {', '.join(space.factors)}"),
        ("Networks", _proposed(config) if config.search else _networks(space)),
        ("Trials", f"{_num_trials(run)}; {num_complete} complete already"),
        *(own_training(run) if config.own else _training(run)),
        ("Latency", f"batch {batches} on {config.device}{threads}, all networks interleaved, before training"),
        ("Folder", str(run.options.out)),
        *_joining(run.options),
        ("Dashboard", dashboard_command(run.options.where, run.options.artifacts or run.folder.artifacts)),
    ]


def _joining(options: RunOptions) -> list[tuple[str, str]]:
    """How other machines join, where they can reach the storage."""
    shared = options.storage is not None and is_url(options.storage) and not options.storage.startswith("sqlite")
    return [("Join", f"{program()} worker --study {shlex.quote(options.study)}, with the same --storage")] if shared else []


def _training(run: StudyRun) -> list[tuple[str, str]]:
    data, split, protocol = run.dataset, run.split, run.config.training_protocol()
    sizes = f"{len(split.train)} to train, {len(split.validation)} to validate, {len(split.test)} to test"
    about = f"at most {protocol.epochs} epochs, batch {protocol.batch_size}, Adam {protocol.learning_rate:g}, {protocol.precision}"
    return [
        ("Data", f"{data.name}, {len(data)} images at {data.image_size} px: {sizes}"),
        *(("", f"note: {note}") for note in data.notes),
        ("Training", f"{run.config.device}, {about}; {run.options.workers} at a time"),
    ]


def own_training(run: StudyRun) -> list[tuple[str, str]]:
    """What trains networks of a user's own, and what it gives."""
    config = run.config
    metrics = [f"{name} ({'lower' if m.lower_is_better else 'higher'} is better)" for name, m in config.metrics.items()]
    return [
        ("Training", f"{config.own['train']} on {config.device}; {run.options.workers} at a time"),
        ("Metrics", ", ".join(metrics)),
    ]


def _num_trials(run: StudyRun) -> str:
    if run.config.search:
        search = search_of(run.config)
        return f"{search.num_trials} of proposed networks, {search.reference_seeds} of the reference"
    return f"{len(run.variants) * run.config.seeds}, {run.config.seeds} for each network"


def _proposed(config: StudyConfig) -> str:
    """A space to be searched may be too large to be enumerated."""
    search = search_of(config)
    limits = ", ".join(limit_text(key, value) for key, value in search.limits.items()) or "no limits"
    return f"proposed by {search.sampler}, within {limits}"


def _networks(space: Space) -> str:
    variants, invalid = space.enumerate()
    num_networks, num_same = len({v.network_key for v in variants}), sum(len(v.intents) - 1 for v in variants)
    parts = [f"{num_networks} different ones"]
    parts[0] += f", trained in {len(variants)} different ways" if num_networks < len(variants) else ""
    parts += [f"{num_same} combinations make the same network as another"] if num_same else []
    parts += [f"{len(invalid)} cannot exist, the first because: {invalid[0].reason}"] if invalid else []
    return "; ".join(parts)


def check_networks(run: StudyRun, stop: StopRequest) -> dict[str, str]:
    """Try every network that has trials left, before anything is timed or trained: network -> why it can't be studied.

    InputError where none can: then the space, its pieces or the settings are wrong, and nothing is stored.
    """
    complete = Counter(r.network_key for r in records(run.study, run.config.limits) if r.state == COMPLETE)
    hopeless: dict[str, str] = {}
    for variant in run.variants:
        if complete[variant.key] >= run.config.seeds or stop():
            continue
        finding = _tried(run, variant)
        message = finding.note
        if finding.reason:
            hopeless[variant.key] = finding.reason
            message = f"cannot be trained: {finding.reason}"
        if message:
            run.console.print(f"{'':<9} {variant.label}: {message}", **PLAIN)
    first = run.variants[0]
    if hopeless and len(hopeless) == len(run.variants) and not run.study.get_trials(deepcopy=False):
        raise InputError(f"No network of the study can be trained. {first.label}: {hopeless[first.key]}.")
    return hopeless


def _tried(run: StudyRun, variant: Variant) -> Finding:
    if isinstance(variant.spec, CallableSpec):
        return try_network(variant.spec)
    protocol = variant.protocol(run.config.training_protocol())
    return check_network(variant.spec, protocol, run.config.device, last_batch=len(run.split.train) % protocol.batch_size)


def plan_trials(run: StudyRun, hopeless: Mapping[str, str]) -> PlanReport:
    """Enqueue every (network, seed) that is neither done nor on its way; those of a network without hope are failed at once."""
    jobs = [
        Job(variant.key, seed, variant.intents[0], variant_attrs(variant))
        for seed in range(run.config.first_seed, run.config.first_seed + run.config.seeds)
        for variant in run.variants
    ]
    return plan(
        run.study,
        jobs,
        choices=_choices(run.space),
        limits=run.config.limits,
        retry_failed=run.options.retry_failed,
        hopeless=hopeless,
    )


def _choices(space: Space) -> dict[str, list[str]]:
    """Every level that a factor may ever have: all pieces of its family, and the levels that the space names."""
    own = isinstance(space.base, CallableSpec)
    families = {factor: None if own else PIECE_FIELDS.get(ALIASES.get(factor, (factor,))[0]) for factor in space.factors}
    pieces = {factor: FAMILIES[family].names() if family else [] for factor, family in families.items()}
    return {factor: list(dict.fromkeys([*pieces[factor], *levels])) for factor, levels in space.factors.items()}
