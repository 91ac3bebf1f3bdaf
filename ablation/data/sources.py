"""The data sources by name: each decoded or rendered once into the cache, and from then on opened in an instant."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ablation.cores import num_cores
from ablation.data import faces
from ablation.data.base import Dataset
from ablation.data.cache import ArrayFile, Entry, cached, default_cache_dir
from ablation.data.celeba import AttributeTable, locate, read_attributes
from ablation.data.folder import RESIZING, SUFFIXES, Listing, decode_all, digest, few, in_order, list_images, try_decode
from ablation.data.masks import MASK_RESIZING, MaskFiles, decode_masks, masks_beside
from ablation.data.splits import MIN_IMAGES
from blocks.errors import choices, must_be

SOURCES = ("faces", "celeba", "folder")
NUM_FACES = 2000
# rendered faces where no limit is given
MIN_SIZE = 8
FORMAT = 1
# of the cache; raise it when what an entry holds changes
CHUNK_FACES = 25
THREADS_FROM_SIZE = 96


@dataclass(frozen=True, kw_only=True)
class _Request:
    """What every source needs to know besides its name and its folder."""

    image_size: int
    limit: int | None
    seed: int
    cache_dir: Path
    progress: bool

    def __post_init__(self) -> None:
        _check_whole("image_size (--image-size)", self.image_size, MIN_SIZE)
        if self.limit is not None:
            _check_whole("limit (--limit)", self.limit, MIN_IMAGES)
        _check_whole("seed", self.seed, 0)


def load_dataset(
    name: str,
    *,
    root: str | Path | None = None,
    image_size: int,
    limit: int | None = None,
    seed: int = 0,
    cache_dir: str | Path | None = None,
    progress: bool = False,
) -> Dataset:
    """The images of a source, decoded at image_size x image_size, from the cache where they are there already.

    `root` is the folder of "celeba" or "folder"; `limit` the number of faces to render, or how many files to take, first by name;
    `seed` that of the rendered faces (others have none). CelebA takes attributes and masks from beside its images.
    `cache_dir` defaults to $ABLATION_CACHE or ~/.cache/ablation; `progress` shows a bar on stderr while decoding. InputError for
    anything that a user can mend.
    """
    if name not in SOURCES:
        raise must_be("data (--data)", choices(SOURCES), name)
    cache = Path(cache_dir).expanduser() if cache_dir is not None else default_cache_dir()
    request = _Request(image_size=image_size, limit=limit, seed=seed, cache_dir=cache, progress=progress)
    if name == "faces":
        if root is not None:
            remedy = "Leave it out, or use --data celeba or --data folder."
            raise must_be("root (--data-root)", "left out with --data faces, which are drawn", str(root), remedy)
        return _faces(request)
    if root is None:
        raise must_be("root (--data-root)", f"the folder of the images with --data {name}", root, "Pass --data-root DIR.")
    path = Path(root).expanduser()
    return _celeba(path, request) if name == "celeba" else _folder(path, request)


def _check_whole(parameter: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise must_be(parameter, f"a whole number of at least {least}", value)


def _folder(root: Path, request: _Request) -> Dataset:
    listing = list_images(root, limit=request.limit)
    if not listing.names:
        raise must_be("root (--data-root)", f"a folder with images ({', '.join(SUFFIXES)})", str(root), "It holds none.")
    return _files("folder", listing, None, None, request)


def _celeba(root: Path, request: _Request) -> Dataset:
    listing, table = locate(root, limit=request.limit)
    return _files("celeba", listing, table, masks_beside(listing), request)


def _files(name: str, listing: Listing, table: Path | None, masks: MaskFiles | None, request: _Request) -> Dataset:
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
    notes: list[str] = []
    if listing.left_out:
        notes.append(f"{len(listing.left_out)} entries of the folder are not image files by their name: {few(listing.left_out)}")
    if request.limit is not None and num < request.limit:
        notes.append(f"only {num} of the {request.limit} images asked for are there")
    return _open(name, entry, notes, damaged)


def _signature(table: Path | None) -> list[object] | None:
    """Enough of the attribute table to see that it changed."""
    if table is None:
        return None
    stat = table.stat()
    return [table.name, stat.st_size, stat.st_mtime_ns]


def _decode_into(
    folder: Path, name: str, listing: Listing, table: AttributeTable | None, masks: MaskFiles | None, request: _Request
) -> Mapping[str, Any]:
    """Build the entry of a listing: images.npy, attributes.npy and masks.npy where there are any, and what `_open` needs beside."""
    size = request.image_size
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # on transparency or odd EXIF data; the pixels are the same
        if table is not None:
            _check_rows(listing, table, size)
        if masks is not None:
            masks.check(lambda name: try_decode(os.path.join(listing.root, name), size) is not None)
        kept, bad = _decode_images(folder / "images.npy", listing, size, request.progress)
    if len(kept) < MIN_IMAGES:
        got = f"{len(kept)} of {len(listing.names)}; not images: {few(bad)}"
        raise must_be("root (--data-root)", f"a folder with at least {MIN_IMAGES} images that can be decoded", got)
    notes = [f"{len(bad)} of {len(listing.names)} files are not whole images and were left out: {few(bad)}"] if bad else []
    sizes = dict(zip(listing.names, listing.sizes, strict=True))
    source: list[object] = [name, [(file, sizes[file]) for file in kept], size, RESIZING]
    if masks is not None:
        source += [_masks_into(folder / "masks.npy", masks, kept, request), MASK_RESIZING]
    values = {"names": kept, "fingerprint": digest(source)}
    if table is not None:
        with ArrayFile(folder / "attributes.npy", np.uint8, (len(table.names),)) as file:
            file.append(table.of(kept))
        return {**values, "notes": notes, "attribute_names": table.names}
    if name == "celeba":
        notes.append("no attribute table was found beside the images")
    return {**values, "notes": notes}


def _check_rows(listing: Listing, table: AttributeTable, size: int) -> None:
    """Tell of an image without a row before decoding all the others; a file that is no image needs none."""
    for name in listing.names:
        if name not in table.rows and try_decode(os.path.join(listing.root, name), size) is not None:
            raise table.no_row(name)


def _decode_images(path: Path, listing: Listing, size: int, progress: bool) -> tuple[list[str], list[str]]:
    """Decode every file into `path`; the names that are in it, in order, and the names that are not images."""
    kept: list[str] = []
    bad: list[str] = []
    batches = decode_all([os.path.join(listing.root, name) for name in listing.names], size)
    names = iter(listing.names)
    rows = ArrayFile(path, np.uint8, (3, size, size))
    with rows, closing(batches), _bar("decoding images", len(listing.names), progress) as bar:
        for batch in batches:
            good: list[NDArray[np.uint8]] = []
            for image in batch:
                name = next(names)
                (bad if image is None else kept).append(name)
                good += [] if image is None else [image]
            if good:
                rows.append(np.stack(good))
            bar.update(len(batch))
    return kept, bad


def _masks_into(path: Path, masks: MaskFiles, kept: list[str], request: _Request) -> str:
    """Decode the masks of the images that were kept; the SHA-256 of what was written, since masks of equal size may differ."""
    size = request.image_size
    batches = decode_masks(masks, kept, size)
    rows = ArrayFile(path, np.uint8, (size, size))
    with rows, closing(batches), _bar("decoding masks", len(kept), request.progress) as bar:
        for batch in batches:
            rows.append(np.stack(batch))
            bar.update(len(batch))
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _faces(request: _Request) -> Dataset:
    """Rendered faces. Their fingerprint is that of the pixels, since the renderer gives the same bytes on every machine."""
    num, size = request.limit or NUM_FACES, request.image_size

    def build(folder: Path) -> Mapping[str, Any]:
        _render_into(folder, num, request)
        with open(folder / "images.npy", "rb") as file:
            pixels = hashlib.file_digest(file, "sha256").hexdigest()
        return {
            "names": [str(number) for number in range(num)],
            "fingerprint": digest(["faces", request.seed, num, size, pixels]),
            "notes": [],
            "attribute_names": faces.ATTRIBUTE_NAMES,
            "factor_names": [factor.name for factor in faces.FACTORS],
        }

    name = f"faces-{size}px-{digest([FORMAT, request.seed, num, size, _renderer()])}"
    num_bytes = num * (4 * size * size + len(faces.ATTRIBUTE_NAMES) + 4 * len(faces.FACTORS))
    entry, damaged = cached(request.cache_dir, name, build, num_bytes=num_bytes, progress=request.progress)
    return _open("faces", entry, [], damaged)


def _renderer() -> list[str]:
    """The source of the renderer, so that a face that is drawn differently is never taken from the cache."""
    here = Path(__file__).parent
    return [path.read_text(encoding="utf-8") for path in sorted([here / "draw.py", *here.glob("face*.py")])]


def _render_into(folder: Path, num: int, request: _Request) -> None:
    """Draw the faces in chunks and write each of the four arrays as it comes."""
    size = request.image_size
    with (
        ArrayFile(folder / "images.npy", np.uint8, (3, size, size)) as images,
        ArrayFile(folder / "masks.npy", np.uint8, (size, size)) as masks,
        ArrayFile(folder / "factors.npy", np.float32, (len(faces.FACTORS),)) as factors,
        ArrayFile(folder / "attributes.npy", np.uint8, (len(faces.ATTRIBUTE_NAMES),)) as attributes,
        _bar("drawing faces", num, request.progress) as bar,
    ):
        starts = range(0, num, CHUNK_FACES)
        # numpy lets go of the GIL only in large arrays: threads halve the time at 144 px and lengthen it at 48 px
        num_threads = num_cores() if size >= THREADS_FROM_SIZE else 1
        draw = partial(_draw, num, size, request.seed)
        with closing(in_order(draw, starts, num_threads)) as chunks:
            for batch in chunks:
                images.append(batch.images)
                masks.append(batch.masks)
                factors.append(batch.factors)
                attributes.append(batch.attributes)
                bar.update(len(batch.images))


def _draw(num: int, size: int, seed: int, start: int) -> faces.FaceBatch:
    return faces.render_faces(min(CHUNK_FACES, num - start), size, seed, start=start)


def _open(name: str, entry: Entry, notes: list[str], damaged: bool) -> Dataset:
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
        attributes=entry.array("attributes"),
        attribute_names=tuple(values.get("attribute_names", ())),
        factors=entry.array("factors"),
        factor_names=tuple(values.get("factor_names", ())),
        masks=entry.array("masks"),
        notes=(*values["notes"], *notes, *again),
    )


def _bar(what: str, total: int, progress: bool) -> tqdm[Any]:
    """A bar on stderr with the time left."""
    return tqdm(total=total, desc=what, unit="image", disable=not progress)
