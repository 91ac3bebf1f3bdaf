"""Folders of image files: a cheap listing, and decoding over all cores."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ablation.cores import num_cores
from blocks.errors import must_be

Task = TypeVar("Task")
Result = TypeVar("Result")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
RESIZING = "PIL convert RGB, resize bilinear (antialiased), aspect ratio not kept"
# part of every fingerprint and cache key: change it when `decode` changes
BATCH_FILES = 32
# files that one task decodes: few enough for a smooth progress bar, enough to hide the cost of a task


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The image files of a folder, sorted by name, without having read any."""

    root: Path
    names: tuple[str, ...]
    # relative to root, with forward slashes
    sizes: tuple[int, ...]
    # bytes
    mtimes_ns: tuple[int, ...]
    left_out: tuple[str, ...] = ()
    # entries that are not image files by their name, hidden ones included

    def key(self) -> str:
        """Where the files are and when they last changed; for the cache, not for a study."""
        return digest([os.path.realpath(self.root), self.names, self.sizes, self.mtimes_ns])


def digest(values: object) -> str:
    """16 hex digits of a JSON value."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def few(names: Sequence[str], limit: int = 3) -> str:
    """The first few names of a list, for a message."""
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")


def list_images(root: Path, *, recursive: bool = True, limit: int | None = None) -> Listing:
    """The image files below `root` by suffix, sorted by name, the first `limit` of them.

    Only the files that are kept are asked for size and time, so that a subset of a large folder stays cheap. InputError for a
    folder that can't be listed.
    """
    try:
        found, left_out = _walk(root, recursive)
        names = sorted(found)[:limit]
        # two lists of numbers, not one of stat results, which would keep the garbage collector busy in large folders
        sizes, mtimes_ns = [], []
        for name in names:
            stat = found[name].stat()
            sizes.append(stat.st_size)
            mtimes_ns.append(stat.st_mtime_ns)
    except OSError as error:
        rule = "an existing folder that can be listed"
        raise must_be("root (--data-root)", rule, str(root), f"It failed with: {error.strerror} ({error.filename}).") from error
    return Listing(
        root=root,
        names=tuple(names),
        sizes=tuple(sizes),
        mtimes_ns=tuple(mtimes_ns),
        left_out=tuple(sorted(left_out)),
    )


def _walk(root: Path, recursive: bool) -> tuple[dict[str, os.DirEntry[str]], list[str]]:
    """The image files by relative name, unsorted, and the names of everything else."""
    found: dict[str, os.DirEntry[str]] = {}
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
                    found[name] = entry
                elif recursive and entry.is_dir() and (real := os.path.realpath(entry.path)) not in above:
                    # a link back to a folder above would never end
                    pending.append((entry.path, name + "/", (*above, real)))
                else:
                    left_out.append(name)
    return found, left_out


def decode(path: str | Path, size: int) -> NDArray[np.uint8]:
    """One image as 3 x size x size, as PIL decodes, converts and resizes it (paper: bilinear, antialiased, aspect ratio not kept).

    JPEG draft mode would be faster but gives another image. An orientation in EXIF data is not applied, as in the paper's code.
    """
    with Image.open(path) as image:
        resized = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(resized).transpose(2, 0, 1)  # S x S x 3 -> 3 x S x S


def try_decode(path: str, size: int) -> NDArray[np.uint8] | None:
    """`decode`, or None for a file that is not an image or not a whole one. InputError where the file itself can't be read."""
    try:
        return decode(path, size)
    except MemoryError:
        raise
    except Exception as error:  # at a malformed file PIL raises OSError, SyntaxError, ValueError, struct.error, zlib.error, ...
        if isinstance(error, OSError) and error.errno is not None:
            # the disk or the rights, not the image: must not be remembered as a broken image
            raise must_be(path, "a readable file", error.strerror, "Mend that or take the file away.") from error
        return None


def decode_all(paths: Sequence[str], size: int) -> Generator[list[NDArray[np.uint8] | None]]:
    """The decoded images in order, a batch at a time, None for a file that is not an image; PIL decodes without holding the GIL."""
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
