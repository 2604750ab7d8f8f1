"""The client: submit, wait, follow, cancel. Thread-safe; one per process is enough for thousands of waiters."""

from __future__ import annotations

import getpass
import logging
import os
import queue
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid4

from hotset.agents import load_registry
from hotset.agents.intake import Intake
from hotset.broker import Lanes
from hotset.client.job import Job
from hotset.client.listener import Listener, Waiter
from hotset.client.streaming import StreamEvent
from hotset.errors import (
    BrokerUnavailable,
    HotsetError,
    IdempotencyConflict,
    InvalidBatch,
    InvalidJob,
    JobFailed,
    ResultTimeout,
    UnknownJob,
    UsageError,
)
from hotset.fleet import Fleet
from hotset.fleet_file import classic_fleet, read_fleet
from hotset.jobs import JobResult, JobView, NewJob, Priority, State
from hotset.settings import Settings, load_settings
from hotset.store import JobStore, make_engine

log = logging.getLogger(__name__)


class Client:
    """Submits jobs as one tenant and waits for them.

    A job is accepted when `submit` returns: its row is committed. It is given to the broker right after; if the broker
    is away then, the relay of any worker does it later. Settings come from `HOTSET_*` and hotset.toml unless given.
    Raises StoreUnavailable, InvalidSettings, InvalidFleet, InvalidCatalogue.
    """

    def __init__(self, *, tenant: str | None = None, settings: Settings | None = None) -> None:
        self.settings = settings or load_settings(tenant=tenant)
        self.tenant = tenant or self.settings.tenant
        fleet_path = self.settings.fleet
        self.fleet: Fleet = read_fleet(fleet_path) if fleet_path else classic_fleet()
        self.registry = load_registry(self.fleet, self.settings.agents)
        self._intake = Intake(
            self.registry, self.fleet, tenant=self.tenant, max_prompt_chars=self.settings.max_prompt_chars
        )
        self._connect()

    def _connect(self) -> None:
        settings = self.settings
        self._pid = os.getpid()
        self.name = uuid4().hex
        self._actor = f"{_user()}@{socket.gethostname()}:{self._pid}"
        url = settings.database_url.get_secret_value()
        engine = make_engine(url, application="hotset-client")
        # Marks that a crash may lose: the relay would publish again, which is harmless.
        relaxed = make_engine(url, application="hotset-client-marks", pool_size=2, durable=False)
        self._engines = (engine, relaxed)
        self._store = JobStore(engine, scale=settings.scale, relaxed=relaxed)
        self._lanes = Lanes(settings.broker_url.get_secret_value())
        self._listener = Listener(settings.cache_url.get_secret_value(), self.name, self._store.get)
        self._marks = _Marks(self._store)

    def _here(self) -> Client:
        """Connections do not survive a fork: a child process makes its own."""
        if os.getpid() != self._pid:
            self._connect()
        return self

    # ---- submitting ------------------------------------------------------------------------------------------

    def submit(
        self,
        agent: str,
        prompt: str,
        *,
        priority: str | int | Priority = Priority.NORMAL,
        deadline: str | float | None = None,
        queue_timeout: str | float | None = None,
        run_timeout: str | float | None = None,
        not_before: str | float | datetime | None = None,
        max_retries: int | None = None,
        options: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        stream: bool = False,
    ) -> Job:
        """Submit one job; returns when it is accepted (its row is committed).

        Durations are model seconds or texts such as `"15m"`, counted from now. `deadline`: when the run should start;
        it orders work and drops nothing (default: the queue's). `queue_timeout` expires a job that has not started,
        `run_timeout` stops a run. `options`: temperature, top_p, max_tokens, repeat_penalty, seed, stop. The same
        `idempotency_key` gives the same job. `stream`: its tokens are sent to this process.

        Raises UnknownAgent, InvalidJob, IdempotencyConflict (same key, another body), StoreUnavailable.
        """
        self._here()
        if stream:
            self._listener.start()
        job = self._intake.new_job(
            agent,
            prompt,
            priority=priority,
            deadline=deadline,
            queue_timeout=queue_timeout,
            run_timeout=run_timeout,
            not_before=not_before,
            max_retries=max_retries,
            options=options,
            metadata=metadata,
            idempotency_key=idempotency_key,
            scale=self.settings.scale,
            reply_to=self.name,
            stream=stream,
        )
        if not stream:
            return self._accept([job])[0]
        waiter = self._listener.add(job.id)
        accepted = self._accept([job])[0]
        # An idempotency key may have led to a job that was accepted before: its earlier events are gone.
        return Job(self, UUID(accepted.id), waiter if accepted.id == str(job.id) else None)

    def submit_many(self, jobs: Iterable[tuple[str, str] | Mapping[str, Any]]) -> list[Job]:
        """Submit many: (agent, prompt) pairs, or mappings with the names of `submit`'s arguments.

        One transaction per chunk of `submit_chunk` rows (10,000). A bad row raises InvalidBatch, which names it: its
        chunk submits nothing, and `.accepted` holds the ids of the chunks before.
        """
        self._here()
        accepted: list[Job] = []
        rows = iter(jobs)
        first = 0
        while chunk := list(islice(rows, self.settings.submit_chunk)):
            checked = [self._check(row, first + i, accepted) for i, row in enumerate(chunk)]
            try:
                accepted += self._accept(checked)
            except IdempotencyConflict as e:
                raise InvalidBatch(first, str(e), [j.id for j in accepted]) from e
            except HotsetError as e:
                if accepted:
                    e.remedy = f"{e.remedy} {len(accepted)} jobs of earlier chunks were accepted."
                raise
            first += len(chunk)
        return accepted

    def _check(self, row: tuple[str, str] | Mapping[str, Any], number: int, accepted: list[Job]) -> NewJob:
        try:
            asked = dict(row) if isinstance(row, Mapping) else dict(zip(("agent", "prompt"), row, strict=True))
            return self._intake.new_job(**asked, scale=self.settings.scale, reply_to=self.name)
        except (UsageError, TypeError, ValueError) as e:
            raise InvalidBatch(number, str(e), [j.id for j in accepted]) from e

    def _accept(self, jobs: list[NewJob]) -> list[Job]:
        done = self._store.accept(jobs, actor=self._actor)
        waiting = [a.routing for a in done if a.routing is not None]
        try:
            self._lanes.publish(waiting)
            self._marks.add([r.id for r in waiting])
        except BrokerUnavailable as e:
            # Accepted all the same: the relay publishes what is not marked.
            log.warning("The jobs are accepted, and will be published when the broker is back: %s", e)
        return [Job(self, a.id) for a in done]

    # ---- asking ----------------------------------------------------------------------------------------------

    def job(self, job_id: str | UUID) -> Job:
        """A handle on a job by its id. Raises UnknownJob when the tenant has no such job."""
        return Job(self, self.get(_uuid(job_id)).id)

    def get(self, job_id: UUID) -> JobView:
        """The job now. Raises UnknownJob."""
        found = self._here()._store.get([job_id], tenant=self.tenant)
        if job_id not in found:
            raise UnknownJob(job_id)
        return found[job_id]

    def jobs(self, *, state: str | None = None, agent: str | None = None, limit: int = 50) -> list[JobView]:
        """The tenant's newest jobs that match."""
        if state is not None and state not in set(State):
            raise InvalidJob(f"There is no state {state!r}.", remedy=f"There are {', '.join(State)}.")
        return self._here()._store.find(tenant=self.tenant, state=state, agent=agent, limit=limit)

    def audit(self, job_id: str | UUID) -> list[dict[str, Any]]:
        """What happened to a job of this tenant, in order."""
        return self._here()._store.audit(self.get(_uuid(job_id)).id)

    def wait(self, job_id: UUID, timeout: float | None = None) -> JobResult:
        """Wait for a job's end, at most `timeout` wall seconds. See `Job.result`."""
        self._here()._listener.start()
        waiter = self._listener.add(job_id)
        try:
            view = self.get(job_id)
            if not view.state.terminal:
                if not waiter.ended.wait(timeout):
                    raise ResultTimeout(
                        f"Job {job_id} has not ended within {timeout} s; it goes on, {self.get(job_id).state}.",
                        remedy="Wait again, or cancel it.",
                    )
                view = self.get(job_id)
        finally:
            self._listener.remove(waiter)
        return _result_of(view)

    def follow(self, job_id: UUID, timeout: float | None = None, waiter: Waiter | None = None) -> Iterator[StreamEvent]:
        """A job's events until it ends, from now on, or since `waiter` was made. See `Job.stream`."""
        self._here()._listener.start()
        until = None if timeout is None else time.monotonic() + timeout
        ended = False
        if waiter is None:
            waiter = self._listener.add(job_id)
            ended = self.get(job_id).state.terminal
        try:
            while True:
                left = 1.0 if until is None else min(1.0, max(0.0, until - time.monotonic()))
                try:
                    event = waiter.events.get(block=not ended, timeout=left)
                except queue.Empty:
                    if ended or waiter.ended.is_set():
                        break
                    if until is not None and time.monotonic() >= until:
                        raise ResultTimeout(f"Job {job_id} has not ended within {timeout} s; it goes on.") from None
                    continue
                if event is None or event["event"] == "ended":
                    break
                yield StreamEvent(
                    event["event"],
                    event.get("text", ""),
                    event.get("thinking", ""),
                    event.get("attempt", 0),
                    event.get("restarted", False),
                )
            view = self.get(job_id)
            yield StreamEvent("ended", attempt=view.attempt, state=view.state)
        finally:
            self._listener.remove(waiter)

    def cancel(self, job_id: UUID, *, reason: str = "cancelled by its owner") -> bool:
        """Cancel a job. See `Job.cancel`."""
        ended = self._here()._store.cancel(job_id, actor=self._actor, reason=reason, tenant=self.tenant)
        if ended is None:
            self.get(job_id)  # UnknownJob, or it has ended
            return False
        try:
            if ended.state is State.RUNNING:
                self._lanes.ask_cancel(job_id)
            else:
                self._lanes.remove(ended.queue or "", job_id)
        except BrokerUnavailable as e:
            log.warning("The cancellation is recorded; the broker hears of it later: %s", e)
        return True

    def counts(self, since: datetime | None = None) -> dict[str, dict[str, int]]:
        """Jobs by queue and state."""
        return self._here()._store.counts(since=since)

    # ---- closing ---------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of all connections. Jobs go on."""
        self._marks.close()
        self._listener.close()
        self._lanes.close()
        for engine in self._engines:
            engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Marks:
    """Tells Postgres what was published, in batches on a thread of its own: nobody waits for it.

    A mark that is lost costs one more publication by the relay, which is harmless.
    """

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._ids: list[UUID] = []
        self._lock = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def add(self, ids: list[UUID]) -> None:
        if not ids:
            return
        with self._lock:
            self._ids += ids
            if self._thread is None:
                self._thread = threading.Thread(target=self._main, name="hotset-marks", daemon=True)
                self._thread.start()
            self._lock.notify()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._lock.notify()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _main(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._ids or self._closed)
                # Let a few more come: one statement for many marks.
                if not self._closed:
                    self._lock.wait_for(lambda: self._closed, timeout=0.05)
                ids, self._ids = self._ids, []
                closed = self._closed
            try:
                if ids:
                    self._store.mark_published(ids)
            except HotsetError as e:
                log.debug("Marks of %d published jobs were lost: %s", len(ids), e)
            if closed:
                return


def _uuid(job_id: str | UUID) -> UUID:
    if isinstance(job_id, UUID):
        return job_id
    try:
        return UUID(job_id)
    except ValueError:
        raise UnknownJob(job_id) from None


def _result_of(view: JobView) -> JobResult:
    if view.state is State.SUCCEEDED and view.result is not None:
        return view.result
    why = f": {view.error}" if view.error else "."
    raise JobFailed(
        f"Job {view.id} ended as {view.state}{why}",
        job_id=str(view.id),
        state=view.state,
        error_kind=view.error_kind,
        remedy=f"`hotset jobs show {view.id}` tells what happened.",
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
