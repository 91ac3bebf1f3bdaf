"""Lines of ended trials: of how many, and how much time is left, by number or by time."""

from __future__ import annotations

import time
from io import StringIO
from pathlib import Path

from rich.console import Console

from studies.work.progress import Board, ProgressFile, own_machine


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


def test_processes_of_one_number_on_two_machines_do_not_collide(tmp_path: Path) -> None:
    mine, theirs, old = ProgressFile(tmp_path, 7), ProgressFile(tmp_path, 7, "node-2.ab"), ProgressFile(tmp_path, 7, "")
    for number, file in enumerate((mine, theirs, old)):
        file.write(f"net{number}", number, 9)
    assert old.path.name == "worker-7.json"  # as earlier versions named it
    found = {(file.worker, file.machine): file.read() for file in ProgressFile.all(tmp_path)}
    assert {key: state["label"] for key, state in found.items() if state} == {
        (7, own_machine()): "net0", (7, "node-2.ab"): "net1", (7, ""): "net2",
    }  # fmt: skip
    assert [file.path for file in ProgressFile.all(tmp_path, own_machine())] == [mine.path]
    text = StringIO()
    with Board("study", 3, 0, Console(file=text, force_terminal=True, width=200)) as board:
        board.show_workers(tmp_path)
        theirs.clear()
        board.show_workers(tmp_path)
    assert all(label in text.getvalue() for label in ("net0", "net1", "net2"))
