"""Opening Optuna's storage: a journal file by default, or any database URL; studies in it; the planner's lock.

This is the only module that reaches below Optuna's public names (`_storage`, `_study_id`, `_backend`), as optuna-dashboard does.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
import sqlalchemy as sa
from filelock import FileLock
from optuna.exceptions import ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages._rdb.models import TrialUserAttributeModel

from ablation.machine.text import first_line
from blocks.errors import InputError, must_be
from studies.store.journal import SafeJournal, check_journal
from studies.store.locks import IsHeld, session_lock

COST_NAMES = ("latency_ms", "params")  # objectives of every study beside the first
SQLITE_WAIT_S = 60
DATABASES = ("sqlite", "postgresql", "mysql", "mariadb")


def open_storage(where: str | Path, *, must_exist: bool = False) -> BaseStorage:
    """The storage at a path (journal file) or a URL (database), made if it is missing unless `must_exist`.

    A torn last line of a journal is cut. Raises InputError, without credentials, for a journal with garbage in it, a place that
    cannot be written or reached, a missing driver, or a database of another Optuna.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if is_url(where):
        return _open_database(str(where), must_exist)
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


def is_url(where: str | Path) -> bool:
    """Whether this names a database rather than a journal file."""
    return isinstance(where, str) and "://" in where


def public_url(url: str) -> str:
    """A database URL that may be printed: no user, no password, no query."""
    try:
        parts = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        return url.split("://", 1)[0] + "://..."
    if parts.get_backend_name() == "sqlite":
        return f"sqlite:///{parts.database or ''}"
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.drivername}://{parts.host or ''}{port}/{parts.database or ''}"


def _open_database(url: str, must_exist: bool) -> BaseStorage:
    try:
        parts = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise must_be("storage", "a path or a database URL", public_url(url), "E.g. sqlite:///study.db.") from error
    if parts.get_backend_name() not in DATABASES:
        raise must_be("storage", "a path or the URL of SQLite, PostgreSQL or MySQL", public_url(url), "E.g. sqlite:///study.db.")
    if parts.drivername == "postgresql":
        raise must_be("storage", "a URL that spells its driver", public_url(url), "Write postgresql+psycopg://...")
    file = parts.database if parts.get_backend_name() == "sqlite" else None
    if file and must_exist and not Path(file).exists():
        raise must_be("storage", "an existing database", public_url(url), "Start a study first, or name its --storage.")
    wait = {"connect_args": {"timeout": SQLITE_WAIT_S}} if parts.get_backend_name() == "sqlite" else {"pool_pre_ping": True}
    try:
        with FileLock(f"{file}.open.lock") if file and file != ":memory:" else nullcontext():  # two processes making the tables
            storage = RDBStorage(url, engine_kwargs=wait)
    except (sa.exc.NoSuchModuleError, ImportError) as error:
        driver = parts.drivername.partition("+")[2] or parts.drivername
        remedy = f"Install the driver {driver}, e.g. pip install 'psycopg[binary]' for PostgreSQL."
        raise must_be("storage", "a URL whose driver is installed", public_url(url), remedy) from error
    except (sa.exc.SQLAlchemyError, OSError) as error:
        raise _unreachable(public_url(url), error) from error
    except RuntimeError as error:  # Optuna's check of the tables' version
        remedy = "Use a new database; Optuna 4 and 5 must not share one."
        raise must_be(f"storage {public_url(url)}", "a database of this Optuna", first_line(error)[:200], remedy) from error
    if parts.get_backend_name() == "sqlite":
        _begin_immediate(storage.engine)
    weakref.finalize(storage, storage.engine.dispose)  # connections are closed, not dropped
    return storage


