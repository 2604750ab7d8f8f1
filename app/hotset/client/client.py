"""The client: submit, wait, follow, cancel. Thread-safe; one per process is enough for thousands of waiters."""

from __future__ import annotations

import getpass
import logging
import os
import socket
import threading
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID, uuid4

import redis

from hotset.agents import load_registry
from hotset.agents.intake import Intake
from hotset.broker import Lanes
from hotset.broker.rates import Rates
from hotset.broker.replies import tell_ended
from hotset.client import flows, following, forks
from hotset.client.admission import Admission
from hotset.client.bulk import Operating
from hotset.client.eta import Eta, eta
from hotset.client.flows import FlowRun
from hotset.client.job import Job
from hotset.client.listener import Listener
from hotset.client.marks import Marks
from hotset.client.memory import Remembering
from hotset.client.messaging import Messaging
from hotset.client.steps import Each
from hotset.client.streaming import StreamEvent
from hotset.client.submitting import Submitting
from hotset.errors import (
    UnknownJob,
)
from hotset.fleet import Fleet
from hotset.fleet_file import classic_fleet, read_fleet
from hotset.jobs import JobView, State
from hotset.jobs.filters import parse_id
from hotset.jobs.limits import Limits
from hotset.limits_file import read_limits
from hotset.messaging import MessageStore
from hotset.settings import Settings, load_settings
from hotset.store import Cipher, Ended, JobStore, let_go, make_engine
from hotset.store.waiting import glance

if TYPE_CHECKING:
    from hotset.memory.room import MemoryRoom

log = logging.getLogger(__name__)


class Client(Submitting, Operating, Messaging, Remembering):
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
        self._cipher = Cipher.of(self.settings.encryption_keys)
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
        # One more for each two that messages keep.
        engine = make_engine(url, application="hotset-client", pool_size=6, answer_s=limit_s)
        # Marks that a crash may lose: the relay would publish again, which is harmless.
        relaxed = make_engine(url, application="hotset-client-marks", pool_size=2, durable=False, answer_s=limit_s)
        self._engines = (engine, relaxed)
        self._store = JobStore(engine, scale=settings.scale, relaxed=relaxed, cipher=self._cipher)
        self._connect_messages(
            MessageStore(engine, tenant=self.tenant, actor=self._actor, relaxed=relaxed, cipher=self._cipher)
        )
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
            let_go(engine)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
