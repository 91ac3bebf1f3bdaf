"""A folder of face masks beside CelebA's images: masks/NAME.png for img_align_celeba/NAME.jpg, any pixel that is not black is face.

The folder stands where the attribute table does. Every image needs a mask, of any size: it is resized as its image is, without
keeping the aspect ratio, but by nearest neighbour, so that it stays 0 or 1. Only PNG, which keeps black black.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ablation.data.celeba import around
from ablation.data.folder import BATCH_FILES, Listing, in_order, stamp
from ablation.data.names import digest
from ablation.machine.cores import num_cores
from blocks.errors import InputError, must_be

MASKS = "masks"
# part of the fingerprint and the cache key of data that have masks: change it when `decode_mask` changes
MASK_RESIZING = "not black in any channel, resized nearest, aspect ratio not kept"
_REMEDY = "Mend that, or move the folder away to go on without masks."


@dataclass(frozen=True, kw_only=True)
class MaskFiles:
    """The masks of a listing of images, without having read any."""

    root: Path
    names: tuple[str, ...]  # of the images, in the listing's order
    stamps: tuple[tuple[int, ...] | None, ...]  # size in bytes and `stamp` of each image's mask; None where there is no such file

    def key(self) -> str:
        """Where the files are and when they last changed; for the cache, not for a study."""
        return digest([os.path.realpath(self.root), self.names, self.stamps])

    def path(self, image: str) -> Path:
        """The mask of an image."""
        return self.root / mask_name(image)

    def check(self, is_image: Callable[[str], bool]) -> None:
        """InputError for an image without a mask, unless the file is no whole image and is going to be left out."""
        missing = [name for name, stamp in zip(self.names, self.stamps, strict=True) if stamp is None]
        for name in missing:
            if is_image(name):
                got = f"no {mask_name(name)} for {name}"
                more = f"{len(missing)} of {len(self.names)} images have none. {_REMEDY}"
                raise must_be(f"folder of masks {self.root}", "a folder with a .png for every image", got, more)


def mask_name(image: str) -> str:
    """000001.jpg -> 000001.png."""
    return str(PurePosixPath(image).with_suffix(".png"))


def masks_beside(listing: Listing) -> MaskFiles | None:
    """The masks of a listing of CelebA's images; None where no folder of masks is beside them."""
    root = next((folder / MASKS for folder in around(listing.root) if (folder / MASKS).is_dir()), None)
    if root is None:
        return None
    return MaskFiles(root=root, names=listing.names, stamps=tuple(_stamp(root / mask_name(name)) for name in listing.names))


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, str(error.strerror)) from error
    return stat.st_size, *stamp(stat)


def decode_mask(path: Path, size: int) -> NDArray[np.uint8]:
    """One mask as size x size, 1 where it is not black in any channel (alpha is no colour). InputError if it is broken."""
    try:
        with Image.open(path) as image:
            deep = image.mode.startswith("I") or image.mode == "F"  # more than 8 bits, in which a small value would become black
            values = np.asarray(image if deep else image.convert("RGB"))
    except MemoryError:
        raise
    except Exception as error:  # what PIL raises at a malformed file is of many kinds: see `try_decode`
        raise _unreadable(path, str(error)) from error
    face = (values != 0) if values.ndim == 2 else (values != 0).any(-1)  # H x W x 3 -> H x W
    resized = Image.fromarray(face.astype(np.uint8)).resize((size, size), Image.Resampling.NEAREST)
    return np.asarray(resized)


def decode_masks(masks: MaskFiles, images: Sequence[str], size: int) -> Generator[list[NDArray[np.uint8]]]:
    """The masks of the images in order, a batch at a time, over all cores."""
    batches = [images[first : first + BATCH_FILES] for first in range(0, len(images), BATCH_FILES)]
    return in_order(lambda batch: [decode_mask(masks.path(name), size) for name in batch], batches, num_cores())


def _unreadable(path: Path, reason: str) -> InputError:
    return must_be(f"mask {path}", "a whole PNG image", reason, _REMEDY)
