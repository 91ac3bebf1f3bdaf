"""The cache of decoded images: builders that race, are killed, are interrupted or run out of room; these things are really done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from ablation.data import folder as folder_module
from ablation.data import load_dataset
from ablation.data.cache import ArrayFile, cached, default_cache_dir
from blocks.errors import InputError

REPOSITORY = Path(__file__).parents[2]
NUM, SIZE = 200, 16
# A process that loads the folder argv[1] with the cache argv[2] once a line comes in, and takes argv[3] seconds an image
LOADER = """
import json, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from ablation.data import folder, load_dataset
plain, count = folder.decode, []
def slow(path, size):
    time.sleep(float(sys.argv[3]))
    count.append(path)
    return plain(path, size)
folder.decode = slow
folder.num_cores = lambda: 1  # as long on every machine
print("ready", flush=True)
sys.stdin.readline()
data = load_dataset("folder", root=sys.argv[1], image_size=16, cache_dir=sys.argv[2])
print(json.dumps([len(count), data.fingerprint, int(data.images.sum(dtype=int)), len(data)]))
"""
# The same with files limited to 20,000 bytes, so that writing fails in the middle as on a full disk
NO_ROOM = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
from ablation.data import load_dataset
from blocks.errors import InputError
try:
    load_dataset("folder", root=sys.argv[1], image_size=16, cache_dir=sys.argv[2])
except InputError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NUM small images."""
    folder = tmp_path_factory.mktemp("images")
    pixels = np.random.default_rng(0).integers(0, 256, (NUM, 20, 20, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{number:04}.png")
    return folder


@pytest.fixture
def start(images: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts processes that load `images`, and ends those that a failing test leaves."""
    started: list[subprocess.Popen[str]] = []

    def begin(seconds: float = 0.0) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", LOADER, str(images), str(tmp_path), str(seconds)]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, cwd=REPOSITORY, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()
        process.wait()


def go(*processes: subprocess.Popen[str]) -> None:
    """Let them load, all at once."""
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()


def wait_for(condition: Callable[[], object], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def being_built(cache: Path) -> bool:
    """A builder has written a part of the images."""
    return any(path.stat().st_size > 5000 for path in cache.glob("*.building-*/images.npy"))


def entries(cache: Path) -> list[str]:
    """Folders in the cache, whole or not."""
    return sorted(path.name for path in cache.iterdir() if path.is_dir())


def plain(folder: Path) -> np.ndarray:
    opened = [Image.open(path).convert("RGB").resize((SIZE, SIZE), Image.BILINEAR) for path in sorted(folder.iterdir())]
    return np.stack([np.asarray(image).transpose(2, 0, 1) for image in opened])


def test_two_processes_build_once(start, images, tmp_path) -> None:
    processes = [start(0.003) for _ in range(2)]
    go(*processes)
    answers = []
    for process in processes:
        out, err = process.communicate(timeout=600)
        assert (process.returncode, err) == (0, "")
        answers.append(json.loads(out))
    assert sorted(answer[0] for answer in answers) == [0, NUM]
    expected = plain(images)
    assert [answer[2] for answer in answers] == [int(expected.sum(dtype=int))] * 2
    assert answers[0][1] == answers[1][1]
    assert len(entries(tmp_path)) == 1
    np.testing.assert_array_equal(load_dataset("folder", root=images, image_size=SIZE, cache_dir=tmp_path).images, expected)


def test_builder_killed_in_the_middle_while_another_waits(start, tmp_path) -> None:
    killed, waiting = start(0.03), start()
    assert waiting.stdout.readline() == "ready\n"
    go(killed)
    wait_for(lambda: being_built(tmp_path))
    waiting.stdin.write("go\n")
    waiting.stdin.flush()
    time.sleep(0.1)
    killed.kill()
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    out, err = waiting.communicate(timeout=600)
    assert (waiting.returncode, err) == (0, "")
    assert json.loads(out)[0] == NUM
    assert len(entries(tmp_path)) == 1
    assert ".building-" not in entries(tmp_path)[0]


def test_start_after_a_kill(start, images, tmp_path) -> None:
    killed = start(0.03)
    go(killed)
    wait_for(lambda: being_built(tmp_path))
    killed.kill()
    killed.communicate()
    assert [".building-" in name for name in entries(tmp_path)] == [True]
    data = load_dataset("folder", root=images, image_size=SIZE, cache_dir=tmp_path)
    np.testing.assert_array_equal(data.images, plain(images))
    assert data.notes == ()
    assert [".building-" in name for name in entries(tmp_path)] == [False]


def test_ctrl_c_leaves_nothing_and_says_nothing(start, tmp_path) -> None:
    process = start(0.03)
    go(process)
    wait_for(lambda: being_built(tmp_path))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=600)
    assert err.count("Traceback") == 1  # python's own, of the program that did not catch it
    assert err.splitlines()[-1] == "KeyboardInterrupt"
    assert entries(tmp_path) == []


def test_no_room_in_the_middle(images, tmp_path) -> None:
    command = [sys.executable, "-c", NO_ROOM, str(images), str(tmp_path / "cache")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=600, check=True)
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    assert str(tmp_path / "cache") in line
    assert "0.2 MB free" in line  # 200 x 3 x 16 x 16 = 153,600 bytes
    assert "File too large" in line
    assert "--cache-dir" in line
    assert entries(tmp_path / "cache") == []
    assert len(load_dataset("folder", root=images, image_size=SIZE, cache_dir=tmp_path / "cache")) == NUM


def test_too_little_room_is_told_before_building(tmp_path) -> None:
    def build(folder: Path) -> dict[str, object]:
        raise AssertionError("was begun")

    with pytest.raises(InputError, match=r"MB free.*too little free space.*--cache-dir"):
        cached(tmp_path, "entry", build, num_bytes=2**62)
    assert entries(tmp_path) == []


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_folder_that_cannot_be_written(below, images, tmp_path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(InputError, match=r"cache_dir \(--cache-dir\) must be a writable folder with 0\.2 MB free\. Got ") as error:
        load_dataset("folder", root=images, image_size=SIZE, cache_dir=tmp_path / "file" / below)
    assert str(tmp_path / "file") in str(error.value)
    assert "\n" not in str(error.value)
    assert (tmp_path / "file").read_text() == "kept"


def test_failed_build_leaves_nothing_and_is_told_as_it_is(tmp_path) -> None:
    def build(folder: Path) -> dict[str, object]:
        (folder / "half.npy").write_bytes(b"1")
        raise InputError("the reason")

    for _ in range(2):
        with pytest.raises(InputError, match=r"^the reason$"):
            cached(tmp_path, "entry", build, num_bytes=1)
        assert entries(tmp_path) == []


def test_leftovers_of_other_entries_go_unless_they_are_being_built(images, tmp_path) -> None:
    for name in ("dead.building-99999", "alive.building-99998"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "images.npy").write_bytes(b"1")
    with FileLock(tmp_path / "alive.lock"):
        load_dataset("folder", root=images, image_size=SIZE, cache_dir=tmp_path)
    assert entries(tmp_path)[0] == "alive.building-99998"
    assert len(entries(tmp_path)) == 2


@pytest.mark.parametrize("damage", ["cut", "gone", "meta"])
def test_damaged_entry_is_built_again(damage, images, tmp_path) -> None:
    load_dataset("folder", root=images, image_size=SIZE, cache_dir=tmp_path)
    (entry,) = [tmp_path / name for name in entries(tmp_path)]
    if damage == "cut":
        os.truncate(entry / "images.npy", 1000)
    elif damage == "gone":
        (entry / "images.npy").unlink()
    else:
        (entry / "meta.json").write_text('{"values": ')
    data = load_dataset("folder", root=images, image_size=SIZE, cache_dir=tmp_path)
    np.testing.assert_array_equal(data.images, plain(images))
    assert data.notes == ("the cache entry was damaged and was built again",)
    assert entries(tmp_path) == [entry.name]
    assert load_dataset("folder", root=images, image_size=SIZE, cache_dir=tmp_path).notes == ()


def test_whole_entry_needs_no_lock(images, tmp_path) -> None:
    first = load_dataset("folder", root=images, image_size=SIZE, cache_dir=tmp_path)
    (entry,) = entries(tmp_path)
    with FileLock(tmp_path / f"{entry}.lock"):  # a reader that asked for it would wait for ever
        second = load_dataset("folder", root=images, image_size=SIZE, cache_dir=tmp_path)
    assert second.describe() == first.describe()


def test_second_start_takes_under_a_second(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    Image.new("RGB", (8, 8), (1, 2, 3)).save(folder / "00000.png")
    for number in range(1, 5000):
        os.link(folder / "00000.png", folder / f"{number:05}.png")
    load_dataset("folder", root=folder, image_size=8, cache_dir=tmp_path / "cache")
    begin = time.process_time()
    monkeypatch.setattr(folder_module, "try_decode", lambda *a: pytest.fail("decoded again"))
    data = load_dataset("folder", root=folder, image_size=8, cache_dir=tmp_path / "cache")
    assert time.process_time() - begin < 1.0
    assert data.images.shape == (5000, 3, 8, 8)
    assert isinstance(data.images, np.memmap)


def test_progress_is_shown_on_stderr_only_when_asked_and_only_once(images, tmp_path, capfd) -> None:
    load_dataset("folder", root=images, image_size=SIZE, cache_dir=tmp_path / "a")
    assert capfd.readouterr() == ("", "")
    load_dataset("folder", root=images, image_size=SIZE, cache_dir=tmp_path / "b", progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "decoding images: 100%" in err
    assert f"{NUM}/{NUM}" in err
    load_dataset("folder", root=images, image_size=SIZE, cache_dir=tmp_path / "b", progress=True)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("num_rows", [0, 1, 10, 123, 100_000])
def test_array_file_is_a_npy_file(num_rows, tmp_path) -> None:
    rows = np.arange(num_rows * 6, dtype=np.float32).reshape(num_rows, 2, 3)
    with ArrayFile(tmp_path / "a.npy", np.float32, (2, 3)) as file:
        file.append(rows[: num_rows // 3])
        file.append(rows[num_rows // 3 :])
    read = np.load(tmp_path / "a.npy")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, rows)


def test_default_cache_folder(monkeypatch, tmp_path, images) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ABLATION_CACHE", raising=False)
    assert default_cache_dir() == tmp_path / "home" / ".cache" / "ablation"
    monkeypatch.setenv("ABLATION_CACHE", str(tmp_path / "named"))
    load_dataset("folder", root=images, image_size=SIZE)
    assert len(entries(tmp_path / "named")) == 1
