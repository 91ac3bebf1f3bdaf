"""Working folders for commands: empty, or with a study that is complete."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from studies.run import main
from tests.conftest import blank_plots
from tests.tiny_grid import begin, grid


def enter(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """Work in a folder, with a cache of its own and one thread."""
    patch.chdir(folder)
    patch.setenv("ABLATION_CACHE", str(folder / "cache"))
    patch.setenv("OMP_NUM_THREADS", "1")
    return folder


@pytest.fixture(scope="module", autouse=True)
def plots(request: pytest.FixtureRequest) -> Iterator[None]:
    """Blank but for commands in processes of their own, and in modules that say REAL_PLOTS."""
    with nullcontext() if getattr(request.module, "REAL_PLOTS", False) else blank_plots():
        yield


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in that holds spaces alone."""
    return begin(enter(tmp_path, monkeypatch))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tiny grid has been run."""
    with pytest.MonkeyPatch.context() as patch:
        folder = begin(enter(tmp_path_factory.mktemp("finished"), patch))
        assert main(grid()) == 0
    return folder


@pytest.fixture
def study(finished: Path, place: Path) -> Path:
    """The folder of a tiny grid that is complete, to work on."""
    for name in ("results", "cache"):
        shutil.copytree(finished / name, place / name)
    return place / "results/tiny"
