"""Threads: the quicker number inside, everything as it was after."""

from __future__ import annotations

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from studies.work import threads
from studies.work.threads import quick_threads


def others() -> list[int]:
    """Threads of every library but torch's own OpenMP."""
    return [pool["num_threads"] for pool in threadpool_info() if "torch" not in pool["filepath"]]


@pytest.mark.parametrize(("seconds", "expected"), [({1: 2.0, 4: 1.0}, 4), ({1: 1.0, 4: 2.0}, 1)])
def test_the_quicker_number_is_used(monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], expected: int) -> None:
    monkeypatch.setattr(threads, "num_cores", lambda: 4)
    torch.set_num_threads(2)
    with threadpool_limits(2):
        torch.set_num_threads(2)
        before = others()
        with quick_threads(seconds.__getitem__):
            assert torch.get_num_threads() == expected
            assert set(others()) == {1}
        assert torch.get_num_threads() == 2
        assert others() == before


def test_measuring_leaves_the_callers_random_numbers_and_threads() -> None:
    torch.set_num_threads(2)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    with quick_threads():
        assert torch.get_num_threads() in (1, threads.num_cores())
        assert torch.equal(torch.rand(4), expected), "nothing is drawn from the caller's generator"
    assert torch.get_num_threads() == 2


def test_an_error_inside_puts_the_threads_back() -> None:
    torch.set_num_threads(2)

    def fail() -> None:
        with quick_threads({1: 1.0, threads.num_cores(): 2.0}.__getitem__):
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    assert torch.get_num_threads() == 2
