"""The client: submit, wait, follow, cancel. Thread-safe; one per process is enough for thousands of waiters."""

from __future__ import annotations

import getpass
import logging
import os
import socket
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import chain, islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack, overload
from uuid import UUID, uuid4

import redis

from hotset.agents import load_registry
from hotset.agents.intake import Intake
from hotset.agents.own import OwnAgent
from hotset.broker import Lanes
from hotset.broker.rates import Rates
from hotset.broker.replies import connect_cache, tell_ended
from hotset.client import flows, following, forks
from hotset.client.admission import Admission, admitted
from hotset.client.bulk import Operating
from hotset.client.eta import Eta, eta
from hotset.client.flows import FlowRun
from hotset.client.job import Job, Jobs
from hotset.client.listener import Listener
from hotset.client.marks import Marks
from hotset.client.memory import Remembering
from hotset.client.messaging import Messaging
from hotset.client.steps import Box, Each, Plan, run
from hotset.client.streaming import StreamEvent
from hotset.errors import (
    BrokerUnavailable,
    HotsetError,
    IdempotencyConflict,
    InvalidBatch,
    InvalidJob,
    RateLimited,
    UnknownJob,
    UsageError,
)
from hotset.fleet import Fleet
from hotset.fleet_file import classic_fleet, read_fleet
from hotset.jobs import JobView, NewJob, Priority, Routing, State
from hotset.jobs.filters import parse_id
from hotset.jobs.flows import Flow
from hotset.jobs.limits import Limits
from hotset.limits_file import read_limits
from hotset.memory.session import As
from hotset.messaging import MessageStore
from hotset.settings import Settings, load_settings
from hotset.store import Accepted, Ended, JobStore, make_engine
from hotset.store.waiting import Glance, glance

if TYPE_CHECKING:
    from hotset.memory.room import MemoryRoom

log = logging.getLogger(__name__)


class Asked(TypedDict, total=False):
    """What may be asked of a job beside its agent and its prompt: see `Client.submit`."""

    priority: str | int | Priority
    deadline: str | float | None
    queue_timeout: str | float | None
    run_timeout: str | float | None
    not_before: str | float | datetime | None
    max_retries: int | None
    options: Mapping[str, Any] | None
    metadata: Mapping[str, Any] | None
    idempotency_key: str | None
    send_to: str | None
    recall: int
    recall_from: Sequence[str]


