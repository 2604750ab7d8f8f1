"""Flows in Postgres: jobs that wait for jobs. What the end of a job does to those that depend on it is a trigger's work
(migration 0002), in the transaction that ends it; here flows are accepted, read, cancelled and replayed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select
from uuid_utils.compat import uuid7

from hotset.errors import IdempotencyConflict, IllegalTransition, UnknownJob
from hotset.jobs import JobView, NewJob, Priority, Routing, State
from hotset.jobs.flows import FlowStep, Shape, to_replay
from hotset.jobs.limits import Demand
from hotset.store import tables
from hotset.store.depth import check_room
from hotset.store.engine import connected, rows, sql, undisturbed
from hotset.store.jobs import Accepted, Ended, JobStore, body_hash


@dataclass(frozen=True, slots=True)
class NewFlow:
    """A flow that was checked. Its jobs are in an order in which each comes after what it depends on."""

    id: UUID
    tenant: str
    shape: Shape
    idempotency_key: str | None
    jobs: tuple[NewJob, ...]


@dataclass(frozen=True, slots=True)
class FlowView:
    """A flow now. `jobs` are all of it, in the order of their steps, replayed ones before those that replay them.

    `after` says of each job which jobs it depends on, in order.
    """

    id: UUID
    tenant: str
    shape: Shape
    created_at: datetime
    jobs: tuple[JobView, ...]
    after: Mapping[UUID, tuple[UUID, ...]]

    @property
    def current(self) -> dict[int, JobView]:
        """Each step's newest job."""
        return {job.step: job for job in self.jobs if job.step is not None}

    def all_of(self, step: int) -> list[JobView]:
        """The jobs of a step, the newest first."""
        return [job for job in reversed(self.jobs) if job.step == step]


@dataclass(frozen=True, slots=True)
class Replayed:
    """New jobs, each with the old one that it replays, and what may be published at once."""

    jobs: Mapping[UUID, UUID]
    waiting: tuple[Routing, ...]


def accept(store: JobStore, flow: NewFlow, *, actor: str, room: Sequence[Demand] = ()) -> tuple[UUID, list[Accepted]]:
    """Accept all jobs of the flow or none, in one transaction: the flow's id, and what may be published.

    An idempotency key that exists with the same body gives the flow accepted before, and no jobs. Raises
    IdempotencyConflict when the body is another, RateLimited when `room` (limits on open jobs) is lacking.
    """
    digests = store.cipher.digests(_digest(flow))
    document = {
        "id": flow.id,
        "tenant": flow.tenant,
        "shape": json.dumps(flow.shape),
        "key": flow.idempotency_key,
        "hash": digests[0],
    }
    with connected(store.engine) as connection:
        connection = connection.execution_options(isolation_level="READ COMMITTED")
        with connection.begin():
            if not connection.exec_driver_sql(sql("flow_accept"), document).all():
                return _same(connection, flow, digests), []
            check_room(connection, room)
            accepted = store.accept_within(connection, flow.jobs, actor=actor)
            _depend(connection, {job.id: job.depends_on for job in flow.jobs})
            return flow.id, accepted


def read(store: JobStore, flow_id: UUID, *, tenant: str | None = None) -> FlowView:
    """The flow with its jobs, without results. Raises UnknownJob."""
    j = tables.jobs.c
    listed = [column for column in j if column.name != "prompt"]
    with connected(store.engine) as connection:
        connection = connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            flow = _flow(connection, flow_id, tenant)
            found = connection.execute(select(*listed).where(j.flow == flow_id).order_by(j.step, j.id)).all()
            after = _after(connection, [row.id for row in found])
    return FlowView(flow.id, flow.tenant, flow.shape, flow.created_at, _in_order(map(store.view, found)), after)


def cancel(store: JobStore, flow_id: UUID, *, actor: str, reason: str) -> list[Ended]:
    """Cancel what is open: waiting jobs end, of running ones (state `running` in the answer) the workers are asked."""
    parameters = {"flow": flow_id, "actor": actor, "reason": reason}
    found = undisturbed(lambda: rows(store.engine, "flow_cancel", parameters))
    return [Ended(r.id, State(r.state), r.reply_to, r.queue) for r in found]


