"""Alembic, driven from Python, so that no alembic.ini is needed on the machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection

from hotset.errors import InvalidSettings
from hotset.store.engine import connected, make_engine

#: Two `hotset up` at once must not migrate together. The number is arbitrary, and ours.
_LOCK = 0x686F74736574


@dataclass(frozen=True, slots=True)
class Tables:
    """Tables that are migrated together: the folder of their migrations, and the table that holds their version.

    Two sets, and not two branches of one: Alembic would keep their versions in one table, and would take the jobs' out
    of it as soon as another branch depends on it, where older workers look for it.
    """

    folder: str
    version_table: str


JOBS = Tables("versions", "alembic_version")
#: Set up apart (`hotset.memory.setup`), since they need an extension and a role.
MEMORY = Tables("memory", "memory_version")


@dataclass(frozen=True, slots=True)
class Pending:
    """A database's revision (None: it was never migrated), and those it lacks, the oldest first. `unknown`: its
    revision is none of ours; a newer hotset made it."""

    current: str | None
    missing: tuple[str, ...] = ()
    unknown: bool = False


def migrate(url: str, revision: str = "head", *, tables: Tables = JOBS) -> None:
    """Bring the schema up to `revision`; idempotent, and safe to call from several processes at once.

    Raises InvalidSettings when the schema is that of a newer hotset.
    """
    _run(url, revision, tables, up=True)


def downgrade(url: str, revision: str = "base", *, tables: Tables = JOBS) -> None:
    """Bring the schema down to `revision`. Destroys what the newer one held."""
    _run(url, revision, tables, up=False)


def pending(connection: Connection, tables: Tables = JOBS) -> Pending:
    """How far the schema is behind this hotset. Changes nothing."""
    context = MigrationContext.configure(connection, opts={"version_table": tables.version_table})
    current = context.get_current_revision()
    scripts = ScriptDirectory.from_config(_config(tables))
    ours = [script.revision for script in scripts.walk_revisions()]  # the newest first
    if current is not None and current not in ours:
        return Pending(current, unknown=True)
    newer = ours[: ours.index(current)] if current is not None else ours
    return Pending(current, tuple(reversed(newer)))


def _run(url: str, revision: str, tables: Tables, *, up: bool) -> None:
    engine = make_engine(url, application="hotset-migrate", pool_size=1)
    try:
        with connected(engine) as connection:
            connection.exec_driver_sql("SELECT pg_advisory_lock(%s)", (_LOCK,))
            with engine.connect().execution_options(isolation_level="READ COMMITTED") as worker:
                config = _config(tables)
                config.attributes["connection"] = worker
                config.attributes["version_table"] = tables.version_table
                try:
                    (command.upgrade if up else command.downgrade)(config, revision)
                    if up:
                        _after_restore(connection)
                except CommandError as e:
                    raise InvalidSettings(
                        f"The database's tables are those of another hotset: {e}.",
                        remedy="Use the newest hotset that has worked on it, or restore a backup made by this one.",
                    ) from e
    finally:
        engine.dispose()


def _after_restore(connection: Connection) -> None:
    """A database that came from another cluster (pg_restore): its audit goes on where it was (migration 0006)."""
    if connection.exec_driver_sql("SELECT to_regproc('audit_after_restore') IS NOT NULL").scalar_one():
        connection.exec_driver_sql("SELECT audit_after_restore()")


def _config(tables: Tables = JOBS) -> Config:
    config = Config()
    scripts = str(_scripts()).replace("%", "%%")
    config.set_main_option("script_location", scripts)
    config.set_main_option("path_separator", "newline")  # a path may have spaces, commas and colons in it
    config.set_main_option("version_locations", f"{scripts}/{tables.folder}")
    return config


def _scripts() -> Path:
    """Inside the package when installed from a wheel, beside `app/` in a checkout."""
    inside = Path(__file__).parent / "migrations"
    return inside if inside.is_dir() else Path(__file__).resolve().parents[3] / "migrations"
