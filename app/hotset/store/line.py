"""A connection that stays, for one statement that comes often. By way of the pool and SQLAlchemy such a statement costs
twice what it costs by the driver alone."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import Connection, Engine, event

from hotset.store.engine import away, connected, rows, server_answered, sql


class Line:
    """One of the engine's connections, until that is disposed of. One statement at a time, a commit each."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._held = ExitStack()
        self._connection: Connection | None = None
        # The pool closes what it holds itself, and this one is not there.
        event.listen(engine, "engine_disposed", lambda _: self.close())

    def rows(self, name: str, parameters: Mapping[str, Any], *, room: str) -> list[Any]:
        """As `hotset.store.engine.rows`."""
        with self._lock:
            if self._connection is None:
                self._connection = self._held.enter_context(connected(self._engine))
            driver: Any = self._connection.connection.driver_connection
            try:
                with driver.cursor(row_factory=namedtuple_row) as cursor:
                    return list(cursor.execute(sql(name, room), dict(parameters)).fetchall())
            except psycopg.Error as e:
                if not server_answered(e):
                    self._drop()
                    raise away(self._engine, e) from e
            except BaseException:  # Ctrl-C in the middle of an answer
                self._drop()
                raise
        # It was refused, so nothing has happened: what the reason means is known there.
        return rows(self._engine, name, parameters, room=room)

    def close(self) -> None:
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
        self._held.close()
