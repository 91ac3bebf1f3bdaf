"""Locks that processes and machines share through a database: each is free again when its holder ends, however it ends.

They are the database's own and belong to a connection, not to a transaction: one that is held for minutes keeps no old rows alive
and no other reader or writer waiting. A pooler between that shares connections by transaction (PgBouncer's transaction mode) breaks
them; connect to the database itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from optuna.exceptions import StorageInternalError

from studies.store.retry import until_answered

WAIT_S = 2  # for a lock that another holds, before asking anew: a statement that waits keeps old rows alive
# A machine that lost its power closes no connection: the server asks whether it is there, and gives up after a minute.
PREPARE = {
    "postgresql": f"SET lock_timeout = '{WAIT_S}s'; SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; "
    "SET tcp_keepalives_count = 3",
    "mysql": "SELECT 1",
}
ACQUIRE = {"postgresql": "SELECT 1 FROM pg_advisory_lock(:key)", "mysql": f"SELECT GET_LOCK(:key, {WAIT_S})"}
RELEASE = {"postgresql": "SELECT pg_advisory_unlock(:key)", "mysql": "SELECT RELEASE_LOCK(:key)"}
LOCK_NOT_AVAILABLE = "55P03"

IsHeld = Callable[[], bool]


class LockLost(StorageInternalError):  # noqa: N818 - an outcome
    """The connection that held a lock was lost: another may have held it meanwhile."""


@contextmanager
def session_lock(engine: sa.Engine, name: str) -> Iterator[IsHeld]:
    """Hold a lock of this name of the database's, on a connection of its own; what it yields says whether it is still held.

    Raises LockLost at the end where the connection was lost meanwhile.
    """
    dialect = "mysql" if engine.dialect.name == "mariadb" else engine.dialect.name
    digest = hashlib.sha256(f"{engine.url.database}/{name}".encode()).digest()[:8]  # MySQL's names hold for the whole server
    key = {"key": int.from_bytes(digest, signed=True) if dialect == "postgresql" else digest.hex()}
    connection = None
    while connection is None:
        connection = until_answered(lambda: _acquired(engine, dialect, key))

    def is_held() -> bool:
        try:
            return connection.scalar(sa.text("SELECT 1")) == 1
        except sa.exc.SQLAlchemyError:
            return False

    try:
        yield is_held
    finally:
        held = is_held() and bool(connection.scalar(sa.text(RELEASE[dialect]), key))
        connection.close()
    if not held:
        raise LockLost("a lock was lost with its connection")


def _acquired(engine: sa.Engine, dialect: str, key: dict[str, int | str]) -> sa.Connection | None:
    """A connection that holds the lock; None where another held it all the while."""
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    connection.detach()  # closed at the end, and with it whatever it holds
    got = False
    try:
        connection.execute(sa.text(PREPARE[dialect]))
        got = connection.scalar(sa.text(ACQUIRE[dialect]), key) == 1
    except sa.exc.OperationalError as error:
        if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
            raise
    finally:
        if not got:
            connection.close()
    return connection if got else None
