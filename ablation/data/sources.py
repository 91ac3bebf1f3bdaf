"""The data sources by name: each decoded or rendered once into the cache, and from then on opened in an instant."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ablation.data.base import Dataset
from ablation.data.cache import ArrayFile, cached, default_cache_dir
from ablation.data.celeba import locate
from ablation.data.faces import rendered as faces
from ablation.data.files import FORMAT, Request, bar, open_entry, open_files
from ablation.data.folder import SUFFIXES, in_order, list_images
from ablation.data.masks import masks_beside
from ablation.data.names import digest
from ablation.machine.cores import num_cores
from blocks.errors import choices, must_be

SOURCES = ("faces", "celeba", "folder")
NUM_FACES = 2000  # rendered faces where no limit is given
CHUNK_FACES = 25
THREADS_FROM_SIZE = 96


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
    if cache_dir is not None:
        check_given("cache_dir (--cache-dir)", "the name of a folder", cache_dir)
    cache = Path(cache_dir).expanduser() if cache_dir is not None else default_cache_dir()
    request = Request(image_size=image_size, limit=limit, seed=seed, cache_dir=cache, progress=progress)
    if name == "faces":
        if root is not None:
            remedy = "Leave it out, or use --data celeba or --data folder."
            raise must_be("root (--data-root)", "left out with --data faces, which are drawn", str(root), remedy)
        return _faces(request)
    rule = f"the folder of the images with --data {name}"
    if root is None:
        raise must_be("root (--data-root)", rule, root, "Pass --data-root DIR.")
    check_root("root (--data-root)", rule, root)
    path = Path(root).expanduser()
    return _celeba(path, request) if name == "celeba" else _folder(path, request)


def check_given(parameter: str, rule: str, value: str | Path) -> None:
    """InputError for a name of nothing but spaces, which would mean the current folder."""
    if not str(value).strip():
        raise must_be(parameter, rule, str(value), "A name without a letter is often a shell variable that is not set.")


def check_root(parameter: str, rule: str, value: str | Path) -> None:
    """InputError for the name of a folder of images that is blank or a file's; other troubles are told where the folder is read."""
    check_given(parameter, rule, value)
    if Path(value).expanduser().is_file():
        raise must_be(parameter, rule, str(value), "Not a directory: it is a file.")


def _folder(root: Path, request: Request) -> Dataset:
    listing = list_images(root, limit=request.limit)
    if not listing.names:
        raise must_be("root (--data-root)", f"a folder with images ({', '.join(SUFFIXES)})", str(root), "It holds none.")
    return open_files("folder", listing, None, None, request)


def _celeba(root: Path, request: Request) -> Dataset:
    listing, table = locate(root, limit=request.limit)
    return open_files("celeba", listing, table, masks_beside(listing), request)


def _faces(request: Request) -> Dataset:
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
    return open_entry("faces", entry, [], damaged)


def _renderer() -> list[str]:
    """The source of the renderer, so that a face that is drawn differently is never taken from the cache."""
    return [path.read_text(encoding="utf-8") for path in sorted((Path(__file__).parent / "faces").glob("*.py"))]


def _render_into(folder: Path, num: int, request: Request) -> None:
    """Draw the faces in chunks and write each of the four arrays as it comes."""
    size = request.image_size
    with (
        ArrayFile(folder / "images.npy", np.uint8, (3, size, size)) as images,
        ArrayFile(folder / "masks.npy", np.uint8, (size, size)) as masks,
        ArrayFile(folder / "factors.npy", np.float32, (len(faces.FACTORS),)) as factors,
        ArrayFile(folder / "attributes.npy", np.uint8, (len(faces.ATTRIBUTE_NAMES),)) as attributes,
        bar("drawing faces", num, request.progress) as shown,
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
                shown.update(len(batch.images))


def _draw(num: int, size: int, seed: int, start: int) -> faces.FaceBatch:
    return faces.render_faces(min(CHUNK_FACES, num - start), size, seed, start=start)
