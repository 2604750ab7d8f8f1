"""Leases are renewed here, in the database and in the broker, and cancellations are heard."""

from __future__ import annotations

import logging
from uuid import UUID

import redis

from hotset.broker import CANCEL, WAKE, Lanes
from hotset.errors import Unavailable
from hotset.jobs import State
from hotset.store import JobStore
from hotset_worker.background import Absence, Background
from hotset_worker.events import Woken
from hotset_worker.gpu import Owner
from hotset_worker.runs import ActiveRun, ActiveRuns

log = logging.getLogger(__name__)


class Heartbeat(Background):
    """Renews in the database what runs, every `every_s` wall seconds, for `lease_s`: the lease that counts."""

    def __init__(self, store: JobStore, runs: ActiveRuns, *, worker: str, every_s: float, lease_s: float) -> None:
        self._store, self._runs = store, runs
        self._worker = worker
        self._every_s, self._lease_s = every_s, lease_s
        self._absence = Absence(log)
        super().__init__("hotset-heartbeat")

    def _main(self) -> None:
        while not self._stopping.wait(self._every_s):
            try:
                self.beat()
            except Unavailable as e:
                # Not ended here: if the lease runs out, another attempt takes over and ours commits nothing.
                self._absence.begin("Leases cannot be renewed: %s", e)
            except Exception:
                log.exception("A heartbeat failed; the next one follows.")
            else:
                self._absence.end("Leases are renewed again.")

    def beat(self) -> None:
        runs = self._runs.all()
        self._clear()
        if runs:
            self._renew(runs)

    def _renew(self, runs: list[ActiveRun]) -> None:
        ours = self._store.renew({run.attempt.id: run.attempt.number for run in runs}, lease_s=self._lease_s)
        for run in runs:
            if run.attempt.id not in ours:
                # It may have finished since `runs` were listed; ending a finished run changes nothing.
                run.end("lost", "the lease ran out")
            elif (reason := ours[run.attempt.id]) is not None:
                run.end("cancelled", reason)

    def _clear(self) -> None:
        """Claims that were committed and never answered: nobody runs these jobs, though they are ours. Handed back now
        they count nothing; when their lease ran out, it would look as if they had killed their worker."""
        unclear = self._runs.unclear()
        if not unclear:
            return
        for view in self._store.get(unclear).values():
            if view.state is State.RUNNING and view.worker == self._worker and self._runs.get(view.id) is None:
                reason = "the reply to its claim was lost"
                self._store.release(view.id, view.attempt, worker=self._worker, reason=reason)
        self._runs.cleared(unclear)


class BrokerHeartbeat(Background):
    """Renews the broker's claims of what runs. A thread of its own: a broker that does not answer must cost no job its
    lease in the database."""

    def __init__(self, lanes: Lanes, runs: ActiveRuns, *, every_s: float) -> None:
        self._lanes, self._runs, self._every_s = lanes, runs, every_s
        self._absence = Absence(log)
        super().__init__("hotset-broker-heartbeat")

    def _main(self) -> None:
        while not self._stopping.wait(self._every_s):
            try:
                self._lanes.renew(run.claim for run in self._runs.all())
            except Unavailable as e:
                # Then the message comes again, and the database says that its job runs.
                self._absence.begin("Claims cannot be renewed in the broker: %s", e)
            except Exception:
                log.exception("Claims could not be renewed in the broker; the next time follows.")
            else:
                self._absence.end("Claims are renewed in the broker again.")


class Ear(Background):
    """Listens on the broker: new work wakes the owner, a cancellation ends a run."""

    def __init__(self, lanes: Lanes, owner: Owner, heartbeat: Heartbeat, runs: ActiveRuns) -> None:
        self._lanes, self._owner, self._heartbeat, self._runs = lanes, owner, heartbeat, runs
        self._absence = Absence(log)
        super().__init__("hotset-ear")

    def _main(self) -> None:
        while not self._stopping.is_set():
            try:
                self._listen()
            except redis.RedisError as e:
                self._absence.begin("The broker is away (%s); listening is tried again every second.", e)
                self._stopping.wait(1.0)
            except Exception:
                # Anybody may publish anything here, bytes that are no text included.
                log.exception("What was heard on the broker is not understood; listening again in a second.")
                self._stopping.wait(1.0)

    def _listen(self) -> None:
        pubsub = self._lanes.subscriber()
        try:
            pubsub.subscribe(WAKE, CANCEL)
            self._absence.end("The broker is back.")
            self._owner.tell(Woken())
            while not self._stopping.is_set():
                message = pubsub.get_message(timeout=1.0)
                if message is None:
                    continue
                if message["channel"] == CANCEL:
                    self._cancel(str(message["data"]))
                else:
                    self._owner.tell(Woken())
        finally:
            pubsub.close()

    def _cancel(self, job_id: str) -> None:
        """The channel only says that there is something to ask; who may cancel is decided in Postgres."""
        try:
            if self._runs.get(UUID(job_id)) is not None:
                self._heartbeat.beat()
        except ValueError:
            log.warning("A cancellation named %r, which is no job id.", job_id[:64])
        except Unavailable as e:
            log.warning("A cancellation waits for the next heartbeat: %s", e)
