"""Statements of the upkeep: every worker may run them at once (SKIP LOCKED); none needs a leader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from sqlalchemy import Engine

from hotset.jobs import Routing, State
from hotset.store.engine import connected, rows, sql
from hotset.store.flows import routing
from hotset.store.jobs import Ended


def queue_due(engine: Engine, *, limit: int = 500) -> int:
    """Scheduled jobs whose time has come become queued."""
    return len(rows(engine, "due", {"limit": limit}))


def relay(engine: Engine, publish: Callable[[Sequence[Routing]], None], *, after_s: float, limit: int = 500) -> int:
    """Publish rows that nobody published. They stay locked until they are published and marked, so that two relays
    share the work; if this dies in between, they are published again, which is harmless."""
    with connected(engine) as connection:
        connection = connection.execution_options(isolation_level="READ COMMITTED")
        with connection.begin():
            found = connection.exec_driver_sql(sql("unpublished"), {"after_s": after_s, "limit": limit}).all()
            if found:
                publish([routing(r) for r in found])
                connection.exec_driver_sql(sql("mark_published"), {"ids": [r.id for r in found]})
            return len(found)


def queued_page(engine: Engine, after: UUID, *, older_s: float, limit: int = 1000) -> list[Routing]:
    """A page of queued rows after that id, published longer ago than `older_s` wall seconds."""
    return [routing(r) for r in rows(engine, "queued_page", {"after": after, "older_s": older_s, "limit": limit})]


def reap(engine: Engine, *, actor: str, max_crashes: int, limit: int = 100) -> list[Ended]:
    """Jobs whose lease ran out go back to the queue, or to quarantine; those that ended are returned."""
    found = rows(engine, "reap", {"actor": actor, "max_crashes": max_crashes, "limit": limit})
    return [Ended(r.id, State(r.state), r.reply_to) for r in found if State(r.state).terminal]


def expire(engine: Engine, *, actor: str, limit: int = 500) -> list[Ended]:
    """Waiting jobs whose queue timeout has passed end as expired."""
    return [
        Ended(r.id, State.EXPIRED, r.reply_to, r.queue)
        for r in rows(engine, "expire", {"actor": actor, "limit": limit})
    ]


def expire_hopeless(engine: Engine, ids: Sequence[UUID], *, lead_s: float, actor: str) -> list[Ended]:
    """Of these jobs those that have not run and whose deadline is less than `lead_s` wall seconds away end as expired:
    until then none of them could start."""
    found = rows(engine, "expire_hopeless", {"ids": list(ids), "lead_s": lead_s, "actor": actor})
    return [Ended(r.id, State.EXPIRED, r.reply_to, r.queue) for r in found]


def take_untold(engine: Engine, *, limit: int = 500) -> list[Ended]:
    """Jobs that ended where nobody could tell who waits for them (cancelled, or failed with a dependency): the caller
    tells, and nobody else will."""
    return [Ended(r.id, State(r.state), r.reply_to, r.queue) for r in rows(engine, "untold", {"limit": limit})]


def make_partitions(engine: Engine, *, months_ahead: int = 3) -> int:
    """Monthly partitions of the audit, made ahead; how many were new."""
    with connected(engine) as connection:
        return int(connection.exec_driver_sql("SELECT audit_make_partitions(%s)", (months_ahead,)).scalar_one())
