"""Opening Optuna's storage: a journal file by default, or any database URL; studies in it; the planner's lock.

This is the only module that reaches below Optuna's public names (`_storage`, `_study_id`, `_backend`), as optuna-dashboard does.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
import sqlalchemy as sa
from filelock import FileLock
from optuna.exceptions import ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage
from optuna.trial import FrozenTrial, TrialState

from blocks.errors import must_be
from studies.store.db.database import Clock, Database
from studies.store.db.locks import IsHeld, session_lock
from studies.store.db.opening import PROXY, is_proxy_error, open_database, open_proxy, unreachable
from studies.store.db.opening import is_url as is_url
from studies.store.db.opening import public_url as public_url
from studies.store.journal import SafeJournal, check_journal

COST_NAMES = ("latency_ms", "params")  # objectives of every study beside the first


def open_storage(where: str | Path, *, must_exist: bool = False, patient: bool = False, connections: int = 1) -> BaseStorage:
    """The storage at a path (journal file) or a URL (database), made if it is missing unless `must_exist`.

    A torn last line of a journal is cut. `patient`: a database that is being restarted is waited for. `connections` to a database's
    server are kept while they are idle, by what serves many at once. Raises InputError, without credentials, for a journal with
    garbage in it, a place that cannot be written or reached, a missing driver, or a database of another Optuna.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if is_url(where):
        is_proxy = str(where).startswith(f"{PROXY}://")
        return open_proxy(str(where)) if is_proxy else open_database(str(where), must_exist, patient, connections)
    path = Path(where)
    if must_exist and not path.exists():
        raise must_be("storage", "an existing journal file", str(path), "Start a study first, or name its --storage.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        check_journal(path)
        return JournalStorage(SafeJournal(path))
    except OSError as error:
        raise must_be(f"storage {path}", "in a folder that can be written", error.strerror, "Choose another --storage.") from error


def open_study(storage: BaseStorage, name: str, leading: tuple[str, bool] = ("loss", True)) -> optuna.Study:
    """The study of this name, made if it is missing: best validation loss, lowest latency in milliseconds and fewest parameters.

    `leading`: what stands for the loss in a study that is made, and whether lower is better.
    """
    sampler = optuna.samplers.RandomSampler(seed=0)  # never asked: every trial comes from the queue with all its levels
    with storage_errors(storage):
        if name in optuna.get_all_study_names(storage):  # opening must not write: reports read committed journals
            study = optuna.load_study(storage=storage, study_name=name, sampler=sampler)
        else:
            directions: list[Any] = ["minimize" if leading[1] else "maximize", *["minimize"] * len(COST_NAMES)]
            study = optuna.create_study(
                storage=storage, study_name=name, sampler=sampler, directions=directions, load_if_exists=True
            )
        if study.metric_names is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                study.set_metric_names([leading[0], *COST_NAMES])
    return study


def study_names(storage: BaseStorage) -> list[str]:
    """Names of the studies in a storage, oldest first."""
    with storage_errors(storage):
        return list(optuna.get_all_study_names(storage))


@contextmanager
def storage_errors(owner: BaseStorage | optuna.Study) -> Iterator[None]:
    """Turn the errors of a database, or of a proxy of one, into one line for the user, without credentials."""
    try:
        yield
    except Exception as error:
        if not (isinstance(error, StorageInternalError | sa.exc.SQLAlchemyError) or is_proxy_error(error)):
            raise
        database = database_of(owner)
        shown = proxy_of(owner) if database is None else public_url(str(database.engine.url))
        raise unreachable(shown, error.__cause__ or error) from error


def database_of(owner: BaseStorage | optuna.Study) -> Database | None:
    """The database behind a study, or None for a journal."""
    storage = owner._storage if isinstance(owner, optuna.Study) else owner
    return storage if isinstance(storage, Database) else None


def proxy_of(owner: BaseStorage | optuna.Study) -> str:
    """The address of the proxy through which a study is reached; empty where it is not."""
    storage = owner._storage if isinstance(owner, optuna.Study) else owner
    return f"{PROXY}://{storage._host}:{storage._port}" if isinstance(storage, GrpcStorageProxy) else ""


def check_lockable(owner: BaseStorage | optuna.Study) -> None:
    """InputError where a study can't be locked, before anything is planned or proposed."""
    if proxy := proxy_of(owner):
        rule, remedy = "the database itself, for what plans or proposes", "Name its URL; workers of a grid may go by the proxy."
        raise must_be("storage", rule, proxy, remedy)


def _journal(study: optuna.Study) -> SafeJournal | None:
    backend = getattr(study._storage, "_backend", None)
    return backend if isinstance(backend, SafeJournal) else None


def journal_path(study: optuna.Study) -> Path | None:
    """The journal file behind a study, or None for a database."""
    journal = _journal(study)
    return journal.path if journal is not None else None


@contextmanager
def batched(study: optuna.Study) -> Iterator[None]:
    """Group the attributes set inside into one write of a journal; a database writes them one by one.

    Raises UpdateFinishedTrialError, at the latest at the end, when they belong to a finished trial.
    """
    backend = _journal(study)
    if backend is None:
        yield
        return
    with backend.batch():
        yield
    refused: UpdateFinishedTrialError | None = None
    while True:  # the storage refuses one entry each time that it reads them back
        try:
            study._storage.get_study_id_from_name(study.study_name)
            break
        except UpdateFinishedTrialError as error:
            refused = error
    if refused is not None:
        raise refused


def set_attrs(trial: optuna.Trial, attrs: Mapping[str, Any]) -> None:
    """Set user attributes of a trial in one write of a journal, one transaction of a database.

    Raises UpdateFinishedTrialError, having set none, when the trial is finished.
    """
    database = database_of(trial.study)
    if database is None:
        with batched(trial.study):
            for name, value in attrs.items():
                trial.set_user_attr(name, value)
    else:
        database.set_attrs(trial._trial_id, attrs)
        trial._cached_frozen_trial.user_attrs.update(attrs)  # as after `trial.set_user_attr`


def claim_waiting(study: optuna.Study, lease: Mapping[str, Any]) -> optuna.Trial | None:
    """Begin the first trial that waits in a database, in one transaction with this lease; None when none waits."""
    database = database_of(study)
    assert database is not None
    trial_id = database.claim(study._study_id, lease)
    return None if trial_id is None else optuna.Trial(study, trial_id)


def finish(trial: optuna.Trial, state: TrialState, values: Sequence[float] | None, attrs: Mapping[str, Any]) -> bool:
    """End a trial with its values and last user attributes; False when another had ended it.

    In a database that is one transaction, and a call whose answer got lost with the connection is known again.
    """
    database = database_of(trial.study)
    if database is not None:
        return database.finish(trial._trial_id, state, values, attrs)
    try:
        set_attrs(trial, attrs)
        trial.study.tell(trial, values, state)
    except (UpdateFinishedTrialError, ValueError):
        if trial.storage.get_trial(trial._trial_id).state.is_finished():
            return False
        raise
    return True


def begin_trial(study: optuna.Study, template: FrozenTrial) -> optuna.Trial:
    """Add a trial with all that it has from the start."""
    return optuna.Trial(study, study._storage.create_new_trial(study._study_id, template))


def whole(study: optuna.Study, trial: FrozenTrial) -> FrozenTrial:
    """A trial with everything that is stored of it."""
    return study._storage.get_trial(trial._trial_id)


def state_of(trial: optuna.Trial) -> TrialState:
    """The state in which a trial is now."""
    database = database_of(trial.study)
    return trial.storage.get_trial(trial._trial_id).state if database is None else database.state(trial._trial_id)


def brief_trials(study: optuna.Study) -> Sequence[FrozenTrial]:
    """All trials; of a database with no more than what the states of jobs rest on."""
    database = database_of(study)
    return study.get_trials(deepcopy=False) if database is None else database.brief_trials(study._study_id)


def num_trials(study: optuna.Study, states: Sequence[TrialState]) -> int:
    """How many trials are in these states."""
    database = database_of(study)
    if database is None:
        return len(study.get_trials(deepcopy=False, states=states))
    return database.num_trials(study._study_id, states)


def other_trials(trial: optuna.Trial, attrs: Mapping[str, Any]) -> Sequence[FrozenTrial]:
    """Trials that are complete, run or wait, beside this one, and have these user attributes."""
    database = database_of(trial.study)
    if database is not None:
        return database.same(trial.study._study_id, trial._trial_id, attrs)
    others = trial.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.RUNNING, TrialState.WAITING))
    return [t for t in others if t.number != trial.number and attrs.items() <= t.user_attrs.items()]


