"""Transactions on the memory's tables: as the role hotset_memory, for one tenant, and one agent if there is one.

Every statement on these tables goes through here; row-level security does the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import Connection, Engine, Row
from sqlalchemy.exc import DBAPIError

from hotset.errors import HotsetError, MemoryForbidden, MemoryNotSetUp
from hotset.memory import vectors
from hotset.store.engine import connected

ROLE = "hotset_memory"

#: The function of Postgres that refuses rows by a policy; a lack of rights has the same state, and another function.
_REFUSES_ROWS = "ExecWithCheckOptions"
#: No such table, column, function, type.
_MISSING = ("42P01", "42703", "42883", "42704")


@dataclass(frozen=True, slots=True)
class As:
    """For whom: a tenant; and an agent of it, who sees its own scope and what it was granted. `actor` for the audit."""

    tenant: str
    agent: str = ""
    actor: str = "hotset"


class Session:
    """One transaction, with SQL from `sql/`."""

    def __init__(self, connection: Connection, who: As) -> None:
        self.connection = connection
        self.who = who

    def rows(self, name: str, parameters: Mapping[str, Any]) -> list[Row[Any]]:
        return list(self.connection.exec_driver_sql(sql(name), dict(parameters)).all())

    def fetch(self, name: str, parameters: Mapping[str, Any]) -> list[Any]:
        """As `rows`, but past SQLAlchemy and in binary form, at half the cost for the client: named tuples."""
        return _fetched(self.connection, sql(name), parameters)

    def execute(self, name: str, parameters: Mapping[str, Any]) -> int:
        return self.connection.exec_driver_sql(sql(name), dict(parameters)).rowcount

    def audit(self, action: str, detail: str) -> None:
        """`detail` is JSON; never a text of a memory."""
        self.execute("audit", {"tenant": self.who.tenant, "actor": self.who.actor, "action": action, "detail": detail})

    @contextmanager
    def as_login(self) -> Iterator[None]:
        """A part of the transaction on tables that are not the memory's, with the rights of this database account."""
        self.connection.exec_driver_sql("SELECT set_config('role', 'none', true)")
        yield
        self.connection.exec_driver_sql("SELECT set_config('role', %s, true)", (ROLE,))


@contextmanager
def opened(engine: Engine, who: As, *, plans_kept: bool = False) -> Iterator[Session]:
    """Commits at the end of the block. Raises MemoryForbidden when row-level security refused a write, and
    MemoryNotSetUp when this database has no memory.

    `plans_kept`: each statement is planned once for all scopes (planning takes Postgres half a millisecond every time),
    and none reads a whole table, whatever was known of it by then.
    """
    with connected(engine) as connection:
        connection = connection.execution_options(isolation_level="READ COMMITTED")
        try:
            with connection.begin():
                _become(connection, who, _BECOME + _PLANS_KEPT if plans_kept else _BECOME)
                yield Session(connection, who)
        except DBAPIError as e:
            if (ours := _our_error(e, who)) is None:
                raise
            raise ours from e


_BECOME = (
    "SELECT set_config('hotset.tenant', %s, true) AS tenant, set_config('hotset.agent', %s, true) AS agent,"
    " set_config('role', %s, true) AS role"
)
_PLANS_KEPT = (
    ", set_config('plan_cache_mode', 'force_generic_plan', true) AS plans,"
    " set_config('enable_seqscan', 'off', true) AS tables"
)


def _become(connection: Connection, who: As, asked: str) -> None:
    """Until the end of the transaction: a connection that goes back to the pool is nobody's again."""
    if vectors.understand not in connection.info:
        vectors.understand(_driver(connection))
        connection.info[vectors.understand] = True
    try:
        _fetched(connection, asked, (who.tenant, who.agent, ROLE))
    except DBAPIError as e:
        if not isinstance(e.orig, psycopg.errors.InvalidParameterValue):
            raise
        raise MemoryNotSetUp(f"Memory is not set up in this Postgres: it has no role {ROLE}.") from e


def _fetched(connection: Connection, statement: str, parameters: Mapping[str, Any] | Sequence[Any]) -> list[Any]:
    driver = _driver(connection)
    try:
        return driver.cursor(binary=True, row_factory=namedtuple_row).execute(statement, parameters).fetchall()
    except psycopg.Error as e:
        # As SQLAlchemy would say it, for who maps errors.
        if driver.closed:
            connection.invalidate(e)
        raise DBAPIError.instance(
            statement, None, e, psycopg.Error, hide_parameters=True, connection_invalidated=driver.closed,
            dialect=connection.dialect,
        ) from e  # fmt: skip


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)  # noqa: S101 - the engine's driver is psycopg
    return driver


def _our_error(error: DBAPIError, who: As) -> HotsetError | None:
    state = getattr(error.orig, "sqlstate", None)
    if state == "42501" and isinstance(error.orig, psycopg.Error) and error.orig.diag.source_function == _REFUSES_ROWS:
        return MemoryForbidden(
            f"Agent {who.agent!r} may not do that in this scope.",
            remedy="The tenant grants it: client.grant(scope, agent, write=True).",
        )
    if state == "42501":
        return MemoryNotSetUp(
            f"This database account may not act as the role {ROLE}, or the role lacks rights.",
            remedy=f"Run `hotset memory setup` as the tables' owner; as an administrator: GRANT {ROLE} TO the account.",
        )
    if state in _MISSING:
        return MemoryNotSetUp("Memory is not set up in this database, or by an older hotset.")
    return None


#: Parts of statements, which stand in others as a comment of their name.
_PARTS = ("fits", "ranked", "fact")


@cache
def sql(name: str) -> str:
    """The text of `sql/{name}.sql`, with its parts."""
    folder = resources.files(__package__) / "sql"
    text = (folder / f"{name}.sql").read_text("utf-8")
    for part in _PARTS:
        text = text.replace(f"/*{part}*/", (folder / f"{part}.sql").read_text("utf-8").strip())
    return text
