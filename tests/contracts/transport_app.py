"""A Celery worker on our transport, for `test_transport.py`: no GPU, no Postgres, an owner that grants whatever waits.

    celery -A transport_app worker --pool threads|prefork

HOTSET_TEST_BROKER: the broker; HOTSET_TEST_JOURNAL: a file, to which its tasks add a line of JSON when they begin and
when they end (the broker may be cut off meanwhile).
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from pathlib import Path
from typing import Any

import redis
from celery import bootsteps
from celery.exceptions import Reject
from celery.worker import state

from hotset.broker import TASK, Grant, GrantDesk, Lanes, Released, Returned, Spent, make_app

URL, JOURNAL = os.environ["HOTSET_TEST_BROKER"], Path(os.environ["HOTSET_TEST_JOURNAL"])
QUEUE, SLOTS = "tinyllama", 2
#: Wall seconds after which a claim of which Celery has no request any more is given up.
DROPPED_S = 2.0


class Owner:
    """Grants as long as a slot is free and the gate (`test:closed`) is open, and renews what runs.

    A connection that is lost between the dispatch to a forked process and its word of having begun makes Celery forget
    the task (`AsynPool.flush`): it may run to its end, but nobody acknowledges it. Its claim is not renewed for ever.
    """

    def __init__(self) -> None:
        self.lanes = Lanes(URL)
        self._mailbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.desk = GrantDesk(self._mailbox.put)
        self._granted = 0
        self._held: dict[str, float] = {}  # claim -> when Celery was last seen to have its request
        self._redis = redis.Redis.from_url(URL)
        self._thread = threading.Thread(target=self._main, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _main(self) -> None:
        while True:
            try:
                self._step()
            except Exception as error:  # the broker is cut off on purpose
                print("owner:", error, flush=True)
                time.sleep(0.05)

    def _step(self) -> None:
        try:
            match self._mailbox.get(timeout=0.02):
                case Spent(_, claim):
                    self._granted -= 1
                    self._held[claim] = time.monotonic()
                case Returned():
                    self._granted -= 1
                case Released(claim):
                    self._held.pop(claim, None)
        except queue.Empty:
            pass
        self._forget_dropped()
        self.lanes.renew(self._held)
        if self._redis.exists("test:closed"):
            self.lanes.snapshot({QUEUE: 60.0})
            return
        free = SLOTS - self._granted - len(self._held)
        for lane in self.lanes.snapshot({QUEUE: 60.0}).lanes if free else ():
            for _ in range(min(free, lane.waiting)):
                free -= 1
                self._granted += 1
                self.desk.issue(Grant(lane.queue, lane.name, "oldest", "tinyllama", 0))

    def _forget_dropped(self) -> None:
        now = time.monotonic()
        for request in tuple(state.requests.values()):
            if (claim := request.message.delivery_tag) in self._held:
                self._held[claim] = now
        for claim in [claim for claim, seen in self._held.items() if now - seen > DROPPED_S]:
            del self._held[claim]
            print("dropped by the pool:", claim, flush=True)


owner = Owner()
app = make_app(URL, [QUEUE])
app.conf.update(worker_concurrency=SLOTS, worker_enable_remote_control=True)
app.conf.broker_transport_options = {**app.conf.broker_transport_options, "desk": owner.desk, "lanes": owner.lanes}


class OwnerStep(bootsteps.StartStopStep):  # type: ignore[misc]  # celery is untyped
    requires = ("celery.worker.components:Pool",)

    def start(self, parent: Any) -> None:
        owner.start()


app.steps["worker"].add(OwnerStep)


def note(what: str, name: str) -> None:
    with JOURNAL.open("a") as file:  # one write of a short line: those of several processes do not mix
        file.write(json.dumps({"what": what, "name": name, "pid": os.getpid()}) + "\n")


@app.task(name=TASK, bind=True)  # type: ignore[untyped-decorator]
def run(task: Any, seconds: float = 0.0, how: str = "") -> None:
    """Notes that it began, takes so long, ends `how` it is told, and notes that."""
    name = str(task.request.id)
    note("began", name)
    time.sleep(seconds)
    if how == "requeue" and JOURNAL.read_text().count(name) == 1:
        raise Reject("once more", requeue=True)
    if how == "refuse":
        raise Reject("never", requeue=False)
    if how == "fail":
        raise ValueError("it fails")
    note("ended", name)