def replay(
    store: JobStore,
    *,
    tenant: str,
    actor: str,
    job: UUID | None = None,
    flow: UUID | None = None,
    reply_to: str | None = None,
    reason: str | None = None,
) -> Replayed:
    """Submit what has ended again, as new jobs: one job, or all of a flow that ended without success.

    A job of a flow stays in it, takes the answers of what it depended on, and brings back what failed for its sake.
    Raises UnknownJob, or IllegalTransition when there is nothing to replay.
    """

    def work() -> Replayed:
        with connected(store.engine) as connection:
            connection = connection.execution_options(isolation_level="READ COMMITTED")
            with connection.begin():
                return _replay(connection, tenant, actor, job, flow, reply_to, reason)

    return undisturbed(work)


def released(store: JobStore, job_id: UUID) -> list[Routing]:
    """What waited for that job and may be published now."""
    return [routing(r) for r in rows(store.engine, "released", {"id": job_id})]


def answers(store: JobStore, job_id: UUID) -> list[tuple[UUID, str, str | None]]:
    """Job, agent and text of what the job depended on, in order; no text: its result is gone. Raises CannotDecrypt."""
    return [
        (r.id, r.agent, None if r.text is None else store.cipher.decrypt(r.text, f"The result of job {r.id}"))
        for r in rows(store.engine, "answers", {"id": job_id})
    ]


def routing(r: Any) -> Routing:
    """From a row that names the columns of a Routing."""
    return Routing(
        r.id, r.agent, r.queue, r.tenant, Priority(r.priority), r.arrived_at, r.deadline_at, suspect=r.suspect
    )


# ---- replaying -------------------------------------------------------------------------------------------------------


def _replay(
    connection: Connection,
    tenant: str,
    actor: str,
    job: UUID | None,
    flow: UUID | None,
    reply_to: str | None,
    reason: str | None,
) -> Replayed:
    only: int | None = None
    if job is not None:
        row = _job(connection, job, tenant)
        if not State(row.state).terminal:
            raise IllegalTransition(f"Job {job} is {row.state}.", remedy="Only what has ended can be retried.")
        flow, only = row.flow, row.step
    pairs: dict[UUID, UUID] = {} if job is None else {job: uuid7()}
    after: dict[UUID, tuple[UUID, ...]] = {}
    states: dict[UUID, State] = {}
    if flow is not None:
        pairs, after, states = _of_flow(connection, flow, tenant, job, only)
    _refuse_erased(connection, pairs)
    new = set(after)
    document = [
        {
            "id": str(fresh),
            "old": str(old),
            "pending": sum(d in new or states[d] is not State.SUCCEEDED for d in after.get(fresh, ())),
            "has_dependents": any(fresh in others for others in after.values()),
        }
        for old, fresh in pairs.items()
    ]
    parameters = {"rows": json.dumps(document), "actor": actor, "reply_to": reply_to, "reason": reason}
    made = connection.exec_driver_sql(sql("replay"), parameters).all()
    _depend(connection, after)
    waiting = (r for r in made if r.state == State.QUEUED)
    return Replayed(
        {fresh: old for old, fresh in pairs.items()},
        tuple(
            Routing(r.id, r.agent, r.queue, r.tenant, Priority(r.priority), r.arrived_at, r.deadline_at)
            for r in waiting
        ),
    )


def _refuse_erased(connection: Connection, jobs: Iterable[UUID]) -> None:
    # Locked, so that none is erased before its copy is made.
    query = "SELECT id, body_hash = '' AS erased FROM jobs WHERE id = ANY(%s) ORDER BY id FOR SHARE"
    for row in connection.exec_driver_sql(query, (list(jobs),)).all():
        if row.erased:
            raise IllegalTransition(f"Job {row.id} was erased: nobody knows what it asked.", remedy="Submit it anew.")


