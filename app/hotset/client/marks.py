"""Tells Postgres what was published, in batches on a thread of its own: nobody waits for it."""

from __future__ import annotations

import logging
import threading
from uuid import UUID

from hotset.errors import HotsetError
from hotset.store import JobStore

log = logging.getLogger(__name__)

_GATHER_S = 0.05


class Marks:
    """A mark that is lost costs one more publication by the relay, which is harmless."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._ids: list[UUID] = []
        self._lock = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def add(self, ids: list[UUID]) -> None:
        if not ids:
            return
        with self._lock:
            self._ids += ids
            if self._thread is None:
                self._thread = threading.Thread(target=self._main, name="hotset-marks", daemon=True)
                self._thread.start()
            self._lock.notify()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._lock.notify()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _main(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._ids or self._closed)
                # Let a few more come: one statement for many marks.
                self._lock.wait_for(lambda: self._closed, timeout=_GATHER_S)
                ids, self._ids = self._ids, []
                closed = self._closed
            try:
                if ids:
                    self._store.mark_published(ids)
            except HotsetError as e:
                log.debug("Marks of %d published jobs were lost: %s", len(ids), e)
            if closed:
                return
