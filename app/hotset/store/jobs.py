"""Jobs in Postgres, the truth: accept, claim, renew, finish, cancel, read. Each change is one committed statement
that writes its own audit row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, Row, RowMapping, func, select
from sqlalchemy.exc import DataError

from hotset.errors import CannotDecrypt, IdempotencyConflict, InvalidJob
from hotset.jobs import OPEN, Attempt, JobResult, JobView, NewJob, Outcome, Priority, Routing, State
from hotset.jobs.limits import Demand
from hotset.store import tables
from hotset.store.cipher import Cipher
from hotset.store.depth import check_room
from hotset.store.engine import connected, execute, rows, sql, undisturbed
from hotset.store.revisions import require


@dataclass(frozen=True, slots=True)
class Accepted:
    """`routing` is None when there is nothing to publish: the job waits for its time, or had been accepted before."""

    id: UUID
    routing: Routing | None


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that reached a terminal state outside its worker, and who waits for it."""

    id: UUID
    state: State
    reply_to: str | None
    queue: str | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """An attempt was committed; `has_dependents`: the same commit released or ended jobs that waited for it.

    `send_to`: the agent whose inbox got the answer, if the job has ended.
    """

    has_dependents: bool
    send_to: str | None = None


class JobStore:
    """Durations in jobs are model seconds; `scale` (wall seconds per model second) turns them into times of day.

    `cipher`: what was said passes through it, on its way into the tables and out of them.
    """

    def __init__(
        self, engine: Engine, *, scale: float = 1.0, relaxed: Engine | None = None, cipher: Cipher | None = None
    ) -> None:
        self.engine = engine
        self.cipher = cipher or Cipher()
        self.scale = scale
        # For marks whose loss in a crash of the machine costs a second publication and nothing else.
        self._relaxed = relaxed or engine

    # ---- accepting -------------------------------------------------------------------------------------------

    def accept(self, jobs: Sequence[NewJob], *, actor: str, room: Sequence[Demand] = ()) -> list[Accepted]:
        """Accept all of them or none, in one transaction; the answer is in their order.

        An idempotency key that exists with the same body gives the id accepted before; with another body it raises
        IdempotencyConflict and nothing is accepted. A job id that exists is treated alike. `room`: limits on open
        jobs that must be kept, else RateLimited.
        """
        if any(job.send_to is not None for job in jobs):
            with connected(self.engine):
                require(self.engine, "0008", "`send_to`")
        hashes = {job.id: self.cipher.digests(body_hash(job)) for job in jobs}
        document = json.dumps([self._row(job, hashes[job.id][0]) for job in jobs], separators=(",", ":"))
        parameters = {"rows": document, "actor": actor}
        if not room and all(job.idempotency_key is None for job in jobs) and len(hashes) == len(jobs):
            with _storable():
                found = {r.id: r for r in rows(self.engine, "accept", parameters)}
            if len(found) == len(jobs):
                return [_accepted(job, found[job.id]) for job in jobs]
            # Ids that exist: a message seen twice. Fall through to compare bodies; what was new is accepted already.
        with connected(self.engine) as connection:
            connection = connection.execution_options(isolation_level="READ COMMITTED")
            with _storable(), connection.begin():
                check_room(connection, room)
                new = {r.id: r for r in connection.exec_driver_sql(sql("accept"), parameters).all()}
                known = self._known(connection, [j for j in jobs if j.id not in new])
                return [
                    _accepted(job, new[job.id]) if job.id in new else Accepted(_same(job, hashes[job.id], known), None)
                    for job in jobs
                ]

    def accept_within(self, connection: Connection, jobs: Sequence[NewJob], *, actor: str) -> list[Accepted]:
        """Accept new jobs without idempotency keys as a part of the caller's transaction."""
        document = json.dumps(
            [self._row(job, self.cipher.digests(body_hash(job))[0]) for job in jobs], separators=(",", ":")
        )
        found = connection.exec_driver_sql(sql("accept"), {"rows": document, "actor": actor}).all()
        new = {r.id: r for r in found}
        return [_accepted(job, new[job.id]) for job in jobs]

    def mark_published(self, ids: Iterable[UUID]) -> None:
        execute(self._relaxed, "mark_published", {"ids": list(ids)})

    def _row(self, job: NewJob, digest: str) -> dict[str, Any]:
        def wall(seconds: float | None) -> float | None:
            return None if seconds is None else seconds * self.scale

        row = {
            "id": str(job.id),
            "tenant": job.tenant,
            "agent": job.agent,
            "queue": job.queue,
            "priority": int(job.priority),
            "prompt": self.cipher.encrypt(job.prompt),
            "options": dict(job.options),
            "metadata": dict(job.metadata),
            "idempotency_key": job.idempotency_key,
            "body_hash": digest,
            "replay_of": None if job.replay_of is None else str(job.replay_of),
            "reply_to": job.reply_to,
            "stream": job.stream,
            "not_before_s": wall(job.not_before_s),
            "deadline_s": wall(job.deadline_s),
            "queue_timeout_s": wall(job.queue_timeout_s),
            "run_timeout_s": job.run_timeout_s,
            "max_retries": job.max_retries,
        }
        if job.spec is not None:
            row["spec"] = json.loads(self.cipher.encrypt_json(json.dumps(dict(job.spec))))
        if job.send_to is not None:
            row["send_to"] = job.send_to
        if job.flow is not None:
            row |= {"flow": str(job.flow), "step": job.step, "has_dependents": job.has_dependents}
            row["pending"] = len(job.depends_on)
        return row

    @staticmethod
    def _known(connection: Connection, jobs: Sequence[NewJob]) -> dict[tuple[str, str], tuple[UUID, str]]:
        """(tenant, key or id) -> (id, hash of the body) of the rows that stood in the way."""
        found: dict[tuple[str, str], tuple[UUID, str]] = {}
        for job in jobs:
            row = connection.exec_driver_sql(
                "SELECT id, encode(body_hash, 'hex') AS hash FROM jobs WHERE id = %(id)s"
                " OR (tenant = %(tenant)s AND idempotency_key = %(key)s) LIMIT 1",
                {"id": job.id, "tenant": job.tenant, "key": job.idempotency_key},
            ).one()
            found[job.tenant, job.idempotency_key or str(job.id)] = (row.id, row.hash)
        return found

    # ---- running ---------------------------------------------------------------------------------------------

    def claim(
        self, job_id: UUID, *, worker: str, lease_s: float, queue: str | None = None, alone: bool = True
    ) -> Attempt | None:
        """The right to run the job for `lease_s` wall seconds; None: another has it, or it has ended.

        `queue`: the one it was taken from; a job of another queue is not given. `alone`: the worker runs nothing
        beside it; else no suspect is given.
        """
        asked = {"id": job_id, "worker": worker, "lease_s": lease_s, "queue": queue, "alone": alone}
        found = rows(self.engine, "claim", asked)
        if not found:
            return None
        r = found[0]
        what = f"The prompt of job {r.id}"
        unreadable: CannotDecrypt | None = None
        try:
            prompt, spec = self.cipher.decrypt(r.prompt, what), self.cipher.decrypt_json(r.spec, what)
        except CannotDecrypt as e:
            prompt, spec, unreadable = "", None, e
        return Attempt(
            id=r.id,
            number=r.attempt,
            agent=r.agent,
            queue=r.queue,
            tenant=r.tenant,
            prompt=prompt,
            options=r.options,
            run_timeout_s=r.run_timeout_s,
            max_retries=r.max_retries,
            failures=r.failures,
            crashes=r.crashes,
            arrived_at=r.arrived_at,
            deadline_at=r.deadline_at,
            reply_to=r.reply_to,
            stream=r.stream,
            flow=r.flow,
            spec=spec,
            unreadable=unreadable,
        )

    def renew(self, held: Mapping[UUID, int], *, lease_s: float) -> dict[UUID, str | None]:
        """Renew the leases of these attempts; those still ours, each with the reason to cancel it, if asked."""
        if not held:
            return {}
        parameters = {"ids": list(held), "attempts": list(held.values()), "lease_s": lease_s}
        return {r.id: r.cancel_reason for r in rows(self.engine, "renew", parameters)}

    def finish(self, job_id: UUID, attempt: int, outcome: Outcome, *, worker: str) -> Finished | None:
        """Commit what an attempt came to, with its result and audit; None: the lease was lost, nothing was written."""
        detail = {
            "model": outcome.model or None,
            "model_digest": outcome.model_digest or None,
            "simulated": outcome.simulated or None,
            "error_kind": outcome.error_kind,
            **_tokens(outcome.usage),
        }
        parameters = {
            "id": job_id,
            "attempt": attempt,
            "state": str(outcome.state),
            # Postgres has no NUL in text; a model that prints one must not cost its job.
            "text": self.cipher.encrypt(outcome.text.replace("\x00", "\ufffd")),
            "thinking": self.cipher.encrypt(outcome.thinking.replace("\x00", "\ufffd")),
            "model": outcome.model,
            "simulated": outcome.simulated,
            "usage": json.dumps(dict(outcome.usage)),
            "timings": json.dumps(dict(outcome.timings)),
            "error_kind": outcome.error_kind,
            "error": None if outcome.error is None else outcome.error.replace("\x00", "\ufffd")[:10_000],
            "retry_in_s": None if outcome.retry_in_s is None else outcome.retry_in_s * self.scale,
            "worker": worker,
            "detail": json.dumps({k: v for k, v in detail.items() if v is not None}),
        }
        found = undisturbed(lambda: rows(self.engine, "finish", parameters))
        return Finished(found[0].has_dependents, found[0].send_to) if found else None

    def release(self, job_id: UUID, attempt: int, *, worker: str, reason: str) -> bool:
        """Hand a running job back to the queue; it counts as neither a failure nor a crash."""
        parameters = {"id": job_id, "attempt": attempt, "worker": worker, "reason": reason}
        return bool(rows(self.engine, "release", parameters))

    def refuse(self, job_id: UUID, *, worker: str, error_kind: str, error: str) -> Ended | None:
        """End a queued job that cannot be run at all, without a run."""
        found = rows(
            self.engine,
            "refuse",
            {"id": job_id, "worker": worker, "error_kind": error_kind, "error": error[:10_000]},
        )
        return Ended(found[0].id, State.FAILED, found[0].reply_to) if found else None

    def cancel(self, job_id: UUID, *, actor: str, reason: str, tenant: str | None = None) -> Ended | None:
        """Cancel a waiting job, or ask the worker of a running one (state `running` in the answer).

        None: there is no open job of that id (and tenant, if given).
        """
        parameters = {"id": job_id, "actor": actor, "reason": reason, "tenant": tenant}
        found = undisturbed(lambda: rows(self.engine, "cancel", parameters))
        if not found:
            return None
        r = found[0]
        return Ended(r.id, State(r.state), r.reply_to, r.queue)

    def note(self, *, tenant: str, actor: str, action: str, job_id: UUID | None, detail: Mapping[str, Any]) -> None:
        """An audit row of its own."""
        execute(
            self.engine,
            "note",
            {
                "tenant": tenant,
                "actor": actor,
                "action": action,
                "job_id": job_id,
                "detail": _json(detail),
            },
        )

    # ---- reading ---------------------------------------------------------------------------------------------

    def get(self, ids: Iterable[UUID], *, tenant: str | None = None) -> dict[UUID, JobView]:
        """Those of the jobs that exist (and belong to the tenant, if given), with results."""
        j, r = tables.jobs.c, tables.results.c
        query = (
            select(tables.jobs, *(c.label(f"r_{c.name}") for c in r if c.name != "job_id"))
            .join_from(tables.jobs, tables.results, j.id == r.job_id, isouter=True)
            .where(j.id.in_(list(ids)))
        )
        if tenant is not None:
            query = query.where(j.tenant == tenant)
        with connected(self.engine) as connection:
            return {row.id: self.view(row) for row in connection.execute(query).all()}

    def counts(self, *, since: datetime | None = None) -> dict[str, dict[str, int]]:
        """Jobs by queue and state; `since` restricts terminal ones, open ones always count."""
        j = tables.jobs.c
        query = select(j.queue, j.state, func.count().label("n")).group_by(j.queue, j.state)
        if since is not None:
            query = query.where((j.arrived_at >= since) | j.state.in_([str(s) for s in OPEN]))
        with connected(self.engine) as connection:
            found: dict[str, dict[str, int]] = {}
            for row in connection.execute(query).all():
                found.setdefault(row.queue, {})[row.state] = row.n
            return found

    def audit(self, job_id: UUID) -> list[dict[str, Any]]:
        """What happened to a job, in order."""
        a = tables.audit.c
        with connected(self.engine) as connection:
            query = select(tables.audit).where(a.job_id == job_id).order_by(a.at, a.id)
            return [dict(row._mapping) for row in connection.execute(query).all()]

    def view(self, row: Row[Any]) -> JobView:
        """A row of `jobs`, or of `jobs` and `results` (its columns named r_...), as its owner sees it."""
        m = row._mapping
        started, finished = m["started_at"], m["finished_at"]
        ready = m["released_at"] or m["arrived_at"]
        result, unreadable = self._result(m)
        return JobView(
            id=m["id"],
            state=State(m["state"]),
            agent=m["agent"],
            queue=m["queue"],
            tenant=m["tenant"],
            priority=Priority(m["priority"]),
            attempt=m["attempt"],
            failures=m["failures"],
            crashes=m["crashes"],
            suspect=m["suspect"] or m["crashes"] > 0,
            arrived_at=m["arrived_at"],
            deadline_at=m["deadline_at"],
            started_at=started,
            finished_at=finished,
            not_before=m["not_before"],
            worker=m["worker"],
            wait_s=None if started is None else (started - ready).total_seconds() / self.scale,
            run_s=None if started is None or finished is None else (finished - started).total_seconds() / self.scale,
            error_kind=m["error_kind"] if unreadable is None else unreadable.kind,
            error=m["error"] if unreadable is None else str(unreadable),
            metadata=m["metadata"],
            replay_of=m["replay_of"],
            result=result,
            flow=m["flow"],
            step=m["step"],
            released_at=m["released_at"],
        )

    def _result(self, m: RowMapping) -> tuple[JobResult | None, CannotDecrypt | None]:
        """None twice: the row has no result. An error, where others are listed with it, must not cost them theirs."""
        if m.get("r_attempt") is None:
            return None, None
        what = f"The result of job {m['id']}"
        try:
            text, thinking = (self.cipher.decrypt(m[name], what) for name in ("r_text", "r_thinking"))
        except CannotDecrypt as e:
            return None, e
        return JobResult(text, thinking, m["r_model"], m["r_simulated"], m["r_usage"], m["r_timings"]), None