def _of_flow(
    connection: Connection, flow: UUID, tenant: str, job: UUID | None, only: int | None
) -> tuple[dict[UUID, UUID], dict[UUID, tuple[UUID, ...]], dict[UUID, State]]:
    """Old job -> new one, new job -> what it depends on, and the states of the flow's jobs.

    The rows stay locked, in the order of their ids: what runs cannot end between this look and the commit.
    """
    _flow(connection, flow, tenant, lock=True)
    query = "SELECT id, step, state, replay_of FROM jobs WHERE flow = %s ORDER BY id FOR NO KEY UPDATE"
    found = connection.exec_driver_sql(query, (flow,)).all()
    replayed = {r.replay_of for r in found}
    step_of = {r.id: r.step for r in found}
    states = {r.id: State(r.state) for r in found}
    current = {r.step: r.id for r in found if r.id not in replayed}
    if job is not None and job in replayed:
        raise IllegalTransition(f"Job {job} has been retried as {current[step_of[job]]}.", remedy="Retry that one.")
    after = _after(connection, list(current.values()))
    numbers = {n: tuple(step_of[d] for d in after.get(j, ())) for n, j in sorted(current.items())}
    chosen = to_replay((FlowStep(n, current[n], states[current[n]], of) for n, of in numbers.items()), only)
    if not chosen:
        which = f"What job {job} depends on has not succeeded" if job else f"Nothing of flow {flow} has failed"
        raise IllegalTransition(f"{which}.", remedy="Retry the flow." if job else "")
    fresh = {n: uuid7() for n in chosen}
    return (
        {current[n]: fresh[n] for n in chosen},
        {fresh[n]: tuple(fresh.get(d, current[d]) for d in numbers[n]) for n in chosen},
        states,
    )


# ---- rows ------------------------------------------------------------------------------------------------------------


def _depend(connection: Connection, after: Mapping[UUID, Sequence[UUID]]) -> None:
    edges = [(job, on, i) for job, all_of in after.items() for i, on in enumerate(all_of)]
    if edges:
        jobs, on, positions = map(list, zip(*edges, strict=True))
        connection.exec_driver_sql(sql("flow_depend"), {"jobs": jobs, "depends_on": on, "positions": positions})


def _after(connection: Connection, jobs: Sequence[UUID]) -> dict[UUID, tuple[UUID, ...]]:
    query = "SELECT job, depends_on FROM dependencies WHERE job = ANY(%s) ORDER BY job, position"
    found: dict[UUID, tuple[UUID, ...]] = {}
    for row in connection.exec_driver_sql(query, (list(jobs),)).all():
        found[row.job] = (*found.get(row.job, ()), row.depends_on)
    return found


def _in_order(views: Any) -> tuple[JobView, ...]:
    """By step, and within a step each job after the one that it replays, whatever the clocks said."""
    by_step: dict[int, list[JobView]] = {}
    for view in views:
        by_step.setdefault(view.step, []).append(view)
    ordered: list[JobView] = []
    for _, jobs in sorted(by_step.items()):
        replays = {job.replay_of: job for job in jobs}
        here = {job.id for job in jobs}
        job = next((j for j in jobs if j.replay_of not in here), None)
        while job is not None:
            ordered.append(job)
            job = replays.get(job.id)
    return tuple(ordered)


def _flow(connection: Connection, flow: UUID, tenant: str | None, *, lock: bool = False) -> Any:
    query = "SELECT id, tenant, shape, created_at FROM flows WHERE id = %s AND (%s::text IS NULL OR tenant = %s)"
    found = connection.exec_driver_sql(query + (" FOR UPDATE" if lock else ""), (flow, tenant, tenant)).one_or_none()
    if found is None:
        raise UnknownJob(flow)
    return found


def _job(connection: Connection, job: UUID, tenant: str) -> Any:
    query = "SELECT id, state, flow, step FROM jobs WHERE id = %s AND tenant = %s"
    found = connection.exec_driver_sql(query, (job, tenant)).one_or_none()
    if found is None:
        raise UnknownJob(job)
    return found


def _same(connection: Connection, flow: NewFlow, digests: Sequence[str]) -> UUID:
    query = (
        "SELECT id, encode(body_hash, 'hex') AS hash FROM flows"
        " WHERE id = %(id)s OR (tenant = %(tenant)s AND idempotency_key = %(key)s) LIMIT 1"
    )
    there = {"id": flow.id, "tenant": flow.tenant, "key": flow.idempotency_key}
    row = connection.exec_driver_sql(query, there).one()
    if row.hash in digests:
        found: UUID = row.id
        return found
    raise IdempotencyConflict(
        f"The idempotency key {flow.idempotency_key!r} of tenant {flow.tenant!r} belongs to flow {row.id}, which asked "
        "for something else.",
        remedy="Use another key for another request.",
    )


def _digest(flow: NewFlow) -> str:
    """SHA-256 (hex) over the shape and what each of its jobs asks for."""
    body = [flow.shape, [body_hash(job) for job in flow.jobs]]
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
