"""Which failures may pass when the same trial is tried again, and which are sure to come back. No torch here."""

from __future__ import annotations

import sqlalchemy as sa
from optuna.exceptions import StorageInternalError

# as torch words what ends with the memory, or the device, of the moment
SIGNS = (
    "out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED", "CUDA error", "cuDNN error", "CUDNN_STATUS",
    "CUBLAS_STATUS", "NCCL",
)  # fmt: skip
# files, memory, storages; and an entry that another process has yet to write
PASSING = (OSError, MemoryError, EOFError, KeyError, StorageInternalError, sa.exc.SQLAlchemyError)


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
