"""Entries on disk that are built once: one builder at a time, written aside, renamed into place when whole.

An entry is a folder of .npy files and one meta.json, which names every file with size and time. A process that is killed
while building leaves only a folder called NAME.building-PID, which the next builder takes away; its lock ends with the process.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.lib import format as npy
from numpy.typing import NDArray

from blocks.errors import InputError, must_be

META = "meta.json"
BUILDING = ".building-"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A whole entry: its folder and what its builder had to say."""

    path: Path
    values: Mapping[str, Any]

    def array(self, name: str) -> NDArray[Any] | None:
        """An array of the entry, memory-mapped and read-only; None where the entry has none of that name."""
        path = self.path / f"{name}.npy"
        return np.load(path, mmap_mode="r") if path.exists() else None


class ArrayFile:
    """A .npy file that grows by rows. Plain writes raise on a full disk; writes to mapped memory would kill the process."""

    def __init__(self, path: Path, dtype: type[np.generic], row_shape: tuple[int, ...]) -> None:
        self.dtype, self.row_shape, self.num_rows = np.dtype(dtype), row_shape, 0
        self._file = open(path, "wb")  # noqa: SIM115 -- closed by __exit__
        self._write_header()

    def append(self, rows: NDArray[Any]) -> None:
        """Add n rows: n x row_shape."""
        assert (rows.shape[1:], rows.dtype) == (self.row_shape, self.dtype), (rows.shape, rows.dtype)
        self._file.write(np.ascontiguousarray(rows).data)
        self.num_rows += len(rows)

    def _write_header(self) -> None:
        """numpy leaves room for the first axis to grow, so that the header's length does not depend on the number of rows."""
        shape = (self.num_rows, *self.row_shape)
        npy.write_array_header_1_0(self._file, {"descr": npy.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape})

    def __enter__(self) -> ArrayFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            with suppress(OSError):  # the first error is the one to tell
                self._file.close()
            return
        with self._file as file:
            end_of_data = file.tell()
            file.seek(0)
            self._write_header()
            file.seek(0, os.SEEK_END)
            assert file.tell() == end_of_data
            os.fsync(file.fileno())


def default_cache_dir() -> Path:
    """$ABLATION_CACHE, or ~/.cache/ablation."""
    return Path(os.environ.get("ABLATION_CACHE") or "~/.cache/ablation").expanduser()


def cached(
    cache_dir: Path, name: str, build: Callable[[Path], Mapping[str, Any]], *, num_bytes: int, progress: bool = False
) -> tuple[Entry, bool]:
    """The entry called `name`, built by `build(folder)` if it is not there yet; True where a damaged one had to be built again.

    `build` writes files into the folder and returns JSON values. `num_bytes` is what it is going to need. Two processes that want
    the same entry build it once: the second waits. InputError where the folder can't be written or is too full.
    """
    target = cache_dir / name
    if entry := _read(target):
        return entry, False
    with _as_input_error(cache_dir, num_bytes):
        cache_dir.mkdir(parents=True, exist_ok=True)
        with _locked(cache_dir / f"{name}.lock", progress):
            if entry := _read(target):  # built while this process waited
                return entry, False
            damaged = target.exists()
            _clear_leftovers(cache_dir, name)
            if shutil.disk_usage(cache_dir).free < num_bytes:
                raise _not_writable(cache_dir, num_bytes, "too little free space")
            _build_aside(target, build)
    entry = _read(target)
    assert entry is not None, f"{target} was built but is not whole"
    return entry, damaged


def _build_aside(target: Path, build: Callable[[Path], Mapping[str, Any]]) -> None:
    """Build in a folder beside `target` and rename it; whatever interrupts leaves nothing behind."""
    aside = target.with_name(f"{target.name}{BUILDING}{os.getpid()}")
    aside.mkdir()
    try:
        values = build(aside)
        files = {path.name: _stamp(path) for path in aside.iterdir()}
        with open(aside / META, "w", encoding="utf-8") as file:
            json.dump({"values": values, "files": files}, file)
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(aside)
        if target.exists():  # damaged: renamed first, so that no reader sees it half removed
            damaged = target.with_name(f"{target.name}{BUILDING}damaged")
            os.replace(target, damaged)
            shutil.rmtree(damaged)
        os.replace(aside, target)
    except BaseException:  # Ctrl-C too
        shutil.rmtree(aside, ignore_errors=True)
        raise
    _sync_folder(target.parent)


def _read(path: Path) -> Entry | None:
    """The entry, or None where there is none, or a file of it is missing, cut short or changed since it was written."""
    try:
        meta = json.loads((path / META).read_text(encoding="utf-8"))
        whole = all(_stamp(path / name) == stamp for name, stamp in meta["files"].items())
        return Entry(path=path, values=meta["values"]) if whole else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


@contextmanager
def _locked(path: Path, progress: bool) -> Iterator[None]:
    """Hold the lock; the system frees it when its holder dies, however it dies."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0.5)
    except Timeout:
        if progress:
            print("Waiting for another process that prepares the same images ...", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _clear_leftovers(cache_dir: Path, name: str) -> None:
    """Take away what dead builders left. The caller holds the lock of `name`; of another entry only if nobody is building it."""
    for path in cache_dir.glob(f"*{BUILDING}*"):
        owner = path.name.rpartition(BUILDING)[0]
        if owner == name:
            shutil.rmtree(path)
            continue
        with suppress(Timeout), FileLock(cache_dir / f"{owner}.lock", timeout=0):
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _as_input_error(cache_dir: Path, num_bytes: int) -> Iterator[None]:
    """Builders turn errors of their source into InputError themselves, so an OSError here is one of the cache folder."""
    try:
        yield
    except OSError as error:
        raise _not_writable(cache_dir, num_bytes, error.strerror or str(error)) from error


def _not_writable(cache_dir: Path, num_bytes: int, reason: str) -> InputError:
    rule = f"a writable folder with {num_bytes / 1e6:.1f} MB free"
    remedy = f"It failed with: {reason}. Make room or name another folder with --cache-dir."
    return must_be("cache_dir (--cache-dir)", rule, str(cache_dir), remedy)


def _sync_folder(path: Path) -> None:
    """Make a rename last through a power cut, where the system can."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
