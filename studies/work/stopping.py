"""Stopping gently: the first Ctrl-C (or SIGTERM) asks to finish the step and stop, the second stops at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

PARENT = "STUDY_PARENT_PID"  # environment of a worker process: who started it


def interrupt_everywhere() -> None:
    """From now on Ctrl-C counts wherever it comes: Python drops one that lands in a finaliser, as when memory is being freed."""

    def again(dropped: Any) -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            main = threading.main_thread().ident
            threading.Timer(0.01, signal.pthread_kill, [main, signal.SIGINT]).start()  # once the finaliser has ended
        else:
            sys.__unraisablehook__(dropped)

    sys.unraisablehook = again


class StopRequest:
    """Called, it says whether to stop. Entered in the main thread, it takes SIGINT and SIGTERM.

    The second signal raises KeyboardInterrupt. A worker whose parent process is gone is asked to stop as well, so that no worker
    outlives a killed study unseen.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._parent = int(parent) if (parent := os.environ.get(PARENT, "")).isdecimal() else 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        return self.asked > 0 or (self._parent > 0 and os.getppid() != self._parent)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.asked += 1
        if self.asked > 1:
            raise KeyboardInterrupt
