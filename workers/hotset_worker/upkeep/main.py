"""The periodic tasks of the jobs. Each is idempotent and may run on every worker at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from hotset import messaging
from hotset.broker import Lanes, Replies
from hotset.errors import Unavailable
from hotset.store import JobStore, anchors, retention, seals
from hotset.store import ledger as records
from hotset.store import upkeep as store
from hotset.store.jobs import Ended
from hotset_worker import foresight, learning, ledger
from hotset_worker.foresight import Foresight
from hotset_worker.hopeless import Hopeless
from hotset_worker.learning import Learned
from hotset_worker.ledger import Ledger
from hotset_worker.upkeep.thread import Task

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Upkeep:
    """Wall seconds, all of them. `lease_s` is the broker's lease as well as the database's."""

    worker: str
    store: JobStore
    lanes: Lanes
    replies: Replies
    lease_s: float
    heartbeat_s: float
    relay_after_s: float
    max_crashes: int
    keep_jobs_days: int
    keep_audit_months: int
    keep_messages_days: int
    learned: Learned
    ledger: Ledger
    foresight: Foresight
    hopeless: Hopeless | None
    audit_seal_s: float
    audit_anchor: Path | None

    def tasks(self) -> list[tuple[float, Task]]:
        return [
            (0.5, self.relay),
            (0.5, self.tell),
            (1.0, self.write_down_refused),
            (1.0, self.reap),
            (1.0, self.expire),
            (1.0, self.expire_hopeless),
            (1.0, self.restore_claims),
            (ledger.WRITE_S, self.write_swaps),
            (ledger.WRITE_SLOTS_S, self.write_slots),
            (learning.WRITE_S, self.write_costs),
            (learning.READ_S, self.read_costs),
            (foresight.LOOK_S, self.compare_forecasts),
            (3600.0, self.trim_ledger),
            (20.0, self.compare_with_broker),
            (10.0, self.remove_old_jobs),
            (10.0, self.remove_old_messages),
            (self.audit_seal_s, self.seal_audit),
            (3600.0, self.drop_old_months),
            (3600.0, self.make_partitions),
        ]

    def relay(self) -> None:
        """Publish what is due and what nobody published."""
        store.queue_due(self.store.engine)
        while store.relay(self.store.engine, self.lanes.publish, after_s=self.relay_after_s) == 500:
            pass

    def reap(self) -> None:
        """Attempts whose lease ran out: their jobs go back to the queue, or end."""
        for job in store.reap(self.store.engine, actor=self.worker, max_crashes=self.max_crashes):
            log.error("Job %s ended as %s: its workers died while it ran.", job.id, job.state)
            self.replies.ended(job.reply_to, job.id, job.state)

    def expire(self) -> None:
        """Jobs that waited longer than their queue timeout."""
        self._ended(store.expire(self.store.engine, actor=self.worker))

    def expire_hopeless(self) -> None:
        """Jobs that cannot start by their deadline any more, if the user wants to be told early."""
        if self.hopeless is not None:
            for jobs in self.hopeless.expire(self.store.engine, actor=self.worker):
                self._ended(jobs)

    def _ended(self, jobs: Iterable[Ended]) -> None:
        """Jobs that ended while they waited: out of their lanes; who waits for them is told."""
        for job in jobs:
            self.lanes.remove(job.queue or "", job.id)
            self.replies.ended(job.reply_to, job.id, job.state)

    def tell(self) -> None:
        """Whoever waits for jobs that ended where nobody could tell: cancelled, or failed with a dependency."""
        while ended := store.take_untold(self.store.engine):
            for job in ended:
                self.replies.ended(job.reply_to, job.id, job.state)

    def write_down_refused(self) -> None:
        """Messages that were put into quarantine are audited: where they lay, why, their size and hash, no content."""
        while traces := self.lanes.take_put_aside():
            for i, trace in enumerate(traces):
                try:
                    self.store.note(
                        tenant="default", actor=self.worker, action="message-quarantined", job_id=None, detail=trace
                    )
                except Unavailable:
                    self.lanes.return_put_aside(traces[i:])
                    raise

    def restore_claims(self) -> None:
        """Claims of workers that died between the broker and the database."""
        if restored := self.lanes.restore_abandoned(self.lease_s):
            log.warning("%d abandoned claims went back to their lanes.", restored)

    def compare_with_broker(self) -> None:
        """What the broker forgot (a flush, the last second before a crash) is published again from Postgres."""
        after = UUID(int=0)
        while page := store.queued_page(self.store.engine, after, older_s=5.0):
            if missing := self.lanes.missing(page):
                log.warning("%d waiting jobs were missing in the broker; they are published again.", len(missing))
                self.lanes.publish(missing)
            after = page[-1].id

    def remove_old_jobs(self) -> None:
        """Finished jobs that are older than they are kept; for a second at most, the other tasks have to go on."""
        until = time.monotonic() + 1.0
        engine, days = self.store.engine, self.keep_jobs_days
        while retention.remove_batch(engine, actor=self.worker, keep_days=days).jobs and time.monotonic() < until:
            pass

    def remove_old_messages(self) -> None:
        """Messages that ended longer ago than they are kept; for a second at most."""
        until = time.monotonic() + 1.0
        engine, days = self.store.engine, self.keep_messages_days
        while messaging.remove_batch(engine, actor=self.worker, keep_days=days) and time.monotonic() < until:
            pass

    def seal_audit(self) -> None:
        """What is final of the audit gets its hash, which is written where the database's owner cannot reach."""
        # Each worker comes by once in that time; the last seal may be another's, a moment old. A second at most: the
        # other tasks have to be done.
        sealed = seals.seal(self.store.engine, by=self.worker, every_s=0.9 * self.audit_seal_s, for_s=1.0)
        for one in sealed:
            log.info("Audit sealed: batch %d, %d rows, head %s", one.number, one.entries, one.hash.hex())
        if self.audit_anchor is not None:
            anchors.append(self.audit_anchor, sealed)

    def drop_old_months(self) -> None:
        """Months of the audit that are older than they are kept."""
        dropped = retention.drop_months(self.store.engine, actor=self.worker, keep_months=self.keep_audit_months)
        for month, entries in dropped.months:
            log.info("Dropped %s of the audit, %d entries: older than they are kept.", month, entries)

    def make_partitions(self) -> None:
        store.make_partitions(self.store.engine)

    # ---- what this worker's GPU did, and what was learned of it ----------------------------------------------

    def write_swaps(self) -> None:
        self.ledger.write(self.store.engine)

    def write_slots(self) -> None:
        self.ledger.write_slots(self.store.engine)

    def write_costs(self) -> None:
        self.learned.write(self.store.engine)

    def read_costs(self) -> None:
        self.learned.read(self.store.engine)

    def compare_forecasts(self) -> None:
        self.foresight.look(self.store.engine)

    def trim_ledger(self) -> None:
        records.trim(self.store.engine)

    def last_words(self) -> list[Task]:
        return [self.write_swaps, self.write_slots, self.write_costs]

    def after_outage(self) -> dict[Task, float]:
        """Nobody could renew a lease meanwhile: who lives shall have the time to say so."""
        return {self.reap: 2 * self.heartbeat_s}
