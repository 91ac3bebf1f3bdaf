"""What a report must say of files: each thing that was not plain is counted, and bit depths are read at their true scale."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ablation.data import split_indices
from blocks.errors import InputError
from tests.data.conftest import noise

NUM, SIZE = 20, 16
RAMP = np.arange(65536, dtype=np.uint16).reshape(256, 256)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(NUM):
        noise(tmp_path / "photos" / f"{number:02}.png", number)
    return tmp_path / "photos"


def png(values: np.ndarray, kind: int) -> bytes:
    """A PNG of 16 bits a channel, of grey (0), RGB (2), grey with alpha (4) or RGBA (6): PIL writes grey alone."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("kind", "channels"), [(0, 0), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_become_eight_alike_for_every_kind(kind, channels, photos, load) -> None:
    """The mean of all 65,536 values is 127.5, not 251, and each channel is the high byte."""
    values = RAMP if not channels else np.stack([RAMP] * channels, -1)
    if kind in (4, 6):
        values[..., -1] = 65535
    (photos / "ramp.png").write_bytes(png(values, kind))
    image = load("folder", photos, image_size=256).images[-1]
    assert image.mean() == 127.5
    np.testing.assert_array_equal(image, np.broadcast_to((RAMP >> 8).astype(np.uint8), (3, 256, 256)))


@pytest.mark.parametrize("factor", [256, 257])
def test_eight_bits_stored_in_sixteen_are_what_they_were(factor, photos, load) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(grey.astype(np.uint16) * factor).save(photos / "x.png")
    np.testing.assert_array_equal(load("folder", photos).images[-1][0], grey)


@pytest.mark.parametrize(
    ("values", "expected"),
    [(RAMP.astype(np.int32), RAMP >> 8), (RAMP.astype(">u2"), RAMP >> 8), ((RAMP / 65535).astype(np.float32), np.rint(RAMP / 257))],
    ids=["32-bit integers", "big-endian", "floating point"],
)
def test_deeper_modes_under_their_rule(values, expected, photos, load) -> None:
    Image.fromarray(values).save(photos / "x.png", "TIFF")  # PIL goes by the content, not by the name
    image = load("folder", photos, image_size=256).images[-1]
    assert np.abs(image[0].astype(int) - expected).max() <= 1e-3
    assert image.mean() == pytest.approx(127.5, abs=0.01)


@pytest.mark.parametrize("values", [np.int32(65536), np.int32(-1), np.float32(1.5), np.float32(-0.1), np.float32("nan")])
def test_values_without_a_known_scale_are_left_out_and_counted(values, photos, load) -> None:
    Image.fromarray(np.full((20, 20), values)).save(photos / "x.png", "TIFF")
    data = load("folder", photos)
    assert len(data) == NUM
    (note,) = data.notes
    assert note.startswith("1 of 21 files have 32-bit values outside of")
    assert note.endswith("left out: x.png")


@pytest.mark.parametrize("orientation", range(1, 10))
def test_orientation_is_applied(orientation, photos, load) -> None:
    """Against Pillow's own way; 9 is no orientation."""
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.open(photos / "00.png").save(photos / "x.png", exif=exif)
    data = load("folder", photos, image_size=20)
    upright = ImageOps.exif_transpose(Image.open(photos / "x.png"))
    np.testing.assert_array_equal(data.images[-1], np.asarray(upright).transpose(2, 0, 1))
    assert any("1 of 21 files carry an EXIF orientation" in note for note in data.notes) == (2 <= orientation <= 8)


def test_broken_exif_makes_no_broken_image(photos, load) -> None:
    Image.open(photos / "00.png").save(photos / "x.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01")
    assert load("folder", photos).names[-1] == "x.jpg"


def test_transparency_counts_only_where_something_is_transparent(photos, load) -> None:
    colours = Image.open(photos / "00.png")
    for name, alpha in (("x.png", 255), ("y.png", 254), ("z.png", 0)):
        image = colours.copy()
        image.putalpha(alpha)
        image.save(photos / name)
    data = load("folder", photos)
    (note,) = [note for note in data.notes if "alpha" in note]
    assert note.startswith("2 of 23 files have transparent pixels")
    assert note.endswith("y.png, z.png")
    for image in data.images[-3:]:
        np.testing.assert_array_equal(image, data.images[0])


def test_frames_cmyk_and_broken_files_are_counted(photos, load) -> None:
    frames = [noise(photos / f"{number:02}.png", number) for number in (0, 1)]
    frames[0].save(photos / "moving.webp", save_all=True, append_images=frames[1:], lossless=True)
    frames[0].save(photos / "moving.png", save_all=True, append_images=frames[1:])
    noise(photos / "x.png", 50).convert("CMYK").save(photos / "cmyk.jpg")
    (photos / "broken.jpg").write_bytes(b"?")
    notes = load("folder", photos).notes
    assert notes[0] == "1 of 25 files are not whole images and were left out: broken.jpg"
    assert notes[1].startswith("1 of 25 files are CMYK")
    assert notes[2].startswith("2 of 25 files hold several frames")
    assert "moving.png, moving.webp" in notes[2]


def test_formats_that_are_not_read_are_counted_apart(photos, load) -> None:
    image = Image.open(photos / "00.png")
    for name in ("a.gif", "b.TIF", "c.tif", "d.avif"):
        image.save(photos / name, "GIF")
    (photos / "about.txt").write_text("")
    assert load("folder", photos).notes == (
        "1 entries of the folder are not image files by their name: about.txt",
        "4 image files are of formats that are not read (.avif, .gif, .tif) and were left out: a.gif, b.TIF, c.tif, ...",
    )


