"""Run the model server: in this thread until a signal ends it, or beside the caller while a block lasts."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Unpack

import uvicorn
from starlette.types import ASGIApp

from hotset.errors import ModelServerUnavailable, PortTaken
from hotset.fleet import Fleet
from hotset.modelserver.http import Simulation, create_app

DEFAULT_PORT = 11434
_GRACE_S = 1  # for what is left when everyone has been hung up on
_HANG_UP_S = 0.005  # for those that idle: uvicorn looks after them each 0.1 s only
_IDLE_S = 600  # an idle connection's life; clients' pools must give up first
_START_S = 10.0

Ready = Callable[[str], None]


def serve(
    fleet: Fleet,
    gpu: str,
    *,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    ready: Ready | None = None,
    **how: Unpack[Simulation],
) -> None:
    """Serve until a signal: at SIGINT it returns, at SIGTERM the process ends. Prints nothing.

    `port` 0 takes a free one; `ready` is called with the base URL once it listens. `how`: see `create_app`.
    Raises PortTaken, or UsageError if the fleet has no such GPU.
    """
    with _listening(host, port) as listener:
        server = _Server(create_app(fleet, gpu, **how), _url(listener), ready)
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn has stopped in good order by then
            server.run(sockets=[listener])


@contextlib.contextmanager
def serving(
    fleet: Fleet, gpu: str, *, host: str = "127.0.0.1", port: int = 0, **how: Unpack[Simulation]
) -> Iterator[str]:
    """Serve in a thread of its own while the block lasts; yields the base URL."""
    started = threading.Event()
    with _listening(host, port) as listener:
        server = _Server(create_app(fleet, gpu, **how), _url(listener), lambda _: started.set())
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name=f"modelserver {gpu}")
        thread.start()
        try:
            if not started.wait(_START_S):
                raise ModelServerUnavailable(f"The model server of {gpu} did not start within {_START_S:g} s.")
            yield _url(listener)
        finally:
            server.should_exit = True
            thread.join()


def _no_news(record: logging.LogRecord) -> bool:
    """An answer without its end is what was asked for: a cut, or a client that did not read."""
    return record.msg != "ASGI callable returned without completing response."


class _Server(uvicorn.Server):
    def __init__(self, app: ASGIApp, url: str, ready: Ready | None) -> None:
        logging.getLogger("uvicorn.error").addFilter(_no_news)
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                ws="none",
                lifespan="on",
                server_header=False,
                timeout_keep_alive=_IDLE_S,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )
        self._address = url
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started and self._ready is not None:
            self._ready(self._address)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Hang up on everyone first, as Ollama does: requests that run end as if their clients had left."""
        transports = [connection.transport for connection in self.server_state.connections]
        for transport in transports:
            transport.close()
        await asyncio.sleep(_HANG_UP_S)
        await super().shutdown(sockets=sockets)
        for transport in transports:
            transport.abort()  # whoever reads nothing would otherwise keep the loop, and so us, for ever


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A bound socket, so that a port that is taken is found out before anything starts."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(2048)  # here, not later: two that bind at once must not both believe that they have it
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise PortTaken(
                f"Port {port} of {host} is taken.",
                remedy="Is an Ollama running there? Choose another with --port (0 takes a free one).",
            ) from error
        yield listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
