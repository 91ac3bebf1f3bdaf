"""Workers: claim a waiting trial, run the objective on it, tell; in this process."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from studies.store.history import ERROR, INTERRUPTED, MAX_ATTEMPTS, MAX_LOST, REFUSED, job_key
from studies.store.lease import BEAT_S, STALE_AFTER_S, Worker, lost_because, read_beats
from studies.store.queue import fail, reconcile
from studies.store.retry import TrialFailed as TrialFailed
from studies.store.retry import may_pass
from studies.store.storage import METRIC_NAMES, storage_errors

Objective = Callable[[optuna.Trial], Sequence[float]]
LINGER_S = 1.0  # between two looks at trials that run elsewhere
TRACEBACK_CHARS = 8000


class TrialInterrupted(Exception):  # noqa: N818 - an outcome
    """The objective was asked to stop and has saved its checkpoint; the next plan enqueues the job again."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that a worker tells: kind is started, complete, failed, interrupted, refused, lost or waiting."""

    kind: str
    number: int = -1
    reason: str = ""


@dataclass(kw_only=True)
class WorkerReport:
    """What one worker did."""

    complete: list[int] = field(default_factory=list)  # numbers of the trials
    failed: list[int] = field(default_factory=list)
    interrupted: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)  # finished by another before this worker could tell
    refused: list[int] = field(default_factory=list)  # had no key or was a duplicate
    stopped: bool = False  # asked to stop before the work was done


OnEvent = Callable[[Event], None]


def never() -> bool:
    """Do not stop."""
    return False


def ignore(event: Event) -> None:
    """Tell nobody."""


def claim(
    study: optuna.Study, worker: Worker, *, on_event: OnEvent = ignore, report: WorkerReport | None = None
) -> optuna.Trial | None:
    """The next waiting trial, with this worker's lease on it; None when none waits.

    A trial without a key (the queue ran dry between looking and asking, or someone enqueued by hand) and a second trial of a job
    that is complete or running are refused: failed with a reason that counts as no attempt.
    """
    while study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        trial = study.ask()
        reason = _refusal(study, trial, worker.stale_after_s)
        if not reason:
            try:
                worker.take(trial)
            except UpdateFinishedTrialError:
                continue
            return trial
        fail(study, trial, REFUSED, reason)
        _keep(report.refused if report else [], Event(kind="refused", number=trial.number, reason=reason), on_event)
    return None


def run_worker(
    study: optuna.Study,
    objective: Objective,
    *,
    should_stop: Callable[[], bool] = never,
    on_event: OnEvent = ignore,
    max_attempts: int = MAX_ATTEMPTS,
    max_lost: int = MAX_LOST,
    beat_s: float = BEAT_S,
    stale_after_s: float = STALE_AFTER_S,
    linger: bool = True,
) -> WorkerReport:
    """Run trials until every job is complete or out of attempts, or until asked to stop.

    The objective returns (validation loss, latency_ms, params); it should ask `should_stop` and `lease_lost` often, and raise
    TrialInterrupted when either says so. Any other exception is a recorded failure; one that may pass (`studies.store.retry`) is
    tried again within this run up to `max_attempts`. With `linger` a worker that finds the queue empty waits for trials that run
    elsewhere, and takes over those whose worker is lost. Raises InputError when the storage fails.
    """
    report = WorkerReport()
    waited = False
    with storage_errors(study), Worker(study, beat_s=beat_s, stale_after_s=stale_after_s) as worker:
        while not should_stop():
            trial = claim(study, worker, on_event=on_event, report=report)
            if trial is not None:
                waited = False
                _run(study, worker, trial, objective, on_event, report)
                report.stopped = bool(report.interrupted) and report.interrupted[-1] == trial.number and not worker.lost()
                if report.stopped:
                    return report
                continue
            if reconcile(study, max_attempts=max_attempts, max_lost=max_lost, stale_after_s=stale_after_s):
                continue
            if not linger or not study.get_trials(deepcopy=False, states=(TrialState.WAITING, TrialState.RUNNING)):
                return report
            if not waited:
                on_event(Event(kind="waiting"))
            waited = True
            _pause(LINGER_S, should_stop)
        report.stopped = True
    return report


def _run(
    study: optuna.Study, worker: Worker, trial: optuna.Trial, objective: Objective, on_event: OnEvent, report: WorkerReport
) -> None:
    on_event(Event(kind="started", number=trial.number))
    try:
        values = _checked(objective(trial))
    except TrialInterrupted as error:
        _end(study, trial, INTERRUPTED, str(error) or "interrupted", on_event, report)
    except Exception as error:
        said = str(error) if isinstance(error, TrialFailed) else f"{type(error).__name__}: {error}"
        trace = traceback.format_exc()[-TRACEBACK_CHARS:]
        _end(study, trial, ERROR, said, on_event, report, trace, certain=not may_pass(error))
    except BaseException as error:  # a second Ctrl-C, or sys.exit
        _end(study, trial, INTERRUPTED, f"interrupted by {type(error).__name__}", on_event, report)
        raise
    else:
        _complete(study, trial, values, on_event, report)
    finally:
        worker.release()


def _complete(study: optuna.Study, trial: optuna.Trial, values: list[float], on_event: OnEvent, report: WorkerReport) -> None:
    try:
        told = study.tell(trial, values, skip_if_finished=True).state == TrialState.COMPLETE
    except UpdateFinishedTrialError:  # finished by another between looking and writing
        told = False
    kept, kind = (report.complete, "complete") if told else (report.lost, "lost")
    _keep(kept, Event(kind=kind, number=trial.number), on_event)


def _end(
    study: optuna.Study,
    trial: optuna.Trial,
    kind: str,
    reason: str,
    on_event: OnEvent,
    report: WorkerReport,
    trace: str = "",
    *,
    certain: bool = False,
) -> None:
    told = fail(study, trial, kind, reason, trace, certain=certain)
    kept, name = (report.interrupted, "interrupted") if kind == INTERRUPTED else (report.failed, "failed")
    if not told:
        kept, name = report.lost, "lost"
    _keep(kept, Event(kind=name, number=trial.number, reason=reason), on_event)


def _checked(values: Sequence[float]) -> list[float]:
    numbers = [float(value) for value in values]
    if len(numbers) != len(METRIC_NAMES) or not all(math.isfinite(number) for number in numbers):
        raise TrialFailed(f"the objective must return finite {', '.join(METRIC_NAMES)}, got {numbers}")
    return numbers


def _refusal(study: optuna.Study, trial: optuna.Trial, stale_after_s: float) -> str:
    """Why a claimed trial is not to be run; empty when it is."""
    key = job_key(trial)
    if key is None:
        return "without a key: no plan enqueued it"
    beats = read_beats(study)
    for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.RUNNING)):
        if other.number == trial.number or job_key(other) != key:
            continue
        if other.state == TrialState.COMPLETE:
            return f"duplicate of trial {other.number}, which is complete"
        if other.number < trial.number and not lost_because(other, beats, stale_after_s):
            return f"duplicate of trial {other.number}, which is running"
    return ""


def _keep(numbers: list[int], event: Event, on_event: OnEvent) -> None:
    numbers.append(event.number)
    on_event(event)


def _pause(seconds: float, should_stop: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not should_stop():
        time.sleep(0.05)
