"""Transactions on the memory's tables: as the role hotset_memory, for one tenant, and one agent if there is one.

Every statement on these tables goes through here; row-level security does the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import psycopg
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
def opened(engine: Engine, who: As) -> Iterator[Session]:
    """Commits at the end of the block. Raises MemoryForbidden when row-level security refused a write, and
    MemoryNotSetUp when this database has no memory."""
    with connected(engine) as connection:
        connection = connection.execution_options(isolation_level="READ COMMITTED")
        try:
            with connection.begin():
                _become(connection, who)
                yield Session(connection, who)
        except DBAPIError as e:
            if (ours := _our_error(e, who)) is None:
                raise
            raise ours from e


def _become(connection: Connection, who: As) -> None:
    """Until the end of the transaction: a connection that goes back to the pool is nobody's again."""
    driver = connection.connection.driver_connection
    if isinstance(driver, psycopg.Connection) and vectors.understand not in connection.info:
        vectors.understand(driver)
        connection.info[vectors.understand] = True
    try:
        connection.exec_driver_sql(
            "SELECT set_config('hotset.tenant', %s, true), set_config('hotset.agent', %s, true),"
            " set_config('role', %s, true)",
            (who.tenant, who.agent, ROLE),
        )
    except DBAPIError as e:
        if not isinstance(e.orig, psycopg.errors.InvalidParameterValue):
            raise
        raise MemoryNotSetUp(f"Memory is not set up in this Postgres: it has no role {ROLE}.") from e


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
_PARTS = ("fits", "ranked")


@cache
def sql(name: str) -> str:
    """The text of `sql/{name}.sql`, with its parts."""
    folder = resources.files(__package__) / "sql"
    text = (folder / f"{name}.sql").read_text("utf-8")
    for part in _PARTS:
        text = text.replace(f"/*{part}*/", (folder / f"{part}.sql").read_text("utf-8").strip())
    return text
