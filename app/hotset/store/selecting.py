"""Lists, counts and bulk changes of jobs, and lists of the audit: queries put together from a filter."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Engine,
    Row,
    Text,
    and_,
    bindparam,
    case,
    func,
    insert,
    literal,
    not_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy import cast as sql_cast

from hotset.errors import StoreUnavailable, UnknownJob
from hotset.jobs import OPEN, JobView, State
from hotset.jobs.filters import EVERY_TENANT, AuditFilter, JobFilter
from hotset.store.engine import connected, rows, undisturbed
from hotset.store.jobs import Ended, JobStore
from hotset.store.tables import audit, jobs

#: Jobs that one statement of a bulk cancel ends: its locks last some milliseconds.
CHUNK = 1000
#: Wall seconds that a bulk cancel waits for rows which others hold: a claim or a finish takes milliseconds.
_PATIENCE_S = 10.0
#: Wall seconds that the follower of the audit looks back: a row's time is when its transaction began.
OVERLAP_S = 10.0

_LISTED = [column for column in jobs.c if column.name != "prompt"]


def find(store: JobStore, wanted: JobFilter) -> list[JobView]:
    """A page of jobs, newest first, without results. Raises UnknownJob when the page's `after` is no job."""
    j = jobs.c
    query = select(*_LISTED).where(*_conditions(wanted)).order_by(j.arrived_at.desc(), j.id.desc()).limit(wanted.limit)
    with connected(store.engine) as connection:
        if wanted.after is not None:
            last = connection.execute(select(j.arrived_at, j.id).where(j.id == wanted.after)).one_or_none()
            if last is None:
                raise UnknownJob(wanted.after)
            query = query.where(tuple_(j.arrived_at, j.id) < tuple_(*map(literal, last)))
        return [store.view(row) for row in connection.execute(query).all()]


def count(engine: Engine, wanted: JobFilter) -> int:
    """How many jobs match, whatever the limit."""
    with connected(engine) as connection:
        return int(connection.execute(select(func.count()).select_from(jobs).where(*_conditions(wanted))).scalar_one())


def cancellable(wanted: JobFilter) -> tuple[ColumnElement[bool], ...]:
    """Open jobs of the filter that nobody has asked to cancel yet."""
    j = jobs.c
    return (*_conditions(wanted), j.state.in_([str(s) for s in OPEN]), j.cancel_reason.is_(None))


def count_cancellable(engine: Engine, wanted: JobFilter) -> int:
    with connected(engine) as connection:
        query = select(func.count()).select_from(jobs).where(*cancellable(wanted))
        return int(connection.execute(query).scalar_one())


def cancel(engine: Engine, wanted: JobFilter, *, actor: str, reason: str) -> Iterator[list[Ended]]:
    """Cancel what matches and is open, a chunk at a time, as `sql/cancel.sql` does for one: waiting jobs end here, of
    running ones the worker is asked. Each chunk is one committed statement with its audit rows.

    Rows that others hold at the moment are passed over and tried again. Raises StoreUnavailable when they stay held.
    """
    statement = _cancel_statement(wanted)
    parameters = {"actor": actor, "reason": reason, "chunk": CHUNK}
    patience = time.monotonic() + _PATIENCE_S
    while True:
        found = undisturbed(lambda: _chunk(engine, statement, parameters))
        if found:
            patience = time.monotonic() + _PATIENCE_S
            yield [Ended(r.id, State(r.state), r.reply_to, r.queue) for r in found]
            continue
        left = count_cancellable(engine, wanted)
        if not left:
            return
        if time.monotonic() > patience:
            raise StoreUnavailable(f"{left} jobs are held by another transaction.", remedy="Cancel again.")
        time.sleep(0.02)


def _chunk(engine: Engine, statement: Any, parameters: dict[str, Any]) -> Sequence[Row[Any]]:
    with connected(engine) as connection:
        return connection.execute(statement, parameters).all()


def _cancel_statement(wanted: JobFilter) -> Any:
    j, a = jobs.c, audit.c
    chosen = (
        select(j.id)
        .where(*cancellable(wanted))
        .order_by(j.arrived_at, j.id)
        .limit(bindparam("chunk"))
        .with_for_update(skip_locked=True)
        .cte("chosen")
    )
    running = j.state == str(State.RUNNING)
    asked = (
        update(jobs)
        .where(j.id == chosen.c.id)
        .values(
            cancel_reason=bindparam("reason"),
            state=case((running, j.state), else_=str(State.CANCELLED)),
            finished_at=case((running, None), else_=func.now()),
            untold=and_(not_(running), j.reply_to.is_not(None)),
        )
        .returning(j.id, j.tenant, j.queue, j.state, j.attempt, j.reply_to)
        .cte("asked")
    )
    c = asked.c
    logged = (
        insert(audit)
        .from_select(
            ["tenant", "actor", "action", "job_id", "attempt", "detail"],
            select(
                c.tenant,
                bindparam("actor"),
                case((c.state == str(State.RUNNING), "cancel-asked"), else_=c.state),
                c.id,
                c.attempt,
                func.jsonb_build_object("reason", sql_cast(bindparam("reason"), Text)),
            ),
        )
        .returning(a.id)
        .cte("logged")
    )
    return select(c.id, c.queue, c.state, c.reply_to).add_cte(logged)


