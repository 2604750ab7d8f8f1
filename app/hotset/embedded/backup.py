"""Backup and restore of a home's Postgres: one file in pg_dump's custom format, compressed.

A backup is a consistent picture of one moment, taken while everything runs. Broker and cache are not in it: Postgres is
the truth, and after a restore the workers' relay publishes whatever waits.

A restore is made beside the database and put in its place by two renames in one transaction: what breaks on the way
leaves the old data as they were.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from hotset.embedded.server import clean_environment
from hotset.embedded.wheels import Program, postgres_program
from hotset.errors import HotsetError, UsageError
from hotset.memory import setup as memory
from hotset.store import make_engine, migrate
from hotset.store.engine import execute

#: Done so far and all there is; None: nobody knows.
Progress = Callable[[int, int | None], None]

_STEP_S = 0.1
_TAIL = 10
_RENAMES = 5


@dataclass(frozen=True, slots=True)
class Restored:
    """Jobs by state, as they are after the restore."""

    states: dict[str, int]

    @property
    def jobs(self) -> int:
        return sum(self.states.values())


def back_up(database_url: str, target: Path, *, progress: Progress = lambda *_: None) -> int:
    """Write a backup of the running embedded database; its size in bytes. `progress` hears of bytes written.

    The file is its owner's alone (it holds every prompt) and appears when it is whole. Raises UsageError if it exists.
    """
    if target.exists():
        raise UsageError(f"{target} exists.", remedy="Give another name, or remove it first.")
    program = _program(database_url)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    draft = Path(name)
    try:
        words = ["--format=custom", "--no-owner", "--no-privileges", f"--file={draft}", f"--dbname={database_url}"]
        _run(program, "pg_dump", words, lambda _: progress(draft.stat().st_size, None))
        os.fsync(handle)
        size = os.fstat(handle).st_size
        draft.rename(target)
    finally:
        os.close(handle)
        draft.unlink(missing_ok=True)
    return size


def restore(
    database_url: str, source: Path, *, actor: str, replace: bool = False, progress: Progress = lambda *_: None
) -> Restored:
    """Put a backup in the place of the running embedded database, and bring its tables up to date.

    Raises UsageError: `source` is no backup of hotset, or a newer hotset's; there are jobs and `replace` is not set;
    workers are at work. `progress` hears of objects restored.
    """
    program = _program(database_url)
    total = _check(program, source)
    name = str(make_url(database_url).database)
    draft = f"{name}_restoring"
    draft_url = make_url(database_url).set(database=draft).render_as_string(hide_password=False)
    with _connected(database_url, "postgres") as server:
        _refuse_if_in_use(database_url, replace=replace)
        _drop(server, draft)
        server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(draft)))
        try:
            words = ["--exit-on-error", "--no-owner", "--no-privileges", "--verbose", f"--dbname={draft_url}"]
            _run(program, "pg_restore", [*words, str(source)], lambda done: progress(min(done, total), total))
            migrate(draft_url)
            memory.bring_up_to_date(draft_url)
            restored = _hand_back(draft_url, actor)
            _refuse_if_in_use(database_url, replace=replace)
            _put_in_place(server, draft, name)
        finally:
            _drop(server, draft)
    progress(total, total)
    return restored


def _program(database_url: str) -> Program:
    """The programs of the very Postgres that runs."""
    with _connected(database_url, "postgres") as server:
        row = server.execute("SHOW data_directory").fetchone()
    return postgres_program(Path(row[0] if row else ""))


@contextmanager
def _connected(database_url: str, database: str) -> Iterator[psycopg.Connection]:
    url = make_url(database_url).set(database=database).render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        yield connection


def _check(program: Program, source: Path) -> int:
    """How many objects the backup has."""
    if not source.is_file():
        raise UsageError(f"There is no file {source}.", remedy="Give the path of a file that `hotset backup` wrote.")
    done = subprocess.run(  # noqa: S603 - our own binary
        [program.binary("pg_restore"), "--list", source],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith(";")]
    if done.returncode or not any(" TABLE DATA public alembic_version " in line for line in lines):
        said = done.stderr.strip().splitlines()
        raise UsageError(
            f"{source} is no backup of hotset{f' ({said[-1]})' if said else ''}.",
            remedy="Give a file that `hotset backup` wrote.",
        )
    return len(lines)


def _refuse_if_in_use(database_url: str, *, replace: bool) -> None:
    name = str(make_url(database_url).database)
    with _connected(database_url, name) as current:
        there = current.execute("SELECT to_regclass('public.jobs') IS NOT NULL").fetchone()
        if not replace and there == (True,) and current.execute("SELECT 1 FROM jobs LIMIT 1").fetchone():
            raise UsageError(
                "There are jobs in this home already.",
                remedy="Choose another home, or say --replace: what is there now is lost.",
            )
        workers = "SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = %s"
        busy = current.execute(workers + " AND application_name LIKE 'hotset-worker %%'", [name]).fetchall()
        if busy:
            raise UsageError(
                f"Workers are at work on this home: {', '.join(sorted(row[0].split()[-1] for row in busy))}.",
                remedy="Stop them, and start them again afterwards.",
            )


def _hand_back(url: str, actor: str) -> Restored:
    engine = make_engine(url, application="hotset-restore", pool_size=1)
    try:
        execute(engine, "restored", {"actor": actor})
        with engine.connect() as connection:
            counted = connection.exec_driver_sql("SELECT state, count(*) AS n FROM jobs GROUP BY state").all()
        return Restored({row.state: row.n for row in counted})
    finally:
        engine.dispose()


def _put_in_place(server: psycopg.Connection, draft: str, name: str) -> None:
    old = f"{name}_replaced"
    _drop(server, old)
    rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    for attempt in range(_RENAMES):
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY(%s)", [[name, draft]]
        )
        try:
            with server.transaction():
                server.execute(rename.format(sql.Identifier(name), sql.Identifier(old)))
                server.execute(rename.format(sql.Identifier(draft), sql.Identifier(name)))
            break
        except psycopg.errors.ObjectInUse:
            # Somebody came back between the two statements.
            if attempt == _RENAMES - 1:
                raise HotsetError(
                    f"The database {name} is in use again and again; nothing was replaced.",
                    remedy="Stop the programs that use this home.",
                ) from None
    _drop(server, old)


def _drop(server: psycopg.Connection, name: str) -> None:
    server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _run(program: Program, name: str, words: list[str], step: Callable[[int], None]) -> None:
    """Run it to its end; `step` hears every tenth of a second how many lines it has said."""
    with tempfile.TemporaryFile("w+b") as said:
        process = subprocess.Popen(  # noqa: S603 - our own binaries
            [program.binary(name), *words], env=clean_environment(), stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        try:
            while process.poll() is None:
                step(_lines(said.fileno()))
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_STEP_S)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        if process.returncode:
            said.seek(0)
            tail = "\n".join(said.read().decode(errors="replace").splitlines()[-_TAIL:])
            raise HotsetError(
                f"{name} ended with status {process.returncode}:\n{tail}\n", remedy="Nothing was changed; try again."
            )


def _lines(descriptor: int) -> int:
    """Of the file that a child writes; it shares our position, so it is read from a given place."""
    return os.pread(descriptor, 1 << 20, 0).count(b"\n")