def copied(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes())


def encoded_anew(source: Path, target: Path) -> None:
    Image.open(source).save(target, "BMP")


@pytest.mark.parametrize(
    "repeat", [copied, encoded_anew, lambda s, t: t.symlink_to(s), os.link], ids=["copy", "other format", "symlink", "hard link"]
)
def test_duplicates_are_counted_and_those_across_the_split(repeat, photos, load) -> None:
    split = split_indices(NUM)
    train, validation, test = (part.tolist() for part in (split.train, split.validation, split.test))
    names = [f"{number:02}.png" for number in range(NUM)]
    pairs = [(train[0], train[1]), (train[2], validation[0]), (train[2], test[0]), (validation[1], test[1])]
    for first, second in pairs:
        (photos / names[second]).unlink()
        repeat(photos / names[first], photos / names[second])
    for _ in range(2):  # the second time from the cache
        within, across = load("folder", photos).notes
        assert within.startswith("4 of 20 images are duplicates")
        held = len(validation) + len(test)
        assert across.startswith(f"3 of {held} validation and test images are duplicates across the split")
        assert all(name in across for name in [names[pairs[i][1]] for i in (1, 2, 3)])


def test_no_note_without_duplicates(photos, load) -> None:
    assert load("folder", photos).notes == ()


def test_a_selection_of_some_folders_is_counted(tmp_path, load) -> None:
    for number in range(36):
        noise(tmp_path / "in" / f"class{number // 12}" / f"{number:02}.png", number)
    assert load("folder", tmp_path / "in").notes == ()
    text = "the first {} images by name come from {} of 3 folders ({}); none from {}"
    assert load("folder", tmp_path / "in", limit=12).notes == (text.format(12, 1, "class0", "class1, class2"),)
    assert load("folder", tmp_path / "in", limit=13).notes == (text.format(13, 2, "class0, class1", "class2"),)
    assert load("folder", tmp_path / "in", limit=25).notes == ()
    noise(tmp_path / "in" / "top.png", 99)
    assert load("folder", tmp_path / "in", limit=36).notes == (
        "the first 36 images by name come from 3 of 4 folders (class0, class1, class2); none from .",
    )


def test_names_that_are_not_utf8_stay_printable(photos, load) -> None:
    (Path(os.fsdecode(os.fsencode(photos) + b"/caf\xe9.jpg"))).write_bytes(b"?")
    (photos / "two\nlines.jpg").write_bytes(b"?")
    (note,) = load("folder", photos).notes
    assert note.isprintable()
    assert note.encode()
    assert "caf\\udce9.jpg" in note


@pytest.mark.parametrize("value", ["", " ", "\t"])
@pytest.mark.parametrize("name", ["celeba", "folder", "faces"])
def test_a_root_without_a_name_is_refused(name, value, load, photos, monkeypatch) -> None:
    """A shell variable that is not set must not mean the current folder."""
    monkeypatch.chdir(photos)
    with pytest.raises(InputError, match=r"^root \(--data-root\) must be .* Got '[ \\t]*' instead\.") as error:
        load(name, value)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"^cache_dir \(--cache-dir\) must be"):
        load("folder", photos, cache_dir=value)
    assert len(list(photos.iterdir())) == NUM


def official(root: Path, folder: str = "img_align_celeba", suffix: str = "jpg") -> Path:
    for number in range(1, NUM + 1):
        noise(root / "Img" / folder / f"{number:06}.{suffix}", number)
    (root / "Anno").mkdir()
    lines = [f"{number:06}.jpg  {'1' if number % 3 else '-1'}  -1" for number in range(1, NUM + 1)]
    (root / "Anno" / "list_attr_celeba.txt").write_text("\n".join([str(NUM), "Bald Young", *lines]))
    (root / "Eval").mkdir()
    return root


@pytest.mark.parametrize("inner", [".", "Img", "Img/img_align_celeba"])
@pytest.mark.parametrize("outer", [".", "celeba", "CelebA"])
def test_celeba_in_its_official_layout(inner, outer, tmp_path, load) -> None:
    official(tmp_path / "x" / outer)
    for root in (tmp_path / "x" / outer / inner, tmp_path / "x"):
        data = load("celeba", root)
        assert data.names == tuple(f"{number:06}.jpg" for number in range(1, NUM + 1))
        assert data.attribute_names == ("Bald", "Young")
        assert data.attributes[:, 0].tolist() == [int(number % 3 > 0) for number in range(1, NUM + 1)]
        assert data.notes == ()


@pytest.mark.parametrize("place", ["Img", "."])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_official_png_images_and_masks(place, suffix, tmp_path, load) -> None:
    root = official(tmp_path / "x", "img_align_celeba_png" if suffix == "png" else "img_align_celeba", suffix)
    for number in range(1, NUM + 1):
        noise(root / place / "masks" / f"{number:06}.png", number)
    data = load("celeba", root)
    assert data.names[0] == f"000001.{suffix}"
    assert data.attributes.shape == (NUM, 2)
    assert data.masks.shape == (NUM, SIZE, SIZE)
    noise(root / "Img" / "img_align_celeba_png" / "999999.png" if suffix == "png" else root / "Img/img_align_celeba/9.jpg", 99)
    with pytest.raises(InputError, match="no row for"):
        load("celeba", root)
