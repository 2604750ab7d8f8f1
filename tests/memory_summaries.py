"""What tests of summaries share: days with something said on them, and somebody who runs the jobs by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg

from hotset import Client
from hotset.client.memory import Scope
from hotset.jobs import Attempt, Outcome, State
from hotset.memory.summaries import AGENT
from hotset.store import JobStore

#: A Monday; its month and all before it have ended.
MONDAY = datetime(2026, 3, 2, 9, tzinfo=UTC)
#: In what must leave no trace, and nowhere else.
MARK = "zxq"


def tell(memory: Scope, day: int, count: int, mark: str = "") -> list[UUID]:
    """Episodes of one day, counted from the Monday on; no facts, so that none joins the core ring."""
    at = MONDAY + timedelta(days=day)
    return [
        memory.remember(f"There was talk of {mark}crate {day}-{i}.", said_by="assistant", at=at + timedelta(minutes=i))
        for i in range(count)
    ]


def claimed(client: Client) -> list[Attempt]:
    """All summaries' jobs that wait, now running here."""
    return claimed_of(client, AGENT)


def claimed_of(client: Client, agent: str) -> list[Attempt]:
    """All jobs of an agent that wait, now running here."""
    store = JobStore(client.engine)
    with client.engine.connect() as connection:
        query = "SELECT id FROM jobs WHERE agent = %s AND state = 'queued' ORDER BY id"
        ids = list(connection.exec_driver_sql(query, (agent,)).scalars())
    found = [store.claim(i, worker="by hand", lease_s=600) for i in ids]
    return [attempt for attempt in found if attempt is not None]


def finish(client: Client, attempts: Sequence[Attempt], *, text: str | None = "They spoke of crates.") -> int:
    """They answer so, with MARK behind it if it was before them, or fail (None); how many were still to be had."""
    store, done = JobStore(client.engine), 0
    for attempt in attempts:
        outcome = Outcome(State.FAILED, error_kind="Refused", error=MARK)
        if text is not None:
            said = f"{text} {MARK}" if MARK in attempt.prompt else text
            outcome = Outcome(State.SUCCEEDED, text=said, model="tinyllama")
        done += store.finish(attempt.id, attempt.number, outcome, worker="by hand") is not None
    return done


def traces(database: str) -> list[str]:
    """Rows of any table that hold MARK."""
    with psycopg.connect(database) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        return [
            f"{table}: {row[:200]}"
            for (table,) in tables
            for (row,) in connection.execute(f"SELECT t::text FROM {table} t")  # type: ignore[call-overload]
            if MARK in row
        ]
