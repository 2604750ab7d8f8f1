"""A Postgres on a Unix socket.

Everyone who can open the socket is let in as superuser (`trust`): what guards the database is its folder,
which only its account (and root) can enter. There is no TCP port.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import psycopg
from psycopg import sql

from hotset.embedded.accounts import Account
from hotset.embedded.server import Server, clean_environment
from hotset.embedded.wheels import Program, postgres_program
from hotset.errors import StoreUnavailable, Unavailable

SUPERUSER = "postgres"
SOCKET_LIMIT = 107  # bytes of sun_path without its end, see unix(7)
SOCKET_NAME = ".s.PGSQL.5432"

# Written once, into the new cluster's postgresql.conf: its owner may change them there or by ALTER SYSTEM.
FIRST_SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "max_connections": "100",
    # What is not used is not touched: it costs a Postgres without rows 20 MB more than 128MB. A search of memories
    # costs it a quarter less where they fit in.
    "shared_buffers": "512MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class Postgres(Server):
    """A Postgres whose cluster lies in `data_dir`/data, made at the first start.

    `settings` are added to the command line, above the cluster's own (tests: {"fsync": "off"}). `database` is
    created if it is missing. Raises StoreUnavailable.
    """

    kind: ClassVar[str] = "Postgres"
    binary: ClassVar[str] = "postgres"
    # Fast shutdown, immediate shutdown (recovery at the next start), and the last resort.
    signals: ClassVar[tuple[int, ...]] = (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)
    error: ClassVar[type[Unavailable]] = StoreUnavailable
    ready_within: ClassVar[float] = 90.0  # a recovery reads up to max_wal_size, 1 GB

    def __init__(
        self,
        data_dir: Path | str,
        *,
        database: str = "hotset",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(data_dir)
        self.database = database
        self.settings = dict(settings or {})
        self.socket_dir: Path | None = None

    @property
    def url(self) -> str:
        return self._url(self.database)

    def _url(self, database: str) -> str:
        return f"postgresql://{SUPERUSER}@/{quote(database)}?host={quote(str(self.socket_dir))}"

    def _program(self) -> Program:
        return postgres_program(self.data)

    def _prepare(self, program: Program, account: Account) -> None:
        if not self.data.exists():
            self._initdb(program, account)
        self.socket_dir = self._socket_dir(account)

    def _initdb(self, program: Program, account: Account) -> None:
        """Make the cluster beside its place and rename it: a start broken off leaves no half of one."""
        draft = self.data_dir / "data.new"
        if draft.exists():
            shutil.rmtree(draft)
        draft.mkdir(0o700)
        account.give(draft)
        # The builtin provider sorts alike on every machine, whatever locales it has. See PostgreSQL 18,
        # 23.1.4.
        command = [
            *(str(program.binary("initdb")), "--pgdata", str(draft), "--username", SUPERUSER, "--auth=trust"),
            *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            *("--no-instructions", *(f"--set={name}={value}" for name, value in FIRST_SETTINGS.items())),
        ]
        done = subprocess.run(  # noqa: S603 - our own binary
            command, cwd=draft, env=clean_environment(), capture_output=True, check=False, **account.run_as
        )
        if done.returncode:
            raise StoreUnavailable(
                f"initdb ended with status {done.returncode}:\n{done.stderr.decode(errors='replace')}",
                remedy="Mend what it names, or choose another home.",
            )
        draft.rename(self.data)

    def _socket_dir(self, account: Account) -> Path:
        """<data_dir>/run; a folder with a short name in the temporary folder if that path is too long."""
        folder = self.data_dir / "run"
        if len(os.fsencode(folder / SOCKET_NAME)) <= SOCKET_LIMIT:
            folder.mkdir(0o700, exist_ok=True)
            account.give(folder)
            return folder
        for base in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp makes a private folder in it
            short = Path(tempfile.mkdtemp(prefix="hotset-", dir=base))
            account.give(short)
            if len(os.fsencode(short / SOCKET_NAME)) <= SOCKET_LIMIT and account.can_enter(short):
                return short
            short.rmdir()
        raise StoreUnavailable(
            f"{folder} is too long a path for a Unix socket, and /tmp cannot be used either.",
            remedy="Choose a home with a shorter path.",
        )

    def _arguments(self) -> list[str]:
        ours = {
            "listen_addresses": "",
            "unix_socket_directories": f'"{self.socket_dir}"',
            "unix_socket_permissions": "0700",
            "port": "5432",
            "logging_collector": "off",
            "log_destination": "stderr",
        }
        options = {**self.settings, **ours}
        return [
            "-D",
            str(self.data),
            *(word for name, value in options.items() for word in ("-c", f"{name}={value}")),
        ]

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self._url("postgres"), autocommit=True, connect_timeout=5) as connection:
                query = "SELECT 1 FROM pg_database WHERE datname = %s"
                if connection.execute(query, [self.database]).fetchone() is None:
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(self.database)))
        except psycopg.OperationalError:
            return False
        return True

    def _clear(self) -> None:
        clear_socket_dir(self.socket_dir, self.data_dir)
        self.socket_dir = None


def clear_socket_dir(socket_dir: Path | None, data_dir: Path) -> None:
    """Remove the short folder in the temporary folder, if there was need of one and it is empty."""
    if socket_dir and socket_dir.parent != data_dir and socket_dir.name.startswith("hotset-"):
        with contextlib.suppress(OSError):
            socket_dir.rmdir()
