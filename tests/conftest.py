"""What every test shares: pieces from `--plugin MODULE`, registered before tests are collected, and nothing that depends on load.

One thread per process (two on busy cores wait for each other, 150 times as long as one takes), Ctrl-C as in a terminal also where
the suite runs in the background, and no deadlines.
"""

from __future__ import annotations

import importlib
import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # before torch and NumPy read them

import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

if TYPE_CHECKING:
    from tests.storages import PostgresServer

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


BLANK = '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>'


@contextmanager
def blank_plots() -> Iterator[None]:
    """Every plot is a white file meanwhile: drawing those of a page takes some seconds, and the tests of reports look at them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from PIL import Image

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "draw_without_rendering", lambda self: None)
        patch.setattr(FigureCanvasAgg, "print_png", lambda self, to, **_: Image.new("RGB", (8, 8), "white").save(to))
        patch.setattr(
            FigureCanvasSVG, "print_svg", lambda self, to, **_: to.write(BLANK) if hasattr(to, "write") else to.write_text(BLANK)
        )
        yield


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A PostgreSQL server of this test process, which starts where a test asks for it."""
    from tests.storages import a_server

    server = a_server(tmp_path_factory.mktemp("postgres"))
    yield server
    server.cleanup()


@pytest.fixture
def postgres(postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a fresh database."""
    import sqlalchemy as sa

    from studies.store.db import database

    monkeypatch.setattr(database, "UP_SINCE", {})  # a server that has just been started excuses silent workers
    name = f"test_{uuid.uuid4().hex[:12]}"
    engine = sa.create_engine(postgres_server.get_uri(driver="psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield postgres_server.get_uri(name, driver="psycopg")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    engine.dispose()


@pytest.fixture(params=["journal", "sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A storage of each kind."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres"))
    return str(tmp_path / "study.log") if request.param == "journal" else f"sqlite:///{tmp_path}/study.db"


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of a server that speaks as S3 does."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket of that server, which the environment of this process and of those that it starts names."""
    import boto3

    for name, value in {"ENDPOINT_URL": s3, "ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "hidden", "REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    name = f"bucket-{uuid.uuid4().hex}"
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=name)
    return name


@pytest.fixture(params=["folder", "bucket", "prefix"])
def artifacts_place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place for artifacts of each kind."""
    if request.param == "folder":
        return str(tmp_path / "shared")
    name = request.getfixturevalue("bucket")
    return f"s3://{name}" if request.param == "bucket" else f"s3://{name}/of/studies"
