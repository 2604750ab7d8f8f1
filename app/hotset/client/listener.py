"""One subscription per client process, fanned out to any number of waiting calls. Waiting costs no polling per job.

The channel is promptness, Postgres is the truth: whenever a subscription has been made (again), and once a minute, one
SELECT asks how all jobs stand that are waited for. Jobs that another process submitted answer on channels of their own,
which are subscribed to while somebody waits; so do inboxes.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any
from uuid import UUID

import redis

from hotset.broker.replies import LOADS, channel, connect_cache, inbox_channel, job_channel
from hotset.broker.subscription import Subscription
from hotset.client.news import Ended, Heard, Loading, Mail, News, Resubscribed, Seen, Trouble
from hotset.client.reader import Reader
from hotset.client.steps import Box
from hotset.store import JobStore

log = logging.getLogger(__name__)

#: Wall seconds between looks at Postgres for jobs that are waited for.
FALLBACK_S = 60.0
#: The same for inboxes: one SELECT for all of them. A wake-up that was lost costs so long at the most.
MAIL_S = 10.0
#: Wall seconds until a subscription that broke is made again; doubled while that fails, up to the longest.
AGAIN_S, AGAIN_LONGEST_S = 0.05, 1.0
_TICK_S = 0.5


class Listener:
    """Its thread starts with the first waiting call. `name` is the address that this process's jobs answer to."""

    def __init__(
        self,
        url: str,
        name: str,
        store: JobStore,
        tenant: str,
        loads_now: Callable[[], Iterable[Loading]],
        mail_now: Callable[[Collection[str]], Iterable[str]],
    ) -> None:
        """`loads_now`: the loads that are under way, as far as the broker knows them. `mail_now`: which of these
        agents' inboxes may hold something."""
        self.redis = connect_cache(url)
        self._loads_now = loads_now
        self._mail_now = mail_now
        self._tenant = tenant
        self._mail_prefix = inbox_channel(tenant, "")
        self.reader = Reader(store, tenant, self.tell)
        self._name = name
        self._channel = channel(name)
        # Reentrant: the garbage collector may close a waiting call, which removes its box, anywhere.
        self._lock = threading.RLock()
        self._boxes: dict[UUID, tuple[Box, ...]] = {}
        self._jobs: dict[Box, set[UUID]] = {}
        self._loads: set[Box] = set()
        #: By agent.
        self._inboxes: dict[str, tuple[Box, ...]] = {}
        self._foreign: set[UUID] = set()
        #: The channels that are wanted have changed.
        self._changed = False
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._standing = self._away = False
        self._subscribed: set[str] = set()

    def watch(self, jobs: Iterable[UUID], box: Box, *, look: bool = True) -> None:
        """Tell the box of these jobs until `unwatch`; at first how they stand, unless that is known."""
        asked = list(jobs)
        with self._lock:
            if box.dropped:
                return  # a task that was cancelled while a thread submitted its job
            for job in asked:
                self._boxes[job] = (*self._boxes.get(job, ()), box)
            self._jobs.setdefault(box, set()).update(asked)
            self._start()
        if look:
            self.reader.look(asked, first=True)

    def unwatch(self, box: Box) -> None:
        with self._lock:
            box.dropped = True
            self.unwatch_loads(box)
            for job in self._jobs.pop(box, ()):
                left = tuple(b for b in self._boxes.get(job, ()) if b is not box)
                if left:
                    self._boxes[job] = left
                else:
                    self._boxes.pop(job, None)
                    if job in self._foreign:
                        self._foreign.remove(job)
                        self._changed = True

    def watch_loads(self, box: Box) -> None:
        """The box is told which GPU loads what: soon of what is under way, and from now on."""
        with self._lock:
            self._loads.add(box)
        self.reader.run(self._look_for_loads)

    def unwatch_loads(self, box: Box) -> None:
        with self._lock:
            if box in self._loads:
                self._loads.remove(box)
                self._changed |= not self._loads

    def watch_inbox(self, agent: str, box: Box) -> None:
        """The box gets Mail whenever that inbox may hold something; also once the subscription stands."""
        with self._lock:
            self._inboxes[agent] = (*self._inboxes.get(agent, ()), box)
            if len(self._inboxes[agent]) > 1:
                return
            self._changed = True
            self._start()
        self._nudge()

    def unwatch_inbox(self, agent: str, box: Box) -> None:
        with self._lock:
            left = tuple(b for b in self._inboxes.get(agent, ()) if b is not box)
            if left:
                self._inboxes[agent] = left
            elif self._inboxes.pop(agent, None) is not None:
                self._changed = True

    def tell(self, job: UUID, news: News) -> None:
        """Put the news into the boxes that want it."""
        if isinstance(news, Seen) and not news.glance.state.terminal and news.glance.reply_to != self._name:
            self._listen_for(job)
        with self._lock:
            boxes = self._boxes.get(job, ())
        needed = isinstance(news, Ended | Trouble)
        for box in boxes:
            if needed or box.follow:
                box.put(news, droppable=isinstance(news, Heard))

    def ended(self, job: UUID) -> None:
        """This process knows already that the job has ended: whoever waits for it here is told."""
        if job in self._boxes:
            self.reader.read_end(job)

    @property
    def waiting(self) -> int:
        """Jobs that are waited for now."""
        return len(self._boxes)

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._nudge()
            self._thread.join(timeout=5)
        self.reader.close()
        self.redis.close()

    def _start(self) -> None:
        """Under the lock."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._main, name="hotset-listener", daemon=True)
            self._thread.start()

    # ---- the thread ------------------------------------------------------------------------------------------

    def _main(self) -> None:
        again = AGAIN_S
        while not self._stop.is_set():
            try:
                self._listen()
            except redis.RedisError as e:
                again = AGAIN_S if self._standing else min(2 * again, AGAIN_LONGEST_S)
                if not self._away:
                    log.warning("The cache is away (%s); answers are looked up in Postgres meanwhile.", e)
                self._away, self._standing = True, False
                self.reader.look(self._open())
                if self._inboxes:
                    self.reader.run(self._look_for_mail)
                self._stop.wait(again)
            except Exception:
                log.exception("The listener failed; it starts anew.")
                self._stop.wait(AGAIN_LONGEST_S)

    def _listen(self) -> None:
        pubsub = Subscription(self.redis)
        try:
            self._subscribed = self._channels()
            pubsub.subscribe(*self._subscribed)
            looked = mailed = time.monotonic()
            while not self._stop.is_set():
                message = pubsub.get_message(timeout=_TICK_S)
                if message is not None:
                    self._heard(message)
                if self._changed:
                    wanted = self._channels()
                    if more := wanted - self._subscribed:
                        pubsub.subscribe(*more)
                    if fewer := self._subscribed - wanted:
                        pubsub.unsubscribe(*fewer)  # type: ignore[no-untyped-call]
                    self._subscribed = wanted
                if time.monotonic() - looked >= FALLBACK_S:
                    looked = time.monotonic()
                    self.reader.look(self._open())
                if self._inboxes and time.monotonic() - mailed >= MAIL_S:
                    mailed = time.monotonic()
                    self.reader.run(self._look_for_mail)
        finally:
            pubsub.close()

    def _channels(self) -> set[str]:
        with self._lock:
            self._changed = False
            loads = {LOADS} if self._loads else set()
            inboxes = (inbox_channel(self._tenant, agent) for agent in self._inboxes)
            return {self._channel, *loads, *map(job_channel, self._foreign), *inboxes}

    def _heard(self, message: dict[str, Any]) -> None:
        match message["type"], message["channel"]:
            case "message" | "subscribe", name if name.startswith(self._mail_prefix):
                self._tell_mail(name.removeprefix(self._mail_prefix))
            case "message", name if name == LOADS:
                self._heard_load(message["data"])
            case "message", _:
                self._heard_of_job(message["data"])
            case "subscribe", name if name != LOADS:
                # What was sent before was missed: look, and let streams read what they lack.
                self._standing, self._away = True, False
                jobs = self._open() if name == self._channel else [UUID(name.rpartition(":")[2])]
                self.reader.look(jobs)
                for job in jobs:
                    self.tell(job, Resubscribed())

    def _heard_of_job(self, raw: str) -> None:
        if not raw:
            return  # a nudge
        try:
            event = json.loads(raw)
            job = UUID(event["job"])
            ended = event["event"] == "ended"
        except (ValueError, KeyError, TypeError):
            log.warning("A message on a channel of jobs could not be read.")
            return
        if ended:
            self.ended(job)
        elif job in self._boxes:
            self.tell(job, Heard(event))

    def _heard_load(self, raw: str) -> None:
        try:
            event = json.loads(raw)
            load = Loading(str(event["gpu"]), str(event["model"]), float(event["at"]))
        except (ValueError, KeyError, TypeError):
            log.warning("A message on the channel of loads could not be read.")
            return
        self._tell_load(load)

    def _look_for_loads(self) -> None:
        """In the reader's thread: one look for all who asked meanwhile."""
        if LOADS not in self._subscribed:
            self._changed = True
            self._nudge()
        for load in self._loads_now():
            self._tell_load(load)

    def _tell_load(self, load: Loading) -> None:
        with self._lock:
            boxes = list(self._loads)
        for box in boxes:
            box.put(load, droppable=True)

    def _look_for_mail(self) -> None:
        """In the reader's thread: one look for all inboxes."""
        for agent in self._mail_now(list(self._inboxes)):
            self._tell_mail(agent)

    def _tell_mail(self, agent: str) -> None:
        for box in self._inboxes.get(agent, ()):
            box.put(Mail(), droppable=True)

    def _listen_for(self, job: UUID) -> None:
        """Another process is told of that job: listen to the job's own channel."""
        with self._lock:
            if job in self._foreign or job not in self._boxes:
                return
            self._foreign.add(job)
            self._changed = True
        self._nudge()

    def _nudge(self) -> None:
        """Wake the thread, which alone uses the subscription. Without a cache it comes round by itself."""
        try:
            self.redis.publish(self._channel, "")
        except redis.RedisError as e:
            log.debug("The cache is away: %s", e)

    def _open(self) -> list[UUID]:
        with self._lock:
            return list(self._boxes)
