"""How many CPU cores there are for this process. No torch."""

from __future__ import annotations

import os


def num_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
