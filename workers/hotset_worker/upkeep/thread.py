"""Periodic tasks on one thread."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

from hotset.errors import OutdatedTables, StoreUnavailable, Unavailable
from hotset.store.engine import is_forbidden
from hotset_worker.background import Background

log = logging.getLogger(__name__)

Task = Callable[[], None]


class PeriodicTasks(Protocol):
    """What there is to do; its tasks are asked for once, before the first is done. Seconds are wall seconds."""

    def tasks(self) -> list[tuple[float, Task]]:
        """(interval in seconds, task)."""

    def last_words(self) -> list[Task]:
        """What is done once more when the worker stops."""

    def after_outage(self) -> dict[Task, float]:
        """Tasks that begin again only so many seconds after Postgres was last found away."""


class UpkeepThread(Background):
    """Runs the tasks until it is stopped. A server that is away is waited for."""

    def __init__(self, upkeep: PeriodicTasks, name: str) -> None:
        self._tasks = upkeep.tasks()
        self._last_words = upkeep.last_words()
        self._after_outage = upkeep.after_outage()
        #: From when on (monotonic) tasks may run again that Postgres' absence holds up.
        self._held_until: dict[Task, float] = {}
        self._forbidden: set[Task] = set()
        #: Tasks whose server was away, or lacked the tables for it, when they were tried last.
        self._waiting: set[Task] = set()
        super().__init__(name)

    def stop(self) -> None:
        super().stop()
        for task in self._last_words:
            self._once(task)

    def _main(self) -> None:
        due = {i: time.monotonic() for i in range(len(self._tasks))}
        while not self._stopping.is_set():
            now = time.monotonic()
            for i, (interval, task) in enumerate(self._tasks):
                if now >= due[i]:
                    due[i] = now + interval
                    if task not in self._forbidden and now >= self._held_until.get(task, now):
                        self._once(task)
            self._stopping.wait(max(0.01, min(due.values()) - time.monotonic()))

    def _once(self, task: Task) -> None:
        try:
            task()
        except (Unavailable, OutdatedTables) as e:
            # Said once, and once that it is over: not a dozen lines a second for as long as a server is away.
            if not self._waiting:
                log.warning("Upkeep (%s) waits: %s", task.__name__, e)
            self._waiting.add(task)
            if isinstance(e, StoreUnavailable):
                now = time.monotonic()
                self._held_until = {held: now + wait_s for held, wait_s in self._after_outage.items()}
        except Exception as e:
            if not is_forbidden(e):
                log.exception("Upkeep %s failed; it is tried again.", task.__name__)
                return
            # Not a fault: workers need not have the right to delete. Somebody else has to.
            self._forbidden.add(task)
            log.warning("Upkeep %s is not for this database role; it is left to who may.", task.__name__)
        else:
            if task in self._waiting:
                self._waiting.discard(task)
                if not self._waiting:
                    log.warning("Upkeep goes on.")
