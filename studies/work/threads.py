"""As many threads as are quick at the moment: beside other programs one is often far quicker than all.

Threads that work on one tensor wait for each other after every operation. Where another program holds a core, each wait may last
as long as the scheduler leaves it there: two threads on two busy cores were 40 times slower than on still ones, one thread twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits
from torch.nn.functional import conv2d

from ablation.machine.cores import num_cores

CALLS = 10


@contextmanager
def quick_threads(seconds: Callable[[int], float] | None = None) -> Iterator[None]:
    """Inside, torch uses all cores or one, whichever is quicker now, and libraries beside it one thread each; after, as before.

    `seconds`: of some work of torch's with so many threads; a few small convolutions unless given.
    """
    before, cores = torch.get_num_threads(), num_cores()
    with threadpool_limits(1):  # scikit-learn's problems here are small: more threads never helped, also on a still machine
        try:
            torch.set_num_threads(min({cores, 1}, key=seconds or _seconds))
            yield
        finally:
            torch.set_num_threads(before)


def _seconds(num_threads: int) -> float:
    torch.set_num_threads(num_threads)
    x, weights = torch.ones(16, 16, 48, 48), torch.ones(16, 16, 3, 3)
    with torch.inference_mode():
        conv2d(x, weights)
        start = time.perf_counter()
        for _ in range(CALLS):
            conv2d(x, weights)
    return time.perf_counter() - start