def _begin_immediate(engine: sa.Engine) -> None:
    """Lock SQLite at the start of a transaction, not at its first write: between a read and a write two workers took one trial."""

    @sa.event.listens_for(engine, "connect")
    def _(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # sqlite3 itself then never begins

    @sa.event.listens_for(engine, "begin")
    def _(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # connections made before must not come back


@contextmanager
def storage_errors(owner: BaseStorage | optuna.Study) -> Iterator[None]:
    """Turn a database's errors into one line for the user, without credentials."""
    try:
        yield
    except (StorageInternalError, sa.exc.SQLAlchemyError) as error:
        engine = _engine(owner)
        shown = "" if engine is None else public_url(str(engine.url))
        raise _unreachable(shown, error.__cause__ or error) from error


def _unreachable(shown: str, error: BaseException) -> InputError:
    original = getattr(error, "orig", None) or error
    remedy = "Check that it runs and can be written; what is stored is intact."
    # Drivers repeat the host and the user, never the password; a line that could hold one is not shown.
    line = first_line(original)[:200]
    reason = line if "://" not in line else type(original).__name__
    return must_be(f"storage {shown}", "a database that can be reached", reason, remedy)


def _backend(owner: BaseStorage | optuna.Study) -> Any:
    storage: Any = owner._storage if isinstance(owner, optuna.Study) else owner
    return storage if isinstance(storage, RDBStorage) else storage._backend if hasattr(storage, "_backend") else storage


def _engine(owner: BaseStorage | optuna.Study) -> sa.Engine | None:
    backend = _backend(owner)
    return backend.engine if isinstance(backend, RDBStorage) else None


def journal_path(study: optuna.Study) -> Path | None:
    """The journal file behind a study, or None for a database."""
    backend = _backend(study)
    return backend.path if isinstance(backend, SafeJournal) else None


@contextmanager
def batched(study: optuna.Study) -> Iterator[None]:
    """Group the attributes set inside into one write of a journal; a database writes them one by one.

    Raises UpdateFinishedTrialError, at the latest at the end, when they belong to a finished trial.
    """
    backend = _backend(study)
    if not isinstance(backend, SafeJournal):
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
    backend = _backend(trial.study)
    if not isinstance(backend, RDBStorage):
        with batched(trial.study):
            for name, value in attrs.items():
                trial.set_user_attr(name, value)
        return
    with backend.scoped_session() as session, session.begin():
        for name, value in attrs.items():
            backend._set_trial_attr_without_commit(session, TrialUserAttributeModel, trial._trial_id, name, value)
    trial._cached_frozen_trial = trial.storage.get_trial(trial._trial_id)  # as it is after `trial.set_user_attr`


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
    path, engine = journal_path(study), _engine(study)
    file = path if path is not None else _sqlite_file(engine)
    if file is not None:
        with FileLock(f"{file}.{quote(purpose, safe='')}.lock"):
            yield lambda: True
    elif engine is None or engine.dialect.name == "sqlite":
        yield lambda: True  # in memory: there is no other process
    else:
        with session_lock(engine, f"{study._study_id}/{purpose}") as is_held:
            yield is_held


def _sqlite_file(engine: sa.Engine | None) -> Path | None:
    file = engine.url.database if engine is not None and engine.dialect.name == "sqlite" else None
    return Path(file) if file not in (None, "", ":memory:") else None


def get_system_attrs(study: optuna.Study) -> dict[str, Any]:
    """The study's hidden attributes (Optuna's dashboard does not list them)."""
    return dict(study._storage.get_study_system_attrs(study._study_id))


def set_system_attr(study: optuna.Study, name: str, value: Any) -> None:
    """Overwrite one hidden attribute of the study; in a database that is one row, however often."""
    study._storage.set_study_system_attr(study._study_id, name, value)


def set_trial_system_attrs(trial: optuna.Trial, attrs: Mapping[str, Any]) -> None:
    """Set hidden attributes of a trial, which samplers keep there."""
    for name, value in attrs.items():
        trial.storage.set_trial_system_attr(trial._trial_id, name, value)


def attached(study: optuna.Study, number: int) -> optuna.Trial:
    """A handle on an existing trial, to set its attributes."""
    return optuna.Trial(study, study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number))
