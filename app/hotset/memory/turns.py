"""So many at once, in the order in which they came."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from hotset.errors import StoreUnavailable

#: Wall seconds that somebody waits for a turn, as long as for a connection.
_WAIT_S = 10.0


class Turns:
    """Neither Python's semaphore nor a pool of connections keeps the order: whoever runs takes what was just given
    back before those who wait have woken, and under load some wait for seconds. Thread-safe."""

    def __init__(self, most: int) -> None:
        self._lock = threading.Lock()
        self._free = most
        #: Each is released when it is its turn.
        self._waiting: deque[threading.Lock] = deque()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Raises StoreUnavailable when it does not come within ten seconds."""
        self._take()
        try:
            yield
        finally:
            self._pass_on()

    def _take(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        came = False
        try:
            came = mine.acquire(timeout=_WAIT_S)
        finally:  # Ctrl-C, too
            if not came:
                self._leave(mine)
        if not came:
            raise StoreUnavailable(
                f"{len(self._waiting)} more wait to search: Postgres is too slow for so many at once.",
                remedy="Search less at once, or give Postgres more cores.",
            )

    def _pass_on(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1

    def _leave(self, mine: threading.Lock) -> None:
        """Nobody waits for it any more; if it was its turn meanwhile, it is the next one's."""
        with self._lock:
            if mine in self._waiting:
                self._waiting.remove(mine)
                return
        self._pass_on()
