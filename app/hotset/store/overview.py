"""The whole fleet in a few numbers: open jobs by queue, what runs, what ended lately. Read only, a statement each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from hotset.jobs import Priority, State
from hotset.store.engine import connected, rows


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """Open jobs of one queue. `waiting` by the priority's name, `late` those of them past their deadline; `oldest_s`
    wall seconds since the oldest queued job arrived (None: none is queued)."""

    waiting: Mapping[str, int]
    scheduled: int
    blocked: int
    running: int
    late: int
    oldest_s: float | None


@dataclass(frozen=True, slots=True)
class RunningJob:
    """`for_s`: wall seconds since its attempt began."""

    id: UUID
    tenant: str
    agent: str
    queue: str
    priority: str
    attempt: int
    worker: str
    for_s: float


@dataclass(frozen=True, slots=True)
class Pulse:
    """What the fleet did in the last `within_s` wall seconds: attempts by how they ended, tokens that were said."""

    within_s: float
    ended: Mapping[str, int]
    tokens: int


def backlog(engine: Engine) -> dict[str, QueueCounts]:
    """Queues that have open jobs."""
    found: dict[str, list[Any]] = {}
    for row in rows(engine, "backlog", {}):
        found.setdefault(row.queue, []).append(row)
    return {queue: _counts(of_queue) for queue, of_queue in found.items()}


def _counts(found: list[Any]) -> QueueCounts:
    waiting = {p.label: 0 for p in reversed(Priority)}
    by_state = dict.fromkeys(State, 0)
    oldest: list[float] = []
    for row in found:
        by_state[State(row.state)] += row.jobs
        if row.state == State.QUEUED:
            waiting[Priority(row.priority).label] += row.jobs
            oldest.append((row.now - row.oldest).total_seconds())
    return QueueCounts(
        waiting=waiting,
        scheduled=by_state[State.SCHEDULED],
        blocked=by_state[State.BLOCKED],
        running=by_state[State.RUNNING],
        late=sum(row.late for row in found),
        oldest_s=max(oldest, default=None),
    )


NO_JOBS = _counts([])


def missed(engine: Engine, *, within_s: float) -> dict[str, int]:
    """By queue: jobs of the last so many wall seconds that started after their deadline."""
    return {row.queue: row.jobs for row in rows(engine, "missed", {"within_s": within_s})}


def running(engine: Engine, *, limit: int = 20) -> list[RunningJob]:
    return [
        RunningJob(
            r.id, r.tenant, r.agent, r.queue, Priority(r.priority).label, r.attempt, r.worker or "", float(r.for_s)
        )
        for r in rows(engine, "running", {"limit": limit})
    ]


def pulse(engine: Engine, *, within_s: float = 60.0) -> Pulse:
    found = rows(engine, "pulse", {"within_s": within_s})
    return Pulse(within_s, {r.action: r.jobs for r in found}, sum(int(r.tokens) for r in found))


def versions(engine: Engine) -> dict[str, str | None]:
    """Of the server, and the revision of the tables (None: no tables)."""
    with connected(engine) as connection:
        server = str(connection.exec_driver_sql("SHOW server_version").scalar_one()).split()[0]
        there = connection.exec_driver_sql("SELECT to_regclass('alembic_version') IS NOT NULL").scalar_one()
        revision = (
            connection.exec_driver_sql("SELECT max(version_num) FROM alembic_version").scalar_one() if there else None
        )
    return {"postgres": server, "schema": revision}