class Client(Operating, Messaging, Remembering):
    """Submits jobs as one tenant and waits for them.

    A job is accepted when `submit` returns: its row is committed. It is given to the broker right after; if the broker
    is away then, the relay of any worker does it later. Settings come from `HOTSET_*` and hotset.toml unless given.
    After a fork it works in the child too, over connections of its own.
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
        self._limits = (
            read_limits(self.settings.limits, agents=[agent.name for agent in self.registry], queues=self.fleet.queues)
            if self.settings.limits
            else Limits()
        )
        self._inherited: list[object] = []
        self._connecting = threading.Lock()
        self._connect()
        forks.note(self)

    def _connect(self) -> None:
        """Nothing connects here yet, and no thread starts: that comes with the first call that needs it."""
        settings = self.settings
        self.name = uuid4().hex
        self._actor = f"{_user()}@{socket.gethostname()}:{os.getpid()}"
        url = settings.database_url.get_secret_value()
        limit_s = settings.database_timeout_s
        engine = make_engine(url, application="hotset-client", answer_s=limit_s)
        # Marks that a crash may lose: the relay would publish again, which is harmless.
        relaxed = make_engine(url, application="hotset-client-marks", pool_size=2, durable=False, answer_s=limit_s)
        self._engines = (engine, relaxed)
        self._store = JobStore(engine, scale=settings.scale, relaxed=relaxed)
        self._messages = MessageStore(engine, tenant=self.tenant, actor=self._actor, relaxed=relaxed)
        self._to_wake = {}
        self._lanes = Lanes(settings.broker_url.get_secret_value())
        self._listener = Listener(
            settings.cache_url.get_secret_value(),
            self.name,
            self._store,
            self.tenant,
            partial(following.loads_now, self._lanes),
            self._messages.waiting,
        )
        self._marks = Marks(self._store)
        self._room: MemoryRoom | None = None
        rates = Rates(settings.cache_url.get_secret_value(), scale=settings.scale) if self._limits else None
        self._admission = Admission(self._limits, self.registry, self.fleet, rates, required=settings.limits_required)
        self._parents = False

    def forked(self) -> None:
        """In the child of a fork: the parent's connections are kept, untouched, and never used again."""
        held = (self._engines, self._store, self._messages, self._lanes, self._listener, self._marks, self._admission)
        self._inherited.append((*held, self._room))
        self._connecting = threading.Lock()
        self._parents = True

    def _here(self) -> Self:
        """Every call begins with it: the connections are this process's own afterwards."""
        if self._parents:
            with self._connecting:
                if self._parents:
                    self._connect()
        return self

    # ---- submitting ------------------------------------------------------------------------------------------

    @overload
    def submit(
        self, agent: Flow, *, stream: bool = False, wait: bool | float = False, **asked: Unpack[Asked]
    ) -> FlowRun: ...

    @overload
    def submit(
        self,
        agent: str | OwnAgent[Any],
        prompt: Any = None,
        *,
        stream: bool = False,
        wait: bool | float = False,
        **asked: Unpack[Asked],
    ) -> Job: ...

    def submit(
        self,
        agent: str | OwnAgent[Any] | Flow,
        prompt: Any = None,
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
        send_to: str | None = None,
        stream: bool = False,
        recall: int = 0,
        recall_from: Sequence[str] = (),
        wait: bool | float = False,
    ) -> Job | FlowRun:
        """Submit one job, or a flow; returns when it is accepted (its rows are committed).

        `agent` is a name, or an agent of your own (see `hotset.agent`); then `prompt` is its function's argument. Of a
        flow (see `hotset.chain`), all of it is accepted or none; what is given here holds for the steps that do not
        say it themselves, and the `idempotency_key` is that of the flow.

        Durations are model seconds or texts such as `"15m"`, counted from now. `deadline`: when the run should start;
        it orders work and drops nothing (default: the queue's). `queue_timeout` expires a job that has not started,
        `run_timeout` stops a run. `options`: temperature, top_p, max_tokens, repeat_penalty, seed, stop. The same
        `idempotency_key` gives the same job. `stream`: its tokens are sent as they come, for `job.stream()`.
        `recall`: put so many relevant memories before the prompt, see `recall`; from the scopes `recall_from`.
        `send_to`: the agent whose inbox gets the answer, or how else it ended, by the commit that ends the job (of a
        flow: give it to its steps).

        `wait`: what is over a limit waits here until it is admitted, for ever or so many wall seconds, instead of
        being refused.

        Raises UnknownAgent, InvalidJob, IdempotencyConflict (same key, another body), RateLimited, StoreUnavailable.
        """
        if recall:
            prompt = self._recalled(agent, prompt, recall, recall_from, idempotency_key)
        asked: dict[str, Any] = {
            "priority": priority,
            "deadline": deadline,
            "queue_timeout": queue_timeout,
            "run_timeout": run_timeout,
            "not_before": not_before,
            "max_retries": max_retries,
            "options": options,
            "metadata": metadata,
            "stream": stream,
        }
        once = partial(self._submit, agent, prompt, asked, idempotency_key, send_to)
        return once() if wait is False else run(admitted(once, wait))

    def _submit(
        self, agent: Any, prompt: Any, asked: Mapping[str, Any], idempotency_key: str | None, send_to: str | None
    ) -> Job | FlowRun:
        if isinstance(agent, Flow):
            if send_to is not None:
                raise InvalidJob(
                    "A flow has several answers.", remedy="Give send_to to the steps whose answers are to be sent."
                )
            return flows.submit(self._here(), agent, prompt, idempotency_key=idempotency_key, defaults=asked)
        job = self._here()._intake.new_job(
            agent,
            prompt,
            **asked,
            idempotency_key=idempotency_key,
            send_to=send_to,
            scale=self.settings.scale,
            reply_to=self.name,
        )
        return Job(self, self._accept([job])[0].id)

    def stream(
        self, agent: str | OwnAgent[Any], prompt: Any, *, timeout: float | None = None, **asked: Unpack[Asked]
    ) -> Each[StreamEvent]:
        """Submit one job and follow it: `for event in client.stream(...)`. The job is accepted with the first event.

        `asked`: as for `submit`. See `StreamEvent` for what comes. Raises what `submit` raises, and ResultTimeout
        after `timeout` wall seconds; the job goes on.
        """
        return Each(following.submit_and_follow(self, partial(self._submit_heard, agent, prompt, asked), timeout))

    def submit_many(self, jobs: Iterable[tuple[str, str] | Mapping[str, Any]], *, wait: bool | float = False) -> Jobs:
        """Submit many: (agent, prompt) pairs, or mappings with the names of `submit`'s arguments.

        One transaction per chunk of `submit_chunk` rows (10,000). A bad row raises InvalidBatch, which names it: its
        chunk submits nothing, and `.accepted` holds the ids of the chunks before. With limits a chunk is no larger
        than can be admitted at once, and is admitted as a whole; `wait` (for ever, or so many wall seconds a chunk)
        waits for that instead of raising RateLimited.
        """
        return run(self._many(jobs, wait))

    def _many(self, jobs: Iterable[tuple[str, str] | Mapping[str, Any]], wait: bool | float) -> Plan[Any, Jobs]:
        self._here()
        accepted = Jobs(self)
        rows = iter(jobs)
        first = 0
        size = self._admission.together(self.settings.submit_chunk)
        while chunk := list(islice(rows, size)):
            checked = [self._check(row, first + i, accepted) for i, row in enumerate(chunk)]
            try:
                done = yield from admitted(partial(self._accept, checked), wait)
            except IdempotencyConflict as e:
                raise InvalidBatch(first, str(e), [j.id for j in accepted]) from e
            except RateLimited as e:
                if e.retry_after_s is None and len(chunk) > 1:
                    # Its tokens alone are too many for a minute: in smaller chunks they may not be.
                    size = len(chunk) // 2
                    rows = chain(chunk, rows)
                    continue
                raise _told(e, accepted) from None
            except HotsetError as e:
                raise _told(e, accepted) from None
            accepted += [Job(self, each.id) for each in done]
            first += len(chunk)
        return accepted

    def _submit_heard(self, agent: str | OwnAgent[Any], prompt: Any, asked: Asked, box: Box) -> Glance | UUID:
        """Submit a job of which the box is told from the beginning; its id alone if it was accepted before."""
        self._here()
        given: dict[str, Any] = {**asked}
        recall, scopes = given.pop("recall", 0), given.pop("recall_from", ())
        if recall:
            prompt = self._recalled(agent, prompt, recall, scopes, given.get("idempotency_key"))
        job = self._intake.new_job(agent, prompt, **given, scale=self.settings.scale, reply_to=self.name, stream=True)
        self._listener.watch([job.id], box, look=False)
        accepted = self._accept([job])[0]
        routing = accepted.routing
        if accepted.id != job.id or routing is None:
            return accepted.id
        return Glance(
            id=job.id,
            state=State.QUEUED,
            attempt=0,
            queue=job.queue,
            priority=job.priority,
            suspect=False,
            arrived_at=routing.arrived_at,
            started_at=None,
            reply_to=self.name,
            stream=True,
        )

    # ---- memory ----------------------------------------------------------------------------------------------

    def _memory_room(self) -> MemoryRoom:
        """Made at first use: the vectors' library is not loaded before it is needed."""
        self._here()
        with self._connecting:
            if self._room is None:
                from hotset.memory.room import MemoryRoom

                cache = connect_cache(self.settings.cache_url.get_secret_value(), text=False)
                self._room = MemoryRoom(self._store.engine, cache)
            return self._room

    def _as(self, agent: str = "") -> As:
        return As(self.tenant, agent, self._here()._actor)

    def _check(self, row: tuple[str, str] | Mapping[str, Any], number: int, accepted: Iterable[Job]) -> NewJob:
        try:
            asked = dict(row) if isinstance(row, Mapping) else dict(zip(("agent", "prompt"), row, strict=True))
            return self._intake.new_job(**asked, scale=self.settings.scale, reply_to=self.name)
        except (UsageError, TypeError, ValueError) as e:
            raise InvalidBatch(number, str(e), [j.id for j in accepted]) from e

    def _accept(self, jobs: list[NewJob]) -> list[Accepted]:
        with self._admission.of(jobs) as room:
            done = self._store.accept(jobs, actor=self._actor, room=room)
        self._publish([a.routing for a in done if a.routing is not None])
        return done

    def _publish(self, waiting: list[Routing]) -> None:
        try:
            self._lanes.publish(waiting)
            self._marks.add([r.id for r in waiting])
        except BrokerUnavailable as e:
            # Accepted all the same: the relay publishes what is not marked.
            log.warning("The jobs are accepted, and will be published when the broker is back: %s", e)

    def retry(self, job_id: str | UUID, reason: str | None = None) -> Job:
        """Submit a job that has ended again: a new job with the same body, which names it in `replay_of`. Audited.

        Its deadline and queue timeout count from now. One of a flow stays in it: it gets the answers of the steps
        before, and what failed for its sake runs again too. Raises UnknownJob, or IllegalTransition when the job has
        not ended, or when it cannot run since a step before it has not succeeded.
        """
        return flows.again(self, job=self.id_of(job_id), reason=reason)[0]

    # ---- asking ----------------------------------------------------------------------------------------------

    def job(self, job_id: str | UUID) -> Job:
        """A handle on a job by its id. Raises UnknownJob when the tenant has no such job."""
        return Job(self, self.get(self.id_of(job_id)).id)

    def stream_job(
        self, job_id: str | UUID, *, after: str | None = None, timeout: float | None = None
    ) -> Each[StreamEvent]:
        """Follow any job of the tenant, from its first event or from behind the one whose id is `after`.

        See `Job.stream`.
        """
        return Job(self, self.id_of(job_id)).stream(after=after, timeout=timeout)

    def flow(self, flow_id: str | UUID) -> FlowRun:
        """A flow by its id. Raises UnknownJob when the tenant has no such flow."""
        run = FlowRun(self, self.id_of(flow_id))
        _ = run.view
        return run

    id_of = staticmethod(parse_id)

    def get(self, job_id: UUID) -> JobView:
        """The job now. Raises UnknownJob."""
        found = self._here()._store.get([job_id], tenant=self.tenant)
        if job_id not in found:
            raise UnknownJob(job_id)
        return found[job_id]

    def position(self, job_id: UUID) -> int | None:
        """How many jobs are picked before it. See `Job.position`."""
        found = glance(self._here()._store.engine, [job_id], tenant=self.tenant)
        if job_id not in found:
            raise UnknownJob(job_id)
        known = found[job_id]
        if known.state is not State.QUEUED:
            return None
        return self._lanes.position(known.queue, known.priority, job_id, suspect=known.suspect)

    def eta(self, job_id: UUID) -> Eta | None:
        """When a waiting job will start. See `Job.eta`."""
        view = self.get(job_id)
        return eta(view, self._lanes, self.engine, self.fleet, self.settings)

    def audit(self, job_id: str | UUID) -> list[dict[str, Any]]:
        """What happened to a job of this tenant, in order."""
        return self._here()._store.audit(self.get(self.id_of(job_id)).id)

    def counts(self, since: datetime | None = None) -> dict[str, dict[str, int]]:
        """Jobs by queue and state."""
        return self._here()._store.counts(since=since)

    # ---- cancelling ------------------------------------------------------------------------------------------

    def cancel(self, job_id: UUID, *, reason: str = "cancelled by its owner") -> bool:
        """Cancel a job. See `Job.cancel`."""
        ended = self._here()._store.cancel(job_id, actor=self._actor, reason=reason, tenant=self.tenant)
        if ended is None:
            self.get(job_id)  # UnknownJob, or it has ended
            return False
        self._tell([ended])
        return True

    def _tell(self, chunk: list[Ended]) -> None:
        """The broker and workers hear of cancellations, and so do those who wait for the jobs."""
        super()._tell(chunk)
        ended = [(job.reply_to, job.id, job.state) for job in chunk if job.state.terminal]
        for _, job_id, _ in ended:
            self._listener.ended(job_id)
        try:
            tell_ended(self._listener.redis, ended)
        except redis.RedisError as e:
            log.debug("Other processes hear of the end of %d jobs later: %s", len(ended), e)

    # ---- closing ---------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of all connections. Jobs go on."""
        if self._parents:
            return
        self._marks.close()
        self._admission.close()
        self._listener.close()
        self._lanes.close()
        if self._room is not None and self._room.hot.cache is not None:
            self._room.hot.cache.close()
        for engine in self._engines:
            engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _told(error: HotsetError, accepted: Jobs) -> HotsetError:
    """The error of a chunk, which says what was accepted before it."""
    if accepted:
        error.remedy = f"{error.remedy} {len(accepted)} jobs of earlier chunks were accepted."
    return error


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
