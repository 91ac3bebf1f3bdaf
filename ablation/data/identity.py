"""What tells one data set from another: decoded pixels, attributes and masks; and what earlier versions knew instead."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ablation.data.masks import MASK_RESIZING
from ablation.data.names import digest, few

# stands in the identities that earlier versions gave; it never changes
LISTED_RESIZING = "PIL convert RGB, resize bilinear (antialiased), aspect ratio not kept"


def content_fingerprint(
    source: str,
    names: Sequence[str],
    size: int,
    pixels: Sequence[bytes],
    *,
    attributes: NDArray[np.uint8] | None = None,
    attribute_names: Sequence[str] = (),
    masks: str | None = None,
) -> str:
    """Identity of decoded files: `pixels` is one hash for each image, `masks` one of all; the same wherever the files lie."""
    table = None if attributes is None else [list(attribute_names), hashlib.sha256(attributes.tobytes()).hexdigest()]
    return digest(["content", source, list(names), size, hashlib.sha256(b"".join(pixels)).hexdigest(), table, masks])


def listing_fingerprint(source: str, names: Sequence[str], sizes: Sequence[int], size: int, masks: str | None = None) -> str:
    """What earlier versions called the same files: names, sizes in bytes, masks; nothing of the images' content."""
    listed = [source, [list(pair) for pair in zip(names, sizes, strict=True)], size, LISTED_RESIZING]
    return digest(listed if masks is None else [*listed, masks, MASK_RESIZING])


def duplicate_notes(names: Sequence[str], pixels: Sequence[bytes]) -> list[str]:
    """How many images repeat another's decoded content, copies and links alike, and how many of them across the split."""
    if len(set(pixels)) == len(pixels):
        return []
    from ablation.data.splits import split_indices  # loads torch

    alike: dict[bytes, list[int]] = defaultdict(list)
    for index, content in enumerate(pixels):
        alike[content].append(index)
    groups = [group for group in alike.values() if len(group) > 1]
    split = split_indices(len(names))
    seen, leaked = {pixels[i] for i in split.train}, list[int]()
    for part in (split.validation, split.test):
        leaked += [int(i) for i in part if pixels[i] in seen]
        seen |= {pixels[i] for i in part}
    repeats = sum(len(group) - 1 for group in groups)
    pairs = [f"{names[second]} = {names[first]}" for first, second, *_ in groups]
    notes = [f"{repeats} of {len(names)} images are duplicates: decoded they equal another, as copies and links do: {few(pairs)}"]
    if leaked:
        num_held = len(split.validation) + len(split.test)
        notes.append(
            f"{len(leaked)} of {num_held} validation and test images are duplicates across the split: training, or validation "
            f"before test, holds the same image: {few([names[i] for i in leaked])}"
        )
    return notes
