"""The connection to Postgres, SQL from files, and one mapping of its errors to ours."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import resources
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy import Connection, Engine, ExceptionContext, Row, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from hotset.errors import InvalidSettings, StoreUnavailable
from hotset.store import revisions
from hotset.store.patience import patient

log = logging.getLogger(__name__)

T = TypeVar("T")

_DEADLOCK = "40P01"
_MOST_DEADLOCKS = 3

#: A peer that vanished without a word is found by TCP itself, on both sides: probes after 10 s, given up after 30.
_KEEPALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
#: And Postgres lets go of what a client that vanished in mid-transaction had locked.
_LET_GO = (
    "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3 -c tcp_user_timeout=30000"
    " -c idle_in_transaction_session_timeout=60000"
)


def make_engine(
    url: str, *, application: str, pool_size: int = 5, durable: bool = True, answer_s: float | None = None
) -> Engine:
    """An engine for `postgresql://...` by psycopg 3. Every statement commits by itself unless a transaction is opened.

    `durable=False` turns synchronous_commit off for this engine's sessions: for marks that may be lost in a crash.
    `answer_s`: a statement whose answer takes longer (wall seconds) ends with StoreUnavailable, and its connection is
    closed: it may lead nowhere. None waits for ever, for whoever counts everything.
    """
    try:
        parsed = make_url(url)
        make_conninfo("", **{name: str(value) for name, value in parsed.query.items()})
    except psycopg.ProgrammingError as e:
        raise InvalidSettings(
            f"database_url has a parameter that Postgres's library does not know: {e}.",
            remedy="TLS looks like postgresql://user@host:5432/name?sslmode=verify-full&sslrootcert=ca.pem.",
        ) from None
    except Exception:
        # Not chained: the message of the cause would show the password.
        raise InvalidSettings(
            "database_url is not a URL.", remedy="It looks like postgresql://user@host:5432/name."
        ) from None
    options = "-c timezone=UTC" + ("" if durable else " -c synchronous_commit=off")
    if answer_s is not None:
        options += f" {_LET_GO}"
    engine = create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        isolation_level="AUTOCOMMIT",
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=10,
        pool_recycle=1800,
        # Prompts and memories are parameters: no error and no log shows them.
        hide_parameters=True,
        connect_args={
            "connect_timeout": 5,
            "application_name": application[:63],
            "options": options,
            **{name: value for name, value in _KEEPALIVE.items() if name not in parsed.query},
        },
    )
    event.listen(engine, "handle_error", _without_values)
    revisions.watch(engine)
    if answer_s is not None:
        connect = patient(answer_s).connect
        event.listen(engine, "do_connect", lambda dialect, record, args, given: connect(*args, **given))
    return engine


def let_go(engine: Engine) -> None:
    """Close its connections: those in use, and any that is made later, as soon as whoever has them gives them back."""
    event.listen(engine.pool, "checkin", lambda connection, record: record.invalidate())
    engine.dispose()


def _without_values(context: ExceptionContext) -> None:
    """Postgres's own details show values, too ("Failing row contains ..."): the message alone is kept."""
    error = context.original_exception
    if isinstance(error, psycopg.Error) and error.diag.message_detail and error.diag.message_primary:
        said = error.diag.message_primary
        if isinstance(context.sqlalchemy_exception, DBAPIError):
            shown = str(context.sqlalchemy_exception.args[0])
            context.sqlalchemy_exception.args = (shown.replace(str(error), said),)
        error.args = (said,)


@cache
def sql(name: str, room: str = __package__) -> str:
    """The text of `sql/{name}.sql` of a room, which is a package; the store's own unless it is said."""
    return (resources.files(room) / "sql" / f"{name}.sql").read_text("utf-8")


@contextmanager
def connected(engine: Engine) -> Iterator[Connection]:
    """A connection; in place of the driver's error StoreUnavailable when Postgres does not answer, and OutdatedTables
    when it lacks what a newer hotset made."""
    try:
        with engine.connect() as connection:
            revisions.learn(connection)
            yield connection
    except ProgrammingError as e:
        if (ours := revisions.meaning(engine, e)) is None:
            raise
        raise ours from e
    except (OperationalError, InterfaceError, PoolTimeout) as e:
        if isinstance(e, DBAPIError) and not e.connection_invalidated and server_answered(e.orig):
            raise
        raise away(engine, getattr(e, "orig", None) or e) from e


def away(engine: Engine, error: BaseException) -> StoreUnavailable:
    """What the driver's error means to whoever called."""
    cause = str(error).strip().splitlines()[0]
    return StoreUnavailable(
        f"Postgres does not answer at {engine.url.render_as_string(hide_password=True)}: {cause}.",
        remedy="Start it (`hotset up` starts an embedded one) or set HOTSET_DATABASE_URL.",
    )


def rows(engine: Engine, name: str, parameters: Mapping[str, Any], *, room: str = __package__) -> list[Row[Any]]:
    """Run `sql/{name}.sql` (of that room) as one statement of its own and return its rows."""
    with connected(engine) as connection:
        return list(connection.exec_driver_sql(sql(name, room), dict(parameters)).all())


def execute(engine: Engine, name: str, parameters: Mapping[str, Any]) -> int:
    """Run `sql/{name}.sql`, which returns no rows; how many it changed."""
    with connected(engine) as connection:
        return connection.exec_driver_sql(sql(name), dict(parameters)).rowcount


def is_forbidden(error: BaseException) -> bool:
    """Whether Postgres refused since the role lacks a right (deploy/postgres/roles.sql)."""
    return getattr(getattr(error, "orig", error), "sqlstate", None) == "42501"


def undisturbed(change: Callable[[], T]) -> T:
    """What `change`, one transaction, gives; once more when Postgres undid it to end a deadlock with another one."""
    for _ in range(_MOST_DEADLOCKS):
        try:
            return change()
        except DBAPIError as e:
            if getattr(e.orig, "sqlstate", None) != _DEADLOCK:
                raise
            log.warning("Two transactions waited for each other; ours is done again.")
    return change()


def server_answered(error: BaseException | None) -> bool:
    """Whether the driver's error came from a server that works (a statement's fault) and not from its absence."""
    state = getattr(error, "sqlstate", None)
    # 57P01..03: shutting down or starting up; 08*: connection; 53*: no room, no memory, too many connections.
    return state is not None and not state.startswith(("08", "53", "57P"))
