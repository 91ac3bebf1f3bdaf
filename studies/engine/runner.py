"""A trained study from start to end: check, say, cost and time, plan, train, report. The same call again goes on where it was."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import optuna
import torch
from filelock import FileLock
from rich.console import Console

from ablation.data import Dataset, split_indices
from ablation.data.base import FORMER_NOTE
from ablation.design.space import Invalid, Space
from ablation.design.variant import Variant, network_of
from ablation.record.trial import COMPLETE
from blocks.errors import InputError
from studies.engine.config import StudyConfig, StudyFolder, reconcile_config
from studies.engine.dashboard import dashboard_command
from studies.engine.latency_session import LatencySession, missing_latency
from studies.engine.preflight import check_network
from studies.engine.reporting import report_study
from studies.engine.trial import NUM_SHOWN, TrialContext
from studies.engine.worker import work
from studies.store.queue import Job, PlanReport, StudyState, plan, trial_state
from studies.store.records import records
from studies.store.storage import open_storage, open_study
from studies.work.loop import Event
from studies.work.processes import run_workers
from studies.work.progress import Board, ProgressFile, duration
from studies.work.stopping import StopRequest

INTERRUPTED = 130  # exit code after Ctrl-C


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a study is run here; none of it changes a number, and none of it is stored with the study."""

    out: Path
    storage: str | None = None
    study: str
    workers: int = 1
    data_root: str | None = None
    cache_dir: str | None = None
    plugins: tuple[str, ...] = ()
    latency_budget_s: float | None = None
    retry_failed: bool = False
    command: str = ""

    @property
    def where(self) -> str:
        """The storage: a URL, or the journal file in the study's folder."""
        return self.storage or str(StudyFolder(self.out).journal)


@dataclass(kw_only=True)
class StudyRun:
    """One opened study on this machine."""

    config: StudyConfig
    options: RunOptions
    console: Console
    study: optuna.Study
    dataset: Dataset
    networks: list[Variant]  # two of them may be one network, trained differently
    invalid: list[Invalid]
    space: Space
    folder: StudyFolder = field(init=False)

    def __post_init__(self) -> None:
        self.folder = StudyFolder(self.options.out)


def open_run(wanted: StudyConfig, options: RunOptions, dataset: Dataset, console: Console) -> StudyRun:
    """Open or make the study's folder and storage, refusing a study made by another space, data set or protocol."""
    space = Space.from_dict(wanted.space, wanted.training_protocol())
    networks, invalid = space.enumerate()
    StudyFolder(options.out).create()
    study = open_study(open_storage(options.where), options.study)
    stored = study.user_attrs.get("config")
    config = wanted
    if stored:
        config = reconcile_config(StudyConfig.from_dict(stored), wanted, str(options.out), former=dataset.former)
    if config.to_dict() != stored:
        study.set_user_attr("config", config.to_dict())
    return StudyRun(
        config=config,
        options=options,
        console=console,
        study=study,
        dataset=dataset.with_note(FORMER_NOTE) if config.former_fingerprint else dataset,
        networks=networks,
        invalid=invalid,
        space=space,
    )


def run_study(run: StudyRun) -> int:
    """Do what is missing and report. Exit code 0 when all is complete, 1 when trials failed for good, 130 after Ctrl-C."""
    announce(run)
    code = run_trials(run)
    if code == INTERRUPTED:
        return _stopped(run)
    report_study(run.study, run.folder, run.config, run.console, run.options.command)
    return code


def run_trials(run: StudyRun) -> int:
    """Cost, time and train what is missing, without announcement and report; the exit code of `run_study`."""
    with StopRequest() as stop:
        hopeless = check_networks(run, stop)
        if stop() or not measure_latency(run, stop, [n for n in run.networks if n.key not in hopeless]):
            return INTERRUPTED
        report = plan_trials(run, hopeless)
        _save_originals(run)
        if report.complete < report.planned:
            train_all(run, report, stop)
        if stop():
            return INTERRUPTED
    return 1 if trial_state(run.study, run.config.limits).failed else 0


def announce(run: StudyRun) -> None:
    """Say first what the study will do."""
    for name, text in _announcement(run):
        run.console.print(f"{name:<9} {text}", markup=False, highlight=False, soft_wrap=True)


