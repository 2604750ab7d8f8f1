"""What is done to the system: connections cut, replies lost, a disk that is full."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import redis

_PIECE = 65_536
#: Bytes a file may still grow when its disk is "full": no message fits.
_LEFT = 16


def cut_connections(broker_url: str) -> None:
    """Every connection to the broker ends now, from its side, those that listen to channels too."""
    with redis.Redis.from_url(broker_url) as client:
        client.client_kill_filter(_type="pubsub")
        client.client_kill_filter(_type="normal", skipme=True)


@contextmanager
def full_disk(pid: int) -> Iterator[None]:
    """The log of appends of that Valkey or Redis cannot grow while the block lasts: each write to it fails (EFBIG).

    A limit on the size of files (RLIMIT_FSIZE, set by `prlimit` of util-linux) stands in for a full disk: to the server
    both are a failed write of its log, and it answers every command that would change anything with MISCONF until a
    write succeeds. It needs no mount and no privilege. The process must ignore SIGXFSZ, as embedded servers do.
    """
    log = next(path for fd in Path(f"/proc/{pid}/fd").iterdir() if (path := fd.resolve()).name.endswith(".incr.aof"))
    limits = Path(f"/proc/{pid}/limits").read_text("utf-8").splitlines()
    before = next(line.split()[3] for line in limits if line.startswith("Max file size"))
    _limit_files(pid, str(log.stat().st_size + _LEFT))
    try:
        yield
    finally:
        _limit_files(pid, before)


def _limit_files(pid: int, size: str) -> None:
    """By the server's own account: another one's limits are not root's to change in a container."""
    owner = Path(f"/proc/{pid}").stat()
    rights = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": ()} if os.geteuid() == 0 else {}
    command = ["prlimit", f"--pid={pid}", f"--fsize={size}:"]
    subprocess.run(command, check=True, capture_output=True, **rights)  # type: ignore[call-overload]  # noqa: S603


def cpu_seconds(pid: int) -> float:
    """Of that process so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def deaf_server() -> Iterator[int]:
    """A port of 127.0.0.1 that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield int(listener.getsockname()[1])


class LostReplies:
    """A way to a server on which replies get lost: of every `every`th request that holds `marker` the server hears, but
    its reply is dropped and the connection closed. Used as a block; `url` is where clients go meanwhile."""

    def __init__(self, url: str, *, marker: bytes, every: int) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self._marker, self._every = marker, every
        self._lock = threading.Lock()
        self._seen = 0
        self.lost = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = parts._replace(netloc=f"127.0.0.1:{self._listener.getsockname()[1]}").geturl()
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> LostReplies:
        threading.Thread(target=self._accept, name="lost-replies", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # A thread that waits in accept() holds the port until it is woken.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._sockets:
            _end(one)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            self._sockets += [client, server]
            doomed = threading.Event()
            for work in (self._requests, self._replies):
                threading.Thread(target=work, args=(client, server, doomed), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket, doomed: threading.Event) -> None:
        with suppress(OSError):
            while piece := client.recv(_PIECE):
                if self._marker in piece and self._due():
                    doomed.set()  # before the server can answer
                server.sendall(piece)
        _end(server)

    def _replies(self, client: socket.socket, server: socket.socket, doomed: threading.Event) -> None:
        with suppress(OSError):
            while (piece := server.recv(_PIECE)) and not doomed.is_set():
                client.sendall(piece)
        _end(client)
        _end(server)

    def _due(self) -> bool:
        with self._lock:
            self._seen += 1
            due = self._seen % self._every == 0
            self.lost += due
            return due


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