def body_hash(job: NewJob) -> str:
    """SHA-256 (hex) over what the caller asked for; times of arrival and reply addresses are not part of it."""
    body = [
        job.agent,
        job.prompt,
        job.queue,
        int(job.priority),
        job.deadline_s,
        job.queue_timeout_s,
        job.run_timeout_s,
        dict(job.options),
        dict(job.metadata),
    ]
    if job.spec is not None:
        body.append(dict(job.spec))
    if job.send_to is not None:
        body.append({"send_to": job.send_to})
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _accepted(job: NewJob, row: Row[Any]) -> Accepted:
    if row.state != State.QUEUED:
        return Accepted(job.id, None)
    return Accepted(
        job.id,
        Routing(job.id, job.agent, job.queue, job.tenant, job.priority, row.arrived_at, row.deadline_at),
    )


def _same(job: NewJob, digests: Sequence[str], known: Mapping[tuple[str, str], tuple[UUID, str]]) -> UUID:
    found, was = known[job.tenant, job.idempotency_key or str(job.id)]
    if was in digests:
        return found
    raise IdempotencyConflict(
        f"The idempotency key {job.idempotency_key or job.id!r} of tenant {job.tenant!r} belongs to job {found}, "
        "which asked for something else.",
        remedy="Use another key for another request.",
    )


@contextmanager
def _storable() -> Iterator[None]:
    """What Postgres cannot store is the caller's mistake, not a fault of ours: NUL in metadata, say."""
    try:
        yield
    except DataError as e:
        cause = str(e.orig).splitlines()[0][:200]
        raise InvalidJob(f"Postgres cannot store the job: {cause}.", remedy="Is it text, without NUL?") from None


def _json(detail: Mapping[str, Any]) -> str:
    """As JSON that Postgres stores: a refused message's NUL or lone surrogate must not cost its entry in the audit."""

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
        return value

    return json.dumps({name: clean(value) for name, value in detail.items()})


def _tokens(usage: Mapping[str, Any]) -> dict[str, Any]:
    return {k: usage[k] for k in ("prompt_tokens", "output_tokens") if k in usage}
