"""A journal file that no killed process and no full disk can break: Optuna's format, with safer appending.

Optuna's own backend leaves a torn last line when a process dies while writing or the disk is full; the next entry is then glued to
it and the file is broken for everyone. Here every append first cuts what is torn, under the lock, and undoes itself on an error.
The lock is the kernel's, so that it dies with its holder, and beside it Optuna's own, so that optuna-dashboard's writes wait too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend, JournalFileSymlinkLock

from blocks.errors import must_be

FORCE_AFTER_S = 3  # optuna-dashboard holds its lock for milliseconds; a longer one was left by a killed process
BLOCK_BYTES = 1 << 16


class SafeJournal(BaseJournalBackend):
    """Journal backend over one file, made if it is missing. Raises InputError when the file cannot be written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _writable(path):
            self._reader = JournalFileBackend(str(path))
        self._batch: list[dict[str, Any]] | None = None

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Entries from a number on; an unfinished last line does not count."""
        yield from self._reader.read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append entries, all or none of them; inside `batch` they wait for its end."""
        if self._batch is not None:
            self._batch.extend(logs)
            return
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with _writable(self.path), locked(self.path):
            _append(self.path, text.encode())

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Everything appended inside goes to the disk at once, with one synchronisation."""
        if self._batch is not None:  # nested: the outer one writes
            yield
            return
        self._batch = []
        try:
            yield
        finally:
            entries, self._batch = self._batch, None
            if entries:
                self.append_logs(entries)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the journal against every other writer, optuna-dashboard included."""
    guest = JournalFileSymlinkLock(str(path), grace_period=FORCE_AFTER_S)
    with FileLock(f"{path}.flock"):
        guest.acquire()
        try:
            yield
        finally:
            with suppress(RuntimeError):  # a dashboard took it for abandoned; the kernel's lock still kept our own writers apart
                guest.release()


def check_journal(path: Path) -> None:
    """Cut a torn last line; raise InputError, changing nothing, where any other line is not an entry."""
    if path.is_dir() or (path.exists() and not path.is_file()):
        raise must_be("storage", "a journal file or a database URL", str(path), "Name a file, e.g. study.log in that folder.")
    if path.exists() and _scan(path):
        with _writable(path), locked(path):
            _cut(path)


def _scan(path: Path) -> bool:
    """Whether the last line is torn. InputError at the first complete line that is no journal entry."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return True
            try:
                entry = json.loads(line)
            except ValueError:  # not JSON, or not UTF-8
                entry = None
            if not isinstance(entry, dict) or not {"op_code", "worker_id"} <= entry.keys():
                rule = "an Optuna journal with one JSON entry a line"
                remedy = f"That is line {number}; nothing was changed. Restore a copy of the file, or use another --storage."
                raise must_be(f"storage {path}", rule, line[:40].decode(errors="replace").rstrip("\n"), remedy)
    return False


def _cut(path: Path) -> None:
    with path.open("rb+") as file:
        file.truncate(_whole_bytes(file.fileno()))


def _append(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        size = _whole_bytes(descriptor)
        if size < os.fstat(descriptor).st_size:
            os.ftruncate(descriptor, size)
        try:
            while data:
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)
        except BaseException:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


def _whole_bytes(descriptor: int) -> int:
    """Bytes up to and with the last newline."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - BLOCK_BYTES) if os.pread(descriptor, 1, end - 1) != b"\n" else end - 1
        position = os.pread(descriptor, end - start, start).rfind(b"\n")
        if position >= 0:
            return start + position + 1
        end = start
    return 0


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    """Turn what the operating system says about the file into one line for the user."""
    try:
        yield
    except OSError as error:
        remedy = "Free some space, or use another --storage; what is stored is intact."
        raise must_be(f"storage {path}", "a file that can be written", error.strerror or str(error), remedy) from error
