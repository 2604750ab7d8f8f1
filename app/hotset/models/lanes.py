"""One connection for each running generation, kept for the next one; any thread can cut it.

httpx shows the socket of a response only once its headers are there, and Ollama sends headers with the first token:
a request that waits for a load has none. So a generation gets a client of its own with one connection, and httpcore's
`trace` extension tells us its socket when it connects.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Mapping
from typing import Any

import httpx

#: A server that vanished without a word is found by TCP itself: asked after 10 s of silence, given up after 15 more.
_KEEPALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
        if hasattr(socket, name)
    ),
]


def connection(verify: ssl.SSLContext | bool, limits: httpx.Limits) -> httpx.HTTPTransport:
    """How all of our clients of model servers connect."""
    return httpx.HTTPTransport(verify=verify, limits=limits, trust_env=False, socket_options=_KEEPALIVE)


class Lane:
    """A client with at most one connection; used by one generation at a time."""

    def __init__(self, base_url: str, *, headers: Mapping[str, str], verify: ssl.SSLContext | bool) -> None:
        self.client = httpx.Client(
            base_url=base_url,
            headers=dict(headers),
            verify=verify,
            trust_env=False,
            transport=connection(
                verify, httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=30.0)
            ),
        )
        self._socket: socket.socket | None = None
        self._cut = False

    def open(self) -> None:
        """Ready for the next generation."""
        self._cut = False

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """httpcore's hook: learns the socket of a new connection (and cuts it, if it came too late)."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._socket = info["return_value"].get_extra_info("socket")
            if self._cut:
                self.cut()

    def cut(self) -> None:
        """Shut the socket down: a read that another thread is blocked in returns at once."""
        self._cut = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                # The base class's method: an SSLSocket's own drops its state under the reader's feet.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        self.client.close()


class Lanes:
    """The idle lanes, the last used first; at most `keep` of them are kept. Thread-safe."""

    def __init__(self, base_url: str, *, headers: Mapping[str, str], verify: ssl.SSLContext | bool, keep: int) -> None:
        self._base_url = base_url
        self._headers = headers
        self._verify = verify
        self._keep = keep
        self._idle: list[Lane] = []
        self._closed = False
        self._lock = threading.Lock()

    def take(self) -> Lane:
        with self._lock:
            lane = self._idle.pop() if self._idle else None
        lane = lane or Lane(self._base_url, headers=self._headers, verify=self._verify)
        lane.open()
        return lane

    def give(self, lane: Lane) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < self._keep:
                self._idle.append(lane)
                return
        lane.close()

    def close(self) -> None:
        """Close the idle lanes; those in use are closed when they are given back."""
        with self._lock:
            idle, self._idle, self._closed = self._idle, [], True
        for lane in idle:
            lane.close()