def _announcement(run: StudyRun) -> list[tuple[str, str]]:
    config, data, space = run.config, run.dataset, run.space
    protocol = config.training_protocol()
    split = split_indices(len(data), seed=protocol.split_seed)
    done = sum(r.state == COMPLETE for r in records(run.study, config.limits))
    same = sum(len(n.intents) - 1 for n in run.networks)
    distinct = len({n.network_key for n in run.networks})
    networks = f"{distinct} different ones"
    networks += f", trained in {len(run.networks)} different ways" if distinct < len(run.networks) else ""
    networks += f"; {same} combinations make the same network as another" if same else ""
    networks += f"; {len(run.invalid)} cannot exist, the first because: {run.invalid[0].reason}" if run.invalid else ""
    sizes = f"{len(split.train)} to train, {len(split.validation)} to validate, {len(split.test)} to test"
    training = f"{config.device}, at most {protocol.epochs} epochs, batch {protocol.batch_size}, Adam {protocol.learning_rate:g}"
    batches = " and ".join(map(str, config.latency_batches))
    threads = f" with {config.latency_threads} thread(s)" if config.device == "cpu" else ""
    return [
        ("Study", f"{config.name}: {space.num_combinations()} combinations of {', '.join(space.factors)}"),
        ("Networks", networks),
        ("Trials", f"{len(run.networks) * config.seeds}, {config.seeds} for each network; {done} complete already"),
        ("Data", f"{data.name}, {len(data)} images at {data.image_size} px: {sizes}"),
        *(("", f"note: {note}") for note in data.notes),
        ("Training", f"{training}, {protocol.precision}; {run.options.workers} at a time"),
        ("Latency", f"batch {batches} on {config.device}{threads}, all networks in turns, before training"),
        ("Folder", str(run.options.out)),
        ("Dashboard", dashboard_command(run.options.where, run.folder.artifacts)),
    ]


def check_networks(run: StudyRun, stop: StopRequest) -> dict[str, str]:
    """Try every network that has trials left, before anything is timed or trained: network -> why it can't be studied.

    InputError where none can: then the space, its pieces or the settings are wrong, and nothing is stored.
    """
    found = records(run.study, run.config.limits)
    complete = Counter(record.network_key for record in found if record.state == COMPLETE)
    protocol = run.config.training_protocol()
    num_train = len(split_indices(len(run.dataset), seed=protocol.split_seed).train)
    hopeless: dict[str, str] = {}
    for network in run.networks:
        if complete[network.key] >= run.config.seeds or stop():
            continue
        own = network.protocol(protocol)
        finding = check_network(network.spec, own, run.config.device, last_batch=num_train % own.batch_size)
        if finding.reason:
            hopeless[network.key] = finding.reason
        for text in [f"cannot be trained: {finding.reason}"] if finding.reason else [finding.note] if finding.note else []:
            run.console.print(f"{'':<9} {network.label}: {text}", markup=False, highlight=False, soft_wrap=True)
    if hopeless and len(hopeless) == len(run.networks) and not run.study.get_trials(deepcopy=False):
        raise InputError(f"No network of the study can be trained. {run.networks[0].label}: {hopeless[run.networks[0].key]}.")
    return hopeless


def measure_latency(run: StudyRun, stop: StopRequest, networks: list[Variant]) -> bool:
    """Time networks side by side where any lacks its latency; False when stopped before the end."""
    retry, reference = run.options.retry_failed, network_of(run.space.reference())
    networks = list({n.network_key: n for n in networks}.values())  # variants of one network share what is measured
    for batch_size in run.config.latency_batches:
        # another process that starts the same study waits here, and then finds the latency measured
        with FileLock(run.folder.path / "latency.lock"):
            if missing_latency(run.study, networks, run.config.device, batch_size, retry_failed=retry):
                session = LatencySession(config=run.config, networks=networks, reference=reference, folder=run.folder)
                budget = run.options.latency_budget_s
                session.measure(run.study, batch_size, budget_s=budget, console=run.console, should_stop=stop)
        if stop():
            return False
    if run.config.device == "cuda":
        torch.cuda.empty_cache()  # the workers need what this process no longer holds
    return True


def plan_trials(run: StudyRun, hopeless: Mapping[str, str]) -> PlanReport:
    """Enqueue every (network, seed) that is neither done nor on its way; those of a network without hope are failed at once."""
    jobs = []
    for seed in range(run.config.seeds):
        for network in run.networks:
            attrs = {"label": network.label, "spec": network.spec.to_dict(), "intents": [dict(i) for i in network.intents]}
            attrs["factors"] = dict(network.intents[0])
            attrs |= {"protocol": dict(network.changes)} if network.changes else {}
            jobs.append(Job(network_key=network.key, seed=seed, params=network.intents[0], attrs=attrs))
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
    from ablation.design.spec import ALIASES, PIECE_FIELDS
    from blocks import FAMILIES

    found = {}
    for factor, levels in space.factors.items():
        family = PIECE_FIELDS.get(ALIASES.get(factor, (factor,))[0])
        found[factor] = list(dict.fromkeys([*(FAMILIES[family].names() if family else ()), *levels]))
    return found


