"""Readers of images against generated folders in every layout, and against real faces where CELEBA_ROOT names them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, ImageOps

from ablation.data import split_indices
from ablation.data.folder import list_images
from blocks.errors import InputError

NUM, SIZE = 14, 16
ATTRIBUTES = ("Bald", "Smiling", "Young")


def picture(number: int, width: int = 23, height: int = 29) -> Image.Image:
    """Noise over a ramp: every pixel depends on the number, and every resizing gives another result."""
    noise = np.random.default_rng(number).integers(0, 120, (height, width, 3))
    ramp = np.linspace(0, 130, width)[None, :, None]
    return Image.fromarray((noise + ramp).astype(np.uint8))


def plain(path: Path, size: int = SIZE) -> np.ndarray:
    """What anybody would write: decode, RGB, resize."""
    with Image.open(path) as image:
        return np.array(image.convert("RGB").resize((size, size), Image.BILINEAR)).transpose(2, 0, 1)


def write_images(folder: Path, num: int = NUM) -> None:
    folder.mkdir(parents=True)
    for number in range(1, num + 1):
        picture(number).save(folder / f"{number:06}.jpg", quality=90)


def rows(num: int = NUM) -> list[list[str]]:
    """File name and values, also of files that are not there."""
    bits = np.random.default_rng(0).choice(["1", "-1"], (num + 5, len(ATTRIBUTES)))
    return [[f"{number:06}.jpg", *bits[number - 1]] for number in range(1, num + 6)]


def write_csv(folder: Path, table: list[list[str]] | None = None, header: str = "image_id," + ",".join(ATTRIBUTES)) -> Path:
    path = folder / "list_attr_celeba.csv"
    path.write_text("\n".join([header, *(",".join(row) for row in table or rows())]) + "\n")
    return path


def write_text(folder: Path, table: list[list[str]] | None = None) -> Path:
    path = folder / "list_attr_celeba.txt"
    lines = ["  ".join(row) + " " for row in table or rows()]
    path.write_text("\n".join([str(len(lines)), " ".join(ATTRIBUTES) + " ", *lines]) + "\n")
    return path


def kaggle(root: Path) -> Path:
    write_images(root / "img_align_celeba")
    write_csv(root)
    return root


def kaggle_zip(root: Path) -> Path:
    write_images(root / "img_align_celeba" / "img_align_celeba")
    write_csv(root)
    return root


def kaggle_table_inside(root: Path) -> Path:
    write_images(root / "img_align_celeba" / "img_align_celeba")
    write_csv(root / "img_align_celeba")
    return root


def outer_folder(root: Path) -> Path:
    return kaggle_zip(root) / "img_align_celeba"


def inner_folder(root: Path) -> Path:
    return kaggle_zip(root) / "img_align_celeba" / "img_align_celeba"


def torchvision_root(root: Path) -> Path:
    write_images(root / "celeba" / "img_align_celeba")
    write_text(root / "celeba")
    return root


def torchvision_inside(root: Path) -> Path:
    return torchvision_root(root) / "celeba"


def real(root: Path) -> Path:
    return Path(os.environ["CELEBA_ROOT"])


LAYOUTS = [kaggle, kaggle_zip, kaggle_table_inside, outer_folder, inner_folder, torchvision_root, torchvision_inside]
ROOTS = [*LAYOUTS, *([real] if os.environ.get("CELEBA_ROOT") else [])]


def one_of(root: Path, pattern: str) -> Path:
    """The one file or folder of that name at, below or above a root."""
    places = [root, root / "celeba", root / "img_align_celeba", *root.parents[:2]]
    return next(place / pattern for place in places if (place / pattern).exists())


def expected_attributes(root: Path, names: tuple[str, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
    """The table as pandas reads it."""
    try:
        frame = pd.read_csv(one_of(root, "list_attr_celeba.csv"), index_col=0)
    except StopIteration:
        frame = pd.read_csv(one_of(root, "list_attr_celeba.txt"), sep=r"\s+", skiprows=1)
    return (frame.loc[list(names)].to_numpy() == 1).astype(np.uint8), tuple(frame.columns)


@pytest.mark.parametrize("make", ROOTS, ids=lambda make: make.__name__)
def test_celeba_layouts(make, load, tmp_path) -> None:
    root = make(tmp_path / "data")
    data = load("celeba", root, limit=12)
    files = sorted(next(p for p in (root, *root.rglob("*")) if p.is_dir() and any(p.glob("*.jpg"))).glob("*.jpg"))[:12]
    assert data.names == tuple(file.name for file in files)
    assert data.images.dtype == np.uint8
    assert data.images.shape == (12, 3, SIZE, SIZE)
    for image, file in zip(data.images, files, strict=True):
        np.testing.assert_array_equal(image, plain(file))
    expected, names = expected_attributes(root, data.names)
    np.testing.assert_array_equal(data.attributes, expected)
    assert data.attribute_names == names
    assert data.notes == ()
    assert re.fullmatch("[0-9a-f]{16}", data.fingerprint)
    with pytest.raises(ValueError, match="read-only"):
        data.images[0] = 0


@pytest.mark.parametrize("make", ROOTS, ids=lambda make: make.__name__)
def test_celeba_second_start_is_the_same(make, load, tmp_path) -> None:
    root = make(tmp_path / "data")
    first, second = load("celeba", root, limit=10), load("celeba", root, limit=10)
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.attributes, second.attributes)
    assert first.describe() == second.describe()
    assert (first.names, first.attribute_names) == (second.names, second.attribute_names)


def test_celeba_whole_and_more_than_whole(load, tmp_path) -> None:
    root = kaggle(tmp_path / "data")
    assert len(load("celeba", root)) == NUM
    more = load("celeba", root, limit=20_000)
    assert len(more) == NUM
    assert more.notes == (f"only {NUM} of the 20000 images asked for are there",)


def test_celeba_without_table(load, tmp_path) -> None:
    write_images(tmp_path / "img_align_celeba")
    for _ in range(2):
        data = load("celeba", tmp_path)
        assert data.attributes is None
        assert data.attribute_names == ()
        assert data.notes == ("no attribute table was found beside the images",)


def test_celeba_table_that_appears_later_is_read(load, tmp_path) -> None:
    write_images(tmp_path / "img_align_celeba")
    assert load("celeba", tmp_path).attributes is None
    write_text(tmp_path)
    assert load("celeba", tmp_path).attributes is not None


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    line = str(error.value)
    assert "\n" not in line
    assert " must be " in line
    assert " Got " in line
    return line


def changed(row: int, cells: list[str]) -> list[list[str]]:
    return [*rows()[:row], cells, *rows()[row + 1 :]]


BAD_TABLES = [
    ("missing row", lambda d: write_csv(d, rows()[:3] + rows()[4:]), "no row for 000004.jpg"),
    ("short row", lambda d: write_csv(d, changed(2, ["000003.jpg", "1"])), "line 4 .*000003.jpg with 1 values"),
    ("long row", lambda d: write_text(d, changed(2, ["000003.jpg", "1", "1", "1", "1"])), "line 5 .*000003.jpg with 4 values"),
    ("value 0", lambda d: write_csv(d, changed(5, ["000006.jpg", "1", "0", "-1"])), "line 7 .*000006.jpg with Smiling = 0"),
    ("value 2", lambda d: write_text(d, changed(0, ["000001.jpg", "1", "1", "2"])), "line 3 .*000001.jpg with Young = 2"),
    ("same row twice", lambda d: write_csv(d, [*rows(), rows()[1]]), f"line {NUM + 7} .*000002.jpg"),
    ("no image_id", lambda d: write_csv(d, header="Bald,Smiling,Young"), "line 1 .*image_id"),
    ("column twice", lambda d: write_csv(d, header="image_id,Bald,Young,Bald"), "line 1 .*'Bald'"),
    ("empty csv", lambda d: (d / "list_attr_celeba.csv").write_text(""), "line 1 .*image_id"),
    ("empty txt", lambda d: (d / "list_attr_celeba.txt").write_text(""), "line 1 .*the number of rows"),
    ("no count", lambda d: (d / "list_attr_celeba.txt").write_text("Bald Young\n1.jpg 1 1\n"), "line 1 .*'Bald Young'"),
    ("only a count", lambda d: (d / "list_attr_celeba.txt").write_text("14\n"), "line 2 .*attribute names"),
    ("not text", lambda d: (d / "list_attr_celeba.csv").write_bytes(b"\xff\xfe\x00\x80" * 9), "readable table"),
]


@pytest.mark.parametrize(("write", "pattern"), [case[1:] for case in BAD_TABLES], ids=[case[0] for case in BAD_TABLES])
def test_attribute_table_that_does_not_match(write, pattern, load, tmp_path) -> None:
    write_images(tmp_path / "img_align_celeba")
    write(tmp_path)
    with pytest.raises(InputError, match=pattern) as error:
        load("celeba", tmp_path)
    line = one_line(error)
    assert "list_attr_celeba." in line
    assert "Mend the table" in line
    assert not list((tmp_path / "cache").glob("celeba-*.building-*"))
    assert not [path for path in (tmp_path / "cache").glob("celeba-*") if path.is_dir()]


def test_broken_file_needs_no_row(load, tmp_path) -> None:
    write_images(tmp_path / "img_align_celeba")
    (tmp_path / "img_align_celeba" / "000004.jpg").write_bytes(b"not an image")
    write_csv(tmp_path, rows()[:3] + rows()[4:])
    assert load("celeba", tmp_path).attributes.shape == (NUM - 1, 3)


def kinds_of_image(rgb: Image.Image, deep: Image.Image) -> dict[str, Image.Image]:
    alpha = rgb.copy()
    alpha.putalpha(rgb.convert("L"))
    return {
        "a/rgb.JPG": rgb,
        "a/b/grey.jpeg": rgb.convert("L"),
        "a/b/c/alpha.png": alpha,
        "palette.PNG": rgb.convert("P"),
        "cmyk.jpg": rgb.convert("CMYK"),
        "bits.bmp": rgb.convert("1"),
        "lossy.webp": rgb,
        "grey_alpha.png": rgb.convert("LA"),
        "deep.png": deep,
        "large.jpg": picture(8, 150, 130),  # so large that a JPEG decoder could skip detail
        "small.png": rgb.resize((5, 3)),
        "same.png": rgb.resize((SIZE, SIZE)),
    }


def test_every_kind_of_image_is_what_pil_gives(load, tmp_path) -> None:
    rgb, exif = picture(7, 40, 31), Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    deep = Image.fromarray(np.arange(40 * 31, dtype=np.uint16).reshape(31, 40) * 50)
    kinds = kinds_of_image(rgb, deep)
    for name, image in kinds.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / "in" / name)
    rgb.save(tmp_path / "in/turned.jpg", exif=exif)
    rgb.convert("P").save(tmp_path / "in/see_through.png", transparency=bytes(range(256)))
    data = load("folder", tmp_path / "in")
    assert data.names == tuple(sorted([*kinds, "turned.jpg", "see_through.png"]))
    assert data.attributes is None
    texts = [
        r"^1 of 14 files have 16 bits a channel .* 65535 is white: deep\.png$",
        r"^1 of 14 files carry an EXIF orientation .*: turned\.jpg$",
        r"^2 of 14 files have transparent pixels: alpha is dropped, .*: a/b/c/alpha\.png, see_through\.png$",
        r"^1 of 14 files are CMYK .*: cmyk\.jpg$",
    ]
    for text, note in zip(texts, data.notes[:4], strict=True):
        assert re.search(text, note)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "in/turned.jpg")).resize((SIZE, SIZE), Image.BILINEAR))
    np.testing.assert_array_equal(data.images[data.names.index("turned.jpg")], upright.transpose(2, 0, 1))
    deep.point(lambda value: value / 256).convert("L").save(tmp_path / "deep.png")
    np.testing.assert_array_equal(data.images[data.names.index("deep.png")], plain(tmp_path / "deep.png"))
    for name, image in zip(data.names, data.images, strict=True):
        if name not in ("see_through.png", "turned.jpg", "deep.png"):  # PIL warns at the first
            np.testing.assert_array_equal(image, plain(tmp_path / "in" / name), err_msg=name)
    with pytest.warns(UserWarning, match="Transparency"):
        expected = plain(tmp_path / "in/see_through.png")
    np.testing.assert_array_equal(data.images[data.names.index("see_through.png")], expected)


def test_broken_files_are_named_and_counted_each_time(load, tmp_path) -> None:
    folder = tmp_path / "in"
    write_images(folder, 15)
    whole = (folder / "000002.jpg").read_bytes()
    (folder / "000002.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "000005.jpg").write_bytes(b"")
    (folder / "000009.jpg").write_text("<html>404</html>")
    picture(3).save(folder / "bad.png")
    png = bytearray((folder / "bad.png").read_bytes())
    png[60:90] = bytes(30)
    (folder / "bad.png").write_bytes(png)
    note = "4 of 16 files are not whole images and were left out: 000002.jpg, 000005.jpg, 000009.jpg, ..."
    for _ in range(2):
        data = load("folder", folder)
        assert data.notes == (note,)
        assert len(data) == 12
        np.testing.assert_array_equal(data.images[1], plain(folder / "000003.jpg"))


def test_other_entries_are_named_and_counted(load, tmp_path) -> None:
    folder = tmp_path / "in"
    write_images(folder / "sub")
    (folder / "README.md").write_text("about")
    (folder / "sub" / ".hidden.jpg").write_text("")
    (folder / "sub" / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "sub" / "loop").symlink_to(folder)
    data = load("folder", folder)
    note = "4 entries of the folder are not image files by their name: README.md, sub/.hidden.jpg, sub/gone.jpg, ..."
    assert data.notes == (note,)
    assert len(data) == NUM


def test_too_few_images_remain(load, tmp_path) -> None:
    write_images(tmp_path / "in", 12)
    for number in (1, 2, 3):
        (tmp_path / "in" / f"{number:06}.jpg").write_bytes(b"?")
    with pytest.raises(InputError, match=r"at least 10 .*9 of 12; not images: 000001.jpg, 000002.jpg, 000003.jpg") as error:
        load("folder", tmp_path / "in")
    one_line(error)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]
    picture(1).save(tmp_path / "in" / "000001.jpg")
    assert len(load("folder", tmp_path / "in")) == 10


def test_a_file_that_changes_is_decoded_again(load, tmp_path) -> None:
    write_images(tmp_path / "in")
    before = load("folder", tmp_path / "in")
    path = tmp_path / "in" / "000001.jpg"
    picture(99).save(path)
    os.utime(path, ns=(1, 1))
    after = load("folder", tmp_path / "in")
    np.testing.assert_array_equal(after.images[0], plain(path))
    assert (after.images[0] != before.images[0]).any()
    assert after.fingerprint != before.fingerprint


def test_fingerprint_is_that_of_the_content(load, tmp_path) -> None:
    root = kaggle(tmp_path / "here")
    shutil.copytree(root, tmp_path / "there")
    os.utime(tmp_path / "there" / "img_align_celeba" / "000001.jpg", ns=(5, 5))
    here = load("celeba", root).fingerprint
    assert load("celeba", tmp_path / "there").fingerprint == here
    assert load("celeba", root, cache_dir=tmp_path / "other").fingerprint == here
    shutil.move(root / "img_align_celeba", root / "x")
    shutil.move(root / "x", root / "img_align_celeba" / "img_align_celeba")
    assert load("celeba", root).fingerprint == here
    others = [
        load("celeba", root, limit=13),
        load("celeba", root, image_size=8),
        load("folder", inner := root / "img_align_celeba"),
    ]
    (inner / "img_align_celeba" / "000001.jpg").rename(inner / "img_align_celeba" / "000000.jpg")
    others.append(load("folder", root / "img_align_celeba"))
    assert len({here, *(data.fingerprint for data in others)}) == 5


def mask_picture(number: int, width: int = 23, height: int = 29) -> np.ndarray:
    """A half plane whose edge depends on the number: height x width, True on the face."""
    return np.add.outer(np.arange(height), 3 * np.arange(width)) > 4 * number


def write_masks(folder: Path, numbers: range = range(1, NUM + 1), size: tuple[int, int] = (23, 29)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        Image.fromarray(mask_picture(number, *size).astype(np.uint8) * 255).save(folder / f"{number:06}.png")
    return folder


def plain_mask(path: Path, size: int = SIZE) -> np.ndarray:
    """What anybody would write: the pixel at the centre of each cell."""
    values = np.asarray(Image.open(path).convert("L")) > 0
    rows, columns = (((np.arange(size) + 0.5) * side / size).astype(int) for side in values.shape)
    return values[rows][:, columns].astype(np.uint8)


@pytest.mark.parametrize("make", LAYOUTS, ids=lambda make: make.__name__)
def test_masks_beside_celeba(make, load, tmp_path) -> None:
    root = make(tmp_path / "data")
    bare = load("celeba", root)
    assert bare.masks is None
    outermost = next(path for path in sorted((tmp_path / "data").rglob("*")) if path.name == "img_align_celeba")
    folder = write_masks(outermost.parent / "masks")
    for _ in range(2):  # the second one from the cache
        data = load("celeba", root)
        assert data.masks.dtype == np.uint8
        assert data.masks.shape == (NUM, SIZE, SIZE)
        for name, mask in zip(data.names, data.masks, strict=True):
            np.testing.assert_array_equal(mask, plain_mask(folder / name.replace("jpg", "png")))
        np.testing.assert_array_equal(data.images, bare.images)
        np.testing.assert_array_equal(data.attributes, bare.attributes)
        assert data.notes == bare.notes
    assert len({*map(bytes, data.masks)}) == NUM
    with pytest.raises(ValueError, match="read-only"):
        data.masks[0] = 0
    assert load("celeba", root, limit=10).masks.shape == (10, SIZE, SIZE)
    shutil.rmtree(folder)
    assert load("celeba", root).masks is None


def test_fingerprint_knows_masks_and_what_earlier_versions_called_the_same_files(load, tmp_path) -> None:
    root = kaggle(tmp_path / "data")
    bare = load("celeba", root).fingerprint
    (former,) = load("celeba", root).former
    sizes = [(path.name, path.stat().st_size) for path in sorted((root / "img_align_celeba").iterdir())]
    formula = ["celeba", sizes, SIZE, "PIL convert RGB, resize bilinear (antialiased), aspect ratio not kept"]
    # trials of earlier versions refer to it
    assert former == hashlib.sha256(json.dumps(formula).encode()).hexdigest()[:16] != bare
    write_masks(root / "masks")
    data = load("celeba", root)
    masked = data.fingerprint
    np.save(tmp_path / "masks.npy", data.masks)
    drawn = hashlib.sha256((tmp_path / "masks.npy").read_bytes()).hexdigest()
    formula += [drawn, "not black in any channel, resized nearest, aspect ratio not kept"]
    assert data.former == (hashlib.sha256(json.dumps(formula).encode()).hexdigest()[:16],)
    shutil.copytree(root, tmp_path / "copy")
    os.utime(tmp_path / "copy" / "masks" / "000003.png", ns=(5, 5))
    assert load("celeba", tmp_path / "copy").fingerprint == masked
    paths = [root / "masks" / "000001.png", tmp_path / "copy" / "masks" / "000001.png"]
    for path, value in zip(paths, (0, 255), strict=True):
        Image.fromarray(np.full((29, 23), value, np.uint8)).save(path, compress_level=0)
    assert paths[0].stat().st_size == paths[1].stat().st_size  # a size is not enough to tell them
    others = [load("celeba", root).fingerprint, load("celeba", tmp_path / "copy").fingerprint]
    assert len({bare, masked, *others}) == 4


def test_every_kind_of_mask(load, tmp_path) -> None:
    root = kaggle(tmp_path / "data")
    folder = write_masks(root / "masks")
    large = mask_picture(1, 150, 131)
    grey = Image.fromarray(large.astype(np.uint8))  # 1, not 255
    red = Image.fromarray(large[..., None] * np.array([1, 0, 0], np.uint8))
    opaque = red.copy()
    opaque.putalpha(255)
    palette = Image.fromarray(large.astype(np.uint8) * 7).convert("P")
    palette.putpalette([0, 0, 0, *[9, 0, 40] * 255])
    deep = Image.fromarray(large.astype(np.uint16) * 3)
    whole = Image.fromarray(np.full((4, 4), 255, np.uint8))
    kinds = [grey, red, opaque, palette, deep, Image.fromarray(large), grey.convert("LA"), whole]
    for number, image in enumerate(kinds, start=1):
        image.save(folder / f"{number:06}.png")
    masks = load("celeba", root).masks
    grey.point(lambda value: 255 * value).save(tmp_path / "plain.png")
    for mask in masks[:7]:
        np.testing.assert_array_equal(mask, plain_mask(tmp_path / "plain.png"))
    assert masks[7].min() == 1
    np.testing.assert_array_equal(masks[8], plain_mask(folder / "000009.png"))


def test_image_without_a_mask_and_broken_mask(load, tmp_path) -> None:
    root = kaggle(tmp_path / "data")
    folder = write_masks(root / "masks")
    (folder / "000004.png").unlink()
    (folder / "000011.png").unlink()
    with pytest.raises(InputError, match=r"Got 'no 000004\.png for 000004\.jpg' .* 2 of 14 images have none\. Mend that") as error:
        load("celeba", root)
    one_line(error)
    write_masks(folder)
    whole = (folder / "000006.png").read_bytes()
    (folder / "000006.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"mask .*000006\.png must be a whole PNG image.* move the folder away") as error:
        load("celeba", root)
    one_line(error)
    assert not [path for path in (tmp_path / "cache").glob("celeba-*") if path.is_dir()]
    (folder / "000006.png").write_bytes(whole)
    assert load("celeba", root).masks is not None


def test_broken_image_needs_no_mask(load, tmp_path) -> None:
    root = kaggle(tmp_path / "data")
    folder = write_masks(root / "masks")
    (folder / "000004.png").unlink()
    (root / "img_align_celeba" / "000004.jpg").write_bytes(b"not an image")
    data = load("celeba", root)
    assert data.masks.shape == (NUM - 1, SIZE, SIZE)
    np.testing.assert_array_equal(data.masks[3], plain_mask(folder / "000005.png"))


def test_a_mask_that_changes_is_decoded_again(load, tmp_path) -> None:
    root = kaggle(tmp_path / "data")
    folder = write_masks(root / "masks")
    before = load("celeba", root)
    shutil.copy(folder / "000009.png", folder / "000002.png")
    after = load("celeba", root)
    np.testing.assert_array_equal(after.masks[1], plain_mask(folder / "000009.png"))
    assert (after.masks[1] != before.masks[1]).any()
    assert after.fingerprint != before.fingerprint


def test_faces(load) -> None:
    data = load("faces", limit=12, seed=3)
    assert data.images.shape == (12, 3, SIZE, SIZE)
    assert data.masks.shape == (12, SIZE, SIZE)
    assert set(np.unique(data.masks)) == {0, 1}
    assert data.factors.shape == (12, len(data.factor_names))
    assert data.attributes.shape == (12, len(data.attribute_names))
    assert len(set(data.names)) == 12
    again = load("faces", limit=12, seed=3)
    for name in ("images", "masks", "factors", "attributes"):
        np.testing.assert_array_equal(getattr(data, name), getattr(again, name))
    others = [load("faces", limit=12, seed=4), load("faces", limit=13, seed=3), load("faces", limit=12, seed=3, image_size=24)]
    assert len({data.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_faces_drawn_in_chunks_are_those_drawn_at_once(load, monkeypatch) -> None:
    from ablation.data import sources
    from ablation.data.faces import rendered as faces

    monkeypatch.setattr(sources, "CHUNK_FACES", 5)
    data, whole = load("faces", limit=12), faces.render_faces(12, SIZE, 0)
    for name in ("images", "masks", "factors", "attributes"):
        np.testing.assert_array_equal(getattr(data, name), getattr(whole, name))
    assert data.attribute_names == tuple(faces.ATTRIBUTE_NAMES)
    assert data.factor_names == tuple(factor.name for factor in faces.FACTORS)


def empty(path: Path) -> Path:
    path.mkdir()
    return path


def a_file(path: Path) -> Path:
    path.write_text("")
    return path


def three_images(path: Path) -> Path:
    write_images(path / "img_align_celeba", 3)
    return path


WRONG = [
    ("unknown name", "mnist", lambda p: p, {}, r"data \(--data\) must be one of faces, celeba, folder\. Got 'mnist'"),
    ("no root for celeba", "celeba", lambda p: None, {}, r"--data-root.*Pass --data-root DIR"),
    ("no root for folder", "folder", lambda p: None, {}, r"--data-root.*Pass --data-root DIR"),
    ("missing celeba", "celeba", lambda p: p, {}, r"root \(--data-root\).*img_align_celeba.*There is no such folder"),
    ("missing folder", "folder", lambda p: p, {}, r"root \(--data-root\).*No such file"),
    ("empty celeba", "celeba", empty, {}, r"root \(--data-root\).*--data folder"),
    ("empty folder", "folder", empty, {}, r"root \(--data-root\).*jpg.*It holds none"),
    ("celeba is a file", "celeba", a_file, {}, r"root \(--data-root\)"),
    ("folder is a file", "folder", a_file, {}, r"root \(--data-root\).*Not a directory"),
    ("few in celeba", "celeba", three_images, {}, r"at least 10 images\. Got '3 in"),
    ("few in folder", "folder", three_images, {}, r"at least 10 images\. Got '3 in"),
    ("root for faces", "faces", lambda p: p, {}, r"--data-root.*left out with --data faces"),
    ("small limit", "faces", lambda p: None, {"limit": 9}, r"limit \(--images\).*at least 10\. Got 9"),
    ("no limit at all", "faces", lambda p: None, {"limit": 0}, r"limit \(--images\).*Got 0"),
    ("size", "faces", lambda p: None, {"image_size": 7}, r"image_size \(--image-size\).*at least 8\. Got 7"),
    ("size not whole", "faces", lambda p: None, {"image_size": 48.0}, r"image_size.*whole number.*Got 48\.0"),
    ("seed", "faces", lambda p: None, {"seed": -1}, r"seed must be .*Got -1"),
]


@pytest.mark.parametrize(("name", "make", "options", "pattern"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_wrong_input_gets_one_line(name, make, options, pattern, load, tmp_path) -> None:
    with pytest.raises(InputError, match=pattern) as error:
        load(name, make(tmp_path / "data"), **options)
    one_line(error)
    assert not (tmp_path / "cache").exists()


def test_listing_is_sorted_and_asks_only_for_what_it_keeps(tmp_path) -> None:
    for name in ("b/2.png", "a/9.JPG", "b/10.webp", "c.bmp", "d.jpeg", "z.gif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    listing = list_images(tmp_path, limit=3)
    assert listing.names == ("a/9.JPG", "b/10.webp", "b/2.png")
    assert listing.sizes == (7, 9, 7)
    assert listing.left_out == ("z.gif",)


@pytest.mark.parametrize("n", [10, 11, 19, 20, 101, 2000, 20_000])
def test_split_is_that_of_random_split(n) -> None:
    lengths = [int(0.7 * n), int(0.15 * n), n - int(0.7 * n) - int(0.15 * n)]
    expected = torch.utils.data.random_split(range(n), lengths, generator=torch.Generator().manual_seed(42))
    split = split_indices(n)
    for part, subset in zip((split.train, split.validation, split.test), expected, strict=True):
        assert part.dtype == np.int64
        assert part.tolist() == list(subset.indices)
        assert len(part) > 0
    assert sorted([*split.train, *split.validation, *split.test]) == list(range(n))


def test_split_depends_on_the_seed_and_needs_ten_images() -> None:
    assert split_indices(50, seed=1).train.tolist() != split_indices(50, seed=2).train.tolist()
    with pytest.raises(InputError, match=r"at least 10.*Got 9.*--images"):
        split_indices(9)