def shared_clock(study: optuna.Study) -> Clock:
    """The time that all machines of a study share: a database's own, beside a journal that of each machine, by a proxy none."""
    database = database_of(study)
    return Clock(now=time.time(), shared=not proxy_of(study)) if database is None else database.clock()


def set_constraints(trial: optuna.Trial, constraints: Mapping[str, float]) -> None:
    """Set constraints of a trial, positive where a limit is broken; those that an earlier try had already stay."""
    known = trial.storage.get_trial(trial._trial_id).constraints
    for name, value in constraints.items():
        if name not in known:
            trial.set_constraint(name, value)


@contextmanager
def exclusive(study: optuna.Study, purpose: str = "plan") -> Iterator[IsHeld]:
    """Keep every other process out that asks for the same of this study; the lock ends with the process or its connection.

    What it yields says whether the lock is still held, for those that hold it long. Raises LockLost at the end where it was not.
    """
    check_lockable(study)
    file, database = journal_path(study), database_of(study)
    if database is not None and database.engine.dialect.name == "sqlite":
        file = Path(database.engine.url.database or ":memory:")
    elif database is not None:
        with session_lock(database.engine, f"{study._study_id}/{purpose}") as is_held:
            yield is_held
        return
    if file is None or file.name == ":memory:":
        yield lambda: True  # in memory: there is no other process
        return
    with FileLock(f"{file}.{quote(purpose, safe='')}.lock"):
        yield lambda: True


