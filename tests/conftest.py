"""What every test shares: pieces from `--plugin MODULE`, registered before tests are collected, and one torch thread."""

from __future__ import annotations

import importlib

import pytest
import torch


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--plugin", action="append", default=[], metavar="MODULE", help="a module that registers further pieces")


def pytest_configure(config: pytest.Config) -> None:
    for name in config.getoption("--plugin"):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise pytest.UsageError(f"--plugin must be a module that Python can import. Got {name!r} instead. {error}.") from None


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    # before each test: a command that another test ran in this process may have changed it
    torch.set_num_threads(1)
