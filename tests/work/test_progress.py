"""Lines of ended trials: of how many, and how much time is left, by number or by time."""

from __future__ import annotations

import time
from io import StringIO

from rich.console import Console

from studies.work.progress import Board


def lines(**board: float) -> list[str]:
    text = StringIO()
    with Board("study", 3, 0, Console(file=text, width=200), **board) as shown:
        shown.finished("first", "loss 1")
        shown.failed("second", "no kernel")
        shown.finished("third", "loss 2")
    return text.getvalue().splitlines()


def test_a_study_of_so_many_trials_counts_them() -> None:
    first, second, third = lines()
    assert first.startswith("[1/3] first: loss 1 (") and first.endswith(" left)")
    assert second == "[1/3] second: no kernel" and third.startswith("[2/3] third: loss 2")


def test_a_study_that_a_time_ends_has_no_total() -> None:
    first, second, _ = lines(until=time.time() + 3600)
    assert first.startswith("[1] first: loss 1 (") and first.endswith(" left to propose)")
    assert second == "[1] second: no kernel"
    assert lines(until=time.time() - 5)[0] == "[1] first: loss 1"
