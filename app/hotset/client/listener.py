"""One subscription per client process, fanned out to any number of waiters. Waiting costs no polling per job.

After every (re)connection, and once a minute, one SELECT asks Postgres about all open jobs together: the channel is
promptness, Postgres is the truth.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID
from weakref import WeakSet

import redis

from hotset.broker import channel, connect_redis
from hotset.errors import HotsetError
from hotset.jobs import JobView

log = logging.getLogger(__name__)

#: Wall seconds between looks at Postgres for jobs that are waited for.
FALLBACK_S = 60.0
#: Events that a slow reader of a stream may lag behind; older ones are dropped, the text comes from Postgres.
BUFFER = 10_000


class Waiter:
    """What one waiting call holds. `events` get the job's messages, the last is None."""

    def __init__(self, job: UUID) -> None:
        self.job = job
        self.ended = threading.Event()
        self.events: queue.Queue[dict[str, Any] | None] = queue.Queue(BUFFER)

    def tell(self, event: dict[str, Any]) -> None:
        try:
            self.events.put_nowait(event)
        except queue.Full:
            log.debug("A reader of job %s lags behind; an event was dropped.", self.job)
        if event.get("event") == "ended":
            self.end()

    def end(self) -> None:
        self.ended.set()
        try:
            self.events.put_nowait(None)
        except queue.Full:
            # The reader finds `ended` set when it has caught up.
            log.debug("A reader of job %s lags behind its end.", self.job)


class Listener:
    """Started at the first waiter. `look` asks Postgres for jobs by id."""

    def __init__(self, url: str, name: str, look: Callable[[list[UUID]], dict[UUID, JobView]]) -> None:
        self._redis = connect_redis(url, name="cache_url")
        self._channel = channel(name)
        self._look = look
        # Weak: a waiter lives as long as the handle or the call that reads it.
        self._waiters: dict[UUID, WeakSet[Waiter]] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._subscribed = threading.Event()

    def add(self, job: UUID) -> Waiter:
        """Hear of that job from now on. What ended before is seen by the caller's own look at Postgres."""
        waiter = Waiter(job)
        with self._lock:
            self._waiters.setdefault(job, WeakSet()).add(waiter)
        return waiter

    def remove(self, waiter: Waiter) -> None:
        with self._lock:
            waiters = self._waiters.get(waiter.job)
            if waiters is not None:
                waiters.discard(waiter)
                if not waiters:
                    del self._waiters[waiter.job]

    def start(self) -> None:
        """Listen, if not yet; returns once the subscription stands, or after 2 s without a cache."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._main, name="hotset-listener", daemon=True)
                self._thread.start()
        self._subscribed.wait(2.0)

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        self._redis.close()

    def _main(self) -> None:
        while not self._stop.is_set():
            try:
                self._listen()
            except redis.RedisError as e:
                log.warning("The cache is away (%s); answers are looked up in Postgres meanwhile.", e)
                self._catch_up()
                self._stop.wait(1.0)

    def _listen(self) -> None:
        pubsub = self._redis.pubsub()  # type: ignore[no-untyped-call]
        try:
            pubsub.subscribe(self._channel)
            looked = float("-inf")
            while not self._stop.is_set():
                if time.monotonic() - looked >= FALLBACK_S:
                    looked = time.monotonic()
                    self._catch_up()
                message = pubsub.get_message(timeout=0.5)
                if message is None:
                    continue
                if message["type"] == "subscribe":
                    self._subscribed.set()
                elif message["type"] == "message":
                    self._hear(message["data"])
        finally:
            pubsub.close()

    def _hear(self, raw: str) -> None:
        try:
            event = json.loads(raw)
            job = UUID(event["job"])
        except (ValueError, KeyError, TypeError):
            log.warning("A message on the wake channel could not be read.")
            return
        with self._lock:
            waiters = list(self._waiters.get(job, ()))
        for waiter in waiters:
            waiter.tell(event)

    def _catch_up(self) -> None:
        with self._lock:
            for job in [job for job, waiters in self._waiters.items() if not waiters]:
                del self._waiters[job]
            open_jobs = list(self._waiters)
        if not open_jobs:
            return
        try:
            found = self._look(open_jobs)
        except HotsetError as e:
            log.warning("Jobs that are waited for could not be looked up: %s", e)
            return
        for job, view in found.items():
            if view.state.terminal:
                with self._lock:
                    waiters = list(self._waiters.get(job, ()))
                for waiter in waiters:
                    waiter.end()
