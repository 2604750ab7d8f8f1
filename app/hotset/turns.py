"""So many at once, in the order in which they came."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class NoTurn(Exception):
    """It did not come in time."""


class Turns:
    """Neither Python's semaphore nor a pool of connections keeps the order: whoever runs takes what was just given
    back before those who wait have woken, and under load some wait for seconds. Thread-safe."""

    def __init__(self, most: int, wait_s: float | None = None) -> None:
        """`wait_s`: wall seconds that somebody waits for a turn; for ever unless it is said."""
        self._lock = threading.Lock()
        self._free = most
        self._wait_s = wait_s
        #: Each is released when it is its turn.
        self._waiting: deque[threading.Lock] = deque()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Raises NoTurn when it does not come in time."""
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
            came = mine.acquire(timeout=-1 if self._wait_s is None else self._wait_s)
        finally:  # Ctrl-C, too
            if not came:
                self._leave(mine)
        if not came:
            raise NoTurn(f"No turn came in {self._wait_s} s.")

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
