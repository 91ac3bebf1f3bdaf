"""How many CPU cores, and threads, there are for this process. No torch."""

from __future__ import annotations

import os

MOST_THREADS = 1024


def num_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def num_threads() -> int:
    """Threads that OMP_NUM_THREADS asks for: of a list, one number for each level of nesting, the first; else all cores."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(int(first), MOST_THREADS) if first.isascii() and first.isdigit() and int(first) else num_cores()
