"""What happened, as a simulator needs it: read from the tables of jobs and audit, job by job, in order of arrival."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Engine

from hotset.jobs import Priority
from hotset.store.engine import connected, sql

#: Rows fetched at a time: a year of jobs needs no memory.
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class PastJob:
    """A job that has ended and ran at least once. Durations are model seconds.

    `came_at`: when it could first have run. `waited_s`: from then to its first start. `runs`: (worker, seconds) of each
    attempt, crashed and repeated ones included: all of them held a slot.
    """

    id: UUID
    queue: str
    agent: str
    tenant: str
    priority: Priority
    came_at: datetime
    deadline_s: float
    waited_s: float
    runs: tuple[tuple[str, float], ...]


def read_history(
    engine: Engine, since: datetime, until: datetime, *, scale: float = 1.0, tenant: str | None = None
) -> Iterator[PastJob]:
    """The jobs that arrived in that time, ran and have ended; of one tenant, if given. `scale`: wall seconds per model
    second. StoreUnavailable without Postgres."""
    parameters = {"since": since, "until": until, "tenant": tenant}
    with connected(engine) as connection:
        # A server-side cursor lives in a transaction; this one only reads.
        reading = connection.execution_options(
            isolation_level="READ COMMITTED", stream_results=True, max_row_buffer=_PAGE, yield_per=_PAGE
        )
        for row in reading.exec_driver_sql(sql("history"), parameters):
            yield PastJob(
                row.id,
                row.queue,
                row.agent,
                row.tenant,
                Priority(row.priority),
                row.came_at,
                row.deadline_s / scale,
                row.waited_s / scale,
                tuple((worker, seconds / scale) for worker, seconds in zip(row.workers, row.seconds, strict=True)),
            )
