"""Leases are renewed here, in the database and in the broker, and cancellations are heard."""

from __future__ import annotations

import logging
from uuid import UUID

import redis

from hotset.broker import CANCEL, WAKE, Lanes
from hotset.errors import Unavailable
from hotset.store import JobStore
from hotset_worker.background import Background
from hotset_worker.events import Woken
from hotset_worker.gpu import Owner
from hotset_worker.runs import ActiveRuns

log = logging.getLogger(__name__)


class Heartbeat(Background):
    """Renews what runs every `every_s` wall seconds, for `lease_s`."""

    def __init__(self, store: JobStore, lanes: Lanes, runs: ActiveRuns, *, every_s: float, lease_s: float) -> None:
        self._store, self._lanes, self._runs = store, lanes, runs
        self._every_s, self._lease_s = every_s, lease_s
        super().__init__("hotset-heartbeat")

    def _main(self) -> None:
        while not self._stopping.wait(self._every_s):
            try:
                self.beat()
            except Unavailable as e:
                # Not ended here: if the lease runs out, another attempt takes over and ours commits nothing.
                log.warning("Leases could not be renewed: %s", e)
            except Exception:
                log.exception("A heartbeat failed; the next one follows.")

    def beat(self) -> None:
        runs = self._runs.all()
        if not runs:
            return
        self._lanes.renew(run.claim for run in runs)
        ours = self._store.renew({run.attempt.id: run.attempt.number for run in runs}, lease_s=self._lease_s)
        for run in runs:
            if run.attempt.id not in ours:
                # It may have finished between the two lines above; ending a finished run changes nothing.
                run.end("lost", "the lease ran out")
            elif (reason := ours[run.attempt.id]) is not None:
                run.end("cancelled", reason)


class Ear(Background):
    """Listens on the broker: new work wakes the owner, a cancellation ends a run."""

    def __init__(self, lanes: Lanes, owner: Owner, heartbeat: Heartbeat, runs: ActiveRuns) -> None:
        self._lanes, self._owner, self._heartbeat, self._runs = lanes, owner, heartbeat, runs
        super().__init__("hotset-ear")

    def _main(self) -> None:
        while not self._stopping.is_set():
            try:
                self._listen()
            except redis.RedisError as e:
                log.warning("The broker is away (%s); listening again in a second.", e)
                self._stopping.wait(1.0)
            except Exception:
                # Anybody may publish anything here, bytes that are no text included.
                log.exception("What was heard on the broker is not understood; listening again in a second.")
                self._stopping.wait(1.0)

    def _listen(self) -> None:
        pubsub = self._lanes.subscriber()
        try:
            pubsub.subscribe(WAKE, CANCEL)
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
