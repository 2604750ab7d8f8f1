"""New code on tables that are one revision older: what they lack is left out of statements, and named when asked for.

A statement marks what a revision brought, and what stands for it before: `flow/*since 0008*/, send_to/*else*/`, or
`/*since 0008*/send_to/*else NULL*/`. To Postgres the marks are comments: on up-to-date tables the text runs as it is.
The marks of a revision may go when the next one comes.
"""

from __future__ import annotations

import re
import time
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, Pool, event
from sqlalchemy.exc import DBAPIError, ProgrammingError

from hotset.errors import OutdatedTables

#: The newest revision that a mark names. Tables as new as that, or newer, need no more looking after.
NEEDED = "0008"
#: Wall seconds after which older tables are asked again: somebody may have migrated them.
_AGAIN_S = 2.0
_PIECE = re.compile(r"/\*since (\d{4})\*/(.*?)/\*else(.*?)\*/", re.DOTALL)
_LACKING = ("42P01", "42703", "42883")  # no such table, column, function

#: By pool, which an engine shares with its variants: (revision, monotonic time at which it was read).
_known: WeakKeyDictionary[Pool, tuple[str, float]] = WeakKeyDictionary()


def lacks(error: DBAPIError) -> bool:
    """Whether Postgres knows no such table, column or function."""
    return getattr(error.orig, "sqlstate", None) in _LACKING


def older(statement: str, revision: str) -> str:
    """The statement as tables of that revision can run it."""
    return _PIECE.sub(lambda piece: piece[2] if revision >= piece[1] else piece[3], statement)


def watch(engine: Engine) -> None:
    """Have the engine's statements fit its tables, as far as `learn` has learned what these are."""

    def fit(_: Any, __: Any, statement: str, parameters: Any, *rest: Any) -> tuple[str, Any]:
        revision, _at = _known.get(engine.pool, (NEEDED, 0.0))
        return (older(statement, revision) if revision < NEEDED else statement), parameters

    event.listen(engine, "before_cursor_execute", fit, retval=True)


def learn(connection: Connection) -> None:
    """Read the revision of the tables: once where they are up to date, and else every two seconds."""
    pool = connection.engine.pool
    revision, at = _known.get(pool, ("", 0.0))
    if revision >= NEEDED or (revision and time.monotonic() - at < _AGAIN_S):
        return
    try:
        found = connection.exec_driver_sql("SELECT max(version_num) FROM alembic_version").scalar_one()
    except ProgrammingError:
        found = None  # no tables at all, or a role that may not look: the statement itself says so
    finally:
        connection.rollback()  # or the connection would count as within a transaction
    if found is not None:
        _known[pool] = (str(found), time.monotonic())


def require(engine: Engine, revision: str, what: str) -> None:
    """Raises OutdatedTables where the tables are known to be older than that revision: `what` would be left out."""
    known, _ = _known.get(engine.pool, (NEEDED, 0.0))
    if known < revision:
        raise _outdated(known, f"{what} needs {revision}")


def meaning(engine: Engine, error: ProgrammingError) -> OutdatedTables | None:
    """What it means that Postgres knows no such table, column or function; None: nothing that age explains."""
    if not lacks(error):
        return None
    known, _ = _known.get(engine.pool, ("", 0.0))
    if not known:
        return OutdatedTables("The database has no tables of hotset.", remedy="`hotset migrate` makes them.")
    return _outdated(known, str(error.orig).splitlines()[0]) if known < NEEDED else None


def _outdated(known: str, why: str) -> OutdatedTables:
    return OutdatedTables(
        f"The database's tables are older than this hotset (revision {known}): {why}.",
        remedy="`hotset migrate` brings them up to date.",
    )
