"""CelebA on disk: where its images are and what its attribute table says, in Kaggle's, torchvision's and the official layout."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ablation.data.folder import Listing, list_images
from blocks.errors import InputError, must_be

IMAGES = "img_align_celeba"
FOLDERS = (IMAGES, f"{IMAGES}_png")
OFFICIAL_IMAGES, OFFICIAL_TABLES = "Img", "Anno"  # folders of the official download
CSV_TABLE, TEXT_TABLE = "list_attr_celeba.csv", "list_attr_celeba.txt"
LAYOUTS = f"a folder that holds {IMAGES}/ (or celeba/{IMAGES}/, or {OFFICIAL_IMAGES}/{IMAGES}/) with its image files"
BITS = {"1": 1, "-1": 0}


@dataclass(frozen=True, kw_only=True)
class AttributeTable:
    """Binary attributes by file name."""

    path: Path
    names: tuple[str, ...]
    rows: Mapping[str, bytes]  # file name -> one byte per attribute, 0 or 1

    def of(self, files: Sequence[str]) -> NDArray[np.uint8]:
        """N x A attributes of the files, 0 or 1. InputError for a file without a row."""
        rows = []
        for file in files:
            if (row := self.row(file)) is None:
                raise self.no_row(file)
            rows.append(row)
        return np.frombuffer(b"".join(rows), np.uint8).reshape(len(files), len(self.names))

    def row(self, file: str) -> bytes | None:
        """The row of a file; that of the .jpg for CelebA's .png images, which have the same table."""
        return self.rows.get(file) or (self.rows.get(f"{file.removesuffix('.png')}.jpg") if file.endswith(".png") else None)

    def no_row(self, file: str) -> InputError:
        """The error for an image that the table does not know."""
        rule = "a table with a row for every image"
        return must_be(f"attribute table {self.path}", rule, f"no row for {file}", _REMEDY)


_REMEDY = "Mend the table, or move it away to go on without attributes."


def locate(root: Path, *, limit: int | None = None) -> tuple[Listing, Path | None]:
    """The images, the first `limit` by file name, and the attribute table, or None where there is none.

    `root` is the folder that holds img_align_celeba/ or the official Img/, the one above it (torchvision's root, which holds
    celeba/), Img/ or img_align_celeba/ itself; the folder may be nested in one of its own name, as in Kaggle's zip, and may be
    img_align_celeba_png/. A .csv table goes before a .txt.
    """
    if not root.is_dir():
        raise must_be("root (--data-root)", LAYOUTS, str(root), "There is no such folder.")
    for images in _places(root.absolute()):
        listing = list_images(images, recursive=False, limit=limit)
        if listing.names:
            return listing, _table_of(images)
    raise must_be("root (--data-root)", LAYOUTS, str(root), "For a plain folder of images use --data folder.")


def _places(root: Path) -> Iterator[Path]:
    """Folders that may hold the images; only those that exist."""
    tops = [top / middle for top in (root, root / "celeba", root / "CelebA") for middle in ("", OFFICIAL_IMAGES)]
    inside = [root] if root.name in FOLDERS else []
    for images in (*(top / name for name in FOLDERS for top in tops), *inside):
        yield from (place for place in (images, images / images.name) if place.is_dir())


def around(images: Path) -> list[Path]:
    """Folders in which things may stand that belong to the images: outside of nesting, and outside of the official Img/."""
    folders = [images.parent]
    if folders[-1].name == images.name:
        folders.append(folders[-1].parent)
    if folders[-1].name == OFFICIAL_IMAGES:
        folders.append(folders[-1].parent)
    return folders


def _table_of(images: Path) -> Path | None:
    """The table around the images, or in a folder Anno/ there."""
    folders = [folder / inner for folder in around(images) for inner in ("", OFFICIAL_TABLES)]
    return next((table for folder in folders for name in (CSV_TABLE, TEXT_TABLE) if (table := folder / name).is_file()), None)


def read_attributes(path: Path) -> AttributeTable:
    """The whole table, checked row by row. InputError names the file and the first row that does not fit.

    Kaggle's .csv: a header "image_id,NAME,..." and rows "000001.jpg,-1,1,...". The original .txt, which torchvision reads:
    a line with the number of rows, a line of names, then rows of file name and values, separated by spaces.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            read = _csv_rows if path.suffix == ".csv" else _text_rows
            lines = read(path, file)
            _, names = next(lines)
            return AttributeTable(path=path, names=tuple(names), rows=_checked(path, names, lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise must_be(f"attribute table {path}", "a readable table of text", str(error), _REMEDY) from error


def _csv_rows(path: Path, file: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of each row; the first is the header, without image_id."""
    reader = csv.reader(file)
    header = [cell.strip() for cell in next(reader, [])]
    if len(header) < 2 or header[0] != "image_id":
        raise _misfit(path, 1, "a header of image_id and attribute names", ",".join(header)[:60])
    yield 1, header[1:]
    for row in reader:
        if row:
            yield reader.line_num, row


def _text_rows(path: Path, file: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    """As `_csv_rows`, of the original text format."""
    count = next(file, "").strip()
    if not count.isdecimal():
        raise _misfit(path, 1, "the number of rows", count[:60])
    header = next(file, "").split()
    if not header:
        raise _misfit(path, 2, "the attribute names", "")
    yield 2, header
    for number, line in enumerate(file, start=3):
        if row := line.split():
            yield number, row


def _checked(path: Path, names: Sequence[str], lines: Iterator[tuple[int, list[str]]]) -> dict[str, bytes]:
    """The rows by file name, each with a 1 or -1 for each name."""
    if len(set(names)) < len(names) or "" in names:
        raise _misfit(path, 1, "different attribute names", next(name for name in names if not name or names.count(name) > 1))
    rows: dict[str, bytes] = {}
    for number, (file, *cells) in lines:
        if len(cells) != len(names):
            raise _misfit(path, number, f"a file name and {len(names)} values", f"{file} with {len(cells)} values")
        try:
            bits = bytes([BITS[cell] for cell in cells])
        except KeyError:
            bits = _bits(path, number, file, cells, names)
        if file in rows:
            raise _misfit(path, number, "the only row of its file", file)
        rows[file] = bits
    return rows


def _bits(path: Path, number: int, file: str, cells: Sequence[str], names: Sequence[str]) -> bytes:
    """Values with spaces around them; the slow way, for rows that the fast way refused."""
    for name, cell in zip(names, cells, strict=True):
        if cell.strip() not in BITS:
            raise _misfit(path, number, "a file name and values of 1 or -1", f"{file} with {name} = {cell}")
    return bytes(BITS[cell.strip()] for cell in cells)


def _misfit(path: Path, number: int, rule: str, got: str) -> InputError:
    return must_be(f"line {number} of {path}", rule, got, _REMEDY)
