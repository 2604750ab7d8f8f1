"""A thread that sends in order what others hand it, so that none of them waits for the network."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Generic, TypeVar

_LONGEST = 100_000
#: Things that one call sends: while it is under way, the next gather.
_TOGETHER = 200

T = TypeVar("T")


class Outbox(Generic[T]):
    """`put` never blocks and never raises; `close` sends what is left. `send` gets what has gathered, in order, and
    must handle its own errors."""

    def __init__(self, name: str, send: Callable[[list[T]], None]) -> None:
        self._send = send
        self._items: deque[T] = deque()
        self._filled = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()

    def put(self, item: T) -> bool:
        """False when it is full: the receiver has been away for long, and will look in Postgres."""
        with self._filled:
            if self._closed or len(self._items) >= _LONGEST:
                return False
            self._items.append(item)
            self._filled.notify()
        return True

    def close(self, timeout_s: float = 5.0) -> None:
        """Send what is left, for at most that many wall seconds."""
        with self._filled:
            self._closed = True
            self._filled.notify()
        self._thread.join(timeout=timeout_s)

    def _main(self) -> None:
        while True:
            with self._filled:
                self._filled.wait_for(lambda: self._items or self._closed)
                together = list(islice(self._items, _TOGETHER))
                for _ in together:
                    self._items.popleft()
            if not together:
                return
            self._send(together)
