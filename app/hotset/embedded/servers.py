"""Postgres, broker and cache of one home: started together, recorded in a file, stopped together.

<home>/servers.json    addresses and processes; the ports stay in it, so that the next start takes them again
<home>/servers.lock    held while servers are started or stopped
<home>/postgres  <home>/broker  <home>/cache, each with its .log
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hotset.embedded.accounts import make_folders, possible_folders
from hotset.embedded.postgres import Postgres, clear_socket_dir
from hotset.embedded.process import Process, stop
from hotset.embedded.server import Server
from hotset.embedded.valkey import Valkey
from hotset.errors import PortTaken, StoreUnavailable

NAMES = ("postgres", "broker", "cache")  # the order of starting; stopping goes backwards


@dataclass(frozen=True)
class Entry:
    """One server as servers.json tells it. `owner`: the process it ends with, None for a detached one."""

    url: str
    process: Process
    data_dir: str
    socket_dir: str | None = None
    port: int | None = None
    owner: int | None = None


class Servers:
    """The three servers of `home`.

    Owned (the default): `with Servers(home) as servers`; they are stopped at the end, or by a watchdog if
    this process is killed. Detached: `start()` leaves them running after this process;
    `Servers(home).stop()` ends them from any other. Starting what already runs detached is no error: the
    addresses are those of the running servers, and the end of a `with` stops only what it has started.

    `postgres_settings` are added to Postgres's command line. Raises StoreUnavailable, BrokerUnavailable, and
    PortTaken if another process owns running servers of this home.
    """

    def __init__(
        self, home: Path | str, *, detached: bool = False, postgres_settings: Mapping[str, str] | None = None
    ) -> None:
        self.home = Path(home).expanduser().resolve()
        self.detached = detached
        self._postgres_settings = postgres_settings
        self._urls: dict[str, str] = {}
        self._started: list[Server] = []

    @classmethod
    def running(cls, home: Path | str) -> Servers | None:
        """The servers of `home` if all three run, whoever started them; else None."""
        servers = cls(home, detached=True)
        entries = servers._read()
        if set(entries) != set(NAMES) or not all(entry.process.alive() for entry in entries.values()):
            return None
        servers._urls = {name: entry.url for name, entry in entries.items()}
        return servers

    @property
    def database_url(self) -> str:
        return self._url("postgres")

    @property
    def broker_url(self) -> str:
        return self._url("broker")

    @property
    def cache_url(self) -> str:
        return self._url("cache")

    def start(self) -> Self:
        with self._locked():
            entries = self._read()
            self._refuse_owned(entries)
            try:
                for name in NAMES:
                    entry = entries.get(name)
                    if entry is None or not entry.process.alive():
                        entries[name] = entry = self._start_one(name, entry)
                        self._write(entries)
                        if self.detached:  # only now: until it is written down, nobody else could stop it
                            self._started[-1].release()
                    self._urls[name] = entry.url
            except BaseException:
                self._stop_started()
                raise
        return self

    def stop(self) -> None:
        """Stop whatever runs in this home. Nothing is signalled that is not provably one of these servers."""
        self._stop_started()
        if not self.home.is_dir():
            return
        with self._locked():
            entries = self._read()
            for name in reversed(NAMES):
                if name in entries:
                    _stop_entry(entries[name])
        self._urls.clear()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.detached:
            self._stop_started()
            self._urls.clear()

    def _url(self, name: str) -> str:
        if name not in self._urls:
            raise StoreUnavailable(f"The servers of {self.home} do not run.", remedy="`hotset up` starts them.")
        return self._urls[name]

    def _start_one(self, name: str, last: Entry | None) -> Entry:
        folder = self.home / name
        server: Postgres | Valkey
        if name == "postgres":
            server = Postgres(folder, settings=self._postgres_settings)
        else:
            role: Any = name
            server = Valkey(folder, role, prefer=last.port if last else None)
        if last:
            clear_socket_dir(Path(last.socket_dir) if last.socket_dir else None, Path(last.data_dir))
        self._started.append(server)  # first, so that an interrupted start is stopped too
        server.start()
        assert server.process is not None  # noqa: S101 - it has just been started
        return Entry(
            url=server.url,
            process=server.process,
            data_dir=str(server.data_dir),
            socket_dir=str(server.socket_dir) if isinstance(server, Postgres) else None,
            port=server.port if isinstance(server, Valkey) else None,
            owner=None if self.detached else os.getpid(),
        )

    def _stop_started(self) -> None:
        while self._started:
            self._started.pop().stop()

    def _refuse_owned(self, entries: Mapping[str, Entry]) -> None:
        """Servers that end with another process are not shared. Those of a killed owner are stopped."""
        for name, entry in entries.items():
            if entry.owner is None or not entry.process.alive():
                continue
            if not Path(f"/proc/{entry.owner}").exists():
                _stop_entry(entry)
                continue
            raise PortTaken(
                f"Process {entry.owner} runs the {name} of {self.home} and will stop it when it ends.",
                remedy="End that process first (`hotset down` ends its servers), or use another home.",
            )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if not self.home.is_dir():
            # Root's servers run as another account, which has to walk through.
            make_folders(self.home, 0o711 if os.geteuid() == 0 else 0o700)
        lock = os.open(self.home / "servers.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _read(self) -> dict[str, Entry]:
        path = self.home / "servers.json"
        try:
            said: dict[str, dict[str, Any]] = json.loads(path.read_text())
            entries = {name: _entry(fields) for name, fields in said.items() if name in NAMES}
            return {name: entry for name, entry in entries.items() if self._is_ours(name, entry)}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StoreUnavailable(
                f"{path} cannot be read: {error!r}.",
                remedy="Remove it once no server of this home runs (`ps ax` shows their folders).",
            ) from error

    def _is_ours(self, name: str, entry: Entry) -> bool:
        """A file that came with a copied home names the servers of the original: they are none of our business."""
        folders = [str(folder / "data") for folder in possible_folders(self.home / name)]
        return len(entry.process.command) == 3 and entry.process.command[2] in folders

    def _write(self, entries: Mapping[str, Entry]) -> None:
        """Beside and renamed: a reader sees the old file or the new one."""
        handle, draft = tempfile.mkstemp(dir=self.home, prefix=".servers-")
        with os.fdopen(handle, "w") as file:
            json.dump({name: asdict(entry) for name, entry in entries.items()}, file, indent=2)
        Path(draft).replace(self.home / "servers.json")


def _entry(fields: dict[str, Any]) -> Entry:
    process = fields.pop("process")
    known = Process(int(process["pid"]), tuple(process["command"]), tuple(process["signals"]))
    return Entry(process=known, **fields)


def _stop_entry(entry: Entry) -> None:
    if not stop(entry.process):
        raise StoreUnavailable(
            f"Process {entry.process.pid} ({entry.process.command[0]}) does not stop.",
            remedy="Look into its log.",
        )
    clear_socket_dir(Path(entry.socket_dir) if entry.socket_dir else None, Path(entry.data_dir))
