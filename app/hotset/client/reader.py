"""Reads jobs from Postgres for all waiting calls of a process together: one SELECT for what came up meanwhile.

A lone question is answered at once; while many come, they are gathered for a few milliseconds each time, and longer
while many calls begin to wait at once. Reads so follow completions, not waiters.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from itertools import islice
from uuid import UUID

from hotset.client.news import Ended, News, Seen, Trouble
from hotset.errors import HotsetError, UnknownJob
from hotset.store import JobStore
from hotset.store.waiting import glance

log = logging.getLogger(__name__)

#: Wall seconds between two reads, at least; twice as many each time while many calls begin to wait, up to the longest.
GATHER_S, GATHER_LONGEST_S = 0.01, 0.1
#: From so many that one look answered on, many begin to wait. One after another never are so many.
MANY = 3
#: Wall seconds before a read that failed is tried again.
RETRY_S = 0.5
#: Jobs that one SELECT reads with their results; looks are small.
CHUNK = 500


class Reader:
    """Its thread starts with the first question. `tell` puts an answer before whoever waits for that job."""

    def __init__(self, store: JobStore, tenant: str, tell: Callable[[UUID, News], None]) -> None:
        self._store, self._tenant, self._tell = store, tenant, tell
        self._asked = threading.Condition()
        self._first: set[UUID] = set()
        self._looks: set[UUID] = set()
        self._ends: set[UUID] = set()
        self._errands: set[Callable[[], None]] = set()
        self._closed = False
        self._thread: threading.Thread | None = None

    def look(self, jobs: Iterable[UUID], *, first: bool = False) -> None:
        """How do these jobs stand? `first`: an error is the answer; else it is asked again until there is one."""
        with self._asked:
            (self._first if first else self._looks).update(jobs)
            self._go()

    def read_end(self, job: UUID) -> None:
        """That job is said to have ended."""
        with self._asked:
            self._ends.add(job)
            self._go()

    def run(self, errand: Callable[[], None]) -> None:
        """Something else to read, once for all who ask for it meanwhile; it handles its own errors."""
        with self._asked:
            self._errands.add(errand)
            self._go()

    def close(self) -> None:
        with self._asked:
            self._closed = True
            self._asked.notify()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _go(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._main, name="hotset-reader", daemon=True)
            self._thread.start()
        self._asked.notify()

    def _main(self) -> None:
        earliest, gather = 0.0, GATHER_S
        while True:
            with self._asked:
                self._asked.wait_for(self._has_work)
                self._asked.wait_for(lambda: self._closed, max(0.0, earliest - time.monotonic()))
                if self._closed:
                    return
                first, looks, ends, errands = self._first, self._looks, self._ends, self._errands
                self._first, self._looks, self._ends, self._errands = set(), set(), set(), set()
            gather = min(2 * gather, GATHER_LONGEST_S) if len(first) >= MANY else GATHER_S
            earliest = time.monotonic() + gather
            try:
                self._read(first, looks, ends)
                for errand in errands:
                    errand()
            except HotsetError as e:
                log.warning("Jobs that are waited for could not be read: %s", e)
                for job in first:
                    self._tell(job, Trouble(job, e))
                earliest = time.monotonic() + RETRY_S
                with self._asked:
                    self._looks |= looks
                    self._ends |= ends
            except Exception:
                log.exception("Jobs that are waited for could not be read; it is tried again.")
                earliest = time.monotonic() + RETRY_S
                with self._asked:
                    self._looks |= first | looks
                    self._ends |= ends

    def _has_work(self) -> bool:
        return bool(self._closed or self._first or self._looks or self._ends or self._errands)

    def _read(self, first: set[UUID], looks: set[UUID], ends: set[UUID]) -> None:
        """Each set loses what was answered, so that a failure asks again for the rest only."""
        if first or looks:
            found = glance(self._store.engine, first | looks, tenant=self._tenant)
            for job in first | looks:
                known = found.get(job)
                if known is None:
                    self._tell(job, Trouble(job, UnknownJob(job)))
                    continue
                if known.state.terminal:
                    ends.add(job)
                self._tell(job, Seen(known))
            first.clear()
            looks.clear()
        while ends:
            chunk = list(islice(ends, CHUNK))
            for job, view in self._store.get(chunk, tenant=self._tenant).items():
                if view.state.terminal:
                    self._tell(job, Ended(view))
            ends.difference_update(chunk)
