"""Files written whole or not at all, and errors in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablation.machine.files import write_atomic
from ablation.machine.text import first_line


def test_a_file_is_replaced_whole_in_a_folder_that_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_atomic(path, "größe")
    write_atomic(path, lambda part: part.write_bytes(b"bytes"))
    assert path.read_bytes() == b"bytes"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_atomic(path, "old")

    def fail(part: Path) -> None:
        part.write_text("half")
        raise RuntimeError("full")

    with pytest.raises(RuntimeError, match="full"):
        write_atomic(path, fail)
    assert (path.read_text(), list(tmp_path.iterdir())) == ("old", [path])
    with pytest.raises(FileExistsError):
        write_atomic(path / "below a file", "x")


@pytest.mark.parametrize(("message", "line"), [("a\nb", "a"), ("\n a \n", "a"), ("", "ValueError"), ("\n", "ValueError")])
def test_the_first_line_of_an_error(message: str, line: str) -> None:
    assert first_line(ValueError(message)) == line
    assert first_line(ValueError(""), "no reason given") == "no reason given"
