"""Looks at jobs that are waited for: many in one statement, no prompts, no results."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Engine

from hotset.jobs import Priority, State
from hotset.store.engine import rows


@dataclass(frozen=True, slots=True)
class Glance:
    """How a job stands. `reply_to` is the client process that is told of it, `stream` whether it is sent tokens."""

    id: UUID
    state: State
    attempt: int
    queue: str
    priority: Priority
    suspect: bool
    arrived_at: datetime
    started_at: datetime | None
    reply_to: str | None
    stream: bool


def glance(engine: Engine, ids: Iterable[UUID], *, tenant: str) -> dict[UUID, Glance]:
    """Those of the jobs that exist and belong to the tenant."""
    found = rows(engine, "glance", {"ids": list(ids), "tenant": tenant})
    return {
        r.id: Glance(
            id=r.id,
            state=State(r.state),
            attempt=r.attempt,
            queue=r.queue,
            priority=Priority(r.priority),
            suspect=r.suspect,
            arrived_at=r.arrived_at,
            started_at=r.started_at,
            reply_to=r.reply_to,
            stream=r.stream,
        )
        for r in found
    }
