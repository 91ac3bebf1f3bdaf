"""Which data a study is of: what was decoded decides, and what earlier versions stored is still known."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from ablation.data import Dataset, split_indices
from ablation.data.base import FORMER_NOTE
from ablation.design.protocol import Protocol
from ablation.design.space import load_space
from ablation.train.checkpoint import identity, load_checkpoint, save_checkpoint
from blocks.errors import InputError
from studies.engine.config import StudyConfig, reconcile_config
from studies.engine.opened import RunOptions, StudyRun, open_run
from studies.engine.worker import open_dataset
from studies.grid.command import SPACES
from studies.run import main
from studies.store.storage import open_storage, open_study
from tests.data.conftest import noise
from tests.small_data import as_dataset

NUM, SIZE = 20, 16
SPACE = '[base]\npreset = "small"\nimage_size = 16\n[factors]\nhead = ["flatten", "pooled"]\n'


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(NUM):
        noise(tmp_path / "photos" / f"{number:02}.bmp", number)
    return tmp_path / "photos"


def swap_in_place(path: Path, other: Path) -> None:
    path.write_bytes(other.read_bytes())


def swap_by_renaming(path: Path, other: Path) -> None:
    os.replace(other, path)


def swap_link(path: Path, other: Path) -> None:
    path.unlink()
    path.symlink_to(other)


@pytest.mark.parametrize("swap", [swap_in_place, swap_by_renaming, swap_link])
@pytest.mark.parametrize("linked", [False, True])
def test_a_swapped_file_of_equal_size_and_time_is_other_data(swap, linked, photos, load, tmp_path) -> None:
    """Also where the folder holds links, and the link or its target is swapped."""
    path, other = photos / "03.bmp", tmp_path / "other.bmp"
    noise(other, 99)
    if linked:
        shutil.move(path, tmp_path / "target.bmp")
        path.symlink_to(tmp_path / "target.bmp")
    for file in (path, other):
        os.utime(file, ns=(10**18, 10**18))
    before = load("folder", photos)
    pixels = np.array(before.images)
    swap(tmp_path / "target.bmp" if linked and swap is not swap_link else path, other)
    os.utime(path, ns=(10**18, 10**18))
    after = load("folder", photos)
    changed = (after.images != pixels).any((1, 2, 3))
    assert changed.tolist() == [number == 3 for number in range(NUM)]
    assert after.fingerprint != before.fingerprint
    # all that earlier versions looked at is the same
    assert after.former == before.former


def test_the_same_pixels_are_the_same_data_however_stored(photos, load, tmp_path) -> None:
    first = load("folder", photos)
    for number, path in enumerate(sorted(photos.iterdir())):
        with Image.open(path) as image:
            pixels = np.asarray(image)
        path.unlink()
        Image.fromarray(pixels).save(path, "PNG", compress_level=number % 3)
    second = load("folder", photos)
    assert second.fingerprint == first.fingerprint
    assert second.former != first.former
    assert load("folder", photos, image_size=12).fingerprint != first.fingerprint


def test_attributes_are_part_of_the_data_where_there_are_any(photos, load, tmp_path) -> None:
    os.renames(photos, tmp_path / "celeba" / "img_align_celeba")
    table = tmp_path / "celeba" / "list_attr_celeba.csv"
    bare = load("celeba", tmp_path / "celeba")
    rows = [f"{number:02}.bmp,1,-1" for number in range(NUM)]
    result = [bare]
    for text in (rows, [*rows[:4], "04.bmp,-1,1", *rows[5:]]):
        table.write_text("\n".join(["image_id,Bald,Young", *text]))
        os.utime(table, ns=(10**18, 10**18))  # size and time stay
        result.append(load("celeba", tmp_path / "celeba"))
    table.write_text(table.read_text().replace("Bald,Young", "Bald,Yoenk"))
    result.append(load("celeba", tmp_path / "celeba"))
    assert len({data.fingerprint for data in result}) == 4
    assert {data.former for data in result} == {bare.former}
    table.write_text(table.read_text() + "\nnot_here.bmp,1,1")
    assert load("celeba", tmp_path / "celeba").fingerprint == result[-1].fingerprint


def test_a_cache_that_was_written_to_is_not_believed(photos, load, tmp_path) -> None:
    first = load("folder", photos)
    pixels = np.array(first.images)
    (path,) = (tmp_path / "cache").glob("*/images.npy")
    data = bytearray(path.read_bytes())
    data[-1] ^= 255
    path.write_bytes(data)
    second = load("folder", photos)
    np.testing.assert_array_equal(second.images, pixels)
    assert second.notes == ("the cache entry was damaged and was built again",)


def test_hashing_is_done_once(photos, load, monkeypatch) -> None:
    first = load("folder", photos)
    monkeypatch.setattr("ablation.data.files.content_fingerprint", lambda *a, **b: pytest.fail("hashed again"))
    assert load("folder", photos).fingerprint == first.fingerprint


@pytest.mark.parametrize("kind", ["deep", "turned"])
def test_files_that_are_read_otherwise_now_have_no_former_identity(kind, photos, load) -> None:
    """Earlier versions trained on other pixels of them: their studies must not be gone on with."""
    assert len(load("folder", photos).former) == 1
    if kind == "deep":
        Image.fromarray(np.full((20, 20), 32768, np.uint16)).save(photos / "00.png")
    else:
        exif = Image.Exif()
        exif[0x0112] = 3
        Image.open(photos / "00.bmp").save(photos / "00.jpg", exif=exif)
    assert load("folder", photos).former == ()


def config(dataset: Dataset, fingerprint: str) -> StudyConfig:
    data = {"name": "folder", "limit": None, "seed": 0, "image_size": SIZE}
    space = load_space(SPACES / "small.toml", image_size=SIZE).to_dict()
    return StudyConfig(name="grid", space=space, data=data, fingerprint=fingerprint, protocol=Protocol().to_dict())


def opened(dataset: Dataset, folder: Path) -> StudyRun:
    return open_run(config(dataset, dataset.fingerprint), RunOptions(out=folder, study="s"), dataset, Console(quiet=True))


def begin(folder: Path, dataset: Dataset, fingerprint: str) -> None:
    """A study as an earlier version stored it."""
    folder.mkdir()
    stored = config(dataset, fingerprint).to_dict()
    assert "former_fingerprint" not in stored
    open_study(open_storage(folder / "journal.log"), "s").set_user_attr("config", stored)


def test_a_study_by_names_and_sizes_goes_on_and_says_so(photos, load, tmp_path) -> None:
    data = load("folder", photos)
    begin(tmp_path / "study", data, data.former[0])
    for _ in range(2):  # the second time by what the first one stored
        run = opened(data, tmp_path / "study")
        assert run.config.fingerprint == data.fingerprint
        assert run.config.former_fingerprint == data.former[0]
        assert run.dataset.notes == (FORMER_NOTE,)
        worker = open_dataset(run.config, str(photos), str(tmp_path / "cache"))
        assert worker.notes == (FORMER_NOTE,)
    noise(photos / "07.bmp", 99)  # of the same size, which the old identity could not tell
    with pytest.raises(InputError, match="another fingerprint") as error:
        opened(load("folder", photos), tmp_path / "study")
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="those that the study began with"):
        open_dataset(run.config, str(photos), str(tmp_path / "cache"))


def test_a_study_by_names_and_sizes_refuses_other_names_and_sizes(photos, load, tmp_path) -> None:
    data = load("folder", photos)
    begin(tmp_path / "study", data, data.former[0])
    (photos / "19.bmp").unlink()
    with pytest.raises(InputError, match="another fingerprint"):
        opened(load("folder", photos), tmp_path / "study")


def test_a_worker_knows_a_study_of_an_earlier_version(photos, load, tmp_path) -> None:
    data = load("folder", photos)
    assert open_dataset(config(data, data.former[0]), str(photos), str(tmp_path / "cache")).notes == (FORMER_NOTE,)
    assert open_dataset(config(data, data.fingerprint), str(photos), str(tmp_path / "cache")).notes == ()


def test_reconciling_keeps_how_a_study_began() -> None:
    data = as_dataset(np.zeros((1, 3, 8, 8), np.uint8), fingerprint="new")
    old, new = config(data, "old"), config(data, "new")
    first = reconcile_config(old, new, "here", former=("old",))
    assert (first.fingerprint, first.former_fingerprint) == ("new", "old")
    assert reconcile_config(first, new, "here", former=("old",)) == first
    assert reconcile_config(new, new, "here").former_fingerprint == ""


def test_a_checkpoint_of_an_earlier_version_is_gone_on_from(photos, load, tmp_path) -> None:
    import torch

    data, split = load("folder", photos), split_indices(NUM)
    made = [identity(torch.nn.Linear(1, 1), d, split, Protocol(), 0) for d in (data, replace(data, fingerprint=data.former[0]))]
    new, old = made
    save_checkpoint(tmp_path, {"identity": old})
    assert load_checkpoint(tmp_path, new, [old])[0] == {"identity": old}
    with pytest.raises(InputError, match="dataset differ"):
        load_checkpoint(tmp_path, new)


def test_twenty_replaced_files_are_refused_by_the_command(tmp_path, photos, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ABLATION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "space.toml").write_text(SPACE)
    command = ["grid", "--space", "space.toml", "--data", "folder", "--data-root", "photos", "--epochs", "1", "--device", "cpu"]
    command += ["--latency-budget", "1", "--latency-batches", "1", "--out", "s"]
    assert main(command) == 0
    for number in range(NUM):
        noise(photos / f"{number:02}.bmp", 100 + number)
    capsys.readouterr()
    assert main([*command, "--seeds", "2"]) == 2
    assert "another fingerprint" in capsys.readouterr().err.strip().splitlines()[-1]
