"""What every test shares: pieces from `--plugin MODULE`, registered before tests are collected, and nothing that depends on load.

One thread per process (two on busy cores wait for each other, 150 times as long as one takes), Ctrl-C as in a terminal also where
the suite runs in the background, and no deadlines.
"""

from __future__ import annotations

import importlib
import os
import signal
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # before torch and NumPy read them

import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--plugin", action="append", default=[], metavar="MODULE", help="a module that registers further pieces")


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell starts background commands so
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in config.getoption("--plugin"):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise pytest.UsageError(f"--plugin must be a module that Python can import. Got {name!r} instead. {error}.") from None


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    # before each test: a command that another test ran in this process may have changed it
    torch.set_num_threads(1)


@pytest.fixture(params=["journal", "sqlite"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A storage of each kind that needs no server."""
    return str(tmp_path / "study.log") if request.param == "journal" else f"sqlite:///{tmp_path}/study.db"
