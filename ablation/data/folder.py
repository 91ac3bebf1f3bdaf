"""Folders of image files: a cheap listing, and decoding over all cores."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
from PIL import Image

from ablation.data.names import digest, few
from ablation.data.pixels import Decoded, to_rgb
from ablation.machine.cores import num_cores
from blocks.errors import must_be

Task = TypeVar("Task")
Result = TypeVar("Result")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
# image formats by their usual suffix that are not read
UNREAD = (
    ".apng", ".arw", ".avif", ".avifs", ".cr2", ".dds", ".dng", ".eps", ".gif", ".heic", ".heif", ".ico", ".j2k", ".jfif", ".jp2",
    ".jpe", ".jpx", ".jxl", ".mpo", ".nef", ".pbm", ".pcx", ".pgm", ".pnm", ".ppm", ".psd", ".qoi", ".raw", ".sgi", ".svg", ".tga",
    ".tif", ".tiff",
)  # fmt: skip
# part of every cache key: change it when `decode` changes
RESIZING = "PIL convert RGB, 16 bits by the high byte, EXIF orientation applied, bilinear (antialiased), aspect ratio not kept"
BATCH_FILES = 32  # files that one task decodes: few enough for a smooth progress bar, enough to hide the cost of a task


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The image files of a folder, sorted by name, without having read any."""

    root: Path
    names: tuple[str, ...]  # relative to root, with forward slashes
    sizes: tuple[int, ...]  # bytes
    # times of modification and of change and file number (inode), one list of each: what a swapped file can't keep all of
    stamps: tuple[tuple[int, ...], ...]
    left_out: tuple[str, ...] = ()  # entries that are not image files by their name, hidden ones included
    skipped: tuple[str, ...] = ()  # folders with image files none of which are among the first `limit`

    def key(self) -> str:
        """Where the files are and when they last changed; for the cache, not for a study."""
        return digest([os.path.realpath(self.root), self.names, self.sizes, self.stamps])

    def notes(self, limit: int | None) -> list[str]:
        """What a report must say of the selection: files that are no images or not read, a subset of folders, too few files."""
        unread = [name for name in self.left_out if is_unread(name)]
        others = [name for name in self.left_out if not is_unread(name)]
        notes = [f"{len(others)} entries of the folder are not image files by their name: {few(others)}"] if others else []
        if unread:
            kinds = ", ".join(sorted({PurePosixPath(name).suffix.lower() for name in unread}))
            notes.append(f"{len(unread)} image files are of formats that are not read ({kinds}) and were left out: {few(unread)}")
        if self.skipped:
            taken = sorted({folder_of(name) for name in self.names})
            notes.append(
                f"the first {len(self.names)} images by name come from {len(taken)} of {len(taken) + len(self.skipped)} folders "
                f"({few(taken)}); none from {few(self.skipped)}"
            )
        if limit is not None and len(self.names) < limit:
            notes.append(f"only {len(self.names)} of the {limit} images asked for are there")
        return notes


def stamp(stat: os.stat_result) -> tuple[int, int, int]:
    """What tells that a file was changed or swapped, also where its size and its time of modification are the same."""
    return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def folder_of(name: str) -> str:
    """The folder of a listed name; "." for the listing's own."""
    return name.rpartition("/")[0] or "."


def is_unread(name: str) -> bool:
    """Whether it is an image by its suffix, of a format that is not read. Hidden files are none."""
    path = PurePosixPath(name)
    return path.suffix.lower() in UNREAD and not path.name.startswith(".")


def list_images(root: Path, *, recursive: bool = True, limit: int | None = None) -> Listing:
    """The image files below `root` by suffix, sorted by name, the first `limit` of them.

    Only the files that are kept are asked for size and time, so that a subset of a large folder stays cheap. InputError for a
    folder that can't be listed.
    """
    try:
        files, left_out = _walk(root, recursive)
        names = sorted(files)[:limit]
        # lists of numbers, not one of stat results, which would keep the garbage collector busy in large folders
        columns: tuple[list[int], ...] = ([], [], [], [])
        for name in names:
            stat = files[name].stat()  # of what a link points to
            for column, value in zip(columns, (stat.st_size, *stamp(stat)), strict=True):
                column.append(value)
    except OSError as error:
        rule = "an existing folder that can be listed"
        raise must_be("root (--data-root)", rule, str(root), f"It failed with: {error.strerror} ({error.filename}).") from error
    return Listing(
        root=root,
        names=tuple(names),
        sizes=tuple(columns[0]),
        stamps=tuple(map(tuple, columns[1:])),
        left_out=tuple(sorted(left_out)),
        skipped=tuple(sorted({folder_of(name) for name in files} - {folder_of(name) for name in names})),
    )


def _walk(root: Path, recursive: bool) -> tuple[dict[str, os.DirEntry[str]], list[str]]:
    """The image files by relative name, unsorted, and the names of everything else."""
    files: dict[str, os.DirEntry[str]] = {}
    left_out: list[str] = []
    pending: list[tuple[str, str, tuple[str, ...]]] = [(str(root), "", (os.path.realpath(root),))]
    while pending:
        folder, prefix, above = pending.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                name = prefix + entry.name
                if entry.name.startswith("."):
                    left_out.append(name)
                elif entry.name.lower().endswith(SUFFIXES) and entry.is_file():
                    files[name] = entry
                elif recursive and entry.is_dir() and (real := os.path.realpath(entry.path)) not in above:
                    # a link back to a folder above would never end
                    pending.append((entry.path, name + "/", (*above, real)))
                else:
                    left_out.append(name)
    return files, left_out


def decode(path: str | Path, size: int) -> Decoded:
    """One image as 3 x size x size, as PIL decodes, converts and resizes it: bilinear, antialiased, the aspect ratio not kept.

    JPEG draft mode would be faster but gives another image. What `ablation.data.pixels` does to get RGB is among the remarks.
    """
    with Image.open(path) as image:
        rgb, remarks = to_rgb(image)
    if rgb is None:
        return Decoded(None, remarks)
    resized = rgb.resize((size, size), Image.Resampling.BILINEAR)
    return Decoded(np.asarray(resized).transpose(2, 0, 1), remarks)  # S x S x 3 -> 3 x S x S


def try_decode(path: str, size: int) -> Decoded:
    """`decode`, or nothing for a file that is not an image or not a whole one. InputError where the file itself can't be read."""
    try:
        return decode(path, size)
    except MemoryError:
        raise
    except Exception as error:  # at a malformed file PIL raises OSError, SyntaxError, ValueError, struct.error, zlib.error, ...
        if isinstance(error, OSError) and error.errno is not None:
            # the disk or the rights, not the image: must not be remembered as a broken image
            raise must_be(path, "a readable file", error.strerror, "Mend that or take the file away.") from error
        return Decoded(None)


def decode_all(paths: Sequence[str], size: int) -> Generator[list[Decoded]]:
    """The decoded images in order, a batch at a time; PIL decodes without holding the GIL."""
    batches = [paths[first : first + BATCH_FILES] for first in range(0, len(paths), BATCH_FILES)]
    return in_order(lambda batch: [try_decode(path, size) for path in batch], batches, num_cores())


def in_order(work: Callable[[Task], Result], tasks: Iterable[Task], num_threads: int) -> Generator[Result]:
    """`map` over threads, a few tasks ahead of the reader; closing it drops what has not begun."""
    pool = ThreadPoolExecutor(num_threads)
    ahead: deque[Future[Result]] = deque()
    try:
        for task in tasks:
            ahead.append(pool.submit(work, task))
            if len(ahead) > 2 * num_threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
