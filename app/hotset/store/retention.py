"""Retention: finished jobs go with their results after `keep_jobs_days`, months of the audit after `keep_audit_months`.

0 keeps for ever. Every worker may do this at once: jobs and flows are taken with SKIP LOCKED, months under one advisory
lock. A flow goes as a whole; a job that something kept was replayed from stays until that has gone. An idempotency key
is free again when its job has gone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from psycopg import sql as names
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from hotset.errors import StoreUnavailable
from hotset.store.engine import connected, rows

#: What one statement deletes: a few milliseconds of work, so that nobody waits for it. A flow has up to 10,000 jobs.
_JOBS = 500
_FLOWS = 20


@dataclass(frozen=True, slots=True)
class Removed:
    """What went, or would go; `jobs` counts those of flows, too. `months`: the audit's partitions and their entries."""

    jobs: int = 0
    results: int = 0
    flows: int = 0
    months: tuple[tuple[str, int], ...] = ()

    def __add__(self, other: Removed) -> Removed:
        return Removed(
            self.jobs + other.jobs, self.results + other.results, self.flows + other.flows, self.months + other.months
        )


def remove_batch(engine: Engine, *, actor: str, keep_days: int) -> Removed:
    """Delete some old finished jobs and flows; each tenant's audit gets a row that says how many. Nothing: all done."""
    if keep_days == 0:
        return Removed()
    removed = Removed()
    for name, limit in (("retention_jobs", _JOBS), ("retention_flows", _FLOWS)):
        try:
            found = rows(engine, name, {"actor": actor, "keep_days": keep_days, "limit": limit})[0]
        except DBAPIError as e:
            # 23503: something new referred to one of them in this very moment. Nothing was deleted; the next batch
            # leaves it out.
            if getattr(e.orig, "sqlstate", None) != "23503":
                raise
        else:
            removed += Removed(found.jobs, found.results, found.flows)
    return removed


def drop_months(engine: Engine, *, actor: str, keep_months: int) -> Removed:
    """Drop the audit's partitions that ended more than so many whole months ago.

    Raises StoreUnavailable when somebody reads the audit for so long that writers would have to wait: all or nothing.
    """
    if keep_months == 0:
        return Removed()
    try:
        with connected(engine) as connection:
            query = "SELECT month, entries FROM audit_drop_partitions(%s, %s)"
            found = connection.exec_driver_sql(query, (keep_months, actor)).all()
    except DBAPIError as e:
        if getattr(e.orig, "sqlstate", None) != "55P03":
            raise
        raise StoreUnavailable(
            "The audit's old months cannot be dropped: it has been read for more than 2 s.",
            remedy="Try again when the report or backup that reads it is done.",
        ) from e
    return Removed(months=tuple((r.month, r.entries) for r in found))


def retain(
    engine: Engine,
    *,
    actor: str,
    keep_days: int,
    keep_months: int,
    progress: Callable[[int], None] = lambda _: None,
) -> Removed:
    """Everything that is due, batch after batch; `progress` hears how many jobs have gone."""
    removed = Removed()
    while (batch := remove_batch(engine, actor=actor, keep_days=keep_days)).jobs:
        removed += batch
        progress(removed.jobs)
    return removed + drop_months(engine, actor=actor, keep_months=keep_months)


def preview(engine: Engine, *, keep_days: int, keep_months: int) -> Removed:
    """What `retain` would remove now. Entries that have no month yet (`audit_default`) are not among the months."""
    with connected(engine) as connection:
        months = []
        if keep_months:
            query = "SELECT audit_old_partitions(%s) AS name"
            for (name,) in connection.exec_driver_sql(query, (keep_months,)).all():
                count = names.SQL("SELECT count(*) FROM {}").format(names.Identifier(name)).as_string()
                months.append((name, int(connection.exec_driver_sql(count).scalar_one())))
    if keep_days == 0:
        return Removed(months=tuple(months))
    found = rows(engine, "retention_preview", {"keep_days": keep_days})[0]
    return Removed(found.jobs, found.results, found.flows, tuple(months))
