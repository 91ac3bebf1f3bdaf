"""Stopping gently: the first Ctrl-C (or SIGTERM) asks to finish the step and stop, the second stops at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

PARENT = "STUDY_PARENT_PID"  # environment of a worker process: who started it
LOOK_S = 0.5  # between two looks whether the parent process is there
DEAF_S = 5.0  # so long a worker without a parent may take to end by itself


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

    The second signal raises KeyboardInterrupt. SIGUSR2, by which a cluster warns before it ends a task, only asks. A worker whose
    parent process is gone is asked to stop as well, and interrupted where it does not, so that no worker outlives a killed study
    unseen.
    """

    def __init__(self) -> None:
        self.asked, self.warned = 0, False
        self._parent = int(parent) if (parent := os.environ.get(PARENT, "")).isdecimal() else 0
        self._before: dict[int, Any] = {}
        self._left = threading.Event()

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
            self._before[number] = signal.signal(number, self._on_signal)
        if self._parent:
            threading.Thread(target=self._watch, name="watch of the parent process", daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._left.set()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        return self.asked > 0 or self.warned or self._is_orphan()

    def _is_orphan(self) -> bool:
        return self._parent > 0 and os.getppid() != self._parent

    def _watch(self) -> None:
        """Interrupt a training that never asks whether to stop, once nobody waits for it any more."""
        while not self._left.wait(LOOK_S):
            if self._is_orphan():
                self.asked = max(1, self.asked)
                if not self._left.wait(DEAF_S):
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.warned |= number == signal.SIGUSR2  # whose processes' parent then sends SIGTERM too
        self.asked += number != signal.SIGUSR2
        if self.asked > 1:
            raise KeyboardInterrupt
