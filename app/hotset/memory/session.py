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

from sqlalchemy import Connection, Engine, Row
from sqlalchemy.exc import DBAPIError

from hotset.errors import InvalidSettings, MemoryForbidden
from hotset.store.engine import connected

ROLE = "hotset_memory"


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
        return list(self.connection.exec_driver_sql(_sql(name), dict(parameters)).all())

    def execute(self, name: str, parameters: Mapping[str, Any]) -> int:
        return self.connection.exec_driver_sql(_sql(name), dict(parameters)).rowcount

    def audit(self, action: str, detail: str) -> None:
        """`detail` is JSON; never a text of a memory."""
        self.execute("audit", {"tenant": self.who.tenant, "actor": self.who.actor, "action": action, "detail": detail})


@contextmanager
def opened(engine: Engine, who: As) -> Iterator[Session]:
    """Commits at the end of the block. Raises MemoryForbidden when row-level security refused a write."""
    with connected(engine) as connection:
        connection = connection.execution_options(isolation_level="READ COMMITTED")
        try:
            with connection.begin():
                _become(connection, who)
                yield Session(connection, who)
        except DBAPIError as e:
            state = getattr(e.orig, "sqlstate", None)
            if state == "42501":
                raise MemoryForbidden(
                    f"Agent {who.agent!r} may not do that in this scope.",
                    remedy="The tenant grants it: client.grant(scope, agent, write=True).",
                ) from e
            raise


def _become(connection: Connection, who: As) -> None:
    try:
        connection.exec_driver_sql(
            "SELECT set_config('role', %s, true), set_config('hotset.tenant', %s, true),"
            " set_config('hotset.agent', %s, true)",
            (ROLE, who.tenant, who.agent),
        )
    except DBAPIError as e:
        if getattr(e.orig, "sqlstate", None) not in ("22023", "42501"):
            raise
        raise InvalidSettings(
            f"This database account cannot act as the role {ROLE}.",
            remedy=f"As an administrator: GRANT {ROLE} TO the account of HOTSET_DATABASE_URL.",
        ) from e


@cache
def _sql(name: str) -> str:
    folder = resources.files(__package__) / "sql"
    text = (folder / f"{name}.sql").read_text("utf-8")
    return text.replace("/*fits*/", (folder / "fits.sql").read_text("utf-8").strip())
