"""Connections that do not wait for ever: one whose other end vanished gives neither an answer nor an error.

Postgres's own statement_timeout is of no use here, since it is the server that keeps it.
"""

from __future__ import annotations

import time
from typing import Any

import psycopg
from psycopg.abc import PQGen


class _Silence(Exception):
    """No answer in time."""


def patient(answer_s: float) -> type[psycopg.Connection[Any]]:
    """psycopg's connection, whose every exchange with Postgres ends within so many wall seconds; else OperationalError,
    and it is closed."""

    class Patient(psycopg.Connection[Any]):
        def wait(self, gen: PQGen[Any], *args: Any, **kwargs: Any) -> Any:
            try:
                return super().wait(_bounded(gen, answer_s), *args, **kwargs)
            except _Silence:
                self.pgconn.finish()
                raise psycopg.OperationalError(
                    f"no answer within {answer_s:g} s, so the connection is given up"
                ) from None

    return Patient


def _bounded(gen: PQGen[Any], limit_s: float) -> PQGen[Any]:
    """The same exchange; psycopg comes by several times a second while nothing arrives."""
    until = time.monotonic() + limit_s
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() >= until:
                raise _Silence
            wanted = gen.send(ready)
    except StopIteration as end:
        return end.value
