"""Opening databases, and proxies of them, by their URLs, and what may be printed of these."""

from __future__ import annotations

import sys
import warnings
import weakref
from contextlib import AbstractContextManager, nullcontext
from operator import call
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from filelock import FileLock
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, GrpcStorageProxy, RDBStorage

from ablation.machine.text import first_line
from blocks.errors import InputError, must_be
from studies.store.db.database import Database
from studies.store.db.locks import session_lock
from studies.store.retry import until_answered

SQLITE_WAIT_S = 60
RECYCLE_S = 600  # connections that were idle for long may have been dropped on the way
PROXY = "grpc"
PROXY_S = 10.0  # to be reached
DATABASES = ("sqlite", "postgresql", "mysql", "mariadb")


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


def open_database(url: str, must_exist: bool, patient: bool = False, connections: int = 1) -> Database:
    """The database of a URL. Raises InputError, without credentials, where it cannot be reached or is another Optuna's.

    `patient`: where it can't be reached at the moment it is waited for, as in the midst of a study. `connections` are kept while
    they are idle: one, as a server has a hundred or so for all workers; what serves many at once (a proxy) needs several.
    """
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
    settings: dict[str, Any] = {"pool_size": connections, "pool_recycle": RECYCLE_S}
    if parts.get_backend_name() == "sqlite":
        settings = {"connect_args": {"timeout": SQLITE_WAIT_S}}
    try:
        storage = (until_answered if patient else call)(lambda: _with_tables(parts, settings))
    except (sa.exc.NoSuchModuleError, ImportError) as error:
        driver = parts.drivername.partition("+")[2] or parts.drivername
        remedy = f"Install the driver {driver}, e.g. pip install 'psycopg[binary]' for PostgreSQL."
        raise must_be("storage", "a URL whose driver is installed", public_url(url), remedy) from error
    except (sa.exc.SQLAlchemyError, StorageInternalError, OSError) as error:
        raise unreachable(public_url(url), error.__cause__ or error) from error
    except RuntimeError as error:  # Optuna's check of the tables' version
        remedy = "Use a new database; Optuna 4 and 5 must not share one."
        raise must_be(f"storage {public_url(url)}", "a database of this Optuna", first_line(error)[:200], remedy) from error
    if parts.get_backend_name() == "sqlite":
        _begin_immediate(storage.engine)
    database = Database(storage)
    weakref.finalize(database, storage.engine.dispose)  # connections are closed, not dropped
    return database


def open_proxy(url: str) -> BaseStorage:
    """Optuna's proxy of a database, `grpc://host:port`, for workers and for looking: what plans must name the database itself.

    The server is `optuna.storages.run_grpc_proxy_server(open_storage(URL, connections=10), host=..., port=...)`. Through it
    nobody can lock a study (a lock must end with its holder, and Optuna's storages have none), set attributes in one
    transaction, or ask the database's time. So planning and proposing are refused, a lease is written after its trial is
    begun, and workers are judged by whether their beats change, by the clock of the one that looks.
    """
    remedy = "Start optuna.storages.run_grpc_proxy_server there, or name the database."
    try:
        parts = sa.make_url(url)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            proxy = GrpcStorageProxy(host=parts.host or "localhost", port=parts.port or 13000)
        proxy.wait_server_ready(timeout=PROXY_S)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise must_be("storage", "grpc://host:port", public_url(url), remedy) from error
    except ImportError as error:
        raise must_be("storage", "a URL whose driver is installed", public_url(url), "Run pip install grpcio protobuf.") from error
    except ConnectionError as error:
        raise must_be(f"storage {public_url(url)}", "a proxy that can be reached", str(error), remedy) from error
    weakref.finalize(proxy, proxy._channel.close)
    return proxy


def is_proxy_error(error: BaseException) -> bool:
    """Whether a proxy failed, or what it stands for."""
    grpc = sys.modules.get("grpc")
    return grpc is not None and isinstance(error, grpc.RpcError)


def _with_tables(url: sa.URL, settings: dict[str, Any]) -> RDBStorage:
    """Optuna's storage, whose tables are made where they are missing: by one of all the processes that open it at once."""
    alone: AbstractContextManager[object] = nullcontext()
    if url.get_backend_name() == "sqlite":
        if url.database and url.database != ":memory:":
            alone = FileLock(f"{url.database}.open.lock")
    else:
        engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
        if not sa.inspect(engine).has_table("alembic_version"):  # the last of them
            alone = session_lock(engine, "tables")
    with alone:
        return RDBStorage(url.render_as_string(hide_password=False), engine_kwargs=settings)


def _begin_immediate(engine: sa.Engine) -> None:
    """Lock SQLite at the start of a transaction, not at its first write: between a read and a write two workers took one trial."""

    @sa.event.listens_for(engine, "connect")
    def _(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # sqlite3 itself then never begins

    @sa.event.listens_for(engine, "begin")
    def _(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # connections made before must not come back


def unreachable(shown: str, error: BaseException) -> InputError:
    """The error of a database in one line for the user."""
    original = getattr(error, "orig", None) or error
    remedy = "Check that it runs and can be written; what is stored is intact."
    # Drivers repeat the host and the user, never the password; a line that could hold one is not shown.
    line = first_line(original)[:200]
    reason = line if "://" not in line else type(original).__name__
    return must_be(f"storage {shown}", "a database that can be reached", reason, remedy)
