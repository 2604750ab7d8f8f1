"""What operators do with a client: lists by filter, cancel and retry of all that match, pauses, the audit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from hotset.errors import BrokerUnavailable, IllegalTransition, InvalidJob, UsageError, did_you_mean
from hotset.jobs import TERMINAL, JobView, State
from hotset.jobs.filters import AuditFilter, JobFilter, parse_states
from hotset.store import pauses, selecting
from hotset.store.pauses import Kind, Pause

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from hotset.broker import Lanes
    from hotset.client.job import Job
    from hotset.fleet import Fleet
    from hotset.store import Ended, JobStore

log = logging.getLogger(__name__)

#: What a retry of all means unless it is said: all that ended, but not as wished.
RETRIED = TERMINAL - {State.SUCCEEDED}
_PAGE = 1000


class Operating:
    """The part of a client that operators use. A filter without a tenant means the client's own."""

    tenant: str
    fleet: Fleet
    _store: JobStore
    _lanes: Lanes
    _actor: str

    if TYPE_CHECKING:

        def _here(self) -> Any: ...
        def retry(self, job_id: UUID) -> Job: ...

    @property
    def engine(self) -> Engine:
        """The connections to Postgres, for queries that only read."""
        engine: Engine = self._here()._store.engine
        return engine

    def jobs(
        self, wanted: JobFilter | None = None, *, state: str | None = None, agent: str | None = None, limit: int = 50
    ) -> list[JobView]:
        """The newest jobs that match, without results; the next page comes with `after`.

        Either a filter or the words: `state` may be one, several with commas, or open, waiting, ended.
        Raises InvalidJob for an unknown state, UnknownJob for an `after` that is no job.
        """
        if wanted is None:
            wanted = JobFilter(states=parse_states(state) if state else frozenset(), agent=agent, limit=limit)
        return selecting.find(self._here()._store, self._mine(wanted))

    def ended(self, ids: Collection[UUID]) -> list[JobView]:
        """Those of these jobs of the tenant that have ended, with results, in the order of their ends; at most 1000.

        One query for many jobs: for programs that hold thousands. To wait for a job use its handle.
        """
        store = self._here()._store
        found = store.get(selecting.ended_of(store.engine, ids, limit=_PAGE), tenant=self.tenant)
        return sorted(found.values(), key=lambda view: (view.finished_at, view.id))

    def count(self, wanted: JobFilter) -> int:
        """How many jobs match, whatever the filter's limit."""
        return selecting.count(self.engine, self._mine(wanted))

    def count_open(self, wanted: JobFilter) -> int:
        """How many jobs `cancel_all` would cancel now."""
        return selecting.count_cancellable(self.engine, self._mine(wanted))

    def cancel_all(
        self,
        wanted: JobFilter,
        *,
        reason: str = "cancelled with others",
        progress: Callable[[int], None] = lambda _: None,
    ) -> tuple[int, int]:
        """Cancel every open job that matches, whatever the filter's limit; (ended now, asked of their workers).

        A running job ends when its worker has heard of it. `progress` gets the count so far after each chunk, which is
        committed then. Raises StoreUnavailable.
        """
        store = self._here()._store
        ended = asked = 0
        for chunk in selecting.cancel(store.engine, self._mine(wanted), actor=self._actor, reason=reason):
            running = sum(job.state is State.RUNNING for job in chunk)
            ended, asked = ended + len(chunk) - running, asked + running
            self._tell(chunk)
            progress(ended + asked)
        return ended, asked

    def retry_named(self, job_ids: Collection[UUID]) -> list[Job]:
        """A new job for each of these, as `retry` does; a step of a flow that another of them brought along is one."""
        fresh = set(selecting.not_retried(self.engine, list(job_ids)))
        again = []
        for job_id in job_ids:
            if job_id not in fresh or selecting.not_retried(self.engine, [job_id]):
                again.append(self.retry(job_id))
        return again

    def count_retryable(self, wanted: JobFilter) -> int:
        """How many jobs `retry_all` would run again now."""
        return len(self._retryable(wanted))

    def retry_all(self, wanted: JobFilter, *, progress: Callable[[int], None] = lambda _: None) -> list[Job]:
        """A new job for every job that matches and ended, but did not succeed; those retried before are left out.

        The filter's states may name others. The new jobs name the old ones in `replay_of`. A step of a flow brings
        along what failed for its sake; one whose own dependencies have not succeeded waits for them, and is left out.
        """
        again = []
        for old in self._retryable(wanted):
            if old.flow is not None and not selecting.not_retried(self.engine, [old.id]):
                continue  # a step before it brought it along
            try:
                again.append(self.retry(old.id))
            except IllegalTransition:
                if old.flow is None:
                    raise
            progress(len(again))
        return again

    def audit_log(self, wanted: AuditFilter) -> list[dict[str, Any]]:
        """Rows of the audit that match, oldest first: the newest `limit`."""
        return selecting.audit_rows(self.engine, self._audited(wanted))

    def audit_tail(self, wanted: AuditFilter, *, since: datetime) -> selecting.AuditTail:
        """Follows the audit from `since` on; see `AuditTail.read`."""
        return selecting.AuditTail(self.engine, self._audited(wanted), since=since)

    # ---- pauses ----------------------------------------------------------------------------------------------

    def pauses(self) -> list[Pause]:
        """What is paused now, the oldest first."""
        return pauses.read(self.engine)

    def pause(self, kind: Kind, name: str, *, reason: str = "") -> bool:
        """Start nothing more of a queue, or nothing more on a GPU, and load nothing there; what runs ends.

        Workers know within some two seconds. It lasts until `resume`, whatever is restarted or lost in between.
        False: it was paused already. Raises UsageError for a name that the fleet does not have.
        """
        self._known(kind, name)
        return pauses.pause(self.engine, kind, name, tenant=self.tenant, actor=self._actor, reason=reason[:1000])

    def resume(self, kind: Kind, name: str) -> bool:
        """End a pause. False: it was not paused."""
        resumed = pauses.resume(self.engine, kind, name, tenant=self.tenant, actor=self._actor)
        if not resumed:
            # A name that the fleet has lost may still be paused, so it is checked only now.
            self._known(kind, name)
        return resumed

    def _known(self, kind: Kind, name: str) -> None:
        known = list(self.fleet.queues) if kind == "queue" else [gpu.name for gpu in self.fleet.gpus]
        if name not in known:
            hint = did_you_mean(name, known, "")
            near = f"{hint} " if hint.startswith("Did") else ""
            what = "queue" if kind == "queue" else "GPU"
            raise UsageError(f"The fleet has no {what} {name!r}.", remedy=f"{near}It has {', '.join(known)}.")

    # ---- helpers ---------------------------------------------------------------------------------------------

    def _retryable(self, wanted: JobFilter) -> list[JobView]:
        if wanted.tenant not in (None, self.tenant):
            raise InvalidJob(
                f"This client retries jobs of tenant {self.tenant!r} only.", remedy="Use a client of the jobs' tenant."
            )
        engine = self.engine
        states = (wanted.states or RETRIED) & TERMINAL
        page = self._mine(replace(wanted, states=states, limit=_PAGE))
        found: list[JobView] = []
        while views := selecting.find(self._store, page) if states else []:
            # The oldest last on each page; they are retried in the order in which they came.
            left = set(selecting.retryable(engine, [v.id for v in views]))
            found += [v for v in views if v.id in left]
            page = replace(page, after=views[-1].id)
        return found[::-1]

    def _tell(self, chunk: list[Ended]) -> None:
        """The broker forgets what ended, and workers hear what to break off; both would find out by themselves."""
        waiting: dict[str, list[UUID]] = {}
        for job in chunk:
            if job.state is not State.RUNNING:
                waiting.setdefault(job.queue or "", []).append(job.id)
        try:
            for queue, ids in waiting.items():
                self._lanes.remove(queue, *ids)
            for job in chunk:
                if job.state is State.RUNNING:
                    self._lanes.ask_cancel(job.id)
        except BrokerUnavailable as e:
            log.warning("The cancellations are recorded; the broker hears of them later: %s", e)

    def _mine(self, wanted: JobFilter) -> JobFilter:
        return wanted if wanted.tenant is not None else replace(wanted, tenant=self.tenant)

    def _audited(self, wanted: AuditFilter) -> AuditFilter:
        return wanted if wanted.tenant is not None else replace(wanted, tenant=self.tenant)