def get_system_attrs(study: optuna.Study) -> dict[str, Any]:
    """The study's hidden attributes (Optuna's dashboard does not list them)."""
    return dict(study._storage.get_study_system_attrs(study._study_id))


def get_system_attrs_of(study: optuna.Study, prefix: str) -> dict[str, Any]:
    """The study's hidden attributes whose names begin so, without those of a dashboard, which may be large."""
    database = database_of(study)
    if database is not None:
        return database.study_attrs(study._study_id, prefix)
    return {name: value for name, value in get_system_attrs(study).items() if name.startswith(prefix)}


def drop_system_attr(study: optuna.Study, name: str) -> None:
    """Forget a hidden attribute of the study."""
    database = database_of(study)
    if database is not None:
        database.drop_study_attr(study._study_id, name)
    else:
        set_system_attr(study, name, None)


def set_system_attr(study: optuna.Study, name: str, value: Any) -> None:
    """Overwrite one hidden attribute of the study; in a database that is one row, however often."""
    study._storage.set_study_system_attr(study._study_id, name, value)


def set_trial_system_attrs(trial: optuna.Trial, attrs: Mapping[str, Any]) -> None:
    """Set hidden attributes of a trial. UpdateFinishedTrialError when it is finished."""
    for name, value in attrs.items():
        trial.storage.set_trial_system_attr(trial._trial_id, name, value)


def attached(study: optuna.Study, number: int) -> optuna.Trial:
    """A handle on an existing trial, to set its attributes."""
    return optuna.Trial(study, study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number))
