"""Which failures may pass when the same is tried again, and which are sure to come back; databases that go away. No torch here."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa
from optuna.exceptions import StorageInternalError

# as torch words what ends with the memory, or the device, of the moment
SIGNS = (
    "out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED", "CUDA error", "cuDNN error", "CUDNN_STATUS",
    "CUBLAS_STATUS", "NCCL",
)  # fmt: skip
# files, memory, storages; and an entry that another process has yet to write
PASSING = (OSError, MemoryError, EOFError, KeyError, StorageInternalError, sa.exc.SQLAlchemyError)
RECONNECT_S = 120.0  # how long a database that went away is waited for
MOST_PAUSE_S = 2.0
# classes of SQLSTATE: no connection, rolled back for another transaction, the operator shuts down or the server starts
STATES = ("08", "40", "57")
T = TypeVar("T")


class TrialFailed(Exception):  # noqa: N818 - an outcome
    """An objective's expected failure, e.g. a loss that is not a number; the message is the reason, in one line.

    `certain`: the same trial would fail in the same way again, so it is not tried again.
    """

    def __init__(self, reason: str, *, certain: bool = False) -> None:
        super().__init__(reason)
        self.certain = certain


class TrialInfeasible(Exception):  # noqa: N818 - an outcome
    """What was measured before training breaks a limit; the message is the reason. The trial is recorded and never trained."""


class TrialStopped(Exception):  # noqa: N818 - an outcome
    """A rung has stopped a training whose checkpoint is kept; the message is the reason. It may go on."""


def may_pass(error: BaseException) -> bool:
    """Whether the same work may succeed the next time: for want of memory, files or a device, unlike an error in the network."""
    if isinstance(error, TrialFailed):
        return not error.certain
    causes = [error, *([error.__cause__] if error.__cause__ else [])]
    return any(isinstance(e, PASSING) or any(sign in str(e) for sign in SIGNS) for e in causes)


def until_answered(action: Callable[[], T]) -> T:
    """Do it, again and again where the connection to a database is lost, for RECONNECT_S at most: databases are restarted.

    The action must be safe to be done twice: an answer that got lost may have been a success.
    """
    end, pause_s = time.monotonic() + RECONNECT_S, 0.1
    while True:
        try:
            return action()
        except (StorageInternalError, sa.exc.SQLAlchemyError) as error:
            if not connection_lost(error) or time.monotonic() + pause_s > end:
                raise
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, MOST_PAUSE_S)


def connection_lost(error: BaseException) -> bool:
    """Whether a database could not be reached, went away, or rolled back for the sake of another transaction."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if not isinstance(cause, sa.exc.DBAPIError) or isinstance(cause.orig, sqlite3.Error):
        return False
    state = getattr(cause.orig, "sqlstate", None) or ""
    unreached = isinstance(cause, sa.exc.OperationalError) and cause.statement is None
    return cause.connection_invalidated or unreached or state[:2] in STATES
