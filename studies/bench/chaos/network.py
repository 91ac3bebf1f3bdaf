"""What lies between a machine of `bench chaos` and the database: a proxy each, which can be cut."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import sqlalchemy as sa

CUT, HELD, LOST = "cut", "held", "lost"
KINDS = (CUT, HELD, LOST)
BYTES = 1 << 16
T = TypeVar("T")


class Proxy:
    """Passes a machine's connections on to the database, but for a partition of one of three kinds.

    CUT: every connection breaks, and new ones are refused. HELD: nothing arrives, and all goes on afterwards. LOST: nothing
    arrives, neither what was asked nor what was answered, and every connection is broken afterwards.
    """

    def __init__(self, url: sa.URL) -> None:
        self.url = url  # of the database itself
        self.port = 0
        self.partition = ""
        self._passing = asyncio.Event()
        self._passing.set()
        self._writers = set[asyncio.StreamWriter]()
        self._served = set[asyncio.Task[None]]()

    @property
    def public(self) -> sa.URL:
        """The database's URL for who comes this way."""
        query = {name: value for name, value in self.url.query.items() if name != "host"}
        return self.url.set(host="127.0.0.1", port=self.port, query=query)

    async def listen(self) -> None:
        """Begin."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def end(self) -> None:
        """Break every connection."""
        self._server.close()
        self.mend()
        self._break()
        await asyncio.gather(*self._served, return_exceptions=True)

    def part(self, kind: str) -> None:
        """Begin a partition."""
        self.partition = kind
        if kind == CUT:
            self._break()
        else:
            self._passing.clear()

    def mend(self) -> None:
        """End a partition."""
        if self.partition == LOST:
            self._break()
        self.partition = ""
        self._passing.set()

    def _break(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends, task = {writer}, asyncio.current_task()
        assert task is not None
        self._served.add(task)
        self._writers.add(writer)
        try:
            await self._passing.wait()
            if self.partition == CUT or writer.is_closing():
                return
            there, to_there = await self._connect()
            ends.add(to_there)
            self._writers.add(to_there)
            ways = {asyncio.ensure_future(self._pass(reader, to_there)), asyncio.ensure_future(self._pass(there, writer))}
            _, other = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in other:
                way.cancel()
        except OSError:
            pass  # the server is down: as seen by the machine, its connection breaks
        finally:
            self._served.discard(task)
            self._writers -= ends
            for end in ends:
                end.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = str(self.url.query.get("host") or self.url.host or "127.0.0.1"), self.url.port or 5432
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(BYTES):
                await self._passing.wait()
                writer.write(data)
                await writer.drain()


class Network:
    """Proxies, which run in a thread of their own."""

    def proxy(self, url: sa.URL) -> Proxy:
        """A proxy for the database of this URL."""
        made = Proxy(url)
        self._do(made.listen())
        self._proxies.append(made)
        return made

    def part(self, proxy: Proxy, kind: str) -> None:
        """Begin a partition."""
        self._loop.call_soon_threadsafe(proxy.part, kind)

    def mend(self, proxy: Proxy) -> None:
        """End a partition."""
        self._loop.call_soon_threadsafe(proxy.mend)

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def __enter__(self) -> Network:
        self._loop, self._proxies = asyncio.new_event_loop(), list[Proxy]()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        for proxy in self._proxies:
            self._do(proxy.end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