def _save_originals(run: StudyRun) -> None:
    split = split_indices(len(run.dataset), seed=run.config.training_protocol().split_seed)
    np.save(run.folder.originals, np.asarray(run.dataset.images[split.test[:NUM_SHOWN]]))


def train_all(run: StudyRun, report: PlanReport, stop: StopRequest) -> None:
    """Train what waits, here or in worker processes, with a bar for the study and one for each running trial."""
    for file in ProgressFile.all(run.folder.progress):
        file.clear()
    with Board(run.config.name, report.planned, report.complete, run.console) as board:
        (_train_here if run.options.workers == 1 else _train_in_workers)(run, board, stop)


def _train_here(run: StudyRun, board: Board, stop: StopRequest) -> None:
    split = split_indices(len(run.dataset), seed=run.config.training_protocol().split_seed)
    context = TrialContext(
        config=run.config,
        folder=run.folder,
        dataset=run.dataset,
        split=split,
        on_step=lambda label, step, steps, detail: board.trial(0, label, step, steps, detail),
    )
    tell = _Teller(run, board)

    def on_event(event: Event) -> None:
        if event.kind not in ("started", "waiting"):
            board.trial(0, "", 0, 1)
            tell()

    work(run.study, context, should_stop=stop, on_event=on_event)


def _train_in_workers(run: StudyRun, board: Board, stop: StopRequest) -> None:
    options, shown = run.options, set[int]()
    command = [sys.executable, "-m", "studies.engine.worker", "--storage", options.where]
    command += ["--data-root", options.data_root] if options.data_root else []
    command += ["--cache-dir", options.cache_dir] if options.cache_dir else []
    command += [part for plugin in options.plugins for part in ("--plugin", plugin)]
    command += ["--", str(options.out), options.study]  # last: a name may begin with a dash
    tell = _Teller(run, board)

    def on_tick(state: StudyState) -> None:
        tell()
        present = {file.worker: said for file in ProgressFile.all(run.folder.progress) if (said := file.read())}
        for worker in shown - set(present):
            board.trial(worker, "", 0, 1)
        for worker, said in present.items():
            board.trial(worker, said["label"], said["step"], said["steps"], said["detail"])
        shown.clear()
        shown.update(present)

    for log in (run.folder.path / "logs").glob("worker-*.log"):
        log.unlink()
    fleet = run_workers(
        command,
        options.workers,
        study=run.study,
        should_stop=stop,
        on_tick=on_tick,
        reconcile_s=1.0,
        limits=run.config.limits,
        log_dir=run.folder.path / "logs",
    )
    tell()
    left = trial_state(run.study, run.config.limits)
    if not fleet.stopped and left.waiting + left.stale:
        raise InputError(_last_words(run.folder.path / "logs", left.waiting + left.stale))


def _last_words(logs: Path, num_left: int) -> str:
    """Why workers gave up with work left, from what the last of them printed."""
    texts = [path.read_text(errors="replace").strip() for path in sorted(logs.glob("worker-*.log"))]
    said = next((text.splitlines()[-1].removeprefix("error: ") for text in reversed(texts) if text), "they left no message")
    return f"The workers ended with {num_left} trials left, the last of them saying: {said} Their output is in {logs}."


class _Teller:
    """Prints a line for each trial that ended since it was last called."""

    def __init__(self, run: StudyRun, board: Board) -> None:
        self.run, self.board = run, board
        self.told = {t.number for t in run.study.get_trials(deepcopy=False) if t.state.is_finished()}

    def __call__(self) -> None:
        for trial in self.run.study.get_trials(deepcopy=False):
            if trial.number in self.told or not trial.state.is_finished():
                continue
            self.told.add(trial.number)
            label = f"{trial.user_attrs.get('label', 'trial')}, seed {trial.user_attrs.get('seed', '?')}"
            if trial.values:
                loss, latency, params = trial.values
                took = duration(trial.duration.total_seconds()) if trial.duration else "?"
                self.board.finished(label, f"loss {loss:.4f}, {latency:.2f} ms, {params / 1e6:.3f} M parameters, {took}")
            else:
                kind = trial.user_attrs.get("reason_kind", "failed")
                self.board.failed(
                    label, f"{'failed' if kind == 'error' else kind}: {trial.user_attrs.get('reason', 'no reason stored')}"
                )


def _stopped(run: StudyRun) -> int:
    run.console.print("Stopped. What is done is kept; the same command goes on from here:", markup=False)
    run.console.print(f"  {run.options.command}", markup=False, highlight=False, soft_wrap=True)
    return INTERRUPTED