def audit_rows(engine: Engine, wanted: AuditFilter) -> list[dict[str, Any]]:
    """The newest rows of the audit that match, oldest first."""
    a = audit.c
    query = select(audit).where(*_audit_conditions(wanted)).order_by(a.at.desc(), a.id.desc()).limit(wanted.limit)
    with connected(engine) as connection:
        return [dict(row._mapping) for row in reversed(connection.execute(query).all())]


class AuditTail:
    """Follows the audit: each `read` gives what was committed since the last one, in order of time.

    A row's time is when its transaction began, so rows may become visible after younger ones. Each read looks back
    OVERLAP_S behind the newest row it has seen and leaves out what it gave already.
    """

    def __init__(self, engine: Engine, wanted: AuditFilter, *, since: datetime) -> None:
        self._engine = engine
        self._conditions = _audit_conditions(wanted)
        self._newest = self._since = since
        self._given: dict[int, datetime] = {}

    def read(self, limit: int = 5000) -> list[dict[str, Any]]:
        a = audit.c
        overlap = text(f"interval '{OVERLAP_S} seconds'")
        query = (
            select(audit)
            .where(
                *self._conditions,
                a.at >= self._since,
                a.at >= literal(self._newest) - overlap,
                a.id.not_in(list(self._given)),
            )
            .order_by(a.at, a.id)
            .limit(limit)
        )
        with connected(self._engine) as connection:
            found = [dict(row._mapping) for row in connection.execute(query).all()]
        for row in found:
            self._given[row["id"]] = row["at"]
            self._newest = max(self._newest, row["at"])
        self._given = {i: at for i, at in self._given.items() if (self._newest - at).total_seconds() <= OVERLAP_S}
        return found


def _conditions(wanted: JobFilter) -> tuple[ColumnElement[bool], ...]:
    j = jobs.c
    found: list[ColumnElement[bool]] = []
    if wanted.tenant not in (None, EVERY_TENANT):
        found.append(j.tenant == wanted.tenant)
    if wanted.states:
        found.append(j.state.in_(sorted(str(s) for s in wanted.states)))
    for column, value in ((j.agent, wanted.agent), (j.queue, wanted.queue), (j.error_kind, wanted.error_kind)):
        if value is not None:
            found.append(column == value)
    if wanted.since is not None:
        found.append(j.arrived_at >= wanted.since)
    if wanted.until is not None:
        found.append(j.arrived_at < wanted.until)
    found += [j.metadata[name].astext == value for name, value in wanted.metadata.items()]
    if wanted.ids:
        found.append(j.id.in_(wanted.ids))
    return tuple(found)


def _audit_conditions(wanted: AuditFilter) -> tuple[ColumnElement[bool], ...]:
    a = audit.c
    found: list[ColumnElement[bool]] = []
    if wanted.tenant not in (None, EVERY_TENANT):
        found.append(a.tenant == wanted.tenant)
    for column, value in ((a.job_id, wanted.job), (a.actor, wanted.actor), (a.action, wanted.action)):
        if value is not None:
            found.append(column == value)
    if wanted.since is not None:
        found.append(a.at >= wanted.since)
    if wanted.until is not None:
        found.append(a.at < wanted.until)
    return tuple(found)


def not_retried(engine: Engine, ids: Sequence[UUID]) -> list[UUID]:
    """Those of the jobs that no other job replays, in their order."""
    if not ids:
        return []
    with connected(engine) as connection:
        replayed = set(connection.execute(select(jobs.c.replay_of).where(jobs.c.replay_of.in_(ids))).scalars())
    return [i for i in ids if i not in replayed]


def retryable(engine: Engine, ids: Sequence[UUID]) -> list[UUID]:
    """Those of the jobs that no other job replays and whose prompt was not erased, in their order."""
    left = not_retried(engine, ids)
    if not left:
        return []
    with connected(engine) as connection:
        query = "SELECT id FROM jobs WHERE id = ANY(%s) AND body_hash = ''"
        erased = set(connection.exec_driver_sql(query, (left,)).scalars())
    return [i for i in left if i not in erased]


def ended_of(engine: Engine, ids: Collection[UUID], *, limit: int) -> list[UUID]:
    """Those of the jobs that have ended, at most so many: the first that did."""
    if not ids:
        return []
    return [row.id for row in rows(engine, "ended", {"ids": list(ids), "limit": limit})]
