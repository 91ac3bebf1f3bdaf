"""A worker's loop, in this process: get a trial from the source, run the objective on it, store how it ended."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import optuna
from optuna.trial import TrialState

from ablation.record.trial import INFEASIBLE, STOPPED
from studies.store.history import ERROR, INTERRUPTED, LIMITS, Limits
from studies.store.lease import BEAT_S, Worker
from studies.store.queue import fail, reconcile
from studies.store.retry import TrialFailed as TrialFailed
from studies.store.retry import TrialInfeasible, TrialStopped, may_pass
from studies.store.source import Enumerated, TrialSource
from studies.store.storage import COST_NAMES, finish, storage_errors

Objective = Callable[[optuna.Trial], Sequence[float]]
LINGER_S = 1.0  # between two questions for trials that run elsewhere
TRACEBACK_CHARS = 8000


class TrialInterrupted(Exception):  # noqa: N818 - an outcome
    """The objective was asked to stop and has saved its checkpoint; the next plan enqueues the job again."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """A step of a worker: kind is started, waiting, or the name of a list of WorkerReport."""

    kind: str
    number: int = -1
    reason: str = ""


@dataclass(kw_only=True)
class WorkerReport:
    """What one worker did, as numbers of trials."""

    complete: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    interrupted: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)  # finished by another before this worker could store its end
    refused: list[int] = field(default_factory=list)  # had no key or was a duplicate
    infeasible: list[int] = field(default_factory=list)  # broke a limit before any training
    halted: list[int] = field(default_factory=list)  # stopped at a rung
    stopped: bool = False  # asked to stop before the work was done


OnEvent = Callable[[Event], None]


def never() -> bool:
    """Do not stop."""
    return False


def ignore(event: Event) -> None:
    """Do nothing."""


def run_worker(
    study: optuna.Study,
    objective: Objective,
    *,
    source: TrialSource | None = None,
    should_stop: Callable[[], bool] = never,
    on_event: OnEvent = ignore,
    limits: Limits = LIMITS,
    beat_s: float = BEAT_S,
    linger: bool = True,
) -> WorkerReport:
    """Run trials until every job is complete or out of attempts, or until asked to stop.

    The objective returns (validation loss, latency_ms, params); it should ask `should_stop` and `lease_lost` often, and raise
    TrialInterrupted when either says so. Any other exception is a recorded failure; one that may pass (`studies.store.retry`) is
    tried again within this run up to `limits`. `source`: where trials come from, the queue unless given. With `linger` a worker
    that gets no trial waits for those that run elsewhere, and takes over those whose worker is lost. InputError when storage fails.
    """
    source = source or Enumerated(limits=limits)
    waited = False
    with storage_errors(study), Worker(study, beat_s=beat_s, stale_after_s=limits.stale_after_s) as worker:
        run = _Run(study, worker, objective, on_event)
        while not should_stop():
            trial = source.next_job(study, worker, run.refused)
            if trial is not None:
                waited = False
                run.run(trial)
                if run.report.stopped:
                    return run.report
            elif not reconcile(study, limits):
                if not linger or not source.remaining(study):
                    return run.report
                if not waited:
                    on_event(Event(kind="waiting"))
                waited = True
                _pause(LINGER_S, should_stop)
        run.report.stopped = True
    return run.report


class _Run:
    """The trials that one worker runs, and how they ended."""

    def __init__(self, study: optuna.Study, worker: Worker, objective: Objective, on_event: OnEvent) -> None:
        self.study, self.worker, self.objective, self.on_event = study, worker, objective, on_event
        self.report = WorkerReport()

    def run(self, trial: optuna.Trial) -> None:
        """Run the objective on a claimed trial and store how it ended."""
        self.on_event(Event(kind="started", number=trial.number))
        try:
            values = _checked(self.objective(trial))
        except TrialInterrupted as error:
            self._end(trial, "interrupted", INTERRUPTED, str(error) or "interrupted")
            self.report.stopped = trial.number in self.report.interrupted and not self.worker.lost
        except TrialInfeasible as error:
            self._end(trial, "infeasible", INFEASIBLE, str(error), certain=True)
        except TrialStopped as error:
            self._end(trial, "halted", STOPPED, str(error), certain=True)
        except Exception as error:
            reason = str(error) if isinstance(error, TrialFailed) else f"{type(error).__name__}: {error}"
            trace = traceback.format_exc()[-TRACEBACK_CHARS:]
            self._end(trial, "failed", ERROR, reason, trace, certain=not may_pass(error))
        except BaseException as error:  # a second Ctrl-C, or sys.exit
            self._end(trial, "interrupted", INTERRUPTED, f"interrupted by {type(error).__name__}")
            raise
        else:
            self._note("complete" if self._is_stored(trial, values) else "lost", trial.number)
        finally:
            self.worker.release()

    def refused(self, number: int, kind: str, reason: str) -> None:
        """Note a trial that the source refused to run; `kind` is refused or infeasible."""
        self._note(kind, number, reason)

    def _is_stored(self, trial: optuna.Trial, values: list[float]) -> bool:
        return finish(trial, TrialState.COMPLETE, values, {})

    def _end(self, trial: optuna.Trial, outcome: str, kind: str, reason: str, trace: str = "", *, certain: bool = False) -> None:
        ended = fail(self.study, trial, kind, reason, trace, certain=certain)
        self._note(outcome if ended else "lost", trial.number, reason)

    def _note(self, outcome: str, number: int, reason: str = "") -> None:
        getattr(self.report, outcome).append(number)
        self.on_event(Event(kind=outcome, number=number, reason=reason))


def _checked(values: Sequence[float]) -> list[float]:
    numbers = [float(value) for value in values]
    if len(numbers) != 1 + len(COST_NAMES) or not all(math.isfinite(number) for number in numbers):
        raise TrialFailed(f"the objective must return finite quality, {', '.join(COST_NAMES)}, got {numbers}")
    return numbers


def _pause(seconds: float, should_stop: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not should_stop():
        time.sleep(0.05)
