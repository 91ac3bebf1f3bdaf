"""Data sets of image files: listed, decoded once into the cache, and known by what was decoded."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ablation.data.base import Dataset
from ablation.data.cache import ArrayFile, Entry, cached
from ablation.data.celeba import AttributeTable, read_attributes
from ablation.data.folder import RESIZING, Listing, decode_all, stamp, try_decode
from ablation.data.identity import content_fingerprint, duplicate_notes, listing_fingerprint
from ablation.data.masks import MASK_RESIZING, MaskFiles, decode_masks
from ablation.data.names import digest, few
from ablation.data.pixels import NO_SCALE, READ_OTHERWISE, remark_notes
from ablation.data.splits import MIN_IMAGES
from blocks.errors import check_whole, must_be

MIN_SIZE = 8
FORMAT = 2  # of the cache; raise it when what an entry holds changes


@dataclass(frozen=True, kw_only=True)
class Request:
    """What every source needs to know besides its name and its folder."""

    image_size: int
    limit: int | None
    seed: int
    cache_dir: Path
    progress: bool

    def __post_init__(self) -> None:
        check_whole("image_size (--image-size)", self.image_size, MIN_SIZE)
        if self.limit is not None:
            check_whole("limit (--images)", self.limit, MIN_IMAGES)
        check_whole("seed", self.seed, 0)


@dataclass(kw_only=True)
class _Read:
    """What came of the files of a listing, in order."""

    kept: list[str] = field(default_factory=list)  # names that are in images.npy
    pixels: list[bytes] = field(default_factory=list)  # SHA-256 of each of them
    bad: list[str] = field(default_factory=list)  # names that are not whole images
    remarks: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # remark -> names


def open_files(name: str, listing: Listing, table: Path | None, masks: MaskFiles | None, request: Request) -> Dataset:
    """A dataset of image files. The notes about the folder are made anew each time; those about the images lie in the cache."""
    num, size = len(listing.names), request.image_size
    if num < MIN_IMAGES:
        raise must_be("root (--data-root)", f"a folder with at least {MIN_IMAGES} images", f"{num} in {listing.root}")

    def build(folder: Path) -> Mapping[str, Any]:
        return _decode_into(folder, name, listing, read_attributes(table) if table else None, masks, request)

    parts = [FORMAT, name, listing.key(), _signature(table), size, RESIZING]
    key = digest(parts if masks is None else [*parts, masks.key(), MASK_RESIZING])
    num_bytes = num * (3 if masks is None else 4) * size * size
    entry, damaged = cached(request.cache_dir, f"{name}-{size}px-{key}", build, num_bytes=num_bytes, progress=request.progress)
    return open_entry(name, entry, listing.notes(request.limit), damaged)


def _signature(table: Path | None) -> list[object] | None:
    """Enough of the attribute table to see that it changed."""
    if table is None:
        return None
    stat = table.stat()
    return [table.name, stat.st_size, *stamp(stat)]


def _decode_into(
    folder: Path, name: str, listing: Listing, table: AttributeTable | None, masks: MaskFiles | None, request: Request
) -> Mapping[str, Any]:
    """Build the entry of a listing: images.npy, attributes.npy and masks.npy where there are any, and what `open_entry` needs."""
    size = request.image_size
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # on transparency or odd EXIF data; the pixels are the same
        if table is not None:
            _check_rows(listing, table, size)
        if masks is not None:
            masks.check(lambda name: _is_image(listing, name, size))
        read = _decode_images(folder / "images.npy", listing, size, request.progress)
    if len(read.kept) < MIN_IMAGES:
        left_out = [*read.bad, *read.remarks[NO_SCALE]]
        got = f"{len(read.kept)} of {len(listing.names)}; not images: {few(left_out)}"
        raise must_be("root (--data-root)", f"a folder with at least {MIN_IMAGES} images that can be decoded", got)
    masked = None if masks is None else _masks_into(folder / "masks.npy", masks, read.kept, request)
    attributes, names = (None, ()) if table is None else (table.of(read.kept), table.names)
    if attributes is not None:
        with ArrayFile(folder / "attributes.npy", np.uint8, (len(names),)) as file:
            file.append(attributes)
    return {
        "names": read.kept,
        "fingerprint": content_fingerprint(
            name, read.kept, size, read.pixels, attributes=attributes, attribute_names=names, masks=masked
        ),
        "former": _former(name, listing, read, size, masked),
        "notes": _notes(read, len(listing.names), name == "celeba" and table is None),
        "attribute_names": names,
    }


def _former(name: str, listing: Listing, read: _Read, size: int, masked: str | None) -> list[str]:
    """What earlier versions called these data; nothing where they made other pixels of a file."""
    if any(read.remarks.get(remark) for remark in READ_OTHERWISE):
        return []
    sizes = dict(zip(listing.names, listing.sizes, strict=True))
    return [listing_fingerprint(name, read.kept, [sizes[file] for file in read.kept], size, masked)]


def _notes(read: _Read, total: int, lacks_table: bool) -> list[str]:
    bad = [f"{len(read.bad)} of {total} files are not whole images and were left out: {few(read.bad)}"] if read.bad else []
    missing = ["no attribute table was found beside the images"] if lacks_table else []
    return [*bad, *remark_notes(read.remarks, total), *duplicate_notes(read.kept, read.pixels), *missing]


def _is_image(listing: Listing, name: str, size: int) -> bool:
    return try_decode(os.path.join(listing.root, name), size).pixels is not None


def _check_rows(listing: Listing, table: AttributeTable, size: int) -> None:
    """Tell of an image without a row before decoding all the others; a file that is no image needs none."""
    for name in listing.names:
        if table.row(name) is None and _is_image(listing, name, size):
            raise table.no_row(name)


def _decode_images(path: Path, listing: Listing, size: int, progress: bool) -> _Read:
    """Decode every file into `path`."""
    read = _Read()
    batches = decode_all([os.path.join(listing.root, name) for name in listing.names], size)
    names = iter(listing.names)
    rows = ArrayFile(path, np.uint8, (3, size, size))
    with rows, closing(batches), bar("decoding images", len(listing.names), progress) as shown:
        for batch in batches:
            good: list[NDArray[np.uint8]] = []
            for name, (pixels, remarks) in zip([next(names) for _ in batch], batch, strict=True):
                for remark in remarks:
                    read.remarks[remark].append(name)
                if pixels is not None:
                    good.append(np.ascontiguousarray(pixels))
                    read.kept.append(name)
                    read.pixels.append(hashlib.sha256(good[-1].data).digest())
                elif not remarks:
                    read.bad.append(name)
            if good:
                rows.append(np.stack(good))
            shown.update(len(batch))
    return read


def _masks_into(path: Path, masks: MaskFiles, kept: list[str], request: Request) -> str:
    """Decode the masks of the images that were kept; the SHA-256 of what was written, since masks of equal size may differ."""
    size = request.image_size
    batches = decode_masks(masks, kept, size)
    rows = ArrayFile(path, np.uint8, (size, size))
    with rows, closing(batches), bar("decoding masks", len(kept), request.progress) as shown:
        for batch in batches:
            rows.append(np.stack(batch))
            shown.update(len(batch))
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_entry(name: str, entry: Entry, notes: list[str], damaged: bool) -> Dataset:
    """The dataset of a whole entry; its arrays stay on disk until they are read."""
    values = entry.values
    images = entry.array("images")
    assert images is not None
    again = ["the cache entry was damaged and was built again"] if damaged else []
    return Dataset(
        name=name,
        images=images,
        names=tuple(values["names"]),
        fingerprint=values["fingerprint"],
        former=tuple(values.get("former", ())),
        attributes=entry.array("attributes"),
        attribute_names=tuple(values.get("attribute_names", ())),
        factors=entry.array("factors"),
        factor_names=tuple(values.get("factor_names", ())),
        masks=entry.array("masks"),
        notes=(*values["notes"], *notes, *again),
    )


def bar(title: str, total: int, progress: bool) -> tqdm[Any]:
    """A bar on stderr with the time left."""
    return tqdm(total=total, desc=title, unit="image", disable=not progress)
