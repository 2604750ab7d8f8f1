"""A proxy between hotset and a server of its own: it can fall silent without closing anything, and it can speak TLS.

It falls silent as a network does whose firewall forgot a connection: both ends stay open, what they write is taken and
goes nowhere, for ever. Connections that are made later work once it is `heal`ed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import time
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from sqlalchemy import make_url

#: What a Postgres client sends first when it wants TLS: a length and a code. PostgreSQL 18, 54.7 "SSLRequest".
_SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")


class Proxy:
    """Listens on a free port of 127.0.0.1 while the block lasts. `target`: (host, port), or the path of a socket."""

    def __init__(
        self, target: tuple[str, int] | str, *, tls: ssl.SSLContext | None = None, asks_for_tls: bool = False
    ) -> None:
        """`tls`: the outer side is encrypted; `asks_for_tls`: after Postgres's own request for it, else at once."""
        self._target, self._tls, self._asks = target, tls, asks_for_tls
        self._silent = False
        self._dead: set[asyncio.StreamWriter] = set()
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._main, name="test-proxy", daemon=True)
        #: Monotonic times at which connections were made.
        self.connected: list[float] = []
        self.port = 0

    @classmethod
    def of_postgres(cls, url: str, **how: object) -> Self:
        parsed = make_url(url)
        folder = parsed.query.get("host") or parsed.host or "127.0.0.1"
        port = parsed.port or 5432
        target = f"{folder}/.s.PGSQL.{port}" if str(folder).startswith("/") else (str(folder), port)
        return cls(target, **how)  # type: ignore[arg-type]

    @classmethod
    def of_url(cls, url: str, **how: object) -> Self:
        parts = urlsplit(url)
        return cls((str(parts.hostname), int(parts.port or 0)), **how)  # type: ignore[arg-type]

    def in_place_of(self, url: str, *, scheme: str | None = None, host: str = "127.0.0.1") -> str:
        """The address with this proxy for its server."""
        if url.startswith("postgresql"):
            parsed = make_url(url).set(host=host, port=self.port, query={})
            return parsed.render_as_string(hide_password=False)
        parts = urlsplit(url)
        user, at, _ = parts.netloc.rpartition("@")
        return parts._replace(scheme=scheme or parts.scheme, netloc=f"{user}{at}{host}:{self.port}").geturl()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def swallow(self) -> float:
        """From now on nothing passes; what is connected stays so and is dead for ever. The moment, monotonic."""

        async def now() -> float:
            self._silent = True
            self._dead |= self._open
            return time.monotonic()

        return asyncio.run_coroutine_threadsafe(now(), self._loop).result(10)

    def cut(self) -> None:
        """Every connection ends at once, as when the server is killed."""

        async def now() -> None:
            for writer in self._open:
                writer.transport.abort()

        asyncio.run_coroutine_threadsafe(now(), self._loop).result(10)

    def heal(self) -> None:
        """New connections work."""
        self._silent = False

    def _main(self) -> None:
        async def serve() -> asyncio.Server:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            return server

        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(serve())
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected.append(time.monotonic())
        inner: asyncio.StreamWriter | None = None
        self._open.add(writer)
        if self._silent:
            self._dead.add(writer)
        try:
            if self._tls is not None:
                if self._asks:
                    if await reader.readexactly(8) != _SSL_REQUEST:
                        return  # a client that would speak in the clear
                    writer.write(b"S")
                await writer.start_tls(self._tls)
            if isinstance(self._target, str):
                back, inner = await asyncio.open_unix_connection(self._target)
            else:
                back, inner = await asyncio.open_connection(*self._target)
            await asyncio.gather(self._pump(reader, inner, writer), self._pump(back, writer, writer))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # one side has gone, or the test is over
        finally:
            self._open.discard(writer)
            for each in (writer, inner):
                if each is not None:
                    with contextlib.suppress(Exception):
                        each.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, who: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            if who not in self._dead:
                sink.write(data)
                await sink.drain()
        if who not in self._dead:
            sink.close()
